"""Make scores mean what they say: temperature scaling, and thresholds for a rate of false alarms.

Both are fitted to windows, since a window is what is scored and compared with a threshold when a model serves: the mean
over a clip is less extreme than its windows are. A clip counts 1, however many windows it has.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.model_selection import GroupKFold

from models.contract import Threshold

from .scores import Labels, Scores, WindowScores

CALIBRATION_BINS: Final = 10
_HYSTERESIS: Final = 0.6
_ROUNDING: Final = 1e-9
#: Parts of the clips, each scored with the temperature that was fitted to the others.
_PARTS: Final = 5


def fit_temperature(clips: WindowScores) -> float:
    """Fit the temperature that makes confidence meet accuracy (Guo et al., ICML 2017, 4.2).

    Minimises the negative log-likelihood of the windows; softmax scores hold logits up to a constant that does not
    matter.
    """

    def loss(log_temperature: float) -> float:
        return clips.scaled(float(np.exp(log_temperature))).log_loss()

    found = minimize_scalar(loss, bounds=(np.log(0.1), np.log(10.0)), method="bounded")
    return float(np.exp(found.x))


def fit_held_out_temperatures(clips: WindowScores) -> np.ndarray:
    """For each clip (N,) a temperature that was fitted to clips of other groups; NaN if there is only one group."""
    temperatures = np.full(len(clips.truth), np.nan)
    parts = min(_PARTS, len(set(clips.groups)))
    if parts > 1:
        for others, part in GroupKFold(parts).split(clips.truth, groups=clips.groups):
            chosen = np.zeros(len(clips.truth), bool)
            chosen[others] = True
            temperatures[part] = fit_temperature(clips.only(chosen))
    return temperatures


def choose_thresholds(clips: WindowScores, quiet: Sequence[str], false_alarm_rate: float) -> dict[str, Threshold]:
    """Choose, for each label that is not `quiet`, the lowest start that at most this share of the other windows passes.

    Every clip counts alike, whatever its number of windows. An event ends at 0.6 of the score at which it starts, so
    that it does not flicker.
    """
    truth, scores, _ = clips.by_window()
    weights = clips.window_weights()
    chosen = {}
    for index, label in enumerate(clips.labels):
        if label not in quiet:
            other = truth != index
            start = _start_above(scores[other, index], weights[other], false_alarm_rate)
            chosen[label] = Threshold(start, round(_HYSTERESIS * start, 3))
    return chosen


def _start_above(scores: np.ndarray, weights: np.ndarray, rate: float) -> float:
    """Just above the highest score that must not pass, in thousandths; one half where all may pass.

    Scores (M,) of windows that are to raise no alarm, and what each counts (M,).
    """
    order = np.argsort(-scores, kind="stable")
    passing = np.cumsum(weights[order])  # with each score, and all above it
    # Sums of thirds and sevenths miss a whole number by a rounding error.
    beyond = np.flatnonzero(passing > rate * weights.sum() + _ROUNDING)
    if not len(beyond):
        return 0.5
    return min(1.0, (math.floor(float(scores[order[beyond[0]]]) * 1000) + 1) / 1000)


def calibration_error(truth: Labels, scores: Scores) -> float:
    """Expected calibration error (Guo et al., ICML 2017, eq. 3): how far confidence is from accuracy, in 10 bins."""
    confidence, right = scores.max(1), scores.argmax(1) == truth
    bins = calibration_bins(confidence)
    error = 0.0
    for b in np.unique(bins):
        inside = bins == b
        error += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    return float(error)


def calibration_bins(confidence: np.ndarray) -> np.ndarray:
    """Which of ten equal parts of 0 to 1 each confidence falls into."""
    bins: np.ndarray = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    return bins
