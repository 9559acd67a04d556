"""Which camera brought its agent down, and when the next agent may read it.

    agent ──"a thread of mine reads gate from now on"────────────▶ ┌───────┐
    its log ──faulthandler: a signal ended it in this thread─────▶ │ Blame │ ──when it may begin with gate, and why
    its end ──killed, and nobody knows why───────────────────────▶ └───────┘   not before──▶ the next agent

A signal that ends the process in the thread of a camera is that camera's doing. What is killed from outside (no memory,
a hang) leaves no such witness. After the second such death soon after the agent began with its cameras, the next ones
begin with them group by group, so that the group is known, and then with its members one by one:

    life 1, 2    all at once: killed                     somebody
    life 3       a b c │ d e f: killed                   d, e or f
    life 4       a b c │ │ │ d │ e: killed               e, the first time

A camera that did so three times within an hour is set aside, and the others go on. Then it is read again, and if it
still does it, set aside for twice as long.
"""

from __future__ import annotations

import math
import re
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from consumers.records.prediction import rfc3339
from stream import SET_ASIDE

from .turns import Turn, decode_reading

#: So often within so many seconds, and a camera is set aside: an agent may die of other things, too.
FATAL_TRIES: Final = 3
_TRIES_SECONDS: Final = 3600.0
#: For how long: doubling from the first to the last, as each new try costs all other cameras some seconds if it fails.
#: One that has been read for _TRIES_SECONDS since begins anew.
ASIDE_SECONDS: Final = (600.0, 6 * 3600.0)
#: So many deaths of which nobody knows why, within so many seconds, and cameras are begun group by group.
_UNKNOWN_DEATHS: Final = 2
_UNKNOWN_SECONDS: Final = 600.0
#: What was begun within so many seconds before such a death may be why. Twice as many from one more such death on.
_PROBATION_SECONDS: Final = 10.0
#: Who dies later than so long after it began with its last camera has hardly died of one: somebody killed it.
_SOON_SECONDS: Final = 30.0
#: Cameras that were begun and survived go first in the next life, for so many probations, another number each time: if
#: the agent dies amid these, it was one of them after all, or it dies after so long whatever it reads.
_PROVING: Final = (3, 5, 4)
#: So many deaths without a witness are put on cameras within so many seconds: what dies more often dies of something
#: else.
_GUESSES: Final = 24
_GUESSES_SECONDS: Final = 3600.0
#: One that is asked to end does not end of a camera.
_ASKED: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
#: The line before the stacks of all threads, and of them the one that got the signal. It is missing where there are
#: more than 100, of which faulthandler writes the newest, and where another thread gets one before all is written.
_FATAL: Final = b"Fatal Python error: "
_CURRENT: Final = re.compile(rb"Current thread 0x([0-9a-f]+) ")


class LastWords:
    """What faulthandler writes to a process's log where a signal ends it."""

    def __init__(self) -> None:
        self._is_there = False
        #: The thread that got the signal; None where nobody knows.
        self.thread: int | None = None

    def read(self, line: bytes) -> None:
        """Take a line of the log."""
        self._is_there |= line.startswith(_FATAL)
        # Other threads go on meanwhile, and log amid it.
        if self._is_there and (found := _CURRENT.search(line)):
            self.thread = int(found[1], 16)


@dataclass(slots=True)
class _Account:
    """What a camera has done."""

    deaths: deque[float] = field(default_factory=lambda: deque(maxlen=FATAL_TRIES))
    total: int = 0
    #: For how long it was set aside at last, until when, and that in words.
    aside_seconds: float = 0.0
    until: float = -math.inf
    why: str = ""


class Blame:
    """Knows the lives and deaths of one agent. The supervisor's thread asks and tells."""

    def __init__(
        self,
        cameras: Sequence[str],
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        """Prepare.

        Args:
            cameras: all that the agent reads.
            clock: in seconds, and only goes forward.
            wall_us: the time in microseconds since the Unix epoch.
        """
        self._cameras, self._clock, self._wall_us = list(cameras), clock, wall_us
        self._accounts: dict[str, _Account] = {}
        #: Deaths of which nobody knows why, lately.
        self._unknown: deque[float] = deque()
        #: Cameras to begin with at once, and groups to begin with after them; none: all at once.
        self._proven: set[str] = set()
        self._groups: list[list[str]] = []
        #: How often there were suspects since, and when there were any, lately.
        self._suspected = 0
        self._guesses: deque[float] = deque()
        #: Of this life: cameras that are to wait for their turn, which were begun and when, and by which thread.
        self._turns: dict[str, Turn] = {}
        self._begun: dict[str, float] = {}
        self._threads: dict[int, str] = {}

    def turns(self) -> dict[str, Turn]:
        """When the agent that starts now may begin with cameras; at once with those that are not named."""
        now = self._clock()
        self._begun, self._threads = {}, {}
        first = _PROVING[self._suspected % len(_PROVING)] if self._proven else 0
        self._turns = {
            camera: Turn((first + number) * self._probation_seconds)
            for number, group in enumerate(self._groups)
            for camera in group
        }
        aside = {c: Turn(a.until - now, a.why) for c, a in self._accounts.items() if a.until > now}
        return {c: turn for c, turn in {**self._turns, **aside}.items() if turn.seconds}

    def heard(self, words: str) -> None:
        """Take what the agent says of one of its threads."""
        thread, camera = decode_reading(words)
        self._threads[thread] = camera
        if camera:
            self._begun[camera] = self._clock()

    def died(self, code: int, words: LastWords, alive_at: float) -> str | None:
        """Take the agent's death; return whose doing it was and what follows, in words, or None where nobody knows.

        There are only so many deaths of the first kind, as each leads to a camera that is set aside.

        Args:
            code: its exit code; that of a signal is negative.
            words: what it wrote at its end.
            alive_at: when it gave its last sign of life, by our clock.
        """
        if code >= 0 or -code in _ASKED:
            return None
        now, name = self._clock(), signal.Signals(-code).name
        suspects = self._suspects(alive_at)
        read_seconds = alive_at - max(self._begun.values(), default=alive_at)
        if read_seconds > self._probation_seconds:
            self._groups = []  # all had their turns
        while self._unknown and now - self._unknown[0] > _UNKNOWN_SECONDS:
            self._unknown.popleft()
        if words.thread is not None:
            camera = self._threads.get(words.thread)
            return None if not camera else f"it was reading {camera}{self._blamed(camera, name, now)}"
        if not suspects and read_seconds > _SOON_SECONDS:
            return None
        if not suspects:
            self._unknown.append(now)
            self._proven, self._suspected, active = set(), 0, self._active(now)
            is_careful = len(self._unknown) >= _UNKNOWN_DEATHS and len(active) > 1
            self._groups = _in_groups(active, math.isqrt(len(active))) if is_careful else []
            return None
        self._suspected += 1
        if len(suspects) > 1:
            said = f"it had just begun with {', '.join(suspects)}, of which one may be why"
        else:
            said = f"it had just begun with {suspects[0]}{self._blamed(suspects[0], name, now)}"
        # Those of which nothing is known come first, the suspects last: good cameras do not wait for them.
        left = [[each for each in group if each not in self._begun] for group in self._groups]
        self._groups = [group for group in left if group]
        self._groups += [[camera] for camera in self._active(now) if camera in suspects]
        self._proven = set(self._begun) - set(suspects)
        self._guesses.append(now)
        while now - self._guesses[0] > _GUESSES_SECONDS:
            self._guesses.popleft()
        return said if len(self._guesses) <= _GUESSES else None

    @property
    def _probation_seconds(self) -> float:
        return _PROBATION_SECONDS * (2 if len(self._unknown) > _UNKNOWN_DEATHS else 1)

    def _active(self, now: float) -> list[str]:
        """The cameras that are not set aside."""
        return [c for c in self._cameras if c not in self._accounts or self._accounts[c].until <= now]

    def _suspects(self, alive_at: float) -> list[str]:
        """Those with which the agent began last, shortly before it died; none where that says nothing."""
        newest = max(self._begun.values(), default=-math.inf)
        if alive_at - newest > self._probation_seconds:
            return []
        found = [c for c, at in self._begun.items() if newest - at < self._probation_seconds / 2]
        others = (self._begun.keys() | self._turns.keys()) - set(found)
        return found if others and not self._proven.issuperset(found) else []

    def _blamed(self, camera: str, name: str, now: float) -> str:
        """Put a death on a camera's account; return what follows, in words."""
        account = self._accounts.setdefault(camera, _Account())
        if now - account.until > _TRIES_SECONDS:
            account.aside_seconds = 0.0
        account.deaths.append(now)
        account.total += 1
        recent = sum(now - at <= _TRIES_SECONDS for at in account.deaths)
        if not account.aside_seconds and recent < FATAL_TRIES:
            return f" ({recent} of {FATAL_TRIES} times, then it is set aside)"
        account.aside_seconds = min(2 * account.aside_seconds or ASIDE_SECONDS[0], ASIDE_SECONDS[1])
        account.until = now + account.aside_seconds
        at = _second_of(self._wall_us() + account.aside_seconds * 1e6)
        account.why = f"{SET_ASIDE} until {at}: reading it has ended the agent, {account.total} times by now ({name})"
        return f", which is set aside until {at}"


def _second_of(time_us: float) -> str:
    return f"{rfc3339(int(time_us)).partition('.')[0]}Z"


def _in_groups(cameras: Iterable[str], size: int) -> list[list[str]]:
    left = list(cameras)
    return [left[at : at + size] for at in range(0, len(left), size)]
