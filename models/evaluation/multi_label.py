"""Figures of clips that may have several labels: each label is judged by itself, and figures are means over labels.

No label has to be the highest, so there is no accuracy. Labels that no clip has, or every clip, are left out of means.
"""

from __future__ import annotations

import warnings

import numpy as np

from .bootstrap import Floats
from .calibration import CALIBRATION_BINS, calibration_bins
from .ranking import FALSE_ALARM_PERCENTS, area, average_precision, recall_at, recall_name
from .scores import Scores, WindowScores


def label_figures(has: np.ndarray, scores: Scores, weights: Floats) -> dict[str, Floats]:
    """Means over labels of what ranks clips, and of calibration errors, under each weighting (R,).

    Args:
        has: (N, L) which labels each clip has.
        scores: (N, L).
        weights: (R, N).
    """
    columns = list(zip(has.T, scores.T, strict=True))
    return {
        "mean_average_precision": _mean([average_precision(own, score, weights) for own, score in columns]),
        "auc": _mean([area(own, score, weights) for own, score in columns]),
        **{
            f"mean_{recall_name(p)}": _mean([recall_at(p / 100, ~own, score, weights) for own, score in columns])
            for p in FALSE_ALARM_PERCENTS
        },
        "calibration_error": mean_gaps(_off(has, scores), weights),
    }


def off_by_clip(windows: WindowScores) -> np.ndarray:
    """What `mean_gaps` takes, of windows, each of which counts a share of its clip."""
    has, scores, clip = windows.by_window()
    off = np.zeros((len(windows.truth), len(windows.labels), CALIBRATION_BINS))
    np.add.at(off, clip, _off(has, scores) * windows.window_weights()[:, None, None])
    return off


def mean_gaps(off: np.ndarray, weights: Floats) -> Floats:
    """Mean over labels of their calibration errors (R,) from score minus share in each bin (N, L, bins)."""
    sums = np.abs(np.tensordot(weights, off, axes=1)).sum(2)  # (R, L)
    errors: Floats = sums.mean(1) / weights.sum(1)
    return errors


def _off(has: np.ndarray, scores: Scores) -> np.ndarray:
    """By how much each score misses, in the bin that it falls into, (N, L, bins)."""
    off: np.ndarray = np.eye(CALIBRATION_BINS)[calibration_bins(scores)] * (scores - has)[:, :, None]
    return off


def _mean(of_labels: list[Floats]) -> Floats:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a draw in which no label has both
        mean: Floats = np.nanmean(of_labels, axis=0)
    return mean
