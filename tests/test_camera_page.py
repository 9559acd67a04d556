"""More of one camera: its settings without secrets, how it was, what it sent, and what the model sees of it."""

from __future__ import annotations

import io
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import httpx
import numpy as np
import pytest

pytest.importorskip("fastapi")

from consumers.footage_index import FoundFootage
from consumers.records.forgotten import Forgotten
from consumers.records.index.page import FeedRun, IndexedSegment
from consumers.records.states.process import ProcessInfo
from consumers.records.states.worker_state import WorkerCamera, WorkerState
from consumers.topics import ensure_topic_of_forgotten
from consumers.web.cameras import sample as sampling
from consumers.web.cameras.history import LOST, UNKNOWN, StateHistory
from consumers.web.cameras.rate import steps_of
from consumers.web.cameras.snapshot import shown_size
from consumers.web.credentials import token_hash
from stream import Feed, Segmenter, SegmentLimits
from stream.segment import Display
from stream.services import Service
from tests.dashboards import BEGIN_US, SECOND_US, Site, camera_state, now_us, problem, ready, served, settings_of
from tests.footage_sites import BEGIN_US as FILM_US
from tests.footage_sites import attach, footage_settings
from tests.videos import decoded_frames, write_video
from tests.waiting import eventually

MINUTE_US = 60 * SECOND_US


def told(status: str, since: int, at: int, why: str | None = None):
    """What the agent says at second `at`: so since second `since`."""
    state = camera_state("gate-1", status, why)
    feed = replace(state.feed, since_us=since * SECOND_US, data_us=at * SECOND_US, end_us=at * SECOND_US - 400_000)
    return replace(state, feed=feed, time_us=at * SECOND_US)


def works(at: int, behind: float | None = 1.0) -> WorkerState:
    seen = WorkerCamera("gate-1", 0, 0.5, behind, "walk", 0.9, None)
    process = ProcessInfo("hub-worker", "hub", 4, "0.1.0", 0)
    return WorkerState(process, "working", "g", "m", "openvino", (seen,), 0, at * SECOND_US)


def spans(past) -> list[tuple[str, int, int]]:
    return [(s.status, s.from_us // SECOND_US, s.to_us // SECOND_US) for s in past.spans]


# --- how it was -------------------------------------------------------------------------------------------------------


def test_states_follow_one_another_without_a_hole_and_say_why():
    history = StateHistory(600 * SECOND_US)
    for at in range(100, 200, 5):
        history.note_camera(told("live", 50, at))
    history.note_camera(told("stalled", 197, 202, "no packets"))
    history.note_camera(told("stalled", 197, 207, "no packets"))
    history.note_camera(told("live", 210, 212))
    past = history.past("gate-1", 0, 220 * SECOND_US, 214 * SECOND_US)
    assert spans(past) == [(UNKNOWN, 0, 50), ("live", 50, 197), ("stalled", 197, 210), ("live", 210, 214)]
    assert past.spans[2].why == "no packets"
    assert past.blind_seconds == 13


def test_an_agent_that_falls_silent_leaves_the_camera_lost_and_one_that_ended_does_not():
    history = StateHistory(600 * SECOND_US)
    history.note_camera(told("live", 0, 100))
    late = history.past("gate-1", 0, 500 * SECOND_US, 500 * SECOND_US)
    assert spans(late) == [("live", 0, 100), (LOST, 100, 500)]
    # Another agent comes: what lies between nobody knows.
    history.note_camera(told("live", 300, 305))
    assert spans(history.past("gate-1", 0, 310 * SECOND_US, 306 * SECOND_US))[1:] == [
        (LOST, 100, 300),
        ("live", 300, 306),
    ]
    history.note_camera(told("ended", 310, 312))
    ended = history.past("gate-1", 305 * SECOND_US, 900 * SECOND_US, 900 * SECOND_US)
    assert spans(ended) == [("live", 305, 310), ("ended", 310, 900)]
    assert spans(history.past("gate-1", 600 * SECOND_US, 900 * SECOND_US, 900 * SECOND_US)) == [("ended", 600, 900)]


def test_watched_late_blind_and_unknown_add_up():
    history = StateHistory(600 * SECOND_US)
    for at in range(0, 601, 5):
        history.note_camera(
            told("stalled" if 200 <= at < 260 else "live", 200 if 200 <= at < 260 else 260 * (at >= 260), at)
        )
        # Behind for a while, and later on nobody classifies it.
        if 100 <= at <= 500:
            history.note_worker(works(at, behind=90.0 if 300 <= at < 340 else 2.0))
    past = history.past("gate-1", 0, 600 * SECOND_US, 600 * SECOND_US)

    def total(past) -> float:
        return past.watched_seconds + past.late_seconds + past.blind_seconds + past.unknown_seconds

    assert total(past) == 600
    assert past.blind_seconds == 60
    assert past.late_seconds == 40
    assert [(s.from_us // SECOND_US, s.to_us // SECOND_US) for s in past.late] == [(295, 335)]
    # Before any worker was heard, and where this server did not listen yet, nobody knows who classified.
    assert past.unknown_seconds == 100 + 100
    heard = StateHistory(510 * SECOND_US)
    heard._courses, heard._heard = history._courses, history._heard
    past = heard.past("gate-1", 0, 600 * SECOND_US, 600 * SECOND_US)
    assert (total(past), past.late_seconds, past.unknown_seconds) == (600, 40 + 90, 100 + 10)


def test_a_film_that_ended_is_over_and_no_blindness():
    history = StateHistory(0)
    history.note_camera(told("live", 0, 100))
    history.note_camera(told("ended", 100, 105))
    past = history.past("gate-1", 0, 600 * SECOND_US, 600 * SECOND_US)
    assert (past.ended_seconds, past.blind_seconds) == (500, 0)


def test_what_is_kept_of_a_camera_is_bounded_and_old_things_go():
    history = StateHistory(600 * SECOND_US)
    for at in range(0, 20_000, 10):
        history.note_camera(told("live" if at % 20 else "stalled", at, at))
    assert len(history.past("gate-1", 0, 30_000 * SECOND_US, 20_000 * SECOND_US).spans) <= 502
    assert len(history.past("gate-1", 0, 30_000 * SECOND_US, 20_000 * SECOND_US).clock) <= 720
    history.forget(10**6 * SECOND_US)
    assert spans(history.past("gate-1", 0, 10 * SECOND_US, 10**6 * SECOND_US)) == [(UNKNOWN, 0, 10)]


def test_the_clock_is_read_now_and_then():
    history = StateHistory(600 * SECOND_US)
    for at in range(0, 600, 5):
        history.note_camera(told("live", 0, at))
    clock = history.past("gate-1", 0, 600 * SECOND_US, 600 * SECOND_US).clock
    assert [each.at_us // SECOND_US for each in clock] == [0, 120, 240, 360, 480]
    assert {each.offset_us for each in clock} == {400_000}


def test_footage_is_shared_out_by_time():
    run = FeedRun(0, 0, 1, "f", "mpegts", "h264", 64, 48, 0)
    segments = tuple(
        IndexedSegment(run, n, n, start, 1_000_000, n, 1000, begins=True, continued=False)
        for n, start in enumerate((0, 1_000_000, 1_500_000, 4_000_000))
    )
    found = FoundFootage("gate-1", 0, 5_000_000, segments, (), (), 0)
    steps = steps_of(found, 2_000_000)
    assert [each.bytes for each in steps] == [2500, 500, 1000]
    assert [each.segments for each in steps] == [3, 0, 1]
    assert sum(each.covered_us for each in steps) == 4_000_000


# --- the API ----------------------------------------------------------------------------------------------------------


def test_settings_are_shown_without_what_is_secret_and_addresses_to_operators_only(
    embedded_broker: Service, topics_prefix: str
):
    tokens = {name: {"hash": token_hash(name), "role": name} for name in ("viewer", "operator")}
    settings = settings_of(embedded_broker.address, topics_prefix, tokens=tokens)
    cameras = {"gate-1": {"url": "rtsp://ana:s3cret@10.0.0.7/stream?token=0123456789abcdef"}}
    settings = settings.model_validate({**settings.model_dump(exclude_unset=True), "cameras": cameras})
    site = Site(settings)
    site.cameras("gate-1", "dock")
    with served(settings) as (client, desk):
        assert eventually(lambda: desk.view.camera("dock") is not None)

        def asked(name: str, camera: str) -> dict:
            answer = client.get(f"/cameras/{camera}/settings", headers={"Authorization": f"Bearer {name}"})
            assert "s3cret" not in answer.text
            assert "0123456789abcdef" not in answer.text
            return answer.json()

        seen = asked("operator", "gate-1")
        assert seen["source"] == "rtsp://10.0.0.7/stream?token=…"
        assert (seen["is_named"], seen["clip"]["frames"], seen["clip"]["width"]) == (True, 10, 384)
        assert asked("viewer", "gate-1")["source"] is None
        assert asked("operator", "dock")["is_named"] is False


def test_a_camera_tells_how_it_was_what_it_sent_and_what_the_model_sees(
    embedded_broker: Service, topics_prefix: str, tmp_path: Path
):
    settings = footage_settings(embedded_broker.address, topics_prefix, tmp_path)
    site = Site(settings)
    film = write_video(tmp_path / "film.mp4", 60, rate=10, gop=10, size=(64, 48), options={"bf": "0"})
    attach(settings, film, "gate-1", FILM_US)
    state = camera_state("gate-1")
    site.send(site.topics.cameras_state, replace(state, feed=replace(state.feed, end_us=FILM_US + 6 * SECOND_US)))
    with served(settings) as (client, desk):
        ready(desk)
        path = "/cameras/gate-1"
        past = client.get(f"{path}/history").json()
        assert past["items"][-1]["status"] == "live"
        assert sum(past["seconds"].values()) == pytest.approx(6 * 3600, abs=1)
        assert past["clock"][0]["offset_seconds"] == pytest.approx((now_us() - FILM_US) / 1e6, abs=60)

        def footage() -> dict:
            query = {"from": "2026-11-24T08:00:00Z", "to": "2026-11-24T08:00:10Z", "steps": 10}
            return client.get(f"{path}/footage", params=query).json()

        assert eventually(lambda: footage()["covered_seconds"] == pytest.approx(6))
        assert [each["seconds"] for each in footage()["items"]] == [1] * 6 + [0] * 4
        assert sum(each["bytes"] for each in footage()["items"]) > 1000
        assert [each["to"] for each in footage()["gaps"]] == ["2026-11-24T08:00:10.000000Z"]

        sample = client.get(f"{path}/sample").json()["picture"]
        assert (len(sample["frames"]), sample["columns"], sample["width"], sample["height"]) == (10, 5, 960, 768)
        answer = client.get(httpx.URL(str(client.base_url)).join(sample["href"]))
        assert answer.headers["content-type"] == "image/webp"
        assert "max-age=60" in answer.headers["cache-control"]
        with av.open(io.BytesIO(answer.content)) as container:
            image = next(container.decode(video=0)).to_ndarray(format="rgb24")
        assert image.shape == (768, 960, 3)
        assert image.std() > 5
        # It is kept for a moment, and a camera that is not there for somebody has none.
        assert client.get(f"{path}/sample").json() == {"camera": "gate-1", "picture": sample, "why": None, "code": None}
        problem(client.get("/cameras/nobody/sample"), 404, "not-found")
        for each in ("history", "footage", "settings", "sample/picture"):
            problem(client.get(f"/cameras/nobody/{each}"), 404, "not-found")


def test_what_a_browser_cannot_play_has_its_newest_keyframe_as_a_picture(
    embedded_broker: Service, topics_prefix: str, tmp_path: Path
):
    settings = footage_settings(embedded_broker.address, topics_prefix, tmp_path)
    site = Site(settings)
    film = write_video(tmp_path / "film.mp4", 60, codec="libx265", rate=10, gop=10, size=(1280, 720))
    attach(settings, film, "gate-1", FILM_US)
    state = camera_state("gate-1")
    site.send(site.topics.cameras_state, replace(state, feed=replace(state.feed, end_us=FILM_US + 6 * SECOND_US)))
    with served(settings) as (client, desk):
        ready(desk)
        assert eventually(lambda: client.get("/cameras/gate-1/snapshot").json()["picture"] is not None)
        picture = client.get("/cameras/gate-1/snapshot").json()["picture"]
        assert (picture["width"], picture["height"], picture["codec"]) == (640, 360, "hevc")
        # The last group of pictures begins with the sixth second.
        assert picture["time"] == "2026-11-24T08:00:05.000000Z"
        answer = client.get(httpx.URL(str(client.base_url)).join(picture["href"]))
        assert "max-age=60" in answer.headers["cache-control"]
        with av.open(io.BytesIO(answer.content)) as container:
            shown = next(container.decode(video=0)).to_ndarray(format="gray")
        wanted = decoded_frames(film)[50][1]
        small = av.VideoFrame.from_ndarray(wanted, format="gray").reformat(640, 360).to_ndarray()
        assert np.abs(shown.astype(float) - small).mean() < 12
        problem(client.get("/cameras/nobody/snapshot"), 404, "not-found")
        # What is kept for a moment is not shown when it is forgotten meanwhile.
        since_us = FILM_US + 4 * SECOND_US
        ensure_topic_of_forgotten(site.transport, site.topics)
        site.send(site.topics.forgotten, Forgotten("gate-1", since_us, since_us + 9 * SECOND_US, since_us, "ana"))
        assert eventually(lambda: len(desk.view.forgotten) == 1)
        assert client.get("/cameras/gate-1/snapshot").json()["picture"]["time"] == "2026-11-24T08:00:03.000000Z"


@pytest.mark.parametrize(
    ("size", "display", "shown"),
    [
        ((1920, 1080), Display(), (640, 360)),
        ((320, 240), Display(), (320, 240)),
        ((1920, 1080), Display(quarter_turns=1), (640, 1138)),
        ((720, 576), Display(pixel_aspect=Fraction(16, 11)), (640, 352)),
    ],
)
def test_a_snapshot_has_the_shape_of_what_is_to_be_seen(tmp_path: Path, size, display: Display, shown):
    with Feed(str(write_video(tmp_path / "film.mp4", 10))) as feed:
        segmenter = Segmenter("gate", feed.track, SegmentLimits(0.5, 1.0), start_us=FILM_US)
        segment = [s for packet in feed.packets() for s in segmenter.push(packet)] + segmenter.end()
    assert shown_size(replace(segment[0], width=size[0], height=size[1], display=display)) == shown


def test_a_camera_without_footage_or_with_broken_footage_says_so(embedded_broker: Service, topics_prefix: str):
    site = Site(settings_of(embedded_broker.address, topics_prefix))
    site.cameras("gate-1")
    with served(site.settings) as (client, desk):
        ready(desk)
        why = "its agent does not say of what time its footage is"
        none = {"camera": "gate-1", "picture": None, "why": why, "code": "no-time"}
        assert client.get("/cameras/gate-1/sample").json() == none
        problem(client.get("/cameras/gate-1/sample/picture"), 404, "not-found")
        state = camera_state("gate-1")
        site.send(site.topics.cameras_state, replace(state, feed=replace(state.feed, end_us=BEGIN_US)))
        assert eventually(lambda: desk.view.camera("gate-1").state.feed.end_us == BEGIN_US)
        body = client.get("/cameras/gate-1/sample").json()
        assert (body["why"], body["code"]) == ("there is no footage of it of late", "no-footage")


def test_two_views_are_shown_one_above_the_other():
    pictures = [np.full((96, 96, 3), 10 * n, np.uint8) for n in range(3)]
    cells = sampling._views(pictures)
    assert [each.shape for each in cells] == [(96, 48, 3)] * 3
    assert cells[2].min() == cells[2].max() == 20
