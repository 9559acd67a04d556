"""Cross-validation splits that keep the clips of one scene together."""

from __future__ import annotations

import math
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


def some_groups(truth: np.ndarray, groups: np.ndarray, share: float, seed: int, least: int = 1) -> np.ndarray:
    """Whether each clip (N,) is of the groups that are kept when a share of each label's groups is.

    A smaller share keeps some of the groups that a larger one keeps. Of a label at least so many groups are kept as
    there are, or as `least` says.

    Args:
        truth: (N,) the label of each clip.
        groups: (N,) clips of one group show the same scene.
        share: above 0, up to 1.
        seed: the same seed keeps the same groups.
        least: groups of each label that are always kept.
    """
    order = np.random.default_rng(seed).permutation(np.unique(groups))
    kept: set[str] = set()
    for label in np.unique(truth):
        own = set(groups[truth == label])
        in_order = [g for g in order if g in own]
        kept.update(in_order[: max(least, math.ceil(share * len(own)))])
    return np.isin(groups, list(kept))


def possible_folds(labels: Sequence[Any] | np.ndarray, groups: Sequence[str] | np.ndarray, folds: int) -> int:
    """How many of the wanted folds there can be: at most as many as the label with the fewest groups has groups."""
    found: dict[Any, set[str]] = {}
    for label, group in zip(labels, groups, strict=True):
        found.setdefault(label, set()).add(group)
    return min([folds, *(len(g) for g in found.values())])
