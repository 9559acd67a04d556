"""Networks that look at each picture once, so that windows can share what was found in a picture.

pictures    x0  x1  x2  x3 …         encode, once each: `Factored`; or step from one to the next: `Continual`
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

    #: In how many views it sees a picture: 2 are the whole and a close one where most moves (models/windows/views.py).
    views: ClassVar[int] = 1

    @abstractmethod
    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Normalised pictures, or views of them, (N, 3, H, W) to features (N, F)."""

    @abstractmethod
    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """Features of the pictures of windows (B, T, F) to logits (B, L); of two views (B, T, 2 F), the whole first."""


class Continual(nn.Module, ABC):
    """A network for clips that goes from picture to picture with explicit state.

    `forward` of a clip is `classify` of its `features`, and these are what stepping through the clip gives.
    """

    @property
    @abstractmethod
    def context(self) -> int:
        """On how many pictures before it the features of a picture depend; also the number of tensors of the state."""

    @abstractmethod
    def features(self, clips: torch.Tensor) -> torch.Tensor:
        """Normalised clips (B, 3, T, H, W) to the features (B, T, F) of their pictures."""

    @abstractmethod
    def step(
        self, images: torch.Tensor, begins: torch.Tensor, *state: torch.Tensor
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """One picture of each of N runs to its features (N, F) and the state after it.

        Args:
            images: normalised pictures (N, 3, H, W).
            begins: (N,), 1 where a picture is the first of its run and the state does not count, else 0.
            state: after the pictures before, as this returned it; where all begin, scalars will do.
        """

    @abstractmethod
    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """Features of the pictures of windows (B, T, F) to logits (B, L)."""
