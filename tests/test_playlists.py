"""Footage for players: playlists and segments over HTTP, straight from Kafka, as the camera encoded it."""

from __future__ import annotations

import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("fastapi")

import httpx

from consumers.footage_index import FootageIndex
from consumers.footage_index.timeline import FoundFootage
from consumers.forgetting import NOTHING_FORGOTTEN
from consumers.records.index.page import FeedRun, IndexedSegment
from consumers.settings import Settings
from consumers.web.credentials import token_hash
from consumers.web.playlists import NotPlayableError, live_playlist, recorded_playlist
from consumers.web.playlists import live as live_module
from consumers.web.playlists.live import LiveIndex
from consumers.web.playlists.transport_stream import served as as_served
from stream import Feed, KafkaTransport, Segment, Segmenter, SegmentLimits
from stream.services import EmbeddedBroker, Service
from tests import test_footage_index as indexing
from tests.dashboards import event, problem, ready, served
from tests.footage_sites import BEGIN_US, attach, camera_on, decoded, entries, fetched, site
from tests.videos import decoded_frames, write_video
from tests.waiting import eventually

SECOND_US = 1_000_000
_WRAP = 1 << 33


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds, with pictures that are decoded before others that are shown first."""
    path = tmp_path_factory.mktemp("film") / "gate.mp4"
    return write_video(path, 100, rate=10, gop=40, size=(64, 48), options={"bf": "2", "preset": "ultrafast"})


def segments_of(path: Path, begin_us: int = BEGIN_US) -> list[Segment]:
    with Feed(str(path)) as feed:
        segmenter = Segmenter("gate", feed.track, SegmentLimits(0.5, 1.0), start_us=begin_us)
        found = [s for packet in feed.packets() for s in segmenter.push(packet)] + segmenter.end()
    return [s for s in found if not s.is_end]


def joined(segments: list[Segment]) -> bytes:
    pairs = itertools.pairwise([None, *segments])
    return b"".join(as_served(segment, lambda before=before: before) for before, segment in pairs)


def is_same(frames: list[tuple[int, np.ndarray]], film: Path) -> bool:
    wanted = decoded_frames(film)
    return len(frames) == len(wanted) and all(
        np.array_equal(one, other) for (_, one), (_, other) in zip(frames, wanted, strict=True)
    )


def goes_up(times: list[int]) -> bool:
    return all(one < other for one, other in itertools.pairwise(times))


# --- bytes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("codec", "gop", "options"),
    [
        ("libx264", 30, {"bf": "0"}),
        ("libx264", 250, {"bf": "3"}),
        ("libx264", 30, {"bf": "3", "x264-params": "open-gop=1:scenecut=0"}),
        ("libx265", 45, {}),
    ],
    ids=["as cameras do", "cut amid groups", "open groups", "h265"],
)
def test_segments_in_a_row_are_the_film_on_the_cameras_clock(tmp_path: Path, codec: str, gop: int, options: dict):
    film = write_video(tmp_path / "film.mp4", 150, codec=codec, gop=gop, options=options)
    segments = segments_of(film)
    assert len(segments) > 3
    frames, decoding = decoded(joined(segments))
    assert is_same(frames, film)
    assert [pts for pts, _ in frames] == [BEGIN_US * 9 // 100 % _WRAP + 3000 * number for number in range(150)]
    assert goes_up(decoding)
    # As they are stored, pictures at cuts amid reordered ones are there twice.
    _, stored = decoded(b"".join(s.data for s in segments))
    assert goes_up(stored) == (options.get("bf") == "0")


def test_each_picture_is_also_there_where_the_segment_before_it_is_gone(tmp_path: Path):
    film = write_video(tmp_path / "film.mp4", 90, options={"bf": "3", "x264-params": "open-gop=1:scenecut=0"})
    segments = segments_of(film)
    assert segments[1].decode_from_us is None
    frames, _ = decoded(joined(segments[1:]))
    assert len(frames) == sum(s.frames for s in segments[1:])


def test_the_cameras_clock_goes_on_over_epochs_and_wraps_at_33_bits(tmp_path: Path):
    film = write_video(tmp_path / "film.mp4", 60, options={"bf": "0"})
    # An epoch that ends as the 33 bits do, within its second segment.
    wraps_us = (BEGIN_US * 9 // 100 // _WRAP + 1) * _WRAP * 100 // 9
    begin_us = wraps_us - 1_500_000
    one, two = segments_of(film, begin_us), segments_of(film, begin_us + 2_000_000)
    first = begin_us * 9 // 100
    found = [decoded(as_served(segment, lambda: None))[0] for segment in (*one, *two)]
    ticks = [pts % _WRAP for frames in found for pts, _ in frames]
    assert ticks == [(first + 3000 * number) % _WRAP for number in range(120)]
    assert 0 <= min(ticks) < 3000 < _WRAP - 6000 < max(ticks)


def test_bytes_that_are_no_transport_stream_are_refused(tmp_path: Path):
    segment = segments_of(write_video(tmp_path / "film.mp4", 30))[0]
    for data in (b"x" * 188, segment.data[:-1], segment.data[:188], b"G" + bytes(187)):
        with pytest.raises(ValueError, match=r"transport stream|one video"):
            as_served(replace(segment, data=data, frames=0), lambda: None)


# --- playlists as text ------------------------------------------------------------------------------------------------


def named(number: int, run: FeedRun | None = None, seconds: float = 1.0, **changed) -> IndexedSegment:
    run = run or FeedRun(3, BEGIN_US, 5, "f" * 16, "mpegts", "h264", 64, 48, 2)
    start_us, duration_us = BEGIN_US + round(number * seconds * 1e6), round(seconds * 1e6)
    return replace(
        IndexedSegment(
            run, 100 + number, number, start_us, duration_us, 1000 + 7 * number, 999, begins=True, continued=False
        ),
        **changed,
    )


def test_a_live_playlist_has_the_newest_seconds_with_their_numbers_and_where_feeds_change():
    other = FeedRun(3, BEGIN_US + 30 * SECOND_US, 6, "e" * 16, "mpegts", "h264", 64, 48, 3)
    window = [named(n) for n in range(30)] + [named(n, other, sequence=n - 30) for n in range(30, 33)]
    text = live_playlist(window, 2.0, token="t/k")
    found = entries(text)
    assert "#EXT-X-TARGETDURATION:2\n" in text
    assert [each.number for each in found] == list(range(117, 133))
    assert [each.discontinuity for each in found] == [2] * 13 + [3] * 3
    assert [each.breaks for each in found] == [False] * 13 + [True, False, False]
    assert found[0].time == "2026-11-24T08:00:17.000Z"
    assert found[0].address == f"segments/3-1119.ts?of={BEGIN_US}.17&after=1112&token=t%2Fk"
    # What begins anew goes on from nothing.
    assert found[13].address == f"segments/3-1210.ts?of={BEGIN_US + 30 * SECOND_US}.0&token=t%2Fk"
    # Once the change is the first one, it is in the numbers.
    later = entries(live_playlist([*window[13:], *(named(n, other, sequence=n - 30) for n in range(33, 46))], 2.0))
    assert (later[0].number, later[0].discontinuity, later[0].breaks) == (130, 3, False)


def test_a_live_playlist_begins_where_decoding_can():
    window = [named(n, begins=n % 10 == 0) for n in range(50)]
    assert [each.number for each in entries(live_playlist(window, 2.0))] == list(range(130, 150))
    assert "#EXT-X-START:TIME-OFFSET=-10.000\n" in live_playlist(window, 2.0)
    assert "#EXT-X-START" not in live_playlist([named(n) for n in range(50)], 2.0)
    # But for groups of pictures that are too long for that.
    window = [named(n, begins=n == 0) for n in range(128)]
    assert [each.number for each in entries(live_playlist(window, 2.0))] == list(range(168, 228))


@pytest.mark.parametrize(("longest", "target"), [(2.0, 2), (2.49, 2), (2.5, 4), (9.0, 16)])
def test_the_target_duration_is_the_usual_one_unless_a_segment_is_longer(longest: float, target: int):
    window = [named(0, duration_us=round(longest * 1e6)), *(named(n) for n in range(1, 40))]
    assert f"#EXT-X-TARGETDURATION:{target}\n" in live_playlist(window, 2.0)


def test_what_browsers_do_not_play_is_named():
    other = replace(named(0).run, container="matroska", codec="mjpeg", discontinuity=3)
    with pytest.raises(NotPlayableError, match="mjpeg"):
        live_playlist([named(0), named(1, other)], 2.0)
    # What came after it is played.
    assert [e.number for e in entries(live_playlist([named(1, other), named(2), named(3)], 2.0))] == [102, 103]
    found = FoundFootage("gate", BEGIN_US, BEGIN_US + 9 * SECOND_US, (named(0), named(1, other)), (), (), 0)
    assert len(entries(recorded_playlist(found, 2.0) or "")) == 1
    with pytest.raises(NotPlayableError, match="mjpeg"):
        recorded_playlist(replace(found, segments=(named(1, other),)), 2.0)


def test_a_recorded_playlist_says_where_to_start_and_where_footage_is_missing():
    segments = tuple(named(n) for n in (4, 5, 8, 9))
    context = (named(3, begins=True),)
    found = FoundFootage("gate", BEGIN_US + 4_500_000, BEGIN_US + 10 * SECOND_US, segments, context, (), 0)
    text = recorded_playlist(found, 2.0) or ""
    assert "#EXT-X-START:TIME-OFFSET=1.500,PRECISE=YES\n" in text
    assert text.endswith("#EXT-X-ENDLIST\n")
    assert [each.breaks for each in entries(text)] == [False, False, False, True, False]
    # What can only be decoded behind others is one with them.
    continued = tuple(named(n, begins=n in {4, 7}) for n in range(4, 10))
    text = recorded_playlist(replace(found, segments=continued, context=()), 2.0) or ""
    assert [each.seconds for each in entries(text)] == [3.0, 3.0]
    assert entries(text)[1].address == f"segments/3-1049.ts?of={BEGIN_US}.7&after=1042&with=1056.1063"
    assert "#EXT-X-TARGETDURATION:4\n" in text
    assert recorded_playlist(replace(found, segments=(), context=()), 2.0) is None


# --- what is live -----------------------------------------------------------------------------------------------------


def test_the_newest_segments_are_known_over_takeovers_and_hours_without_a_hole(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(live_module, "_KEPT", 30)
    monkeypatch.setattr("consumers.running.sending.indexing.WRITE_SECONDS", 0.05)
    transport = indexing.broker()
    settings = Settings.model_validate({"topics": {"partitions": indexing.TOPICS.partitions}})

    def numbers(live: LiveIndex) -> list[int]:
        return [s.number for s in live.window("gate").segments or ()]

    with LiveIndex(lambda: transport, settings, NOTHING_FORGOTTEN) as live:
        assert live.window("gate").segments is None
        assert eventually(lambda: live.window("gate").segments == ())
        assert not live.window("gate").is_fresh
        with indexing.agent(transport, 5, "gate", "hall") as (courier, _):
            indexing.send(courier, *(indexing.segment(n) for n in range(3600 - 20, 3600 + 20)))
            indexing.send(courier, indexing.segment(0, camera="hall"))
            assert eventually(lambda: numbers(live) == list(range(10, 40)))
        with indexing.agent(transport, 7) as (courier, _):
            indexing.send(courier, *(indexing.segment(n, claim=7, epoch=3620) for n in range(3620, 3630)))
            assert eventually(lambda: numbers(live) == list(range(20, 50)))
        assert live.window("gate").is_fresh
        window = live.window("gate").segments
        assert [s.run.discontinuity for s in window or ()] == [0] * 20 + [1] * 10
        assert live.holds("gate", window[0].partition, window[0].offset)
        assert not live.holds("hall", window[0].partition, window[0].offset)
        # Whoever comes later finds the same.
        with LiveIndex(lambda: transport, settings, NOTHING_FORGOTTEN) as other:
            assert eventually(lambda: other.window("gate").segments == window)


def test_cameras_that_nobody_watches_any_more_are_forgotten(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(live_module, "_WATCHED_SECONDS", 0.2)
    monkeypatch.setattr(live_module, "_MOST_CAMERAS", 3)
    transport = indexing.broker()
    with LiveIndex(
        lambda: transport, Settings.model_validate({"topics": {"partitions": 2}}), NOTHING_FORGOTTEN
    ) as live:
        for number in range(9):
            live.window(f"camera-{number}")
        assert len(live._cameras) <= 3
        assert eventually(lambda: not live._cameras)


# --- over HTTP --------------------------------------------------------------------------------------------------------


def test_a_recorded_stretch_plays_as_the_film_and_whoever_has_a_segment_is_told_so(
    embedded_broker: Service, topics_prefix: str, tmp_path: Path, film: Path
):
    here = site(embedded_broker.address, topics_prefix, tmp_path)
    attach(here.settings, film)
    with served(here.settings) as (client, desk):
        ready(desk)
        path = "/cameras/gate/recorded.m3u8?from=2026-11-24T08:00:00Z&to=2026-11-24T09:00:00Z"
        answer = client.get(path)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/vnd.apple.mpegurl"
        assert client.get(path, headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
        m3u8 = pytest.importorskip("m3u8")
        parsed = m3u8.loads(answer.text)
        assert (parsed.is_endlist, parsed.target_duration, len(parsed.segments)) == (True, 4, 3)
        frames, decoding = decoded(b"".join(fetched(client, path, answer.text)))
        assert is_same(frames, film)
        assert goes_up(decoding)
        assert desk.footage.segments.reads == 10
        # Of the middle: from where decoding can begin.
        part = client.get("/cameras/gate/recorded.m3u8?from=2026-11-24T08:00:06.5Z&to=2026-11-24T08:00:07Z").text
        assert "#EXT-X-START:TIME-OFFSET=2.500" in part
        frames, _ = decoded(b"".join(fetched(client, path, part)))
        wanted = decoded_frames(film)[40 : 40 + len(frames)]
        assert all(np.array_equal(one, other) for (_, one), (_, other) in zip(frames, wanted, strict=True))
        one = f"/cameras/gate/{entries(answer.text)[1].address}"
        segment = client.get(one)
        assert segment.headers["cache-control"] == "private, max-age=86400, immutable"
        assert client.get(one, headers={"If-None-Match": segment.headers["etag"]}).status_code == 304
        # Nobody is told of what is not there, nor of other cameras' footage.
        here.cameras("gate", "dock")
        ready(desk)
        assert eventually(lambda: client.get("/cameras/dock").status_code == 200)
        for wrong in (
            one.replace("gate", "dock"),
            one.replace("of=1", "of=2"),
            "/cameras/gate/segments/0-99999999.ts",
            "/cameras/gate/segments/77-0.ts",
            "/cameras/gate/segments/0-9999999999999999.ts",
            "/cameras/nobody/live.m3u8",
            path.replace("gate", "dock"),
            "/cameras/gate/recorded.m3u8?from=2026-11-24T07:00:00Z&to=2026-11-24T07:10:00Z",
            "/cameras/gate/recorded.m3u8?from=2026-11-24T08:10:00Z&to=2026-11-24T08:00:00Z",
        ):
            problem(client.get(wrong), 404, "not-found")
        for wrong in ("/cameras/gate/segments/x.ts", "/cameras/gate/segments/1-.ts", "/cameras/gate/recorded.m3u8"):
            problem(client.get(wrong), 422, "invalid")


def test_an_event_has_its_footage(embedded_broker: Service, topics_prefix: str, tmp_path: Path, film: Path):
    here = site(embedded_broker.address, topics_prefix, tmp_path)
    attach(here.settings, film)
    one = event(0, "gate", start_us=BEGIN_US + 4 * SECOND_US, end_us=BEGIN_US + 5 * SECOND_US, peak_us=BEGIN_US)
    here.events(one, event(1, "gate"))
    with served(here.settings) as (client, desk):
        ready(desk)
        path = f"/events/{one.id}/evidence.m3u8?lead_seconds=1&tail_seconds=2"
        text = client.get(path).text
        assert [each.time[17:19] for each in entries(text)] == ["00", "04"]
        assert "TIME-OFFSET=3.000" in text
        frames, _ = decoded(b"".join(fetched(client, path, text)))
        assert len(frames) >= 65
        assert all(
            np.array_equal(one, other) for (_, one), (_, other) in zip(frames, decoded_frames(film), strict=False)
        )
        problem(client.get(f"/events/{event(1, 'gate').id}/evidence.m3u8"), 404, "not-found")


@pytest.mark.slow
def test_a_live_view_goes_on_over_a_restart_and_two_servers_say_the_same(
    embedded_broker: Service, topics_prefix: str, tmp_path: Path
):
    film = write_video(tmp_path / "gate.mp4", 50, rate=10, gop=5, size=(64, 48), options={"bf": "0"})
    here = site(embedded_broker.address, topics_prefix, tmp_path)
    path = "/cameras/gate/live.m3u8"
    with served(here.settings) as (client, desk), served(here.settings) as (other, _):
        ready(desk)

        def live() -> list:
            return entries(client.get(path).text)

        problem(client.get(path), 404, "not-found")
        with camera_on(here.settings, film):
            assert eventually(lambda: client.get("/cameras/gate").status_code == 200)
            first = client.get(path)
            assert first.status_code == 200, first.text
            assert len(entries(first.text)) >= 3
            assert eventually(lambda: live()[-1].number > 6)
            assert [each.number for each in live()] == list(range(live()[-1].number + 1))
        stopped = live()[-1].number
        with camera_on(here.settings, film, start_us=BEGIN_US + 100 * SECOND_US):
            assert eventually(lambda: live()[-1].number > stopped + 3)
        found = live()
        assert [e.number for e in found] == list(range(found[0].number, found[0].number + len(found)))
        breaks = [e.number for e in found if e.breaks]
        assert stopped + 1 in breaks
        # One more, that comes to it late, says the same.
        assert eventually(lambda: client.get(path).text == other.get(path).text)
        with served(here.settings) as (third, third_desk):
            ready(third_desk)
            assert third.get(path).text == client.get(path).text
        frames, decoding = decoded(b"".join(fetched(client, path, client.get(path).text)))
        assert goes_up(decoding)
        assert len(frames) == round(sum(each.seconds for each in live()) * 10)


def test_a_hundred_viewers_cost_one_read(embedded_broker: Service, topics_prefix: str, tmp_path: Path, film: Path):
    here = site(embedded_broker.address, topics_prefix, tmp_path)
    attach(here.settings, film)
    with served(here.settings) as (client, desk):
        ready(desk)
        text = client.get("/cameras/gate/live.m3u8").text
        assert len(entries(text)) == 10
        addresses = [each.address for each in entries(text)]
        with ThreadPoolExecutor(20) as pool:
            asked = [f"/cameras/gate/{address}" for address in addresses for _ in range(20)]
            answers = list(pool.map(client.get, asked))
        assert {answer.status_code for answer in answers} == {200}
        assert desk.footage.segments.reads == 10


def test_what_is_kept_is_bounded_and_what_is_not_there_any_more_is_read_again(
    embedded_broker: Service, topics_prefix: str, tmp_path: Path, film: Path
):
    here = site(embedded_broker.address, topics_prefix, tmp_path, footage_megabytes=0.02)
    attach(here.settings, film)
    with served(here.settings) as (client, desk):
        ready(desk)
        path = "/cameras/gate/live.m3u8"
        text = client.get(path).text
        once = fetched(client, path, text)
        assert sum(map(len, once)) > 20_000
        store = desk.footage.segments
        assert 0 < store.kept_bytes <= 0.02 * 1024 * 1024
        assert store.kept_bytes == sum(len(each.data) for each in (*store._kept.values(), *store._raw.values()))
        health = client.get("/health").json()["footage"]
        assert (health["bytes"], health["segments"], health["left_out"]) == (store.kept_bytes, store.reads, 0)
        assert health["cameras"] == 1
        reads = store.reads
        assert fetched(client, path, text) == once
        assert store.reads > reads


def test_whoever_may_not_see_a_camera_finds_none_and_a_token_opens_its_live_view_only(
    embedded_broker: Service, topics_prefix: str, tmp_path: Path, film: Path, monkeypatch: pytest.MonkeyPatch
):
    tokens = {"ana": {"hash": token_hash("ana")}, "bo": {"hash": token_hash("bo"), "cameras": ["dock*"]}}
    here = site(embedded_broker.address, topics_prefix, tmp_path, tokens=tokens)
    attach(here.settings, film)
    monkeypatch.setattr(live_module, "_KEPT", 5)
    with served(here.settings, Authorization="Bearer ana") as (client, desk):
        ready(desk)
        path = "/cameras/gate/live.m3u8"
        addresses = [f"/cameras/gate/{each.address}" for each in entries(client.get(path).text)]
        recorded = "/cameras/gate/recorded.m3u8?from=2026-11-24T08:00:00Z&to=2026-11-24T09:00:00Z"
        old = f"/cameras/gate/{entries(client.get(recorded).text)[0].address}"
        assert client.get(old).status_code == 200
        for asked in (path, addresses[0], old, recorded):
            problem(client.get(asked, headers={"Authorization": "Bearer bo"}), 404, "not-found")
        token = client.post("/cameras/gate/live-token").json()["token"]
        with httpx.Client(base_url=client.base_url, timeout=60) as player:
            problem(player.get(path), 401, "unauthenticated")
            text = player.get(f"{path}?token={token}").text
            assert all(f"token={token}" in each.address for each in entries(text))
            assert len(fetched(player, path, text)) == 5
            problem(player.get(f"{old}&token={token}"), 404, "not-found")
            problem(player.get(f"{recorded}&token={token}"), 401, "unauthenticated")
            problem(player.get(f"/cameras/dock/live.m3u8?token={token}"), 401, "unauthenticated")
            problem(player.get(f"{path}?token={token}x"), 401, "unauthenticated")


def test_playlists_and_segments_have_a_limit_of_their_own(
    embedded_broker: Service, topics_prefix: str, tmp_path: Path, film: Path
):
    here = site(embedded_broker.address, topics_prefix, tmp_path, requests_per_minute=6, footage_requests_per_minute=12)
    attach(here.settings, film)
    with served(here.settings) as (client, desk):
        ready(desk)
        path = "/cameras/gate/live.m3u8"
        assert [client.get(path).status_code for _ in range(12)] == [200] * 12
        # Where those took long, one or two more are let in.
        refused = next(answer for _ in range(12) if (answer := client.get(path)).status_code != 200)
        problem(refused, 429, "too-many-requests")
        assert client.get("/cameras").status_code == 200


def test_codecs_that_browsers_do_not_play_are_named(embedded_broker: Service, topics_prefix: str, tmp_path: Path):
    film = write_video(tmp_path / "old.avi", 40, codec="mjpeg", rate=10)
    here = site(embedded_broker.address, topics_prefix, tmp_path)
    attach(here.settings, film)
    with served(here.settings) as (client, desk):
        ready(desk)
        for path in (
            "/cameras/gate/live.m3u8",
            "/cameras/gate/recorded.m3u8?from=2026-11-24T08:00:00Z&to=2026-11-24T09:00:00Z",
        ):
            assert "mjpeg" in problem(client.get(path), 406, "not-playable")["detail"]


@pytest.mark.slow
def test_of_a_camera_that_sends_nothing_there_is_no_live_view(
    embedded_broker: Service, topics_prefix: str, tmp_path: Path, film: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("consumers.web.routes.playing.playlists._FIRST_SECONDS", 0.5)
    monkeypatch.setattr(live_module, "FRESH_SECONDS", 1.0)
    here = site(embedded_broker.address, topics_prefix, tmp_path)
    here.cameras("gate", "dock")
    attach(here.settings, film)
    with served(here.settings) as (client, desk):
        ready(desk)
        time.sleep(1.0)
        asked = "/cameras/gate/live.m3u8"
        assert eventually(lambda: "no-footage-yet" in client.get(asked).text)
        answer = client.get(asked)
        assert "nothing has come since 2026-11-24T08:00:10" in problem(answer, 503, "no-footage-yet")["detail"]
        assert answer.headers["retry-after"] == "2"
        assert "stored yet" in problem(client.get("/cameras/dock/live.m3u8"), 503, "no-footage-yet")["detail"]
        # It is on again: so is the view, without being asked in between.
        attach(here.settings, film, start_us=BEGIN_US + 100 * SECOND_US)
        assert eventually(lambda: client.get("/cameras/gate/live.m3u8").status_code == 200)


@pytest.mark.slow
def test_a_broker_that_is_away_is_said_and_playing_goes_on_when_it_is_back(
    topics_prefix: str, tmp_path: Path, film: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("consumers.web.routes.playing.playlists._FIRST_SECONDS", 1.0)
    with EmbeddedBroker() as broker:
        port = int(broker.address.rpartition(":")[2])
        here = site(broker.address, topics_prefix, tmp_path)
        attach(here.settings, film)
        stack = served(here.settings)
        client, desk = stack.__enter__()
        ready(desk)
        path = "/cameras/gate/live.m3u8"
        text = client.get(path).text
        kept = fetched(client, path, text)[0]
    try:
        # What is kept is served on; what is not says why.
        assert client.get(f"/cameras/gate/{entries(text)[0].address}").content == kept
        store = desk.footage.segments
        store._kept.clear()
        store._raw.clear()
        problem(client.get(f"/cameras/gate/{entries(text)[1].address}"), 503, "service-away")
        recorded = "/cameras/gate/recorded.m3u8?from=2026-11-24T08:00:00Z&to=2026-11-24T09:00:00Z"
        problem(client.get(recorded), 503, "service-away")
        with EmbeddedBroker(port=port) as broker:
            # Another film, at the same offsets: nobody is given it for the first one.
            other = write_video(tmp_path / "other.mp4", 50, rate=10, gop=10, size=(64, 48), options={"bf": "0"})
            site(broker.address, topics_prefix, tmp_path)
            attach(here.settings, other, start_us=BEGIN_US + 3600 * SECOND_US)
            assert eventually(lambda: client.get(f"/cameras/gate/{entries(text)[1].address}").status_code == 404)

            def is_other() -> bool:
                found = client.get(path)
                return found.status_code == 200 and entries(found.text)[0].time.startswith("2026-11-24T09")

            assert eventually(is_other)
            frames, _ = decoded(b"".join(fetched(client, path, client.get(path).text)))
            assert is_same(frames, other)
    finally:
        stack.__exit__(None, None, None)


@pytest.mark.slow
def test_what_retention_has_taken_is_no_more_in_playlists_and_that_is_said(
    apache_broker: Service, topics_prefix: str, tmp_path: Path
):
    from kafka import KafkaAdminClient, TopicPartition

    film = write_video(tmp_path / "gate.mp4", 100, rate=10, gop=10, size=(64, 48), options={"bf": "0"})
    here = site(apache_broker.address, topics_prefix, tmp_path)
    attach(here.settings, film)
    with served(here.settings) as (client, desk):
        ready(desk)
        path = "/cameras/gate/recorded.m3u8?from=2026-11-24T08:00:00Z&to=2026-11-24T09:00:00Z"
        before = client.get(path).text
        with FootageIndex(KafkaTransport(here.settings.broker), here.topics) as index:
            found = index.find("gate", BEGIN_US, BEGIN_US + 100 * SECOND_US)
        assert len(entries(before)) == len(found.segments) > 5
        partition = found.segments[0].partition
        admin = KafkaAdminClient(bootstrap_servers=apache_broker.address)
        admin.delete_records({TopicPartition(here.topics.segments, partition): found.segments[4].offset})
        assert entries(client.get(path).text)[0].time == entries(before)[4].time
        problem(client.get(f"/cameras/gate/{entries(before)[0].address}"), 404, "not-found")
        admin.delete_records({TopicPartition(here.topics.segments, partition): found.segments[-1].offset + 1})
        admin.close()
        said = problem(client.get(path), 404, "not-found")["detail"]
        assert f"retention has taken {len(found.segments)} segments" in said
