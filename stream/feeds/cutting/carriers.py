"""Which container carries which codec, so that a segment's pictures come back as they were encoded."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import av
import av.error

from stream.errors import SourceError
from stream.feeds.packets import Packet, Track, for_decoder
from stream.segment import TICKS_PER_SECOND, Container

from .muxing import mux

#: Known to come back; for any other codec it is tried, on the first packets.
_CARRIERS: Final[dict[str, Container]] = {
    "h264": "mpegts",
    "hevc": "mpegts",
    **dict.fromkeys(("av1", "vp8", "vp9", "mjpeg", "mpeg4", "mpeg1video", "mpeg2video", "theora"), "matroska"),
}
_TRIED: Final[tuple[Container, ...]] = ("mpegts", "matroska", "nut")


def carrier(track: Track, packets: Sequence[Packet]) -> Container | None:
    """The container for segments of `track`; None if none gives its packets back.

    Args:
        track: with its template open.
        packets: its first ones, in decoding order.
    """
    if track.codec in _CARRIERS:
        return _CARRIERS[track.codec]
    return next((c for c in _TRIED if _comes_back(replace(track, container=c), packets)), None)


def _comes_back(track: Track, packets: Sequence[Packet]) -> bool:
    """Whether the packets, and the first picture in them, are the same after having been written and read."""
    timed = [replace(p, pts=index, dts=index) for index, p in enumerate(packets)]
    if not timed:
        return False
    rate = TICKS_PER_SECOND[track.container]
    try:
        data = mux(timed, track, track.container, lambda index: index * rate // 25, "trial")
        with av.open(io.BytesIO(data), "r", format=track.container) as container:
            copy = container.streams.video[0]
            if copy.codec_context.codec.canonical_name != track.codec:
                return False
            read = [p for p in container.demux(copy) if p.size]
            if [bytes(p) for p in read] != [p.data for p in timed]:
                return False
            return _first_picture(copy.codec_context, read) == _first_picture(
                track.template.codec_context, [for_decoder(p.data) for p in timed]
            )
    except (SourceError, av.error.FFmpegError, OSError, ValueError, IndexError):
        return False


def _first_picture(context: Any, packets: Sequence[Any]) -> bytes | None:
    try:
        for packet in (*packets, None):
            for frame in context.decode(packet):
                pixels: bytes = frame.reformat(format="rgb24").to_ndarray().tobytes()
                return pixels
    finally:
        context.flush_buffers()
    return None
