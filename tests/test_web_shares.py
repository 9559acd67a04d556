"""Links that show one event to whoever has them, for a while; and sessions that end where somebody logs out."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from anyio import CapacityLimiter
from typer.testing import CliRunner

pytest.importorskip("fastapi")

from consumers.cli.main import app
from consumers.forgetting import ForgottenBook
from consumers.records.access import EndedSession, Share
from consumers.records.audit import AuditEntry
from consumers.records.event_pictures import EventPictures, Missing, StoredPicture
from consumers.records.fields import RecordError
from consumers.records.forgotten import Forgotten
from consumers.records.prediction import Prediction
from consumers.settings import Settings
from consumers.topics import ensure_topic_of_access, ensure_topic_of_forgotten
from consumers.web import credentials
from consumers.web.access import COOKIE
from consumers.web.credentials import Session, token_hash
from consumers.web.scores import Scores
from consumers.web.sharing import AccessBook
from consumers.web.sharing import scores as scores_module
from consumers.web.sharing.scores import SharedScores, SharedWindow
from stream import Record
from stream.services import Service
from tests.dashboards import SECOND_US, Site, event, now_us, problem, ready, served, settings_of
from tests.footage_sites import BEGIN_US, attach, entries, footage_settings
from tests.videos import write_video
from tests.waiting import eventually

PASSWORD = "correct horse"
SECRET = "no-one-will-guess-this-one"
TOKENS = {
    "ana": {"role": "operator"},
    "bo": {"role": "operator"},
    "chef": {"role": "admin"},
    "eye": {"role": "viewer"},
    "gate": {"role": "operator", "cameras": ["gate*"]},
}


def tokens(**more: Any) -> dict[str, Any]:
    return {"tokens": {name: {"hash": token_hash(name), **of} for name, of in TOKENS.items()}, **more}


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}"}


def outside(client: httpx.Client) -> httpx.Client:
    """Somebody who has nothing but links."""
    return httpx.Client(base_url=f"http://{client.base_url.host}:{client.base_url.port}", timeout=60)


def share(number: int = 1, **changes: Any) -> Share:
    now = now_us()
    found = Share(f"{number:024x}", token_hash(f"t{number}"), "ab" * 12, "gate", "ana", now, now + 60 * SECOND_US)
    return replace(found, **changes)


# --- the book ---------------------------------------------------------------------------------------------------------


def record(key: bytes, value: bytes | None) -> Record:
    return Record("p.access", 0, 7, key, [], value)


def test_shares_and_sessions_come_back_as_they_were() -> None:
    one, ended = share(), EndedSession("cd" * 16, 9 * SECOND_US)
    key, _, value = one.encode()
    assert Share.decode(key, value, "here") == one
    assert b"t1" not in value
    key, _, value = ended.encode()
    assert EndedSession.decode(key, value, "here") == ended
    with pytest.raises(RecordError, match="here: expected the key 'session/"):
        EndedSession.decode(b"session/other", value, "here")


def test_a_book_forgets_what_is_deleted_and_what_is_over() -> None:
    book, session = AccessBook(), Session("ana", "csrf", 0)
    book.take(record(*share(1).encode()[::2]))
    book.take(record(*share(2, expires_us=now_us() - 1).encode()[::2]))
    book.take(record(*EndedSession(session.id, now_us() - 1).encode()[::2]))
    book.take(record(b"nonsense", b"{}"))
    assert (found := book.of_token("t1")) is not None
    assert (found.id, found.by) == (share(1).id, "ana")
    assert book.of_token("t2") is None
    assert book.of_token("t3") is None
    assert book.has_ended(session.id)
    assert book.left_out == 1
    deleted = book.forget_over()
    assert [(key, value) for key, _, value in deleted] == [
        (share(2).key, None), (b"session/" + session.id.encode(), None),
    ]  # fmt: skip
    assert book.forget_over() == []
    book.take(record(share(1).key, None))
    assert book.of_token("t1") is None
    assert book.shares() == []


# --- what a link shows ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("film") / "gate.mp4", 300, rate=10, gop=10, size=(64, 48))


def scores_of(second: int) -> Prediction:
    start_us, scores = BEGIN_US + second * SECOND_US, {"fight": 0.8, "normal": 0.2}
    return Prediction("gate", BEGIN_US, second, start_us, start_us + SECOND_US, "m", scores)


def place(address: str) -> str:
    return address.partition("?")[0]


def seen(second: int, seconds: int, number: int = 1):
    start_us = BEGIN_US + second * SECOND_US
    return event(second, "gate", start_us=start_us, end_us=start_us + seconds * SECOND_US, peak_us=start_us,
                 id=f"{number:024x}")  # fmt: skip


def test_a_link_shows_one_event_without_a_login_and_nothing_else(
    embedded_broker: Service, topics_prefix: str, tmp_path: Path, film: Path, redis_url: str
) -> None:
    settings = footage_settings(embedded_broker.address, topics_prefix, tmp_path, **tokens())
    site = Site(settings.model_copy(update={"redis": redis_url}))
    attach(site.settings, film)
    site.cameras("gate")
    one, other = seen(10, 2), seen(20, 2, 2)
    site.events(one, other)
    site.send(site.topics.predictions, *map(scores_of, range(30)))
    picture = StoredPicture(f"{topics_prefix}:strip:{one.id}-0", 4, 3, 7, (one.start_us,), (0.0, 0.0, 1.0, 1.0))
    with redis.Redis.from_url(redis_url) as client:
        client.set(picture.key, b"picture")
    site.send(site.topics.pictures, EventPictures.following(one, Missing("no_footage", "none"), picture, 60))
    with served(site.settings) as (client, desk), outside(client) as anybody:
        ready(desk)
        assert eventually(lambda: desk.view.event(one.id).pictures is not None)
        made = client.post(f"/events/{one.id}/shares", json={}, headers=bearer("ana"))
        assert made.status_code == 201, made.text
        address = made.json()["address"]
        assert address.startswith("/share/clipline_")
        page = anybody.get(address)
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert page.headers["x-robots-tag"] == "noindex, nofollow"
        assert "default-src 'none'" in page.headers["content-security-policy"]
        told = anybody.get(f"{address}/event.json").json()
        assert (told["label"], told["camera"], told["peak_score"]) == ("fight", "gate", 0.9)
        assert not {"event", "model", "rule", "group", "verdict"} & told.keys()
        assert [w["start"][17:19] for w in told["windows"]] == [f"{n:02d}" for n in range(5, 17)]
        assert {label for w in told["windows"] for label in w["scores"]} == {"fight"}
        assert anybody.get(told["pictures"]["strip"]["href"]).content == b"picture"
        assert anybody.get(f"{address}/pictures/peak").status_code == 404
        playlist = anybody.get(f"{address}/evidence.m3u8")
        assert playlist.headers["content-type"].startswith("application/vnd.apple.mpegurl")
        shown = entries(playlist.text)
        for each in shown:
            assert anybody.get(f"{address}/{each.address}").status_code == 200
        # Of the camera's other footage it shows nothing, whoever asks how.
        everything = entries(
            client.get(
                "/cameras/gate/recorded.m3u8?from=2026-11-24T08:00:00Z&to=2026-11-24T08:00:30Z", headers=bearer("ana")
            ).text
        )
        hidden = [e.address for e in everything if place(e.address) not in {place(s.address) for s in shown}]
        assert len(hidden) > 5
        for each in hidden:
            assert anybody.get(f"{address}/{each}").status_code == 404
        mixed = shown[0].address + "&with=" + hidden[-1].partition("-")[2].partition(".")[0]
        assert anybody.get(f"{address}/{mixed}").status_code == 404
        for path in (f"/events/{one.id}", "/events", "/shares", "/cameras"):
            token = address.rpartition("/")[2]
            problem(anybody.get(f"/api/v1{path}"), 401, "unauthenticated")
            problem(anybody.get(f"/api/v1{path}", headers=bearer(token)), 401, "unauthenticated")


class Reader:
    """Scores of whatever is asked for, and how often they were."""

    def __init__(self) -> None:
        self.room = CapacityLimiter(4)
        self.times = 0

    def read(self, *_: object) -> Scores:
        self.times += 1
        time.sleep(0.02)
        return Scores((*map(scores_of, range(5, 17)), replace(scores_of(17), model="other")), is_cut=False)


def test_scores_of_a_link_are_read_once_for_all_who_look_and_never_shown_once_they_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader, book, one = Reader(), ForgottenBook(), seen(10, 2)
    shared = SharedScores(reader, book)

    async def look() -> None:
        found = await asyncio.gather(*(shared.find(one) for _ in range(50)))
        assert reader.times == 1
        assert all(len(each) == 12 for each in found)
        assert found[0][0] == SharedWindow(BEGIN_US + 5 * SECOND_US, BEGIN_US + 6 * SECOND_US, 0.8)
        book.put(Forgotten("gate", BEGIN_US, BEGIN_US + 7 * SECOND_US, 0, "ana"))
        assert len(await shared.find(one)) == 10
        await shared.find(replace(one, revision=1))
        assert reader.times == 2, "a later report has more"
        for number in range(100):
            await shared.find(replace(one, id=f"{number:024x}", revision=9))
        assert len(shared._known) == 64
        monkeypatch.setattr(scores_module, "_FRESH_SECONDS", 0.0)
        times = reader.times
        await shared.find(replace(one, id=f"{99:024x}", revision=9))
        assert reader.times == times + 1, "what came after its end comes late"

    asyncio.run(look())


def test_wrong_links_and_those_that_are_over_revoked_or_forgotten_are_answered_alike(
    embedded_broker: Service, topics_prefix: str
) -> None:
    site = Site(settings_of(embedded_broker.address, topics_prefix, **tokens()))
    ensure_topic_of_access(site.transport, site.topics, 24)
    ensure_topic_of_forgotten(site.transport, site.topics)
    kept, gone = event(1), event(2)
    site.events(kept, gone)
    over = share(1, event=kept.id, expires_us=now_us() - 1)
    unknown = share(2, event="cd" * 12)
    withheld = share(3, event=gone.id)
    site.send(site.topics.access, over, unknown, withheld)
    site.send(site.topics.forgotten, Forgotten("gate-1", gone.start_us + 1, gone.start_us + 2, now_us(), "ana"))
    with served(site.settings) as (client, desk), outside(client) as anybody:
        ready(desk)
        made = client.post(f"/events/{kept.id}/shares", json={"hours": 1}, headers=bearer("ana")).json()
        assert anybody.get(made["address"]).status_code == 200
        problem(client.post(f"/events/{gone.id}/shares", json={}, headers=bearer("ana")), 410, "forgotten")
        assert client.delete(f"/shares/{made['id']}", headers=bearer("ana")).status_code == 204
        answers = [anybody.get(path) for path in ("/share/t1", "/share/t2", "/share/t3", "/share/t4", made["address"])]
        assert {(each.status_code, each.text) for each in answers} == {(404, answers[0].text)}
        assert "This link shows nothing" in answers[0].text
        assert "Dieser Link zeigt nichts" in answers[0].text
        said = [
            anybody.get(f"{path}/event.json").json() for path in ("/share/t1", "/share/t2", "/share/t3", "/share/t4")
        ]
        assert all(each == said[0] for each in said)
        # What is over is deleted from the topic by whoever writes to it next.
        stored = list(site.transport.read(site.transport.offsets(site.topics.access)))
        assert (over.key, None) in [(each.key, each.value) for each in stored]


def test_a_share_is_made_seen_and_revoked_by_those_who_may(embedded_broker: Service, topics_prefix: str) -> None:
    site = Site(settings_of(embedded_broker.address, topics_prefix, **tokens(max_shares=3, max_share_hours=100.0)))
    at_gate, at_dock = event(1, "gate-1"), event(2, "dock")
    site.events(at_gate, at_dock)
    with served(site.settings) as (client, desk):
        ready(desk)

        def make(who: str, of: str, **body: Any) -> httpx.Response:
            return client.post(f"/events/{of}/shares", json=body, headers=bearer(who))

        def listed(who: str, **query: str) -> list[str]:
            return [each["id"] for each in client.get("/shares", params=query, headers=bearer(who)).json()["items"]]

        problem(make("eye", at_gate.id), 403, "role")
        problem(client.get("/shares", headers=bearer("eye")), 403, "role")
        problem(make("gate", at_dock.id), 404, "not-found")
        problem(make("ana", at_gate.id, hours=101), 422, "invalid")
        problem(make("ana", at_gate.id, hours=0), 422, "invalid")
        first, second = make("ana", at_gate.id).json(), make("bo", at_dock.id, hours=2).json()
        assert "address" not in client.get("/shares", headers=bearer("ana")).json()["items"][0]
        assert (listed("ana"), listed("bo"), set(listed("chef"))) == (
            [first["id"]],
            [second["id"]],
            {first["id"], second["id"]},
        )
        assert listed("chef", event=at_dock.id) == [second["id"]]
        third = make("chef", at_dock.id).json()
        problem(make("ana", at_gate.id), 409, "too-many-shares")
        problem(client.delete(f"/shares/{second['id']}", headers=bearer("ana")), 404, "not-found")
        assert client.delete(f"/shares/{second['id']}", headers=bearer("chef")).status_code == 204
        problem(client.delete(f"/shares/{second['id']}", headers=bearer("chef")), 404, "not-found")
        assert make("gate", at_gate.id).status_code == 201
        token = first["address"].rpartition("/")[2]
        stored = list(site.transport.read(site.transport.offsets(site.topics.access)))
        assert not any(token.encode() in (each.value or b"") + (each.key or b"") for each in stored)
        told = site.transport.read(site.transport.offsets(site.topics.audit))
        audited = [AuditEntry.decode(each.key, each.value, each.where) for each in told]
        assert [(each.actor, each.action, each.value) for each in audited][:4] == [
            ("ana", "share.make", first["id"]), ("bo", "share.make", second["id"]),
            ("chef", "share.make", third["id"]), ("chef", "share.revoke", second["id"]),
        ]  # fmt: skip


def test_links_hold_on_every_server_and_after_a_restart_and_are_revoked_on_all(
    embedded_broker: Service, topics_prefix: str
) -> None:
    site = Site(settings_of(embedded_broker.address, topics_prefix, **tokens()))
    one = event(1)
    site.events(one)
    with served(site.settings) as (first, desk), served(site.settings) as (second, other), outside(second) as anybody:
        ready(desk)
        ready(other)
        made = first.post(f"/events/{one.id}/shares", json={}, headers=bearer("ana")).json()
        assert eventually(lambda: anybody.get(made["address"]).status_code == 200)
        with served(site.settings) as (third, again), outside(third) as somebody:
            ready(again)
            assert somebody.get(made["address"]).status_code == 200
        first.delete(f"/shares/{made['id']}", headers=bearer("ana"))
        assert eventually(lambda: anybody.get(made["address"]).status_code == 404)
    with served(site.settings) as (client, desk), outside(client) as anybody:
        ready(desk)
        assert anybody.get(made["address"]).status_code == 404


def test_links_cannot_be_tried_often_and_who_tries_may_still_log_in(
    embedded_broker: Service, topics_prefix: str
) -> None:
    site = Site(settings_of(embedded_broker.address, topics_prefix, **tokens(failures_per_minute=3)))
    with served(site.settings) as (client, desk), outside(client) as anybody:
        ready(desk)
        answers = [anybody.get("/share/x").status_code for _ in range(6)]
        assert answers.count(429) >= 2
        assert client.get("/session", headers=bearer("ana")).status_code == 200
        problem(client.get("/session", headers=bearer("wrong")), 401, "unauthenticated")


# --- sessions ---------------------------------------------------------------------------------------------------------


def with_users(embedded_broker: Service, prefix: str, **more: Any) -> Site:
    hashed = credentials.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    users = {"ana": {"password_hash": hashed, "role": "operator"}}
    return Site(settings_of(embedded_broker.address, prefix, users=users, secret=SECRET, **more))


def logged_in(client: httpx.Client) -> tuple[dict[str, str], dict[str, str]]:
    """A cookie, and what requests that change something send along."""
    answer = client.post("/session", json={"user": "ana", "password": PASSWORD})
    assert answer.status_code == 201, answer.text
    cookie = {COOKIE: client.cookies[COOKIE]}
    client.cookies.clear()
    return cookie, {"X-CSRF-Token": answer.json()["csrf"]}


def asks(client: httpx.Client, cookie: dict[str, str]) -> int:
    header = "; ".join(f"{name}={value}" for name, value in cookie.items())
    return client.get("/session", headers={"Cookie": header}).status_code


def log_out(client: httpx.Client, cookie: dict[str, str], csrf: dict[str, str]) -> int:
    header = "; ".join(f"{name}={value}" for name, value in cookie.items())
    return client.delete("/session", headers={"Cookie": header, **csrf}).status_code


def test_a_copied_cookie_is_of_no_use_after_logging_out_on_any_server_nor_after_a_restart(
    embedded_broker: Service, topics_prefix: str
) -> None:
    site = with_users(embedded_broker, topics_prefix)
    with served(site.settings) as (client, desk), served(site.settings) as (elsewhere, other):
        ready(desk)
        ready(other)
        cookie, csrf = logged_in(client)
        second, _ = logged_in(client)
        assert (asks(client, cookie), asks(elsewhere, cookie)) == (200, 200)
        assert log_out(client, cookie, csrf) == 204
        assert asks(client, cookie) == 401
        assert eventually(lambda: asks(elsewhere, cookie) == 401)
        # One's other sessions go on.
        assert (asks(client, second), asks(elsewhere, second)) == (200, 200)
    time.sleep(1.1)  # a cookie names the second in which it was made
    with served(site.settings) as (client, desk):
        # Before it is known which sessions have ended, nobody is let in by an old one.
        assert asks(client, cookie) in {503, 401}
        ready(desk)
        assert (asks(client, cookie), asks(client, second)) == (401, 200)
    stored = list(site.transport.read(site.transport.offsets(site.topics.access)))
    assert csrf["X-CSRF-Token"].encode() not in b"".join((each.value or b"") for each in stored)


def test_whoever_logs_out_is_out_also_where_the_broker_cannot_be_told(
    embedded_broker: Service, topics_prefix: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from consumers.web.desk import Writer
    from stream import BrokerError

    def fails(*_: Any) -> None:
        raise BrokerError("gone")

    site = with_users(embedded_broker, topics_prefix)
    with served(site.settings) as (client, desk):
        ready(desk)
        cookie, csrf = logged_in(client)
        monkeypatch.setattr(Writer, "store", fails)
        assert log_out(client, cookie, csrf) == 204
        assert asks(client, cookie) == 401
    assert "other servers are not told that ana has logged out: gone" in caplog.text


# --- the command line -------------------------------------------------------------------------------------------------


def run(settings: Settings, *arguments: str):
    environment = {"CLIPLINE_KAFKA": settings.kafka, "CLIPLINE_TOPICS__PREFIX": settings.topics.prefix}
    return CliRunner().invoke(app, list(arguments), env=environment, standalone_mode=False)


def test_links_are_made_listed_and_revoked_by_hand(embedded_broker: Service, topics_prefix: str) -> None:
    site = Site(settings_of(embedded_broker.address, topics_prefix, **tokens()))
    one = event(1)
    site.events(one)
    made = run(site.settings, "share", one.id[:8], "--for", "2h", "--json")
    body = json.loads(next(line for line in made.output.splitlines() if line.startswith("{")))
    assert body["event"] == one.id
    listed = run(site.settings, "shares")
    assert (body["id"] in listed.output, body["address"].rpartition("/")[2] in listed.output) == (True, False)
    with served(site.settings) as (client, desk), outside(client) as anybody:
        ready(desk)
        path = "/share/" + body["address"].rpartition("/")[2]
        assert anybody.get(path).status_code == 200
        assert run(site.settings, "shares", "revoke", body["id"][:6]).exception is None
        assert eventually(lambda: anybody.get(path).status_code == 404)
    assert "no such link holds" in str(run(site.settings, "shares", "revoke", body["id"]).exception)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("soon", "expected a time like 12h"),
        ("earliest", "expected a time like 12h"),
        ("2026-11-24", "expected a time like 12h"),
        ("40d", "at most 720 hours, 30 days (dashboard.max_share_hours)"),
        ("99999d", "at most 720 hours, 30 days (dashboard.max_share_hours)"),
        ("999999999w", "at most 720 hours, 30 days (dashboard.max_share_hours)"),
        ("0s", "expected more than nothing"),
    ],
)
def test_for_how_long_a_link_may_hold_is_said_before_anything_is_asked_for(text: str, says: str) -> None:
    settings = settings_of("127.0.0.1:1", "p")
    assert says in str(run(settings, "share", "ev", "--for", text).exception)
