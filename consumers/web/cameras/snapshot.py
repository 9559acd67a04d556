"""A picture of a camera's newest footage, for browsers that cannot play it: its newest keyframe, decoded.

One camera at a time, with limits of its own, and kept for a moment, so that a wall of such cameras costs a keyframe of
each every ten seconds, however many look at it.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from anyio import CapacityLimiter

from consumers.footage_index import FootageIndex
from consumers.settings import Settings
from consumers.web.playlists.connection import Kept
from stream import DecodeLimits, Picture, Segment, Transport

from .sample import NoSampleError, decoded_at, webp

#: So long a snapshot is shown to whoever asks.
FRESH_SECONDS: Final = 10.0
_MOST_KEPT: Final = 64
_SECONDS: Final = 3.0
#: Behind the newest footage that its agent told of, the index may be so far.
_BESIDE_US: Final = 15_000_000
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


class SnapshotMaker:
    """Makes them when they are asked for. For one thread at a time: see `room`."""

    def __init__(self, connect: Callable[[], Transport], settings: Settings) -> None:
        """Prepare; nothing is read before it is asked for."""
        self._index = Kept(lambda: FootageIndex(connect(), settings.topics))
        limits = settings.worker.decode_limits
        self._limits = DecodeLimits(limits.max_pixels, min(limits.max_seconds, _SECONDS), limits.max_picture_bytes)
        self._kept: OrderedDict[str, tuple[float, Snapshot]] = OrderedDict()
        self.room = CapacityLimiter(1)

    def newest(self, camera: str, end_us: int) -> Snapshot:
        """The newest keyframe.

        Args:
            camera: its id.
            end_us: the event time at which its newest footage ends, as its agent says it.

        Raises:
            NoSampleError: there is none, and why.
            BrokerError: the broker is away.
        """
        kept = self._kept.get(camera)
        if kept is not None and time.monotonic() - kept[0] < FRESH_SECONDS:
            return kept[1]
        found = self._index.use(lambda index: self._made(index, camera, end_us))
        self._kept[camera] = time.monotonic(), found
        self._kept.move_to_end(camera)
        while len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)
        return found

    def close(self) -> None:
        """Read no more."""
        self._index.close()

    def _made(self, index: FootageIndex, camera: str, end_us: int) -> Snapshot:
        found = index.find(camera, end_us - _BESIDE_US, end_us + _BESIDE_US)
        begins = [each for each in found.segments if each.begins]
        if not begins:
            raise NoSampleError("there is no keyframe of it of late")
        segment = next(iter(index.footage(camera, begins[-1:])), None)
        if segment is None:
            raise NoSampleError("its newest footage is gone")
        width, height = shown_size(segment)
        picture = Picture(height, width, "stretch")
        frames = decoded_at([segment], [segment.start_us], picture, self._limits, time.monotonic() + _SECONDS)
        if not frames:
            raise NoSampleError("nothing of its newest footage can be decoded")
        at_us, image = frames[0]
        return Snapshot(camera, at_us, segment.codec, width, height, webp(image))


def shown_size(segment: Segment) -> tuple[int, int]:
    """Width and height of a segment's pictures as they are to be seen, no wider than a tile, both even."""
    width, height = segment.width * float(segment.display.pixel_aspect), float(segment.height)
    if segment.display.quarter_turns % 2:
        width, height = height, width
    scale = min(1.0, _WIDEST / width)
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)
