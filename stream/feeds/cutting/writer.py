"""Segments as they are written: the numbers and times of an epoch, and what each segment tells of its frames."""

from __future__ import annotations

import itertools
from collections import Counter, deque
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Final

from stream.camera_ids import check_sent_id
from stream.feeds.packets import Packet, Track
from stream.segment import TICKS_PER_SECOND, Segment, fingerprint, ticks_to_us

from .muxing import mux, picture_size

#: A picture that stands still for longer than so many usual intervals, and this long, is told as held.
_HELD_INTERVALS: Final = 3
_HELD_SECONDS: Final = 1.0
#: Intervals that the usual one is the median of.
_INTERVALS: Final = 51


@dataclass(slots=True)
class Draft:
    """A segment in the making."""

    start: int
    #: Whether it needs the decoder of the segment before.
    continues: bool = False
    #: How it is decoded, where that is not as the track says, and whether its pictures may have another size.
    extradata: bytes | None = None
    is_resized: bool = False
    packets: list[Packet] = field(default_factory=list)
    #: Presentation times of the frames that it speaks of.
    shown: list[int] = field(default_factory=list)
    bytes: int = 0

    def add(self, packet: Packet, *, counts: bool) -> None:
        """Take the next packet; it `counts` where its frame is one that the segment speaks of."""
        self.packets.append(packet)
        self.bytes += len(packet.data)
        if counts:
            self.show(packet)

    def show(self, packet: Packet) -> None:
        """Speak of the frame of a packet that was taken, too."""
        assert packet.pts is not None
        self.shown.append(packet.pts)


class Writer:
    """Makes segments of drafts, one epoch after the other."""

    def __init__(self, camera: str, track: Track, start_us: int) -> None:
        """Begin a feed.

        Args:
            camera: the id that segments carry.
            track: what the packets are of.
            start_us: event time of the container's time 0.
        """
        self._camera = check_sent_id(camera)
        self._track = track
        self._container = track.container
        tick = track.time_base * TICKS_PER_SECOND[self._container]  # container ticks per track tick
        # Whole numbers, for what is done with every packet: arithmetic on fractions costs as much as muxing.
        self._tick_parts = tick.numerator, tick.denominator
        self._start_us = start_us
        #: Where the newest segment ended.
        self.last_end_us = start_us
        #: Frames left out since the newest segment, by reason.
        self.skipped: Counter[str] = Counter()
        self._feed = ""
        self._epoch_us: int | None = None
        self._origin = 0  # pts at which the epoch begins
        self._sequence = 0
        self._group_us = 0  # start of the segment with which decoding begins
        self._intervals: deque[int] = deque(maxlen=_INTERVALS)

    def begin(self, origin: int, first: bytes, *, continues: bool) -> None:
        """Begin an epoch with a picture at a presentation time; its numbers go on where it continues the one before."""
        self._feed = self._feed or fingerprint(self._track.codec, first)
        begin = self._start_us + round((origin - self._track.zero) * self._track.time_base * 1_000_000)
        # An epoch's number is the time of its first frame, and it grows: never before the end of the one before.
        self._epoch_us = max(begin, self.last_end_us)
        if self._epoch_us > begin:
            # Timestamps went back: from here on the file's own clock is taken to continue where it had stopped.
            self._start_us += self._epoch_us - begin
        self._origin = origin
        self._sequence = self._sequence if continues else 0
        self._intervals.clear()

    def write(self, draft: Draft, end: int, *, continued: bool) -> Segment:
        """The next segment: what the draft holds, up to the presentation time `end`."""
        assert draft.packets[0].pts is not None
        assert self._epoch_us is not None
        if draft.is_resized:
            size = picture_size(draft.packets, self._track, draft.extradata)
            if size is not None:
                self._track = replace(self._track, width=size[0], height=size[1])
        data = mux(draft.packets, self._track, self._container, self._to_ticks, self._camera, draft.extradata)
        start_us = self._to_us(draft.start)
        if not draft.continues:
            self._group_us = start_us
        segment = Segment(
            camera=self._camera,
            epoch_us=self._epoch_us,
            sequence=self._sequence,
            start_us=start_us,
            end_us=self._to_us(end),
            container=self._container,
            codec=self._track.codec,
            width=self._track.width,
            height=self._track.height,
            frames=len(draft.shown),
            first_tick=self._to_ticks(draft.packets[0].pts),
            data=data,
            skipped=dict(self.skipped),
            decode_from_us=self._group_us if draft.continues else None,
            continued=continued,
            held_us=self._held_us(draft, end),
            display=self._track.display,
            feed=self._feed,
        )
        self.skipped.clear()
        self._sequence += 1
        self.last_end_us = segment.end_us
        return segment

    def end_mark(self) -> Segment:
        """The end of the epoch; where there was none, of one without a frame."""
        if self._epoch_us is None:
            self._epoch_us = self.last_end_us
        mark = Segment(
            camera=self._camera,
            epoch_us=self._epoch_us,
            sequence=self._sequence,
            start_us=self.last_end_us,
            end_us=self.last_end_us,
            container=self._container,
            codec=self._track.codec,
            width=self._track.width,
            height=self._track.height,
            frames=0,
            first_tick=0,
            data=b"",
            skipped=dict(self.skipped),
            feed=self._feed,
        )
        self.skipped.clear()
        self._sequence += 1
        return mark

    def least(self, interval: int) -> int:
        """The `interval` in ticks, at least one tick of either clock."""
        numerator, denominator = self._tick_parts
        return max(interval, 1, -(-denominator // numerator))

    def _to_ticks(self, pts: int) -> int:
        """Track ticks to container ticks after the epoch's first frame, rounded to nearest."""
        numerator, denominator = self._tick_parts
        return (2 * (pts - self._origin) * numerator + denominator) // (2 * denominator)

    def _to_us(self, pts: int) -> int:
        assert self._epoch_us is not None
        return self._epoch_us + ticks_to_us(self._to_ticks(pts), self._container)

    def _held_us(self, draft: Draft, end: int) -> int:
        """How long pictures of a segment stood still because no other came."""
        held, times = 0, sorted([*draft.shown, end])
        for one, other in itertools.pairwise(times):
            interval = other - one
            usual = median(self._intervals) if self._intervals else interval
            if interval > _HELD_INTERVALS * usual and interval * self._track.time_base > _HELD_SECONDS:
                held += self._to_us(other) - self._to_us(one)
            self._intervals.append(interval)
        return held
