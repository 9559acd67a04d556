"""What people do to the ledger: look at it, test a channel, acknowledge a message."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from consumers.forgetting import forgotten_events, read_forgotten
from consumers.outputs.names import known_names
from consumers.records.delivery import Delivery
from consumers.records.fields import RecordError
from consumers.records.forgotten import Forgotten
from consumers.records.prediction import rfc3339
from consumers.settings import Settings
from consumers.topics import ensure_topic_of_deliveries
from stream import BrokerError, SourceError, Transport

from .channels import open_channel
from .desk import now_us
from .ledger import Ledger
from .plan import Outcome, Plan, Sent
from .withheld import Withheld

_MINUTE_US = 60_000_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which messages to show. None and empty: all."""

    channel: str | None = None
    states: frozenset[str] = frozenset()
    since_us: int | None = None
    #: Those about drills, too.
    drills: bool = False

    def holds(self, entry: Delivery) -> bool:
        return (
            self.channel in {None, entry.channel}
            and (self.drills or entry.drill is None)
            and (not self.states or entry.state in self.states)
            and (self.since_us is None or entry.time_us >= self.since_us)
        )


@dataclass(frozen=True, slots=True)
class Listed:
    """Newest entries of messages, in the order of their times."""

    entries: list[Delivery]
    #: Likewise, those about events of which nobody is told any more, and which stretches those are of.
    withheld: list[tuple[Delivery, Forgotten]]


def newest_entries(transport: Transport, settings: Settings, wanted: Wanted) -> Listed:
    """The newest entry of each message that is wanted.

    Raises:
        BrokerError: the broker is away, or has no ledger.
        SourceError: neither the settings nor the ledger know the channel.
    """
    newest: dict[str, Delivery] = {}
    channels = set(settings.channels)
    for entry in _entries(transport, settings):
        newest |= {changed.id: changed for changed in changed_by(entry, newest.get)}
        channels.add(entry.channel)
    if wanted.channel is not None and wanted.channel not in channels:
        raise SourceError(f"no channel {wanted.channel!r}; {known_names(wanted.channel, channels)}")
    withheld = Withheld(read_forgotten(transport, settings.topics))
    # One message about an event may tell less of it than another, and all may tell less than its reports.
    told = {str(entry.event): stretch for entry in newest.values() if (stretch := withheld.of(entry)) is not None}
    gone = told | forgotten_events(transport, settings.topics, withheld.book)
    found = Listed([], [])
    for entry in sorted(filter(wanted.holds, newest.values()), key=lambda entry: entry.time_us):
        stretch = gone.get(str(entry.event)) if entry.kind == "event" else None
        if stretch is None:
            found.entries.append(entry)
        else:
            found.withheld.append((entry, stretch))
    return found


def changed_by(entry: Delivery, newest: Callable[[str], Delivery | None]) -> Iterator[Delivery]:
    """What is the newest entry of a message from this entry on: itself, and those of the messages that it sums up."""
    yield entry
    for covered in entry.covers:
        if (held := newest(covered)) is not None:
            yield held.then("held", entry.time_us, why="summed_up", detail=f"in {entry.id}")


def acknowledge(transport: Transport, settings: Settings, name: str) -> list[Delivery]:
    """Write that somebody has seen the messages with this id, or about this event, or whose id begins with it.

    Raises:
        SourceError: there is none, what is named is not clear, or it is forgotten.
        BrokerError: the broker is away, or has no ledger.
    """
    newest = newest_entries(transport, settings, Wanted(drills=True))
    stretches = {entry.id: stretch for entry, stretch in newest.withheld}
    every = (*newest.entries, *(entry for entry, _ in newest.withheld))
    found = [entry for entry in every if entry.id.startswith(name) or (entry.event or "").startswith(name)]
    if not found:
        raise SourceError(f"no message with the id {name!r}, nor about such an event; `clipline deliveries` lists them")
    if len({entry.event or entry.id for entry in found}) > 1:
        raise SourceError(f"{name!r} is the beginning of several: give more of it")
    if (stretch := stretches.get(found[0].id)) is not None:
        raise SourceError(f"message {found[0].id}: {stretch.explained()}")
    now = now_us()
    entries = [
        entry.then("acknowledged", now, attempt=entry.attempt) for entry in found if entry.state != "acknowledged"
    ]
    _write(transport, settings, entries)
    return entries


def send_test(transport: Transport, settings: Settings, channel: str) -> Outcome:
    """Send one message through a channel, and write what came of it.

    Raises:
        SettingsError: the channel cannot be used.
        SourceError: the settings have no such channel.
        BrokerError: the broker is away.
    """
    if channel not in settings.channels:
        known = ", ".join(settings.channels) or "none"
        raise SourceError(f"no channel {channel!r}; the settings have: {known}")
    ensure_topic_of_deliveries(transport, settings.topics, settings.notify.keep_days * 24)
    now = now_us()
    message = {"type": "clipline.test", "timestamp": rfc3339(now), "data": {"text": "This is a test of Clipline."}}
    test = Delivery(secrets.token_hex(12), channel, "test", "queued", now, now + 10 * _MINUTE_US, message)
    sender = open_channel(channel, settings.channels[channel])
    try:
        outcome = sender.send(test)
    finally:
        sender.end(is_taken_over=True)
    followed = list(Plan(settings.channels, settings.notify.max_open).outcome(test, outcome, Ledger(), now_us()))
    if not isinstance(outcome, Sent):  # nobody tries it again
        followed = [test.then("failed", now_us(), attempt=1, why=outcome.why, detail=outcome.detail)]
    _write(transport, settings, [test, *followed])
    return outcome


def _entries(transport: Transport, settings: Settings) -> Iterator[Delivery]:
    topic = settings.topics.deliveries
    if not transport.existing([topic]):
        raise BrokerError(f"topic {topic} does not exist: nothing was sent yet (`clipline notify`)")
    for record in transport.read(transport.offsets(topic)):
        try:
            yield Delivery.decode(record.key, record.value, record.where)
        except RecordError:
            continue  # the notifier has said so


def _write(transport: Transport, settings: Settings, entries: list[Delivery]) -> None:
    producer = transport.producer()
    for entry in entries:
        producer.send(settings.topics.deliveries, *entry.encode())
    producer.flush()
    producer.close()
