"""Why a camera gives nothing is told as a code, too: pages translate codes, whatever the words are."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from consumers.records.states.camera_state import CameraState
from stream import FeedWatch, SourceError
from stream.feeds.agent import Attached
from stream.feeds.reasons import CODES, code_of
from stream.feeds.source import Feed
from tests.test_status import camera
from tests.test_web_pages import texts


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
    for language, known in texts().items():
        missing = {code for code in {*CODES, "lost", "no-data"} if f"because.{code}" not in known}
        assert not missing, language


def test_what_pages_translate_by_its_words_is_still_said_so() -> None:
    root = Path(__file__).resolve().parents[1]
    files = [*root.glob("stream/feeds/**/*.py"), *root.glob("consumers/**/*.py")]
    sources = "".join(path.read_text("utf-8") for path in files).casefold()
    sentences = {key.removeprefix("because.") for key in texts()["en"] if key.startswith("because.") and " " in key}
    assert {each for each in sentences if each.casefold() not in sources} == set()
