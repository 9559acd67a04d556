"""In which order pictures are shown, read from the headers of H.264, H.265 and MPEG-4 themselves.

They code pictures in another order than they are shown in. A container without presentation times (AVI, a raw stream)
tells the former only; the latter is the picture order count in every slice header (H.264, 8.2.1; H.265, 8.3.1), or
follows from the kinds of pictures (MPEG-4 part 2, 6.1.3.6).
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final

from .nal import Bits, Codec, Unit, parameter_sets, prefix_size, units

#: More B pictures in a row are shown as if at one time.
_MAX_BETWEEN: Final = 1 << 16
#: Profiles whose sequence parameter set tells the chroma format (H.264, 7.3.2.1.1).
_HIGH_PROFILES: Final = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})


class PictureOrder(ABC):
    """Give it access units in decoding order; it tells each one's place on the screen, as a key to sort by."""

    #: Whether the counts of pictures that follow one another at a steady rate are equally far apart.
    counts_time = True

    @abstractmethod
    def take_parameters(self, extradata: bytes) -> None:
        """Take the parameter sets that the container keeps apart from the pictures."""

    @abstractmethod
    def key(self, data: bytes) -> tuple[int, int] | None:
        """(coded video sequence, count within it) of an access unit; None where it cannot be read."""


class Mpeg4Order(PictureOrder):
    """A B picture is shown before the picture that was decoded last, which it refers to."""

    counts_time = False

    def __init__(self, extradata: bytes) -> None:  # noqa: ARG002  there is nothing in it that tells the order
        self._references = self._between = 0

    def take_parameters(self, extradata: bytes) -> None:
        pass

    def key(self, data: bytes) -> tuple[int, int] | None:
        at = data.find(b"\0\0\1\xb6")
        if not 0 <= at < len(data) - 4:
            return None
        if data[at + 4] >> 6 == 2:
            self._between += 1
            return 0, (self._references - 1) * _MAX_BETWEEN + min(self._between, _MAX_BETWEEN - 1)
        self._references, self._between = self._references + 1, 0
        return 0, self._references * _MAX_BETWEEN


class _CountedOrder(PictureOrder):
    """Of codecs whose slices carry a picture order count."""

    codec: ClassVar[Codec]

    def __init__(self, extradata: bytes) -> None:
        self._prefix = 0  # bytes of a unit's length; 0 for start codes
        self._sequence = 0
        self._reference: _Count | None = None  # of the picture that the next count is relative to
        self.take_parameters(extradata)

    def take_parameters(self, extradata: bytes) -> None:
        self._prefix = prefix_size(self.codec, extradata)
        for unit in parameter_sets(self.codec, extradata):
            with contextlib.suppress(ValueError, KeyError, IndexError):  # damaged: the pictures may bring better ones
                self._take(unit)

    def key(self, data: bytes) -> tuple[int, int] | None:
        for unit in units(data, self._prefix):
            try:
                if (count := self._take(unit)) is not None:
                    return self._sequence, count
            except (ValueError, KeyError, IndexError):
                return None  # damaged, or its parameter sets were never sent
        return None

    def _full_count(self, lsb: int, bits: int) -> int:
        """The whole count of which the stream carries the lowest `bits` (H.264, 8-3; H.265, 8-1)."""
        if self._reference is None:
            return lsb
        half, msb = 1 << (bits - 1), self._reference.count - self._reference.lsb
        if self._reference.lsb - lsb >= half:
            msb += 2 * half
        elif lsb - self._reference.lsb > half:
            msb -= 2 * half
        return msb + lsb

    @abstractmethod
    def _take(self, unit: Unit) -> int | None:
        """Remember a parameter set; return the picture order count of a first slice, None for anything else."""


@dataclass(frozen=True, slots=True)
class _Count:
    count: int
    lsb: int


class H264Order(_CountedOrder):
    codec = "h264"

    def __init__(self, extradata: bytes) -> None:
        self._sequences: dict[int, _H264Sequence] = {}
        self._pictures: dict[int, tuple[int, bool]] = {}  # sequence, whether slices tell the bottom field's distance
        self._decoded = 0
        super().__init__(extradata)

    def _take(self, unit: Unit) -> int | None:
        kind, bits = unit[0] & 0x1F, Bits(unit[1:])
        if kind == 7:
            number, sequence = _H264Sequence.read(bits)
            self._sequences[number] = sequence
        elif kind == 8:
            number, sequence_number = bits.ue(), bits.ue()
            bits.u(1)
            self._pictures[number] = sequence_number, bool(bits.u(1))
        elif kind in (1, 2, 5):
            return self._count(bits, is_idr=kind == 5, is_reference=bool(unit[0] & 0x60))
        return None

    def _count(self, bits: Bits, *, is_idr: bool, is_reference: bool) -> int:
        bits.ue(), bits.ue()  # the first macroblock, and the slice's type
        sequence_number, tells_bottom = self._pictures[bits.ue()]
        sequence = self._sequences[sequence_number]
        if sequence.planes_apart:
            bits.u(2)
        bits.u(sequence.frame_number_bits)
        is_field = not sequence.frames_only and bool(bits.u(1))
        if is_field:
            bits.u(1)
        if is_idr:
            bits.ue()
            self._sequence, self._reference = self._sequence + 1, None
        if sequence.count_kind != 0:
            # Kind 2 is shown as it is decoded; kind 1, which hardly anybody writes, is taken to be.
            self._decoded += 1
            return self._decoded
        lsb = bits.u(sequence.count_bits)
        count = self._full_count(lsb, sequence.count_bits)
        if is_reference:
            self._reference = _Count(count, lsb)
        bottom = bits.se() if tells_bottom and not is_field else 0
        return min(count, count + bottom)


@dataclass(frozen=True, slots=True)
class _H264Sequence:
    planes_apart: bool
    frame_number_bits: int
    count_kind: int
    count_bits: int
    frames_only: bool

    @classmethod
    def read(cls, bits: Bits) -> tuple[int, _H264Sequence]:
        profile = bits.u(8)
        bits.u(16)
        number, planes_apart = bits.ue(), False
        if profile in _HIGH_PROFILES:
            chroma = bits.ue()
            planes_apart = chroma == 3 and bool(bits.u(1))
            bits.ue(), bits.ue(), bits.u(1)
            if bits.u(1):
                for index in range(12 if chroma == 3 else 8):
                    if bits.u(1):
                        _skip_scaling_list(bits, 16 if index < 6 else 64)
        frame_number_bits, kind, count_bits = bits.ue() + 4, bits.ue(), 0
        if kind == 0:
            count_bits = bits.ue() + 4
        elif kind == 1:
            bits.u(1), bits.se(), bits.se()
            for _ in range(bits.ue()):
                bits.se()
        bits.ue(), bits.u(1), bits.ue(), bits.ue()
        return number, cls(planes_apart, frame_number_bits, kind, count_bits, bool(bits.u(1)))


def _skip_scaling_list(bits: Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.se()) % 256
        last = following or last


class H265Order(_CountedOrder):
    codec = "hevc"

    def __init__(self, extradata: bytes) -> None:
        self._sequences: dict[int, tuple[int, bool]] = {}  # bits of a count, whether planes are coded apart
        self._pictures: dict[int, tuple[int, bool, int]] = {}  # sequence, whether output is told, more slice flags
        self._begins = True
        super().__init__(extradata)

    def _take(self, unit: Unit) -> int | None:
        kind, layer, temporal = unit[0] >> 1 & 0x3F, (unit[0] & 1) << 5 | unit[1] >> 3, (unit[1] & 7) - 1
        if layer:
            return None
        bits = Bits(unit[2:])
        if kind == 33:
            self._take_sequence(bits)
        elif kind == 34:
            number, sequence = bits.ue(), bits.ue()
            bits.u(1)
            self._pictures[number] = sequence, bool(bits.u(1)), bits.u(3)
        elif kind in (36, 37):  # end of sequence, of stream
            self._begins = True
        elif kind <= 31:
            return self._count(bits, kind, temporal)
        return None

    def _take_sequence(self, bits: Bits) -> None:
        bits.u(4)
        layers = bits.u(3)
        bits.u(1 + 88 + 8)
        present = [(bits.u(1), bits.u(1)) for _ in range(layers)]
        if layers:
            bits.u(2 * (8 - layers))
        for profile, level in present:
            bits.u(88 * profile + 8 * level)
        number = bits.ue()
        planes_apart = bits.ue() == 3 and bool(bits.u(1))
        bits.ue(), bits.ue()
        if bits.u(1):
            bits.ue(), bits.ue(), bits.ue(), bits.ue()
        bits.ue(), bits.ue()
        self._sequences[number] = bits.ue() + 4, planes_apart

    def _count(self, bits: Bits, kind: int, temporal: int) -> int | None:
        if not bits.u(1):
            return None  # not the first slice of its picture
        if 16 <= kind <= 23:
            bits.u(1)
        sequence, tells_output, more = self._pictures[bits.ue()]
        count_bits, planes_apart = self._sequences[sequence]
        bits.u(more)
        bits.ue()
        bits.u(tells_output + 2 * planes_apart)
        is_idr = kind in (19, 20)
        if is_idr or 16 <= kind <= 18 or self._begins:  # IDR, broken link, or the first there is
            self._sequence, self._reference = self._sequence + 1, None
        self._begins = False
        lsb = 0 if is_idr else bits.u(count_bits)
        count = self._full_count(lsb, count_bits)
        is_leading, is_unreferenced = 6 <= kind <= 9, kind <= 14 and kind % 2 == 0
        if temporal == 0 and not is_leading and not is_unreferenced:
            self._reference = _Count(count, lsb)
        return count


ORDERS: Final[dict[str, Callable[[bytes], PictureOrder]]] = {
    "h264": H264Order,
    "hevc": H265Order,
    "mpeg4": Mpeg4Order,
}
