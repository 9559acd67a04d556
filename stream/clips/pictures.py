"""How sampled pictures look: their size, and how what the decoder gives is brought to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import av
import numpy as np
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

from stream.segment import COLOUR_MATRICES, Display

#: Unknown, by its number in ISO/IEC 23091-2.
_UNKNOWN_MATRIX: Final = 2

Fit = Literal["stretch", "crop"]
Image = np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]


@dataclass(frozen=True, slots=True)
class Picture:
    """How a sampled picture is to look, upright."""

    height: int
    width: int
    #: "stretch": the whole picture squeezed to the size. "crop": the short side scaled to it, the centre cut out.
    fit: Fit = "stretch"

    def __post_init__(self) -> None:
        if self.height <= 0 or self.width <= 0 or self.fit not in {"stretch", "crop"}:
            raise ValueError(
                f"picture {self.height}x{self.width} {self.fit!r}: expected a size and 'stretch' or 'crop'"
            )

    def coded_size(self, display: Display) -> tuple[int, int]:
        """Height and width before the picture is turned as `display` says."""
        return (self.width, self.height) if display.quarter_turns % 2 else (self.height, self.width)


class Scaler:
    """Scale and convert in one pass of swscale, then mirror and turn the small picture; one per decoder."""

    def __init__(self, picture: Picture, display: Display, max_pixels: int) -> None:
        """Prepare; a picture that would have more pixels than that, before it is cut, is refused."""
        self._picture, self._display, self._max_pixels = picture, display, max_pixels
        self._reformatter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> Image:
        want, display = self._picture, self._display
        want_height, want_width = want.coded_size(display)
        width, height = want_width, want_height
        if want.fit == "crop":
            shown_width = frame.width * display.pixel_aspect  # an int where pixels are square, and exact in any case
            ratio = max(want_height / frame.height, float(want_width / shown_width))
            width, height = max(round(shown_width * ratio), width), max(round(frame.height * ratio), height)
            if width * height > self._max_pixels:
                raise ValueError(f"pictures of {frame.width}x{frame.height}, too narrow to cut {want} out of them")
        if not frame.format.is_rgb:
            _tell_colours(frame, display)
        image: Any = self._scaled(frame, width, height)
        top, left = (height - want_height) // 2, (width - want_width) // 2
        image = image[top : top + want_height, left : left + want_width]
        if display.mirrored:
            image = image[:, ::-1]
        return np.ascontiguousarray(np.rot90(image, -display.quarter_turns))

    def _scaled(self, frame: av.VideoFrame, width: int, height: int) -> Image:
        scaled = self._reformatter.reformat(
            frame, width=width, height=height, format="rgb24", interpolation=Interpolation.AREA, threads=1
        )
        return np.asarray(scaled.to_ndarray(), np.uint8)


def _tell_colours(frame: av.VideoFrame, display: Display) -> None:
    """Let a picture that does not say how its colours are coded say what its file said."""
    if frame.color_range == ColorRange.UNSPECIFIED and display.colour_range is not None:
        frame.color_range = ColorRange.JPEG if display.colour_range == "full" else ColorRange.MPEG
    if frame.colorspace not in COLOUR_MATRICES:
        # Of others libav refuses to make anything; a picture in slightly wrong colours is better than none.
        frame.colorspace = display.colour_matrix or _UNKNOWN_MATRIX
