"""`clipline demo`: the whole path on this machine, on the sample cameras or on the user's own footage."""

from __future__ import annotations

import contextlib
import functools
import shutil
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from rich.live import Live

from consumers.forgetting.embedded import taking_out
from consumers.live.assemble import Serving, open_worker
from consumers.live.figures.snapshot import WorkerSnapshot
from consumers.outputs.states import WorkerReporter
from consumers.records.prediction import rfc3339
from consumers.records.states.process import ProcessInfo
from consumers.settings import Settings, override
from consumers.subscribing.reader import stored_events
from consumers.terminal.console import Output
from consumers.terminal.live_view import LiveView
from consumers.terminal.wording import count, duration
from consumers.times import parse_time_us
from consumers.topics import ensure_topics
from stream import Feed, KafkaTransport, Pace, SourceError, StreamError, cameras_of, find_files
from stream.services import EmbeddedBroker, EmbeddedRedis

from .cameras import demo_cameras
from .summary import Outcome, PlayedFeed, heading, print_summary, read_truth, say

FOOTAGE: Final = Path(__file__).parents[2] / "footage"
_MAX_CAMERAS: Final = 16
#: Files that are left out are named one by one up to so many.
_MAX_NAMED: Final = 3
#: More than demos are fed. With a bound, what is forgotten can be taken out of the broker.
_BROKER_BYTES: Final = 4_000_000_000
#: All footage is sent, yet not all of it accounted for: how long to wait while nothing more becomes of it.
_STUCK_SECONDS: Final = 30.0
_LOOK_SECONDS: Final = 0.1
#: No extra brings these: that one of their modules is missing is a fault.
_OURS: Final = frozenset({"consumers", "models", "stream"})
#: Before and after an event, for those who ask why nothing else was reported.
_AROUND_SECONDS: Final = 30.0


def run_demo(
    console: Output,
    footage: Path | None,
    model: str | None,
    pace: Pace,
    stop: threading.Event,
    watch: Callable[[LiveView, WorkerSnapshot], None] = lambda _view, _snapshot: None,
    *,
    stay: bool = False,
) -> Outcome:
    """Start a broker and Redis, attach every camera, work until all footage is classified, and print a summary.

    Args:
        console: where it is shown.
        footage: file or folder; None for the sample cameras.
        model: as of `worker.model`; None for the default.
        pace: as of `stream.attach`.
        stop: set to end at once.
        watch: called a few times a second with what is shown.
        stay: keep the dashboard after the summary, until `stop`.

    Raises:
        SourceError: the user's footage cannot be found, or none of it can be read.
        ServiceError, BrokerError, SinkError: a service does not come up, or is gone.
        ModelError: the model cannot be used.
    """
    begun = time.monotonic()
    found = _find_feeds(footage or FOOTAGE)
    feeds = found.feeds if pace == "realtime" else _ending_now(found.feeds)
    _print_introduction(console, found, pace, sample=footage is None)
    with contextlib.ExitStack() as stack:
        with console.status("starting a Kafka broker and a Redis server"):
            kafka = stack.enter_context(EmbeddedBroker(max_bytes=_BROKER_BYTES))
            redis = stack.enter_context(EmbeddedRedis())
        # All that our own broker can; asked for more, a worker warns of it.
        work = {"model": model, "start": "earliest", "guarantee": "at-least-once"}
        own = {"kafka": kafka.address, "redis": redis.address, "worker": work}
        settings = override(Settings(), own, "command line")
        transport = KafkaTransport(settings.broker)
        ensure_topics(transport, settings.topics)
        with console.status("loading the model"):
            serving = stack.enter_context(open_worker(settings))
            worker = serving.worker
        before = worker.snapshot()
        _print_setting(console, kafka.address, redis.address, before)
        stack.enter_context(_told_worker(serving, settings))
        stack.enter_context(taking_out(kafka, settings.topics))
        pages = stack.enter_context(_dashboard(console, settings))
        console.print()
        attached = time.monotonic()
        first_event = _Playback(serving, settings, pace, stop).run(console, feeds, watch)
        finished = time.monotonic()
        # Read back as any subscriber would: what counts is what arrived on the topic.
        reports = list(stored_events(transport, settings.topics))
        middle, high = worker.latency_seconds(50), worker.latency_seconds(95)
        outcome = Outcome(
            events=list({event.id: event.body() for event in reports}.values()),
            counts=dict(worker.counts),
            alarms=frozenset(before.alarms),
            pace=pace,
            seconds=finished - attached,
            delays=None if middle is None or high is None else (middle, high),
            first_event_seconds=None if first_event is None else first_event - begun,
            stopped=stop.is_set(),
        )
        print_summary(console, outcome, feeds, read_truth(FOOTAGE / "truth.csv") if footage is None else None)
        _print_next_steps(console)
        if pages is not None and stay and not outcome.stopped:
            _print_pages(console, pages, outcome)
            _print_exports(console, kafka.address, redis.address)
            stop.wait()
    return outcome


def _told_worker(serving: Serving, settings: Settings) -> WorkerReporter:
    """Has the pages know of the worker, as of the process of one."""
    return WorkerReporter(
        KafkaTransport(settings.broker, at_once=True),
        settings.topics,
        ProcessInfo.current(f"{ProcessInfo.current().id}-worker"),
        serving.snapshot,
        settings=settings.worker,
        engine=serving.classifier.engine,
    )


@contextlib.contextmanager
def _dashboard(console: Output, settings: Settings) -> Iterator[str | None]:
    """Serve the dashboard, where it is installed, while the body runs, and say where; yield its address."""
    try:
        from .dashboard import demo_dashboard  # noqa: PLC0415  an extra of its own
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in _OURS:
            raise
        say(console, f"No dashboard: {error.name} is not installed; pip install 'clipline[web,pictures]'.", "yellow")
        yield None
        return
    with demo_dashboard(settings) as pages:
        say(console, f"See it in a browser: {pages}", "bold")
        yield pages


@dataclass(frozen=True, slots=True)
class _Found:
    feeds: Sequence[PlayedFeed]
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
    feeds: list[PlayedFeed] = []
    unreadable: list[str] = []
    left_out: list[Path] = []
    files = find_files(footage)
    for path, camera in zip(files, cameras_of(files, footage), strict=True):
        if len(feeds) == _MAX_CAMERAS:
            left_out.append(path)
            continue
        try:
            with Feed(str(path)) as feed:
                seconds = feed.seconds or 0.0
        except SourceError as error:
            unreadable.append(str(error))
            continue
        feeds.append(PlayedFeed(path, camera, start_us, seconds))
    if not feeds:
        raise SourceError("; ".join(unreadable))
    return _Found(feeds, unreadable, left_out)


def _ending_now(feeds: Sequence[PlayedFeed]) -> list[PlayedFeed]:
    """Footage that is not played in real time was filmed before: nothing of it lies in the future."""
    earlier_us = round(max(feed.seconds for feed in feeds) * 1e6)
    return [replace(feed, start_us=feed.start_us - earlier_us) for feed in feeds]


class _Playback:
    """Sends every feed and runs the worker, in threads, and shows the live view meanwhile."""

    def __init__(self, serving: Serving, settings: Settings, pace: Pace, stop: threading.Event) -> None:
        self._serving, self._settings, self._pace = serving, settings, pace
        self._stop, self._over = stop, threading.Event()

    def run(
        self, console: Output, feeds: Sequence[PlayedFeed], watch: Callable[[LiveView, WorkerSnapshot], None]
    ) -> float | None:
        """Show the cameras until all footage is classified, or `stop`; return when the first event came."""
        with demo_cameras(self._settings, feeds, self._pace, self._is_over) as send:
            return self._play(console, {feed.camera: _Thread(functools.partial(send, feed)) for feed in feeds}, watch)

    def _is_over(self) -> bool:
        return self._stop.is_set() or self._over.is_set()

    def _play(
        self,
        console: Output,
        sending: Mapping[str, _Thread],
        watch: Callable[[LiveView, WorkerSnapshot], None],
    ) -> float | None:
        working = _Thread(lambda: self._serving.worker.run(self._over.is_set))
        view = LiveView(self._serving.snapshot, "clipline demo")
        first_event: float | None = None
        progress = _Progress()
        try:
            with Live(view, console=console) as live:
                for thread in (working, *sending.values()):
                    thread.start()
                while not self._stop.is_set() and working.is_alive():
                    time.sleep(_LOOK_SECONDS)
                    snapshot = self._serving.snapshot()
                    watch(view, snapshot)
                    if first_event is None and snapshot.events_total:
                        first_event = time.monotonic()
                    _tell_failures(console, sending)
                    if _is_drained(snapshot, [name for name, t in sending.items() if t.error is None]):
                        break
                    if progress.is_stuck(snapshot, sending=any(t.is_alive() for t in sending.values())):
                        say(console, f"Nothing came of the rest for {duration(_STUCK_SECONDS)}.", "yellow")
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


def _print_introduction(console: Output, found: _Found, pace: Pace, *, sample: bool) -> None:
    cameras = count(len(found.feeds), "sample camera" if sample else "video file")
    longest = max(feed.seconds for feed in found.feeds)
    if pace == "max":
        speed = "read as fast as it can be"
    else:
        speed = f"played in real time{f' ({duration(longest)})' if longest else ''}, as if it were live"
    say(
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
        say(
            console,
            f"Left out: {named}{more}; the demo takes {_MAX_CAMERAS} files at most, `clipline replay` takes them all.",
            "yellow",
        )


def _print_setting(console: Output, kafka: str, redis: str, worker: WorkerSnapshot) -> None:
    labels = ", ".join(sorted(worker.alarms))
    raised = f"raises an event when it sees: {labels}" if labels else "raises no events: no label has a threshold"
    say(console, f"Kafka is at {kafka}, Redis at {redis}. Model {worker.model} {raised}.")


def _print_next_steps(console: Output) -> None:
    clipline = _command()
    steps = (
        ("demo path/to/videos", "the same with footage of yours"),
        ("init", "write clipline.toml: your cameras"),
        ("run", "watch them, with all that it needs"),
        ("train --help", "a model of your own"),
    )
    heading(console, "What next")
    for arguments, what in steps:
        say(console, f"  {f'{clipline} {arguments}':38} {what}")


def _print_pages(console: Output, pages: str, outcome: Outcome) -> None:
    heading(console, "Still there, until Ctrl-C")
    say(console, f"  {f'{pages}#/review':38} each event with its pictures: was it right?")
    if outcome.events:
        newest = outcome.events[-1]
        say(console, f"  {pages}#/event/{newest['event']}")
        say(console, f"  {'':38} one of them: its footage over its scores")
        begin, end = (parse_time_us(newest[name]) / 1e6 for name in ("start", "end"))
        stretch = {"from": _iso(begin - _AROUND_SECONDS), "to": _iso(end + _AROUND_SECONDS)}
        say(console, f"  {pages}#/why?{urllib.parse.urlencode({'camera': newest['camera'], **stretch})}")
        say(console, f"  {'':38} why nothing else was reported around it")


def _print_exports(console: Output, kafka: str, redis: str) -> None:
    """What other commands need to be of this demo, on one line, so that it can be pasted."""
    say(console, "  for other commands, such as `clipline status` and `clipline events --follow`, in another terminal:")
    console.print(f"  export CLIPLINE_KAFKA={kafka} CLIPLINE_REDIS={redis}", soft_wrap=True)


def _iso(seconds: float) -> str:
    return rfc3339(round(seconds * 1e6))


def _command() -> str:
    """How `clipline` is called from here: by its name, or by its path where the shell does not find it."""
    beside = Path(sys.executable).parent / "clipline"
    if shutil.which("clipline") or not beside.is_file():
        return "clipline"
    with contextlib.suppress(ValueError):
        return str(beside.relative_to(Path.cwd()))
    return str(beside)


def _warn(console: Output, text: str) -> None:
    """Say what names files: on one line, so that a name can be copied."""
    console.print(text, style="yellow", soft_wrap=True)
