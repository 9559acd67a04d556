"""Judge single windows: how well their scores tell what happens, before the tracker makes events of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

import numpy as np

from consumers.replaying.trace import END, START, Timeline
from models import UNKNOWN
from models.evaluation.figures import evaluate
from models.evaluation.scores import ClipScores

from .placing import TrueEvent

#: Share of a window that a label must cover for the window to count as showing it.
COVERED: Final = 0.5
#: Draws for intervals: windows are many.
_ROUNDS: Final = 200


def window_figures(
    timelines: Sequence[Timeline], truth: Sequence[TrueEvent], labels: Collection[str], *, multi_label: bool
) -> dict[str, Any] | None:
    """Figures of `judged_windows`, with intervals by file; without where there is one file."""
    windows = judged_windows(timelines, truth, labels, multi_label=multi_label)
    if windows is None:
        return None
    found = evaluate(windows, rounds=_ROUNDS).to_json()
    return found if found["groups"] > 1 else {**found, "low": {}, "high": {}}


def judged_windows(
    timelines: Sequence[Timeline], truth: Sequence[TrueEvent], labels: Collection[str], *, multi_label: bool = False
) -> ClipScores | None:
    """Every window with its true label, grouped by file; None if no window has one.

    A window's label is that of the true event which covers at least half of it. If no true event touches the window, it
    is the quiet label: the model's first that raises no events. Left out are windows at the edges of true events, those
    of labels that the model lacks, and, if every label raises events, those without a true event.

    Where windows may show several labels, each that covers half of a window is there; left out are windows at the edge
    of any true event, and the others stay, whatever they lack.

    Args:
        timelines: the predictions.
        truth: all true events, also of labels that raise no events.
        labels: those that raise events.
        multi_label: whether the model says of each label by itself whether it is there.
    """
    by_camera: dict[str, list[TrueEvent]] = {timeline.camera: [] for timeline in timelines}
    for event in truth:
        by_camera[event.camera].append(event)
    all_labels = timelines[0].pieces[0].trace.labels
    quiet = next((n for n, label in enumerate(all_labels) if label not in {*labels, UNKNOWN}), None)
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
            shown, clear = (_all_shown if multi_label else _one_shown)(covered, quiet)
            # A score may be NaN; the tracker ignores such a window, too.
            clear &= np.isfinite(trace.scores).all(1)
            found.append(shown[clear])
            scores.append(trace.scores[clear])
            groups += [piece.name] * int(clear.sum())
    shown = np.concatenate(found)
    if not len(shown):
        return None
    return ClipScores(all_labels, shown, np.concatenate(scores), tuple(groups), tuple(groups))


def _one_shown(covered: np.ndarray, quiet: int | None) -> tuple[np.ndarray, np.ndarray]:
    """The label of each window (N,), and whether it is clear which it is, from how much each covers (N, L + 1)."""
    most = covered.max(1)
    shown = np.where(most >= COVERED, covered.argmax(1), -1)
    shown[shown == covered.shape[1] - 1] = -1
    if quiet is not None:
        shown[most == 0] = quiet
    return shown, shown >= 0


def _all_shown(covered: np.ndarray, quiet: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Which labels each window shows (N, L), and whether it is clear."""
    shown = covered[:, :-1] >= COVERED
    if quiet is not None:
        shown[covered.max(1) == 0, quiet] = True
    return shown, ((covered[:, :-1] == 0) | shown).all(1)
