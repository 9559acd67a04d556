"""Progress of long work: bars with the time left, or a line per quarter where no bar can be drawn."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from consumers.terminal.console import Output

_PLAIN_STEPS: Final = 4
#: A line at least this often while a task goes on, whether or not it gets anywhere.
_PLAIN_SECONDS: Final = 5.0
#: Before that a speed says nothing.
_SPEED_SECONDS: Final = 0.5


@contextlib.contextmanager
def task_progress(console: Output) -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function that is told the name of a task, how much of it is done and how much there is."""
    if not console.is_terminal:
        tasks = _PlainTasks(console)
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(_PLAIN_SECONDS / 5):
                tasks.remind()

        watcher = threading.Thread(target=watch, name="progress", daemon=True)
        watcher.start()
        try:
            yield tasks.show
        finally:
            ended.set()
            watcher.join()
        return
    columns = (
        TextColumn("{task.description:22}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),  # moves where a single step takes minutes
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        bars: dict[str, TaskID] = {}

        def show(name: str, done: int, total: int) -> None:
            if name not in bars:
                bars[name] = progress.add_task(name, total=total)
            progress.update(bars[name], completed=done)

        yield show


class _PlainTasks:
    """Lines where no bar can be drawn: when a task begins, at each quarter, and every few seconds of a long one.

    What is told from threads and what `remind` finds are told one after the other.
    """

    def __init__(self, console: Output) -> None:
        self._console = console
        self._lock = threading.Lock()
        #: By task: the quarter that was said last.
        self._quarters: dict[str, int] = {}
        #: The task of which something was heard last, how much of it is done and of how much; None before the first.
        self._newest: tuple[str, int, int] | None = None
        #: When it began, and when something was said last.
        self._begun = self._said = 0.0

    def show(self, name: str, done: int, total: int) -> None:
        with self._lock:
            now, quarter = time.monotonic(), done * _PLAIN_STEPS // max(1, total)
            if self._newest is None or self._newest[0] != name:
                self._begun = now
            self._newest = name, done, total
            before = self._quarters.get(name, -1)
            if quarter > before or (done < total and now - self._said >= _PLAIN_SECONDS):
                self._quarters[name] = max(before, quarter)
                self._said = now
                self._console.print(f"{name}: {done} of {total}", soft_wrap=True)

    def remind(self) -> None:
        """Say how long the newest task has taken, if nothing was said for some seconds."""
        with self._lock:
            now = time.monotonic()
            if self._newest is None or now - self._said < _PLAIN_SECONDS:
                return
            self._said = now
            name, done, total = self._newest
            doing = f"{name}: {done} of {total}" if done < total else f"after {name}"
            self._console.print(f"{doing}, {now - self._begun:.0f} s", soft_wrap=True)


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
