"""From scores to events: a state machine per camera and label, without clocks or sockets.

score ≥ start                held for min_seconds            score < end
idle ───────────▶ candidate ─────────────────────▶ active ───────────────▶ cooling ──▶ idle
       ◀─────────                     started         │ updated        ended    cooldown_seconds
        score < end                                   └─ every update_seconds
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

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
    #: The newest score would begin an event, if none were waited out.
    is_high: bool = False
    #: Where what goes on or is waited out began: from where another tracker would have to see predictions.
    busy_since_us: int | None = None
    #: Since when nothing goes on and nothing is waited out.
    calm_since_us: int | None = None
    #: Since when no event could have begun, be it waited out or not.
    low_since_us: int | None = None

    def needed_from_us(self, oldest_us: float) -> int | None:
        """Where another tracker would have to begin, if that is not older than `oldest_us`."""
        if self.busy_since_us is None or self.busy_since_us >= oldest_us:
            return self.busy_since_us
        # Events in close succession: of those, the one that goes on.
        return self.event.start_us if self.event is not None and self.event.start_us >= oldest_us else None

    def forget(self) -> None:
        self.quiet_until_us = 0
        self.busy_since_us = self.calm_since_us = self.low_since_us = None


class Tracker:
    """Turns the predictions of one camera and model, in order, into events."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self._rules = rules
        self._courses = {label: _Course() for label in rules}
        self._last: Prediction | None = None
        #: The longest segment that predictions came from: a reader who begins anew begins up to so much earlier.
        self.longest_segment_us = 0
        self._lookback = max((rule.smoothing for rule in rules.values()), default=1) - 1
        self._stride_us = 0
        self._feed_ended = False

    @property
    def needed_from_us(self) -> int | None:
        """Event time from which another tracker would have to see predictions to come to this one's state.

        None when it may begin with the next: nothing goes on, and nothing that ended is still waited out. Going back
        is to where an event began, if before it no other could have begun for longer than a segment, for reading begins
        with whole segments, and windows before the event must not look like the start of one; else further.
        """
        return self.needed_since(float("-inf"))

    def needed_since(self, oldest_us: float) -> int | None:
        """The same, for another tracker that sees nothing older: events that are older begin anew, others go on."""
        needed = [at for course in self._courses.values() if (at := course.needed_from_us(oldest_us)) is not None]
        if needed:
            base_us = min(needed)
        elif not self._lookback or self._last is None or self._feed_ended:
            return None
        else:
            base_us = self._last.start_us + self._stride_us
        return base_us - self._lookback * self._stride_us

    def let_go(self, oldest_us: float) -> list[Event]:
        """End the events that another tracker, which sees nothing older, could not go on with."""
        events = []
        for label, course in self._courses.items():
            if course.event is not None and course.active and course.needed_from_us(oldest_us) is None:
                events.append(self._end(course, self._rules[label], "gap"))
                course.event, course.active = None, False
        return events

    @property
    def active(self) -> list[Event]:
        return [c.event for c in self._courses.values() if c.event is not None and c.active]

    def push(self, prediction: Prediction) -> list[Event]:
        """Take the next prediction; return what became true with it."""
        events = []
        last = self._last
        if last is not None and (prediction.epoch_us != last.epoch_us or prediction.window != last.window + 1):
            events = self.close("gap")
            if prediction.start_us < last.start_us:
                # Footage that is sent again, or older footage: what came later says nothing about it.
                for course in self._courses.values():
                    course.forget()
        if last is not None and prediction.epoch_us == last.epoch_us:
            self._stride_us = (prediction.start_us - last.start_us) // max(1, prediction.window - last.window)
        self._last, self._feed_ended = prediction, False
        for label, rule in self._rules.items():
            course = self._courses[label]
            had_event = course.event is not None
            events += self._step(label, rule, course, prediction)
            self._note_calm(course, prediction.start_us, begins=course.event is not None and not had_event)
        return events

    def _note_calm(self, course: _Course, start_us: int, *, begins: bool) -> None:
        outlasts_us = self.longest_segment_us + self._lookback * self._stride_us
        low_us = None if course.low_since_us is None else start_us - course.low_since_us
        if begins and (course.busy_since_us is None or (low_us is not None and low_us > outlasts_us)):
            course.busy_since_us = start_us
        if course.event is not None or course.is_high:
            course.low_since_us = None
        elif course.low_since_us is None:
            course.low_since_us = start_us
        if course.event is not None or start_us < course.quiet_until_us:
            course.calm_since_us = None
            if course.busy_since_us is None:
                course.busy_since_us = start_us
            return
        if course.calm_since_us is None:
            course.calm_since_us = start_us
        if start_us - course.calm_since_us > outlasts_us:
            course.busy_since_us = None

    def close(self, ending: Ending) -> list[Event]:
        """Nothing follows for now: end what is active, forget what was not yet certain."""
        events = []
        for label, course in self._courses.items():
            if course.event is not None and course.active:
                events.append(self._end(course, self._rules[label], ending))
            course.event, course.active = None, False
            course.scores.clear()
        self._feed_ended = ending == "feed_ended"
        if self._feed_ended and self._last is not None:
            for course in self._courses.values():
                if course.quiet_until_us <= self._last.end_us:
                    # What comes next is another epoch, and finds nothing to wait out.
                    course.forget()
        return events

    def _step(self, label: str, rule: Rule, course: _Course, prediction: Prediction) -> list[Event]:
        score = prediction.scores[label]
        if rule.smoothing > 1:
            course.scores.append(score)
            if len(course.scores) > rule.smoothing:
                course.scores.popleft()
            if len(course.scores) < rule.smoothing:
                course.is_high = False
                return []
            score = sum(course.scores) / rule.smoothing
        course.is_high = score >= rule.start
        if course.event is None:
            if not course.is_high or prediction.start_us < course.quiet_until_us:
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
        event = course.event
        course.quiet_until_us = event.end_us + round(rule.cooldown_seconds * 1e6)
        return replace(event, state="ended", revision=event.revision + 1, ending=ending)
