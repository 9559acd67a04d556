"""A replay as one HTML file that can be mailed: what happened when, what settings trade, pictures of mistakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from sklearn.metrics import ConfusionMatrixDisplay

from consumers.reports.drawing import axes, film_strip, render, svg
from models.evaluation.scores import ClipScores

from .judging.against import compare
from .judging.judge import Judgement
from .judging.metrics import Fit
from .pictures import strips
from .sources import Piece, Recording
from .telling import shown
from .trace import END, START, Course
from .trace import Piece as Placed
from .tuning.sweep import Trial, sweep

_WORST: Final = 8
#: Cameras that are drawn; the eventful ones first.
_MAX_CAMERAS: Final = 24
_MAX_LABELS: Final = 6
#: A row of bars above the scores, and a bar in it.
_ROW: Final = 0.15
_BAR: Final = 0.1
#: A trace is thinned to so many points: the highest of each stretch is kept.
_MAX_POINTS: Final = 2000
_FIGURES: Final = (
    *("truth_events", "detected", "misses", "false_alarms", "repeats", "false_alarms_per_hour", "time_to_alert_p50"),
    *("time_to_alert_p95", "precision", "recall", "f1", "mean_average_precision"),
)


@dataclass(frozen=True, slots=True)
class Strip:
    """Pictures of a mistake, and what it is."""

    text: str
    jpeg: str
    #: To the footage, for whoever has it; empty where it lies on a topic.
    link: str


def write_report(
    content: Mapping[str, Any],
    judgement: Judgement,
    recordings: Sequence[Recording],
    fit: Fit,
    windows: ClipScores | None,
    other: Judgement | None = None,
    *,
    judged: bool,
) -> str:
    """Return the page.

    Args:
        content: what `--json` holds.
        judgement: the same with the traces.
        recordings: where the footage is, for pictures; there are none without.
        fit: how events are matched, for the curve.
        windows: every window with its truth, for the confusion matrix.
        other: the same footage by another model, with which it is compared.
        judged: whether there is a truth.
    """
    return render(
        "replay.html",
        content=content,
        judged=judged,
        names=_FIGURES,
        number=shown,
        timelines=_timelines(judgement, other),
        plots=_plots(judgement, fit, windows) if judged else [],
        sections=_sections(judgement, recordings, other) if judged else [],
    )


def _timelines(judgement: Judgement, other: Judgement | None) -> list[tuple[str, str]]:
    """The cameras on which models differ first, then those with events, then those on which something happens."""
    found, theirs = ({h.event.camera for h in j.happenings} if j else set() for j in (judgement, other))
    differing = _differing(judgement, other)
    true = {t.camera for t in judgement.truth}

    def place(course: Course) -> tuple[bool, ...]:
        return tuple(course.camera not in cameras for cameras in (differing, found | theirs, true))

    courses = sorted(judgement.courses, key=place)
    others = {course.camera: course for course in other.courses} if other is not None else {}
    drawn = [
        (f"{c.camera}: {c.seconds:.0f} s", _timeline(judgement, c, other, others.get(c.camera)))
        for c in courses[:_MAX_CAMERAS]
    ]
    if len(courses) > _MAX_CAMERAS:
        drawn.append((f"and {len(courses) - _MAX_CAMERAS} cameras more, which are not drawn", ""))
    return drawn


def _differing(judgement: Judgement, other: Judgement | None) -> set[str]:
    """Cameras on which only one of two models finds something true."""
    if other is None:
        return set()
    paired = compare(judgement, other)
    return {judgement.truth[index].camera for index in (*paired.only_first, *paired.only_second)}


def _timeline(judgement: Judgement, course: Course, other: Judgement | None, theirs: Course | None) -> str:
    """Truth and events as bars over time, and the scores of the labels that make events, with their thresholds.

    A second model's scores are dashed, and its events a row of their own.
    """
    plot, place = axes(11, 2.2 if other is None else 2.6)
    _draw_scores(place, judgement, course, "-")
    rows = [("events", judgement)]
    if other is not None and theirs is not None:
        _draw_scores(place, other, theirs, (0, (4, 2)))
        rows = [("second's events", other), ("first's events", judgement)]
    heights = [1.03 + number * _ROW for number in range(len(rows) + 1)]
    for height, (_, one) in zip(heights, rows, strict=False):
        _draw_events(place, one, course.camera, height)
    found = set(judgement.matched)
    for index, true in enumerate(judgement.scene.truth):
        if true.camera == course.camera:
            colour = "tab:green" if index in found else "tab:red"
            place.broken_barh([(true.start, true.end - true.start)], (heights[-1], _BAR), color=colour)
    place.set(xlabel="seconds", ylim=(0, heights[-1] + _ROW), yticks=[0, 0.5, *(h + _BAR / 2 for h in heights)])
    place.set_yticklabels(["0", "0.5", *(name for name, _ in rows), "truth"])
    place.margins(x=0)
    if judgement.rules:
        place.legend(loc="upper left", fontsize="small", bbox_to_anchor=(1, 1))  # beside: scores may be anywhere
    return svg(plot)


def _draw_scores(place: Any, judgement: Judgement, course: Course, line: Any) -> None:
    first = line == "-"
    alpha = 1 if first else 0.6
    for number, label in enumerate(list(judgement.rules)[:_MAX_LABELS]):
        colour, rule = f"C{number}", judgement.rules[label]
        for piece in course.pieces:
            middles, scores = _thinned(piece, label, course.begin_us)
            name = (label if first else f"{label}, second") if piece is course.pieces[0] else None
            place.plot(middles, scores, color=colour, linestyle=line, linewidth=1, alpha=alpha, label=name)
        if first:
            place.axhline(rule.start, color=colour, linestyle="--", linewidth=0.8)
            place.axhline(rule.end, color=colour, linestyle=":", linewidth=0.8)


def _draw_events(place: Any, judgement: Judgement, camera: str, height: float) -> None:
    for detection, match in zip(judgement.scene.detections, judgement.matched, strict=True):
        if detection.camera == camera:
            colour = "tab:red" if match is None and judgement.truth else "tab:blue"
            place.broken_barh([(detection.start, detection.end - detection.start)], (height, _BAR), color=colour)
            place.plot([detection.alert], [height + _BAR / 2], marker="|", color="black")


def _thinned(piece: Placed, label: str, begin_us: int) -> tuple[np.ndarray, np.ndarray]:
    places, scores = piece.trace.places, piece.trace.scores[:, piece.trace.labels.index(label)]
    middles = ((places[:, START] + places[:, END]) / 2 + piece.begin_us - begin_us) / 1e6
    if len(scores) <= _MAX_POINTS:
        return middles, scores
    chosen = [part[scores[part].argmax()] for part in np.array_split(np.arange(len(scores)), _MAX_POINTS)]
    return middles[chosen], scores[chosen]


def _plots(judgement: Judgement, fit: Fit, windows: ClipScores | None) -> list[tuple[str, str]]:
    plots = []
    trials = {
        label: sweep(judgement.courses, label, rule, judgement.truth, fit)
        for label, rule in list(judgement.rules.items())[:_MAX_LABELS]
        if any(t.label == label for t in judgement.truth)
    }
    if trials:
        current = {label: next(t for t in row if t.rule == judgement.rules[label]) for label, row in trials.items()}
        plots.append(
            (
                "Misses against false alarms, as the start threshold moves; the dot is where it is",
                trade(trials, current),
            )
        )
    times = [
        d.alert - judgement.scene.truth[m].start
        for d, m in zip(judgement.scene.detections, judgement.matched, strict=True)
        if m is not None
    ]
    if times:
        plot, place = axes()
        place.hist(times, bins=min(20, max(5, len(times))), color="tab:blue")
        place.set(xlabel="seconds from the true onset to the alert", ylabel="events")
        plots.append(("Time to alert, in event time, the length of segments included", svg(plot)))
    if windows is not None:
        plot, place = axes()
        ConfusionMatrixDisplay.from_predictions(
            windows.truth,
            windows.scores.argmax(1),
            labels=np.arange(len(windows.labels)),
            display_labels=windows.labels,
            ax=place,
            cmap="Blues",
            colorbar=False,
            xticks_rotation=45 if len(windows.labels) > 3 else 0,
        )
        plots.append(("Confusion matrix: windows by what they show and what the model says", svg(plot)))
    return plots


def trade(
    trials: Mapping[str, Sequence[Trial]], marked: Mapping[str, Trial], budget_per_hour: float | None = None
) -> str:
    """Share of misses over false alarms an hour, a line a label: the best that is to be had at each rate."""
    plot, place = axes()
    for number, (label, row) in enumerate(trials.items()):
        files = range(len(row[0].seconds))
        points = []
        for trial in (*row, marked[label]):
            counts = trial.counts(files)
            points.append((counts.false_alarms * 3600 / counts.seconds, counts.misses / max(1, counts.truth)))
        *swept, chosen = points
        best = [(0.0, 1.0)]
        for rate, misses in sorted(swept):
            if misses < best[-1][1]:
                best.append((rate, misses))
        best.append((max(rate for rate, _ in swept), best[-1][1]))
        place.scatter(*zip(*swept, strict=True), color=f"C{number}", s=6, alpha=0.5)
        place.step(*zip(*best, strict=True), where="post", color=f"C{number}", label=label)
        place.plot(*chosen, marker="o", color=f"C{number}", clip_on=False, zorder=3)  # also where it lies on an axis
    if budget_per_hour is not None:
        place.axvline(budget_per_hour, color="black", linestyle=":", linewidth=0.8, label="budget of a label")
    place.set(xlabel="false alarms a camera-hour", ylabel="share of true events missed", ylim=(-0.03, 1.03))
    place.set_xlim(left=0)
    place.legend()
    return svg(plot)


@dataclass(frozen=True, slots=True)
class _Scene:
    """Something to be shown in pictures."""

    camera: str
    start_us: int
    end_us: int
    text: str


def _missed(judgement: Judgement, indices: Sequence[int]) -> list[_Scene]:
    """The longest first."""
    scenes = []
    for index in sorted(indices, key=lambda i: judgement.truth[i].start_us - judgement.truth[i].end_us)[:_WORST]:
        event, true = judgement.truth[index], judgement.scene.truth[index]
        text = f"{true.label} on {true.camera} at {true.start:.1f} to {true.end:.1f} s"
        scenes.append(_Scene(event.camera, event.start_us, event.end_us, text))
    return scenes


def _false_alarms(judgement: Judgement) -> list[_Scene]:
    """Those that the model was surest of first."""
    numbers = [n for n, match in enumerate(judgement.matched) if match is None]
    scenes = []
    for number in sorted(numbers, key=lambda n: -judgement.scene.detections[n].score)[:_WORST]:
        event, d = judgement.happenings[number].event, judgement.scene.detections[number]
        text = f"{d.label} on {d.camera} at {d.start:.1f} to {d.end:.1f} s, peak {d.score:.2f}"
        scenes.append(_Scene(event.camera, event.start_us, event.end_us, text))
    return scenes


def _sections(
    judgement: Judgement, recordings: Sequence[Recording], other: Judgement | None
) -> list[tuple[str, list[Strip], str]]:
    wanted = [
        ("Missed", _missed(judgement, judgement.missed), "Nothing was missed."),
        ("False alarms", _false_alarms(judgement), "There were none."),
    ]
    if other is not None:
        paired = compare(judgement, other)
        first, second = (j.courses[0].pieces[0].trace.model for j in (judgement, other))
        wanted += [
            (f"Found by {first}, missed by {second}", _missed(judgement, paired.only_first), "Nothing."),
            (f"Found by {second}, missed by {first}", _missed(judgement, paired.only_second), "Nothing."),
            (f"False alarms of {second}", _false_alarms(other), "There were none."),
        ]
    drawn = iter(_drawn(judgement, recordings, [scene for _, scenes, _ in wanted for scene in scenes]))
    return [(title, [next(drawn) for _ in scenes], nothing) for title, scenes, nothing in wanted]


def _drawn(judgement: Judgement, recordings: Sequence[Recording], scenes: Sequence[_Scene]) -> list[Strip]:
    footage = {recording.camera: recording.pieces for recording in recordings}
    if not footage:
        return [Strip(scene.text, "", "") for scene in scenes]
    courses = {course.camera: course for course in judgement.courses}
    wanted: list[tuple[Piece, Placed, int, int]] = []
    for scene in scenes:
        pieces = courses[scene.camera].pieces
        number = max((n for n, piece in enumerate(pieces) if piece.first_us <= scene.start_us), default=0)
        placed = pieces[number]
        start_us, end_us = max(scene.start_us, placed.first_us), min(scene.end_us, placed.end_us)
        wanted.append((footage[scene.camera][number], placed, start_us, end_us))
    found = []
    for scene, (piece, placed, start_us, _), row in zip(scenes, wanted, strips(wanted), strict=True):
        link = (
            "" if piece.file is None else f"{piece.file.resolve().as_uri()}#t={(start_us - placed.first_us) / 1e6:.1f}"
        )
        found.append(Strip(scene.text, film_strip(row) if row else "", link))
    return found
