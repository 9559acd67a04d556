"""Score labelled footage with a classifier, in the windows in which the worker would score it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models import Classifier, Contract, Frames, TrainingError
from models.evaluation.alarms import with_alarms, wrong_windows
from models.evaluation.figures import Evaluation, evaluate
from models.evaluation.scores import WindowScores
from models.windows.windowing import sliding_windows

from .footage.examples import Example
from .footage.frames import Progress, frames_for
from .trained_on import quiet_labels


def score_examples(classifier: Classifier, examples: Sequence[Example], progress: Progress) -> WindowScores:
    """Score the windows of each example, half a window apart.

    Raises:
        TrainingError: a label that the model does not have, or footage that cannot be decoded.
    """
    check_labels(classifier.id, classifier.contract, examples)
    return score_frames(classifier, examples, frames_for(classifier.contract, examples, progress), progress)


def score_frames(
    classifier: Classifier, examples: Sequence[Example], videos: Sequence[Frames], progress: Progress
) -> WindowScores:
    """Score the windows of each example, whose frames `frames_for` decoded."""
    contract = classifier.contract
    rows = []
    for done, frames in enumerate(videos, start=1):
        windows = sliding_windows(len(frames), contract.frames)  # (W, T)
        rows.append(classifier.predict_windows(frames, windows).astype(np.float64))
        progress("classifying", done, len(videos))
    return windows_of(contract, examples, rows)


def windows_of(contract: Contract, examples: Sequence[Example], rows: Sequence[np.ndarray]) -> WindowScores:
    """The examples with their scores (W, L) of windows, as a model says that labels are to be read."""
    known = contract.labels
    return WindowScores(
        known,
        np.array(
            [[n in e.labels for n in known] for e in examples]
            if contract.multi_label
            else [known.index(e.label) for e in examples]
        ),
        tuple(rows),
        tuple(e.group for e in examples),
        tuple(e.name for e in examples),
    )


def evaluation_of(contract: Contract, windows: WindowScores) -> Evaluation:
    """How good these scores are, and how the model alarms with its own thresholds."""
    clips = windows.by_clip()
    wrong = wrong_windows(windows, contract.thresholds)
    return with_alarms(evaluate(clips, windows), clips, wrong, quiet_labels(contract))


def check_labels(model_id: str, contract: Contract, examples: Sequence[Example]) -> None:
    """Refuse labels that a model does not have, and an empty list.

    Raises:
        TrainingError: with the labels that it knows.
    """
    if unknown := sorted({n for e in examples for n in e.labels} - set(contract.labels)):
        raise TrainingError(
            f"labels {', '.join(unknown)}: {model_id} knows {', '.join(contract.labels)}; "
            "rename one with --map old=new, or leave it out with --map old="
        )
    if not examples:
        raise TrainingError("no labelled footage is left: expected at least one example")
