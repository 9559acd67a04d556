"""Members of a group that have a name: they come back to their partitions, and of two with one name the newer stays."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from kafka.admin import NewPartitions

from consumers.live.worker import Worker
from consumers.topics import ensure_topics
from stream import BrokerError, Consumer, FencedError, KafkaTransport, MemoryTransport, Partition, Topic, Transport
from stream.broker.kafka import consumer as kafka_consumer
from stream.broker.records import GroupInstance
from tests import test_rebalance
from tests.replays import RULES, SPEC, Brightness
from tests.test_rebalance import published, segments, settings_of, windows_of, working
from tests.waiting import eventually

footage = test_rebalance.footage

PARTITIONS = 4


@pytest.fixture(params=["memory", "apache"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Transport:
    if request.param == "memory":
        return MemoryTransport()
    monkeypatch.setattr(kafka_consumer, "HEARTBEATS_PER_SESSION", 40)  # members learn of one another at once
    return KafkaTransport(request.getfixturevalue("apache_broker").address)


class Member:
    """A consumer, and what it was given."""

    def __init__(self, transport: Transport, topic: str, name: str | None, seconds: float = 30.0) -> None:
        instance = None if name is None else GroupInstance(name, seconds)
        self.consumer: Consumer = transport.consumer([topic], topic, instance=instance)
        self.has: set[Partition] = set()
        self.changes = 0
        self.values: list[bytes | None] = []

    def turn(self, seconds: float = 0.05) -> None:
        polled = self.consumer.poll(seconds)
        self.changes += bool(polled.revoked or polled.assigned)
        self.has = (self.has - polled.revoked) | polled.assigned
        self.values += [record.value for record in polled.records]


def settled(*members: Member, partitions: int = PARTITIONS) -> Callable[[], bool]:
    def is_so() -> bool:
        for member in members:
            member.turn()
        return sum(len(member.has) for member in members) == partitions and all(member.has for member in members)

    return is_so


@pytest.fixture
def join(transport: Transport, topic: str) -> Iterator[Callable[[str], Member]]:
    """Makes members of a group under a name, and closes those that a test leaves there."""
    with contextlib.ExitStack() as stack:

        def join(name: str) -> Member:
            member = Member(transport, topic, name)
            stack.callback(member.consumer.close)
            return member

        yield join


@pytest.fixture
def topic(transport: Transport, topics_prefix: str) -> str:
    transport.ensure_topics([Topic(topics_prefix, PARTITIONS)])
    return topics_prefix


def test_who_comes_back_has_its_partitions_again_and_others_hear_nothing_of_it(transport, topic, join):
    here, away = join("here"), join("away")
    assert eventually(settled(here, away))
    before, changes = set(away.has), here.changes
    producer = transport.producer()
    for number in range(PARTITIONS):
        producer.send(topic, b"k", [], b"before", number)
    producer.flush()
    assert eventually(lambda: away.turn() or len(away.values) == len(before))
    assert away.consumer.commit(dict.fromkeys(before, 1))
    away.consumer.close()
    for number in range(PARTITIONS):
        producer.send(topic, b"k", [], b"meanwhile", number)
    producer.close()
    back = join("away")
    assert eventually(lambda: here.turn() or back.turn() or len(back.values) == len(before))
    assert back.has == before
    assert set(back.values) == {b"meanwhile"}, "it goes on where it had committed"
    assert here.changes == changes
    assert not here.consumer.is_rejoining


def test_who_leaves_for_good_is_not_waited_for(join):
    here, gone = join("here"), join("gone")
    assert eventually(settled(here, gone))
    gone.consumer.leave()
    gone.consumer.close()
    assert eventually(settled(here), 5)
    with pytest.raises(BrokerError, match="was left"):
        gone.consumer.poll(0.1)


def test_a_newer_member_of_a_name_puts_the_older_one_out(transport, topic, join):
    other, older = join("other"), join("twin")
    assert eventually(settled(other, older))
    had = set(older.has)
    publisher = transport.publisher(f"{topic}-twin")
    publisher.send(topic, b"k", [], b"of the older", 0)
    newer = join("twin")
    assert eventually(lambda: newer.turn() or newer.has == had)
    with pytest.raises(FencedError, match=r"another process has joined the group .* as 'twin': this one ends"):
        publisher.commit(older.consumer, dict.fromkeys(had, 1))
    with pytest.raises(FencedError, match="this one ends"):
        eventually(lambda: older.turn() or False)
    publisher.close()
    for _ in range(10):
        newer.turn()
        other.turn()
    assert newer.has == had
    newer.consumer.poll(0)


@pytest.mark.parametrize("transport", ["apache"], indirect=True)
@pytest.mark.parametrize("names", [["one"], ["one", "two"]], ids=len)
def test_partitions_that_a_topic_is_given_are_handed_out_after_restarts(topic, join, apache_broker, monkeypatch, names):
    """Who leads a group and comes back does not learn that it leads."""
    monkeypatch.setattr(kafka_consumer, "_METADATA_SECONDS", 0.5)
    members = [join(name) for name in names]
    assert eventually(settled(*members))
    for index, name in enumerate(names):
        members[index].consumer.close()
        members[index] = join(name)
        assert eventually(settled(*members))
    admin = KafkaAdminClient(bootstrap_servers=apache_broker.address)
    admin.create_partitions({topic: NewPartitions(PARTITIONS + 2)})
    admin.close()
    assert eventually(settled(*members, partitions=PARTITIONS + 2))
    changes = [member.changes for member in members]
    deadline = time.monotonic() + 1.5
    while time.monotonic() < deadline:
        assert settled(*members, partitions=PARTITIONS + 2)()
    assert [member.changes for member in members] == changes, "and they keep them"


@pytest.mark.slow
def test_of_two_workers_with_one_name_the_newer_goes_on_and_no_window_is_lost_or_told_twice(
    transport, footage: Path, topics_prefix: str
):
    settings = settings_of(topics_prefix)
    settings = settings.model_copy(update={"worker": settings.worker.model_copy(update={"instance": "twin"})})
    records = segments(footage, settings)
    ensure_topics(transport, settings.topics)
    producer = transport.producer()
    expected, _ = windows_of(records, settings)
    said: list[Exception] = []

    older, stop = Worker(transport, Brightness(), SPEC, RULES, settings), threading.Event()

    def run_older() -> None:
        try:
            older.run(stop.is_set)
        except FencedError as error:
            said.append(error)

    thread = threading.Thread(target=run_older)
    thread.start()
    for record in records[: len(records) // 2]:
        producer.send(settings.topics.segments, *record)
    producer.flush()
    assert eventually(lambda: any(counts.windows for counts in older.counts.values()))
    with working(transport, settings) as newer:
        for record in records[len(records) // 2 :]:
            producer.send(settings.topics.segments, *record)
        producer.flush()
        assert eventually(lambda: bool(said))
        thread.join(20)
        assert eventually(lambda: newer.waiting == 0 and published(transport, settings) >= expected)
    assert "another process has joined the group" in str(said[0])
    assert published(transport, settings) == expected
    producer.close()
