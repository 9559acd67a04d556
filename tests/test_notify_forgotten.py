"""What is forgotten before it is told is told to nobody, and the ledger says so."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace

import pytest
import redis

from consumers.forgetting import ForgottenBook
from consumers.notifying.attaching import Attachments
from consumers.notifying.plan import Again
from consumers.notifying.withheld import Withheld, is_withheld
from consumers.notifying.words import describe
from consumers.records.delivery import Delivery
from consumers.records.event import Event
from consumers.records.forgotten import Forgotten
from consumers.settings import Settings
from consumers.topics import ensure_topic_of_forgotten
from stream.services import Service
from tests.notifiers import notifying
from tests.receivers import Answer, Receiver
from tests.snapshots import event
from tests.test_notifier import Site
from tests.test_notify_plan import HOUR, MINUTE, NOW_US, SECOND, Desk
from tests.waiting import eventually


def stretch(camera: str, from_us: int, to_us: int) -> Forgotten:
    return Forgotten(camera, from_us, to_us, NOW_US, "ana", "request 17")


def around(report: Event) -> Forgotten:
    return stretch(report.camera, report.start_us - 1, report.end_us + 1)


class ForgettingDesk(Desk):
    """One whose camera's time can be forgotten."""

    def __init__(self, **channel: object) -> None:
        super().__init__(**channel)
        self.withheld = Withheld()

    def report(self, *events: Event) -> list[Delivery]:
        found = []
        for each in events:
            self.withheld.note(each)
            entries = self.plan.entries(each, self.now, self.ledger, self.now)
            found += self.write(self.withheld.begun(entries, self.now))
        return found

    def forget(self, *stretches: Forgotten) -> list[Delivery]:
        for each in stretches:
            self.withheld.book.put(each)
        return self.entries()

    def entries(self, busy: Iterable[str] = ()) -> list[Delivery]:
        channels = {"ops": self.channel}
        return self.write(self.withheld.entries(self.ledger, channels, frozenset(busy), self.now))

    def next(self, busy: Iterable[str] = ()) -> list[Delivery]:
        return [each for each in super().next(busy) if self.withheld.may_go(each, self.ledger)]


def seen(camera: str, second: int = 0) -> Event:
    return event(camera, at_us=NOW_US - 60 * SECOND + second * SECOND)


def test_a_message_that_waits_is_withheld_and_the_others_are_sent():
    desk, gone, kept = ForgettingDesk(), seen("gate"), seen("dock")
    desk.report(gone, kept)
    (entry,) = desk.forget(around(gone))
    assert (entry.state, entry.why, entry.event) == ("failed", "forgotten", gone.id)
    assert "as ana asked" in (entry.detail or "")
    assert is_withheld(entry)
    assert [each.event for each in desk.next()] == [kept.id]
    assert desk.entries() == []
    assert desk.again().knows(entry.id)  # whoever goes on with the ledger sends it neither
    assert not any(each.event == gone.id for each in desk.again().open("ops"))


def test_of_what_is_forgotten_the_ledger_keeps_only_what_tells_which_stretch_it_is_of_and_words_tell_nothing():
    desk, gone = ForgettingDesk(), replace(seen("gate"), group="yard")
    desk.report(gone)
    (entry,) = desk.forget(around(gone))
    assert "group" not in entry.message["data"]
    assert "gate" not in describe(replace(entry, detail=None))
    key, _, value = entry.encode()
    assert Delivery.decode(key, value, "deliveries[0]@0") == entry


def test_a_report_that_comes_later_of_that_time_is_withheld_and_takes_no_place_within_the_hour():
    desk, gone = ForgettingDesk(per_hour=1), seen("gate")
    desk.forget(around(gone))
    assert [(e.state, e.why) for e in desk.report(gone)] == [("failed", "forgotten")]
    assert [e.state for e in desk.report(seen("dock"))] == ["queued"]


@pytest.mark.parametrize("channel", [{"per_hour": 1}, {"unanswered_minutes": 5}], ids=["rate", "unanswered"])
def test_what_is_held_back_is_withheld_too(channel: dict[str, object]):
    desk, first, gone = ForgettingDesk(**channel), seen("dock"), seen("gate")
    desk.report(first, gone)
    (entry,) = desk.forget(around(gone))
    assert (entry.event, entry.why) == (gone.id, "forgotten")
    desk.due(2 * HOUR)
    assert gone.id not in {each.event for each in desk.ledger.open("ops")}


def test_what_is_tried_again_is_withheld_and_what_is_being_sent_waits_for_its_outcome():
    desk, gone = ForgettingDesk(), seen("gate")
    (queued,) = desk.report(gone)
    desk.withheld.book.put(around(gone))
    assert desk.entries(busy=[queued.id]) == []
    desk.came(queued, Again("http_503", "HTTP 503"))
    assert [e.why for e in desk.entries()] == ["forgotten"]


def test_all_reports_of_an_event_are_withheld_where_one_is_of_the_stretch():
    desk, begun = ForgettingDesk(states=["started", "ended"]), seen("gate")
    desk.report(begun)
    ended = replace(begun, state="ended", revision=1, end_us=begun.end_us + 20 * SECOND, ending="gap")
    desk.forget(stretch("gate", begun.end_us + 10 * SECOND, begun.end_us + 15 * SECOND))
    desk.report(ended)
    assert [e.message["data"]["state"] for e in desk.entries()] == ["started"]
    assert list(desk.ledger.open("ops")) == []


def test_a_summary_is_sent_without_what_is_forgotten_of_it():
    desk = ForgettingDesk(per_hour=1)
    gone, kept = [seen("gate", n) for n in range(2)], [seen("dock", n) for n in range(3)]
    desk.report(seen("first"), *gone, *kept)
    desk.next()
    (summary,) = [e for e in desk.due(61 * MINUTE) if e.kind == "summary"]
    assert summary.message["data"]["held"] == 5
    (changed,) = [e for e in desk.forget(*map(around, gone)) if e.kind == "summary"]
    data = changed.message["data"]
    assert (changed.id, changed.state, changed.why) == (summary.id, "retrying", "forgotten")
    assert data["counts"] == [{"camera": "dock", "label": "fight", "events": 3}]
    assert (data["held"], {each["event"] for each in data["events"]}) == (3, {each.id for each in kept})
    assert [each for each in desk.entries() if each.kind == "summary"] == []
    assert [each.message["data"]["held"] for each in desk.next() if each.kind == "summary"] == [3]
    # Also by whoever reads the ledger anew.
    again, channels = desk.again(), {"ops": desk.channel}
    assert [e for e in desk.withheld.entries(again, channels, (), desk.now) if e.kind == "summary"] == []
    (last,) = [e for e in desk.forget(*map(around, kept)) if e.kind == "summary"]
    assert (last.state, last.why) == ("failed", "forgotten")


def test_a_summary_of_which_nobody_knows_what_it_is_made_of_is_withheld_as_a_whole(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("consumers.notifying.ledger._COVERED", 1)
    desk = ForgettingDesk(per_hour=1)
    desk.report(seen("first"), seen("gate"), seen("dock"))
    desk.due(61 * MINUTE)
    (summary,) = [e for e in desk.forget(around(seen("gate"))) if e.kind == "summary"]
    assert (summary.state, summary.why) == ("failed", "forgotten")


def test_a_picture_that_shows_what_is_forgotten_is_not_attached(topics_prefix: str, redis_url: str):
    with redis.Redis.from_url(redis_url) as client:
        client.set(f"{topics_prefix}:strip:a-0", b"RIFF\0\0\0\0WEBP")
    ops = {"url": "http://127.0.0.1/", "pictures": "inline"}
    settings = Settings.model_validate({"redis": redis_url, "channels": {"ops": ops}})
    report = seen("gate")
    frames = ["2026-11-28T09:00:00.000000Z", "2026-11-28T09:00:04.000000Z"]
    strip = {"key": f"{topics_prefix}:strip:a-0", "frames": frames}
    entry = Delivery.about(report, "ops", now_us=NOW_US, expires_us=NOW_US + HOUR)
    data = {**entry.message["data"], "pictures": {"strip": strip, "peak": None, "missing": {}}}
    entry = replace(entry, message={**entry.message, "data": data})
    assert "strip" in Attachments(settings, ForgottenBook()).of(entry)[1]
    begin_us = NOW_US - HOUR
    book = ForgottenBook([stretch("gate", begin_us - 1, begin_us + SECOND)])
    message, pictures = Attachments(settings, book).of(entry)
    assert pictures == {}
    assert message.message["data"]["pictures"]["strip"]["not_inline"]["reason"] == "forgotten"


def test_a_notifier_hears_of_what_is_forgotten_while_its_messages_wait(broker: Service, topics_prefix: str):
    answers = [Answer(503, {"retry-after": "3600"})]
    with Receiver(lambda number, _: answers[number] if number < len(answers) else Answer()) as receiver:
        site = Site(broker.address, topics_prefix, url=receiver.url)
        now_us = time.time_ns() // 1000
        gone, late = event("gate", at_us=now_us - 40 * SECOND), event("gate", at_us=now_us - 39 * SECOND)
        with notifying(site.settings) as notifier:
            site.send(gone)
            assert eventually(lambda: notifier.counts["retrying"] == 1)
            ensure_topic_of_forgotten(site.transport, site.settings.topics)
            producer = site.transport.producer()
            producer.send(site.settings.topics.forgotten, *around(gone).encode())
            producer.flush()
            assert eventually(lambda: notifier.counts["withheld"] == 1)
            site.send(late)
            assert eventually(lambda: notifier.counts["withheld"] == 2)
            assert notifier.summary == "1 queued, 1 retrying, 2 withheld"
        with notifying(site.settings) as notifier:  # whoever works next knows, too
            site.send(replace(gone, state="ended", revision=1, ending="gap"), replace(late, id="ab" * 12))
            assert eventually(lambda: notifier.counts["withheld"] >= 1)
    assert len(receiver.requests) == 1
    assert {(e.event, e.why) for e in site.entries() if e.state == "failed"} >= {
        (gone.id, "forgotten"),
        (late.id, "forgotten"),
    }
