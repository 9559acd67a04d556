"""From scores to events: a state machine per camera and label, without clocks or sockets.

score ≥ start                held for min_seconds            score < end
idle ───────────▶ candidate ─────────────────────▶ active ───────────────▶ cooling ──▶ idle
       ◀─────────                     started         │ updated        ended    cooldown_seconds
        score < end                                   └─ every update_seconds
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from consumers.records.event import Ending, Event, event_id
from consumers.records.prediction import Prediction


@dataclass(frozen=True, slots=True)
class Rule:
    """When a label is an event."""

    start: float
    end: float
    min_seconds: float
    cooldown_seconds: float
    update_seconds: float
    #: A score is the mean over so many windows, the newest last; until there are as many it is not known.
    smoothing: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.end <= self.start <= 1:
            raise ValueError(f"thresholds: expected 0 <= end ({self.end}) <= start ({self.start}) <= 1")
        if self.smoothing < 1:
            raise ValueError(f"smoothing over {self.smoothing} windows: expected at least 1")


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

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self._rules = rules
        self._courses = {label: _Course() for label in rules}
        #: Epoch, number and begin of the newest window.
        self._last: tuple[int, int, int] | None = None

    @classmethod
    def restored(cls, rules: Mapping[str, Rule], state: TrackerState) -> Self:
        """Go on from a state. Labels that have no rule any more are left out: see `TrackerState.ended`."""
        tracker = cls(rules)
        tracker._last = state.last
        for label, course in state.courses.items():
            if (rule := rules.get(label)) is not None:
                scores = deque(course.scores[-rule.smoothing :] if rule.smoothing > 1 else ())
                tracker._courses[label] = _Course(
                    course.event, course.active, course.quiet_until_us, course.reported_us, scores
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
        for label, rule in self._rules.items():
            events += self._step(label, rule, self._courses[label], prediction)
        return events

    def close(self, ending: Ending) -> list[Event]:
        """Nothing follows for now: end what is active, forget what was not yet certain."""
        events = []
        for label, course in self._courses.items():
            if course.event is not None and course.active:
                events.append(self._end(course, self._rules[label], ending))
            course.event, course.active = None, False
            course.scores.clear()
        return events

    def _step(self, label: str, rule: Rule, course: _Course, prediction: Prediction) -> list[Event]:
        score = prediction.scores[label]
        if rule.smoothing > 1:
            course.scores.append(score)
            if len(course.scores) > rule.smoothing:
                course.scores.popleft()
            if len(course.scores) < rule.smoothing:
                return []
            score = sum(course.scores) / rule.smoothing
        if course.event is None:
            if not score >= rule.start or prediction.start_us < course.quiet_until_us:
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
            events = [self._end(course, rule, "below_threshold")] if course.active else []
            course.event, course.active = None, False
            return events
        else:
            event = course.event
            course.event = replace(event, end_us=prediction.end_us, windows=event.windows + 1)
            if score > event.peak_score:
                course.event = replace(course.event, peak_score=score, peak_us=prediction.start_us)
        return self._report(rule, course, course.event)

    def _report(self, rule: Rule, course: _Course, event: Event) -> list[Event]:
        if not course.active:
            if event.end_us - event.start_us < rule.min_seconds * 1e6:
                return []
            course.active, course.reported_us = True, event.end_us
            return [event]
        if event.end_us - course.reported_us < rule.update_seconds * 1e6:
            return []
        course.event = replace(event, state="updated", revision=event.revision + 1)
        course.reported_us = event.end_us
        return [course.event]

    @staticmethod
    def _end(course: _Course, rule: Rule, ending: Ending) -> Event:
        assert course.event is not None
        course.quiet_until_us = course.event.end_us + round(rule.cooldown_seconds * 1e6)
        return _ended(course.event, ending)


def _ended(event: Event, ending: Ending) -> Event:
    return replace(event, state="ended", revision=event.revision + 1, ending=ending)
