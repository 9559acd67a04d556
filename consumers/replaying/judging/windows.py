"""The windows beside the events: how well single scores tell what happens, whatever the tracker makes of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import numpy as np

from consumers.replaying.trace import END, START, Course
from models.evaluation.scores import ClipScores

from .truth import TrueEvent

#: So much of a window must show a label for the window to be of it.
COVERED: Final = 0.5


def judged_windows(courses: Sequence[Course], truth: Sequence[TrueEvent], labels: Collection[str]) -> ClipScores | None:
    """Every window with what it shows, grouped by file; None where no window is clear.

    A window shows the label whose truth covers at least half of it, and where no truth touches it, the model's first
    label that is not among `labels`, those that make events: the quiet one, of which truth says nothing more. Windows
    at the edges of what happens are left out, those of what the model has no label for, and those without truth if
    every label makes events.

    Args:
        courses: what the model said.
        truth: all that happens, whether or not events are made of it.
        labels: those that make events.
    """
    by_camera: dict[str, list[TrueEvent]] = {course.camera: [] for course in courses}
    for event in truth:
        by_camera[event.camera].append(event)
    all_labels = courses[0].pieces[0].trace.labels
    quiet = next((n for n, label in enumerate(all_labels) if label not in labels), None)
    found, scores, groups = [], [], []
    for course in courses:
        for piece in course.pieces:
            trace = piece.trace
            begins, ends = trace.places[:, START] + piece.begin_us, trace.places[:, END] + piece.begin_us
            # By label, and in the last column what the model has no label for.
            covered = np.zeros((len(begins), len(all_labels) + 1))
            for event in by_camera[course.camera]:
                number = all_labels.index(event.label) if event.label in all_labels else -1
                if number == quiet:
                    continue
                overlap = np.minimum(ends, event.end_us) - np.maximum(begins, event.start_us)
                column = covered[:, number]
                np.maximum(column, np.clip(overlap, 0, None) / (ends - begins), out=column)
            most = covered.max(1)
            shown = np.where(most >= COVERED, covered.argmax(1), -1)
            shown[shown == len(all_labels)] = -1
            if quiet is not None:
                shown[most == 0] = quiet
            # A model may say nothing that is a number; a tracker holds nothing for it, either.
            clear = (shown >= 0) & np.isfinite(trace.scores).all(1)
            found.append(shown[clear])
            scores.append(trace.scores[clear])
            groups += [piece.name] * int(clear.sum())
    shown = np.concatenate(found)
    if not len(shown):
        return None
    return ClipScores(all_labels, shown, np.concatenate(scores), tuple(groups), tuple(groups))
