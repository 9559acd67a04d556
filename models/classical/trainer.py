"""Cross-validating and fitting the traditional baseline, with the same splits and figures as any other training."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch

from models.contract import Contract
from models.errors import TrainingError
from models.evaluation.figures import WindowScores
from models.evaluation.folds import Footage, Outcome, check_footage, contract_of, split_by_group, summarise
from models.training.imbalance import synthetic_minority
from models.training.loop import Progress
from models.training.recipe import Recipe
from models.training.samples import OVERSAMPLE
from models.windows import windows

from .descriptors import check_clip, describe_clip
from .kinds import PREFIX, check_installed
from .model import MAX_SAMPLES, ClassicalModel, Parameters

#: So many windows of a video, spread over it, are learnt from: a long one would otherwise outweigh the others.
_WINDOWS_LEARNT: Final = 8
_USED: Final = frozenset(
    {"architecture", "frames", "spacing_seconds", "size", "imbalance", "augmentation.flip", "seed", "quiet"}
)
_REMEDIES: Final = ("none", "weights", "smote")


@dataclass(frozen=True, slots=True)
class _Described:
    """The descriptions of one video's windows."""

    windows: np.ndarray  # (W, F), all of them, as they are
    learnt: np.ndarray  # (V, F), some of them and their mirror images


class ClassicalTrainer:
    """Fits and cross-validates a classical recipe; clips are described once for all folds."""

    def __init__(self, footage: Sequence[Footage], recipe: Recipe, progress: Progress = lambda *_: None) -> None:
        """Check data and recipe.

        Raises:
            UnknownModelError: no such architecture.
            EngineError: a package that it needs is not installed.
            TrainingError: data that cannot be learnt from, or a recipe that says what such a model has no use for.
        """
        check_installed()
        check_recipe(recipe)
        self._footage, self._recipe, self._progress = list(footage), recipe, progress
        self._parameters = Parameters.default(
            recipe.architecture, balanced=recipe.imbalance == "weights", seed=recipe.seed
        )
        self.labels = check_footage(footage, recipe.quiet)
        sizes = {f.frames.shape[1:] for f in footage}
        if sizes != {(recipe.size, recipe.size, 3)}:
            raise TrainingError(f"pictures of {sorted(sizes)}: expected all {recipe.size}x{recipe.size}x3")
        self._truth = np.array([self.labels.index(f.label) for f in footage])
        self._groups = np.array([f.group for f in footage])
        self._described: list[_Described] | None = None
        self._fitted: ClassicalModel | None = None

    def validate(
        self, folds: int, only: Callable[[Footage], bool] = lambda _: True, used: int | None = None
    ) -> Outcome:
        """Fit to all folds but one, score that one, for each of the first `used` folds (all if None).

        `only` chooses the videos that are counted; the others are learnt from all the same.
        """
        splits = split_by_group(self._truth, self._groups, folds, self._recipe.seed)[:used]
        order: list[int] = []
        scores: list[np.ndarray] = []
        for number, (learnt, held) in enumerate(splits, start=1):
            model = self._fit(learnt)
            order += [int(i) for i in held]
            scores += [model.scores(self._descriptions()[i].windows) for i in held]
            self._progress("folds", number, len(splits))
        rows = np.array(order)
        held_out = WindowScores(
            self.labels,
            self._truth[rows],
            tuple(scores),
            tuple(self._groups[rows]),
            tuple(self._footage[i].name for i in order),
        )
        return summarise(held_out, np.array([only(self._footage[i]) for i in order]), self._recipe)

    def fit(self) -> FittedClassical:
        """Fit to everything."""
        return FittedClassical(self._final())

    def contract(self, outcome: Outcome, training: dict[str, Any]) -> Contract:
        """The contract of a model fitted so; thresholds from held-out scores."""
        own = {**training, PREFIX: self._final().parameters.encode()}
        return contract_of(self._recipe, self._parameters.architecture, self.labels, outcome, own)

    def describe_recipe(self) -> dict[str, Any]:
        """The parts of the recipe that matter here, as plain values for a checkpoint's metadata."""
        return self._recipe.describe(_USED)

    def _final(self) -> ClassicalModel:
        """The model that is fitted to everything, once; its parameters may follow from how many clips there are."""
        if self._fitted is None:
            self._fitted = self._fit(np.arange(len(self._footage)))
        return self._fitted

    def _fit(self, chosen: np.ndarray) -> ClassicalModel:
        videos = [self._descriptions()[i].learnt for i in chosen]
        truth = np.repeat(self._truth[chosen], [len(v) for v in videos])
        if len(np.unique(truth)) < 2:
            raise TrainingError(f"all footage to learn from is {self.labels[truth[0]]!r}: try fewer folds")
        samples = np.concatenate(videos)
        if self._recipe.imbalance == "smote":
            samples, truth = synthetic_minority(samples, truth, self.labels, seed=self._recipe.seed)
        if len(samples) > MAX_SAMPLES:
            raise TrainingError(
                f"{len(samples)} clips to learn from: {self._parameters.architecture} keeps them all and takes "
                f"{MAX_SAMPLES} at most; train a network on so much footage"
            )
        return ClassicalModel.fit(self._parameters, len(self.labels), samples, truth)

    def _descriptions(self) -> list[_Described]:
        if self._described is None:
            described = []
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                for done, one in enumerate(pool.map(self._describe, self._footage), start=1):
                    described.append(one)
                    self._progress("features", done, len(self._footage))
            self._described = described
        return self._described

    def _describe(self, footage: Footage) -> _Described:
        places = windows(len(footage.frames), self._recipe.frames, OVERSAMPLE)  # (W, T)
        clips = [np.array(footage.frames[p]) for p in places]
        plain = np.stack([describe_clip(c) for c in clips])
        chosen = np.unique(np.linspace(0, len(clips) - 1, _WINDOWS_LEARNT).astype(int))
        learnt = [plain[chosen]]
        if self._recipe.augmentation.flip:
            learnt.append(np.stack([describe_clip(np.ascontiguousarray(clips[i][:, :, ::-1])) for i in chosen]))
        return _Described(plain, np.concatenate(learnt))


@dataclass(frozen=True, slots=True)
class FittedClassical:
    """A fitted model as `models.save` takes one."""

    model: ClassicalModel

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {name: torch.from_numpy(values) for name, values in self.model.state().items()}


def check_recipe(recipe: Recipe) -> None:
    """Say what of a recipe a classical model cannot do, before anything is decoded.

    Raises:
        UnknownModelError: no such architecture; the message lists near ones.
        TrainingError: something is set that only a network has a use for, or clips are too small.
    """
    name = Parameters.default(recipe.architecture, balanced=True, seed=recipe.seed).architecture
    if given := recipe.given_beside(_USED):
        raise TrainingError(f"{name} has no use for {', '.join(given)}: that is for networks")
    if recipe.imbalance not in _REMEDIES:
        raise TrainingError(f"imbalance {recipe.imbalance!r}: {name} knows {', '.join(_REMEDIES)}")
    check_clip(recipe.frames, recipe.size)
