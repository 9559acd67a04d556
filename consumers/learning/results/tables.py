"""Figures of a model as tables on the terminal: `train`, `distill` and `evaluate` print the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from rich.table import Table
from rich.text import Text

from consumers.terminal.console import Output
from models.evaluation.alarms import FALSE_WINDOWS
from models.evaluation.figures import Evaluation, shown
from models.evaluation.ranking import FALSE_ALARM_PERCENTS, recall_name

#: With more labels a confusion matrix no longer fits a terminal: the most frequent confusions are named instead.
_MOST_COLUMNS: Final = 12
_MOST_PAIRS: Final = 10
_TITLES: Final = {
    **{recall_name(p): f"recall at {p} % false alarms" for p in FALSE_ALARM_PERCENTS},
    FALSE_WINDOWS: "false windows",
    **{f"mean_{recall_name(p)}": f"mean recall at {p} % false alarms" for p in FALSE_ALARM_PERCENTS},
    "auc": "AUC",
    "macro_f1": "macro F1",
}


def figure_title(name: str) -> str:
    """What a figure is called for people."""
    return _TITLES.get(name, name.replace("_", " "))


def print_figures(console: Output, evaluation: Evaluation) -> None:
    """Print every figure with its interval."""
    table = _table("", "value", "95 % interval")
    for name, figure in evaluation.figures.items():
        table.add_row(figure_title(name), shown(figure.value), figure.interval)
    console.print(table)


def print_classes(console: Output, evaluation: Evaluation) -> None:
    """Print a row for each label, and what is taken for what."""
    if evaluation.confusion is None:
        _print_labels(console, evaluation)
        return
    table = _table("label", "clips", "precision", "recall", "F1", "AUC", "average precision")
    for c in evaluation.per_class:
        values = (c.precision, c.recall, c.f1, c.auc, c.average_precision)
        table.add_row(Text(c.label), str(c.clips), *map(shown, values))
    console.print(table)
    labels = [c.label for c in evaluation.per_class]
    if len(labels) <= _MOST_COLUMNS:
        console.print(_confusion(labels, evaluation.confusion))
    else:
        console.print(_confused_pairs(labels, evaluation.confusion))


def _print_labels(console: Output, evaluation: Evaluation) -> None:
    """Of labels that are judged each by itself."""
    names = [f"recall at {p} %" for p in FALSE_ALARM_PERCENTS]
    table = _table("label", "clips", "average precision", "AUC", *names)
    for c in evaluation.per_class:
        values = (c.average_precision, c.auc, *(c.recall_at[p] for p in FALSE_ALARM_PERCENTS))
        table.add_row(Text(c.label), str(c.clips), *map(shown, values))
    console.print(table)


def _confusion(labels: Sequence[str], confusion: np.ndarray) -> Table:
    table = _table("it is, and is taken for", *labels)
    for label, row in zip(labels, confusion.tolist(), strict=True):
        table.add_row(Text(label), *map(str, row))
    return table


def _confused_pairs(labels: Sequence[str], confusion: np.ndarray) -> Table:
    wrong = confusion * (1 - np.eye(len(labels), dtype=int))
    table = _table("it is", "and is taken for", "clips")
    for place in np.argsort(-wrong, axis=None, kind="stable")[:_MOST_PAIRS]:
        true, said = np.unravel_index(place, wrong.shape)
        if wrong[true, said]:
            table.add_row(Text(labels[true]), Text(labels[said]), str(wrong[true, said]))
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None)
    for number, name in enumerate(columns):
        table.add_column(Text(name), justify="left" if number == 0 else "right")
    return table
