"""Connections to the broker are kept from request to request, and given up where they fail."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

pytest.importorskip("fastapi")

from consumers.records.audit import AuditEntry
from consumers.web import desk as desk_module
from consumers.web.desk import Writer
from consumers.web.playlists import connection
from consumers.web.playlists.connection import Kept
from consumers.web.what_if.scores import Asked, PastScoreReader
from stream import BrokerError, EntryError, Headers, KafkaTransport, MemoryTransport, Record, Transport
from stream.services import EmbeddedBroker, Service
from tests.dashboards import Site, settings_of


def entry(number: int) -> AuditEntry:
    return AuditEntry(f"{number:024x}", 1, "ana", "token", "admin", "10.0.0.1", "verdict.give", "ev", "gate", None)


def counted(connect: Callable[[], Transport]) -> tuple[Callable[[], Transport], list[Transport]]:
    """How often somebody connects."""
    made: list[Transport] = []

    def again() -> Transport:
        made.append(connect())
        return made[-1]

    return again, made


def stored(transport: Transport, topic: str) -> list[Record]:
    return list(transport.read(transport.offsets(topic)))


def test_what_people_change_is_written_over_one_connection(embedded_broker: Service, topics_prefix: str):
    site = Site(settings_of(embedded_broker.address, topics_prefix))
    connect, made = counted(lambda: KafkaTransport(site.settings.broker, at_once=True))
    writer = Writer(connect, site.settings)
    for number in range(5):
        writer.write(entry(number), site.topics.access, (b"share/x", [], b"{}"))
    writer.close()
    assert len(made) == 1
    assert len(stored(site.transport, site.topics.audit)) == len(stored(site.transport, site.topics.access)) == 5
    writer.store(site.topics.access, (b"share/y", [], None))
    writer.close()
    assert len(stored(site.transport, site.topics.access)) == 6, "it opens again"


class Failing:
    """A producer that does not store what comes after the first record."""

    def __init__(self, transport: MemoryTransport, error: BrokerError) -> None:
        self._plain, self.sent, self.is_closed, self._error = transport.producer(), 0, False, error

    def send(self, topic: str, key: bytes, headers: Headers, value: bytes | None) -> None:
        self.sent += 1
        self._plain.send(topic, key, headers, value)

    def flush(self) -> None:
        if self.sent > 1:
            raise self._error

    def close(self) -> None:
        self.is_closed = True


def test_a_connection_over_which_something_was_refused_is_given_up_and_the_next_one_who_writes_is_served(
    monkeypatch: pytest.MonkeyPatch,
):
    settings, transport = settings_of("localhost:1", "t"), MemoryTransport()
    failing = Failing(transport, EntryError("not stored"))
    opened = iter([failing, transport.producer()])
    monkeypatch.setattr(transport, "producer", lambda _seconds: next(opened))
    writer = Writer(lambda: transport, settings)
    with pytest.raises(BrokerError, match="not stored"):
        writer.write(entry(1), settings.topics.access, (b"share/x", [], b"{}"))
    assert failing.is_closed
    writer.store(settings.topics.access, (b"share/y", [], b"{}"))
    assert stored(transport, settings.topics.access)[-1].key == b"share/y"


def test_who_waits_to_write_to_a_broker_that_hangs_does_not_wait_for_it_once_more(monkeypatch: pytest.MonkeyPatch):
    settings, transport = settings_of("localhost:1", "t"), MemoryTransport()
    failing = Failing(transport, BrokerError("does not answer"))
    connect, made = counted(lambda: transport)
    working = transport.producer()
    producers = iter([failing, working])
    monkeypatch.setattr(transport, "producer", lambda _seconds: next(producers))
    clock = [1000.0]
    monkeypatch.setattr(connection.time, "monotonic", lambda: clock[-1])
    writer = Writer(connect, settings)
    for _ in range(3):
        with pytest.raises(BrokerError, match="does not answer"):
            writer.write(entry(1), settings.topics.access, (b"share/x", [], b"{}"))
    assert len(made) == 1
    clock.append(clock[-1] + 2)
    writer.store(settings.topics.access, (b"share/y", [], b"{}"))
    assert len(made) == 2


def test_topics_are_made_as_they_should_be_on_a_broker_that_came_back_empty():
    settings = settings_of("localhost:1", "t")
    brokers = [MemoryTransport(), MemoryTransport()]
    left = iter(brokers)
    writer = Writer(lambda: next(left), settings)
    for broker in brokers:
        writer.write(entry(1))
        writer.close()
        topics = {settings.topics.audit, settings.topics.verdicts, settings.topics.access}
        assert broker.existing(topics).keys() == topics


def test_who_writes_while_the_broker_is_gone_is_told_so_soon(topics_prefix: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(desk_module, "_STORED_SECONDS", 4.0)
    with EmbeddedBroker() as broker:
        site = Site(settings_of(broker.address, topics_prefix))
        writer = Writer(lambda: KafkaTransport(site.settings.broker, at_once=True), site.settings)
        writer.write(entry(1))
    for seconds in (16, 4):  # the second one does not wait for what was kept
        began = time.monotonic()
        with pytest.raises(BrokerError):
            writer.write(entry(2))
        assert time.monotonic() - began < seconds


def test_scores_of_weeks_are_read_over_one_connection_to_where_they_end_now():
    settings, transport = settings_of("localhost:1", "t"), MemoryTransport()
    connect, made = counted(lambda: transport)
    reader = PastScoreReader(connect, settings.topics)
    for _ in range(3):
        assert len(reader.read(Asked("gate-1", "fight", "m"), 0)) == 0
    reader.close()
    assert len(made) == 1


class Thing:
    def __init__(self) -> None:
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


def test_what_nobody_used_for_long_is_opened_anew(monkeypatch: pytest.MonkeyPatch):
    things: list[Thing] = []

    def connect() -> Thing:
        things.append(Thing())
        return things[-1]

    clock = [1000.0]
    monkeypatch.setattr(connection.time, "monotonic", lambda: clock[-1])
    kept = Kept(connect)
    for _ in range(3):
        kept.use(lambda _: None)
        clock.append(clock[-1] + 299)
    assert len(things) == 1
    clock.append(clock[-1] + 2)
    assert kept.use(lambda thing: thing) is things[1]
    assert [each.is_closed for each in things] == [True, False]
