"""Judge single windows: how well their scores tell what happens, before the tracker makes events of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import numpy as np

from consumers.replaying.trace import END, START, Timeline
from models.evaluation.scores import ClipScores

from .truth import TrueEvent

#: Share of a window that a label must cover for the window to count as showing it.
COVERED: Final = 0.5


def judged_windows(
    timelines: Sequence[Timeline], truth: Sequence[TrueEvent], labels: Collection[str]
) -> ClipScores | None:
    """Every window with its true label, grouped by file; None if no window has one.

    A window's label is that of the true event which covers at least half of it. If no true event touches the window, it
    is the quiet label: the model's first that raises no events. Left out are windows at the edges of true events, those
    of labels that the model lacks, and, if every label raises events, those without a true event.

    Args:
        timelines: the predictions.
        truth: all true events, also of labels that raise no events.
        labels: those that raise events.
    """
    by_camera: dict[str, list[TrueEvent]] = {timeline.camera: [] for timeline in timelines}
    for event in truth:
        by_camera[event.camera].append(event)
    all_labels = timelines[0].pieces[0].trace.labels
    quiet = next((n for n, label in enumerate(all_labels) if label not in labels), None)
    found, scores, groups = [], [], []
    for timeline in timelines:
        for piece in timeline.pieces:
            trace = piece.trace
            begins, ends = trace.places[:, START] + piece.begin_us, trace.places[:, END] + piece.begin_us
            # By label; in the last column, labels that the model lacks.
            covered = np.zeros((len(begins), len(all_labels) + 1))
            for event in by_camera[timeline.camera]:
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
            # A score may be NaN; the tracker ignores such a window, too.
            clear = (shown >= 0) & np.isfinite(trace.scores).all(1)
            found.append(shown[clear])
            scores.append(trace.scores[clear])
            groups += [piece.name] * int(clear.sum())
    shown = np.concatenate(found)
    if not len(shown):
        return None
    return ClipScores(all_labels, shown, np.concatenate(scores), tuple(groups), tuple(groups))
