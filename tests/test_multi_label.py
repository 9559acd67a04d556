"""Clips that may have several labels: how they are read, divided and judged, label by label."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from consumers.learning.footage.datasets import find_examples
from consumers.learning.footage.examples import DataOptions
from consumers.live.tracker import Tracker
from consumers.records.prediction import Prediction
from consumers.replaying.judging.placing import TrueEvent
from consumers.replaying.judging.truth import read_truth
from consumers.replaying.judging.windows import judged_windows
from consumers.replaying.trace import PlacedTrace, Timeline, Trace
from consumers.rules.rule import Rule
from models import CheckpointError, Contract, Platt, Threshold, TrainingError, labels_in
from models.evaluation.alarms import with_alarms, wrong_windows
from models.evaluation.calibration import choose_thresholds, fit_calibration, recalibrated
from models.evaluation.figures import evaluate
from models.evaluation.folds import split_by_group
from models.evaluation.label_errors import doubtful_labels
from models.evaluation.scores import ClipScores, WindowScores, logits_of
from models.evaluation.significance import compare_precision

SEVERAL = DataOptions(multi_label=True)
LABELS = ("normal", "fight", "smoke")
GENERATOR = np.random.default_rng(4)


def listed(folder: Path, *rows: str, options: DataOptions = SEVERAL, **renamed: str) -> dict[str, str]:
    """What a list says: by file, and part of it where there is more than one, the label."""
    for row in rows:
        (folder / row.partition(",")[0]).touch()
    (folder / "labels.csv").write_text("\n".join(["path,label,start,end", *rows]) + "\n")
    found = find_examples(folder / "labels.csv", renamed, options)
    return {f"{e.path.name} {e.start_seconds:g}-{e.end_seconds or 0:g}": e.label for e in found}


# Labels as they are written


def test_labels_of_one_text_are_told_apart_whatever_their_order_and_blanks() -> None:
    assert labels_in(" smoke | fight|smoke|") == ("fight", "smoke")


def test_a_row_may_name_several_labels(tmp_path: Path) -> None:
    found = listed(tmp_path, "a.mp4,smoke | fight", "b.mp4,normal")
    assert found == {"a.mp4 0-0": "fight|smoke", "b.mp4 0-0": "normal"}


def test_rows_of_one_file_that_overlap_are_cut_so_that_each_piece_has_all_of_its_labels(tmp_path: Path) -> None:
    found = listed(tmp_path, "a.mp4,smoke,0,10", "a.mp4,fight,6,14", "a.mp4,normal,20,30")
    assert found == {
        "a.mp4 0-6": "smoke",
        "a.mp4 6-10": "fight|smoke",
        "a.mp4 10-14": "fight",
        "a.mp4 20-30": "normal",
    }


def test_two_rows_of_the_same_footage_are_one_with_both_labels(tmp_path: Path) -> None:
    assert listed(tmp_path, "a.mp4,smoke", "a.mp4,fight") == {"a.mp4 0-0": "fight|smoke"}


def test_pieces_shorter_than_anybody_annotates_are_left_out(tmp_path: Path) -> None:
    assert listed(tmp_path, "a.mp4,smoke,0,10", "a.mp4,fight,9.8,20") == {
        "a.mp4 0-9.8": "smoke",
        "a.mp4 10-20": "fight",
    }


def test_single_labels_are_renamed_and_left_out_within_several(tmp_path: Path) -> None:
    assert listed(tmp_path, "a.mp4,smoke|brawl", "b.mp4,smoke", brawl="fight", smoke="") == {"a.mp4 0-0": "fight"}


def test_one_label_a_clip_keeps_the_text_as_it_is_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    (tmp_path / "labels.csv").write_text("path,label\na.mp4,fight|smoke\n")
    said: list[str] = []
    (example,) = find_examples(tmp_path / "labels.csv", {}, say=said.append)
    assert example.label == "fight|smoke"
    assert example.labels == ("fight|smoke",)
    assert said[0] == (
        "1 row with '|' in the label, taken for one label of that name ('fight|smoke'); --multi-label takes it for "
        "'fight' and 'smoke'"
    )


def test_labels_within_several_that_differ_in_case_only_are_asked_about(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="differ in upper and lower case only"):
        listed(tmp_path, "a.mp4,fight|smoke", "b.mp4,Fight")


def test_truth_of_a_replay_may_name_several_labels(tmp_path: Path) -> None:
    (tmp_path / "truth.csv").write_text("file,label,start,end\na.mp4,fight|smoke,1,2\n")
    assert [row.label for row in read_truth(tmp_path / "truth.csv", {}, multi_label=True)] == ["fight", "smoke"]
    assert [row.label for row in read_truth(tmp_path / "truth.csv", {})] == ["fight|smoke"]


# What a model promises


def contract(**more: object) -> Contract:
    values: dict[str, object] = {
        "architecture": "x3d_xs",
        "labels": LABELS,
        "frames": 4,
        "spacing_seconds": 0.4,
        "height": 32,
        "width": 32,
        "fit": "stretch",
        "mean": (0.0,) * 3,
        "std": (1.0,) * 3,
    }
    return Contract(**(values | more))  # type: ignore[arg-type]


def test_a_contract_says_that_scores_are_independent_and_how_each_is_calibrated() -> None:
    calibration = {label: Platt(1.5, -0.25 * n) for n, label in enumerate(LABELS)}
    written = contract(multi_label=True, calibration=calibration)
    assert Contract.decode(written.encode(), "m") == written


def test_contracts_of_one_label_a_clip_are_written_as_before() -> None:
    values = json.loads(contract().encode()["clipline"])
    assert not {"multi_label", "calibration"} & set(values)


@pytest.mark.parametrize(
    "more",
    [
        {"multi_label": True, "temperature": 2.0},
        {"calibration": {label: Platt() for label in LABELS}},
        {"multi_label": True, "calibration": {"fight": Platt()}},
    ],
)
def test_a_contract_that_contradicts_itself_is_refused(more: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"calibration|temperature"):
        contract(**more)


def test_a_damaged_calibration_is_told() -> None:
    metadata = contract(multi_label=True, calibration={label: Platt() for label in LABELS}).encode()
    broken = {"clipline": metadata["clipline"].replace('"temperature": 1.0', '"temperature": -1.0')}
    with pytest.raises(CheckpointError, match="m: its contract cannot be read"):
        Contract.decode(broken, "m")


# Figures


def scored(clips: int = 120) -> ClipScores:
    """Scores that tell the second label well, the third badly; every clip of some of twelve groups."""
    truth = GENERATOR.random((clips, 3)) < (0.4, 0.3, 0.2)
    scores = np.clip(truth * (0.2, 0.5, 0.1) + GENERATOR.random((clips, 3)) * 0.5, 0, 1)
    groups = tuple(f"g{n % 12}" for n in range(clips))
    return ClipScores(LABELS, truth, scores, groups, tuple(map(str, range(clips))))


def test_each_label_is_judged_by_itself_as_scikit_learn_does() -> None:
    clips = scored()
    found = evaluate(clips, rounds=50)
    precisions = [average_precision_score(t, s) for t, s in zip(clips.truth.T, clips.scores.T, strict=True)]
    areas = [roc_auc_score(t, s) for t, s in zip(clips.truth.T, clips.scores.T, strict=True)]
    assert [c.average_precision for c in found.per_class] == pytest.approx(precisions)
    assert [c.auc for c in found.per_class] == pytest.approx(areas)
    assert found.figures["mean_average_precision"].value == pytest.approx(np.mean(precisions))
    assert found.figures["auc"].value == pytest.approx(np.mean(areas))
    assert found.main.low < found.main.value < found.main.high
    assert "accuracy" not in found.figures, "no label has to be the highest"
    assert found.confusion is None
    assert json.dumps(found.to_json())


def test_recall_of_a_label_is_told_where_so_many_of_the_other_clips_pass() -> None:
    truth = np.zeros((40, 2), bool)
    truth[:20, 0] = True
    truth[:, 1] = ~truth[:, 0]
    scores = np.stack([np.r_[np.linspace(0.5, 0.9, 20), np.linspace(0.0, 0.6, 20)], np.zeros(40)], axis=1)
    fight = evaluate(ClipScores(("a", "b"), truth, scores, ("g",) * 40, ("n",) * 40), rounds=0).per_class[0]
    # One of 20 others may pass: the threshold lies above the second highest of them.
    assert fight.recall_at[5] == np.mean(scores[:20, 0] > np.sort(scores[20:, 0])[-2])
    assert fight.recall_at[10] == np.mean(scores[:20, 0] > np.sort(scores[20:, 0])[-3])


def test_a_label_that_no_clip_has_is_left_out_of_means() -> None:
    clips = scored()
    clips.truth[:, 0] = False
    found = evaluate(clips, rounds=20)
    assert np.isnan(found.per_class[0].auc)
    assert found.figures["auc"].value == pytest.approx(np.mean([c.auc for c in found.per_class[1:]]))


def windows(clips: int = 300, scale: float = 3.0, offset: float = 1.0) -> WindowScores:
    """Windows whose logits are `scale` times too large and shifted, of clips with two labels or less."""
    logits = GENERATOR.normal(size=(clips, 2, 2))
    truth = GENERATOR.random((clips, 2)) < 1 / (1 + np.exp(-logits.mean(1)))
    scores = 1 / (1 + np.exp(-(logits.mean(1, keepdims=True) * scale + offset) * np.ones((1, 2, 1))))
    names = tuple(map(str, range(clips)))
    return WindowScores(("fight", "smoke"), truth, tuple(scores), names, names)


def test_calibration_of_each_label_undoes_what_is_wrong_with_its_logits() -> None:
    made = windows()
    found = fit_calibration(made)
    assert isinstance(found, np.ndarray)
    temperature, offset = found.mean(0)
    assert temperature == pytest.approx(3.0, rel=0.35)
    assert offset == pytest.approx(-1 / 3, abs=0.3)
    error = [evaluate(w.by_clip(), w, rounds=0).figures["calibration_error"].value for w in (made, made.scaled(found))]
    assert error[1] < error[0] / 2
    assert made.scaled(found).log_loss() < made.log_loss()


def test_scores_that_are_all_right_are_not_made_infinite() -> None:
    truth = np.array([[True, False], [False, True]] * 4)
    perfect = WindowScores(("a", "b"), truth, tuple(truth[:, None].astype(float)), ("g",) * 8, ("n",) * 8)
    found = fit_calibration(perfect)
    assert np.isfinite(logits_of(np.concatenate(perfect.scaled(found).scores))).all()


def test_calibrating_a_calibrated_model_once_more_takes_both_together() -> None:
    made = windows()
    first = recalibrated(contract(labels=made.labels, multi_label=True), np.array([[2.0, 0.5], [1.0, -0.5]]))
    second = recalibrated(first, np.array([[0.5, 1.0], [3.0, 0.25]]))
    both = np.array([[p.temperature, p.offset] for p in second.calibration.values()])
    one_by_one = made.scaled(np.array([[2.0, 0.5], [1.0, -0.5]])).scaled(np.array([[0.5, 1.0], [3.0, 0.25]]))
    np.testing.assert_allclose(made.scaled(both).scores, one_by_one.scores, atol=1e-3)


def test_thresholds_let_few_windows_without_the_label_pass_and_none_is_raised_for_a_quiet_one() -> None:
    made = windows()
    thresholds = choose_thresholds(made, ("smoke",), 0.1)
    assert set(thresholds) == {"fight"}
    others = np.concatenate([s[:, 0] for s, t in zip(made.scores, made.truth, strict=True) if not t[0]])
    assert 0.05 < np.mean(others >= thresholds["fight"].start) <= 0.1


def test_a_label_that_a_clip_has_is_no_wrong_alarm_whatever_else_it_has() -> None:
    truth = np.array([[True, True], [True, False]])
    rows = tuple(np.full((4, 2), 0.9) for _ in truth)
    both = WindowScores(("fight", "smoke"), truth, rows, ("a", "b"), ("a", "b"))
    every = {label: Threshold(0.5, 0.3) for label in both.labels}
    assert wrong_windows(both, every).tolist() == [0.0, 1.0]


def test_false_alarms_are_counted_on_clips_that_show_nothing_but_what_is_quiet() -> None:
    truth = np.array([[True, False, False]] * 20 + [[True, True, False]] * 10 + [[False, True, True]] * 10)
    scores = np.zeros((40, 3))
    scores[20:, 1] = 0.9
    groups = tuple(map(str, range(40)))
    clips = ClipScores(LABELS, truth, scores, groups, groups)
    found = with_alarms(evaluate(clips, rounds=0), clips, np.full(40, np.nan), ("normal",), rounds=0)
    assert found.figures["recall_at_5_percent_false_alarms"].value == 1.0


def test_difference_of_two_models_is_that_of_the_mean_average_precision() -> None:
    a = scored()
    b = ClipScores(a.labels, a.truth, a.truth * 0.9 + 0.05, a.groups, a.names)
    found = compare_precision(a, b, rounds=100)
    before = evaluate(a, rounds=0).main.value
    assert found.value == pytest.approx(1 - before)
    assert 0 < found.low < found.high


def test_a_label_that_is_there_and_not_given_is_doubtful_like_one_that_is_given_and_not_there() -> None:
    truth = np.array([[True, False], [True, True], [False, True], [False, False], [False, False], [True, False]])
    scores = truth * 0.8 + 0.1
    scores[3, 1] = 0.95
    scores[0, 0] = 0.02
    names = tuple(map(str, range(6)))
    found = doubtful_labels(ClipScores(("fight", "smoke"), truth, scores, names, names))
    assert [(d.name, d.given, d.likely) for d in found] == [
        ("0", "with fight", "without fight"),
        ("3", "without smoke", "with smoke"),
    ]


# Folds


@pytest.mark.parametrize("seed", [0, 2, 3, 4, 5])
def test_folds_divide_no_group_and_leave_each_label_something_to_learn_and_to_hold_out(seed: int) -> None:
    generator = np.random.default_rng(seed)
    groups = np.array([f"g{n // 5}" for n in range(150)])
    truth = np.zeros((150, 3), bool)
    for number in range(30):  # a scene shows much the same throughout
        truth[groups == f"g{number}"] = generator.random(3) < (0.5, 0.3, 0.2)
    splits = split_by_group(truth, groups, 3, seed)
    assert sorted(i for _, held in splits for i in held) == list(range(150))
    for learnt, held in splits:
        assert not set(groups[learnt]) & set(groups[held])
        assert truth[learnt].any(0).all()
        assert truth[held].any(0).all()
        assert 30 <= len(held) <= 75


def test_there_are_as_many_folds_as_the_rarest_label_has_groups() -> None:
    truth = np.array([[True, False]] * 6 + [[True, True]] * 2)
    assert len(split_by_group(truth, np.array(list("aabbccde")), 5, 0)) == 2


# Events and replays


def prediction(window: int, **scores: float) -> Prediction:
    return Prediction("gate", 0, window, window * 1_000_000, (window + 2) * 1_000_000, "m", scores)


def test_labels_that_happen_at_once_are_events_at_once_each_with_its_own_course() -> None:
    rule = Rule(start=0.6, end=0.4, min_seconds=0, cooldown_seconds=0, update_seconds=100)
    tracker = Tracker({"fight": rule, "smoke": rule})
    course = [(0.9, 0.1), (0.9, 0.8), (0.2, 0.8), (0.1, 0.1)]
    told = [
        [(e.label, e.state) for e in tracker.push(prediction(n, normal=0.9, fight=f, smoke=s))]
        for n, (f, s) in enumerate(course)
    ]
    assert told == [
        [("fight", "started")],
        [("smoke", "started")],
        [("fight", "ended")],
        [("smoke", "ended")],
    ]


def test_a_prediction_travels_whatever_its_scores_sum_to() -> None:
    sent = prediction(1, normal=0.1, fight=0.9, smoke=0.8)
    assert Prediction.decode(*sent.encode(), "here") == sent
    assert json.loads(sent.encode()[2])["label"] == "fight"


def test_a_window_of_a_replay_shows_all_that_happens_in_it() -> None:
    second, count = 1_000_000, 6
    numbers = np.arange(count)
    places = np.stack([numbers * 0, numbers, numbers * second, (numbers + 1) * second, (numbers + 1) * second], axis=1)
    scores = np.stack([numbers / 10, numbers * 0, numbers * 0], axis=1)
    trace = Trace("m", LABELS, places, scores, np.array([]), np.array([[0, count * second]]), 10, 0)
    timeline = Timeline("gate", [PlacedTrace("gate.mp4", 0, trace)])
    truth = [
        TrueEvent("gate", "fight", second, 3 * second, "t"),
        TrueEvent("gate", "smoke", 2 * second, round(4.2 * second), "t"),
    ]
    found = judged_windows([timeline], truth, {"fight", "smoke"}, multi_label=True)
    assert found is not None
    shown = {round(row[0] * 10): found.shown(n) for n, row in enumerate(found.scores)}
    assert shown == {0: "normal", 1: "fight", 2: "fight|smoke", 3: "smoke", 5: "normal"}, "4 is the end of smoke"
