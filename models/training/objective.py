"""What training minimises: a network and a batch in, a loss out. The loop knows nothing else about the task.

batch ──▶ mix (MixUp, CutMix) ──▶ network ──▶ logits ──▶ loss against the mixed labels, or a teacher's mixed scores
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from models.evaluation.scores import LEAST_SCORE

from .augmentation import BatchMix
from .imbalance import LogitAdjustment, class_weights, focal_loss
from .recipe import Recipe

#: A loss of logits (B, L) against probabilities (B, L), averaged over the batch.
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Batch:
    """Some samples, on the device that trains."""

    #: As the network takes them, such as clips (B, 3, T, H, W) or features (B, T, F).
    inputs: torch.Tensor
    #: (B,), or what teachers say of each sample, (B, L): scores that sum to one.
    labels: torch.Tensor


class Objective(Protocol):
    """A loss to minimise."""

    def __call__(self, network: nn.Module, batch: Batch) -> torch.Tensor:
        """The mean loss of the network over the batch, a scalar; gradients flow into the network."""


class Classification:
    """Predict the label of each sample, with the recipe's mixing, label smoothing and remedy for imbalance."""

    def __init__(self, recipe: Recipe, counts: np.ndarray, device: torch.device) -> None:
        """`counts` (L,) says how many samples of each label there are to learn from."""
        self._mix = BatchMix(recipe.augmentation, len(counts))
        self._loss = _loss(recipe, counts, device)

    def __call__(self, network: nn.Module, batch: Batch) -> torch.Tensor:
        inputs, targets = self._mix(batch.inputs, batch.labels)
        kind = inputs.device.type
        with torch.autocast("cuda", torch.bfloat16, enabled=kind == "cuda"):
            logits = network(inputs)
        return self._loss(logits.float(), targets)


class Imitation:
    """Give the scores that teachers give (Hinton et al., 2015, section 2), with the recipe's mixing.

    T² KL(p || q) of the scores of both at temperature T, averaged over the batch: a higher T makes more of what the
    teachers find unlikely, and T² keeps the size of the gradients. 0 where the student says the same.
    """

    def __init__(self, recipe: Recipe, classes: int, temperature: float) -> None:
        self._mix = BatchMix(recipe.augmentation, classes)
        self._temperature = temperature

    def __call__(self, network: nn.Module, batch: Batch) -> torch.Tensor:
        inputs, scores = self._mix(batch.inputs, batch.labels)
        with torch.autocast("cuda", torch.bfloat16, enabled=inputs.device.type == "cuda"):
            logits = network(inputs)
        student = functional.log_softmax(logits.float() / self._temperature, dim=1)
        teacher = functional.log_softmax(scores.clamp_min(LEAST_SCORE).log() / self._temperature, dim=1)
        return self._temperature**2 * functional.kl_div(student, teacher, reduction="batchmean", log_target=True)


def _loss(recipe: Recipe, counts: np.ndarray, device: torch.device) -> Loss:
    weights = torch.tensor(class_weights(counts), dtype=torch.float32, device=device)
    if recipe.imbalance == "focal":
        return lambda logits, targets: focal_loss(logits, targets, weights, label_smoothing=recipe.label_smoothing)
    if recipe.imbalance == "logit-adjust":
        return LogitAdjustment(counts, label_smoothing=recipe.label_smoothing).to(device)
    return nn.CrossEntropyLoss(
        weight=weights if recipe.imbalance == "weights" else None, label_smoothing=recipe.label_smoothing
    )
