"""How much one segment may ask of its decoder: a few bytes can claim to be pictures of any size and number.

What is larger is refused before there is memory for it, so that one bad record takes no worker down.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from stream.errors import SegmentError
from stream.segment import Segment

from .pictures import Picture

#: Pictures may be so many times larger than the segment says (a stream of VP9 may grow on its way), and as large as 4K
#: in any case.
_TIMES_ANNOUNCED: Final = 4
_ANY_PIXELS: Final = 9_500_000


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What is refused where it is exceeded."""

    #: Of a picture, as it is coded and as it is scaled: 8K, with room for what codecs add. A decoder may hold 33
    #: pictures, of two bytes a pixel.
    max_pixels: int = 36_000_000
    #: Processor time for one segment: it goes on while a machine is busy, or a process stopped, but a clock does not.
    max_seconds: float = 60.0
    #: Pictures that one segment gives, in bytes: at 160x160 as many as 3,400.
    max_picture_bytes: int = 256 * 1024 * 1024

    def __post_init__(self) -> None:
        if self.max_pixels < 1 or self.max_seconds <= 0 or self.max_picture_bytes < 1:
            raise ValueError(f"limits {self}: expected all above 0")


class Budget:
    """What is left of the limits for one segment, for the thread that decodes it."""

    def __init__(self, limits: DecodeLimits, segment: Segment, where: str) -> None:
        self._limits, self._where = limits, where
        self._until = time.thread_time() + limits.max_seconds
        announced = segment.width * segment.height
        #: Of a picture.
        self.max_pixels = min(limits.max_pixels, max(_ANY_PIXELS, _TIMES_ANNOUNCED * announced))

    def check_time(self) -> None:
        """To be called for each packet.

        Raises:
            SegmentError: too much time has gone.
        """
        if time.thread_time() > self._until:
            raise SegmentError(
                self._where, f"decoding takes more than {self._limits.max_seconds:g} s of processor time, the limit"
            )

    def check_size(self, width: int, height: int) -> None:
        """Raise SegmentError if pictures are too large; 0 where their size is not known yet."""
        if width * height > self.max_pixels:
            limit = f"the limit is {self.max_pixels / 1e6:g} million pixels"
            raise SegmentError(self._where, f"pictures of {width}x{height}: {limit}")

    def check_pictures(self, count: int, picture: Picture) -> None:
        """Raise SegmentError if so many pictures are too many for one segment."""
        if count * picture.height * picture.width * 3 > self._limits.max_picture_bytes:
            raise SegmentError(
                self._where,
                f"{count} pictures of {picture.width}x{picture.height} are wanted of it: the limit is "
                f"{self._limits.max_picture_bytes // 2**20} MiB for one segment",
            )
