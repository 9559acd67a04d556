"""A 3D-CNN over what a pose network sees in two views, beside what movenet_views.py reads of it by a formula.

    maps        of both views of each picture, the last two depths, one after another in time    (B, V, C, T, h, w)
    kept        the channels that a regression of the training clips makes most of               (B, V, K, T, h, w)
    kernels     3x3x3 over time, height and width, of each channel                               (B, V, K, T-2, h, w)
    pooled      |.|, mean over time, the maximum over places and views                           (B, K)
    linear      of these, and of the window as movenet_views.py describes it; logits are added

Kernels start as second differences over time, linear layers as the regression that `movenet_views` is, in which the
kernels stand for the formula of their channels: from there all of it learns. Kernels of single channels, as X3D and CSN
have them, are few weights for the few clips that there are; the pose network below, which does not learn, mixes them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Final

import torch
from torch import nn

from .movenet import LinearHead, PoseBackbone
from .movenet_views import MoveNetViews, Seen

#: Channels whose maps are kept.
KEPT: Final = 128
_LENGTH: Final = 3
_DROPOUT: Final = 0.3
#: A feature has this root mean square, so that linear layers and kernels learn at one rate.
_SIZE: Final = 0.03


class ChangeConvolutions(nn.Module):
    """Descriptions of windows with the maps of kept channels (B, F + V K T h w) to logits (B, L)."""

    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(self, features: int, classes: int, clip: tuple[int, int, int]) -> None:
        """`clip` is T, h and w of the maps."""
        super().__init__()
        self._features, self._clip = features, clip
        self.kernels = nn.Conv3d(KEPT, KEPT, _LENGTH, padding=(0, 1, 1), groups=KEPT, bias=False)
        with torch.no_grad():
            self.kernels.weight.zero_()
            self.kernels.weight[:, 0, :, 1, 1] = torch.tensor((1.0, -2.0, 1.0))
        self.kernels.to(memory_format=torch.channels_last_3d)  # learns in two thirds of the time
        self.register_buffer("shift", torch.zeros(features + KEPT))
        self.register_buffer("scale", torch.ones(features + KEPT))
        self.dropout = nn.Dropout(_DROPOUT)
        self.classify = nn.Linear(features + KEPT, classes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        described, maps = inputs[:, : self._features], inputs[:, self._features :]
        clips = maps.reshape(-1, KEPT, *self._clip)  # (B V, K, T, h, w)
        found = self.kernels(clips).abs().mean(2).flatten(2).amax(2)
        pooled = found.reshape(len(inputs), -1, KEPT).amax(1)
        rows = (torch.cat([described, pooled], dim=1) - self.shift) * self.scale
        logits: torch.Tensor = self.classify(self.dropout(rows))
        return logits

    def start_as(self, regression: LinearHead, columns: torch.Tensor) -> None:
        """Say what a regression of descriptions says; `columns` (K,) of them are what the kernels find at the start."""
        size = _SIZE * math.sqrt(self._features)
        with torch.no_grad():
            for own, theirs in ((self.shift, regression.shift), (self.scale, regression.scale * size)):
                own.copy_(torch.cat([theirs, theirs[columns]]))
            weight = regression.classify.weight / size
            self.classify.weight.copy_(torch.cat([weight, weight[:, columns]], dim=1))
            self.classify.weight[:, columns] = 0
            self.classify.bias.copy_(regression.classify.bias)


class MoveNet3d(MoveNetViews):
    """Normalised clips (B, 3, T, 2S, 2S) to logits (B, L)."""

    head: ChangeConvolutions  # type: ignore[assignment]  # reads more than descriptors
    kept: torch.Tensor
    #: The depths whose maps are used, of one size: the last two. What changes in them ends a description.
    _DEPTHS: Final = slice(2, None)
    CHANNELS: Final = sum(PoseBackbone.CHANNELS[2:])
    STORED: ClassVar = torch.float16
    #: 2.4 GB on disk, of which the kept channels lie in memory.
    STORED_TIMES: ClassVar = 30

    def __init__(self, classes: int, *, frames: int = 10, size: int = 384, pretrained: bool = False) -> None:
        super().__init__(classes, size=size, pretrained=pretrained)
        side = math.ceil(size / self.views / PoseBackbone.STRIDES[-1])
        #: T, h and w of the maps of a window.
        self.clip = frames, side, side
        self.head = ChangeConvolutions(self.FEATURES, classes, self.clip)
        self.register_buffer("kept", torch.arange(KEPT))

    @property
    def columns(self) -> torch.Tensor:
        """Where a description holds the change of the kept channels, (K,)."""
        return self.kept + self.FEATURES - self.CHANNELS

    def row_shape(self, frames: int) -> tuple[int, ...]:
        """A description, and the maps (C, T, h, w) of the view that the look adds."""
        return (self.FEATURES + self.CHANNELS * frames * math.prod(self.clip[1:]),)

    def read(self, looks: torch.Tensor) -> torch.Tensor:
        """Looks at windows (W, LOOKS, F + C T h w) as the head reads them, (W, LOOKS, F + V K T h w).

        At the first look the whole picture stands for the close view, too.
        """
        maps = looks[..., self.FEATURES :].reshape(*looks.shape[:2], self.CHANNELS, -1)
        maps = maps[:, :, self.kept]  # (W, LOOKS, K, T h w)
        whole, close = maps.flatten(2).unbind(1)
        views = torch.stack([torch.cat([whole, whole], dim=1), torch.cat([whole, close], dim=1)], dim=1)
        return torch.cat([looks[..., : self.FEATURES], views], dim=2)

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        views = features.chunk(self.views, dim=2)
        depths = [self._maps(view) for view in views]  # (B, T, C, h w) of each depth
        described = self._pooled([torch.cat(pair, dim=3) for pair in zip(*depths, strict=True)])
        maps = [
            torch.cat(of_view[self._DEPTHS], dim=2).index_select(2, self.kept).transpose(1, 2) for of_view in depths
        ]
        logits: torch.Tensor = self.head(torch.cat([described, *(m.flatten(1) for m in maps)], dim=1))
        return logits

    def describe(self, clips: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.read(self._looks_at(clip))[:, -1] for clip in clips])

    def _row(self, window: Sequence[Seen], like: torch.Tensor) -> torch.Tensor:
        described = super()._row(window, like)
        views = [
            torch.stack([torch.cat(depths[self._DEPTHS]) for depths in view], dim=1)
            for view in self._views_of(window, like)
        ]
        return torch.cat([described, torch.stack(views).flatten(1)[None]], dim=2)
