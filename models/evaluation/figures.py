"""How good a classifier's scores are, with intervals that respect that clips of one scene are not independent."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest
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
from sklearn.model_selection import GroupKFold

from models.contract import Threshold

from .bootstrap import TOP, calibration_bins, draw_weights, interval, weighted_figures

ROUNDS: Final = 1000
#: What is shown in the place of a figure that cannot be had.
ABSENT: Final = "–"
_HYSTERESIS: Final = 0.6
#: Parts of the clips, each with the temperature of the others.
_PARTS: Final = 5

Scores = np.ndarray[tuple[int, int], np.dtype[np.floating[Any]]]
Labels = np.ndarray[tuple[int], np.dtype[np.integer[Any]]]


@dataclass(frozen=True, slots=True)
class Judged:
    """Labelled clips and what a model says of them; row i of everything speaks of clip i."""

    labels: tuple[str, ...]
    truth: Labels  # (N,) indices into labels
    scores: Scores  # (N, L), rows sum to one
    #: Clips of one group show the same scene.
    groups: tuple[str, ...]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        n = len(self.truth)
        if not n:
            raise ValueError("no clips: expected at least one")
        if self.scores.shape != (n, len(self.labels)) or len(self.groups) != n or len(self.names) != n:
            raise ValueError(
                f"scores {self.scores.shape}, {len(self.groups)} groups, {len(self.names)} names: "
                f"expected ({n}, {len(self.labels)}), {n} and {n}"
            )

    def log_loss(self) -> float:
        """Mean negative log-likelihood of the truth."""
        return float(-np.log(np.maximum(self.scores[np.arange(len(self.truth)), self.truth], 1e-12)).mean())


@dataclass(frozen=True, slots=True)
class WindowScores:
    """Labelled clips and what a model says of each of their windows; a clip's score is the mean over its windows."""

    labels: tuple[str, ...]
    truth: Labels  # (N,)
    #: For each clip (W, L), rows sum to one.
    windows: tuple[Scores, ...]
    groups: tuple[str, ...]
    names: tuple[str, ...]

    def judged(self, temperature: float | np.ndarray = 1.0) -> Judged:
        """The clips, with the scores of their windows as another temperature, or one for each clip (N,), makes them."""
        each = np.broadcast_to(temperature, len(self.windows))
        means = [apply_temperature(w, t).mean(0) for w, t in zip(self.windows, each, strict=True)]
        return Judged(self.labels, self.truth, np.stack(means), self.groups, self.names)

    def only(self, chosen: np.ndarray) -> WindowScores:
        """Those clips for which `chosen` (N,) is true."""
        rows = np.flatnonzero(chosen)
        return WindowScores(
            self.labels,
            self.truth[rows],
            tuple(self.windows[i] for i in rows),
            tuple(self.groups[i] for i in rows),
            tuple(self.names[i] for i in rows),
        )

    def fit_temperature(self) -> float:
        """The temperature by which logits are divided so that confidence meets accuracy (Guo et al., ICML 2017, 4.2).

        Minimises the negative log-likelihood of the clips; softmax scores hold logits up to a constant that does not
        matter.
        """

        def loss(log_temperature: float) -> float:
            return self.judged(float(np.exp(log_temperature))).log_loss()

        found = minimize_scalar(loss, bounds=(np.log(0.1), np.log(10.0)), method="bounded")
        return float(np.exp(found.x))

    def fit_temperatures_elsewhere(self) -> np.ndarray:
        """For each clip (N,) a temperature that was fitted to clips of other groups; NaN if there is one group only."""
        temperatures = np.full(len(self.truth), np.nan)
        parts = min(_PARTS, len(set(self.groups)))
        if parts > 1:
            for others, part in GroupKFold(parts).split(self.truth, groups=self.groups):
                chosen = np.zeros(len(self.truth), bool)
                chosen[others] = True
                temperatures[part] = self.only(chosen).fit_temperature()
        return temperatures


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value with its 95 % interval; NaN where the clips do not allow it, as bounds of a single group's."""

    value: float
    low: float
    high: float

    @property
    def interval(self) -> str:
        """The interval as it is shown."""
        return f"{self.low:.3f} to {self.high:.3f}" if not math.isnan(self.low) else ABSENT

    def __str__(self) -> str:
        return f"{shown(self.value)} ({self.interval})"


@dataclass(frozen=True, slots=True)
class ClassFigures:
    label: str
    clips: int
    precision: float
    recall: float
    f1: float
    #: One label against the rest; NaN where all clips or none have the label.
    auc: float
    average_precision: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Figures of one model on one set of clips."""

    clips: int
    groups: int
    #: By name: accuracy, top5_accuracy (beyond five labels), balanced_accuracy, macro_f1, auc, calibration_error.
    figures: dict[str, Figure]
    per_class: tuple[ClassFigures, ...]
    confusion: np.ndarray  # (L, L), rows: truth

    def to_json(self) -> dict[str, Any]:
        """Values at the top level, their bounds under `low` and `high`; None where a figure cannot be had."""
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
                }
                for c in self.per_class
            },
            "confusion": self.confusion.tolist(),
        }


def evaluate(judged: Judged, *, seed: int = 0, rounds: int = ROUNDS) -> Evaluation:
    """Compute every figure, with bootstrap intervals that draw whole groups."""
    measures: dict[str, Callable[[Labels, Scores], float]] = {
        "accuracy": lambda truth, scores: float(accuracy_score(truth, scores.argmax(1))),
        "balanced_accuracy": _balanced_accuracy,
        "macro_f1": _macro_f1,
        "auc": macro_auc,
        "calibration_error": calibration_error,
    }
    if len(judged.labels) > TOP:
        measures["top5_accuracy"] = lambda truth, scores: float(
            top_k_accuracy_score(truth, scores, k=TOP, labels=np.arange(scores.shape[1]))
        )
    drawn = weighted_figures(judged.truth, judged.scores, draw_weights(judged.groups, rounds, seed))
    figures = {
        name: Figure(measure(judged.truth, judged.scores), *interval(drawn[name])) for name, measure in measures.items()
    }
    return Evaluation(
        len(judged.truth),
        len(set(judged.groups)),
        figures,
        _per_class(judged),
        confusion_matrix(judged.truth, judged.scores.argmax(1), labels=np.arange(len(judged.labels))),
    )


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models on the same clips: B's accuracy less A's, and how surely they differ."""

    difference: Figure
    only_a_right: int
    only_b_right: int
    #: Exact McNemar test, which takes clips as independent: two-sided probability of such a split by chance.
    p_value: float


def compare(a: Judged, b: Judged, *, seed: int = 0, rounds: int = ROUNDS) -> Comparison:
    """Compare two models by the clips that only one of them gets right.

    Raises:
        ValueError: they were not asked about the same clips.
    """
    if a.names != b.names or a.labels != b.labels or not np.array_equal(a.truth, b.truth):
        raise ValueError("the two models were not judged on the same clips with the same labels")
    right_a, right_b = a.scores.argmax(1) == a.truth, b.scores.argmax(1) == b.truth
    gain = right_b.astype(float) - right_a
    weights = draw_weights(a.groups, rounds, seed)
    drawn = weights @ gain / weights.sum(1)
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    p_value = float(binomtest(only_b, only_a + only_b).pvalue) if only_a + only_b else 1.0
    return Comparison(Figure(float(gain.mean()), *interval(drawn)), only_a, only_b, p_value)


def calibration_error(truth: Labels, scores: Scores) -> float:
    """Expected calibration error (Guo et al., ICML 2017, eq. 3): how far confidence is from accuracy, 10 bins."""
    confidence, right = scores.max(1), scores.argmax(1) == truth
    bins = calibration_bins(confidence)
    error = 0.0
    for b in np.unique(bins):
        inside = bins == b
        error += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    return float(error)


def apply_temperature(scores: Scores, temperature: float) -> Scores:
    """Scores as they would be with the logits divided by `temperature`."""
    logits = np.log(np.maximum(scores, 1e-12)) / temperature
    exponent = np.exp(logits - logits.max(1, keepdims=True))
    scaled: Scores = exponent / exponent.sum(1, keepdims=True)
    return scaled


def choose_thresholds(judged: Judged, quiet: Sequence[str], false_alarm_rate: float) -> dict[str, Threshold]:
    """For each label that alarms: the lowest start at which at most so large a share of the other clips passes.

    A threshold ends an event at 0.6 of where it starts one, so that an event does not flicker.
    """
    chosen = {}
    for index, label in enumerate(judged.labels):
        if label in quiet:
            continue
        others = np.sort(judged.scores[judged.truth != index, index])[::-1]
        allowed = int(false_alarm_rate * len(others))
        # Just above the first that must not pass, in thousandths.
        start = min(1.0, (math.floor(others[allowed] * 1000) + 1) / 1000) if allowed < len(others) else 0.5
        chosen[label] = Threshold(start, round(_HYSTERESIS * start, 3))
    return chosen


def macro_auc(truth: Labels, scores: Scores) -> float:
    """Mean over labels of the area under one-against-the-rest ROC; NaN if some label has no clip or all of them."""
    areas = [_auc(truth == k, scores[:, k]) for k in range(scores.shape[1])]
    if scores.shape[1] == 2:
        return areas[1]
    return float(np.mean(areas))


def shown(value: float) -> str:
    """A figure as it is shown: three places."""
    return f"{value:.3f}" if not math.isnan(value) else ABSENT


def _balanced_accuracy(truth: Labels, scores: Scores) -> float:
    with warnings.catch_warnings():
        # A label that is predicted but never true has no recall to count.
        warnings.simplefilter("ignore", UserWarning)
        return float(balanced_accuracy_score(truth, scores.argmax(1)))


def _macro_f1(truth: Labels, scores: Scores) -> float:
    """A label that is neither true nor predicted is left out of the mean."""
    said = scores.argmax(1)
    return float(f1_score(truth, said, labels=np.unique([truth, said]), average="macro", zero_division=0))


def _auc(positive: np.ndarray, scores: np.ndarray) -> float:
    return float(roc_auc_score(positive, scores)) if 0 < positive.sum() < len(positive) else float("nan")


def _per_class(judged: Judged) -> tuple[ClassFigures, ...]:
    precision, recall, f1, clips = precision_recall_fscore_support(
        judged.truth, judged.scores.argmax(1), labels=np.arange(len(judged.labels)), zero_division=0
    )
    return tuple(
        ClassFigures(
            label,
            int(clips[k]),
            float(precision[k]),
            float(recall[k]) if clips[k] else float("nan"),
            float(f1[k]),
            _auc(judged.truth == k, judged.scores[:, k]),
            float(average_precision_score(judged.truth == k, judged.scores[:, k])) if clips[k] else float("nan"),
        )
        for k, label in enumerate(judged.labels)
    )


def number(value: float) -> float | None:
    """A figure as JSON holds it: six places, None where it cannot be had."""
    return None if np.isnan(value) else round(value, 6)
