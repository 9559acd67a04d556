"""Labels that are probably wrong, found by scores of a model that has not learnt from the clips themselves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .scores import ClipScores


@dataclass(frozen=True, slots=True)
class DoubtfulLabel:
    """A clip whose label held-out scores contradict."""

    name: str
    given: str
    likely: str
    #: Of the given label, and of the likely one.
    given_score: float
    likely_score: float


def doubtful_labels(clips: ClipScores) -> list[DoubtfulLabel]:
    """Clips whose labels are probably wrong, the most contradicted first.

    Confident learning (Northcutt, Jiang and Chuang, JAIR 70, 2021, section 3.1, the off-diagonal of the confident
    joint): a clip is counted for the label with the highest score among those whose score is at least the mean score
    that clips of that label have for it. Where that is another label than the given one, the given one is doubtful. So
    a label that the model is unsure of everywhere needs less to be likely than one that it is sure of.

    Args:
        clips: scores of models that have not learnt from the clip, as of cross-validation. Where a clip may have
            several labels, each of them is such a question of two sides: there, or not.
    """
    if clips.is_multi_label:
        return _doubtful_sides(clips)
    shown = np.unique(clips.truth)
    if len(shown) < 2:
        return []
    usual = np.full(len(clips.labels), np.inf)  # of a label without clips nothing is known
    for label in shown:
        usual[label] = clips.scores[clips.truth == label, label].mean()
    confident = np.where(clips.scores >= usual, clips.scores, -np.inf)
    likely = confident.argmax(1)
    doubtful = np.flatnonzero((likely != clips.truth) & np.isfinite(confident.max(1)))
    found = [
        DoubtfulLabel(
            clips.names[i],
            clips.labels[clips.truth[i]],
            clips.labels[likely[i]],
            float(clips.scores[i, clips.truth[i]]),
            float(clips.scores[i, likely[i]]),
        )
        for i in doubtful
    ]
    return sorted(found, key=lambda d: d.given_score - d.likely_score)


def _doubtful_sides(clips: ClipScores) -> list[DoubtfulLabel]:
    """The clips with a label that they probably lack, and those that lack one which they probably have."""
    found = []
    for label, has, score in zip(clips.labels, clips.truth.T, clips.scores.T, strict=True):
        sides = ClipScores(
            (f"without {label}", f"with {label}"),
            has.astype(int),
            np.stack([1 - score, score], axis=1),
            clips.groups,
            clips.names,
        )
        found += doubtful_labels(sides)
    return sorted(found, key=lambda d: d.given_score - d.likely_score)
