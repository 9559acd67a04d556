"""What libav's demuxer gives becomes packets of a feed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Final, TypeAlias

import av

from .packets import Packet
from .times.timestamps import MAX_REORDER

#: The first packets tell what the container leaves out; no more than this is held for it.
MAX_FIRST_BYTES: Final = 16 * 1024 * 1024

AvPacket: TypeAlias = "av.Packet[Any]"


def first_packets(packets: Iterator[AvPacket]) -> list[AvPacket]:
    """The first ones, as many as tell what the container leaves out."""
    first: list[AvPacket] = []
    size = 0
    for packet in packets:
        first.append(packet)
        size += packet.size
        if len(first) >= MAX_REORDER or size >= MAX_FIRST_BYTES:
            break
    return first


def packet_of(packet: AvPacket, fineness: int) -> Packet:
    """The packet, in ticks that are so many times finer."""
    changed = bytes(packet.get_sidedata("new_extradata")) if packet.has_sidedata("new_extradata") else None
    return Packet(
        bytes(packet),
        None if packet.pts is None else packet.pts * fineness,
        None if packet.dts is None else packet.dts * fineness,
        (packet.duration or 0) * fineness,
        packet.is_keyframe,
        discard=packet.is_discard,
        extradata=changed,
    )


def numbered(packets: Iterable[Packet], interval: int) -> Iterator[Packet]:
    """Packets of pictures that are shown in their order, each so many ticks after the one before."""
    for number, packet in enumerate(packets):
        yield replace(packet, pts=number * interval, dts=number * interval)
