"""What pictures of an event show, and how they are drawn. Pure: frames in, WebP out.

event      |──────────────────────────────|
moments      1    2    3    4    5    6          each in the middle of a sixth
pairs        ‖    ‖    ‖    ‖    ‖    ‖          a frame, and one shortly after it: what moves then

strip      ┌─────┬─────┬─────┐
│  1  │  2  │  3  │   each the same part of the camera's picture: where most moves
├─────┼─────┼─────┤   from the first to the second of all pairs
│  4  │  5  │  6  │
└─────┴─────┴─────┘
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image as Pil
from PIL import ImageDraw, ImageFont

from consumers.records.prediction import rfc3339
from stream import Image

#: Frames of a strip, in rows of so many.
FRAMES: Final = 6
_COLUMNS: Final = 3
#: Between the two frames of a pair: an arm moves visibly, the light of a day does not.
PAIR_US: Final = 200_000
#: How far behind the begin of the window with the peak its frame is taken: amid it, as windows last 0.8 to 3 s.
_INTO_PEAK_US: Final = 500_000
#: The longer side of a frame of the strip, in pixels: where a camera's picture has as many, its pixels are shown as
#: they are, else they are enlarged.
_PANEL: Final = 480
#: Motion is looked for in brightness, averaged over cells: so many along the longer side.
CELLS: Final = 96
#: Changes of brightness, of 256, below which a cell stands still: noise of cameras and coding.
_NOISE: Final = 4.0
#: The part that is shown holds so much of the motion, and is as small as one of these shares of the picture's sides.
_HELD: Final = 0.6
_SHARES: Final = (1 / 3, 1 / 2, 2 / 3)
_QUALITIES: Final = (80, 60, 40)
_SMALLEST: Final = 64
#: WebP knows no larger picture.
_MOST_PIXELS: Final = 16_383

Region = tuple[float, float, float, float]
WHOLE: Final[Region] = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Drawn:
    """One picture, WebP."""

    data: bytes
    width: int
    height: int
    frames_us: tuple[int, ...]
    region: Region


def moments(start_us: int, end_us: int) -> tuple[int, ...]:
    """The event times of the frames of a strip, ascending."""
    times = {start_us + (end_us - start_us) * (2 * n + 1) // (2 * FRAMES) for n in range(FRAMES)}
    return tuple(sorted(times))


def peak_moment(peak_us: int, end_us: int) -> int:
    """The event time of the frame that stands for the window with the peak score, which begins at `peak_us`."""
    return peak_us + min(_INTO_PEAK_US, max(0, end_us - peak_us) // 2)


def brightness(image: Image) -> np.ndarray:
    """The mean brightness of the cells of a picture (H, W, 3), as (rows, columns) float32."""
    height, width = image.shape[:2]
    cell = max(1, max(height, width) // CELLS)
    rows, columns = max(1, height // cell), max(1, width // cell)
    used = image[: min(height, rows * cell), : min(width, columns * cell)].mean(axis=2, dtype=np.float32)
    found: np.ndarray = used.reshape(rows, used.shape[0] // rows, columns, used.shape[1] // columns).mean((1, 3))
    return found


def moving_region(changes: Sequence[np.ndarray]) -> Region:
    """Where most moves: the smallest part of the picture that holds most of the change; all of it where nothing moves.

    Args:
        changes: by pair, by how much the brightness of each cell (rows, columns) differs.
    """
    if not changes:
        return WHOLE
    change = np.maximum(np.abs(np.stack(changes)) - _NOISE, 0).sum(0, dtype=np.float64)
    total, (rows, columns) = change.sum(), change.shape
    if total == 0:
        return WHOLE
    sums = np.pad(change, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    for share in _SHARES:
        height, width = max(1, round(rows * share)), max(1, round(columns * share))
        inside = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
        top, left = _middle_of_best(inside)
        if inside[top, left] >= _HELD * total:
            return left / columns, top / rows, width / columns, height / rows
    return WHOLE


def _middle_of_best(inside: np.ndarray) -> tuple[int, int]:
    """The place with the most; of several alike the one amid them, so that what moves is not at a border."""
    best = np.argwhere(inside >= inside.max() * (1 - 1e-9))
    middle = best.mean(0)
    row, column = best[np.abs(best - middle).sum(1).argmin()]
    return int(row), int(column)


def draw_strip(frames: Sequence[tuple[int, Image]], region: Region, max_bytes: int) -> Drawn | None:
    """Lay the part `region` of frames of one size side by side, each with its time; None where that takes too much.

    Args:
        frames: event times and pictures (H, W, 3), at least one.
        region: what is shown of each.
        max_bytes: of the WebP.
    """
    height, width = frames[0][1].shape[:2]
    left, top = round(region[0] * width), round(region[1] * height)
    right = min(width, left + max(1, round(region[2] * width)))
    bottom = min(height, top + max(1, round(region[3] * height)))
    scale = _PANEL / max(right - left, bottom - top)
    size = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
    columns = min(_COLUMNS, len(frames))
    rows = -(-len(frames) // columns)
    sheet = Pil.new("RGB", (columns * size[0], rows * size[1]))
    for number, (time_us, image) in enumerate(frames):
        panel = Pil.fromarray(image[top:bottom, left:right]).resize(size, Pil.Resampling.BICUBIC)
        _write_time(panel, time_us)
        row, column = divmod(number, columns)
        sheet.paste(panel, (column * size[0], row * size[1]))
    return _fitted(sheet, max_bytes, tuple(time_us for time_us, _ in frames), region)


def draw_peak(time_us: int, image: Image, max_bytes: int) -> Drawn | None:
    """The frame (H, W, 3) as WebP; None where even a coarse and small one takes more than `max_bytes`."""
    return _fitted(Pil.fromarray(image), max_bytes, (time_us,), WHOLE)


def _write_time(panel: Pil.Image, time_us: int) -> None:
    """Hour, minute, second and a tenth (UTC), in a dark bar at the foot of the panel."""
    text, height = rfc3339(time_us)[11:21], max(12, panel.height // 14)
    font, drawing = ImageFont.load_default(height * 0.8), ImageDraw.Draw(panel)
    width = drawing.textlength(text, font=font)
    drawing.rectangle((0, panel.height - height, width + 8, panel.height), fill=(0, 0, 0))
    drawing.text((4, panel.height - height / 2), text, fill=(255, 255, 255), font=font, anchor="lm")


def _fitted(image: Pil.Image, max_bytes: int, frames_us: tuple[int, ...], region: Region) -> Drawn | None:
    if max(image.size) > _MOST_PIXELS:
        image.thumbnail((_MOST_PIXELS, _MOST_PIXELS))
    while True:
        for quality in _QUALITIES:
            out = io.BytesIO()
            image.save(out, "WEBP", quality=quality, method=4)
            if out.tell() <= max_bytes:
                return Drawn(out.getvalue(), image.width, image.height, frames_us, region)
        if max(image.size) < 2 * _SMALLEST:
            return None
        image = image.reduce(2)
