"""What has to be read of H.264 and H.265 themselves: where decoding can begin, and their parameter sets.

A packet holds units in one of two forms: Annex B, where start codes separate them, or length-prefixed (ISO/IEC
14496-15), where the container keeps the parameter sets apart. The container's flag "keyframe" says where a player may
seek to; only the pictures themselves say whether everything from there on is clean:

    H.264   IDR picture                          clean at once
            recovery point message               clean so many reference pictures later (intra refresh), 0: at once
            picture of intra slices alone        what the container flags, or where a stream has nothing better
    H.265   IDR, CRA, BLA picture                clean at once; leading pictures that refer back (RASL) are left out
            recovery point message               clean so many pictures later

All other codecs: the container's flag.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

Codec = Literal["h264", "hevc"]
Unit = bytes | memoryview

_START_CODE: Final = b"\x00\x00\x01"
#: So much of a message or a slice header is read at most.
_HEAD_BYTES: Final = 4096
_RECOVERY_POINT: Final = 6  # a message's payload type, in both codecs
_SPS: Final = {"h264": 7, "hevc": 33}
_PARAMETER_SETS: Final = {"h264": frozenset({7, 8, 13}), "hevc": frozenset({32, 33, 34})}
_INTRA_SLICES: Final = frozenset({2, 4, 7, 9})


@dataclass(frozen=True, slots=True)
class Access:
    """What a packet says about decoding that begins with it."""

    #: Pictures that are referred to, from this one on, until all that follows is clean, 0 if it is at once; None if
    #: the picture does not say that decoding can begin with it.
    until_clean: int | None = None
    #: All of it is coded without reference to other pictures.
    is_intra: bool = False
    #: Whether later pictures may refer to it.
    is_reference: bool = True
    #: It cannot be decoded where decoding began with the picture before which it is shown.
    needs_earlier: bool = False
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
        kind = _kind(codec, unit)
        if kind in _PARAMETER_SETS[codec]:
            sets.append(bytes(unit))
        elif kind == (6 if codec == "h264" else 39):
            found = _recovery_point(codec, bytes(unit[:_HEAD_BYTES]))
            recovery = recovery if found is None else found
        elif codec == "hevc" and kind < 32:
            is_start = 16 <= kind <= 23
            return Access(
                0 if is_start else recovery, is_start, needs_earlier=kind in {8, 9}, parameter_sets=tuple(sets)
            )
        elif codec == "h264" and kind in {1, 2, 5}:
            is_intra = kind == 5 or all(map(_is_intra_slice, _slices(data, prefix)))
            return Access(0 if kind == 5 else recovery, is_intra, bool(unit[0] & 0x60), parameter_sets=tuple(sets))
    return Access(parameter_sets=tuple(sets))


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
    return [s for s in sets if _kind(codec, s) in _PARAMETER_SETS[codec]]


def is_sequence_set(codec: Codec, unit: Unit) -> bool:
    """Whether a parameter set is one of a sequence, which holds until decoding begins anew."""
    return _kind(codec, unit) == _SPS[codec]


def set_id(codec: Codec, unit: bytes) -> tuple[int, int]:
    """What a parameter set replaces: another one of the same kind and number."""
    kind, bits = _kind(codec, unit), _Bits(unit[:_HEAD_BYTES])
    if codec == "h264":
        bits.skip(8 if kind == 8 else 32)  # a sequence's profile and level come first
        return kind, bits.ue()
    if kind == 34:
        bits.skip(16)
        return kind, bits.ue()
    return kind, 0  # encoders use one; its number lies behind much that varies


def is_delimiter(codec: Codec, unit: Unit) -> bool:
    """Whether it says that a picture begins: nothing of the picture may come before it."""
    return _kind(codec, unit) == (9 if codec == "h264" else 35)


def framed(parts: Sequence[Unit]) -> bytes:
    """Units as Annex B."""
    return b"".join(b"\x00" + _START_CODE + part for part in parts)


def is_unreferenced(packet: object) -> bool:
    """Whether no picture refers to this Annex B access unit of H.264: every slice has `nal_ref_idc` 0 (7.4.1).

    Args:
        packet: anything that gives its bytes as a buffer; only the first of them are read.
    """
    for unit in units(memoryview(packet)[:_HEAD_BYTES], 0):  # type: ignore[arg-type]
        if unit[0] & 0x1F in (1, 5):  # all slices of a picture agree
            return unit[0] & 0x60 == 0
    return False


def _kind(codec: Codec, unit: Unit) -> int:
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


def _slices(data: bytes, prefix: int) -> Iterator[memoryview]:
    return (unit for unit in units(data, prefix) if unit[0] & 0x1F in {1, 2, 5})


def _is_intra_slice(unit: memoryview) -> bool:
    bits = _Bits(bytes(unit[:16]), skip=8)
    bits.ue()
    return bits.ue() in _INTRA_SLICES


def _take_sets(extradata: bytes, at: int, count: int, sets: list[bytes]) -> int:
    for _ in range(count):
        size = extradata[at] << 8 | extradata[at + 1]
        sets.append(extradata[at + 2 : at + 2 + size])
        at += 2 + size
    return at


def _recovery_point(codec: Codec, unit: bytes) -> int | None:
    """The count in a recovery point message (H.264 D.1.8, H.265 D.2.8), if the unit holds one."""
    data, at = _without_emulation(unit), 1 if codec == "h264" else 2
    while at + 2 < len(data):
        kind = size = 0
        while at < len(data) - 1 and data[at] == 0xFF:
            kind, at = kind + 255, at + 1
        kind, at = kind + data[at], at + 1
        while at < len(data) - 1 and data[at] == 0xFF:
            size, at = size + 255, at + 1
        size, at = size + data[at], at + 1
        if kind == _RECOVERY_POINT:
            count = _Bits(data[at : at + size]).ue()
            if codec == "hevc":  # signed; below 0 it lies in what is shown before this picture
                count = (count + 1) // 2 if count % 2 else 0
            return count
        at += size
    return None


def _without_emulation(unit: bytes) -> bytes:
    return unit.replace(b"\x00\x00\x03", b"\x00\x00")


class _Bits:
    """Reads numbers as both codecs write them (H.264, 9.1); beyond the end there are ones."""

    def __init__(self, data: bytes, skip: int = 0) -> None:
        plain = _without_emulation(data)
        self._value, self._left = int.from_bytes(plain, "big"), 8 * len(plain)
        self.skip(skip)

    def skip(self, count: int) -> None:
        self._left = max(0, self._left - count)

    def ue(self) -> int:
        zeros = 0
        while not self._bit():
            zeros += 1
        value = 1
        for _ in range(zeros):
            value = value << 1 | self._bit()
        return value - 1

    def _bit(self) -> int:
        if not self._left:
            return 1
        self._left -= 1
        return self._value >> self._left & 1
