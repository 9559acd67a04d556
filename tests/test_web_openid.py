"""Logging in at an OpenID provider, a real one: the way there and back, who is let in, and what is refused."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import secrets
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import pytest
import trustme
from starlette.testclient import TestClient

pytest.importorskip("fastapi")
pytest.importorskip("authlib")

from consumers.settings import DashboardSettings, OidcSettings, Settings, SettingsError, load_settings
from consumers.web.access import COOKIE, Access
from consumers.web.app import make_app
from consumers.web.oidc import (
    Journeys,
    NamelessError,
    Person,
    Rights,
    client_mark,
    open_provider,
    person_of,
    rights_of,
)
from consumers.web.oidc.journey import cookie_of
from consumers.web.routes.entering.login import LOGIN_PATH, WAYS_PATH
from stream.services import Service
from tests.browsers import chromium, window
from tests.dashboards import Site, event, problem, ready, served, settings_of
from tests.logs import messages_of
from tests.openid import Provider, openid_provider

#: Nothing of Kafka is asked for by who only logs in.
NOWHERE = "127.0.0.1:1"
GROUPS = {"guards": {"role": "operator", "cameras": ["gate*"]}, "chiefs": {"role": "admin"}, "all": {"role": "viewer"}}
SECRET = "no-one-will-guess-this-one"


@pytest.fixture(scope="module", name="running")
def _running() -> Iterator[Provider]:
    with openid_provider() as provider:
        provider.person("ana", preferred_username="ana", groups=["guards", "others"])
        provider.person("eve", preferred_username="eve", groups=["others"])
        yield provider


@pytest.fixture(name="provider")
def _provider(running: Provider) -> Provider:
    running.forget()
    return running


def settings(provider: Provider, kafka: str = NOWHERE, prefix: str = "p", **more: Any) -> Settings:
    dashboard = {key: more.pop(key) for key in list(more) if key in DashboardSettings.model_fields}
    oidc = {"issuer": provider.issuer, "client_id": "clipline", "client_secret": "s3cret", "groups": GROUPS, **more}
    return settings_of(kafka, prefix, oidc=oidc, secret=SECRET, **dashboard)


@contextmanager
def logins(settings: Settings, **headers: str) -> Iterator[httpx.Client]:
    """A client of an API of which nothing but logging in works: no broker and no Redis are asked."""
    dashboard = settings.dashboard
    desk: Any = SimpleNamespace(
        settings=settings,
        access=Access(dashboard),
        provider=open_provider(dashboard.oidc),
        journeys=Journeys(dashboard.signing(), LOGIN_PATH, WAYS_PATH),
    )
    client: Any = TestClient(
        make_app(desk), base_url="http://127.0.0.1:8320/api/v1", headers=headers, follow_redirects=False
    )
    with client:
        yield client


def begun(client: httpx.Client, to: str = "/") -> str:
    """Go to the provider: the address of its page."""
    answer = client.get("/session/oidc", params={"to": to})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


def came_back(client: httpx.Client, provider: Provider, sub: str = "ana", **headers: str) -> httpx.Response:
    """The whole way, but for where the pages then are."""
    return client.get(provider.agree(begun(client), sub), headers=headers)


def carried(client: httpx.Client) -> dict[str, str]:
    """What a browser sends along on its way back."""
    return {"Cookie": "; ".join(f"{name}={value}" for name, value in client.cookies.items() if "login_" in name)}


def refused(answer: httpx.Response, status: int, kind: str, *words: str) -> None:
    detail = problem(answer, status, kind)["detail"]
    for word in words:
        assert word in detail
    assert COOKIE not in answer.headers.get("set-cookie", "")


# --- the way there and back -------------------------------------------------------------------------------------------


def test_whoever_logs_in_there_has_a_session_here_and_what_they_change_says_so(
    provider: Provider, embedded_broker: Service, topics_prefix: str
):
    site = Site(settings(provider, embedded_broker.address, topics_prefix, groups=GROUPS))
    site.events(event(0))
    with served(site.settings) as (client, desk):
        ready(desk)
        assert client.get("/session/ways").json() == {
            "password": False,
            "provider": {"name": "localhost", "address": "/api/v1/session/oidc"},
            "problem": None,
        }
        problem(client.get("/session"), 401, "unauthenticated")
        there = begun(client, "/#/event/1?x=2")
        asked = parse_qs(urlsplit(there).query)
        callback = f"{client.base_url}session/oidc/callback"
        assert (asked["redirect_uri"], asked["scope"]) == ([callback], ["openid profile email"])
        assert (asked["code_challenge_method"], asked["response_type"]) == (["S256"], ["code"])
        answer = client.get(provider.agree(there, "ana"))
        assert (answer.status_code, answer.headers["location"]) == (303, "/#/event/1?x=2")
        token = provider.forms["/oauth2/token"]
        digest = hashlib.sha256(token["code_verifier"].encode()).digest()
        assert base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == asked["code_challenge"][0]
        session, journey = answer.headers.get_list("set-cookie")
        for part in ("httponly", "samesite=lax", "max-age=43200", "path=/;"):
            assert part in session.lower()
        assert "secure" not in session.lower()
        assert "max-age=0" in journey.lower()
        me = client.get("/session").json()
        assert {**me, "csrf": ""} == {
            "name": "ana",
            "way": "oidc",
            "role": "operator",
            "cameras": ["gate*"],
            "csrf": "",
        }
        said = {"event": event(0).id, "answer": "right"}
        problem(client.post("/verdicts", json=said), 403, "csrf")
        own = {"X-CSRF-Token": me["csrf"]}
        assert client.post("/verdicts", json=said, headers=own).json()["by"] == "ana"
        assert client.delete("/session", headers=own).status_code == 204
        problem(client.get("/session"), 401, "unauthenticated")
        provider.person("cy", preferred_username="cy", groups=["all", "chiefs"])
        came_back(client, provider, "cy")
        did = client.get("/audit").json()["items"]
        assert [(each["actor"], each["way"], each["role"]) for each in did][-1:] == [("ana", "oidc", "operator")]


def test_logins_that_were_begun_in_several_tabs_all_come_back_to_where_they_began(provider: Provider):
    with logins(settings(provider)) as client:
        places = [f"/#/event/{number}" for number in range(4)]
        tabs = [begun(client, to) for to in places]
        for there, to in reversed(list(zip(tabs, places, strict=True))):
            answer = client.get(provider.agree(there, "ana"))
            assert (answer.status_code, answer.headers.get("location")) == (303, to), answer.text
        assert carried(client) == {"Cookie": ""}, "nothing is left of them"


def test_a_browser_carries_few_logins_at_once_and_the_first_is_given_up(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
):
    clock = iter(range(1_700_000_000, 1_800_000_000))
    now = next(clock)
    monkeypatch.setattr("itsdangerous.timed.TimestampSigner.get_timestamp", lambda _: now)
    with logins(settings(provider)) as client:
        tabs = []
        for _ in range(6):
            now = next(clock)
            tabs.append(begun(client))
            assert len(carried(client)["Cookie"]) < 6000
        assert carried(client)["Cookie"].count("clipline_login_") == 4
        refused(client.get(provider.agree(tabs[0], "ana")), 400, "login-lost")
        refused(client.get(provider.agree(tabs[1], "ana")), 400, "login-lost")
        for there in tabs[2:]:
            assert client.get(provider.agree(there, "ana")).status_code == 303


def test_cookies_are_for_tls_only_where_the_pages_are_reached_by_it(provider: Provider):
    with logins(settings(provider, public_url="https://clipline.example/")) as client:
        answer = client.get("/session/oidc")
        there = answer.headers["location"]
        assert parse_qs(urlsplit(there).query)["redirect_uri"] == [
            "https://clipline.example/api/v1/session/oidc/callback"
        ]
        cookie = answer.headers["set-cookie"]
        for part in ("Secure", "HttpOnly", "SameSite=lax", "Max-Age=600", "Path=/api/v1/session/oidc"):
            assert part in cookie
        # A client that keeps to it sends it with TLS only: sent by hand here, as the proxy with TLS would.
        back = urlsplit(provider.agree(there, "ana"))
        own = {"Cookie": cookie.partition(";")[0]}
        done = client.get(f"/session/oidc/callback?{back.query}", headers=own)
        assert done.status_code == 303, done.text
        assert all("Secure" in each for each in done.headers.get_list("set-cookie") if each.startswith(COOKIE))


def test_elsewhere_than_on_this_machine_the_settings_say_where_the_pages_are(provider: Provider):
    with logins(settings(provider)) as client:
        refused(client.get("/session/oidc", headers={"Host": "clipline.example"}), 403, "not-local", "public_url")


@pytest.mark.parametrize(
    "to",
    [
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        "/api/v1/session",
        "evil",
        "/#a\r\nX: y",
        "/#\x00",
        "",
    ],
)
def test_nobody_is_sent_on_to_another_site(provider: Provider, to: str):
    with logins(settings(provider)) as client:
        problem(client.get(f"/session/oidc?to={quote(to, safe='')}"), 422, "invalid")


def test_who_is_told_by_a_page_is_sent_back_to_it_and_told_once(provider: Provider):
    with logins(settings(provider)) as client:
        answer = client.get(
            provider.refuse(begun(client, "/#/review")), headers={"Accept": "text/html,application/xhtml+xml"}
        )
        assert (answer.status_code, answer.headers["location"]) == (303, "/#/review")
        told = client.get("/session/ways").json()["problem"]
        assert told["kind"] == "login-refused"
        assert "refused there, by you or by the provider" in told["detail"]
        assert client.get("/session/ways").json()["problem"] is None
        client.cookies.set("clipline_login_problem", "made-up", path="/api/v1/session/ways")
        assert client.get("/session/ways").json()["problem"] is None


# --- who is let in ----------------------------------------------------------------------------------------------------


def test_who_is_in_no_group_is_refused_or_has_the_role_of_all_others(provider: Provider):
    with logins(settings(provider)) as client:
        refused(came_back(client, provider, "eve"), 403, "unknown-user", "'eve'", "no group")
    with logins(settings(provider, default_role="viewer")) as client:
        came_back(client, provider, "eve")
        assert client.get("/session").json()["role"] == "viewer"


def test_who_is_in_more_groups_than_a_cookie_holds_is_told(provider: Provider):
    many = {secrets.token_hex(100): {"role": "viewer"} for _ in range(30)}
    provider.person("max", preferred_username="max", groups=list(many))
    with logins(settings(provider, groups=many)) as client:
        refused(came_back(client, provider, "max"), 403, "unknown-user", "'max'", "too many")


def test_a_table_of_a_user_says_more_than_groups(provider: Provider):
    users = {"ana": {"role": "admin", "cameras": ["dock"]}}
    with logins(settings(provider, users=users)) as client:
        came_back(client, provider)
        found = client.get("/session").json()
        assert (found["role"], found["cameras"], found["way"]) == ("admin", ["dock"], "oidc")


def test_a_session_goes_by_the_settings_of_today_and_ends_with_its_client(provider: Provider):
    with logins(settings(provider)) as client:
        came_back(client, provider)
        cookie = client.cookies[COOKIE]

    def seen(**more: Any) -> dict[str, Any] | None:
        own = {"Cookie": f"{COOKIE}={cookie}"}
        with logins(settings(provider, tokens={"bo": {"hash": f"sha256:{64 * '0'}"}}, **more), **own) as client:
            answer = client.get("/session")
            return answer.json() if answer.is_success else None

    assert (seen() or {})["role"] == "operator"
    assert (seen(groups={"guards": {"role": "viewer"}}) or {})["role"] == "viewer"
    assert seen(groups={"chiefs": {"role": "viewer"}}) is None, "nothing lets in any more"
    assert seen(client_id="another") is None
    assert seen(issuer="http://localhost:1") is None
    assert seen(name_claim="sub") is None, "it may be somebody else's name"
    assert seen(issuer=None, client_id=None, client_secret=None, groups={}) is None
    assert seen(session_hours=1e-6) is None


def test_claims_are_asked_for_where_the_token_lacks_them(provider: Provider):
    def without(claims: dict[str, Any]) -> None:
        del claims["preferred_username"], claims["groups"]

    provider.claims = without
    with logins(settings(provider)) as client:
        assert came_back(client, provider).status_code == 303
        assert client.get("/session").json()["name"] == "ana"
        assert "/userinfo" in provider.asked
        provider.instead["/userinfo"] = (json.dumps({"sub": "eve", "groups": ["chiefs"]}), 200)
        client.cookies.clear()
        refused(came_back(client, provider), 403, "login-refused", "somebody else")


def oidc(**given: Any) -> OidcSettings:
    return OidcSettings.model_validate({"issuer": "https://id.example", "client_id": "clipline", **given})


@pytest.mark.parametrize(
    ("claims", "wanted", "name"),
    [
        ({"preferred_username": "ana", "email": "a@x", "email_verified": True, "sub": "1"}, None, "ana"),
        ({"email": "a@x", "email_verified": True, "sub": "1"}, None, "a@x"),
        ({"email": "a@x", "email_verified": "true", "sub": "1"}, None, "a@x"),
        ({"email": "a@x", "email_verified": False, "sub": "1"}, None, "1"),
        ({"email": "a@x", "sub": "1"}, None, "1"),
        ({"preferred_username": "a b", "sub": "auth0|1"}, None, "auth0|1"),
        ({"preferred_username": "ana", "sub": "1"}, "sub", "1"),
        ({"https://x.example/name": "ana"}, "https://x.example/name", "ana"),
    ],
)
def test_a_name_is_the_first_claim_that_can_be_one(claims: dict[str, Any], wanted: str | None, name: str):
    assert person_of(claims, oidc(name_claim=wanted)).name == name


@pytest.mark.parametrize(
    ("claims", "wanted", "word"),
    [
        ({"sub": "1"}, "upn", "does not say upn"),
        ({"email": "a@x", "sub": "1"}, "email", "not verified"),
        ({"sub": "a\u202eb"}, None, "sub is no name"),
        ({"sub": "x" * 65}, "sub", "sub is no name"),
        ({"sub": 7}, "sub", "sub is no name"),
        ({"sub": "a\nb"}, "sub", "sub is no name"),
    ],
)
def test_who_has_no_name_that_can_be_used_is_told_why(claims: dict[str, Any], wanted: str | None, word: str):
    with pytest.raises(NamelessError, match=word):
        person_of(claims, oidc(name_claim=wanted))


@pytest.mark.parametrize(
    ("said", "claim", "found"),
    [
        ({"groups": ["all", "guards", "x", 7, None]}, "groups", ("all", "guards")),
        ({"groups": "guards"}, "groups", ("guards",)),
        ({"realm_access": {"roles": ["chiefs"]}}, "realm_access.roles", ("chiefs",)),
        ({"https://x.example/roles": ["chiefs"]}, "https://x.example/roles", ("chiefs",)),
        ({"groups": {"guards": True}}, "groups", ()),
        ({"realm_access": ["chiefs"]}, "realm_access.roles", ()),
        ({}, "groups", ()),
    ],
)
def test_groups_are_found_where_the_settings_say(said: dict[str, Any], claim: str, found: tuple[str, ...]):
    assert person_of({"sub": "1", **said}, oidc(groups_claim=claim, groups=GROUPS)) == Person("1", found)


def test_of_several_groups_the_highest_role_counts_with_its_own_cameras():
    groups = {
        "all": {"role": "viewer"},
        "gates": {"role": "operator", "cameras": ["gate*"]},
        "docks": {"role": "operator", "cameras": ["dock*", "gate*"]},
    }
    settings = DashboardSettings(oidc=oidc(groups=groups))
    assert rights_of("ana", ["all", "gates"], settings) == Rights("operator", ("gate*",))
    assert rights_of("ana", ["gates", "docks"], settings) == Rights("operator", ("dock*", "gate*"))
    assert rights_of("ana", ["all"], settings) == Rights("viewer", None)
    assert rights_of("ana", ["gone"], settings) is None


# --- what is refused --------------------------------------------------------------------------------------------------


def test_whoever_did_not_begin_here_is_not_let_in(provider: Provider):
    with logins(settings(provider)) as client, logins(settings(provider)) as other:
        back = provider.agree(begun(client), "ana")
        # Somebody is to be logged in as another: without and with a login of one's own on the way.
        refused(other.get(back), 400, "login-lost", "not begun in this browser")
        begun(other)
        refused(other.get(back), 400, "login-lost")
        state = parse_qs(urlsplit(back).query)["state"][0]
        refused(client.get(back.replace(state, state[:-1] + "?")), 400, "login-lost")
        refused(client.get(back.partition("?")[0]), 400, "login-lost")
        assert "/oauth2/token" not in provider.asked
        other.cookies.clear()
        other.cookies.set(cookie_of(state), "made-up", domain="127.0.0.1", path="/api/v1/session/oidc")
        refused(other.get(back), 400, "login-lost")
        assert client.get(back).status_code == 303, "whoever did is"


def test_a_code_is_good_once(provider: Provider):
    with logins(settings(provider)) as client:
        there = begun(client)
        journey = carried(client)
        back = provider.agree(there, "ana")
        assert client.get(back).status_code == 303
        client.cookies.clear()
        refused(client.get(back), 400, "login-lost")
        refused(client.get(back, headers=journey), 403, "login-refused", "used before")


def wrong(**claims: Any) -> Any:
    def change(found: dict[str, Any]) -> None:
        found.update(claims)
        for name in [name for name, value in claims.items() if value is None]:
            del found[name]

    return change


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (wrong(nonce="another"), "nonce"),
        (wrong(nonce=None), "nonce"),
        (wrong(aud="another"), "aud"),
        (wrong(aud="another", azp="clipline"), "aud"),
        (wrong(aud=["clipline", "another"]), "azp"),
        (wrong(iss="https://evil.example"), "iss"),
        (wrong(exp=int(time.time()) - 3600), "expired"),
        (wrong(iat=int(time.time()) + 3600), "in the future"),
        (wrong(sub=None), "sub"),
        (wrong(at_hash="AAAAAAAAAAAAAAAAAAAAAA"), "at_hash"),
    ],
)
def test_an_id_token_that_is_not_for_this_login_is_refused(provider: Provider, change: Any, word: str):
    provider.claims = change
    with logins(settings(provider)) as client:
        refused(came_back(client, provider), 403, "login-refused", "id_token does not hold", word)


def unsigned(token: str) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none'})}.{token.split('.')[1]}."


def test_an_id_token_that_the_provider_did_not_sign_is_refused(provider: Provider):
    def lenient(said: dict[str, Any]) -> None:
        said["id_token_signing_alg_values_supported"] = ["none", "HS256", "RS256"]

    provider.described = lenient
    with logins(settings(provider)) as client:
        for token in (
            unsigned,
            lambda token: token[:-8] + "AAAAAAAA",
            lambda _: "no.token",
            lambda _: None,
            lambda _: "",
        ):
            provider.token = token
            client.cookies.clear()
            refused(came_back(client, provider), 403, "login-refused", "id_token")
            problem(client.get("/session"), 401, "unauthenticated")


def test_a_refusal_of_the_provider_is_told_in_plain_words_and_what_others_write_is_not(provider: Provider):
    with logins(settings(provider)) as client:
        there = begun(client)
        state = parse_qs(urlsplit(there).query)["state"][0]
        back = f"{provider.refuse(there)}&error_description=Not+on+Sundays%0A"
        refused(client.get(f"{back}&state={state}"), 403, "login-refused", "there, by you or by", "(Not on Sundays)")
        journey = carried(client)
        client.cookies.clear()
        forgetful = client.get(back, headers=journey)
        refused(forgetful, 403, "login-refused", "there, by you or by the provider")
        refused(client.get(f"{back}&state={state}"), 400, "login-lost")
        refused(client.get(back.replace("access_denied", "call 0900"), headers=journey), 400, "login-lost")
        refused(client.get(f"{back}&state={state}x", headers=journey), 400, "login-lost")
        assert "Sundays" not in forgetful.text


# --- the provider -----------------------------------------------------------------------------------------------------


def test_the_server_starts_without_its_provider_and_says_that_it_is_away(provider: Provider):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        gone = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with logins(settings(provider, issuer=gone)) as client:
        begin = time.monotonic()
        refused(client.get("/session/oidc"), 503, "provider-away", gone, "does not answer")
        assert time.monotonic() - begin < 20
        assert client.get("/session/ways").json()["provider"] is not None


def test_a_provider_that_says_nothing_is_waited_for_once_and_not_long(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("consumers.web.oidc.provider._ANSWER_SECONDS", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        issuer = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with served(settings(provider, issuer=issuer)) as (client, _):
            answers: list[httpx.Response] = []
            threads = [
                threading.Thread(target=lambda: answers.append(httpx.get(f"{client.base_url}session/oidc", timeout=60)))
                for _ in range(8)
            ]
            begin = time.monotonic()
            for each in threads:
                each.start()
            for each in threads:
                each.join()
            assert time.monotonic() - begin < 10, "one waits for all"
            for each in answers:
                refused(each, 503, "provider-away", issuer)


def test_what_the_provider_says_of_itself_is_asked_for_once(provider: Provider):
    with logins(settings(provider)) as client:
        for _ in range(3):
            client.cookies.clear()
            assert came_back(client, provider).status_code == 303
        assert provider.asked.count("/.well-known/openid-configuration") == 1
        assert provider.asked.count("/jwks") == 1


def test_a_provider_that_has_a_new_key_lets_in_the_next_who_tries_at_the_latest(provider: Provider):
    with logins(settings(provider)) as client:
        assert came_back(client, provider).status_code == 303
        provider.is_rotating = True
        client.cookies.clear()
        assert came_back(client, provider).status_code in {303, 403}
        client.cookies.clear()
        assert came_back(client, provider).status_code == 303


def test_a_provider_may_have_a_certificate_of_a_ca_of_ones_own(tmp_path: Path):
    ca = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(tls)
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    with openid_provider(tls) as provider:
        provider.person("ana", preferred_username="ana", groups=["guards"])
        with logins(settings(provider)) as client:
            refused(client.get("/session/oidc"), 503, "provider-away", "certificate")
        with logins(settings(provider, ca_file=tmp_path / "ca.pem")) as client:
            assert came_back(client, provider).status_code == 303


def described(**changes: Any) -> Any:
    def change(said: dict[str, Any]) -> None:
        said.update(changes)

    return change


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (described(issuer="https://another.example"), "calls itself https://another.example"),
        (described(token_endpoint="http://id.example/token"), "no token_endpoint with https"),
        (described(authorization_endpoint="javascript:alert(1)"), "no authorization_endpoint"),
        (described(jwks_uri=None), "no jwks_uri"),
        (described(id_token_signing_alg_values_supported=["HS256", "none"]), "no key of its own"),
        (described(id_token_signing_alg_values_supported=7), "not understood"),
    ],
)
def test_a_provider_that_cannot_be_used_is_told(provider: Provider, change: Any, word: str):
    provider.described = change
    with logins(settings(provider)) as client:
        refused(client.get("/session/oidc"), 502, "provider-wrong", word)


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (("<html>", 200), "not understood"),
        (("[1]", 200), "not understood"),
        (("gone", 404), "answers 404"),
        (("broken", 500), "answers 500"),
        ((json.dumps({"issuer": "x" * 1_100_000}), 200), "more than 1,048,576 bytes"),
    ],
)
def test_an_answer_that_is_no_description_is_told(provider: Provider, answer: tuple[str, int], word: str):
    provider.instead["/.well-known/openid-configuration"] = answer
    with logins(settings(provider)) as client:
        refused(client.get("/session/oidc"), 502, "provider-wrong", word)


@pytest.mark.parametrize(
    ("path", "answer", "word"),
    [
        ("/oauth2/token", ('{"error": "invalid_client"}', 401), "client_id with its secret"),
        ("/oauth2/token", ("broken", 500), "answers 500"),
        ("/oauth2/token", ("<html>", 200), "not understood"),
        ("/jwks", ("{}", 200), "not understood"),
        ("/jwks", ("gone", 404), "jwks answers 404"),
    ],
)
def test_a_provider_that_fails_on_the_way_back_is_told(
    provider: Provider, path: str, answer: tuple[str, int], word: str
):
    provider.instead[path] = answer
    with logins(settings(provider)) as client:
        refused(came_back(client, provider), 502, "provider-wrong", word)


def test_secrets_are_in_no_log_and_logins_are(provider: Provider, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG, "consumers")
    with logins(settings(provider)) as client:
        came_back(client, provider)
        client.cookies.clear()
        came_back(client, provider, "eve")
    said = "\n".join(messages_of(caplog, "consumers"))
    assert "ana logs in, as operator, by localhost" in said
    assert "nobody is logged in" in said
    assert "'eve'" in said
    assert "s3cret" not in said


def test_a_client_proves_itself_as_the_provider_wants_it(provider: Provider):
    provider.described = described(token_endpoint_auth_methods_supported=["client_secret_post"])
    with logins(settings(provider)) as client:
        came_back(client, provider)
        assert provider.forms["/oauth2/token"]["client_secret"] == "s3cret"
    provider.forget()
    with logins(settings(provider)) as client:
        came_back(client, provider)
        assert "client_secret" not in provider.forms["/oauth2/token"], "it is in the header"
    with logins(settings(provider, client_secret=None)) as client:
        came_back(client, provider)
        assert provider.forms["/oauth2/token"]["client_id"] == "clipline"


# --- too many, and settings -------------------------------------------------------------------------------------------


def test_logins_that_fail_cannot_be_tried_often(provider: Provider):
    with logins(settings(provider, failures_per_minute=3)) as client:
        for _ in range(5):
            client.cookies.clear()
            assert came_back(client, provider).status_code == 303, "those that hold are not counted"
        client.cookies.clear()
        answers = [client.get("/session/oidc/callback?code=x&state=y").status_code for _ in range(4)]
        assert answers == [400, 400, 400, 429]
        problem(came_back(client, provider), 429, "too-many-requests")


def test_strangers_are_counted(provider: Provider):
    with logins(settings(provider, requests_per_minute=3)) as client:
        answers = [client.get(path).status_code for path in ("/session/ways", "/session/oidc") * 2]
        assert answers == [200, 303, 200, 429]


def test_without_a_provider_there_is_no_way_to_it(provider: Provider):
    with logins(settings_of(NOWHERE, "p", tokens={"bo": {"hash": f"sha256:{64 * '0'}"}})) as client:
        assert client.get("/session/ways").json() == {"password": False, "provider": None, "problem": None}
        problem(client.get("/session/oidc"), 404, "not-found")
        problem(client.get("/session/oidc/callback"), 404, "not-found")


def test_the_settings_say_what_is_wrong_with_them(tmp_path: Path):
    file = tmp_path / "clipline.toml"
    for lines, word in {
        'issuer = "http://id.example"\nclient_id = "c"': "expected https",
        'issuer = "https://id.example"': "issuer and client_id belong together",
        'issuer = "id.example"\nclient_id = "c"': "expected an address such as",
        'issuer = "https://id.example"\nclient_id = "c"': "lets nobody in",
        'issuer = "https://id.example"\nclient_id = "c"\ndefault_role = "viewer"\nscopes = ["email"]': "openid among",
        'issuer = "https://id.example"\nclient_id = "c"\npublic_url = "https://x.example/clip"': "expected no path",
        'client_secret = "${SECRET}"': "client_secret_file",
        'default_role = "viewer"': "expected issuer",
    }.items():
        file.write_text(f"[dashboard.oidc]\n{lines}\n")
        with pytest.raises(SettingsError, match=word):
            load_settings(file, {})
    file.write_text(
        '[dashboard.oidc]\nissuer = "https://id.example/realms/main"\nclient_id = "c"\n'
        '[dashboard.oidc.groups."/staff/guards"]\nrole = "operator"\n'
    )
    found = load_settings(file, {"CLIPLINE_DASHBOARD__OIDC__CLIENT_SECRET": "s"}).dashboard
    assert found.oidc.groups["/staff/guards"].role == "operator"
    assert not found.is_open
    assert client_mark(found.oidc) is not None
    assert client_mark(OidcSettings()) is None


def test_a_package_that_is_missing_is_named(provider: Provider, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, "consumers.web.oidc.provider")
    monkeypatch.setitem(sys.modules, "authlib.integrations.starlette_client", None)
    with (
        pytest.raises(SettingsError, match=r"dashboard\.oidc needs authlib.*pip install 'clipline\[oidc\]'"),
        logins(settings(provider)),
    ):
        pass


def test_a_file_of_the_settings_that_cannot_be_used_is_named_at_the_start(provider: Provider, tmp_path: Path):
    (tmp_path / "empty.pem").write_text("")
    for given, word in (
        ({"ca_file": tmp_path / "none.pem"}, "ca_file"),
        ({"ca_file": tmp_path / "empty.pem"}, "ca_file"),
        ({"client_secret": None, "client_secret_file": tmp_path / "none"}, "client_secret_file"),
    ):
        with pytest.raises(SettingsError, match=word), logins(settings(provider, **given)):
            pass


# --- in a browser -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_somebody_comes_from_the_login_page_to_the_wall_and_is_told_when_not(
    provider: Provider, embedded_broker: Service, topics_prefix: str
):
    users = {"bo": {"password_hash": "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$" + "A" * 43}}
    site = Site(settings(provider, embedded_broker.address, topics_prefix, title="Keycloak", users=users))
    site.cameras("gate-1", "dock")
    with served(site.settings) as (client, desk), chromium() as browser:
        ready(desk)
        origin = f"http://{client.base_url.host}:{client.base_url.port}"
        for locale, theme, width in (("en-GB", "light", 390), ("de-DE", "dark", 1440)):
            look = {"viewport": {"width": width, "height": 800}, "color_scheme": theme, "locale": locale}
            with window(browser, origin, **look) as shown:
                shown.page.route(lambda url: "//cdn." in url, lambda route: route.abort())  # of the provider's page
                shown.go("wall?columns=2")
                shown.page.wait_for_selector(".login a.button")
                assert "Keycloak" in shown.text(".login a.button")
                assert shown.count(".login input") == 2
                assert shown.violations() == []
                assert shown.overflow() <= 0
                shown.page.click(".login a.button")
                shown.page.click("text=Deny")
                shown.page.wait_for_selector(".login .error")
                said = {"en-GB": "The login was refused.", "de-DE": "Die Anmeldung wurde abgelehnt."}[locale]
                assert said in shown.text(".login .error")
                assert shown.violations() == []
                assert shown.page.url == f"{origin}/#/wall?columns=2"
                shown.page.reload()
                shown.page.wait_for_selector(".login a.button")
                assert shown.count(".login .error") == 0, "it is told once"
                shown.page.click(".login a.button")
                shown.page.fill("input[name=sub]", "ana")
                shown.page.click("button[type=submit]")
                shown.page.wait_for_selector(".tile")
                assert shown.count(".tile") == 1, "ana has the cameras of guards"
                assert shown.page.url == f"{origin}/#/wall?columns=2"
                shown.page.click("text=ana")
                shown.page.wait_for_selector(".login a.button")
                own = [each for each in shown.complaints if origin in each and "401" not in each]
                assert own == []


@pytest.mark.slow
def test_where_nobody_has_a_password_the_login_page_asks_for_none(
    provider: Provider, embedded_broker: Service, topics_prefix: str
):
    site = Site(settings(provider, embedded_broker.address, topics_prefix))
    with served(site.settings) as (client, desk), chromium() as browser:
        ready(desk)
        with window(browser, f"http://{client.base_url.host}:{client.base_url.port}") as shown:
            shown.go("wall")
            shown.page.wait_for_selector(".login a.button")
            assert shown.count(".login input") == 0
            assert shown.violations() == []
