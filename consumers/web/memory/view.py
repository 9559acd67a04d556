"""What clients are told: what is kept of the topics, but for what is forgotten, with what was added to each event."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Self, TypeVar

from consumers.records.audit import AuditEntry
from consumers.records.delivery import Delivery
from consumers.records.event import Event
from consumers.records.event_pictures import EventPictures
from consumers.records.verdict import Verdict
from consumers.rules.version import RulesVersion
from consumers.running.overview import DEAD_SECONDS, CameraLine, Overview, judged_at, overview
from consumers.running.troubles import Trouble
from consumers.settings import Settings
from consumers.times import parse_time_us
from consumers.verdicts.book import JudgedEvent
from consumers.web.cameras.history import Past
from stream import Transport

from .feed import FeedHealth
from .intake import Intake
from .newest import Key, Newest, Slice

T = TypeVar("T")
#: A camera, event times of begin and end, and the event's id.
_When = tuple[str, int, int, str]
#: What a camera is called while nobody knows how it is.
UNKNOWN: Final = "unknown"


@dataclass(frozen=True, slots=True)
class KnownEvent:
    """An event and what was added to it."""

    #: Its newest report.
    report: Event
    pictures: EventPictures | None
    judged: JudgedEvent | None
    #: Who has said something of it by hand that was not taken back.
    seen_by: frozenset[str] = frozenset()


@dataclass(slots=True)
class DayCounts:
    """Events of one day."""

    alerts: int = 0
    detections: int = 0
    #: Of these, those that nobody has judged.
    unjudged: int = 0


class View:
    """What there is to tell of the topics. Use as a context manager; any thread may ask."""

    def __init__(
        self,
        connect: Callable[[], Transport],
        settings: Settings,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        """Prepare.

        Args:
            connect: connects to the broker, or raises BrokerError.
            settings: topics, and how much is kept.
            now_us: wall clock.
        """
        self._named, self._now_us = frozenset(settings.cameras), now_us
        self._intake = Intake(connect, settings, now_us)
        #: Which stretches nobody is told of.
        self.forgotten = self._intake.forgotten
        #: Who may come in by links, and who not any more by sessions.
        self.access = self._intake.access
        #: Feeds of which all that there was has been read.
        self._known_feeds: set[str] = set()

    def __enter__(self) -> Self:
        self._intake.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._intake.__exit__(*error)

    # --- what was stored just now -------------------------------------------------------------------------------------

    def put_verdict(self, verdict: Verdict, heard_us: int) -> None:
        """Take a verdict that was stored just now; the topic tells of it once more."""
        self._intake.put_verdict(verdict, heard_us)

    def put_audit(self, entry: AuditEntry) -> None:
        """Take an entry that was stored just now; the topic tells of it once more."""
        self._intake.put_audit(entry)

    # --- what is there ------------------------------------------------------------------------------------------------

    def feeds(self) -> dict[str, FeedHealth]:
        """How far each topic was read, by what is read of it."""
        return {name: feed.health for name, feed in self._intake.feeds.items()}

    def waiting(self, name: str) -> str | None:
        """Why what is kept of some topics may not be what there is, in words; None where it is."""
        return self._intake.feeds[name].health.waiting

    def kept(self) -> dict[str, tuple[int, int]]:
        """How many there are of each kind, and how many were dropped because there was no room."""
        with self._intake.lock:
            kinds: dict[str, Newest[Any]] = {
                "events": self._intake.events,
                "pictures": self._intake.pictures,
                "verdicts": self._intake.verdicts,
                "deliveries": self._intake.deliveries,
                "audit": self._intake.audit,
            }
            return {name: (len(kept), kept.dropped) for name, kept in kinds.items()}

    @property
    def left_out(self) -> int:
        """Records that are not what their topic holds."""
        return self._intake.left_out + self._intake.reader.left_out + self._intake.states.left_out

    def overview(self) -> Overview:
        """How everything is. Where the broker tells nothing, nobody knows how cameras are: they are `unknown`."""
        feed = self._intake.feeds["states"]
        away = feed.health.outage
        with self._intake.lock:
            now = overview(self._intake.states, judged_at(self._now_us(), feed.was_away(DEAD_SECONDS)))
        if away is None:
            return now
        trouble = f"waiting for {away}"
        cameras = tuple(replace(line, status=UNKNOWN, trouble=trouble) for line in now.cameras)
        told = (Trouble("broker_away", why=str(away), away=away),)
        return Overview(now.time_us, cameras, (), (), (trouble,), troubles=told)

    def camera(self, name: str) -> CameraLine | None:
        """One camera; None where nothing is known of it."""
        return next((line for line in self.overview().cameras if line.state.feed.camera == name), None)

    def has_heard_of(self, camera: str) -> bool:
        """Whether a camera is or was there, as far as settings, states, events and forgotten stretches tell."""
        return camera in self._named or camera in self._intake.names or self.forgotten.has(camera)

    def note_camera(self, camera: str) -> None:
        """Keep the name of a camera that others know."""
        with self._intake.lock:
            self._intake.names.note(camera)

    def past(self, camera: str, from_us: int, to_us: int) -> Past:
        """How a camera was between two times, wall clock, as far as anybody here has heard."""
        with self._intake.lock:
            return self._intake.history.past(camera, from_us, to_us, self._now_us())

    def event(self, id_: str) -> KnownEvent | None:
        """One event; None where it is not kept."""
        with self._intake.lock:
            report = self._intake.events.get(id_)
            return None if report is None else self._known(report)

    def events(self, limit: int, wanted: Callable[[KnownEvent], bool], after: Key | None) -> Slice[KnownEvent]:
        """Events by their begin, the newest first."""
        with self._intake.lock:
            told, count = self._told(lambda report: wanted(self._known(report)), _when_reported)
            found = self._intake.events.slice(limit, told, after)
            return Slice(tuple(map(self._known, found.items)), found.after, count())

    def judged(self, camera: str, label: str) -> list[JudgedEvent]:
        """What people said of the events of one label of a camera."""
        with self._intake.lock:
            return [
                each
                for each in self._intake.judged.values()
                if (each.newest.camera, each.newest.label) == (camera, label)
                and not self._is_forgotten(self.when_judged(each.newest))
            ]

    def reported(self, camera: str, label: str, from_us: int, to_us: int) -> list[Event]:
        """The events of one label of a camera that reach into a time, the newest first."""
        with self._intake.lock:
            found = self._intake.events.slice(
                max(1, len(self._intake.events)),
                lambda each: (
                    (each.camera, each.label) == (camera, label)
                    and each.start_us < to_us
                    and each.end_us > from_us
                    and not self._is_forgotten(_when_reported(each))
                ),
            )
            return list(found.items)

    def counts(
        self, from_us: int, to_us: int, wanted: Callable[[KnownEvent], bool], day_of: Callable[[int], str]
    ) -> dict[str, DayCounts]:
        """Wanted events that began at `[from_us, to_us)`, by the day that an event time lies on."""
        found: dict[str, DayCounts] = {}
        with self._intake.lock:
            for event in map(self._known, self._intake.events.between(from_us, to_us)):
                report = event.report
                if wanted(event) and not self._is_forgotten(_when_reported(report)):
                    day = found.setdefault(day_of(event.report.start_us), DayCounts())
                    day.alerts += event.report.severity == "alert"
                    day.detections += event.report.severity != "alert"
                    day.unjudged += event.judged is None
        return found

    def verdict(self, id_: str) -> Verdict | None:
        with self._intake.lock:
            return self._intake.verdicts.get(id_)

    def when_judged(self, verdict: Verdict) -> tuple[str, int, int, str]:
        """The camera, begin, end and id of the event that a verdict is on."""
        return self._when_told_of((verdict.camera, verdict.start_us, verdict.end_us, verdict.event))

    def verdicts(self, limit: int, wanted: Callable[[Verdict], bool], after: Key | None) -> Slice[Verdict]:
        """Verdicts by when they were given, the newest first."""
        with self._intake.lock:
            told, count = self._told(wanted, self.when_judged)
            found = self._intake.verdicts.slice(limit, told, after)
            return replace(found, withheld=count())

    def deliveries(self, limit: int, wanted: Callable[[Delivery], bool], after: Key | None) -> Slice[Delivery]:
        """The newest entry of each message, by when it was queued, the newest first."""
        with self._intake.lock:
            told, count = self._told(wanted, self._when_sent_about)
            found = self._intake.deliveries.slice(limit, told, after)
            return replace(found, withheld=count())

    def audit(self, limit: int, wanted: Callable[[AuditEntry], bool], after: Key | None) -> Slice[AuditEntry]:
        """Who changed what, the newest first."""
        with self._intake.lock:
            return self._intake.audit.slice(limit, wanted, after)

    def rules(self) -> list[RulesVersion]:
        """The versions of the workers' group, by the event time from which they hold."""
        with self._intake.lock:
            return [self._intake.rules[since_us] for since_us in sorted(self._intake.rules)]

    def knows_forgotten(self) -> bool:
        """Whether it is known what is forgotten; until then nobody is told of any event."""
        return self.knows("forgotten")

    def knows(self, name: str) -> bool:
        """Whether all that was on some topics when this began has been read, or there are no such topics."""
        if name not in self._known_feeds:
            health = self._intake.feeds[name].health
            if health.is_begun or health.is_missing:
                self._known_feeds.add(name)
        return name in self._known_feeds

    def _is_forgotten(self, at: _When) -> bool:
        """Whether something is not to be told of; also as long as that is not known."""
        return not self.knows_forgotten() or self.forgotten.of(*at) is not None

    def _when_told_of(self, at: _When) -> _When:
        """When an event is that was told of as `at`: it may have gone on since, and then all of that is forgotten."""
        camera, start_us, end_us, event = at
        with self._intake.lock:
            report = self._intake.events.get(event)
        return at if report is None else (camera, min(start_us, report.start_us), max(end_us, report.end_us), event)

    def _when_sent_about(self, each: Delivery) -> _When | None:
        """Of what a message about an event is; None of others."""
        if each.kind != "event":
            return None
        data = each.message["data"]
        return self._when_told_of(
            (data["camera"], parse_time_us(data["start"]), parse_time_us(data["end"]), data["event"])
        )

    def _told(
        self, wanted: Callable[[T], bool], when: Callable[[T], _When | None]
    ) -> tuple[Callable[[T], bool], Callable[[], int]]:
        """What is wanted and not forgotten; and how many were wanted that are."""
        knows, withheld = self.knows_forgotten(), 0

        def told(each: T) -> bool:
            nonlocal withheld
            if not wanted(each):
                return False
            at = when(each)
            if at is None or (knows and self.forgotten.of(*at) is None):
                return True
            withheld += knows
            return False

        return told, lambda: withheld

    def _known(self, report: Event) -> KnownEvent:
        judged, seen_by = self._intake.judged.get(report.id), self._intake.seen_by.get(report.id, frozenset())
        return KnownEvent(report, self._intake.pictures.get(report.id), judged, seen_by)


def _when_reported(each: Event) -> _When:
    return each.camera, each.start_us, each.end_us, each.id
