"""The part of the core that has no test elsewhere: scores are rounded as everybody rounds."""

from __future__ import annotations

import numpy as np
import pytest

from consumers.live.pipeline import round_scores
from consumers.records.prediction import SCORE_DIGITS

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
