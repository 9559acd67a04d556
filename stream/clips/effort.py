"""How much is made of a segment: all of it, or less where footage comes faster than it can be worked off.

    windows of an epoch       0   1   2   3   4   5   6   7   8   9
    every                     1   1   1   2   2   2   4   4   4   1
    wanted                    x   x   x       x               x   x

Less is always a part of the same grid: a window that is made has the number, the pictures and the scores that it has in
a replay.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is made of one segment."""

    #: 0 is everything; more is less.
    level: int = 0
    #: Of the windows that begin in the segment, those whose number is a multiple of this.
    every: int = 1
    #: Whether only pictures are decoded that need no other: each stands until the next.
    keyframes_only: bool = False
    #: Why nothing is made of the segment; its frames are skipped under this name.
    skipped: str | None = None
    #: Wall seconds that the segment had waited when this was decided.
    behind_seconds: float = field(default=0.0, compare=False)


EVERYTHING: Final = Effort()


class Thinning:
    """Which windows of an epoch are wanted, as it was decided where each begins."""

    def __init__(self, changes: Iterable[tuple[int, int]] = ()) -> None:
        #: From which window on each so-many-th is wanted, ascending.
        self._changes = deque(changes)
        if any(every < 1 for _, every in self._changes):
            raise ValueError(f"windows {list(self._changes)}: expected each first, second, …")

    @property
    def changes(self) -> tuple[tuple[int, int], ...]:
        """What another one has to know to go on."""
        return tuple(self._changes)

    def note(self, window: int, every: int) -> None:
        """Want each `every`-th window from `window` on; what was noted of later ones stays."""
        last, before = self._changes[-1] if self._changes else (-1, 1)
        if every != before and window > last:
            self._changes.append((window, every))

    def wants(self, window: int) -> bool:
        every = next((every for first, every in reversed(self._changes) if first <= window), 1)
        return window % every == 0

    def forget_before(self, window: int) -> None:
        """Forget what is only about earlier windows."""
        while len(self._changes) > 1 and self._changes[1][0] <= window:
            self._changes.popleft()
