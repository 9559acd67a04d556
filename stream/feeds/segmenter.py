"""Cutting a feed into segments: at keyframes where they come often enough, never re-encoded.

How a cut works. A segment speaks of the frames in `[start, end)`; a cut at packet P makes P's presentation time the
end of one segment and the start of the next.

    decode order    I0 P3 B1 B2 | I6 B4 B5 P9 …      cut at I6: B4 and B5 are shown before it and refer to P3 and I6
    first segment   I0 P3 B1 B2   I6 B4 B5           frames 0..5; I6 is there only for B4 and B5
    second segment                I6 P9 …            frames 6..

    decode order    I0 P1 P2 | P3 P4 …  (no I6)      the limit falls inside a group of pictures
    second segment  I0 P1 P2   P3 P4 …               frames 3..; I0 to P2 are the lead-in, decoded and not shown

A group of pictures longer than `max_gop_seconds` or larger than `max_bytes` cannot be carried as a lead-in: what is
left of it is skipped, counted as `gop_too_long`, and the next keyframe begins a new epoch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from stream.segment import TICKS_PER_SECOND, Segment, check_camera_id, ticks_to_us

from .muxing import mux
from .packets import Packet, Track

#: Decoding times that step back by less are a rounding; presentation times in their place are an order of pictures.
_MAX_ROUNDING_SECONDS: Final = 0.1
_MAX_REORDER_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class SegmentLimits:
    """How long and how large segments may be."""

    min_seconds: float = 0.5
    max_seconds: float = 2.0
    max_gop_seconds: float = 30.0
    max_bytes: int = 8 * 1024 * 1024
    #: Timestamps further apart than this are a discontinuity.
    max_gap_seconds: float = 10.0

    def __post_init__(self) -> None:
        if not 0 < self.min_seconds <= self.max_seconds <= self.max_gop_seconds:
            raise ValueError(
                f"segment limits: expected 0 < min ({self.min_seconds}) <= max ({self.max_seconds}) <= "
                f"group of pictures ({self.max_gop_seconds}), in seconds"
            )


@dataclass(slots=True)
class _SegmentDraft:
    """A segment in the making. `lead_in` packets come first and lie before `start`."""

    start: int
    packets: list[Packet]
    has_lead_in: bool = False
    frames: int = 0
    bytes: int = field(init=False)

    def __post_init__(self) -> None:
        self.bytes = sum(len(p.data) for p in self.packets)

    def add(self, packet: Packet, *, counts: bool) -> None:
        self.packets.append(packet)
        self.bytes += len(packet.data)
        self.frames += counts


class Segmenter:
    """Push packets in, get segments out. Pure but for `clock`: the same packets give the same segments."""

    def __init__(
        self,
        camera: str,
        track: Track,
        limits: SegmentLimits | None = None,
        *,
        start_us: int = 0,
        clock: Callable[[], int] | None = None,
    ) -> None:
        """Begin a feed.

        Args:
            camera: the id that segments carry.
            track: codec, size and time base of the packets.
            limits: lengths and sizes; the defaults suit a camera with a keyframe every second or two.
            start_us: event time of the first frame of recorded footage.
            clock: event time now, in microseconds, for a live feed; asked once at the start of each epoch.
        """
        self._camera = check_camera_id(camera)
        self._track = track
        self._limits = limits or SegmentLimits()
        self._clock = clock
        self._container = track.container
        self._tick = track.time_base * TICKS_PER_SECOND[self._container]  # container ticks per track tick
        # Whole numbers, for what is done with every packet: arithmetic on fractions costs as much as muxing.
        self._tick_parts = self._tick.numerator, self._tick.denominator
        self._base_parts = track.time_base.numerator, track.time_base.denominator

        self._in_epoch = False
        self._waiting_since = "no_keyframe"  # why packets are skipped until the next keyframe
        self._first_pts: int | None = None  # of the feed: what `start_us` stands for
        self._start_us = start_us
        self._last_end_us = start_us
        self._epoch_us = 0
        self._origin = 0  # pts at which the epoch begins
        self._sequence = 0
        self._last_dts: int | None = None
        self._last_pts = 0
        self._interval = 0  # distance between the two newest frames in presentation order
        self._gop: list[Packet] = []
        self._open: _SegmentDraft | None = None
        self._closing: _SegmentDraft | None = None
        self._cut: Packet | None = None
        self._cut_carried = False  # whether the closing segment holds the cut packet as well
        self._skipped: Counter[str] = Counter()

    @property
    def last_end_us(self) -> int:
        """Where the newest segment ended: a feed that follows this one begins here or later."""
        return self._last_end_us

    @property
    def skipped(self) -> Counter[str]:
        """Frames left out since the newest segment, by reason."""
        return self._skipped

    def push(self, packet: Packet) -> list[Segment]:
        """Take the next packet in decoding order; return the segments that it completes (mostly none)."""
        if packet.pts is None:
            done = self._end_epoch("no_timestamp")
            self._skipped["no_timestamp"] += 1
            return done
        dts = packet.dts if packet.dts is not None else packet.pts
        done = []
        back_seconds = _MAX_REORDER_SECONDS if packet.dts is None else _MAX_ROUNDING_SECONDS
        if self._in_epoch and self._jumps(dts, back_seconds):
            done = self._end_epoch("discontinuity")
        self._last_dts = dts
        if not self._in_epoch:
            if not packet.keyframe:
                self._skipped[self._waiting_since] += 1
                return done
            self._begin_epoch(packet.pts)
            self._open = _SegmentDraft(packet.pts, [])
        elif self._closing is not None and self._cut is not None:
            if packet.pts < self._open_draft.start:
                self._add_leading(packet)
                return done
            done.append(self._emit(self._closing, self._open_draft.start))
            self._closing = self._cut = None
        elif packet.pts < self._open_draft.start:
            # Shown before the epoch's first keyframe: it refers to pictures that were never received.
            self._skipped["no_keyframe"] += 1
            return done
        if self._open_draft.frames and self._cut_due(packet):
            if not packet.keyframe and not self._lead_in_fits(packet):
                done += self._end_epoch("gop_too_long")
                self._skipped["gop_too_long"] += 1
                return done
            self._closing, self._cut, self._cut_carried = self._open_draft, packet, False
            lead_in = [] if packet.keyframe else list(self._gop)
            self._open = _SegmentDraft(packet.pts, lead_in, has_lead_in=bool(lead_in))
        self._append(packet)
        return done

    def end(self) -> list[Segment]:
        """The feed is over: return what was held back, and the mark that ends the epoch."""
        return self._end_epoch("no_keyframe")

    @property
    def _open_draft(self) -> _SegmentDraft:
        assert self._open is not None
        return self._open

    def _seconds(self, ticks: int) -> float:
        # Not the exact fraction: ten frames at 25 a second are less than the float 0.4 that a limit is given as.
        numerator, denominator = self._base_parts
        return ticks * numerator / denominator

    def _jumps(self, dts: int, back_seconds: float) -> bool:
        if self._last_dts is None:
            return False
        step = dts - self._last_dts
        return self._seconds(step) < -back_seconds or self._seconds(step) > self._limits.max_gap_seconds

    def _cut_due(self, packet: Packet) -> bool:
        draft = self._open_draft
        assert packet.pts is not None
        seconds = self._seconds(packet.pts - draft.start)
        if packet.keyframe and (seconds >= self._limits.min_seconds or draft.has_lead_in):
            return True
        if packet.pts < self._last_pts:
            return False  # shown before a frame that the open segment counts as its own
        return seconds >= self._limits.max_seconds or draft.bytes + len(packet.data) > self._limits.max_bytes

    def _lead_in_fits(self, packet: Packet) -> bool:
        assert packet.pts is not None
        assert self._gop[0].pts is not None
        size = sum(len(p.data) for p in self._gop) + len(packet.data)
        seconds = self._seconds(packet.pts - self._gop[0].pts)
        return size <= self._limits.max_bytes and seconds < self._limits.max_gop_seconds

    def _append(self, packet: Packet) -> None:
        assert packet.pts is not None
        if packet.keyframe:
            self._gop = []
        self._gop.append(packet)
        self._open_draft.add(packet, counts=True)
        self._note_time(packet)

    def _add_leading(self, packet: Packet) -> None:
        """`packet` follows the cut in decoding order and precedes it on the screen."""
        assert self._closing is not None
        assert self._cut is not None
        if not self._cut_carried:
            self._closing.add(self._cut, counts=False)
            self._cut_carried = True
        self._closing.add(packet, counts=True)
        if not self._cut.keyframe:
            # Inside a group of pictures later frames may refer to this one, in this segment and in the next.
            self._open_draft.add(packet, counts=False)
            self._gop.append(packet)
        self._note_time(packet)

    def _note_time(self, packet: Packet) -> None:
        assert packet.pts is not None
        if packet.pts > self._last_pts:
            self._last_pts, self._interval = packet.pts, packet.duration or packet.pts - self._last_pts

    def _begin_epoch(self, pts: int) -> None:
        if self._clock is not None:
            begin = self._clock()
        else:
            if self._first_pts is None:
                self._first_pts = pts
            begin = self._start_us + round((pts - self._first_pts) * self._track.time_base * 1_000_000)
        # An epoch's number is the time of its first frame, and it grows: never before the end of the one before.
        self._epoch_us = max(begin, self._last_end_us)
        if self._clock is None and self._epoch_us > begin:
            # Timestamps went back: from here on the file's own clock is taken to continue where it had stopped.
            self._start_us += self._epoch_us - begin
        self._in_epoch, self._origin, self._sequence = True, pts, 0
        self._last_pts, self._interval = pts, 0

    def _end_epoch(self, reason: str) -> list[Segment]:
        self._waiting_since = reason
        if not self._in_epoch:
            return []
        done = []
        if self._closing is not None:
            done.append(self._emit(self._closing, self._open_draft.start))
        # A last frame without a duration is known to have been shown, not for how long: a tick of either clock.
        end = self._last_pts + max(self._interval, 1, -(-self._tick.denominator // self._tick.numerator))
        done.append(self._emit(self._open_draft, end))
        done.append(self._end_mark(done[-1]))
        self._in_epoch, self._open, self._closing, self._cut, self._gop = False, None, None, None, []
        return done

    def _to_ticks(self, pts: int) -> int:
        """Track ticks to container ticks after the epoch's first frame, rounded to nearest."""
        numerator, denominator = self._tick_parts
        return (2 * (pts - self._origin) * numerator + denominator) // (2 * denominator)

    def _to_us(self, pts: int) -> int:
        return self._epoch_us + ticks_to_us(self._to_ticks(pts), self._container)

    def _emit(self, draft: _SegmentDraft, end: int) -> Segment:
        assert draft.packets[0].pts is not None
        segment = Segment(
            camera=self._camera,
            epoch_us=self._epoch_us,
            sequence=self._sequence,
            start_us=self._to_us(draft.start),
            end_us=self._to_us(end),
            container=self._container,
            codec=self._track.codec,
            width=self._track.width,
            height=self._track.height,
            frames=draft.frames,
            first_tick=self._to_ticks(draft.packets[0].pts),
            data=mux(draft.packets, self._track, self._container, self._to_ticks, self._camera),
            skipped=dict(self._skipped),
        )
        self._skipped.clear()
        self._sequence += 1
        self._last_end_us = segment.end_us
        return segment

    def _end_mark(self, last: Segment) -> Segment:
        mark = Segment(
            camera=self._camera,
            epoch_us=self._epoch_us,
            sequence=self._sequence,
            start_us=last.end_us,
            end_us=last.end_us,
            container=self._container,
            codec=self._track.codec,
            width=self._track.width,
            height=self._track.height,
            frames=0,
            first_tick=0,
            data=b"",
            skipped=dict(self._skipped),
        )
        self._skipped.clear()
        return mark
