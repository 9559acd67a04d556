"""Which cameras have fallen silent: their records have all been worked off, and for a while none has come.

    look              1          2          3          4
    stored until      17         17         19         19       what the broker says
    worked off until  12         17         17         19
    known up to       -          1          2          2        the newest look at which nothing was stored that waits

A camera is silent from its newest record up to the look that its partition is known up to. A record that waits, on the
broker or in the worker, therefore never counts as silence, and neither does time in which nobody looked: the process
was stopped, the machine slept, a flush took long, or the broker did not answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from stream import Partition

_LONGEST_LOOK_SECONDS: Final = 5.0


@dataclass(slots=True)
class _Progress:
    """What is known of a partition."""

    #: Nothing that had come until then waits any more.
    known_up_to: float
    #: The look that is waited for: when it was, and the end of the partition then.
    looked_at: float
    end: int


class SilenceWatch:
    """Looks now and then; time passes here with looks only."""

    def __init__(self, idle_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._idle_seconds, self._clock = idle_seconds, clock
        self._look_seconds = min(_LONGEST_LOOK_SECONDS, idle_seconds / 8)
        self._looked_at = clock()
        #: Seconds in which somebody looked and was answered.
        self._now = 0.0
        self._partitions: dict[Partition, _Progress] = {}
        self._heard: dict[str, tuple[Partition, float]] = {}

    def heard(self, camera: str, partition: Partition) -> None:
        """Note that a record of a camera was taken."""
        self._heard[camera] = partition, self._now

    def forget(self, camera: str) -> None:
        """Note that a camera is gone."""
        self._heard.pop(camera, None)

    @property
    def is_due(self) -> bool:
        """Whether it is time to look."""
        return bool(self._heard) and self._clock() - self._looked_at >= self._look_seconds

    def look(self, worked_off: Mapping[Partition, int], ends: Mapping[Partition, int] | None) -> list[str]:
        """Look; return the cameras that are silent.

        Args:
            worked_off: by partition, the offset of the first record that is still to be worked off.
            ends: by partition, the offset after the last record that is stored; None where the broker does not answer.
        """
        now = self._clock()
        if ends is not None:
            # Looks that are further apart than they should be: somebody was stopped in between, or busy.
            self._now += min(now - self._looked_at, 2 * self._look_seconds)
        self._looked_at = now
        self._partitions = {p: progress for p, progress in self._partitions.items() if p in worked_off}
        for partition, offset in worked_off.items():
            progress = self._partitions.get(partition)
            if progress is not None and offset >= progress.end:
                progress.known_up_to = progress.looked_at
            if ends is not None and partition in ends and (progress is None or offset >= progress.end):
                known = progress.known_up_to if progress else float("-inf")
                self._partitions[partition] = _Progress(known, self._now, ends[partition])
        return [camera for camera, (partition, at) in self._heard.items() if self._is_silent(partition, at)]

    def _is_silent(self, partition: Partition, heard_at: float) -> bool:
        progress = self._partitions.get(partition)
        return progress is not None and progress.known_up_to - heard_at >= self._idle_seconds
