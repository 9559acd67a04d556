"""Where decoding can begin: what H.264 and H.265 pictures say of themselves.

The container's flag "keyframe" says where a player may seek to; only the pictures themselves say whether everything
from there on is clean:

    H.264   IDR picture                          clean at once
            recovery point message               clean so many reference pictures later (intra refresh), 0: at once
            picture of intra slices alone        what the container flags, or where a stream has nothing better
    H.265   IDR, CRA, BLA picture                clean at once; leading pictures that refer back (RASL) are left out
            recovery point message               clean so many pictures later

All other codecs: the container's flag.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from .nal import HEAD_BYTES, Bits, Codec, is_parameter_set, unit_kind, units, without_emulation

_RECOVERY_POINT: Final = 6  # a message's payload type, in both codecs
_INTRA_SLICES: Final = frozenset({2, 4, 7, 9})


@dataclass(frozen=True, slots=True)
class Access:
    """What a packet says about decoding that begins with it."""

    #: Pictures from this one on until all that follows is clean, 0 if it is at once; None if the picture does not say
    #: that decoding can begin with it.
    until_clean: int | None = None
    #: All of it is coded without reference to other pictures.
    is_intra: bool = False
    #: Whether later pictures may refer to it.
    is_reference: bool = True
    #: Pictures are counted as they are shown, and not those that others refer to as they are decoded.
    counts_shown: bool = False
    #: The parameter sets in the packet, without start codes or lengths.
    parameter_sets: tuple[bytes, ...] = ()


def read_access(codec: Codec, data: bytes, prefix: int) -> Access:
    """Read a packet as far as its first slices.

    Args:
        codec: what the packet is coded in.
        data: one access unit.
        prefix: how many bytes give the length of a unit, 0 where start codes separate them.
    """
    recovery: int | None = None
    sets: list[bytes] = []
    for unit in units(data, prefix):
        kind = unit_kind(codec, unit)
        if is_parameter_set(codec, unit):
            sets.append(bytes(unit))
        elif kind == (6 if codec == "h264" else 39):
            found = _recovery_point(codec, bytes(unit[:HEAD_BYTES]))
            recovery = recovery if found is None else found
        elif codec == "hevc" and kind < 32:
            is_start = 16 <= kind <= 23
            return Access(0 if is_start else recovery, is_start, counts_shown=True, parameter_sets=tuple(sets))
        elif codec == "h264" and kind in {1, 2, 5}:
            is_intra = kind == 5 or all(map(_is_intra_slice, _slices(data, prefix)))
            return Access(0 if kind == 5 else recovery, is_intra, bool(unit[0] & 0x60), parameter_sets=tuple(sets))
    return Access(parameter_sets=tuple(sets))


def _slices(data: bytes, prefix: int) -> Iterator[memoryview]:
    return (unit for unit in units(data, prefix) if unit[0] & 0x1F in {1, 2, 5})


def _is_intra_slice(unit: memoryview) -> bool:
    bits = Bits(unit[1:16])
    try:
        bits.ue()
        return bits.ue() in _INTRA_SLICES
    except ValueError:
        return False


def _recovery_point(codec: Codec, unit: bytes) -> int | None:
    """The count in a recovery point message (H.264 D.1.8, H.265 D.2.8), if the unit holds one."""
    data, at = without_emulation(unit), 1 if codec == "h264" else 2
    while at + 2 < len(data):
        kind = size = 0
        while at < len(data) - 1 and data[at] == 0xFF:
            kind, at = kind + 255, at + 1
        kind, at = kind + data[at], at + 1
        while at < len(data) - 1 and data[at] == 0xFF:
            size, at = size + 255, at + 1
        size, at = size + data[at], at + 1
        if kind == _RECOVERY_POINT:
            try:
                count = Bits(data[at : at + size]).ue()
            except ValueError:
                count = 0
            if codec == "hevc":  # signed; below 0 it lies in what is shown before this picture
                count = (count + 1) // 2 if count % 2 else 0
            return count
        at += size
    return None
