"""Small models that tests make for themselves: real architectures, random weights, quick to convert and to run."""

from __future__ import annotations

from pathlib import Path

import torch

from models import Contract, Threshold, save
from models.networks.zoo import create, statistics


def contract(architecture: str = "x3d_xs", **changes: object) -> Contract:
    mean, std = statistics(architecture)
    values: dict[str, object] = {
        "architecture": architecture,
        "labels": ("normal", "fight"),
        "frames": 4,
        "spacing_seconds": 0.4,
        "height": 32,
        "width": 32,
        "fit": "stretch",
        "mean": mean,
        "std": std,
    }
    return Contract(**(values | changes))  # type: ignore[arg-type]


def write_checkpoint(
    path: Path, architecture: str = "x3d_xs", *, always: str | None = None, says: str | None = None, **changes: object
) -> Path:
    """Write a checkpoint with weights from a fixed seed.

    With `always`, that label makes events at any score; with `says`, every clip is found to show that label.
    """
    if always is not None:
        changes["thresholds"] = {always: Threshold(0.0, 0.0)}
    wanted = contract(architecture, **changes)
    torch.manual_seed(3)
    network = create(architecture, len(wanted.labels), frames=wanted.frames, size=wanted.height)
    if says is not None:
        last = [m for m in network.modules() if isinstance(m, torch.nn.Linear)][-1]
        with torch.no_grad():
            last.weight.zero_()
            last.bias.copy_(torch.tensor([3.0 * (label == says) for label in wanted.labels]))
    save(path, network.state_dict(), wanted)
    return path
