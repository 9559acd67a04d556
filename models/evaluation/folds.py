"""Cross-validation splits that keep the clips of one scene together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold


def split_by_group(truth: np.ndarray, groups: np.ndarray, folds: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Indices (train, held out) of each fold; no group is in both, and labels are spread evenly.

    There are as many folds as `possible_folds` says.

    Args:
        truth: (N,) the label of each clip.
        groups: (N,) clips of one group show the same scene.
        folds: how many are wanted.
        seed: the same seed gives the same split.
    """
    splitter = StratifiedGroupKFold(possible_folds(truth, groups, folds), shuffle=True, random_state=seed)
    return list(splitter.split(truth, truth, groups))


def possible_folds(labels: Sequence[Any] | np.ndarray, groups: Sequence[str] | np.ndarray, folds: int) -> int:
    """How many of the wanted folds there can be: at most as many as the label with the fewest groups has groups."""
    found: dict[Any, set[str]] = {}
    for label, group in zip(labels, groups, strict=True):
        found.setdefault(label, set()).add(group)
    return min([folds, *(len(g) for g in found.values())])
