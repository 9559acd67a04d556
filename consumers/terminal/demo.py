"""`clipline demo`: the whole path on this machine, on the sample cameras or on the user's own footage."""

from __future__ import annotations

import contextlib
import csv
import functools
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.live import Live
from rich.table import Table
from rich.text import Text

from consumers.live.accounts import CameraCounts
from consumers.live.assemble import open_worker
from consumers.live.snapshot import WorkerSnapshot
from consumers.live.worker import Worker
from consumers.outputs.subscriber import read_events
from consumers.settings import Settings, override
from consumers.terminal.console import Output
from consumers.times import parse_time_us
from consumers.topics import ensure_topics
from stream import Feed, KafkaTransport, Pace, SourceError, StreamError, attach, find_files
from stream.services import EmbeddedBroker, EmbeddedRedis

from .live_view import LiveView
from .wording import count, describe, duration, skip_reason

FOOTAGE: Final = Path(__file__).parents[1] / "footage"
_MAX_CAMERAS: Final = 16
#: Files that are left out are named one by one up to so many.
_MAX_NAMED: Final = 3
#: All footage is sent, yet not all of it accounted for: how long to wait while nothing more becomes of it.
_STUCK_SECONDS: Final = 30.0
_LOOK_SECONDS: Final = 0.1
#: A machine that keeps up is not so far behind typically.
_SLOW_SECONDS: Final = 5.0

_Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Truth:
    """What happens on a sample camera, in seconds of its footage."""

    camera: str
    label: str
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True, slots=True)
class _Feed:
    path: Path
    camera: str
    start_us: int
    #: How long it plays, as the file says itself; 0 where it does not.
    seconds: float


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What came of a demo, for its summary."""

    events: Sequence[_Body]
    counts: Mapping[str, CameraCounts]
    #: Labels that raise events.
    alarms: frozenset[str]
    #: From when footage was first sent until all of it was classified.
    seconds: float
    #: Typical and high (95 %) wall time from a segment's arrival to its predictions, where there were any.
    delays: tuple[float, float] | None
    #: From the call of the command to the first event; None where there was none.
    first_event_seconds: float | None
    stopped: bool
    pace: Pace


def run_demo(
    console: Output,
    footage: Path | None,
    model: str | None,
    pace: Pace,
    stop: threading.Event,
    watch: Callable[[LiveView, WorkerSnapshot], None] = lambda _view, _snapshot: None,
) -> None:
    """Start a broker and Redis, attach every camera, work until all footage is classified, and print a summary.

    `watch` is called a few times a second with what is shown.

    Raises:
        SourceError: the user's footage cannot be found, or none of it can be read.
        ServiceError, BrokerError, SinkError: a service does not come up, or is gone.
        ModelError: the model cannot be used.
    """
    begun = time.monotonic()
    found = _find_feeds(footage or FOOTAGE)
    feeds = found.feeds
    _print_introduction(console, found, pace, sample=footage is None)
    with contextlib.ExitStack() as stack:
        with console.status("starting a Kafka broker and a Redis server"):
            kafka, redis = stack.enter_context(EmbeddedBroker()), stack.enter_context(EmbeddedRedis())
        own = {"kafka": kafka.address, "redis": redis.address, "worker": {"model": model}}
        settings = override(Settings(), own, "command line")
        transport = KafkaTransport(settings.kafka)
        ensure_topics(transport, settings.topics)
        with console.status("loading the model"):
            worker = stack.enter_context(open_worker(settings)).worker
        before = worker.snapshot()
        _print_setting(console, kafka.address, redis.address, before)
        attached = time.monotonic()
        first_event = _Playback(worker, transport, settings, pace, stop).run(console, feeds, watch)
        finished = time.monotonic()
        # Read back as any subscriber would: what counts is what arrived on the topic.
        reports = list(read_events(transport, settings.topics, follow=False, stored=True, stop=lambda: False))
    middle, high = worker.latency_seconds(50), worker.latency_seconds(95)
    outcome = _Outcome(
        events=list({event.id: event.body() for event in reports}.values()),
        counts=dict(worker.counts),
        alarms=frozenset(before.alarms),
        pace=pace,
        seconds=finished - attached,
        delays=None if middle is None or high is None else (middle, high),
        first_event_seconds=None if first_event is None else first_event - begun,
        stopped=stop.is_set(),
    )
    _print_summary(console, outcome, feeds, read_truth(FOOTAGE / "truth.csv") if footage is None else None)
    _print_next_steps(console)


@dataclass(frozen=True, slots=True)
class _Found:
    feeds: Sequence[_Feed]
    #: Why files cannot be played.
    unreadable: Sequence[str]
    #: Files beyond those that can be shown.
    left_out: Sequence[Path]


def _find_feeds(footage: Path) -> _Found:
    """A camera for each file that opens, as many as can be shown.

    Raises:
        SourceError: there is no such footage, or no file of it opens.
    """
    start_us = time.time_ns() // 1000
    feeds: list[_Feed] = []
    unreadable: list[str] = []
    left_out: list[Path] = []
    known: Counter[str] = Counter()
    for path in find_files(footage):
        if len(feeds) == _MAX_CAMERAS:
            left_out.append(path)
            continue
        try:
            with Feed(str(path)) as feed:
                seconds = feed.seconds or 0.0
        except SourceError as error:
            unreadable.append(str(error))
            continue
        name = _camera_id(path)
        known[name] += 1
        # Files of one name in two folders are two cameras.
        camera = name if known[name] == 1 else f"{name}.{known[name]}"
        feeds.append(_Feed(path, camera, start_us, seconds))
    if not feeds:
        raise SourceError("; ".join(unreadable))
    return _Found(feeds, unreadable, left_out)


def _camera_id(path: Path) -> str:
    plain = "".join(c if (c.isalnum() and c.isascii()) or c in "._-" else "-" for c in path.stem).lstrip("._-")
    return plain[:60] or "camera"


class _Playback:
    """Sends every feed and runs the worker, in threads, and shows the live view meanwhile."""

    def __init__(
        self, worker: Worker, transport: KafkaTransport, settings: Settings, pace: Pace, stop: threading.Event
    ) -> None:
        self._worker, self._transport, self._settings, self._pace = worker, transport, settings, pace
        self._stop, self._over = stop, threading.Event()

    def run(
        self, console: Output, feeds: Sequence[_Feed], watch: Callable[[LiveView, WorkerSnapshot], None]
    ) -> float | None:
        """Show the cameras until all footage is classified, or `stop`; return when the first event came."""
        working = _Thread(lambda: self._worker.run(self._over.is_set))
        sending = {feed.camera: _Thread(functools.partial(self._send, feed)) for feed in feeds}
        view = LiveView(self._worker.snapshot, "clipline demo")
        first_event: float | None = None
        progress = _Progress()
        try:
            with Live(view, console=console) as live:
                for thread in (working, *sending.values()):
                    thread.start()
                while not self._stop.is_set() and working.is_alive():
                    time.sleep(_LOOK_SECONDS)
                    snapshot = self._worker.snapshot()
                    watch(view, snapshot)
                    if first_event is None and snapshot.events_total:
                        first_event = time.monotonic()
                    _tell_failures(console, sending)
                    if _is_drained(snapshot, [name for name, t in sending.items() if t.error is None]):
                        break
                    if progress.is_stuck(snapshot, sending=any(t.is_alive() for t in sending.values())):
                        _say(console, f"Nothing came of the rest for {duration(_STUCK_SECONDS)}.", "yellow")
                        break
                live.refresh()
        finally:
            self._over.set()
            for thread in (*sending.values(), working):
                thread.join()
            if not console.is_terminal:
                console.line()  # the live view ends its last line in terminals only
        if working.error is not None:
            raise working.error
        _tell_failures(console, sending)  # what failed since the last look
        if all(thread.error for thread in sending.values()):
            raise SourceError(f"nothing could be read: {'; '.join(str(thread.error) for thread in sending.values())}")
        return first_event

    def _send(self, feed: _Feed) -> None:
        with contextlib.closing(self._transport.producer()) as producer:
            attach(
                str(feed.path),
                feed.camera,
                producer,
                self._settings.topics.segments,
                limits=self._settings.segments.limits,
                pace=self._pace,
                start_us=feed.start_us,
                stop=lambda: self._stop.is_set() or self._over.is_set(),
            )


class _Progress:
    """Notices when nothing more becomes of footage that was sent."""

    def __init__(self) -> None:
        self._done, self._at = -1, time.monotonic()

    def is_stuck(self, snapshot: WorkerSnapshot, *, sending: bool) -> bool:
        done = sum(c.frames - c.pending for c in snapshot.cameras)
        if sending or done != self._done:
            self._done, self._at = done, time.monotonic()
        return time.monotonic() - self._at > _STUCK_SECONDS


def _is_drained(snapshot: WorkerSnapshot, cameras: Sequence[str]) -> bool:
    """Whether all that was sent has ended and is accounted for."""
    states = {c.camera: c for c in snapshot.cameras}
    return not snapshot.waiting and all(
        name in states and states[name].ended and not states[name].pending for name in cameras
    )


def _tell_failures(console: Output, sending: Mapping[str, _Thread]) -> None:
    for camera, thread in sending.items():
        if (error := thread.take_error()) is not None:
            _warn(console, f"Camera {camera} is left out: {error}")


class _Thread(threading.Thread):
    """Keeps its error for whoever waits: a traceback would go into the live view."""

    def __init__(self, work: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self._told = False
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self._work()
        except Exception as error:  # noqa: BLE001  (whoever waits raises or tells it)
            self.error = error

    def take_error(self) -> StreamError | None:
        """The error of a feed, once.

        Raises:
            Exception: what went wrong was nothing that a feed can be blamed for.
        """
        if self.error is None or self._told:
            return None
        if not isinstance(self.error, StreamError):
            raise self.error
        self._told = True
        return self.error


def read_truth(path: Path) -> list[Truth]:
    """Read `camera,label,start,end`, in seconds."""
    with path.open(encoding="utf-8", newline="") as lines:
        return [
            Truth(row["camera"], row["label"], float(row["start"]), float(row["end"])) for row in csv.DictReader(lines)
        ]


def _print_introduction(console: Output, found: _Found, pace: Pace, *, sample: bool) -> None:
    cameras = count(len(found.feeds), "sample camera" if sample else "video file")
    longest = max(feed.seconds for feed in found.feeds)
    if pace == "max":
        speed = "read as fast as it can be"
    else:
        speed = f"played in real time{f' ({duration(longest)})' if longest else ''}, as if it were live"
    _say(
        console,
        f"Clipline demo: recorded footage of {cameras}, {speed}. It takes the path of a live camera: cut into short "
        "segments, sent to a Kafka broker, classified by a model that raises events. All of it runs on this machine "
        "and is gone when the demo ends; Ctrl-C ends it at any time.",
    )
    for reason in found.unreadable:
        _warn(console, f"Left out: {reason}")
    if found.left_out:
        named = ", ".join(path.name for path in found.left_out[:_MAX_NAMED])
        more = f" and {len(found.left_out) - _MAX_NAMED} more" if len(found.left_out) > _MAX_NAMED else ""
        _say(
            console,
            f"Left out: {named}{more}; the demo takes {_MAX_CAMERAS} files at most, `clipline replay` takes them all.",
            "yellow",
        )


def _print_setting(console: Output, kafka: str, redis: str, worker: WorkerSnapshot) -> None:
    labels = ", ".join(sorted(worker.alarms))
    raised = f"raises an event when it sees: {labels}" if labels else "raises no events: no label has a threshold"
    _say(console, f"Kafka is at {kafka}, Redis at {redis}. Model {worker.model} {raised}.")
    console.print()


def _print_summary(console: Output, outcome: _Outcome, feeds: Sequence[_Feed], truth: Sequence[Truth] | None) -> None:
    if outcome.stopped:
        console.print()
        _say(console, "Stopped before the end of the footage: this is what came of it until then.", "yellow")
    if truth is None:
        _heading(console, _capital(count(len(outcome.events), "event")))
        for event in outcome.events:
            console.print(describe(event))
        if not outcome.events:
            seen = f"The model saw nothing of what it raises events for ({', '.join(sorted(outcome.alarms))})."
            _say(console, seen if outcome.alarms else "The model raises no events: none of its labels has a threshold.")
    else:
        _print_against_truth(console, outcome, feeds, truth)
    _print_accounts(console, outcome.counts, stopped=outcome.stopped)
    _print_speed(console, outcome)


def _print_against_truth(console: Output, outcome: _Outcome, feeds: Sequence[_Feed], truth: Sequence[Truth]) -> None:
    starts = {feed.camera: feed.start_us for feed in feeds}
    rows: list[tuple[str, float, tuple[str, str, str], Text]] = []
    verdicts: Counter[str] = Counter()
    matched: set[str] = set()
    for t in truth:
        found = [
            e for e in outcome.events if e["camera"] == t.camera and e["label"] == t.label and _overlaps(e, t, starts)
        ]
        matched |= {e["event"] for e in found}
        happens = f"{t.label} {t.start_seconds:.1f}–{t.end_seconds:.1f} s"
        raised = ", ".join(_interval(e, starts) for e in found) or "none"
        peak = f"{max(e['peak_score'] for e in found):.2f}" if found else ""
        verdict = _verdict(t, outcome, found=bool(found))
        verdicts[verdict.plain] += 1
        rows.append((t.camera, t.start_seconds, (happens, raised, peak), verdict))
    for event in (e for e in outcome.events if e["event"] not in matched):
        verdicts["false alarm"] += 1
        raised, peak = f"{event['label']} {_interval(event, starts)}", f"{event['peak_score']:.2f}"
        rows.append(
            (event["camera"], _seconds(event, starts)[0], ("nothing", raised, peak), Text("false alarm", "red"))
        )
    quiet = {feed.camera for feed in feeds} - {row[0] for row in rows}
    rows += [(camera, 0.0, ("nothing", "none", ""), Text("correctly quiet", "green")) for camera in quiet]
    table = Table(box=None, pad_edge=False, header_style="bright_black")
    for name in ("camera", "what happens", "event raised", "peak score", "verdict"):
        table.add_column(name)
    for camera, _, cells, verdict in sorted(rows, key=lambda row: row[:2]):
        table.add_row(camera, *cells, verdict)
    known = verdicts["found"] + verdicts["missed"]
    unknown = sorted({t.label for t in truth} - outcome.alarms)
    _heading(console, "What the model saw (times in seconds of the footage)")
    _say(
        console,
        f"{verdicts['found']} of {count(known, 'known event')} found, {count(verdicts['false alarm'], 'false alarm')}."
        + (f" Not looked for: {', '.join(unknown)}, a label that this model does not have." if unknown else ""),
    )
    console.print(table)
    _say(console, "Three scenes prove nothing: `clipline models` says how good the models are on real footage.")


def _verdict(truth: Truth, outcome: _Outcome, *, found: bool) -> Text:
    if truth.label not in outcome.alarms:
        return Text("not looked for", "yellow")
    if found:
        return Text("found", "green")
    seen = outcome.counts[truth.camera].seconds if truth.camera in outcome.counts else 0.0
    if outcome.stopped and seen < truth.end_seconds:
        return Text("stopped before", "yellow")
    return Text("missed", "red")


def _print_accounts(console: Output, counts: Mapping[str, CameraCounts], *, stopped: bool) -> None:
    table = Table(box=None, pad_edge=False, header_style="bright_black")
    for name in ("camera", "frames", "= classified", "+ skipped", "+ unreadable", "windows", ""):
        table.add_column(name, justify="left" if name in {"camera", ""} else "right")
    for name, c in sorted(counts.items()):
        # What was stopped has frames in hand; nothing is wrong with that.
        rest = Text(f"{c.pending} in hand", "yellow") if stopped else Text(f"{c.pending} missing", "red")
        balanced = rest if c.pending else Text("balanced", "green")
        numbers = (c.frames, c.classified, c.skipped.total(), c.dead_lettered, c.windows)
        table.add_row(name, *(str(n) for n in numbers), balanced)
    _heading(console, "What became of every frame")
    console.print(table)
    skipped: Counter[str] = sum((c.skipped for c in counts.values()), Counter())
    if skipped:
        reasons = ", ".join(f"{n} {skip_reason(reason)}" for reason, n in skipped.most_common())
        _say(console, f"Skipped: {reasons}.")


def _print_speed(console: Output, outcome: _Outcome) -> None:
    footage = sum(c.seconds for c in outcome.counts.values())
    frames = sum(c.frames for c in outcome.counts.values())
    _heading(console, "How fast it was")
    if outcome.first_event_seconds is not None:
        _say(console, f"First event {outcome.first_event_seconds:.1f} s after the start of the demo.")
    cameras, took = count(len(outcome.counts), "camera"), duration(outcome.seconds)
    if outcome.pace == "max":
        times, rate = footage / outcome.seconds, frames / outcome.seconds
        speed = f"in {took}: {times:.1f} times real time, {rate:.0f} frames a second"
    else:
        speed = f"in {took}, each in real time"
    _say(console, f"{duration(footage)} of footage of {cameras} {speed}.")
    if outcome.delays is not None:
        middle, high = (duration(seconds) for seconds in outcome.delays)
        _say(console, f"From a segment's arrival on Kafka to its scores: {middle} (median), {high} (95 %).")
        if outcome.pace == "realtime" and outcome.delays[0] > _SLOW_SECONDS:
            _say(console, f"This machine did not keep up with {cameras} at once; with fewer it will.", "yellow")


def _overlaps(event: _Body, truth: Truth, starts: Mapping[str, int]) -> bool:
    start, end = _seconds(event, starts)
    return start < truth.end_seconds and truth.start_seconds < end


def _interval(event: _Body, starts: Mapping[str, int]) -> str:
    start, end = _seconds(event, starts)
    return f"{start:.1f}–{end:.1f} s"


def _seconds(event: _Body, starts: Mapping[str, int]) -> tuple[float, float]:
    origin = starts[event["camera"]] / 1e6
    start, end = (parse_time_us(event[name]) / 1e6 for name in ("start", "end"))
    return start - origin, end - origin


def _print_next_steps(console: Output) -> None:
    clipline = _command()
    steps = (
        ("demo path/to/videos", "the same with footage of yours"),
        ("init", "write clipline.toml: your cameras"),
        ("run", "watch them, with all that it needs"),
        ("train --help", "a model of your own"),
    )
    _heading(console, "What next")
    for arguments, what in steps:
        _say(console, f"  {f'{clipline} {arguments}':38} {what}")


def _command() -> str:
    """How `clipline` is called from here: by its name, or by its path where the shell does not find it."""
    beside = Path(sys.executable).parent / "clipline"
    if shutil.which("clipline") or not beside.is_file():
        return "clipline"
    with contextlib.suppress(ValueError):
        return str(beside.relative_to(Path.cwd()))
    return str(beside)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _heading(console: Output, text: str) -> None:
    console.print()
    console.print(Text(text, "bold"))


def _say(console: Output, text: str, style: str = "") -> None:
    console.print(text, style=style)


def _warn(console: Output, text: str) -> None:
    """Say what names files: on one line, so that a name can be copied."""
    console.print(text, style="yellow", soft_wrap=True)
