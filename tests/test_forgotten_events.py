"""Events that go on into a forgotten stretch are known by their ids, also once their reports are gone."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import redis

pytest.importorskip("fastapi")

from consumers.forgetting import ForgottenBook, book, read_forgotten
from consumers.forgetting.report import event_notes
from consumers.forgetting.search import what_is_held
from consumers.notifying.by_hand import Wanted, newest_entries
from consumers.outputs.redis.check import redis_differences
from consumers.outputs.redis.projection import RedisProjection
from consumers.records.delivery import Delivery
from consumers.records.event import Event
from consumers.records.fields import RecordError
from consumers.records.forgotten import MAX_EVENTS, Forgotten
from consumers.records.verdict import Verdict
from consumers.settings import Settings
from consumers.subscribing.reader import stored_events
from consumers.subscribing.subscription import subscribe
from consumers.topics import (
    ensure_topic_of_deliveries,
    ensure_topic_of_forgotten,
    ensure_topic_of_verdicts,
    ensure_topics,
)
from consumers.verdicts.by_hand import listed_verdicts
from stream import MemoryTransport
from stream.services import Service
from tests.dashboards import Site, ended, event, ids, problem, ready, served, settings_of
from tests.test_forgetting import BEGIN_US, FROM_US, SECOND_US, TO_US, ask, rows_of, run, seen_event, stretch

#: Its first report ends before the stretch, its last one within.
REACHES = event(2, "gate", start_us=FROM_US - SECOND_US, end_us=FROM_US - 1, peak_us=FROM_US - SECOND_US)
KEPT = seen_event(1)
#: Given and sent when nobody knew that the event would go on into the stretch.
EARLY = Verdict("e" * 24, "right", REACHES.id, "gate", "fight", REACHES.start_us, REACHES.end_us, 5, None)
TOLD = Delivery.about(REACHES, "ops", now_us=BEGIN_US, expires_us=BEGIN_US + SECOND_US)


def judged(report: Event) -> Verdict:
    return Verdict("f" * 24, "right", report.id, report.camera, "fight", report.start_us, report.end_us, 6, None)


def about(report: Event) -> Delivery:
    return Delivery.about(report, "ops", now_us=BEGIN_US + 1, expires_us=BEGIN_US + SECOND_US)


# --- pure -------------------------------------------------------------------------------------------------------------


def test_a_stretch_keeps_the_ids_of_its_events_and_those_of_earlier_versions_have_none() -> None:
    one = replace(stretch(), events=("a", "b"), events_left_out=3)
    key, _, value = one.encode()
    assert Forgotten.decode(key, value, "here") == one
    key, _, value = stretch().encode()
    assert not {"events", "events_left_out"} & json.loads(value).keys()
    assert Forgotten.decode(key, value, "here").events == ()
    with pytest.raises(RecordError, match="here: expected events to be ids"):
        Forgotten.decode(key, json.dumps({**json.loads(value), "events": [1]}).encode(), "here")


def test_a_stretch_keeps_a_bounded_number_of_them_and_counts_the_others() -> None:
    many = {f"{number:024x}" for number in range(MAX_EVENTS + 10)}
    full = stretch().with_events(many)
    assert (len(full.events), full.events_left_out) == (MAX_EVENTS, 10)
    assert full.with_events(many) == full
    assert len(stretch().with_events(["x" * 1_000]).events) == 0
    longest = stretch().with_events(str(number).rjust(100, "\u00e4") for number in range(MAX_EVENTS))
    assert len(longest.events) == MAX_EVENTS
    assert len(longest.encode()[2]) < 1_000_000
    (line,) = event_notes([full], many)
    assert line.startswith("10 events reach beyond their stretch and could not be noted")
    # More than that, as another version may write them, are no reason to show the stretch.
    body = {**json.loads(full.encode()[2]), "events": sorted(many)}
    assert Forgotten.decode(full.key, json.dumps(body).encode(), "here").events_left_out == 20


def test_a_book_knows_events_by_their_ids_as_many_as_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    times = "gate", REACHES.start_us, REACHES.end_us
    known = ForgottenBook([stretch()])
    assert known.of(*times, REACHES.id) is None
    known.put(stretch().with_events([REACHES.id]))
    assert known.of(*times, REACHES.id) is not None
    assert known.of(*times) is None
    assert known.of(*times, KEPT.id) is None
    monkeypatch.setattr(book, "MOST_EVENTS", 1)
    known.put(stretch(from_us=FROM_US + 1).with_events(["other"]))
    assert known.events_left_out == 1
    assert known.events().keys() == {REACHES.id}


# --- readers ----------------------------------------------------------------------------------------------------------


def test_nobody_is_told_of_them_once_their_reports_are_gone() -> None:
    settings = Settings.model_validate({"topics": {"prefix": "p"}})
    topics, before = settings.topics, MemoryTransport()
    late = replace(ended(REACHES), id="1" * 24, revision=0, start_us=TO_US - 1, end_us=TO_US + SECOND_US)
    sent = {
        topics.events: [REACHES, ended(REACHES), late, seen_event(4), KEPT],
        topics.verdicts: [EARLY, judged(KEPT)],
        topics.deliveries: [TOLD, about(KEPT)],
    }
    # What is left after retention: nothing but what was told of it, and the stretch.
    after = MemoryTransport()
    for transport in (before, after):
        ensure_topics(transport, topics)
        ensure_topic_of_verdicts(transport, topics, 24)
        ensure_topic_of_deliveries(transport, topics, 24)
        ensure_topic_of_forgotten(transport, topics)

    def send(transport: MemoryTransport, names: set[str]) -> None:
        producer = transport.producer()
        for topic in names:
            for each in sent[topic]:
                producer.send(topic, *each.encode())

    send(before, sent.keys())
    send(after, {topics.verdicts, topics.deliveries})
    found = what_is_held(before, topics, ForgottenBook([stretch()]), lambda _: None)
    assert found.reaching == {REACHES.id, late.id}
    assert found.events == {REACHES.id, late.id, seen_event(4).id}
    noted = stretch().with_events(found.reaching)
    after.producer().send(topics.events, *REACHES.encode())  # late, by a worker that was behind
    after.producer().send(topics.events, *KEPT.encode())
    after.producer().send(topics.forgotten, *noted.encode())
    verdicts = listed_verdicts(after, settings, None)
    assert ([each.event for each in verdicts.verdicts], verdicts.withheld) == ([KEPT.id], 1)
    messages = newest_entries(after, settings, Wanted())
    assert [each.event for each in messages.entries] == [KEPT.id]
    assert [(each.event, gone.by) for each, gone in messages.withheld] == [(REACHES.id, "ana")]
    assert [each.id for each in stored_events(after, topics)] == [KEPT.id]
    # And what is left of it is found.
    left = {held.where: held.count for held in what_is_held(after, topics, ForgottenBook([noted]), lambda _: None).held}
    assert [left[each] for each in (topics.events, topics.verdicts, topics.deliveries)] == [1, 1, 1]


def test_a_verdict_tells_which_event_it_was_where_no_report_is_left_when_it_is_forgotten() -> None:
    settings = Settings.model_validate({"topics": {"prefix": "p"}})
    topics, transport = settings.topics, MemoryTransport()
    ensure_topic_of_verdicts(transport, topics, 24)
    ensure_topic_of_deliveries(transport, topics, 24)
    transport.producer().send(topics.deliveries, *TOLD.encode())
    transport.producer().send(topics.verdicts, *judged(ended(REACHES)).encode())
    assert what_is_held(transport, topics, ForgottenBook([stretch()]), lambda _: None).reaching == {REACHES.id}


@pytest.mark.slow
def test_apache_kafka_shows_nobody_what_was_told_of_an_event_whose_reports_it_has_removed(
    apache_broker: Service, topics_prefix: str, redis_url: str
) -> None:
    here = Site(settings_of(apache_broker.address, topics_prefix, redis_url))
    here.cameras("gate")
    here.events(REACHES, ended(REACHES))
    here.send(here.topics.verdicts, EARLY)
    here.send(here.topics.deliveries, TOLD)
    done = run(here.settings, *ask("--why", "request 17"))
    assert done.return_value == 1, done.output
    (known,) = read_forgotten(here.transport, here.topics).stretches()
    assert (known.events, known.why) == ((REACHES.id,), "request 17")
    # Again, without a reason: neither that nor the ids are lost.
    run(here.settings, *ask())
    (known,) = read_forgotten(here.transport, here.topics).stretches()
    assert (known.events, known.why) == ((REACHES.id,), "request 17")

    # While the reports are there, whoever begins before the last of them does not know it by them.
    here.events(KEPT)
    with subscribe(since="earliest", settings=here.settings) as events:
        assert next(events).id == KEPT.id
    with redis.Redis.from_url(redis_url) as client:
        with RedisProjection(lambda: here.transport, here.settings, keep=False) as projection:
            assert projection.catch_up(20)
        shown = [json.loads(fields[b"event"])["event"] for _, fields in client.xrange(f"{topics_prefix}:events")]
        assert shown == [KEPT.id]
        assert redis_differences(here.transport, here.settings) == []

    # Retention takes them, and a worker that was behind sends one once more.
    (partition, (_, end)) = next(iter(here.transport.offsets(here.topics.events).items()))
    here.transport.delete_before({partition: end})
    here.events(REACHES, KEPT)
    assert [each.id for each in stored_events(here.transport, here.topics)] == [KEPT.id]
    assert listed_verdicts(here.transport, here.settings, None).withheld == 1
    assert newest_entries(here.transport, here.settings, Wanted()).entries == []
    with served(here.settings) as (client, desk):
        ready(desk)
        assert ids(client.get("/events")) == [KEPT.id]
        for path in ("/verdicts", "/deliveries"):
            answer = client.get(path).json()
            assert (answer["items"], answer["forgotten"]) == ([], 1), path
        problem(client.get(f"/verdicts/{EARLY.id}"), 410, "forgotten")
        problem(client.get(f"/events/{REACHES.id}"), 410, "forgotten")
    left = rows_of(run(here.settings, "--check", "--json"))
    for topic in (here.topics.events, here.topics.verdicts, here.topics.deliveries):
        assert left[topic]["left"] == 1, topic
