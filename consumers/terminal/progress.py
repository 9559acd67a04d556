"""Progress of long work: bars with the time left, or a line per quarter where no bar can be drawn."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Final

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from consumers.terminal.console import Output

_PLAIN_STEPS: Final = 4
#: A line at least this often, where work goes on.
_PLAIN_SECONDS: Final = 10.0
#: Before that a speed says nothing.
_SPEED_SECONDS: Final = 0.5


@contextlib.contextmanager
def task_progress(console: Output) -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function that is told the name of a task, how much of it is done and how much there is."""
    if not console.is_terminal:
        yield _PlainTasks(console).show
        return
    columns = (
        TextColumn("{task.description:22}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        tasks: dict[str, TaskID] = {}

        def show(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=total)
            progress.update(tasks[name], completed=done)

        yield show


class _PlainTasks:
    """Lines where no bar can be drawn: when a task begins, at each quarter, and every few seconds of a long one."""

    def __init__(self, console: Output) -> None:
        self._console = console
        #: By task: the quarter that was said last, and when that was.
        self._said: dict[str, tuple[int, float]] = {}

    def show(self, name: str, done: int, total: int) -> None:
        now, quarter = time.monotonic(), done * _PLAIN_STEPS // max(1, total)
        before, at = self._said.get(name, (-1, now))
        if quarter > before or (done < total and now - at >= _PLAIN_SECONDS):
            self._said[name] = max(before, quarter), now
            self._console.print(f"{name}: {done} of {total}", soft_wrap=True)


@contextlib.contextmanager
def footage_progress(console: Output) -> Iterator[Callable[[str, float, float], None]]:
    """Yield a function that is told what is being done, and to how many seconds of footage of how many.

    Shows the speed, in seconds of footage a second.
    """
    columns = (
        TextColumn("{task.description:12}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:.0f} of {task.total:.0f} s", markup=False),
        TextColumn("{task.fields[speed]}", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        tasks: dict[str, TaskID] = {}
        quarters: dict[str, int] = {}

        def show(name: str, done: float, total: float) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=total, speed="")
            task = tasks[name]
            elapsed = progress.tasks[list(tasks).index(name)].elapsed or 0.0
            speed = f"{done / elapsed:.0f} times real time" if elapsed >= _SPEED_SECONDS else ""
            progress.update(task, completed=done, speed=speed)
            quarter = int(done * _PLAIN_STEPS / total) if total else 0
            if not console.is_terminal and quarter > quarters.get(name, 0):
                quarters[name] = quarter
                left = f", {speed}, {elapsed * (total - done) / done:.0f} s left" if speed else ""
                console.print(f"{name}: {done:.0f} of {total:.0f} s{left}")

        yield show
