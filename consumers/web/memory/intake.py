"""What comes of the topics: each record is taken once and kept, as long as there is room for it."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Final, Self

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
from consumers.running.newest_states import States
from consumers.settings import Settings, TopicSettings
from consumers.subscribing.reader import EventReader
from consumers.verdicts.book import JudgedEvent, judged_events, seen_by, verdict_of
from consumers.web.cameras.history import StateHistory
from consumers.web.cameras.known import CameraNames
from consumers.web.sharing import AccessBook
from stream import Record, Transport

from .feed import Feed
from .newest import Newest

log = logging.getLogger(__name__)

#: Reports of one event that are read at the start, about; those of further ones are left out.
_REPORTS: Final = 4
#: Of states: what `clipline status` reads.
_STATES: Final = 5_000
#: Of shares and ended sessions, with what deletes them: more than are heeded.
_ACCESS: Final = 250_000
#: Verdicts on one event that are kept; of more, the newest.
_VERDICTS_OF_EVENT: Final = 50
#: So many records that are not what their topic holds are named, the others counted.
_NAMED: Final = 10


def followed(topics: TopicSettings) -> tuple[str, ...]:
    """The topics that are read."""
    return (
        *(topics.cameras_state, topics.workers_state, topics.events, topics.pictures),
        *(topics.verdicts, topics.deliveries, topics.rules, topics.audit, topics.forgotten, topics.access),
    )


class Intake:
    """The newest of each topic, as it comes. Use as a context manager; hold `lock` while you look at what is kept."""

    def __init__(self, connect: Callable[[], Transport], settings: Settings, now_us: Callable[[], int]) -> None:
        """Prepare.

        Args:
            connect: connects to the broker, or raises BrokerError.
            settings: topics, and how much is kept.
            now_us: wall clock.
        """
        topics, room = settings.topics, settings.dashboard.max_events
        self._topics, self._now_us, self._group = topics, now_us, settings.worker.group
        self._keep_us = int(settings.dashboard.keep_hours * 3.6e9)
        self.lock = threading.RLock()
        self.states = States()
        self.history = StateHistory(now_us())
        self.names = CameraNames()
        self.reader = EventReader(topics, drills=True)
        #: Which stretches nobody is told of.
        self.forgotten = ForgottenBook()
        #: Who may come in by links, and who not any more by sessions.
        self.access = AccessBook()
        self.events: Newest[Event] = Newest(room)
        self.pictures: Newest[EventPictures] = Newest(room)
        self.verdicts: Newest[Verdict] = Newest(room)
        #: By event, as they were given.
        self._said: dict[str, list[Verdict]] = {}
        #: What they come to.
        self.judged: dict[str, JudgedEvent] = {}
        self.seen_by: dict[str, frozenset[str]] = {}
        self.deliveries: Newest[Delivery] = Newest(room)
        self.audit: Newest[AuditEntry] = Newest(room)
        self.rules: dict[int, RulesVersion] = {}
        self.left_out = 0

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

        self.feeds = {
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
        for feed in self.feeds.values():
            self._stack.enter_context(feed)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def put_verdict(self, verdict: Verdict, heard_us: int) -> None:
        """Take a verdict that was stored just now; the topic tells of it once more."""
        with self.lock:
            if self.verdicts.get(verdict.id) is not None:  # the first one counts
                return
            gone = self.verdicts.put(verdict.id, verdict.time_us, verdict, heard_us)
            self._judge(verdict.event, [*self._said.get(verdict.event, ()), verdict][-_VERDICTS_OF_EVENT:])
            if gone is not None:
                self._forget_said(gone)

    def put_audit(self, entry: AuditEntry) -> None:
        """Take an entry that was stored just now; the topic tells of it once more."""
        with self.lock:
            self.audit.put(entry.id, entry.time_us, entry, entry.time_us)

    def _locked(self, take: Callable[[Record], None]) -> Callable[[Record], None]:
        def safely(record: Record) -> None:
            try:
                with self.lock:
                    take(record)
            except RecordError as error:
                self.left_out += 1
                if self.left_out <= _NAMED:
                    log.warning("%s: left out", error)

        return safely

    def _heard_us(self, record: Record) -> int:
        return record.sent_us or self._now_us()

    def _take_state(self, record: Record) -> None:
        self.states.take(record, self._topics)
        key = (record.key or b"").decode(errors="replace")
        if record.topic == self._topics.cameras_state and (camera := self.states.cameras.get(key)) is not None:
            self.history.note_camera(camera)
            self.names.note(key)
        elif record.topic == self._topics.workers_state and (worker := self.states.workers.get(key)) is not None:
            self.history.note_worker(worker)

    def _take_event(self, record: Record) -> None:
        event = self.reader.new_event(record)
        if event is None:
            return
        before = self.events.get(event.id)
        if before is None or event.revision > before.revision:
            self.events.put(event.id, event.start_us, event, self._heard_us(record))
            self.names.note(event.camera)

    def _take_pictures(self, record: Record) -> None:
        found = EventPictures.decode(record.key, record.headers, record.value, record.where)
        before = self.pictures.get(found.event)
        if before is None or found.revision >= before.revision:
            self.pictures.put(found.event, found.time_us, found, self._heard_us(record))

    def _take_verdict(self, record: Record) -> None:
        if (verdict := verdict_of(record)) is not None:
            self.put_verdict(verdict, self._heard_us(record))

    def _take_delivery(self, record: Record) -> None:
        entry = Delivery.decode(record.key, record.value, record.where)
        for each in changed_by(entry, self.deliveries.get):
            self.deliveries.put(each.id, each.time_us, each, self._heard_us(record))

    def _take_rules(self, record: Record) -> None:
        version = RulesVersion.decode(self._group, record.key, record.value, record.where)
        if version is not None:
            self.rules[version.since_us] = version
        elif record.value is None:
            for gone in [since for since, each in self.rules.items() if each.key == record.key]:
                del self.rules[gone]
        while len(self.rules) > MAX_VERSIONS:
            del self.rules[min(self.rules)]

    def _take_audit(self, record: Record) -> None:
        self.put_audit(AuditEntry.decode(record.key, record.value, record.where))

    def _tidy(self) -> None:
        now_us = self._now_us()
        before_us = now_us - self._keep_us
        with self.lock:
            self.states.forget(now_us)
            self.history.forget(now_us)
            for verdict in self.verdicts.forget(before_us):
                self._forget_said(verdict)
            for kept in (self.events, self.pictures, self.deliveries, self.audit):
                _exhaust(kept.forget(before_us))

    def _forget_said(self, verdict: Verdict) -> None:
        self._judge(verdict.event, [each for each in self._said.get(verdict.event, ()) if each.id != verdict.id])

    def _judge(self, event: str, said: list[Verdict]) -> None:
        """Note all that was said of an event, and what that comes to."""
        self._said.pop(event, None)
        self.judged.pop(event, None)
        self.seen_by.pop(event, None)
        if said:
            self.seen_by[event] = seen_by(said)
            self._said[event] = said
            self.judged |= judged_events(said)


def _exhaust(things: Iterator[object]) -> None:
    for _ in things:
        pass
