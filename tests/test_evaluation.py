"""Figures against scikit-learn and torchmetrics, intervals that respect groups, calibration, thresholds, comparison."""

from __future__ import annotations

import json
import tracemalloc
import warnings
from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics

from models.evaluation.bootstrap import draw_weights
from models.evaluation.calibration import (
    calibration_error,
    choose_thresholds,
    fit_held_out_calibrations,
    fit_temperature,
)
from models.evaluation.figures import evaluate, weighted_figures
from models.evaluation.scores import ClipScores, WindowScores, apply_temperature
from models.evaluation.significance import compare_accuracy
from models.training.recipe import Recipe
from models.training.validation import contract_of, summarise


def scored(clips: int = 60, classes: int = 3, seed: int = 0, groups: int = 12) -> ClipScores:
    generator = np.random.default_rng(seed)
    truth = np.concatenate([np.arange(classes), generator.integers(classes, size=clips - classes)])
    logits = generator.normal(size=(clips, classes)) + 1.2 * np.eye(classes)[truth]
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    names = tuple(f"clip-{i}" for i in range(clips))
    return ClipScores(tuple("abcdefgh"[:classes]), truth, scores, tuple(str(i % groups) for i in range(clips)), names)


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_figures_are_those_of_torchmetrics(classes: int) -> None:
    import torch
    from torchmetrics.functional import classification as theirs

    clips = scored(classes=classes)
    scores, truth = torch.tensor(clips.scores), torch.tensor(clips.truth)
    found = evaluate(clips, rounds=0).figures
    one = {"num_classes": classes}
    assert found["accuracy"].value == pytest.approx(
        float(theirs.multiclass_accuracy(scores, truth, **one, average="micro")), abs=1e-6
    )
    assert found["balanced_accuracy"].value == pytest.approx(
        float(theirs.multiclass_accuracy(scores, truth, **one, average="macro")), abs=1e-6
    )
    assert found["macro_f1"].value == pytest.approx(
        float(theirs.multiclass_f1_score(scores, truth, **one, average="macro")), abs=1e-6
    )
    assert found["auc"].value == pytest.approx(float(theirs.multiclass_auroc(scores, truth, **one)), abs=1e-6)
    assert found["calibration_error"].value == pytest.approx(
        float(theirs.multiclass_calibration_error(scores, truth, **one, n_bins=10)), abs=1e-6
    )
    if classes > 5:
        assert found["top5_accuracy"].value == pytest.approx(
            float(theirs.multiclass_accuracy(scores, truth, **one, top_k=5, average="micro")), abs=1e-6
        )
    per_class = theirs.multiclass_recall(scores, truth, **one, average="none")
    np.testing.assert_allclose([c.recall for c in evaluate(clips, rounds=0).per_class], per_class, atol=1e-6)


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_each_draw_gives_what_scikit_learn_gives_with_its_weights(classes: int) -> None:
    clips = scored(classes=classes)
    clips.scores[::7] = clips.scores[0]  # ties
    weights = draw_weights(clips.groups, 20, seed=3)
    drawn = weighted_figures(clips.truth, clips.scores, weights)
    said = clips.scores.argmax(1)
    for k, w in enumerate(weights):
        own = {"sample_weight": w}
        assert drawn["accuracy"][k] == pytest.approx(metrics.accuracy_score(clips.truth, said, **own))
        assert drawn["balanced_accuracy"][k] == pytest.approx(metrics.balanced_accuracy_score(clips.truth, said, **own))
        assert drawn["macro_f1"][k] == pytest.approx(metrics.f1_score(clips.truth, said, average="macro", **own))
        areas = [metrics.roc_auc_score(clips.truth == c, clips.scores[:, c], **own) for c in range(classes)]
        assert drawn["auc"][k] == pytest.approx(areas[1] if classes == 2 else np.mean(areas))
        rows = np.repeat(np.arange(len(w)), w.astype(int))
        assert drawn["calibration_error"][k] == pytest.approx(calibration_error(clips.truth[rows], clips.scores[rows]))


def test_a_draw_takes_whole_groups_and_as_many_as_there_are() -> None:
    groups = ("a", "a", "b", "c", "c", "c")
    weights = draw_weights(groups, 50, seed=0)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 3] == weights[:, 5]).all()
    assert (weights[:, [0, 2, 3]].sum(1) == 3).all()


def test_interval_is_wider_when_clips_share_scenes() -> None:
    """Forty clips of four scenes say less than forty of forty."""
    truth, right = np.ones(40, int), np.repeat([1.0, 1.0, 1.0, 0.0], 10)
    scores = np.stack([1 - right, right], axis=1) * 0.8 + 0.1
    names = tuple(map(str, range(40)))
    few = evaluate(ClipScores(("n", "f"), truth, scores, tuple(np.repeat(list("abcd"), 10)), names)).figures["accuracy"]
    many = evaluate(ClipScores(("n", "f"), truth, scores, names, names)).figures["accuracy"]
    assert few.high - few.low > 1.5 * (many.high - many.low)
    assert few.value == many.value == 0.75


def test_temperature_mends_scores_that_are_too_sure_and_keeps_the_answer() -> None:
    clips = scored(400, classes=2)
    sure = apply_temperature(clips.scores, 0.25)
    windows = WindowScores(clips.labels, clips.truth, tuple(row[None] for row in sure), clips.groups, clips.names)
    found = fit_temperature(windows)
    assert found > 2
    mended = windows.scaled(found)
    assert mended.log_loss() < windows.log_loss()
    assert calibration_error(clips.truth, mended.by_clip().scores) < calibration_error(clips.truth, sure)
    np.testing.assert_array_equal(mended.by_clip().scores.argmax(1), sure.argmax(1))


def uneven() -> WindowScores:
    """Clips of a single window, and one of fifty: windows are sure of 0.9, and of short clips three in four are right.

    The long clip's are all right.
    """
    said = np.array([[0.1, 0.9]])
    truth = np.array([1] * 30 + [0] * 10 + [1])
    rows = (*[said] * 40, said.repeat(50, axis=0))
    names = tuple(map(str, range(41)))
    return WindowScores(("n", "f"), truth, rows, names, names)


def test_temperature_is_fitted_to_windows_of_which_each_clip_has_the_same_share() -> None:
    """At the best temperature the score is the share of right windows, each counting 1 / W: 31 of 41 clips."""
    served = uneven().scaled(fit_temperature(uneven())).scores[0][0, 1]
    assert served == pytest.approx(31 / 41, abs=1e-3)


def test_temperature_makes_windows_right_and_not_the_means_of_clips() -> None:
    """Half of each fight's windows show it: a window is right three times in four, while each mean is 0.5 or 0.1."""
    sure, calm = np.array([0.1, 0.9]), np.array([0.9, 0.1])
    truth = np.array([1, 0] * 20)
    rows = tuple(np.stack([sure, calm]) if label else np.stack([calm, calm]) for label in truth)
    names = tuple(map(str, range(40)))
    windows = WindowScores(("n", "f"), truth, rows, names, names)
    assert windows.scaled(fit_temperature(windows)).scores[1][0, 0] == pytest.approx(0.75, abs=1e-3)


def test_calibration_error_is_of_windows_and_every_clip_has_the_same_share() -> None:
    windows = uneven()
    found = evaluate(windows.by_clip(), windows).figures["calibration_error"]
    assert found.value == pytest.approx(0.9 - 31 / 41)
    assert found.low < found.value < found.high
    single = replace(windows, scores=tuple(rows[:1] for rows in windows.scores))
    of_clips, of_windows = (evaluate(single.by_clip(), w).figures["calibration_error"] for w in (None, single))
    assert str(of_windows) == str(of_clips), "of one window each, they are the same"


def test_threshold_lets_no_more_pass_than_was_allowed() -> None:
    clips = scored(200, classes=2)
    single = WindowScores(clips.labels, clips.truth, tuple(clips.scores[:, None]), clips.groups, clips.names)
    for rate in (0.0, 0.05, 0.2):
        chosen = choose_thresholds(single, ("a",), rate)
        assert set(chosen) == {"b"}
        passing = (clips.scores[clips.truth == 0, 1] >= chosen["b"].start).mean()
        assert passing <= rate
        lower = chosen["b"].start - 0.002
        assert (clips.scores[clips.truth == 0, 1] >= lower).mean() >= rate - 0.02
        assert chosen["b"].end < chosen["b"].start


def test_threshold_is_passed_by_a_share_of_windows_and_every_clip_has_the_same_share() -> None:
    """Nine clips of one window at 0.2; one of ten windows, half of them at 0.8, whose mean would be 0.5."""
    peaks = np.array([0.8] * 5 + [0.2] * 5)
    rows = (*[np.array([0.2])] * 9, peaks, np.array([0.9]))
    names = tuple(map(str, range(11)))
    windows = WindowScores(
        ("n", "f"), np.array([0] * 10 + [1]), tuple(np.stack([1 - r, r], axis=1) for r in rows), names, names
    )
    # The five windows are half of one of ten clips: 5 %.
    assert choose_thresholds(windows, ("n",), 0.05)["f"].start == 0.201
    assert choose_thresholds(windows, ("n",), 0.04)["f"].start == 0.801


def test_comparison_counts_the_clips_on_which_only_one_is_right() -> None:
    truth = np.array([0, 0, 1, 1, 1, 0, 1, 0])
    names = tuple(map(str, range(8)))

    def model(right: list[bool]) -> ClipScores:
        said = np.where(right, truth, 1 - truth)
        return ClipScores(("n", "f"), truth, np.eye(2)[said] * 0.8 + 0.1, names, names)

    a = model([True] * 2 + [False] * 6)
    b = model([False] + [True] * 7)
    result = compare_accuracy(a, b)
    assert (result.only_a_right, result.only_b_right) == (1, 6)
    assert result.difference.value == pytest.approx(5 / 8)
    assert result.p_value == pytest.approx(2 * (1 + 7) / 2**7)  # both tails of a binomial of seven coins
    with pytest.raises(ValueError, match="not scored on the same clips"):
        compare_accuracy(a, ClipScores(("n", "f"), truth, b.scores, names, tuple("abcdefgh")))


def test_figures_that_cannot_be_had_are_null_in_json() -> None:
    only = ClipScores(("n", "f"), np.zeros(4, int), np.full((4, 2), 0.5), tuple("abcd"), tuple("abcd"))
    found = evaluate(only).to_json()
    assert found["auc"] is None
    assert found["low"]["auc"] is None
    assert found["per_class"]["f"]["recall"] is None
    assert found["clips"] == 4
    assert {"accuracy", "balanced_accuracy", "macro_f1"} <= set(found["high"])


def test_four_hundred_labels_are_judged_in_little_memory() -> None:
    """Kinetics' number: what grows with its square, for each clip, does not fit."""
    truth = np.arange(800) % 400
    generator = np.random.default_rng(0)
    scores = generator.random((800, 400)) + 0.6 * np.eye(400)[truth]
    scores /= scores.sum(1, keepdims=True)
    weights = draw_weights([str(i % 40) for i in range(800)], 3, seed=1)
    tracemalloc.start()
    try:
        drawn = weighted_figures(truth, scores, weights)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100e6
    said = scores.argmax(1)
    for k, w in enumerate(weights):
        assert drawn["accuracy"][k] == pytest.approx(metrics.accuracy_score(truth, said, sample_weight=w))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # labels that are said and were not drawn
            expected = metrics.balanced_accuracy_score(truth, said, sample_weight=w)
        assert drawn["balanced_accuracy"][k] == pytest.approx(expected)


def separate() -> ClipScores:
    """Four groups of one clip and one label each, every clip right."""
    truth, names = np.array([0, 1, 0, 1]), ("a", "b", "c", "d")
    return ClipScores(("n", "f"), truth, np.eye(2)[truth] * 0.8 + 0.1, names, names)


def test_where_all_is_right_accuracy_has_an_exact_interval_of_the_groups_and_the_others_none() -> None:
    figures = evaluate(separate()).figures
    # Clopper and Pearson: all of four are right with a probability of 2.5 % where each is with 0.025 ** (1 / 4).
    assert (figures["accuracy"].low, figures["accuracy"].high) == (pytest.approx(0.025**0.25), 1.0)
    assert np.isnan(figures["auc"].low)
    assert np.isnan(compare_accuracy(separate(), separate()).difference.low)


def test_label_that_a_draw_does_not_hold_is_no_mistake() -> None:
    """An eighth of the draws holds one label only; who is always right is right in those, too."""
    clips = separate()
    weights = draw_weights(clips.groups, 1000, seed=0)
    assert np.isin(weights @ clips.truth, (0, 4)).mean() > 0.1
    f1 = evaluate(clips).figures["macro_f1"]
    assert f1.value == 1.0


def test_label_that_is_neither_shown_nor_said_does_not_lower_the_macro_f1() -> None:
    clips = separate()
    wider = np.c_[clips.scores, np.zeros(4)]
    third = evaluate(ClipScores(("n", "f", "fall"), clips.truth, wider, clips.groups, clips.names)).figures["macro_f1"]
    assert third.value == 1.0


def test_one_group_gives_figures_but_no_interval() -> None:
    """All its draws are alike: an interval of width zero would look like certainty."""
    clips = replace(separate(), groups=("one",) * 4)
    found = evaluate(clips)
    assert found.figures["accuracy"].value == 1.0
    assert all(np.isnan([f.low, f.high]).all() for f in found.figures.values())
    assert str(found.figures["accuracy"]) == "1.000 (–)"
    assert set(found.to_json()["low"].values()) == set(found.to_json()["high"].values()) == {None}
    assert np.isnan(compare_accuracy(clips, clips).difference.low)


def test_checkpoint_measured_on_one_group_says_that_bounds_are_absent() -> None:
    clips = replace(separate(), groups=("one",) * 4)
    held = WindowScores(clips.labels, clips.truth, tuple(row[None] for row in clips.scores), clips.groups, clips.names)
    outcome = summarise(held, np.ones(4, bool), Recipe())
    found = json.loads(contract_of(Recipe(), "x3d_xs", clips.labels, outcome, {}).encode()["clipline"])["metrics"]
    assert (found["accuracy"], found["low"], found["high"]) == (1.0, None, None)
    assert contract_of(Recipe(fit="crop"), "x3d_xs", clips.labels, outcome, {}).fit == "crop", "served as trained"


def noise(clips: int, groups: int, seed: int, steps: int = 3) -> WindowScores:
    """Scores that are far too sure of what they know nothing about."""
    generator = np.random.default_rng(seed)
    rows = tuple(apply_temperature(generator.dirichlet((1, 1), size=steps), 0.2) for _ in range(clips))
    names = tuple(map(str, range(clips)))
    held = tuple(str(i % groups) for i in range(clips))
    return WindowScores(("n", "f"), np.resize([0, 1, 1, 0, 1, 0, 0], clips), rows, held, names)


def test_temperature_by_which_a_clip_is_judged_comes_from_other_groups() -> None:
    """Changing what a group shows changes the temperature of others, and not its own."""
    clips = noise(40, 8, seed=0)
    before = fit_held_out_calibrations(clips)
    turned = replace(clips, truth=np.where(np.array(clips.groups) == "3", 1 - clips.truth, clips.truth))
    own = np.array(clips.groups) == "3"
    after = fit_held_out_calibrations(turned)
    np.testing.assert_array_equal(after[own], before[own])
    assert (after[~own] != before[~own]).any()
    assert len(set(before[own])) == 1
    assert len(set(before)) == 5, "five parts"


def test_only_counted_footage_sets_temperature_and_thresholds() -> None:
    """Rendered scenes, of which a model is surer, say nothing about the scores that real footage gets."""
    real = noise(40, 8, seed=0)
    scenes = replace(real, scores=tuple(np.eye(2)[[label] * 3] * 0.98 + 0.01 for label in real.truth))
    held = WindowScores(
        real.labels,
        np.concatenate([real.truth, scenes.truth]),
        real.scores + scenes.scores,
        real.groups + tuple(f"scene-{g}" for g in scenes.groups),
        real.names + tuple(f"scene-{n}" for n in scenes.names),
    )
    alone, beside = summarise(real, np.ones(40, bool), Recipe()), summarise(held, np.arange(80) < 40, Recipe())
    assert beside.calibration == alone.calibration
    assert beside.thresholds == alone.thresholds
    assert beside.metrics() == alone.metrics()


def test_calibration_error_in_a_checkpoint_is_of_windows_that_the_temperature_was_not_fitted_to() -> None:
    """Easy scenes and hard ones, all scored alike: a temperature of the others' windows fits neither kind."""
    generator = np.random.default_rng(0)
    truth = np.resize([0, 1], 12)
    said = [
        np.where(generator.random(3) < (0.95 if n < 6 else 0.55), label, 1 - label) for n, label in enumerate(truth)
    ]
    names = tuple(map(str, range(12)))
    groups = tuple(str(n // 2) for n in range(12))
    clips = WindowScores(("n", "f"), truth, tuple(np.eye(2)[s] * 0.8 + 0.1 for s in said), groups, names)
    outcome = summarise(clips, np.ones(12, bool), Recipe())
    assert outcome.calibration == fit_temperature(clips), "that of all clips goes into the contract"
    fitted = clips.scaled(outcome.calibration)
    assert evaluate(fitted.by_clip(), fitted).figures["calibration_error"].value == pytest.approx(0, abs=1e-3)
    assert outcome.metrics()["calibration_error"] > 0.05
    plain = evaluate(clips.by_clip(outcome.calibration)).figures
    own = outcome.evaluation.figures
    assert {name: own[name] for name in plain} | {"calibration_error": None} == plain | {"calibration_error": None}
