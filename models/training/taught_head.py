"""Train the head of `movenet_lstm` by gradient steps, towards the labels and what a logistic regression says.

    rows of the windows to learn from ─┬─▶ logistic regression of the whole (fitted_head.py) ─▶ its scores ─┐
                                       │                                       labels, smoothed ───────────┴▶ targets
                                       └─▶ LSTM and linear layer ─────────────────────────────────▶ scores ─▶ loss

A regression that is fitted to the same videos, and to no others, teaches which windows of a clip look like its label:
labels are of whole clips.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final

import numpy as np
import torch
from torch import nn

from models.errors import TrainingError
from models.networks.movenet import LinearHead
from models.networks.movenet_lstm import ChangeLstm, MoveNetLstm

from . import distributed
from .fitted_head import check_motion_clips, fit_head, learnt_rows
from .footage import TrainingSet
from .loop import Progress, Trained
from .objective import Imitation
from .recipe import Recipe
from .samples import Descriptors, FixedWindows, Normalise, judged, scores_of
from .steps import run_steps
from .strategy import EpochLog, Part
from .transfer import build_network

_ARCHITECTURE: Final = "movenet_lstm"
_REMEDIES: Final = ("none", "weights")
#: What the regression says counts so much, the label the rest.
_TAUGHT: Final = 0.7
#: Windows of each video in an epoch: every video counts alike.
_WINDOWS: Final = 8


class TaughtHead:
    """Gradient steps of an LSTM; the network below it does not learn."""

    has_epochs: ClassVar = True
    learns_all_looks: ClassVar = True

    def __init__(self, data: TrainingSet, recipe: Recipe, progress: Progress, log: EpochLog) -> None:
        self._data, self._recipe, self._progress, self._log = data, recipe, progress, log
        self._device = distributed.device()

    @staticmethod
    def check(recipe: Recipe) -> None:
        check_motion_clips(recipe)
        if recipe.imbalance not in _REMEDIES:
            raise TrainingError(
                f"imbalance {recipe.imbalance!r}: {recipe.architecture} is taught by a regression that takes "
                f"{', '.join(_REMEDIES)}"
            )

    @staticmethod
    def is_meant(recipe: Recipe) -> bool:
        """Whether a recipe asks for it: movenet_lstm, of which only the head learns."""
        return recipe.architecture == _ARCHITECTURE and recipe.trained_stages in {None, 1}

    def train(self, part: Part) -> Trained[MoveNetLstm]:
        torch.manual_seed(part.recipe.seed)
        network = build_network(part.recipe, self._data.labels, self._device).eval()
        assert isinstance(network, MoveNetLstm)
        rows, counts = learnt_rows(self._descriptors(network), part.learnt.tolist())
        if part.recipe.begin_from is None:
            network.head.standardise(rows)
        samples = FixedWindows(rows.numpy(), self._targets(rows, counts, part), self._device)
        trained = run_steps(
            network.head,
            samples,
            np.arange(len(rows)),
            replace(part, recipe=replace(part.recipe, layer_decay=1.0)),  # a head is one stage
            self._data,
            score=lambda head, index: self._scores(network, head, index),
            objective=Imitation(part.recipe, len(self._data.labels), temperature=1.0),
            order=_order(counts, part.recipe.seed),
            progress=self._progress,
            log=self._log,
        )
        assert isinstance(trained.model, ChangeLstm)
        network.head = trained.model
        return Trained(network.eval(), trained.epochs, trained.waiting, trained.curve)

    def score(self, model: MoveNetLstm, index: int) -> np.ndarray:
        return self._scores(model, model.head, index)

    def average(self, models: Sequence[MoveNetLstm]) -> MoveNetLstm:
        raise NotImplementedError("an ensemble is refused by `check`")

    def architecture(self) -> str:
        return self._recipe.architecture

    def describe_recipe(self) -> dict[str, Any]:
        return self._recipe.describe()

    def provenance(self, model: MoveNetLstm) -> dict[str, Any]:  # noqa: ARG002  weights and recipe tell all
        return {}

    def _targets(self, rows: torch.Tensor, counts: Sequence[int], part: Part) -> np.ndarray:
        """What the head is to say of each row, (M, L)."""
        labels, truth = self._data.labels, self._data.truth[part.learnt]
        teacher = LinearHead(rows.shape[2], len(labels)).to(self._device)
        whole = rows[:, 0].contiguous().to(self._device)
        fit_head(teacher, whole, counts, truth, labels, part.recipe)
        self._progress(f"teacher of {part.name}", 1, 1)
        with torch.inference_mode():
            said = scores_of(teacher(whole), part.recipe)
        known = np.repeat(self._data.has_label[part.learnt], counts, axis=0)  # (M, L)
        smoothing = part.recipe.label_smoothing
        smoothed = (1 - smoothing) * known + smoothing / (2 if part.recipe.multi_label else len(labels))
        targets: np.ndarray = (_TAUGHT * said + (1 - _TAUGHT) * smoothed).astype(np.float32)
        return targets

    def _scores(self, network: MoveNetLstm, head: nn.Module, index: int) -> np.ndarray:
        with torch.inference_mode():
            return judged(network, head, self._descriptors(network).served(index).to(self._device), self._recipe)

    def _descriptors(self, network: MoveNetLstm) -> Descriptors:
        return self._data.once(
            "change over time",
            lambda: Descriptors(
                network.eval(),
                self._data,
                self._recipe,
                Normalise(self._recipe.architecture, self._device),
                lambda done, total: self._progress("descriptors", done, total),
            ),
        )


def _order(counts: Sequence[int], seed: int) -> Callable[[int], np.ndarray]:
    """Of each video, which has so many rows one after another, as many rows as of every other, drawn anew each time."""
    ends = np.cumsum(counts)

    def order(epoch: int) -> np.ndarray:
        generator = np.random.default_rng([seed, epoch])
        drawn = [generator.integers(end - count, end, _WINDOWS) for end, count in zip(ends, counts, strict=True)]
        return generator.permutation(np.concatenate(drawn))

    return order
