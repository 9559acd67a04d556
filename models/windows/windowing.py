"""Which frames of a recorded video make up its windows: the same ones that the worker takes from a live camera.

frames     0 1 2 3 4 5 6 7 8 9
window 0   x x x x                  frames=4: each begins half a window after the one before
window 1       x x x x
window 2           x x x x
window 3               x x x x
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np


def sliding_windows(length: int, frames: int, step: int = 1, *, denser: int = 1) -> np.ndarray:
    """Indices (W, T) of the frames of each window in a video of `length` frames.

    A video shorter than one window gives one window, which repeats the last frame.

    Args:
        length: frames of the video.
        frames: T.
        step: distance from one frame of a window to the next.
        denser: divides the distance from one window to the next, which is half a window otherwise.
    """
    begins = np.arange(0, max(1, length - step * frames + 1), max(1, step * (frames // 2) // denser))
    indices: np.ndarray = np.minimum(begins[:, None] + step * np.arange(frames), length - 1)
    return indices


def with_context(window: Sequence[int], context: int) -> list[int]:
    """The frames of a window, and those before it that count, at its own spacing: at most `context`."""
    step = window[1] - window[0] if len(window) > 1 else 0
    reach = min(context, window[0] // step) if step else 0
    return [*(window[0] - back * step for back in range(reach, 0, -1)), *window]


def in_batches(windows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Yield `size` windows (W, T) at a time: all of a long video's, cut out, would be twice the size of its frames."""
    for begin in range(0, len(windows), size):
        yield windows[begin : begin + size]
