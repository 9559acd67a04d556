"""Printing that nobody waits for: a terminal that is paused, or a pipe that nobody reads, takes nothing for hours."""

from __future__ import annotations

import contextlib
import copy
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

log = logging.getLogger(__name__)

#: So much waits to be printed at most.
_MOST: Final = 1000
#: What takes longer is held up: until then whoever has more to print than there is room for waits.
_HELD_UP_SECONDS: Final = 1.0
#: At the end, what is left to be done has no longer than this.
_FINISH_SECONDS: Final = 10.0


class UnhurriedOutput:
    """Does what prints, one act after the other, in a thread of its own.

    Where the output is held up, what there is no room for is left out, counted, and told when it moves again.
    """

    def __init__(self, missing: Callable[[int], None], most: int = _MOST) -> None:
        """Begin.

        Args:
            missing: prints that so many acts are missing.
            most: so many acts wait.
        """
        self._missing, self._most = missing, most
        self._acts: deque[Callable[[], None]] = deque()
        #: Of acts each of which makes those before it needless: the newest.
        self._newest: Callable[[], None] | None = None
        self._left_out = 0
        self._began: float | None = None
        self._over = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="output", daemon=True)
        self._thread.start()

    def do(self, act: Callable[[], None]) -> None:
        """Have `act` done, behind all before it."""
        with self._changed:
            # It would wait for itself; and what it has to say is that it cannot print.
            is_own = threading.current_thread() is self._thread
            while len(self._acts) >= self._most and not (is_own or self._is_held_up):
                self._changed.wait(0.1)
            if is_own or len(self._acts) < self._most:
                self._acts.append(act)
                self._changed.notify_all()
            else:
                self._left_out += 1

    def show(self, act: Callable[[], None]) -> None:
        """Have `act` done when there is nothing else to do, unless another one comes before that."""
        with self._changed:
            self._newest = act
            self._changed.notify_all()

    def finish(self) -> bool:
        """Do what is left, unless the output is held up; return whether all was done."""
        deadline = time.monotonic() + _FINISH_SECONDS
        with self._changed:
            self._over = True
            self._changed.notify_all()
        while self._thread.is_alive() and not self._is_held_up and time.monotonic() < deadline:
            self._thread.join(0.05)
        return not self._thread.is_alive()

    def wait(self) -> None:
        """Do what is left, behind `finish`, however long that takes."""
        self._thread.join()

    @contextlib.contextmanager
    def logged(self) -> Iterator[None]:
        """While the body runs, the log is written by this thread, too: it goes where all else goes."""
        before = list(logging.root.handlers)
        logging.root.handlers[:] = [_Handler(self, before)]
        try:
            yield
        finally:
            logging.root.handlers[:] = before

    @property
    def _is_held_up(self) -> bool:
        return self._began is not None and time.monotonic() - self._began > _HELD_UP_SECONDS

    def _run(self) -> None:
        while (act := self._next()) is not None:
            try:
                act()
            except Exception:
                log.exception("cannot be shown")
            with self._changed:
                self._began = None
                self._changed.notify_all()

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            while not (self._acts or self._newest or self._left_out or self._over):
                self._changed.wait()
            self._began = time.monotonic()
            if self._acts:
                return self._acts.popleft()
            if count := self._left_out:
                self._left_out = 0
                return lambda: self._missing(count)
            if self._over:
                return None
            act, self._newest = self._newest, None
            return act


class _Handler(logging.Handler):
    def __init__(self, output: UnhurriedOutput, handlers: list[logging.Handler]) -> None:
        super().__init__()
        self._output, self._handlers = output, handlers

    def emit(self, record: logging.LogRecord) -> None:
        # Put into words now: what it is about may be another by then.
        record = copy.copy(record)
        record.msg, record.args = record.getMessage(), None
        self._output.do(lambda: self._write(record))

    def _write(self, record: logging.LogRecord) -> None:
        for each in self._handlers:
            if record.levelno >= each.level:
                each.handle(record)
