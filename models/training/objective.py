"""What training minimises: a network and a batch in, a loss out. The loop knows nothing else about the task.

batch ──▶ mix (MixUp, CutMix) ──▶ network ──▶ logits ──▶ loss against the mixed labels, or a teacher's mixed scores

Labels exclude one another, or a sample may have several: then each has a loss of its own, and these are added up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from models.evaluation.scores import LEAST_SCORE

from .material.augmentation import BatchMix
from .material.imbalance import LogitAdjustment, class_weights, focal_loss, positive_weights
from .recipe import Recipe

#: A loss of logits (B, L) against probabilities (B, L), averaged over the batch.
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Batch:
    """Some samples, on the device that trains."""

    #: As the network takes them, such as clips (B, 3, T, H, W) or features (B, T, F).
    inputs: torch.Tensor
    #: (B,); or which labels each sample has, or what teachers say of it, (B, L).
    labels: torch.Tensor


class Objective(Protocol):
    """A loss to minimise."""

    def __call__(self, network: nn.Module, batch: Batch) -> torch.Tensor:
        """The mean loss of the network over the batch, a scalar; gradients flow into the network."""


class Classification:
    """Predict the label or labels of each sample, with the recipe's mixing, smoothing and remedy for imbalance."""

    def __init__(self, recipe: Recipe, truth: np.ndarray, classes: int, device: torch.device) -> None:
        """`truth` is that of the samples to learn from: (M,), or (M, L) where they may have several labels."""
        self._mix = BatchMix(recipe.augmentation, classes)
        self._loss = (
            _independent_loss(recipe, truth, device)
            if recipe.multi_label
            else _loss(recipe, np.bincount(truth, minlength=classes), device)
        )

    def __call__(self, network: nn.Module, batch: Batch) -> torch.Tensor:
        inputs, targets = self._mix(batch.inputs, batch.labels)
        kind = inputs.device.type
        with torch.autocast("cuda", torch.bfloat16, enabled=kind == "cuda"):
            logits = network(inputs)
        return self._loss(logits.float(), targets)


class Imitation:
    """Give the scores that teachers give (Hinton et al., 2015, section 2), with the recipe's mixing.

    T² KL(p || q) of the scores of both at temperature T, averaged over the batch: a higher T makes more of what the
    teachers find unlikely, and T² keeps the size of the gradients. 0 where the student says the same. Where a sample
    may have several labels, it is the sum over labels, each of which is there or not.
    """

    def __init__(self, recipe: Recipe, classes: int, temperature: float) -> None:
        self._mix = BatchMix(recipe.augmentation, classes)
        self._temperature, self._independent = temperature, recipe.multi_label

    def __call__(self, network: nn.Module, batch: Batch) -> torch.Tensor:
        inputs, scores = self._mix(batch.inputs, batch.labels)
        with torch.autocast("cuda", torch.bfloat16, enabled=inputs.device.type == "cuda"):
            logits = network(inputs)
        student, teacher = logits.float(), scores.clamp_min(LEAST_SCORE).log()
        if self._independent:
            # Each label is one of two, there or not: the logits of which are z and 0.
            teacher = teacher - (1 - scores).clamp_min(LEAST_SCORE).log()
            student, teacher = (torch.stack([z, torch.zeros_like(z)], dim=1) for z in (student, teacher))  # (B, 2, L)
        student, teacher = (functional.log_softmax(z / self._temperature, dim=1) for z in (student, teacher))
        return self._temperature**2 * functional.kl_div(student, teacher, reduction="batchmean", log_target=True)


def _independent_loss(recipe: Recipe, truth: np.ndarray, device: torch.device) -> Loss:
    """Binary cross entropy of each label, added up over labels; "focal" after Lin et al., ICCV 2017, equation 5."""
    # Counted as float64: of thousands of samples float32 would do, of more it would not.
    positive = positive_weights(truth.sum(0, dtype=np.float64), len(truth))
    weights = torch.tensor(positive, dtype=torch.float32, device=device)

    def loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        wanted = targets * (1 - recipe.label_smoothing) + recipe.label_smoothing / 2
        if recipe.imbalance == "focal":
            each = sigmoid_focal_loss(logits, wanted, alpha=-1, gamma=2)
            each = each * (1 + (weights - 1) * wanted)
        else:
            given = weights if recipe.imbalance == "weights" else None
            each = functional.binary_cross_entropy_with_logits(logits, wanted, pos_weight=given, reduction="none")
        total: torch.Tensor = each.sum(1).mean()
        return total

    return loss


def _loss(recipe: Recipe, counts: np.ndarray, device: torch.device) -> Loss:
    weights = torch.tensor(class_weights(counts), dtype=torch.float32, device=device)
    if recipe.imbalance == "focal":
        return lambda logits, targets: focal_loss(logits, targets, weights, label_smoothing=recipe.label_smoothing)
    if recipe.imbalance == "logit-adjust":
        return LogitAdjustment(counts, label_smoothing=recipe.label_smoothing).to(device)
    return nn.CrossEntropyLoss(
        weight=weights if recipe.imbalance == "weights" else None, label_smoothing=recipe.label_smoothing
    )
