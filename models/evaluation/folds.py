"""Cross-validation splits that keep the clips of one scene together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold


def each_label(truth: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each label that occurs, an index, and whether each clip (N,) has it; truth is (N,) or (N, L)."""
    if truth.ndim > 1:
        yield from ((int(k), truth[:, k]) for k in np.flatnonzero(truth.any(0)))
    else:
        yield from ((int(k), truth == k) for k in np.unique(truth))


def split_by_group(truth: np.ndarray, groups: np.ndarray, folds: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Indices (train, held out) of each fold; no group is in both, and labels are spread evenly.

    There are as many folds as `possible_folds` says.

    Args:
        truth: (N,) the label of each clip, or (N, L) which labels it has.
        groups: (N,) clips of one group show the same scene.
        folds: how many are wanted.
        seed: the same seed gives the same split.
    """
    if truth.ndim > 1:
        return _split_several(truth, groups, folds, seed)
    splitter = StratifiedGroupKFold(possible_folds(truth, groups, folds), shuffle=True, random_state=seed)
    return list(splitter.split(truth, truth, groups))


def _split_several(truth: np.ndarray, groups: np.ndarray, folds: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The same of clips with several labels (N, L).

    Iterative stratification (Sechidis et al., ECML PKDD 2011) of groups: those of the label that fewest have left come
    first, and each goes where fewest clips of that label are, and of these where fewest clips are at all.
    """
    names, member = np.unique(groups, return_inverse=True)
    of_group = np.zeros((len(names), truth.shape[1]))  # clips of each label
    np.add.at(of_group, member, truth)
    sizes = np.bincount(member)
    owned = [(k, g) for k, has in each_label(truth) for g in np.unique(groups[has])]
    count = possible_folds([k for k, _ in owned], [g for _, g in owned], folds)
    left = np.random.default_rng(seed).permutation(len(names))
    filled, total = np.zeros((count, truth.shape[1])), np.zeros(count)
    fold_of = np.zeros(len(names), int)
    while len(left):
        waiting = (of_group[left] > 0).sum(0)
        label = int(np.where(waiting > 0, waiting, len(names) + 1).argmin())
        own = left[of_group[left, label] > 0] if waiting.any() else left  # at last what has no label
        # The largest first: what is small can even out what they leave uneven.
        for group in own[np.argsort(-of_group[own, label], kind="stable")]:
            fold = np.lexsort((total, filled[:, label]))[0] if waiting.any() else total.argmin()
            fold_of[group] = fold
            filled[fold] += of_group[group]
            total[fold] += sizes[group]
        left = np.setdiff1d(left, own, assume_unique=True)
    held = fold_of[member]
    return [(np.flatnonzero(held != fold), np.flatnonzero(held == fold)) for fold in range(count)]


def some_groups(truth: np.ndarray, groups: np.ndarray, share: float, seed: int, least: int = 1) -> np.ndarray:
    """Whether each clip (N,) is of the groups that are kept when a share of each label's groups is.

    A smaller share keeps some of the groups that a larger one keeps. Of a label at least so many groups are kept as
    there are, or as `least` says.

    Args:
        truth: (N,) the label of each clip, or (N, L) which labels it has.
        groups: (N,) clips of one group show the same scene.
        share: above 0, up to 1.
        seed: the same seed keeps the same groups.
        least: groups of each label that are always kept.
    """
    order = np.random.default_rng(seed).permutation(np.unique(groups))
    kept: set[str] = set()
    for _, has in each_label(truth):
        own = set(groups[has])
        in_order = [g for g in order if g in own]
        kept.update(in_order[: max(least, math.ceil(share * len(own)))])
    return np.isin(groups, list(kept))


def possible_folds(labels: Sequence[Any] | np.ndarray, groups: Sequence[str] | np.ndarray, folds: int) -> int:
    """How many of the wanted folds there can be: at most as many as the label with the fewest groups has groups."""
    found: dict[Any, set[str]] = {}
    for label, group in zip(labels, groups, strict=True):
        found.setdefault(label, set()).add(group)
    return min([folds, *(len(g) for g in found.values())])
