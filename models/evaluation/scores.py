"""Scores of labelled clips: what every figure is computed from.

WindowScores   for each clip the scores of its windows (W, L): what is served
   │  by_clip(temperature)
   ▼
ClipScores     one row (L,) a clip: the mean over its windows
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

Scores = np.ndarray[tuple[int, int], np.dtype[np.floating[Any]]]
Labels = np.ndarray[tuple[int], np.dtype[np.integer[Any]]]
#: A score of 0 has no logarithm.
LEAST_SCORE: Final = 1e-12


@dataclass(frozen=True, slots=True)
class ClipScores:
    """Labelled clips and a model's scores of them; row i of everything belongs to clip i."""

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


@dataclass(frozen=True, slots=True)
class WindowScores:
    """Labelled clips and a model's scores of each of their windows; a clip's score is the mean over its windows.

    Where windows are counted one by one, each counts 1 / W, so that every clip counts alike, however long it is.
    """

    labels: tuple[str, ...]
    truth: Labels  # (N,)
    #: For each clip (W, L), rows sum to one.
    scores: tuple[Scores, ...]
    groups: tuple[str, ...]
    names: tuple[str, ...]

    def by_clip(self, temperature: float | np.ndarray = 1.0) -> ClipScores:
        """Mean scores of each clip, with logits divided by one temperature or by one for each clip (N,)."""
        means = np.stack([rows.mean(0) for rows in self.scaled(temperature).scores])
        return ClipScores(self.labels, self.truth, means, self.groups, self.names)

    def scaled(self, temperature: float | np.ndarray) -> WindowScores:
        """The scores with logits divided by one temperature, or by one for each clip (N,)."""
        each = np.broadcast_to(temperature, len(self.scores))
        return replace(self, scores=tuple(map(apply_temperature, self.scores, each)))

    def log_loss(self) -> float:
        """Mean over clips of the mean negative log-likelihood of their windows."""
        own = zip(self.scores, self.truth, strict=True)
        return float(np.mean([-np.log(np.maximum(rows[:, label], LEAST_SCORE)).mean() for rows, label in own]))

    def by_window(self) -> tuple[Labels, Scores, np.ndarray]:
        """Truth (M,), scores (M, L) and clip (M,), an index, of each window."""
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


def apply_temperature(scores: Scores, temperature: float) -> Scores:
    """Scores (W, L) as they would be with the logits divided by `temperature`."""
    logits = np.log(np.maximum(scores, LEAST_SCORE)) / temperature
    exponent = np.exp(logits - logits.max(1, keepdims=True))
    scaled: Scores = exponent / exponent.sum(1, keepdims=True)
    return scaled
