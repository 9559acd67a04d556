"""Where nothing moves nothing is computed, and nothing is missed; and it is the same in any batch, and handed over."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import numpy as np
import pytest
from pydantic import TypeAdapter

from consumers.live.effort.stillness import StillRule, ViewState, cells_of
from consumers.live.pipeline import Pipeline, ScoredWindow, UnscoredWindow, Window
from consumers.records.prediction import Prediction
from consumers.rules.rule import Rule
from consumers.settings import GateSettings
from stream import Clip, ClipSpec, Sample
from tests.scorers import WholeClips

SIDE = 96
SPEC = ClipSpec(2, 100_000, 200_000, SIDE, SIDE)
RULES = {"bright": Rule(start=0.8, end=0.6, min_seconds=0.0, cooldown_seconds=0.0, update_seconds=1.0)}
VIEW = np.full((SIDE, SIDE, 3), 40, np.uint8)


class Brightness(WholeClips):
    """Scores how bright the brightest place of a clip is, and counts the clips."""

    id, labels = "brightest", ("dark", "bright")

    def __init__(self) -> None:
        self.clips = 0

    def predict(self, frames: np.ndarray) -> np.ndarray:
        self.clips += len(frames)
        light = frames.max(axis=(1, 2, 3, 4)) / 255
        return np.stack([1 - light, light], axis=1)


def shows(place: int | None = None, *, light: int = 60, side: int = 6) -> np.ndarray:
    """The view, with something small in it."""
    picture = VIEW.copy()
    if place is not None:
        picture[place : place + side, place : place + side] += np.uint8(light)
    return picture


def clip(number: int, *pictures: np.ndarray, epoch_us: int = 0, is_first: bool | None = None) -> Clip:
    pictures = pictures if len(pictures) > 1 else pictures * 2
    begin = epoch_us + number * 200_000
    samples = tuple(Sample(begin + i * 100_000, begin + i * 100_000, p) for i, p in enumerate(pictures))
    is_first = number == 0 if is_first is None else is_first
    return Clip("gate", epoch_us, number, begin, begin + 200_000, samples, 6, is_first=is_first)


def pipeline(rules: dict[str, Rule] = RULES, **settings: object) -> tuple[Pipeline, Brightness]:
    scorer = Brightness()
    return Pipeline(scorer, SPEC, {}, StillRule.of(rules, GateSettings.model_validate(settings))), scorer


def run(through: Pipeline, clips: list[Clip], batch: int = 100) -> list[ScoredWindow]:
    found = []
    for i in range(0, len(clips), batch):
        found += through.classify([Window(each, each.end_us) for each in clips[i : i + batch]])
    return found


def gated(found: list[ScoredWindow]) -> str:
    return "".join("-x"[not step.prediction.gated] for step in found)


def said(found: list[ScoredWindow]) -> list[Prediction]:
    return [step.prediction for step in found]


def test_of_a_still_view_two_windows_are_computed_and_the_rest_carries_their_scores():
    through, scorer = pipeline()
    found = run(through, [clip(n, shows()) for n in range(8)])
    assert gated(found) == "xx------"
    assert scorer.clips == 2
    assert len({json.dumps(dict(step.prediction.scores)) for step in found}) == 1
    body = json.loads(found[2].prediction.encode()[2])
    assert body["gated"] is True
    assert "gated" not in json.loads(found[1].prediction.encode()[2])


def test_each_frame_has_one_fate():
    through, _ = pipeline()
    through.count(run(through, [clip(n, shows()) for n in range(8)]))
    counts = through.counts["gate"]
    assert (counts.classified, dict(counts.skipped), counts.windows) == (12, {"still": 36}, 8)


@pytest.mark.parametrize("side", [2, 4, 6])
def test_a_window_with_anything_in_it_is_computed(side):
    through, _ = pipeline()
    pictures = [shows(), shows(), shows(), shows(40, side=side), shows(42, side=side), shows(), shows(), shows()]
    assert gated(run(through, [clip(n, picture) for n, picture in enumerate(pictures)])) == "xx-xxxx-"


def test_what_moves_slowly_is_seen_when_it_has_moved():
    through, _ = pipeline()
    pictures = [VIEW + np.uint8(n) for n in range(60)]
    fates = gated(run(through, [clip(n, picture) for n, picture in enumerate(pictures)]))
    assert fates.count("xx") > 5, "compared with what was computed, not with the picture before"


def test_noise_of_a_sensor_opens_nothing():
    through, _ = pipeline()
    rng = np.random.default_rng(0)
    clips = []
    for n in range(40):
        noisy = (np.clip(VIEW + rng.normal(0, 4, VIEW.shape), 0, 255).astype(np.uint8) for _ in range(2))
        clips.append(clip(n, *noisy))
    assert gated(run(through, clips)) == "xx" + "-" * 38


def test_scores_that_are_no_numbers_are_no_part_of_the_state():
    class Lost(Brightness):
        def predict(self, frames: np.ndarray) -> np.ndarray:
            return np.full((len(frames), 2), np.nan, np.float32)

    through = Pipeline(Lost(), SPEC, {}, StillRule.of(RULES, GateSettings()))
    found = run(through, [clip(n, shows()) for n in range(4)])
    assert all(isinstance(step, UnscoredWindow) for step in found), "none is carried on"
    view = through.view("gate")
    stored = TypeAdapter(ViewState)
    assert stored.validate_json(stored.dump_json(view)) == view
    after, _ = pipeline()
    after.restore_view("gate", view)
    assert gated(run(after, [clip(n, shows()) for n in range(4, 8)])) == "x---"


def test_a_view_that_is_not_calm_is_computed():
    through, _ = pipeline()
    bright = shows(40, light=120)
    assert gated(run(through, [clip(n, bright) for n in range(6)])) == "xxxxxx"


def test_scores_have_to_be_calm_for_as_long_as_they_are_averaged_over():
    through, _ = pipeline({"bright": replace(RULES["bright"], smoothing=3)})
    assert gated(run(through, [clip(n, shows()) for n in range(8)])) == "xxxx----"


@pytest.mark.parametrize(
    "after",
    [clip(6, shows(), epoch_us=9_000_000, is_first=True), clip(9, shows(), is_first=True)],
    ids=["new epoch", "gap"],
)
def test_the_first_window_behind_an_interruption_is_computed(after):
    through, _ = pipeline()
    assert gated(run(through, [*(clip(n, shows()) for n in range(5)), after])) == "xx---x"


def test_windows_that_were_left_out_for_lack_of_time_are_no_interruption():
    through, _ = pipeline()
    assert gated(run(through, [clip(n, shows()) for n in (0, 1, 2, 4, 8)])) == "xx---"


def test_a_view_is_computed_again_after_a_while():
    through, _ = pipeline(refresh_seconds=1)
    assert gated(run(through, [clip(n, shows()) for n in range(12)])) == "xx---xx---xx"


def test_it_is_off_by_one_setting():
    through, _ = pipeline(pictures=False)
    assert gated(run(through, [clip(n, shows()) for n in range(6)])) == "xxxxxx"


def course(seed: int) -> list[Clip]:
    """A view in which something shows up at times, brighter or not."""
    chance = random.Random(seed)
    clips, light, place = [], 0, 0
    for n in range(80):
        if chance.random() < 0.2:
            light, place = chance.choice([0, 0, 15, 60, 190]), chance.randrange(SIDE - 6)
        clips.append(clip(n, shows(place, light=light)))
    return clips


@pytest.mark.parametrize("seed", range(6))
def test_neither_batches_nor_a_handover_change_anything(seed):
    whole, _ = pipeline()
    expected = said(run(whole, course(seed)))
    assert 10 < sum(prediction.gated for prediction in expected) < 70
    by_one, _ = pipeline()
    assert said(run(by_one, course(seed), batch=1)) == expected
    found, view = [], None
    for first in range(0, 80, 7):
        after, _ = pipeline()
        after.restore_view("gate", view)
        found += run(after, course(seed)[first : first + 7], batch=3)
        view = after.view("gate")
    assert said(found) == expected


def test_pictures_of_any_size_have_cells():
    rng = np.random.default_rng(1)
    for height, width in [(192, 192), (80, 80), (384, 384), (24, 32), (100, 50), (1, 1)]:
        picture = rng.integers(0, 256, (height, width, 3), np.uint8)
        cells = cells_of(picture)
        assert max(cells.shape) <= 48
        tall = -(-height // 48)
        assert cells[0, 0] == picture[:tall, : -(-width // 48)].mean(dtype=np.float64) // 1
