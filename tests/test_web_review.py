"""Going through many events: verdicts on several at once, what one has not judged oneself, and a month at a glance."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

pytest.importorskip("fastapi")

from consumers.records.verdict import Verdict
from consumers.verdicts.book import seen_by, stored_verdicts
from consumers.web.credentials import token_hash
from consumers.web.memory.newest import Newest
from consumers.web.review.days import days_of
from stream.services import Service
from tests.dashboards import Site, event, ids, now_us, of, problem, ready, served, settings_of
from tests.waiting import eventually

DAY_US = 86_400_000_000


def verdict(number: int, answer: str, by: str | None, channel: str | None = None) -> Verdict:
    return Verdict(f"a{number}", answer, "ev", "gate-1", "fight", 0, 1, number, channel, by=by)  # type: ignore[arg-type]


def test_whoever_has_judged_by_hand_has_seen_it_until_it_is_taken_back():
    ana, bo = verdict(1, "right", "ana"), verdict(2, "false", "bo")
    assert seen_by([ana, bo, verdict(3, "right", None, "ops"), verdict(4, "right", None)]) == {"ana", "bo"}
    assert seen_by([ana, verdict(5, "withdrawn", "bo"), bo]) == {"bo"}


def test_days_begin_where_somebody_is_also_when_clocks_change():
    berlin = days_of("2026-10", "Europe/Berlin")
    assert (berlin.to_us - berlin.from_us) == 31 * DAY_US + 3_600_000_000
    assert berlin.of(berlin.from_us) == "2026-10-01"
    assert berlin.of(berlin.from_us - 1) == "2026-09-30"
    assert berlin.of(berlin.to_us - 1) == "2026-10-31"
    assert days_of("2026-12", "UTC").to_us == days_of("2027-01", "UTC").from_us
    for wrong in ("Europe", "Nowhere/Land", "../etc/passwd", "/etc/localtime"):
        with pytest.raises(ValueError, match="no zone"):
            days_of("2026-10", wrong)


def test_what_stands_between_two_times_is_found():
    kept: Newest[int] = Newest(room=100)
    for number in (5, 3, 9, 7, 1):
        kept.put(f"{number:x}", number, number, heard_us=number)
    assert list(kept.between(3, 9)) == [3, 5, 7]
    assert list(kept.between(10, 20)) == []


def test_several_events_are_judged_at_once_each_with_who_did_it(embedded_broker: Service, topics_prefix: str):
    tokens = {
        "ana": {"hash": token_hash("ana"), "role": "admin"},
        "bo": {"hash": token_hash("bo"), "role": "operator", "cameras": ["dock*"]},
        "cy": {"hash": token_hash("cy")},
    }
    site = Site(settings_of(embedded_broker.address, topics_prefix, tokens=tokens))
    events = [event(number, "dock" if number % 2 else "gate-1") for number in range(6)]
    site.events(*events)
    with served(site.settings, Authorization="Bearer ana") as (client, desk):
        ready(desk)

        def give(answer: str, *names: str, who: str = "ana"):
            body = {"events": list(names), "answer": answer}
            return client.post("/verdicts/batch", json=body, headers={"Authorization": f"Bearer {who}"})

        found = give("false", *of(events[:3]), events[0].id, "0" * 24).json()
        assert [each["event"] for each in found["items"]] == of(events[:3])
        assert {each["by"] for each in found["items"]} == {"ana"}
        assert found["left_out"] == [{"event": "0" * 24, "why": "it is not kept"}]
        assert ids(client.get("/events?verdict=false")) == of(events[2::-1])
        assert [each.event for each in stored_verdicts(site.transport, site.topics)] == of(events[:3])
        audit = client.get("/audit").json()["items"]
        assert sorted(each["subject"] for each in audit) == sorted(of(events[:3]))
        # Whoever sees some cameras only judges those; others are not there.
        found = give("right", *of(events[:2]), who="bo").json()
        assert [each["event"] for each in found["items"]] == [events[1].id]
        problem(give("right", events[0].id, who="bo"), 404, "not-found")
        problem(give("right", events[0].id, who="cy"), 403, "role")
        # One takes back what was said by hand, and nothing else.
        found = give("withdrawn", *of(events)).json()
        assert [each["event"] for each in found["items"]] == of(events[:3])
        assert len(found["left_out"]) == 3
        assert ids(client.get("/events?verdict=none")) == of(events[::-1])
        problem(give("withdrawn", events[5].id), 409, "nothing-to-withdraw")
        problem(give("right", "1" * 24), 404, "not-found")
        problem(give("right"), 422, "invalid")
        problem(give("right", *(f"{number:024x}" for number in range(101))), 422, "invalid")


def test_unseen_by_me_is_what_i_have_not_judged_whatever_others_said(embedded_broker: Service, topics_prefix: str):
    tokens = {name: {"hash": token_hash(name), "role": "operator"} for name in ("ana", "bo")}
    site = Site(settings_of(embedded_broker.address, topics_prefix, tokens=tokens))
    events = [event(number) for number in range(3)]
    site.events(*events)
    with served(site.settings, Authorization="Bearer ana") as (client, desk):
        ready(desk)
        bo = {"Authorization": "Bearer bo"}
        client.post("/verdicts", json={"event": events[0].id, "answer": "right"})
        client.post("/verdicts", json={"event": events[1].id, "answer": "false"}, headers=bo)
        assert ids(client.get("/events?unseen_by=me")) == of([events[2], events[1]])
        assert ids(client.get("/events?unseen_by=me", headers=bo)) == of([events[2], events[0]])
        assert ids(client.get("/events?verdict=none")) == [events[2].id]
        client.post("/verdicts", json={"event": events[0].id, "answer": "withdrawn"})
        assert len(ids(client.get("/events?unseen_by=me"))) == 3
        problem(client.get("/events?unseen_by=bo"), 422, "invalid")


def test_a_month_is_counted_by_day_of_those_that_are_wanted(
    embedded_broker: Service, topics_prefix: str, monkeypatch: pytest.MonkeyPatch
):
    tokens = {
        "ana": {"hash": token_hash("ana"), "role": "operator"},
        "bo": {"hash": token_hash("bo"), "cameras": ["dock"]},
    }
    site = Site(settings_of(embedded_broker.address, topics_prefix, tokens=tokens))
    # 08:00 in UTC on the 24th, a Monday; 23:30 is the next day in Berlin.
    first = [event(number) for number in range(3)]
    late = event(15 * 3600 + 1800, "dock", severity="detection")
    site.events(*first, late, event(40 * 86_400))
    with served(site.settings, Authorization="Bearer ana") as (client, desk):
        ready(desk)
        client.post("/verdicts", json={"event": first[0].id, "answer": "right"})
        answer = client.get("/events/calendar?month=2025-11")
        day = {"day": "2025-11-24", "alerts": 3, "detections": 1, "unjudged": 3}
        assert answer.json()["days"] == [day]
        again = client.get("/events/calendar?month=2025-11", headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304
        there = client.get("/events/calendar?month=2025-11&time_zone=Europe/Berlin").json()["days"]
        assert [(each["day"], each["alerts"], each["detections"]) for each in there] == [
            ("2025-11-24", 3, 0),
            ("2025-11-25", 0, 1),
        ]
        assert client.get("/events/calendar?month=2025-11&verdict=right").json()["days"][0]["alerts"] == 1
        mine = client.get("/events/calendar?month=2025-11", headers={"Authorization": "Bearer bo"}).json()["days"]
        assert mine == [{"day": "2025-11-24", "alerts": 0, "detections": 1, "unjudged": 1}]
        assert client.get("/events/calendar?month=2025-10").json()["days"] == []
        for wrong in ("month=2025-13", "month=2025-11&limit=3", ""):
            problem(client.get(f"/events/calendar?{wrong}"), 422, "invalid")
        problem(client.get("/events/calendar?month=2025-11&time_zone=Mars"), 404, "no-such-zone")
        # Why there may be more is said.
        with monkeypatch.context() as patched:
            feeds = desk.view.feeds()
            unread = replace(feeds["forgotten"], is_begun=False, is_missing=False)
            patched.setattr(desk.view, "feeds", lambda: {**feeds, "forgotten": unread})
            body = client.get("/events/calendar?month=2025-11").json()
            assert body["waiting"] == f"what is on {site.topics.forgotten} is still being read"
            assert body["waiting_told"] == {"code": "reading", "values": {"topic": site.topics.forgotten}}
        # It counts what comes.
        site.events(replace(event(4), id="f" * 24))
        assert eventually(lambda: client.get("/events/calendar?month=2025-11").json()["days"][0]["alerts"] == 4)


def test_a_full_view_is_counted_in_no_time(embedded_broker: Service, topics_prefix: str):
    site = Site(settings_of(embedded_broker.address, topics_prefix))
    with served(site.settings) as (client, desk):
        ready(desk)
        with desk.view._intake.lock:
            for number in range(20_000):
                each = event(number)
                desk.view._intake.events.put(each.id, each.start_us, each, now_us())
        began = time.process_time()
        assert sum(each["alerts"] for each in client.get("/events/calendar?month=2025-11").json()["days"]) == 20_000
        assert time.process_time() - began < 2
