"""What a model finds at a rate of false alarms, and how many windows of calm footage alarm."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models import Threshold
from models.evaluation.alarms import FALSE_WINDOWS, held_out_wrong_windows, with_alarms, wrong_windows
from models.evaluation.figures import Evaluation, evaluate
from models.evaluation.folds import some_groups
from models.evaluation.ranking import recall_name
from models.evaluation.scores import ClipScores, WindowScores

LABELS = ("normal", "fight")


def clips(calm: list[float], fights: list[float]) -> ClipScores:
    """Clips by the score of "fight", each of a group of its own."""
    scores = np.array([*calm, *fights])
    names = tuple(map(str, range(len(scores))))
    truth = np.repeat([0, 1], [len(calm), len(fights)])
    return ClipScores(LABELS, truth, np.stack([1 - scores, scores], 1), names, names)


def judged(some: ClipScores, wrong: np.ndarray | None = None, quiet: tuple[str, ...] = ("normal",)) -> Evaluation:
    wrong = np.full(len(some.truth), np.nan) if wrong is None else wrong
    return with_alarms(evaluate(some, rounds=0), some, wrong, quiet, rounds=100)


def test_recall_is_that_of_the_lowest_threshold_that_so_many_calm_clips_pass():
    """Of 20 calm clips one may alarm at 5 %, and two at 10 %."""
    some = clips([0.9, 0.8, 0.7, *np.linspace(0, 0.5, 17)], [0.95, 0.85, 0.75, 0.6, 0.1])
    figures = judged(some).figures
    assert figures[recall_name(5)].value == pytest.approx(2 / 5)
    assert figures[recall_name(10)].value == pytest.approx(3 / 5)
    assert figures[recall_name(5)].low <= 2 / 5 <= figures[recall_name(5)].high


def test_equal_scores_alarm_together():
    some = clips([0.8, 0.8, *[0.1] * 18], [0.8, 0.9])
    assert judged(some).figures[recall_name(5)].value == pytest.approx(1 / 2), "0.8 would let two calm clips alarm"


def test_fewer_calm_clips_than_a_share_is_of_may_not_alarm_at_all():
    assert judged(clips([0.5, 0.1], [0.4, 0.6])).figures[recall_name(10)].value == pytest.approx(1 / 2)


@pytest.mark.parametrize("quiet", [(), ("normal", "fight"), ("other",)])
def test_without_quiet_clips_or_without_others_nothing_is_known(quiet: tuple[str, ...]):
    found = judged(clips([0.1], [0.9]), np.array([0.0, 0.0]), quiet).figures
    assert all(math.isnan(found[name].value) for name in (recall_name(5), FALSE_WINDOWS)) or quiet == (
        "normal",
        "fight",
    )
    assert math.isnan(found[recall_name(5)].value)


def test_a_window_is_wrong_where_a_label_that_its_clip_does_not_have_passes_its_threshold():
    rows = tuple(np.stack([1 - np.array(s), np.array(s)], 1) for s in ([0.2, 0.7, 0.9, 0.1], [0.9, 0.9]))
    windows = WindowScores(LABELS, np.array([0, 1]), rows, ("a", "b"), ("a", "b"))
    assert wrong_windows(windows, {"fight": Threshold(0.7, 0.4)}).tolist() == [0.5, 0.0]
    assert np.isnan(wrong_windows(windows, {})).all(), "without thresholds nothing alarms, and nothing is known"


def test_thresholds_are_not_judged_on_what_they_were_fitted_to():
    """Calm clips whose groups score ever higher: a threshold of the others lets more pass than it was told to."""
    generator = np.random.default_rng(0)
    calm = [np.clip(generator.normal(0.3 + 0.1 * g, 0.02, 10), 0.01, 0.99) for g in range(5)]
    rows = tuple(np.stack([1 - s, s], 1) for s in [*calm, *[np.full(10, 0.9)] * 5])
    groups = tuple(f"g{n}" for n in range(5)) * 2
    windows = WindowScores(LABELS, np.repeat([0, 1], 5), rows, groups, groups)
    wrong = held_out_wrong_windows(windows, ("normal",), 0.1)
    assert wrong[:5].max() == 1.0
    one = WindowScores(LABELS, np.array([0, 1]), rows[4:6], ("a", "a"), ("a", "b"))
    assert np.isnan(held_out_wrong_windows(one, ("normal",), 0.1)).all()


def test_a_smaller_share_of_groups_lies_within_a_larger_one_and_keeps_every_label():
    truth, groups = np.arange(40) % 2, np.array([f"g{n // 2}" for n in range(40)])
    quarter, half = (some_groups(truth, groups, share, seed=3) for share in (0.25, 0.5))
    assert set(groups[quarter]) < set(groups[half])
    assert len(set(groups[quarter])) == 5
    assert set(truth[some_groups(truth, groups, 0.001, seed=3)]) == {0, 1}
    assert len(set(groups[some_groups(truth, groups, 0.001, seed=3, least=2)])) == 2
