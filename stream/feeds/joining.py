"""Segments that follow one another, as one file to be watched; nothing is encoded again."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import av.error

from stream.errors import SegmentError
from stream.segment import TICKS_PER_SECOND, Segment


def write_joined(segments: Sequence[Segment], path: Path) -> None:
    """Write segments of one epoch, in order, to `path`; its suffix names the container.

    A segment carries packets that others have, too: a lead-in, or the keyframe that frames before it refer to. Each
    is written once, where decoders want it first.

    Raises:
        SegmentError: a segment's bytes are not video, or the container cannot hold the codec.
        OSError: the path cannot be written.
    """
    unfinished = path.with_name(f".unfinished-{path.name}")
    try:
        with av.open(str(unfinished), "w") as out:
            _join(segments, out)
        unfinished.replace(path)
    except (av.error.FFmpegError, ValueError) as error:
        raise SegmentError(str(path), f"{segments[0].codec} segments cannot be joined there ({error})") from None
    finally:
        unfinished.unlink(missing_ok=True)


def _join(segments: Sequence[Segment], out: av.container.OutputContainer) -> None:
    stream: av.VideoStream | None = None
    written: set[int] = set()
    last_dts: int | None = None
    origin_us: int | None = None
    for segment in segments:
        rate = TICKS_PER_SECOND[segment.container]
        with av.open(io.BytesIO(segment.data), "r", format=segment.container) as container:
            source = container.streams.video[0]
            if stream is None:
                stream = out.add_stream_from_template(source)
                stream.time_base = Fraction(1, rate)
            packets = [p for p in container.demux(source) if p.size and p.pts is not None]
            times_us = segment.packet_times_us([p.pts for p in packets if p.pts is not None])
            for packet, time_us in zip(packets, times_us, strict=True):
                if time_us in written:
                    continue
                written.add(time_us)
                origin_us = time_us if origin_us is None else origin_us
                assert packet.pts is not None
                ahead = packet.pts - packet.dts if packet.dts is not None else 0
                pts = round((time_us - origin_us) * rate / 1e6)
                dts = pts - ahead
                if last_dts is not None and dts <= last_dts:
                    dts = last_dts + 1
                last_dts = dts
                copy = av.Packet(bytes(packet))
                copy.stream, copy.time_base = stream, Fraction(1, rate)
                copy.pts, copy.dts, copy.is_keyframe = max(pts, dts), dts, packet.is_keyframe
                out.mux(copy)
