"""An admin has a stretch of a camera's time forgotten over the API: at once for readers, the rest when it is done."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

pytest.importorskip("fastapi")

from consumers.forgetting import serving, work
from consumers.forgetting.serving import Forgetter
from consumers.records.delivery import Delivery
from consumers.records.verdict import Verdict
from consumers.settings import Settings
from consumers.topics import ensure_topic_of_forgotten
from consumers.web.cameras.known import CameraNames
from consumers.web.credentials import token_hash
from consumers.web.desk import Desk
from stream import SourceError
from stream.services import Service
from tests.dashboards import Site, camera_state, ended, event, now_us, problem, ready, served, settings_of
from tests.footage_sites import BEGIN_US, attach
from tests.test_forgetting import FROM_US, SECOND_US, TO_US, iso, seen_event, stretch
from tests.videos import write_video
from tests.waiting import eventually

ASKED = {"from": iso(FROM_US), "to": iso(TO_US), "why": "request 17"}
GONE, KEPT = seen_event(4), seen_event(1)
TOKENS = {
    "ana": {"hash": token_hash("ana"), "role": "admin"},
    "bob": {"hash": token_hash("bob"), "role": "operator"},
    "eve": {"hash": token_hash("eve"), "role": "operator", "cameras": ["dock"]},
}


@pytest.fixture
def here(embedded_broker: Service, redis_url: str, topics_prefix: str, monkeypatch: pytest.MonkeyPatch) -> Site:
    # Nobody takes anything out of this broker.
    monkeypatch.setattr(work, "_EMBEDDED_SECONDS", 0.0)
    found = Site(settings_of(embedded_broker.address, topics_prefix, redis_url, tokens=TOKENS))
    found.cameras("gate")
    found.events(GONE, KEPT)
    return found


@contextmanager
def as_ana(here: Site) -> Iterator[tuple[httpx.Client, Desk]]:
    with served(here.settings, Authorization="Bearer ana") as (client, desk):
        ready(desk)
        yield client, desk


def over(client: httpx.Client) -> list[dict]:
    """The forgettings of the camera, once nothing is under way."""

    def asked() -> list[dict]:
        return client.get("/cameras/gate/forgettings").json()["items"]

    assert eventually(lambda: all(each["state"] in {"done", "failed"} for each in asked()), seconds=30), asked()
    return asked()


def test_what_an_admin_has_forgotten_is_shown_to_nobody_at_once_and_what_is_left_is_told_later(here: Site) -> None:
    strip = f"{here.topics.prefix}:strip:{GONE.id}-0"
    with redis.Redis.from_url(here.settings.redis) as keys, as_ana(here) as (client, _):
        keys.set(strip, b"picture")
        answer = client.post("/cameras/gate/forget", json=ASKED)
        assert (answer.status_code, answer.headers["location"]) == (202, "/api/v1/cameras/gate/forgettings")
        assert answer.json()["state"] in {"waiting", "working"}
        problem(client.get(f"/events/{GONE.id}"), 410, "forgotten")
        assert client.get(f"/events/{KEPT.id}").status_code == 200
        (told,) = over(client)
        assert (told["by"], told["why"], told["state"], told["dry_run"]) == ("ana", "request 17", "done", False)
        found = {each["where"]: each for each in told["places"]}
        report = found[here.topics.events]
        assert (report["found"], report["left"], bool(report["then"])) == (1, 1, True)
        assert [each["left"] for where, each in found.items() if ":strip:" in where] == [0]
        assert keys.exists(strip) == 0
        again = client.post("/cameras/gate/forget", json=ASKED | {"why": "once more"})
        assert (again.json()["time"], again.json()["why"]) == (told["time"], "request 17")
        entries = client.get("/audit?action=camera.forget").json()["items"]
        assert [(each["actor"], each["camera"], each["way"]) for each in entries] == [("ana", "gate", "token")]
    with as_ana(here) as (client, _):  # another server
        problem(client.get(f"/events/{GONE.id}"), 410, "forgotten")
        (known,) = client.get("/cameras/gate/forgettings").json()["items"]
        assert (known["state"], known["by"], known["left"]) == ("noted", "ana", None)


def test_what_was_said_and_sent_of_the_beginning_of_an_event_goes_with_what_came_later(here: Site) -> None:
    begun = event(0, "gate", start_us=FROM_US - SECOND_US, end_us=FROM_US - 1, peak_us=FROM_US - SECOND_US)
    over = replace(ended(begun), end_us=TO_US)
    of_begun = ("gate", "fight", begun.start_us, begun.end_us)
    verdict = Verdict("ab" * 12, "right", begun.id, *of_begun, 5, None)
    here.events(begun, over)
    here.send(here.topics.verdicts, verdict)
    here.send(here.topics.deliveries, Delivery.about(begun, "ops", now_us=FROM_US, expires_us=TO_US))
    ensure_topic_of_forgotten(here.transport, here.topics)
    with as_ana(here) as (client, desk):
        assert client.get(f"/verdicts/{verdict.id}").status_code == 200
        assert desk.view.judged("gate", "fight")
        here.send(here.topics.forgotten, stretch())
        assert eventually(lambda: len(desk.view.forgotten) == 1)
        for listed in ("/verdicts", "/deliveries"):
            told = client.get(listed).json()
            assert (told["items"], told["forgotten"]) == ([], 1), listed
        problem(client.get(f"/verdicts/{verdict.id}"), 410, "forgotten")
        assert desk.view.judged("gate", "fight") == []


def test_an_event_of_which_only_its_id_is_noted_is_said_to_be_forgotten(here: Site) -> None:
    ensure_topic_of_forgotten(here.transport, here.topics)
    here.send(here.topics.forgotten, replace(stretch(), why="request 17").with_events(["1" * 24]))
    with as_ana(here) as (client, _):
        for path in ("", "/pictures", "/pictures/peak", "/pictures/strip", "/evidence.m3u8"):
            said = problem(client.get(f"/events/{'1' * 24}{path}"), 410, "forgotten")
            assert said["forgotten"]["why"] == "request 17", path
            problem(client.get(f"/events/{'2' * 24}{path}"), 404, "not-found")
        for path in ("/bundle", "/shares"):
            problem(client.post(f"/events/{'1' * 24}{path}", json={}), 410, "forgotten")
        problem(client.post("/verdicts", json={"event": "1" * 24, "answer": "false"}), 410, "forgotten")
        both = {"events": ["1" * 24, KEPT.id], "answer": "false"}
        (left_out,) = client.post("/verdicts/batch", json=both).json()["left_out"]
        assert (left_out["event"], "as ana asked" in left_out["why"]) == ("1" * 24, True)
        problem(client.post("/verdicts/batch", json={**both, "events": ["1" * 24]}), 410, "forgotten")
    # Whoever may not see the camera learns nothing of it.
    with served(here.settings, Authorization="Bearer eve") as (client, desk):
        ready(desk)
        problem(client.get(f"/events/{'1' * 24}"), 404, "not-found")


def test_events_that_reach_beyond_a_stretch_are_noted_with_it(here: Site) -> None:
    begun = event(0, "gate", start_us=FROM_US - SECOND_US, end_us=FROM_US - 1, peak_us=FROM_US - SECOND_US)
    here.events(begun, replace(ended(begun), end_us=TO_US))
    with as_ana(here) as (client, desk):
        for _ in range(2):  # once more, it is the same
            assert client.post("/cameras/gate/forget", json=ASKED).status_code == 202
            (told,) = over(client)
            assert (told["state"], told["notes"]) == ("done", [])
            assert eventually(lambda: desk.view.forgotten.events().keys() == {begun.id})
        (noted,) = desk.view.forgotten.stretches()
        assert (noted.by, noted.why) == ("ana", "request 17")


def test_a_dry_run_tells_what_would_go_and_notes_nothing(here: Site) -> None:
    with as_ana(here) as (client, _):
        assert client.post("/cameras/gate/forget", json=ASKED | {"dry_run": True}).status_code == 202
        (told,) = over(client)
        assert (told["dry_run"], told["state"], told["left"]) == (True, "done", None)
        (report,) = told["places"]
        assert (report["where"], report["found"], report["left"]) == (here.topics.events, 1, None)
        assert report["then"].startswith("would not be shown, and there until ")
        assert client.get(f"/events/{GONE.id}").status_code == 200
        assert client.get("/audit?action=camera.forget").json()["items"] == []
    assert not here.transport.existing([here.topics.forgotten])


def test_who_may_not_and_what_cannot_be_forgotten_is_refused(here: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with as_ana(here) as (client, desk):
        operator = {"Authorization": "Bearer bob"}
        problem(client.post("/cameras/gate/forget", json=ASKED, headers=operator), 403, "role")
        problem(client.get("/cameras/gate/forgettings", headers=operator), 403, "role")
        problem(client.post("/cameras/dock/forget", json=ASKED), 404, "not-found")
        now = time.time_ns() // 1000
        for changed in ({"from": 5}, {"why": "x" * 501}, {"cam": "gate"}, {"dry_run": "yes"}):
            problem(client.post("/cameras/gate/forget", json=ASKED | changed), 422, "invalid")
        for until_us, why in ((FROM_US, "empty-stretch"), (now, "too-recent")):
            problem(client.post("/cameras/gate/forget", json=ASKED | {"to": iso(until_us)}), 409, why)
        monkeypatch.setattr(serving, "_MOST_WAITING", 0)
        refused = client.post("/cameras/gate/forget", json=ASKED)
        problem(refused, 503, "busy")
        assert int(refused.headers["retry-after"]) > 0
        assert len(desk.view.forgotten) == 0
    assert not here.transport.existing([here.topics.forgotten])


def test_of_many_that_ask_at_once_some_are_refused_and_the_same_is_noted_once(
    here: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes = threading.Event()

    def work_on(*_: object) -> None:
        assert goes.wait(30)
        raise SourceError("nothing is looked for here")

    monkeypatch.setattr(Forgetter, "_worked_on", work_on)
    with as_ana(here) as (client, desk), ThreadPoolExecutor(14) as pool:

        def ask(second: int) -> int:
            asked = ASKED | {"from": iso(FROM_US - second * 1_000_000)}
            return client.post("/cameras/gate/forget", json=asked).status_code

        assert Counter(pool.map(ask, range(14))) == {202: 8, 503: 6}
        goes.set()
        over(client)
        assert set(pool.map(ask, [60] * 7)) == {202}
        entries = client.get("/audit?action=camera.forget").json()["items"]
        assert (len(entries), len(desk.view.forgotten)) == (9, 9)


def test_a_broker_that_hangs_is_said_to_and_noting_goes_on_when_it_answers(
    here: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answers = Counter[str](), threading.Event()

    def ensure(*given: Any) -> None:
        asked["topic"] += 1
        assert answers.wait(30)
        ensure_topic_of_forgotten(*given)

    monkeypatch.setattr(serving, "ensure_topic_of_forgotten", ensure)
    monkeypatch.setattr(serving, "_PREPARE_SECONDS", 0.2)
    with as_ana(here) as (client, desk):
        for _ in range(2):
            refused = client.post("/cameras/gate/forget", json=ASKED)
            said = problem(refused, 503, "service-away")["detail"]
            assert said.startswith("Kafka at 127.0.0.1:")
            assert "has not answered for 0.2 s" in said
            assert refused.headers["retry-after"] == "30"
        assert asked["topic"] == 1
        # Whoever changes something else does not wait for it.
        assert client.post("/verdicts", json={"event": KEPT.id, "answer": "right"}).status_code == 201
        answers.set()
        monkeypatch.setattr(serving, "_PREPARE_SECONDS", 20.0)
        assert client.post("/cameras/gate/forget", json=ASKED).status_code == 202
        assert len(desk.view.forgotten) == 1


def test_what_could_not_be_looked_for_says_why() -> None:
    settings = Settings.model_validate({"kafka": "127.0.0.1:1", "redis": "redis://127.0.0.1:1/0"})
    with Forgetter(settings) as forgetter:
        forgetter.put(stretch(), dry_run=False)
        assert eventually(lambda: forgetter.jobs("gate")[0].state == "failed")
        (job,) = forgetter.jobs("gate")
    assert "127.0.0.1:1" in (job.why or "")
    assert forgetter.jobs("dock") == []


def test_of_a_camera_that_has_gone_can_be_asked_and_forgotten_what_it_left_behind(
    here: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = now_us() - 3600 * 1_000_000
    over = camera_state("gate", "ended")
    here.send(here.topics.cameras_state, replace(over, time_us=gone, feed=replace(over.feed, since_us=gone)))
    attach(here.settings, write_video(tmp_path / "yard.mp4", 40, rate=10, gop=10, size=(64, 48)), "yard", BEGIN_US)
    when = {"from": iso(BEGIN_US), "to": iso(BEGIN_US + 10_000_000)}
    with as_ana(here) as (client, desk):
        problem(client.get("/cameras/gate"), 404, "not-found")
        # Of the other one nothing is left but what the index of segments says.
        known = desk.view.has_heard_of
        monkeypatch.setattr(desk.view, "has_heard_of", lambda camera: camera == "gate" and known(camera))
        for camera, asked in (("gate", ASKED), ("yard", ASKED | when)):
            for path in ("predictions", "footage", "rules", "forgettings"):
                params = when if path in {"predictions", "footage"} else {}
                assert client.get(f"/cameras/{camera}/{path}", params=params).status_code == 200, (camera, path)
            played = client.get(f"/cameras/{camera}/recorded.m3u8", params=when)
            assert (played.status_code, "is known" in played.text) == (200 if camera == "yard" else 404, False)
            assert client.post(f"/cameras/{camera}/forget", json=asked).status_code == 202
            (told,) = client.get(f"/cameras/{camera}/forgettings").json()["items"]
            assert told["why"] == "request 17"
        for path in ("forgettings", "footage", "rules"):
            assert "is known" in problem(client.get(f"/cameras/nobody/{path}"), 404, "not-found")["detail"]


def test_of_very_many_cameras_the_names_that_were_heard_last_are_kept() -> None:
    names = CameraNames(most=2)
    for camera in ("gate", "dock", "gate", "yard"):
        names.note(camera)
    assert [each in names for each in ("gate", "dock", "yard")] == [True, False, True]
