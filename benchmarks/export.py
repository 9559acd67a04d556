"""Every form of the models that ship, side by side: size, speed and accuracy, into the table of docs/export.md.

    export.py LABELS.csv --map nofight=normal

A fifth of the groups calibrate int8; the figures are of the others. Both may be what a model was trained on: the page
says so, and what counts then is what a row loses against the checkpoint, not the accuracy itself.
"""

from __future__ import annotations

import argparse
import platform
import sys
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from consumers.learning.export import TEXTS, Row, calibration_clips, columns, measure_every_form
from consumers.learning.footage.datasets import find_examples
from consumers.learning.footage.examples import Example
from consumers.terminal.console import Output
from consumers.terminal.progress import task_progress
from models import Checkpoint, ModelError, find, shipped

PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "export.md"
BEGIN, END = "<!-- table: written by benchmarks/export.py -->\n", "<!-- end of table -->\n"
_PARTS: Final = 5


def divided(examples: Sequence[Example]) -> tuple[list[Example], list[Example]]:
    """Examples to calibrate on and examples to measure on, which share no group."""
    calibrating = [zlib.crc32(e.group.encode()) % _PARTS == 0 for e in examples]
    return (
        [e for e, chosen in zip(examples, calibrating, strict=True) if chosen],
        [e for e, chosen in zip(examples, calibrating, strict=True) if not chosen],
    )


def section(checkpoint: Checkpoint, rows: Sequence[Row], measured: Sequence[Example], data: str) -> str:
    trained_on = checkpoint.contract.training.get("data", ())
    seen = data in trained_on
    headings, cells = columns(rows)
    lines = [
        f"### {checkpoint.path.stem}\n",
        f"`{checkpoint.id}`, {checkpoint.contract.architecture}, on {len(measured)} clips of "
        f"{len({e.group for e in measured})} groups of {data}"
        + (", **which it was trained on**: its accuracy here says nothing of new footage.\n" if seen else ".\n"),
        f"| {' | '.join(headings)} |",
        f"|{'---|' * TEXTS}{'---:|' * (len(headings) - TEXTS)}",
        *(f"| {' | '.join(of)} |" for of in cells),
        "",
        *(f"- {row.file} {row.precision}: {row.reason}" for row in rows if row.reason is not None),
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure the shipped models and rewrite the page's table; 2 when the data cannot be used."""
    summary, _, explanation = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=explanation, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="labelled footage, in a form that `clipline train` takes")
    parser.add_argument("--map", action="append", default=[], metavar="OLD=NEW")
    parser.add_argument("--most", type=int, metavar="N", help="measure on N clips, evenly from all; default: on all")
    arguments = parser.parse_args()
    console = Output(stderr=True)
    warnings.simplefilter("ignore")  # torch's, about what pytorchvideo calls
    data: Path = arguments.data
    name = data.parent.name if data.is_file() else data.name
    try:
        renamed = dict(pair.split("=", 1) for pair in arguments.map)
        calibrating, measured = divided(find_examples([data], renamed))
        if arguments.most is not None:
            measured = measured[:: max(1, -(-len(measured) // max(1, arguments.most)))]
        sections = [f"{_processor()}; {len(calibrating)} other clips of {name} calibrated int8.\n"]
        for model in shipped():
            checkpoint = find(model)
            console.print(checkpoint.id)
            clips = calibration_clips(checkpoint, calibrating, console)
            with task_progress(console) as show:
                rows = measure_every_form(checkpoint, clips, measured, show)
            sections.append(section(checkpoint, rows, measured, name))
            _rewrite("\n".join(sections))
    except (ModelError, ValueError) as error:
        console.print(f"export: {error}", style="red", markup=False, highlight=False)
        return 2
    console.print(f"Written to {PAGE}", style="dim")
    return 0


def _rewrite(table: str) -> None:
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} cores of {names[0]}" if names else platform.machine()


if __name__ == "__main__":
    sys.exit(main())
