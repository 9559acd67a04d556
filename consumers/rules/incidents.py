"""What several cameras of a group see at once is one incident. Pure: reports of events in, incidents out.

    gate-1  fight   ├────────┤                         incident 1: gate-1, gate-2
    gate-2  fight       ├───────┤
    gate-2  fight                    < 30 s ├───┤      ... still 1: little time lies between, or one of it goes on
    gate-1  fall           ├──┤                        incident 2: another label

Which events belong together follows from what they say (label, group, `merge_seconds`, event times), so it is the same
live, in replay and for each reader of the topic. An incident bears the id of the event that opened it, which is the one
that was reported first. The events themselves stay what they are: footage, scores and verdicts are those of one camera.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from consumers.records.event import Event, Severity, State
from consumers.records.prediction import rfc3339

#: Groups and labels of which something is known; the one that was heard of longest ago is forgotten first.
_MAX_PLACES: Final = 4096
#: Incidents of one label in a group that a late event may still belong to.
_MAX_RECENT: Final = 16
#: Events of one incident that are told apart. What is more counts, and its end is not waited for.
_MAX_EVENTS: Final = 1000


@dataclass(frozen=True, slots=True)
class Incident:
    """What is known of an incident with a report of one of its events."""

    #: That of the event that opened it.
    id: str
    #: None where it is an event of a camera that is in no group.
    group: str | None
    label: str
    #: `updated`: another event has joined it. None: a report that brings nothing new of the incident as a whole.
    state: State | None
    #: In the order in which they saw it.
    cameras: tuple[str, ...]
    #: Event time, microseconds since the Unix epoch.
    start_us: int
    end_us: int
    peak_score: float
    #: Ids of its events, by first report.
    events: tuple[str, ...]
    #: `alert` where one of its events is.
    severity: Severity

    def body(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "incident": self.id,
            "group": self.group,
            "state": self.state,
            "label": self.label,
            "cameras": list(self.cameras),
            "start": rfc3339(self.start_us),
            "end": rfc3339(self.end_us),
            "seconds": round((self.end_us - self.start_us) / 1e6, 6),
            "peak_score": round(self.peak_score, 6),
            "severity": self.severity,
            "events": list(self.events),
        }


@dataclass(slots=True)
class _Course:
    """An incident as it goes on."""

    id: str
    start_us: int
    end_us: int
    peak_score: float = 0.0
    severity: Severity = "detection"
    cameras: dict[str, None] = field(default_factory=dict)
    #: Ids, and whether each has ended.
    events: dict[str, bool] = field(default_factory=dict)

    def is_near(self, event: Event, span_us: int) -> bool:
        # Of what goes on it is reported only now and then until when.
        begins_in_time = not self.is_over or event.start_us <= self.end_us + span_us
        return begins_in_time and event.end_us >= self.start_us - span_us

    @property
    def is_over(self) -> bool:
        return all(self.events.values())


class Incidents:
    """Puts events together. Not for several threads."""

    def __init__(self) -> None:
        self._places: OrderedDict[tuple[str, ...], list[_Course]] = OrderedDict()

    def take(self, event: Event) -> Incident:
        """Take the next report of an event, in the order of the topic; returns its incident as it is with it."""
        # A camera in no group is one by itself, and each of its events an incident. So are drills: nobody merges them.
        alone = event.group is None or event.drill is not None
        place = ("", event.camera, event.model, event.label) if alone else (str(event.group), event.label)
        courses = self._places.setdefault(place, [])
        self._places.move_to_end(place)
        if len(self._places) > _MAX_PLACES:
            self._places.popitem(last=False)
        course = next((each for each in reversed(courses) if event.id in each.events), None)
        if course is None and not alone:
            span_us = round((event.merge_seconds or 0) * 1e6)
            course = next((each for each in courses if each.is_near(event, span_us)), None)
        state: State | None = None
        if course is None:
            state, course = "started", _Course(event.id, event.start_us, event.end_us)
            courses.append(course)
            del courses[:-_MAX_RECENT]
        elif event.id not in course.events:
            state = "updated"
        _note(course, event)
        return Incident(
            id=course.id,
            group=None if alone else event.group,
            label=event.label,
            state="ended" if course.is_over else state,
            cameras=tuple(course.cameras),
            start_us=course.start_us,
            end_us=course.end_us,
            peak_score=course.peak_score,
            events=tuple(course.events),
            severity=course.severity,
        )


def merged(events: Iterable[Event]) -> list[Incident]:
    """The incidents of events of the past, each as it was in the end, by begin; reports in the order of the topic."""
    incidents = Incidents()
    last: dict[str, Incident] = {}
    for event in events:
        incident = incidents.take(event)
        last[incident.id] = incident
    return sorted(last.values(), key=lambda each: (each.start_us, each.id))


def _note(course: _Course, event: Event) -> None:
    course.start_us, course.end_us = min(course.start_us, event.start_us), max(course.end_us, event.end_us)
    course.peak_score = max(course.peak_score, event.peak_score)
    if event.severity == "alert":
        course.severity = "alert"
    if len(course.events) < _MAX_EVENTS or event.id in course.events:
        course.events[event.id] = event.state == "ended"
        course.cameras[event.camera] = None


def news(events: Iterable[Event]) -> Iterator[Incident]:
    """Incidents as they come: when one opens, another event joins it, and when all of its events are over."""
    incidents = Incidents()
    return (incident for event in events if (incident := incidents.take(event)).state is not None)
