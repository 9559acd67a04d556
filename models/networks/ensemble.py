"""Several networks, or several heads, whose scores are averaged."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


class Averaged(nn.Module):
    """Mean of the members' scores, as logits: log of the mean of their softmax, (B, L)."""

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        scores = torch.stack([torch.softmax(member(inputs), dim=1) for member in self.members])  # (M, B, L)
        return torch.log(scores.mean(0).clamp_min(1e-12))
