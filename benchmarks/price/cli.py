"""The command line of the bench."""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from consumers.terminal.console import Output
from models import DEFAULT_MODEL, shipped

from . import rows as naming
from .bench import measure
from .desk import BUILD, Desk
from .figures import Figure, not_measured, relate, table
from .machine import machine, precisions
from .pages import PagesError, write
from .plan import FULL, QUICK
from .rows import all_rows, chosen_rows

#: Where there is no terminal: as wide as the longest name.
_WIDTH: Final = 130
#: As a shell has it of what SIGINT ended.
_INTERRUPTED: Final = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table, write the JSON; 1 when a path did not do its work, 2 for a wrong command line.

    What was measured when the run is interrupted is written, too.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    console = Output(stderr=True)
    if options.write:
        try:
            pages = write(options.output)
        except PagesError as error:
            console.print(f"bench: {error}", style="red", soft_wrap=True)
            return 2
        console.print(f"Written: {', '.join(page.name for page in pages)}", soft_wrap=True)
        return 0
    here = precisions()
    try:
        rows = chosen_rows(all_rows(list(shipped()), DEFAULT_MODEL, here), options.only)
    except ValueError as error:
        parser.error(str(error))
    interrupted = False
    warnings.simplefilter("ignore")  # torch's, about what pytorchvideo and OpenVINO call
    with tempfile.TemporaryDirectory(prefix="clipline-bench-") as scratch:
        plan = QUICK if options.quick else FULL
        desk = Desk(replace(plan, rounds=options.rounds or plan.rounds), Path(scratch), console)
        found = {row: Figure(row) for row in rows}
        try:
            measure(desk, found, here[-1])
        except KeyboardInterrupt:
            relate(found, here[-1])
            interrupted = True
    figures = list(found.values())
    for figure in figures:
        if interrupted and figure.value is None and figure.reason is None:
            figure.reason = "interrupted"
    content = [{**figure.as_json(), "machine": machine(), "quick": options.quick} for figure in figures]
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    _report(figures, content)
    console.print(f"Written to {options.output}", style="dim", soft_wrap=True)
    if interrupted:
        return _INTERRUPTED
    return 1 if any(figure.is_wrong for figure in figures) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench.py",
        description="What a camera costs with the models that ship, against what people would write instead.",
        epilog=(naming.__doc__ or "").partition("\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="one short round each: whether it works, not how fast")
    parser.add_argument("--rounds", type=_positive, metavar="N", help=f"of each measurement; default: {FULL.rounds}")
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="parts of names above with dots between them; may be repeated"
    )
    parser.add_argument("--output", type=Path, default=BUILD / "bench.json", help="default: build/bench.json")
    parser.add_argument(
        "--write",
        action="store_true",
        help="measure nothing: put the figures of --output into README.md and docs",
    )
    return parser


def _positive(word: str) -> int:
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number}: expected 1 or more")
    return number


def _report(figures: Sequence[Figure], content: Sequence[dict[str, Any]]) -> None:
    report = Output()
    if not report.is_terminal:
        report = Output(width=_WIDTH)
    report.print()
    report.print(f"{machine()}; median of the rounds, ratio to the best peer", soft_wrap=True)
    report.print(table(figures))
    for reason, names in not_measured(content).items():
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        report.print(f"{shown}: not measured. {reason}", style="yellow", soft_wrap=True)
