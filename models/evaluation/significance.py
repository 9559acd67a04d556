"""Whether two models differ by more than chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from .bootstrap import ROUNDS, Floats, draw_weights, weight_blocks
from .figures import Figure, figure_of
from .multi_label import label_figures
from .scores import ClipScores


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided p-value of the exact McNemar test: how likely so uneven a split is if neither model is better.

    Args:
        only_first: how many cases only the first model gets right.
        only_second: how many only the second gets right.
    """
    split = only_first + only_second
    return float(binomtest(only_second, split).pvalue) if split else 1.0


@dataclass(frozen=True, slots=True)
class AccuracyComparison:
    """Two models on the same clips: B's accuracy minus A's, and whether the difference is significant."""

    difference: Figure
    only_a_right: int
    only_b_right: int
    #: Of the exact McNemar test, which takes clips as independent.
    p_value: float


def compare_accuracy(a: ClipScores, b: ClipScores, *, seed: int = 0, rounds: int = ROUNDS) -> AccuracyComparison:
    """Compare two models by the clips that only one of them gets right.

    Raises:
        ValueError: they were not scored on the same clips.
    """
    _check_alike(a, b)
    right_a, right_b = a.scores.argmax(1) == a.truth, b.scores.argmax(1) == b.truth
    gain = right_b.astype(float) - right_a
    weights = draw_weights(a.groups, rounds, seed)  # (R, N)
    drawn = weights @ gain / weights.sum(1)
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    return AccuracyComparison(figure_of(float(gain.mean()), drawn), only_a, only_b, mcnemar(only_a, only_b))


def compare_precision(a: ClipScores, b: ClipScores, *, seed: int = 0, rounds: int = ROUNDS) -> Figure:
    """B's mean average precision minus A's, on clips that may have several labels.

    Raises:
        ValueError: they were not scored on the same clips.
    """
    _check_alike(a, b)

    def difference(weights: Floats) -> Floats:
        of_a, of_b = (label_figures(c.truth, c.scores, weights)["mean_average_precision"] for c in (a, b))
        found: Floats = of_b - of_a
        return found

    drawn = np.concatenate([difference(weights) for weights in weight_blocks(a.groups, rounds, seed)])
    return figure_of(float(difference(np.ones((1, len(a.names))))[0]), drawn)


def _check_alike(a: ClipScores, b: ClipScores) -> None:
    if a.names != b.names or a.labels != b.labels or not np.array_equal(a.truth, b.truth):
        raise ValueError("the two models were not scored on the same clips with the same labels")
