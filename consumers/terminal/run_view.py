"""What `clipline run` shows: a table that is drawn anew in a terminal, lines elsewhere."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Final, TextIO

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.text import Text

from consumers.printable import printable
from consumers.running.overview import CameraLine, Overview
from consumers.running.run import Plan
from stream import display_name

from .status_view import StatusView
from .wording import count, describe

log = logging.getLogger(__name__)

_EVENTS_KEPT: Final = 12
#: The table is drawn this often.
_DRAW_SECONDS: Final = 0.5


def plan_lines(plan: Plan) -> Iterator[str]:
    """What is about to run and where to look."""
    yield f"{count(len(plan.cameras), 'camera')}: {', '.join(plan.cameras)}"
    yield f"model {plan.model}, {count(plan.workers, 'worker')}"
    yield f"Kafka at {plan.kafka}, Redis at {display_name(plan.redis)}"
    yield from plan.notes
    yield f"logs in {plan.logs}/"
    yield "look from another terminal: clipline status, clipline events --follow"
    for name, value in plan.exports.items():
        yield f"  there first: export {name}={value}"
    yield "Ctrl-C ends everything"


class PlainRun:
    """Lines for where no terminal shows a table: what began, each change of a camera or worker, and events.

    To `out`, or to the log where that is None.
    """

    def __init__(self, out: TextIO | None) -> None:
        self._out = out
        self._cameras: dict[str, tuple[str, str | None]] = {}
        self._workers: dict[str, str] = {}
        self._classified: set[str] = set()

    def begin(self, plan: Plan) -> None:
        for line in plan_lines(plan):
            self.say(line.strip())

    def say(self, line: str, camera: str | None = None) -> None:
        if self._out is None:
            log.info("%s", line, extra={} if camera is None else {"camera": camera})
            return
        if camera is not None:
            line = f"{camera}: {line}"
        # The output may be a pipe that somebody follows.
        self._out.write(printable(f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%SZ} {line}") + "\n")
        self._out.flush()

    def show(self, now: Overview) -> None:
        for line in now.cameras:
            self._show_camera(line)
        for worker in now.workers:
            state = worker.state
            status = "not heard of" if worker.dead else state.status
            if self._workers.get(state.worker.id) != status:
                self._workers[state.worker.id] = status
                if worker.dead:
                    # That a process has ended, whoever started it says.
                    self.say(f"worker {state.name}: has not been heard of for {worker.age_seconds:.0f} s")
                    continue
                self.say(f"worker {state.name}: {status}, model {state.model} on {state.engine}")

    def _show_camera(self, line: CameraLine) -> None:
        feed, classified = line.state.feed, line.classified
        now = line.status, feed.why
        if self._cameras.get(feed.camera) != now:
            self._cameras[feed.camera] = now
            # Why a camera gives nothing is known at its first attempt, long before it counts as failed.
            if line.status in {"connecting", "opening"} and feed.why:
                words = f"{line.status} ({feed.why})"
            elif line.status == "live":
                words = f"live, {feed.codec} {feed.width}x{feed.height}"
            else:
                words = line.trouble or line.status
            self.say(words, feed.camera)
        if classified is not None and classified.label is not None and feed.camera not in self._classified:
            self._classified.add(feed.camera)
            self.say(f"classified, first {classified.label} {classified.score:.2f}", feed.camera)

    def event(self, body: Mapping[str, Any]) -> None:
        self.say(describe(body).plain, body["camera"])

    def close(self) -> None:
        """There is nothing to put away."""


class LiveRun:
    """A table of all cameras, the newest events below it, and what happens to processes above it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._now: Overview | None = None
        self._events: deque[Text] = deque(maxlen=_EVENTS_KEPT)
        self._live = Live(self, console=console, auto_refresh=False)
        self._draw_at = 0.0

    def begin(self, plan: Plan) -> None:
        for line in plan_lines(plan):
            self._print(line)
        self._live.start()

    def say(self, line: str) -> None:
        self._print(f"{dt.datetime.now(dt.UTC):%H:%M:%S} {line}", style="yellow")

    def show(self, now: Overview) -> None:
        self._now = now
        if time.monotonic() >= self._draw_at:
            self._draw_at = time.monotonic() + _DRAW_SECONDS
            self._live.refresh()

    def event(self, body: Mapping[str, Any]) -> None:
        self._events.append(describe(body))

    def close(self) -> None:
        # A terminal that is gone takes no last view.
        with contextlib.suppress(OSError):
            self._live.stop()

    def _print(self, line: str, style: str | None = None) -> None:
        self._console.print(line, style=style, soft_wrap=True)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self._now is None:
            yield Text("starting")
            return
        view = StatusView(self._now)
        height = min(options.max_height, options.size.height)
        room = height - len(console.render_lines(view, options)) - 2
        yield view
        if room > 0 and self._events:
            newest = list(self._events)[-room:]
            yield Group(Text(), *reversed(newest))
