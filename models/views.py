"""A second look at where most moves: what people far away do is a few pixels of the whole picture.

    picture (2S, 2S, 3)  ──┬─▶  whole  (S, S, 3), every four pixels averaged
                           └─▶  half   (S, S, 3), cut out at one of nine places

    places   0 1 2    a quarter of the picture apart, so that they overlap: whoever is cut by the border of one
             3 4 5    is inside another
             6 7 8

A window looks at one place, where most changed from picture to picture of its own: nothing but the window decides, so
live work, replay and a successor look at the same place. All sums are of whole numbers: there is nothing to round.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np

Picture: TypeAlias = np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]
#: Brightness of the cells of a whole picture, (S / 4, S / 4).
Cells: TypeAlias = np.ndarray[tuple[int, int], np.dtype[np.int32]]

#: A picture's height and width are a multiple of this many pixels: a cell is 8 of them, a step between places 2 cells.
MULTIPLE: Final = 32
#: Cells of the whole picture are of so many pixels, each way.
_CELL: Final = 4
#: Places each way, and how many quarters of the picture a half is, each way.
_PLACES, _HALF = 3, 2
_QUARTERS: Final = 4


def whole_of(picture: Picture) -> Picture:
    """The picture (2S, 2S, 3) at half its size (S, S, 3)."""
    wide = picture.astype(np.uint16)
    rows = wide[0::2] + wide[1::2]
    whole: Picture = ((rows[:, 0::2] + rows[:, 1::2] + 2) >> 2).astype(np.uint8)
    return whole


def cells_of(whole: Picture) -> Cells:
    """The brightness of each cell of a whole picture, times 48."""
    size = len(whole) // _CELL
    cells: Cells = whole.reshape(size, _CELL, size, _CELL * 3).sum((1, 3), dtype=np.int32)
    return cells


def place_of(cells: Sequence[Cells]) -> int:
    """The place at which most changes from picture to picture; of several alike the first."""
    stacked = np.stack(cells)
    change = np.abs(np.diff(stacked, axis=0)).sum(0, dtype=np.int64)
    quarter = len(change) // _QUARTERS
    quarters = change.reshape(_QUARTERS, quarter, _QUARTERS, quarter).sum((1, 3))
    inside = [
        quarters[row : row + _HALF, column : column + _HALF].sum()
        for row in range(_PLACES)
        for column in range(_PLACES)
    ]
    return int(np.argmax(inside))


def half_at(picture: Picture, place: int) -> Picture:
    """The half (S, S, 3) of a picture (2S, 2S, 3) at a place."""
    size = len(picture) // 2
    row, column = (step * size // _HALF for step in divmod(place, _PLACES))
    return picture[row : row + size, column : column + size]
