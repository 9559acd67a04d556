"""`clipline models`: what can be served and what can be trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from rich.table import Table

from consumers.terminal.console import Output, print_json
from models import DEFAULT_MODEL, Contract, find, shipped
from models.evaluation.unseen import Unseen, measured_unseen

#: Columns of a terminal that is wide enough for any table.
_UNBOUND: Final = 10_000


def print_models(console: Output, *, as_json: bool = False) -> None:
    """Print the shipped models with their contracts, their held-out accuracy, and what they reached elsewhere."""
    unseen = measured_unseen()
    found = {name: find(name).contract for name in shipped()}
    if as_json:
        rows = [_model_row(name, contract, unseen) for name, contract in found.items()]
        print_json(console, rows, indent=2)
        return
    table = Table(box=None, pad_edge=False)
    for name in ("model", "labels", "held-out accuracy (95 %)", f"on {unseen.clips} unseen clips (95 %)", "clip"):
        table.add_column(name, no_wrap=True)
    table.add_column("MB", justify="right", no_wrap=True)
    for name, contract in found.items():
        table.add_row(
            f"{name} (default)" if name == DEFAULT_MODEL else name,
            ", ".join(contract.labels),
            _accuracy(contract.metrics),
            str(unseen.models[name]) if name in unseen.models else "",
            f"{contract.frames} frames, {contract.height}x{contract.width}, {contract.spacing_seconds:g} s apart",
            f"{_megabytes(name):.1f}",
        )
    if console.measure(table, options=console.options.update(max_width=_UNBOUND)).maximum <= console.width:
        console.print(table)
    else:
        _print_list(console, table)
    below = [name for name, contract in found.items() if not unseen.reaches_baseline(contract.metrics)]
    console.print()
    console.print("Held-out: of the clips that the models were chosen on, so too high.")
    console.print(f"Unseen: {unseen.footage}.")
    less = f"; {' and '.join(below)} {'do' if len(below) > 1 else 'does'} less" if below else ""
    console.print(f"{unseen.baseline_story}{less}.")
    console.print("`clipline models --zoo` lists the architectures to train.")


def _print_list(console: Output, table: Table) -> None:
    """The rows of a table that is wider than the terminal, each as a few lines: a wrapped cell can hardly be read."""
    names = [str(column.header) for column in table.columns]
    for row in zip(*(column.cells for column in table.columns), strict=True):
        cells = dict(zip(names, map(str, row), strict=True))
        console.print(cells.pop("model"), style="bold", soft_wrap=True)
        for name, cell in cells.items():
            if cell:
                console.print(f"  {name}: {cell}", soft_wrap=True)


def _model_row(name: str, contract: Contract, unseen: Unseen) -> dict[str, Any]:
    return {
        "name": name,
        "default": name == DEFAULT_MODEL,
        "id": find(name).id,
        "architecture": contract.architecture,
        "labels": list(contract.labels),
        "frames": contract.frames,
        "height": contract.height,
        "width": contract.width,
        "spacing_seconds": contract.spacing_seconds,
        "metrics": dict(contract.metrics),
        "unseen": unseen.models[name].to_json() if name in unseen.models else None,
        "megabytes": round(_megabytes(name), 1),
    }


def _megabytes(name: str) -> float:
    return shipped()[name].stat().st_size / 1e6


def _accuracy(metrics: Mapping[str, Any]) -> str:
    if not metrics:
        return ""
    interval = "" if metrics["low"] is None else f" ({100 * metrics['low']:.1f} to {100 * metrics['high']:.1f})"
    return f"{100 * metrics['accuracy']:.1f} %{interval}"


def print_zoo(console: Output, *, as_json: bool = False) -> None:
    """Print every architecture with its size, its cost as designed, and what others measured of it."""
    # Counting needs torch and pytorchvideo, seconds of import that a plain list does not want.
    from models.classical.kinds import CLASSICAL  # noqa: PLC0415
    from models.networks.zoo import ARCHITECTURES, describe, parameters_and_multiply_adds  # noqa: PLC0415

    table = Table(box=None, pad_edge=False)
    table.add_column("architecture", no_wrap=True, overflow="ignore")
    for name in ("million parameters", "G multiply-adds a clip"):
        table.add_column(name, justify="right")
    for name in ("clip", "top-1 on Kinetics-400, as published"):
        table.add_column(name, overflow="fold")
    rows: list[dict[str, Any]] = []
    with console.status("counting"):
        for name in ARCHITECTURES:
            found = describe(name)
            parameters, multiply_adds = parameters_and_multiply_adds(name)
            published = found.published
            rows.append(
                {
                    "name": name,
                    "parameters": parameters,
                    "multiply_adds": multiply_adds,
                    "frames": found.frames,
                    "size": found.size,
                    "spacing_seconds": found.spacing_seconds,
                    "top1_percent": published.top1_percent if published else None,
                    "published_by": published.source if published else None,
                }
            )
            table.add_row(
                name,
                f"{parameters / 1e6:.1f}",
                f"{multiply_adds / 1e9:.2f}",
                f"{found.frames} x {found.size}x{found.size}, {found.spacing_seconds:.3g} s apart",
                f"{published.top1_percent:.1f} % ({published.source})" if published else "",
            )
    if as_json:
        print_json(console, rows, indent=2)
        return
    console.print(table)
    console.print()
    console.print(
        "A CNN-LSTM takes another image network after a colon: cnn_lstm:torchvision/resnet18, "
        "cnn_bilstm:timm/mobilenetv3_small_100.",
        soft_wrap=True,
    )
    console.print(
        f"Trained and served alike, but on hand-made features instead of a network: {', '.join(CLASSICAL)}.",
        soft_wrap=True,
    )
