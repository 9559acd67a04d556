"""Which offsets may be committed: those before which nobody needs a record any more.

A pure account of the records that were read. Of each it knows one of three things:

    read      it is on its way through the decoders
    holds     it is footage of a camera; whether that is still needed is asked when offsets are due
    settled   nobody needs it

An offset is due when all records of its partition before it are settled or no longer needed, and stays due until it is
known to be committed.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from stream import Partition


@dataclass(frozen=True, slots=True)
class Footage:
    """What a record shows."""

    camera: str
    epoch_us: int
    end_us: int


@dataclass(slots=True)
class _Entry:
    footage: Footage | None = None
    settled: bool = False


class OffsetLedger:
    """Records in, in the order of their partition; offsets to commit out."""

    def __init__(self) -> None:
        # Not a plain dict, whose first entry is slow to find once many before it were deleted.
        self._open: dict[Partition, OrderedDict[int, _Entry]] = defaultdict(OrderedDict)
        self._due: dict[Partition, int] = {}
        #: After the newest record that was read.
        self._next: dict[Partition, int] = {}
        #: Offsets of records that are not needed any more, and not yet known to be committed.
        self._released: dict[Partition, deque[int]] = defaultdict(deque)

    @property
    def unacknowledged(self) -> int:
        """How many records were read and are not known to be committed."""
        return sum(map(len, self._open.values())) + sum(map(len, self._released.values()))

    @property
    def partitions(self) -> set[Partition]:
        """Those with records that are not settled."""
        return {partition for partition, entries in self._open.items() if entries}

    def read(self, partition: Partition, offset: int) -> None:
        """Note a record that was read: the next one of its partition."""
        self._open[partition][offset] = _Entry()
        self._next[partition] = offset + 1

    def skips(self, partition: Partition, offset: int) -> bool:
        """Whether the next record of a partition has an offset behind the one after the last."""
        return offset > self._next.get(partition, offset)

    def repeats(self, partition: Partition, offset: int) -> bool:
        """Whether the next record of a partition has an offset before the one after the last."""
        return offset < self._next.get(partition, 0)

    def holds(self, partition: Partition, offset: int, footage: Footage) -> None:
        """Note what a record shows."""
        self._open[partition][offset].footage = footage

    def settle(self, partition: Partition, offset: int) -> None:
        """Note that nobody needs a record."""
        self._open[partition][offset].settled = True

    def revoke(self, partitions: Iterable[Partition]) -> None:
        """Forget partitions that went to another member: it begins with what was committed."""
        for partition in partitions:
            self._open.pop(partition, None)
            self._due.pop(partition, None)
            self._next.pop(partition, None)
            self._released.pop(partition, None)

    def due(self, is_needed: Callable[[Footage], bool]) -> dict[Partition, int]:
        """Return by partition the offset to commit: of the first record that is still needed, or of the next to come.

        Only partitions whose offset is not yet known to be committed.
        """
        for partition, entries in self._open.items():
            while entries:
                offset, entry = next(iter(entries.items()))
                if not entry.settled and (entry.footage is None or is_needed(entry.footage)):
                    break
                del entries[offset]
                self._due[partition] = offset + 1
                self._released[partition].append(offset)
        return dict(self._due)

    def first(self) -> dict[Partition, int]:
        """By partition that was read: the first record that is not released, or the next to come."""
        return {p: next(iter(self._open[p]), after) for p, after in self._next.items()}

    def committed(self, offsets: Mapping[Partition, int]) -> None:
        """Note that offsets were stored."""
        for partition, offset in offsets.items():
            released = self._released[partition]
            while released and released[0] < offset:
                released.popleft()
            if self._due.get(partition) == offset:
                del self._due[partition]
