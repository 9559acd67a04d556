"""Packets become the bytes of a segment: MPEG-TS or Matroska, nothing encoded again."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Final

import av
import av.error

from stream.errors import SourceError
from stream.segment import TICKS_PER_SECOND, Container

from .h264 import missing_parameter_sets
from .packets import Packet, Track

#: Keeps decoding times positive when the first frames are reordered.
_BASE_SECONDS: Final = 10
_IS_MOV: Final = re.compile(r"(?:.*,)?(?:mov|mp4)\b")


def mux(
    packets: Sequence[Packet], track: Track, container: Container, to_ticks: Callable[[int], int], camera: str
) -> bytes:
    """Return `packets`, in decoding order and beginning with a keyframe, as a file that can be played.

    Args:
        packets: all with a presentation time.
        track: the track that they are of.
        container: what to write.
        to_ticks: from the track's ticks to the container's.
        camera: named in errors.

    Raises:
        SourceError: the container cannot hold the track.
    """
    rate = TICKS_PER_SECOND[container]
    base = _BASE_SECONDS * rate
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
            stream.time_base = Fraction(1, rate)
            last_dts: int | None = None
            for index, packet in enumerate(packets):
                assert packet.pts is not None
                pts = to_ticks(packet.pts) + base
                dts = to_ticks(packet.dts) + base if packet.dts is not None else pts
                if last_dts is not None and dts <= last_dts:
                    dts = last_dts + 1  # distinct in the track, equal after rounding
                last_dts = dts
                muxed = av.Packet(packet.data if index else _parameter_sets(track, packet) + packet.data)
                muxed.stream, muxed.time_base = stream, Fraction(1, rate)
                muxed.pts, muxed.dts, muxed.is_keyframe = max(pts, dts), dts, packet.keyframe
                out.mux(muxed)
    except (av.error.FFmpegError, ValueError) as error:
        raise SourceError(f"camera {camera}: {track.codec} cannot be written as {container} ({error})") from None
    return buffer.getvalue()


def _parameter_sets(track: Track, packet: Packet) -> bytes:
    if track.codec != "h264":
        return b""
    return missing_parameter_sets(bytes(track.template.codec_context.extradata or b""), packet.data)
