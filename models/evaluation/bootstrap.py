"""Intervals by drawing whole groups with replacement (Efron, 1979; for clusters Field and Welsh, 2007).

    groups     a a b c c c       clips of one scene, or everything in one file
    a draw     b a a             as many groups as there are, some more than once
    weights    2 2 1 0 0 0       how often each clip is drawn

Every figure of a classifier is a function of such weights, so that a thousand draws are a few products of matrices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from scipy.stats import beta

#: Draws for an interval.
ROUNDS: Final = 1000
#: Weights at a time: figures of them take a few times as much memory.
_BLOCK: Final = 2_000_000

Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]


def draw_groups(count: int, rounds: int, seed: int) -> np.ndarray:
    """Draw `count` of `count` groups in each round: their indices (R, count).

    No draws, (0, count), of a single group: all would be alike, and an interval of width zero looks like certainty.
    """
    generator = np.random.default_rng(seed)
    return generator.integers(count, size=(rounds if count > 1 else 0, count))


def draw_weights(groups: Sequence[str], rounds: int, seed: int) -> Floats:
    """How often each clip is drawn in each round, (R, N): groups are drawn with all of their clips.

    No draws, (0, N), of a single group, as `draw_groups` says.
    """
    return np.concatenate(list(weight_blocks(groups, rounds, seed)))


def weight_blocks(groups: Sequence[str], rounds: int, seed: int) -> Iterator[Floats]:
    """Yield the rows of `draw_weights` some at a time: all of a day's windows would be a kilobyte each.

    The first block has no rows if there are no draws at all.
    """
    # By number, since a string each for a million windows is more than their scores.
    numbers = {group: number for number, group in enumerate(sorted(set(groups)))}
    member = np.fromiter((numbers[group] for group in groups), np.intp, len(groups))
    drawn = draw_groups(len(numbers), rounds, seed)
    at_once = max(1, _BLOCK // len(member))
    for begin in range(0, max(1, len(drawn)), at_once):
        part = drawn[begin : begin + at_once]
        weights = np.zeros((len(part), len(numbers)))
        np.add.at(weights, (np.arange(len(part))[:, None], part), 1.0)
        yield weights[:, member]


def exact_interval(right: int, of: int) -> tuple[float, float]:
    """95 % interval of a share, after Clopper and Pearson (1934): also where all are right, or none."""
    low = float(beta.ppf(0.025, right, of - right + 1)) if right else 0.0
    high = float(beta.ppf(0.975, right + 1, of - right)) if right < of else 1.0
    return low, high


def interval(drawn: Floats | Sequence[float]) -> tuple[float, float]:
    """The middle 95 % of what was drawn, NaN left out; NaN where nothing could be computed."""
    values = np.asarray(drawn, float)
    known = values[~np.isnan(values)]
    if not len(known):
        return float("nan"), float("nan")
    return float(np.quantile(known, 0.025)), float(np.quantile(known, 0.975))
