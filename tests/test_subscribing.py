"""Subscriptions: each event once, from where somebody asks for, and on from where somebody stood."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

import pytest

import consumers
from consumers.outputs import follower as following
from consumers.outputs.follower import Place
from consumers.records.event import Event, event_id
from consumers.settings import Settings, TopicSettings
from consumers.subscribing import group as groups
from consumers.subscribing import subscription as subscriptions
from consumers.subscribing.position import parse_place, place_id
from consumers.subscribing.selection import Selection
from consumers.subscribing.subscription import Subscription, parse_since, subscribe
from stream import KafkaTransport, MemoryTransport, Topic, Transport
from stream.services import ApacheBroker
from tests.test_transactions import server_of
from tests.waiting import eventually

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


def rest(subscription: Subscription, seconds: float = 0.7, holds: Callable[[], bool] = lambda: True) -> list[Event]:
    """What else comes until something holds, and for a moment longer; it is over then."""

    def close() -> None:
        eventually(holds)
        time.sleep(seconds)
        subscription.close()

    closing = threading.Thread(target=close)
    closing.start()
    found = list(subscription)
    closing.join()
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
    assert take(subscription, len(numbers)) == [events[n] for n in numbers]
    assert rest(subscription, 0.3) == []


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
def test_whoever_goes_on_behind_any_event_gets_each_of_the_others(partitions, monkeypatch):
    """Exactly: no event of any partition is lost or comes again, wherever the first one stopped."""
    monkeypatch.setattr(subscriptions, "_POLL_SECONDS", 0.01)
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


@pytest.mark.parametrize(
    ("since", "seconds"),
    [
        ("90s", 90), ("15m", 900), ("1h", 3600), ("1.5h", 5400), ("2d", 172_800), ("1w", 604_800), (" 1h ", 3600),
        (dt.timedelta(minutes=5), 300),
    ],
)  # fmt: skip
def test_a_time_may_be_given_as_how_long_ago_it_was(since, seconds):
    found = parse_since(since)
    assert found is not None
    assert abs(time.time() - found / 1e6 - seconds) < 120


def test_a_time_may_be_given_as_such_or_as_text():
    moment = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
    for since in (moment, moment.replace(tzinfo=None), moment.isoformat()):
        found = parse_since(since)
        assert found is not None
        assert abs(found / 1e6 - moment.timestamp()) < 1


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
    assert rest(subscription, 0.2, lambda: len(said) > 1) == []
    assert said == [
        "no camera 'yar*' has sent anything; known: gate; waiting for it",
        "no events with label 'figt'; known: fight; did you mean 'fight'?; waiting for it",
    ]


def test_closing_from_elsewhere_ends_whoever_waits_and_twice_is_once():
    subscription = Subscription(stored, SETTINGS)
    began = time.monotonic()
    assert rest(subscription, 0.2) == []
    assert time.monotonic() - began < 10
    subscription.close()
    assert list(subscription) == []


# --- groups -----------------------------------------------------------------------------------------------------------


def grouped(transport: Transport, since_us: int | None = 0, group: str = "alarms") -> Subscription:
    return Subscription(lambda: transport, SETTINGS, since_us=since_us, group=group)


def test_a_group_goes_on_behind_the_last_event_after_which_the_next_was_asked_for():
    transport = stored(1, *map(event, range(5)))
    with grouped(transport) as first:
        assert take(first, 3) == [event(0), event(1), event(2)]
    # The third was handed over, and nobody knows what became of it: it comes again.
    with grouped(transport) as second:
        assert take(second, 2) == [event(2), event(3)]
    with grouped(transport) as third:
        assert take(third, 2) == [event(3), event(4)]
        assert rest(third, 0.3) == []
    with grouped(transport) as last:
        assert rest(last, 0.3) == [], "asking for more than there is says that the last one was dealt with"


@pytest.mark.parametrize("section", ["worker", "pictures", "notify"])
def test_the_groups_that_do_the_work_are_taken_by_no_subscriber(section):
    with pytest.raises(ValueError, match="does Clipline's own work"):
        subscribe(group=getattr(Settings(), section).group)


def test_a_group_commits_while_it_goes_on(monkeypatch):
    monkeypatch.setattr(groups, "_COMMIT_SECONDS", 0.0)
    transport = stored(1, *map(event, range(5)))
    first = grouped(transport)
    take(first, 3)
    first._follower._consumer.close()  # killed: nothing is committed at the end
    with grouped(transport) as second:
        assert take(second, 1) == [event(2)]


def test_a_new_group_that_begins_now_has_begun_even_if_nothing_comes():
    transport = stored(1, event(0))
    with grouped(transport, None) as first:
        assert eventually(lambda: first._step() is None and bool(first._follower.place.offsets))
    publish(transport, event(1))
    with grouped(transport, None) as second:
        assert take(second, 1) == [event(1)]


def test_members_of_a_group_share_its_partitions_and_take_over(quick):
    transport = stored(2)
    first, second = grouped(transport), grouped(transport)
    seen: list[Event] = []

    def run(subscription: Subscription) -> None:
        seen.extend(subscription)

    threads = [threading.Thread(target=run, args=(each,)) for each in (first, second)]
    for thread in threads:
        thread.start()
    try:
        assert eventually(lambda: all(len(s._follower.place.offsets) == 1 for s in (first, second)))
        for number in range(10):
            publish(transport, event(number), partition=number % 2)
        assert eventually(lambda: len(seen) == 10)
        first.close()
        threads[0].join(20)
        for number in range(10, 20):
            publish(transport, event(number), partition=number % 2)
        assert eventually(lambda: len(second._follower.place.offsets) == 2)
        assert eventually(lambda: len({e.id for e in seen}) == 20)
    finally:
        first.close()
        second.close()
        for thread in threads:
            thread.join(10)
    assert {e.id for e in seen} == {event(n).id for n in range(20)}


def test_two_groups_and_whoever_has_none_each_get_everything():
    transport = stored(1, *map(event, range(3)))
    for each in (
        grouped(transport, group="a"),
        grouped(transport, group="b"),
        Subscription(lambda: transport, SETTINGS, since_us=0),
    ):
        with each:
            assert take(each, 3) == [event(0), event(1), event(2)]


# --- asynchronous code ------------------------------------------------------------------------------------------------


def test_asynchronous_code_gets_the_same_and_a_timeout_loses_nothing():
    transport = stored(1, *map(event, range(3)))

    async def watch() -> list[Event]:
        found: list[Event] = []
        async with Subscription(lambda: transport, SETTINGS, since_us=0) as events:
            async for each in events:
                found.append(each)
                if len(found) == 3:
                    break
            for number in range(3, 9):
                # Sent while a call waits and is given up: it comes with the next.
                timer = threading.Timer(0.05, publish, (transport, event(number)))
                timer.start()
                for wait in (0.04, 0.06, 20.0):
                    try:
                        found.append(await asyncio.wait_for(anext(events), wait))
                    except TimeoutError:
                        continue
                    break
                timer.join()
        with pytest.raises(StopAsyncIteration):
            await anext(events)
        return found

    assert asyncio.run(watch()) == [event(n) for n in range(9)]


def test_asynchronous_subscribers_do_not_hold_up_the_loop_nor_each_other():
    transport = stored(1)

    async def watch(subscription: Subscription, pause: float) -> int:
        count = 0
        async for _ in subscription:
            await asyncio.sleep(pause)
            count += 1
            if count == 20:
                break
        await subscription.aclose()
        return count

    async def everything() -> float:
        quick_ones = [watch(Subscription(lambda: transport, SETTINGS, since_us=0), 0.0) for _ in range(3)]
        slow = asyncio.create_task(watch(Subscription(lambda: transport, SETTINGS, since_us=0), 60.0))
        waiting = asyncio.gather(*quick_ones)
        longest = 0.0
        began = time.monotonic()
        publish(transport, *map(event, range(20)))
        while not waiting.done():
            before = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - before)
        assert await waiting == [20, 20, 20]
        assert time.monotonic() - began < 20.0, "the slow one has had one by then"
        slow.cancel()
        return longest

    assert asyncio.run(everything()) < 0.25 * 4, "one poll takes 0.25 s, and there are four"


def test_a_program_ends_although_nobody_closed_a_subscription():
    async def once() -> Event:
        transport = stored(1, event(0))
        return await anext(Subscription(lambda: transport, SETTINGS, since_us=0))

    assert asyncio.run(once()) == event(0)


# --- a broker that is away --------------------------------------------------------------------------------------------


class Listener:
    """A subscription at work in a thread, and what it says."""

    def __init__(self, settings: Settings, *, group: str | None = None, is_asynchronous: bool = False) -> None:
        self.seen: list[Event] = []
        self.said: list[str] = []
        self.subscription = consumers.subscribe(
            since="earliest", group=group, settings=settings, waiting_for=self.said.append
        )
        run = self._run_async if is_asynchronous else self._run
        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        for each in self.subscription:
            self.seen.append(each)

    def _run_async(self) -> None:
        async def run() -> None:
            async for each in self.subscription:
                self.seen.append(each)

        asyncio.run(run())

    def close(self) -> None:
        self.subscription.close()
        self.thread.join(30)
        assert not self.thread.is_alive()


@pytest.mark.slow  # starts Apache Kafka twice
def test_every_kind_of_listener_outlives_its_broker_and_goes_on(quick, tmp_path):
    if (reason := ApacheBroker.missing()) is not None:
        pytest.skip(reason)
    with ExitStack() as stack:
        with ApacheBroker(tmp_path / "data") as broker:
            address, port = broker.address, int(broker.address.rpartition(":")[2])
            transport = KafkaTransport(address)
            transport.ensure_topics([Topic(TOPIC, 1)])
            settings = Settings(kafka=address)
            publish(transport, event(0), event(1))
            kinds = {
                "plain": Listener(settings),
                "async": Listener(settings, is_asynchronous=True),
                "group": Listener(settings, group="alarms"),
            }
            for each in kinds.values():
                stack.callback(each.close)
            assert eventually(lambda: all(len(k.seen) == 2 for k in kinds.values()), 40)
            os.kill(server_of(broker), signal.SIGKILL)
        assert eventually(lambda: all("waiting for Kafka" in " ".join(k.said) for k in kinds.values()), 60)
        assert all(k.subscription.awaited.startswith(f"Kafka at {address} since") for k in kinds.values())
        with ApacheBroker(tmp_path / "data", port=port):
            publish(KafkaTransport(address), event(2), event(3))
            assert eventually(lambda: all(len(k.seen) == 4 for k in kinds.values()), 60)
            time.sleep(1.0)
            for name, each in kinds.items():
                assert each.seen == [event(n) for n in range(4)], name
                assert any("is back, after" in line for line in each.said), name
                each.close()


def test_listeners_make_no_topics_and_begin_with_the_first_event_of_one_that_comes(
    quick, embedded_broker, topics_prefix
):
    settings = Settings(kafka=embedded_broker.address, topics=TopicSettings(prefix=topics_prefix))
    listeners = [Listener(settings), Listener(settings, group=topics_prefix)]
    try:
        assert eventually(lambda: all("does not exist (yet)" in " ".join(each.said) for each in listeners))
        transport = KafkaTransport(embedded_broker.address)
        assert all("which does not exist" in each.subscription.awaited for each in listeners)
        assert not transport.existing([settings.topics.events])
        transport.ensure_topics([Topic(settings.topics.events, 1)])
        publish(transport, event(0), topic=settings.topics.events)
        assert eventually(lambda: all(each.seen == [event(0)] for each in listeners))
    finally:
        for each in listeners:
            each.close()
