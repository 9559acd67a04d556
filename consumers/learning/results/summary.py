"""What `clipline train` prints when it is done."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from consumers.terminal.console import Output
from consumers.terminal.wording import count
from models.evaluation.alarms import FALSE_WINDOWS
from models.evaluation.figures import Evaluation, shown
from models.evaluation.ranking import FALSE_ALARM_PERCENTS, recall_name
from models.training.loop import CurvePoint
from models.training.validation import CrossValidation

from .source_curve import FIGURES, SourcePoint
from .tables import figure_title, print_classes


def sum_up(
    console: Output,
    output: Path,
    labels: Sequence[str],
    validation: CrossValidation,
    test: Evaluation | None,
    sources: Sequence[SourcePoint],
    scores: Path,
) -> None:
    """Print how good the model is, where it errs, and how it learnt.

    Args:
        console: where to.
        output: the checkpoint.
        labels: what it knows.
        validation: of clips that were held out.
        test: of the clips of the test split, if there are any.
        sources: accuracy over the number of sources, if it was measured.
        scores: the file with the scores of held-out clips.
    """
    waiting = f"; {validation.waiting:.0%} of the training time was spent waiting for data" if validation.epochs else ""
    _say(console, f"{output}: {', '.join(labels)}; held-out {figures_line(validation.evaluation)}{waiting}")
    print_classes(console, validation.evaluation)
    if any(point.held_out is not None for point in validation.curve):
        console.print(_learning(validation.curve, figure_title(validation.evaluation.main_name)))
    if sources:
        console.print(_over_sources(sources))
    if test is not None:
        _say(console, f"Test: {figures_line(test)}")
        print_classes(console, test)
    _say(console, f"Scores of each held-out clip: {scores}")


def figures_line(evaluation: Evaluation) -> str:
    """The figures that matter, in a line."""
    found = evaluation.figures
    main = evaluation.main
    interval = "" if math.isnan(main.low) else f"95 % interval {main.low:.1%} to {main.high:.1%}, "
    of = f"{count(evaluation.clips, 'video')} of {count(evaluation.groups, 'group')}"
    parts = [f"{figure_title(evaluation.main_name)} {main.value:.1%} ({interval}{of})"]
    if not math.isnan(found["auc"].value):
        parts.append(f"AUC {found['auc'].value:.3f}")
    recalls = [(p, found[recall_name(p)].value) for p in FALSE_ALARM_PERCENTS]
    if not any(math.isnan(value) for _, value in recalls):
        told = ", ".join(f"{value:.1%} at {p} %" for p, value in recalls)
        parts.append(f"recall {told} false alarms")
    if not math.isnan(found[FALSE_WINDOWS].value):
        parts.append(f"{found[FALSE_WINDOWS].value:.1%} of the windows of quiet clips beyond a threshold")
    return ", ".join(parts)


def _learning(curve: Sequence[CurvePoint], figure: str) -> Table:
    table = Table(box=None)
    for name in ("epoch", "loss", f"held-out {figure}"):
        table.add_column(name, justify="right")
    for point in curve:
        if point.held_out is not None:
            table.add_row(str(point.epoch), f"{point.loss:.3f}", f"{point.held_out:.3f}")
    return table


def _over_sources(points: Sequence[SourcePoint]) -> Table:
    table = Table(box=None)
    names = [name for name in FIGURES if name in points[0].validation.evaluation.figures]
    for name in ("groups learnt from", *map(figure_title, names)):
        table.add_column(name, justify="right")
    for point in points:
        figures = point.validation.evaluation.figures
        table.add_row(f"{point.groups:.0f}", *(shown(figures[name].value) for name in names))
    return table


def _say(console: Output, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
