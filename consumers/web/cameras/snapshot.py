"""A picture of a camera's newest footage, for browsers that cannot play it: its newest keyframe, decoded.

A wall of such cameras costs a keyframe of each every ten seconds, however many look at it.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import Final

from consumers.footage_index import FootageIndex
from stream import Picture, Segment

from .decoding import NoSampleError
from .newest import BESIDE_US, NewestMaker
from .sample import webp

_SECONDS: Final = 3.0
#: Tiles are no wider.
_WIDEST: Final = 640


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A picture, as WebP."""

    camera: str
    #: Event time.
    at_us: int
    codec: str
    width: int
    height: int
    data: bytes

    @property
    def tag(self) -> str:
        return hashlib.blake2b(self.data, digest_size=8).hexdigest()


class SnapshotMaker(NewestMaker[Snapshot]):
    """Makes them when they are asked for. For one thread at a time: see `room`."""

    def newest(self, camera: str, end_us: int) -> Snapshot:
        """The newest keyframe.

        Args:
            camera: its id.
            end_us: the event time at which its newest footage ends, as its agent says it.

        Raises:
            NoSampleError: there is none, and why.
            BrokerError: the broker is away.
        """
        return self._kept_or_made(
            camera,
            lambda kept: self._is_remembered(camera, [kept.at_us]),
            lambda index: self._made(index, camera, end_us),
        )

    def _made(self, index: FootageIndex, camera: str, end_us: int) -> Snapshot:
        found = index.find(camera, end_us - BESIDE_US, end_us + BESIDE_US)
        begins = [each for each in found.segments if each.begins]
        if not begins:
            raise NoSampleError("there is no keyframe of it of late", "no-keyframe")
        segment = next(iter(index.footage(camera, begins[-1:])), None)
        if segment is None:
            raise NoSampleError("its newest footage is gone", "gone")
        width, height = shown_size(segment)
        picture = Picture(height, width, "stretch")
        until = time.monotonic() + _SECONDS
        frames = self._decoder.decoded_at([segment], [segment.start_us], picture, self._limits, until)
        if not frames:
            raise NoSampleError("nothing of its newest footage can be decoded", "undecodable")
        at_us, image = frames[0]
        return Snapshot(camera, at_us, segment.codec, width, height, webp(image))


def shown_size(segment: Segment) -> tuple[int, int]:
    """Width and height of a segment's pictures as they are to be seen, no wider than a tile, both even."""
    width, height = segment.width * float(segment.display.pixel_aspect), float(segment.height)
    if segment.display.quarter_turns % 2:
        width, height = height, width
    scale = min(1.0, _WIDEST / width)
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)
