"""Networks that look at each picture by itself first, so that windows can share what was found in a picture.

pictures    x0  x1  x2  x3 …         encode, once each
features    f0  f1  f2  f3 …
windows    [f0  f1  f2]              classify
[f1  f2  f3]
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import nn


class Factored(nn.Module, ABC):
    """A network for clips whose `forward` is `classify` of what `encode` finds in each picture."""

    #: In how many views it sees a picture: 2 are the whole and a close one where most moves (models/views.py).
    views: ClassVar[int] = 1

    @abstractmethod
    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Normalised pictures, or views of them, (N, 3, H, W) to features (N, F)."""

    @abstractmethod
    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """Features of the pictures of windows (B, T, F) to logits (B, L); of two views (B, T, 2 F), the whole first."""
