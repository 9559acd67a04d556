"""Pictures get their order from the codec's headers, and packets without a time get one."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import av
import pytest

from stream import Feed, Segmenter
from stream.feeds.codecs.picture_order import ORDERS, PictureOrder
from stream.feeds.packets import Packet
from stream.feeds.times.timestamps import (
    in_picture_order,
    with_decoding_times,
    with_gaps_filled,
    with_own_decoding_times,
)
from tests.films import write_film

STEP = 40  # Matroska's milliseconds, at 25 a second
STREAMS = {
    "h264": ("libx264", {"bf": "3", "b_strategy": "0"}),
    "h264 pyramid": ("libx264", {"bf": "7", "b-pyramid": "normal", "b_strategy": "0"}),
    "h264 open": ("libx264", {"x264-params": "open-gop=1:bframes=3:keyint=20:min-keyint=20"}),
    "h264 interlaced": ("libx264", {"x264-params": "tff=1:bframes=3", "flags": "+ildct+ilme"}),
    "h264 slices": ("libx264", {"x264-params": "slices=4:bframes=3"}),
    "h264 intra refresh": ("libx264", {"x264-params": "intra-refresh=1:keyint=25"}),
    "h264 baseline": ("libx264", {"profile": "baseline"}),
    "mpeg4": ("mpeg4", {"bf": "2", "b_strategy": "0"}),
    "h265": ("libx265", {}),
    "h265 open": ("libx265", {"x265-params": "log-level=none:keyint=20:open-gop=1:pools=1"}),
    "h265 deep": ("libx265", {"x265-params": "log-level=none:bframes=8:b-adapt=0:keyint=50:pools=1"}),
}


@pytest.fixture(scope="module", params=STREAMS)
def stream(request, tmp_path_factory) -> tuple[PictureOrder, list[Packet]]:
    """Packets with the times that Matroska has, and what tells their order."""
    codec, options = STREAMS[request.param]
    path = write_film(tmp_path_factory.mktemp("film") / "a.mkv", 90, codec=codec, options=options)
    return read(path)


def read(path: Path) -> tuple[PictureOrder, list[Packet]]:
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        order = ORDERS[video.codec_context.name](bytes(video.codec_context.extradata))
        packets = [Packet(bytes(p), p.pts, p.dts, 0, p.is_keyframe) for p in container.demux(video) if p.size]
    return order, packets


def pts(packets: Iterable[Packet]) -> list[int | None]:
    return [packet.pts for packet in packets]


def without(packets: list[Packet], missing: Iterable[int]) -> list[Packet]:
    gone = set(missing)
    return [replace(p, pts=None, dts=None) if i in gone else p for i, p in enumerate(packets)]


@pytest.mark.parametrize("kept", ["nothing", "decoding times", "some times"])
def test_the_order_of_pictures_is_that_of_the_encoder(stream, kept):
    order, packets = stream
    bare = {
        "nothing": [replace(p, pts=None, dts=None) for p in packets],
        "decoding times": [replace(p, pts=None, dts=n * STEP) for n, p in enumerate(packets)],
        "some times": without(packets, (n for n in range(len(packets)) if n % 7)),
    }[kept]
    timed = list(in_picture_order(bare, order, STEP))
    assert pts(timed) == pts(packets)
    dts = [p.dts for p in timed]
    assert all(a < b for a, b in itertools.pairwise(dts))
    assert all(p.dts <= p.pts for p in timed)


@pytest.mark.parametrize(
    "missing", [[0], [0, 1], [5], [5, 6], [50], [0, 40, 80], [89], [88, 89], [*range(30)]], ids=str
)
def test_missing_times_are_those_that_the_neighbours_leave(stream, missing):
    order, packets = stream
    if not order.counts_time:
        pytest.skip("its order tells no distances")
    assert pts(with_gaps_filled(without(packets, missing), order, STEP)) == pts(packets)


@pytest.mark.parametrize("missing", [[0], [1], [10], [10, 11], [59]], ids=str)
def test_missing_times_of_a_codec_that_is_not_reordered(tmp_path, missing):
    packets = [Packet(b"x", n * STEP, n * STEP, 0, keyframe=n == 0) for n in range(60)]
    timed = list(with_gaps_filled(without(packets, missing), None, STEP))
    assert pts(timed) == pts(packets)


def test_a_stream_that_tells_no_time_is_numbered_within_bounds():
    packets = [Packet(b"x", None, None, 0, keyframe=n == 0) for n in range(1000)]
    taken = 0

    def counted() -> Iterable[Packet]:
        nonlocal taken
        for packet in packets:
            taken += 1
            yield packet

    timed = with_gaps_filled(counted(), None, STEP)
    assert next(timed).pts == 0
    assert taken < 300
    assert pts(timed) == [n * STEP for n in range(1, 1000)]


def test_first_packets_without_a_decoding_time_get_one_before_the_others():
    packets = [
        Packet(b"x", time, dts, 0, keyframe=n == 0)
        for n, (time, dts) in enumerate([(0, None), (160, None), (80, 0), (40, 40), (120, 80)])
    ]
    assert [p.dts for p in with_decoding_times(packets, STEP)] == [-80, -40, 0, 40, 80]


@pytest.mark.parametrize("name", ["h264 pyramid", "mpeg4"])
def test_behind_a_step_back_pictures_are_decoded_in_ascending_time(name: str, tmp_path: Path):
    codec, options = STREAMS[name]
    films = [write_film(tmp_path / f"{n}.mkv", 60, codec=codec, options=options) for n in range(2)]
    joined = tmp_path / "joined.mkv"
    joined.write_bytes(b"".join(film.read_bytes() for film in films))
    with Feed(str(joined)) as feed:
        packets = list(feed.packets())
        segmenter = Segmenter("cam", feed.track)
        segments = [s for p in packets for s in segmenter.push(p)] + segmenter.end()
    first, second = packets[:60], packets[60:]
    assert [p.pts for p in second] == [p.pts for p in first]
    assert all(p.dts <= p.pts for p in second)
    assert all(a.dts < b.dts for a, b in itertools.pairwise(second))
    assert sum(s.frames for s in segments) == 120
    assert not any(s.skipped for s in segments)


@pytest.mark.parametrize("live", [False, True])
def test_decoding_times_that_are_those_of_the_screen_are_put_right(live):
    """As libav tells those of a Matroska file whose video begins half a minute after its sound."""
    times = [(0, 0), (160, 160), (80, None), (40, 40), (120, 120), (320, 160), (240, 240), (200, 200), (280, 280)]
    packets = [Packet(b"x", time, dts, 0, keyframe=not time) for time, dts in times]
    timed = list(with_own_decoding_times(packets, STEP, live=live))
    assert pts(timed) == [time for time, _ in times]
    assert [p.dts for p in timed[4:]] == [80, 120, 160, 200, 240]
    if not live:
        assert [p.dts for p in timed[:4]] == [-80, -40, 0, 40]


def test_of_a_camera_no_packet_waits_for_the_next():
    packets = iter([Packet(b"x", time, time, 0, keyframe=True) for time in (0, 40)])
    assert next(with_own_decoding_times(packets, STEP, live=True)).pts == 0
    assert next(packets).pts == 40


def test_damaged_headers_leave_a_picture_where_it_was_decoded(tmp_path):
    order, packets = read(write_film(tmp_path / "a.mkv", 60, options={"bf": "0"}))
    bare = [replace(p, pts=None, dts=None, data=b"\0" * 40 if n == 20 else p.data) for n, p in enumerate(packets)]
    assert pts(in_picture_order(bare, order, STEP)) == pts(packets)


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize(
    "extradata", [b"", b"\x01", b"\0\0\1\x67", b"\0\0\1\x42", b"\x01" + b"\xff" * 40, b"\x01" + bytes(40)]
)
def test_damaged_parameter_sets_are_no_error(codec: str, extradata: bytes):
    order = ORDERS[codec](extradata)
    assert order.key(b"\0\0\1\x65\x88") is None
