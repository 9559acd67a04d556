"""The part of the core that has no test elsewhere: scores are rounded as everybody rounds."""

from __future__ import annotations

import numpy as np
import pytest

from consumers.live.pipeline import Pipeline, ScoredWindow, UnscoredWindow, Window, round_scores
from consumers.records.prediction import SCORE_DIGITS
from stream import Clip, ClipSpec, Sample
from tests.scorers import WholeClips

RANDOM = np.random.default_rng(5)
COUNT = 20_000


@pytest.mark.parametrize(
    "scores",
    [
        RANDOM.random(COUNT, np.float32),
        10.0 ** RANDOM.uniform(-9, 0, COUNT),
        RANDOM.integers(0, 2**24, COUNT) / 2**24,
        # Halfway between two rounded numbers as nearly as a float32 can be, and exactly (1/128 is 0.0078125).
        (RANDOM.integers(0, 10**SCORE_DIGITS, COUNT) + 0.5) / 10**SCORE_DIGITS,
        np.arange(129) / 128,
        [0.0, 1.0, np.nextafter(np.float32(1), np.float32(0)), np.finfo(np.float32).tiny],
    ],
    ids=["uniform", "small", "24 bits", "nearly halfway", "halfway", "ends"],
)
def test_scores_are_rounded_to_the_very_numbers_that_round_gives(scores):
    rows = np.asarray(scores, np.float32)[None]
    assert round_scores(rows) == [[round(float(score), SCORE_DIGITS) for score in rows[0]]]


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_a_window_whose_score_is_no_number_is_skipped_with_a_reason_and_ends_nothing_else(number, caplog):
    class Broken(WholeClips):
        id = "broken-1"
        labels = ("fight", "normal")

        def predict(self, frames: np.ndarray) -> np.ndarray:
            return np.array([(0.9, 0.1), (number, 0.1), (0.8, 0.2)], np.float32)[: len(frames)]

    pipeline = Pipeline(Broken(), ClipSpec(2, 100_000, 200_000, 8, 8), {})
    black = Sample(0, 0, np.zeros((8, 8, 3), np.uint8))
    clips = [Clip("gate", 0, n, n * 200_000, (n + 1) * 200_000, (black, black), 5) for n in range(3)]
    steps = pipeline.classify([Window(clip, clip.end_us) for clip in clips])
    assert [type(step) for step in steps] == [ScoredWindow, UnscoredWindow, ScoredWindow]
    pipeline.count(steps)
    counts = pipeline.counts["gate"]
    assert (counts.windows, counts.classified, dict(counts.skipped)) == (2, 10, {"unscored": 5})
    assert "camera gate: window 1 of epoch 0: the model gave a score that is no number" in caplog.text
