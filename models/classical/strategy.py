"""Train the traditional baseline: the same splits and figures as for any network, but no gradient steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
import torch

from models.errors import TrainingError
from models.training.loop import Progress, Trained
from models.training.material.computed import Computed
from models.training.material.footage import TrainingSet
from models.training.material.imbalance import synthetic_minority
from models.training.material.samples import OVERSAMPLE
from models.training.recipe import Recipe
from models.training.strategies.strategy import EpochLog, Part
from models.windows.windowing import sliding_windows

from .descriptors import check_clip, describe_clip
from .kinds import PREFIX, check_installed
from .model import MAX_SAMPLES, ClassicalModel, Parameters

#: So many windows of a video, spread over it, are learnt from: a long video would otherwise outweigh the others.
_WINDOWS_LEARNT: Final = 8
_USED: Final = frozenset(
    {"architecture", "frames", "spacing_seconds", "size", "fit", "imbalance", "augmentation.flip", "seed", "quiet"}
)
_REMEDIES: Final = ("none", "weights", "smote")


@dataclass(frozen=True, slots=True)
class FittedClassical:
    """A fitted model as `models.save` takes one."""

    model: ClassicalModel

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {name: torch.from_numpy(values) for name, values in self.model.state().items()}


class Classical:
    """A classifier of scikit-learn on descriptions of windows, which are computed once for all folds."""

    has_epochs: ClassVar = False
    learns_all_looks: ClassVar = False

    def __init__(self, data: TrainingSet, recipe: Recipe, progress: Progress, log: EpochLog) -> None:  # noqa: ARG002
        self._data, self._recipe, self._progress = data, recipe, progress

    @staticmethod
    def check(recipe: Recipe) -> None:
        """Refuse what a classical model cannot do, before anything is decoded.

        Raises:
            EngineError: a package that it needs is not installed.
            UnknownModelError: no such architecture; the message lists near ones.
            TrainingError: something is set that only networks use, or clips are too small.
        """
        check_installed()
        name = Parameters.default(recipe.architecture, balanced=True, seed=recipe.seed).architecture
        if given := recipe.given_beside(_USED):
            raise TrainingError(f"{name} ignores {', '.join(given)}: only networks use it")
        if recipe.imbalance not in _REMEDIES:
            raise TrainingError(f"imbalance {recipe.imbalance!r}: {name} takes {', '.join(_REMEDIES)}")
        check_clip(recipe.frames, recipe.size)

    def train(self, part: Part) -> Trained[FittedClassical]:
        videos = [self._descriptions().part(int(i), "learnt") for i in part.learnt]
        truth = np.repeat(self._data.truth[part.learnt], [len(v) for v in videos])
        if len(np.unique(truth)) < 2:
            raise TrainingError(f"all footage to learn from is {self._data.labels[truth[0]]!r}: try fewer folds")
        samples = np.concatenate(videos)
        if self._recipe.imbalance == "smote":
            samples, truth = synthetic_minority(samples, truth, self._data.labels, seed=self._recipe.seed)
        if len(samples) > MAX_SAMPLES:
            raise TrainingError(
                f"{len(samples)} clips to learn from: {self.architecture()} keeps them all and takes "
                f"{MAX_SAMPLES} at most; train a network on so much footage"
            )
        self._progress(part.name, 0, 1)
        model = ClassicalModel.fit(self._parameters(), len(self._data.labels), samples, truth)
        self._progress(part.name, 1, 1)
        return Trained(FittedClassical(model), 0, 0.0)

    def score(self, model: FittedClassical, index: int) -> np.ndarray:
        return model.model.scores(self._descriptions().part(index, "windows"))

    def average(self, models: Sequence[FittedClassical]) -> FittedClassical:
        raise NotImplementedError("an ensemble is refused by `check`")

    def architecture(self) -> str:
        return self._parameters().architecture

    def describe_recipe(self) -> dict[str, Any]:
        return self._recipe.describe(_USED)

    def provenance(self, model: FittedClassical) -> dict[str, Any]:
        return {PREFIX: model.model.parameters.encode()}

    def _parameters(self) -> Parameters:
        recipe = self._recipe
        return Parameters.default(recipe.architecture, balanced=recipe.imbalance == "weights", seed=recipe.seed)

    def _descriptions(self) -> Computed:
        """Of each video: descriptions (W, F) of its `windows` as they are, and (V, F) of those that are `learnt`."""
        return self._data.once("classical descriptions", self._describe_all)

    def _describe_all(self) -> Computed:
        found = self._data.computed("classical descriptions", self._describe)
        found.all(
            len(self._data.videos),
            lambda done, total: self._progress("features", done, total),
            threads=torch.get_num_threads(),
        )
        return found

    def _describe(self, index: int) -> dict[str, np.ndarray]:
        frames = self._data.videos[index].frames
        windows = sliding_windows(len(frames), self._recipe.frames, OVERSAMPLE)  # (W, T)
        plain = np.stack([describe_clip(np.array(frames[w])) for w in windows])
        chosen = np.unique(np.linspace(0, len(windows) - 1, _WINDOWS_LEARNT).astype(int))
        learnt = [plain[chosen]]
        if self._recipe.augmentation.flip:
            mirrored = (np.ascontiguousarray(np.array(frames[windows[i]])[:, :, ::-1]) for i in chosen)
            learnt.append(np.stack([describe_clip(clip) for clip in mirrored]))
        return {"windows": plain, "learnt": np.concatenate(learnt)}
