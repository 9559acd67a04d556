"""What every way to train can do, so that folds, ensembles and resuming are written once.

Trainer            cross-validation, ensembles, unfinished state
   │  Part: learn from these videos
   ▼
Strategy
   ├── Steps            gradient steps on pixels: the whole network, or its last stages
   │   └── Distilled    the same, towards the scores of teachers
   ├── FrozenFeatures   gradient steps of a head, on features that a frozen image network computed once
   ├── FittedHead       a logistic regression on motion features from a fixed pose network
   ├── TaughtHead       gradient steps of a head, towards such a regression and the labels: an LSTM on these features
   │                    over time, or convolutions on maps
   └── Classical        a classifier of scikit-learn on hand-made features
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
import torch

from models.training.loop import EpochStats, Progress, Trained
from models.training.material.footage import TrainingSet
from models.training.recipe import Recipe

#: Told the name of a part and the figures of each of its epochs.
EpochLog = Callable[[str, EpochStats], None]


class Savable(Protocol):
    """A trained model as `models.save` takes it."""

    def state_dict(self) -> Mapping[str, torch.Tensor]: ...


M = TypeVar("M", bound=Savable)


@dataclass(frozen=True, slots=True)
class Part:
    """One model to be trained on some of the videos."""

    #: As progress and errors call it.
    name: str
    recipe: Recipe
    #: Indices of the videos to learn from.
    learnt: np.ndarray
    #: Indices of the videos that choose the best epoch; empty if all epochs are trained.
    chooses_epoch: np.ndarray
    #: After which training ends, amid the schedule of the recipe's epochs; None trains them all.
    last_epoch: int | None
    #: Where its unfinished state is kept; None for nowhere.
    state: Path | None
    #: Indices of held-out videos on which accuracy is told while it learns; nothing follows from it.
    watched: np.ndarray = field(default_factory=lambda: np.array([], int))


class Strategy(Protocol[M]):
    """One way to train a model and to score videos with it."""

    #: Whether it learns in epochs, of which there are curves, and among which the best can be chosen.
    has_epochs: ClassVar[bool]
    #: Whether its networks learn to judge by the first of several looks alone (`Contract.settling_odds`).
    learns_all_looks: ClassVar[bool]

    def __init__(self, data: TrainingSet, recipe: Recipe, progress: Progress, log: EpochLog) -> None: ...

    @staticmethod
    def check(recipe: Recipe) -> None:
        """Refuse a recipe that cannot be followed, before anything is decoded.

        Raises:
            ModelError: with what was found and what was expected.
        """

    def train(self, part: Part) -> Trained[M]:
        """Train one model.

        Raises:
            TrainingError: the videos do not allow it, or a loss is not a number.
        """

    def score(self, model: M, index: int) -> np.ndarray:
        """Scores (W, L) of the windows of a video, half a window apart, as the worker computes them."""

    def average(self, models: Sequence[M]) -> M:
        """A model whose scores are the mean of theirs."""

    def architecture(self) -> str:
        """The name by which a trained model is created again."""

    def describe_recipe(self) -> dict[str, Any]:
        """The options of the recipe that matter here, as plain values for a checkpoint's metadata."""

    def provenance(self, model: M) -> dict[str, Any]:
        """What a checkpoint's metadata must hold beside the recipe to create this model again."""
