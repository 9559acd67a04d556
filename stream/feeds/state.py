"""How a camera's feed is doing: what its segments say and how long ago the newest one came, never a guess.

| status     | the newest segment came                                    | its connection          |
|------------|------------------------------------------------------------|-------------------------|
| connecting | less than 10 s ago, or never and the agent is as young     | not open, or not yet    |
| opening    | the same, of a file or folder                              | not open, or not yet    |
| live       | less than 10 s ago                                         | open                    |
| stalled    | never or more than 10 s ago                                | open, or opening        |
| failed     | never or more than 10 s ago                                | none, and `why` says so |
| ended      | does not matter: footage is over or the agent stopped      | none                    |
|            | or, with `has_failed`: it could not be read, and nobody tries again                  |
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from .agent import Attached
from .cutting.segmenter import SegmentLimits
from .reasons import code_of

FeedStatus = Literal["connecting", "opening", "live", "stalled", "failed", "ended"]

#: A camera that gives no segment for so long is no longer live, whatever the reason.
QUIET_SECONDS: Final = 10.0
#: Frames a second are counted over so long.
_RATE_SECONDS: Final = 10.0
_RATE_SAMPLES: Final = 100


def quiet_after(limits: SegmentLimits) -> float:
    """After how many seconds without a segment a camera is no longer live: more where segments are long."""
    return max(QUIET_SECONDS, 3 * limits.max_seconds)


@dataclass(frozen=True, slots=True)
class FeedState:
    """One camera's feed at one moment. Times are wall clock in microseconds since the Unix epoch."""

    camera: str
    status: FeedStatus
    #: When this status began.
    since_us: int
    #: In a few words, without the camera's address: why nothing comes, or why it ended.
    why: str | None = None
    #: When the newest segment came; None before the first.
    data_us: int | None = None
    segments: int = 0
    frames: int = 0
    bytes: int = 0
    frames_per_second: float = 0.0
    #: Of the newest segment; empty and 0 before the first.
    codec: str = ""
    width: int = 0
    height: int = 0
    #: Event time at which the newest segment ended; 0 before the first.
    end_us: int = 0
    #: How much slower than time the camera's clock is, in millionths of the time that passed; its times are corrected.
    drift_ppm: int = 0
    #: `why` in one word, for programs (`reasons.py`); None where it has none.
    code: str | None = None
    #: It has ended since it could not be read: nobody tries again.
    has_failed: bool = False

    @property
    def shown(self) -> FeedStatus:
        """The status for whoever looks: what its agent has given up has failed, as what it still tries."""
        return "failed" if self.has_failed else self.status


class FeedWatch:
    """Tells the state of one feed from what `attach` reports. Any thread may report or ask."""

    def __init__(
        self,
        camera: str,
        *,
        is_footage: bool = False,
        quiet_seconds: float = QUIET_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        wall_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._camera, self._quiet_seconds, self._clock, self._wall_us = camera, quiet_seconds, clock, wall_us
        self._lock = threading.Lock()
        self._attached = Attached()
        self._not_yet: FeedStatus = "opening" if is_footage else "connecting"
        self._status: FeedStatus = self._not_yet
        self._since_us = wall_us()
        self._segments = 0
        self._data_at = clock()
        self._data_us: int | None = None
        self._ended: str | None = None
        self._has_failed = False
        #: When and how many frames there were, the oldest first.
        self._frames: deque[tuple[float, int]] = deque([(clock(), 0)], maxlen=_RATE_SAMPLES)

    def update(self, attached: Attached) -> None:
        """Take what an attachment says of itself."""
        with self._lock:
            self._attached = attached
            if attached.segments > self._segments:
                self._segments = attached.segments
                self._data_at, self._data_us = self._clock(), self._wall_us()

    def end(self, why: str) -> None:
        """Nothing comes any more, as it should be; the first reason is kept."""
        with self._lock:
            self._ended = self._ended or why

    def fail(self, why: str) -> None:
        """Nothing comes any more, as it cannot be read, and nobody tries again; the first reason is kept."""
        with self._lock:
            if self._ended is None:
                self._ended, self._has_failed = why, True

    def state(self) -> FeedState:
        with self._lock:
            now, attached = self._clock(), self._attached
            status = self._status_at(now)
            if status != self._status:
                self._status, self._since_us = status, self._wall_us()
            why = self._ended or attached.problem
            return FeedState(
                camera=self._camera,
                status=status,
                since_us=self._since_us,
                why=why,
                data_us=self._data_us,
                segments=attached.segments,
                frames=attached.frames,
                bytes=attached.bytes,
                frames_per_second=self._rate(now) if status == "live" else 0.0,
                codec=attached.codec,
                width=attached.width,
                height=attached.height,
                end_us=attached.end_us,
                drift_ppm=attached.drift_ppm,
                code=code_of(why),
                has_failed=self._has_failed,
            )

    def _status_at(self, now: float) -> FeedStatus:
        problem = self._attached.problem
        if self._ended is not None:
            return "ended"
        if now - self._data_at >= self._quiet_seconds:
            return "stalled" if problem is None else "failed"
        return "live" if problem is None and self._data_us is not None else self._not_yet

    def _rate(self, now: float) -> float:
        if now - self._frames[-1][0] > _RATE_SECONDS:
            self._frames.clear()  # it was not live meanwhile
        self._frames.append((now, self._attached.frames))
        while len(self._frames) > 2 and now - self._frames[1][0] > _RATE_SECONDS:
            self._frames.popleft()
        since, before = self._frames[0]
        return round((self._attached.frames - before) / (now - since), 1) if now > since else 0.0
