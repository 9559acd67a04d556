"""Subscriptions: each event once, from where somebody asks for, and on from where somebody stood."""

from __future__ import annotations

import datetime as dt
import threading
import time
from dataclasses import replace

import pytest

import consumers
from consumers.outputs import follower as following
from consumers.outputs.follower import Place
from consumers.records.event import Event, event_id
from consumers.settings import Settings
from consumers.subscribing.position import parse_place, place_id
from consumers.subscribing.selection import Selection
from consumers.subscribing.subscription import Subscription, parse_since, subscribe
from stream import MemoryTransport, Topic, Transport

SETTINGS = Settings()
TOPIC = SETTINGS.topics.events
BEGIN_US = 1_700_000_000_000_000


def event(number: int, camera: str = "gate", label: str = "fight") -> Event:
    start_us = BEGIN_US + number * 1_000_000
    id_ = event_id(camera, BEGIN_US, label, start_us, "m")
    return Event(camera, "m", label, "started", 0, id_, start_us, start_us + 1_000_000, 0.9, start_us, 1)


def publish(transport: Transport, *events: Event, topic: str = TOPIC, partition: int | None = None) -> None:
    producer = transport.producer()
    for each in events:
        producer.send(topic, *each.encode(), partition)
    producer.flush()
    producer.close()


def stored(partitions: int = 1, *events: Event) -> MemoryTransport:
    transport = MemoryTransport()
    transport.ensure_topics([Topic(TOPIC, partitions)])
    publish(transport, *events)
    return transport


def take(subscription: Subscription, count: int) -> list[Event]:
    return [next(subscription) for _ in range(count)]


def rest(subscription: Subscription, seconds: float = 0.7) -> list[Event]:
    """What else comes within a moment; it is over then."""
    timer = threading.Timer(seconds, subscription.close)
    timer.start()
    found = list(subscription)
    timer.join()
    return found


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "ASK_SECONDS", 0.3)
    monkeypatch.setattr(following, "_RETRY_SECONDS", 0.1)
    monkeypatch.setattr(following, "_LONGEST_RETRY_SECONDS", 0.4)


def test_events_come_from_where_somebody_asks_for():
    transport = stored(1, event(0), event(1))
    now_us = time.time_ns() // 1000
    time.sleep(0.01)
    with Subscription(lambda: transport, SETTINGS) as new:
        assert new._step() is None
        publish(transport, event(2), event(3))
        assert take(new, 2) == [event(2), event(3)]
    with Subscription(lambda: transport, SETTINGS, since_us=0) as everything:
        assert take(everything, 4) == [event(n) for n in range(4)]
    with Subscription(lambda: transport, SETTINGS, since_us=now_us) as since:
        assert take(since, 2) == [event(2), event(3)]


def test_what_was_sent_before_the_time_is_left_out_though_the_broker_begins_earlier():
    class Coarse(MemoryTransport):
        """A broker whose index by time is as coarse as it can be."""

        def sent_since(self, topic, time_us):
            return {p: first for p, (first, _) in self.offsets(topic).items()}

    transport = Coarse()
    transport.ensure_topics([Topic(TOPIC, 1)])
    publish(transport, event(0))
    time.sleep(0.01)
    now_us = time.time_ns() // 1000
    publish(transport, event(1))
    with Subscription(lambda: transport, SETTINGS, since_us=now_us) as since:
        assert take(since, 1) == [event(1)]


@pytest.mark.parametrize(
    ("labels", "cameras", "numbers"),
    [
        (None, None, [0, 1, 2, 3]),
        ("fight", None, [0, 1, 3]),
        (None, "gate*", [0, 1, 2]),
        (["fight", "run"], ["gate-[2-9]", "dock"], [1, 2, 3]),
        ("run", "gate", []),
    ],
)
def test_labels_and_cameras_are_chosen(labels, cameras, numbers):
    events = [event(0, "gate"), event(1, "gate-2"), event(2, "gate-3", "run"), event(3, "dock")]
    transport = stored(1, *events)
    subscription = Subscription(lambda: transport, SETTINGS, Selection.of(labels, cameras), since_us=0)
    assert rest(subscription, 0.3) == [events[n] for n in numbers]


def test_a_report_that_is_sent_again_comes_once_also_to_whoever_goes_on():
    transport = stored(1, event(0), event(1), event(1))
    with Subscription(lambda: transport, SETTINGS, since_us=0) as first:
        assert take(first, 2) == [event(0), event(1)]
        position = first.position
    publish(transport, event(0), event(1), replace(event(1), revision=1, state="updated"))
    with Subscription(lambda: transport, SETTINGS, after=position) as second:
        assert take(second, 1)[0].revision == 1
        publish(transport, event(2))
        assert take(second, 1) == [event(2)]


@pytest.mark.parametrize("partitions", [1, 3])
def test_whoever_goes_on_behind_any_event_gets_each_of_the_others(partitions):
    """Exactly: no event of any partition is lost or comes again, wherever the first one stopped."""
    transport = stored(partitions)
    count = 24
    for number in range(count):
        publish(transport, event(number), partition=number % partitions)
    for stop in range(count + 1):
        with Subscription(lambda: transport, SETTINGS, since_us=0) as first:
            before = take(first, stop)
            assert stop == 0 or first.position is not None
            position = first.position
        if position is None:
            continue
        with Subscription(lambda: transport, SETTINGS, after=position) as second:
            assert sorted(e.start_us for e in before + take(second, count - stop)) == [
                event(n).start_us for n in range(count)
            ]
            assert second._step() is None


def test_what_comes_to_other_partitions_before_the_first_event_is_not_lost():
    transport = stored(2)
    with Subscription(lambda: transport, SETTINGS) as first:
        assert first._step() is None
        assert first._step() is None
        position = first.position
    assert position is not None, "known before anything has come"
    publish(transport, event(0), partition=0)
    publish(transport, event(1), partition=1)
    with Subscription(lambda: transport, SETTINGS, after=position) as second:
        assert {e.start_us for e in take(second, 2)} == {event(0).start_us, event(1).start_us}


def test_events_that_are_passed_over_move_the_place_and_those_in_hand_do_not():
    transport = stored(1, *(event(n, "dock" if n != 5 else "gate") for n in range(10)))
    subscription = Subscription(lambda: transport, SETTINGS, Selection((), ("gate",)), since_us=0)
    while (found := subscription._step()) is None:
        pass
    assert found == event(5, "gate")
    assert subscription.position is None or subscription.position.endswith("/0:0")
    subscription._place = subscription._behind()
    assert subscription.position.endswith("/0:6")
    assert subscription._step() is None
    assert subscription.position.endswith("/0:10")


def test_a_topic_that_was_made_anew_is_read_from_its_start(quick):
    old, said = stored(1, *map(event, range(5))), []
    with Subscription(lambda: old, SETTINGS, since_us=0) as first:
        take(first, 3)
        position = first.position

    class Anew(MemoryTransport):
        def existing(self, topics):
            return {name: replace(found, id=f"{name} again") for name, found in super().existing(topics).items()}

    new = Anew()
    new.ensure_topics([Topic(TOPIC, 1)])
    publish(new, *(event(n) for n in range(10, 20)))
    with Subscription(lambda: new, SETTINGS, after=position, say=said.append) as second:
        assert take(second, 10) == [event(n) for n in range(10, 20)]
    assert any("made anew" in line for line in said)


def test_a_place_is_one_line():
    place = Place({(TOPIC, 1): 5, (TOPIC, 0): 18, ("other", 0): 3}, {TOPIC: "5f3a9c1e"})
    assert place_id(place, TOPIC) == "5f3a9c1e/0:18,1:5"
    assert parse_place("5f3a9c1e/0:18,1:5", TOPIC) == Place({(TOPIC, 0): 18, (TOPIC, 1): 5}, {TOPIC: "5f3a9c1e"})
    assert place_id(Place(), TOPIC) is None


@pytest.mark.parametrize(
    "text",
    [
        *("", "17", "5f3a9c1e/", "5f3a9c1e/0", "5f3a9c1e/0:1,0:2", "5F3A9C1E/0:1", "5f3a9c1e/0:-1"),
        *("5f3a9c1e/0:" + "9" * 19, "5f3a9c1e/0:1\r\nx: y", "x" * 100_000),
    ],
)
def test_what_is_no_place_is_refused(text):
    with pytest.raises(ValueError, match="expected the id of an event such as '5f3a9c1e/0:18', found") as error:
        parse_place(text, TOPIC)
    assert len(str(error.value)) < 400


NOW = dt.datetime.now(dt.UTC)


@pytest.mark.parametrize(
    ("since", "seconds"),
    [
        ("90s", 90), ("15m", 900), ("1h", 3600), ("1.5h", 5400), ("2d", 172_800), ("1w", 604_800), (" 1h ", 3600),
        (dt.timedelta(minutes=5), 300),
        (NOW - dt.timedelta(hours=1), 3600),
        ((NOW - dt.timedelta(hours=1)).replace(tzinfo=None), 3600),
        ((NOW - dt.timedelta(hours=1)).isoformat(), 3600),
    ],
)  # fmt: skip
def test_a_time_may_be_given_in_several_ways(since, seconds):
    found = parse_since(since)
    assert found is not None
    assert abs(time.time() - found / 1e6 - seconds) < 120


def test_the_earliest_and_now_are_times_too():
    assert parse_since("earliest") == 0
    assert parse_since(None) is None
    assert parse_since("99999d") == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"since": "soon"}, "since: expected how long ago .*: 'soon'"),
        ({"since": "1y"}, "since: expected how long ago"),
        ({"since": dt.timedelta(seconds=-60)}, "since: expected a time that is over"),
        ({"since": "2999-01-01"}, "since: expected a time that is over"),
        ({"labels": [""]}, "labels: expected names of labels, found ''"),
        ({"labels": [3]}, "labels: expected names of labels, found 3"),
        ({"cameras": "gate,yard"}, "cameras: expected an id .*, found 'gate,yard'"),
        ({"cameras": ["gate", ""]}, "cameras: expected an id"),
        ({"cameras": ["x"] * 1001}, "expected 1000 labels and cameras at most"),
        ({"group": ""}, "group: expected the name"),
        ({"group": "a.redis"}, "group: expected another ending"),
        ({"group": "clipline-classify"}, "group: 'clipline-classify' does Clipline's own work"),
        ({"group": "clipline-pictures"}, "group: 'clipline-pictures' does Clipline's own work"),
        ({"after": "17"}, "after: expected the id of an event"),
        ({"after": "5f3a9c1e/0:18", "since": "1h"}, "after: it says where to go on, and so does since"),
        ({"after": "5f3a9c1e/0:18", "group": "a"}, "after: a group keeps its place itself"),
    ],
)
def test_what_cannot_be_asked_for_is_said_at_once(arguments, said):
    with pytest.raises(ValueError, match=said):
        subscribe(settings=SETTINGS, **arguments)


def test_the_package_offers_it():
    assert consumers.subscribe is subscribe
    assert {"subscribe", "Subscription", "Event"} <= set(consumers.__all__)
    assert all(hasattr(consumers, name) for name in consumers.__all__)
    with pytest.raises(AttributeError, match="no attribute 'subscribed'"):
        _ = consumers.subscribed


def test_names_that_nobody_has_heard_of_are_said_and_waited_for():
    transport, said = stored(1, event(0)), []
    subscription = Subscription(lambda: transport, SETTINGS, Selection(("figt",), ("yar*",)), say=said.append)
    assert rest(subscription, 0.2) == []
    assert said == [
        "no camera 'yar*' has sent anything; known: gate; waiting for it",
        "no events with label 'figt'; known: fight; did you mean 'fight'?; waiting for it",
    ]


def test_closing_from_elsewhere_ends_whoever_waits_and_twice_is_once():
    subscription = Subscription(stored, SETTINGS)
    began = time.monotonic()
    assert rest(subscription, 0.2) == []
    assert time.monotonic() - began < 3
    subscription.close()
    assert list(subscription) == []
