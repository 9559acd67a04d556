"""Frames of an event at some moments, out of the segments that it names: read one after another, never held together.

event names      first ──────────────────────────── last        offsets; records of other cameras lie between
moments              |         |          |
read             ▒▒▒▒▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓                    a short event: all, from where decoding can begin
▒▓▓      ▒▒▓▓       ▒▓▓▓                        a long one: what is around each moment
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Iterator, Sequence
from typing import Final

from consumers.outputs.evidence import place_of_footage
from consumers.records.event import Event
from consumers.records.event_pictures import Reason
from stream import DecodeLimits, Decoder, Image, Partition, Picture, Record, Segment, SegmentError, Transport

#: An event whose segments span more offsets is a long one.
_SHORT: Final = 256
#: Around a moment of a long event: so many records are looked at for a segment of its camera.
_NEAR: Final = 256
#: How far back the begin of a long group of pictures is looked for, in records.
_MAX_BACK: Final = 2048


class NoFramesError(Exception):
    """There are no frames; `reason` says why in a word, the message in a sentence."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason


class EventFootage:
    """The footage of one event."""

    def __init__(self, transport: Transport, event: Event, limits: DecodeLimits, deadline: float, topic: str) -> None:
        """Look where it lies.

        Args:
            transport: the broker.
            event: a report of the event.
            limits: of each segment.
            deadline: when to give up, `time.monotonic()`.
            topic: the only one that is read, whatever the event says.

        Raises:
            NoFramesError: nothing of it is there.
            BrokerError: the broker is away.
        """
        self._transport, self._event, self._limits, self._deadline = transport, event, limits, deadline
        #: What of the footage was damaged, in words.
        self.damage: str | None = None
        place = place_of_footage(event)
        if place is None:
            raise NoFramesError("no_footage", "the event does not tell where its footage lies")
        self._partition: Partition = place[0]
        named, first, last = place[0][0], place[1], place[2]
        if named != topic or not transport.existing([named]):
            raise NoFramesError("no_footage", f"the event's footage lies on {named[:80]!r}, which is not there")
        self._kept, end = transport.offsets(named).get(self._partition, (0, 0))
        self._first, self._stop = max(first, self._kept), min(last + 1, end)
        if self._first >= self._stop:
            raise NoFramesError(
                "retention" if last < self._kept else "no_footage",
                f"{event.segments}: the topic holds offsets {self._kept} to {end - 1}",
            )
        head = self._next_of_camera(self._first, self._stop)
        if head is None and self.damage is not None:
            raise NoFramesError("undecodable", self.damage[:500])
        if head is None:
            lost = first < self._kept
            raise NoFramesError(
                "retention" if lost else "no_footage", f"{event.segments}: no segment of {event.camera} is there"
            )
        self._epoch_us, self._size = head[1].epoch_us, _shown_size(head[1])

    def fitting(self, max_side: int) -> Picture:
        """The camera's picture, made smaller where its longer side has more pixels than that."""
        width, height = self._size
        scale = min(1.0, max_side / max(width, height))
        return Picture(max(1, round(height * scale)), max(1, round(width * scale)))

    def frames(self, moments: Sequence[int], picture: Picture) -> Iterator[tuple[int, Image]]:
        """Yield the moment and the frame shown then, for those of the ascending `moments` that have one.

        Raises:
            NoFramesError: it takes too long.
            BrokerError: the broker is away.
        """
        decoder, left, newest = Decoder(picture, self._limits), list(moments), None
        for record in self._records(moments):
            if time.monotonic() > self._deadline:
                raise NoFramesError("too_slow", "reading and decoding its footage took too long")
            segment = self._segment(record)
            if segment is None or segment.epoch_us != self._epoch_us or segment.sequence == newest:
                continue
            newest = segment.sequence
            wanted = [t for t in left if segment.start_us <= t < segment.end_us]
            if not wanted and not segment.continues and not segment.continued:
                continue
            try:
                decoded = decoder.decode(segment, wanted, record.where)
            except SegmentError as error:
                self.damage = str(error)
                continue
            left = [t for t in left if t not in wanted]
            for sample in (*decoded.late, *decoded.samples):
                yield sample.at_us, sample.exact().image
            if not left and not segment.continued:
                break
        for sample in decoder.end():
            yield sample.at_us, sample.image

    def _records(self, moments: Sequence[int]) -> Iterator[Record]:
        for begin, stop in self._ranges(moments):
            with contextlib.closing(_closable(self._transport.read({self._partition: (begin, stop)}))) as records:
                yield from records

    def _ranges(self, moments: Sequence[int]) -> list[tuple[int, int]]:
        if self._stop - self._first <= _SHORT:
            return [(self._decodable_from(self._first), self._stop)]
        ranges: list[tuple[int, int]] = []
        for moment in moments:
            at = self._offset_of(moment)
            begin, stop = self._decodable_from(at), min(self._stop, at + 1 + _NEAR // 4)
            if ranges and begin <= ranges[-1][1]:
                ranges[-1] = (ranges[-1][0], max(ranges[-1][1], stop))
            else:
                ranges.append((begin, stop))
        return ranges

    def _offset_of(self, moment: int) -> int:
        """Of a long event: the offset of the camera's last segment that begins at or before `moment`."""
        low, high = self._first, self._stop
        found = self._first
        while high - low > 1:
            middle = (low + high) // 2
            near = self._next_of_camera(middle, high)
            if near is None or near[1].start_us > moment:
                high = middle
            else:
                found, low = near[0], near[0]
        return found

    def _decodable_from(self, offset: int) -> int:
        """Where to begin reading, so that the camera's first segment at or behind `offset` can be decoded."""
        first = self._next_of_camera(offset, self._stop)
        if first is None or not first[1].continues:
            return offset
        stop, step = offset, 32
        while stop > self._kept and offset - stop < _MAX_BACK:
            begin = max(self._kept, stop - step)
            start: int | None = None
            for record in self._transport.read({self._partition: (begin, stop)}):
                segment = self._segment(record)
                if segment is not None and not segment.continues and not segment.is_end:
                    start = record.offset
            if start is not None:
                return start
            stop, step = begin, 4 * step
        return offset  # what continues nothing that is there has no pictures

    def _next_of_camera(self, begin: int, stop: int) -> tuple[int, Segment] | None:
        """The offset and segment of the camera's first one with frames within these offsets, and near `begin`."""
        near = {self._partition: (begin, min(stop, begin + _NEAR))}
        with contextlib.closing(_closable(self._transport.read(near))) as records:
            for record in records:
                segment = self._segment(record)
                if segment is not None and segment.frames:
                    return record.offset, segment
        return None

    def _segment(self, record: Record) -> Segment | None:
        if time.monotonic() > self._deadline:
            raise NoFramesError("too_slow", "reading its footage took too long")
        if record.key != self._event.camera.encode():
            return None
        try:
            return Segment.decode(record.key, record.headers, record.value, record.where)
        except SegmentError as error:
            self.damage = str(error)
            return None


def _shown_size(segment: Segment) -> tuple[int, int]:
    """Width and height of the picture as it is shown, upright, with square pixels."""
    width, height = max(1, round(segment.width * segment.display.pixel_aspect)), max(1, segment.height)
    return (height, width) if segment.display.quarter_turns % 2 else (width, height)


def _closable(records: Iterator[Record]) -> Generator[Record, None, None]:
    """Records of which the rest need not be read: closed, it closes what reads them."""
    yield from records
