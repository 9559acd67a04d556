"""Scores of labelled clips: what every figure is computed from.

WindowScores   for each clip the scores of its windows (W, L)
   │  by_clip(temperature)
   ▼
ClipScores     one row (L,) a clip: the mean over its windows
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Scores = np.ndarray[tuple[int, int], np.dtype[np.floating[Any]]]
Labels = np.ndarray[tuple[int], np.dtype[np.integer[Any]]]


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

    def log_loss(self) -> float:
        """Mean negative log-likelihood of the truth."""
        return float(-np.log(np.maximum(self.scores[np.arange(len(self.truth)), self.truth], 1e-12)).mean())


@dataclass(frozen=True, slots=True)
class WindowScores:
    """Labelled clips and a model's scores of each of their windows; a clip's score is the mean over its windows."""

    labels: tuple[str, ...]
    truth: Labels  # (N,)
    #: For each clip (W, L), rows sum to one.
    scores: tuple[Scores, ...]
    groups: tuple[str, ...]
    names: tuple[str, ...]

    def by_clip(self, temperature: float | np.ndarray = 1.0) -> ClipScores:
        """Mean scores of each clip, with logits divided by one temperature or by one for each clip (N,)."""
        each = np.broadcast_to(temperature, len(self.scores))
        means = [apply_temperature(w, t).mean(0) for w, t in zip(self.scores, each, strict=True)]
        return ClipScores(self.labels, self.truth, np.stack(means), self.groups, self.names)

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
    logits = np.log(np.maximum(scores, 1e-12)) / temperature
    exponent = np.exp(logits - logits.max(1, keepdims=True))
    scaled: Scores = exponent / exponent.sum(1, keepdims=True)
    return scaled
