"""Damaged and malicious segments: each ends decoded, or refused with its reason, within bounds of time and memory."""

from __future__ import annotations

import io
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest

from consumers.live.worker import Worker
from consumers.records.dead_letter import DeadLetter
from consumers.settings import Settings
from consumers.topics import ensure_topics
from stream import ClipSpec, DecodeLimits, Decoder, MemoryTransport, Picture, Segment, SegmentError, attach, decode
from tests.replays import RULES, SPEC, Brightness, work_off
from tests.videos import write_video

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
PICTURE = ClipSpec(frames=4, spacing_us=100_000, stride_us=200_000, height=32, width=32).picture


@pytest.fixture(scope="module")
def fuzzing():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        import damage
        import fuzz

        yield fuzz, damage


@pytest.fixture(scope="module")
def films(fuzzing, tmp_path_factory: pytest.TempPathFactory):
    return fuzzing[1].corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def whole(films) -> Segment:
    """Half a second of H.264."""
    first = films[0][0]
    return Segment.decode(first.key, first.headers, first.value, "whole")


def test_damaged_segments_end_decoded_or_refused_with_a_reason(fuzzing, films):
    """`make fuzz` decodes many more."""
    fuzz, _ = fuzzing
    outcomes = fuzz.Outcomes()
    assert list(fuzz.fuzz(films, 20261128, range(300), outcomes)) == []
    assert outcomes.decoded > 100
    assert outcomes.refused > 50
    assert outcomes.unforeseen == {}


def test_a_case_can_be_done_again(fuzzing, films):
    damage = fuzzing[1].Damage
    assert damage(films, 5).of(77) == damage(films, 5).of(77) != damage(films, 6).of(77)


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp8", "vp9", "mjpeg"])
def test_pictures_that_claim_to_be_huge_are_refused(fuzzing, films, codec: str, monkeypatch: pytest.MonkeyPatch):
    _, damage = fuzzing
    monkeypatch.setattr(damage, "_SIZES", [(16000, 16000)])
    own = next(film[0] for film in films if film[0].codec == codec)
    bomb = damage._Case(damage.random.Random(1), own, own).resized(own.value)
    segment = replace(Segment.decode(own.key, own.headers, own.value, "t"), data=bomb)
    with pytest.raises(SegmentError) as refused:
        decode(segment, [segment.start_us], PICTURE)
    assert "16000x16000" in str(refused.value) or codec in {"hevc", "mjpeg", "vp8"}, str(refused.value)


def test_a_picture_as_wide_as_a_line_is_not_scaled_to_its_height(tmp_path):
    with io.BytesIO() as file:
        with av.open(file, "w", format="matroska") as out:
            stream = out.add_stream("ffv1", rate=10)
            stream.width, stream.height, stream.pix_fmt = 16_000, 2, "yuv420p"
            frame = av.VideoFrame(16_000, 2, "yuv420p")
            frame.pts, frame.time_base = 0, Fraction(1, 10)
            out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
        data = file.getvalue()
    line = Segment("a", 0, 0, 0, 100_000, "matroska", "ffv1", 16_000, 2, 1, 0, data)
    with pytest.raises(SegmentError, match="16000x2, too narrow"):
        decode(line, [0], Picture(160, 160, "crop"))
    assert decode(line, [0], Picture(160, 160)).samples[0].image.shape == (160, 160, 3)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (DecodeLimits(max_pixels=1000), "pictures of 64x48: the limit is 0.001 million pixels"),
        (DecodeLimits(max_seconds=1e-9), "decoding takes more than 1e-09 s of processor time"),
        (DecodeLimits(max_picture_bytes=5000), "2 pictures of 32x32 are wanted of it: the limit is 0 MiB"),
    ],
)
def test_what_a_segment_asks_for_is_limited(whole: Segment, limits: DecodeLimits, said: str):
    times = [whole.start_us, whole.start_us + 200_000]
    for decoding in (
        lambda segment: decode(segment, times, PICTURE, "topic[0]@7", limits),
        lambda segment: Decoder(PICTURE, limits).decode(replace(segment, continued=True), times, "topic[0]@7"),
    ):
        with pytest.raises(SegmentError) as refused:
            decoding(whole)
        assert str(refused.value).startswith("topic[0]@7: ")
        assert said in str(refused.value)


def test_time_that_a_process_was_stopped_does_not_count(whole: Segment, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(time, "monotonic", lambda: time.time() * 1e6)
    assert len(decode(whole, [whole.start_us], PICTURE, limits=DecodeLimits(max_seconds=5)).samples) == 1


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x1aE\xdf\xa3" + bytes(500), "Matroska or WebM"),
        (bytes(4) + b"ftypisom" + bytes(500), "MP4"),
        (b"\0\0\0\1\x67" + bytes(500), "H.264 or H.265 without a container"),
        (b'{"error": "no camera"}' + bytes(500), "JSON"),
        (bytes(500), "nothing that is known, 00 00 00 00"),
    ],
)
def test_what_is_in_another_container_than_it_says_is_told_as_what_it_is(whole: Segment, data: bytes, kind: str):
    with pytest.raises(SegmentError) as refused:
        decode(replace(whole, data=data), [whole.start_us], PICTURE, "t[0]@1")
    assert str(refused.value) == f"t[0]@1: cannot be opened as mpegts: no track is found; the bytes begin as {kind}"


def test_a_worker_has_the_limits_of_its_settings(tmp_path):
    film = write_video(tmp_path / "a.mp4", 20, rate=10, gop=5, size=(64, 48))
    settings = Settings.model_validate({"worker": {"start": "earliest", "max_megapixels": 0.001}})
    transport = MemoryTransport()
    ensure_topics(transport, settings.topics)
    attach(
        str(film), "gate", transport.producer(), settings.topics.segments, pace="max", start_us=1_700_000_000_000_000
    )
    worker = Worker(transport, Brightness(), SPEC, RULES, settings)
    work_off(worker)
    letters = [
        DeadLetter.decode(r.key, r.headers, r.value, r.where)
        for r in transport.read(transport.offsets(settings.topics.deadletter))
    ]
    assert len(letters) == worker.counts["gate"].dead_letters > 0
    assert "pictures of 64x48: the limit is 0.001 million pixels" in letters[0].reason
