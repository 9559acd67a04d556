"""From a segment's bytes to the few pictures that a clip needs, at the least decoding that gives them.

At 1080p decoding is most of what a camera costs, so three things are left out that change no sampled picture:

- Pictures after the last one that is wanted, up to the next point where decoding can begin afresh.
- Pictures that no other refers to (H.264 with `nal_ref_idc` 0), unless they are wanted.
- Conversion and scaling of pictures that are not wanted.

And one that changes them slightly: the deblocking filter, where the picture is at least `DEBLOCK_RATIO` times larger
than the clip, so that what it smooths is below the clip's pixel size. The choice depends on the picture size alone,
hence a clip looks the same however and wherever it was decoded.

    segment      0 (I P B P)   1 (P B P P)   2 (P P B)   3 (I P P)
    continued    yes           yes           no          no
    decoder      ────────────────────────────▶│          ──────▶│

A segment that neither continues another nor is continued needs nothing but its bytes: `decode`. Where a group of
pictures lies in several segments, one `Decoder` takes them in turn. It may give a picture late, with the next segment,
where the codec reorders pictures.
"""

from __future__ import annotations

import contextlib
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import av
import av.error

from stream.errors import SegmentError
from stream.feeds.codecs.nal import is_unreferenced
from stream.segment import Segment

from .effort import EVERYTHING, Effort
from .gpu.decoders import Gpu
from .limits import Budget, DecodeLimits
from .opening import SegmentPacket, errors_named, frames_inside, opened, set_up, shown_at
from .pictures import Image, Picture, Scaler
from .references import held, needed_packets
from .samples import Sample, Undecoded
from .sizes import is_still_by_size

#: A decoder that gives nothing for so many packets holds nothing back: no codec reorders pictures that far.
MAX_DELAY: Final = 64
#: A frame that has not come out when so many later ones have is not coming.
LATER: Final = 3


@dataclass(frozen=True, slots=True)
class Decoded:
    """What one segment gave: the time of every frame it speaks of, and pictures for the times asked for."""

    #: Event times in µs of all frames in the segment's interval, ascending; known without decoding them.
    frame_times_us: tuple[int, ...]
    #: For the times asked for, in their order; those of a continued segment's end may come with the next one.
    samples: list[Sample] = field(repr=False)
    #: For times that were asked for of segments before.
    late: list[Sample] = field(default_factory=list, repr=False)
    #: Why there are no pictures, where the segment is whole and cannot be decoded: nobody has what it continues.
    missing: str | None = None
    #: How much was made of the segment.
    effort: Effort = EVERYTHING
    #: Whether its pictures are those of keyframes, which stand in for all, see `Sample.exact`.
    is_still: bool = False


def decode(
    segment: Segment,
    times_us: Sequence[int],
    picture: Picture,
    where: str = "segment",
    limits: DecodeLimits | None = None,
    *,
    keyframes_only: bool = False,
    still_share: float | None = None,
    gpu: Gpu | None = None,
) -> Decoded:
    """Return the pictures shown at `times_us`, which ascend and lie in the segment's interval.

    The picture shown at a time is the last frame at or before it; with `keyframes_only`, the last of those at which
    decoding can begin. Where each other picture takes at most `still_share` of the bytes of a keyframe, and none is
    larger than those before, the keyframes' stand in for them until somebody asks for the exact ones. A segment that
    continues another has no pictures of its own: they are `missing`. A `gpu` decodes where it can.

    Raises:
        SegmentError: the bytes are not the video that the segment says they are, or ask for more than the limits.
    """
    limits = limits or DecodeLimits()
    budget = Budget(limits, segment, where)
    with errors_named(segment, where):
        with opened(segment, budget, where) as (stream, packets, times):
            inside = frames_inside(segment, times, where)
            if segment.continues:
                return Decoded(inside, [], missing="no_keyframe")
            shown = exact = shown_at(inside, times_us)
            is_still = still_share is not None and not keyframes_only and is_still_by_size(packets, still_share)
            if keyframes_only or is_still:
                shown = held(shown, packets, times)
            budget.check_pictures(len(set(shown)), picture)
            images, produced = _decode_wanted(stream, packets, times, set(shown), segment, picture, budget, gpu)
        if missing := sorted(set(shown) - set(images)):
            # A picture that is coded as "no change" gives no frame: the one before it stays on the screen.
            instead = {t: max((p for p in produced if p < t), default=t) for t in missing}
            with opened(segment, budget, where) as (stream, packets, times):
                wanted = {*instead.values(), *missing}
                found, _ = _decode_wanted(stream, packets, times, wanted, segment, picture, budget, gpu)
            images |= {t: found[p] for t, p in instead.items() if p in found}
    if missing := [t for t in shown if t not in images]:
        raise SegmentError(
            where, f"{len(missing)} of {len(shown)} pictures could not be decoded, first {missing[0]} µs"
        )
    pictures = zip(times_us, shown, exact, strict=True)
    if is_still:
        rest = Undecoded(lambda: decode(segment, times_us, picture, where, limits, gpu=gpu).samples)
        stand_ins = [Sample(at, own, images[t], rest=None if t == own else rest) for at, t, own in pictures]
        return Decoded(inside, stand_ins, is_still=True)
    return Decoded(inside, [Sample(at, t, images[t], is_held=t != wanted) for at, t, wanted in pictures])


class Decoder:
    """Decodes segments of one camera in the order of its topic, with state between those that belong together.

    It gives the same pictures as one decoder that is given the whole group.
    """

    def __init__(
        self,
        picture: Picture,
        limits: DecodeLimits | None = None,
        *,
        still_share: float | None = None,
        gpu: Gpu | None = None,
    ) -> None:
        """Begin; `still_share` and `gpu` are of segments that belong to no group, see `decode`."""
        self._picture, self._limits, self._still_share = picture, limits or DecodeLimits(), still_share
        self._gpu = gpu
        self._group: _Group | None = None
        self._late: list[Sample] = []

    def decode(self, segment: Segment, times_us: Sequence[int], where: str = "segment") -> Decoded:
        """Take the next segment; return its pictures at `times_us`, and late ones of segments before.

        A segment whose predecessor was not decoded here has no pictures: they are `missing`.

        Raises:
            SegmentError: the bytes are not the video that the segment says they are. Late pictures come with the next.
        """
        if self._group is not None and self._group.has_taken(segment):
            # Sent twice, or read again: the group goes on behind it.
            return Decoded((), [], missing="duplicate")
        group, self._group = self._group, None
        if group is not None and not group.is_followed_by(segment):
            self._late += group.end()
            group = None
        if segment.is_end:
            return self._give(Decoded((), []))
        if group is None and (segment.continues or not segment.continued):
            alone = decode(
                segment, times_us, self._picture, where, self._limits, still_share=self._still_share, gpu=self._gpu
            )
            return self._give(alone)
        with errors_named(segment, where):
            budget = Budget(self._limits, segment, where)
            group = group or _Group(segment, self._picture, budget, where)
            try:
                inside, samples = group.take(segment, times_us, budget, where)
            except BaseException:
                self._late += group.end()
                raise
        self._group = group if segment.continued else None
        self._late += [sample for sample in samples if sample.at_us < segment.start_us]
        return self._give(Decoded(inside, [sample for sample in samples if sample.at_us >= segment.start_us]))

    def end(self) -> list[Sample]:
        """Nothing follows: return the pictures that were still to come."""
        if self._group is not None:
            self._late += self._group.end()
            self._group = None
        late, self._late = self._late, []
        return late

    def _give(self, decoded: Decoded) -> Decoded:
        late, self._late = self._late, []
        return replace(decoded, late=late)


@dataclass(slots=True)
class _Owed:
    """A picture that was asked for."""

    at_us: int
    #: Of the frame that is to be shown.
    frame_us: int
    #: The newest frame that came out at or before its time, and its time.
    frame: Any
    found_us: int
    #: How many frames of later times came out.
    later: int = 0

    def see(self, frame: Any, time_us: int) -> None:
        if time_us > self.frame_us:
            self.later += 1
        elif time_us >= self.found_us:
            self.frame, self.found_us = frame, time_us


class _Group:
    """The decoder of one group of pictures that lies in several segments, and what it still owes."""

    def __init__(self, first: Segment, picture: Picture, budget: Budget, where: str) -> None:
        self._open = contextlib.ExitStack()
        # It stays open: its decoder, which knows all about the codec, takes the packets of later segments, too.
        self._stream, self._first_packets, self._first_times = self._open.enter_context(opened(first, budget, where))
        # Where reordering is not told, and pictures are not reordered yet, they still may be later on.
        self._context = set_up(self._stream, first, picture, budget, reordered=True)
        self._picture, self._scale = picture, Scaler(picture, first.display, budget.max_pixels)
        self._from_us = first.start_us
        self._newest: Segment | None = None
        #: How many packets the newest segment held with which the next one begins.
        self._ahead = 0
        self._owed: deque[_Owed] = deque()
        #: Times, rounded, of more than one frame: the last of them is shown.
        self._shared: set[int] = set()
        #: The newest frame that came out, and its time; the newest that was shown, and its picture.
        self._frame: tuple[Any, int] = None, -1
        self._shown: tuple[Any, Image | None] = None, None
        self._packets_without_frame = 0

    def has_taken(self, segment: Segment) -> bool:
        newest = self._newest
        if newest is None or segment.epoch_us != newest.epoch_us:
            return False
        return segment.start_us < newest.end_us or segment.sequence == newest.sequence

    def is_followed_by(self, segment: Segment) -> bool:
        newest = self._newest
        # Behind a gap in time an epoch may begin amid the group; its numbers go on.
        return (
            newest is not None
            and segment.continues
            and (segment.epoch_us == newest.epoch_us or segment.decode_from_us == self._from_us)
            and segment.sequence == newest.sequence + 1
        )

    def take(
        self, segment: Segment, times_us: Sequence[int], budget: Budget, where: str
    ) -> tuple[tuple[int, ...], list[Sample]]:
        """Decode the next segment; return the times of its frames, and samples of it and of those before."""
        if self._newest is None:
            return self._feed(segment, self._first_packets, self._first_times, times_us, budget, where)
        with opened(segment, budget, where) as (_, packets, times):
            return self._feed(segment, packets, times, times_us, budget, where)

    def end(self) -> list[Sample]:
        """Nothing follows: return what is still owed, as far as it can be decoded."""
        with contextlib.suppress(av.error.FFmpegError, ValueError):
            self._decode(None)
        samples = self._pay(everything=True)
        self._open.close()
        return samples

    def _feed(
        self,
        segment: Segment,
        packets: list[SegmentPacket],
        times: list[int],
        times_us: Sequence[int],
        budget: Budget,
        where: str,
    ) -> tuple[tuple[int, ...], list[Sample]]:
        inside = frames_inside(segment, times, where)
        shown = shown_at(inside, times_us)
        budget.check_pictures(len(set(shown)), self._picture)
        self._owed.extend(_Owed(at_us, t, *self._frame) for at_us, t in zip(times_us, shown, strict=True))
        self._shared = {t for t, count in Counter(times).items() if count > 1}
        # The packets with which the next segment begins are decoded here and may be wanted there.
        wanted = {*shown, *(t for t in times if t >= segment.end_us)}
        if segment.continued:
            last = len(packets) - 1
        else:
            last = max((i for i, t in enumerate(times) if t in wanted), default=-1)
        droppable = self._context.name == "h264"
        samples = self._pay()
        for i in range(self._ahead, last + 1):
            packet, time_us = packets[i], times[i]
            if droppable and time_us not in wanted and is_unreferenced(packet):
                continue
            budget.check_time()
            packet.pts = time_us  # the frame that comes of it tells its time, whatever segment it was in
            self._decode(packet)
            samples += self._pay()
        self._newest, self._ahead = segment, sum(t >= segment.end_us for t in times)
        if not segment.continued:
            samples += self.end()
        elif self._packets_without_frame <= MAX_DELAY:
            return inside, samples
        else:
            samples += self._pay(everything=True)
        if self._owed:
            missing = f"{len(self._owed)} pictures could not be decoded, first {self._owed[0].frame_us} µs"
            raise SegmentError(where, missing)
        return inside, samples

    def _decode(self, packet: SegmentPacket | None) -> None:
        """Give the decoder a packet, or None at the end, and note what comes out."""
        self._packets_without_frame += 1
        for frame in self._context.decode(packet):
            if frame.pts is None:
                continue
            self._packets_without_frame = 0
            for owed in self._owed:
                owed.see(frame, frame.pts)
            self._frame = frame, frame.pts

    def _pay(self, *, everything: bool = False) -> list[Sample]:
        """Hand out what is owed and has come out, in the order of its times."""
        samples: list[Sample] = []
        while self._owed:
            owed = self._owed[0]
            # A picture that is coded as "no change" gives no frame: the one before it stays on the screen. Some
            # containers' times are not quite in the order of the pictures, so that it may still come.
            has_come = owed.found_us == owed.frame_us and (owed.later or owed.frame_us not in self._shared)
            if owed.frame is None or not (has_come or everything or owed.later >= LATER):
                break
            if owed.frame is not self._shown[0]:
                self._shown = owed.frame, self._scale(owed.frame)
            assert self._shown[1] is not None
            samples.append(Sample(owed.at_us, owed.frame_us, self._shown[1]))
            self._owed.popleft()
        return samples


def _decode_wanted(
    stream: av.VideoStream,
    packets: list[SegmentPacket],
    times: list[int],
    wanted: set[int],
    segment: Segment,
    picture: Picture,
    budget: Budget,
    gpu: Gpu | None,
) -> tuple[dict[int, Image], list[int]]:
    """Return pictures by time for the wanted times, and the times of everything that came out of the decoder."""
    if not wanted:
        return {}, []
    context = set_up(stream, segment, picture, budget, reordered=times != sorted(times))
    needed = needed_packets(packets, times, wanted, droppable=context.name == "h264")
    time_of = {packet.pts: time for packet, time in zip(packets, times, strict=True)}
    size = picture, segment.display, budget.max_pixels
    if gpu is not None:
        try:
            with gpu.lent(context) as decoder:
                if decoder is not None:
                    found = _produced(decoder, needed, time_of, wanted, gpu.scaler(*size), budget)
                    if wanted <= found[0].keys():
                        return found
                    gpu.failed(f"{len(found[0])} of {len(wanted)} pictures came")
        except SegmentError:
            raise  # it asks for too much, whoever decodes it
        except Exception as error:  # noqa: BLE001  of the segment, of torch or of a driver: the processor tells which
            gpu.failed(f"{type(error).__name__}: {error}")
    return _produced(context, needed, time_of, wanted, Scaler(*size), budget)


def _produced(
    decoder: Any,
    needed: list[SegmentPacket],
    time_of: dict[int | None, int],
    wanted: set[int],
    scale: Scaler,
    budget: Budget,
) -> tuple[dict[int, Image], list[int]]:
    images: dict[int, Image] = {}
    produced: list[int] = []
    for packet in (*needed, None):
        budget.check_time()
        for frame in decoder.decode(packet):
            time = time_of.get(frame.pts)
            if time is None:
                continue
            produced.append(time)
            if time in wanted:
                images[time] = scale(frame)
    return images, produced
