"""What a topic holds of cameras, as footage to be replayed.

kafka://clipline.segments?camera=gate&from=2026-11-24T08:00:00Z&to=2026-11-24T09:00:00Z
kafka://clipline.segments?camera=gate&from=1200&to=1800           by offset
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from consumers.footage_index import FootageIndex
from consumers.forgetting import NOTHING_FORGOTTEN, ForgottenBook, read_forgotten
from consumers.live.feed_guard import WHY_LEFT_OUT, Arrival, FeedGuard
from consumers.settings import TopicSettings
from consumers.times import parse_time_us
from stream import (
    CAMERA_ID,
    BrokerError,
    Decoded,
    Partition,
    Record,
    Segment,
    SegmentError,
    SourceError,
    Transport,
    announced_frames,
    check_camera_id,
    drilled,
)

#: Footage that is sent up to this long before its event time (`attach --start now --pace max`) is found by the broker's
#: index of times; what was sent earlier still, by looking back.
_AHEAD_US: Final = 3600 * 1_000_000
#: How many records before the place that was found must hold nothing of the wanted time; else it is further back.
_LOOK_BACK: Final = 128
#: How many records before the footage are looked at, at most, for the begin of the group of pictures that it begins in.
_MAX_CONTEXT: Final = 16_384
#: A camera of which nothing was sent for so long was silent: `worker.idle_seconds`, as it is by default.
_IDLE_US: Final = 60_000_000


class LostSegmentError(SegmentError):
    """In the place of a segment that cannot be read or is of another feed, with the frames it announces."""

    def __init__(self, error: SegmentError, frames: int) -> None:
        super().__init__(error.where, error.reason)
        self.frames = frames


@dataclass(frozen=True, slots=True)
class ContextSegment:
    """A segment from before the footage, read because what follows cannot be decoded without it."""

    segment: Segment


#: What a piece of footage gives: its segments, and an error in the place of each that cannot be read.
Item = Segment | ContextSegment | LostSegmentError


@dataclass(frozen=True, slots=True)
class TopicPiece:
    """What a topic holds of one camera, between two offsets of a partition."""

    transport: Transport = field(repr=False, compare=False)
    partition: Partition
    offsets: tuple[int, int]
    camera: str
    interval_us: tuple[int | None, int | None]
    content: str
    seconds: float
    #: The first record that decoders need; the footage begins with the first of `offsets`.
    context_offset: int
    recorded_us: int = 0

    @property
    def name(self) -> str:
        topic, number = self.partition
        return f"{topic}[{number}]@{self.offsets[0]}-{self.offsets[1] - 1} camera {self.camera}"

    @property
    def file(self) -> Path | None:
        return None

    def facts(self) -> dict[str, Any]:
        """Everything that its segments depend on."""
        return {"records": self.content}

    def segments(self, camera: str) -> Iterator[Item]:
        """Yield the camera's segments under the name `camera`, and an error in place of each that cannot be read."""
        before = {self.partition: (self.context_offset, self.offsets[0])}
        for item in _read_topic(self.transport, before, self.camera):
            if isinstance(item.segment, Segment):
                yield ContextSegment(replace(item.segment, camera=camera))
        items = _read_topic(self.transport, {self.partition: self.offsets}, self.camera)
        for item in _within(_of_one_feed(items), self.interval_us):
            segment = item.segment
            yield segment if isinstance(segment, LostSegmentError) else replace(segment, camera=camera)


def topic_pieces(source: str, camera: str | None, transport: Transport) -> list[tuple[str, TopicPiece]]:
    """Return what the topic that `source` names holds of each camera, or of one.

    Raises:
        SourceError: `source` is not understood, or there is no such footage.
        BrokerError: the topic cannot be read.
    """
    topic, wanted, interval_us, offsets = _parse_topic(source, camera)
    ranges = {
        partition: (max(first, offsets[0] or 0), end if offsets[1] is None else min(end, offsets[1]))
        for partition, (first, end) in transport.offsets(topic).items()
    }
    ranges = {partition: (first, end) for partition, (first, end) in ranges.items() if first < end}
    if interval_us[0] is not None and ranges:
        named = _indexed(transport, topic, wanted, interval_us)
        ranges = named or _without_earlier(transport, ranges, wanted, interval_us[0])
    found: dict[tuple[str, Partition], _TopicContent] = defaultdict(_TopicContent)
    for item in _within(_of_one_feed(_read_topic(transport, ranges, wanted)), interval_us):
        found[item.camera, item.partition].add(item)
    kept = transport.offsets(topic)
    found_pieces = [
        (name, content.piece(transport, name, partition, interval_us, kept[partition][0]))
        for (name, partition), content in found.items()
        if CAMERA_ID.fullmatch(name) and content.seconds
    ]
    if not found_pieces:
        raise SourceError(f"{source}: the topic holds no such footage")
    return found_pieces


def check_camera(camera: str | None, where: str) -> None:
    """Refuse a name that is no camera's.

    Raises:
        SourceError: `where` names the option or the source that says it.
    """
    try:
        if camera is not None:
            check_camera_id(camera)
    except ValueError as error:
        raise SourceError(f"{where}: {error}") from None


@dataclass(frozen=True, slots=True)
class _TopicSegment:
    camera: str
    record: Record = field(repr=False)
    segment: Segment | LostSegmentError
    #: Event time of its begin and end, if it tells them.
    times_us: tuple[int, int] | None = None

    @property
    def partition(self) -> Partition:
        return self.record.topic, self.record.partition

    @property
    def offset(self) -> int:
        return self.record.offset


def _read_topic(
    transport: Transport,
    ranges: dict[Partition, tuple[int, int]],
    camera: str | None,
) -> Iterator[_TopicSegment]:
    book = _forgotten(transport, ranges)
    for record in transport.read(ranges):
        name = (record.key or b"").decode(errors="replace")
        if (camera is not None and name != camera) or drilled(name) is not None:
            continue
        try:
            segment = Segment.decode(record.key, record.headers, record.value, record.where)
        except SegmentError as error:
            frames = announced_frames(record.headers, record.value)
            yield _TopicSegment(name, record, LostSegmentError(error, frames))
            continue
        if (forgotten := book.of(name, segment.start_us, segment.end_us)) is not None:
            yield _TopicSegment(
                name, record, LostSegmentError(SegmentError(record.where, forgotten.described()), segment.frames)
            )
        else:
            yield _TopicSegment(name, record, segment, (segment.start_us, segment.end_us))


def _forgotten(transport: Transport, ranges: Iterable[Partition]) -> ForgottenBook:
    """What is forgotten of the cameras of a topic of segments; nothing where its name is none of ours."""
    topic = next((topic for topic, _ in ranges), "")
    prefix = topic.removesuffix(".segments")
    try:
        return NOTHING_FORGOTTEN if prefix == topic else read_forgotten(transport, TopicSettings(prefix=prefix))
    except ValueError:
        return NOTHING_FORGOTTEN


def _within(items: Iterable[_TopicSegment], interval_us: tuple[int | None, int | None]) -> Iterator[_TopicSegment]:
    """The items of which something lies in an interval of event time, and those that tell no time."""
    begin_us, end_us = interval_us
    for item in items:
        start, end = item.times_us or (begin_us, begin_us)
        if (begin_us is None or end is None or end >= begin_us) and (end_us is None or start is None or start < end_us):
            yield item


def _of_one_feed(items: Iterable[_TopicSegment]) -> Iterator[_TopicSegment]:
    """The items as a worker's guard lets them through, with errors in the place of what it leaves out.

    One that it holds back comes behind those that decide about it.
    """
    guards: dict[tuple[str, Partition], _Guarded] = defaultdict(_Guarded)
    for item in items:
        yield from guards[item.camera, item.partition].take(item)
    for guarded in guards.values():
        yield from guarded.end()


@dataclass(slots=True)
class _Guarded:
    """What a worker that keeps up makes of a camera's segments by their times and claims."""

    guard: FeedGuard = field(default_factory=FeedGuard)
    open_epoch_us: int | None = None
    #: When the newest one was sent that was let through.
    heard_us: int = 0

    def take(self, item: _TopicSegment) -> Iterator[_TopicSegment]:
        if isinstance(item.segment, LostSegmentError):
            yield item
            return
        if self.heard_us and item.record.sent_us - self.heard_us >= _IDLE_US:
            yield from self.end()
        # Nothing is decoded here.
        yield from self._judged(Arrival(item.record, item.segment, Decoded((), [])))

    def end(self) -> Iterator[_TopicSegment]:
        """The camera has fallen silent: its epoch is over, and what was held back begins another."""
        self.open_epoch_us = None
        for arrival in self.guard.waiting():
            yield from self._judged(arrival)

    def _judged(self, arrival: Arrival) -> Iterator[_TopicSegment]:
        for each, reason in self.guard.take(arrival, self.open_epoch_us):
            segment, record = each.segment, each.record
            found: Segment | LostSegmentError = segment
            if reason is None:
                self.open_epoch_us = None if segment.is_end else segment.epoch_us
                self.heard_us = arrival.record.sent_us
            else:
                why = f"of another feed: {WHY_LEFT_OUT[reason]}"
                found = LostSegmentError(SegmentError(record.where, why), segment.frames)
            yield _TopicSegment(segment.camera, record, found, (segment.start_us, segment.end_us))


def _indexed(
    transport: Transport, topic: str, camera: str | None, interval_us: tuple[int | None, int | None]
) -> dict[Partition, tuple[int, int]]:
    """The offsets between which all of an interval lies, as the index says; none where it does not know of all."""
    begin_us, end_us = interval_us
    prefix = topic.removesuffix(".segments")
    if camera is None or begin_us is None or end_us is None or prefix == topic:
        return {}
    try:
        with FootageIndex(transport, TopicSettings(prefix=prefix)) as index:
            found = index.find(camera, begin_us, end_us)
            # One that ends where the interval begins is of it.
            before = index.find(camera, begin_us - 1, begin_us).segments
    except (BrokerError, ValueError):
        # As where ACLs are older than the index, or the topic's name is not ours. A broker that is away says so again.
        return {}
    offsets: dict[int, list[int]] = defaultdict(list)
    for segment in (*before, *found.segments):
        offsets[segment.partition].append(segment.offset)
    # Where something is missing, it may have been sent by an agent that writes no index.
    return {} if found.gaps else {(topic, number): (min(at), max(at) + 1) for number, at in offsets.items()}


def _without_earlier(
    transport: Transport, ranges: dict[Partition, tuple[int, int]], camera: str | None, begin_us: int
) -> dict[Partition, tuple[int, int]]:
    """Return the ranges without most of the records that end before `begin_us`, which may be days of a topic.

    The broker's index knows when a record was sent, not when its footage was recorded. Footage is sent after it was
    recorded, so records sent before `begin_us` show what was before. Footage that is sent ahead of its event time is
    the exception: hence an hour to spare, and a look at the records before the place that was found. Where the wanted
    footage ends, no index can tell: an archive may be sent at any time later.
    """
    (topic,) = {topic for topic, _ in ranges}
    hints = transport.sent_since(topic, begin_us - _AHEAD_US)
    found = {}
    for partition, (kept, end) in ranges.items():
        first, count = min(max(kept, hints[partition]), end), _LOOK_BACK
        while first > kept:
            earlier = max(kept, first - count)
            items = _within(_read_topic(transport, {partition: (earlier, first)}, camera), (begin_us, None))
            if all(isinstance(item.segment, LostSegmentError) for item in items):
                break
            first, count = earlier, 4 * count
        found[partition] = (first, end)
    return {partition: (first, end) for partition, (first, end) in found.items() if first < end}


@dataclass(slots=True)
class _TopicContent:
    """What a topic holds of one camera: where, how long, and a digest in the place of the bytes."""

    first: int = -1
    last: int = -1
    seconds: float = 0.0
    #: The first one that was read.
    begin: Segment | None = None
    digest: Any = field(default_factory=hashlib.sha256)

    def add(self, item: _TopicSegment) -> None:
        # One that was held back comes behind later ones.
        self.first = item.offset if self.first < 0 else min(self.first, item.offset)
        self.last = max(self.last, item.offset)
        segment = item.segment
        if isinstance(segment, LostSegmentError):
            self.digest.update(f"bad {item.offset};".encode())
            return
        self.begin = self.begin or segment
        self.seconds += segment.seconds
        facts = (segment.epoch_us, segment.sequence, segment.start_us, segment.end_us)
        self.digest.update(f"{facts};".encode() + hashlib.sha256(segment.data).digest())

    def piece(
        self,
        transport: Transport,
        camera: str,
        partition: Partition,
        interval_us: tuple[int | None, int | None],
        kept: int,
    ) -> TopicPiece:
        context = self._context_offset(transport, camera, partition, kept)
        self.digest.update(f"context {self.first - context};".encode())
        offsets = (self.first, self.last + 1)
        content = self.digest.hexdigest()
        return TopicPiece(transport, partition, offsets, camera, interval_us, content, self.seconds, context)

    def _context_offset(self, transport: Transport, camera: str, partition: Partition, kept: int) -> int:
        """Where the group of pictures begins that the footage begins in; at the footage itself if that is not there."""
        begin = self.begin
        if begin is None or begin.decode_from_us is None:
            return self.first
        first, count = self.first, _LOOK_BACK
        while first > kept and self.first - first < _MAX_CONTEXT:
            earlier = max(kept, first - count)
            for item in _read_topic(transport, {partition: (earlier, first)}, camera):
                segment = item.segment
                if isinstance(segment, LostSegmentError) or segment.continues:
                    continue
                if segment.start_us == begin.decode_from_us:
                    return item.offset
            first, count = earlier, 4 * count
        return self.first


def _parse_topic(
    source: str, camera: str | None
) -> tuple[str, str | None, tuple[int | None, int | None], tuple[int | None, int | None]]:
    parts = urlsplit(source)
    topic = parts.netloc + parts.path.rstrip("/")
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    if not topic or (unknown := sorted(set(query) - {"camera", "from", "to"})):
        known = "kafka://topic?camera=…&from=…&to=…"
        raise SourceError(f"{source}: expected {known}" + (f", found {unknown[0]!r}" if topic else ""))
    wanted = query.get("camera") or camera
    check_camera(wanted, source)
    bounds = [query.get(name) for name in ("from", "to")]
    if any(b is not None and b.isdigit() for b in bounds):
        if not all(b is None or b.isdigit() for b in bounds):
            raise SourceError(f"{source}: expected 'from' and 'to' both as offsets or both as times")
        if wanted is None:
            raise SourceError(f"{source}: offsets are of a camera's partition, so 'camera' is needed")
        first, end = (None if b is None else int(b) for b in bounds)
        _check_order(first, end, source)
        return topic, wanted, (None, None), (first, end)
    begin_us, end_us = (None if b is None else _time_us(b, source) for b in bounds)
    _check_order(begin_us, end_us, source)
    return topic, wanted, (begin_us, end_us), (None, None)


def _check_order(first: int | None, end: int | None, source: str) -> None:
    if first is not None and end is not None and first >= end:
        raise SourceError(f"{source}: expected 'from' before 'to'")


def _time_us(text: str, source: str) -> int:
    try:
        return parse_time_us(text.replace(" ", "+"))  # a '+' that was not escaped
    except ValueError:
        raise SourceError(f"{source}: {text!r} is neither an offset nor a time like 2026-11-24T08:00:00Z") from None
