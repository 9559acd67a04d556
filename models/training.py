"""Training on a processor or a GPU: from labelled footage to a checkpoint, with honest figures about it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from sklearn.model_selection import StratifiedGroupKFold
from torch import nn
from torch.nn import functional

from .cnn_lstm import CnnLstm
from .contract import Contract, Threshold
from .errors import TrainingError
from .evaluation import Evaluation, Judged, choose_thresholds, evaluate, fit_temperature
from .windows import windows
from .zoo import create, statistics

#: Footage is sampled this much more densely than the model looks, so that phase and speed can vary in training.
OVERSAMPLE: Final = 2
_FEATURE_BATCH: Final = 64
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
class Recipe:
    """How to train."""

    architecture: str = "cnn_lstm"
    frames: int = 8
    spacing_seconds: float = 0.2
    size: int = 160
    epochs: int = 12
    batch: int = 16
    learning_rate: float = 5e-4
    weight_decay: float = 0.1
    label_smoothing: float = 0.1
    seed: int = 0
    #: Labels that never make an event.
    quiet: tuple[str, ...] = ("normal",)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Held-out scores of every video that was held out and counted, and what follows from them."""

    judged: Judged
    evaluation: Evaluation
    temperature: float
    thresholds: Mapping[str, Threshold]

    def metrics(self) -> dict[str, Any]:
        """What a checkpoint says of itself."""
        found = self.evaluation.figures
        return {
            "videos": self.evaluation.clips,
            "groups": self.evaluation.groups,
            "accuracy": round(found["accuracy"].value, 4),
            "low": round(found["accuracy"].low, 4),
            "high": round(found["accuracy"].high, 4),
            **{
                name: None if np.isnan(found[name].value) else round(found[name].value, 4)
                for name in ("balanced_accuracy", "macro_f1", "auc", "calibration_error")
            },
        }


Progress = Callable[[str, int, int], None]


class Trainer:
    """Trains and cross-validates one recipe on one set of footage; features of a frozen backbone are made once."""

    def __init__(self, footage: Sequence[Footage], recipe: Recipe, progress: Progress = lambda *_: None) -> None:
        """Check the data.

        Raises:
            TrainingError: fewer than two labels, a label in one group only, or pictures of differing sizes.
        """
        self._recipe, self._progress = recipe, progress
        self._footage = list(footage)
        self.labels = tuple(sorted({f.label for f in footage}, key=lambda n: (n not in recipe.quiet, n)))
        if len(self.labels) < 2:
            raise TrainingError(f"labels {self.labels}: expected at least two, to tell apart")
        for label in self.labels:
            groups = {f.group for f in footage if f.label == label}
            if len(groups) < 2:
                raise TrainingError(
                    f"label {label!r}: all of its footage is of one group ({groups.pop()!r}), so none can be held out"
                )
        sizes = {f.frames.shape[1:] for f in footage}
        if sizes != {(recipe.size, recipe.size, 3)}:
            raise TrainingError(f"pictures of {sorted(sizes)}: expected all {recipe.size}x{recipe.size}x3")
        self._truth = np.array([self.labels.index(f.label) for f in footage])
        self._groups = np.array([f.group for f in footage])
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        mean, std = statistics(recipe.architecture)
        self._mean = torch.tensor(mean, device=self._device).view(1, 3, 1, 1, 1)
        self._std = torch.tensor(std, device=self._device).view(1, 3, 1, 1, 1)
        self._features: list[torch.Tensor] | None = None

    def split(self, folds: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Indices (train, held out) of each fold; no group is in both."""
        folds = min(folds, *(len(set(self._groups[self._truth == k])) for k in range(len(self.labels))))
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=self._recipe.seed)
        return list(splitter.split(self._truth, self._truth, self._groups))

    def validate(
        self, folds: int, only: Callable[[Footage], bool] = lambda _: True, used: int | None = None
    ) -> Outcome:
        """Train on all folds but one, score that one, for each of the first `used` folds (all if None).

        `only` chooses the videos that are counted; the others still train.
        """
        held: list[int] = []
        rows: list[np.ndarray] = []
        splits = self.split(folds)[:used]
        for number, (train, test) in enumerate(splits):
            network = self._fit(train, f"fold {number + 1} of {len(splits)}")
            held += [int(i) for i in test]
            rows += [self._score(network, int(i)) for i in test]
        counted = np.array([only(self._footage[i]) for i in held])
        if not counted.any():
            raise TrainingError("none of the held-out videos is one of those to be counted")
        # Thresholds learn from every held-out video; figures speak of those that were asked about.
        everything = self._judged(np.array(held), np.stack(rows))
        temperature = fit_temperature(everything.truth, everything.scores)
        thresholds = choose_thresholds(everything.cooled(temperature), self._recipe.quiet, _FALSE_ALARM_RATE)
        judged = self._judged(np.array(held)[counted], np.stack(rows)[counted]).cooled(temperature)
        return Outcome(judged, evaluate(judged, seed=self._recipe.seed), temperature, thresholds)

    def fit(self) -> nn.Module:
        """Train on everything."""
        return self._fit(np.arange(len(self._footage)), "all footage")

    def contract(self, outcome: Outcome, training: dict[str, Any]) -> Contract:
        """The contract of a model trained so; thresholds from held-out scores."""
        recipe = self._recipe
        mean, std = statistics(recipe.architecture)
        return Contract(
            architecture=recipe.architecture,
            labels=self.labels,
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

    def _fit(self, train: np.ndarray, name: str) -> nn.Module:
        recipe = self._recipe
        torch.manual_seed(recipe.seed)
        generator = np.random.default_rng(recipe.seed)
        network = create(
            recipe.architecture, len(self.labels), frames=recipe.frames, size=recipe.size, pretrained=True
        ).to(self._device)
        # The backbone of a CNN-LSTM is frozen, its batch normalisation too: features are those of evaluation.
        network.eval()
        trained: nn.Module = network.head if isinstance(network, CnnLstm) else network
        features = self._all_features(network) if isinstance(network, CnnLstm) else None
        optimiser = torch.optim.AdamW(trained.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
        steps = recipe.epochs * math.ceil(len(train) / recipe.batch)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, max_lr=recipe.learning_rate, total_steps=max(steps, 2), pct_start=0.15
        )
        counts = np.bincount(self._truth[train], minlength=len(self.labels))
        weights = torch.tensor(counts.sum() / (len(counts) * np.maximum(counts, 1)), dtype=torch.float32)
        loss = nn.CrossEntropyLoss(weight=weights.to(self._device), label_smoothing=recipe.label_smoothing)
        trained.train()
        for epoch in range(recipe.epochs):
            order = generator.permutation(train)
            for begin in range(0, len(order), recipe.batch):
                chosen = order[begin : begin + recipe.batch]
                if len(chosen) < 2:
                    continue  # batch normalisation needs two
                if features is not None:
                    inputs = torch.stack([self._varied_features(features[i], generator) for i in chosen])
                else:
                    inputs = self._varied_clips([self._footage[i].frames for i in chosen], generator)
                optimiser.zero_grad()
                error = loss(trained(inputs), torch.tensor(self._truth[chosen], device=self._device))
                error.backward()
                nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
                optimiser.step()
                schedule.step()
            self._progress(name, epoch + 1, recipe.epochs)
        return network.eval()

    def _score(self, network: nn.Module, index: int) -> np.ndarray:
        """Mean score (L,) over the windows of one video, half a window apart, as the worker sees them."""
        recipe, footage = self._recipe, self._footage[index]
        places = windows(len(footage.frames), recipe.frames, OVERSAMPLE)  # (W, T)
        with torch.inference_mode():
            if isinstance(network, CnnLstm):
                features = self._all_features(network)[index][0]  # (N, F), not flipped
                logits = network.head(features[places])
            else:
                clips = torch.from_numpy(footage.frames[places])
                logits = network(self._normalised(clips))
            score: np.ndarray = functional.softmax(logits, dim=1).mean(0).cpu().numpy()
            return score

    def _all_features(self, network: CnnLstm) -> list[torch.Tensor]:
        """For each video the features of its frames as they are and flipped, (2, N, F)."""
        if self._features is None:
            features = []
            with torch.inference_mode():
                for done, footage in enumerate(self._footage):
                    frames = torch.from_numpy(footage.frames)  # (N, H, W, 3)
                    both = torch.stack([frames, frames.flip(2)])  # (2, N, H, W, 3)
                    rows = [
                        network.frame_features(self._normalised(part[None])[0].transpose(0, 1))
                        for part in torch.split(both.flatten(0, 1), _FEATURE_BATCH)
                    ]
                    features.append(torch.cat(rows).view(2, len(frames), -1).clone())
                    self._progress("features", done + 1, len(self._footage))
            self._features = [f.clone() for f in features]
        return self._features

    def _normalised(self, clips: torch.Tensor) -> torch.Tensor:
        pixels = clips.to(self._device).permute(0, 4, 1, 2, 3).float() / 255  # (B, 3, T, H, W)
        return (pixels - self._mean) / self._std

    def _varied_features(self, features: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
        """One window (T, F) at a random place and speed, flipped or not."""
        return features[generator.integers(2), _random_window(features.shape[1], self._recipe.frames, generator)]

    def _varied_clips(self, videos: Sequence[np.ndarray], generator: np.random.Generator) -> torch.Tensor:
        """One window a video at a random place and speed, flipped, cropped and lit alike in all of its frames."""
        size = self._recipe.size
        clips = []
        for frames in videos:
            clip = torch.from_numpy(frames[_random_window(len(frames), self._recipe.frames, generator)])
            pixels = clip.permute(3, 0, 1, 2).float()  # (3, T, H, W)
            if generator.random() < 0.5:
                pixels = pixels.flip(3)
            side = int(size * generator.uniform(0.75, 1.0))
            top, left = generator.integers(size - side + 1), generator.integers(size - side + 1)
            pixels = functional.interpolate(
                pixels[:, :, top : top + side, left : left + side], (size, size), mode="area"
            )
            pixels = (pixels - 128) * generator.uniform(0.7, 1.3) + 128 + generator.uniform(-30, 30)
            clips.append(pixels.clamp(0, 255))
        batch = torch.stack(clips).to(self._device) / 255  # (B, 3, T, H, W)
        return (batch - self._mean) / self._std

    def _judged(self, held: np.ndarray, scores: np.ndarray) -> Judged:
        return Judged(
            self.labels,
            self._truth[held],
            scores.astype(np.float64),
            tuple(self._groups[held]),
            tuple(self._footage[i].name for i in held),
        )


def _random_window(length: int, frames: int, generator: np.random.Generator) -> np.ndarray:
    step = OVERSAMPLE * generator.uniform(0.75, 1.3)
    begin = generator.uniform(0, max(0.0, length - 1 - step * (frames - 1)))
    places: np.ndarray = np.minimum(np.floor(begin + step * np.arange(frames)).astype(int), length - 1)
    return places
