"""Of segments in which nothing moves only keyframes are decoded; scores come of exact pictures all the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from consumers.live.effort.stillness import STILL_SHARE, StillRule
from consumers.live.pipeline import Pipeline, ScoredWindow, Window
from consumers.settings import override
from stream import Clip, Decoded, Decoder, Feed, Picture, Sample, Segment, Segmenter, SegmentError, decode
from stream.clips.samples import Undecoded
from tests.replays import RULES, SETTINGS, SPEC, Brightness, live, replayed, said
from tests.videos import write_video

RATE = 25
PICTURE = Picture(24, 32, "stretch")
START_US = 1_700_000_000_000_000
_PLACE = np.random.default_rng(3).integers(0, 60, (30, 40, 3), np.uint8).repeat(8, axis=0).repeat(8, axis=1)


def scene(number: int, width: int, height: int) -> np.ndarray:
    """A dark place with much in it; between 6 and 8 s a bright block crosses it, and at 8.2 s it is light for 3 s."""
    picture = _PLACE[:height, :width].copy()
    if 150 <= number < 200:
        picture[80:140, (number - 150) * 5 :][:, :60] = 200
    if 205 <= number < 280:
        picture += np.uint8(160)
    return picture


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "gate.mp4"
    return write_video(path, 16 * RATE, rate=RATE, gop=RATE, size=(320, 240), frame=scene)


@pytest.fixture(scope="module")
def segments(film: Path) -> list[Segment]:
    with Feed(str(film)) as feed:
        segmenter = Segmenter("gate", feed.track)
        return [s for packet in feed.packets() for s in segmenter.push(packet)]


def decoded(segment: Segment, share: float | None) -> Decoded:
    return decode(segment, SPEC.sample_times_us(segment), PICTURE, still_share=share)


def test_keyframes_stand_in_for_what_is_not_decoded_until_somebody_asks(segments: list[Segment]):
    still = [segment for segment in segments if decoded(segment, 0.02).is_still]
    assert 3 < len(still) < len(segments)
    for segment in segments:
        found, whole = decoded(segment, 0.02), decoded(segment, None)
        assert found.frame_times_us == whole.frame_times_us
        assert [s.frame_us for s in found.samples] == [s.frame_us for s in whole.samples]
        exact = [sample.exact() for sample in found.samples]
        assert all(np.array_equal(a.image, b.image) for a, b in zip(exact, whole.samples, strict=True))
        assert [sample.exact() for sample in found.samples] == exact, "windows that overlap share what is decoded"
        if segment in still:
            assert len({id(sample.image) for sample in found.samples}) == 1
            assert not any(sample.is_held for sample in found.samples), "a replay gives the same scores"


def test_a_segment_behind_an_unfinished_group_is_decoded_as_by_who_did_not_see_the_group(segments: list[Segment]):
    decoder = Decoder(PICTURE, still_share=0.02)
    decoder.decode(replace(segments[0], continued=True), SPEC.sample_times_us(segments[0]))
    behind = segments[2]  # behind a gap
    assert decoded(behind, 0.02).is_still
    assert decoder.decode(behind, SPEC.sample_times_us(behind)).is_still


def test_what_begins_between_keyframes_is_seen_however_much_detail_stands_still(tmp_path: Path) -> None:
    detail = np.random.default_rng(4).integers(40, 130, (180, 320, 3), np.uint8).repeat(2, axis=0).repeat(2, axis=1)

    def passes_by(number: int, width: int, height: int) -> np.ndarray:
        picture = detail.copy()
        if 40 <= number < 49:  # gone when the next keyframe comes
            picture[100:148, 200 + (number - 40) * 4 :][:, :24] = 230
        return picture

    path = write_video(tmp_path / "a.mp4", 75, rate=RATE, gop=RATE, size=(640, 360), frame=passes_by)
    with Feed(str(path)) as feed:
        segmenter = Segmenter("gate", feed.track)
        found = [s for packet in feed.packets() for s in segmenter.push(packet)]
    assert [decoded(segment, STILL_SHARE).is_still for segment in found] == [True, False]


@pytest.mark.parametrize("damage", [SegmentError("gate", "damaged"), MemoryError()], ids=["damaged", "no memory"])
def test_keyframes_are_held_where_the_rest_turns_out_to_be_damaged(damage: Exception) -> None:
    asked = []

    def broken() -> list[Sample]:
        asked.append(1)
        raise damage

    rest, picture = Undecoded(broken), np.full((24, 32, 3), 10, np.uint8)
    samples = tuple(Sample(at, at, picture, rest=rest) for at in range(4))
    windows = [Window(Clip("gate", 0, number, 0, 4, samples, 4), 4) for number in range(3)]
    said = Pipeline(Brightness(), SPEC, {}, StillRule.of(RULES, SETTINGS.gates)).classify(windows)
    told = [(step.prediction.gated, step.prediction.degraded) for step in said if isinstance(step, ScoredWindow)]
    assert told == [(False, "keyframes"), (False, "keyframes"), (True, None)]
    assert asked == [1]


def test_a_segment_in_which_something_moves_is_decoded(segments: list[Segment]):
    moving = [segment for segment in segments if 6_000_000 <= segment.start_us - segments[0].start_us < 8_000_000]
    assert moving
    assert not any(decoded(segment, 0.02).is_still for segment in moving)


def test_what_is_computed_has_the_scores_of_a_run_without_gates(film: Path, tmp_path: Path):
    found = {}
    for gates in (True, False):
        settings = override(SETTINGS, {"gates": {"pictures": gates}}, "test")
        predictions, events, heard = live(film, "gate", START_US, settings=settings)
        again = replayed([film], tmp_path / str(gates), start_us=START_US, settings=settings)
        assert said(again, "gate") == (predictions, events)
        found[gates] = heard.predictions, events
    gated, ungated = found[True][0], found[False][0]
    assert found[True][1] == found[False][1], "the same events"
    assert len(found[True][1]) >= 2
    assert not any(p.gated for p in ungated)
    assert 10 < sum(p.gated for p in gated) < len(gated)
    for with_gates, without in zip(gated, ungated, strict=True):
        assert with_gates.id == without.id
        if with_gates.gated:
            assert with_gates.scores["bright"] == pytest.approx(without.scores["bright"], abs=0.02)
        else:
            assert with_gates.scores == without.scores
