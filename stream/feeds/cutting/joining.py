"""Segments that follow one another, as one file to be watched; nothing is encoded again."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import av.error
from av.video.reformatter import ColorRange

from stream.errors import SegmentError
from stream.segment import TICKS_PER_SECOND, Display, Segment

#: MP4 tells how colours are coded only when it is asked to.
_OPTIONS: Final = {"movflags": "+write_colr"}


def write_joined(segments: Sequence[Segment], path: Path, shown_from_us: int | None = None) -> None:
    """Write segments of one epoch, in order, to `path`; its suffix names the container.

    A segment may carry packets that others have, too: the one with which the next begins, or, in records of older
    versions, a lead-in. Each is written once, where decoders want it first.

    Args:
        segments: the first one of them begins where decoding can begin.
        path: where to.
        shown_from_us: event time from which players show it; what comes before is there for decoders, and those
            players show it that know no edit lists. The begin of the first segment, if None.

    Raises:
        SegmentError: a segment's bytes are not video, or the container cannot hold the codec.
        OSError: the path cannot be written.
    """
    unfinished = path.with_name(f".unfinished-{path.name}")
    try:
        with av.open(str(unfinished), "w", options=_OPTIONS if path.suffix == ".mp4" else {}) as out:
            _join(segments, out, segments[0].start_us if shown_from_us is None else shown_from_us)
        unfinished.replace(path)
    except (av.error.FFmpegError, ValueError) as error:
        raise SegmentError(str(path), f"{segments[0].codec} segments cannot be joined there ({error})") from None
    finally:
        unfinished.unlink(missing_ok=True)


def joined_times_us(path: Path) -> list[int]:
    """When all pictures in such a file are, in microseconds of it: those before its begin, for decoders only, as well.

    Raises:
        SegmentError: it cannot be read.
    """
    try:
        shown, whole = _stamps(path, {}), _stamps(path, {"ignore_editlist": "1"})
        # An edit list says where players begin: of that its own times know nothing.
        ahead = next(each - shown[place] for place, each in whole.items() if place in shown)
    except (av.error.FFmpegError, OSError, IndexError, StopIteration) as error:
        raise SegmentError(str(path), f"cannot be read ({error})") from None
    return [each - ahead for each in whole.values()]


def _stamps(path: Path, options: dict[str, str]) -> dict[int | None, int]:
    """Microseconds by place in the file."""
    with av.open(str(path), options=options) as container:
        packets = [p for p in container.demux(container.streams.video[0]) if p.size and p.pts is not None]
        return {p.pos: round(float(p.pts * p.time_base) * 1e6) for p in packets if p.pts is not None}


def _join(segments: Sequence[Segment], out: av.container.OutputContainer, zero_us: int) -> None:
    stream: av.VideoStream | None = None
    written: set[int] = set()
    last_dts: int | None = None
    for segment in segments:
        rate = TICKS_PER_SECOND[segment.container]
        with av.open(io.BytesIO(segment.data), "r", format=segment.container) as container:
            source = container.streams.video[0]
            if stream is None:
                stream = _add_stream(out, source, segment)
            packets = [p for p in container.demux(source) if p.size and p.pts is not None]
            times_us = segment.packet_times_us([p.pts for p in packets if p.pts is not None])
            for packet, time_us in zip(packets, times_us, strict=True):
                if time_us in written:
                    continue
                assert packet.pts is not None
                ahead = packet.pts - packet.dts if packet.dts is not None else 0
                pts = round((time_us - zero_us) * rate / 1e6)
                dts = pts - ahead
                if last_dts is not None and dts <= last_dts:
                    dts = last_dts + 1
                last_dts = dts
                copy = av.Packet(bytes(packet))
                copy.stream, copy.time_base = stream, Fraction(1, rate)
                copy.pts, copy.dts, copy.is_keyframe = max(pts, dts), dts, packet.is_keyframe
                out.mux(copy)
            # Within a segment times may be equal, after rounding.
            written.update(times_us)


def _add_stream(out: av.container.OutputContainer, source: av.VideoStream, segment: Segment) -> av.VideoStream:
    stream = out.add_stream_from_template(source)
    stream.time_base = Fraction(1, TICKS_PER_SECOND[segment.container])
    if segment.codec == "hevc" and out.format.name in {"mp4", "mov"}:
        # Of the two names for it in MP4, Apple's players know this one only.
        stream.codec_context.codec_tag = "hvc1"
    display = segment.display
    if display.pixel_aspect != 1:
        stream.codec_context.sample_aspect_ratio = display.pixel_aspect
    if display.colour_range is not None:
        stream.codec_context.color_range = ColorRange.JPEG if display.colour_range == "full" else ColorRange.MPEG
    if display.colour_matrix is not None:
        stream.codec_context.colorspace = display.colour_matrix
    if display.quarter_turns or display.mirrored:
        stream.set_display_matrix(_matrix(display))
    return stream


def _matrix(display: Display) -> list[int]:
    """The display matrix, in fixed point, of pictures that are mirrored first and then turned clockwise."""
    cosine, sine = ((1, 0), (0, 1), (-1, 0), (0, -1))[display.quarter_turns]
    mirror = -1 if display.mirrored else 1
    one = 1 << 16
    return [mirror * cosine * one, mirror * sine * one, 0, -sine * one, cosine * one, 0, 0, 0, 1 << 30]
