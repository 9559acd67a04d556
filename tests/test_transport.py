"""What the rest of Clipline relies on of a broker: the same of the one in memory, the embedded one and Apache Kafka."""

from __future__ import annotations

import contextlib
import gc
import inspect
import socket
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import kafka.errors
import pytest
from kafka import KafkaAdminClient, TopicPartition

from stream import (
    MAX_RECORD_BYTES,
    BrokerError,
    Consumer,
    KafkaAddress,
    KafkaSecurity,
    KafkaTransport,
    MemoryTransport,
    Partition,
    Polled,
    Record,
    RecordTooLargeError,
    Secret,
    Topic,
    Transport,
    UnansweredError,
)
from stream.broker.assignment import Assignment
from stream.broker.kafka import connection as kafka_connection
from stream.broker.kafka import consumer as kafka_consumer
from stream.broker.kafka import lookup as kafka_lookup
from stream.broker.kafka import producer as kafka_producer
from stream.broker.kafka.connection import mapped
from stream.broker.records import record_size
from stream.services import EmbeddedBroker
from tests.waiting import eventually, read

CAMERAS = [f"camera-{n}".encode() for n in range(8)]


@pytest.fixture(params=["memory", "embedded", "apache"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def transport(kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Transport:
    if kind == "memory":
        return MemoryTransport()
    if kind == "embedded":  # it lets a group's first member wait half of it, and Apache Kafka takes no less
        monkeypatch.setattr(kafka_consumer, "SESSION_TIMEOUT_SECONDS", 2.0)
    return KafkaTransport(request.getfixturevalue(f"{kind}_broker").address)


@pytest.fixture
def opened() -> Iterator[Callable[[Consumer], Consumer]]:
    consumers: list[Consumer] = []

    def note(consumer: Consumer) -> Consumer:
        consumers.append(consumer)
        return consumer

    yield note
    for consumer in consumers:
        consumer.close()


def send(transport: Transport, topic: str, records: Sequence[tuple[bytes, bytes]]) -> None:
    producer = transport.producer()
    for key, value in records:
        producer.send(topic, key, [("n", b"1")], value)
    producer.flush()
    producer.close()


def values(records: Sequence[Record]) -> list[bytes]:
    return [r.value or b"" for r in records]


def test_records_of_a_key_keep_their_order_and_their_partition(transport, topics_prefix, opened):
    transport.ensure_topics([Topic(topics_prefix, 3)])
    sent = [(key, f"{n}".encode()) for n in range(20) for key in CAMERAS]
    send(transport, topics_prefix, sent)
    records = read(opened(transport.consumer([topics_prefix])), len(sent))
    assert len(records) == len(sent)
    for key in CAMERAS:
        own = [r for r in records if r.key == key]
        assert values(own) == [str(n).encode() for n in range(20)]
        assert len({r.partition for r in own}) == 1
    assert len({r.partition for r in records}) > 1


def test_a_record_comes_back_with_its_headers_place_and_time(transport, topics_prefix, opened):
    transport.ensure_topics([Topic(topics_prefix, 1)])
    headers = [("b", b"\x00\xff"), ("a", b""), ("b", b"again"), ("ümlaut", b"x")]
    producer = transport.producer()
    before_us = time.time_ns() // 1000
    for value in (b"one", b""):
        producer.send(topics_prefix, b"lobby", headers, value)
    producer.flush()
    producer.close()
    one, other = read(opened(transport.consumer([topics_prefix])), 2)
    assert (one.topic, one.partition, one.offset, one.key) == (topics_prefix, 0, 0, b"lobby")
    assert one.headers == other.headers == headers
    assert values([one, other]) == [b"one", b""]
    assert one.where == f"{topics_prefix}[0]@0"
    assert other.where == f"{topics_prefix}[0]@1"
    assert abs(one.sent_us - before_us) < 5_000_000


def test_who_sends_is_told_where_each_record_lies_before_flush_returns(transport, topics_prefix, opened):
    transport.ensure_topics([Topic(topics_prefix, 3)])
    producer, told = transport.producer(), {}
    for number in range(30):
        value = str(number).encode()
        producer.send(
            topics_prefix,
            value,
            [],
            value,
            stored=lambda partition, offset, v=value: told.update({v: (partition, offset)}),
        )
    producer.flush()
    assert len(told) == 30
    producer.close()
    records = read(opened(transport.consumer([topics_prefix])), 30)
    assert told == {r.value: (r.partition, r.offset) for r in records}


def test_a_lookup_reads_here_and_there_and_what_came_since(transport, topics_prefix, monkeypatch):
    transport.ensure_topics([Topic(topics_prefix, 2)])
    producer = transport.producer()

    def add(*values: bytes) -> None:
        for value in values:
            producer.send(topics_prefix, b"k", [], value, 1)
        producer.flush()

    add(*(str(n).encode() for n in range(6)))
    lookup = transport.lookup([topics_prefix])
    try:
        assert lookup.first_kept(topics_prefix) == {(topics_prefix, 0): 0, (topics_prefix, 1): 0}
        assert lookup.first_kept(f"{topics_prefix}-absent") == {}
        assert lookup.end((topics_prefix, 0)) == 0
        assert 0 <= lookup.end((topics_prefix, 1)) <= 6
        assert lookup.partition_of(topics_prefix, b"lobby") == transport.partition_of(topics_prefix, b"lobby")
        partition = (topics_prefix, 1)
        assert lookup.since(partition, 0) == 0
        assert lookup.since(partition, time.time_ns() // 1000 + 3_600_000_000) in {lookup.end(partition), 6}
        assert values(list(lookup.read(partition, 2, 4))) == [b"2", b"3"]
        assert next(lookup.read(partition, 1, 6)).value == b"1"
        assert values(list(lookup.read(partition, 4))) == [b"4", b"5"]
        assert list(lookup.read(partition, 6)) == list(lookup.read((topics_prefix, 0), 0)) == []
        ask_again(lookup, partition, 6)
        add(b"6")
        # No poll waits for the answer to what it asks for itself.
        monkeypatch.setattr(kafka_lookup, "_POLL_MS", 0)
        assert values(list(lookup.read(partition, 6))) == [b"6"]
        assert values(list(lookup.read(partition, 5, 100))) == [b"5", b"6"]
    finally:
        lookup.close()
        producer.close()


def test_a_reader_without_a_group_begins_at_the_start_or_now(transport, topics_prefix, opened):
    transport.ensure_topics([Topic(topics_prefix, 2)])
    send(transport, topics_prefix, [(key, b"old") for key in CAMERAS])
    late = opened(transport.consumer([topics_prefix], from_start=False))
    send(transport, topics_prefix, [(b"lobby", b"new")])
    assert values(read(late, 1)) == [b"new"]
    assert sorted(values(read(opened(transport.consumer([topics_prefix])), 9))) == [b"new"] + [b"old"] * 8


def test_a_group_goes_on_where_it_committed(transport, topics_prefix, opened):
    transport.ensure_topics([Topic(topics_prefix, 1)])
    send(transport, topics_prefix, [(b"lobby", str(n).encode()) for n in range(6)])
    first = transport.consumer([topics_prefix], topics_prefix)
    assert len(read(first, 6)) == 6
    first.commit({(topics_prefix, 0): 4})
    first.close()
    second = opened(transport.consumer([topics_prefix], topics_prefix))
    assert values(read(second, 2)) == [b"4", b"5"]
    assert sum(second.lag().values()) == 0
    other_group = opened(transport.consumer([topics_prefix], f"{topics_prefix}-other"))
    assert [r.offset for r in read(other_group, 6)] == list(range(6))


def test_a_member_of_a_group_may_read_on_from_elsewhere_without_committing(transport, topics_prefix, opened):
    transport.ensure_topics([Topic(topics_prefix, 1)])
    send(transport, topics_prefix, [(b"gate", f"{n}".encode()) for n in range(6)])
    consumer = opened(transport.consumer([topics_prefix], topics_prefix))
    assert values(read(consumer, 6)) == [str(n).encode() for n in range(6)]
    assert consumer.commit({(topics_prefix, 0): 6})
    consumer.seek({(topics_prefix, 0): 2})
    assert values(read(consumer, 4)) == [str(n).encode() for n in range(2, 6)]
    consumer.close()
    again = opened(transport.consumer([topics_prefix], topics_prefix))
    send(transport, topics_prefix, [(b"gate", b"6")])
    assert values(read(again, 1)) == [b"6"]


def ask_again(lookup: Any, partition: Partition, at: int) -> None:
    """Ask for more than a read waited for, as the vendor does where an answer comes between two polls."""
    if (consumer := getattr(lookup, "_consumer", None)) is not None:
        lookup._seek(TopicPartition(*partition), at)
        assert eventually(lambda: bool(consumer._fetcher.send_fetches()))
        assert eventually(lambda: not consumer._fetcher.in_flight_fetches())


def test_two_members_of_a_group_share_the_partitions_and_one_takes_over(transport, topics_prefix, opened):
    transport.ensure_topics([Topic(topics_prefix, 4)])
    members = [opened(transport.consumer([topics_prefix], topics_prefix)) for _ in range(2)]
    seen: list[set[int]] = [set(), set()]
    records: list[list[Record]] = [[], []]
    stop = threading.Event()

    def work(number: int) -> None:
        while not stop.is_set():
            records[number] += members[number].poll(0.1).records

    threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    try:
        keys = [f"camera-{n}".encode() for n in range(32)]
        rounds, shared = 0, False
        deadline = time.monotonic() + 30
        while not shared and time.monotonic() < deadline:
            before = [len(r) for r in records]
            send(transport, topics_prefix, [(key, str(rounds).encode()) for key in keys])
            time.sleep(0.3)
            seen = [{r.partition for r in records[n][before[n] :]} for n in range(2)]
            shared = len(seen[0]) == len(seen[1]) == 2
            rounds += 1
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert shared, seen
    assert not seen[0] & seen[1]

    members[1].close()
    send(transport, topics_prefix, [(key, b"last") for key in keys])
    got: set[bytes] = set()
    deadline = time.monotonic() + 20
    while got != set(keys) and time.monotonic() < deadline:
        got |= {r.key or b"" for r in members[0].poll(0.2).records if r.value == b"last"}
    assert got == set(keys)


def test_records_are_found_by_when_they_were_sent(transport, topics_prefix):
    transport.ensure_topics([Topic(topics_prefix, 2)])
    moments = []
    for number in range(3):
        moments.append(time.time_ns() // 1000)
        send(transport, topics_prefix, [(key, str(number).encode()) for key in CAMERAS])
        time.sleep(0.05)
    bounds = transport.offsets(topics_prefix)
    for number, moment in enumerate(moments):
        firsts = transport.sent_since(topics_prefix, moment)
        assert firsts.keys() == bounds.keys()
        since = transport.read({p: (firsts[p], end) for p, (_, end) in bounds.items()})
        assert sorted(int(r.value) for r in since) == sorted(n for n in range(number, 3) for _ in CAMERAS)
    assert transport.sent_since(topics_prefix, 0) == {p: first for p, (first, _) in bounds.items()}
    later = transport.sent_since(topics_prefix, moments[-1] + 60_000_000)
    assert later == {p: end for p, (_, end) in bounds.items()}
    with pytest.raises(BrokerError, match="no-such-topic"):
        transport.sent_since("no-such-topic", 0)


def test_a_join_that_outlasts_a_poll_is_finished_by_the_next(embedded_broker, topics_prefix, opened, monkeypatch):
    monkeypatch.setattr(kafka_consumer, "SESSION_TIMEOUT_SECONDS", 2.0)
    transport = KafkaTransport(embedded_broker.address)
    transport.ensure_topics([Topic(topics_prefix, 1)])
    for attempt in range(10):
        consumer = opened(transport.consumer([topics_prefix], f"{topics_prefix}-{attempt}"))
        coordinator = consumer._consumer._coordinator
        consumer.poll(0.05)  # the broker waits for further members: the join is on its way, if nothing held us up
        if coordinator.rejoining:
            break
    assert coordinator.rejoining
    coordinator.rejoin_needed = False  # what kafka-python does when the join is about a change of partitions
    monkeypatch.setattr(coordinator, "need_rejoin", lambda: coordinator.rejoin_needed)
    send(transport, topics_prefix, [(b"lobby", b"x")])
    assert values(read(consumer, 1)) == [b"x"]


class Members:
    """Members of a group that poll in turn, as members on several machines do at the same time."""

    def __init__(self, transport: Transport, topic: str) -> None:
        self._transport, self._topic = transport, topic
        self.members: dict[str, Consumer] = {}
        #: What each has been told, by name.
        self.polled: dict[str, list[Polled]] = {}

    def join(self, name: str) -> Consumer:
        self.members[name] = self._transport.consumer([self._topic], self._topic)
        self.polled[name] = []
        return self.members[name]

    def leave(self, name: str) -> None:
        self.members.pop(name).close()

    def poll(self, until: Callable[[], bool], seconds: float = 40.0) -> None:
        deadline = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < deadline, self.polled
            for name, member in self.members.items():
                polled = member.poll(0.1)
                if polled != Polled(records=[]):
                    self.polled[name].append(polled)

    def owned(self, name: str) -> set[Partition]:
        owned: set[Partition] = set()
        for polled in self.polled[name]:
            assert polled.revoked <= owned, "told that it lost what it never had"
            owned -= polled.revoked
            assert not polled.assigned & owned, "told that what it has has come"
            owned |= polled.assigned
            assert {(r.topic, r.partition) for r in polled.records} <= owned, "records of another's partitions"
        return owned

    def read(self, name: str) -> list[tuple[int, int]]:
        """Partition and offset of each record."""
        return [(r.partition, r.offset) for polled in self.polled[name] for r in polled.records]


@pytest.fixture
def members(transport: Transport, topics_prefix: str) -> Iterator[Members]:
    transport.ensure_topics([Topic(topics_prefix, 4)])
    found = Members(transport, topics_prefix)
    yield found
    for name in list(found.members):
        found.leave(name)


def test_what_stays_over_a_rebalance_is_not_told_and_is_read_on_from_where_it_was(transport, topics_prefix, members):
    """Although nothing of it was committed: what was read has to stay with its reader."""
    every = {(topics_prefix, number) for number in range(4)}
    send(transport, topics_prefix, [(f"camera-{n}".encode(), b"x") for n in range(40)])
    members.join("first")
    members.poll(lambda: len(members.read("first")) == 40)
    assert members.owned("first") == every
    assert [p.assigned for p in members.polled["first"] if p.assigned] == [every]

    members.join("second")
    members.poll(lambda: bool(members.owned("second")) and members.owned("first") != every)
    assert members.owned("first") | members.owned("second") == every
    assert len(members.owned("first")) == len(members.owned("second")) == 2
    stayed = {number for _, number in members.owned("first")}
    first, second = members.polled["first"][-1], members.polled["second"][0]
    assert (first.revoked, first.assigned) == (every - members.owned("first"), set())
    assert (second.revoked, second.assigned) == (set(), first.revoked)
    members.poll(lambda: len(members.read("second")) == sum(n not in stayed for n, _ in members.read("first")))

    send(transport, topics_prefix, [(f"camera-{n}".encode(), b"y") for n in range(40)])
    members.poll(lambda: len(members.read("first")) + len(members.read("second")) >= 80 + len(second.assigned))
    offsets = {number: [at for n, at in members.read("first") if n == number] for number in stayed}
    assert all(at == list(range(len(at))) for at in offsets.values()), "read twice, or not at all"

    members.leave("second")
    members.poll(lambda: members.owned("first") == every)
    last = next(p for p in reversed(members.polled["first"]) if p.assigned)
    assert (last.revoked, last.assigned) == (set(), second.assigned)


def test_what_comes_is_read_from_where_the_group_committed(transport, topics_prefix, members):
    first = members.join("first")
    send(transport, topics_prefix, [(f"camera-{n}".encode(), b"x") for n in range(40)])
    members.poll(lambda: len(members.read("first")) == 40)
    assert first.commit({(topics_prefix, number): 2 for number in range(4)})
    members.join("second")
    members.poll(lambda: len({n for n, _ in members.read("second")}) == 2)
    assert {min(at for n, at in members.read("second") if n == number) for _, number in members.owned("second")} == {2}


def test_a_member_that_its_group_has_shut_out_is_told_that_all_went_and_what_came_back(
    kind, transport, topics_prefix, members
):
    """As after a silence longer than its session: nothing that it knows of its partitions holds any more."""
    consumer = members.join("first")
    send(transport, topics_prefix, [(f"camera-{n}".encode(), b"x") for n in range(40)])
    members.poll(lambda: len(members.read("first")) == 40)
    owned = members.owned("first")
    if isinstance(transport, MemoryTransport):
        transport.expel(consumer)
    else:
        consumer._consumer._coordinator.maybe_leave_group()
    assert not consumer.commit({(topics_prefix, 0): 3})
    members.poll(lambda: len(members.read("first")) == 80)
    back = [p for p in members.polled["first"] if p.revoked]
    assert [p.revoked for p in back] == [owned]
    assert frozenset().union(*(p.assigned for p in members.polled["first"])) == owned
    assert members.owned("first") == owned
    assert sorted(members.read("first")[:40]) == sorted(members.read("first")[40:]), "not read again from the commit"


def test_a_rebalance_waits_for_every_member_and_gives_no_records_meanwhile(topics_prefix):
    """The twin is as eager as the vendor: a member that polls while another has not is left with nothing to read."""
    transport = MemoryTransport()
    transport.ensure_topics([Topic(topics_prefix, 4)])
    first, second = (transport.consumer([topics_prefix], "group") for _ in range(2))
    assert len(first.poll(0.0).assigned) == 4
    send(transport, topics_prefix, [(key, b"x") for key in CAMERAS])
    assert second.poll(0.0) == Polled(records=[])
    assert first.commit({(topics_prefix, 0): 1}), "it has not joined: the old assignment holds"
    polled = first.poll(0.0)  # joins as the last one
    assert len(polled.revoked) == 2
    assert not polled.assigned
    assert polled.records, "one call revokes, joins and reads"
    assert len(second.poll(0.0).assigned) == 2


@pytest.mark.parametrize(
    ("steps", "revoked", "assigned"),
    [
        ([{0, 1}, {0}], {1}, set()),
        ([{0}, {0, 1}], set(), {1}),
        ([{0, 1}, {0}, {0, 1}], {1}, {1}),
        ([{0, 1}, set(), {0, 1}], {0, 1}, {0, 1}),
        ([{0}, {0, 1}, {0}], set(), set()),
        ([{0}, {0, 1}, {0}, {0, 1}], set(), {1}),
    ],
)
def test_several_rebalances_within_a_call_are_told_as_what_they_came_to(steps, revoked, assigned):
    assignment = Assignment()
    before, *after = [{("t", n) for n in step} for step in steps]
    assignment.replace(before)
    assert assignment.take() == (set(), before)
    for partitions in after:
        assignment.replace(partitions)
    assert assignment.take() == ({("t", n) for n in revoked}, {("t", n) for n in assigned})
    assert assignment.take() == (set(), set())


def test_paused_partitions_wait_and_lose_nothing(kind, transport, topics_prefix, opened):
    transport.ensure_topics([Topic(topics_prefix, 2)])
    consumer = opened(transport.consumer([topics_prefix]))
    sent = [(key, str(n).encode()) for n in range(3) for key in CAMERAS]
    send(transport, topics_prefix, sent[:8])
    records = read(consumer, 8)
    paused = {(r.topic, r.partition) for r in records[:1]}
    consumer.pause(paused)
    send(transport, topics_prefix, sent[8:])
    while more := consumer.poll(1.0).records:
        assert not {(r.topic, r.partition) for r in more} & paused
        records += more
    assert len(sent) > len(records)
    if kind != "embedded":  # it does not know its end
        assert sum(consumer.lag().values()) == len(sent) - len(records)
    consumer.pause(())
    records += read(consumer, len(sent) - len(records))
    assert sorted(values(records)) == sorted(v for _, v in sent)
    assert sum(consumer.lag().values()) == 0


def test_a_partition_that_is_paused_amid_what_was_fetched_goes_on(kind, transport, topics_prefix, opened):
    transport.ensure_topics([Topic(topics_prefix, 2)])
    sent = [(b"gate", str(n).encode()) for n in range(100)]  # more than one poll returns
    send(transport, topics_prefix, sent)
    consumer = opened(transport.consumer([topics_prefix]))
    records = read(consumer, 1)
    if kind != "memory":  # it has no limit
        assert len(records) < len(sent)
    consumer.pause({(r.topic, r.partition) for r in records})
    # The other partition has nothing, and says so.
    assert not consumer.poll(1.0).records
    consumer.pause(())
    records += read(consumer, len(sent) - len(records))
    assert values(records) == [v for _, v in sent]


def test_the_largest_record_passes_and_a_larger_one_is_refused_before_it_is_sent(transport, topics_prefix, opened):
    transport.ensure_topics([Topic(topics_prefix, 1)])
    producer = transport.producer()
    headers = [("n", b"1")]
    largest = b"x" * (MAX_RECORD_BYTES - record_size(b"lobby", headers, b""))
    with pytest.raises(
        RecordTooLargeError, match=f"record of {MAX_RECORD_BYTES + 1} bytes for {topics_prefix}, key 'lobby'"
    ):
        producer.send(topics_prefix, b"lobby", headers, largest + b"x")
    for value in (largest, b"after"):
        producer.send(topics_prefix, b"lobby", headers, value)
    producer.flush()
    producer.close()
    assert [len(v) for v in values(read(opened(transport.consumer([topics_prefix])), 2))] == [len(largest), 5]


def test_a_topic_that_takes_less_than_segments_need_is_an_error_that_says_what_to_set(apache_broker, topics_prefix):
    with KafkaAdminClient(bootstrap_servers=apache_broker.address) as admin:
        limit = {"max.message.bytes": "100000"}
        admin.create_topics({topics_prefix: {"num_partitions": 1, "replication_factor": 1, "configs": limit}})
    transport = KafkaTransport(apache_broker.address)
    producer = transport.producer()
    producer.send(topics_prefix, b"lobby", [], b"x" * 200_000)
    with pytest.raises(BrokerError, match=r"takes smaller records only .*max\.message\.bytes") as caught:
        producer.flush()
    # It is about a record that was sent before: whoever sends the next must not take it for that one.
    assert not isinstance(caught.value, RecordTooLargeError)
    producer.close()


def test_topics_are_created_once_and_a_missing_one_is_named(transport, topics_prefix):
    topics = [Topic(topics_prefix, 2), Topic(f"{topics_prefix}-small", 1, retention_hours=1.0, compacted=True)]
    transport.ensure_topics(topics)
    send(transport, topics_prefix, [(b"lobby", b"kept")])
    transport.ensure_topics(topics)
    consumer = transport.consumer([topics_prefix])
    assert values(read(consumer, 1)) == [b"kept"]
    consumer.close()


@pytest.mark.parametrize("kind", ["memory", "apache"])  # the embedded broker makes a topic of every name
def test_a_reader_of_a_topic_that_does_not_exist_is_told_so(kind, request, topics_prefix):
    broker = MemoryTransport() if kind == "memory" else KafkaTransport(request.getfixturevalue("apache_broker").address)
    with pytest.raises(BrokerError, match=f"topic {topics_prefix} does not exist"):
        broker.consumer([topics_prefix])


def test_a_reader_without_a_group_has_nothing_to_commit_to(transport, topics_prefix, opened):
    transport.ensure_topics([Topic(topics_prefix, 1)])
    consumer = opened(transport.consumer([topics_prefix]))
    with pytest.raises(BrokerError, match="without a group"):
        consumer.commit({(topics_prefix, 0): 1})


def test_apache_kafka_gets_the_limits_of_a_topic(apache_broker, topics_prefix):
    from kafka.admin import ConfigResource

    KafkaTransport(apache_broker.address).ensure_topics(
        [Topic(topics_prefix, 3, retention_hours=2.5, retention_bytes=80_000_000, compacted=True)]
    )
    with KafkaAdminClient(bootstrap_servers=apache_broker.address) as admin:
        configs = admin.describe_configs([ConfigResource("TOPIC", topics_prefix)])
        assert len(admin.describe_topics([topics_prefix])[0]["partitions"]) == 3
    text = str(configs)
    for value in ("9000000", "80000000", "20000000", "compact", "600000", str(MAX_RECORD_BYTES + 64 * 1024)):
        assert value in text


@pytest.fixture
def tidy() -> Iterator[None]:
    """Where kafka-python cannot connect it leaves its sockets to the garbage collector."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def mute() -> Iterator[str]:
    """The address of something that takes connections and says nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (kafka.errors.KafkaTimeoutError("KafkaTimeoutError: request 3 timed out"), "request 3 timed out"),
        (kafka.errors.KafkaConnectionError("KafkaConnectionError: socket closed"), "socket closed"),
        (kafka.errors.TopicAuthorizationFailedError(), "topic authorization failed"),
        (kafka.errors.NotLeaderForPartitionError(), "not leader for partition"),
        (OSError(111, "Connection refused"), "Connection refused"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_the_vendor_says_is_told_without_the_names_of_its_classes(error, words):
    said = kafka_connection.text_of(error)
    assert said.lower() == words.lower()
    assert "Error" not in said


@pytest.mark.parametrize("kind", ["closed", "mute", "not Kafka", "no port", "no number", "no host"])
def test_a_broker_that_does_not_answer_is_one_error_in_bounded_time(kind, tidy, mute, redis_url, monkeypatch):
    monkeypatch.setattr(kafka_connection, "CONNECT_TIMEOUT_MS", 1000)
    address = {
        "closed": "127.0.0.1:1",
        "mute": mute,
        "not Kafka": redis_url.removeprefix("redis://").removesuffix("/0"),
        "no port": "127.0.0.1:",
        "no number": "127.0.0.1:many",
        "no host": "no-such-host.invalid:9092",
    }[kind]
    begin = time.monotonic()
    with pytest.raises(BrokerError, match="clipline up") as caught:
        KafkaTransport(address)
    assert time.monotonic() - begin < 20
    assert f"no Kafka broker answers at {address} " in str(caught.value)


@pytest.mark.parametrize("protocol", ["SSL", "SASL_SSL"])
def test_a_broker_that_never_begins_with_tls_is_one_error_in_bounded_time(protocol, tidy, mute, monkeypatch):
    monkeypatch.setattr(kafka_connection, "CONNECT_TIMEOUT_MS", 1000)
    user = {"mechanism": "PLAIN", "user": "ana", "password": Secret("x")} if protocol == "SASL_SSL" else {}
    begin = time.monotonic()
    with pytest.raises(UnansweredError):  # not one that lets nobody in, which would end whoever waits for it
        KafkaTransport(KafkaAddress(mute, KafkaSecurity(protocol, **user)))
    assert time.monotonic() - begin < 20


@pytest.mark.parametrize("kind", ["mute", "closed", "there"])
def test_a_broker_that_takes_connections_and_says_nothing_is_told_of_once(
    kind, tidy, mute, embedded_broker, monkeypatch, caplog
):
    # One that is there answers, and not at once on a busy machine.
    milliseconds, hung_seconds = (30_000, 15.0) if kind == "there" else (1500, 0.5)
    monkeypatch.setattr(kafka_connection, "CONNECT_TIMEOUT_MS", milliseconds)
    monkeypatch.setattr(kafka_connection, "_HUNG_SECONDS", hung_seconds)
    monkeypatch.setattr(kafka_connection, "_known", deque())
    address = {"closed": "127.0.0.1:1", "there": embedded_broker.address}.get(kind, mute)
    before = set(threading.enumerate())
    for _ in range(2):
        with contextlib.suppress(BrokerError):
            KafkaTransport(address, at_once=True)
    told = [f"the Kafka broker at {address} has not answered yet: waiting for it"] if kind == "mute" else []
    assert [record.getMessage() for record in caplog.records if record.name.startswith("stream.")] == told
    assert not {each.name for each in set(threading.enumerate()) - before if isinstance(each, threading.Timer)}


def test_a_broker_that_went_away_is_one_error_in_bounded_time(tidy, topics_prefix, monkeypatch):
    from stream.services import EmbeddedBroker

    monkeypatch.setattr(kafka_connection, "CONNECT_TIMEOUT_MS", 1000)
    with EmbeddedBroker() as broker:
        transport = KafkaTransport(broker.address)
        transport.ensure_topics([Topic(topics_prefix, 1)])
        producer = transport.producer(5.0)
        producer.send(topics_prefix, b"lobby", [], b"here")
        producer.flush()
    begin = time.monotonic()
    for action in (
        lambda: transport.ensure_topics([Topic(topics_prefix, 1)]),
        transport.producer,
        lambda: transport.consumer([topics_prefix]),
    ):
        with pytest.raises(BrokerError, match=f"Kafka broker at {transport.address} does not answer"):
            action()
    producer.send(topics_prefix, b"lobby", [], b"gone")
    with pytest.raises(BrokerError, match=f"Kafka broker at {transport.address} does not answer"):
        producer.flush()
    monkeypatch.setattr(kafka_producer, "CONNECT_TIMEOUT_SECONDS", 0.5)
    producer.close()
    assert time.monotonic() - begin < 40


def vendor_errors() -> list[type[Exception]]:
    found = {kafka.errors.KafkaError}
    for _, member in inspect.getmembers(kafka.errors, inspect.isclass):
        if issubclass(member, Exception) and member.__module__.startswith("kafka"):
            found.add(member)
    queue = list(found)
    while queue:
        for child in queue.pop().__subclasses__():
            if child not in found:
                found.add(child)
                queue.append(child)
    return sorted(found, key=lambda c: c.__name__)


ADDRESS = KafkaAddress("broker.example:9092", KafkaSecurity(user="worker"))


@pytest.mark.parametrize("error", vendor_errors(), ids=lambda c: c.__name__)
def test_every_error_of_the_vendor_becomes_ours(error, monkeypatch):
    monkeypatch.setattr(kafka_connection, "check_entry", lambda _: None)
    with pytest.raises(BrokerError) as caught, mapped("reading clipline.events", ADDRESS):
        raise error.__new__(error)
    assert str(caught.value).startswith("reading clipline.events: ")
    assert "broker.example:9092" in str(caught.value)
    assert caught.value.__suppress_context__
    assert not isinstance(caught.value, RecordTooLargeError)


def test_records_that_were_refused_hold_no_room(monkeypatch, embedded_broker, topics_prefix):
    transport = KafkaTransport(embedded_broker.address)
    transport.ensure_topics([Topic(topics_prefix, 1)])
    producer = transport.producer(5.0)
    monkeypatch.setattr(kafka_producer, "MAX_IN_FLIGHT_BYTES", 1000)

    def refuse(*_: object, **__: object) -> None:
        raise kafka.errors.KafkaTimeoutError

    with monkeypatch.context() as broken:
        broken.setattr(producer._outbox.producer, "send", refuse)
        for _ in range(3):
            with pytest.raises(BrokerError, match="does not answer"):
                producer.send(topics_prefix, b"lobby", [], b"x" * 600)
    producer.send(topics_prefix, b"lobby", [], b"x" * 600)
    producer.flush()
    producer.close()


def test_stored_records_are_read_by_offset_and_reading_ends(transport: Transport, topics_prefix: str) -> None:
    transport.ensure_topics([Topic(topics_prefix, 2)])
    send(transport, topics_prefix, [(CAMERAS[n % 8], str(n).encode()) for n in range(60)])
    offsets = transport.offsets(topics_prefix)
    assert set(offsets) == {(topics_prefix, 0), (topics_prefix, 1)}
    assert sum(end for _, end in offsets.values()) == 60
    assert all(first == 0 for first, _ in offsets.values())
    assert len(list(transport.read(offsets))) == 60

    partition, (_, end) = max(offsets.items(), key=lambda item: item[1][1])
    some = list(transport.read({partition: (5, 12)}))
    assert [r.offset for r in some] == list(range(5, 12))
    assert {(r.topic, r.partition) for r in some} == {partition}
    assert [r.offset for r in transport.read({partition: (end - 2, end + 100)})] == [end - 2, end - 1]
    assert list(transport.read({partition: (4, 4)})) == []
    assert list(transport.read({})) == []


def test_offsets_of_an_absent_topic_are_an_error(transport: Transport, topics_prefix: str) -> None:
    with pytest.raises(BrokerError, match=topics_prefix):
        transport.offsets(topics_prefix)


def test_progress_tells_where_each_partition_is_read_and_where_it_ends_now(transport, topics_prefix, opened):
    transport.ensure_topics([Topic(topics_prefix, 2)])
    send(transport, topics_prefix, [(key, b"x") for key in CAMERAS])
    consumer = opened(transport.consumer([topics_prefix], topics_prefix))
    records = read(consumer, len(CAMERAS))
    counts = {(topics_prefix, n): sum(r.partition == n for r in records) for n in range(2)}
    assert consumer.progress() == {p: (count, count) for p, count in counts.items()}
    consumer.pause(counts)
    for key in CAMERAS:
        send(transport, topics_prefix, [(key, b"y")])
    progress = consumer.progress()
    assert {p: at for p, (at, _) in progress.items()} == counts
    assert all(end > at for at, end in progress.values()), "what waits is seen, although nothing is fetched"


def test_progress_of_a_broker_that_is_gone_is_not_known(topics_prefix):
    with EmbeddedBroker() as broker:
        transport = KafkaTransport(broker.address)
        transport.ensure_topics([Topic(topics_prefix, 1)])
        consumer = transport.consumer([topics_prefix])
        assert consumer.progress() == {(topics_prefix, 0): (0, 0)}
    begun = time.monotonic()
    assert consumer.progress() is None
    assert time.monotonic() - begun < 20
    consumer.close()
