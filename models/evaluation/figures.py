"""How good a classifier's scores are, with intervals that respect that clips of one scene are not independent."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    precision_recall_fscore_support,
    roc_auc_score,
    top_k_accuracy_score,
)

from models.labels import UNKNOWN

from .bootstrap import ROUNDS, Floats, draw_weights, exact_interval, interval, weight_blocks
from .calibration import CALIBRATION_BINS, calibration_bins, calibration_error
from .multi_label import label_figures, off_by_clip
from .multi_label import mean_gaps as label_gaps
from .ranking import FALSE_ALARM_PERCENTS, area, average_precision, recall_at, recall_name
from .scores import SAID, ClipScores, Labels, Scores, WindowScores

TOP: Final = 5
#: Shown in the place of a figure that cannot be computed.
ABSENT: Final = "–"
#: And in the place of an interval, where there is room to say why.
NO_INTERVAL: Final = "no interval: too few groups, or all alike"


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value with its 95 % interval; NaN where the clips do not allow one, such as bounds from one group,
    or where every draw of groups gives the same.
    """

    value: float
    low: float
    high: float

    @property
    def interval(self) -> str:
        """The interval as text."""
        return NO_INTERVAL if math.isnan(self.low) else f"{self.low:.3f} to {self.high:.3f}"

    def __str__(self) -> str:
        return f"{shown(self.value)} ({ABSENT if math.isnan(self.low) else self.interval})"


@dataclass(frozen=True, slots=True)
class ClassFigures:
    label: str
    clips: int
    #: Where clips may have several labels, of those that score `SAID` or more.
    precision: float
    recall: float
    f1: float
    #: One label against the rest; NaN where all clips or none have the label.
    auc: float
    average_precision: float
    #: Where clips may have several labels: the share of the label's clips above what some percent of the others pass.
    recall_at: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Figures of one model on one set of clips."""

    clips: int
    groups: int
    #: By name: accuracy, top5_accuracy (beyond five labels), balanced_accuracy, macro_f1, auc, calibration_error; where
    #: clips may have several labels, what `multi_label.label_figures` gives.
    figures: dict[str, Figure]
    per_class: tuple[ClassFigures, ...]
    #: (L, L), rows: truth; None where clips may have several labels, of which none is taken for another.
    confusion: np.ndarray | None

    @property
    def main_name(self) -> str:
        """The figure that tells most."""
        return "accuracy" if self.confusion is not None else "mean_average_precision"

    @property
    def main(self) -> Figure:
        return self.figures[self.main_name]

    def to_json(self) -> dict[str, Any]:
        """Values at the top level, their bounds under `low` and `high`; None where a figure cannot be computed."""
        return {
            "clips": self.clips,
            "groups": self.groups,
            **{name: number(f.value) for name, f in self.figures.items()},
            "low": {name: number(f.low) for name, f in self.figures.items()},
            "high": {name: number(f.high) for name, f in self.figures.items()},
            "per_class": {
                c.label: {
                    "clips": c.clips,
                    "precision": number(c.precision),
                    "recall": number(c.recall),
                    "f1": number(c.f1),
                    "auc": number(c.auc),
                    "average_precision": number(c.average_precision),
                    **{recall_name(p): number(value) for p, value in c.recall_at.items()},
                }
                for c in self.per_class
            },
            "confusion": None if self.confusion is None else self.confusion.tolist(),
        }


def evaluate(
    clips: ClipScores, windows: WindowScores | None = None, *, seed: int = 0, rounds: int = ROUNDS
) -> Evaluation:
    """Compute every figure, with bootstrap intervals that draw whole groups.

    Args:
        clips: what is judged.
        windows: the windows of these clips: their calibration error is given in place of that of the clips' means,
            since windows are what is served. Each clip counts alike.
        seed: the same seed gives the same draws.
        rounds: how many draws an interval is from.
    """
    if clips.is_multi_label:
        return _evaluate_labels(clips, windows, seed, rounds)
    ranked = _ranked(clips)
    measures: dict[str, Callable[[Labels, Scores], float]] = {
        "accuracy": lambda truth, scores: float(accuracy_score(truth, scores.argmax(1))),
        "balanced_accuracy": _balanced_accuracy,
        "macro_f1": _macro_f1,
        "auc": lambda truth, scores: macro_auc(truth, scores[:, :ranked]),
        "calibration_error": calibration_error,
    }
    if len(clips.labels) > TOP:
        measures["top5_accuracy"] = lambda truth, scores: float(
            top_k_accuracy_score(truth, scores, k=TOP, labels=np.arange(scores.shape[1]))
        )
    blocks = [
        weighted_figures(clips.truth, clips.scores, weights, ranked)
        for weights in weight_blocks(clips.groups, rounds, seed)
    ]
    drawn = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    figures = {name: figure_of(measure(clips.truth, clips.scores), drawn[name]) for name, measure in measures.items()}
    groups = len(set(clips.groups))
    accuracy = figures["accuracy"].value
    if groups > 1 and rounds and accuracy in {0.0, 1.0}:
        # All draws are alike. Clips of a group are not independent, so that groups are counted.
        figures["accuracy"] = Figure(accuracy, *exact_interval(round(accuracy * groups), groups))
    if windows is not None:
        figures["calibration_error"] = _calibration_of_windows(windows, draw_weights(clips.groups, rounds, seed))
    return Evaluation(
        len(clips.truth),
        groups,
        figures,
        _per_class(clips),
        confusion_matrix(clips.truth, clips.scores.argmax(1), labels=np.arange(len(clips.labels))),
    )


def _evaluate_labels(clips: ClipScores, windows: WindowScores | None, seed: int, rounds: int) -> Evaluation:
    """The same of clips that may have several labels."""
    once = label_figures(clips.truth, clips.scores, np.ones((1, len(clips.truth))))
    blocks = [label_figures(clips.truth, clips.scores, w) for w in weight_blocks(clips.groups, rounds, seed)]
    figures = {
        name: figure_of(float(value[0]), np.concatenate([block[name] for block in blocks]))
        for name, value in once.items()
    }
    if windows is not None:
        off, drawn = off_by_clip(windows), draw_weights(clips.groups, rounds, seed)
        gap = float(label_gaps(off, np.ones((1, len(off))))[0])
        figures["calibration_error"] = figure_of(gap, label_gaps(off, drawn))
    return Evaluation(len(clips.truth), len(set(clips.groups)), figures, _per_label(clips), None)


def _per_label(clips: ClipScores) -> tuple[ClassFigures, ...]:
    precision, recall, f1, support = precision_recall_fscore_support(
        clips.truth, clips.scores >= SAID, average=None, zero_division=0
    )
    once = np.ones((1, len(clips.truth)))
    return tuple(
        ClassFigures(
            label,
            int(support[k]),
            float(precision[k]),
            float(recall[k]) if support[k] else float("nan"),
            float(f1[k]),
            float(area(has, score, once)[0]),
            float(average_precision(has, score, once)[0]),
            {p: float(recall_at(p / 100, ~has, score, once)[0]) for p in FALSE_ALARM_PERCENTS},
        )
        for k, (label, has, score) in enumerate(zip(clips.labels, clips.truth.T, clips.scores.T, strict=True))
    )


def _calibration_of_windows(windows: WindowScores, drawn: Floats) -> Figure:
    """The calibration error of windows, each of which counts a share of its clip; `drawn` (R, N) are clips' weights."""
    truth, scores, clip = windows.by_window()
    confidence, right = scores.max(1), scores.argmax(1) == truth
    off = np.zeros((drawn.shape[1], CALIBRATION_BINS))  # by clip: a draw of a long video's windows would fill memory
    np.add.at(off, (clip, calibration_bins(confidence)), windows.window_weights() * (confidence - right))
    once = np.ones((1, len(off)))
    return figure_of(float(_mean_gaps(off, once)[0]), _mean_gaps(off, drawn))


def figure_of(value: float, drawn: Floats) -> Figure:
    """A value with the interval of what was drawn; none where all draws are alike, which would look like certainty."""
    low, high = interval(drawn)
    return Figure(value, low, high) if low < high else Figure(value, math.nan, math.nan)


def _mean_gaps(off: Floats, weights: Floats) -> Floats:
    """Calibration errors (R,) from confidence minus accuracy in each bin (N, bins), under weights (R, N)."""
    errors: Floats = np.abs(weights @ off).sum(1) / weights.sum(1)
    return errors


def _balanced_accuracy(truth: Labels, scores: Scores) -> float:
    with warnings.catch_warnings():
        # A label that is predicted but never true has no recall to count.
        warnings.simplefilter("ignore", UserWarning)
        return float(balanced_accuracy_score(truth, scores.argmax(1)))


def _macro_f1(truth: Labels, scores: Scores) -> float:
    """A label that is neither true nor predicted is left out of the mean."""
    predicted = scores.argmax(1)
    return float(f1_score(truth, predicted, labels=np.unique([truth, predicted]), average="macro", zero_division=0))


def macro_auc(truth: Labels, scores: Scores) -> float:
    """Mean over labels of the area under one-against-the-rest ROC; NaN if some label has no clip or all of them."""
    areas = [_auc(truth == k, scores[:, k]) for k in range(scores.shape[1])]
    if scores.shape[1] == 2:
        return areas[1]
    return float(np.mean(areas))


def _auc(positive: np.ndarray, scores: np.ndarray) -> float:
    return float(roc_auc_score(positive, scores)) if 0 < positive.sum() < len(positive) else float("nan")


def _per_class(clips: ClipScores) -> tuple[ClassFigures, ...]:
    precision, recall, f1, support = precision_recall_fscore_support(
        clips.truth, clips.scores.argmax(1), labels=np.arange(len(clips.labels)), zero_division=0
    )
    return tuple(
        ClassFigures(
            label,
            int(support[k]),
            float(precision[k]),
            float(recall[k]) if support[k] else float("nan"),
            float(f1[k]),
            _auc(clips.truth == k, clips.scores[:, k]),
            float(average_precision_score(clips.truth == k, clips.scores[:, k])) if support[k] else float("nan"),
        )
        for k, label in enumerate(clips.labels)
    )


def _ranked(clips: ClipScores) -> int:
    """How many labels, the first ones, the AUC is of: all but `UNKNOWN` where no clip is known to be so."""
    is_open = clips.labels[-1] == UNKNOWN and not clips.has_label[:, -1].any() and len(clips.labels) > 2
    return len(clips.labels) - is_open


def weighted_figures(truth: Labels, scores: Floats, weights: Floats, ranked: int | None = None) -> dict[str, Floats]:
    """Each figure under each draw (R,), as scikit-learn computes it with `sample_weight`.

    A label that is not drawn has no recall and no AUC, and if it is not predicted either, no F1: it is left out of the
    mean over labels; for the AUC the draw is left out.
    """
    classes = scores.shape[1]
    predicted = scores.argmax(1)
    total = weights.sum(1)
    is_true = np.eye(classes)[truth]  # (N, L)
    # Row and column sums and the diagonal of each draw's confusion matrix, never all of its L * L cells.
    true, claimed = weights @ is_true, weights @ np.eye(classes)[predicted]  # (R, L)
    right = weights @ (is_true * (predicted == truth)[:, None])  # (R, L)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = right / true
        f1 = 2 * right / (true + claimed)  # (R, L)
        figures = {
            "accuracy": right.sum(1) / total,
            "balanced_accuracy": np.nanmean(recall, axis=1),
            "macro_f1": np.nanmean(f1, axis=1),
            "auc": _areas(truth, scores[:, :ranked], weights),
            "calibration_error": _calibration_errors(truth, scores, weights),
        }
    if classes > TOP:
        best = np.argpartition(-scores, TOP - 1, axis=1)[:, :TOP]
        figures["top5_accuracy"] = weights @ (best == truth[:, None]).any(1).astype(float) / total
    return figures


def _areas(truth: Labels, scores: Floats, weights: Floats) -> Floats:
    """Mean over labels of the area under one-against-the-rest ROC; of two labels that of the second."""
    classes = [1] if scores.shape[1] == 2 else list(range(scores.shape[1]))
    mean: Floats = np.mean([area(truth == k, scores[:, k], weights) for k in classes], axis=0)
    return mean


def _calibration_errors(truth: Labels, scores: Floats, weights: Floats) -> Floats:
    confidence, right = scores.max(1), scores.argmax(1) == truth
    inside = np.eye(CALIBRATION_BINS)[calibration_bins(confidence)]  # (N, bins)
    return _mean_gaps(inside * (confidence - right)[:, None], weights)


def shown(value: float) -> str:
    """Format a figure for people: three decimals."""
    return f"{value:.3f}" if not math.isnan(value) else ABSENT


def number(value: float) -> float | None:
    """A figure for JSON: six decimals, None where it cannot be computed."""
    return None if np.isnan(value) else round(value, 6)
