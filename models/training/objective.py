"""What training minimises: a network and a batch in, a loss out. The loop knows nothing else about the task.

batch ──▶ mix (MixUp, CutMix) ──▶ network ──▶ logits ──▶ loss against the mixed labels
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import nn

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
    labels: torch.Tensor  # (B,)


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


def _loss(recipe: Recipe, counts: np.ndarray, device: torch.device) -> Loss:
    weights = torch.tensor(class_weights(counts), dtype=torch.float32, device=device)
    if recipe.imbalance == "focal":
        return lambda logits, targets: focal_loss(logits, targets, weights, label_smoothing=recipe.label_smoothing)
    if recipe.imbalance == "logit-adjust":
        return LogitAdjustment(counts, label_smoothing=recipe.label_smoothing).to(device)
    return nn.CrossEntropyLoss(
        weight=weights if recipe.imbalance == "weights" else None, label_smoothing=recipe.label_smoothing
    )
