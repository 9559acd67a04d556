"""A head that also tells how far descriptors are from all that were learnt.

    descriptors (B, F) ─┬─▶ head ───────────────────────────────────▶ logits of labels
                        └─▶ unit length ─▶ distance from the k-th nearest known row ─▶ logit of `unknown`

After Sun, Ming, Zhu and Li, "Out-of-Distribution Detection with Deep Nearest Neighbors", ICML 2022. What logits say,
such as their maximum, tells nothing of strangers where labels are two: docs/accuracy.md.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from models.contract import Unknown


class OpenSetHead(nn.Module):
    """Descriptors (B, F) to logits (B, L + 1), that of `unknown` last."""

    known: torch.Tensor

    def __init__(self, head: nn.Module, known: torch.Tensor, unknown: Unknown) -> None:
        """`known` (N, F) at unit length."""
        super().__init__()
        self.head, self._unknown = head, unknown
        self.register_buffer("known", known)

    def forward(self, descriptors: torch.Tensor) -> torch.Tensor:
        distance = distances(descriptors, self.known, self._unknown.neighbours)
        logit = (distance - self._unknown.threshold) / self._unknown.softness
        return torch.cat([self.head(descriptors), logit[:, None]], dim=1)


def distances(descriptors: torch.Tensor, known: torch.Tensor, neighbours: int) -> torch.Tensor:
    """Distances (B,) of descriptors (B, F) from the `neighbours`-th nearest of the known rows (N, F)."""
    # By differences: in bfloat16 the product of what is nearly alike would lose what tells it apart.
    apart = functional.normalize(descriptors, dim=1)[:, None] - known[None]  # (B, N, F)
    nearest = torch.topk(apart.square().sum(2), neighbours, dim=1, largest=False).values
    return nearest[:, -1].sqrt()
