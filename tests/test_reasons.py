"""Why a camera gives nothing is told as a code, too: pages translate codes, whatever the words are."""

from __future__ import annotations

import json
import re
import time
from typing import get_args

import pytest

pytest.importorskip("fastapi")

from consumers.records.fields import RecordError
from consumers.records.states.away import Away
from consumers.records.states.camera_state import CameraState
from consumers.records.states.worker_state import WorkerState
from consumers.running.overview import overview
from consumers.web.cameras.decoding import NoSampleCode
from consumers.web.paging import Told
from consumers.web.problems import ProblemCode
from stream import FeedWatch, SourceError
from stream.feeds.agent import Attached
from stream.feeds.reasons import CODES, code_of
from stream.feeds.source import Feed
from tests.test_status import camera, states, worker
from tests.test_web_pages import FOLDER, texts


@pytest.mark.parametrize(
    ("why", "code"),
    [
        ("the footage is over", "over"),
        ("no answer for 10 s", "no-answer"),
        ("server returned 401 Unauthorized (authorization failed)", "not-let-in"),
        ("Connection refused", "refused"),
        ("its codec changes from h264 to hevc", None),
        (None, None),
    ],
)
def test_a_reason_has_a_code_by_how_it_begins(why: str | None, code: str | None) -> None:
    assert code_of(why) == code


def test_a_camera_that_refuses_is_known_by_the_words_of_libav() -> None:
    with pytest.raises(SourceError) as caught, Feed("rtsp://127.0.0.1:1/cam"):
        pass
    watch = FeedWatch("gate", wall_us=lambda: time.time_ns() // 1000)
    watch.update(Attached(problem=caught.value.cause))
    assert watch.state().code == "refused"


def test_the_code_is_in_the_record_and_an_agent_that_gives_none_is_read() -> None:
    state = camera("gate", "ended", why="the footage is over", code="over")
    assert CameraState.decode(state.encode()[2], "t[0]@1").feed.code == "over"
    without = state.encode()[2].replace(b',"code":"over"', b"").replace(b', "code": "over"', b"")
    assert CameraState.decode(without, "t[0]@1").feed.code is None


def test_pages_have_words_for_each_code() -> None:
    of_cameras = {*CODES, "lost", "unheard", "no-data"}
    of_the_api = {*get_args(NoSampleCode), *get_args(ProblemCode), *get_args(Told.model_fields["code"].annotation)}
    for language, known in texts().items():
        missing = {code for code in of_cameras | of_the_api if f"because.{code}" not in known}
        assert not missing, language


def test_pages_know_sentences_by_their_codes_and_never_by_their_words() -> None:
    known = {key.removeprefix("because.") for key in texts()["en"] if key.startswith("because.")}
    assert {each for each in known if not re.fullmatch(r"[a-z]+(-[a-z]+)*", each)} == set()
    assert " UTC" not in "".join(path.read_text("utf-8") for path in FOLDER.glob("core/*.js"))


def test_what_a_worker_waits_for_is_told_as_what_it_is_made_of_too() -> None:
    away = Away("Redis", "redis://hub:6379/0", 1764316800000000)
    state = worker(awaited=(str(away),), away=(away,))
    assert str(away) == "Redis at redis://hub:6379/0 since 08:00:00 UTC"
    assert WorkerState.decode(state.encode()[2], "t[0]@1") == state
    (trouble,) = [each for each in overview(states(state), state.time_us).troubles if each.kind == "awaits"]
    assert (trouble.sentence, trouble.away) == (f"worker {state.name} waits for {away}", away)


def test_a_worker_that_does_not_tell_what_its_words_are_made_of_is_read_and_one_that_tells_nonsense_is_named() -> None:
    body = worker().body()
    del body["away"]
    assert WorkerState.decode(json.dumps(body).encode(), "t[0]@1").away == ()
    body["away"] = ["Redis"]
    with pytest.raises(RecordError, match=r"t\[0\]@1: away 0: expected an object, found 'Redis'"):
        WorkerState.decode(json.dumps(body).encode(), "t[0]@1")
