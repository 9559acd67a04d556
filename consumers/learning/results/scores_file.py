"""Scores of held-out clips as a CSV, for whoever wants other figures, thresholds or a look at single clips."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from consumers.files import write_text
from consumers.learning.footage.examples import Example
from models import TrainingError
from models.evaluation.scores import ClipScores


def scores_path(checkpoint: Path) -> Path:
    """`own.held-out.csv` for `own.safetensors`."""
    return checkpoint.with_name(f"{checkpoint.stem}.held-out.csv")


def write_scores(path: Path, parts: Sequence[ClipScores], examples: Sequence[Example]) -> None:
    """Write a row for each clip: where it is, what it is, what it is taken for, and its score of each label.

    Args:
        path: the file; it takes the place of an older one.
        parts: scores by models that have not learnt from the clips; all of one order of labels.
        examples: the clips, found by their names.

    Raises:
        TrainingError: the file cannot be written.
    """
    by_name = {e.name: e for e in examples}
    labels = max((part.labels for part in parts), key=len)  # of the model that was written also what is unknown
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["path", "start", "end", "label", "group", "split", "predicted", *(f"score {n}" for n in labels)])
    for part in parts:
        for name, scores in zip(part.names, part.scores, strict=True):
            of_label = dict(zip(part.labels, scores, strict=True))
            e = by_name[name]
            end = "" if e.end_seconds is None else f"{e.end_seconds:g}"
            row = [str(e.path), f"{e.start_seconds:g}", end, e.label, e.group, e.split, part.said(scores)]
            table.writerow([*row, *(f"{of_label[n]:.6f}" if n in of_label else "" for n in labels)])
    write_text(path, text.getvalue(), TrainingError)
