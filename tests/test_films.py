"""Films of every shape: each frame has a fate, and each sampled picture is the frame that is shown then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream import Clip, Clipper, ClipSpec, Decoder, Feed, Packet, Segment, Segmenter, SegmentLimits
from tests.videos import number_of, numbered, write_video

SIZE = (96, 48)
FRAMES = 120
#: Of one picture each: what is seen is what is counted.
SPEC = ClipSpec(3, 100_000, 300_000, 24, 48)
QUIET = "log-level=none:pools=1:frame-threads=1"
CODINGS = {
    "h264": ("libx264", ".mp4", {"bf": "0", "preset": "ultrafast"}),
    "h264, B-frames": ("libx264", ".mp4", {"bf": "3", "b-pyramid": "normal", "preset": "veryfast"}),
    "h264, open groups": ("libx264", ".mp4", {"x264-params": "open-gop=1:bframes=3"}),
    "h264, intra refresh": ("libx264", ".mp4", {"x264-params": "intra-refresh=1:bframes=0"}),
    "h264, transport stream": ("libx264", ".ts", {"bf": "2", "preset": "veryfast"}),
    "hevc": ("libx265", ".mp4", {"x265-params": f"{QUIET}:open-gop=0:bframes=3"}),
    "hevc, open groups": ("libx265", ".mp4", {"x265-params": f"{QUIET}:open-gop=1:bframes=3"}),
    "mpeg4": ("mpeg4", ".mp4", {"bf": "2", "sc_threshold": "1000000000"}),
    "av1": ("libsvtav1", ".mkv", {"preset": "12", "svtav1-params": "lp=1:pred-struct=1"}),
    "vp9": ("libvpx-vp9", ".mkv", {"deadline": "realtime", "cpu-used": "8"}),
}


@dataclass(frozen=True)
class Film:
    coding: str
    rate: int
    gop: int

    def file(self, folder: Path) -> Path:
        codec, suffix, options = CODINGS[self.coding]
        path = folder / f"{self.coding}-{self.rate}-{self.gop}{suffix}"
        if not path.exists():
            options = options | ({"sc_threshold": "0"} if codec == "libx264" else {})
            write_video(
                path, FRAMES, codec=codec, rate=self.rate, gop=self.gop, size=SIZE, options=options, frame=numbered
            )
        return path


@dataclass(frozen=True)
class Shape:
    """What becomes of a film on its way: cut at the begin, shown from a frame on, with gaps in its time."""

    cut: int = 0
    discarded: int = 0
    #: Before the frame of this number so many seconds.
    gaps: tuple[tuple[int, float], ...] = ()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("films")


def shaped(
    film: Film, shape: Shape, folder: Path, limits: SegmentLimits
) -> tuple[list[Segment], list[Packet], dict[int, int]]:
    """Segments, the packets that they are of, and the number of each frame by its time in the track."""
    with Feed(str(film.file(folder))) as feed:
        packets = list(feed.packets())
        shown = sorted(p.pts for p in packets)
        number = {pts: n for n, pts in enumerate(shown)}
        tick = feed.track.time_base
        gaps = [(shown[before], round(Fraction(seconds) / tick)) for before, seconds in shape.gaps]

        def later(ticks: int) -> int:
            return ticks + sum(gap for begin, gap in gaps if ticks >= begin)

        moved = [
            replace(p, pts=later(p.pts), dts=later(p.dts), discard=number[p.pts] < shape.discarded) for p in packets
        ]
        numbers = {later(pts): n for pts, n in number.items()}
        moved = moved[shape.cut :]
        zero = min(numbers)
        segmenter = Segmenter("cam", replace(feed.track, zero=zero), limits)
        segments = [s for p in moved for s in segmenter.push(p)] + segmenter.end()
        times = {round((pts - zero) * tick * 1_000_000): n for pts, n in numbers.items()}
        assert not segmenter.skipped
        return segments, moved, times


def watch(segments: Sequence[Segment]) -> tuple[list[Clip], Clipper]:
    clipper, decoder = Clipper(SPEC), Decoder(SPEC.picture)
    clips = [c for s in segments for c in clipper.push(s, decoder.decode(s, SPEC.sample_times_us(s)))]
    clipper.close()
    return clips, clipper


def assert_right(clips: Sequence[Clip], times: dict[int, int]) -> None:
    for clip in clips:
        for time_us, image in zip(clip.times_us, clip.frames, strict=True):
            nearest = min(times, key=lambda t: abs(t - time_us))
            assert abs(nearest - time_us) <= 1_000
            assert number_of(image) == times[nearest]


films = st.builds(Film, st.sampled_from(list(CODINGS)), st.sampled_from([10, 25]), st.sampled_from([12, 50, 200]))
shapes = st.builds(
    Shape,
    st.sampled_from([0, 0, 1, 7, 40]),
    st.sampled_from([0, 0, 1, 20, 33]),
    st.lists(st.tuples(st.integers(1, FRAMES - 1), st.sampled_from([0.5, 3.0, 8.0, 30.0])), max_size=2).map(tuple),
)
limits = st.builds(SegmentLimits, st.sampled_from([0.3, 0.5]), st.sampled_from([0.7, 2.0]))


@given(films, shapes, limits)
# A picture between two gaps comes behind one that lies beyond both.
@example(Film("h264, B-frames", 10, 12), Shape(0, 0, ((106, 3.0), (107, 8.0))), SegmentLimits(0.3, 0.7))
@settings(max_examples=120, deadline=None)
def test_every_frame_has_a_fate_and_every_picture_is_the_right_one(folder, film, shape, limits):
    segments, packets, times = shaped(film, shape, folder, limits)
    clips, clipper = watch(segments)
    skipped = sum(sum(s.skipped.values()) for s in segments) + clipper.skipped.total()
    assert sum(c.frames_spanned for c in clips) + skipped == sum(not p.discard for p in packets)
    assert_right(clips, times)
    reasons = {reason for s in segments for reason in s.skipped}
    if not film.coding.endswith("stream"):
        assert "discontinuity" not in reasons, "nothing is missing there but time"


@given(films, limits)
@settings(max_examples=40, deadline=None)
def test_a_whole_film_is_shown_whole(folder, film, limits):
    segments, _, _ = shaped(film, Shape(), folder, limits)
    assert sum(s.frames for s in segments) == FRAMES
    assert not any(s.skipped for s in segments)
    clips, clipper = watch(segments)
    assert clipper.skipped.keys() <= {"tail"}
    assert len(clips) == int(FRAMES / film.rate / 0.3)


@pytest.mark.slow
@given(films, shapes, limits, st.integers(0, 100), st.integers(0, 100))
@settings(max_examples=60, deadline=None)
def test_a_lost_segment_or_a_late_start_costs_no_more_than_its_group(folder, film, shape, limits, start, lost):
    segments, _, times = shaped(film, shape, folder, limits)
    start, lost = start % len(segments), lost % len(segments)
    received = [s for n, s in enumerate(segments) if n >= start and n != lost]
    clips, clipper = watch(received)
    assert sum(c.frames_spanned for c in clips) + clipper.skipped.total() == sum(s.frames for s in received)
    assert_right(clips, times)
    everything = {(c.epoch_us, c.window) for c in watch(segments)[0]}
    assert {(c.epoch_us, c.window) for c in clips} <= everything


@pytest.mark.parametrize("gop", [1, 12, 250])
def test_frames_that_stand_alone_are_told_as_such(tmp_path, gop):
    path = write_video(
        tmp_path / "a.mp4", [Fraction(12 * n) for n in range(20)], gop=gop, size=SIZE, options={"bf": "0"}
    )
    with Feed(str(path)) as feed:
        segmenter = Segmenter("cam", feed.track)
        segments = [s for p in feed.packets() for s in segmenter.push(p)] + segmenter.end()
    clips, clipper = watch(segments)
    assert clips == []
    assert clipper.skipped == {"sparse": 20}


def test_a_recording_of_a_screen_goes_on_behind_a_long_rest(tmp_path):
    """With B-frames, so that pictures from before the rest come out behind it."""
    times = [Fraction(n, 10) + (20 if n >= 60 else 0) for n in range(120)]
    options = {"bf": "3", "b-pyramid": "normal", "preset": "veryfast", "sc_threshold": "0"}
    path = write_video(tmp_path / "a.mp4", times, gop=500, size=SIZE, options=options, frame=numbered)
    with Feed(str(path)) as feed:
        segmenter = Segmenter("cam", feed.track)
        segments = [s for p in feed.packets() for s in segmenter.push(p)] + segmenter.end()
    clips, clipper = watch(segments)
    assert_right(clips, {round(t * 1_000_000): n for n, t in enumerate(times)})
    assert [c.start_us for c in clips] == [*range(0, 6_000_000, 300_000), *range(26_000_000, 32_000_000, 300_000)]
    assert not clipper.skipped


def test_pictures_that_stand_still_are_told_with_how_long(tmp_path):
    times = [Fraction(n, 10) + (8 if n >= 60 else 0) + (Fraction(1, 2) if n >= 80 else 0) for n in range(120)]
    path = write_video(tmp_path / "a.mp4", times, gop=500, size=SIZE, options={"bf": "2", "sc_threshold": "0"})
    with Feed(str(path)) as feed:
        segmenter = Segmenter("cam", feed.track)
        segments = [s for p in feed.packets() for s in segmenter.push(p)] + segmenter.end()
    assert sum(s.held_us for s in segments) == 8_100_000
