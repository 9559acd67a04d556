"""A replay against the truth: which events are right, and every figure of it, ready for JSON and for the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from consumers.live.tracker import Rule
from consumers.records.event import Event
from consumers.records.prediction import rfc3339
from consumers.replaying.trace import Course, Report

from .metrics import (
    OVERLAPS,
    Detection,
    Fit,
    Scene,
    Truth,
    average_precisions,
    bootstrap,
    by_overlap,
    count,
    count_by_camera,
    count_by_label,
    match,
    mean_average_precision,
)
from .truth import TrueEvent

_DIGITS: Final = 6
#: What a gate may ask for.
FIGURES: Final = frozenset(
    {
        *("footage_seconds", "times_realtime", "truth_events", "detected", "misses", "false_alarms", "repeats"),
        *("false_alarms_per_hour", "time_to_alert_p50", "time_to_alert_p95", "precision", "recall", "f1"),
        *("mean_average_precision", "events"),
    }
)
#: Those that are known without any truth.
WITHOUT_TRUTH: Final = frozenset({"footage_seconds", "times_realtime", "events"})


@dataclass(frozen=True, slots=True)
class Happening:
    """One event of a replay: its newest report, and when its first one could be known."""

    event: Event
    alert_us: int


@dataclass(frozen=True, slots=True)
class Judgement:
    """A replay's events, the truth, and which belong together. `happenings` are those of `scene.detections`."""

    courses: tuple[Course, ...]
    rules: Mapping[str, Rule]
    happenings: tuple[Happening, ...]
    truth: tuple[TrueEvent, ...]
    scene: Scene
    #: For each detection the index of the truth that it finds; None for a false alarm.
    matched: tuple[int | None, ...]

    @property
    def missed(self) -> list[int]:
        """Indices of truth that no event finds."""
        found = set(self.matched)
        return [index for index in range(len(self.truth)) if index not in found]


def happenings(reports: Sequence[Report]) -> list[Happening]:
    """One a started event, in the order of their starts."""
    found: dict[str, Happening] = {}
    for report in reports:
        first = found.get(report.event.id)
        found[report.event.id] = Happening(report.event, first.alert_us if first else report.known_us)
    return list(found.values())


def judge(courses: Sequence[Course], rules: Mapping[str, Rule], truth: Sequence[TrueEvent], fit: Fit) -> Judgement:
    """Play the courses under the rules and match what comes with the truth."""
    found = [h for course in courses for h in happenings(course.play(rules))]
    scene = make_scene(courses, found, truth)
    return Judgement(
        tuple(courses), rules, tuple(found), tuple(truth), scene, tuple(match(scene.truth, scene.detections, fit))
    )


def make_scene(courses: Sequence[Course], found: Sequence[Happening], truth: Sequence[TrueEvent]) -> Scene:
    """The same in seconds of each camera's footage; a unit of the bootstrap is a piece (a file, a topic's camera)."""
    by_name = {course.camera: course for course in courses}
    first_unit, units = {}, 0
    for course in courses:
        first_unit[course.camera] = units
        units += len(course.pieces)

    def seconds(camera: str, time_us: int) -> float:
        return (time_us - by_name[camera].begin_us) / 1e6

    def unit(camera: str, time_us: int) -> int:
        begins = [piece.first_us for piece in by_name[camera].pieces]
        return first_unit[camera] + max((n for n, begin_us in enumerate(begins) if begin_us <= time_us), default=0)

    return Scene(
        tuple(
            Truth(
                t.camera,
                t.label,
                seconds(t.camera, t.start_us),
                seconds(t.camera, t.end_us),
                unit(t.camera, t.start_us),
            )
            for t in truth
        ),
        tuple(
            Detection(
                h.event.camera,
                h.event.label,
                seconds(h.event.camera, h.event.start_us),
                seconds(h.event.camera, h.event.end_us),
                h.event.peak_score,
                seconds(h.event.camera, h.alert_us),
                unit(h.event.camera, h.event.start_us),
            )
            for h in found
        ),
        {course.camera: course.seconds for course in courses},
        {first_unit[c.camera] + n: piece.trace.seconds for c in courses for n, piece in enumerate(c.pieces)},
    )


def figures(judgement: Judgement, *, judged: bool) -> dict[str, Any]:
    """Every figure, by name. Without truth (`judged` false) those that need it are None.

    At the top level values; their 95 % intervals lie under `low` and `high`.
    """
    scene, matched = judgement.scene, judgement.matched
    if not judged:
        return dict.fromkeys(sorted(FIGURES - WITHOUT_TRUTH))
    precisions = average_precisions(scene)
    at_overlap = {}
    for overlap in OVERLAPS:
        counted = count(scene, match(scene.truth, scene.detections, by_overlap(overlap))).figures()
        at_overlap[f"{overlap:g}"] = {name: counted[name] for name in ("precision", "recall", "f1")}
    bounds = bootstrap(scene, matched)
    return {
        **count(scene, matched).figures(),
        "mean_average_precision": mean_average_precision(precisions),
        "low": {name: low for name, (low, _) in bounds.items()},
        "high": {name: high for name, (_, high) in bounds.items()},
        "at_overlap": at_overlap,
        "average_precision": {
            label: {f"{overlap:g}": ap for overlap, ap in row.items()} for label, row in precisions.items()
        },
        "per_label": {label: c.figures() for label, c in count_by_label(scene, matched).items()},
        "per_camera": {camera: c.figures() for camera, c in count_by_camera(scene, matched).items()},
    }


def event_rows(judgement: Judgement, *, judged: bool) -> list[dict[str, Any]]:
    """Each event as subscribers get its last report, with what became of it here."""
    rows = []
    for happening, detection, found in zip(
        judgement.happenings, judgement.scene.detections, judgement.matched, strict=True
    ):
        row = {
            **happening.event.body(),
            "start_seconds": detection.start,
            "end_seconds": detection.end,
            "alert": rfc3339(happening.alert_us),
            "alert_seconds": detection.alert,
        }
        if judged:
            row["outcome"] = "false_alarm" if found is None else "detected"
            row["truth"] = found
            row["time_to_alert"] = None if found is None else detection.alert - judgement.scene.truth[found].start
        rows.append(rounded(row))
    return rows


def truth_rows(judgement: Judgement) -> list[dict[str, Any]]:
    """Each row of truth with what became of it; the events' `truth` are indices into these."""
    by_truth = {m: h.event.id for m, h in zip(judgement.matched, judgement.happenings, strict=True) if m is not None}
    return [
        rounded(
            {
                "camera": event.camera,
                "label": event.label,
                "start": rfc3339(event.start_us),
                "end": rfc3339(event.end_us),
                "start_seconds": true.start,
                "end_seconds": true.end,
                "outcome": "detected" if index in by_truth else "missed",
                "event": by_truth.get(index),
            }
        )
        for index, (event, true) in enumerate(zip(judgement.truth, judgement.scene.truth, strict=True))
    ]


def rounded(value: Any) -> Any:
    """Floats to six places, in whatever they are nested."""
    if isinstance(value, float):
        return round(value, _DIGITS)
    if isinstance(value, Mapping):
        return {key: rounded(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(v) for v in value]
    return value
