"""An evaluation as one HTML file that can be mailed: figures, plots and film strips inside."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from sklearn.metrics import precision_recall_curve, roc_curve

from consumers.reports.drawing import MUTED, SERIES, FilmStrip, Frame, Plot, StripSection, draw, in_legend, jpeg
from consumers.reports.page import Header, render
from consumers.reports.wording import figure_text, interval_text
from consumers.terminal.wording import count
from models import Checkpoint
from models.evaluation.bootstrap import ROUNDS
from models.evaluation.calibration import calibration_bins
from models.evaluation.figures import Evaluation
from models.evaluation.ranking import FALSE_ALARM_PERCENTS
from models.evaluation.scores import ClipScores, WindowScores
from stream import Image, Picture, SourceError, sample_pieces

from .footage.examples import Example
from .results.tables import figure_title

_MOST_WRONG: Final = 24
_MOST_RIGHT: Final = 6
#: Rows of the table of clips: a page has to open.
_MOST_CLIPS: Final = 2000
_FRAMES: Final = 6
#: Of one example, of which those are chosen.
_MOST_HELD: Final = 36
_HEIGHT: Final = 120
#: What is said of a clip without any of the labels that it might have.
_NOTHING: Final = "none"
_SPACING_SECONDS: Final = 0.2
_FIGURE_NAMES: Final = {
    "accuracy": "accuracy",
    "mean_average_precision": "mean average precision",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "auc": "AUC",
    "calibration_error": "calibration error",
    "top5_accuracy": "top-5 accuracy",
}


@dataclass(frozen=True, slots=True)
class _Clip:
    name: str
    group: str
    truth: str
    said: str
    score: float


def write_report(
    checkpoint: Checkpoint,
    windows: WindowScores,
    evaluation: Evaluation,
    examples: Sequence[Example],
    warnings: Sequence[str] = (),
    sources: Sequence[str] = (),
    command: str = "",
) -> str:
    """Return the page.

    Args:
        checkpoint: the model.
        windows: its scores of the windows of the clips.
        evaluation: the figures of these scores.
        examples: the clips of `windows`, in its order.
        warnings: what the terminal warned of.
        sources: where the clips are from.
        command: how it was made.
    """
    judged = windows.by_clip()
    folder, names = _short_names(judged.names)
    clips = [
        _Clip(name, group, judged.shown(n), judged.said(row) or _NOTHING, _sureness(judged, row))
        for n, (name, group, row) in enumerate(zip(names, judged.groups, judged.scores, strict=True))
    ]
    return render(
        "evaluation.html",
        _header(checkpoint, evaluation, warnings, [*sources, *([f"in {folder}"] if folder else [])], command),
        evaluation=evaluation,
        rounds=f"{ROUNDS:,}",
        labels=judged.labels,
        figure_rows=[
            (_FIGURE_NAMES.get(name, figure_title(name)), figure_text(f.value), interval_text(f.low, f.high))
            for name, f in evaluation.figures.items()
        ],
        drawn=[_roc(judged), _precision_recall(judged), _calibration(windows)],
        sections=_sections(clips, examples),
        clips=clips[:_MOST_CLIPS],
        clips_left_out=max(0, len(clips) - _MOST_CLIPS),
    )


def _sureness(judged: ClipScores, scores: np.ndarray) -> float:
    """The score of the label that is said; of several, of the label that could most easily be the other way round."""
    return float(np.maximum(scores, 1 - scores).min() if judged.is_multi_label else scores.max())


def _short_names(names: Sequence[str]) -> tuple[str, Sequence[str]]:
    """The folder that all names begin with, and the rest of each; "" and the names where there is none."""
    try:
        folder = os.path.commonpath([PurePath(name).parent for name in names])
    except ValueError:  # some are absolute, and some are not
        folder = ""
    return folder, [name.removeprefix(f"{folder}/") for name in names] if folder else names


def verdict(evaluation: Evaluation) -> str:
    """The result in a sentence."""
    if evaluation.confusion is None:
        return _verdict_of_labels(evaluation)
    accuracy = evaluation.figures["accuracy"]
    right = round(accuracy.value * evaluation.clips)
    has_bounds = accuracy.low < accuracy.high  # NaN where there are none
    bounds = f", 95 % interval {100 * accuracy.low:.0f} to {100 * accuracy.high:.0f} %" if has_bounds else ""
    found = "; ".join(f"{c.label}: {100 * c.recall:.0f} % of {c.clips} found" for c in evaluation.per_class if c.clips)
    clips = count(evaluation.clips, "clip")
    return f"{right} of {clips} labelled correctly ({100 * accuracy.value:.0f} %{bounds}): {found}."


def _verdict_of_labels(evaluation: Evaluation) -> str:
    """The same where a clip may have several labels."""
    mean = evaluation.main
    bounds = f", 95 % interval {mean.low:.2f} to {mean.high:.2f}" if mean.low < mean.high else ""
    percent = FALSE_ALARM_PERCENTS[0]
    found = "; ".join(
        f"{c.label}: {100 * c.recall_at[percent]:.0f} % of {c.clips} found"
        for c in evaluation.per_class
        if 0 < c.clips < evaluation.clips
    )
    clips = count(evaluation.clips, "clip")
    told = f" Where {percent} % of the other clips pass: {found}." if found else ""
    return f"Each label by itself on {clips}: mean average precision {mean.value:.2f}{bounds}.{told}"


def _header(
    checkpoint: Checkpoint, evaluation: Evaluation, warnings: Sequence[str], sources: Sequence[str], command: str
) -> Header:
    contract = checkpoint.contract
    thresholds = [
        f"{name}: an event starts at a score of {t.start:g}, ends below {t.end:g}"
        for name, t in contract.thresholds.items()
    ]
    facts = [
        ("Clips", [*sources, f"{evaluation.clips} clips in {count(evaluation.groups, 'group')}"]),
        ("Model", [checkpoint.id, f"architecture {contract.architecture}, labels {', '.join(contract.labels)}"]),
        (
            "Windows",
            [
                f"{contract.frames} frames of {contract.width}x{contract.height} pixels",
                f"{contract.spacing_seconds:g} s apart",
            ],
        ),
        ("Thresholds", thresholds or ["none: the model raises no events"]),
    ]
    return Header(f"Evaluation of {checkpoint.id}", verdict(evaluation), warnings, facts, command)


def _roc(judged: ClipScores) -> Plot:
    def paint(axes: Axes) -> None:
        for colour, label, is_label, scores in _labels(judged):
            false, true, _ = roc_curve(is_label, scores)
            axes.plot(false, true, color=colour, label=in_legend(label))
        axes.plot([0, 1], [0, 1], linestyle=":", color=MUTED, label="chance")
        axes.set(xlabel="share of other clips taken for the label", ylabel="share of the label's clips found")
        axes.legend()

    return draw("ROC: what is found at which share of false alarms", paint)


def _precision_recall(judged: ClipScores) -> Plot:
    def paint(axes: Axes) -> None:
        for colour, label, is_label, scores in _labels(judged):
            precision, recall, _ = precision_recall_curve(is_label, scores)
            axes.step(recall, precision, where="post", color=colour, label=in_legend(label))
        axes.set(xlabel="recall: share of the label's clips found", ylabel="precision: share of finds that are right")
        axes.set(xlim=(0, 1.02), ylim=(0, 1.05))
        if axes.lines:
            axes.legend()

    return draw("Precision and recall by label", paint)


def _labels(judged: ClipScores) -> list[tuple[str, str, np.ndarray, np.ndarray]]:
    """Colour, name, which clips have it, and its scores, for the labels that some clips have and others have not."""
    found: list[tuple[str, str, np.ndarray, np.ndarray]] = []
    for index, label in enumerate(judged.labels):
        is_label = judged.has_label[:, index]
        if 0 < is_label.sum() < len(is_label) and len(found) < len(SERIES):
            found.append((SERIES[len(found)], label, is_label, judged.scores[:, index]))
    return found


def _calibration(windows: WindowScores) -> Plot:
    """Of windows, since those are served; each counts a share of its clip."""
    truth, scores, _ = windows.by_window()
    weights = windows.window_weights()
    words = "score of the label that the model says", "share of windows that are right"
    if windows.is_multi_label:  # every label of every window
        confidence, right, weights = scores.ravel(), truth.ravel(), np.repeat(weights, len(windows.labels))
        words = "score of a label", "share of windows that have it"
    else:
        confidence, right = scores.max(1), scores.argmax(1) == truth
    bins = calibration_bins(confidence)
    total = np.bincount(bins, weights)
    filled = total > 0
    share, mean = (np.bincount(bins, weights * of)[filled] / total[filled] for of in (right, confidence))

    def paint(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], linestyle=":", color=MUTED, label="perfectly calibrated")
        axes.plot(mean, share, marker="o", color=SERIES[0], label="this model")
        axes.set(xlabel=words[0], ylabel=words[1])
        axes.set(xlim=(0, 1.02), ylim=(0, 1.05))
        axes.legend()

    return draw("Calibration: how often the model is right at a score", paint)


def _sections(clips: Sequence[_Clip], examples: Sequence[Example]) -> list[StripSection]:
    """All mistakes, and right answers, the surest first."""
    surest = sorted(range(len(clips)), key=lambda n: -clips[n].score)
    wrong = [n for n in surest if clips[n].said != clips[n].truth]
    right = [n for n in surest if clips[n].said == clips[n].truth]
    sections = []
    kinds = (
        ("Mistakes", wrong, _MOST_WRONG, "None: every clip is right.", "bad"),
        ("Right, the surest first", right, _MOST_RIGHT, "No clip is right.", "good"),
    )
    taken = iter(_taken([examples[n] for _, rows, most, *_ in kinds for n in rows[:most]]))
    for title, rows, most, nothing, kind in kinds:
        strips = [_strip(clips[n], examples[n], next(taken), kind) for n in rows[:most]]
        sections.append(StripSection(title, strips, len(rows), nothing))
    return sections


class _Few:
    """Pictures of a run, evenly spaced, of which memory holds a few: an example may be hours long."""

    def __init__(self) -> None:
        self.held: list[Image] = []
        #: Pictures of the run from one of these to the next.
        self.step = 1
        self._seen = 0

    def append(self, image: Image, /) -> None:
        if self._seen % self.step == 0:
            self.held.append(image)
        self._seen += 1
        if len(self.held) > _MOST_HELD:
            self.held, self.step = self.held[::2], 2 * self.step

    def __len__(self) -> int:
        return self._seen


def _taken(examples: Sequence[Example]) -> list[_Few]:
    """Pictures of each example; those of one file are taken in one pass over it.

    Raises:
        SourceError: a file can no longer be read.
    """
    of_file: dict[Path, list[int]] = defaultdict(list)
    for number, example in enumerate(examples):
        of_file[example.path].append(number)
    found: dict[int, _Few] = {}
    for path, numbers in of_file.items():
        pieces = [(examples[n].start_seconds, examples[n].end_seconds) for n in numbers]
        for index, runs in sample_pieces(path, pieces, _Few, Picture(_HEIGHT, _HEIGHT * 4 // 3), _SPACING_SECONDS):
            if isinstance(runs, SourceError):
                raise runs
            found[numbers[index]] = max(runs, key=len)  # the piece that was scored
    return [found[number] for number in range(len(examples))]


def _strip(clip: _Clip, example: Example, few: _Few, kind: str) -> FilmStrip:
    places = np.linspace(0, len(few.held) - 1, _FRAMES).round().astype(int).tolist()
    pictures = [
        Frame(f"{example.start_seconds + place * few.step * _SPACING_SECONDS:.1f} s", jpeg(few.held[place]))
        for place in places
    ]
    detail = f"the model says {clip.said} ({clip.score:.2f}), it is {clip.truth}"
    return FilmStrip(clip.name, detail, pictures, kind=kind)
