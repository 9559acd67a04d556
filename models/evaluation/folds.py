"""What is learnt from and what came of it: labelled videos, folds that keep scenes apart, held-out scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from models.contract import Contract, Threshold
from models.errors import TrainingError
from models.networks.zoo import statistics
from models.training.recipe import Recipe

from .figures import Evaluation, Figure, Judged, WindowScores, choose_thresholds, evaluate

#: A single window is let through this easily because a tracker wants several in a row.
_FALSE_ALARM_RATE: Final = 0.1


@dataclass(frozen=True, slots=True)
class Footage:
    """One labelled video: (N, H, W, 3) uint8, sampled every `spacing / OVERSAMPLE` seconds."""

    name: str
    label: str
    #: Videos of one group show the same scene; a split never divides a group.
    group: str
    frames: np.ndarray


@dataclass(frozen=True, slots=True)
class Outcome:
    """Held-out scores of every video that was held out and counted, and what follows from them."""

    judged: Judged
    evaluation: Evaluation
    temperature: float
    thresholds: Mapping[str, Threshold]
    #: After how many epochs the weights that were kept had been reached, on average over the folds.
    epochs: int
    #: Share of the time that training waited for data.
    waiting: float

    def metrics(self) -> dict[str, Any]:
        """What a checkpoint says of itself; None where the videos do not allow a figure, or a bound of the accuracy."""
        found = self.evaluation.figures
        values = {
            **{name: found[name].value for name in ("accuracy", "balanced_accuracy", "macro_f1", "auc")},
            "calibration_error": found["calibration_error"].value,
            "low": found["accuracy"].low,
            "high": found["accuracy"].high,
        }
        return {
            "videos": self.evaluation.clips,
            "groups": self.evaluation.groups,
            **{name: None if np.isnan(value) else round(value, 4) for name, value in values.items()},
        }


def check_footage(footage: Sequence[Footage], quiet: Sequence[str]) -> tuple[str, ...]:
    """Return the labels, those that never alarm first.

    Raises:
        TrainingError: fewer than two labels, or a label that cannot be both learnt and held out.
    """
    labels = tuple(sorted({f.label for f in footage}, key=lambda n: (n not in quiet, n)))
    if len(labels) < 2:
        raise TrainingError(f"labels {labels}: expected at least two, to tell apart")
    for label in labels:
        videos = [f for f in footage if f.label == label]
        if len(videos) == 1:
            raise TrainingError(f"label {label!r}: one video only ({videos[0].name}), so none can be held out")
        if len(groups := {f.group for f in videos}) < 2:
            raise TrainingError(
                f"label {label!r}: all of its footage is of one group ({groups.pop()!r}), so none can be held out"
            )
    return labels


def possible_folds(labels: Sequence[Any] | np.ndarray, groups: Sequence[str] | np.ndarray, folds: int) -> int:
    """How many of the wanted folds there can be: at most as many as the label with the fewest groups has groups."""
    found: dict[Any, set[str]] = {}
    for label, group in zip(labels, groups, strict=True):
        found.setdefault(label, set()).add(group)
    return min([folds, *(len(g) for g in found.values())])


def split_by_group(truth: np.ndarray, groups: np.ndarray, folds: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Indices (train, held out) of each fold; no group is in both, and labels are spread evenly.

    There are as many as `possible_folds` says.
    """
    splitter = StratifiedGroupKFold(possible_folds(truth, groups, folds), shuffle=True, random_state=seed)
    return list(splitter.split(truth, truth, groups))


def summarise(
    held: WindowScores, counted: np.ndarray, recipe: Recipe, *, epochs: int = 0, waiting: float = 0.0
) -> Outcome:
    """What held-out scores say: temperature and thresholds from all of them, figures from those `counted` (N,).

    The calibration error is of scores at temperatures that were fitted to other groups: the one from all makes it small
    on the very clips that it was fitted to. NaN where all clips are of one group.

    Raises:
        TrainingError: none is counted.
    """
    if not counted.any():
        raise TrainingError("none of the held-out videos is one of those to be counted")
    temperature = held.fit_temperature()
    thresholds = choose_thresholds(held.judged(temperature), recipe.quiet, _FALSE_ALARM_RATE)
    clips = held.only(counted)
    judged = clips.judged(temperature)
    evaluation = evaluate(judged, seed=recipe.seed)
    elsewhere = held.fit_temperatures_elsewhere()[counted]
    calibration = Figure(math.nan, math.nan, math.nan)
    if not np.isnan(elsewhere).any():
        calibration = evaluate(clips.judged(elsewhere), seed=recipe.seed).figures["calibration_error"]
    evaluation = replace(evaluation, figures={**evaluation.figures, "calibration_error": calibration})
    return Outcome(judged, evaluation, temperature, thresholds, epochs, waiting)


def contract_of(
    recipe: Recipe, architecture: str, labels: tuple[str, ...], outcome: Outcome, training: Mapping[str, Any]
) -> Contract:
    """The contract of a model that was trained by `recipe`; temperature and thresholds from held-out scores."""
    mean, std = statistics(recipe.architecture)
    return Contract(
        architecture=architecture,
        labels=labels,
        frames=recipe.frames,
        spacing_seconds=recipe.spacing_seconds,
        height=recipe.size,
        width=recipe.size,
        fit="stretch",
        mean=mean,
        std=std,
        temperature=round(outcome.temperature, 4),
        thresholds=outcome.thresholds,
        training=training,
        metrics=outcome.metrics(),
    )
