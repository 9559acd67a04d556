"""`clipline status` in a terminal: a line for each camera, agent and worker, and a sentence that says how it is.

    camera   state               frames/s   behind  newest        worker
    dock-1   failed 40 s         no data for 40 s (connection refused)
    gate     live 2 h 3 min            25    0.4 s  normal 0.98        1

Names, states and numbers are never cut. What has no room is left out in this order: the worker, frames/s, how long the
state lasts; of why a camera gives nothing, the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from consumers.printable import printable
from consumers.running.named import Named
from consumers.running.overview import MAX_BEHIND_SECONDS, CameraLine, Overview
from consumers.running.state_topics import StatesFollower

from .wording import NO_EVENTS, count, duration

_STYLES: Final = {
    "live": "green",
    "connecting": "yellow",
    "opening": "yellow",
    "stalled": "bold red",
    "failed": "bold red",
    "lost": "bold red",
    "ended": "bright_black",
}
_GREY: Final = "bright_black"
#: A wrong clock is told from a part in a thousand on.
_DRIFT_SHOWN: Final = 0.001
#: So many records are not shown in Redis yet before it is said.
_REDIS_BEHIND_SHOWN: Final = 100
_GAP: Final = 2
_DRAW_SECONDS: Final = 0.5
#: Columns that are left out where there is no room, the first one first.
_LEAVE_OUT: Final = ("worker", "frames/s", "for")
#: What is left of a reason at least.
_LEAST_TROUBLE: Final = 20
#: So many cameras are named in a line.
_NAMED: Final = 10


class StatusView:
    """A rich renderable of an overview."""

    def __init__(self, now: Overview) -> None:
        self._now = now

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self.lines(options.max_width):
            line.no_wrap, line.overflow = True, "crop"
            yield line
        yield Text(self._now.sentence, style="bold red" if self._now.problems else "bold green")

    def lines(self, width: int) -> list[Text]:
        """All but the sentence, each at most `width` columns wide where names allow it."""
        lines = [] if self._now.kafka is None else [Text(f"Kafka at {self._now.kafka}", style=_GREY)]
        lines += _cameras(self._now, width) if self._now.cameras else []
        if self._now.unnamed:
            named = ", ".join(map(printable, self._now.unnamed[:_NAMED]))
            more = " …" if len(self._now.unnamed) > _NAMED else ""
            lines.append(Text(f"not in the settings: {named}{more}", style="yellow"))
        for camera in self._now.cameras:
            part = camera.state.feed.drift_ppm / 1e6
            if abs(part) >= _DRIFT_SHOWN and camera.status == "live":
                slow = "slow" if part > 0 else "fast"
                words = f"{camera.state.feed.camera}: its clock is {abs(part):.1%} {slow}; its times are corrected"
                lines.append(Text(words, style=_GREY))
        only = self._now.silent_together is None
        for agent in self._now.agents:
            words = f"agent  {agent.agent.id}  {count(agent.cameras, 'camera')}, {agent.live} live"
            lines.append(_process(words, agent.age_seconds, dead=agent.dead, ended=agent.ended, only=only))
        for number, worker in enumerate(self._now.workers, 1):
            state = worker.state
            waiting = state.lag if state.waiting is None else state.waiting
            words = f"worker {number}  {state.name}  {count(len(state.cameras), 'camera')}, {waiting} waiting"
            line = _process(words, worker.age_seconds, dead=worker.dead, ended=state.status == "ended", only=only)
            lines.append(line.append(f"  {state.model} on {state.engine}", style=_GREY))
            if (state.redis_behind or 0) >= _REDIS_BEHIND_SHOWN and not worker.dead and state.status == "working":
                lines.append(Text(f"worker {number}: Redis is {state.redis_behind} records behind", style="yellow"))
            if state.lost_to_retention:
                lost = count(state.lost_to_retention, "segment")
                lines.append(
                    Text(f"worker {number}: {lost} deleted by the broker before it came to them", style="yellow")
                )
            if state.alarms == () and state.status == "working":
                lines.append(Text(f"worker {number} raises {NO_EVENTS}", style="yellow"))
        return lines


def watch_status(console: Console, follower: StatesFollower, named: Named, stop: Callable[[], bool]) -> None:
    """Show the view anew twice a second until `stop()`."""
    with Live(console=console, auto_refresh=False) as live:
        while not stop():
            now = named.beside(follower.overview(), follower.states.cameras)
            live.update(StatusView(now), refresh=True)
            follower.poll(_DRAW_SECONDS)


def _process(words: str, age_seconds: float, *, dead: bool, ended: bool, only: bool) -> Text:
    """A line about a process; `only`: it alone is silent, so that it must have died."""
    if dead:
        silent = f"died {duration(age_seconds)} ago" if only else f"not heard of for {duration(age_seconds)}"
        return Text(f"{words}  {silent}", style="bold red")
    if ended:
        return Text(f"{words}  ended {duration(age_seconds)} ago", style=_GREY)
    return Text.assemble(words, (f"  {duration(age_seconds)} ago", _GREY))


def _cameras(now: Overview, width: int) -> list[Text]:
    numbers = {worker.state.worker.id: str(n) for n, worker in enumerate(now.workers, 1)}
    rows = [_cells(line, numbers, now.time_us) for line in now.cameras]
    columns = [name for name in rows[0] if any(row[name].plain for row in rows)]
    widths = {name: max(len(name), *(row[name].cell_len for row in rows)) for name in columns}

    def needed() -> int:
        return sum(widths[name] for name in columns) + _GAP * (len(columns) - 1)

    for name in _LEAVE_OUT:
        if needed() > width and name in columns:
            columns.remove(name)
    header = Text("  ".join(_padded(Text(name), name, widths[name]).plain for name in columns), style="dim")
    return [header, *(_row(line, row, columns, widths, width) for line, row in zip(now.cameras, rows, strict=True))]


def _row(line: CameraLine, row: dict[str, Text], columns: Sequence[str], widths: dict[str, int], width: int) -> Text:
    """A camera's cells; where it gives nothing, why, in place of those that would be empty."""
    named = [name for name in columns if name in {"camera", "state", "for"}]
    cells = Text("  ").join(_padded(row[name], name, widths[name]) for name in (named if line.trouble else columns))
    if line.trouble:
        room = max(_LEAST_TROUBLE, width - cells.cell_len - _GAP)
        trouble = printable(line.trouble)
        short = trouble if len(trouble) <= room else trouble[: room - 1] + "…"
        cells.append(f"  {short}", style=_STYLES[line.status])
    return cells


def _cells(line: CameraLine, numbers: dict[str, str], now_us: int) -> dict[str, Text]:
    feed, classified = line.state.feed, line.classified
    behind = classified.behind_seconds if classified else None
    late = behind is not None and behind > MAX_BEHIND_SECONDS
    cells = {
        "camera": Text(printable(feed.camera), style="bold"),
        "state": Text(line.status, style=_STYLES[line.status]),
        "for": Text(duration(max(0.0, (now_us - feed.since_us) / 1e6))),
        "frames/s": Text(f"{feed.frames_per_second:.0f}"),
        "behind": Text("" if behind is None else duration(behind), style="bold red" if late else ""),
        "newest": _newest(line),
        "worker": Text(numbers.get(line.worker.worker.id, "") if line.worker else ""),
    }
    if line.trouble:
        return {name: cell if name in {"camera", "state", "for"} else Text() for name, cell in cells.items()}
    return cells


def _newest(line: CameraLine) -> Text:
    classified = line.classified
    if classified is None or classified.label is None or classified.score is None:
        return Text("no worker" if classified is None else "waiting", style=_GREY)
    return Text(f"{printable(classified.label)} {classified.score:.2f}", style="bold red" if classified.events else "")


def _padded(cell: Text, name: str, width: int) -> Text:
    padded = cell.copy()
    if name in {"for", "frames/s", "behind"}:
        padded.pad_left(width - padded.cell_len)
    else:
        padded.pad_right(width - padded.cell_len)
    return padded
