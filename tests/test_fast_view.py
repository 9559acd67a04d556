"""The fast view of a camera over HTTP: one MP4 that grows, of the pictures as the camera encoded them."""

from __future__ import annotations

import asyncio
import io
import itertools
import math
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

pytest.importorskip("fastapi")

from consumers.forgetting import NOTHING_FORGOTTEN, ForgottenBook
from consumers.records.forgotten import Forgotten
from consumers.settings import Settings, TopicSettings
from consumers.web import credentials
from consumers.web.credentials import Holder, token_hash
from consumers.web.fast import FastFeed, FastFootage, Fragments
from consumers.web.fast import feed as feed_module
from consumers.web.fast.fragments import codec_of
from consumers.web.routes.playing import fast as route_module
from consumers.web.routes.playing.playlists import AnyViewer
from stream import Feed, MemoryTransport, Segment, Segmenter, SegmentLimits
from stream.services import Service
from tests.dashboards import camera_state, problem, ready, served
from tests.footage_sites import BEGIN_US, attach, camera_on, site
from tests.videos import decoded_frames, write_video
from tests.waiting import eventually


def segments_of(path: Path, begin_us: int = BEGIN_US) -> list[Segment]:
    with Feed(str(path)) as feed:
        segmenter = Segmenter("gate", feed.track, SegmentLimits(0.5, 1.0), start_us=begin_us)
        found = [s for packet in feed.packets() for s in segmenter.push(packet)] + segmenter.end()
    return [s for s in found if not s.is_end]


def frames_of(data: bytes) -> list[tuple[float, np.ndarray]]:
    with av.open(io.BytesIO(data), format="mp4") as container:
        return [(f.time, f.reformat(format="gray").to_ndarray()) for f in container.decode(video=0)]


@pytest.mark.parametrize(
    ("codec", "gop", "options", "begin"),
    [
        ("libx264", 30, {"bf": "0"}, "avc1."),
        ("libx264", 250, {"bf": "3"}, "avc1."),
        ("libx264", 30, {"bf": "3", "x264-params": "open-gop=1:scenecut=0"}, "avc1."),
        ("libx265", 45, {}, "hvc1.1."),
    ],
    ids=["as cameras do", "cut amid groups", "open groups", "h265"],
)
def test_fragments_in_a_row_are_the_film_from_time_zero_on(
    tmp_path: Path, codec: str, gop: int, options: dict, begin: str
):
    film = write_video(tmp_path / "film.mp4", 150, codec=codec, gop=gop, options=options)
    fragments = Fragments()
    found = [fragments.add(segment) for segment in segments_of(film)]
    assert len(found) > 3
    assert {each.head for each in found} == {found[0].head}
    assert found[0].codec.startswith(begin)
    assert fragments.origin_us == BEGIN_US
    frames, wanted = frames_of(found[0].head + b"".join(each.body for each in found)), decoded_frames(film)
    assert len(frames) == len(wanted)
    assert all(np.array_equal(one, other) for (_, one), (_, other) in zip(frames, wanted, strict=True))
    assert [time for time, _ in frames] == pytest.approx([number / 30 for number in range(150)], abs=1e-4)


def test_fragments_go_on_where_33_bits_of_the_cameras_clock_end(tmp_path: Path):
    wraps_us = (BEGIN_US * 9 // 100 // (1 << 33) + 1) * (1 << 33) * 100 // 9
    film = write_video(tmp_path / "film.mp4", 90, options={"bf": "0"})
    fragments = Fragments()
    found = [fragments.add(segment) for segment in segments_of(film, wraps_us - 1_500_000)]
    times = [time for time, _ in frames_of(found[0].head + b"".join(each.body for each in found))]
    assert times == pytest.approx([number / 30 for number in range(90)], abs=1e-4)


def test_codecs_are_named_as_browsers_want_them():
    assert codec_of(b"....avcC\x01\x64\x00\x1f\xff") == "avc1.64001F"
    # ISO/IEC 14496-15, annex E.3: main profile, level 3.1, progressive.
    assert codec_of(b"....hvcC\x01\x01\x60\0\0\0\x90\0\0\0\0\0\x5d") == "hvc1.1.6.L93.90"
    with pytest.raises(ValueError, match=r"expected H\.264"):
        codec_of(b"nothing")


def test_what_is_no_footage_is_refused(tmp_path: Path):
    segment = segments_of(write_video(tmp_path / "film.mp4", 30))[0]
    for data in (b"x" * 188, segment.data[:188]):
        with pytest.raises(ValueError, match=r"transport stream|one video|into an MP4"):
            Fragments().add(replace(segment, data=data, frames=0))


def test_a_viewer_who_is_too_slow_goes_on_where_decoding_can_begin(tmp_path: Path):
    film = write_video(tmp_path / "film.mp4", 300, rate=10, gop=20)  # two segments a group
    segments = segments_of(film)
    assert len(segments) > 20

    async def watch() -> tuple[list[Segment], int]:
        feed = FastFeed("gate", asyncio.get_running_loop())
        feed.put(segments[1])  # amid a group
        for segment in segments[2:5]:
            feed.put(segment)
        first = [await feed.next(1) for _ in range(3)]
        for segment in segments[5:25]:
            feed.put(segment)
        await asyncio.sleep(0.01)
        rest = list(itertools.takewhile(lambda s: s is not None, [await feed.next(0.05) for _ in range(9)]))
        return [*first, *rest], feed.dropped

    found, dropped = asyncio.run(watch())
    assert [s.sequence for s in found[:3]] == [2, 3, 4]
    assert 7 <= len(found) - 3 <= 8
    assert found[3].decode_from_us is None
    assert [s.sequence for s in found[3:]] == list(range(found[3].sequence, 25))
    assert dropped > 0


def test_only_so_many_may_watch_and_nothing_is_read_for_nobody():
    async def watch() -> None:
        footage = FastFootage(MemoryTransport, TopicSettings(), 2, NOTHING_FORGOTTEN)
        one, two = footage.watch("gate"), footage.watch("yard")
        assert one is not None
        assert two is not None
        assert footage.watch("gate") is None
        one.dropped, two.dropped = 3, 4
        footage.leave(one)
        footage.leave(one)
        assert footage.dropped == 7
        assert footage.watch("gate") is not None
        assert footage.viewers == 2

    asyncio.run(watch())


def test_a_fast_view_is_one_mp4_that_grows_and_ends_when_the_viewer_goes(
    embedded_broker: Service, topics_prefix: str, tmp_path: Path
):
    film = write_video(tmp_path / "gate.mp4", 100, rate=10, gop=10, options={"bf": "0"})
    here = site(embedded_broker.address, topics_prefix, tmp_path, max_fast_views=1)
    here.cameras("gate")
    with served(here.settings) as (client, desk), camera_on(here.settings, film):
        ready(desk)
        with client.stream("GET", "/cameras/gate/fast.mp4") as answer:
            assert answer.status_code == 200, answer.read()
            assert answer.headers["content-type"].startswith('video/mp4; codecs="avc1.')
            assert answer.headers["clipline-time"].startswith("2026-11-24T08:00:")
            assert client.get("/health").json()["footage"]["fast_views"] == 1
            busy = client.get("/cameras/gate/fast.mp4")
            assert "1 fast views" in problem(busy, 503, "busy")["detail"]
            data = b""
            for piece in answer.iter_bytes():
                data += piece
                if data.count(b"moof") >= 4:
                    break
        assert eventually(lambda: desk.fast.viewers == 0)
        whole = data[: data.rindex(b"moof") - 4]
        frames = frames_of(whole)
        assert len(frames) >= 25
        times = [time for time, _ in frames]
        assert times == pytest.approx([number / 10 for number in range(len(times))], abs=1e-3)


class Place:
    """A desk's places for viewers: which of them have left, and which connections were cut."""

    def __init__(self, slow_seconds: float) -> None:
        self.settings = Settings.model_validate({"serve": {"slow_seconds": slow_seconds}})
        self.fast = self.streams = self.access = self
        self.is_in = True
        self.slow = 0
        self.left: list[FastFeed] = []
        self.cut: list[object] = []

    def holds(self, holder: Holder) -> bool:
        return self.is_in

    def leave(self, feed: FastFeed) -> None:
        self.left.append(feed)

    def abort(self, client: object) -> None:
        self.cut.append(client)


def answered(place: Place, segments: list[Segment], *, takes: bool = True, until: float = math.inf) -> list[bytes]:
    """What a viewer of some segments is sent, who takes it or does not."""
    sent: list[bytes] = []

    async def send(message: dict) -> None:
        if not takes:
            await asyncio.sleep(60)
        sent.append(message.get("body", b""))

    async def receive() -> dict:
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    async def answer() -> None:
        feed, fragments = FastFeed("gate", asyncio.get_running_loop()), Fragments()
        first = fragments.add(segments[0])
        for segment in segments[1:]:
            feed.put(segment)
        view = route_module._Sent(place, AnyViewer(None, Holder("local"), "a token", until), feed, fragments, first)
        await view({"type": "http", "client": ("10.0.0.9", 1), "asgi": {}}, receive, send)
        assert set(place.left) == {feed}

    asyncio.run(answer())
    return sent


def test_a_viewer_who_takes_nothing_loses_the_place_to_others(tmp_path: Path):
    place = Place(0.1)
    answered(place, segments_of(write_video(tmp_path / "film.mp4", 30)), takes=False)
    assert place.cut == [("10.0.0.9", 1)]


def test_a_view_ends_where_the_camera_goes_on_with_what_no_browser_plays(tmp_path: Path):
    one, other, *_ = segments_of(write_video(tmp_path / "film.mp4", 90))
    place = Place(30)
    assert len(answered(place, [one, replace(other, codec="av1")], takes=True)) == 3  # begin, fragment, end
    assert place.cut == []


def test_a_view_ends_once_whoever_watches_is_not_let_in_any_more(tmp_path: Path):
    segments = segments_of(write_video(tmp_path / "film.mp4", 90))
    place = Place(30)
    place.is_in = False
    assert len(answered(place, segments)) == 3, "begin, the first fragment, end"
    began = time.monotonic()
    assert len(answered(Place(30), segments[:2], until=time.time() + 3)) == 4, "with its token's time, though silent"
    assert time.monotonic() - began < 15


def test_whoever_logs_out_sees_no_more_though_the_camera_is_silent(
    embedded_broker: Service, topics_prefix: str, tmp_path: Path
):
    film = write_video(tmp_path / "gate.mp4", 50, rate=10, gop=10, options={"bf": "0"})
    hashed = credentials.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("correct horse")
    here = site(
        embedded_broker.address,
        topics_prefix,
        tmp_path,
        users={"ana": {"password_hash": hashed}},
        requests_per_minute=6,
    )
    here.cameras("gate")
    with served(here.settings) as (client, desk), camera_on(here.settings, film):
        ready(desk)
        begun = client.post("/session", json={"user": "ana", "password": "correct horse"})
        with client.stream("GET", "/cameras/gate/fast.mp4") as answer:
            assert answer.status_code == 200, answer.read()
            pieces = answer.iter_bytes()
            assert next(pieces)
            time.sleep(3)
            left = {"X-CSRF-Token": begun.json()["csrf"]}
            assert client.delete("/session", headers=left).status_code == 204, "looking is no request"
            began = time.monotonic()
            assert all(piece for piece in pieces)
            assert time.monotonic() - began < 15
        assert eventually(lambda: desk.fast.viewers == 0)


def test_whoever_may_not_see_a_camera_or_whom_nothing_can_be_shown_is_told_so(
    embedded_broker: Service, topics_prefix: str, tmp_path: Path
):
    tokens = {"ana": {"hash": token_hash("ana")}, "bo": {"hash": token_hash("bo"), "cameras": ["dock*"]}}
    here = site(embedded_broker.address, topics_prefix, tmp_path, tokens=tokens)
    here.cameras("gate", "old")
    here.send(here.topics.cameras_state, camera_state("ghost", "connecting"))
    film = write_video(tmp_path / "old.avi", 100, codec="mjpeg", rate=10)
    with served(here.settings, Authorization="Bearer ana") as (client, desk):
        ready(desk)
        problem(client.get("/cameras/nobody/fast.mp4"), 404, "not-found")
        problem(client.get("/cameras/gate/fast.mp4", headers={"Authorization": "Bearer bo"}), 404, "not-found")
        problem(
            client.get("/cameras/gate/fast.mp4", headers={"Authorization": "Bearer nobody"}), 401, "unauthenticated"
        )
        # A camera of which its agent has had nothing yet is not waited for as long as one that sends.
        began = time.monotonic()
        assert "nothing came" in problem(client.get("/cameras/ghost/fast.mp4"), 503, "no-footage-yet")["detail"]
        assert time.monotonic() - began < 15
        with camera_on(here.settings, film, "old"):
            assert "mjpeg" in problem(client.get("/cameras/old/fast.mp4"), 406, "not-playable")["detail"]
        assert desk.fast.viewers == 0


def reading(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set once it is known where somebody's view begins: what comes from then on is handed over."""
    begun, read = threading.Event(), FastFootage._read

    def told(self: FastFootage, *given: Any) -> int:
        at = read(self, *given)
        begun.set()
        return at

    monkeypatch.setattr(FastFootage, "_read", told)
    return begun


def test_what_comes_late_of_a_forgotten_stretch_is_handed_to_nobody(
    embedded_broker: Service, topics_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(feed_module, "_LOOK_SECONDS", 0.01)
    here = site(embedded_broker.address, topics_prefix, tmp_path)
    begun = reading(monkeypatch)
    segments = segments_of(write_video(tmp_path / "gate.mp4", 40, rate=10, gop=10))
    gone = segments[1]
    book = ForgottenBook([Forgotten("gate", gone.start_us, gone.end_us, gone.end_us, "ana")])

    async def watch(footage: FastFootage) -> list[int]:
        feed = footage.watch("gate")
        assert feed is not None
        await asyncio.to_thread(begun.wait, 20)
        here.send(here.topics.segments, *segments)
        return [one.sequence for _ in segments[1:] if (one := await feed.next(10)) is not None]

    with FastFootage(lambda: here.transport, here.topics, 2, book) as footage:
        found = asyncio.run(watch(footage))
    assert found == [s.sequence for s in segments if s is not gone]


def test_records_that_are_no_segments_are_passed_over_and_counted(
    embedded_broker: Service, topics_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(feed_module, "_LOOK_SECONDS", 0.01)
    begun = reading(monkeypatch)
    film = write_video(tmp_path / "gate.mp4", 20, rate=10, gop=10)
    here = site(embedded_broker.address, topics_prefix, tmp_path)
    here.cameras("gate")

    async def watch(footage: FastFootage) -> Segment | None:
        feed = footage.watch("gate")
        assert feed is not None
        await asyncio.to_thread(begun.wait, 20)
        producer = here.transport.producer()
        producer.send(here.topics.segments, b"gate", [], b"no segment")
        producer.flush()
        producer.close()
        await asyncio.to_thread(attach, here.settings, film)
        return await feed.next(10)

    with FastFootage(lambda: here.transport, here.topics, 2, NOTHING_FORGOTTEN) as footage:
        found = asyncio.run(watch(footage))
    assert found is not None
    assert footage.left_out == 1
