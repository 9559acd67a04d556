"""Recipes are tried on training parts alone: what is held out has no part in choosing what it judges."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import TrainingError, find
from models.training.loop import Trained
from models.training.recipe import Augmentation, Recipe
from models.training.strategies.frozen_features import FrozenFeatures
from models.training.strategies.strategy import Part
from models.training.trainer import Trainer
from models.training.trials import Trials, check_trials
from tests.command_line import clipline
from tests.test_training import footage
from tests.videos import write_video

pytest.importorskip("optuna")

RECIPE = Recipe(
    "cnn_lstm", frames=4, size=32, epochs=1, batch=4, augmentation=Augmentation(crop=1, colour=0), metric="accuracy"
)


class Rates:
    """In place of a network: a model that is the better, the nearer its learning rate is to 0.001."""

    def __init__(self) -> None:
        self.learnt: list[tuple[str, frozenset[int], float]] = []

    def train(self, part: Part) -> Trained[Any]:
        self.learnt.append((part.name, frozenset(part.learnt.tolist()), part.recipe.learning_rate))
        return Trained(part.recipe.learning_rate, 1, 0.0)

    def score(self, rate: float, index: int) -> np.ndarray:
        right = 1 / (1 + abs(np.log10(rate / 0.001)))
        scores = np.full((1, 2), 1 - right)
        scores[0, index % 2] = right  # labels alternate
        return scores / scores.sum(1, keepdims=True)


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> Rates:
    made = Rates()
    monkeypatch.setattr(FrozenFeatures, "train", lambda _, part: made.train(part))
    monkeypatch.setattr(FrozenFeatures, "score", lambda _, rate, index: made.score(rate, index))
    return made


def searching(count: int, folder: Path | None = None, **changes: object) -> tuple[Trainer, Trials]:
    recipe = replace(RECIPE, metric="loss", learning_rate=1e-2, **changes)  # type: ignore[arg-type]
    trainer = Trainer(footage(6), recipe, folder=folder)
    return trainer, Trials(trainer, recipe, count, lambda *_: None)


def test_what_a_fold_holds_out_has_no_part_in_choosing_its_recipe(rates: Rates):
    trainer, trials = searching(4)
    held_out = {f"fold {n}": frozenset(held.tolist()) for n, (_, held) in enumerate(trainer.split(3), start=1)}
    trainer.validate(3, choose=trials.choose)
    assert len(rates.learnt) > 3 * 3
    for name, learnt, _ in rates.learnt:
        (held,) = [videos for fold, videos in held_out.items() if name.startswith(fold)]
        assert not learnt & held, name


def test_the_best_recipe_is_chosen_and_judges_the_fold(rates: Rates):
    trainer, trials = searching(12)
    chosen = trials.choose("all", np.arange(12))
    assert abs(np.log10(chosen.learning_rate / 0.001)) < 0.5
    trainer.validate(3, choose=trials.choose)
    outer = [rate for name, _, rate in rates.learnt if "inner" not in name and name.startswith("fold")]
    assert len(outer) == 3
    assert all(abs(np.log10(rate / 0.001)) < 0.7 for rate in outer)


def test_the_given_recipe_stays_where_no_trial_is_better(rates: Rates):
    recipe = replace(RECIPE, learning_rate=0.001, metric="loss")
    assert Trials(Trainer(footage(6), recipe), recipe, 5, lambda *_: None).choose("all", np.arange(12)) == recipe


def test_stopped_trials_are_not_done_again(rates: Rates, tmp_path: Path):
    _, trials = searching(5, tmp_path / "state")
    first = trials.choose("all", np.arange(12))
    assert rates.learnt
    rates.learnt.clear()
    _, again = searching(5, tmp_path / "state")
    assert again.choose("all", np.arange(12)) == first
    assert rates.learnt == []


def test_trials_tell_how_far_they_are(rates: Rates):
    recipe = replace(RECIPE, metric="loss")
    told: list[tuple[str, int, int]] = []
    Trials(Trainer(footage(6), recipe), recipe, 3, lambda *task: told.append(task)).choose("all", np.arange(12))
    assert {(name, total) for name, _, total in told} == {("all, trials", 3)}
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert told[-1] == ("all, trials", 3, 3)


def test_what_is_fitted_in_one_step_has_nothing_to_try():
    with pytest.raises(TrainingError, match="movenet_motion is fitted in one step"):
        check_trials(Recipe("movenet_motion"))


def test_missing_package_is_told_before_anything_is_decoded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(TrainingError, match="pip install optuna"):
        check_trials(RECIPE)


def test_a_label_of_too_few_groups_cannot_be_tried_on(rates: Rates):
    recipe = replace(RECIPE, metric="loss")
    trials = Trials(Trainer(footage(2), recipe), recipe, 2, lambda *_: None)
    with pytest.raises(TrainingError, match=r"of one group .* so none can be held out to try recipes on"):
        trials.choose("fold 1 of 2", np.array([0, 1]))


@pytest.mark.slow
def test_command_tries_and_tells_what_it_tried(tmp_path: Path):
    rows = ["path,label,group"]
    for number in range(8):
        level = 150 * (number % 2)
        write_video(
            tmp_path / f"{number}.mp4",
            20,
            rate=10,
            size=(64, 48),
            frame=lambda n, w, h, v=level: np.random.default_rng(n).integers(v, v + 90, (h, w, 3), dtype=np.uint8),
        )
        rows.append(f"{number}.mp4,{('normal', 'fight')[number % 2]},g{number // 2}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    done = clipline(
        *("train", tmp_path / "labels.csv", "-o", tmp_path / "m.safetensors", "--arch", "cnn_lstm", "--size", 32),
        *("--frames", 4, "--epochs", 2, "--batch", 4, "--folds", 2, "--trials", 3),
        XDG_CACHE_HOME=str(tmp_path / "cache"),
    )
    assert done.returncode == 0, done.stderr
    assert "fold 1 of 2, trials: 3 of 3" in done.stderr
    training = find(str(tmp_path / "m.safetensors")).contract.training
    assert training["trials"]["count"] == 3
