"""What others wrote into the topics of events and deliveries, or answer, never ends the notifier or fills it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from consumers.notifying.channels import open_channel
from consumers.notifying.ledger import Ledger
from consumers.notifying.plan import Sent
from consumers.records.delivery import Delivery
from consumers.records.event import Event
from consumers.records.fields import RecordError
from consumers.records.prediction import rfc3339
from consumers.settings.sections.notifying import ChannelSettings
from stream.services import Service
from tests.notifiers import notifying
from tests.receivers import Answer, Receiver
from tests.test_notifier import Site, events
from tests.test_notify_plan import HOUR, MINUTE, NOW_US, Desk, reports
from tests.waiting import eventually

WHERE = "clipline.deliveries[0]@17"


def data(**changes: object) -> Callable[[dict[str, Any]], None]:
    return lambda body: body["message"]["data"].update(changes)


def other(kind: str, state: str, content: dict[str, object]) -> Callable[[dict[str, Any]], None]:
    return lambda body: body.update(kind=kind, state=state, message={"type": "t", "data": content}, due=rfc3339(NOW_US))


SUMMARY: dict[str, object] = {"held": 1, "reasons": {}, "counts": [], "first": "x", "last": "y"}
CONDITION: dict[str, object] = {
    "state": "started",
    "subject": "camera",
    "name": "gate",
    "status": "failed",
    "since": "2026-11-28T10:00:00Z",
    "seconds": 1,
}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (data(start="yesterday"), "start to be a time"),
        (data(start="0005-01-01T00:00:00Z"), "start to be a time"),
        (data(end="9999-12-31T23:59:59-14:00"), "end to be a time"),
        (data(rule="x" * 1024 * 1024), "at most 1048576 bytes"),
        (lambda body: body.update(delivery="x" * 65), "an id of 64 characters"),
        (data(drill=5), "drill to be of type str"),
        (lambda body: body.update(expires="0001-01-01T00:00:00+14:00"), "expires to be a time"),
        (other("test", "acknowledged", {"event": ["a"]}), "event to be of type str"),
        (other("test", "held", {}), "an event or a condition to be held, found a test"),
        (other("summary", "held", SUMMARY), "an event or a condition to be held, found a summary"),
        (other("summary", "queued", SUMMARY | {"conditions": "some"}), "conditions to be of type int"),
        (other("condition", "held", CONDITION | {"until": 5}), "until to be of type str"),
    ],
)
def test_an_entry_that_nobody_could_go_on_with_is_refused_by_name(change, named):
    (queued,) = Desk().report(*reports(1))
    key, _, value = queued.encode()
    body = json.loads(value)
    assert Delivery.decode(key, value, WHERE) == queued
    change(body)
    with pytest.raises(RecordError, match=rf"^clipline\.deliveries\[0\]@17: expected .*{named}"):
        Delivery.decode(key, json.dumps(body).encode(), WHERE)


@pytest.mark.parametrize("start", ["0001-01-01T00:00:00+14:00", "0987-01-01T00:00:00Z"])
def test_an_event_of_a_time_that_cannot_be_written_again_is_refused(start):
    (report,) = reports(1)
    key, headers, value = report.encode()
    with pytest.raises(RecordError, match="expected start to be a time"):
        Event.decode(key, headers, json.dumps({**json.loads(value), "start": start}).encode(), WHERE)


@pytest.mark.parametrize("ahead_us", [HOUR, 10**18])
def test_a_report_that_says_it_was_sent_in_the_future_is_of_use_from_now_on(ahead_us):
    desk = Desk(use_by_minutes=5)
    (report,) = reports(1)
    (queued,) = desk.plan.entries(report, NOW_US + ahead_us, Ledger(), NOW_US)
    queued.encode()
    assert queued.expires_us == NOW_US + 5 * MINUTE


def test_a_receiver_that_gives_cookies_gets_none_back():
    with Receiver(lambda n, _: Answer(headers={"Set-Cookie": f"k{n}={'x' * 1000}"})) as receiver:
        channel = open_channel("ops", ChannelSettings(url=receiver.url))
        (queued,) = Desk().report(*reports(1))
        assert [type(channel.send(queued)) for _ in range(3)] == [Sent] * 3
    assert not any("cookie" in request.headers for request in receiver.requests)


def test_a_report_of_megabytes_is_left_out_and_the_next_one_is_told(embedded_broker: Service, topics_prefix: str):
    with Receiver() as receiver:
        site = Site(embedded_broker.address, topics_prefix, url=receiver.url)
        with notifying(site.settings):
            large, small = events(2)
            key, headers, value = large.encode()
            body = json.dumps(
                {**json.loads(value), "rule": "é" * 2_200_000}, ensure_ascii=False
            )  # thrice as long escaped
            producer = site.transport.producer()
            producer.send(site.settings.topics.events, key, headers, body.encode())
            producer.flush()
            producer.close()
            site.send(small)
            assert eventually(lambda: len(receiver.requests) == 1, 15)
        assert receiver.requests[0].body["data"]["camera"] == small.camera


def test_a_summary_of_long_names_can_be_stored():
    desk = Desk(quiet="00:00-12:00")
    desk.report(*(replace(each, label=f"{n}" + "\u0001" * 20_000) for n, each in enumerate(reports(60))))
    (summary,) = desk.due(3 * HOUR)
    assert len(summary.message["data"]["counts"]) == 50
    assert len(summary.encode()[2]) < 300_000
