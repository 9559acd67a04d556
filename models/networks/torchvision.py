"""Networks of torchvision: for clips, and for pictures as the backbone of a CNN-LSTM."""

from __future__ import annotations

from torch import nn
from torchvision.models import get_model

from models.errors import UnknownModelError


def video_network(name: str, classes: int, frames: int, size: int) -> nn.Module:
    """A network from normalised clips (B, 3, T, H, W) to logits (B, L).

    Raises:
        UnknownModelError: it does not take clips of this shape.
    """
    if name == "mvit_v2_s" and (frames, size) != (16, 224):
        raise UnknownModelError(f"mvit_v2_s takes 16 frames of 224x224 only, not {frames} of {size}x{size}")
    module: nn.Module = get_model(name, weights=None, num_classes=classes)
    if name == "s3d":
        module.avgpool = nn.AdaptiveAvgPool3d(1)  # its own is made for 224 pixels and 16 frames
    return module


def image_backbone(name: str, *, pretrained: bool) -> tuple[nn.Module, int]:
    """An image network without its classes, and its number of features.

    Raises:
        UnknownModelError: there is none of that name, or it has no last linear layer to leave out.
    """
    try:
        network = get_model(name, weights="DEFAULT" if pretrained else None)
    except ValueError as error:
        raise UnknownModelError(f"torchvision has no image network {name!r} ({error})") from None
    # The last linear layer, wherever it is, is the one that names ImageNet's classes.
    for attribute in ("fc", "classifier", "head", "heads"):
        last = getattr(network, attribute, None)
        linear = [m for m in last.modules() if isinstance(m, nn.Linear)] if last is not None else []
        if linear:
            setattr(network, attribute, nn.Identity())
            return nn.Sequential(network, nn.Flatten(1)), linear[0].in_features
    raise UnknownModelError(f"torchvision's {name!r} does not end in a linear layer: it cannot serve as a backbone")
