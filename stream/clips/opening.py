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

from .limits import Budget
from .pictures import Picture

SegmentPacket: TypeAlias = "av.Packet[Any]"

#: What other things than the announced begin with, in words.
_BEGINNINGS: Final = {
    b"\x1aE\xdf\xa3": "Matroska or WebM",
    b"nut/": "NUT",
    b"RIFF": "AVI or WAV",
    b"OggS": "Ogg",
    b"FLV": "Flash video",
    b"\xff\xd8\xff": "a JPEG picture",
    b"\x89PNG": "a PNG picture",
    b"\0\0\0\1": "H.264 or H.265 without a container",
    b"\0\0\1": "H.264, H.265 or MPEG video without a container",
    b"{": "JSON",
    b"<": "XML or HTML",
    b"#EXTM3U": "a playlist",
}

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
def opened(
    segment: Segment, budget: Budget, where: str
) -> Iterator[tuple[av.VideoStream, list[SegmentPacket], list[int]]]:
    """The segment's video stream, its packets in decoding order, and the event time of each."""
    with _container(segment, budget, where) as container:
        if not container.streams.video:
            raise SegmentError(where, "no video track in the segment")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise SegmentError(where, f"{segment.codec} in {segment.container}: this libav has no decoder for it")
        budget.check_size(stream.codec_context.width, stream.codec_context.height)
        packets = []
        try:
            for packet in container.demux(stream):
                budget.check_time()
                if packet.size and packet.pts is not None:
                    packets.append(packet)
        except IndexError:  # it has the number of a track that PyAV does not know
            raise SegmentError(where, "a track begins amid the segment") from None
        if not packets:
            raise SegmentError(where, "no pictures in the segment")
        yield stream, packets, segment.packet_times_us([p.pts for p in packets if p.pts is not None])


def _container(segment: Segment, budget: Budget, where: str) -> av.container.InputContainer:
    options = _open_options(segment, budget)
    try:
        container: av.container.InputContainer = av.open(
            io.BytesIO(segment.data), "r", format=segment.container, **options
        )
    except (av.error.FFmpegError, ValueError) as error:
        # Of a transport stream without a table of its tracks libav says something about options.
        why = "no track is found" if "stream_options" in str(error) else error
        kind = _kind(segment.data)
        raise SegmentError(
            where, f"cannot be opened as {segment.container}: {why}; the bytes begin as {kind}"
        ) from None
    return container


def _kind(data: bytes) -> str:
    """What the bytes look like, in words."""
    head = data[:12]
    for beginning, kind in _BEGINNINGS.items():
        if head.startswith(beginning):
            return kind
    if head[4:8] == b"ftyp":
        return "MP4"
    if data[:1] == b"G" and data[188:189] in {b"G", b""}:
        return "an MPEG transport stream"
    return f"nothing that is known, {head[:4].hex(' ')}"


def _open_options(segment: Segment, budget: Budget) -> dict[str, Any]:
    """Keep libav from decoding the beginning once just to describe the stream: a fifth of all work at 1080p."""
    options = {"probesize": str(max(len(segment.data), 2048)), "analyzeduration": "0"}
    if segment.container == "mpegts":
        # What it would look for, beyond what the parameter sets say, is how far pictures are reordered:
        # `set_up` is told that by the packets. Duration 0 stands for seconds of it.
        stream_options = {"skip_frame": "all", "max_pixels": str(budget.max_pixels)}
        return {"options": options | {"analyzeduration": "1"}, "stream_options": [stream_options]}
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


def set_up(stream: av.VideoStream, segment: Segment, picture: Picture, budget: Budget, *, reordered: bool) -> Any:
    """Prepare the stream's decoder, and return it."""
    context: Any = stream.codec_context
    context.thread_count = 1
    # Checked where the pictures' size is told or changes, before there is memory for them.
    options = {"max_pixels": str(budget.max_pixels)}
    if reordered:
        # Where H.264 does not say how far pictures are reordered, hold back as many as its level allows: the decoder
        # would otherwise guess, and leave out those that come later than it thought.
        options["strict"] = "strict"
    height, width = picture.coded_size(segment.display)
    if context.width >= DEBLOCK_RATIO * width and context.height >= DEBLOCK_RATIO * height:
        options["skip_loop_filter"] = "all"
    context.options = options
    return context
