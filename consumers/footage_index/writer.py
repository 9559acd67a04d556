"""What an agent writes to the index about one camera. Pure: segments in, in the order of their offsets; records out.

    segments   ▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪▪
    pages      └ hour ──────────────┘└ minute ┘└ min…      the last one is written again as it fills
    contents   hour@17, minute@940, "the rest from 955 on"

A page of a minute is never written again once the next one begins; those of an hour become one when that is over.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from consumers.records.index.contents import IndexContents, PlacedPage
from consumers.records.index.page import MAX_SEGMENTS, FeedRun, IndexedSegment, IndexPage
from stream import Headers

_MINUTE_US: Final = 60_000_000
_HOUR_US: Final = 3_600_000_000
#: Of one minute's page: a page that is written every second stays small, however short its segments are.
_PAGE_SEGMENTS: Final = 500
#: Pages that the contents name: six weeks of hours.
MAX_PAGES: Final = 1_000


@dataclass(frozen=True, slots=True)
class SegmentFacts:
    """What the index takes of a segment. Times are event time in microseconds."""

    epoch_us: int
    sequence: int
    start_us: int
    end_us: int
    container: str
    codec: str
    width: int
    height: int
    size: int
    is_end: bool
    begins: bool
    continued: bool
    claim: int
    feed: str

    @classmethod
    def of(cls, headers: Headers | Mapping[str, bytes]) -> SegmentFacts:
        """Of a record of the topic of segments.

        Raises:
            ValueError, KeyError: it is no segment's.
        """
        facts = dict(headers)
        found = cls(
            int(facts["epoch-us"]),
            int(facts["sequence"]),
            int(facts["start-us"]),
            int(facts["end-us"]),
            facts["container"].decode(),
            facts["codec"].decode(),
            int(facts["width"]),
            int(facts["height"]),
            int(facts["size"]),
            facts["frames"] == facts["size"] == b"0",
            "decode-from-us" not in facts,
            facts.get("continued", b"0") == b"1",
            int(facts.get("claim", b"0")),
            facts.get("feed", b"").decode(),
        )
        if not 0 <= found.epoch_us <= found.start_us <= found.end_us or min(found.sequence, found.size) < 0:
            raise ValueError(f"epoch {found.epoch_us}, interval {found.start_us}..{found.end_us}")
        return found


@dataclass(frozen=True, slots=True)
class Standing:
    """What the index says of a camera now: its contents, and the pages that they do not name yet, with their places."""

    contents: IndexContents | None
    tail: tuple[tuple[int, IndexPage], ...] = ()

    @property
    def end_us(self) -> int:
        """Event time at which what is indexed ends; 0 where nothing is."""
        named = self.contents.pages if self.contents is not None else ()
        return max([0, *(p.end_us for p in named), *(s.end_us for _, page in self.tail for s in page.segments)])


@dataclass(frozen=True, slots=True)
class Merged:
    """A page in the place of several, and the keys of those that nobody needs once it is stored and named."""

    page: IndexPage
    replaced: tuple[PlacedPage, ...]


class CameraWriter:
    """Numbers one camera's segments and lays them on pages.

    Use: `take` segments; store what `pages` gives and say where with `placed`; then store `contents`.
    """

    def __init__(self, camera: str, claim: int, index_partition: int, standing: Standing) -> None:
        """Go on from what the index says.

        Args:
            camera: its id.
            claim: of the agent that writes.
            index_partition: where its pages go.
            standing: what is there of it.
        """
        self.camera, self._claim, self.index_partition = camera, claim, index_partition
        contents = standing.contents
        self._pages: list[PlacedPage] = list(contents.pages) if contents is not None else []
        #: Those that are to be merged, as far as they are at hand: by number.
        self._bodies: dict[int, IndexPage] = {}
        self._run = contents.run if contents is not None else None
        self._number = contents.next_number if contents is not None else 0
        self._partition = contents.partition if contents is not None else 0
        self._since = contents.since_offset if contents is not None else 0
        self._index_end = contents.index_offset if contents is not None else 0
        self._dropped = contents.dropped if contents is not None else 0
        #: The next segment to be indexed has this offset, or a larger one.
        self.next_offset = contents.next_offset if contents is not None else 0
        self._top_claim = self._run.claim if self._run is not None else 0
        self._last_sequence = -1
        self._open: list[IndexedSegment] = []
        self._open_at: int | None = None
        self._closed: list[IndexPage] = []
        self._is_open_changed = False
        #: Whether they say less than they could, so that they are to be stored soon.
        self.is_contents_due = True
        #: Segments of agents that had lost the camera, and those that were there already.
        self.fenced = self.repeated = 0
        for index_offset, page in standing.tail:
            self._resume(index_offset, page)

    @property
    def partition(self) -> int:
        """Of the topic of segments, where its newest segment lies."""
        return self._partition

    @property
    def end_us(self) -> int:
        """Event time at which what is indexed ends; 0 where nothing is."""
        newest = self._open[-1].end_us if self._open else 0
        return max(
            [newest, *(page.end_us for page in self._pages[-2:]), *(p.segments[-1].end_us for p in self._closed)]
        )

    def begin(self, partition: int, offset: int) -> None:
        """Of a camera without contents: what lies before this offset is not indexed."""
        self._partition, self._since, self.next_offset = partition, offset, max(offset, self.next_offset)

    def take(self, facts: SegmentFacts, partition: int, offset: int) -> bool:
        """Take the next segment; whether it was indexed by that.

        One that was taken before, that repeats another, or whose agent had lost the camera, is passed over.
        """
        if partition != self._partition:
            self._close()
            self._partition, self._since, self.next_offset = partition, 0, 0
        if offset < self.next_offset:
            return False
        self.next_offset = offset + 1
        if facts.claim < self._top_claim:
            self.fenced += 1
            return False
        self._top_claim = facts.claim
        run = self._run_of(facts)
        if run == self._run and facts.sequence <= self._last_sequence:
            self.repeated += 1
            return False
        self._run, self._last_sequence = run, facts.sequence
        if not facts.is_end:
            self._append(facts, run, offset)
        return not facts.is_end

    def pages(self) -> list[IndexPage]:
        """Those that are to be stored now: what was closed, and the open one if it has grown."""
        opened = [IndexPage(self.camera, self._claim, tuple(self._open))] if self._is_open_changed else []
        return [*self._closed, *opened]

    def placed(self, page: IndexPage, index_offset: int) -> None:
        """A page of `pages` is stored there."""
        self._index_end = max(self._index_end, index_offset + 1)
        if self._closed and page is self._closed[0]:
            del self._closed[0]
            self._name(page, index_offset)
        else:
            self._is_open_changed, self._open_at = False, index_offset

    def merge(self, load: Callable[[PlacedPage], IndexPage | None]) -> Merged | None:
        """Make one page of those of an hour that is over, if there is one; `merged` is to be told when it is stored.

        Args:
            load: reads a page that an earlier agent wrote; None where it is not there or damaged.
        """
        group = self._mergeable()
        if not group:
            return None
        found = [self._bodies.get(row.number) or load(row) for row in group]
        segments = [segment for page in found if page is not None for segment in page.segments]
        for row, page in zip(group, found, strict=True):
            if page is None:
                self._dropped += row.segments
                self._pages.remove(row)
                self.is_contents_due = True
        if not segments:
            return None
        there = tuple(row for row, page in zip(group, found, strict=True) if page is not None)
        return Merged(IndexPage(self.camera, self._claim, tuple(segments)), there)

    def merged(self, merged: Merged, index_offset: int) -> list[bytes]:
        """It is stored there: return keys that can be deleted once the contents are stored."""
        self._index_end = max(self._index_end, index_offset + 1)
        self.is_contents_due = True
        at = self._pages.index(merged.replaced[0])
        self._pages[at : at + len(merged.replaced)] = [PlacedPage.of(merged.page, index_offset)]
        for row in merged.replaced:
            self._bodies.pop(row.number, None)
        return [key for row in merged.replaced if (key := row.key(self.camera)) != merged.page.key]

    def contents(self, time_us: int, *, is_complete: bool = False) -> IndexContents:
        """What is to be stored behind the pages; only when all that was taken is stored.

        Args:
            time_us: wall clock.
            is_complete: nothing follows of this agent.
        """
        if is_complete:
            self._close()
        self.is_contents_due = False
        return IndexContents(
            self.camera,
            self._claim,
            time_us,
            self._partition,
            self._since,
            self.next_offset,
            self._number,
            None if self._run is None else replace(self._run, partition=self._partition),
            self.index_partition,
            self._index_end if self._open_at is None else self._open_at,
            self._dropped,
            is_complete,
            tuple(self._pages),
        )

    def _resume(self, index_offset: int, page: IndexPage) -> None:
        newest = page.segments[-1]
        self._name(page, index_offset)
        self._number = max(self._number, newest.number + 1)
        self._index_end = max(self._index_end, index_offset + 1)
        if newest.partition != self._partition:
            self._partition, self._since, self.next_offset = newest.partition, 0, 0
        self.next_offset = max(self.next_offset, newest.offset + 1)
        self._run, self._last_sequence = newest.run, newest.sequence
        self._top_claim = max(self._top_claim, newest.run.claim)

    def _name(self, page: IndexPage, index_offset: int) -> None:
        self.is_contents_due = True
        row = PlacedPage.of(page, index_offset)
        self._pages.append(row)
        self._bodies[row.number] = page
        while len(self._pages) > MAX_PAGES:
            oldest = self._pages.pop(0)
            self._dropped += oldest.segments
            self._bodies.pop(oldest.number, None)

    def _run_of(self, facts: SegmentFacts) -> FeedRun:
        before = self._run
        run = FeedRun(
            *(self._partition, facts.epoch_us, facts.claim, facts.feed),
            *(facts.container, facts.codec, facts.width, facts.height),
            before.discontinuity if before is not None else 0,
        )
        if before is None or run.continues(before):
            return before if run == before and before is not None else run
        self._last_sequence = -1
        return replace(run, discontinuity=run.discontinuity + 1)

    def _append(self, facts: SegmentFacts, run: FeedRun, offset: int) -> None:
        if self._open and (
            self._open[0].start_us // _MINUTE_US != facts.start_us // _MINUTE_US or len(self._open) >= _PAGE_SEGMENTS
        ):
            self._close()
        self._open.append(
            IndexedSegment(
                *(run, self._number, facts.sequence, facts.start_us, facts.end_us - facts.start_us),
                *(offset, facts.size, facts.begins, facts.continued),
            )
        )
        self._number += 1
        self._is_open_changed = True

    def _close(self) -> None:
        if self._open:
            page = IndexPage(self.camera, self._claim, tuple(self._open))
            if self._is_open_changed or self._open_at is None or self._closed:
                self._closed.append(page)
            else:
                self._name(page, self._open_at)
        self._open, self._open_at, self._is_open_changed = [], None, False

    def _mergeable(self) -> list[PlacedPage]:
        newest = self._open[-1].start_us if self._open else None
        for (hour, _), group in itertools.groupby(self._pages, lambda p: (p.start_us // _HOUR_US, p.partition)):
            rows = list(group)
            is_over = newest is not None and hour != newest // _HOUR_US
            if is_over and len(rows) > 1 and sum(row.segments for row in rows) <= MAX_SEGMENTS:
                return rows
        return []


def standing_tail(
    contents: IndexContents | None, found: Iterable[tuple[int, IndexPage]]
) -> tuple[tuple[int, IndexPage], ...]:
    """The pages that contents do not name, of those that were read behind them: the newest of each, in order.

    Of two agents that wrote pages at once, the higher claim wins from its first page on.
    """
    named = contents.pages[-1] if contents is not None and contents.pages else None
    least_number = named.number + named.segments if named is not None else 0
    least_claim = contents.claim if contents is not None else 0
    newest: dict[tuple[int, int], tuple[int, IndexPage]] = {}
    for index_offset, page in found:
        if page.claim >= least_claim and page.first.number >= least_number:
            newest[page.claim, page.first.number] = index_offset, page
    kept: list[tuple[int, IndexPage]] = []
    for index_offset, page in sorted(newest.values(), key=lambda each: (each[1].claim, each[1].first.number)):
        kept = [each for each in kept if each[1].claim == page.claim or each[1].first.number < page.first.number]
        kept.append((index_offset, page))
    return tuple(_without_repeated(kept))


def _without_repeated(pages: Sequence[tuple[int, IndexPage]]) -> list[tuple[int, IndexPage]]:
    """Pages without the segments whose numbers the next page gives to others."""
    found = []
    for (offset, page), after in itertools.zip_longest(pages, [p for _, p in pages[1:]]):
        segments = page.segments if after is None else tuple(s for s in page.segments if s.number < after.first.number)
        if segments:
            found.append((offset, replace(page, segments=segments)))
    return found
