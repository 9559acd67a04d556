"""How a model alarms: what it finds at a rate of false alarms that people bear, and how often it is wrong.

A clip alarms when the highest of its scores of labels that raise events passes a threshold. False alarms are counted on
clips of quiet labels; mistaking one event for another is what accuracy is for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from sklearn.model_selection import GroupKFold

from models.contract import Threshold

from .bootstrap import ROUNDS, Floats, weight_blocks
from .calibration import choose_thresholds, fit_calibration
from .figures import Evaluation, figure_of
from .ranking import FALSE_ALARM_PERCENTS, recall_at, recall_name
from .scores import ClipScores, WindowScores

#: Share of the windows of quiet clips that pass a threshold.
FALSE_WINDOWS: Final = "false_windows"
#: Parts of the clips, each judged by thresholds that were fitted to the others.
_PARTS: Final = 5


def with_alarms(
    evaluation: Evaluation,
    clips: ClipScores,
    wrong: np.ndarray,
    quiet: Collection[str],
    *,
    seed: int = 0,
    rounds: int = ROUNDS,
) -> Evaluation:
    """The evaluation with the figures of alarms, each with an interval from drawing whole groups.

    Args:
        evaluation: the figures of `clips`.
        clips: what is judged.
        wrong: (N,) for each clip the share of its windows that pass a threshold of another label, as `wrong_windows`
            and `held_out_wrong_windows` give it; NaN where nothing is known.
        quiet: the labels that raise no events. Without clips of these, or without others, figures are NaN.
        seed: the same seed gives the same draws.
        rounds: how many draws an interval is from.
    """
    is_quiet = np.isin(np.array(clips.labels), list(quiet))
    negative = np.logical_not(clips.has_label[:, ~is_quiet].any(axis=1))
    score = clips.scores[:, ~is_quiet].max(1, initial=0.0)
    known = negative & ~np.isnan(wrong)

    def figures(weights: Floats) -> dict[str, Floats]:
        return {
            **{recall_name(p): recall_at(p / 100, negative, score, weights) for p in FALSE_ALARM_PERCENTS},
            FALSE_WINDOWS: _mean(wrong[known], weights[:, known]),
        }

    once = figures(np.ones((1, len(negative))))
    drawn = [figures(block) for block in weight_blocks(clips.groups, rounds, seed)]
    found = {n: figure_of(float(v[0]), np.concatenate([d[n] for d in drawn])) for n, v in once.items()}
    return replace(evaluation, figures={**evaluation.figures, **found})


def wrong_windows(windows: WindowScores, thresholds: Mapping[str, Threshold]) -> np.ndarray:
    """For each clip (N,) the share of its windows in which a label that it does not have passes its threshold.

    NaN where no label has a threshold.
    """
    if not thresholds:
        return np.full(len(windows.truth), np.nan)
    starts = np.array([thresholds[n].start if n in thresholds else np.inf for n in windows.labels])
    shares = []
    for has, rows in zip(windows.has_label, windows.scores, strict=True):
        passes = rows >= starts
        passes[:, has] = False
        shares.append(passes.any(1).mean())
    return np.array(shares)


def held_out_wrong_windows(windows: WindowScores, quiet: Sequence[str], false_alarm_rate: float) -> np.ndarray:
    """`wrong_windows` of each clip by a temperature and thresholds that were fitted to clips of other groups.

    Thresholds that are fitted to the same clips let pass what they were told to, so that says nothing. NaN if there is
    only one group.
    """
    shares = np.full(len(windows.truth), np.nan)
    parts = min(_PARTS, len(set(windows.groups)))
    if parts < 2:
        return shares
    for others, part in GroupKFold(parts).split(windows.truth, groups=windows.groups):
        chosen = np.zeros(len(shares), bool)
        chosen[others] = True
        rest = windows.only(chosen)
        calibration = fit_calibration(rest)
        thresholds = choose_thresholds(rest.scaled(calibration), quiet, false_alarm_rate)
        shares[part] = wrong_windows(windows.only(~chosen).scaled(calibration), thresholds)
    return shares


def _mean(values: Floats, weights: Floats) -> Floats:
    """Means of the values (N,) under each draw (R,); NaN where none is drawn."""
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Floats = weights @ values / weights.sum(1)
    return mean
