"""How a process ends when it is told to: in order within some seconds, and at once when it is told again.

    SIGTERM, SIGINT, SIGHUP ──▶ `stop` is set: what is in hand is finished ──▶ the process ends by itself
                                    │ not within `seconds`        │ a second signal
                                    ▼                             ▼
                          last acts, then the process exits    it exits (not for SIGHUP)

A thread of its own hears the signals and sees to the rest. Python's handlers run on the main thread, which may be
inside a model, a decoder or a broker's client for long.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

log = logging.getLogger(__name__)

#: SIGHUP: the terminal is gone, and what ran in it ends in order. It never counts as a second signal: a shell sends it
#: behind the kernel, and systemd behind SIGTERM.
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: The same signal that comes again sooner is the same request: `timeout` sends it to a process, and then to its group.
_SAME_SIGNAL_SECONDS: Final = 0.2
#: How long before the end of its time a process turns to its last acts, and what share of its time they may take.
_LAST_SECONDS: Final = 1.5
_LAST_SHARE: Final = 0.4
#: What is written to the thread that hears signals. No signal has these numbers.
_OVER: Final = 254
_ASKED: Final = 255
_EXIT_OF_SIGNAL: Final = 128


class Ending:
    """Whether a process is to end, and who sees to it that it does."""

    def __init__(
        self, seconds: float | None = None, code: int = 0, *, before_exit: Callable[[], None] = lambda: None
    ) -> None:
        """Prepare; `listen` begins.

        Args:
            seconds: within which the process has ended after it was asked to. None: it takes what it takes. 0: nothing
                is in hand yet. May be changed until then.
            code: exit code of a process that has not ended in time. May be changed.
            before_exit: called before such an exit, and before one at a second signal; it must be quick.
        """
        self.seconds, self.code = seconds, code
        self._before_exit = before_exit
        #: Why it is to end, said where it has not ended in time: whoever would say it then does not come to it.
        self.why: str | None = None
        #: Whether the process is to end.
        self.stop = threading.Event()
        #: All that matters is stored and said: what is left may be cut short without a word.
        self.is_done = False
        self._acts: list[Callable[[], None]] = []
        self._writer: socket.socket | None = None
        #: Nobody starts this process again: a person has ended it, or whoever runs it is gone.
        self.is_for_good = False

    def ask(self, *, for_good: bool = False) -> None:
        """End the process, as a signal does."""
        self.is_for_good |= for_good
        self.stop.set()
        self._tell(_ASKED)

    @contextlib.contextmanager
    def within(self, seconds: float | None) -> Iterator[None]:
        """While the body runs, the process has ended within so many seconds instead."""
        before, self.seconds = self.seconds, seconds
        try:
            yield
        finally:
            self.seconds = before

    @contextlib.contextmanager
    def last(self, act: Callable[[], None]) -> Iterator[None]:
        """Call `act`, by another thread, where the process does not end in time while the body runs.

        All such acts are called at once, and nobody waits for them for longer than a second or two.
        """
        self._acts.append(act)
        try:
            yield
        finally:
            self._acts.remove(act)

    @contextlib.contextmanager
    def listen(self) -> Iterator[None]:
        """Hear SIGINT, SIGTERM and SIGHUP while the body runs, on the main thread; `nohup` keeps the last one away."""
        reader, self._writer = socket.socketpair()
        for end in (reader, self._writer):
            end.settimeout(0)
        heard = [each for each in _SIGNALS if each != signal.SIGHUP or signal.getsignal(each) != signal.SIG_IGN]
        before = {number: signal.signal(number, self._handle) for number in heard}
        descriptor = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._hear, args=(reader,), name="signals", daemon=True).start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(descriptor)
            for number, handler in before.items():
                signal.signal(number, handler)
            self._tell(_OVER)
            self._writer.close()

    def _handle(self, number: int, _: object) -> None:
        """On the main thread, sooner or later: what it does next knows of the signal."""
        self.is_for_good |= number == signal.SIGINT
        self.stop.set()

    def _tell(self, what: int) -> None:
        if self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer.send(bytes([what]))

    def _hear(self, reader: socket.socket) -> None:
        first: tuple[int, float] | None = None
        asked_at: float | None = None
        while True:
            seconds = None if asked_at is None else self._left(asked_at)
            if not select.select([reader], [], [], seconds)[0]:
                return self._give_up()
            now = time.monotonic()
            for number in reader.recv(64):
                if number == _OVER:
                    reader.close()
                    return None
                if number in {signal.SIGINT, signal.SIGTERM}:
                    if first is not None and (number != first[0] or now - first[1] >= _SAME_SIGNAL_SECONDS):
                        self._exit(_EXIT_OF_SIGNAL + number)
                    first = first or (number, now)
                    self.is_for_good |= number == signal.SIGINT
                elif number not in {_ASKED, signal.SIGHUP}:
                    continue
                self.stop.set()
                asked_at = asked_at or now

    def _left(self, asked_at: float) -> float | None:
        """Seconds until the last acts are due."""
        if self.seconds is None:
            return None
        last = min(_LAST_SECONDS, _LAST_SHARE * self.seconds)
        return max(0.0, asked_at + self.seconds - last - time.monotonic())

    def _give_up(self) -> None:
        assert self.seconds is not None
        # Whatever the main thread hangs in, it may hold a lock that one of them wants.
        wanted = [*([] if self.is_done else [self._say]), *self._acts] if self.seconds else []
        acts = [threading.Thread(target=act, name="last act", daemon=True) for act in wanted]
        for each in acts:
            each.start()
        deadline = time.monotonic() + min(_LAST_SECONDS, _LAST_SHARE * self.seconds)
        for each in acts:
            each.join(max(0.0, deadline - time.monotonic()))
        if self.why is not None:
            os.write(2, f"clipline: {self.why}\n".encode())
        self._exit(self.code)

    def _say(self) -> None:
        log.warning("not all was finished within %g s: what is not stored is left to whoever comes next", self.seconds)

    def _exit(self, code: int) -> None:
        # It writes to a terminal, which may hang.
        last = threading.Thread(target=self._before_exit, daemon=True)
        last.start()
        last.join(0.2)
        os._exit(code)
