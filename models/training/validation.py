"""The result of cross-validation: how good the recipe is on held-out videos, and what a checkpoint keeps of that."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from models.contract import Contract, Threshold
from models.errors import TrainingError
from models.evaluation.alarms import FALSE_WINDOWS, held_out_wrong_windows, with_alarms
from models.evaluation.calibration import choose_thresholds, fit_calibration, fit_held_out_calibrations, recalibrated
from models.evaluation.figures import Evaluation, Figure, evaluate
from models.evaluation.ranking import FALSE_ALARM_PERCENTS, recall_name
from models.evaluation.scores import ClipScores, WindowScores
from models.networks.zoo import describe
from models.windows.views import SETTLING_ODDS

from .loop import CurvePoint
from .recipe import Recipe

#: Share of the other clips' windows that may pass a threshold: so many, since an event takes several in a row.
_FALSE_ALARM_RATE: Final = 0.1
#: Figures that a checkpoint keeps, of those that there are.
_TOLD: Final = ("accuracy", "balanced_accuracy", "macro_f1", "mean_average_precision", "auc")
_ALARMS: Final = (*map(recall_name, FALSE_ALARM_PERCENTS), FALSE_WINDOWS)


@dataclass(frozen=True, slots=True)
class CrossValidation:
    """Held-out scores of the counted videos, and the figures, calibration and thresholds that follow from them."""

    #: Of each counted video, from the model that did not learn from it.
    scores: ClipScores
    evaluation: Evaluation
    #: As `WindowScores.scaled` takes it: a temperature, or that and an offset for each label (L, 2).
    calibration: float | np.ndarray
    thresholds: Mapping[str, Threshold]
    #: How many epochs the kept weights had seen, on average over the folds; 0 if the model is fitted in one step.
    epochs: int
    #: Share of the time that training waited for data.
    waiting: float
    #: How the models of the folds learnt, on average; nothing if they were fitted in one step.
    curve: tuple[CurvePoint, ...] = ()

    def metrics(self) -> dict[str, Any]:
        """Figures for a checkpoint's metadata."""
        return metrics_of(self.evaluation)


def metrics_of(evaluation: Evaluation) -> dict[str, Any]:
    """Figures for a checkpoint's metadata; None where the videos do not allow one, or an interval."""
    found = evaluation.figures
    values = {
        **{name: found[name].value for name in (*_TOLD, *_ALARMS) if name in found},
        "calibration_error": found["calibration_error"].value,
        "low": evaluation.main.low,
        "high": evaluation.main.high,
    }
    return {
        "videos": evaluation.clips,
        "groups": evaluation.groups,
        **{name: None if np.isnan(value) else round(value, 4) for name, value in values.items()},
    }


def summarise(
    held: WindowScores,
    counted: np.ndarray,
    recipe: Recipe,
    *,
    epochs: int = 0,
    waiting: float = 0.0,
    curve: tuple[CurvePoint, ...] = (),
) -> CrossValidation:
    """Fit calibration and thresholds to the held-out windows of the `counted` clips (N,), and compute their figures.

    What is not counted, such as rendered scenes, is not what the model will be served.

    The calibration error is that of windows calibrated by clips of other groups: what is fitted to all clips would make
    it small on the very clips that it was fitted to. NaN where all clips are of one group.

    Raises:
        TrainingError: none is counted.
    """
    if not counted.any():
        raise TrainingError("none of the held-out videos is one of those to be counted")
    windows = held.only(counted)
    calibration = fit_calibration(windows)
    thresholds = choose_thresholds(windows.scaled(calibration), recipe.quiet, _FALSE_ALARM_RATE)
    scores = windows.by_clip(calibration)
    others = fit_held_out_calibrations(windows)
    if np.isnan(others).any():
        evaluation = evaluate(scores, seed=recipe.seed)
        unknown = {"calibration_error": Figure(math.nan, math.nan, math.nan)}
        evaluation = replace(evaluation, figures={**evaluation.figures, **unknown})
    else:
        evaluation = evaluate(scores, windows.scaled(others), seed=recipe.seed)
    wrong = held_out_wrong_windows(windows, recipe.quiet, _FALSE_ALARM_RATE)
    evaluation = with_alarms(evaluation, scores, wrong, recipe.quiet, seed=recipe.seed)
    return CrossValidation(scores, evaluation, calibration, thresholds, epochs, waiting, curve)


def mean_curve(curves: Sequence[Sequence[CurvePoint]]) -> tuple[CurvePoint, ...]:
    """The mean over folds of each epoch, as far as all of them learnt."""
    points = []
    for of_epoch in zip(*curves, strict=False):  # with --patience some stop earlier
        held_out = [p.held_out for p in of_epoch if p.held_out is not None]
        loss = float(np.mean([p.loss for p in of_epoch]))
        points.append(CurvePoint(of_epoch[0].epoch, loss, float(np.mean(held_out)) if held_out else None))
    return tuple(points)


def contract_of(
    recipe: Recipe,
    architecture: str,
    labels: tuple[str, ...],
    validation: CrossValidation | None,
    provenance: Mapping[str, Any],
    *,
    learns_all_looks: bool = False,
) -> Contract:
    """The contract of a model that was trained by `recipe`, with calibration and thresholds from held-out scores.

    Without these, its scores are taken as they are, and it has neither thresholds nor figures.
    """
    designed = describe(recipe.architecture)
    mean, std = designed.statistics
    contract = Contract(
        architecture=architecture,
        labels=labels,
        frames=recipe.frames,
        spacing_seconds=recipe.spacing_seconds,
        height=recipe.size,
        width=recipe.size,
        fit=recipe.fit,
        mean=mean,
        std=std,
        views=designed.views,
        settling_odds=SETTLING_ODDS if learns_all_looks and designed.views == 2 and not recipe.multi_label else 0.0,
        context=describe(architecture).context,
        multi_label=recipe.multi_label,
        thresholds={} if validation is None else validation.thresholds,
        training=provenance,
        metrics={} if validation is None else validation.metrics(),
    )
    return contract if validation is None else recalibrated(contract, validation.calibration)
