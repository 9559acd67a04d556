"""Segments as fragments of one MP4, which browsers take piece by piece. Nothing is encoded again.

segment 7 (MPEG-TS) ──▶ ftyp moov │ moof mdat      what a player has to know first, and the pictures
segment 8           ──▶           │ moof mdat
segment 9, 720p     ──▶ another moov: the MP4 ends, and whoever plays it asks for a new one
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import av
import av.error
from av.video.stream import VideoStream

from consumers.web.playlists.transport_stream import follows, served
from stream import Segment

#: The first fragment is not at 0: each segment is written by itself.
_OPTIONS: Final = {
    "movflags": "empty_moov+default_base_moof+frag_discont+frag_custom",
    "use_editlist": "0",
    "avoid_negative_ts": "disabled",
}
_TICKS: Final = 90_000
_WRAP: Final = 1 << 33
PLAYABLE: Final = frozenset({"h264", "hevc"})


@dataclass(frozen=True, slots=True)
class Fragment:
    """A segment in an MP4."""

    #: What the MP4 begins with (ftyp, moov).
    head: bytes
    #: The pictures (moof, mdat).
    body: bytes
    #: As RFC 6381 has it, `avc1.64001F`.
    codec: str


class Fragments:
    """Puts segments of one camera into one MP4, whose time 0 is that of the first one."""

    def __init__(self) -> None:
        self._origin: int | None = None
        self._before: Segment | None = None
        #: Event time at which the MP4's time is 0; known with the first segment.
        self.origin_us = 0

    def add(self, segment: Segment) -> Fragment:
        """The next segment.

        Raises:
            ValueError: it cannot be put into an MP4.
        """
        before, self._before = self._before, segment
        data = served(segment, lambda: before if before is not None and follows(before, segment) else None)
        ticks = segment.epoch_us * 9 // 100 + segment.first_tick
        if self._origin is None:
            self._origin, self.origin_us = ticks, ticks * 100 // 9
        try:
            written = _written(data, segment, self._origin)
        except av.error.FFmpegError as error:
            raise ValueError(f"cannot be put into an MP4: {error.strerror}") from None
        head = b"".join(box for kind, box in _boxes(written) if kind in {b"ftyp", b"moov"})
        body = b"".join(box for kind, box in _boxes(written) if kind in {b"moof", b"mdat"})
        return Fragment(head, body, codec_of(head))


def codec_of(head: bytes) -> str:
    """The codec that an MP4's `moov` tells of, as RFC 6381 has it.

    Raises:
        ValueError: it tells of none that is known.
    """
    if (at := head.find(b"avcC")) >= 0 and len(head) >= at + 8:
        # ISO/IEC 14496-15, 5.3.3.1: version, profile, compatibility, level.
        return f"avc1.{head[at + 5 : at + 8].hex().upper()}"
    if (at := head.find(b"hvcC")) >= 0 and len(head) >= at + 17:
        return _hevc_codec(head[at + 4 : at + 17])
    raise ValueError("expected H.264 or H.265")


def _hevc_codec(record: bytes) -> str:
    """ISO/IEC 14496-15, annex E.3: profile, compatibility in reverse order of bits, tier and level, constraints."""
    space, tier, profile = "\0ABC"[record[1] >> 6].strip("\0"), "LH"[record[1] >> 5 & 1], record[1] & 0x1F
    compatibility = int(f"{int.from_bytes(record[2:6], 'big'):032b}"[::-1], 2)
    constraints = record[6:12].rstrip(b"\0")
    return ".".join(
        ["hvc1", f"{space}{profile}", f"{compatibility:X}", f"{tier}{record[12]}", *(f"{b:X}" for b in constraints)]
    )


def _written(data: bytes, segment: Segment, origin: int) -> bytes:
    """An MP4 with the segment's pictures, in ticks of 90 kHz since `origin` on the camera's clock."""
    out = io.BytesIO()
    end = segment.end_us * 9 // 100 - origin
    with (
        av.open(io.BytesIO(data), "r", format="mpegts") as source,
        av.open(out, "w", format="mp4", options=_OPTIONS) as sink,
    ):
        video = source.streams.video[0]
        target = sink.add_stream_from_template(video)
        assert isinstance(target, VideoStream)
        if video.codec_context.name == "hevc":
            # Browsers want parameters beside the pictures, not in them.
            target.codec_context.codec_tag = "hvc1"
        packets = [packet for packet in source.demux(video) if packet.dts is not None and packet.pts is not None]
        for packet, following in zip(packets, [*packets[1:], None], strict=True):
            packet.pts, packet.dts = _unwrapped(packet.pts, origin), _unwrapped(packet.dts, origin)
            next_dts = end if following is None else _unwrapped(following.dts, origin)
            # A picture lasts until the next one: what cameras say of their rate is wrong where they skip some.
            packet.duration = max(1, next_dts - packet.dts)
            packet.stream = target
            sink.mux(packet)
    return out.getvalue()


def _unwrapped(stamp: int | None, origin: int) -> int:
    """Ticks since `origin` of a time of which 33 bits are known."""
    return ((stamp or 0) - origin + _WRAP // 2) % _WRAP - _WRAP // 2


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size < 8:
            return
        yield data[at + 4 : at + 8], data[at : at + size]
        at += size
