"""The head of `movenet_motion`, fitted at once to what its frozen backbone says, without steps and their options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch

from models.errors import TrainingError
from models.networks.movenet import LinearHead

from .imbalance import class_weights, synthetic_minority
from .recipe import Recipe

_ARCHITECTURE: Final = "movenet_motion"
#: Change needs two pictures.
_MIN_FRAMES: Final = 2
_USED: Final = frozenset(
    {
        *("architecture", "frames", "spacing_seconds", "size", "trained_stages", "imbalance", "begin_from", "seed"),
        *("quiet", "augmentation.flip"),
    }
)
_REMEDIES: Final = ("none", "weights", "smote")


def is_meant(recipe: Recipe) -> bool:
    """Whether a recipe asks for such a head: of nothing else is it known how to fit one."""
    return recipe.architecture == _ARCHITECTURE and recipe.trained_stages in {None, 1}


def check(recipe: Recipe) -> None:
    """Say what of a recipe cannot be followed, before anything is decoded.

    Raises:
        TrainingError: something is set that only steps have a use for, or clips are too short to see change.
    """
    if recipe.architecture.rpartition("*")[2] == _ARCHITECTURE and recipe.frames < _MIN_FRAMES:
        raise TrainingError(
            f"clips of {recipe.frames} frame: {recipe.architecture} sees what changes from one to the next, "
            f"and needs at least {_MIN_FRAMES}"
        )
    if not is_meant(recipe):
        return
    in_steps = "with --trained-stages 2 it is trained in steps"
    if recipe.imbalance not in _REMEDIES:
        raise TrainingError(
            f"imbalance {recipe.imbalance!r}: the head of {recipe.architecture} is fitted at once, for which there "
            f"are {', '.join(_REMEDIES)}; {in_steps}, for which there are all"
        )
    if given := recipe.given_beside(_USED):
        raise TrainingError(
            f"{recipe.architecture} has no use for {', '.join(given)}: its head is fitted at once; {in_steps}"
        )


def describe(recipe: Recipe) -> dict[str, object]:
    """The parts of the recipe that matter to such a head, as plain values for a checkpoint's metadata."""
    return recipe.describe(_USED)


def fit(
    head: LinearHead, videos: Sequence[torch.Tensor], truth: np.ndarray, labels: tuple[str, ...], recipe: Recipe
) -> None:
    """Fit to the descriptors (W, F) of each video, with labels (N,).

    Every video counts alike, and with "weights" every label.
    """
    rows = torch.cat(list(videos))  # (M, F)
    of_rows = np.repeat(truth, [len(v) for v in videos])
    weight = torch.cat([torch.full((len(v),), 1 / len(v)) for v in videos])
    if recipe.imbalance == "weights":
        by_label = class_weights(np.bincount(truth, minlength=len(labels)))
        weight *= torch.from_numpy(by_label[of_rows])
    elif recipe.imbalance == "smote":
        made, of_rows = synthetic_minority(rows.cpu().numpy(), of_rows, labels, seed=recipe.seed)
        rows = torch.from_numpy(made).to(rows.device)
        weight = torch.full((len(of_rows),), len(videos) / len(of_rows))
    head.fit(rows, torch.from_numpy(of_rows).to(rows.device), weight.to(rows.device))
