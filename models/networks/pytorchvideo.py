"""Networks of PyTorchVideo, from normalised clips (B, 3, T, H, W) to logits (B, L)."""

from __future__ import annotations

from typing import Any, Final

import torch
from pytorchvideo.models import create_multiscale_vision_transformers, hub
from pytorchvideo.models.hub.vision_transformers import mvit_video_base_config
from pytorchvideo.models.x3d import create_x3d
from torch import nn


def x3d(classes: int, frames: int, size: int, depth_factor: float) -> nn.Module:
    """X3D (Feichtenhofer, CVPR 2020): XS, S and M differ in the clip only, L is deeper."""
    module: nn.Module = create_x3d(
        input_clip_length=frames,
        input_crop_size=size,
        model_num_class=classes,
        depth_factor=depth_factor,
        head_activation=None,
    )
    return module


def resnet(name: str, classes: int) -> nn.Module:
    """One of the ResNets in PyTorchVideo's hub, with a head that takes any clip."""
    options: dict[str, Any] = {"head_activation": None} if name in {"csn_r101", "r2plus1d_r50"} else {}
    network: Any = getattr(hub, name)(pretrained=False, model_num_class=classes, **options)
    network.blocks[-1].pool = nn.AdaptiveAvgPool3d(1)
    module: nn.Module = network
    return module


class SlowFast(nn.Module):
    """SlowFast (Feichtenhofer et al., ICCV 2019): every `ALPHA`-th frame goes the slow way, all go the fast one."""

    ALPHA: Final = 4

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.network: Any = hub.slowfast_r50(pretrained=False, model_num_class=classes)
        self.network.blocks[-2].pool = nn.ModuleList([nn.AdaptiveAvgPool3d(1), nn.AdaptiveAvgPool3d(1)])

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network([clips[:, :, :: self.ALPHA], clips])
        return logits


def mvit_b(classes: int, frames: int, size: int) -> nn.Module:
    """MViT-B (Fan et al., ICCV 2021)."""
    with torch.device("cpu"):  # it reads values of tensors while it is built
        module: nn.Module = create_multiscale_vision_transformers(
            **{**mvit_video_base_config, "spatial_size": size, "temporal_size": frames, "head_num_classes": classes}
        )
    return module
