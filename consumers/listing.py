"""`clipline models`: what can be served and what can be trained."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from models import find, shipped
from models.checkpoint import DEFAULT_MODEL
from models.zoo import ARCHITECTURES


def print_models(console: Console) -> None:
    """Print the shipped models with their contracts and held-out accuracy, and the architectures."""
    table = Table(box=None)
    for name in ("model", "architecture", "labels", "clip", "held-out accuracy", "MB"):
        table.add_column(name)
    for name, path in shipped().items():
        contract = find(name).contract
        m = contract.metrics
        table.add_row(
            f"{name} (default)" if name == DEFAULT_MODEL else name,
            contract.architecture,
            ", ".join(contract.labels),
            f"{contract.frames} frames of {contract.height}x{contract.width}, {contract.spacing_seconds:g} s apart",
            f"{m['accuracy']:.1%} ({m['low']:.1%} to {m['high']:.1%})" if m else "",
            f"{path.stat().st_size / 1e6:.1f}",
        )
    console.print(table)
    console.print(f"\nTo train: {', '.join(ARCHITECTURES)} (`clipline train --help`)", highlight=False)
