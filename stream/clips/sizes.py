"""What the sizes of pictures in bytes tell of them, without decoding any."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from .opening import SegmentPacket

#: Where nothing begins to move, no picture is so many times larger than the largest of those before it …
_GROWS: Final = 1.5
#: … of so many, since the keyframe …
_BEFORE: Final = 8
#: … and from so many on: the first ones improve on the keyframe.
_SETTLED: Final = 4


def is_still_by_size(packets: Sequence[SegmentPacket], share: float) -> bool:
    """Whether pictures are so small, beside the keyframes that they refer to, that nothing moves in them.

    They take at most `share` of a keyframe's bytes, and do not grow: who is small before much detail takes little
    beside a keyframe, too.

    Args:
        packets: of a segment, in decoding order.
        share: from 0 to 1.
    """
    keyframes = [packet.size for packet in packets if packet.is_keyframe]
    others = [packet.size for packet in packets if not packet.is_keyframe]
    is_small = bool(keyframes and others) and max(others) <= share * min(keyframes)
    return is_small and not _grow(packets)


def _grow(packets: Sequence[SegmentPacket]) -> bool:
    before: deque[int] = deque(maxlen=_BEFORE)
    for packet in packets:
        if packet.is_keyframe:
            before.clear()
            continue
        if len(before) >= _SETTLED and packet.size > _GROWS * max(before):
            return True
        before.append(packet.size)
    return False
