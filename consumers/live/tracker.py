"""From scores to events: a state machine per camera and label, without clocks or sockets.

score ≥ start                held for min_seconds            score < end
idle ───────────▶ candidate ─────────────────────▶ active ───────────────▶ cooling ──▶ idle
       ◀─────────                     started         │ updated        ended    cooldown_seconds
        score < end                                   └─ every update_seconds, and once it has escalated

Rules may change from one window to the next: each window goes by those of the event time at which it begins. What is
open goes on under the new rule; it ends where a label has none any more, or outside of the rule's schedule.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from consumers.records.event import Ending, Event, event_id
from consumers.records.prediction import Prediction
from consumers.rules.book import CameraRules, as_book
from consumers.rules.rule import Rule


@dataclass(slots=True)
class _Course:
    """What is known of one label."""

    event: Event | None = None  # a candidate, or active
    active: bool = False
    quiet_until_us: int = 0
    reported_us: int = 0
    #: The newest scores without a gap, as many as are averaged.
    scores: deque[float] = field(default_factory=deque)


@dataclass(frozen=True, slots=True)
class CourseState:
    """What a tracker knows of one label."""

    #: A candidate, or active.
    event: Event | None
    active: bool
    quiet_until_us: int
    reported_us: int
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class TrackerState:
    """All that a tracker knows: another one that has it goes on with each event under its id."""

    #: Epoch, number and begin of the newest window.
    last: tuple[int, int, int] | None
    courses: Mapping[str, CourseState]

    def ended(self, labels: Collection[str] = ()) -> list[Event]:
        """The last reports of active events that nobody goes on with: those of other labels than these."""
        return [
            _ended(course.event, "gap")
            for label, course in self.courses.items()
            if course.event is not None and course.active and label not in labels
        ]


class Tracker:
    """Turns the predictions of one camera and model, in order, into events."""

    def __init__(self, rules: CameraRules | Mapping[str, Rule]) -> None:
        """Begin.

        Args:
            rules: over event time; a mapping, by label, where they are always the same.
        """
        self._rules = as_book(rules).of("") if isinstance(rules, Mapping) else rules
        self._courses: dict[str, _Course] = {}
        #: Epoch, number and begin of the newest window.
        self._last: tuple[int, int, int] | None = None

    @classmethod
    def restored(cls, rules: CameraRules | Mapping[str, Rule], state: TrackerState) -> Self:
        """Go on from a state. Labels that have no rule at any time are left out: see `TrackerState.ended`."""
        tracker = cls(rules)
        tracker._last = state.last
        for label in tracker._rules.labels:
            if (course := state.courses.get(label)) is not None:
                tracker._courses[label] = _Course(
                    course.event, course.active, course.quiet_until_us, course.reported_us, deque(course.scores)
                )
        return tracker

    @property
    def state(self) -> TrackerState:
        """What another tracker has to know to go on."""
        return TrackerState(
            self._last,
            {
                label: CourseState(c.event, c.active, c.quiet_until_us, c.reported_us, tuple(c.scores))
                for label, c in self._courses.items()
            },
        )

    @property
    def open(self) -> list[Event]:
        """Events that go on, and those that may become one."""
        return [c.event for c in self._courses.values() if c.event is not None]

    @property
    def active(self) -> list[Event]:
        return [c.event for c in self._courses.values() if c.event is not None and c.active]

    def push(self, prediction: Prediction) -> list[Event]:
        """Take the next prediction; return what became true with it."""
        events = []
        if self._last is not None:
            epoch_us, window, start_us = self._last
            if (prediction.epoch_us, prediction.window) != (epoch_us, window + 1):
                events = self.close("gap")
                if prediction.start_us < start_us:
                    # Older footage: what came later says nothing about it.
                    for course in self._courses.values():
                        course.quiet_until_us = 0
        self._last = prediction.epoch_us, prediction.window, prediction.start_us
        rules = self._rules.at(prediction.start_us)
        for label in [label for label in self._courses if label not in rules]:
            course = self._courses.pop(label)
            if course.event is not None and course.active:
                events.append(_ended(course.event, "rule_removed"))
        for label, rule in rules.items():
            if (each := self._courses.get(label)) is None:
                each = self._courses[label] = _Course()
            events += self._step(label, rule, each, prediction)
        return events

    def close(self, ending: Ending) -> list[Event]:
        """Nothing follows for now: end what is active, forget what was not yet certain."""
        events = []
        # As they were for the newest window: each course has a rule among them.
        rules = {} if self._last is None else self._rules.at(self._last[2])
        for label, course in self._courses.items():
            if (rule := rules.get(label)) is not None:
                events += self._stop(course, rule, ending)
            elif course.event is not None and course.active:
                events.append(_ended(course.event, ending))
            course.event, course.active = None, False
            course.scores.clear()
        return events

    def _step(self, label: str, rule: Rule, course: _Course, prediction: Prediction) -> list[Event]:
        score = prediction.scores[label]
        is_known = _average(course.scores, rule, score)
        if course.event is not None and not rule.holds_at(prediction.start_us):
            return self._stop(course, rule, "off_schedule")
        if not is_known:
            return []
        if rule.smoothing > 1:
            score = sum(course.scores) / rule.smoothing
        if course.event is None:
            if not score >= rule.start or prediction.start_us < course.quiet_until_us:
                return []
            if not rule.holds_at(prediction.start_us):
                return []
            course.event = Event(
                camera=prediction.camera,
                model=prediction.model,
                label=label,
                state="started",
                revision=0,
                id=event_id(prediction.camera, prediction.epoch_us, label, prediction.start_us, prediction.model),
                start_us=prediction.start_us,
                end_us=prediction.end_us,
                peak_score=score,
                peak_us=prediction.start_us,
                windows=1,
            )
        elif not score >= rule.end:  # so that a score that is not a number holds nothing
            return self._stop(course, rule, "below_threshold")
        else:
            event = course.event
            course.event = replace(event, end_us=prediction.end_us, windows=event.windows + 1)
            if score > event.peak_score:
                course.event = replace(course.event, peak_score=score, peak_us=prediction.start_us)
        return self._report(rule, course, course.event)

    @staticmethod
    def _report(rule: Rule, course: _Course, event: Event) -> list[Event]:
        if not course.active:
            if event.end_us - event.start_us < rule.min_seconds * 1e6:
                return []
            course.event = _made_by(rule, event)
            course.active, course.reported_us = True, event.end_us
            return [course.event]
        escalates = (
            not event.escalated
            and rule.escalate_after_seconds is not None
            and event.end_us - event.start_us >= rule.escalate_after_seconds * 1e6
        )
        if not escalates and event.end_us - course.reported_us < rule.update_seconds * 1e6:
            return []
        course.event = replace(
            _made_by(rule, replace(event, escalated=event.escalated or escalates)),
            state="updated",
            revision=event.revision + 1,
            reason="escalated" if escalates else None,
        )
        course.reported_us = event.end_us
        return [course.event]

    @staticmethod
    def _stop(course: _Course, rule: Rule, ending: Ending) -> list[Event]:
        """End what is active, forget what was not yet certain."""
        event, course.event = course.event, None
        if event is None or not course.active:
            return []
        course.active = False
        course.quiet_until_us = event.end_us + round(rule.cooldown_seconds * 1e6)
        return [_ended(_made_by(rule, event), ending)]


def _average(scores: deque[float], rule: Rule, score: float) -> bool:
    """Keep the scores that are averaged; whether there are as many as it takes."""
    if rule.smoothing == 1:
        scores.clear()
        return True
    scores.append(score)
    while len(scores) > rule.smoothing:
        scores.popleft()
    return len(scores) == rule.smoothing


def _made_by(rule: Rule, event: Event) -> Event:
    """An event as a rule reports it."""
    return replace(
        event,
        rule=rule.version,
        severity="alert" if event.escalated else rule.severity,
        group=rule.group,
        merge_seconds=None if rule.group is None else rule.merge_seconds,
    )


def _ended(event: Event, ending: Ending) -> Event:
    return replace(event, state="ended", revision=event.revision + 1, ending=ending, reason=None)
