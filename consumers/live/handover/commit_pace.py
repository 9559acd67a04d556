"""When what was taken is to be committed: soon, but not so often that commits take the time of the work."""

from __future__ import annotations

import time
from typing import Final

#: What was taken is committed at the end of the first batch after so long, or sooner where nothing else is to be done …
COMMIT_SECONDS: Final = 0.25
#: … but not so soon that commits would take more than one part in so many of the time, unless it is this late.
_COMMIT_SHARE: Final = 10
_LATEST_COMMIT_SECONDS: Final = 2.0


class CommitPace:
    """Of one worker."""

    def __init__(self) -> None:
        #: When the first record was taken that is not yet committed.
        self.taken_at: float | None = None
        #: When the last commit was over, and how long it took.
        self._committed_at = self._took = 0.0

    def note_taken(self) -> None:
        """Something was taken that is to be committed."""
        if self.taken_at is None:
            self.taken_at = time.monotonic()

    def due_in(self, *, is_busy: bool) -> float:
        """Seconds until what was taken is to be committed; `is_busy`: there is more to be done."""
        if self.taken_at is None:
            return float("inf")
        due = self.taken_at + (COMMIT_SECONDS if is_busy else 0.0)
        rested = self._committed_at + _COMMIT_SHARE * self._took
        return min(max(due, rested), self.taken_at + _LATEST_COMMIT_SECONDS) - time.monotonic()

    def committed(self, began: float, now: float) -> None:
        """A commit is over."""
        self._committed_at, self._took = now, now - began

    def clear(self) -> None:
        """Nothing is left to be committed."""
        self.taken_at = None
