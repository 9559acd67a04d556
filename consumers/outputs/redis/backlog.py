"""How far Redis is behind the topics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from consumers.records.states.away import Away
from stream import Partition


@dataclass(frozen=True, slots=True)
class ProjectionState:
    """How far Redis is behind the topics."""

    #: Records on the topics that Redis does not show yet, of the partitions of this process.
    behind: int = 0
    #: What is waited for and since when, in words; None where nothing is.
    awaited: str | None = None
    #: What that is made of.
    away: Away | None = None
    #: The share of a rebuild that is done, 0 to 1; None where none is under way.
    rebuilt: float | None = None
    #: Records that were read and cannot be shown.
    left_out: int = 0


class Backlog:
    """What is on partitions and not shown yet, also where the consumer does not know of it."""

    def __init__(self) -> None:
        #: Where partitions ended when they were last looked at, of those that have not been read so far.
        self._unread: dict[Partition, int] = {}

    def begin(self, ends: Mapping[Partition, int], positions: Mapping[Partition, int]) -> None:
        """Reading goes on at these positions, of partitions that end there now."""
        self._unread = {partition: end for partition, end in ends.items() if positions[partition] < end}

    def add(self, ends: Mapping[Partition, int]) -> None:
        """Partitions end there now."""
        self._unread |= ends

    def behind(
        self,
        lag: int,
        positions: Mapping[Partition, int],
        progress: Callable[[], Mapping[Partition, tuple[int, int]] | None],
    ) -> int:
        """How many records are not shown, about.

        Args:
            lag: what the consumer knows of, and what was read and not written.
            positions: what is to be shown next.
            progress: asks the consumer where it is, and where partitions end.
        """
        # What lies behind a new position is not known before it was fetched, and the last offsets may hold no record.
        self._unread = {p: end for p, end in self._unread.items() if positions[p] < end}
        if self._unread and not lag:
            read = progress() or {}
            self._unread = {p: end for p, end in self._unread.items() if p not in read or read[p][0] < end}
        return lag or sum(end - positions[p] for p, end in self._unread.items())
