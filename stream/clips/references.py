"""Which packets and pictures of a segment stand for, or are needed by, which others."""

from __future__ import annotations

import bisect

from stream.feeds.codecs.nal import is_unreferenced

from .opening import SegmentPacket


def held(shown: list[int], packets: list[SegmentPacket], times: list[int]) -> list[int]:
    """For each time of a frame, that of the newest keyframe at or before it, or of the first one."""
    keyframes = sorted(time for packet, time in zip(packets, times, strict=True) if packet.is_keyframe)
    if not keyframes:
        return shown
    return [keyframes[max(0, bisect.bisect_right(keyframes, time) - 1)] for time in shown]


def needed_packets(
    packets: list[SegmentPacket], times: list[int], wanted: set[int], *, droppable: bool
) -> list[SegmentPacket]:
    """The packets to decode for the `wanted` times, in decoding order."""
    needed: list[SegmentPacket] = []
    for begin, end in _closed_groups(packets, times):
        last = max((i for i in range(begin, end) if times[i] in wanted), default=begin - 1)
        needed += [
            packets[i]
            for i in range(begin, last + 1)
            if not droppable or times[i] in wanted or not is_unreferenced(packets[i])
        ]
    return needed


def _closed_groups(packets: list[SegmentPacket], times: list[int]) -> list[tuple[int, int]]:
    """Split at the keyframes behind which nothing refers back: no later picture is shown before them."""
    starts, earliest = [], None
    for i in reversed(range(len(packets))):
        if packets[i].is_keyframe and (earliest is None or earliest > times[i]):
            starts.append(i)
        earliest = times[i] if earliest is None else min(earliest, times[i])
    starts = sorted({0, *starts})
    return list(zip(starts, [*starts[1:], len(packets)], strict=True))
