"""Fit the classifier of `movenet_motion` or `movenet_views`: a logistic regression on motion features, in one step.

The pose network below it is fixed. Options of gradient steps (epochs, learning rate …) do not apply, and a recipe that
sets them is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import numpy as np
import torch
from torch.nn import functional

from models.errors import TrainingError
from models.networks.movenet import LinearHead, MoveNetMotion
from models.networks.open_set import distances
from models.networks.zoo import describe
from models.training import distributed
from models.training.loop import Progress, Trained
from models.training.material.footage import TrainingSet
from models.training.material.imbalance import class_weights, positive_weights, synthetic_minority
from models.training.material.samples import Descriptors, Normalise, judged
from models.training.open_set import NEIGHBOURS
from models.training.recipe import Recipe
from models.training.transfer import build_network
from models.windows.views import MULTIPLE

from .strategy import EpochLog, Part

#: How many pictures the change that each looks at needs.
_MIN_FRAMES: Final = {"movenet_motion": 2, "movenet_views": 3, "movenet_lstm": 3, "movenet_3d": 3}
_FITTED: Final = frozenset({"movenet_motion", "movenet_views"})
_USED: Final = frozenset(
    {
        *("architecture", "frames", "spacing_seconds", "size", "fit", "trained_stages", "imbalance", "begin_from"),
        *("seed", "quiet", "multi_label", "unknown", "augmentation.flip"),
    }
)
#: Descriptors of so many windows are kept to tell what is unknown: 4 MB.
_KNOWN_ROWS: Final = 1000
_REMEDIES: Final = ("none", "weights", "smote")


class FittedHead:
    """Penalised maximum likelihood of one linear layer; the network below it does not learn."""

    has_epochs: ClassVar = False
    learns_all_looks: ClassVar = True

    def __init__(self, data: TrainingSet, recipe: Recipe, progress: Progress, log: EpochLog) -> None:  # noqa: ARG002
        self._data, self._recipe, self._progress = data, recipe, progress
        self._device = distributed.device()

    @staticmethod
    def check(recipe: Recipe) -> None:
        check_motion_clips(recipe)
        steps = "with --trained-stages 2 it is trained in steps"
        if recipe.imbalance not in _REMEDIES:
            raise TrainingError(
                f"imbalance {recipe.imbalance!r}: {recipe.architecture} is fitted in one step and takes "
                f"{', '.join(_REMEDIES)}; {steps} and takes all of them"
            )
        if given := recipe.given_beside(_USED):
            raise TrainingError(f"{recipe.architecture} ignores {', '.join(given)}: it is fitted in one step; {steps}")

    @staticmethod
    def is_meant(recipe: Recipe) -> bool:
        """Whether a recipe asks for it: movenet_motion, of which only the head learns."""
        return recipe.architecture in _FITTED and recipe.trained_stages in {None, 1}

    def train(self, part: Part) -> Trained[MoveNetMotion]:
        torch.manual_seed(part.recipe.seed)
        network = build_network(part.recipe, self._data.labels, self._device)
        assert isinstance(network, MoveNetMotion)
        descriptors = self._descriptors(network)
        rows, counts = learnt_rows(descriptors, part.learnt.tolist())
        truth = self._data.truth[part.learnt]
        self._progress(part.name, 0, 1)
        fit_head(network.head, rows.to(self._device), counts, truth, self._data.labels, part.recipe)
        self._progress(part.name, 1, 1)
        return Trained(network, 0, 0.0)

    def score(self, model: MoveNetMotion, index: int) -> np.ndarray:
        descriptors = self._descriptors(model)
        with torch.inference_mode():
            return judged(model, model.head, descriptors.served(index).to(self._device), self._recipe)

    def known_rows(self, model: MoveNetMotion, videos: Sequence[int]) -> torch.Tensor:
        """Descriptors at unit length (N, F) of windows of the videos to learn from, few enough to be served."""
        descriptors = self._descriptors(model)
        spread = np.unique(np.linspace(0, len(videos) - 1, min(len(videos), _KNOWN_ROWS)).round().astype(int))
        some = []
        for video in (videos[place] for place in spread):
            rows = descriptors.learnt(video)
            some.append(rows[np.unique(np.linspace(0, len(rows) - 1, _KNOWN_ROWS // len(spread)).round().astype(int))])
        return functional.normalize(torch.cat(some), dim=1).to(self._device)

    def distances(self, model: MoveNetMotion, known: torch.Tensor, index: int) -> np.ndarray:
        """How far the windows (W,) of a video are from what is known (N, F)."""
        looks, neighbours = self._descriptors(model).served(index).to(self._device), min(NEIGHBOURS, len(known))
        # One by one: each is compared with every known row.
        found: np.ndarray = torch.cat([distances(row[None], known, neighbours) for row in looks[:, -1]]).cpu().numpy()
        return found

    def average(self, models: Sequence[MoveNetMotion]) -> MoveNetMotion:
        raise NotImplementedError("an ensemble is refused by `check`")

    def architecture(self) -> str:
        return self._recipe.architecture

    def describe_recipe(self) -> dict[str, Any]:
        return self._recipe.describe(_USED)

    def provenance(self, model: MoveNetMotion) -> dict[str, Any]:  # noqa: ARG002  weights and recipe tell all
        return {}

    def _descriptors(self, network: MoveNetMotion) -> Descriptors:
        return self._data.once(
            "motion descriptors by look",
            lambda: Descriptors(
                network.eval(),
                self._data,
                self._recipe,
                Normalise(self._recipe.architecture, self._device),
                lambda done, total: self._progress("descriptors", done, total),
            ),
        )


def check_motion_clips(recipe: Recipe) -> None:
    """Refuse clips that are too short to show motion, where the architecture works on motion, and odd sizes.

    Raises:
        TrainingError: clips of too few frames, or of pictures that cannot be seen in two views.
    """
    architecture = recipe.architecture.rpartition("*")[2]
    needed = _MIN_FRAMES.get(architecture, 1)
    if recipe.frames < needed:
        raise TrainingError(
            f"clips of {recipe.frames} frame{'s' * (recipe.frames > 1)}: {recipe.architecture} compares frames that "
            f"follow one another, and needs at least {needed}"
        )
    if describe(recipe.architecture).views > 1 and recipe.size % MULTIPLE:
        raise TrainingError(
            f"pictures of {recipe.size} pixels: {recipe.architecture} sees each in two views, and needs a multiple of "
            f"{MULTIPLE}"
        )


def learnt_rows(descriptors: Descriptors, videos: Sequence[int]) -> tuple[torch.Tensor, list[int]]:
    """The rows (M, …) of all videos to learn from, and how many each has."""
    counts = [descriptors.count_learnt(video) for video in videos]
    # Filled in place: thousands of small pieces, joined and let go, would stay with the process.
    rows, begin = torch.empty(sum(counts), *descriptors.row_shape), 0
    for video, count in zip(videos, counts, strict=True):
        rows[begin : begin + count] = descriptors.learnt(video)
        begin += count
    return rows, counts


def fit_head(
    head: LinearHead,
    rows: torch.Tensor,
    counts: Sequence[int],
    truth: np.ndarray,
    labels: tuple[str, ...],
    recipe: Recipe,
) -> None:
    """Fit to descriptors (M, F): the first counts[0] of them are of the first video, with label truth[0], and so on.

    Every video counts alike, and with "weights" every label. With truth (N, L) each label has a regression of its own,
    in which "weights" let the videos that have the label weigh as much as those without.
    """
    of_rows = np.repeat(truth, counts, axis=0)
    weight = torch.cat([torch.full((count,), 1 / count) for count in counts])
    positive = None
    if recipe.multi_label and recipe.imbalance == "weights":
        positive = torch.from_numpy(positive_weights(truth.sum(0), len(truth))).to(rows.device)
    elif recipe.imbalance == "weights":
        by_label = class_weights(np.bincount(truth, minlength=len(labels)))
        weight *= torch.from_numpy(by_label[of_rows])
    elif recipe.imbalance == "smote":
        made, of_rows = synthetic_minority(rows.cpu().numpy(), of_rows, labels, seed=recipe.seed)
        rows = torch.from_numpy(made).to(rows.device)
        weight = torch.full((len(of_rows),), len(counts) / len(of_rows))
    head.fit(rows, torch.from_numpy(of_rows).to(rows.device), weight.to(rows.device), positive)
