"""Train the head of a network by gradient steps, towards the labels and what a logistic regression says.

    windows to learn from ─┬─▶ what a regression can read of each ─▶ logistic regression ─▶ its scores ─┐
                           │                                              labels, smoothed ─────────────┴▶ targets
                           └─▶ what the head reads of each ─▶ head ─▶ scores ─▶ loss

A regression that is fitted to the same videos, and to no others, teaches which windows of a clip look like its label:
labels are of whole clips. `TaughtHead` is what all heads share; what each reads is below it and in taught_3d.py.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Generic, TypeVar

import numpy as np
import torch
from torch import nn

from models.errors import TrainingError
from models.networks.movenet import LinearHead, MoveNetMotion
from models.networks.movenet_lstm import MoveNetLstm
from models.training import distributed
from models.training.loop import Progress, Trained
from models.training.material.footage import TrainingSet
from models.training.material.samples import Descriptors, FixedWindows, Normalise, judged, scores_of
from models.training.objective import Imitation
from models.training.recipe import Recipe
from models.training.transfer import build_network

from .fitted_head import check_motion_clips, fit_head, learnt_rows
from .steps import run_steps
from .strategy import EpochLog, Part

_REMEDIES: Final = ("none", "weights")
#: What the regression says counts so much, the label the rest.
_TAUGHT: Final = 0.7
#: Windows of each video in an epoch: every video counts alike.
_WINDOWS: Final = 8

N = TypeVar("N", bound=MoveNetMotion)


@dataclass(frozen=True, slots=True)
class Lessons:
    """Windows to learn from: those of the first video one after another, then those of the next."""

    #: Of each window as the head reads it, (M, …).
    inputs: np.ndarray
    #: As the regression read it and what it made of it, scores (M, L).
    said: np.ndarray
    #: How many windows each video has.
    counts: Sequence[int]


class TaughtHead(ABC, Generic[N]):
    """Gradient steps of a head; the network below it does not learn."""

    has_epochs: ClassVar = True
    learns_all_looks: ClassVar = True
    #: What is trained in this way, if only its head learns.
    ARCHITECTURE: ClassVar[str]

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

    @classmethod
    def is_meant(cls, recipe: Recipe) -> bool:
        """Whether a recipe asks for it: its architecture, of which only the head learns."""
        return recipe.architecture == cls.ARCHITECTURE and recipe.trained_stages in {None, 1}

    def train(self, part: Part) -> Trained[N]:
        torch.manual_seed(part.recipe.seed)
        network: N = build_network(part.recipe, self._data.labels, self._device).eval()  # type: ignore[assignment]
        lessons = self._begin(network, part)
        trained = run_steps(
            network.head,
            FixedWindows(lessons.inputs, self._targets(lessons, part), self._device),
            np.arange(len(lessons.inputs)),
            replace(part, recipe=replace(part.recipe, layer_decay=1.0)),  # a head is one stage
            self._data,
            score=lambda head, index: self._scores(network, head, index),
            objective=Imitation(part.recipe, len(self._data.labels), temperature=1.0),
            order=_order(lessons.counts, part.recipe.seed),
            progress=self._progress,
            log=self._log,
        )
        network.head = trained.model  # type: ignore[assignment]  # the one that was given
        return Trained(network.eval(), trained.epochs, trained.waiting, trained.curve)

    @abstractmethod
    def _begin(self, network: N, part: Part) -> Lessons:
        """Let the head start, unless it begins from a checkpoint, and give what it is to learn from."""

    @abstractmethod
    def _served(self, network: N, index: int) -> torch.Tensor:
        """Looks at the windows of a video (W, LOOKS, …) as the network's head reads them."""

    def score(self, model: N, index: int) -> np.ndarray:
        return self._scores(model, model.head, index)

    def average(self, models: Sequence[N]) -> N:
        raise NotImplementedError("an ensemble is refused by `check`")

    def architecture(self) -> str:
        return self._recipe.architecture

    def describe_recipe(self) -> dict[str, Any]:
        return self._recipe.describe()

    def provenance(self, model: N) -> dict[str, Any]:  # noqa: ARG002  weights and recipe tell all
        return {}

    def _taught(self, rows: torch.Tensor, counts: Sequence[int], part: Part) -> tuple[LinearHead, np.ndarray]:
        """A regression of rows (M, F), and what it says of them, (M, L)."""
        teacher = self._fitted(rows, counts, part)
        self._progress(f"teacher of {part.name}", 1, 1)
        with torch.inference_mode():
            return teacher, scores_of(teacher(rows.to(self._device)), part.recipe)

    def _fitted(self, rows: torch.Tensor, counts: Sequence[int], part: Part) -> LinearHead:
        head = LinearHead(rows.shape[1], len(self._data.labels)).to(self._device)
        truth = self._data.truth[part.learnt]
        fit_head(head, rows.contiguous().to(self._device), counts, truth, self._data.labels, part.recipe)
        return head

    def _targets(self, lessons: Lessons, part: Part) -> np.ndarray:
        """What the head is to say of each window, (M, L)."""
        known = np.repeat(self._data.has_label[part.learnt], lessons.counts, axis=0)  # (M, L)
        smoothing = part.recipe.label_smoothing
        smoothed = (1 - smoothing) * known + smoothing / (2 if part.recipe.multi_label else len(self._data.labels))
        targets: np.ndarray = (_TAUGHT * lessons.said + (1 - _TAUGHT) * smoothed).astype(np.float32)
        return targets

    def _scores(self, network: N, head: nn.Module, index: int) -> np.ndarray:
        with torch.inference_mode():
            return judged(network, head, self._served(network, index).to(self._device), self._recipe)

    def _descriptors(self, network: N) -> Descriptors:
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


class TaughtLstm(TaughtHead[MoveNetLstm]):
    """An LSTM over what changes at each step."""

    ARCHITECTURE: ClassVar = "movenet_lstm"

    def _begin(self, network: MoveNetLstm, part: Part) -> Lessons:
        rows, counts = learnt_rows(self._descriptors(network), part.learnt.tolist())
        if part.recipe.begin_from is None:
            network.head.standardise(rows)
        _, said = self._taught(rows[:, 0], counts, part)
        return Lessons(rows.numpy(), said, counts)

    def _served(self, network: MoveNetLstm, index: int) -> torch.Tensor:
        return self._descriptors(network).served(index)


def _order(counts: Sequence[int], seed: int) -> Callable[[int], np.ndarray]:
    """Of each video, which has so many rows one after another, as many rows as of every other, drawn anew each time."""
    ends = np.cumsum(counts)

    def order(epoch: int) -> np.ndarray:
        generator = np.random.default_rng([seed, epoch])
        drawn = [generator.integers(end - count, end, _WINDOWS) for end, count in zip(ends, counts, strict=True)]
        return generator.permutation(np.concatenate(drawn))

    return order
