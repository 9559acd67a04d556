"""Make scores mean what they say: temperature scaling, or a calibration of each label, and thresholds for a rate of
false alarms.

Both are fitted to windows, since a window is what is scored and compared with a threshold when a model serves: the mean
over a clip is less extreme than its windows are. A clip counts 1, however many windows it has.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from sklearn.model_selection import GroupKFold

from models.contract import Contract, Platt, Threshold

from .scores import Labels, Scores, WindowScores, has_label, logits_of

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


def fit_platt(clips: WindowScores) -> np.ndarray:
    """Temperature and offset of each label (L, 2), where a clip may have several (Platt, 1999).

    Minimises the negative log-likelihood of the windows, each label by itself. What has the label is to score a little
    less than 1, and what has not a little more than 0, by how many clips there are of either (Platt's section 2.3):
    where all are right, scores stay finite.
    """
    truth, scores, _ = clips.by_window()
    weights, logits = clips.window_weights(), logits_of(scores)
    found = []
    for has, x, own in zip(truth.T, logits.T, clips.truth.T, strict=True):
        positives = own.sum()
        wanted = np.where(has, (positives + 1) / (positives + 2), 1 / (len(own) - positives + 2))

        def loss(of: np.ndarray, x: np.ndarray = x, wanted: np.ndarray = wanted) -> float:
            z = x / np.exp(of[0]) + of[1]
            return float(weights @ (np.logaddexp(0, z) - wanted * z))

        best = minimize(loss, (0.0, 0.0), method="L-BFGS-B", bounds=((math.log(0.1), math.log(10)), (-20, 20)))
        found.append((math.exp(best.x[0]), best.x[1]))
    return np.array(found)


def fit_calibration(clips: WindowScores) -> float | np.ndarray:
    """What `WindowScores.scaled` takes: a temperature, or a calibration of each label where a clip may have several."""
    return fit_platt(clips) if clips.is_multi_label else fit_temperature(clips)


def fit_held_out_calibrations(clips: WindowScores) -> np.ndarray:
    """For each clip a calibration that was fitted to clips of other groups, (N,) or (N, L, 2).

    NaN if there is only one group.
    """
    of_clip = (len(clips.labels), 2) if clips.is_multi_label else ()
    calibrations = np.full((len(clips.truth), *of_clip), np.nan)
    parts = min(_PARTS, len(set(clips.groups)))
    if parts > 1:
        for others, part in GroupKFold(parts).split(clips.truth, groups=clips.groups):
            chosen = np.zeros(len(clips.truth), bool)
            chosen[others] = True
            calibrations[part] = fit_calibration(clips.only(chosen))
    return calibrations


def recalibrated(contract: Contract, calibration: float | np.ndarray) -> Contract:
    """The contract with scores calibrated once more, by what `fit_calibration` gave for its scores as they are."""
    if isinstance(calibration, float):
        return replace(contract, temperature=round(contract.temperature * calibration, 4))
    before = {label: contract.calibration.get(label, Platt()) for label in contract.labels}
    after = {
        # The logits that were calibrated are z / T + b; now they are (z / T + b) / t + o.
        label: Platt(
            round(before[label].temperature * temperature, 4), round(before[label].offset / temperature + offset, 4)
        )
        for label, (temperature, offset) in zip(contract.labels, calibration.tolist(), strict=True)
    }
    return replace(contract, calibration=after)


def choose_thresholds(clips: WindowScores, quiet: Sequence[str], false_alarm_rate: float) -> dict[str, Threshold]:
    """Choose, for each label that is not `quiet`, the lowest start that at most this share of the other windows passes.

    Every clip counts alike, whatever its number of windows. An event ends at 0.6 of the score at which it starts, so
    that it does not flicker.
    """
    truth, scores, _ = clips.by_window()
    has = has_label(truth, len(clips.labels))
    weights = clips.window_weights()
    chosen = {}
    for index, label in enumerate(clips.labels):
        if label not in quiet:
            other = ~has[:, index]
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
