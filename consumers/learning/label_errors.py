"""What is said of labels that are probably wrong, after training."""

from __future__ import annotations

from typing import Final

from consumers.terminal.wording import count
from models.evaluation.label_errors import doubtful_labels
from models.evaluation.scores import ClipScores

#: Of the doubtful labels, those that are named.
_NAMED: Final = 10


def label_doubts(clips: ClipScores) -> str | None:
    """A line for each clip whose label its held-out scores contradict, the most contradicted first; None if none."""
    found = doubtful_labels(clips)
    if not found:
        return None
    lines = [
        f"{d.name}: {d.given}, and looks like {d.likely} (score {d.likely_score:.2f}, of {d.given} {d.given_score:.2f})"
        for d in found[:_NAMED]
    ]
    more = [f"… and {len(found) - _NAMED} more"] if len(found) > _NAMED else []
    head = f"{count(len(found), 'label')} of {len(clips.truth)} to look at: wrong, or what the model cannot tell yet"
    return "\n".join([head, *lines, *more])
