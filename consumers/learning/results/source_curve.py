"""Accuracy over the number of sources that a model learns from: whether more of them would help."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from models.evaluation.figures import number
from models.evaluation.folds import some_groups
from models.evaluation.ranking import FALSE_ALARM_PERCENTS, recall_name
from models.training.material.footage import Footage
from models.training.recipe import Recipe
from models.training.trainer import Trainer
from models.training.validation import CrossValidation

#: Shares of the groups to learn from. All of them were learnt from before.
_SHARES: Final = (0.25, 0.5, 0.75)
#: With --patience a group of each label is held out from those to learn from.
_LEAST_WITH_PATIENCE: Final = 2
#: Those of them that there are.
FIGURES: Final = ("accuracy", "mean_average_precision", "auc", recall_name(FALSE_ALARM_PERCENTS[0]))


@dataclass(frozen=True, slots=True)
class SourcePoint:
    """How good models are that learnt from so many groups, on average over the folds."""

    groups: float
    validation: CrossValidation

    def to_json(self) -> dict[str, Any]:
        """For a checkpoint's metadata."""
        figures = self.validation.evaluation.figures
        return {"groups": round(self.groups, 1), **{n: number(figures[n].value) for n in FIGURES if n in figures}}


@dataclass(frozen=True, slots=True)
class Held:
    """How models are judged, as `Trainer.validate` takes it."""

    folds: int
    used: int | None
    counts: Callable[[Footage], bool]
    choose: Callable[[str, np.ndarray], Recipe] | None


def source_curve(trainer: Trainer, recipe: Recipe, how: Held, whole: CrossValidation) -> list[SourcePoint]:
    """Train on a quarter, half and three quarters of the groups of each training part, judged on the same folds.

    Args:
        trainer: has the footage.
        recipe: that of the trainer.
        how: as `whole` was judged.
        whole: the validation of models that learnt from all groups.
    """
    least = 1 if recipe.patience is None else _LEAST_WITH_PATIENCE
    points = []
    for share in _SHARES:

        def some(learnt: np.ndarray, share: float = share) -> np.ndarray:
            truth, groups = trainer.truth[learnt], trainer.groups[learnt]
            kept: np.ndarray = learnt[some_groups(truth, groups, share, recipe.seed, least)]
            return kept

        validation = trainer.validate(
            how.folds, how.counts, how.used, some, how.choose, title=f"{share:.0%} of the groups, "
        )
        points.append(
            SourcePoint(
                _mean_groups(trainer, [some(learnt) for learnt, _ in trainer.split(how.folds)[: how.used]]), validation
            )
        )
    learnt_from = [learnt for learnt, _ in trainer.split(how.folds)[: how.used]]
    return [*points, SourcePoint(_mean_groups(trainer, learnt_from), whole)]


def _mean_groups(trainer: Trainer, parts: Sequence[np.ndarray]) -> float:
    return float(np.mean([len(np.unique(trainer.groups[part])) for part in parts]))
