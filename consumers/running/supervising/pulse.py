"""Signs of life: a process that hangs is alive for the system, and dead for everybody who waits for its work.

    supervisor ◀──a line a second: empty, or why its main loop is stuck── child (its standard input, a socket)
               ◀──"+" and what it wants to be known of it, should it die─┤
               ──nothing; its end is the supervisor's end───────────────▶

A process that was stopped, or whose interpreter stands still, says nothing at all. One whose main loop does not turn
still can, as another thread of it speaks: what `/livez` says, goes here.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import socket
import stat
import threading
import time
from collections.abc import Callable
from typing import Final

from consumers.terminal.wording import duration

#: A sign of life comes so often.
PULSE_SECONDS: Final = 1.0
#: Whoever says nothing any more has so much of the time after which a main loop counts as stuck: no work takes as long.
SILENT_SHARE: Final = 0.25
#: A supervisor that did not look for longer stood still itself, and heard nobody: no more than this counts.
_LOOK_SECONDS: Final = 2.0
#: A process that gets it writes to its log where each of its threads is.
STACKS_SIGNAL: Final = signal.SIGUSR1
_MAX_BYTES: Final = 4096
#: What a line begins with that is no sign of life.
_TOLD: Final = "+"
#: A process that stood still as a whole, stopped with all others or with its machine, has so long to go on: its main
#: loop did not turn meanwhile, and is not stuck.
_RESUME_SECONDS: Final = 10.0


class Pulse:
    """Of this process, told whoever started it."""

    def __init__(self) -> None:
        #: Why the main loop does not turn, in words; None while it does.
        self.stuck: Callable[[], str | None] = lambda: None
        self._line: socket.socket | None = None
        faulthandler.register(STACKS_SIGNAL, all_threads=True, chain=False)

    def watch(self, stuck: Callable[[], str | None]) -> None:
        """From now on `stuck` says why the main loop does not turn, in words; None while it does."""
        self.stuck = stuck

    def serving(self, stuck_seconds: float) -> Callable[[Callable[[], float]], None]:
        """What is to be given how long a server has not turned: it is stuck after so many seconds."""

        def watch(still_seconds: Callable[[], float]) -> None:
            def stuck() -> str | None:
                seconds = still_seconds()
                return f"stuck for {duration(seconds)} while serving" if seconds > stuck_seconds else None

            self.watch(stuck)

        return watch

    def begin(self) -> None:
        """Give signs of life until this process ends; nobody is told where a person has started it."""
        if stat.S_ISSOCK(os.fstat(0).st_mode):
            self._line = socket.socket(fileno=os.dup(0))
            threading.Thread(target=self._run, args=(self._line,), name="pulse", daemon=True).start()

    def tell(self, words: str) -> None:
        """Have whoever started this process know something, should it die. Any thread may."""
        if self._line is not None:
            # One that stands still or is gone is not waited for.
            with contextlib.suppress(OSError):
                self._line.send(f"{_TOLD}{words}\n".encode(), socket.MSG_DONTWAIT)

    def _run(self, line: socket.socket) -> None:
        looked, resumed = time.monotonic(), float("-inf")
        while True:
            now = time.monotonic()
            if now - looked > PULSE_SECONDS + _LOOK_SECONDS:
                resumed = now
            looked = now
            stuck = self.stuck() if now - resumed >= _RESUME_SECONDS else None
            try:
                line.send(f"{stuck or ''}\n".encode(), socket.MSG_DONTWAIT)
            except BlockingIOError:
                pass  # our supervisor stands still, and what it misses is not waited for
            except OSError:
                return  # it is gone
            time.sleep(PULSE_SECONDS)


class Vigil:
    """Hears the signs of life of one process, from its start on."""

    def __init__(
        self,
        line: socket.socket,
        stuck_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        told: Callable[[str], None] | None = None,
    ) -> None:
        """Begin.

        Args:
            line: where they come.
            stuck_seconds: after how long a main loop that does not turn counts as stuck.
            clock: in seconds, and only goes forward.
            told: given what the process says besides (`Pulse.tell`).
        """
        self._line, self._clock, self._told = line, clock, told
        self._unfinished = ""
        # At first a process has to be read from a disk, beside all others of a machine that boots.
        self._may_be_silent = stuck_seconds
        self._later_seconds = SILENT_SHARE * stuck_seconds
        self._silent, self._looked = 0.0, clock()
        #: When the process was heard of last.
        self.heard_at = clock()

    def hangs(self) -> str | None:
        """Why the process has to be ended, in words; None while it lives. Ask a few times a second."""
        now = self._clock()
        self._silent += min(now - self._looked, _LOOK_SECONDS)
        self._looked = now
        if said := self.hear():
            self._silent, self._may_be_silent = 0.0, self._later_seconds
            if said[-1]:
                return said[-1]
        return f"no sign of life for {duration(self._silent)}" if self._silent > self._may_be_silent else None

    def hear(self) -> list[str]:
        """Signs of life that came since the last time, the newest last."""
        said = b""
        # The end of the line is the end of the process, which is seen otherwise.
        with contextlib.suppress(OSError):
            while new := self._line.recv(_MAX_BYTES, socket.MSG_DONTWAIT):
                said += new
        if said:
            self.heard_at = self._clock()
        *lines, self._unfinished = (self._unfinished + said.decode(errors="replace")).split("\n")
        for each in lines:
            if each.startswith(_TOLD) and self._told is not None:
                self._told(each.removeprefix(_TOLD))
        return [each for each in lines if not each.startswith(_TOLD)]
