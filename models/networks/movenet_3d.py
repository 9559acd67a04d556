"""A 3D-CNN over what a pose network sees in two views: which movements at one place count is learnt.

    maps        of both views of each picture, the last two depths, one after another in time    (B, V, C, T, h, w)
    choice      of the channels those that a regression of the training clips makes most of      (B, V, K, T, h, w)
    kernels     3x3x3 over time, height and width, two of each channel                           (B, V, 2 K, T-2, h, w)
    pooled      |.|, mean over time, the maximum over places and views                           (B, 2 K)
    linear      standardised, then one linear layer

One kernel of each channel starts as the second difference over time, the other as the picture itself, the linear layer
as the regression of what they give: at the start the network says what `movenet_views` says of the same channels, and
from there all of it learns. Convolutions of single channels (3x3x3, as X3D and CSN have them) are few weights for the
few clips that there are; the pose network below them, which does not learn, mixes channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Final

import torch
from torch import nn

from .movenet import LinearHead, PoseBackbone
from .movenet_views import MoveNetViews, Seen, unless_settled

#: Channels of the maps that are kept, and kernels of each.
KEPT: Final = 128
KERNELS: Final = 2
_LENGTH: Final = 3
_DROPOUT: Final = 0.3
#: A feature has this root mean square, so that linear layer and kernels learn at one rate.
_SIZE: Final = 0.1


class ChangeConvolutions(nn.Module):
    """Maps of the kept channels of one view or several, (B, V, K, T, h, w), to logits (B, L)."""

    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.kernels = nn.Conv3d(
            KEPT, KERNELS * KEPT, _LENGTH, padding=(0, _LENGTH // 2, _LENGTH // 2), groups=KEPT, bias=False
        )
        with torch.no_grad():
            self.kernels.weight.zero_()
            for kernel, over_time in enumerate(((1.0, -2.0, 1.0), (0.0, 1.0, 0.0))):
                self.kernels.weight[kernel::KERNELS, 0, :, 1, 1] = torch.tensor(over_time)
        self.kernels.to(memory_format=torch.channels_last_3d)  # learns in two thirds of the time
        self.register_buffer("shift", torch.zeros(KERNELS * KEPT))
        self.register_buffer("scale", torch.ones(KERNELS * KEPT))
        self.dropout = nn.Dropout(_DROPOUT)
        self.classify = nn.Linear(KERNELS * KEPT, classes)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        found = self.kernels(maps.flatten(0, 1)).abs().mean(2).flatten(2).amax(2)  # (B V, 2 K)
        pooled = found.reshape(-1, maps.shape[1], found.shape[1]).amax(1)
        logits: torch.Tensor = self.classify(self.dropout((pooled - self.shift) * self.scale))
        return logits

    def start_as(self, regression: LinearHead) -> None:
        """Say what a regression (of labels L) says of the pooled features, in the order in which they are here."""
        size = _SIZE * math.sqrt(len(self.shift))
        with torch.no_grad():
            self.shift.copy_(regression.shift)
            self.scale.copy_(regression.scale * size)
            self.classify.weight.copy_(regression.classify.weight / size)
            self.classify.bias.copy_(regression.classify.bias)


class MoveNet3d(MoveNetViews):
    """Normalised clips (B, 3, T, 2S, 2S) to logits (B, L)."""

    head: ChangeConvolutions  # type: ignore[assignment]  # reads another form of descriptors
    kept: torch.Tensor
    #: The depths whose maps are used, of one size: the last two.
    _DEPTHS: Final = slice(2, None)
    CHANNELS: Final = sum(PoseBackbone.CHANNELS[2:])
    STORED: ClassVar = torch.float16
    #: 2.4 GB on disk, of which the kept channels lie in memory.
    STORED_TIMES: ClassVar = 30

    def __init__(self, classes: int, *, size: int = 384, pretrained: bool = False) -> None:
        super().__init__(classes, size=size, pretrained=pretrained)
        self.head = ChangeConvolutions(classes)
        self._side = math.ceil(size / self.views / PoseBackbone.STRIDES[-1])
        self.register_buffer("kept", torch.arange(KEPT))

    def row_shape(self, frames: int) -> tuple[int, ...]:
        return self.CHANNELS, frames, self._side, self._side

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([m.flatten(1) for m in self.backbone(images)[self._DEPTHS]], dim=1)

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        batch, frames, _ = features.shape
        maps = features.reshape(batch, frames, self.views, self.CHANNELS, self._side, self._side)
        logits: torch.Tensor = self.head(maps.index_select(3, self.kept).permute(0, 2, 3, 1, 4, 5))
        return logits

    @staticmethod
    def judge(head: nn.Module, looks: torch.Tensor, *, may_settle: bool = True) -> torch.Tensor:
        """Looks (W, 2, K, T, h, w) are what each adds, whole and close view, so the last is all of them."""
        return unless_settled(head(looks[:, :1]), head(looks)) if may_settle else head(looks)

    def describe(self, clips: torch.Tensor) -> torch.Tensor:
        return torch.cat([self._looks_at(clip) for clip in clips]).index_select(2, self.kept)

    @classmethod
    def pooled(cls, maps: torch.Tensor) -> torch.Tensor:
        """What the head's kernels find as they start, of maps (B, C, T, h, w) of one view: (B, C, 2)."""
        change = (maps[:, :, 2:] - 2 * maps[:, :, 1:-1] + maps[:, :, :-2]).abs().mean(2)
        return torch.stack([m.flatten(2).amax(2) for m in (change, maps[:, :, 1:-1].abs().mean(2))], dim=2)

    def _row(self, window: Sequence[Seen], like: torch.Tensor) -> torch.Tensor:
        views = self._views_of(window, like)
        clips = [torch.stack([torch.cat(depths[self._DEPTHS]) for depths in view], dim=1) for view in views]
        return torch.stack(clips).reshape(1, self.views, *self.row_shape(len(window)))
