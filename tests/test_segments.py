"""Segments of a file, decoded one after the other, are the file."""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from stream import (
    Decoder,
    Feed,
    Packet,
    Picture,
    Sample,
    Segment,
    Segmenter,
    SegmentError,
    SegmentLimits,
    SourceError,
    decode,
    sample_file,
)
from tests.videos import HEIGHT, WIDTH, decoded_frames, write_video

VARIABLE_RATE = [Fraction(n, 30) + Fraction(n % 4, 97) + (Fraction(1, 2) if n > 40 else 0) for n in range(90)]

KINDS = {
    "h264": {"codec": "libx264", "options": {"bf": "0", "preset": "ultrafast"}},
    "h264-b-frames": {"codec": "libx264", "options": {"bf": "3", "preset": "veryfast", "b-pyramid": "normal"}},
    "h264-open-gop": {"codec": "libx264", "options": {"x264-params": "open-gop=1:bframes=3:keyint=20:min-keyint=20"}},
    "h264-long-gop": {"codec": "libx264", "gop": 300, "options": {"bf": "2", "preset": "ultrafast"}},
    "h265": {"codec": "libx265", "options": {"x265-params": "log-level=none:keyint=20:open-gop=0:pools=1"}},
    "h265-open-gop": {"codec": "libx265", "options": {"x265-params": "log-level=none:keyint=20:open-gop=1:pools=1"}},
    "mpeg4": {"codec": "mpeg4", "options": {"bf": "0"}, "gop": 12},
    "mpeg4-b-frames": {"codec": "mpeg4", "options": {"bf": "2"}, "gop": 12},
    "mjpeg": {"codec": "mjpeg"},
    "variable-rate": {"codec": "libx264", "times": VARIABLE_RATE, "options": {"bf": "2"}},
}
#: A whole number of frame intervals, so that the pieces differ between the two.
CUTS = {"default": SegmentLimits(), "short": SegmentLimits(min_seconds=0.25, max_seconds=0.7)}


PICTURE = Picture(HEIGHT, WIDTH)


def make(tmp_path: Path, kind: str, suffix: str = ".mp4", **more) -> Path:
    arguments = {"times": 120, **KINDS[kind], **more}
    return write_video(tmp_path / f"{kind}{suffix}", **arguments)


def segments_of(path: Path, limits: SegmentLimits | None = None, **more) -> list[Segment]:
    with Feed(str(path)) as feed:
        segmenter = Segmenter("cam", feed.track, limits, **more)
        return [s for p in feed.packets() for s in segmenter.push(p)] + segmenter.end()


def frames_of(segments: list[Segment]) -> list[tuple[int, np.ndarray]]:
    """Every frame of every segment, by a decoder of libav that goes on where segments continue one another."""
    frames: list[tuple[int, np.ndarray]] = []
    rate = {"mpegts": 90_000, "matroska": 1_000}[segments[0].container]
    with contextlib.ExitStack() as opened:
        decoder, fed = None, set()
        for segment, following in itertools.zip_longest(segments, segments[1:]):
            if segment.is_end:
                continue
            # libav's own view of the bytes: what any other consumer gets.
            container = opened.enter_context(av.open(io.BytesIO(segment.data), format=segment.container))
            packets = [p for p in container.demux(video=0) if p.size]
            first_pts = packets[0].pts
            for packet in packets:
                ticks = segment.first_tick + packet.pts - first_pts
                packet.pts = segment.epoch_us + round(Fraction(ticks * 1_000_000, rate))
            if not segment.continues:
                decoder, fed, begin_us = container.streams.video[0].codec_context, set(), segment.start_us
                group: list[tuple[int, np.ndarray]] = []
            assert following is None or following.continues == segment.continued
            for packet in [p for p in packets if p.pts not in fed]:
                group += [(f.pts, f.reformat(format="gray").to_ndarray()) for f in decoder.decode(packet)]
                fed.add(packet.pts)
            if not segment.continued:
                group += [(f.pts, f.reformat(format="gray").to_ndarray()) for f in decoder.decode(None)]
                frames += [(t - segments[0].epoch_us, f) for t, f in group if begin_us <= t < segment.end_us]
    return frames


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_segments_decoded_one_after_the_other_give_exactly_the_frames_of_the_file(tmp_path, kind, cut):
    path = make(tmp_path, kind, ".avi" if kind == "mjpeg" else ".mp4")
    expected = decoded_frames(path)
    segments = segments_of(path, CUTS[cut])
    got = frames_of(segments)

    assert len(got) == len(expected) == sum(s.frames for s in segments)
    precision_us = 12 if segments[0].container == "mpegts" else 501
    for (time_us, image), (expected_us, expected_image) in zip(got, expected, strict=True):
        assert abs(time_us - expected_us) <= precision_us
        np.testing.assert_array_equal(image, expected_image)


def samples_of(segments: list[Segment], times_us: Sequence[int], picture: Picture = PICTURE) -> list[Sample]:
    decoder, samples = Decoder(picture), []
    for segment in segments:
        decoded = decoder.decode(segment, [t for t in times_us if segment.start_us <= t < segment.end_us])
        assert decoded.missing is None
        samples += decoded.late + decoded.samples
    return samples


@pytest.mark.parametrize("kind", KINDS)
def test_sampling_takes_the_same_pictures_however_the_file_was_cut(tmp_path, kind):
    path = make(tmp_path, kind, ".avi" if kind == "mjpeg" else ".mp4")
    every_time = range(0, 3_900_000, 130_000)
    cuts = (*CUTS.values(), SegmentLimits(max_seconds=30))
    results = [samples_of(segments_of(path, limits), every_time) for limits in cuts]
    for samples in results[1:]:
        assert [(s.at_us, s.frame_us) for s in samples] == [(s.at_us, s.frame_us) for s in results[0]]
        for one, other in zip(samples, results[0], strict=True):
            np.testing.assert_array_equal(one.image, other.image)


def test_a_sample_is_the_last_frame_at_or_before_its_time(tmp_path):
    path = make(tmp_path, "variable-rate")
    expected = decoded_frames(path)
    for sample in samples_of(segments_of(path), range(0, 3_300_000, 70_000)):
        assert abs(sample.frame_us - max(t for t, _ in expected if t <= sample.at_us + 12)) <= 12


@pytest.mark.parametrize("kind", ["h264", "h264-b-frames", "h264-open-gop", "mpeg4"])
def test_segments_last_from_half_a_second_to_two(tmp_path, kind):
    *segments, _last, end = segments_of(make(tmp_path, kind, times=300))
    assert end.is_end
    assert all(0.5 <= s.seconds <= 2.0 for s in segments)
    assert [s.sequence for s in segments] == list(range(len(segments)))
    for before, after in itertools.pairwise(segments):
        assert before.end_us == after.start_us


def test_a_long_group_of_pictures_is_cut_at_the_limit_and_each_piece_tells_where_decoding_begins(tmp_path):
    segments = segments_of(make(tmp_path, "h264-long-gop", times=180))
    assert [round(s.seconds, 1) for s in segments if s.frames] == [2.0, 2.0, 2.0]
    assert [s.decode_from_us for s in segments] == [None, 0, 0, None]
    assert [s.continued for s in segments] == [True, True, False, False]
    assert len(segments[2].data) < 1.2 * len(segments[0].data), "no piece carries what another does"


def test_bytes_are_bounded_too(tmp_path):
    noise = np.random.default_rng(0)
    path = write_video(
        tmp_path / "a.mp4",
        90,
        gop=30,
        options={"bf": "0", "crf": "10"},
        frame=lambda n, w, h: noise.integers(0, 255, (h, w, 3), np.uint8),
    )
    limits = SegmentLimits(max_bytes=200_000)
    segments = segments_of(path, limits)
    assert all(len(s.data) < 1.1 * limits.max_bytes + 20_000 for s in segments)
    assert sum(s.frames + sum(s.skipped.values()) for s in segments) == 90


def test_audio_is_left_out(tmp_path):
    path = make(tmp_path, "h264", audio=True)
    for segment in segments_of(path):
        if segment.data:
            with av.open(io.BytesIO(segment.data)) as container:
                assert [s.type for s in container.streams] == ["video"]


def test_segments_of_an_epoch_play_as_one_transport_stream(tmp_path):
    path = make(tmp_path, "h264-b-frames")
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(s.data for s in segments_of(path)))
    got, expected = decoded_frames(joined), decoded_frames(path)
    assert len(got) == len(expected)
    assert [t for t, _ in got] == pytest.approx([t for t, _ in expected], abs=12)


def packets_of(path: Path) -> tuple[Feed, list[Packet]]:
    feed = Feed(str(path))
    return feed, list(feed.packets())


def test_a_stream_that_begins_without_a_keyframe_waits_for_one(tmp_path):
    feed, packets = packets_of(make(tmp_path, "h264"))
    with feed:
        segmenter = Segmenter("cam", feed.track)
        segments = [s for p in packets[7:] for s in segmenter.push(p)] + segmenter.end()
    assert segments[0].skipped == {"no_keyframe": 23}
    assert sum(s.frames for s in segments) == 90


def shifted(packet: Packet, ticks: int) -> Packet:
    assert packet.pts is not None
    assert packet.dts is not None
    return Packet(packet.data, packet.pts + ticks, packet.dts + ticks, packet.duration, packet.keyframe)


@pytest.mark.parametrize(("jump_seconds", "gap_seconds"), [(3600, 3600), (-1, 0)])
def test_a_jump_in_time_begins_a_new_epoch(tmp_path, jump_seconds, gap_seconds):
    feed, packets = packets_of(make(tmp_path, "h264"))
    with feed:
        ticks = int(jump_seconds / feed.track.time_base)
        segmenter = Segmenter("cam", feed.track, start_us=1_000_000)
        joined = packets[:60] + [shifted(p, ticks) for p in packets[60:]]
        segments = [s for p in joined for s in segmenter.push(p)] + segmenter.end()
    first, second = sorted({s.epoch_us for s in segments})
    assert first == 1_000_000
    assert second == first + 2_000_000 + gap_seconds * 1_000_000
    assert sum(s.is_end for s in segments) == 2
    assert sum(s.frames for s in segments) == 120


def test_a_packet_without_a_timestamp_ends_the_epoch_and_nothing_is_invented(tmp_path):
    feed, packets = packets_of(make(tmp_path, "h264"))
    with feed:
        segmenter = Segmenter("cam", feed.track)
        lost = Packet(packets[40].data, None, None, 0, keyframe=False)
        joined = [*packets[:40], lost, *packets[41:]]
        segments = [s for p in joined for s in segmenter.push(p)] + segmenter.end()
    assert sum(s.frames for s in segments) == 120 - 20
    assert sum((s.skipped.get("no_timestamp", 0) for s in segments), 0) == 20


@pytest.mark.parametrize("back", [1, 500])
def test_a_small_step_back_in_time_skips_nothing(tmp_path, back):
    feed, packets = packets_of(make(tmp_path, "h264"))
    with feed:
        packets = [
            replace(p, pts=p.pts - back, dts=p.dts - p.duration - back) if number == 7 else p
            for number, p in enumerate(packets)
        ]
        segmenter = Segmenter("cam", feed.track)
        segments = [s for p in packets for s in segmenter.push(p)] + segmenter.end()
    assert len({s.epoch_us for s in segments}) == 1
    assert sum(s.frames for s in segments) == len(packets)


def test_recorded_footage_has_the_same_times_each_time_it_is_read(tmp_path):
    path = make(tmp_path, "h264")
    with Feed(str(path)) as feed:
        first = feed.recorded
    with Feed(str(path)) as feed:
        assert feed.recorded == first


@pytest.mark.parametrize("damage", ["cut", "foreign", "noise"])
def test_undecodable_bytes_are_a_segment_error_that_names_the_record(tmp_path, damage):
    segment = segments_of(make(tmp_path, "h264"))[0]
    data = {
        "cut": segment.data[:300],
        "foreign": b"this is not video" * 100,
        "noise": segment.data[:188] + np.random.default_rng(0).bytes(20_000),
    }[damage]
    broken = Segment(**{f: getattr(segment, f) for f in segment.__slots__ if f != "data"}, data=data)
    with pytest.raises(SegmentError, match=r"^topic\[3\]@77: "):
        decode(broken, [segment.start_us], Picture(32, 32), "topic[3]@77")


def test_sample_file_gives_the_pictures_on_the_grid(tmp_path):
    path = make(tmp_path, "h264-long-gop", times=150)
    [frames] = sample_file(path, spacing_seconds=0.1, height=48, width=80)
    assert frames.shape == (50, 48, 80, 3)
    [part] = sample_file(path, spacing_seconds=0.1, height=48, width=80, start_seconds=1.0, end_seconds=2.0)
    np.testing.assert_array_equal(part, frames[10:20])


def test_centre_crop_keeps_the_middle_and_its_proportions(tmp_path):
    [stretched] = sample_file(make(tmp_path, "h264"), spacing_seconds=1, height=96, width=96)
    [cropped] = sample_file(tmp_path / "h264.mp4", spacing_seconds=1, height=96, width=96, fit="crop")
    [whole] = sample_file(tmp_path / "h264.mp4", spacing_seconds=1, height=96, width=160)
    np.testing.assert_array_equal(cropped, whole[:, :, 32:128])
    assert stretched.shape == cropped.shape


def test_wrong_sources_are_named(tmp_path):
    (tmp_path / "text.mp4").write_text("hello")
    (tmp_path / "empty.mp4").touch()
    sound = tmp_path / "sound.m4a"
    with av.open(str(sound), "w") as out:
        stream = out.add_stream("aac", rate=8000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        silence.rate = 8000
        out.mux(stream.encode(silence))
        out.mux(stream.encode(None))
    for path, words in {
        tmp_path / "missing.mp4": "no such file",
        tmp_path / "text.mp4": "cannot be opened as video",
        tmp_path / "empty.mp4": "cannot be opened as video",
        sound: "no video track",
    }.items():
        with pytest.raises(SourceError, match=words) as caught:
            Feed(str(path))
        assert path.name in str(caught.value)


def test_a_camera_password_never_shows():
    with pytest.raises(SourceError) as caught:
        Feed("rtsp://admin:hunter2@127.0.0.1:1/stream")
    assert "hunter2" not in str(caught.value)
    assert "rtsp://127.0.0.1:1/stream" in str(caught.value)


def test_a_codec_that_nobody_can_decode_is_an_error_that_names_it(tmp_path):
    segment = segments_of(make(tmp_path, "mpeg4"))[0]
    strange = replace(segment, codec="holo", data=segment.data.replace(b"V_MPEG4/ISO/ASP", b"V_HOLOGRAPHIC/7"))
    with pytest.raises(SegmentError, match=r"holo in matroska: this libav has no decoder for it"):
        decode(strange, [segment.start_us], Picture(48, 80))
