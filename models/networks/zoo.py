"""Every architecture that can be trained and served, by name.

A module maps normalised clips (B, 3, T, H, W) to logits (B, L). Names are those of pytorchvideo and torchvision, whose
networks these are. CNN-LSTMs take an image network after a colon: `cnn_lstm`, `cnn_lstm:movenet`,
`cnn_lstm:torchvision/resnet18`, `cnn_bilstm:timm/mobilenetv3_small_100`. `co_` in front of an X3D makes a continual one
of the same weights (continual.py). A number in front makes an ensemble whose scores are averaged: `5*x3d_xs`; one of
CNN-LSTMs shares the image network.
"""

from __future__ import annotations

import copy
import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Final, TypeAlias

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from models.classical.kinds import CLASSICAL, full_name, is_classical
from models.errors import UnknownModelError

from .cnn_lstm import LITE0, MOVENET, CnnLstm
from .ensemble import Averaged
from .factored import Factored
from .inflation import InflatedLite0
from .movenet import MoveNetMotion
from .movenet_3d import MoveNet3d
from .movenet_lstm import MoveNetLstm
from .movenet_views import MoveNetViews

Statistics: TypeAlias = tuple[tuple[float, float, float], tuple[float, float, float]]
#: (labels, T, H = W, pretrained) to a module.
_Build: TypeAlias = Callable[[int, int, int, bool], nn.Module]

_PYTORCHVIDEO: Final = ((0.45, 0.45, 0.45), (0.225, 0.225, 0.225))
_TORCHVISION: Final = ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))
_IMAGENET: Final = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_AS_THEY_ARE: Final = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
_LITE0: Final = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_KINETICS_FPS: Final = 30
#: In each stage, to be multiplied by the depth factor.
_X3D_BLOCKS: Final = (1, 2, 5, 3)


@dataclass(frozen=True, slots=True)
class Published:
    """Accuracy on Kinetics-400 with weights that are not shipped here."""

    top1_percent: float
    source: str


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network that can be built for any number of labels, with the clip it was designed for."""

    name: str
    frames: int
    #: Seconds from one frame to the next.
    spacing_seconds: float
    #: Height and width in pixels.
    size: int
    statistics: Statistics
    build: _Build
    #: None where nobody has published one.
    published: Published | None = None
    #: In how many views it sees each picture (models/windows/views.py).
    views: int = 1
    #: So many pictures before a clip count, too: of networks that go from picture to picture (factored.py).
    context: int = 0


def create(
    architecture: str,
    classes: int = 400,
    *,
    frames: int | None = None,
    size: int | None = None,
    pretrained: bool = False,
) -> nn.Module:
    """Build a network for clips of `frames` square pictures of `size` pixels.

    Args:
        architecture: one of `ARCHITECTURES`, a CNN-LSTM's image network after a colon.
        classes: number of labels, L.
        frames: T; what the architecture was designed for if None.
        size: H and W; likewise.
        pretrained: begin with ImageNet weights where the architecture has some that need no internet.

    Raises:
        UnknownModelError: there is no such architecture; the message lists near names.
    """
    found = describe(architecture)
    return found.build(classes, frames or found.frames, size or found.size, pretrained)


def describe(architecture: str) -> Architecture:
    """Look up what is known of an architecture.

    Raises:
        UnknownModelError: there is none of that name.
    """
    members, star, single = architecture.partition("*")
    if star and members.isdigit() and int(members) > 0:
        return _ensemble(int(members), describe(single))
    if is_classical(architecture):
        return _classical(full_name(architecture))
    name, _, backbone = architecture.partition(":")
    if name not in _ZOO or (backbone and name not in _RECURRENT):
        known = (*ARCHITECTURES, *CLASSICAL)
        near = difflib.get_close_matches(architecture, known, n=3, cutoff=0.3) or known
        raise UnknownModelError(f"unknown architecture {architecture!r}; did you mean {' or '.join(near)}?")
    return _recurrent(architecture) if name in _RECURRENT else _ZOO[name]


def statistics(architecture: str) -> Statistics:
    """Mean and standard deviation with which an architecture's pictures are normalised."""
    return describe(architecture).statistics


def parameters_and_multiply_adds(architecture: str) -> tuple[int, int]:
    """Parameters, and multiply-adds of one clip as it was designed: counted on a network without memory or values."""
    found = describe(architecture)
    with torch.device("meta"):
        network = create(architecture).eval().to("meta")
        clip = torch.empty(1, 3, found.frames, found.size, found.size)
        size = found.size // found.views
        views = torch.empty(found.frames * found.views, 3, size, size)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        if found.views == 1:
            network(clip)
        else:  # where the second one looks follows from what the pictures show, and these show nothing
            assert isinstance(network, Factored)
            network.classify(network.encode(views).reshape(1, found.frames, -1))
    # The counter counts a multiplication and an addition as two; papers count the pair as one.
    return sum(p.numel() for p in network.parameters()), counter.get_total_flops() // 2


def _x3d(depth_factor: float) -> _Build:
    def build(classes: int, frames: int, size: int, _: bool) -> nn.Module:  # noqa: FBT001
        module: nn.Module = _pytorchvideo().x3d(classes, frames, size, depth_factor)
        return module

    return build


def _continual(found: Architecture, depth_factor: float) -> Architecture:
    def build(classes: int, frames: int, size: int, _: bool) -> nn.Module:  # noqa: FBT001, ARG001
        from .continual import ContinualX3D  # noqa: PLC0415  as below

        return ContinualX3D(classes, size, depth_factor)

    # Each convolution over time looks one picture back, that of the stem two.
    context = 2 + sum(math.ceil(blocks * depth_factor) for blocks in _X3D_BLOCKS)
    return replace(found, name=f"co_{found.name}", build=build, published=None, context=context)


def _resnet(name: str) -> _Build:
    def build(classes: int, frames: int, size: int, _: bool) -> nn.Module:  # noqa: FBT001, ARG001
        module: nn.Module = _pytorchvideo().resnet(name, classes)
        return module

    return build


def _slowfast(classes: int, frames: int, size: int, _: bool) -> nn.Module:  # noqa: FBT001, ARG001
    module: nn.Module = _pytorchvideo().SlowFast(classes)
    return module


def _mvit_b(classes: int, frames: int, size: int, _: bool) -> nn.Module:  # noqa: FBT001
    module: nn.Module = _pytorchvideo().mvit_b(classes, frames, size)
    return module


def _torchvision(name: str) -> _Build:
    def build(classes: int, frames: int, size: int, _: bool) -> nn.Module:  # noqa: FBT001
        from .torchvision import video_network  # noqa: PLC0415  as below

        return video_network(name, classes, frames, size)

    return build


def _pytorchvideo() -> ModuleType:
    # Two seconds to import, and not for every model: the default needs neither this nor torchvision.
    from . import pytorchvideo  # noqa: PLC0415

    return pytorchvideo


def _inflated(classes: int, frames: int, size: int, pretrained: bool) -> nn.Module:  # noqa: FBT001, ARG001
    return InflatedLite0(classes, pretrained=pretrained)


def _motion(classes: int, frames: int, size: int, pretrained: bool) -> nn.Module:  # noqa: FBT001, ARG001
    return MoveNetMotion(classes, size=size, pretrained=pretrained)


def _two_views(classes: int, frames: int, size: int, pretrained: bool) -> nn.Module:  # noqa: FBT001, ARG001
    return MoveNetViews(classes, size=size, pretrained=pretrained)


def _change_lstm(classes: int, frames: int, size: int, pretrained: bool) -> nn.Module:  # noqa: FBT001, ARG001
    return MoveNetLstm(classes, size=size, pretrained=pretrained)


def _change_3d(classes: int, frames: int, size: int, pretrained: bool) -> nn.Module:  # noqa: FBT001
    return MoveNet3d(classes, frames=frames, size=size, pretrained=pretrained)


def _recurrent(name: str) -> Architecture:
    kind, _, backbone = name.partition(":")
    backbone = backbone or LITE0

    def build(classes: int, frames: int, size: int, pretrained: bool) -> nn.Module:  # noqa: FBT001, ARG001
        return CnnLstm(classes, backbone=backbone, bidirectional=kind == "cnn_bilstm", pretrained=pretrained)

    return Architecture(name, 8, 0.2, 160, _LITE0 if backbone in {LITE0, MOVENET} else _IMAGENET, build)


def _ensemble(members: int, one: Architecture) -> Architecture:
    if one.views > 1:  # an average is a whole network, and where the second view looks is chosen outside of it
        raise UnknownModelError(f"{members}*{one.name}: there are no ensembles of networks that see two views")

    def build(classes: int, frames: int, size: int, pretrained: bool) -> nn.Module:  # noqa: FBT001
        network = one.build(classes, frames, size, pretrained)
        if isinstance(network, CnnLstm):
            network.head = Averaged(copy.deepcopy(network.head) for _ in range(members))
            return network
        return Averaged([network, *(one.build(classes, frames, size, pretrained) for _ in range(members - 1))])

    # Served whole clip by whole clip: state for each member would cost more than sharing pictures saves.
    return replace(one, name=f"{members}*{one.name}", build=build, published=None, context=0)


def _classical(name: str) -> Architecture:
    def build(classes: int, frames: int, size: int, pretrained: bool) -> nn.Module:  # noqa: FBT001, ARG001
        raise UnknownModelError(f"{name} is no network: scikit-learn fits it to hand-made features")

    return Architecture(name, 8, 0.2, 160, _AS_THEY_ARE, build)


_RECURRENT: Final = ("cnn_lstm", "cnn_bilstm")


def _designed(
    name: str, frames: int, rate: int, size: int, build: _Build, accuracy: float, statistics: Statistics = _PYTORCHVIDEO
) -> Architecture:
    """One that was designed for every `rate`-th frame of Kinetics' 30 a second."""
    source = "PyTorchVideo model zoo" if statistics is _PYTORCHVIDEO and name != "mvit_v2_s" else "torchvision"
    return Architecture(
        name, frames, round(rate / _KINETICS_FPS, 6), size, statistics, build, Published(accuracy, source)
    )


_X3D: Final = (
    (_designed("x3d_xs", 4, 12, 160, _x3d(2.2), 69.12), 2.2),
    (_designed("x3d_s", 13, 6, 160, _x3d(2.2), 73.33), 2.2),
    (_designed("x3d_m", 16, 5, 224, _x3d(2.2), 75.94), 2.2),
    (_designed("x3d_l", 16, 5, 312, _x3d(5.0), 77.44), 5.0),
)
_ZOO: Final[Mapping[str, Architecture]] = {
    a.name: a
    for a in (
        *(found for found, _ in _X3D),
        *(_continual(found, depth_factor) for found, depth_factor in _X3D),
        _designed("slow_r50", 8, 8, 224, _resnet("slow_r50"), 74.58),
        _designed("slowfast_r50", 32, 2, 224, _slowfast, 76.94),
        _designed("c2d_r50", 8, 8, 224, _resnet("c2d_r50"), 71.46),
        _designed("i3d_r50", 8, 8, 224, _resnet("i3d_r50"), 73.27),
        _designed("csn_r101", 32, 2, 224, _resnet("csn_r101"), 77.0),
        _designed("r2plus1d_r50", 16, 4, 224, _resnet("r2plus1d_r50"), 76.01),
        _designed("mvit_base_16x4", 16, 4, 224, _mvit_b, 78.85),
        _designed("r3d_18", 16, 2, 112, _torchvision("r3d_18"), 63.2, _TORCHVISION),
        _designed("mc3_18", 16, 2, 112, _torchvision("mc3_18"), 63.96, _TORCHVISION),
        _designed("r2plus1d_18", 16, 2, 112, _torchvision("r2plus1d_18"), 67.463, _TORCHVISION),
        _designed("s3d", 128, 2, 224, _torchvision("s3d"), 68.368, _TORCHVISION),
        _designed("mvit_v2_s", 16, 4, 224, _torchvision("mvit_v2_s"), 80.757),
        _designed("swin3d_t", 32, 2, 224, _torchvision("swin3d_t"), 77.715, _IMAGENET),
        Architecture("movenet_motion", 6, 0.13, 192, _LITE0, _motion),
        Architecture("movenet_views", 10, 0.13, 384, _LITE0, _two_views, views=2),
        Architecture("movenet_lstm", 10, 0.13, 384, _LITE0, _change_lstm, views=2),
        Architecture("movenet_3d", 10, 0.13, 384, _LITE0, _change_3d, views=2),
        Architecture("i3d_lite0", 8, 0.2, 160, _LITE0, _inflated),
        _recurrent("cnn_lstm"),
        _recurrent("cnn_bilstm"),
    )
}
ARCHITECTURES: Final = tuple(_ZOO)
