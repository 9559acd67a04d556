"""Intervals by drawing whole groups with replacement (Efron, 1979; for clusters Field and Welsh, 2007).

A draw is a weight for each clip: how often its group was drawn. Every figure is a function of such weights, so that a
thousand draws are a few products of matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

CALIBRATION_BINS: Final = 10
TOP: Final = 5

Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]
Labels = np.ndarray[tuple[int], np.dtype[np.integer[Any]]]


def draw_weights(groups: Sequence[str], rounds: int, seed: int) -> Floats:
    """How often each clip is drawn in each round, (R, N): as many groups as there are, with all of their clips.

    No draws, (0, N), of a single group: all would be alike, and an interval of width zero looks like certainty.
    """
    generator = np.random.default_rng(seed)
    _, member = np.unique(np.asarray(groups), return_inverse=True)
    count = int(member.max()) + 1
    if count < 2:
        return np.zeros((0, len(groups)))
    drawn = generator.integers(count, size=(rounds, count))
    weights = np.zeros((rounds, count))
    np.add.at(weights, (np.arange(rounds)[:, None], drawn), 1.0)
    repeated: Floats = weights[:, member]
    return repeated


def interval(drawn: Floats) -> tuple[float, float]:
    """The middle 95 % of what was drawn; NaN where nothing could be computed."""
    known = drawn[~np.isnan(drawn)]
    if not len(known):
        return float("nan"), float("nan")
    return float(np.quantile(known, 0.025)), float(np.quantile(known, 0.975))


def weighted_figures(truth: Labels, scores: Floats, weights: Floats) -> dict[str, Floats]:
    """Each figure under each draw (R,): as scikit-learn computes them with `sample_weight`.

    A label that is not drawn has no recall and no area, and one that is not said either has no F1: it is left out of
    the mean over labels, or (area) the draw is left out.
    """
    classes = scores.shape[1]
    said = scores.argmax(1)
    total = weights.sum(1)
    is_true = np.eye(classes)[truth]  # (N, L)
    # Of each draw the sums of its confusion matrix and its diagonal, never all L * L cells of it.
    true, predicted = weights @ is_true, weights @ np.eye(classes)[said]  # (R, L)
    right = weights @ (is_true * (said == truth)[:, None])  # (R, L)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = right / true
        f1 = 2 * right / (true + predicted)  # (R, L)
        figures = {
            "accuracy": right.sum(1) / total,
            "balanced_accuracy": np.nanmean(recall, axis=1),
            "macro_f1": np.nanmean(f1, axis=1),
            "auc": _areas(truth, scores, weights),
            "calibration_error": _calibration_errors(truth, scores, weights),
        }
    if classes > TOP:
        best = np.argpartition(-scores, TOP - 1, axis=1)[:, :TOP]
        figures["top5_accuracy"] = weights @ (best == truth[:, None]).any(1).astype(float) / total
    return figures


def _areas(truth: Labels, scores: Floats, weights: Floats) -> Floats:
    """Mean over labels of the area under one-against-the-rest ROC; of two labels that of the second."""
    classes = [1] if scores.shape[1] == 2 else list(range(scores.shape[1]))
    mean: Floats = np.mean([_area(truth == k, scores[:, k], weights) for k in classes], axis=0)
    return mean


def _area(positive: np.ndarray, score: Floats, weights: Floats) -> Floats:
    """Probability that a positive scores above a negative, ties counting half (Mann and Whitney, 1947)."""
    order = np.argsort(score, kind="stable")
    _, first = np.unique(score[order], return_index=True)
    up = np.add.reduceat(weights[:, order] * positive[order], first, axis=1)  # (R, distinct scores)
    down = np.add.reduceat(weights[:, order] * ~positive[order], first, axis=1)
    below = np.cumsum(down, axis=1) - down
    pairs = up.sum(1) * down.sum(1)
    area: Floats = np.where(pairs > 0, (up * (below + down / 2)).sum(1) / np.where(pairs > 0, pairs, 1), np.nan)
    return area


def calibration_bins(confidence: Floats) -> np.ndarray:
    """Which of ten equal parts of 0 to 1 each confidence falls into."""
    bins: np.ndarray = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    return bins


def _calibration_errors(truth: Labels, scores: Floats, weights: Floats) -> Floats:
    confidence, right = scores.max(1), scores.argmax(1) == truth
    inside = np.eye(CALIBRATION_BINS)[calibration_bins(confidence)]  # (N, bins)
    off = weights @ (inside * (confidence - right)[:, None])  # (R, bins)
    errors: Floats = np.abs(off).sum(1) / weights.sum(1)
    return errors
