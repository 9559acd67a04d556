"""Cutting a feed into segments: where decoding can begin if it can often enough, never re-encoded.

How a cut works. A segment speaks of the frames in `[start, end)`; a cut at packet P makes P's presentation time the
end of one segment and the start of the next.

    decode order    I0 P3 B1 B2 | I6 B4 B5 P9 …      cut at I6: B4 and B5 are shown before it and refer to P3 and I6
    first segment   I0 P3 B1 B2   I6 B4 B5           frames 0..5; I6 is there only for B4 and B5
    second segment                I6 P9 …            frames 6..

    decode order    I0 P3 B1 B2 | P6 B4 B5 P9 …      the limit falls inside a group of pictures
    first segment   I0 P3 B1 B2   P6 B4 B5           frames 0..5
    second segment                P6 P9 …            frames 6..; it continues the first one: its decoder goes on

Where the film begins before what can be shown (`beginning.py`), the first segment carries that as context.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from stream.feeds.codecs.access import Access
from stream.feeds.codecs.coding import Coding
from stream.feeds.packets import Packet, Track
from stream.segment import Segment

from .beginning import MAX_REORDER, Beginning
from .writer import Draft, Writer

#: Decoding times that step back by less are a rounding; presentation times in their place are an order of pictures.
_MAX_ROUNDING_SECONDS: Final = 0.1
_MAX_REORDER_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class SegmentLimits:
    """How long and how large segments may be."""

    min_seconds: float = 0.5
    max_seconds: float = 2.0
    max_bytes: int = 8 * 1024 * 1024
    #: Timestamps further apart than this are a discontinuity.
    max_gap_seconds: float = 10.0

    def __post_init__(self) -> None:
        if not 0 < self.min_seconds <= self.max_seconds:
            raise ValueError(
                f"segment limits: expected 0 < min ({self.min_seconds}) <= max ({self.max_seconds}), in seconds"
            )


class Segmenter:
    """Push packets in, get segments out. Pure: the same packets give the same segments."""

    def __init__(
        self,
        camera: str,
        track: Track,
        limits: SegmentLimits | None = None,
        *,
        start_us: int = 0,
        live: bool = False,
    ) -> None:
        """Begin a feed.

        Args:
            camera: the id that segments carry.
            track: codec, size and time base of the packets.
            limits: lengths and sizes; the defaults suit a camera with a keyframe every second or two.
            start_us: event time of the container's time 0.
            live: whether packets may have been lost where time jumps.
        """
        self._writer = Writer(camera, track, start_us)
        self._limits = limits or SegmentLimits()
        # A file with an index lacks nothing where time jumps; a stream that was recorded may have lost packets there.
        self._is_complete = not live and "mpegts" not in track.template.container.format.name
        self._coding = Coding(track)
        # Whole numbers, for what is done with every packet: arithmetic on fractions costs as much as muxing.
        self._base_parts = track.time_base.numerator, track.time_base.denominator

        self._beginning = Beginning("no_keyframe", self._limits.max_bytes)
        self._in_epoch = False
        self._last_dts: int | None = None
        self._last_pts = 0
        self._interval = 0  # distance between the two newest frames in presentation order
        # libav reads ahead to describe a track, and tells the size of what it came to.
        self._is_resized = self._coding.tells_size
        self._open: Draft | None = None
        self._closing: Draft | None = None
        self._cut: Packet | None = None
        self._cut_carried = False  # whether the closing segment holds the cut packet as well
        #: What lies behind a gap in time, and how much of it the last segment before it carries.
        self._gap: list[tuple[Packet, Access]] = []
        self._carried = 0

    @property
    def last_end_us(self) -> int:
        """Where the newest segment ended: a feed that follows this one begins here or later."""
        return self._writer.last_end_us

    @property
    def skipped(self) -> Counter[str]:
        """Frames left out since the newest segment, by reason."""
        return self._writer.skipped

    def push(self, packet: Packet) -> list[Segment]:
        """Take the next packet in decoding order; return the segments that it completes (mostly none)."""
        if packet.pts is None:
            done = self._end_epoch("no_timestamp")
            self._writer.skipped["no_timestamp"] += 1
            return done
        dts = packet.dts if packet.dts is not None else packet.pts
        packet, access = self._coding.read(packet)
        done = []
        # The part of a film that follows in its edit list is decoded from where it begins, too.
        next_part = packet.discard and access.until_clean is not None
        if self._coding.has_changed:
            self._is_resized = True
        back_seconds = _MAX_REORDER_SECONDS if packet.dts is None else _MAX_ROUNDING_SECONDS
        if self._steps_back(dts, back_seconds) or (self._in_epoch and next_part):
            is_amid = self._in_epoch or self._beginning.has_shown
            done = self._end_epoch("discontinuity" if is_amid else self._beginning.reason)
        self._last_dts = dts
        return done + (self._go_on(packet, access) if self._in_epoch else self._begin(packet, access))

    def end(self, left_out: Mapping[str, int] | None = None) -> list[Segment]:
        """The feed is over: return what was held back, and the mark that ends the epoch.

        The mark also tells of frames that no segment could tell of, even where there was none; `left_out` are those
        that the feed did not give.
        """
        self._writer.skipped.update(left_out or {})
        done = self._end_epoch("no_keyframe")
        if self._writer.skipped:
            done.append(self._writer.end_mark())
        return done

    def _begin(self, packet: Packet, access: Access) -> list[Segment]:
        """Wait for the first picture that can be shown, and begin the epoch with it."""
        if self._beginning.wants_intra:
            self._coding.intra_suffices = True
        ready = self._beginning.push(packet, access, self._coding.with_sets)
        self._writer.skipped.update(self._beginning.take_skipped())
        if ready:
            self._begin_epoch()
        return []

    def _go_on(self, packet: Packet, access: Access) -> list[Segment]:
        done: list[Segment] = []
        pts, draft = packet.pts, self._open_draft
        assert pts is not None
        if self._gap:
            return self._take_behind_gap(packet, access)
        if self._closing is not None:
            if pts < draft.start:
                self._add_leading(packet)
                return done
            done.append(self._writer.write(self._closing, draft.start, continued=draft.continues))
            self._closing = self._cut = None
        elif pts < draft.start and not packet.discard:
            # Shown before the epoch's first picture: it refers to pictures that were never received.
            self._writer.skipped["no_keyframe"] += 1
            return done
        if not packet.discard and self._is_behind_gap(pts):
            return done + self._take_behind_gap(packet, access)
        if draft.shown and not packet.discard and self._cut_due(packet, access):
            self._closing, self._cut, self._cut_carried = draft, packet, False
            self._open = self._draft(pts, continues=access.until_clean != 0)
            packet = replace(packet, data=self._coding.with_sets(packet.data))
        self._open_draft.add(packet, counts=not packet.discard)
        if not packet.discard:
            self._note_time(packet)
        return done

    def _is_behind_gap(self, pts: int) -> bool:
        return self._seconds(pts - self._last_pts) > self._limits.max_gap_seconds

    def _take_behind_gap(self, packet: Packet, access: Access) -> list[Segment]:
        """Keep what is shown behind a gap until nothing can come any more that is shown earlier.

        decode order    … P7 | P11 B8 B9 B10 …      the gap lies between 9 and 10
        last segment    … P7   P11 B8 B9            frames up to 9; P11 is there only for B8 and B9
        new epoch              P11 B10 …            begins with frame 10
        """
        assert packet.pts is not None
        if self._gap and not packet.discard and not self._is_behind_gap(packet.pts):
            for ahead, _ in self._gap[self._carried :]:
                self._open_draft.add(ahead, counts=False)
            self._carried = len(self._gap)
            self._open_draft.add(packet, counts=True)
            self._note_time(packet)
            self._rejoin()
        else:
            self._carried = self._carried if self._gap else 0
            self._gap.append((packet, access))
        done: list[Segment] = []
        while self._gap:
            first = min(p.pts for p, _ in self._gap if p.pts is not None)
            if not (len(self._gap) > MAX_REORDER or (packet.dts is not None and packet.dts >= first)):
                break
            done += self._leave_gap()
        return done

    def _rejoin(self) -> None:
        """Count what was kept and, after what has come since, lies behind no gap any more; the open segment has it."""
        for ahead in sorted((p for p, _ in self._gap if not p.discard), key=lambda p: p.pts or 0):
            assert ahead.pts is not None
            if self._is_behind_gap(ahead.pts):
                break
            self._open_draft.show(ahead)
            self._note_time(ahead)
        kept = [one for one in self._gap if one[0].discard or self._is_behind_gap(one[0].pts or 0)]
        self._gap = kept if any(not p.discard for p, _ in kept) else []
        self._carried = len(self._gap)

    def _leave_gap(self) -> list[Segment]:
        """End the epoch before a gap, and begin the one behind it."""
        gap, self._gap = self._gap, []
        (lead, access), times = gap[0], sorted(p.pts for p, _ in gap if p.pts is not None)
        is_clean = access.until_clean == 0 and lead.pts == times[0]
        if not is_clean and not self._is_complete:
            done = self._end_epoch("discontinuity")
            for packet, its_access in gap:
                done += self._go_on(packet, its_access) if self._in_epoch else self._begin(packet, its_access)
            return done
        # Amid a group there is no end mark: it would end the decoder. That another epoch follows says as much.
        done = self._close_epoch(continued=not is_clean)
        if is_clean:
            done.append(self._writer.end_mark())
            gap[0] = replace(lead, data=self._coding.with_sets(lead.data)), access
        last = times[0]
        for time in times:
            last = time if self._seconds(time - last) <= self._limits.max_gap_seconds else last
        packets = [(p, p.pts is not None and p.pts <= last and not p.discard) for p, _ in gap]
        self._open_epoch(times[0], packets, continues=not is_clean)
        self._gap = [one for one, (p, is_shown) in zip(gap, packets, strict=True) if not (is_shown or p.discard)]
        self._carried = len(self._gap)
        return done

    def _draft(self, start: int, *, continues: bool) -> Draft:
        is_resized = self._is_resized and not continues
        self._is_resized = self._is_resized and continues
        return Draft(start, continues, self._coding.extradata, is_resized)

    @property
    def _open_draft(self) -> Draft:
        assert self._open is not None
        return self._open

    def _seconds(self, ticks: int) -> float:
        # Not the exact fraction: ten frames at 25 a second are less than the float 0.4 that a limit is given as.
        numerator, denominator = self._base_parts
        return ticks * numerator / denominator

    def _steps_back(self, dts: int, seconds: float) -> bool:
        return self._last_dts is not None and self._seconds(dts - self._last_dts) < -seconds

    def _cut_due(self, packet: Packet, access: Access) -> bool:
        draft = self._open_draft
        assert packet.pts is not None
        seconds = self._seconds(packet.pts - draft.start)
        if access.until_clean == 0 and (
            seconds >= self._limits.min_seconds or draft.continues or self._coding.has_changed
        ):
            return True
        if packet.pts < self._last_pts:
            return False  # shown before a frame that the open segment counts as its own
        return seconds >= self._limits.max_seconds or draft.bytes + len(packet.data) > self._limits.max_bytes

    def _add_leading(self, packet: Packet) -> None:
        """`packet` follows the cut in decoding order and precedes it on the screen."""
        assert self._closing is not None
        assert self._cut is not None
        if not self._cut_carried:
            self._closing.add(self._cut, counts=False)
            self._cut_carried = True
        self._closing.add(packet, counts=not packet.discard)
        if not packet.discard:
            self._note_time(packet)

    def _note_time(self, packet: Packet) -> None:
        assert packet.pts is not None
        if packet.pts > self._last_pts:
            self._last_pts, self._interval = packet.pts, packet.duration or packet.pts - self._last_pts

    def _begin_epoch(self) -> None:
        origin, packets = self._beginning.take()
        self._open_epoch(origin, packets, continues=False)

    def _open_epoch(self, origin: int, packets: Sequence[tuple[Packet, bool]], *, continues: bool) -> None:
        self._writer.begin(origin, packets[0][0].data, continues=continues)
        self._in_epoch = True
        self._last_pts, self._interval = origin, 0
        self._open = self._draft(origin, continues=continues)
        for packet, is_shown in packets:
            self._open.add(packet, counts=is_shown)
            if is_shown:
                self._note_time(packet)

    def _end_epoch(self, reason: str) -> list[Segment]:
        if not self._in_epoch and self._beginning.has_shown:
            self._begin_epoch()
        done: list[Segment] = []
        while self._gap:
            done += self._leave_gap()
        self._beginning = Beginning(reason, self._limits.max_bytes)
        return [*done, *self._close_epoch(continued=False), self._writer.end_mark()] if self._in_epoch else done

    def _close_epoch(self, *, continued: bool) -> list[Segment]:
        done, draft = [], self._open_draft
        if self._closing is not None:
            done.append(self._writer.write(self._closing, draft.start, continued=draft.continues))
        # A last frame without a duration is known to have been shown, not for how long.
        end = self._last_pts + self._writer.least(self._interval)
        done.append(self._writer.write(draft, end, continued=continued))
        self._in_epoch, self._open, self._closing, self._cut = False, None, None, None
        return done
