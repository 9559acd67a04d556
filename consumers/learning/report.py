"""An evaluation as one HTML file that can be mailed: figures, plots and film strips inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from sklearn.calibration import calibration_curve
from sklearn.metrics import ConfusionMatrixDisplay, PrecisionRecallDisplay, RocCurveDisplay

from consumers.reports.drawing import axes, film_strip, render, svg
from models import Checkpoint
from models.evaluation.bootstrap import ROUNDS
from models.evaluation.figures import Evaluation, shown
from models.evaluation.scores import ClipScores
from stream import sample_file

from .datasets import Example

_WORST: Final = 8
_STRIP_FRAMES: Final = 6
_STRIP_HEIGHT: Final = 120
_MAX_CURVES: Final = 10


@dataclass(frozen=True, slots=True)
class Strip:
    """Frames of a clip that was judged wrongly."""

    name: str
    truth: str
    said: str
    score: float
    jpeg: str


def write_report(
    checkpoint: Checkpoint, judged: ClipScores, evaluation: Evaluation, examples: Sequence[Example]
) -> str:
    """Return the page; `examples` are the clips of `judged`, in its order."""
    return render(
        "evaluation.html",
        model=checkpoint.id,
        contract=checkpoint.contract,
        evaluation=evaluation,
        rounds=ROUNDS,
        shown=shown,
        plots=[
            ("Confusion matrix: clips by what they are and what the model says", _confusion(judged, evaluation)),
            ("ROC: what share of clips with the label is found at what share of false alarms", _curves(judged, "roc")),
            ("Precision and recall by label", _curves(judged, "pr")),
            ("Calibration: how often the model is right at a confidence", _calibration(judged)),
        ],
        strips=_strips(judged, examples),
    )


def _confusion(judged: ClipScores, evaluation: Evaluation) -> str:
    plot, place = axes()
    ConfusionMatrixDisplay(evaluation.confusion, display_labels=judged.labels).plot(
        ax=place, cmap="Blues", colorbar=False, xticks_rotation=45 if len(judged.labels) > 3 else 0
    )
    return svg(plot)


def _curves(judged: ClipScores, kind: str) -> str:
    plot, place = axes()
    display = RocCurveDisplay if kind == "roc" else PrecisionRecallDisplay
    for index, label in list(enumerate(judged.labels))[:_MAX_CURVES]:
        is_label = judged.truth == index
        if 0 < is_label.sum() < len(is_label):
            display.from_predictions(is_label, judged.scores[:, index], name=label, ax=place)
    return svg(plot)


def _calibration(judged: ClipScores) -> str:
    plot, place = axes()
    confidence, right = judged.scores.max(1), judged.scores.argmax(1) == judged.truth
    share, mean = calibration_curve(right, np.clip(confidence, 0, 1), n_bins=10)
    place.plot([0, 1], [0, 1], linestyle=":", color="grey", label="as confident as right")
    place.plot(mean, share, marker="o", label="this model")
    place.set(xlabel="confidence", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1))
    place.legend()
    return svg(plot)


def _strips(judged: ClipScores, examples: Sequence[Example]) -> list[Strip]:
    said = judged.scores.argmax(1)
    wrong = np.flatnonzero(said != judged.truth)
    # The worst first: where the model was surest of what is not so.
    worst = wrong[np.argsort(-judged.scores[wrong, said[wrong]], kind="stable")][:_WORST]
    return [
        Strip(
            judged.names[i],
            judged.labels[judged.truth[i]],
            judged.labels[said[i]],
            float(judged.scores[i, said[i]]),
            _jpeg(examples[i]),
        )
        for i in worst
    ]


def _jpeg(example: Example) -> str:
    frames = sample_file(
        example.path,
        spacing_seconds=0.2,
        height=_STRIP_HEIGHT,
        width=_STRIP_HEIGHT * 4 // 3,
        start_seconds=example.start_seconds,
        end_seconds=example.end_seconds,
    )
    places = np.linspace(0, len(frames) - 1, _STRIP_FRAMES).round().astype(int)
    return film_strip(frames[places])
