"""Why a camera that was attached by hand ended: its film was over, or somebody had the agent stop."""

from __future__ import annotations

from pathlib import Path

import pytest

from consumers.running.ending import Ending
from consumers.running.state_topics import read_states
from stream import KafkaTransport, Pace, SourceError
from stream.services import Service
from tests.footage_sites import attach, footage_settings
from tests.videos import write_video


@pytest.mark.parametrize(
    ("pace", "is_stopped", "why"),
    [
        ("max", False, "the footage is over"),
        ("realtime", False, "the footage is over"),
        ("max", True, "the agent stopped"),
    ],
    ids=["max", "realtime", "stopped"],
)
def test_a_film_that_is_over_says_so(
    embedded_broker: Service,
    topics_prefix: str,
    tmp_path: Path,
    pace: Pace,
    is_stopped: bool,  # noqa: FBT001
    why: str,
) -> None:
    settings, ending = footage_settings(embedded_broker.address, topics_prefix, tmp_path), Ending()
    film = write_video(tmp_path / "gate.mp4", 10, rate=10, gop=10, size=(64, 48))
    if is_stopped:
        ending.ask()
    attach(settings, film, pace=pace, ending=ending)
    feed = read_states(KafkaTransport(settings.broker), settings.topics).cameras["gate"].feed
    assert (feed.status, feed.why, feed.shown, feed.has_failed) == ("ended", why, "ended", False)


def test_what_is_no_video_says_so(embedded_broker: Service, topics_prefix: str, tmp_path: Path) -> None:
    settings = footage_settings(embedded_broker.address, topics_prefix, tmp_path)
    film = tmp_path / "gate.mp4"
    film.write_text("no video")
    with pytest.raises(SourceError) as caught:
        attach(settings, film)
    feed = read_states(KafkaTransport(settings.broker), settings.topics).cameras["gate"].feed
    # Nobody reads it any more, as where a film is over; for whoever looks it has failed.
    assert (feed.status, feed.has_failed, feed.shown) == ("ended", True, "failed")
    assert (feed.why, feed.code) == (caught.value.cause, "no-video")
    assert str(tmp_path) not in caught.value.cause


def test_a_camera_that_fails_by_a_mistake_of_ours_is_not_said_to_have_been_stopped(
    embedded_broker: Service, topics_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = footage_settings(embedded_broker.address, topics_prefix, tmp_path)
    film = write_video(tmp_path / "gate.mp4", 10, rate=10, gop=10, size=(64, 48))

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("consumers.running.attaching.attach", broken)
    with pytest.raises(ZeroDivisionError):
        attach(settings, film)
    feed = read_states(KafkaTransport(settings.broker), settings.topics).cameras["gate"].feed
    assert (feed.shown, feed.why) == ("failed", "internal error: ZeroDivisionError")
