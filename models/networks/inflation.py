"""From an image network with ImageNet weights to one for video (Carreira and Zisserman, "Quo Vadis", CVPR 2017, 3.1).

A kernel is repeated along time and divided by its length there, so that a video of one still picture gives exactly what
the picture gave. Time is padded with the first and last frame for the same reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

import torch
from torch import nn
from torch.nn import functional

from .cnn_lstm import image_network


class InflatedConv(nn.Module):
    """A 2D convolution as a 3D one that is `length` frames long; length is odd."""

    def __init__(self, image: nn.Conv2d, length: int) -> None:
        super().__init__()
        #: What the image network pads by itself before it convolves: left, right, top, bottom.
        padding: Any = getattr(image, "static_padding", None)
        self._sides = tuple(padding.padding) if isinstance(padding, nn.ZeroPad2d) else (0, 0, 0, 0)
        self._length = length
        self.conv = nn.Conv3d(
            image.in_channels,
            image.out_channels,
            (length, *cast("tuple[int, int]", image.kernel_size)),
            stride=(1, *cast("tuple[int, int]", tuple(image.stride))),
            padding=(0, *cast("tuple[int, int]", image.padding)),
            groups=image.groups,
            bias=image.bias is not None,
        )
        with torch.no_grad():
            self.conv.weight.copy_(image.weight[:, :, None].repeat(1, 1, length, 1, 1) / length)
            if image.bias is not None and self.conv.bias is not None:
                self.conv.bias.copy_(image.bias)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        if any(self._sides):
            clips = functional.pad(clips, (*self._sides, 0, 0))
        if reach := self._length // 2:
            clips = torch.cat([clips[:, :, :1]] * reach + [clips] + [clips[:, :, -1:]] * reach, dim=2)
        out: torch.Tensor = self.conv(clips)
        return out


def inflate(image_network: nn.Module, length: Callable[[nn.Conv2d], int]) -> None:
    """Turn, in place, every 2D convolution into a 3D one of `length(convolution)` frames, and what normalises it."""
    for name, child in image_network.named_children():
        if isinstance(child, nn.Conv2d):
            setattr(image_network, name, InflatedConv(child, length(child)))
        elif isinstance(child, nn.BatchNorm2d):
            normalise = nn.BatchNorm3d(child.num_features, eps=child.eps, momentum=child.momentum)
            normalise.load_state_dict(child.state_dict())
            setattr(image_network, name, normalise)
        else:
            inflate(child, length)


class InflatedLite0(nn.Module):
    """EfficientNet-Lite0 with its depthwise 3x3 kernels inflated to 3x3x3.

    A 3D-CNN whose ImageNet weights come from a package; depthwise kernels are those where time costs least.
    """

    FEATURES: Final = 1280
    _KERNEL: Final = 3

    def __init__(self, classes: int, *, dropout: float = 0.5, pretrained: bool = False) -> None:
        super().__init__()
        self.backbone = image_network(pretrained=pretrained)
        # Stochastic depth of the package counts four dimensions.
        self.backbone._global_params = self.backbone._global_params._replace(drop_connect_rate=0)  # noqa: SLF001
        inflate(
            self.backbone,
            lambda conv: self._KERNEL if conv.groups > 1 and conv.kernel_size == (self._KERNEL, self._KERNEL) else 1,
        )
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(self.FEATURES, classes))

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.backbone.extract_features(clips)  # (B, F, T, h, w)
        logits: torch.Tensor = self.head(features.mean(dim=(2, 3, 4)))
        return logits
