"""A segment's bytes, opened for decoding."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeAlias

import av
import av.error
import numpy as np

from stream.errors import SegmentError
from stream.segment import Segment

from .pictures import Picture

SegmentPacket: TypeAlias = "av.Packet[Any]"

#: The deblocking filter is left out where pictures are so many times larger than what is made of them.
DEBLOCK_RATIO: Final = 3


@contextlib.contextmanager
def errors_named(segment: Segment, where: str) -> Iterator[None]:
    """Errors of libav are told as the segment's."""
    try:
        yield
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise SegmentError(where, f"cannot be decoded as {segment.codec} in {segment.container}: {error}") from None


@contextlib.contextmanager
def opened(segment: Segment, where: str) -> Iterator[tuple[av.VideoStream, list[SegmentPacket], list[int]]]:
    """The segment's video stream, its packets in decoding order, and the event time of each."""
    with av.open(io.BytesIO(segment.data), "r", format=segment.container, **_open_options(segment)) as container:
        if not container.streams.video:
            raise SegmentError(where, "no video track in the segment")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise SegmentError(where, f"{segment.codec} in {segment.container}: this libav has no decoder for it")
        packets = [p for p in container.demux(stream) if p.size and p.pts is not None]
        if not packets:
            raise SegmentError(where, "no pictures in the segment")
        yield stream, packets, segment.packet_times_us([p.pts for p in packets if p.pts is not None])


def _open_options(segment: Segment) -> dict[str, Any]:
    """Keep libav from decoding the beginning once just to describe the stream: a fifth of all work at 1080p."""
    options = {"probesize": str(max(len(segment.data), 2048)), "analyzeduration": "0"}
    if segment.container == "mpegts":
        # What it would look for, beyond what the parameter sets say, is how far pictures are reordered:
        # `set_up` is told that by the packets. Duration 0 stands for seconds of it.
        return {"options": options | {"analyzeduration": "1"}, "stream_options": [{"skip_frame": "all"}]}
    return {"options": options}


def frames_inside(segment: Segment, times: list[int], where: str) -> tuple[int, ...]:
    """Times of the frames in the segment's interval; it begins with one of them, unless it is all context."""
    # Not a set: frames whose times are equal after rounding are frames all the same.
    inside = tuple(sorted(t for t in times if segment.start_us <= t < segment.end_us))
    if segment.frames and (not inside or inside[0] > segment.start_us):
        raise SegmentError(where, f"no picture at the segment's start, {segment.start_us} µs")
    return inside


def shown_at(frame_times: Sequence[int], times_us: Sequence[int]) -> list[int]:
    """Of which frames, by their times, the pictures are that are shown at `times_us`."""
    index = np.searchsorted(np.asarray(frame_times), np.asarray(times_us, dtype=np.int64), side="right") - 1
    return [frame_times[i] for i in index]


def set_up(stream: av.VideoStream, segment: Segment, picture: Picture, *, reordered: bool) -> Any:
    """Prepare the stream's decoder, and return it."""
    context: Any = stream.codec_context
    context.thread_count = 1
    options = {}
    if reordered:
        # Where H.264 does not say how far pictures are reordered, hold back as many as its level allows: the decoder
        # would otherwise guess, and leave out those that come later than it thought.
        options["strict"] = "strict"
    height, width = picture.coded_size(segment.display)
    if context.width >= DEBLOCK_RATIO * width and context.height >= DEBLOCK_RATIO * height:
        options["skip_loop_filter"] = "all"
    context.options = options
    return context
