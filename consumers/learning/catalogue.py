"""`clipline models`: what can be served and what can be trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from models import find, shipped
from models.checkpoint import DEFAULT_MODEL


def print_models(console: Console) -> None:
    """Print the shipped models with their contracts and held-out accuracy, and the architectures."""
    table = Table(box=None)
    for name in ("model", "architecture", "labels", "clip", "held-out accuracy", "MB"):
        table.add_column(name)
    for name, path in shipped().items():
        contract = find(name).contract
        table.add_row(
            f"{name} (default)" if name == DEFAULT_MODEL else name,
            contract.architecture,
            ", ".join(contract.labels),
            f"{contract.frames} frames of {contract.height}x{contract.width}, {contract.spacing_seconds:g} s apart",
            _accuracy(contract.metrics),
            f"{path.stat().st_size / 1e6:.1f}",
        )
    console.print(table)
    console.print("\n`clipline models --zoo` lists the architectures to train.", highlight=False)


def _accuracy(metrics: Mapping[str, Any]) -> str:
    if not metrics:
        return ""
    interval = "" if metrics["low"] is None else f" ({metrics['low']:.1%} to {metrics['high']:.1%})"
    return f"{metrics['accuracy']:.1%}{interval}"


def print_zoo(console: Console) -> None:
    """Print every architecture with its size, its cost as designed, and what others measured of it."""
    # Counting needs torch and pytorchvideo, seconds of import that a plain list does not want.
    from models.classical.model import CLASSICAL  # noqa: PLC0415
    from models.networks.zoo import ARCHITECTURES, describe, parameters_and_multiply_adds  # noqa: PLC0415

    table = Table(box=None)
    table.add_column("architecture")
    for name in ("parameters, M", "multiply-adds a clip, G"):
        table.add_column(name, justify="right")
    for name in ("clip", "published on Kinetics-400"):
        table.add_column(name)
    with console.status("counting"):
        for name in ARCHITECTURES:
            found = describe(name)
            parameters, multiply_adds = parameters_and_multiply_adds(name)
            published = found.published
            table.add_row(
                name,
                f"{parameters / 1e6:.1f}",
                f"{multiply_adds / 1e9:.2f}",
                f"{found.frames} x {found.size}x{found.size}, {found.spacing_seconds:.3g} s apart",
                f"{published.top1_percent:.1f} % top-1 ({published.source})" if published else "",
            )
    console.print(table)
    console.print(
        "\nA CNN-LSTM takes another image network after a colon: cnn_lstm:torchvision/resnet18, "
        "cnn_bilstm:timm/mobilenetv3_small_100.\n"
        f"Not networks, but trained and served alike, on hand-made features: {', '.join(CLASSICAL)}.",
        highlight=False,
    )
