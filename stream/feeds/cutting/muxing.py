"""Packets become the bytes of a segment: MPEG-TS or Matroska, nothing encoded again."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, Final

import av
import av.error

from stream.errors import SourceError
from stream.feeds.codecs.coding import ANNEX_B
from stream.feeds.packets import Packet, Track, for_decoder
from stream.segment import TICKS_PER_SECOND, Container

#: Keeps decoding times positive when the first frames are reordered.
_BASE_SECONDS: Final = 10
_IS_MOV: Final = re.compile(r"(?:.*,)?(?:mov|mp4)\b")


def mux(
    packets: Sequence[Packet],
    track: Track,
    container: Container,
    to_ticks: Callable[[int], int],
    camera: str,
    extradata: bytes | None = None,
) -> bytes:
    """Return `packets`, in decoding order, as a file that can be played.

    Args:
        packets: all with a presentation time; of H.264 and H.265 with start codes.
        track: the track that they are of.
        container: what to write.
        to_ticks: from the track's ticks to the container's.
        camera: named in errors.
        extradata: how to decode them, where that differs from the track's.

    Raises:
        SourceError: the container cannot hold the track.
    """
    rate = TICKS_PER_SECOND[container]
    # The same for all segments of an epoch, so that they play as one; but context may lie far before its begin.
    earliest = min(to_ticks(p.pts if p.dts is None else p.dts) for p in packets if p.pts is not None)
    base = _BASE_SECONDS * rate
    base -= min(0, base + earliest)
    buffer = io.BytesIO()
    options = {"avoid_negative_ts": "disabled", "fflags": "+bitexact"}
    if container == "mpegts":
        options["mpegts_flags"] = "initial_discontinuity"  # counters restart; players must not mind
    try:
        with av.open(buffer, "w", format=container, options=options) as out:
            # Not for encoding: codecs without an encoder are copied too.
            stream = out.add_stream_from_template(track.template, opaque=True)
            if container == "nut" and not _IS_MOV.match(track.template.container.format.name):
                # The tag may be all that tells one form of a codec from another. QuickTime's are a language of its own.
                stream.codec_context.codec_tag = track.template.codec_context.codec_tag
            stream.codec_context.width, stream.codec_context.height = track.width, track.height
            stream.time_base = Fraction(1, rate)
            if extradata is not None:
                stream.codec_context.extradata = extradata
            last_dts: int | None = None
            for packet in packets:
                assert packet.pts is not None
                pts = to_ticks(packet.pts) + base
                dts = to_ticks(packet.dts) + base if packet.dts is not None else pts
                if last_dts is not None and dts <= last_dts:
                    dts = last_dts + 1  # distinct in the track, equal after rounding
                last_dts = dts
                muxed = av.Packet(packet.data)
                muxed.stream, muxed.time_base = stream, Fraction(1, rate)
                muxed.pts, muxed.dts, muxed.is_keyframe = max(pts, dts), dts, packet.keyframe
                out.mux(muxed)
    except (av.error.FFmpegError, ValueError) as error:
        raise SourceError(f"camera {camera}: {track.codec} cannot be written as {container} ({error})") from None
    return buffer.getvalue()


def picture_size(packets: Sequence[Packet], track: Track, extradata: bytes | None = None) -> tuple[int, int] | None:
    """Width and height of the first picture that a new decoder gives of `packets`; None if it gives none.

    Args:
        packets: in decoding order.
        track: with the size that is announced.
        extradata: how to decode them, where that differs from the track's.
    """
    template = track.template.codec_context
    codec = template.codec if template.codec.is_decoder else av.Codec(track.codec, "r")
    # JPEGs of half the height that was announced may be fields, two to a picture: only then that size gives a picture.
    for size in ((track.width, track.height), (0, 0)):
        context: Any = av.CodecContext.create(codec, "r")
        context.thread_count = 1
        context.width, context.height = size
        if track.codec not in ANNEX_B:  # these hold their parameter sets
            context.extradata = template.extradata if extradata is None else extradata
        with contextlib.suppress(av.error.FFmpegError, ValueError):
            for packet in (*packets, None):
                for frame in context.decode(None if packet is None else for_decoder(packet.data)):
                    return frame.width, frame.height
    return None
