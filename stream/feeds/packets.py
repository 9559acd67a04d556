"""What a feed is made of: encoded pictures, and the track that they belong to."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, TypeAlias

import av

from stream.segment import Container, Display

_AvPacket: TypeAlias = "av.Packet[Any]"


@dataclass(frozen=True, slots=True)
class Packet:
    """One encoded picture as it left the container; times are in ticks of the track's `time_base`."""

    data: bytes = field(repr=False)
    pts: int | None
    dts: int | None
    duration: int
    #: Whether the container says that decoding can begin here; the codec tells whether pictures are clean from here on.
    keyframe: bool
    #: Decoded because later pictures refer to it, and not shown (before the begin of an edit list, for example).
    discard: bool = False
    #: Parameter sets that are new from this packet on, in the form of the track's `extradata`.
    extradata: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Track:
    """The video track that packets belong to."""

    #: The codec's own name ("av1"), not that of a decoder ("libdav1d").
    codec: str
    width: int
    height: int
    time_base: Fraction
    #: In ticks: the time that a player calls 0, which is the container's, not that of the first video packet.
    zero: int = field(default=0, kw_only=True)
    display: Display = field(default=Display(), kw_only=True)
    #: What its segments are written as.
    container: Container = field(default="mpegts", kw_only=True)
    #: The libav stream whose codec parameters a muxer copies. Valid while its feed is open.
    template: Any = field(repr=False)


def for_decoder(data: bytes) -> _AvPacket:
    """A packet of libav with room behind its data: decoders read beyond the end, and would find foreign bytes there."""
    packet: _AvPacket = av.Packet(len(data))
    packet.update(data)
    return packet
