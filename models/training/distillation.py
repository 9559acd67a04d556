"""Train a student to give the scores that teachers give: on every window of footage, labelled or not.

    footage ─▶ each teacher's windows ─▶ scores at their middles      m   m   m   m   m   m
    footage ─▶ the student's windows                                 [ w0 ]
                                                                        [ w1 ]
                        each is to have the mean of the scores whose middles lie in it

Teachers and student may take different clips. An epoch sees as many windows as the student would be served, each time
others: windows begin at every eighth of their length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Final

import numpy as np
import torch
from torch import nn

from models.classical.kinds import is_classical
from models.errors import TrainingError
from models.evaluation.scores import SAID
from models.windows.frames import Frames
from models.windows.windowing import sliding_windows

from . import distributed
from .loop import Progress, Trained
from .material.augmentation import ClipTransform
from .material.footage import TrainingSet
from .material.samples import OVERSAMPLE, Normalise
from .objective import Imitation
from .recipe import Augmentation, Recipe
from .strategies.fitted_head import FittedHead
from .strategies.frozen_features import FrozenFeatures
from .strategies.steps import Steps, run_steps
from .strategies.strategy import EpochLog, Part
from .transfer import build_network, freeze

#: A window that is served is half a window behind the one before; between these lie so many to learn from.
_DENSER: Final = 4
#: Windows on which student and teachers are compared, and how many at once.
_COMPARED: Final = 2000
_BATCH: Final = 32
#: What the labels of footage would be balanced, smoothed and judged by.
_OF_LABELS: Final = frozenset({"imbalance", "members", "label_smoothing", "patience", "metric", "augmentation"})


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one teacher says of a video: scores (W, L) of its windows, and their middles (W,) in s, ascending."""

    middles: np.ndarray
    scores: np.ndarray

    def of_spans(self, begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Mean scores (M, L) of the windows whose middles lie within each span of time (M,).

        Where none does, those on either side of its middle in proportion to how near they are.
        """
        first, last = np.searchsorted(self.middles, begins), np.searchsorted(self.middles, ends, side="right")
        sums = np.concatenate([np.zeros((1, self.scores.shape[1])), np.cumsum(self.scores, axis=0, dtype=np.float64)])
        inside = last - first
        means = (sums[last] - sums[first]) / np.maximum(inside, 1)[:, None]
        between = np.stack([np.interp((begins + ends) / 2, self.middles, of_label) for of_label in self.scores.T], 1)
        scores: np.ndarray = np.where(inside[:, None] > 0, means, between)
        return scores


@dataclass(frozen=True, slots=True)
class Lesson:
    """A video as the student sees it, every `spacing / OVERSAMPLE` seconds, and what teachers say of it."""

    frames: Frames  # (N, H, W, 3)
    opinions: Sequence[Opinion]


@dataclass(frozen=True, slots=True)
class Taught:
    """What teachers, whose scores are averaged, say of the videos of a training set and of others."""

    labels: tuple[str, ...]
    #: Of the videos of the training set, in their order: what is held out of it is not learnt from.
    labelled: Sequence[Lesson]
    unlabelled: Sequence[Lesson]
    #: Of the scores that are compared; more than 1 makes more of what is unlikely.
    temperature: float
    #: Plain values by which other teachers or other footage are known.
    story: Any = None

    def __post_init__(self) -> None:
        if not 1 <= self.temperature <= 100:
            raise ValueError(f"temperature {self.temperature:g}: expected 1 to 100")


class Distilled(Steps):
    """Gradient steps on windows of pixels, towards the scores of teachers."""

    has_epochs: ClassVar = True
    learns_all_looks: ClassVar = False

    def __init__(self, data: TrainingSet, recipe: Recipe, progress: Progress, log: EpochLog, taught: Taught) -> None:
        super().__init__(data, recipe, progress, log)
        self._taught = taught

    @staticmethod
    def check(recipe: Recipe) -> None:
        if is_classical(recipe.architecture):
            raise TrainingError(f"{recipe.architecture} is no network, and only a network learns from a teacher")
        Steps.check(recipe)

    def train(self, part: Part) -> Trained[nn.Module]:
        torch.manual_seed(part.recipe.seed)
        network = build_network(part.recipe, self._data.labels, self._device)
        taught = self._taught
        samples = self._data.once(
            "taught windows",
            lambda: TaughtWindows([*taught.labelled, *taught.unlabelled], part.recipe, self._device),
        )
        learnt = np.concatenate([part.learnt, len(taught.labelled) + np.arange(len(taught.unlabelled))])
        rows = np.flatnonzero(np.isin(samples.videos, learnt))
        return run_steps(
            network,
            samples,
            rows,
            part,
            self._data,
            score=self.score,
            objective=Imitation(part.recipe, len(self._data.labels), taught.temperature),
            order=lambda epoch: _some(rows, part.recipe.seed, epoch),
            frozen=freeze(network, _trained_stages(part.recipe)),
            progress=self._progress,
            log=self._log,
        )

    def describe_recipe(self) -> dict[str, Any]:
        varied = {f"augmentation.{f.name}" for f in fields(self._recipe.augmentation)} - {"augmentation.views"}
        return self._recipe.describe({f.name for f in fields(self._recipe)} - _OF_LABELS | varied)


class TaughtWindows:
    """Windows (T, 3, H, W) uint8 of lessons, augmented anew each time, with the mean scores of the teachers."""

    loads_beside: Final = True

    def __init__(self, lessons: Sequence[Lesson], recipe: Recipe, device: torch.device) -> None:
        self._lessons, self._recipe = lessons, recipe
        self._transform = ClipTransform(recipe.augmentation, recipe.size)
        self._normalise = Normalise(recipe.architecture, device)
        videos, begins, scores = [], [], []
        for number, lesson in enumerate(lessons):
            windows = sliding_windows(len(lesson.frames), recipe.frames, OVERSAMPLE, denser=_DENSER)  # (W, T)
            seconds = windows[:, [0, -1]] * (recipe.spacing_seconds / OVERSAMPLE)
            opinions = [opinion.of_spans(seconds[:, 0], seconds[:, 1]) for opinion in lesson.opinions]
            videos.append(np.full(len(windows), number))
            begins.append(windows[:, 0])
            scores.append(np.mean(opinions, axis=0).astype(np.float32))
        #: Which lesson each window is of, (M,).
        self.videos = np.concatenate(videos)
        self._begins = np.concatenate(begins)
        #: (M, L)
        self.truth = np.concatenate(scores)

    def sample(self, index: int, generator: np.random.Generator) -> torch.Tensor:
        frames, recipe = self._lessons[self.videos[index]].frames, self._recipe
        # Around the middle, which the scores are of, whatever the speed.
        reach = OVERSAMPLE * (np.arange(recipe.frames) - (recipe.frames - 1) / 2)
        speed = float(np.exp(generator.uniform(-1, 1) * np.log(recipe.augmentation.speed)))
        window = np.round(self._begins[index] - reach[0] + speed * reach).astype(int).clip(0, len(frames) - 1)
        with torch.random.fork_rng(devices=[]):  # torchvision's transforms use only torch's global generator
            torch.manual_seed(int(generator.integers(2**63)))
            return self._transform(frames[window])

    def inputs(self, batch: torch.Tensor) -> torch.Tensor:
        return self._normalise(batch.transpose(1, 2))  # (B, 3, T, H, W)


def agreement(model: nn.Module, taught: Taught, recipe: Recipe) -> float:
    """Share of the windows that it learnt from, of at most some thousand, of which a student says what its teachers do.

    That is the label with the highest score; of several labels the share that both say of a window, or do not.
    """
    plain = Augmentation(crop=1, flip=False, colour=0, speed=1)
    device = distributed.device()
    windows = TaughtWindows([*taught.labelled, *taught.unlabelled], replace(recipe, augmentation=plain), device)
    generator = np.random.default_rng(recipe.seed)
    chosen = generator.permutation(len(windows.truth))[:_COMPARED]
    alike = 0.0
    with torch.inference_mode():
        for batch in np.array_split(chosen, -(-len(chosen) // _BATCH)):
            clips = torch.stack([windows.sample(int(i), generator) for i in batch])
            logits, taught_scores = model(windows.inputs(clips)).cpu().numpy(), windows.truth[batch]
            if recipe.multi_label:
                alike += float(((logits > 0) == (taught_scores > SAID)).mean(1).sum())
            else:
                alike += float((logits.argmax(1) == taught_scores.argmax(1)).sum())
    return alike / len(chosen)


def _some(rows: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """As many of the rows as there are windows half a window apart, drawn anew for each epoch."""
    drawn = np.random.default_rng([seed, epoch]).permutation(rows)
    return np.resize(drawn, max(2, len(rows) // _DENSER))  # batch normalisation needs two, though it be one twice


def _trained_stages(recipe: Recipe) -> int:
    """As `Recipe.trained_stages` says of architectures whose other stages are pretrained."""
    if recipe.trained_stages is None:
        return int(FittedHead.is_meant(recipe) or FrozenFeatures.is_meant(recipe))
    return recipe.trained_stages
