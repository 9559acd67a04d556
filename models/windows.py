"""The windows of a recorded video, as the worker takes them from a live one: half a window apart."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def windows(length: int, frames: int, step: int = 1, *, denser: int = 1) -> np.ndarray:
    """Places (W, T) of the frames of each window in a video of `length` frames, of which every `step`-th is taken.

    A video shorter than one window gives one, which holds the last frame. `denser` divides the distance of windows.
    """
    begins = np.arange(0, max(1, length - step * frames + 1), max(1, step * (frames // 2) // denser))
    places: np.ndarray = np.minimum(begins[:, None] + step * np.arange(frames), length - 1)
    return places


def in_parts(places: np.ndarray, at_once: int) -> Iterator[np.ndarray]:
    """`at_once` windows at a time: those of a long video, all taken out, would be twice the size of its frames."""
    for begin in range(0, len(places), at_once):
        yield places[begin : begin + at_once]
