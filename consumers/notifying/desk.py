"""Where a notifier reads reports and answers, and keeps the ledger: nothing else of it touches the broker."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from consumers.forgetting import ForgottenReader
from consumers.records.delivery import Delivery
from consumers.records.event import Event
from consumers.records.event_pictures import EventPictures
from consumers.records.fields import RecordError
from consumers.running.newest_states import FORGET_CAMERA_SECONDS
from consumers.running.overview import Overview, overview
from consumers.running.state_topics import StatesFollower
from consumers.settings import Settings
from consumers.topics import ensure_topic_of_deliveries, ensure_topic_of_pictures, ensure_topic_of_verdicts
from consumers.verdicts.book import verdict_of
from stream import BrokerError, Consumer, GroupInstance, Partition, Publisher, Record, Transport

from .answers import LONGEST_US, Answers
from .ledger import Ledger
from .pictured import MOST, PicturedReports
from .withheld import Withheld

log = logging.getLogger(__name__)

#: So many of the newest records of a topic of states are read at first: the embedded broker keeps old ones, too.
_MOST_STATES: Final = 50_000
#: Polls of one turn for entries that others wrote; those of the notifier itself come back as well.
_NEWS_POLLS: Final = 50


def now_us() -> int:
    """Wall clock, in microseconds since the Unix epoch."""
    return time.time_ns() // 1000


class Desk:
    """A member of the group, the ledger while it is ours, and what writes to it."""

    def __init__(
        self,
        transport: Transport,
        settings: Settings,
        instance: GroupInstance | None,
        said: Answers,
        pictured: PicturedReports,
        *,
        withheld: Withheld,
        events_id: str | None = None,
        turn: Callable[[], None] = lambda: None,
    ) -> None:
        """Join the group.

        Args:
            transport: the broker.
            settings: names of topics, the group, what channels want.
            instance: the name under which the group takes us back.
            said: is told what people say of events.
            pictured: is told which pictures there are.
            withheld: is told what is forgotten.
            events_id: of the topic of events that an earlier one has read.
            turn: called with each record where many are read, which may take minutes.
        """
        topics = settings.topics
        #: Of the topic of events that was read last.
        self.events_id = events_id
        ensure_topic_of_deliveries(transport, topics, settings.notify.keep_days * 24)
        #: Where people answer, if they can.
        self._verdicts = (topics.verdicts, 0) if settings.verdicts.is_set else None
        self._answers: Consumer | None = None
        #: How cameras, agents and workers are, where a channel wants to be told.
        self._states: StatesFollower | None = None
        self._said = said
        #: Where it is said which pictures there are, if a channel wants some.
        self._pictures: Consumer | None = None
        self._pictured = pictured
        #: What is forgotten; how many stretches that were when reports were looked through.
        self._withheld, self._heeded = withheld, 0
        self._lookup = transport.lookup([topics.forgotten])
        self._forgotten = ForgottenReader(topics.forgotten, book=withheld.book)
        self._has_pictures = any(channel.pictures != "none" for channel in settings.channels.values())
        if self._has_pictures:
            ensure_topic_of_pictures(transport, topics)
        if self._verdicts is not None:
            ensure_topic_of_verdicts(transport, topics, settings.verdicts.keep_days * 24)
        self._transport, self._settings, self._turn = transport, settings, turn
        self._events, self._deliveries = (topics.events, 0), (topics.deliveries, 0)
        self._consumer: Consumer = transport.consumer(
            [topics.events], settings.notify.group, from_start=True, instance=instance
        )
        self._follower: Consumer | None = None
        self._publisher: Publisher | None = None
        #: The next report to read, and how far the group's place is stored.
        self._at: int | None = None
        self._stored_at: int | None = None
        #: What the entries say by now; None while another notifier works.
        self.ledger: Ledger | None = None

    def poll(self, timeout_seconds: float) -> list[Record]:
        """Reports that came, none of them twice."""
        polled = self._consumer.poll(timeout_seconds)
        if self._events in polled.revoked:
            self._yield()
        lost = self.ledger is None and self._at is not None and not self._consumer.is_rejoining
        if self._events in polled.assigned or lost:
            self._begin()
            return []
        return [] if self.ledger is None else [r for r in polled.records if self._is_next(r)]

    def _is_next(self, record: Record) -> bool:
        if self._at is None or record.offset < self._at:
            return False
        self._at = record.offset + 1
        return True

    def _begin(self) -> None:
        """Push out who worked before, read the ledger, and go on."""
        self._yield()
        name = f"{self._settings.topics.prefix}.{self._settings.notify.group}"
        self._publisher = self._transport.publisher(name if self._transport.is_transactional else None)
        first, end = self._only_partition()
        stored = self._consumer.committed().get(self._events)
        found = self._transport.existing([self._events[0]]).get(self._events[0])
        if stored is None and found is not None and self.events_id not in {None, found.id}:
            # A broker that lost its topics has lost the places of groups, too.
            log.warning("topic %s was made anew: beginning with what is there", self._events[0])
            stored = first
        at = end if stored is None else max(first, min(stored, end))
        if stored is not None and at > stored:
            # How many of these places were reports and how many ends of transactions nobody knows any more.
            log.warning(
                "%s: up to %d reports had expired before anybody was told of them", self._events[0], at - stored
            )
        if stored is None:
            self._consumer.commit({self._events: at})
        self._consumer.seek({self._events: at})
        ledger, last = Ledger(), self._transport.offsets(self._deliveries[0])[self._deliveries][0]
        for record in self._turning(self._transport.read_to_end([self._deliveries])):
            last = record.offset + 1
            if (entry := _entry_of(record)) is not None:
                ledger.apply(entry)
        self._follower = self._transport.follow({self._deliveries: last})
        if self._verdicts is not None:
            self._answers = self._heed_from(self._verdicts)
        if self._has_pictures:
            self._pictures = self._look_from(self._settings.topics.pictures)
        if any(channel.conditions for channel in self._settings.channels.values()):
            broker = f"Kafka at {self._settings.broker}"
            self._states = StatesFollower(self._transport, self._settings.topics, broker, _MOST_STATES)
        self._heed_forgotten()
        self._at, self.ledger = at, ledger
        self.events_id = self.events_id if found is None else found.id  # from now on: what failed before begins again

    def _heed_from(self, verdicts: Partition) -> Consumer:
        """Heed what people asked for within the longest time for which they may, and follow the topic from there on."""
        first, end = self._transport.offsets(verdicts[0])[verdicts]
        since = self._transport.sent_since(verdicts[0], now_us() - LONGEST_US).get(verdicts, first)
        self._heed(self._turning(self._transport.read({verdicts: (max(first, min(since, end)), end)})))
        return self._transport.follow({verdicts: end})

    def _heed(self, records: Iterable[Record]) -> None:
        for record in records:
            if (verdict := verdict_of(record)) is not None:
                self._said.apply(verdict, now_us())

    def _look_from(self, topic: str) -> Consumer:
        """Note the newest pictures, as many as are remembered, and follow the topic from there on."""
        bounds = self._transport.offsets(topic)
        newest = {partition: (max(first, end - MOST), end) for partition, (first, end) in bounds.items()}
        self._look(self._turning(self._transport.read(newest)))
        return self._transport.follow({partition: end for partition, (_, end) in newest.items()})

    def _look(self, records: Iterable[Record]) -> None:
        for record in records:
            if (pictures := _pictures_of(record)) is not None:
                self._pictured.apply(pictures)

    def _heed_forgotten(self) -> None:
        """Note what is forgotten by now, and which events that are known are of it."""
        book = self._forgotten.book(self._lookup)
        if len(book) == self._heeded:
            return
        first, end = self._only_partition()
        for record in self._turning(self._transport.read({self._events: (max(first, end - MOST), end)})):
            # What is no report is said when its turn comes.
            with contextlib.suppress(RecordError):
                event = Event.decode(record.key, record.headers, record.value, record.where, drills=True)
                self._withheld.note(event)
        self._heeded = len(book)

    def _turning(self, records: Iterable[Record]) -> Iterator[Record]:
        for record in records:
            self._turn()
            yield record

    def _only_partition(self) -> tuple[int, int]:
        """First and next offset of the reports."""
        offsets = self._transport.offsets(self._events[0])
        if list(offsets) != [self._events]:
            raise BrokerError(
                f"topic {self._events[0]} has {len(offsets)} partitions; expected one, as Clipline makes it: of "
                "several some reports would not be told"
            )
        return offsets[self._events]

    def news(self) -> Iterator[Delivery]:
        """Entries of others: what people acknowledged, channels that were tested.

        Heeds what people said of events and what is forgotten, and notes which pictures came.
        """
        assert self._follower is not None
        self._heed_forgotten()
        if self._answers is not None:
            self._heed(self._answers.poll(0).records)
        if self._pictures is not None:
            self._look(self._pictures.poll(0).records)
        for _ in range(_NEWS_POLLS):
            if not (records := self._follower.poll(0).records):
                return
            for record in records:
                entry = _entry_of(record)
                if entry is not None and (entry.state == "acknowledged" or entry.kind == "test"):
                    yield entry

    def overview(self) -> Overview | None:
        """How cameras, agents and workers are now; None while nobody knows, or where no channel wants to be told."""
        if self._states is None:
            return None
        for _ in range(_NEWS_POLLS):
            if not self._states.poll(0.0):
                break
        if self._states.awaited is not None:
            return None
        now = now_us()
        self._states.states.forget(now)
        return overview(self._states.states, now, FORGET_CAMERA_SECONDS)

    def put(self, entry: Delivery) -> None:
        assert self._publisher is not None
        self._publisher.send(self._deliveries[0], *entry.encode())

    def commit(self) -> bool:
        """Store what was put and how far the reports are read; False where nothing of it is stored."""
        assert self._publisher is not None
        assert self._at is not None
        if not self._publisher.is_open and self._stored_at == self._at:
            return True
        if not self._publisher.commit(self._consumer, {self._events: self._at}):
            return False
        self._stored_at = self._at
        return True

    def forget(self) -> None:
        """Begin again from what is stored."""
        self.ledger = None

    def _yield(self) -> None:
        self.ledger = self._at = self._stored_at = None
        for each in (self._publisher, self._follower, self._answers, self._pictures, self._states):
            if each is not None:
                with contextlib.suppress(BrokerError):
                    each.close()
        self._publisher = self._follower = self._answers = self._pictures = self._states = None

    def close(self) -> None:
        self._yield()
        with contextlib.suppress(BrokerError):
            self._consumer.close()
        self._lookup.close()


def _entry_of(record: Record) -> Delivery | None:
    try:
        return Delivery.decode(record.key, record.value, record.where)
    except RecordError as error:
        log.warning("%s: left out", error)
        return None


def _pictures_of(record: Record) -> EventPictures | None:
    try:
        return EventPictures.decode(record.key, record.headers, record.value, record.where)
    except RecordError as error:
        log.warning("%s: left out", error)
        return None
