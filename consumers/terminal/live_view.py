"""The live view in the terminal: what each camera shows now, which of them alarm, and events as they come.

It draws snapshots and nothing else, in as many columns and lines as the terminal has: a name, a score or the footer is
never cut. What has no room is left out in a fixed order instead (`_cameras` gives it).
"""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from consumers.live.figures.snapshot import CameraSnapshot, WorkerSnapshot
from consumers.printable import printable
from consumers.records.event import Event
from consumers.records.prediction import rfc3339

from .wording import NO_EVENTS, count, duration, moment, skip_reason

#: A camera is late from so far behind, and silent when nothing came for so long; segments may be seconds apart.
_LATE_SECONDS: Final = 10.0
_SILENT_SECONDS: Final = 10.0
_RATE_SECONDS: Final = 10.0
_BAR_WIDTH: Final = 10
_GAP: Final = 2
_MAX_EVENTS: Final = 12
#: Lines that events get even where cameras have to be left out for it: an empty one, a heading and two events.
_LEAST_EVENT_LINES: Final = 4
#: Lower than that, a terminal shows cameras only.
_LEAST_HEIGHT_WITH_EVENTS: Final = 10

_ALARM, _UNSURE, _CALM, _GREY = "bold red", "yellow", "green", "bright_black"


class _Kind(IntEnum):
    """What a camera is to whoever looks, the most urgent first."""

    ALARMING = 0
    SILENT = 1
    ENDED = 2
    LATE = 3
    UNSURE = 4
    CALM = 5


_KIND_WORDS: Final = {
    _Kind.ALARMING: "alarming",
    _Kind.SILENT: "without data",
    _Kind.ENDED: "ended",
    _Kind.LATE: "late",
    _Kind.UNSURE: "not certain yet",
    _Kind.CALM: "calm",
}


class LiveView:
    """A rich renderable over `snapshot`, which it asks at each drawing."""

    def __init__(self, snapshot: Callable[[], WorkerSnapshot], title: str) -> None:
        self._snapshot, self._title = snapshot, title
        self._history: deque[tuple[float, Mapping[str, int]]] = deque()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        snapshot = self._snapshot()
        height = min(options.max_height, options.size.height)
        for line in self._lines(snapshot, options.max_width, height):
            # Each line was made to fit; should one not, it is cropped rather than wrapped: lines are counted.
            line.no_wrap, line.overflow = True, "crop"
            yield line

    def _lines(self, snapshot: WorkerSnapshot, width: int, height: int) -> list[Text]:
        kinds = {camera.camera: _kind(camera, snapshot) for camera in snapshot.cameras}
        body = height - 3  # without title, header and footer
        event_lines = _LEAST_EVENT_LINES if height >= _LEAST_HEIGHT_WITH_EVENTS else 0
        lines = [_title_line(self._title, snapshot.model, width)]
        # Everything below stands still meanwhile.
        lines += [Text(f"waiting for {service}", style=_ALARM) for service in snapshot.awaited]
        shown = _chosen(snapshot.cameras, kinds, max(1, body - event_lines - len(snapshot.awaited)))
        rates = self._rates(snapshot.cameras)
        if shown:
            lines += _aligned(_cameras(shown, snapshot, rates), width)
        elif not snapshot.cameras:
            lines.append(Text("waiting for the first camera", style=_GREY))
        hidden = Counter(kinds[c.camera] for c in snapshot.cameras) - Counter(kinds[c.camera] for c in shown)
        if hidden:
            lines.append(Text(_hidden_words(hidden), style=_GREY))
        room = height - len(lines) - 1
        if event_lines:
            lines.append(Text())
            events = _newest_events(snapshot)[: min(_MAX_EVENTS, room - 2)]
            lines += _aligned(_events(events), width) if events else [_no_events(snapshot)]
            if height - len(lines) > 1:
                lines.append(Text())
        return [*lines, _footer(snapshot, kinds, width)]

    def _rates(self, cameras: Sequence[CameraSnapshot]) -> dict[str, float]:
        """Frames a second by camera, over the last seconds; nothing before there is a second to count."""
        now = time.monotonic()
        self._history.append((now, {c.camera: c.frames for c in cameras}))
        while now - self._history[0][0] > _RATE_SECONDS:
            self._history.popleft()
        since, before = self._history[0]
        seconds = now - since
        if seconds < 1:
            return {}
        return {c.camera: max(0, c.frames - before[c.camera]) / seconds for c in cameras if c.camera in before}


def camera_state(camera: CameraSnapshot, worker: WorkerSnapshot) -> str:
    """Whether data comes from a camera, and how old it is when it has been classified."""
    if camera.ended:
        return f"ended {duration(camera.silent_seconds)} ago"
    if _is_silent(camera, worker):
        return f"no data for {duration(camera.silent_seconds)}"
    return "starting" if camera.behind_seconds is None else f"{duration(camera.behind_seconds)} behind"


def _is_silent(camera: CameraSnapshot, worker: WorkerSnapshot) -> bool:
    # Where the worker as a whole is behind, a camera's data may lie on the topic: that is not silence.
    return camera.ended or camera.silent_seconds >= _SILENT_SECONDS + (worker.latency_seconds or 0.0)


def _is_late(camera: CameraSnapshot) -> bool:
    return (camera.behind_seconds or 0.0) >= _LATE_SECONDS


def _kind(camera: CameraSnapshot, worker: WorkerSnapshot) -> _Kind:
    if camera.active:
        return _Kind.ALARMING
    if _is_silent(camera, worker):
        return _Kind.ENDED if camera.ended else _Kind.SILENT
    if _is_late(camera):
        return _Kind.LATE
    return _Kind.UNSURE if camera.newest is None or camera.newest.label in worker.alarms else _Kind.CALM


def _chosen(cameras: Sequence[CameraSnapshot], kinds: Mapping[str, _Kind], lines: int) -> list[CameraSnapshot]:
    """All cameras in the order of their names; the most urgent first where there are more than lines."""
    if len(cameras) <= lines:
        return list(cameras)
    return sorted(cameras, key=lambda c: (kinds[c.camera], c.camera))[: lines - 1]


def _hidden_words(hidden: Counter[_Kind]) -> str:
    if set(hidden) == {_Kind.CALM}:
        return f"and {hidden.total()} more, all calm"
    return f"and {hidden.total()} more: " + ", ".join(f"{hidden[k]} {_KIND_WORDS[k]}" for k in sorted(hidden))


@dataclass(frozen=True, slots=True)
class _Column:
    header: str
    cells: Sequence[Text]
    #: Columns leave the table in the falling order of their ranks. Those of rank 0 stay.
    rank: int
    right: bool = False
    #: Kept free even when the cells are narrower, so that the table does not jump.
    least: int = 0
    #: Cut in the middle where even columns of rank 0 have no room.
    shortened: bool = False

    @property
    def width(self) -> int:
        return max(self.least, len(self.header), *(cell.cell_len for cell in self.cells))


def _cameras(cameras: Sequence[CameraSnapshot], worker: WorkerSnapshot, rates: Mapping[str, float]) -> list[_Column]:
    newest = [_newest(camera, worker) for camera in cameras]
    times = [Text(moment(rfc3339(c.newest.end_us)) if c.newest else "", _GREY) for c in cameras]
    skipped = [Text(_skipped(c.skipped)) for c in cameras]
    return [
        _Column("camera", [_name(c, worker) for c in cameras], rank=0, shortened=True),
        _Column("sees", [label for label, _, _ in newest], rank=0),
        _Column("score", [score for _, score, _ in newest], rank=0, right=True),
        _Column("", [bar for _, _, bar in newest], rank=8, least=_BAR_WIDTH),
        _Column("alarm", [_alarm(c) for c in cameras], rank=4, least=15),
        _Column("state", [_state(c, worker) for c in cameras], rank=3, least=16),
        _Column("at (UTC)", times, rank=5),
        _Column("events", [Text(str(c.events)) for c in cameras], rank=6, right=True),
        _Column(
            "frames/s",
            [Text(f"{rates[c.camera]:.0f}" if c.camera in rates else "–") for c in cameras],
            rank=7,
            right=True,
        ),
        _Column("last event", [_last_event(c.last_event) for c in cameras], rank=9, least=16),
        _Column("skipped frames", skipped, rank=11, least=16),
        _Column("model", [Text(printable(c.newest.model) if c.newest else "", _GREY) for c in cameras], rank=10),
    ]


def _name(camera: CameraSnapshot, worker: WorkerSnapshot) -> Text:
    marks = {_Kind.ALARMING: ("!", _ALARM), _Kind.SILENT: ("○", _GREY), _Kind.ENDED: ("○", _GREY)}
    mark, style = marks.get(_kind(camera, worker), ("●", "bold"))
    return Text(f"{mark} {printable(camera.camera)}", style)


def _newest(camera: CameraSnapshot, worker: WorkerSnapshot) -> tuple[Text, Text, Text]:
    """Label, score and bar in the colour of what they mean: a calm label is never red, however high its score."""
    newest = camera.newest
    if newest is None:
        return Text("nothing yet", _GREY), Text("–", _GREY), Text()
    score, alarm = newest.scores[newest.label], worker.alarms.get(newest.label)
    style = _CALM if alarm is None else _ALARM if score >= alarm else _UNSURE
    style = _GREY if _is_silent(camera, worker) else style
    filled = min(_BAR_WIDTH, max(0, int(score * _BAR_WIDTH + 0.5))) if score >= 0 else 0  # a NaN fills nothing
    bar = Text.assemble(("█" * filled, style), ("░" * (_BAR_WIDTH - filled), _GREY))
    return Text(printable(newest.label), style), Text(f"{score:.2f}", style), bar


def _alarm(camera: CameraSnapshot) -> Text:
    if not camera.active:
        return Text()
    longest = max(camera.active, key=lambda event: event.end_us - event.start_us)
    others = f" +{len(camera.active) - 1}" if len(camera.active) > 1 else ""
    return Text(f"{printable(longest.label)} for {_lasted(longest)}{others}", _ALARM)


def _state(camera: CameraSnapshot, worker: WorkerSnapshot) -> Text:
    quiet = _is_silent(camera, worker) or camera.behind_seconds is None
    style = _GREY if quiet else _ALARM if _is_late(camera) else ""
    return Text(camera_state(camera, worker), style)


def _last_event(event: Event | None) -> Text:
    return Text(f"{printable(event.label)} {moment(rfc3339(event.start_us))}, {_lasted(event)}" if event else "")


def _skipped(skipped: Counter[str]) -> str:
    return ", ".join(f"{n} {skip_reason(reason)}" for reason, n in sorted(skipped.items()))


def _lasted(event: Event) -> str:
    return duration((event.end_us - event.start_us) / 1e6)


def _newest_events(snapshot: WorkerSnapshot) -> list[tuple[Event, str]]:
    """Each event once, as its newest report has it, and whether it goes on: first those that do, the newest first."""
    newest: dict[str, Event] = {}
    for event in snapshot.newest_events:
        newest[event.id] = event
    # What a tracker holds is newer than what it reported.
    active = {event.id: event for camera in snapshot.cameras for event in camera.active}
    states = [
        *((event, "going on") for event in active.values()),
        # One that neither ended nor is held went with its camera to another worker.
        *((e, "ended" if e.ending else "with another worker") for name, e in newest.items() if name not in active),
    ]
    return sorted(states, key=lambda pair: (pair[1] == "going on", pair[0].start_us, pair[0].camera), reverse=True)


def _events(events: Sequence[tuple[Event, str]]) -> list[_Column]:
    def cells(words: Callable[[Event], str], going_on: str, over: str) -> list[Text]:
        return [Text(printable(words(event)), going_on if state == "going on" else over) for event, state in events]

    states = [Text(state, _ALARM if state == "going on" else _GREY) for _, state in events]
    return [
        _Column("events", cells(lambda e: e.label, _ALARM, "red"), rank=0),
        _Column("camera", cells(lambda e: e.camera, "bold", ""), rank=0, shortened=True),
        _Column("began (UTC)", cells(lambda e: moment(rfc3339(e.start_us)), "", _GREY), rank=2),
        _Column("lasted", cells(_lasted, "", ""), rank=3, right=True, least=6),
        _Column("peak score", cells(lambda e: f"{e.peak_score:.2f}", "", ""), rank=4, right=True),
        _Column("", states, rank=1, least=8),
    ]


def _no_events(snapshot: WorkerSnapshot) -> Text:
    return Text("no events yet", style=_GREY) if snapshot.alarms else Text(NO_EVENTS, style=_UNSURE)


def _aligned(columns: Sequence[_Column], width: int) -> list[Text]:
    """A header and a line for each row, of the columns that have room in `width`."""
    # Those that leave last come first; columns of rank 0 stay in any case.
    order = sorted(range(len(columns)), key=lambda place: columns[place].rank)
    kept, free = [], width + _GAP
    for place in order:
        free -= columns[place].width + _GAP
        if free < 0 and columns[place].rank:
            break
        kept.append(place)
    over = max(0, sum(columns[place].width + _GAP for place in kept) - _GAP - width)
    lines = [Text() for _ in range(1 + len(columns[0].cells))]
    for column in (columns[place] for place in sorted(kept)):
        room = max(1, column.width - over) if column.shortened else column.width
        for line, cell in zip(lines, (Text(column.header, _GREY), *column.cells), strict=True):
            _shorten(cell, room)
            space = " " * (room - cell.cell_len)
            line.append_text(Text.assemble(space, cell) if column.right else Text.assemble(cell, space))
            line.append(" " * _GAP)
    for line in lines:
        line.rstrip()
    return lines


def _shorten(text: Text, width: int) -> None:
    """Cut the middle out of `text` where it is wider than `width`: names differ at their ends."""
    if text.cell_len > width:
        kept = max(0, width - 1)
        text.plain = f"{text.plain[: kept - kept // 2]}…{text.plain[len(text.plain) - kept // 2 :]}"


def _title_line(title: str, model: str, width: int) -> Text:
    clock = f" {dt.datetime.now(dt.UTC):%H:%M:%S} UTC "
    line = Text(f" {title} · model {printable(model)}" if model else f" {title}")
    _shorten(line, max(1, width - len(clock)))
    line.append(" " * (width - line.cell_len - len(clock)) + clock)
    line.stylize("bold white on blue")
    return line


def _footer(snapshot: WorkerSnapshot, kinds: Mapping[str, _Kind], width: int) -> Text:
    """How many cameras are how, and whether the worker keeps up; the last parts leave where there is no room."""
    kinds_now = Counter(kinds.values())
    urgent = [f"{kinds_now[k]} {_KIND_WORDS[k]}" for k in _Kind if k <= _Kind.LATE and kinds_now[k]]
    parts = [", ".join([count(len(kinds), "camera"), *urgent]), f"{count(snapshot.waiting, 'segment')} waiting"]
    if snapshot.latency_seconds is not None:
        parts.append(f"typically {duration(snapshot.latency_seconds)} behind")
    parts.append("Ctrl-C ends this")
    while len(parts) > 1 and len(" · ".join(parts)) > width:
        parts.pop()
    return Text(" · ".join(parts), _GREY)
