"""Train a network on pixels by gradient steps: all of it, or its last stages (transfer.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final

import numpy as np
import torch
from torch import nn

from models.errors import TrainingError
from models.evaluation.figures import evaluate
from models.evaluation.scores import WindowScores
from models.networks.ensemble import Averaged
from models.networks.factored import Continual
from models.training import distributed
from models.training.loop import Progress, Run, Samples, Trained, train
from models.training.material.footage import TrainingSet
from models.training.material.imbalance import oversampled
from models.training.material.samples import OVERSAMPLE, Normalise, Pixels, scores_of
from models.training.objective import Classification, Objective
from models.training.recipe import Recipe
from models.training.transfer import build_network, freeze
from models.windows.frames import Frames
from models.windows.windowing import in_batches, sliding_windows, with_context

from .fitted_head import check_motion_clips
from .strategy import EpochLog, Part

_EVALUATION_BATCH: Final = 32


class Steps:
    """Gradient steps on windows of pixels, which are augmented anew in each epoch."""

    has_epochs: ClassVar = True
    learns_all_looks: ClassVar = False

    def __init__(self, data: TrainingSet, recipe: Recipe, progress: Progress, log: EpochLog) -> None:
        self._data, self._recipe, self._progress, self._log = data, recipe, progress, log
        self._device = distributed.device()
        self._normalise = Normalise(recipe.architecture, self._device)

    @staticmethod
    def check(recipe: Recipe) -> None:
        check_motion_clips(recipe)
        if recipe.imbalance == "smote":
            raise TrainingError(
                "imbalance 'smote' interpolates features, not pixels: it needs a model of which only the head learns "
                "(cnn_lstm, movenet_motion), or a classical one"
            )
        if recipe.imbalance == "ensemble" and recipe.architecture.startswith(("cnn_lstm", "cnn_bilstm")):
            raise TrainingError("an ensemble of CNN-LSTMs shares its image network, so only their heads may learn")

    def train(self, part: Part) -> Trained[nn.Module]:
        torch.manual_seed(part.recipe.seed)
        network = build_network(part.recipe, self._data.labels, self._device)
        samples = Pixels([v.frames for v in self._data.videos], self._data.targets, part.recipe, self._device)
        frozen = freeze(network, part.recipe.trained_stages or 0)
        return run_steps(
            network,
            samples,
            part.learnt,
            part,
            self._data,
            score=self.score,
            frozen=frozen,
            progress=self._progress,
            log=self._log,
        )

    def score(self, model: nn.Module, index: int) -> np.ndarray:
        frames = self._data.videos[index].frames
        windows = sliding_windows(len(frames), self._recipe.frames, OVERSAMPLE)  # (W, T)
        with torch.inference_mode():
            if isinstance(model, Continual):
                rows = [self._with_context(model, frames, window) for window in windows.tolist()]
                return scores_of(torch.cat(rows), self._recipe)
            batches = (
                torch.from_numpy(np.array(frames[batch])).permute(0, 4, 1, 2, 3)  # (B, 3, T, H, W)
                for batch in in_batches(windows, _EVALUATION_BATCH)
            )
            return scores_of(torch.cat([model(self._normalise(batch)) for batch in batches]), self._recipe)

    def _with_context(self, model: Continual, frames: Frames, window: list[int]) -> torch.Tensor:
        """Logits (1, L) of a window as it will be served: what was before it counts, too."""
        run = with_context(window, model.context)
        clip = torch.from_numpy(np.array(frames[np.array(run)]))[None].permute(0, 4, 1, 2, 3)
        return model.classify(model.features(self._normalise(clip))[:, -len(window) :])

    def average(self, models: Sequence[nn.Module]) -> nn.Module:
        return Averaged(models).eval()

    def architecture(self) -> str:
        return self._recipe.architecture

    def describe_recipe(self) -> dict[str, Any]:
        return self._recipe.describe()

    def provenance(self, model: nn.Module) -> dict[str, Any]:  # noqa: ARG002  weights and recipe tell all
        return {}


def run_steps(
    network: nn.Module,
    samples: Samples,
    rows: np.ndarray,
    part: Part,
    data: TrainingSet,
    *,
    score: Callable[[nn.Module, int], np.ndarray],
    objective: Objective | None = None,
    order: Callable[[int], np.ndarray] | None = None,
    frozen: Sequence[nn.Module] = (),
    progress: Progress,
    log: EpochLog,
) -> Trained[nn.Module]:
    """Train `network` on the `rows` of `samples`.

    Args:
        network: what learns.
        samples: what it learns from.
        rows: indices of the samples of each epoch.
        part: what is trained.
        data: the videos that choose the best epoch.
        score: gives the scores of a video.
        objective: what is minimised; None: the recipe's loss of labels.
        order: the rows of each epoch in order; None: all of them, as the recipe says.
        frozen: modules that do not learn.
        progress: told how many epochs are done.
        log: told the figures of each epoch.
    """
    recipe, device = part.recipe, distributed.device()
    if objective is None:
        objective = Classification(recipe, samples.truth[rows], len(data.labels), device)

    def judge(candidate: nn.Module) -> float:
        with torch.inference_mode():
            scores = distributed.share_out(part.chooses_epoch, lambda index: score(candidate, index))
        return metric_of(data.window_scores(part.chooses_epoch, scores.__getitem__), recipe.metric)

    def watch(candidate: nn.Module) -> float:
        with torch.inference_mode():
            scores = distributed.share_out(part.watched, lambda index: score(candidate, index))
        clips = data.window_scores(part.watched, scores.__getitem__).by_clip()
        return evaluate(clips, rounds=0).main.value

    return train(
        network,
        Run(
            part.name,
            recipe,
            samples,
            objective,
            order or _order(rows, samples.truth, recipe),
            device,
            frozen,
            judge if len(part.chooses_epoch) else None,
            watch if len(part.watched) else None,
            part.last_epoch,
            part.state,
        ),
        progress,
        lambda stats: log(part.name, stats),
    )


def _order(rows: np.ndarray, truth: np.ndarray, recipe: Recipe) -> Callable[[int], np.ndarray]:
    def order(epoch: int) -> np.ndarray:
        generator = np.random.default_rng([recipe.seed, epoch])
        if recipe.imbalance == "oversample":
            return oversampled(rows, truth, generator)
        return generator.permutation(rows)

    return order


def metric_of(clips: WindowScores, name: str) -> float:
    """The recipe's metric, better when larger; the loss is that of windows, which training minimises."""
    if name == "loss":
        return -clips.log_loss()
    return evaluate(clips.by_clip(), rounds=0).figures[name].value
