"""What the topics say now, as much of it as there is room for: each topic is read once, for all clients.

What is kept is bounded by number and by age; what that leaves out, `health` says.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, Self, TypeVar

from consumers.forgetting import ForgottenBook
from consumers.forgetting.book import MOST as MOST_FORGOTTEN
from consumers.notifying.by_hand import changed_by
from consumers.records.audit import AuditEntry
from consumers.records.delivery import Delivery
from consumers.records.event import Event
from consumers.records.event_pictures import EventPictures
from consumers.records.fields import RecordError
from consumers.records.verdict import Verdict
from consumers.rules.topic import MAX_VERSIONS
from consumers.rules.version import RulesVersion
from consumers.running.overview import DEAD_SECONDS, CameraLine, Overview, judged_at, overview
from consumers.running.state_topics import States
from consumers.running.troubles import Trouble
from consumers.settings import Settings, TopicSettings
from consumers.subscribing.reader import EventReader
from consumers.times import parse_time_us
from consumers.verdicts.book import JudgedEvent, judged_events, seen_by, verdict_of
from stream import Record, Transport

from .cameras.history import Past, StateHistory
from .cameras.known import CameraNames
from .feed import Feed, FeedHealth
from .newest import Key, Newest, Slice
from .sharing import AccessBook

log = logging.getLogger(__name__)

#: Reports of one event that are read at the start, about; those of further ones are left out.
_REPORTS: Final = 4
T = TypeVar("T")
#: A camera, event times of begin and end, and the event's id.
_When = tuple[str, int, int, str]
#: Of states: what `clipline status` reads.
_STATES: Final = 5_000
#: Of shares and ended sessions, with what deletes them: more than are heeded.
_ACCESS: Final = 250_000
#: Verdicts on one event that are kept; of more, the newest.
_VERDICTS_OF_EVENT: Final = 50
#: So many records that are not what their topic holds are named, the others counted.
_NAMED: Final = 10
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


def followed(topics: TopicSettings) -> tuple[str, ...]:
    """The topics that are read."""
    return (
        *(topics.cameras_state, topics.workers_state, topics.events, topics.pictures),
        *(topics.verdicts, topics.deliveries, topics.rules, topics.audit, topics.forgotten, topics.access),
    )


class View:
    """The newest of each topic. Use as a context manager; any thread may ask."""

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
        topics, room = settings.topics, settings.dashboard.max_events
        self._topics, self._now_us, self._group = topics, now_us, settings.worker.group
        self._named = frozenset(settings.cameras)
        self._keep_us = int(settings.dashboard.keep_hours * 3.6e9)
        self._lock = threading.RLock()
        self._states = States()
        self._history = StateHistory(now_us())
        self._names = CameraNames()
        self._reader = EventReader(topics, drills=True)
        #: Which stretches nobody is told of.
        self.forgotten = ForgottenBook()
        #: Who may come in by links, and who not any more by sessions.
        self.access = AccessBook()
        #: Feeds of which all that there was has been read.
        self._known_feeds: set[str] = set()
        self._events: Newest[Event] = Newest(room)
        self._pictures: Newest[EventPictures] = Newest(room)
        self._verdicts: Newest[Verdict] = Newest(room)
        #: By event, as they were given.
        self._said: dict[str, list[Verdict]] = {}
        #: What they come to.
        self._judged: dict[str, JudgedEvent] = {}
        self._seen_by: dict[str, frozenset[str]] = {}
        self._deliveries: Newest[Delivery] = Newest(room)
        self._audit: Newest[AuditEntry] = Newest(room)
        self._rules: dict[int, RulesVersion] = {}
        self._left_out = 0

        def feed(names: list[str], take: Callable[[Record], None], most: int) -> Feed:
            broker = f"Kafka at {settings.broker}"
            # All of them wait for one broker: one says so.
            is_first = topics.events in names

            def say(line: str) -> None:
                is_outage = not is_first and line.startswith(("waiting for ", f"{broker} is back"))
                # That nobody has written some of them yet, `health` says.
                is_usual = is_outage or line.endswith((": waiting for it", " exists now"))
                log.log(logging.DEBUG if is_usual else logging.WARNING, "%s", line)

            return Feed(connect, broker, names, self._locked(take), say, most=most, tidy=self._tidy)

        self._feeds = {
            "states": feed([topics.cameras_state, topics.workers_state], self._take_state, _STATES),
            "events": feed([topics.events], self._take_event, _REPORTS * room),
            "pictures": feed([topics.pictures], self._take_pictures, _REPORTS * room),
            "verdicts": feed([topics.verdicts], self._take_verdict, room),
            "deliveries": feed([topics.deliveries], self._take_delivery, _REPORTS * room),
            "rules": feed([topics.rules], self._take_rules, 10 * MAX_VERSIONS),
            "audit": feed([topics.audit], self._take_audit, room),
            # All of it: what is passed over would be shown.
            "forgotten": feed([topics.forgotten], self.forgotten.take, 10 * MOST_FORGOTTEN),
            "access": feed([topics.access], self.access.take, _ACCESS),
        }

    def __enter__(self) -> Self:
        self._stack = contextlib.ExitStack()
        for feed in self._feeds.values():
            self._stack.enter_context(feed)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # --- what is there ------------------------------------------------------------------------------------------------

    def feeds(self) -> dict[str, FeedHealth]:
        """How far each topic was read, by what is read of it."""
        return {name: feed.health for name, feed in self._feeds.items()}

    def waiting(self, name: str) -> str | None:
        """Why what is kept of some topics may not be what there is, in words; None where it is."""
        return self._feeds[name].health.waiting

    def kept(self) -> dict[str, tuple[int, int]]:
        """How many there are of each kind, and how many were dropped because there was no room."""
        with self._lock:
            kinds: dict[str, Newest[Any]] = {
                "events": self._events,
                "pictures": self._pictures,
                "verdicts": self._verdicts,
                "deliveries": self._deliveries,
                "audit": self._audit,
            }
            return {name: (len(kept), kept.dropped) for name, kept in kinds.items()}

    @property
    def left_out(self) -> int:
        """Records that are not what their topic holds."""
        return self._left_out + self._reader.left_out + self._states.left_out

    def overview(self) -> Overview:
        """How everything is. Where the broker tells nothing, nobody knows how cameras are: they are `unknown`."""
        away = self._feeds["states"].health.outage
        with self._lock:
            now = overview(self._states, judged_at(self._now_us(), self._feeds["states"].was_away(DEAD_SECONDS)))
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
        return camera in self._named or camera in self._names or self.forgotten.has(camera)

    def note_camera(self, camera: str) -> None:
        """Keep the name of a camera that others know."""
        with self._lock:
            self._names.note(camera)

    def past(self, camera: str, from_us: int, to_us: int) -> Past:
        """How a camera was between two times, wall clock, as far as anybody here has heard."""
        with self._lock:
            return self._history.past(camera, from_us, to_us, self._now_us())

    def event(self, id_: str) -> KnownEvent | None:
        """One event; None where it is not kept."""
        with self._lock:
            report = self._events.get(id_)
            return None if report is None else self._known(report)

    def events(self, limit: int, wanted: Callable[[KnownEvent], bool], after: Key | None) -> Slice[KnownEvent]:
        """Events by their begin, the newest first."""
        with self._lock:
            told, count = self._told(lambda report: wanted(self._known(report)), _when_reported)
            found = self._events.slice(limit, told, after)
            return Slice(tuple(map(self._known, found.items)), found.after, count())

    def judged(self, camera: str, label: str) -> list[JudgedEvent]:
        """What people said of the events of one label of a camera."""
        with self._lock:
            return [
                each
                for each in self._judged.values()
                if (each.newest.camera, each.newest.label) == (camera, label)
                and not self._is_forgotten(self.when_judged(each.newest))
            ]

    def reported(self, camera: str, label: str, from_us: int, to_us: int) -> list[Event]:
        """The events of one label of a camera that reach into a time, the newest first."""
        with self._lock:
            found = self._events.slice(
                max(1, len(self._events)),
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
        with self._lock:
            for event in map(self._known, self._events.between(from_us, to_us)):
                report = event.report
                if wanted(event) and not self._is_forgotten(_when_reported(report)):
                    day = found.setdefault(day_of(event.report.start_us), DayCounts())
                    day.alerts += event.report.severity == "alert"
                    day.detections += event.report.severity != "alert"
                    day.unjudged += event.judged is None
        return found

    def verdict(self, id_: str) -> Verdict | None:
        with self._lock:
            return self._verdicts.get(id_)

    def when_judged(self, verdict: Verdict) -> tuple[str, int, int, str]:
        """The camera, begin, end and id of the event that a verdict is on."""
        return self._when_told_of((verdict.camera, verdict.start_us, verdict.end_us, verdict.event))

    def verdicts(self, limit: int, wanted: Callable[[Verdict], bool], after: Key | None) -> Slice[Verdict]:
        """Verdicts by when they were given, the newest first."""
        with self._lock:
            told, count = self._told(wanted, self.when_judged)
            found = self._verdicts.slice(limit, told, after)
            return replace(found, withheld=count())

    def deliveries(self, limit: int, wanted: Callable[[Delivery], bool], after: Key | None) -> Slice[Delivery]:
        """The newest entry of each message, by when it was queued, the newest first."""
        with self._lock:
            told, count = self._told(wanted, self._when_sent_about)
            found = self._deliveries.slice(limit, told, after)
            return replace(found, withheld=count())

    def audit(self, limit: int, wanted: Callable[[AuditEntry], bool], after: Key | None) -> Slice[AuditEntry]:
        """Who changed what, the newest first."""
        with self._lock:
            return self._audit.slice(limit, wanted, after)

    def rules(self) -> list[RulesVersion]:
        """The versions of the workers' group, by the event time from which they hold."""
        with self._lock:
            return [self._rules[since_us] for since_us in sorted(self._rules)]

    def knows_forgotten(self) -> bool:
        """Whether it is known what is forgotten; until then nobody is told of any event."""
        return self.knows("forgotten")

    def knows(self, name: str) -> bool:
        """Whether all that was on some topics when this began has been read, or there are no such topics."""
        if name not in self._known_feeds:
            health = self._feeds[name].health
            if health.is_begun or health.is_missing:
                self._known_feeds.add(name)
        return name in self._known_feeds

    def _is_forgotten(self, at: _When) -> bool:
        """Whether something is not to be told of; also as long as that is not known."""
        return not self.knows_forgotten() or self.forgotten.of(*at) is not None

    def _when_told_of(self, at: _When) -> _When:
        """When an event is that was told of as `at`: it may have gone on since, and then all of that is forgotten."""
        camera, start_us, end_us, event = at
        with self._lock:
            report = self._events.get(event)
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
        judged, seen_by = self._judged.get(report.id), self._seen_by.get(report.id, frozenset())
        return KnownEvent(report, self._pictures.get(report.id), judged, seen_by)

    # --- what comes ---------------------------------------------------------------------------------------------------

    def put_verdict(self, verdict: Verdict, heard_us: int) -> None:
        """Take a verdict that was stored just now; the topic tells of it once more."""
        with self._lock:
            if self._verdicts.get(verdict.id) is not None:  # the first one counts
                return
            gone = self._verdicts.put(verdict.id, verdict.time_us, verdict, heard_us)
            self._judge(verdict.event, [*self._said.get(verdict.event, ()), verdict][-_VERDICTS_OF_EVENT:])
            if gone is not None:
                self._forget_said(gone)

    def put_audit(self, entry: AuditEntry) -> None:
        """Take an entry that was stored just now; the topic tells of it once more."""
        with self._lock:
            self._audit.put(entry.id, entry.time_us, entry, entry.time_us)

    def _locked(self, take: Callable[[Record], None]) -> Callable[[Record], None]:
        def safely(record: Record) -> None:
            try:
                with self._lock:
                    take(record)
            except RecordError as error:
                self._left_out += 1
                if self._left_out <= _NAMED:
                    log.warning("%s: left out", error)

        return safely

    def _heard_us(self, record: Record) -> int:
        return record.sent_us or self._now_us()

    def _take_state(self, record: Record) -> None:
        self._states.take(record, self._topics)
        key = (record.key or b"").decode(errors="replace")
        if record.topic == self._topics.cameras_state and (camera := self._states.cameras.get(key)) is not None:
            self._history.note_camera(camera)
            self._names.note(key)
        elif record.topic == self._topics.workers_state and (worker := self._states.workers.get(key)) is not None:
            self._history.note_worker(worker)

    def _take_event(self, record: Record) -> None:
        event = self._reader.new_event(record)
        if event is None:
            return
        before = self._events.get(event.id)
        if before is None or event.revision > before.revision:
            self._events.put(event.id, event.start_us, event, self._heard_us(record))
            self._names.note(event.camera)

    def _take_pictures(self, record: Record) -> None:
        found = EventPictures.decode(record.key, record.headers, record.value, record.where)
        before = self._pictures.get(found.event)
        if before is None or found.revision >= before.revision:
            self._pictures.put(found.event, found.time_us, found, self._heard_us(record))

    def _take_verdict(self, record: Record) -> None:
        if (verdict := verdict_of(record)) is not None:
            self.put_verdict(verdict, self._heard_us(record))

    def _take_delivery(self, record: Record) -> None:
        entry = Delivery.decode(record.key, record.value, record.where)
        for each in changed_by(entry, self._deliveries.get):
            self._deliveries.put(each.id, each.time_us, each, self._heard_us(record))

    def _take_rules(self, record: Record) -> None:
        version = RulesVersion.decode(self._group, record.key, record.value, record.where)
        if version is not None:
            self._rules[version.since_us] = version
        elif record.value is None:
            for gone in [since for since, each in self._rules.items() if each.key == record.key]:
                del self._rules[gone]
        while len(self._rules) > MAX_VERSIONS:
            del self._rules[min(self._rules)]

    def _take_audit(self, record: Record) -> None:
        self.put_audit(AuditEntry.decode(record.key, record.value, record.where))

    def _tidy(self) -> None:
        now_us = self._now_us()
        before_us = now_us - self._keep_us
        with self._lock:
            self._states.forget(now_us)
            self._history.forget(now_us)
            for verdict in self._verdicts.forget(before_us):
                self._forget_said(verdict)
            for kept in (self._events, self._pictures, self._deliveries, self._audit):
                _exhaust(kept.forget(before_us))

    def _forget_said(self, verdict: Verdict) -> None:
        self._judge(verdict.event, [each for each in self._said.get(verdict.event, ()) if each.id != verdict.id])

    def _judge(self, event: str, said: list[Verdict]) -> None:
        """Note all that was said of an event, and what that comes to."""
        self._said.pop(event, None)
        self._judged.pop(event, None)
        self._seen_by.pop(event, None)
        if said:
            self._seen_by[event] = seen_by(said)
            self._said[event] = said
            self._judged |= judged_events(said)


def _when_reported(each: Event) -> _When:
    return each.camera, each.start_us, each.end_us, each.id


def _exhaust(things: Iterator[object]) -> None:
    for _ in things:
        pass
