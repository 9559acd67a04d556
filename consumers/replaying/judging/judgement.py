"""Judge a replay: which events are true, and every figure, ready for JSON and for the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from consumers.records.event import Event
from consumers.records.prediction import rfc3339
from consumers.replaying.trace import EventReport, Timeline
from consumers.rules.book import RuleBook
from consumers.rules.incidents import Incident, merged
from consumers.rules.rule import Rule

from .metrics import (
    OVERLAPS,
    Detection,
    EventSet,
    Matcher,
    Truth,
    average_precisions,
    by_overlap,
    count,
    count_by_camera,
    count_by_label,
    intervals,
    match,
    mean_average_precision,
)
from .placing import TrueEvent

_DIGITS: Final = 6
#: Figures that --fail-if may name.
FIGURES: Final = frozenset(
    {
        *("footage_seconds", "times_realtime", "truth_events", "detected", "misses", "false_alarms", "repeats"),
        *("false_alarms_per_hour", "time_to_alert_p50", "time_to_alert_p95", "precision", "recall", "f1"),
        *("mean_average_precision", "events"),
    }
)
#: Those that need no truth.
WITHOUT_TRUTH: Final = frozenset({"footage_seconds", "times_realtime", "events"})


@dataclass(frozen=True, slots=True)
class ReplayedEvent:
    """One event of a replay: its last report, and the event time of its alert."""

    event: Event
    alert_us: int


@dataclass(frozen=True, slots=True)
class Judgement:
    """A replay's events, the true events, and how they match; `events` are in the order of `event_set.detections`."""

    timelines: tuple[Timeline, ...]
    rules: Mapping[str, Rule]
    events: tuple[ReplayedEvent, ...]
    truth: tuple[TrueEvent, ...]
    event_set: EventSet
    #: For each detection the index of the true event it finds; None for a false alarm.
    matched: tuple[int | None, ...]
    #: What cameras of a group saw together.
    incidents: tuple[Incident, ...] = ()

    @property
    def missed(self) -> list[int]:
        """Indices of true events that no event finds."""
        found = set(self.matched)
        return [index for index in range(len(self.truth)) if index not in found]


def collect_events(reports: Sequence[EventReport]) -> list[ReplayedEvent]:
    """The events that the reports are about, in the order of their starts."""
    found: dict[str, ReplayedEvent] = {}
    for report in reports:
        first = found.get(report.event.id)
        found[report.event.id] = ReplayedEvent(report.event, first.alert_us if first else report.known_us)
    return list(found.values())


def judge_events(
    timelines: Sequence[Timeline],
    rules: Mapping[str, Rule],
    truth: Sequence[TrueEvent],
    matcher: Matcher,
    book: RuleBook | None = None,
) -> Judgement:
    """Play the timelines under the rules and match the events with the truth.

    Args:
        timelines: what the model saw.
        rules: by label, when it is an event.
        truth: what happened.
        matcher: says which event is which true one.
        book: the rules, where they are not the same for all cameras at any time.
    """
    played = [timeline.play(book or rules) for timeline in timelines]
    found = [h for reports in played for h in collect_events(reports)]
    # As they came on the topic: by when they were known.
    reports = sorted((r for reports in played for r in reports), key=lambda r: (r.known_us, r.event.camera))
    event_set = make_event_set(timelines, found, truth)
    return Judgement(
        tuple(timelines),
        rules,
        tuple(found),
        tuple(truth),
        event_set,
        tuple(match(event_set.truth, event_set.detections, matcher)),
        tuple(merged(report.event for report in reports)),
    )


def make_event_set(
    timelines: Sequence[Timeline], found: Sequence[ReplayedEvent], truth: Sequence[TrueEvent]
) -> EventSet:
    """Events and truth in seconds of each camera's footage; the bootstrap draws files (a topic's cameras)."""
    by_name = {timeline.camera: timeline for timeline in timelines}
    first_unit, units = {}, 0
    for timeline in timelines:
        first_unit[timeline.camera] = units
        units += len(timeline.pieces)

    def seconds(camera: str, time_us: int) -> float:
        return (time_us - by_name[camera].begin_us) / 1e6

    def unit(camera: str, time_us: int) -> int:
        begins = [piece.first_us for piece in by_name[camera].pieces]
        return first_unit[camera] + max((n for n, begin_us in enumerate(begins) if begin_us <= time_us), default=0)

    return EventSet(
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
        {timeline.camera: timeline.seconds for timeline in timelines},
        {first_unit[c.camera] + n: piece.trace.seconds for c in timelines for n, piece in enumerate(c.pieces)},
    )


def figures(judgement: Judgement, *, judged: bool) -> dict[str, Any]:
    """Every figure, by name. Without truth (`judged` is false) those that need it are None.

    Values lie at the top level, the 95 % intervals of rates, shares and times under `low` and `high`.
    """
    event_set, matched = judgement.event_set, judgement.matched
    if not judged:
        return dict.fromkeys(sorted(FIGURES - WITHOUT_TRUTH))
    precisions = average_precisions(event_set)
    at_overlap = {}
    for overlap in OVERLAPS:
        counted = count(event_set, match(event_set.truth, event_set.detections, by_overlap(overlap))).figures()
        at_overlap[f"{overlap:g}"] = {name: counted[name] for name in ("precision", "recall", "f1")}
    bounds = intervals(event_set, matched)
    return {
        **count(event_set, matched).figures(),
        "mean_average_precision": mean_average_precision(precisions),
        "low": {name: low for name, (low, _) in bounds.items()},
        "high": {name: high for name, (_, high) in bounds.items()},
        "at_overlap": at_overlap,
        "average_precision": {
            label: {f"{overlap:g}": ap for overlap, ap in row.items()} for label, row in precisions.items()
        },
        "per_label": {label: c.figures() for label, c in count_by_label(event_set, matched).items()},
        "per_camera": {camera: c.figures() for camera, c in count_by_camera(event_set, matched).items()},
    }


def events_json(judgement: Judgement, *, judged: bool) -> list[dict[str, Any]]:
    """Each event's last report, as subscribers get it, with its outcome."""
    rows = []
    for happening, detection, found in zip(
        judgement.events, judgement.event_set.detections, judgement.matched, strict=True
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
            row["time_to_alert"] = None if found is None else detection.alert - judgement.event_set.truth[found].start
        rows.append(rounded(row))
    return rows


def incidents_json(judgement: Judgement, *, judged: bool) -> list[dict[str, Any]]:
    """What cameras of groups saw together, in the end; judged by its events: false where all of them are."""
    by_id = {h.event.id: m for h, m in zip(judgement.events, judgement.matched, strict=True)}
    rows = []
    for incident in judgement.incidents:
        if incident.group is None:
            continue
        row = {key: value for key, value in incident.body().items() if key != "state"}
        if judged:
            is_true = any(by_id[event] is not None for event in incident.events)
            row["outcome"] = "detected" if is_true else "false_alarm"
        rows.append(rounded(row))
    return rows


def truth_json(judgement: Judgement) -> list[dict[str, Any]]:
    """Each true event with its outcome; the `truth` of an event is an index into this list."""
    by_truth = {m: h.event.id for m, h in zip(judgement.matched, judgement.events, strict=True) if m is not None}
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
        for index, (event, true) in enumerate(zip(judgement.truth, judgement.event_set.truth, strict=True))
    ]


def rounded(value: Any) -> Any:
    """Round floats to six places, however deeply they are nested."""
    if isinstance(value, float):
        return round(value, _DIGITS)
    if isinstance(value, Mapping):
        return {key: rounded(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(v) for v in value]
    return value
