"""The process that tells people of events, and keeps the ledger of what became of each message.

    events ──▶ plan ──▶ entries and the group's place, one transaction ──▶ channels ──▶ what came of it: more entries

One notifier of a group works: the one that was given the partition of the events. It reads the ledger, and goes on
where the one before stopped. Whoever was pushed out can write nothing any more (the transaction's name), so no message
is lost or queued twice; a message that was under way when its notifier died is tried again, under its id.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from consumers.outputs.outages import Outage
from consumers.records.delivery import Delivery
from consumers.records.event import Event
from consumers.records.fields import OtherRecordError, RecordError
from consumers.settings import Settings
from consumers.topics import ensure_topic_of_deliveries, ensure_topic_of_verdicts
from consumers.verdicts.book import verdict_of
from consumers.verdicts.messages import LinkedMessages
from stream import BrokerError, Consumer, GroupInstance, Partition, Publisher, Record, Transport

from .channels import Channel, open_channel
from .ledger import Ledger
from .plan import Again, Outcome, Plan
from .snoozes import LONGEST_US, Snoozes

log = logging.getLogger(__name__)

_POLL_SECONDS: Final = 0.1
#: While messages are under way, what comes of them is waited for as well.
_BUSY_POLL_SECONDS: Final = 0.02
_RETRY_SECONDS: Final = 1.0
#: How often it is asked what time brings.
_DUE_SECONDS: Final = 0.5
#: Polls of one turn for entries that others wrote; those of the notifier itself come back as well.
_NEWS_POLLS: Final = 50
#: What is tried at the end of the process has so long to come to its answer.
_END_SECONDS: Final = 5.0


def now_us() -> int:
    return time.time_ns() // 1000


class Notifier:
    """Sends messages about events until it is told to stop. A broker that is away is waited for; the log says so."""

    def __init__(
        self,
        open_transport: Callable[[], Transport],
        settings: Settings,
        stop: Callable[[], bool],
        hear: Callable[[Delivery], None] | None = None,
        *,
        channels: Mapping[str, Channel] | None = None,
        instance: GroupInstance | None = None,
    ) -> None:
        """Prepare; `run` connects.

        Args:
            open_transport: connects to the broker, or raises BrokerError.
            settings: topics and channels.
            stop: asked several times a second.
            hear: told of each entry that is stored.
            channels: in place of those that the settings describe.
            instance: the name under which the group takes it back when it was killed and started again.

        Raises:
            SettingsError: there are no channels, or one cannot be used.
        """
        self._open_transport, self._settings, self._stop = open_transport, settings, stop
        self._instance = instance
        self._hear = hear or (lambda _: None)
        self._channels = channels or {name: open_channel(name, each) for name, each in settings.channels.items()}
        self._snoozes = Snoozes()
        self._plan = Plan(settings.channels, settings.notify.max_open, self._snoozes)
        self._senders = _Senders(self._channels, LinkedMessages(settings))
        self._is_at_work = False
        self._due_at = 0.0
        #: Messages by what became of them.
        self.counts: Counter[str] = Counter()

    def run(self) -> None:
        """Work until it is told to stop."""
        outage = Outage(f"Kafka at {self._settings.broker}", lambda line: log.warning("%s", line))
        while not self._stop():
            try:
                with contextlib.closing(
                    _Desk(self._open_transport(), self._settings, self._instance, self._snoozes)
                ) as desk:
                    outage.end()
                    while not self._stop():
                        self._turn(desk)
                    self._finish(desk)
                    self._set_at_work(None)
            except BrokerError as error:
                outage.begin(str(error))
                until = time.monotonic() + _RETRY_SECONDS
                while not self._stop() and time.monotonic() < until:
                    time.sleep(0.05)
        log.info("deliveries: %s", self.summary)

    @property
    def is_at_work(self) -> bool:
        """Whether it is the one of its group that works; the others stand by."""
        return self._is_at_work

    @property
    def summary(self) -> str:
        """What became of messages so far, in words."""
        return ", ".join(f"{count} {what}" for what, count in sorted(self.counts.items())) or "none"

    def _turn(self, desk: _Desk) -> None:
        """Take what came, write what follows from it, and hand out what may be tried."""
        records = desk.poll(_BUSY_POLL_SECONDS if self._senders.busy else _POLL_SECONDS)
        ledger = desk.ledger
        self._set_at_work(ledger)
        if ledger is None:
            return
        for entry in desk.news():
            ledger.apply(entry)
        entries: list[Delivery] = []

        def add(more: Iterable[Delivery]) -> None:
            for entry in more:
                desk.put(entry)
                ledger.apply(entry)
                entries.append(entry)

        now = now_us()
        for record in records:
            if (event := _event_of(record)) is not None:
                add(self._plan.entries(event, record.sent_us, ledger, now))
        add(self._followed(ledger, now))
        if time.monotonic() >= self._due_at:
            add(self._plan.due(ledger, self._senders.busy, now))
            self._due_at = time.monotonic() + _DUE_SECONDS
        chosen = list(self._plan.next(ledger, self._senders.busy, now, self._senders.free()))
        add(d.then("sending", now, attempt=d.attempt) for d in chosen if not self._channels[d.channel].can_tell)
        if not desk.commit():
            # Another notifier works now, or the broker gave up on the transaction: what is stored tells how it goes on.
            desk.forget()
            return
        self._senders.settle()
        for entry in entries:
            self._told(entry)
        self._senders.start(chosen)

    def _set_at_work(self, ledger: Ledger | None) -> None:
        """Have the channels connect, or let go: of two notifiers on one account only one may be there."""
        if self._is_at_work == (ledger is not None):
            return
        self._is_at_work = ledger is not None
        for name, channel in self._channels.items():
            if ledger is None:
                channel.end(is_taken_over=not self._stop())
            else:
                channel.begin(ledger.labels(name))

    def _followed(self, ledger: Ledger, now: int) -> Iterator[Delivery]:
        """What follows from the messages that are done."""
        for tried, outcome in self._senders.outcomes():
            if ledger.latest(tried) is not None:
                yield from self._plan.outcome(tried, outcome, ledger, now)

    def _told(self, entry: Delivery) -> None:
        if entry.drill is not None:
            self._hear(entry)
            return
        self.counts[entry.state] += 1
        if entry.state in {"failed", "retrying"}:
            log.warning(
                "channel %s: %s %s: %s%s",
                entry.channel,
                entry.kind,
                entry.state if entry.state == "failed" else "is tried again",
                entry.why,
                f" ({entry.detail})" if entry.detail else "",
            )
        self._hear(entry)

    def _finish(self, desk: _Desk) -> None:
        """Write what came of messages that are under way, for a while."""
        until = time.monotonic() + min(_END_SECONDS, self._settings.shutdown_seconds / 2)
        while self._senders.busy and time.monotonic() < until and (ledger := desk.ledger) is not None:
            entries = list(self._followed(ledger, now_us()))
            for entry in entries:
                desk.put(entry)
                ledger.apply(entry)
            if not desk.commit():
                return
            self._senders.settle()
            for entry in entries:
                self._told(entry)
            time.sleep(0.02)


class _Senders:
    """Threads for messages that are under way. Only their results come back, to the one thread that decides."""

    def __init__(self, channels: Mapping[str, Channel], messages: LinkedMessages) -> None:
        self._channels, self._messages = channels, messages
        self._done: queue.SimpleQueue[tuple[Delivery, Outcome]] = queue.SimpleQueue()
        #: Channels of the messages that are under way, or done and not settled, by their ids.
        self._under_way: dict[str, str] = {}
        self._results: list[tuple[Delivery, Outcome]] = []
        self._waiting: dict[str, queue.SimpleQueue[Delivery]] = {name: queue.SimpleQueue() for name in channels}
        self._threads: Counter[str] = Counter()

    @property
    def busy(self) -> frozenset[str]:
        """Ids of the messages that are under way."""
        return frozenset(self._under_way)

    def free(self) -> Counter[str]:
        """How many more messages each channel takes now."""
        free = Counter({name: channel.at_once for name, channel in self._channels.items()})
        free.subtract(self._under_way.values())
        return free

    def start(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            name = delivery.channel
            self._under_way[delivery.id] = name
            self._waiting[name].put(delivery)
            if self._threads[name] < min(self._channels[name].at_once, Counter(self._under_way.values())[name]):
                self._threads[name] += 1
                threading.Thread(target=self._work, args=(name,), name=f"to {name}", daemon=True).start()

    def _work(self, name: str) -> None:
        while True:
            self._send(self._waiting[name].get())

    def _send(self, delivery: Delivery) -> None:
        try:
            outcome = self._channels[delivery.channel].send(self._messages.linked(delivery))
        except Exception as error:  # a channel is others' code: whatever it does, the ledger says so
            log.warning("channel %s: unexpected", delivery.channel, exc_info=True)
            outcome = Again("unexpected", type(error).__name__, is_of_message=True)
        self._done.put((delivery, outcome))

    def outcomes(self) -> Sequence[tuple[Delivery, Outcome]]:
        """What came of those that are done, again and again until `settle` says that it is stored."""
        while True:
            try:
                self._results.append(self._done.get_nowait())
            except queue.Empty:
                return self._results

    def settle(self) -> None:
        """What `outcomes` gave is stored."""
        for delivery, _ in self._results:
            self._under_way.pop(delivery.id, None)
        self._results = []


class _Desk:
    """A member of the group, the ledger while it is ours, and what writes to it."""

    def __init__(
        self, transport: Transport, settings: Settings, instance: GroupInstance | None, snoozes: Snoozes
    ) -> None:
        topics = settings.topics
        ensure_topic_of_deliveries(transport, topics, settings.notify.keep_days * 24)
        #: Where people answer, if they can.
        self._verdicts = (topics.verdicts, 0) if settings.verdicts.is_set else None
        self._answers: Consumer | None = None
        self._snoozes = snoozes
        if self._verdicts is not None:
            ensure_topic_of_verdicts(transport, topics, settings.verdicts.keep_days * 24)
        self._transport, self._settings = transport, settings
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
        for record in self._transport.read_to_end([self._deliveries]):
            last = record.offset + 1
            if (entry := _entry_of(record)) is not None:
                ledger.apply(entry)
        self._follower = self._transport.follow({self._deliveries: last})
        if self._verdicts is not None:
            self._answers = self._heed_from(self._verdicts)
        self._at, self.ledger = at, ledger

    def _heed_from(self, verdicts: Partition) -> Consumer:
        """Heed what people asked for within the longest time for which they may, and follow the topic from there on."""
        first, end = self._transport.offsets(verdicts[0])[verdicts]
        since = self._transport.sent_since(verdicts[0], now_us() - LONGEST_US).get(verdicts, first)
        self._heed(self._transport.read({verdicts: (max(first, min(since, end)), end)}))
        return self._transport.follow({verdicts: end})

    def _heed(self, records: Iterable[Record]) -> None:
        for record in records:
            if (verdict := verdict_of(record)) is not None:
                self._snoozes.apply(verdict, now_us())

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
        """Entries of others: what people acknowledged, channels that were tested. Heeds what people said of events."""
        assert self._follower is not None
        if self._answers is not None:
            self._heed(self._answers.poll(0).records)
        for _ in range(_NEWS_POLLS):
            if not (records := self._follower.poll(0).records):
                return
            for record in records:
                entry = _entry_of(record)
                if entry is not None and (entry.state == "acknowledged" or entry.kind == "test"):
                    yield entry

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
        for each in (self._publisher, self._follower, self._answers):
            if each is not None:
                with contextlib.suppress(BrokerError):
                    each.close()
        self._publisher = self._follower = self._answers = None

    def close(self) -> None:
        self._yield()
        with contextlib.suppress(BrokerError):
            self._consumer.close()


def _event_of(record: Record) -> Event | None:
    try:
        return Event.decode(record.key, record.headers, record.value, record.where, drills=True)
    except OtherRecordError:
        return None
    except RecordError as error:
        log.warning("%s: left out", error)
        return None


def _entry_of(record: Record) -> Delivery | None:
    try:
        return Delivery.decode(record.key, record.value, record.where)
    except RecordError as error:
        log.warning("%s: left out", error)
        return None
