"""Scores of labelled clips: what every figure is computed from.

WindowScores   for each clip the scores of its windows (W, L): what is served
   │  by_clip(temperature)
   ▼
ClipScores     one row (L,) a clip: the mean over its windows

A clip has one label, and its scores sum to one; or it may have several, and each score is of its own. The truth tells
which: it is (N,) indices of labels, or (N, L) which labels each clip has.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from scipy.special import expit

from models.labels import several_labels

Scores = np.ndarray[tuple[int, int], np.dtype[np.floating[Any]]]
Labels = np.ndarray[tuple[int], np.dtype[np.integer[Any]]]
#: (N,) indices of labels, or (N, L) which labels each clip has.
Truth = np.ndarray[Any, np.dtype[Any]]
#: From this score on a label of several is said of a clip: scores are calibrated.
SAID: Final = 0.5
#: A score of 0 has no logarithm.
LEAST_SCORE: Final = 1e-12


@dataclass(frozen=True, slots=True)
class ClipScores:
    """Labelled clips and a model's scores of them; row i of everything belongs to clip i."""

    labels: tuple[str, ...]
    truth: Truth
    scores: Scores  # (N, L)
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

    @property
    def is_multi_label(self) -> bool:
        """Whether a clip may have several labels."""
        return self.truth.ndim > 1

    @property
    def has_label(self) -> np.ndarray:
        """Which labels each clip has, (N, L)."""
        return has_label(self.truth, len(self.labels))

    def said(self, scores: np.ndarray) -> str:
        """What a clip with such scores (L,) is taken for: the label with the highest, or each that scores `SAID`."""
        if self.is_multi_label:
            return several_labels(n for n, score in zip(self.labels, scores, strict=True) if score >= SAID)
        return self.labels[int(scores.argmax())]

    def shown(self, clip: int) -> str:
        """The label or labels of a clip."""
        return several_labels(n for n, has in zip(self.labels, self.has_label[clip], strict=True) if has)


@dataclass(frozen=True, slots=True)
class WindowScores:
    """Labelled clips and a model's scores of each of their windows; a clip's score is the mean over its windows.

    Where windows are counted one by one, each counts 1 / W, so that every clip counts alike, however long it is.
    """

    labels: tuple[str, ...]
    truth: Truth
    #: For each clip (W, L).
    scores: tuple[Scores, ...]
    groups: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def is_multi_label(self) -> bool:
        """Whether a clip may have several labels."""
        return self.truth.ndim > 1

    @property
    def has_label(self) -> np.ndarray:
        """Which labels each clip has, (N, L)."""
        return has_label(self.truth, len(self.labels))

    def by_clip(self, calibration: float | np.ndarray | None = None) -> ClipScores:
        """Mean scores of each clip, calibrated as `scaled` does it; as they are if None."""
        windows = self if calibration is None else self.scaled(calibration)
        means = np.stack([rows.mean(0) for rows in windows.scores])
        return ClipScores(self.labels, self.truth, means, self.groups, self.names)

    def scaled(self, calibration: float | np.ndarray) -> WindowScores:
        """The scores with logits divided by one temperature, or by one for each clip (N,).

        Where a clip may have several labels: by the temperatures and offsets of labels, (L, 2), or those for each clip,
        (N, L, 2), as `models.Platt` says.
        """
        count, of_labels = len(self.scores), (len(self.labels), 2)
        if self.is_multi_label:
            each = np.broadcast_to(calibration, (count, *of_labels))
            return replace(self, scores=tuple(map(apply_platt, self.scores, each)))
        each = np.broadcast_to(calibration, count)
        return replace(self, scores=tuple(map(apply_temperature, self.scores, each)))

    def log_loss(self) -> float:
        """Mean over clips of the mean negative log-likelihood of their windows; of several labels the sum."""
        if self.is_multi_label:
            return float(np.mean([_cross_entropy(*of) for of in zip(self.scores, self.truth, strict=True)]))
        own = zip(self.scores, self.truth, strict=True)
        return float(np.mean([-np.log(np.maximum(rows[:, label], LEAST_SCORE)).mean() for rows, label in own]))

    def by_window(self) -> tuple[Truth, Scores, np.ndarray]:
        """Truth (M,) or (M, L), scores (M, L) and clip (M,), an index, of each window."""
        clips = np.repeat(np.arange(len(self.scores)), [len(rows) for rows in self.scores])
        return self.truth[clips], np.concatenate(self.scores), clips

    def window_weights(self) -> np.ndarray:
        """What each window counts, (M,): those of a clip add up to 1."""
        return np.concatenate([np.full(len(rows), 1 / len(rows)) for rows in self.scores])

    def only(self, chosen: np.ndarray) -> WindowScores:
        """Keep the clips for which `chosen` (N,) is true."""
        rows = np.flatnonzero(chosen)
        return WindowScores(
            self.labels,
            self.truth[rows],
            tuple(self.scores[i] for i in rows),
            tuple(self.groups[i] for i in rows),
            tuple(self.names[i] for i in rows),
        )


def has_label(truth: Truth, labels: int) -> np.ndarray:
    """Which of so many labels each clip has, (N, L)."""
    has: np.ndarray = truth if truth.ndim > 1 else np.eye(labels, dtype=bool)[truth]
    return has


def logits_of(scores: Scores) -> Scores:
    """The logits of scores (W, L) that are each of their own."""
    logits: Scores = np.log(np.maximum(scores, LEAST_SCORE)) - np.log(np.maximum(1 - scores, LEAST_SCORE))
    return logits


def apply_platt(scores: Scores, platt: np.ndarray) -> Scores:
    """Scores (W, L), each of its own, with a temperature and an offset for each label (L, 2)."""
    calibrated: Scores = expit(logits_of(scores) / platt[:, 0] + platt[:, 1])
    return calibrated


def _cross_entropy(scores: Scores, has: np.ndarray) -> float:
    """Mean over windows (W, L) of the sum over labels, of which the clip has some (L,)."""
    likely = np.where(has, scores, 1 - scores)
    return float(-np.log(np.maximum(likely, LEAST_SCORE)).sum(1).mean())


def apply_temperature(scores: Scores, temperature: float) -> Scores:
    """Scores (W, L) as they would be with the logits divided by `temperature`."""
    logits = np.log(np.maximum(scores, LEAST_SCORE)) / temperature
    exponent = np.exp(logits - logits.max(1, keepdims=True))
    scaled: Scores = exponent / exponent.sum(1, keepdims=True)
    return scaled
