"""How often something was started again of late: what may be so only so often within a time."""

from __future__ import annotations

from collections import deque


class Restarts:
    """Of one thing, within a time that goes along."""

    def __init__(self, window_seconds: float) -> None:
        self._window_seconds = window_seconds
        self._times: deque[float] = deque()

    def note(self, now: float) -> None:
        """Count one, at a time of any clock that only goes forward."""
        self._times.append(now)

    def within(self, now: float) -> int:
        """How many there were in the time before `now`."""
        while self._times and now - self._times[0] > self._window_seconds:
            self._times.popleft()
        return len(self._times)

    @property
    def newest(self) -> float:
        """When the last one was; long ago where there was none of late."""
        return self._times[-1] if self._times else float("-inf")
