"""Hand-made features of a clip's appearance and motion: formulas only, nothing learnt.

A clip (T, H, W, 3) becomes one vector of five parts:

- appearance: histograms of oriented gradients (HOG: Dalal and Triggs, CVPR 2005) of the mean picture;
- energy: the same of the mean difference between pictures: where and in which shape something moved (after Davis and
  Bobick's motion-energy images, CVPR 1997);
- flow: directions of optical flow, each weighted by its speed (HOF: Laptev et al., CVPR 2008), on a grid over the
  picture, as mean and maximum over time;
- change: how often the speed at a place changes by more than the picture's mean (ViF: Hassner et al., CVPRW 2012);
- speed: how fast the whole picture moves, and how unevenly.

Optical flow is that of DIS (Kroeger et al., ECCV 2016) in OpenCV: the same on every number of threads.
"""

from __future__ import annotations

import itertools
from typing import Any, Final

import cv2
import numpy as np
from skimage.feature import hog

from models.errors import TrainingError

Clip = np.ndarray[tuple[int, int, int, int], np.dtype[np.uint8]]
Floats = np.ndarray[Any, np.dtype[np.float32]]

#: A change of speed needs two speeds, and those need three pictures.
MIN_FRAMES: Final = 3
#: In smaller pictures, patches of optical flow and cells of gradients do not fit.
MIN_SIZE: Final = 32

_HOG_CELLS: Final = 4
_HOG_ORIENTATIONS: Final = 9
_GRID: Final = 3
_DIRECTIONS: Final = 8
_CHANGE_BINS: Final = 5
#: Speeds are in hundredths of the picture's height from one frame to the next, so that sizes can be compared.
_PERCENT: Final = 100.0


#: The parts of a description and how many numbers each has.
PARTS: Final = {
    "appearance": (_HOG_CELLS - 1) ** 2 * 4 * _HOG_ORIENTATIONS,
    "energy": (_HOG_CELLS - 1) ** 2 * 4 * _HOG_ORIENTATIONS,
    "flow": 2 * _GRID**2 * _DIRECTIONS,
    "change": _GRID**2 * _CHANGE_BINS,
    "speed": 2 * 5,
}


def check_clip(frames: int, size: int) -> None:
    """Say whether clips of `frames` pictures of `size` pixels can be described.

    Raises:
        TrainingError: they are too short or too small.
    """
    if frames < MIN_FRAMES or size < MIN_SIZE:
        raise TrainingError(
            f"clips of {frames} frames of {size}x{size}: hand-made features need at least {MIN_FRAMES} frames "
            f"of {MIN_SIZE}x{MIN_SIZE}"
        )


def describe_clip(clip: Clip) -> Floats:
    """The description (F,) of one clip (T, H, W, 3) uint8: its parts, concatenated in the order of `PARTS`."""
    grey = np.stack([cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in clip])  # (T, H, W)
    pictures = grey.astype(np.float32)
    energy = np.abs(np.diff(pictures, axis=0)).mean(0)
    flow = _optical_flow(grey)
    speed = np.hypot(flow[..., 0], flow[..., 1])  # (T - 1, H, W)
    return np.concatenate(
        [
            _gradients(pictures.mean(0)),
            _gradients(energy),
            _flow_histograms(flow, speed),
            _speed_changes(speed),
            _whole_picture(speed),
        ]
    )


def _optical_flow(grey: np.ndarray) -> Floats:
    """(T - 1, H, W, 2) in hundredths of the height a frame."""
    cv2.setNumThreads(1)  # clips are described beside each other: more threads would wait for the cores of these
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    still = np.zeros((*grey.shape[1:], 2), np.float32)
    flows = [dis.calc(before, after, still.copy()) for before, after in itertools.pairwise(grey)]
    flow: Floats = (np.stack(flows) * (_PERCENT / grey.shape[1])).astype(np.float32)
    return flow


def _gradients(picture: np.ndarray) -> Floats:
    """HOG of 4x4 cells in overlapping blocks of 2x2, (9 * 4 * 9,)."""
    height, width = picture.shape
    found: np.ndarray = hog(
        picture,
        orientations=_HOG_ORIENTATIONS,
        pixels_per_cell=(height // _HOG_CELLS, width // _HOG_CELLS),
        cells_per_block=(2, 2),
        block_norm="L2-Hys",
    )
    return found.astype(np.float32)


def _flow_histograms(flow: np.ndarray, speed: np.ndarray) -> Floats:
    """Mean speed by direction in each cell of the grid: mean and maximum over time, (2 * 9 * 8,).

    Bins are centred on the axes, so that motion straight to the left falls into one of them. The square root damps the
    few cells that move much (power normalisation: Perronnin et al., ECCV 2010).
    """
    steps, height, width = speed.shape
    angle = np.arctan2(flow[..., 1], flow[..., 0]) * (_DIRECTIONS / (2 * np.pi))
    direction = np.round(angle).astype(int) % _DIRECTIONS
    cells = _cells(height, width)
    place = (np.arange(steps)[:, None, None] * _GRID**2 + cells) * _DIRECTIONS + direction
    sums = np.bincount(place.ravel(), speed.ravel(), steps * _GRID**2 * _DIRECTIONS)
    by_step = sums.reshape(steps, _GRID**2, _DIRECTIONS) / np.bincount(cells.ravel())[:, None]
    together: Floats = np.sqrt(np.stack([by_step.mean(0), by_step.max(0)])).astype(np.float32)
    return together.ravel()


def _speed_changes(speed: np.ndarray) -> Floats:
    """ViF: how often the speed at a place changes by more than the picture's mean, as histograms, (9 * 5,).

    The paper counts changes of at least the mean; here they must exceed it, or every place of a still picture, where
    all changes are 0, would count.
    """
    change = np.abs(np.diff(speed, axis=0))  # (T - 2, H, W)
    often = (change > change.mean((1, 2), keepdims=True)).mean(0)  # (H, W)
    cells = _cells(*often.shape)
    bins = np.minimum((often * _CHANGE_BINS).astype(int), _CHANGE_BINS - 1)
    counts = np.bincount((cells * _CHANGE_BINS + bins).ravel(), minlength=_GRID**2 * _CHANGE_BINS)
    shares = counts.reshape(_GRID**2, _CHANGE_BINS) / np.bincount(cells.ravel())[:, None]
    return shares.ravel().astype(np.float32)


def _whole_picture(speed: np.ndarray) -> Floats:
    """Mean and 95th percentile of speed: their mean, spread and maximum over time, and how much they change, (10,)."""
    over_time = np.sqrt(np.stack([speed.mean((1, 2)), np.quantile(speed, 0.95, axis=(1, 2))], axis=1))  # (T - 1, 2)
    change = np.abs(np.diff(over_time, axis=0))
    parts = (over_time.mean(0), over_time.std(0), over_time.max(0), change.mean(0), change.max(0))
    whole: Floats = np.concatenate(parts).astype(np.float32)
    return whole


def _cells(height: int, width: int) -> np.ndarray:
    """The grid cell of each pixel, (H, W)."""
    return (np.arange(height) * _GRID // height)[:, None] * _GRID + np.arange(width) * _GRID // width
