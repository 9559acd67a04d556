"""From a segment's bytes to the few pictures that a clip needs, at the least decoding that gives them.

At 1080p decoding is most of what a camera costs, so three things are left out that change no sampled picture:

- Pictures after the last one that is wanted, up to the next point where decoding can begin afresh.
- Pictures that no other refers to (H.264 with `nal_ref_idc` 0), unless they are wanted.
- Conversion and scaling of pictures that are not wanted.

And one that changes them slightly: the deblocking filter, where the picture is at least `DEBLOCK_RATIO` times larger
than the clip, so that what it smooths is below the clip's pixel size. The choice depends on the picture size alone,
hence a clip looks the same however and wherever it was decoded.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

import av
import av.error
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from stream.errors import SegmentError
from stream.feeds.h264 import is_unreferenced
from stream.segment import Segment

Fit = Literal["stretch", "crop"]
Image = np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]

_Packet: TypeAlias = "av.Packet[Any]"

DEBLOCK_RATIO: Final = 3


@dataclass(frozen=True, slots=True)
class Picture:
    """How a sampled picture is to look."""

    height: int
    width: int
    #: "stretch": the whole picture squeezed to the size. "crop": the short side scaled to it, the centre cut out.
    fit: Fit = "stretch"

    def __post_init__(self) -> None:
        if self.height <= 0 or self.width <= 0 or self.fit not in {"stretch", "crop"}:
            raise ValueError(
                f"picture {self.height}x{self.width} {self.fit!r}: expected a size and 'stretch' or 'crop'"
            )


@dataclass(frozen=True, slots=True)
class Decoded:
    """What one segment gave: the time of every frame it speaks of, and pictures for the times asked for."""

    #: Event times in µs of all frames in the segment's interval, ascending; known without decoding them.
    frame_times_us: tuple[int, ...]
    #: For each time asked for: the time of the frame shown then, and its picture (H, W, 3) uint8 RGB.
    samples: list[tuple[int, Image]] = field(repr=False)


def decode(segment: Segment, times_us: Sequence[int], picture: Picture, where: str = "segment") -> Decoded:
    """Return the pictures shown at `times_us`, which ascend and lie in the segment's interval.

    The picture shown at a time is the last frame at or before it.

    Raises:
        SegmentError: the bytes are not the video that the segment says they are.
    """
    try:
        with _opened(segment, where) as (stream, packets, times):
            # Not a set: frames whose times are equal after rounding are frames all the same.
            inside = sorted(t for t in times if segment.start_us <= t < segment.end_us)
            if not inside or inside[0] > segment.start_us:
                raise SegmentError(where, f"no picture at the segment's start, {segment.start_us} µs")
            shown = _shown_at(inside, times_us)
            images, produced = _decode_wanted(stream, packets, times, set(shown), picture)
        if missing := sorted(set(shown) - set(images)):
            # A picture that is coded as "no change" gives no frame: the one before it stays on the screen.
            instead = {t: max((p for p in produced if p < t), default=t) for t in missing}
            with _opened(segment, where) as (stream, packets, times):
                found, _ = _decode_wanted(stream, packets, times, {*instead.values(), *missing}, picture)
            images |= {t: found[p] for t, p in instead.items() if p in found}
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise SegmentError(where, f"cannot be decoded as {segment.codec} in {segment.container}: {error}") from None
    if missing := [t for t in shown if t not in images]:
        raise SegmentError(
            where, f"{len(missing)} of {len(shown)} pictures could not be decoded, first {missing[0]} µs"
        )
    return Decoded(tuple(inside), [(t, images[t]) for t in shown])


@contextlib.contextmanager
def _opened(segment: Segment, where: str) -> Iterator[tuple[av.VideoStream, list[_Packet], list[int]]]:
    """The segment's video stream, its packets in decoding order, and the event time of each."""
    with av.open(io.BytesIO(segment.data), "r", format=segment.container, **_open_options(segment)) as container:
        if not container.streams.video:
            raise SegmentError(where, "no video track in the segment")
        stream = container.streams.video[0]
        packets = [p for p in container.demux(stream) if p.size and p.pts is not None]
        if not packets:
            raise SegmentError(where, "no pictures in the segment")
        yield stream, packets, segment.packet_times_us([p.pts for p in packets if p.pts is not None])


def _open_options(segment: Segment) -> dict[str, Any]:
    """Keep libav from decoding the beginning once just to describe the stream: a fifth of all work at 1080p."""
    options = {"probesize": str(max(len(segment.data), 2048)), "analyzeduration": "0"}
    if segment.container == "mpegts":
        # What it would look for, beyond what the parameter sets say, is how far pictures are reordered:
        # `_decode_wanted` knows that from the packets. Duration 0 stands for seconds of it.
        return {"options": options | {"analyzeduration": "1"}, "stream_options": [{"skip_frame": "all"}]}
    return {"options": options}


def _shown_at(frame_times: list[int], times_us: Sequence[int]) -> list[int]:
    index = np.searchsorted(np.asarray(frame_times), np.asarray(times_us, dtype=np.int64), side="right") - 1
    return [frame_times[i] for i in index]


def _decode_wanted(
    stream: av.VideoStream, packets: list[_Packet], times: list[int], wanted: set[int], picture: Picture
) -> tuple[dict[int, Image], list[int]]:
    """Return pictures by time for the wanted times, and the times of everything that came out of the decoder."""
    if not wanted:
        return {}, []
    context: Any = stream.codec_context
    context.thread_count = 1
    options = {}
    if times != sorted(times):
        # Where H.264 does not say how far pictures are reordered, hold back as many as its level allows: the decoder
        # would otherwise guess, and leave out those that come later than it thought.
        options["strict"] = "strict"
    if context.width >= DEBLOCK_RATIO * picture.width and context.height >= DEBLOCK_RATIO * picture.height:
        options["skip_loop_filter"] = "all"
    context.options = options
    time_of = {packet.pts: time for packet, time in zip(packets, times, strict=True)}
    scale = _Scaler(picture)
    images: dict[int, Image] = {}
    produced: list[int] = []
    for packet in (*_needed(packets, times, wanted, droppable=context.name == "h264"), None):
        for frame in context.decode(packet):
            time = time_of.get(frame.pts)
            if time is None:
                continue
            produced.append(time)
            if time in wanted:
                images[time] = scale(frame)
    return images, produced


def _needed(packets: list[_Packet], times: list[int], wanted: set[int], *, droppable: bool) -> list[_Packet]:
    """The packets to decode for the `wanted` times, in decoding order."""
    needed: list[_Packet] = []
    for begin, end in _closed_groups(packets, times):
        last = max((i for i in range(begin, end) if times[i] in wanted), default=begin - 1)
        needed += [
            packets[i]
            for i in range(begin, last + 1)
            if not droppable or times[i] in wanted or not is_unreferenced(packets[i])
        ]
    return needed


def _closed_groups(packets: list[_Packet], times: list[int]) -> list[tuple[int, int]]:
    """Split at the keyframes behind which nothing refers back: no later picture is shown before them."""
    starts, earliest = [], None
    for i in reversed(range(len(packets))):
        if packets[i].is_keyframe and (earliest is None or earliest > times[i]):
            starts.append(i)
        earliest = times[i] if earliest is None else min(earliest, times[i])
    starts = sorted({0, *starts})
    return list(zip(starts, [*starts[1:], len(packets)], strict=True))


class _Scaler:
    """Scale and convert in one pass of swscale; one per segment, since frames of a segment share their size."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self._reformatter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> Image:
        want = self._picture
        width, height = want.width, want.height
        if want.fit == "crop":
            ratio = max(want.height / frame.height, want.width / frame.width)
            width, height = max(round(frame.width * ratio), width), max(round(frame.height * ratio), height)
        scaled = self._reformatter.reformat(
            frame, width=width, height=height, format="rgb24", interpolation=Interpolation.AREA, threads=1
        )
        image: Any = scaled.to_ndarray()
        top, left = (height - want.height) // 2, (width - want.width) // 2
        return np.ascontiguousarray(image[top : top + want.height, left : left + want.width])
