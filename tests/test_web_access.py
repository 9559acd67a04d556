"""Who may ask the HTTP API, and what each one sees: tokens, passwords, proxies, other sites, too many requests."""

from __future__ import annotations

import datetime as dt
import json
import os
import pty
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("fastapi")

from consumers.records.delivery import Delivery
from consumers.records.verdict import Verdict
from consumers.settings import Settings, SettingsError, load_settings
from consumers.web import credentials
from consumers.web.access import COOKIE, Access
from consumers.web.credentials import Holder, Passwords, Signer, token_hash
from consumers.web.serving import serving_dashboard
from stream import Secret, drill_id
from stream.services import Service
from tests.command_line import clipline
from tests.dashboards import Site, event, ids, is_streaming, now_us, of, problem, ready, served, settings_of
from tests.waiting import eventually

SECRET = "no-one-will-guess-this-one"
PASSWORD = "correct horse"
#: As cheap as it may be: tests ask often.
HASH = "$argon2id$v=19$m=8,t=1,p=1$"


@pytest.fixture(scope="module")
def password_hash() -> str:
    return credentials.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)


def tokens(**of_name: dict[str, Any]) -> dict[str, Any]:
    """Settings of tokens; each one's token is its name."""
    return {"tokens": {name: {"hash": token_hash(name), **more} for name, more in of_name.items()}}


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}"}


# --- where it may be served -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.7:8320"])
def test_elsewhere_than_on_this_machine_nothing_is_served_to_everybody(address):
    with pytest.raises(SettingsError) as caught, serving_dashboard(Settings(), address):
        pass
    for word in (address, "dashboard.tokens", "clipline dashboard token", "127.0.0.1"):
        assert word in str(caught.value)


def test_with_a_token_it_is_served_to_others_who_have_to_send_it(embedded_broker: Service, topics_prefix: str):
    settings = settings_of(embedded_broker.address, topics_prefix, **tokens(ana={}))
    with served(settings, "0.0.0.0:0") as (client, _):
        refused = client.get("/session")
        problem(refused, 401, "unauthenticated")
        assert refused.headers["www-authenticate"] == "Bearer"
        for wrong in ("Bearer bo", "Bearer", "Basic ana", "ana", "Bearer " + "x" * 5000, "Bearer \xe9"):
            problem(client.get("/session", headers={"Authorization": wrong.encode("latin-1")}), 401, "unauthenticated")
        assert client.get("/session", headers=bearer("ana")).json()["name"] == "ana"
        assert client.get("/openapi.json").status_code == 200


def test_on_this_machine_a_page_of_another_site_gets_nothing(embedded_broker: Service, topics_prefix: str):
    site = Site(settings_of(embedded_broker.address, topics_prefix))
    site.events(event(0))
    with served(site.settings) as (client, desk):
        ready(desk)
        assert client.get("/session").json()["way"] == "local"
        problem(client.get("/events", headers={"Host": "attacker.example:8320"}), 403, "not-local")
        said = {"event": event(0).id, "answer": "right"}
        for headers in (
            {"Origin": "https://attacker.example"},
            {"Origin": "null"},
            {"Origin": "http://["},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
        ):
            problem(client.post("/verdicts", json=said, headers=headers), 403, "csrf")
        own = {"Origin": str(client.base_url).removesuffix("/api/v1/")}
        assert client.post("/verdicts", json=said, headers=own).status_code == 201


# --- roles and cameras ------------------------------------------------------------------------------------------------


def test_roles_let_do_what_they_are_for(embedded_broker: Service, topics_prefix: str):
    roles = tokens(ana={"role": "viewer"}, bo={"role": "operator"}, cy={"role": "admin"})
    site = Site(settings_of(embedded_broker.address, topics_prefix, **roles))
    site.events(event(0))
    said = {"event": event(0).id, "answer": "right"}
    with served(site.settings) as (client, desk):
        ready(desk)
        for name, give, audit in (("ana", 403, 403), ("bo", 201, 403), ("cy", 201, 200)):
            assert client.get("/events", headers=bearer(name)).status_code == 200
            assert client.post("/verdicts", json=said, headers=bearer(name)).status_code == give
            assert client.get("/audit", headers=bearer(name)).status_code == audit
        assert "operator" in problem(client.post("/verdicts", json=said, headers=bearer("ana")), 403, "role")["detail"]
        did = client.get("/audit", headers=bearer("cy")).json()["items"]
        assert [(each["actor"], each["way"], each["role"], each["address"]) for each in did] == [
            ("cy", "token", "admin", "127.0.0.1"),
            ("bo", "token", "operator", "127.0.0.1"),
        ]


def test_who_sees_some_cameras_is_answered_as_if_there_were_no_others(embedded_broker: Service, topics_prefix: str):
    gate = {"cameras": ["gate*"], "role": "admin"}
    site = Site(settings_of(embedded_broker.address, topics_prefix, **tokens(ana=gate, all={"role": "admin"})))
    mine, other = event(0, "gate-1"), event(1, "dock")
    drills = [event(2, drill_id("gate-1", "0" * 8)), event(3, drill_id("dock", "0" * 8))]
    site.events(mine, other, *drills)
    site.cameras("gate-1", "dock")
    given = [
        Verdict(id_, "right", each.id, each.camera, "fight", each.start_us, each.end_us, now_us(), "ops")
        for id_, each in (("a1", mine), ("b2", other), ("c3", drills[0]), ("d4", drills[1]))
    ]
    site.send(site.topics.verdicts, *given)
    messages = [Delivery.about(each, "ops", now_us=now_us(), expires_us=now_us() + 10**9) for each in (mine, other)]
    counts = [{"camera": "dock", "label": "fight", "events": 1}]
    data = {"held": 1, "reasons": {}, "counts": counts, "first": "", "last": ""}
    about_both = {"type": "clipline.summary", "timestamp": "", "data": data}
    summary = Delivery("5" * 24, "ops", "summary", "queued", now_us(), now_us() + 10**9, about_both)
    site.send(site.topics.deliveries, *messages, summary)
    with served(site.settings) as (client, desk):
        ready(desk)

        def get(path: str, name: str = "ana") -> httpx.Response:
            return client.get(path, headers=bearer(name))

        assert [each["camera"] for each in get("/cameras").json()["items"]] == ["gate-1"]
        assert len(get("/cameras", "all").json()["items"]) == 2
        assert ids(get("/events?drills=true")) == [drills[0].id, mine.id]
        assert ids(get("/events?camera=dock")) == []
        assert ids(get("/events?camera=*")) == [mine.id]
        assert [each["id"] for each in get("/verdicts").json()["items"]] in (["c3", "a1"], ["a1", "c3"])
        assert [each["message"]["data"]["camera"] for each in get("/deliveries").json()["items"]] == ["gate-1"]
        assert len(get("/deliveries", "all").json()["items"]) == 3
        stretch = "from=2025-11-24T08:00:00Z&to=2025-11-24T09:00:00Z"
        for path in (
            "/cameras/dock",
            f"/cameras/dock/predictions?{stretch}",
            f"/events/{other.id}",
            f"/events/{other.id}/pictures",
            f"/events/{other.id}/pictures/strip",
            f"/events/{drills[1].id}",
            "/verdicts/b2",
            "/verdicts/d4",
        ):
            hidden, absent = (
                get(path),
                get(path.replace("dock", "nowhere").replace(other.id, "f" * 24).replace("b2", "ff")),
            )
            assert hidden.status_code == absent.status_code == 404, path
            assert get(path, "all").status_code == 200 or "pictures" in path
        said = client.post("/verdicts", json={"event": other.id, "answer": "right"}, headers=bearer("ana"))
        problem(said, 404, "not-found")
        problem(client.post("/cameras/dock/live-token", headers=bearer("ana")), 404, "not-found")
        problem(get("/rules"), 403, "cameras")
        problem(get("/fleet"), 403, "cameras")
        assert client.post("/verdicts", json={"event": other.id, "answer": "false"}, headers=bearer("all")).is_success
        assert get("/audit").json()["items"] == []
        assert get("/health").json()["problems"] == [], "they name cameras"
        assert get("/session").json()["cameras"] == ["gate*"]


def streamed(client: httpx.Client, query: str, name: str, wanted: int, seconds: float = 20) -> tuple[list[str], str]:
    """Events of a stream, until there are so many; and all that was sent."""
    found: list[str] = []
    said = ""
    with client.stream("GET", f"/events/stream{query}", headers=bearer(name), timeout=seconds) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            said += f"{line}\n"
            if line.startswith("data: "):
                found.append(json.loads(line.removeprefix("data: "))["event"])
                if len(found) == wanted:
                    break
    return found, said


def test_the_stream_of_events_has_those_of_ones_cameras_only_and_names_no_others(
    embedded_broker: Service, topics_prefix: str
):
    site = Site(settings_of(embedded_broker.address, topics_prefix, **tokens(ana={"cameras": ["gate*"]}, all={})))
    events = [event(0, "gate-1"), event(1, "dock"), event(2, "gate-2"), event(3, "dock"), event(4, "gate-1")]
    site.events(*events)
    with served(site.settings) as (client, desk):
        found, said = streamed(client, "?since=earliest&camera=gate*&camera=dock&camera=elsewhere", "ana", 3)
        assert found == of([events[0], events[2], events[4]])
        assert "known" not in said, "which cameras there are is nobody's business"
        assert streamed(client, "?since=earliest&camera=dock", "all", 2)[0] == of([events[1], events[3]])
        assert streamed(client, "?since=earliest", "all", 5)[0] == of(events)
        assert eventually(lambda: not desk.streams._open_streams)

        def send_once_somebody_listens() -> None:
            assert eventually(lambda: is_streaming(desk))
            site.events(event(5, "dock"), event(6, "gate-2"))

        later = threading.Thread(target=send_once_somebody_listens)
        later.start()
        assert streamed(client, "", "ana", 1)[0] == [event(6, "gate-2").id]
        later.join()
        for wrong in ("?since=never", "?what=ever", "?drills=2", "?since=1h&since=2h"):
            problem(client.get(f"/events/stream{wrong}", headers=bearer("ana")), 422, "invalid")
        problem(client.get("/events/stream"), 401, "unauthenticated")
        wrong_place = {**bearer("ana"), "Last-Event-ID": "no place"}
        problem(client.get("/events/stream", headers=wrong_place), 422, "invalid")


# --- tokens -----------------------------------------------------------------------------------------------------------


def test_a_token_is_printed_once_and_the_settings_hold_its_hash(tmp_path: Path):
    done = clipline("dashboard", "token", "ana", "--role", "operator", "--camera", "gate*", "--camera", "dock")
    token, *lines = done.stdout.splitlines()
    assert token.startswith("clipline_")
    assert len(token) > 50
    assert token not in "\n".join(lines)
    (tmp_path / "clipline.toml").write_text("\n".join(lines))
    settings = load_settings(tmp_path / "clipline.toml", {})
    found = settings.dashboard.tokens["ana"]
    assert (found.hash, found.role, found.cameras) == (token_hash(token), "operator", ["gate*", "dock"])
    for wrong in (("token",), ("token", "a b"), ("token", "ana", "--camera", 'x"y'), ("serve", "ana")):
        assert clipline("dashboard", *wrong).returncode == 2


def test_a_token_ends_with_its_day_and_its_hash_may_lie_in_a_file(
    embedded_broker: Service, topics_prefix: str, tmp_path: Path
):
    file = tmp_path / "bo"
    file.write_text(f"{token_hash('bo')}\n")
    today = dt.datetime.now(dt.UTC).date()
    given = tokens(ana={"expires": today - dt.timedelta(days=1)}, cy={"expires": today})
    given["tokens"]["bo"] = {"hash_file": file}
    with served(settings_of(embedded_broker.address, topics_prefix, **given)) as (client, _):
        problem(client.get("/session", headers=bearer("ana")), 401, "unauthenticated")
        assert client.get("/session", headers=bearer("bo")).json()["name"] == "bo"
        assert client.get("/session", headers=bearer("cy")).json()["name"] == "cy"
    for text in ("bo", "sha256:xyz", ""):
        file.write_text(text)
        with pytest.raises(SettingsError):
            Access(settings_of("x:1", "p", **given).dashboard)
    twice = {"tokens": {name: {"hash": token_hash("ana")} for name in ("ana", "bo")}}
    with pytest.raises(SettingsError, match="same token"):
        Access(settings_of("x:1", "p", **twice).dashboard)


def test_a_token_of_a_live_view_is_of_one_camera_and_for_a_while(embedded_broker: Service, topics_prefix: str):
    site = Site(settings_of(embedded_broker.address, topics_prefix, secret=SECRET, **tokens(ana={})))
    site.cameras("gate-1", "gate-2")
    with served(site.settings) as (client, desk):
        ready(desk)
        answer = client.post("/cameras/gate-1/live-token", headers=bearer("ana"))
        assert answer.headers["cache-control"] == "no-store"
        token = answer.json()["token"]
        signer = Signer(Secret(SECRET), 60, 60)
        assert signer.live_grant(token, "gate-1"), "any server with the secret takes it"
        assert not signer.live_grant(token, "gate-2")
        assert not signer.live_grant(f"{token}x", "gate-1")
        assert not signer.live_grant("", "gate-1")
        assert not Signer(Secret(SECRET + "!"), 60, 60).live_grant(token, "gate-1")
        assert not Signer(None, 60, 60).live_grant(token, "gate-1")
        session, _ = signer.begin("gate-1", HASH)
        assert not signer.live_grant(session, "gate-1"), "a session is none"
    old = Signer(Secret(SECRET), 60, -1)
    assert not old.live_grant(token, "gate-1"), "it is over"


def test_a_token_of_a_live_view_is_of_no_use_once_the_token_that_made_it_is_gone(
    embedded_broker: Service, topics_prefix: str
):
    yesterday = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=1)
    site = Site(settings_of(embedded_broker.address, topics_prefix))
    site.cameras("gate-1")

    def settings(**of_name: dict[str, Any]) -> Settings:
        return settings_of(embedded_broker.address, topics_prefix, secret=SECRET, **tokens(**of_name))

    with served(settings(ana={}, bo={})) as (client, desk):
        ready(desk)
        token = client.post("/cameras/gate-1/live-token", headers=bearer("ana")).json()["token"]
        path = f"/cameras/gate-1/segments/0-0.ts?token={token}"
        problem(client.get(path), 404, "not-found")
    for now in ({"bo": {}}, {"ana": {"expires": yesterday}}):
        with served(settings(**now)) as (client, _):
            problem(client.get(path), 401, "unauthenticated")
    with served(settings_of(embedded_broker.address, topics_prefix, secret=SECRET)) as (client, desk):
        ready(desk)
        open_ = client.post("/cameras/gate-1/live-token").json()["token"]
    with served(settings(ana={})) as (client, _):
        problem(client.get(f"/cameras/gate-1/segments/0-0.ts?token={open_}"), 401, "unauthenticated")


# --- passwords and sessions -------------------------------------------------------------------------------------------


@pytest.fixture
def with_users(embedded_broker: Service, topics_prefix: str, password_hash: str) -> Site:
    users = {"ana": {"password_hash": password_hash, "role": "operator"}, "bo": {"role": "viewer"}}
    return Site(settings_of(embedded_broker.address, topics_prefix, users=users, secret=SECRET))


def log_in(client: httpx.Client, user: str = "ana", password: str = PASSWORD, **headers: str) -> httpx.Response:
    return client.post("/session", json={"user": user, "password": password}, headers=headers)


def test_whoever_logs_in_has_a_session_and_changes_something_with_its_csrf_token_only(with_users: Site):
    with_users.events(event(0))
    said = {"event": event(0).id, "answer": "right"}
    with served(with_users.settings) as (client, desk):
        ready(desk)
        for user, password in (("ana", "wrong"), ("nobody", PASSWORD), ("bo", PASSWORD)):
            assert "no such user" in problem(log_in(client, user, password), 401, "wrong-password")["detail"]
        problem(log_in(client, Origin="https://attacker.example"), 403, "csrf")
        problem(client.get("/events"), 401, "unauthenticated")
        answer = log_in(client)
        assert answer.status_code == 201
        cookie = answer.headers["set-cookie"].lower()
        for part in ("httponly", "samesite=lax", "max-age=43200", "path=/"):
            assert part in cookie
        assert "secure" not in cookie, "this connection has no TLS"
        csrf = answer.json()["csrf"]
        assert ids(client.get("/events")) == [event(0).id]
        assert client.get("/session").json() == {**answer.json(), "way": "password"}
        problem(client.post("/verdicts", json=said), 403, "csrf")
        problem(client.post("/verdicts", json=said, headers={"X-CSRF-Token": "guess"}), 403, "csrf")
        right = {"X-CSRF-Token": csrf}
        problem(client.post("/verdicts", json=said, headers={**right, "Sec-Fetch-Site": "cross-site"}), 403, "csrf")
        assert client.post("/verdicts", json=said, headers=right).json()["by"] == "ana"
        problem(client.delete("/session"), 403, "csrf")
        assert client.delete("/session", headers=right).status_code == 204
        problem(client.get("/events"), 401, "unauthenticated")


def test_what_goes_on_ends_soon_after_whoever_watches_has_logged_out(with_users: Site):
    with_users.cameras("gate-1")
    with served(with_users.settings) as (client, desk):
        ready(desk)
        right = {"X-CSRF-Token": log_in(client).json()["csrf"]}
        token = client.post("/cameras/gate-1/live-token", headers=right).json()["token"]
        player = f"/cameras/gate-1/segments/0-0.ts?token={token}"
        with httpx.Client(base_url=client.base_url, timeout=60) as other:
            problem(other.get(player), 404, "not-found")
            with client.stream("GET", "/events/stream") as stream:
                lines = stream.iter_lines()
                assert next(lines)
                assert client.delete("/session", headers=right).status_code == 204
                began = time.monotonic()
                assert all(not line.startswith("data") for line in lines)
                assert time.monotonic() - began < 15
            problem(other.get(player), 401, "unauthenticated")


def test_a_session_ends_with_its_time_its_password_or_its_secret_and_cannot_be_made(with_users: Site):
    with served(with_users.settings) as (client, _):
        log_in(client)
        cookie = client.cookies[COOKIE]
    hashes = {"ana": with_users.settings.dashboard.users["ana"].password_hash or ""}
    secret = Secret(SECRET)
    assert (Signer(secret, 60, 60).session(cookie, hashes) or pytest.fail("a session")).user == "ana"
    assert Signer(secret, -1, 60).session(cookie, hashes) is None, "its time is over"
    assert Signer(secret, 60, 60).session(cookie, {"ana": f"{hashes['ana']}x"}) is None, "the password changed"
    assert Signer(secret, 60, 60).session(cookie, {}) is None, "there is no such user any more"
    assert Signer(None, 60, 60).session(cookie, hashes) is None, "another secret"
    for wrong in (
        cookie[:-1],
        f"x{cookie}",
        "",
        "x.y.z",
        Signer(secret, 60, 60).live_token("ana", Holder("local")),
        "x" * 9000,
    ):
        assert Signer(secret, 60, 60).session(wrong, hashes) is None


def test_passwords_are_told_apart_and_kept_with_argon2():
    passwords = Passwords()
    hashed = passwords.hash("räv")
    assert hashed.startswith("$argon2id$v=19$m=65536,")
    assert passwords.is_right(hashed, "räv")
    assert not passwords.is_right(hashed, "räv ")
    assert not passwords.is_right(None, "räv")
    assert not passwords.is_right("$argon2id$nonsense", "räv")


def test_the_command_asks_for_a_password_and_prints_its_hash(tmp_path: Path):
    ours, theirs = pty.openpty()
    done = subprocess.Popen(
        [sys.executable, "-m", "consumers.cli", "dashboard", "password", "bo", "--role", "admin"],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert done.stderr is not None
    # Whoever reads a password throws away what was typed before it asked.
    asked = ""
    for _ in range(2):
        while not asked.endswith(": "):
            asked += done.stderr.read(1)
        asked = ""
        time.sleep(0.2)
        os.write(ours, b"one and two\n")
    said, errors = done.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 0, errors
    assert "one and two" not in said + errors
    (tmp_path / "clipline.toml").write_text(said)
    user = load_settings(tmp_path / "clipline.toml", {}).dashboard.users["bo"]
    assert user.role == "admin"
    assert Passwords().is_right(user.password_hash, "one and two")


# --- proxies ----------------------------------------------------------------------------------------------------------


def test_a_proxys_word_counts_from_trusted_addresses_only(embedded_broker: Service, topics_prefix: str):
    users = {"bo": {"role": "operator", "cameras": ["gate*"]}}
    proxied = {"user_header": "X-Forwarded-User", "users": users, "proxy_role": "viewer"}

    def settings(*trusted: str, **more: Any) -> Settings:
        return settings_of(embedded_broker.address, topics_prefix, trusted_proxies=trusted, **{**proxied, **more})

    with served(settings("127.0.0.0/8")) as (client, _):
        bo = client.get("/session", headers={"X-Forwarded-User": "bo"}).json()
        assert (bo["name"], bo["way"], bo["role"], bo["cameras"]) == ("bo", "proxy", "operator", ["gate*"])
        assert client.get("/session", headers={"X-Forwarded-User": "cy"}).json()["role"] == "viewer"
        problem(client.get("/session"), 401, "unauthenticated")
        problem(client.get("/session", headers={"X-Forwarded-User": "c y"}), 403, "unknown-user")
    with served(settings("127.0.0.1", proxy_role=None)) as (client, _):
        problem(client.get("/session", headers={"X-Forwarded-User": "cy"}), 403, "unknown-user")
    with served(settings("192.0.2.7")) as (client, _):
        for more in ({}, {"X-Forwarded-For": "192.0.2.7"}, {"Forwarded": "for=192.0.2.7"}):
            problem(client.get("/session", headers={"X-Forwarded-User": "bo", **more}), 401, "unauthenticated")


def test_where_a_request_comes_from_a_trusted_proxy_says_and_nobody_else(embedded_broker: Service, topics_prefix: str):
    for trusted, address in ((["127.0.0.1"], "203.0.113.9"), ([], "127.0.0.1")):
        given = tokens(ana={"role": "admin"})
        site = Site(
            settings_of(embedded_broker.address, f"{topics_prefix}-{len(trusted)}", trusted_proxies=trusted, **given)
        )
        site.events(event(0))
        with served(site.settings, **bearer("ana")) as (client, desk):
            ready(desk)
            said = {"X-Forwarded-For": "198.51.100.1, 203.0.113.9"}
            client.post("/verdicts", json={"event": event(0).id, "answer": "right"}, headers=said)
            assert client.get("/audit").json()["items"][0]["address"] == address


def test_a_session_behind_tls_of_a_trusted_proxy_is_for_tls_only(with_users: Site):
    changed = {"trusted_proxies": ("127.0.0.1",)}
    behind = with_users.settings.model_copy(
        update={"dashboard": with_users.settings.dashboard.model_copy(update=changed)}
    )
    for settings, is_secure in ((behind, True), (with_users.settings, False)):
        with served(settings) as (client, _):
            cookie = log_in(client, **{"X-Forwarded-Proto": "https"}).headers["set-cookie"]
            assert ("secure" in cookie.lower()) is is_secure


# --- too many ---------------------------------------------------------------------------------------------------------


def test_a_client_that_asks_too_often_waits_and_the_others_do_not(embedded_broker: Service, topics_prefix: str):
    given = tokens(ana={}, bo={})
    settings = settings_of(embedded_broker.address, topics_prefix, requests_per_minute=5, **given)
    with served(settings) as (client, _):
        answers = [client.get("/session", headers=bearer("ana")) for _ in range(6)]
        assert [each.status_code for each in answers] == [200] * 5 + [429]
        problem(answers[-1], 429, "too-many-requests")
        assert 6 <= int(answers[-1].headers["retry-after"]) <= 12
        assert client.get("/session", headers=bearer("bo")).status_code == 200


def test_tokens_and_passwords_cannot_be_tried_often(
    embedded_broker: Service, topics_prefix: str, password_hash: str, monkeypatch: pytest.MonkeyPatch
):
    users = {"ana": {"password_hash": password_hash}}
    settings = settings_of(embedded_broker.address, topics_prefix, failures_per_minute=3, users=users, **tokens(bo={}))
    with served(settings) as (client, _):
        for _ in range(5):
            assert log_in(client).status_code == 201, "right ones are not counted"
        client.cookies.clear()
        wrong = [client.get("/session", headers=bearer(f"x{number}")).status_code for number in range(4)]
        assert wrong == [401, 401, 401, 429]
        problem(log_in(client), 429, "too-many-requests")
        assert client.get("/session", headers=bearer("bo")).status_code == 200
