"""What readers say and do while their broker is away: no event is lost or told twice, and nobody waits in silence."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest
from kafka import KafkaAdminClient

from consumers.outputs import follower as following
from consumers.outputs import outages
from consumers.outputs.follower import TopicFollower, from_earliest
from consumers.outputs.names import Names
from consumers.outputs.outages import ServiceWatch, watch_redis, watching
from consumers.records.event import Event, event_id
from consumers.running.state_topics import StatesFollower, read_states
from consumers.settings import Settings, TopicSettings
from consumers.subscribing import reader as reading
from consumers.subscribing.reader import EventReader, stored_events
from consumers.subscribing.subscription import Subscription
from consumers.topics import ensure_topics
from stream import BrokerError, KafkaAddress, KafkaTransport, MemoryTransport, Topic, Transport
from stream.services import ApacheBroker, EmbeddedBroker, EmbeddedRedis, Service
from tests.waiting import eventually

TOPICS = TopicSettings()
BEGIN_US = 1_700_000_000_000_000


def event(number: int, camera: str = "gate", label: str = "fight") -> Event:
    start_us = BEGIN_US + number * 1_000_000
    id_ = event_id(camera, BEGIN_US, label, start_us, "m")
    return Event(camera, "m", label, "started", 0, id_, start_us, start_us + 1_000_000, 0.9, start_us, 1)


def publish(transport: Transport, *events: Event, topics: TopicSettings = TOPICS) -> None:
    producer = transport.producer()
    for each in events:
        producer.send(topics.events, *each.encode())
    producer.flush()
    producer.close()


class Following:
    """A subscriber at work in a thread."""

    def __init__(self, address: str, *, stored: bool = True, give_up_seconds: float | None = None) -> None:
        self.seen: list[Event] = []
        self.error: BrokerError | None = None
        self.done = threading.Event()
        self._events = Subscription(
            lambda: KafkaTransport(address, at_once=True),
            Settings(kafka=address),
            since_us=0 if stored else None,
            give_up_seconds=give_up_seconds,
            stop=self.done,
        )
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            for each in self._events:
                self.seen.append(each)
        except BrokerError as error:
            self.error = error

    def close(self) -> None:
        self.done.set()
        self.thread.join(20)
        assert not self.thread.is_alive()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "ASK_SECONDS", 0.3)
    monkeypatch.setattr(outages, "ASK_SECONDS", 0.1)
    monkeypatch.setattr(following, "_RETRY_SECONDS", 0.2)


@pytest.mark.slow  # starts Apache Kafka twice
def test_a_subscriber_waits_for_its_broker_and_goes_on_after_the_last_event(quick, tmp_path, caplog):
    if (reason := ApacheBroker.missing()) is not None:
        pytest.skip(reason)
    with ExitStack() as stack:
        with ApacheBroker(tmp_path / "data") as broker:
            address, port = broker.address, int(broker.address.rpartition(":")[2])
            ensure_topics(KafkaTransport(address), TOPICS)
            publish(KafkaTransport(address), event(0), event(1))
            subscriber = Following(address)
            stack.callback(subscriber.close)
            assert eventually(lambda: len(subscriber.seen) == 2)
            publish(KafkaTransport(address), event(2))
            assert eventually(lambda: len(subscriber.seen) == 3)
        assert eventually(lambda: f"waiting for Kafka at {address} since " in caplog.text)
        with ApacheBroker(tmp_path / "data", port=port) as broker:
            assert broker.address == address
            publish(KafkaTransport(address), event(3), event(4))
            assert eventually(lambda: len(subscriber.seen) == 5)
            assert eventually(lambda: f"Kafka at {address} is back, after" in caplog.text)
            time.sleep(0.5)
            assert subscriber.seen == [event(n) for n in range(5)]
            assert caplog.text.count("waiting for Kafka") == 1
            subscriber.close()


def test_a_broker_that_comes_back_without_its_data_is_told_and_read_from_what_is_there(quick, caplog):
    with ExitStack() as stack:
        with EmbeddedBroker() as broker:
            address, port = broker.address, int(broker.address.rpartition(":")[2])
            ensure_topics(KafkaTransport(address), TOPICS)
            publish(KafkaTransport(address), event(0), event(1))
            subscriber = Following(address)
            stack.callback(subscriber.close)
            assert eventually(lambda: len(subscriber.seen) == 2)
        with EmbeddedBroker(port=port) as broker:
            ensure_topics(KafkaTransport(address), TOPICS)
            # As many as before: no offset is out of range.
            publish(KafkaTransport(address), event(7), event(8))
            assert eventually(lambda: len(subscriber.seen) == 4)
            assert subscriber.seen == [event(0), event(1), event(7), event(8)]
            assert "made anew" in caplog.text or "topic clipline.events is gone" in caplog.text
            subscriber.close()


@pytest.mark.slow
def test_a_subscriber_gives_up_only_when_told_to(quick, caplog):
    with ExitStack() as stack:
        with EmbeddedBroker() as broker:
            address = broker.address
            ensure_topics(KafkaTransport(address), TOPICS)
            patient, hasty = Following(address), Following(address, give_up_seconds=1.0)
            stack.callback(patient.close)
            time.sleep(1.5)
            assert hasty.thread.is_alive(), "the broker is there"
        hasty.thread.join(10)
        assert str(hasty.error) == f"Kafka at {address} has not answered for 1 s"
        time.sleep(1.0)
        assert patient.thread.is_alive()


@pytest.mark.parametrize("advises", [True, False])
def test_how_to_start_a_broker_is_not_said_where_it_is_known_which_one_is_meant(quick, advises):
    said: list[str] = []
    with outages.watch_kafka(KafkaAddress("127.0.0.1:1"), said.append, advises=advises):
        assert eventually(lambda: said)
    assert "(no Kafka broker answers at 127.0.0.1:1 (Connection refused)" in said[0]
    assert ("start one with" in said[0]) == advises


def test_a_subscriber_may_be_there_before_its_broker_and_its_topic(quick, caplog):
    with EmbeddedBroker() as broker:
        address, port = broker.address, int(broker.address.rpartition(":")[2])
    subscriber = Following(address, stored=False)
    assert eventually(lambda: "waiting for Kafka" in caplog.text)
    with EmbeddedBroker(port=port):
        assert eventually(lambda: "topic clipline.events does not exist (yet)" in caplog.text)
        assert not KafkaTransport(address).existing([TOPICS.events])
        ensure_topics(KafkaTransport(address), TOPICS)
        publish(KafkaTransport(address), event(0))
        assert eventually(lambda: subscriber.seen == [event(0)])
        subscriber.close()


def test_what_is_stored_is_read_to_its_end_however_slowly_it_comes(monkeypatch):
    transport = MemoryTransport()
    ensure_topics(transport, TOPICS)
    publish(transport, *map(event, range(300)))
    assert [e.id for e in stored_events(transport, TOPICS)] == [event(n).id for n in range(300)]
    reading = stored_events(transport, TOPICS)
    first = next(reading)
    publish(transport, event(300))  # after the call: not stored at that time
    assert [first, *reading] == [event(n) for n in range(300)]


def test_a_report_that_is_sent_again_is_told_once(monkeypatch):
    transport = MemoryTransport(is_transactional=False)
    transport.ensure_topics([Topic(TOPICS.events, 1)])
    again = event(1)
    publish(transport, event(0), again, again, replace(again, revision=1, state="updated"), event(0))
    assert [(e.start_us - BEGIN_US, e.revision) for e in stored_events(transport, TOPICS)] == [
        (0, 0),
        (1_000_000, 0),
        (1_000_000, 1),
    ]
    monkeypatch.setattr(reading, "_REMEMBERED", 2)
    reader = EventReader(TOPICS)
    assert len(list(reader.stored(transport))) == 4, "only the newest are remembered"
    assert len(reader._seen) == 2


@pytest.mark.parametrize("kind", ["memory", "apache"])
def test_a_subscriber_is_told_nothing_that_is_not_committed(kind, request, quick, topics_prefix):
    transport: Transport = MemoryTransport()
    if kind == "apache":
        transport = KafkaTransport(request.getfixturevalue("apache_broker").address)
    topics = TopicSettings(prefix=topics_prefix)
    transport.ensure_topics([Topic(topics.events, 1)])
    publisher, consumer = transport.publisher(topics_prefix), transport.consumer([topics.events])
    told: list[Event] = []
    stop = threading.Event()

    def follow() -> None:
        for each in Subscription(lambda: transport, Settings(topics=topics), since_us=0, stop=stop):
            told.append(each)  # noqa: PERF402  as each comes

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        publisher.send(topics.events, *event(0).encode())
        assert publisher.commit(consumer, {})
        publisher.send(topics.events, *event(1).encode())
        publisher.abort()
        publisher.send(topics.events, *event(2).encode())
        time.sleep(0.3)
        assert [*stored_events(transport, topics)] == [event(0)]
        assert publisher.commit(consumer, {})
        assert eventually(lambda: [*stored_events(transport, topics)] == [event(0), event(2)])
        assert eventually(lambda: len(told) > 1)
        time.sleep(0.3)
    finally:
        stop.set()
        thread.join()
        publisher.close()
        consumer.close()
    assert told == [event(0), event(2)]


def test_a_topic_that_does_not_exist_is_said():
    with pytest.raises(BrokerError, match=r"topic clipline\.events does not exist.*topics\.prefix"):
        list(stored_events(MemoryTransport(), TOPICS))


def test_partitions_that_a_topic_is_given_are_followed(quick):
    transport = MemoryTransport()
    transport.ensure_topics([Topic("t", 1)])
    said: list[str] = []
    with TopicFollower(lambda: transport, "Kafka", ["t"], said.append) as follower:
        assert follower.poll(0.0) == []
        transport.add_partitions("t", 2)
        producer = transport.producer()
        for number in range(20):
            producer.send("t", str(number).encode(), [], b"")
        seen: list[bytes] = []
        assert eventually(lambda: len(seen.__iadd__([r.key for r in follower.poll(0.01)])) == 20)
        assert sorted(map(int, seen)) == list(range(20))
    assert said == []


def test_what_was_removed_before_it_could_be_read_is_said():
    class Forgetful(MemoryTransport):
        first = 0

        def offsets(self, topic):
            return {p: (self.first, end) for p, (_, end) in super().offsets(topic).items()}

    transport, said = Forgetful(), []
    transport.ensure_topics([Topic("t", 1)])
    producer = transport.producer()
    with TopicFollower(lambda: transport, "Kafka", ["t"], said.append, begin=from_earliest) as follower:
        producer.send("t", b"a", [], b"0")
        assert [r.offset for r in follower.poll(1.0)] == [0]
        follower.close()
        for number in range(1, 9):
            producer.send("t", b"a", [], str(number).encode())
        transport.first = 5
        follower._try_at = 0.0
        assert [r.offset for r in follower.poll(1.0)] == [5, 6, 7, 8]
    assert said == ["t[0]: what was sent from offset 1 to 4 was removed before it could be read"]


@pytest.mark.parametrize(
    ("camera", "label", "said"),
    [
        ("gat", None, "no camera 'gat' has sent anything; known: gate, yard; did you mean 'gate'?"),
        ("gate", "figt", "no events with label 'figt'; known: fight, run; did you mean 'fight'?"),
        ("zzz", None, "no camera 'zzz' has sent anything; known: gate, yard"),
        ("zzz*", None, "no camera 'zzz*' has sent anything; known: gate, yard"),
        ("g*e", None, None),
        ("gate", "fight", None),
        (None, None, None),
    ],
)
def test_a_name_that_nobody_has_heard_of_gives_a_word(camera, label, said):
    transport = MemoryTransport()
    ensure_topics(transport, TOPICS)
    publish(transport, event(0), event(1, "yard", "run"))
    found = Names(Settings()).unknown(transport, [camera] if camera else [], [label] if label else [])
    assert found == ([said] if said else [])


@pytest.fixture(scope="module")
def obliging_broker() -> Iterator[Service]:
    """An Apache Kafka that makes each topic that it is asked for, as it does by default."""

    class Obliging(ApacheBroker):
        def plan(self):
            plan = super().plan()
            files = {
                n: t.replace("create.topics.enable=false", "create.topics.enable=true")
                for n, t in plan.job.files.items()
            }
            return replace(plan, job=replace(plan.job, files=files))

    if (reason := ApacheBroker.missing()) is not None:
        pytest.skip(reason)
    with Obliging() as running:
        yield running


def topics_of(address: str) -> set[str]:
    with KafkaAdminClient(bootstrap_servers=address) as admin:
        return set(admin.list_topics())


@pytest.mark.parametrize("kind", [pytest.param("obliging_broker", marks=pytest.mark.slow), "embedded_broker"])
def test_readers_make_no_topics(kind, request, topics_prefix, quick):
    address = request.getfixturevalue(kind).address
    transport, topics = KafkaTransport(address), TopicSettings(prefix=topics_prefix)
    before = topics_of(address)
    with pytest.raises(BrokerError, match="does not exist"):
        list(stored_events(transport, topics))
    for read in (transport.offsets, lambda t: transport.consumer([t]), lambda t: transport.sent_since(t, 0)):
        with pytest.raises(BrokerError, match="does not exist"):
            read(topics.segments)
    assert read_states(transport, topics).cameras == {}
    with StatesFollower(transport, topics, "Kafka") as follower:
        for _ in range(5):
            follower.poll(0.1)
    with TopicFollower(lambda: transport, "Kafka", [topics.events], lambda _: None, begin=from_earliest) as follower:
        for _ in range(5):
            follower.poll(0.1)
    assert Names(Settings(topics=topics)).unknown(transport, ["gate"], [])
    assert topics_of(address) == before


def test_a_service_that_is_away_is_said_once_and_its_return_too(quick):
    said: list[str] = []
    with EmbeddedRedis() as server:
        address, port = server.address, int(server.address.rpartition(":")[2].partition("/")[0])
    watch = watch_redis(address, said.append)
    with watching(watch) as awaited:
        assert eventually(lambda: len(awaited()) == 1)
        assert str(awaited()[0]).startswith(f"Redis at {address} since ")
        time.sleep(0.3)
        with EmbeddedRedis(port=port):
            assert eventually(lambda: awaited() == ())
            assert eventually(lambda: len(said) > 1)
            time.sleep(0.3)
            assert len(said) == 2
    assert said[0].startswith(f"waiting for Redis at {address} since ")
    assert said[1].startswith(f"Redis at {address} is back, after ")


def test_a_watch_tells_no_outage_when_it_is_over():
    def away() -> None:
        raise OSError("away")

    said: list[str] = []
    with ServiceWatch("x", away, said.append):
        pass
    time.sleep(0.05)
    assert said == []
