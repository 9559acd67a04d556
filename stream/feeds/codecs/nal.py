"""The units of H.264 and H.265 (network abstraction layer): how packets hold them, and the syntax that they begin with.

A packet holds units in one of two forms: Annex B, where start codes separate them, or length-prefixed (ISO/IEC
14496-15), where the container keeps the parameter sets apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Literal

Codec = Literal["h264", "hevc"]
Unit = bytes | memoryview

_START_CODE: Final = b"\x00\x00\x01"
#: So much of a message or a slice header is read at most.
HEAD_BYTES: Final = 4096
_SPS: Final = {"h264": 7, "hevc": 33}
_PARAMETER_SETS: Final = {"h264": frozenset({7, 8, 13}), "hevc": frozenset({32, 33, 34})}


def prefix_size(codec: Codec, extradata: bytes) -> int:
    """How many bytes give the length of a unit (ISO/IEC 14496-15, 5.3.3.1 and 8.3.3.1); 0 for Annex B."""
    at = 4 if codec == "h264" else 21
    return (extradata[at] & 3) + 1 if len(extradata) > at and extradata[0] == 1 else 0


def parameter_sets(codec: Codec, extradata: bytes) -> list[bytes]:
    """The parameter sets of a track, without start codes or lengths."""
    if not prefix_size(codec, extradata):
        return [bytes(unit) for unit in units(extradata, 0)]
    sets: list[bytes] = []
    try:
        if codec == "h264":
            at = 5
            for count_mask in (0x1F, 0xFF):  # sequence parameter sets, then picture parameter sets
                count, at = extradata[at] & count_mask, at + 1
                at = _take_sets(extradata, at, count, sets)
        else:
            arrays, at = extradata[22], 23
            for _ in range(arrays):
                at = _take_sets(extradata, at + 3, int.from_bytes(extradata[at + 1 : at + 3], "big"), sets)
    except IndexError:  # cut short: what is there may do
        pass
    return [s for s in sets if s and is_parameter_set(codec, s)]


def is_parameter_set(codec: Codec, unit: Unit) -> bool:
    """Whether it tells how pictures are coded, and is no part of one."""
    return unit_kind(codec, unit) in _PARAMETER_SETS[codec]


def is_sequence_set(codec: Codec, unit: Unit) -> bool:
    """Whether a parameter set is one of a sequence, which holds until decoding begins anew."""
    return unit_kind(codec, unit) == _SPS[codec]


def set_id(codec: Codec, unit: bytes) -> tuple[int, int]:
    """What a parameter set replaces: another one of the same kind and number."""
    kind = unit_kind(codec, unit)
    if codec == "h264":
        before = 1 if kind == 8 else 4  # a sequence's profile and level come first
    elif kind == 34:
        before = 2
    else:
        return kind, 0  # encoders use one; its number lies behind much that varies
    try:
        return kind, Bits(unit[before:]).ue()
    except ValueError:
        return kind, 0


def is_delimiter(codec: Codec, unit: Unit) -> bool:
    """Whether it says that a picture begins: nothing of the picture may come before it."""
    return unit_kind(codec, unit) == (9 if codec == "h264" else 35)


def framed(parts: Sequence[Unit]) -> bytes:
    """Units as Annex B."""
    return b"".join(b"\x00" + _START_CODE + part for part in parts)


def is_unreferenced(packet: object) -> bool:
    """Whether no picture refers to this Annex B access unit of H.264: every slice has `nal_ref_idc` 0 (7.4.1).

    Args:
        packet: anything that gives its bytes as a buffer; only the first of them are read.
    """
    for unit in units(memoryview(packet)[:HEAD_BYTES], 0):  # type: ignore[arg-type]
        if unit[0] & 0x1F in (1, 5):  # all slices of a picture agree
            return unit[0] & 0x60 == 0
    return False


def unit_kind(codec: Codec, unit: Unit) -> int:
    """The unit's type (H.264, table 7-1; H.265, table 7-1)."""
    return unit[0] & 0x1F if codec == "h264" else unit[0] >> 1 & 0x3F


def units(data: bytes | memoryview, prefix: int) -> Iterator[memoryview]:
    """The units of a packet; the last one of Annex B may have zeros behind it."""
    view = memoryview(data)
    if prefix:
        at = 0
        while at + prefix < len(view):
            size = int.from_bytes(view[at : at + prefix], "big")
            if size:
                yield view[at + prefix : at + prefix + size]
            at += prefix + size
        return
    raw = bytes(data)
    begin = raw.find(_START_CODE)
    while 0 <= begin < len(raw) - 3:
        end = raw.find(_START_CODE, begin + 3)
        unit = view[begin + 3 : len(raw) if end < 0 else end - (raw[end - 1] == 0 and end - 1 > begin + 3)]
        if len(unit):
            yield unit
        begin = end


def _take_sets(extradata: bytes, at: int, count: int, sets: list[bytes]) -> int:
    for _ in range(count):
        size = extradata[at] << 8 | extradata[at + 1]
        sets.append(extradata[at + 2 : at + 2 + size])
        at += 2 + size
    return at


def without_emulation(unit: bytes) -> bytes:
    """Its payload, without the bytes that keep it from looking like a start code."""
    return unit.replace(b"\x00\x00\x03", b"\x00\x00")


class Bits:
    """Reads the syntax elements at the beginning of a unit's payload (H.264, 7.2 and 9.1; H.265 has the same)."""

    def __init__(self, data: Unit) -> None:
        self._head = without_emulation(bytes(data[:HEAD_BYTES]))
        self._at = 0

    def u(self, count: int) -> int:
        """An unsigned number of `count` bits.

        Raises:
            ValueError: the unit is shorter than its syntax.
        """
        begin, self._at = self._at, self._at + count
        if self._at > 8 * len(self._head):
            raise ValueError("the unit is shorter than its syntax")
        value = int.from_bytes(self._head[begin // 8 : (self._at + 7) // 8], "big")
        return value >> (-self._at % 8) & (1 << count) - 1

    def ue(self) -> int:
        """An unsigned number as long as it is large."""
        zeros = 0
        while not self.u(1):
            zeros += 1
        return (1 << zeros) - 1 + self.u(zeros)

    def se(self) -> int:
        """A signed one."""
        value = self.ue()
        return (value + 1) // 2 if value % 2 else -value // 2
