"""The network that replay is measured with: X3D-XS with weights from a fixed seed, made to tell clips apart."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch
from torch import nn

from models import Contract, save
from models.networks.zoo import create, statistics

_CLASSES: Final = 400
_FRAMES: Final = 4
_SIZE: Final = 160
_SPREAD: Final = 3.0


def write_checkpoint(path: Path) -> tuple[Path, Contract]:
    """Write the checkpoint; the same one every time, so that an engine's converted copy is found again."""
    mean, std = statistics("x3d_xs")
    contract = Contract(
        architecture="x3d_xs",
        labels=tuple(f"class-{number:03d}" for number in range(_CLASSES)),
        frames=_FRAMES,
        spacing_seconds=0.4,
        height=_SIZE,
        width=_SIZE,
        fit="stretch",
        mean=mean,
        std=std,
    )
    torch.manual_seed(3)
    network = create("x3d_xs", _CLASSES, frames=_FRAMES, size=_SIZE)
    _spread_scores(network)
    save(path, network.state_dict(), contract)
    return path, contract


def _spread_scores(network: nn.Module) -> None:
    """Scale what the last layer adds to its average answer.

    Untrained, a network gives every label of every clip the same score but for the fourth decimal place: clips could
    be mixed up and nobody would see.
    """
    clips = torch.nn.functional.interpolate(torch.randn(8, 3, _FRAMES, 6, 6), (_FRAMES, _SIZE, _SIZE), mode="trilinear")
    network.train()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):  # noqa: SLF001  the class of all three has no other
                module.momentum = None  # the plain average of what passes
        network(clips)
        network.eval()
        logits = network(clips)  # (B, L)
        blocks = network.get_submodule("blocks")
        assert isinstance(blocks, nn.ModuleList)
        layer = blocks[-1].proj
        assert isinstance(layer, nn.Linear)
        gain = _SPREAD / (logits - logits.mean(0)).std()
        layer.weight *= gain
        layer.bias.copy_(gain * (layer.bias - logits.mean(0)))
