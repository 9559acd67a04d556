"""`clipline demo`: the whole path on this machine, on the sample cameras or on the user's own footage."""

from __future__ import annotations

import csv
import datetime as dt
import functools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from consumers.live.accounts import CameraCounts
from consumers.live.assemble import Serving, open_worker
from consumers.live.worker import Worker, ensure_topics
from consumers.outputs.subscriber import read_events
from consumers.settings import Settings, override
from stream import KafkaTransport, StreamError, attach, find_files
from stream.feeds.agent import Pace
from stream.services import EmbeddedBroker, EmbeddedRedis

from .live_view import LiveView, describe

FOOTAGE: Final = Path(__file__).parents[1] / "footage"
_MAX_CAMERAS: Final = 16
#: Footage in, yet not all accounted for: how long to wait at most for the rest.
_DRAIN_SECONDS: Final = 60.0

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


def run_demo(console: Console, footage: Path | None, model: str | None, pace: Pace, stop: threading.Event) -> None:
    """Start a broker and Redis, attach every camera, work until all footage is classified, and print a summary.

    Raises:
        SourceError: the user's footage cannot be found.
        ServiceError: a service does not come up.
        ModelError: the model cannot be used.
    """
    begun = time.monotonic()
    files = find_files(footage or FOOTAGE)[:_MAX_CAMERAS]
    with ExitStack() as stack:
        with console.status("starting a Kafka broker and a Redis server"):
            kafka, redis = stack.enter_context(EmbeddedBroker()), stack.enter_context(EmbeddedRedis())
        own = {"kafka": kafka.address, "redis": redis.address, "worker": {"model": model}}
        settings = override(Settings(), own, "command line")
        console.print(
            f"Kafka on {kafka.address}, Redis on {redis.address}, "
            f"{len(files)} cameras from {footage or 'the sample footage'}",
            highlight=False,
        )
        transport = KafkaTransport(settings.kafka)
        ensure_topics(transport, settings.topics)
        now_us = time.time_ns() // 1000
        feeds = [_Feed(path, _camera_id(path), now_us) for path in files]
        with console.status("loading the model"):
            serving = stack.enter_context(open_worker(settings))
        worker = serving.worker
        problems: list[str] = []
        done = threading.Event()
        worker_thread = _Thread(lambda: worker.run(done.is_set), problems)
        agents = [
            _Thread(functools.partial(_attach, transport, feed, settings, pace, stop), problems) for feed in feeds
        ]
        attached = time.monotonic()
        first_event: float | None = None
        with Live(
            LiveView(worker, f"clipline demo · {serving.classifier.id}"), console=console, refresh_per_second=4
        ) as live:
            for thread in (worker_thread, *agents):
                thread.start()
            drain_until = None
            while not stop.is_set() and worker_thread.is_alive():
                time.sleep(0.1)
                if first_event is None and worker.events_total:
                    first_event = time.monotonic()
                if any(agent.is_alive() for agent in agents):
                    continue
                drain_until = drain_until or time.monotonic() + _DRAIN_SECONDS
                if _is_drained(worker, len(feeds), problems) or time.monotonic() > drain_until:
                    break
            live.refresh()
        finished = time.monotonic()
        done.set()
        worker_thread.join()
        for agent in agents:
            agent.join()
        # Read back as any subscriber would: what counts is what arrived on the topic.
        reports = read_events(transport, settings.topics, follow=False, stored=True, stop=stop.is_set)
        events = [body for body in reports if body["state"] == "ended"]
        truth = read_truth(FOOTAGE / "truth.csv") if footage is None else None
        _print_summary(console, serving, feeds, events, truth, finished - attached)
        for problem in problems:
            console.print(problem, style="yellow", markup=False)
        if first_event is not None:
            console.print(f"First event {first_event - begun:.1f} s after the start.", highlight=False)
        _print_next_steps(console)


class _Thread(threading.Thread):
    """Keeps an expected error for the summary instead of printing a traceback into the live view."""

    def __init__(self, work: Callable[[], object], problems: list[str]) -> None:
        super().__init__(daemon=True)
        self._work, self._problems = work, problems

    def run(self) -> None:
        try:
            self._work()
        except StreamError as error:
            self._problems.append(str(error))


def _attach(transport: KafkaTransport, feed: _Feed, settings: Settings, pace: Pace, stop: threading.Event) -> None:
    producer = transport.producer()
    attach(
        str(feed.path),
        feed.camera,
        producer,
        settings.topics.segments,
        limits=settings.segments.limits,
        pace=pace,
        start_us=feed.start_us,
        stop=stop.is_set,
    )
    producer.close()


def _camera_id(path: Path) -> str:
    plain = "".join(c if (c.isalnum() and c.isascii()) or c in "._-" else "-" for c in path.stem).lstrip("._-")
    return plain[:64] or "camera"


def _is_drained(worker: Worker, cameras: int, problems: Sequence[str]) -> bool:
    counts = dict(worker.counts)
    return len(counts) + len(problems) >= cameras and worker.lag == 0 and all(not c.pending for c in counts.values())


def read_truth(path: Path) -> list[Truth]:
    """Read `camera,label,start,end`, in seconds."""
    with path.open(encoding="utf-8", newline="") as lines:
        return [
            Truth(row["camera"], row["label"], float(row["start"]), float(row["end"])) for row in csv.DictReader(lines)
        ]


def _print_summary(
    console: Console,
    serving: Serving,
    feeds: Sequence[_Feed],
    events: Sequence[_Body],
    truth: Sequence[Truth] | None,
    seconds: float,
) -> None:
    worker = serving.worker
    counts = dict(worker.counts)
    console.print(_accounts(counts))
    if truth is None:
        for event in events:
            console.print(describe(event))
        console.print(f"{len(events)} events.", highlight=False)
    else:
        _print_against_truth(console, events, feeds, truth, serving.classifier.labels)
    footage = sum(c.seconds for c in counts.values())
    frames = sum(c.frames for c in counts.values())
    console.print(
        f"\n{frames} frames, {footage:.0f} camera-seconds in {seconds:.0f} s: "
        f"{footage / seconds:.1f} times real time, {frames / seconds:.0f} frames/s.",
        highlight=False,
    )
    if (middle := worker.latency_seconds(50)) is not None and (high := worker.latency_seconds(95)) is not None:
        console.print(
            f"From a segment's end to its prediction: {middle * 1000:.0f} ms (median), {high * 1000:.0f} ms (95 %).",
            highlight=False,
        )


def _accounts(counts: dict[str, CameraCounts]) -> Table:
    table = Table(title="\nframes in = classified + skipped + dead-lettered", title_justify="left", box=None)
    for name in ("camera", "frames", "classified", "skipped", "dead-lettered", "windows", ""):
        table.add_column(name, justify="left" if name in {"camera", ""} else "right")
    for name, c in sorted(counts.items()):
        balanced = Text("balanced", style="green") if not c.pending else Text(f"{c.pending} pending", style="red")
        numbers = (c.frames, c.classified, c.skipped.total(), c.dead_lettered, c.windows)
        table.add_row(name, *(str(n) for n in numbers), balanced)
    return table


def _print_against_truth(
    console: Console,
    events: Sequence[_Body],
    feeds: Sequence[_Feed],
    truth: Sequence[Truth],
    labels: Sequence[str],
) -> None:
    starts = {feed.camera: feed.start_us for feed in feeds}
    table = Table(title="\nevents against the truth (seconds of footage)", title_justify="left", box=None)
    for name in ("camera", "truth", "event", "peak", ""):
        table.add_column(name)
    matched: set[str] = set()
    for t in truth:
        overlapping = [
            e for e in events if e["camera"] == t.camera and e["label"] == t.label and _overlaps(e, t, starts)
        ]
        matched |= {e["event"] for e in overlapping}
        if t.label not in labels:
            verdict = Text("the model does not know this label", style="yellow")
        elif overlapping:
            verdict = Text("detected", style="green")
        else:
            verdict = Text("missed", style="red")
        table.add_row(
            t.camera,
            f"{t.label} {t.start_seconds:.1f}–{t.end_seconds:.1f}",
            ", ".join(_interval(e, starts) for e in overlapping) or "–",
            f"{max(e['peak_score'] for e in overlapping):.2f}" if overlapping else "",
            verdict,
        )
    for event in events:
        if event["event"] not in matched:
            table.add_row(
                event["camera"],
                "–",
                f"{event['label']} {_interval(event, starts)}",
                f"{event['peak_score']:.2f}",
                Text("false alarm", style="red"),
            )
    quiet = sorted(
        {f.camera for f in feeds} - {t.camera for t in truth if t.label in labels} - {e["camera"] for e in events}
    )
    for camera in quiet:
        table.add_row(camera, "nothing happens", "–", "", Text("quiet, as it should be", style="green"))
    console.print(table)


def _overlaps(event: _Body, truth: Truth, starts: dict[str, int]) -> bool:
    start, end = _seconds(event, starts)
    return start < truth.end_seconds and truth.start_seconds < end


def _interval(event: _Body, starts: dict[str, int]) -> str:
    start, end = _seconds(event, starts)
    return f"{start:.1f}–{end:.1f}"


def _seconds(event: _Body, starts: dict[str, int]) -> tuple[float, float]:
    origin = starts[event["camera"]] / 1e6
    start, end = (dt.datetime.fromisoformat(event[name]).timestamp() for name in ("start", "end"))
    return start - origin, end - origin


def _print_next_steps(console: Console) -> None:
    console.print(
        "\nNext, with the environment in .venv:\n"
        "  make demo FOOTAGE=path/to/videos                          the same on your own footage\n"
        "  .venv/bin/clipline up                                     keep Kafka and Redis running\n"
        "  .venv/bin/clipline attach rtsp://… --camera lobby         put a camera onto Kafka\n"
        "  .venv/bin/clipline work                                   classify what is on Kafka\n"
        "  .venv/bin/clipline events --follow                        subscribe to events\n"
        "  .venv/bin/clipline train folder-per-class/ -o own.safetensors   your own model",
        highlight=False,
        markup=False,
    )
