"""Where a camera's footage of a time lies: asked of the index on the broker, of which little is read.

find("gate", 08:30, 08:31)
    contents   the newest record of the camera, from the end of its partition backwards
    index      the page with 08:30, by its offset; what the contents do not name yet, if it may be of that time
    segments   nothing but which offsets are still there
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final, Self, TypeVar

from consumers.forgetting import ForgottenBook, ForgottenReader
from consumers.records.fields import RecordError
from consumers.records.index.contents import IndexContents, PlacedPage
from consumers.records.index.page import IndexedSegment, IndexPage
from consumers.settings import TopicSettings
from stream import Lookup, Record, Segment, SegmentError, Transport

from .timeline import MARGIN_US, FoundFootage, Interval, answer
from .writer import Standing, standing_tail

log = logging.getLogger(__name__)

_R = TypeVar("_R", IndexContents, IndexPage)

#: Of contents that are looked through at first, backwards from their end, for a camera's newest.
_FIRST_BACK: Final = 64
#: Records of the index behind a camera's contents that are looked through: an agent that died long ago left no more
#: than a minute there, and others' go on.
_MAX_TAIL: Final = 50_000
#: A group of pictures that is longer than so many pages is left without its begin.
_MAX_BACK_PAGES: Final = 12
#: Of a camera's newest contents, so many are kept in hand while one of them may be damaged.
_SPARE: Final = 3
_MINUTE_US: Final = 60_000_000


class FootageIndex:
    """The index of segments on a broker. For one thread; use as a context manager."""

    def __init__(self, transport: Transport, topics: TopicSettings) -> None:
        """Connect.

        Raises:
            BrokerError: the broker does not answer.
        """
        self._topics = topics
        # What is forgotten only matters to who shows footage: agents, which read here as well, may not read it.
        self._lookup: Lookup = transport.lookup([topics.segments, topics.segments_index, topics.segments_contents])
        self._forgotten = ForgottenReader(topics.forgotten)
        self._is_there = False
        #: Records that could not be read since the beginning, by topic.
        self.damaged: Counter[str] = Counter()

    def find(self, camera: str, from_us: int, to_us: int) -> FoundFootage:
        """Which segments a camera has with a part of an interval of event time, and what is missing.

        Raises:
            BrokerError: the broker is gone.
        """
        contents = self.contents(camera)
        if contents is None:
            return answer(camera, (from_us, to_us), [], {}, ["the index does not know this camera"])
        kept = self.kept()
        pages, notes = self._pages_of(contents, from_us, to_us, kept)
        if contents.since_offset > kept.get(contents.partition, 0):
            notes.append(
                f"what was sent before {self._topics.segments}[{contents.partition}]@{contents.since_offset} is not in "
                "the index"
            )
        if contents.dropped:
            notes.append(f"the index names {contents.dropped} older segments no more")
        named = (s for page in pages for s in page.segments)
        return answer(camera, (from_us, to_us), named, kept, notes, self.forgotten())

    def forgotten(self) -> ForgottenBook:
        """What is forgotten of all cameras: `find` leaves it out.

        Raises:
            BrokerError: the broker is gone, or does not let us read it.
        """
        return self._forgotten.book(self._lookup)

    def kept(self) -> dict[int, int]:
        """By partition of the topic of segments, the first offset that is there.

        Raises:
            BrokerError: the broker is gone.
        """
        return {number: first for (_, number), first in self._lookup.first_kept(self._topics.segments).items()}

    def footage(self, camera: str, segments: Iterable[IndexedSegment]) -> Iterator[Segment]:
        """Read segments, each by its offset; those that are not there any more, or damaged, are left out.

        Raises:
            BrokerError: the broker is gone.
        """
        for wanted in segments:
            partition = (self._topics.segments, wanted.partition)
            for record in self._lookup.read(partition, wanted.offset, wanted.offset + 1):
                try:
                    segment = Segment.decode(record.key, record.headers, record.value, record.where)
                except SegmentError as error:
                    self.damaged[record.topic] += 1
                    log.warning("left out: %s", error)
                    continue
                # A topic that was made anew holds other records at the offsets of before.
                there = segment.camera, segment.epoch_us, segment.sequence
                if there == (camera, wanted.run.epoch_us, wanted.sequence):
                    yield segment

    def contents(self, camera: str) -> IndexContents | None:
        """What the index holds of a camera; None where it does not know it.

        Raises:
            BrokerError: the broker is gone.
        """
        topic, kept = self._topics.segments_contents, 0
        self._is_there = self._is_there or bool(self._lookup.first_kept(topic))
        if not self._is_there:
            return None  # no agent has written an index yet
        partition = topic, self._lookup.partition_of(topic, camera.encode())
        first, stop = max(0, self._lookup.end(partition) - _FIRST_BACK), None
        count = _FIRST_BACK
        while (found := self._newest_contents(self._lookup.read(partition, first, stop), camera).get(camera)) is None:
            kept = kept or self._lookup.first_kept(topic)[partition]
            if first <= kept:
                return None
            count *= 4
            first, stop = max(kept, first - count), first
        return found

    def all_contents(self) -> Mapping[str, IndexContents]:
        """What the index holds of each camera. Reads all of the contents.

        Raises:
            BrokerError: the broker is gone.
        """
        partitions = self._lookup.first_kept(self._topics.segments_contents).items()
        return self._newest_contents(
            record for partition, first in partitions for record in self._lookup.read(partition, first)
        )

    def _newest_contents(self, records: Iterable[Record], camera: str | None = None) -> dict[str, IndexContents]:
        """By camera, or of one: of those by the agent with the highest claim, the newest that can be read."""
        # Most are older ones of a camera that need not be taken apart.
        found: dict[bytes, list[tuple[int, Record]]] = {}
        for record in records:
            if record.key is not None and (camera is None or record.key == camera.encode()):
                kept = found.setdefault(record.key, [])
                kept.append((_claim(record), record))
                kept.sort(key=lambda each: each[0])
                del kept[:-_SPARE]
        newest: dict[str, IndexContents] = {}
        for kept in found.values():
            for _, record in reversed(kept):
                if (contents := self._decoded(record, IndexContents)) is not None:
                    newest[contents.camera] = contents
                    break
        return newest

    def standing(self, camera: str) -> Standing:
        """What the index says of a camera, for whoever goes on with it.

        Raises:
            BrokerError: the broker is gone.
        """
        contents = self.contents(camera)
        return Standing(contents, () if contents is None else self._tail(contents))

    def partitions(self, camera: str) -> tuple[int, int]:
        """The numbers of the partitions to which a camera's segments go, and its pages.

        Raises:
            BrokerError: one of the topics does not exist, or the broker is gone.
        """
        segments, pages = (
            self._lookup.partition_of(topic, camera.encode())
            for topic in (self._topics.segments, self._topics.segments_index)
        )
        return segments, pages

    def page(
        self, camera: str, index_partition: int, placed: PlacedPage, near_us: Interval | None = None
    ) -> IndexPage | None:
        """A page that the contents of its camera name; None where it is not there, or damaged.

        Args:
            camera: its id.
            index_partition: where the contents say that its pages lie.
            placed: the page.
            near_us: only the segments between these event times are wanted.

        Raises:
            BrokerError: the broker is gone.
        """
        partition = self._topics.segments_index, index_partition
        for record in self._lookup.read(partition, placed.index_offset, placed.index_offset + 1):
            if record.key == placed.key(camera):
                page, end = self._decoded(record, IndexPage, near_us), placed.number + placed.segments
                return page and replace(page, segments=tuple(s for s in page.segments if s.number < end))
        return None

    def close(self) -> None:
        """Read no more."""
        self._lookup.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _pages_of(
        self, contents: IndexContents, from_us: int, to_us: int, kept: Mapping[int, int]
    ) -> tuple[list[IndexPage], list[str]]:
        """The pages that may name segments of an interval, with those before it that hold what they continue."""
        pages, notes = self._named(contents, (from_us, to_us), kept, (from_us - MARGIN_US, to_us + MARGIN_US))
        tail: list[IndexPage] = []
        if not contents.pages or to_us > contents.pages[-1].end_us - _MINUTE_US:
            tail = [page for _, page in self._tail(contents)]
        inside = [s for page in (*pages, *tail) for s in page.segments if s.end_us > from_us]
        if inside and not min(inside, key=lambda s: s.number).begins:
            # Its begin may lie anywhere on them, and before.
            pages, notes = self._named(contents, (from_us, to_us), kept, None)
        pages = sorted((page for page in (*pages, *tail) if page.segments), key=lambda page: page.first.number)
        return [*self._before(contents, pages, from_us), *pages], notes

    def _named(
        self, contents: IndexContents, interval_us: Interval, kept: Mapping[int, int], near_us: Interval | None
    ) -> tuple[list[IndexPage], list[str]]:
        """The pages that contents name of an interval, and what is to be said of those that cannot be read."""
        pages, notes = [], []
        for placed in contents.pages:
            if placed.start_us < interval_us[1] and placed.end_us > interval_us[0]:
                page = self.page(contents.camera, contents.index_partition, placed, near_us)
                if page is not None:
                    pages.append(page)
                elif placed.last_offset >= kept.get(placed.partition, 0):
                    notes.append(f"a page of the index with {placed.segments} segments cannot be read")
        return pages, notes

    def _before(self, contents: IndexContents, pages: list[IndexPage], from_us: int) -> Iterator[IndexPage]:
        """Pages before these, back to where decoding can begin."""
        inside = [s for page in pages for s in page.segments if s.end_us > from_us]
        if not inside:
            return
        number = inside[0].number
        if any(s.begins for page in pages for s in page.segments if s.number <= number):
            return
        earlier = [p for p in contents.pages if p.number < pages[0].first.number]
        for placed in reversed(earlier[-_MAX_BACK_PAGES:]):
            page = self.page(contents.camera, contents.index_partition, placed)
            if page is None:
                return
            yield page
            if any(s.begins for s in page.segments):
                return

    def _tail(self, contents: IndexContents) -> tuple[tuple[int, IndexPage], ...]:
        partition, first = (self._topics.segments_index, contents.index_partition), contents.index_offset
        begins = f"{contents.camera}/".encode()
        newest: dict[bytes, Record] = {}
        for count, record in enumerate(self._lookup.read(partition, first)):
            if count >= _MAX_TAIL:
                log.warning("camera %s: more than %d records lie behind its contents", contents.camera, _MAX_TAIL)
                break
            if record.key is not None and record.key.startswith(begins):
                newest[record.key] = record
        pages = [(r.offset, self._decoded(r, IndexPage)) for r in newest.values() if r.value is not None]
        return standing_tail(
            contents, [(offset, page) for offset, page in pages if page is not None and page.key in newest]
        )

    def _decoded(self, record: Record, kind: type[_R], *how: Interval | None) -> _R | None:
        try:
            return kind.decode(record.value, record.where, *how)
        except RecordError as error:
            self.damaged[record.topic] += 1
            log.warning("left out: %s", error)
            return None


def _claim(record: Record) -> int:
    try:
        return int(dict(record.headers).get("claim", b"0"))
    except ValueError:
        return 0
