"""Up to where the records of each partition are accounted for, and what became of those that are of no camera.

offsets    0 … 16   17 … 41      42                    taken: 17; the broker has deleted what is before 42
deleted      the next record       25 records are lost to retention
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from consumers.live.figures.accounts import CameraCounts
from consumers.live.figures.measures import Measures
from stream import Partition, Record

from .marks import Known, Mark, mark_of, thinned
from .progress import PartitionProgress

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Taken:
    """A partition, see `PartitionProgress`."""

    offset: int = 0
    no_camera: CameraCounts = field(default_factory=CameraCounts)
    lost_to_retention: int = 0
    lost_by_broker: int = 0
    marks: list[Mark] = field(default_factory=list)


class TakenRecords:
    """Of the partitions that a worker has."""

    def __init__(self, measures: Measures) -> None:
        self._measures = measures
        self._partitions: dict[Partition, _Taken] = {}
        #: Those that changed since `changes` was asked last.
        self._changed: dict[Partition, None] = {}
        #: The first offset that the broker still had when it was asked last.
        self._kept_from: dict[Partition, int] = {}

    @property
    def has_changed(self) -> bool:
        return bool(self._changed)

    @property
    def lost_to_retention(self) -> int:
        """Records that the broker deleted before anybody took them."""
        return sum(taken.lost_to_retention for taken in list(self._partitions.values()))

    def is_new(self, partition: Partition) -> bool:
        """Whether no record of a partition was taken yet."""
        return partition not in self._partitions

    def begin(self, partition: Partition, offset: int) -> None:
        """Note where the group begins with a partition: what is deleted behind it is lost, too."""
        self._partitions.setdefault(partition, _Taken(offset))

    def next_offset(self, partition: Partition) -> int:
        """The one after the newest record that was taken; 0 before the first."""
        return taken.offset if (taken := self._partitions.get(partition)) is not None else 0

    def take(self, partition: Partition, record: Record) -> None:
        """Account for the next record, and for those before it that are not there any more."""
        taken = self._partitions.setdefault(partition, _Taken())
        first = min(record.offset, self._kept_from.get(partition, 0))
        if 0 < taken.offset < first:
            self._lose(partition, taken, first)
        taken.offset = record.offset + 1
        taken.marks.append(mark_of(record))
        self._changed[partition] = None

    def deleted(self, partition: Partition, first: int) -> None:
        """Note that the broker keeps no record of a partition before `first` any more.

        Those before it that nobody takes are counted once the next one is taken.
        """
        self._kept_from[partition] = first

    def bury(self, partition: Partition, frames: int) -> None:
        """Count a dead letter that is of no camera."""
        self._partitions[partition].no_camera.bury(frames)

    def no_camera(self) -> CameraCounts:
        """The account of records that are of no camera, over all partitions."""
        total = CameraCounts()
        for taken in self._partitions.values():
            total.add(taken.no_camera)
        return total

    def restore(self, partition: Partition, progress: PartitionProgress) -> None:
        self._partitions[partition] = _Taken(
            progress.taken,
            progress.no_camera,
            progress.lost_to_retention,
            progress.lost_by_broker,
            list(progress.marks),
        )

    def known(self) -> dict[Partition, Known]:
        """What was taken of each partition."""
        return {p: Known(taken.offset, tuple(taken.marks[-1:])) for p, taken in self._partitions.items()}

    def lose_tail(self, partition: Partition, first: int) -> None:
        """Take anew what has offsets from `first` on: the records that were taken there are lost, and others come."""
        taken = self._partitions[partition]
        lost = taken.offset - first
        log.warning(
            "%s[%d]: the broker has lost %d of its newest segments, offsets %d to %d, which this group had taken (was "
            "its power cut, with one replica?): what it has in their place by now is read, and nothing is told twice",
            *(*partition, lost, first, taken.offset - 1),
        )
        taken.offset, taken.marks = first, [mark for mark in taken.marks if mark.offset < first]
        taken.lost_by_broker += lost
        self._measures.lost_by_broker.inc(lost)
        self._changed[partition] = None

    def drop(self, partitions: Iterable[Partition]) -> None:
        for partition in partitions:
            self._partitions.pop(partition, None)
            self._kept_from.pop(partition, None)
            self._changed.pop(partition, None)

    def changes(self) -> Iterator[tuple[Partition, PartitionProgress]]:
        """What a successor has to know since the last call."""
        for partition in self._changed:
            taken = self._partitions[partition]
            taken.marks = thinned(taken.marks, taken.offset)
            yield (
                partition,
                PartitionProgress(
                    partition[1],
                    taken.offset,
                    taken.no_camera,
                    taken.lost_to_retention,
                    taken.lost_by_broker,
                    tuple(taken.marks),
                ),
            )
        self._changed = {}

    def _lose(self, partition: Partition, taken: _Taken, first: int) -> None:
        lost = first - taken.offset
        log.warning(
            "%s[%d]: the broker has deleted %d segments, offsets %d to %d, before a worker came to them: raise "
            "topics.retention_hours, or start more workers",
            *(*partition, lost, taken.offset, first - 1),
        )
        taken.lost_to_retention += lost
        self._measures.lost_to_retention.inc(lost)
