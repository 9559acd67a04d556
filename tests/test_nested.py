"""`benchmarks/nested.py`: further clips are learnt from and judge nothing; averages are of the same clips."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from models.training.material.footage import Footage
from models.training.recipe import Augmentation, Recipe

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
RECIPE = Recipe("movenet_motion", frames=4, size=32, augmentation=Augmentation(flip=False))
COUNTED = 12


@pytest.fixture(autouse=True)
def nested(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import nested

    return nested


def clips(count: int, *, first: int = 0) -> list[Footage]:
    """Clips of noise, of which every other one is `fight`; two of them are one group."""
    generator = np.random.default_rng(first)
    return [
        Footage(
            f"clip-{place}",
            "fight" if place % 2 else "normal",
            f"group-{place // 2}",
            generator.integers(0, 255, (12, 32, 32, 3), dtype=np.uint8),
        )
        for place in range(first, first + count)
    ]


def trainer(nested, *, further=(), penalty=1.0):
    footage = [*clips(COUNTED), *further]
    return nested.NestedTrainer(footage, RECIPE).varied(nested.Member("movenet_motion", 4, penalty), 0, COUNTED)


def scores_of(nested, *trainers):
    return nested.division({"all": trainers}, Counter())[1]


def test_further_clips_are_learnt_from_and_judge_nothing(nested):
    further = [Footage(f"calm-{f.name}", "normal", "calm", f.frames) for f in clips(4, first=COUNTED)]
    alone, beside = trainer(nested), trainer(nested, further=further)
    for one, other in zip(alone.split(3), beside.split(3), strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])
    learnt, _ = beside.split(3)[0]
    *_, within = beside.held_out_within("fold 1", learnt, 2)
    assert sorted(within.names) == sorted(f"clip-{place}" for place in learnt)
    assert beside.validate(3).scores.names == alone.validate(3).scores.names
    assert scores_of(nested, beside).mean() < scores_of(nested, alone).mean()


def test_penalty_is_times_the_usual_one(nested):
    usual, strong = (scores_of(nested, trainer(nested, penalty=times)) for times in (1, 1e6))
    assert np.abs(usual - 0.5).max() > 0.03
    np.testing.assert_allclose(strong, 0.5, atol=1e-3)


def test_average_is_that_of_the_members_scores(nested):
    members = trainer(nested), trainer(nested, penalty=30)
    alone = [scores_of(nested, member) for member in members]
    np.testing.assert_allclose(scores_of(nested, *members), np.mean(alone, axis=0))


def test_candidates_are_members_with_frames_and_penalty(nested):
    found = nested.candidate("movenet_views:8+movenet_views:10*0.5")
    assert found == (nested.Member("movenet_views", 8), nested.Member("movenet_views", 10, 0.5))
    for wrong in ("movenet_views", "movenet_views:ten", "movenet_views:8+", "movenet_views:8*"):
        with pytest.raises(argparse.ArgumentTypeError, match="expected ARCHITECTURE:FRAMES"):
            nested.candidate(wrong)
