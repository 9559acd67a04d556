"""A second look at where most moves: what people far away do is a few pixels of the whole picture.

    picture (2S, 2S, 3)  ──┬─▶  whole  (S, S, 3), every four pixels averaged
                           └─▶  close  (S, S, 3), a third of the picture each way, enlarged, at one of 25 places

    places    0  1  2  3  4    a sixth of the picture apart, so that they overlap by half: whoever is cut by the border
              5  6  7  8  9    of one is inside another
              …

A window looks at one place, where most changed from picture to picture of its own: nothing but the window decides, so
live work, replay and a successor look at the same place. All sums are of whole numbers: there is nothing to round
in one way here and in another there.

A window whose scores from the whole alone leave nothing open is not looked at close up: on most cameras, for most of
the time, that is every second picture saved. Early exits from a network: Teerapittayanon et al., BranchyNet, ICPR 2016.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np

Picture: TypeAlias = np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]
#: Brightness of the cells of a whole picture, (S / 4, S / 4).
Cells: TypeAlias = np.ndarray[tuple[int, int], np.dtype[np.int32]]

#: A picture's height and width are a multiple of this many pixels: a cell is 8 of them, a sixth whole cells.
MULTIPLE: Final = 48
#: Cells of the whole picture are of so many pixels, each way.
_CELL: Final = 4
#: Where the whole picture settles a window, the likeliest label is so many times as likely as the next (ADR 37).
SETTLING_ODDS: Final = 9.0
#: Each way: steps between places in a picture, steps that a close view covers, and places.
_STEPS, _COVERED = 6, 2
_PLACES: Final = _STEPS - _COVERED + 1


def whole_of(picture: Picture) -> Picture:
    """The picture (2S, 2S, 3) at half its size (S, S, 3)."""
    pairs = np.add(picture[0::2], picture[1::2], dtype=np.uint16).reshape(len(picture) // 2, -1, 6)
    whole = np.empty((len(pairs), pairs.shape[1], 3), np.uint8)
    for colour in range(3):  # one after another: five times as quick as all of them together
        sums = pairs[:, :, colour] + pairs[:, :, colour + 3]
        whole[:, :, colour] = (sums + 2) >> 2
    return whole


def cells_of(whole: Picture) -> Cells:
    """The brightness of each cell of a whole picture, times 48."""
    size = len(whole) // _CELL
    cells: Cells = whole.reshape(size, _CELL, size, _CELL * 3).sum((1, 3), dtype=np.int32)
    return cells


def place_of(cells: Sequence[Cells]) -> int:
    """The place at which most changes from picture to picture; of several alike the first."""
    change = np.abs(np.diff(np.stack(cells), axis=0)).sum(0, dtype=np.int64)
    step = len(change) // _STEPS
    steps = change.reshape(_STEPS, step, _STEPS, step).sum((1, 3))
    inside = [
        steps[row : row + _COVERED, column : column + _COVERED].sum()
        for row in range(_PLACES)
        for column in range(_PLACES)
    ]
    return int(np.argmax(inside))


def close_at(picture: Picture, place: int) -> Picture:
    """The close view (S, S, 3) of a picture (2S, 2S, 3) at a place, enlarged by half, between pixels linearly."""
    size = len(picture)
    row, column = (step * size // _STEPS for step in divmod(place, _PLACES))
    covered = size * _COVERED // _STEPS
    part = picture[row : row + covered, column : column + covered]
    close = np.empty((size // 2, size // 2, 3), np.uint8)
    for colour in range(3):
        # 36 times the pixels, which is at most 9,180.
        both = _enlarged(_enlarged(part[:, :, colour].astype(np.uint16)).T).T
        close[:, :, colour] = (both + 18) // 36
    return close


def views_of(window: Sequence[Picture]) -> list[tuple[Picture, Picture]]:
    """Whole and close view of each picture of a window, (S, S, 3) each, as a network of two views is given them."""
    wholes = [whole_of(picture) for picture in window]
    place = place_of([cells_of(whole) for whole in wholes])
    return [(whole, close_at(picture, place)) for whole, picture in zip(wholes, window, strict=True)]


def settled(scores: np.ndarray, odds: float) -> np.ndarray:
    """Which windows (W,) the whole picture settles, by its scores (W, L): the likeliest label has such odds."""
    next_best, best = np.partition(scores, -2, axis=1)[:, -2:].T
    found: np.ndarray = best >= odds * next_best
    return found


def _enlarged(rows: np.ndarray) -> np.ndarray:
    """From rows (2N, …) three for each two (3N, …), times 6: their middles lie a sixth beside, between, a sixth beside.

    given      |     0     |     1     |
    wanted     |   0   |   1   |   2   |
    """
    even, odd = rows[0::2], rows[1::2]
    wanted = np.empty((3 * len(even), *rows.shape[1:]), rows.dtype)
    wanted[0::3] = 5 * even
    wanted[0] += even[0]
    wanted[3::3] += odd[:-1]
    wanted[1::3] = 3 * (even + odd)
    wanted[2::3] = 5 * odd
    wanted[2:-1:3] += even[1:]
    wanted[-1] += odd[-1]
    return wanted
