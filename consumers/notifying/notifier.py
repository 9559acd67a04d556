"""The process that tells people of events, and keeps the ledger of what became of each message.

    events ──▶ plan ──▶ entries and the group's place, one transaction ──▶ channels ──▶ what came of it: more entries

One notifier of a group works: the one that was given the partition of the events. It reads the ledger, and goes on
where the one before stopped. Whoever was pushed out can write nothing any more (the transaction's name), so no message
is lost or queued twice; a message that was under way when its notifier died is tried again, under its id.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from consumers.outputs.outages import Outage
from consumers.records.delivery import MAX_BYTES, Delivery
from consumers.records.event import Event
from consumers.records.fields import OtherRecordError, RecordError
from consumers.settings import Settings
from consumers.verdicts.messages import LinkedMessages
from stream import BrokerError, GroupInstance, Record, Transport

from .answers import Answers
from .attaching import Attachments
from .channels import Channel, open_channel
from .conditions import Conditions
from .desk import Desk, now_us
from .ledger import Ledger
from .pictured import PicturedReports
from .plan import Plan
from .senders import Senders
from .withheld import FORGOTTEN, Withheld, is_withheld

log = logging.getLogger(__name__)

_POLL_SECONDS: Final = 0.1
#: While messages are under way, what comes of them is waited for as well.
_BUSY_POLL_SECONDS: Final = 0.02
_RETRY_SECONDS: Final = 1.0
#: How often it is asked what time brings.
_DUE_SECONDS: Final = 0.5
#: Of a report, which has some hundred: with all its text escaped its message can still be stored, and read again.
_MAX_REPORT_BYTES: Final = MAX_BYTES // 4
#: What is tried at the end of the process has so long to come to its answer.
_END_SECONDS: Final = 5.0


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
        turn: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare; `run` connects.

        Args:
            open_transport: connects to the broker, or raises BrokerError.
            settings: topics and channels.
            stop: asked several times a second.
            hear: told of each entry that is stored.
            channels: in place of those that the settings describe.
            instance: the name under which the group takes it back when it was killed and started again.
            turn: called as often as this turns: nothing that it does takes as long as `metrics.stuck_seconds`.

        Raises:
            SettingsError: there are no channels, or one cannot be used.
        """
        self._open_transport, self._settings, self._stop = open_transport, settings, stop
        self._instance, self._turned = instance, turn
        self._hear = hear or (lambda _: None)
        self._channels = channels or {name: open_channel(name, each) for name, each in settings.channels.items()}
        self._said, self._pictured, self._withheld = Answers(), PicturedReports(), Withheld()
        self._plan = Plan(settings.channels, settings.notify.max_open, self._said, self._pictured)
        self._conditions = Conditions(settings.channels, settings.notify.debounce_seconds)
        attachments = Attachments(settings, self._withheld.book)
        self._senders = Senders(self._channels, LinkedMessages(settings), attachments, self._withheld)
        #: Of the topic of events that was read last.
        self._events_id: str | None = None
        self._is_at_work = False
        self._due_at = 0.0
        #: Messages by what became of them.
        self.counts: Counter[str] = Counter()

    def run(self) -> None:
        """Work until it is told to stop."""
        outage = Outage(f"Kafka at {self._settings.broker}", lambda line: log.warning("%s", line))
        while not self._stop():
            try:
                with self._seated() as desk:
                    outage.end()
                    while not self._stop():
                        self._turn(desk)
                    self._finish(desk)
                    self._set_at_work(None)
            except BrokerError as error:
                outage.begin(str(error))
                until = time.monotonic() + _RETRY_SECONDS
                while not self._stop() and time.monotonic() < until:
                    self._turned()
                    time.sleep(0.05)
        log.info("deliveries: %s", self.summary)

    @contextlib.contextmanager
    def _seated(self) -> Iterator[Desk]:
        """A desk, which knows what the one before has read."""
        desk = Desk(
            self._open_transport(),
            self._settings,
            self._instance,
            self._said,
            self._pictured,
            withheld=self._withheld,
            events_id=self._events_id,
            turn=self._turned,
        )
        try:
            yield desk
        finally:
            self._events_id = desk.events_id
            desk.close()

    @property
    def is_at_work(self) -> bool:
        """Whether it is the one of its group that works; the others stand by."""
        return self._is_at_work

    @property
    def summary(self) -> str:
        """What became of messages so far, in words."""
        return ", ".join(f"{count} {what}" for what, count in sorted(self.counts.items())) or "none"

    def _turn(self, desk: Desk) -> None:
        """Take what came, write what follows from it, and hand out what may be tried."""
        self._turned()
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
                self._withheld.note(event)
                add(self._withheld.begun(self._plan.entries(event, record.sent_us, ledger, now), now))
        add(self._followed(ledger, now))
        add(self._withheld.entries(ledger, self._settings.channels, self._senders.busy, now))
        if time.monotonic() >= self._due_at:
            add(self._plan.due(ledger, self._senders.busy, now))
            add(self._lasted(desk, ledger, now))
            self._due_at = time.monotonic() + _DUE_SECONDS
        chosen = [
            self._pictured.added(delivery, self._settings.channels[delivery.channel])
            for delivery in self._plan.next(ledger, self._senders.busy, now, self._senders.free())
            if self._withheld.may_go(delivery, ledger)
        ]
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

    def _lasted(self, desk: Desk, ledger: Ledger, now: int) -> Iterator[Delivery]:
        """What follows from states that have lasted."""
        if (overview := desk.overview()) is not None:
            for queued in self._conditions.due(overview, ledger.conditions, now, ledger.knows):
                yield from self._plan.begun(queued, ledger, now)

    def _told(self, entry: Delivery) -> None:
        if entry.drill is not None:
            self._hear(entry)
            return
        self.counts["withheld" if is_withheld(entry) else entry.state] += 1
        if entry.why == FORGOTTEN:
            # Of what it was nobody is told here either.
            about = "not sent: it is forgotten" if is_withheld(entry) else f"changed: {entry.detail} forgotten"
            log.info("channel %s: %s %s", entry.channel, entry.kind, about)
        elif entry.state in {"failed", "retrying"}:
            log.warning(
                "channel %s: %s %s: %s%s",
                entry.channel,
                entry.kind,
                entry.state if entry.state == "failed" else "is tried again",
                entry.why,
                f" ({entry.detail})" if entry.detail else "",
            )
        self._hear(entry)

    def _finish(self, desk: Desk) -> None:
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


def _event_of(record: Record) -> Event | None:
    if len(record.value or b"") > _MAX_REPORT_BYTES:
        log.warning("%s: left out, as no report has more than %d bytes", record.where, _MAX_REPORT_BYTES)
        return None
    try:
        return Event.decode(record.key, record.headers, record.value, record.where, drills=True)
    except OtherRecordError:
        return None
    except RecordError as error:
        log.warning("%s: left out", error)
        return None
