"""Whether a partition still holds the records that were taken of it, and if not, up to where it does.

A broker that loses its power may lose the newest records, and give their offsets to others:

    taken      … 95  96  97  98  99 │            marks: checksums of 99, 98, 96, 92, …
    now        … 95  96  a   b   c   d  …        96 is as it was: what is behind it was lost, and is read

Marks lie the further apart the older they are: twice as far back as the newest that differs, one is found that does
not, however many there were.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from stream import Partition, Record, Transport

#: Of a partition: some 2**23 records back.
_MOST: Final = 48


@dataclass(frozen=True, slots=True)
class Mark:
    """A record that was taken."""

    offset: int
    crc32: int


def mark_of(record: Record) -> Mark:
    """What a record is known by."""
    crc32 = zlib.crc32(record.value or b"", zlib.crc32(record.key or b"", record.sent_us & 0xFFFFFFFF))
    for name, content in record.headers:
        crc32 = zlib.crc32(content, zlib.crc32(name.encode(errors="replace"), crc32))
    return Mark(record.offset, crc32)


def thinned(marks: Sequence[Mark], taken: int) -> list[Mark]:
    """Those of the marks below `taken`, in the order of their offsets, that are to be kept."""
    kept: list[Mark] = []  # the newest first
    for mark in reversed(marks):
        if len(kept) > 1 and taken - mark.offset <= 2 * (taken - kept[-2].offset):
            kept.pop()
        kept.append(mark)
    return kept[:_MOST][::-1]


@dataclass(frozen=True, slots=True)
class Known:
    """What was taken of a partition."""

    #: The offset after the newest record.
    taken: int
    #: In the order of their offsets.
    marks: Sequence[Mark]


def lost_tails(
    transport: Transport, known: Mapping[Partition, Known], bounds: Mapping[Partition, tuple[int, int]]
) -> dict[Partition, int]:
    """Of partitions that do not hold any more what was taken: the first offset that may be another record's.

    Args:
        transport: the broker.
        known: by partition.
        bounds: by partition, the first offset that is kept and the end.

    Raises:
        BrokerError: the broker does not answer.
    """
    newest = {p: each.marks[-1] for p, each in known.items() if each.marks and _is_kept(each.marks[-1], bounds[p])}
    differ = _differing(transport, newest)
    return {
        partition: _whole_up_to(transport, partition, each.marks, bounds[partition])
        for partition, each in known.items()
        if each.taken > bounds[partition][1] or partition in differ
    }


def _whole_up_to(transport: Transport, partition: Partition, marks: Sequence[Mark], bounds: tuple[int, int]) -> int:
    for mark in reversed(marks):
        if _is_kept(mark, bounds) and not _differing(transport, {partition: mark}):
            return mark.offset + 1
    return bounds[0]


def _is_kept(mark: Mark, bounds: tuple[int, int]) -> bool:
    return bounds[0] <= mark.offset < bounds[1]


def _differing(transport: Transport, marks: Mapping[Partition, Mark]) -> set[Partition]:
    """Partitions that hold another record. One that has none there, where offsets have gaps, tells nothing."""
    found = transport.read({partition: (mark.offset, mark.offset + 1) for partition, mark in marks.items()})
    return {p for record in found if mark_of(record) != marks[p := (record.topic, record.partition)]}
