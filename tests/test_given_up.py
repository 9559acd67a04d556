"""A camera that its agent has given up is told from a film that is over, wherever cameras are shown."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

pytest.importorskip("fastapi")

from consumers.notifying.conditions import seen_in
from consumers.records.states.camera_state import CameraState
from consumers.running.overview import Overview, overview
from consumers.running.sending.claims import reader_of
from consumers.terminal.status_view import StatusView
from consumers.web.cameras.history import StateHistory
from consumers.web.routes.watching.cameras import camera_body
from tests.test_status import NOW_US, ago, camera, states

WHY = "invalid data found when processing input"


def given_up(*, age: float = 1.0) -> CameraState:
    return camera("gate", "ended", why=WHY, code="no-video", has_failed=True, since_us=ago(age), age=age)


def shown(state: CameraState) -> Overview:
    return overview(states(state), NOW_US)


def test_the_record_says_so_and_one_of_an_earlier_agent_does_not() -> None:
    state = given_up()
    assert CameraState.decode(state.encode()[2], "t[0]@1") == state
    body = state.body()
    assert (body["status"], body["failed"]) == ("ended", True)
    del body["failed"]
    assert CameraState.decode(json.dumps(body).encode(), "t[0]@1").feed.shown == "ended"


def test_status_shows_it_as_failed_and_as_a_trouble_and_nothing_of_a_film_that_is_over() -> None:
    now = shown(given_up())
    assert now.cameras[0].status == "failed"
    assert now.problems == (f"gate: its agent has given up ({WHY})",)
    assert (now.body()["cameras"][0]["status"], now.body()["cameras"][0]["failed"]) == ("failed", True)
    out = io.StringIO()
    Console(file=out, width=100).print(StatusView(now))
    assert f"its agent has given up ({WHY})" in out.getvalue()
    over = shown(camera("gate", "ended", why="the footage is over", code="over"))
    assert (over.cameras[0].status, over.problems) == ("ended", ())


def test_it_is_shown_for_a_day_and_never_as_lost_and_its_agent_has_ended() -> None:
    later = shown(given_up(age=3 * 3600))
    assert [line.status for line in later.cameras] == ["failed"]
    assert [(line.ended, line.dead) for line in later.agents] == [(True, False)]
    assert shown(given_up(age=25 * 3600)).cameras == ()


def test_whoever_wants_to_may_read_it() -> None:
    assert reader_of(given_up()) is None


def test_the_api_says_that_it_stays_so_with_its_reason() -> None:
    body = camera_body(shown(given_up()).cameras[0])
    assert (body.status, body.over, body.code, body.cause) == ("failed", True, "no-video", WHY)
    tried = camera_body(shown(camera("gate", "failed", why="connection refused", code="refused")).cameras[0])
    assert (tried.status, tried.over) == ("failed", False)
    over = camera_body(shown(camera("gate", "ended", why="the footage is over", code="over")).cameras[0])
    assert (over.status, over.over) == ("ended", True)


def test_notifications_are_told_of_it_as_of_any_camera_that_gives_no_picture() -> None:
    seen = seen_in(shown(given_up(age=60)))["camera", "gate"]
    assert (seen.level, seen.status, seen.since_us) == ("bad", "failed", ago(60))
    assert seen.why == f"its agent has given up ({WHY})"


def test_its_past_goes_on_as_failed_and_is_blindness() -> None:
    history = StateHistory(ago(600))
    history.note_camera(given_up(age=500))
    past = history.past("gate", ago(500), NOW_US, NOW_US)
    assert [(span.status, span.why) for span in past.spans] == [("failed", WHY)]
    assert (past.blind_seconds, past.ended_seconds) == (500.0, 0.0)
