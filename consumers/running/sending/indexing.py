"""Writes the index of segments: which of an agent's segments lie where, once the broker has stored them.

    courier ──stored──▶ queue ──this thread, each second──▶ pages, then contents
                          │ broker away, queue full, killed
                          ▼
    the next one looks through the topic of segments, from the last one that is indexed on

With a connection and a thread of its own: the index costs no segment, and nobody waits for it. What goes wrong with it
is mended in one way: forgotten, and read again from the topics.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from consumers.footage_index import CameraWriter, FootageIndex, SegmentFacts
from consumers.outputs.outages import Refusals
from consumers.records.index.page import IndexPage
from consumers.records.prediction import rfc3339
from consumers.settings import TopicSettings
from consumers.topics import ensure_topics_of_index
from stream import BrokerError, Headers, Producer, Transport

from .spool import Waiting

log = logging.getLogger(__name__)

#: A page is written again this often at most.
WRITE_SECONDS: Final = 1.0
RETRY_SECONDS: Final = 2.0
#: A claimed camera of which nothing comes is looked up after so long: what its last agent left is then indexed.
_OPEN_SECONDS: Final = 5.0
_END_SECONDS: Final = 3.0
#: Segments that wait for the index; of more, where they lie is read from the topic.
_MAX_WAITING: Final = 20_000
#: What is looked through of a partition for segments that are not indexed, at most.
MAX_CATCH_UP_RECORDS: Final = 20_000
MAX_CATCH_UP_BYTES: Final = 512 * 1024 * 1024
#: Of a camera that the index does not know, so many records from the end backwards.
_UNKNOWN_RECORDS: Final = 256


@dataclass(frozen=True, slots=True)
class _Fact:
    camera: str
    headers: Mapping[str, bytes]
    partition: int
    offset: int


@dataclass(slots=True)
class _Linked:
    """A broker that answers, and what is known of it."""

    transport: Transport
    producer: Producer
    index: FootageIndex
    writers: dict[str, CameraWriter] = field(default_factory=dict)
    #: Keys of pages that others have replaced, to be deleted: with their partition.
    replaced: list[tuple[bytes, int]] = field(default_factory=list)


class Indexer:
    """Writes the index of an agent's cameras while its `with` block lasts. `stored` and `claimed`: by any thread."""

    def __init__(
        self,
        connect: Callable[[], Transport],
        topics: TopicSettings,
        *,
        is_lost: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """Prepare.

        Args:
            connect: opens the broker; asked again after each BrokerError.
            topics: names of the topics.
            is_lost: whether another agent has taken a camera over, which indexes it then.
        """
        self._connect, self._topics, self._is_lost = connect, topics, is_lost
        self._lock = threading.Lock()
        self._waiting: deque[_Fact] = deque()
        self._claims: dict[str, int] = {}
        self._ends_us: dict[str, int] = {}
        #: Cameras that are to be looked up, and since when.
        self._unopened: dict[str, float] = {}
        self._linked: _Linked | None = None
        self._refusals = Refusals()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="index", daemon=True)
        #: Offsets that were not looked through for segments that are not indexed.
        self.unlooked = 0

    def claimed(self, claims: Mapping[str, int], ends_us: Mapping[str, int]) -> None:
        """Cameras are ours: index them, and what their last agent has not.

        Args:
            claims: their numbers, by camera.
            ends_us: event time at which what was sent of each ends, as far as it is known.
        """
        with self._lock:
            self._claims |= claims
            self._ends_us |= ends_us
            self._unopened |= dict.fromkeys(claims, time.monotonic())

    def stored(self, segment: Waiting) -> None:
        """The broker has stored a segment."""
        partition, offset = segment.place_on_topic or (0, -1)
        with self._lock:
            if offset < 0 or len(self._waiting) >= _MAX_WAITING:
                # Where it lies is read from the topic.
                self._unopened[segment.camera] = time.monotonic() - _OPEN_SECONDS
            else:
                self._waiting.append(_Fact(segment.camera, segment.facts, partition, offset))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join(_END_SECONDS)

    def _run(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._done.wait(WRITE_SECONDS)
            try:
                self._turn(is_last=is_last)
            except BrokerError as error:
                self._refusals.note(error)
                self._unlink()
                self._done.wait(RETRY_SECONDS)
        self._unlink()

    def _turn(self, *, is_last: bool) -> None:
        """Index what was stored since the last time."""
        with self._lock:
            facts = list(self._waiting)
            self._waiting.clear()
        try:
            named = {fact.camera for fact in facts}
            if self._linked is None and not named and not self._to_open(named, is_last=is_last):
                return
            linked = self._linked = self._linked or self._link()
            self._open(linked, self._to_open(named, is_last=is_last))
            for fact in facts:
                if (writer := linked.writers.get(fact.camera)) is not None:
                    _take(writer, fact.headers, fact.partition, fact.offset)
            self._forget_lost(linked)
            self._write(linked, is_last=is_last)
        except BrokerError:
            with self._lock:
                self._unopened |= dict.fromkeys({*named, *self._claims}, time.monotonic() - _OPEN_SECONDS)
            raise

    def _to_open(self, named: Collection[str], *, is_last: bool) -> list[str]:
        """Cameras that are to be looked up now: those of which something came, and those that were waited for."""
        linked, since = self._linked, time.monotonic() - _OPEN_SECONDS
        with self._lock:
            due = {c for c, at in self._unopened.items() if c in named or at <= since or is_last}
            due |= {c for c in named if linked is None or c not in linked.writers}
            return sorted(c for c in due if not self._is_lost(c))

    def _link(self) -> _Linked:
        transport = self._connect()
        ensure_topics_of_index(transport, self._topics)
        index = FootageIndex(transport, self._topics)
        try:
            return _Linked(transport, transport.producer(), index)
        except BaseException:
            index.close()
            raise

    def _unlink(self) -> None:
        linked, self._linked = self._linked, None
        if linked is not None:
            with contextlib.suppress(BrokerError):
                linked.index.close()
                linked.producer.close()

    def _open(self, linked: _Linked, cameras: Collection[str]) -> None:
        """Look up what the index says of cameras, and index what of them it does not name."""
        if not cameras:
            return
        topics, ends = self._topics, linked.transport.offsets(self._topics.segments)
        ranges: dict[int, dict[str, tuple[int, int]]] = {}
        for camera in cameras:
            standing = linked.index.standing(camera)
            partition, index_partition = linked.index.partitions(camera)
            writer = CameraWriter(camera, self._claims.get(camera, 1), index_partition, standing)
            first, end = ends[topics.segments, partition]
            if standing.contents is None:
                writer.begin(partition, max(first, end - _UNKNOWN_RECORDS))
            linked.writers[camera] = writer
            is_whole = standing.contents is not None and standing.contents.is_complete
            begin = max(first, writer.next_offset if writer.partition == partition else first)
            if begin < end and not is_whole:
                ranges.setdefault(partition, {})[camera] = begin, end
        for partition, wanted in ranges.items():
            self._catch_up(linked, partition, wanted)
        with self._lock:
            for camera in cameras:
                self._unopened.pop(camera, None)

    def _catch_up(self, linked: _Linked, partition: int, wanted: Mapping[str, tuple[int, int]]) -> None:
        """Index the segments of cameras that lie within these offsets and are not."""
        begin, end = min(first for first, _ in wanted.values()), max(stop for _, stop in wanted.values())
        stop = min(end, begin + MAX_CATCH_UP_RECORDS)
        size, indexed = 0, 0
        for record in linked.transport.read({(self._topics.segments, partition): (begin, stop)}):
            camera = (record.key or b"").decode(errors="replace")
            if camera in wanted and record.value is not None:
                indexed += _take(linked.writers[camera], record.headers, partition, record.offset)
            size += len(record.value or b"")
            if size >= MAX_CATCH_UP_BYTES:
                stop = record.offset + 1
                break
        if indexed:
            log.info("%s[%d]: %d segments that were not in the index are", self._topics.segments, partition, indexed)
        if stop < end:
            self._say_unlooked(linked, partition, (stop, end), wanted)

    def _say_unlooked(self, linked: _Linked, partition: int, offsets: tuple[int, int], cameras: Iterable[str]) -> None:
        stop, end = offsets
        self.unlooked += end - stop
        for camera in cameras:
            known_us = self._ends_us.get(camera, 0)
            if linked.writers[camera].end_us < known_us:
                log.warning(
                    "camera %s: %s[%d]@%d-%d were not looked through, and its footage up to %s is not all in the index",
                    camera,
                    self._topics.segments,
                    partition,
                    stop,
                    end - 1,
                    rfc3339(known_us),
                )

    def _forget_lost(self, linked: _Linked) -> None:
        """Leave a camera to the agent that has taken it over."""
        for camera in [camera for camera in linked.writers if self._is_lost(camera)]:
            del linked.writers[camera]

    def _write(self, linked: _Linked, *, is_last: bool) -> None:
        """Store pages, then contents that name them, then that nobody needs what was replaced."""
        for key, partition in linked.replaced:
            linked.producer.send(self._topics.segments_index, key, [], None, partition)
        linked.replaced.clear()
        pages = [(writer, page) for writer in linked.writers.values() for page in writer.pages()]
        for (writer, page), offset in zip(pages, self._stored_at(linked, pages), strict=True):
            writer.placed(page, offset)
        due = [writer for writer in linked.writers.values() if writer.is_contents_due or is_last]
        for writer in due:
            self._merge(linked, writer)
        now_us = time.time_ns() // 1000
        for writer in due:
            contents = writer.contents(now_us, is_complete=is_last)
            linked.producer.send(self._topics.segments_contents, *contents.encode())
        linked.producer.flush()

    def _merge(self, linked: _Linked, writer: CameraWriter) -> None:
        merged = writer.merge(lambda placed: linked.index.page(writer.camera, writer.index_partition, placed))
        if merged is not None:
            (offset,) = self._stored_at(linked, [(writer, merged.page)])
            keys = writer.merged(merged, offset)
            linked.replaced += [(key, writer.index_partition) for key in keys]

    def _stored_at(self, linked: _Linked, pages: Collection[tuple[CameraWriter, IndexPage]]) -> list[int]:
        """Store pages; where each lies."""
        found: dict[int, int] = {}
        for number, (writer, page) in enumerate(pages):
            linked.producer.send(
                self._topics.segments_index,
                *page.encode(),
                writer.index_partition,
                stored=lambda _, offset, number=number: found.update({number: offset}),  # type: ignore[misc]
            )
        linked.producer.flush()
        if any(found.get(number, -1) < 0 for number in range(len(pages))):
            raise BrokerError(f"{self._topics.segments_index}: the broker does not say where a page lies")
        return [found[number] for number in range(len(pages))]


def both(index: Callable[[Waiting], None], other: Callable[[Waiting], None] | None) -> Callable[[Waiting], None]:
    """Tell the index of a segment that is stored, and somebody else, if there is one."""
    if other is None:
        return index

    def tell(segment: Waiting) -> None:
        index(segment)
        other(segment)

    return tell


def _take(writer: CameraWriter, headers: Headers | Mapping[str, bytes], partition: int, offset: int) -> bool:
    try:
        return writer.take(SegmentFacts.of(headers), partition, offset)
    except (ValueError, KeyError):
        return False  # whoever classifies it says so
