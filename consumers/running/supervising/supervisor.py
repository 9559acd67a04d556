"""Keeping processes running: started again when they die or hang, with a limit, and ended with whoever started them.

    this process ──stdin: nothing, its end is our end──▶ child (python -m consumers.running.child …)
                 ◀──stdin, the other way: signs of life┤
                 ◀──stdout and stderr: its log lines───┘

A child is out of the terminal's reach (Ctrl-C is for us, and we end the children in order). It ends by itself when its
stdin does, so that a supervisor that is killed leaves nothing running. One that gives no sign of life (pulse.py) is
told to write down where its threads are, and killed.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from consumers.restarts import Restarts
from consumers.running.child import EXIT_FINISHED, EXIT_REFUSED, EXIT_SERVICE_AWAY, EXIT_STOPPED, TURNS
from consumers.running.logs import BoundedLog, message_of

from .blame import Blame, LastWords
from .pulse import STACKS_SIGNAL, Vigil
from .turns import encode_turns

#: Seconds before a process is started again: doubling from the first to the last.
RESTART_SECONDS: Final = (0.5, 30.0)
#: A process that has lived for so long starts anew with the shortest pause.
_STEADY_SECONDS: Final = 60.0
#: What the others do without and cannot be kept running is tried again so much later: a port or a file may be there by
#: then.
_LATER_SECONDS = 60.0
#: It runs again once it has lived for so long; until then it may still be starting.
_BACK_SECONDS = 30.0
#: Of the time in which all are to end, so much is for the first of them alone: the others work on what it has made.
FIRST_SHARE: Final = 0.5
_LAST_LINES: Final = 5
#: One that hangs has so long to write down where its threads are.
_STACKS_SECONDS: Final = 1.0


class ProcessFailedError(Exception):
    """A process cannot be kept running; the message says which, why, and where its log is."""


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """A process to keep running."""

    #: Names it in messages, and its log file.
    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    #: Whether the others are of no use without it. One that is not needed and cannot be kept running is tried
    #: again once a minute.
    is_needed: bool = True
    #: Finds out of which camera it dies, if it reads any. Deaths that are explained so do not count.
    blame: Blame | None = None


class RestartPolicy:
    """When a process is started again: at growing pauses, so often within a time."""

    def __init__(self, max_restarts: int, window_seconds: float) -> None:
        self._max_restarts, self._window_seconds = max_restarts, window_seconds
        self._deaths, self._count = Restarts(window_seconds), 0
        self._pause = RESTART_SECONDS[0]

    def pause(self, now: float, lived_seconds: float, *, counts: bool) -> float | None:
        """Seconds to wait before the next start; None if there have been too many.

        Args:
            now: when the process died, on any clock that only goes forward.
            lived_seconds: how long it had run.
            counts: whether it is to blame. One that waits for a service is not.
        """
        if counts:
            self._deaths.note(now)
        self._count = self._deaths.within(now)
        if self._count > self._max_restarts:
            return None
        if lived_seconds >= _STEADY_SECONDS:
            self._pause = RESTART_SECONDS[0]
        pause, self._pause = self._pause, min(2 * self._pause, RESTART_SECONDS[1])
        return pause

    @property
    def said(self) -> str:
        """How often it was started again, of how often it may be."""
        return f"restart {self._count} of at most {self._max_restarts} in {self._window_seconds:g} s"


class Supervisor:
    """Runs children until `stop`. One thread drives it: `start`, then `check` a few times a second."""

    def __init__(
        self,
        specs: Sequence[ChildSpec],
        logs: Path,
        *,
        max_restarts: int,
        window_seconds: float,
        stuck_seconds: float,
        say: Callable[[str], None],
    ) -> None:
        """Prepare.

        Args:
            specs: what to run, in the order in which they are ended.
            logs: folder of the log files; it has to be there.
            max_restarts: starts after the first one of each process, within the window.
            window_seconds: the window.
            stuck_seconds: after how long a main loop that does not turn counts as stuck.
            say: told in a line what died, why, and what happens now.
        """
        self._say = say
        self._kept = [_Kept(spec, logs, RestartPolicy(max_restarts, window_seconds), stuck_seconds) for spec in specs]

    def start(self) -> None:
        for kept in self._kept:
            kept.start()

    def check(self) -> None:
        """End what hangs, and start again what has died, when it is due.

        Raises:
            ProcessFailedError: a process that is needed died too often, or said at once that it cannot do what it is
                asked for.
        """
        for kept in self._kept:
            if (news := kept.check()) is not None:
                self._say(news)

    def pids(self) -> dict[str, int]:
        """Process numbers of those that run, by name."""
        return {kept.spec.name: kept.child.pid for kept in self._kept if kept.child is not None}

    def stop(self, seconds: float) -> list[str]:
        """End everything; return the names of those that had to be killed.

        Args:
            seconds: in which all of them are to end in order: the first one, and then the others at once.
        """
        now = time.monotonic()
        deadlines = [now + FIRST_SHARE * seconds, now + seconds]
        for group, deadline in zip((self._kept[:1], self._kept[1:]), deadlines, strict=True):
            for kept in group:
                kept.tell_to_end()
            for kept in group:
                kept.wait(deadline)
        killed = [kept.spec.name for kept in self._kept if not kept.end(deadlines[-1])]
        for kept in self._kept:
            kept.close()
        return killed


class _Kept:
    """One process, from start to start."""

    def __init__(self, spec: ChildSpec, logs: Path, policy: RestartPolicy, stuck_seconds: float) -> None:
        self.spec, self._policy, self._stuck_seconds = spec, policy, stuck_seconds
        self._log = BoundedLog(logs / f"{spec.name}.log")
        self.child: subprocess.Popen[bytes] | None = None
        self.finished = False
        self._pump: threading.Thread | None = None
        self._last: deque[str] = deque(maxlen=_LAST_LINES)
        self._started = 0.0
        self._start_at: float | None = None
        #: Why lines of the log were lost; told once.
        self._log_problem: str | None = None
        self._log_problem_told = False
        #: Why it cannot be kept running, as it was told last; None while it runs.
        self._told_why: str | None = None
        #: Whether it has run for a while, so that it can do what it is asked for.
        self._has_run = False
        #: Our end of its standard input, and who hears what it says there.
        self._line: socket.socket | None = None
        self._vigil: Vigil | None = None
        #: Why it hangs, and when it is killed.
        self._hangs: tuple[str, float] | None = None
        #: What faulthandler wrote of its end.
        self._words = LastWords()

    def start(self) -> None:
        self._last.clear()
        self._started, self._start_at, self._hangs = time.monotonic(), None, None
        environment, blame, self._words = dict(self.spec.environment), self.spec.blame, LastWords()
        if blame is not None and (turns := blame.turns()):
            environment[TURNS] = encode_turns(turns)
        self._line, theirs = socket.socketpair()
        with theirs:
            self.child = subprocess.Popen(  # noqa: S603  our own commands
                list(self.spec.command),
                env=environment,
                stdin=theirs.fileno(),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._vigil = Vigil(self._line, self._stuck_seconds, told=None if blame is None else blame.heard)
        self._pump = threading.Thread(target=self._drain, args=(self.child, self._words), daemon=True)
        self._pump.start()

    def check(self) -> str | None:
        now = time.monotonic()
        if self._log_problem is not None and not self._log_problem_told:
            self._log_problem_told = True
            return self._log_problem
        if self.child is None:
            return None if self._start_at is None or now < self._start_at else self._start_again(now)
        code = self.child.poll()
        if code is None:
            self._end_what_hangs(self.child, now)
            return self._back(now)
        self._reap()
        if code == EXIT_FINISHED:
            self.finished = True
            return f"{self.spec.name} has nothing more to do"
        why = self._why(code)
        try:
            return self._start_later(code, why, now)
        except ProcessFailedError:
            # What did run is refused by something that has changed: a file, a port, a device. That may come back.
            if self.spec.is_needed and not (self._has_run and code == EXIT_REFUSED):
                raise
            return self._start_much_later(why, now)

    def _whose(self, code: int) -> str | None:
        """Which camera it has died of, and what follows, in words; None where nobody knows, or it reads none."""
        assert self._vigil is not None
        return None if self.spec.blame is None else self.spec.blame.died(code, self._words, self._vigil.heard_at)

    def _start_again(self, now: float) -> str | None:
        try:
            self.start()
        except OSError as error:  # no memory, no file descriptors: whoever has them may give some back
            pause = self._policy.pause(now, 0.0, counts=False)
            assert pause is not None
            self._start_at = now + pause
            why = error.strerror or str(error)
            return f"{self.spec.name} cannot be started ({why}); trying again in {pause:g} s"
        return None

    def _end_what_hangs(self, child: subprocess.Popen[bytes], now: float) -> None:
        assert self._vigil is not None
        if self._hangs is not None:
            if now >= self._hangs[1]:
                child.kill()
        elif (why := self._vigil.hangs()) is not None:
            self._hangs = why, now + _STACKS_SECONDS
            child.send_signal(STACKS_SIGNAL)

    def _start_later(self, code: int, why: str, now: float) -> str:
        if code == EXIT_REFUSED:
            raise ProcessFailedError(f"{self.spec.name}: {why}")
        if (whose := self._whose(code)) is not None:
            self._start_at = now + RESTART_SECONDS[0]
            return f"{self.spec.name} ended: {why}; {whose}; starting it again in {RESTART_SECONDS[0]:g} s"
        pause = self._policy.pause(now, now - self._started, counts=code != EXIT_SERVICE_AWAY)
        if pause is None:
            last = "".join(f"\n  {line}" for line in self._last)
            raise ProcessFailedError(
                f"{self.spec.name} ended again: {why}; {self._policy.said}. Its log is {self._log.path}, its last "
                f"lines are:{last or ' (none)'}"
            )
        self._start_at = now + pause
        if code == EXIT_SERVICE_AWAY:
            return f"{self.spec.name} waits for a service: {why}; trying again in {pause:g} s"
        return f"{self.spec.name} ended: {why}; starting it again in {pause:g} s ({self._policy.said})"

    def _start_much_later(self, why: str, now: float) -> str | None:
        self._start_at = now + _LATER_SECONDS
        told, self._told_why = self._told_why, why
        if told == why:
            return None
        return (
            f"{self.spec.name} does not run, the others go on: {why}; it is tried again every {_LATER_SECONDS:g} s. "
            f"Its log is {self._log.path}"
        )

    def _back(self, now: float) -> str | None:
        if now - self._started < _BACK_SECONDS:
            return None
        self._has_run = True
        if self._told_why is None:
            return None
        self._told_why = None
        return f"{self.spec.name} runs again"

    def tell_to_end(self) -> None:
        """Ask the process to end for good."""
        self._start_at = None
        if self.child is not None and self.child.poll() is None:
            assert self._line is not None
            self._line.close()
            self.child.terminate()

    def wait(self, deadline: float) -> bool:
        """Return whether the process has ended by then, `time.monotonic()`."""
        if self.child is None:
            return True
        try:
            self.child.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return False
        return True

    def end(self, deadline: float) -> bool:
        """Kill the process if it has not ended by then; return whether it ended in order."""
        in_order = self.wait(deadline)
        if self.child is not None:
            if not in_order:
                self.child.kill()
            self._reap()
        return in_order

    def close(self) -> None:
        self._log.close()

    def _reap(self) -> None:
        assert self.child is not None
        assert self._line is not None
        assert self._pump is not None
        assert self._vigil is not None
        self.child.wait()
        self._vigil.hear()  # what it said last
        self._line.close()
        # What it had said; a process of its own that lives on would hold the pipe open.
        self._pump.join(timeout=1.0)
        self.child = None

    def _why(self, code: int) -> str:
        last = message_of(self._last[-1]) if self._last else ""
        if self._hangs is not None:
            return f"it hung ({self._hangs[0]}) and was killed, see {self._log.path}"
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        if code == EXIT_STOPPED:
            return "told to stop by another process"
        if code in {EXIT_REFUSED, EXIT_SERVICE_AWAY} and last:
            return last
        return f"exit code {code}" + (f", {last}" if last else "")

    def _drain(self, child: subprocess.Popen[bytes], words: LastWords) -> None:
        assert child.stdout is not None
        with child.stdout:
            for line in child.stdout:
                self._last.append(line.decode(errors="replace").rstrip())
                words.read(line)
                try:
                    self._log.write(line)
                except OSError as error:
                    # Goes on: nobody else empties the pipe, and a child that cannot write would hang.
                    self._log_problem = f"{self._log.path} cannot be written ({error.strerror}): log lines are lost"
