"""How well a score ranks clips that have a label above those that have not, under weights such as draws give them.

Each figure is computed for many weightings (R, N) of the clips at once. Equal scores pass a threshold together.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from .bootstrap import Floats

#: Shares of the clips without a label that pass for it, in percent, at which recall is told.
FALSE_ALARM_PERCENTS: Final = (5, 10)
_ROUNDING: Final = 1e-9


def recall_name(percent: int) -> str:
    """What the figure is called: `recall_at_5_percent_false_alarms`."""
    return f"recall_at_{percent}_percent_false_alarms"


def area(positive: np.ndarray, score: Floats, weights: Floats) -> Floats:
    """Probability that a positive scores above a negative, ties counting half (Mann and Whitney, 1947).

    Args:
        positive: (N,) which clips have the label.
        score: (N,).
        weights: (R, N).

    Returns:
        (R,), NaN without positives or negatives.
    """
    up, down = _by_score(score, weights * positive, weights * ~positive)
    below = np.cumsum(down, axis=1) - down
    pairs = up.sum(1) * down.sum(1)
    found: Floats = np.where(pairs > 0, (up * (below + down / 2)).sum(1) / np.where(pairs > 0, pairs, 1), np.nan)
    return found


def average_precision(positive: np.ndarray, score: Floats, weights: Floats) -> Floats:
    """Precision at each threshold, weighted by what it adds to recall, as scikit-learn computes it; as `area`."""
    up, down = (part[:, ::-1] for part in _by_score(score, weights * positive, weights * ~positive))
    found, passed, total = np.cumsum(up, axis=1), np.cumsum(up + down, axis=1), up.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(passed > 0, found / passed, 0.0)
        mean: Floats = np.where(total > 0, (up * precision).sum(1) / total, np.nan)
    return mean


def recall_at(rate: float, negative: np.ndarray, score: Floats, weights: Floats) -> Floats:
    """The share of positives above the lowest threshold that at most `rate` of the negatives (N,) pass; as `area`."""
    false, true = (part[:, ::-1] for part in _by_score(score, weights * negative, weights * ~negative))
    total, positives = false.sum(1), true.sum(1)
    passing = np.cumsum(false, axis=1) <= (rate * total + _ROUNDING)[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = np.where(total > 0, (true * passing).sum(1) / positives, np.nan)
    return found


def _by_score(score: Floats, *weights: Floats) -> list[Floats]:
    """Weights (R, N) added up over clips of one score, (R, distinct scores), the lowest first."""
    order = np.argsort(score, kind="stable")
    _, first = np.unique(score[order], return_index=True)
    return [np.add.reduceat(of[:, order], first, axis=1) for of in weights]
