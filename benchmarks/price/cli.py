"""The command line of the bench."""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

from consumers.terminal.console import Output
from models import DEFAULT_MODEL, shipped
from stream import StreamError

from . import rows as naming
from .bench import measure
from .desk import BUILD, Desk
from .figures import not_measured, table
from .machine import machine, precisions
from .plan import FULL, QUICK
from .rows import all_rows, chosen_rows

#: Where there is no terminal: as wide as the longest name.
_WIDTH = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table, write the JSON; 1 when a path did not do its work, 2 for a wrong command line."""
    parser = argparse.ArgumentParser(
        prog="bench.py",
        description="What a camera costs with the models that ship, against what people would write instead.",
        epilog=(naming.__doc__ or "").partition("\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="one short round each: whether it works, not how fast")
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="parts of names above with dots between them; may be repeated"
    )
    parser.add_argument("--output", type=Path, default=BUILD / "bench.json", help="default: build/bench.json")
    options = parser.parse_args(arguments)
    models = sorted(shipped(), key=lambda name: name != DEFAULT_MODEL)
    found_precisions = precisions()
    try:
        rows = chosen_rows(all_rows(models, DEFAULT_MODEL, found_precisions), options.only)
    except ValueError as error:
        parser.error(str(error))
    console, report = Output(stderr=True), Output()
    if not report.is_terminal:
        report = Output(width=_WIDTH)
    warnings.simplefilter("ignore")  # torch's, about what pytorchvideo and OpenVINO call
    with tempfile.TemporaryDirectory(prefix="clipline-bench-") as scratch:
        desk = Desk(QUICK if options.quick else FULL, Path(scratch), console)
        try:
            figures = measure(desk, rows, found_precisions[-1])
        except StreamError as error:
            console.print(f"bench: {error}", style="red")
            return 1
    report.print()
    report.print(f"{machine()}; median of the rounds, ratio to the best peer", soft_wrap=True)
    report.print(table(figures))
    for reason, names in not_measured(figures).items():
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        report.print(f"{shown}: not measured. {reason}", style="yellow", soft_wrap=True)
    content = [{**f.as_json(), "machine": machine(), "quick": options.quick} for f in figures]
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    console.print(f"Written to {options.output}", style="dim", soft_wrap=True)
    return 1 if any(f.is_wrong for f in figures) else 0
