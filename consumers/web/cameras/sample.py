"""What the model sees of a camera: pictures of its newest footage, decoded and brought to size as workers do it.

newest segments ──▶ stream.Decoder, at the size that the contract says ──▶ what the network is given, side by side

one view     ▢ ▢ ▢ ▢ ▢          two views    ▢ ▢ ▢ ▢ ▢     whole, at half its size
▢ ▢ ▢ ▢ ▢                       ▣ ▣ ▣ ▣ ▣     close up, where most moves
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import av
import av.error
import numpy as np

from consumers.footage_index import FootageIndex, FoundFootage, stretches
from models import Checkpoint, Contract, views_of
from stream import Image, Picture

from .decoding import NoSampleError
from .newest import BESIDE_US, NewestMaker

#: Of all of it, reading included.
_WHOLE_SECONDS: Final = 8.0
#: Segments that are decoded for it, at most, with those in which its group of pictures begins.
_MOST_SEGMENTS: Final = 64
_COLUMNS: Final = 5
#: Of all pictures together: of clips with more, every second, third … is shown.
_MOST_PIXELS: Final = 6_000_000
_QUALITY: Final = "90"


@dataclass(frozen=True, slots=True)
class Sheet:
    """Pictures side by side, as WebP."""

    camera: str
    #: The model that they are for.
    model: str
    contract: Contract
    #: Event times, one for each picture; with two views, of both of its views.
    frames_us: tuple[int, ...]
    columns: int
    width: int
    height: int
    data: bytes

    @property
    def tag(self) -> str:
        return hashlib.blake2b(self.data, digest_size=8).hexdigest()


class SampleMaker(NewestMaker[Sheet]):
    """Makes them when they are asked for, and keeps them for a moment. For one thread at a time: see `room`."""

    def newest(self, camera: str, end_us: int, checkpoint: Checkpoint) -> Sheet:
        """Pictures of the newest footage.

        Args:
            camera: its id.
            end_us: the event time at which its newest footage ends, as its agent says it.
            checkpoint: the model that is to see it.

        Raises:
            NoSampleError: there is none, and why.
            BrokerError: the broker is away.
        """
        return self._kept_or_made(
            camera,
            lambda sheet: sheet.model == checkpoint.id and self._is_remembered(camera, sheet.frames_us),
            lambda index: self._made(index, camera, end_us, checkpoint),
        )

    def _made(self, index: FootageIndex, camera: str, end_us: int, checkpoint: Checkpoint) -> Sheet:
        until = time.monotonic() + _WHOLE_SECONDS
        contract = checkpoint.contract
        spacing_us = round(contract.spacing_seconds * 1e6)
        length_us = contract.frames * spacing_us
        found = index.find(camera, end_us - length_us - BESIDE_US, end_us + BESIDE_US)
        times = _times(found, contract.frames, spacing_us)
        needed = [*found.context, *(s for s in found.segments if s.start_us <= times[-1])]
        first = max((n for n, s in enumerate(needed) if s.begins and s.start_us <= times[0]), default=0)
        if len(needed) - first > _MOST_SEGMENTS:
            raise NoSampleError(f"its groups of pictures are longer than {_MOST_SEGMENTS} segments")
        segments = list(index.footage(camera, needed[first:]))
        picture = Picture(contract.height, contract.width, contract.fit)
        frames = self._decoder.decoded_at(segments, times, picture, self._limits, until)
        if not frames:
            raise NoSampleError("nothing of its newest footage can be decoded", "undecodable")
        return _sheet(camera, checkpoint, frames)


def _times(found: FoundFootage, count: int, spacing_us: int) -> list[int]:
    """Event times of a clip's pictures, the newest that lie in one stretch of footage."""
    whole = [each for each in stretches(found.segments) if each.last.end_us > each.first.start_us]
    if not whole:
        raise NoSampleError("there is no footage of it of late", "no-footage")
    newest = whole[-1]
    last = newest.last.end_us - 1
    times = [last - number * spacing_us for number in reversed(range(count))]
    return [each for each in times if each >= newest.first.start_us]


def _sheet(camera: str, checkpoint: Checkpoint, frames: Sequence[tuple[int, Image]]) -> Sheet:
    contract = checkpoint.contract
    step = max(1, -(-len(frames) * contract.height * contract.width // _MOST_PIXELS))
    frames = list(frames)[::-1][::step][::-1]
    pictures = [image for _, image in frames]
    cells = _views(pictures) if contract.views == 2 else pictures
    columns = min(_COLUMNS, len(cells))
    height, width = cells[0].shape[:2]
    image = np.zeros((-(-len(cells) // columns) * height, columns * width, 3), np.uint8)
    for number, cell in enumerate(cells):
        top, left = number // columns * height, number % columns * width
        image[top : top + height, left : left + width] = cell
    times = tuple(at_us for at_us, _ in frames)
    return Sheet(camera, checkpoint.id, contract, times, columns, image.shape[1], image.shape[0], webp(image))


def _views(pictures: Sequence[Image]) -> list[Image]:
    """Each picture whole, and under it as it is seen close up."""
    return [np.concatenate(pair, axis=0) for pair in views_of(pictures)]


def webp(image: Image) -> bytes:
    """A picture, (height, width, 3), as a file.

    Raises:
        NoSampleError: it cannot be made.
    """
    encoder = av.CodecContext.create("libwebp", "w")
    encoder.height, encoder.width = image.shape[:2]
    encoder.pix_fmt, encoder.time_base = "yuv420p", Fraction(1, 25)
    encoder.options = {"quality": _QUALITY}
    frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
    frame.pts = 0
    try:
        return b"".join(bytes(packet) for packet in (*encoder.encode(frame), *encoder.encode(None)))
    except av.error.FFmpegError as error:
        raise NoSampleError(f"the picture cannot be made: {error}") from None
