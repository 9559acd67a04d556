"""Train the head of a CNN-LSTM on the features of its frozen image network, which are computed once for all folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from models.networks.cnn_lstm import CnnLstm
from models.networks.ensemble import Averaged
from models.training import distributed
from models.training.loop import Progress, Samples, Trained
from models.training.material.footage import TrainingSet
from models.training.material.imbalance import synthetic_minority
from models.training.material.samples import Features, FixedWindows, Normalise, scores_of, video_features
from models.training.recipe import Recipe
from models.training.transfer import build_network

from .steps import run_steps
from .strategy import EpochLog, Part


class FrozenFeatures:
    """Gradient steps of a recurrent head."""

    has_epochs: ClassVar = True
    learns_all_looks: ClassVar = False

    def __init__(self, data: TrainingSet, recipe: Recipe, progress: Progress, log: EpochLog) -> None:
        self._data, self._recipe, self._progress, self._log = data, recipe, progress, log
        self._device = distributed.device()

    @staticmethod
    def check(recipe: Recipe) -> None:
        """Every recipe can be followed."""

    @staticmethod
    def is_meant(recipe: Recipe) -> bool:
        """Whether a recipe asks for it: a CNN-LSTM, or an ensemble of some, of which only the head learns."""
        name = recipe.architecture.rpartition("*")[2].partition(":")[0]
        return name in {"cnn_lstm", "cnn_bilstm"} and recipe.trained_stages in {None, 1}

    def train(self, part: Part) -> Trained[CnnLstm]:
        torch.manual_seed(part.recipe.seed)
        network = build_network(part.recipe, self._data.labels, self._device).eval()
        assert isinstance(network, CnnLstm)
        features = self._features(network)
        samples: Samples = features
        rows = part.learnt
        if part.recipe.imbalance == "smote":
            samples = self._with_synthetic(features, rows)
            rows = np.arange(len(samples.truth))
        trained = run_steps(
            network.head,
            samples,
            rows,
            replace(part, recipe=replace(part.recipe, layer_decay=1.0)),  # a head is one stage
            self._data,
            score=lambda head, index: _scores(head, features, index, part.recipe),
            progress=self._progress,
            log=self._log,
        )
        network.head = trained.model
        return Trained(network.eval(), trained.epochs, trained.waiting, trained.curve)

    def score(self, model: CnnLstm, index: int) -> np.ndarray:
        return _scores(model.head, self._features(model), index, self._recipe)

    def average(self, models: Sequence[CnnLstm]) -> CnnLstm:
        """Average the heads; the image network is the same in all."""
        whole = models[0]
        whole.head = Averaged(m.head for m in models)
        return whole.eval()

    def architecture(self) -> str:
        return self._recipe.architecture

    def describe_recipe(self) -> dict[str, Any]:
        return self._recipe.describe()

    def provenance(self, model: CnnLstm) -> dict[str, Any]:  # noqa: ARG002  weights and recipe tell all
        return {}

    def _features(self, network: CnnLstm) -> Features:
        return self._data.once("features of a frozen image network", lambda: self._compute(network))

    def _compute(self, network: CnnLstm) -> Features:
        videos, normalise = self._data.videos, Normalise(self._recipe.architecture, self._device)

        def compute(index: int) -> dict[str, np.ndarray]:
            seed = self._recipe.seed + index + 1
            found = video_features(network, videos[index].frames, self._recipe, normalise, seed=seed)
            return {"rows": found.cpu().numpy()}

        kept = self._data.computed("features of a frozen image network", compute)
        kept.all(len(videos), lambda done, total: self._progress("features", done, total))
        return Features(lambda index: kept.part(index, "rows"), self._data.targets, self._recipe, self._device)

    def _with_synthetic(self, features: Features, rows: np.ndarray) -> FixedWindows:
        """The windows of all views of the videos, as other remedies see them, with synthetic ones of rare labels."""
        real = [np.concatenate(features.views_of(int(i))) for i in rows]
        truth = np.repeat(self._data.truth[rows], [len(w) for w in real])
        made, truth = synthetic_minority(np.concatenate(real), truth, self._data.labels, seed=self._recipe.seed)
        return FixedWindows(made.astype(np.float32), truth, self._device)


def _scores(head: nn.Module, features: Features, index: int, recipe: Recipe) -> np.ndarray:
    with torch.inference_mode():
        return scores_of(torch.cat([head(windows) for windows in features.windows_of(index)]), recipe)
