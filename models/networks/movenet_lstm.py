"""A CNN-LSTM: what a pose network sees change in two views, time after time, read by an LSTM.

    maps      of both views of each picture, as in movenet_views.py
    steps     |ft+1 - 2 ft + ft-1|, the maximum over places, and what is in the picture then    (B, T-2, F)
    whole     the same as movenet_views.py describes the window: mean over time first           (B, 1, F)
    LSTM      of the steps, projected; its states averaged, one linear layer
    linear    of the whole; the logits of both are added

The linear layer says how much goes on at one place, the LSTM in what order. Alone, either does less (docs/accuracy.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import torch
from torch import nn

from .movenet_views import MoveNetViews

#: Numbers that are projected from those of a step, and the LSTM's state.
_WIDTH: Final = 96
_DROPOUT: Final = 0.3
#: Inputs have this root mean square over all features together.
_SIZE: Final = 8.0


class ChangeLstm(nn.Module):
    """Descriptors (B, 1 + T-2, F), the whole first, to logits (B, L)."""

    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        for name, value in (("shift", 0.0), ("scale", 1.0)):  # of the whole, and of every step
            self.register_buffer(name, torch.full((2, features), value))
        self.linear = nn.Linear(features, classes)
        self.project = nn.Linear(features, _WIDTH)
        self.lstm = nn.LSTM(_WIDTH, _WIDTH, batch_first=True)
        self.classify = nn.Linear(_WIDTH, classes)
        self.dropout = nn.Dropout(_DROPOUT)

    def standardise(self, rows: torch.Tensor) -> None:
        """Take mean and deviation of features from rows (M, 1 + T-2, F)."""
        for number, part in enumerate((rows[:, :1], rows[:, 1:])):
            self.shift[number] = part.mean((0, 1))
            self.scale[number] = _SIZE / math.sqrt(rows.shape[2]) / (part.std((0, 1)) + 1e-4)

    def forward(self, descriptors: torch.Tensor) -> torch.Tensor:
        whole = (descriptors[:, 0] - self.shift[0]) * self.scale[0]
        steps = (descriptors[:, 1:] - self.shift[1]) * self.scale[1]
        states, _ = self.lstm(self.dropout(self.project(steps)))
        logits: torch.Tensor = self.classify(self.dropout(states).mean(1)) + self.linear(whole)
        return logits


class MoveNetLstm(MoveNetViews):
    """Normalised clips (B, 3, T, 2S, 2S) to logits (B, L)."""

    head: ChangeLstm  # type: ignore[assignment]  # reads another form of descriptors

    def __init__(self, classes: int, *, size: int = 384, pretrained: bool = False) -> None:
        super().__init__(classes, size=size, pretrained=pretrained)
        self.head = ChangeLstm(self.FEATURES, classes)

    def row_shape(self, frames: int) -> tuple[int, ...]:
        return 1 + frames - 2, self.FEATURES

    def _pooled(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        steps = [self._change(m).amax(3) for m in maps]
        steps.append(maps[self._APPEARANCE].amax(3)[:, 1:-1])
        return torch.cat([super()._pooled(maps)[:, None], torch.cat(steps, dim=2)], dim=1)
