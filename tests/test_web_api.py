"""The HTTP API: what is on the topics and in Redis, in pages, each as it is now."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace

import httpx
import pytest

pytest.importorskip("fastapi")

from consumers.outputs import follower as following
from consumers.outputs.redis.connection import open_redis
from consumers.pictures.store import picture_key
from consumers.records.delivery import Delivery
from consumers.records.event_pictures import EventPictures, Missing, StoredPicture
from consumers.records.prediction import Prediction
from consumers.records.states.process import ProcessInfo
from consumers.records.states.worker_state import WorkerCamera, WorkerState
from consumers.records.verdict import Verdict
from consumers.rules.topic import RulesTopic
from consumers.rules.version import RulesVersion
from consumers.settings import RuleSettings, TrackerSettings
from consumers.verdicts.book import judged_events, stored_verdicts
from consumers.web.memory.newest import Newest
from stream import drill_id
from stream.services import EmbeddedBroker, Service
from tests.dashboards import (
    BEGIN_US,
    SECOND_US,
    Site,
    ended,
    event,
    ids,
    now_us,
    of,
    problem,
    ready,
    served,
    settings_of,
)
from tests.waiting import eventually

# --- what is kept -----------------------------------------------------------------------------------------------------


def test_of_things_that_come_in_any_order_the_newest_come_first_and_pages_are_whole_while_more_come():
    kept: Newest[int] = Newest(room=1000)
    numbers = list(range(300))
    random.Random(7).shuffle(numbers)
    for number in numbers:
        kept.put(f"{number:x}", number, number, heard_us=number)
    found: list[int] = []
    page = kept.slice(70, lambda _: True)
    while True:
        found += page.items
        for late in range(3):
            kept.put(f"late{len(found)}{late}", 10_000 + late, -1, heard_us=0)
            kept.put(f"{len(found) % 300:x}", 9_999, len(found) % 300, heard_us=0)  # changes, and stays where it is
        if page.after is None:
            break
        page = kept.slice(70, lambda _: True, page.after)
    assert found == list(range(299, -1, -1))


def test_what_was_heard_of_longest_ago_makes_room_whatever_its_time():
    kept: Newest[str] = Newest(room=2)
    kept.put("a", 3, "a", heard_us=1)
    kept.put("b", 1, "b", heard_us=2)
    kept.put("a", 3, "a again", heard_us=3)
    assert kept.put("c", 2, "c", heard_us=4) == "b"
    assert kept.slice(9, lambda _: True).items == ("a again", "c")
    assert kept.dropped == 1
    assert list(kept.forget(before_us=4)) == ["a again"]
    assert len(kept) == 1


# --- lists ------------------------------------------------------------------------------------------------------------


def test_cameras_are_as_status_knows_them(embedded_broker: Service, topics_prefix: str):
    site = Site(settings_of(embedded_broker.address, topics_prefix))
    site.cameras("gate-1", "dock")
    with served(site.settings) as (client, desk):
        ready(desk)
        found = client.get("/cameras").json()
        assert [each["camera"] for each in found["items"]] == ["dock", "gate-1"]
        assert found["waiting"] is None
        one = client.get("/cameras/gate-1").json()
        assert (one["status"], one["why"], one["codec"], one["worker"]) == ("live", None, "h264", None)
        assert "did you" not in problem(client.get("/cameras/gate-2"), 404, "not-found")["detail"]


def test_events_are_filtered_and_each_is_its_newest_report(embedded_broker: Service, topics_prefix: str):
    site = Site(settings_of(embedded_broker.address, topics_prefix))
    one, two = event(0), event(10, "gate-2", "run", severity="detection")
    three, drill = event(20, "dock", peak_score=0.5), event(30, drill_id("gate-1", "0" * 8))
    site.events(one, two, ended(one), three, drill)
    said = Verdict("a1", "false", two.id, two.camera, two.label, two.start_us, two.end_us, now_us(), "ops")
    # Of two with one id the first counts.
    site.send(site.topics.verdicts, said, replace(said, answer="right"))
    with served(site.settings) as (client, desk):
        ready(desk)

        def found(query: str) -> list[str]:
            return ids(client.get(f"/events?{query}"))

        assert found("") == of([three, two, one])
        assert found("drills=true") == of([drill, three, two, one])
        assert found("camera=gate*") == of([two, one])
        assert found("camera=gate-1&camera=dock&label=fight") == of([three, one])
        assert found("severity=detection") == found("label=run") == found("verdict=false") == [two.id]
        assert found("verdict=none&state=started") == [three.id]
        assert found("state=ended") == [one.id]
        assert found("min_score=0.8&model=m") == of([two, one])
        assert found("from=2025-11-24T08:00:05Z") == of([three, two])
        assert found("from=2025-11-24T09:00:01%2B01:00&to=2025-11-24T08:00:10Z") == [one.id]
        body = client.get(f"/events/{one.id}").json()
        assert body == {**ended(one).body(), "revision": 1, "drill": None, "verdict": None, "pictures": None}
        # What comes meanwhile is there within a moment, without another read of the topic.
        site.events(ended(three))
        assert eventually(lambda: client.get(f"/events/{three.id}").json()["state"] == "ended")


def test_pages_lead_through_all_events_each_once_also_while_more_come(embedded_broker: Service, topics_prefix: str):
    site = Site(settings_of(embedded_broker.address, topics_prefix))
    events = [event(number, f"gate-{number % 3}") for number in range(230)]
    site.events(*events)
    with served(site.settings) as (client, desk):
        ready(desk)
        found, query = [], "limit=50"
        for page in range(5):
            answer = client.get(f"/events?{query}")
            found += ids(answer)
            site.events(event(1000 + page))
            query = f"limit=50&cursor={answer.json()['next']}"
        assert answer.json()["next"] is None
        assert found == of(events[::-1])
        for wrong in ("limit=501", "limit=0", "cursor=%00", "what=ever", "from=5", "severity=loud", "camera=a/b"):
            assert problem(client.get(f"/events?{wrong}"), 422, "invalid")["errors"]
        for wrong in ("cursor=xyz", "cursor=W10", "cursor=WzEsMl0", "cursor=W3RydWUsImEiXQ"):
            problem(client.get(f"/events?{wrong}"), 404, "no-such-page")


def test_whoever_has_an_answer_is_told_so_until_it_changes(embedded_broker: Service, topics_prefix: str):
    site = Site(settings_of(embedded_broker.address, topics_prefix))
    site.events(event(0))
    with served(site.settings) as (client, desk):
        ready(desk)
        for path in ("/events", f"/events/{event(0).id}", "/rules", "/verdicts"):
            first = client.get(path)
            tag = first.headers["etag"]
            assert first.headers["cache-control"] == "private, no-cache"
            for known in (tag, tag.removeprefix("W/"), f'"x", {tag}', "*"):
                again = client.get(path, headers={"If-None-Match": known})
                assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
            assert client.get(path, headers={"If-None-Match": '"other"'}).status_code == 200
        before = client.get("/events").headers["etag"]
        site.events(ended(event(0)))
        changed = {"If-None-Match": before}
        assert eventually(lambda: client.get("/events", headers=changed).status_code == 200), "it has changed"


def test_cameras_whose_names_nobody_can_ask_for_are_left_out_and_counted(embedded_broker: Service, topics_prefix: str):
    site = Site(settings_of(embedded_broker.address, topics_prefix))
    site.cameras("gate-1", "../gate 1")
    with served(site.settings) as (client, desk):
        ready(desk)
        assert [each["camera"] for each in client.get("/cameras").json()["items"]] == ["gate-1"]
        assert client.get("/health").json()["unreadable"] == 1


def test_what_has_no_room_is_left_out_and_that_is_said(embedded_broker: Service, topics_prefix: str):
    site = Site(settings_of(embedded_broker.address, topics_prefix, max_events=3))
    events = [event(number) for number in range(20)]
    site.events(*events)
    site.transport.producer().close()
    producer = site.transport.producer()
    producer.send(site.topics.events, b"gate-1", [], b"no event")
    producer.flush()
    with served(site.settings) as (client, desk):
        ready(desk)
        assert ids(client.get("/events")) == of(events[:-4:-1])
        health = client.get("/health").json()
        # Of 21 records, the newest twelve were read; one is no event, and eight found no room.
        wanted = {"left_out": 9, "records": 12, "kept": 3, "dropped": 8, "behind": 0, "away": None, "missing": False}
        assert wanted.items() <= health["topics"]["events"].items()
        assert health["unreadable"] == 1


# --- pictures, scores, rules, messages --------------------------------------------------------------------------------


def test_pictures_come_out_of_redis_and_what_is_missing_is_said(
    embedded_broker: Service, redis_url: str, topics_prefix: str
):
    site = Site(settings_of(embedded_broker.address, topics_prefix, redis_url))
    one, two = event(0), event(1)
    key = picture_key(topics_prefix, "strip", one)
    picture = StoredPicture(key, 640, 90, 9, (BEGIN_US,), (0.0, 0.0, 1.0, 1.0))
    foreign = replace(picture, key=f"{topics_prefix}:camera:gate-1")
    site.events(one, two)
    missing = Missing("retention", "it is gone")
    site.send(site.topics.pictures, EventPictures.following(one, missing, picture, 60))
    site.send(site.topics.pictures, EventPictures.following(two, foreign, foreign, 60))
    redis = open_redis(redis_url)
    redis.set(key, b"RIFF-webp", ex=60)
    redis.set(foreign.key, b"none of a picture", ex=60)
    with served(site.settings) as (client, desk):
        ready(desk)
        pictures = client.get(f"/events/{one.id}/pictures").json()
        assert client.get(f"/events/{one.id}").json()["pictures"] == pictures
        assert pictures["peak"] is None
        assert pictures["missing"] == {"peak": {"reason": "retention", "detail": "it is gone"}}
        strip = client.get(httpx.URL(str(client.base_url)).join(pictures["strip"]["href"]))
        assert (strip.content, strip.headers["content-type"]) == (b"RIFF-webp", "image/webp")
        assert "immutable" in strip.headers["cache-control"]
        newest = client.get(f"/events/{one.id}/pictures/strip")
        assert newest.headers["cache-control"] == "private, no-cache", "the next report has another one"
        known = {"If-None-Match": newest.headers["etag"]}
        assert client.get(f"/events/{one.id}/pictures/strip", headers=known).status_code == 304
        problem(client.get(f"/events/{one.id}/pictures/strip?revision=7"), 404, "not-found")
        assert "it is gone" in problem(client.get(f"/events/{one.id}/pictures/peak"), 404, "not-found")["detail"]
        problem(client.get(f"/events/{two.id}/pictures/strip"), 404, "not-found")
        redis.delete(key)
        assert "any more" in problem(client.get(f"/events/{one.id}/pictures/strip"), 404, "not-found")["detail"]
    with served(site.settings.model_copy(update={"redis": "redis://127.0.0.1:1/0"})) as (client, desk):
        ready(desk)
        away = client.get(f"/events/{one.id}/pictures/strip")
        problem(away, 503, "service-away")
        assert away.headers["retry-after"] == "5"
        assert eventually(lambda: client.get("/health").json()["redis"] is not None, 10)


def test_scores_of_a_camera_over_a_stretch(embedded_broker: Service, topics_prefix: str):
    site = Site(settings_of(embedded_broker.address, topics_prefix))
    site.cameras("gate-1", "gate-2")

    def scores(camera: str, number: int) -> Prediction:
        start_us = BEGIN_US + number * SECOND_US
        return Prediction(camera, BEGIN_US, number, start_us, start_us + SECOND_US, "m", {"fight": 0.25, "walk": 0.75})

    for number in range(100):
        site.send(site.topics.predictions, scores("gate-1", number), scores("gate-2", number))
        if number >= 3:
            break
    site.send(site.topics.predictions, *(scores("gate-1", number) for number in range(4, 100)))
    with served(site.settings) as (client, desk):
        ready(desk)

        def found(query: str, camera: str = "gate-1") -> tuple[list[int], bool]:
            body = client.get(f"/cameras/{camera}/predictions?{query}").json()
            return [each["window"] for each in body["items"]], body["cut"]

        stretch = "from=2025-11-24T08:00:10Z&to=2025-11-24T08:00:20Z"
        assert found(stretch) == (list(range(10, 20)), False)
        assert found(f"{stretch}&limit=3") == ([10, 11, 12], True)
        assert found("from=2025-11-24T08:00:00Z&to=2025-11-24T09:00:00Z", "gate-2") == ([0, 1, 2, 3], False)
        assert found("from=2025-11-24T08:00:20Z&to=2025-11-24T08:00:10Z") == ([], False)
        assert found("from=2025-11-23T08:00:05Z&to=2025-11-25T08:00:10Z") == (list(range(5)), True), "one day at once"
        for wrong in ("", "from=2025-11-24T08:00:00Z", f"{stretch}&limit=10001"):
            problem(client.get(f"/cameras/gate-1/predictions?{wrong}"), 422, "invalid")
        problem(client.get(f"/cameras/dock/predictions?{stretch}"), 404, "not-found")


def test_rules_and_messages_are_as_their_topics_say(embedded_broker: Service, topics_prefix: str):
    site = Site(settings_of(embedded_broker.address, topics_prefix))
    group = site.settings.worker.group
    old, new = (RulesVersion(group, since, now_us(), TrackerSettings(), rules) for since, rules in (
        (0, ()), (BEGIN_US, (RuleSettings(camera="dock-*", severity="detection"),)),
    ))  # fmt: skip
    topic = RulesTopic(site.transport, site.topics, group)
    for version in (old, new):
        topic.apply(version)
    message = Delivery.about(event(0), "ops", now_us=now_us(), expires_us=now_us() + 10**9)
    other = Delivery.about(event(1), "mail", now_us=now_us() + 1, expires_us=now_us() + 10**9)
    site.send(site.topics.deliveries, message, other, message.then("failed", now_us(), attempt=1, why="http_500"))
    with served(site.settings) as (client, desk):
        ready(desk)
        rules = client.get("/rules").json()
        assert [(each["version"], each["holds"]) for each in rules["items"]] == [
            (new.version, True),
            (old.version, False),
        ]
        assert client.get("/rules/current").json() == client.get(f"/rules/{new.version}").json()
        assert client.get(f"/rules/{old.version}").json()["rules"] == []
        problem(client.get("/rules/abc"), 404, "not-found")
        found = client.get("/deliveries").json()["items"]
        assert [(each["channel"], each["state"], each["why"]) for each in found] == [
            ("mail", "queued", None),
            ("ops", "failed", "http_500"),
        ]
        assert found[0] == json.loads(other.encode()[2])
        for query in ("state=failed", "channel=ops", f"event={event(0).id}"):
            assert [each["channel"] for each in client.get(f"/deliveries?{query}").json()["items"]] == ["ops"]


# --- verdicts ---------------------------------------------------------------------------------------------------------


def test_a_verdict_is_given_and_taken_back_and_who_did_it_is_kept(embedded_broker: Service, topics_prefix: str):
    site = Site(settings_of(embedded_broker.address, topics_prefix))
    one = event(0)
    linked = Verdict("b2", "false", one.id, one.camera, one.label, one.start_us, one.end_us, now_us(), "ops")
    site.events(one)
    site.send(site.topics.verdicts, linked)
    with served(site.settings) as (client, desk):
        ready(desk)

        def say(answer: str) -> httpx.Response:
            return client.post("/verdicts", json={"event": one.id, "answer": answer})

        def judged() -> str | None:
            return client.get(f"/events/{one.id}").json()["verdict"]

        assert judged() == "false"
        problem(say("withdrawn"), 409, "nothing-to-withdraw")
        given = say("right")
        assert given.status_code == 201
        assert (given.json()["by"], given.json()["channel"]) == ("local", None)
        assert client.get(httpx.URL(str(client.base_url)).join(given.headers["location"])).json() == given.json()
        assert judged() == "right", "at once, whenever the topic tells of it"
        assert say("withdrawn").status_code == 201
        assert judged() == "false", "what the link said counts again"
        problem(say("withdrawn"), 409, "nothing-to-withdraw")
        problem(say("snooze"), 422, "invalid")
        problem(client.post("/verdicts", json={"event": event(7).id, "answer": "right"}), 404, "not-found")
        assert [each["answer"] for each in client.get("/verdicts").json()["items"]] == ["withdrawn", "right", "false"]
        assert [each["id"] for each in client.get("/verdicts?answer=false").json()["items"]] == ["b2"]
        did = client.get("/audit").json()["items"]
        assert [(each["actor"], each["action"], each["value"]) for each in did] == [
            ("local", "verdict.withdraw", "withdrawn"),
            ("local", "verdict.give", "right"),
        ]
        assert {each["subject"] for each in did} == {one.id}
    stored = list(stored_verdicts(site.transport, site.topics))
    assert [each.answer for each in stored] == ["false", "right", "withdrawn"]
    assert judged_events(stored)[one.id].judged == "false"
    with served(site.settings) as (client, desk):
        ready(desk)
        assert len(client.get("/audit").json()["items"]) == 2, "another server reads it of the topic"
        assert judged() == "false"


# --- outages ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_broker_that_goes_away_is_said_and_all_goes_on_when_it_is_back(
    topics_prefix: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(following, "ASK_SECONDS", 0.3)
    with EmbeddedBroker(max_bytes=50_000_000) as broker:
        address = broker.address
        site = Site(settings_of(address, topics_prefix))
        site.events(event(0))
        site.cameras("gate-1")
        server = served(site.settings)
        client, desk = server.__enter__()
        ready(desk)
        assert client.get("/cameras/gate-1").json()["status"] == "live"
    try:
        assert eventually(lambda: client.get("/health").json()["broker"] is not None, 15)
        assert eventually(lambda: all(each.away for each in desk.view.feeds().values()))
        health = client.get("/health").json()
        assert health["ok"] is False
        assert health["topics"]["events"]["behind"] is None
        body = client.get("/events").json()
        assert [each["event"] for each in body["items"]] == [event(0).id], "what was read is still there"
        assert body["waiting"].startswith(f"Kafka at {address} since ")
        told = body["waiting_told"]
        assert (told["code"], told["values"]["service"], told["values"]["address"]) == ("away", "Kafka", address)
        assert told["values"]["since"][11:19] == body["waiting"].split()[-2], "the same moment, as a time"
        assert health["topics"]["events"]["away_told"] == told
        assert health["broker_told"]["values"]["address"] == address
        camera = client.get("/cameras/gate-1").json()
        assert camera["status"] == "unknown", "nobody knows whether it is live"
        assert camera["why"].startswith("waiting for Kafka")
        assert (camera["code"], camera["cause"]) == ("broker-away", None)
        fleet = client.get("/fleet").json()
        assert fleet["troubles"][0]["told"] == fleet["waiting_told"]
        away = client.post("/verdicts", json={"event": event(0).id, "answer": "right"})
        problem(away, 503, "service-away")
        assert away.json()["code"] == "broker-away"
        assert away.headers["retry-after"]
        assert client.get(f"/events/{event(0).id}").json()["verdict"] is None
        with EmbeddedBroker(port=int(address.rpartition(":")[2]), max_bytes=50_000_000):
            site = Site(site.settings)
            site.events(event(1))
            assert eventually(lambda: event(1).id in ids(client.get("/events")), 60)
            # Whoever watches the broker asks every other second.
            assert eventually(lambda: client.get("/events").json()["waiting"] is None, 10)
            answer = client.post("/verdicts", json={"event": event(1).id, "answer": "right"})
            assert answer.status_code == 201
    finally:
        server.__exit__(None, None, None)


# --- the contract -----------------------------------------------------------------------------------------------------


def test_openapi_tells_of_every_path_with_examples_and_of_no_answer_that_is_no_problem(
    embedded_broker: Service, topics_prefix: str
):
    with served(settings_of(embedded_broker.address, topics_prefix)) as (client, _):
        document = client.get("/openapi.json").json()
        assert {"/api/v1/cameras", "/api/v1/events", "/api/v1/events/stream", "/api/v1/health"} <= set(
            document["paths"]
        )
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                assert operation["description"], (method, path)
                is_login = (method, path) == ("post", "/api/v1/session") or path.startswith("/api/v1/session/")
                assert operation.get("security") == (None if is_login else [{"token": []}, {"session": []}])
                for status, answer in operation["responses"].items():
                    if status >= "400":
                        assert list(answer["content"]) == ["application/problem+json"], (method, path, status)
        assert "HTTPValidationError" not in document["components"]["schemas"]
        problem(client.get("/nothing"), 404, "not-found")
        wrong = client.delete("/verdicts")
        problem(wrong, 405, "method-not-allowed")
        assert wrong.headers["allow"] == "GET, POST"
        problem(client.post("/verdicts", content=b"x" * 70_000), 413, "too-large")
        problem(client.post("/verdicts", content=iter([b"x" * 40_000] * 2)), 413, "too-large")
        problem(client.post("/verdicts", content=b"{"), 422, "invalid")
        answer = client.post("/verdicts", content=b'{"event": "ab", "answer": "right"}')
        (said,) = problem(answer, 422, "invalid")["errors"]
        assert said == {"where": "header.content-type", "message": "send Content-Type: application/json"}
        (said,) = problem(client.post("/verdicts"), 422, "invalid")["errors"]
        assert said["where"] == "body"
        # Nobody has applied any here.
        detail = problem(client.get("/rules/current"), 404, "not-found")["detail"]
        assert "those of the settings of each worker do" in detail


def test_rules_of_a_camera_are_what_workers_go_by(embedded_broker: Service, topics_prefix: str):
    site = Site(settings_of(embedded_broker.address, topics_prefix))
    site.cameras("gate-1", "dock")
    group, at = site.settings.worker.group, "2025-11-24T08:00:00Z"
    rules = (
        RuleSettings(camera="dock", start=0.2, schedule=("mon-fri 22:00-06:00",), time_zone="Europe/Berlin"),
        RuleSettings(camera="gate*", enabled=False),
    )
    RulesTopic(site.transport, site.topics, group).apply(
        RulesVersion(group, BEGIN_US, now_us(), TrackerSettings(min_seconds=7), rules)
    )
    with served(site.settings) as (client, desk):
        ready(desk)
        before = client.get("/cameras/dock/rules?at=2025-11-24T07:59:59Z").json()
        assert before["model"].startswith("movenet-views-")
        assert [(each["label"], each["min_seconds"], each["schedule"]) for each in before["items"]] == [
            ("fight", 2.0, [])
        ]
        then = client.get(f"/cameras/dock/rules?at={at}").json()
        assert then["version"] != before["version"]
        found = then["items"][0]
        assert (found["start"], found["min_seconds"], found["schedule"], found["time_zone"]) == (
            *(0.2, 7.0),
            *(["mon-fri 22:00-06:00"], "Europe/Berlin"),
        )
        # Thresholds of the model that would contradict are lowered, as workers lower them.
        assert found["end"] <= found["start"]
        assert client.get(f"/cameras/gate-1/rules?at={at}").json()["items"] == []
        problem(client.get("/cameras/nowhere/rules"), 404, "not-found")


def test_rules_of_a_model_that_is_elsewhere_are_not_known_and_that_is_said(
    embedded_broker: Service, topics_prefix: str
):
    settings = settings_of(embedded_broker.address, topics_prefix)
    elsewhere = settings.worker.model_copy(update={"model": "/models/own.safetensors"})
    site = Site(settings.model_copy(update={"worker": elsewhere}))
    site.cameras("gate-1")
    with served(site.settings) as (client, desk):
        ready(desk)
        found = client.get("/cameras/gate-1/rules").json()
        assert (found["items"], found["model"]) == ([], None)
        assert "/models/own.safetensors" in found["why"]


def test_the_fleet_tells_agents_and_workers(embedded_broker: Service, topics_prefix: str):
    site = Site(settings_of(embedded_broker.address, topics_prefix))
    site.cameras("gate-1", "dock")
    worker = ProcessInfo("hub-worker-1", "hub", 42, "0.1.0", now_us())
    seen = WorkerCamera("gate-1", 0, 0.1, 1.5, "walk", 0.9, now_us())
    site.send(
        site.topics.workers_state,
        WorkerState(
            worker, "working", "clipline-classify", "m", "openvino", (seen,), 3, now_us(), 1, ("fight",),
            redis_behind=2, partitions=(1, 4), exactly_once=True,
        ),
    )  # fmt: skip
    with served(site.settings) as (client, desk):
        ready(desk)
        found = client.get("/fleet").json()
        agent = {"agent": "hub-agent", "state": "running", "cameras": 2, "live": 2, "disk": None}
        assert agent.items() <= found["agents"][0].items()
        wanted = {"worker": "hub-worker-1", "state": "working", "cameras": ["gate-1"], "lag": 3, "behind_seconds": 1.5}
        assert wanted.items() <= found["workers"][0].items()
        assert found["workers"][0]["alarms"] == ["fight"]
        more = {"partitions": [1, 4], "exactly_once": True, "redis_behind": 2, "lost_to_retention": None}
        assert more.items() <= found["workers"][0].items()


def test_what_is_given_twice_and_is_no_list_is_refused_and_named(embedded_broker: Service, topics_prefix: str):
    with served(settings_of(embedded_broker.address, topics_prefix)) as (client, desk):
        ready(desk)
        told = problem(client.get("/shares?event=bad&event=2"), 422, "invalid")
        assert told["errors"] == [{"where": "query.event", "message": "expected one value, found 2"}]
        # The same on whatever route.
        asked = 0
        for path, operations in client.get("/openapi.json").json()["paths"].items():
            address = re.sub(r"\{\w+\}", "a1", path.removeprefix("/api/v1"))
            for method, operation in operations.items():
                for each in operation.get("parameters", ()):
                    kinds = [each["schema"], *each["schema"].get("anyOf", ())]
                    if each["in"] != "query" or any(kind.get("type") == "array" for kind in kinds):
                        continue
                    name = each["name"]
                    body = problem(client.request(method, f"{address}?{name}=1&{name}=1&{name}=1"), 422, "invalid")
                    told = {"where": f"query.{name}", "message": "expected one value, found 3"}
                    assert told in body["errors"], (method, path)
                    asked += 1
        assert asked > 25
        assert client.get("/events?camera=gate-1&camera=dock").status_code == 200
        assert client.get("/health?twice=1&twice=2").status_code == 200, "nothing takes it"
