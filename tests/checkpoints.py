"""Small models that tests make for themselves: real architectures, random weights, quick to convert and to run."""

from __future__ import annotations

from pathlib import Path

import torch

from models import Contract, Threshold, save
from models.zoo import create, statistics


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


def write_checkpoint(path: Path, architecture: str = "x3d_xs", *, always: str | None = None, **changes: object) -> Path:
    """Write a checkpoint with weights from a fixed seed; with `always`, that label makes events at any score."""
    if always is not None:
        changes["thresholds"] = {always: Threshold(0.0, 0.0)}
    wanted = contract(architecture, **changes)
    torch.manual_seed(3)
    network = create(architecture, len(wanted.labels), frames=wanted.frames, size=wanted.height)
    save(path, network.state_dict(), wanted)
    return path
