"""Windows depend on the footage alone, and every frame is accounted for."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stream import Clip, Clipper, ClipSpec, Decoder, Feed, Packet, Segment, Segmenter, SegmentLimits, decode
from tests.videos import write_video

SIZE = (64, 48)
STEADY = [Fraction(n, 25) for n in range(90)]
#: Uneven, with a hole of two seconds.
UNEVEN = [Fraction(n, 25) + Fraction(n % 4, 97) + (2 if n > 50 else 0) for n in range(90)]
FOOTAGE = {
    "steady": {"times": STEADY, "gop": 10, "options": {"bf": "0", "preset": "ultrafast"}},
    "uneven": {"times": UNEVEN, "gop": 12, "options": {"bf": "2", "preset": "ultrafast"}},
    "long groups": {"times": STEADY, "gop": 90, "options": {"bf": "3", "preset": "veryfast", "sc_threshold": "0"}},
    "two epochs": {"times": STEADY, "gop": 10, "options": {"bf": "0", "preset": "ultrafast"}, "jump_at": 40},
    "matroska": {"times": 60, "gop": 10, "codec": "mpeg4", "rate": 25, "options": {"bf": "2"}},
}
SPECS = {
    "overlapping": ClipSpec(8, 80_000, 320_000, 24, 32),
    "adjacent": ClipSpec(4, 100_000, 400_000, 24, 32),
    "apart": ClipSpec(3, 70_000, 490_000, 24, 32),
    "off the frame rate": ClipSpec(5, 33_333, 99_999, 24, 32),
}
EPOCH_US = 1_700_000_000_000_000


@pytest.fixture(scope="module")
def footage(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("footage")
    for name, how in FOOTAGE.items():
        write_video(folder / f"{name}.mp4", size=SIZE, **{k: v for k, v in how.items() if k != "jump_at"})
    return folder


def cut(folder: Path, name: str, limits: SegmentLimits) -> list[Segment]:
    return segmented(folder, name, limits)[0]


def segmented(folder: Path, name: str, limits: SegmentLimits) -> tuple[list[Segment], int]:
    """Segments, and how many frames were left out."""
    with Feed(str(folder / f"{name}.mp4")) as feed:
        segmenter = Segmenter("cam", feed.track, limits, start_us=EPOCH_US)
        packets = list(feed.packets())
        if (jump_at := FOOTAGE[name].get("jump_at")) is not None:
            ticks = int(100 / feed.track.time_base)
            packets[jump_at:] = [
                Packet(p.data, p.pts + ticks, p.dts + ticks, p.duration, p.keyframe) for p in packets[jump_at:]
            ]
        segments = [s for p in packets for s in segmenter.push(p)] + segmenter.end()
        return segments, segmenter.skipped.total() + sum(sum(s.skipped.values()) for s in segments)


def run(clipper: Clipper, segments: Sequence[Segment]) -> list[Clip]:
    clips, decoder = [], Decoder(clipper.spec.picture)
    for segment in segments:
        clips += clipper.push(segment, decoder.decode(segment, clipper.spec.sample_times_us(segment)))
    return clips


def by_place(clips: Sequence[Clip]) -> dict[tuple[int, int], Clip]:
    places = {(c.epoch_us, c.window): c for c in clips}
    assert len(places) == len(clips), "a window came twice"
    return places


def assert_same(got: Sequence[Clip], expected: Sequence[Clip]) -> None:
    assert [(c.epoch_us, c.window) for c in got] == [(c.epoch_us, c.window) for c in expected]
    for one, other in zip(got, expected, strict=True):
        assert (one.start_us, one.end_us, one.times_us) == (other.start_us, other.end_us, other.times_us)
        np.testing.assert_array_equal(one.frames, other.frames)


@cache
def whole(folder: Path, name: str, spec_name: str) -> tuple[list[Clip], Counter[str]]:
    clipper = Clipper(SPECS[spec_name])
    clips = run(clipper, cut(folder, name, SegmentLimits(max_seconds=30)))
    return clips, clipper.skipped


limits = st.builds(
    lambda low, more, size: SegmentLimits(low, low + more, size),
    st.floats(0.05, 1.0),
    st.floats(0.0, 1.5),
    st.sampled_from([6_000, 12_000, 8_000_000]),
)
names = st.sampled_from(list(FOOTAGE))
spec_names = st.sampled_from(list(SPECS))


@given(names, spec_names, limits)
@settings(max_examples=60, deadline=None)
def test_windows_do_not_depend_on_how_the_footage_was_cut(footage, name, spec_name, limits):
    expected, skipped = whole(footage, name, spec_name)
    assert len(expected) >= 4
    segments, skipped_when_cutting = segmented(footage, name, limits)
    assume(not skipped_when_cutting)  # what is not there cannot be in a window
    clipper = Clipper(SPECS[spec_name])
    clips = run(clipper, segments)
    assert_same(clips, expected)
    assert [c.frames_spanned for c in clips] == [c.frames_spanned for c in expected]
    assert clipper.skipped == skipped


@given(names, spec_names, limits, st.integers(0, 100))
@settings(max_examples=60, deadline=None)
def test_a_consumer_that_starts_later_sees_the_same_windows_from_where_it_has_all_frames(
    footage, name, spec_name, limits, start
):
    spec, segments = SPECS[spec_name], cut(footage, name, limits)
    start %= len(segments)
    full = run(Clipper(spec), segments)
    decodable = itertools.dropwhile(lambda s: s.continues, segments[start:])
    seen = {(s.epoch_us, s.start_us) for s in decodable}
    first_us = {e: min(t for f, t in seen if f == e) for e, _ in seen}
    expected = [c for c in full if c.epoch_us in first_us and c.start_us >= first_us[c.epoch_us]]
    assert_same(run(Clipper(spec), segments[start:]), expected)


@given(names, spec_names, limits, st.integers(0, 100))
@settings(max_examples=60, deadline=None)
def test_a_restart_from_the_first_segment_that_is_still_needed_misses_no_window(
    footage, name, spec_name, limits, killed_after
):
    spec, segments = SPECS[spec_name], cut(footage, name, limits)
    killed_after %= len(segments)
    clipper = Clipper(spec)
    before = run(clipper, segments[:killed_after])
    needed_us = clipper.needed_from_us
    if needed_us is not None:
        needed_us = clipper.decode_from_us(needed_us)
    # The same rule by which the worker commits: a prefix of segments that nobody needs any more.
    done = itertools.takewhile(
        lambda s: needed_us is None or s.epoch_us != clipper.epoch_us or s.end_us <= needed_us, segments[:killed_after]
    )
    after = run(Clipper(spec), segments[len(list(done)) :])
    expected = by_place(run(Clipper(spec), segments))
    got = by_place(before) | by_place(after)
    assert got.keys() == expected.keys()
    assert_same([got[p] for p in sorted(got)], [expected[p] for p in sorted(expected)])


@given(names, spec_names, limits, st.data())
@settings(max_examples=80, deadline=None)
def test_every_frame_is_classified_or_skipped_for_a_reason(footage, name, spec_name, limits, data):
    segments, skipped_when_cutting = segmented(footage, name, limits)
    assert sum(s.frames for s in segments) + skipped_when_cutting == (60 if name == "matroska" else 90)
    for segment in segments:
        if segment.frames:
            assert len(decode(segment, [], SPECS[spec_name].picture).frame_times_us) == segment.frames
    assert [s.continues for s in segments[1:]] == [s.continued for s in segments[:-1]]
    lost = data.draw(st.sets(st.integers(0, len(segments) - 1), max_size=2))
    again = data.draw(st.lists(st.integers(0, len(segments) - 1), max_size=2))
    received = []
    for number, segment in enumerate(segments):
        if number not in lost:
            received += [segment] * (1 + again.count(number))
    clipper = Clipper(SPECS[spec_name])
    clips = run(clipper, received)
    clipper.close()
    assert clipper.skipped.keys() <= {"head", "tail", "gap", "between", "duplicate", "no_keyframe"}  # none is absent
    assert sum(c.frames_spanned for c in clips) + clipper.skipped.total() == sum(s.frames for s in received)
    by_place(clips)


@given(names, spec_names, limits, st.data())
@settings(max_examples=40, deadline=None)
def test_segments_that_come_again_within_their_epoch_change_nothing(footage, name, spec_name, limits, data):
    segments = cut(footage, name, limits)
    at = data.draw(st.integers(0, len(segments) - 1))
    back = data.draw(st.integers(0, at))
    repeated = [s for s in segments[back : at + 1] if s.epoch_us == segments[at].epoch_us]
    assume(not repeated[-1].is_end)
    clipper = Clipper(SPECS[spec_name])
    clips = run(clipper, [*segments[: at + 1], *repeated, *segments[at + 1 :]])
    assert_same(clips, run(Clipper(SPECS[spec_name]), segments))
    assert clipper.skipped["duplicate"] == sum(s.frames for s in repeated)


def test_of_footage_that_is_sent_again_after_its_end_no_window_is_made_twice(footage):
    segments = cut(footage, "steady", SegmentLimits())
    once, half = run(Clipper(SPECS["overlapping"]), segments), len(segments) // 2
    twice = Clipper(SPECS["overlapping"])
    assert_same(run(twice, [*segments[:half], replace(segments[-1], sequence=half), *segments]), once)
    assert run(twice, segments) == []
    assert twice.skipped["duplicate"] > sum(s.frames for s in segments)


def test_a_window_shows_the_last_frame_at_or_before_each_sample(footage):
    spec = SPECS["overlapping"]
    segments = cut(footage, "uneven", SegmentLimits())
    times = [t for s in segments if s.frames for t in decode(s, [], spec.picture).frame_times_us]
    for clip in run(Clipper(spec), segments):
        grid = [clip.start_us + n * spec.spacing_us for n in range(spec.frames)]
        assert clip.times_us == tuple(max(t for t in times if t <= g) for g in grid)
        assert clip.start_us == clip.epoch_us + clip.window * spec.stride_us
        assert clip.end_us - clip.start_us == spec.span_us
        assert clip.frames.shape == (spec.frames, spec.height, spec.width, 3)


def test_a_segment_that_is_cut_for_its_size_between_reordered_frames_counts_its_own(tmp_path):
    noise = np.random.default_rng(0)
    path = write_video(
        tmp_path / "noise.mp4",
        60,
        gop=12,
        size=SIZE,
        options={"bf": "3", "b-adapt": "0", "preset": "veryfast", "sc_threshold": "0"},
        frame=lambda n, w, h: noise.integers(0, 255, (h, w, 3), np.uint8),
    )
    with Feed(str(path)) as feed:
        packets = list(feed.packets())
        size = sum(len(p.data) for p in packets)
        for part in range(20, 50):  # of a hundred: a group of pictures is twenty
            segmenter = Segmenter("cam", feed.track, SegmentLimits(9.0, 9.0, size * part // 100))
            segments = [s for p in packets for s in segmenter.push(p)] + segmenter.end()
            assert len(segments) > 2
            for segment in segments[:-1]:
                assert len(decode(segment, [], SPECS["adjacent"].picture).frame_times_us) == segment.frames


def test_frames_closer_together_than_the_clock_of_the_container_can_tell_are_all_accounted_for(tmp_path):
    pairs = [Fraction(n // 2, 25) + Fraction(n % 2 * 3, 10_000) for n in range(40)]
    path = write_video(tmp_path / "pairs.mp4", pairs, codec="mpeg4", rate=10_000, size=SIZE, options={"bf": "0"})
    with Feed(str(path)) as feed:
        segmenter = Segmenter("cam", feed.track, SegmentLimits(0.1, 0.1))
        segments = [s for p in feed.packets() for s in segmenter.push(p)] + segmenter.end()
    assert sum(s.frames for s in segments) == 40
    clipper = Clipper(SPECS["adjacent"])
    clips = run(clipper, segments)
    assert clipper.skipped["absent"] <= 1  # the very last
    assert sum(c.frames_spanned for c in clips) + clipper.skipped.total() == 40


@pytest.mark.parametrize("spec_name", SPECS)
def test_no_window_spans_a_lost_segment_and_all_others_are_there(footage, spec_name):
    spec = SPECS[spec_name]
    segments = cut(footage, "steady", SegmentLimits(0.4, 0.4))
    lost = segments[4]
    clipper = Clipper(spec)
    clips = run(clipper, [s for s in segments if s is not lost])
    expected = [c for c in run(Clipper(spec), segments) if c.end_us <= lost.start_us or c.start_us >= lost.end_us]
    assert_same(clips, expected)
    assert clipper.skipped["head"] == 0


def test_frames_around_a_lost_segment_that_no_window_spans_are_counted_as_gap(footage):
    spec = ClipSpec(10, 40_000, 400_000, 24, 32)  # 0.4 s, back to back
    segments = cut(footage, "steady", SegmentLimits(0.4, 0.4))  # ten frames each
    clipper = Clipper(ClipSpec(15, 40_000, 600_000, 24, 32))
    clips = run(clipper, segments[:2] + segments[3:])
    # Lost: 0.8 to 1.2 s. Windows of 0.6 s: 0.6 is cut short by it, 1.2 begins just behind it.
    assert [c.window for c in clips[:2]] == [0, 2]
    assert clipper.skipped["gap"] == 5
    clipper = Clipper(spec)
    run(clipper, segments[:2] + segments[3:])
    assert clipper.skipped["gap"] == 0


def test_frames_between_windows_are_counted_as_such_however_the_footage_was_cut(footage):
    spec = ClipSpec(5, 40_000, 400_000, 24, 32)  # 0.2 s of every 0.4 s
    for limits in (SegmentLimits(0.4, 0.4), SegmentLimits(max_seconds=30)):
        clipper = Clipper(spec)
        clips = run(clipper, cut(footage, "steady", limits))
        assert len(clips) == 9
        assert clipper.skipped == {"between": 45}


def test_a_new_epoch_begins_windows_of_its_own_and_none_spans_the_two(footage):
    spec = SPECS["overlapping"]
    segments = cut(footage, "two epochs", SegmentLimits())
    first, second = sorted({s.epoch_us for s in segments})
    without_mark = [s for s in segments if not s.is_end]
    for received in (segments, without_mark):
        clipper = Clipper(spec)
        clips = run(clipper, received)
        assert {c.epoch_us for c in clips} == {first, second}
        assert next(c.window for c in clips if c.epoch_us == second) == 0
        assert all(c.end_us <= first + 1_600_000 for c in clips if c.epoch_us == first)
        assert all(c.start_us >= second for c in clips if c.epoch_us == second)
        clipper.close()
        assert sum(c.frames_spanned for c in clips) + clipper.skipped.total() == 90


def test_nothing_is_needed_any_more_after_the_end_of_an_epoch(footage):
    segments = cut(footage, "steady", SegmentLimits())
    clipper = Clipper(SPECS["overlapping"])
    assert clipper.needed_from_us is None
    run(clipper, segments[:-1])
    assert clipper.needed_from_us is not None
    run(clipper, segments[-1:])
    assert clipper.needed_from_us is None
    assert clipper.epoch_us is None


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((0, 40_000, 40_000, 8, 8), "expected all positive"),
        ((4, 0, 40_000, 8, 8), "expected all positive"),
        ((4, 40_000, 0, 8, 8), "expected all positive"),
        ((4, 40_000, 60_000, 8, 8), r"stride 0\.06 s: expected a multiple of the model's frame spacing, 0\.04 s"),
        ((4, 40_000, 40_000, 0, 8), "expected a size"),
    ],
)
def test_a_grid_that_is_none_is_refused(values, words):
    with pytest.raises(ValueError, match=words):
        ClipSpec(*values)


def test_a_number_too_high_makes_no_repetitions_of_what_follows(footage):
    spec, segments = SPECS["adjacent"], cut(footage, "steady", SegmentLimits(0.4, 0.4))
    whole = [clip.window for clip in run(Clipper(spec), segments)]
    clipper = Clipper(spec)
    clips = run(clipper, [replace(s, sequence=1000) if s.sequence == 3 else s for s in segments])
    assert clipper.skipped["duplicate"] == 0
    assert [clip.window for clip in clips] == whole
