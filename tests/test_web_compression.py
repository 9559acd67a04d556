"""JSON is sent compressed to who takes it, and nothing else is."""

from __future__ import annotations

import gzip
from typing import Any, cast

import httpx
import pytest

pytest.importorskip("fastapi")

from fastapi import APIRouter, Response
from starlette.testclient import TestClient

from consumers.web import credentials
from consumers.web.app import make_app
from consumers.web.desk import Desk
from consumers.web.routes.pages import takes_gzip
from stream.services import Service
from tests.dashboards import Site, event, ready, served, settings_of

GZIP = {"Accept-Encoding": "gzip, deflate, br"}
PLAIN = {"Accept-Encoding": "identity"}
BODY = b'{"some": "' + b"text " * 1000 + b'"}'


def sent(client: httpx.Client, path: str, **headers: str) -> tuple[httpx.Response, bytes]:
    """An answer, and its bytes as they are sent."""
    with client.stream("GET", path, headers=headers) as answer:
        return answer, b"".join(answer.iter_raw())


def test_lists_are_compressed_and_whoever_has_one_is_told_so_in_either_form(
    embedded_broker: Service, topics_prefix: str
):
    site = Site(settings_of(embedded_broker.address, topics_prefix))
    site.events(*(event(number) for number in range(100)))
    with served(site.settings) as (client, desk):
        ready(desk)
        packed, content = sent(client, "/events?limit=100", **GZIP)
        plain, text = sent(client, "/events?limit=100", **PLAIN)
        assert packed.headers["content-encoding"] == "gzip"
        assert gzip.decompress(content) == text
        assert int(packed.headers["content-length"]) == len(content) < len(text) / 4
        assert "content-encoding" not in plain.headers
        assert packed.headers["etag"] == plain.headers["etag"]
        assert packed.headers["etag"].startswith('W/"'), "not the same bytes for all"
        for encoding in (GZIP, PLAIN):
            known = {**encoding, "If-None-Match": packed.headers["etag"]}
            again, nothing = sent(client, "/events?limit=100", **known)
            assert (again.status_code, nothing) == (304, b"")
            assert again.headers["vary"] == packed.headers["vary"] == plain.headers["vary"]
        assert plain.headers["vary"] == "Authorization, Cookie, Accept-Encoding"
        assert "content-encoding" not in sent(client, "/events?limit=1", **GZIP)[0].headers, "it is small"
        with client.stream("GET", "/events/stream", headers=GZIP) as stream:
            assert stream.status_code == 200
            assert "content-encoding" not in stream.headers


def test_an_answer_with_the_token_of_a_session_stays_as_it_is(embedded_broker: Service, topics_prefix: str):
    hashed = credentials.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("correct horse")
    # So many cameras that it is large.
    cameras = [f"camera-{number}" for number in range(200)]
    users: dict[str, Any] = {"ana": {"password_hash": hashed, "cameras": cameras}}
    with served(settings_of(embedded_broker.address, topics_prefix, users=users)) as (client, _):
        begun = client.post("/session", json={"user": "ana", "password": "correct horse"}, headers=GZIP)
        assert begun.status_code == 201
        found, content = sent(client, "/session", **GZIP)
        assert begun.json()["csrf"].encode() in content
        assert len(content) > 2000
        for each in (begun, found):
            assert "content-encoding" not in each.headers
            assert each.headers["cache-control"] == "no-store, no-transform"


@pytest.mark.parametrize(
    ("media_type", "is_packed"),
    [
        ("application/json", True),
        ("application/json; charset=utf-8", True),
        ("application/problem+json", True),
        ("application/vnd.apple.mpegurl", False),
        ("text/event-stream", False),
        ("text/html", False),
        ("image/webp", False),
        ("video/mp2t", False),
        ("video/mp4", False),
    ],
)
def test_nothing_but_json_is_compressed(media_type: str, *, is_packed: bool):
    router = APIRouter()
    router.add_api_route("/it", lambda: Response(BODY, media_type=media_type))
    # Its routes ask for nothing of the desk.
    with TestClient(make_app(cast(Desk, None), [router])) as client:
        answer = client.get("/it", headers=GZIP)
        assert answer.content == BODY
        assert answer.headers.get("content-encoding") == ("gzip" if is_packed else None)
        assert "content-encoding" not in client.get("/it", headers={"Accept-Encoding": "gzip;q=0, br"}).headers


@pytest.mark.parametrize(
    ("accepted", "is_taken"),
    [
        ("gzip", True),
        ("br, GZIP;q=0.1", True),
        ("*", True),
        ("gzip;q=1.0, *;q=0", True),
        ("br;q=1, *;q=0.5", True),
        ("*;q=1, gzip;q=0", False),
        ("gzip;Q=0", False),
        ("gzip ; q = 0.00", False),
        ("gzip;q=much", False),
        ("gzip;q=nan", False),
        ("br, identity", False),
        ("", False),
    ],
)
def test_gzip_is_sent_to_whoever_does_not_refuse_it(accepted: str, *, is_taken: bool):
    assert takes_gzip(accepted) is is_taken
