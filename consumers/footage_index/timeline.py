"""What of a stretch of time is there. Pure: segments as the index names them in, in any order; an answer out.

asked      ├───────────────────────────────┤
agent 5    ▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪                      had lost the camera, and went on sending
agent 7               ▪▪▪▪▪▪▪▪▪    ▪▪▪▪▪▪▪▪▪▪▪
answer     ▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪gap▪▪▪▪▪▪▪▪▪▪
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from consumers.forgetting import NOTHING_FORGOTTEN, ForgottenBook
from consumers.records.index.page import IndexedSegment

#: So far from an interval, segments of an agent with a higher claim tell that one at its border does not count.
MARGIN_US: Final = 60_000_000

#: Event times in microseconds: begin, and end.
Interval = tuple[int, int]


@dataclass(frozen=True, slots=True)
class FoundFootage:
    """What the index says of one camera between two event times, in microseconds."""

    camera: str
    from_us: int
    to_us: int
    #: In order, each with a part of the interval; of an agent that had lost the camera only what no other sent.
    segments: tuple[IndexedSegment, ...]
    #: Those before the first one that decoders need, from where decoding can begin.
    context: tuple[IndexedSegment, ...]
    #: Parts of the interval of which there is nothing.
    gaps: tuple[Interval, ...]
    #: Segments that the index names of it, and of which retention has taken the footage. They are in no gap's favour:
    #: where they were is a gap.
    gone: int
    #: What of it could not be read or is not known, in words.
    notes: tuple[str, ...] = ()
    #: Segments that are still there, of stretches that are forgotten: left out, and where they are is a gap.
    forgotten: int = 0

    @property
    def covered_us(self) -> int:
        return self.to_us - self.from_us - sum(end - begin for begin, end in self.gaps)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Segments of one feed without a gap between them."""

    segments: tuple[IndexedSegment, ...]

    @property
    def first(self) -> IndexedSegment:
        return self.segments[0]

    @property
    def last(self) -> IndexedSegment:
        return self.segments[-1]

    @property
    def size(self) -> int:
        return sum(s.size for s in self.segments)


def stretches(segments: Iterable[IndexedSegment]) -> list[Stretch]:
    """Segments that are in order of time, by what a player shows without a break."""
    found: list[list[IndexedSegment]] = []
    for segment in segments:
        if found and found[-1][-1].run == segment.run and found[-1][-1].end_us >= segment.start_us:
            found[-1].append(segment)
        else:
            found.append([segment])
    return [Stretch(tuple(each)) for each in found]


def answer(
    camera: str,
    interval_us: Interval,
    named: Iterable[IndexedSegment],
    kept: Mapping[int, int],
    notes: Sequence[str] = (),
    book: ForgottenBook = NOTHING_FORGOTTEN,
) -> FoundFootage:
    """What is there of an interval.

    Args:
        camera: its id.
        interval_us: begin and end.
        named: what pages of the index name of it, and of what is before it.
        kept: by partition of the topic of segments, the first offset that is there.
        notes: of what could not be read.
        book: what is forgotten.
    """
    begin_us, end_us = interval_us
    everything, withheld = _remembered(camera, named, book)
    forgotten = sum(
        s.offset >= kept.get(s.partition, 0) and s.start_us < end_us and s.end_us > begin_us for s in withheld
    )
    near = [s for s in everything if s.start_us < end_us + MARGIN_US and s.end_us > begin_us - MARGIN_US]
    there = resolved([s for s in near if s.offset >= kept.get(s.partition, 0)])
    inside = [s for s in there if s.start_us < end_us and s.end_us > begin_us]
    gone = sum(s.offset < kept.get(s.partition, 0) and s.start_us < end_us and s.end_us > begin_us for s in near)
    return FoundFootage(
        camera,
        begin_us,
        end_us,
        tuple(inside),
        _context(everything, kept, inside[0]) if inside else (),
        gaps(inside, interval_us),
        gone,
        (*notes, *_said(camera, withheld, book, interval_us)),
        forgotten,
    )


def _remembered(
    camera: str, named: Iterable[IndexedSegment], book: ForgottenBook
) -> tuple[list[IndexedSegment], list[IndexedSegment]]:
    """The segments of no forgotten stretch, and the others."""
    own = book.stretches(camera)
    if not own:
        return list(named), []
    kept: list[IndexedSegment] = []
    withheld: list[IndexedSegment] = []
    for segment in named:
        is_forgotten = any(each.touches(segment.start_us, segment.end_us) for each in own)
        (withheld if is_forgotten else kept).append(segment)
    return kept, withheld


def _said(camera: str, withheld: Sequence[IndexedSegment], book: ForgottenBook, interval_us: Interval) -> Iterator[str]:
    if withheld:
        yield from (each.described() for each in book.stretches(camera) if each.touches(*interval_us))


def resolved(segments: Iterable[IndexedSegment]) -> list[IndexedSegment]:
    """Segments in order of time, each once: of agents that sent one time, those of the highest claim."""
    once: dict[tuple[int, str, int, int], IndexedSegment] = {}
    for segment in sorted(segments, key=lambda s: (-s.run.claim, s.number)):
        once.setdefault((segment.run.epoch_us, segment.run.feed, segment.sequence, segment.start_us), segment)
    taken: list[Interval] = []
    found: list[IndexedSegment] = []
    for _, group in itertools.groupby(once.values(), key=lambda s: s.run.claim):
        own = [s for s in group if not _overlaps(taken, s)]
        found += own
        taken = _union([*taken, *((s.start_us, s.end_us) for s in own if s.duration_us)])
    return sorted(found, key=lambda s: (s.start_us, s.number))


def gaps(segments: Iterable[IndexedSegment], interval_us: Interval) -> tuple[Interval, ...]:
    """Parts of the interval that no segment covers."""
    at, end = interval_us
    found = []
    for begin_us, end_us in _union([(s.start_us, s.end_us) for s in segments if s.duration_us]):
        if begin_us > at:
            found.append((at, min(begin_us, end)))
        at = max(at, end_us)
        if at >= end:
            break
    if at < end:
        found.append((at, end))
    return tuple(found)


def _context(
    named: Iterable[IndexedSegment], kept: Mapping[int, int], first: IndexedSegment
) -> tuple[IndexedSegment, ...]:
    """The segments before `first` of which the last one is continued by it; none where one of them is missing."""
    if first.begins:
        return ()
    # An epoch that begins amid a group of pictures goes on with the sequence of the one before.
    there = {s.number: s for s in named if s.offset >= kept.get(s.partition, 0)}
    found, newest = [], first
    while not newest.begins:
        before = there.get(newest.number - 1)
        if before is None or not before.continued or before.sequence != newest.sequence - 1:
            return ()
        found.append(before)
        newest = before
    return tuple(reversed(found))


def _overlaps(taken: Sequence[Interval], segment: IndexedSegment) -> bool:
    at = bisect.bisect_right(taken, (segment.start_us, 1 << 62)) - 1
    return (at >= 0 and taken[at][1] > segment.start_us) or (at + 1 < len(taken) and taken[at + 1][0] < segment.end_us)


def _union(intervals: Iterable[Interval]) -> list[Interval]:
    merged: list[Interval] = []
    for begin, end in sorted(intervals):
        if merged and begin <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        else:
            merged.append((begin, end))
    return merged
