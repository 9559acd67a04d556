"""Segments as they are served: each is read from Kafka once, however many ask, and kept for a while.

Kafka is asked for single records by their offsets, so nobody else's footage is read.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from anyio import CapacityLimiter, to_thread

from consumers.settings import TopicSettings
from stream import Lookup, Segment, SegmentError, Transport

from .connection import Kept
from .transport_stream import follows, served

log = logging.getLogger(__name__)

#: Of records that are no segments so many are named, the others counted.
_NAMED: Final = 10


@dataclass(frozen=True, slots=True)
class Wanted:
    """One segment as a playlist names it."""

    partition: int
    offset: int
    #: Offset of the segment that it goes on from, if a playlist names it.
    after: int | None = None


@dataclass(frozen=True, slots=True)
class ServedSegment:
    """A segment as players get it."""

    camera: str
    #: What the playlist calls it, beside its place: a topic that was made anew holds others at the same offsets.
    name: str
    data: bytes
    tag: str
    #: Event times.
    start_us: int
    end_us: int

    @property
    def next_name(self) -> str:
        """What the one is called that goes on from it."""
        epoch, _, number = self.name.partition(".")
        return f"{epoch}.{int(number) + 1}"


def joined_tag(segments: Iterable[ServedSegment]) -> str:
    """The tag of several in a row."""
    return f'"{hashlib.blake2b("".join(s.tag for s in segments).encode(), digest_size=16).hexdigest()}"'


class SegmentStore:
    """Reads segments and keeps the newest read ones. For routes of one event loop."""

    def __init__(self, connect: Callable[[], Transport], topics: TopicSettings, max_bytes: int) -> None:
        """Prepare; nothing is read before it is asked for.

        Args:
            connect: connects to the broker, or raises BrokerError.
            topics: their names.
            max_bytes: of what is kept.
        """
        self._topic = topics.segments
        #: Of segments as they are served, and as they were stored.
        self._max_bytes, self._max_raw_bytes = max_bytes * 3 // 4, max_bytes // 4
        self._lookup: Kept[Lookup] = Kept(lambda: connect().lookup([topics.segments]))
        #: Whoever reads waits here, and in no thread.
        self._room = CapacityLimiter(1)
        self._kept: OrderedDict[Wanted, ServedSegment] = OrderedDict()
        #: The newest raw ones, by place: the next one may need pictures of it.
        self._raw: OrderedDict[tuple[int, int], Segment] = OrderedDict()
        self._bytes = self._raw_bytes = 0
        self._partitions: set[int] = set()
        self._reading: dict[Wanted, asyncio.Task[ServedSegment | None]] = {}
        #: Records that were read of the topic, and those of them that are no segments to be served.
        self.reads = self.left_out = 0

    async def get(self, wanted: Wanted, name: str | None = None) -> ServedSegment | None:
        """A segment; None where it is not there (any more), or none that can be served.

        Args:
            wanted: which one.
            name: what the playlist calls it; another one at that place is none.

        Raises:
            BrokerError: the broker is away.
        """
        found = self._kept.get(wanted)
        # What was there before a topic was made anew is not what is asked for, nor what is there.
        is_old = found is not None and name not in {None, found.name}
        if found is None or is_old:
            found = await self._shared(wanted, is_anew=is_old)
        else:
            self._kept.move_to_end(wanted)
        return None if found is None or name not in {None, found.name} else found

    async def _shared(self, wanted: Wanted, *, is_anew: bool) -> ServedSegment | None:
        """Read it, or wait for who does."""
        task = self._reading.get(wanted)
        if task is None:
            task = asyncio.create_task(self._load(wanted, is_anew=is_anew))
            self._reading[wanted] = task
            task.add_done_callback(lambda _: self._reading.pop(wanted, None))
        # Whoever asked first may go before it is there.
        return await asyncio.shield(task)

    async def _load(self, wanted: Wanted, *, is_anew: bool) -> ServedSegment | None:
        found = await to_thread.run_sync(self._read, wanted, is_anew, limiter=self._room)
        old = self._kept.pop(wanted, None)
        self._bytes -= 0 if old is None else len(old.data)
        if found is not None:
            self._kept[wanted] = found
            self._bytes += len(found.data)
            while self._bytes > self._max_bytes and len(self._kept) > 1:
                _, gone = self._kept.popitem(last=False)
                self._bytes -= len(gone.data)
        return found

    def _read(self, wanted: Wanted, is_anew: bool) -> ServedSegment | None:  # noqa: FBT001  run_sync takes no names
        if is_anew and (old := self._raw.pop((wanted.partition, wanted.offset), None)) is not None:
            self._raw_bytes -= len(old.data)
        segment = self._raw_segment(wanted.partition, wanted.offset)
        if segment is None:
            return None
        try:
            data = served(segment, lambda: self._before(segment, wanted))
        except ValueError as error:
            self._leave_out(f"{self._topic}[{wanted.partition}]@{wanted.offset}: {error}")
            return None
        tag = hashlib.blake2b(data, digest_size=16).hexdigest()
        name = f"{segment.epoch_us}.{segment.sequence}"
        return ServedSegment(segment.camera, name, data, f'"{tag}"', segment.start_us, segment.end_us)

    def _before(self, segment: Segment, wanted: Wanted) -> Segment | None:
        found = None if wanted.after is None else self._raw_segment(wanted.partition, wanted.after)
        return found if found is not None and follows(found, segment) else None

    def _raw_segment(self, partition: int, offset: int) -> Segment | None:
        if (kept := self._raw.get((partition, offset))) is not None:
            return kept
        segment = self._lookup.use(lambda lookup: self._decoded(lookup, partition, offset))
        if segment is not None:
            self._raw[partition, offset] = segment
            self._raw_bytes += len(segment.data)
            while self._raw_bytes > self._max_raw_bytes and len(self._raw) > 1:
                _, gone = self._raw.popitem(last=False)
                self._raw_bytes -= len(gone.data)
        return segment

    def _decoded(self, lookup: Lookup, partition: int, offset: int) -> Segment | None:
        if partition not in self._partitions:
            # Whoever reads of one that does not exist waits for it.
            self._partitions = {number for _, number in lookup.first_kept(self._topic)}
            if partition not in self._partitions:
                return None
        for record in lookup.read((self._topic, partition), offset, offset + 1):
            self.reads += 1
            if record.offset != offset:
                return None  # beyond the end, reading begins with the first one that is kept
            try:
                return Segment.decode(record.key, record.headers, record.value, record.where)
            except SegmentError as error:
                self._leave_out(str(error))
        return None

    def _leave_out(self, why: str) -> None:
        self.left_out += 1
        log.log(logging.WARNING if self.left_out <= _NAMED else logging.DEBUG, "left out: %s", why)

    @property
    def kept_bytes(self) -> int:
        """How much is kept."""
        return self._bytes + self._raw_bytes

    def close(self) -> None:
        """Read no more."""
        self._lookup.close()
