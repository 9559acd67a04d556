"""Remedies for imbalance: values worked out by hand or by torch, draws that lose nothing, and the same for a seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from models import TrainingError
from models.training.material.imbalance import (
    IMBALANCES,
    LogitAdjustment,
    balanced_subsets,
    class_weights,
    focal_loss,
    oversampled,
    synthetic_minority,
)

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 0.0, 0.0], [-3.0, 4.0, 1.0], [1.0, 1.5, -2.0]])
TARGETS = torch.tensor([0, 2, 1, 0])
MIXED = torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.5, 0.5], [0.0, 1.0, 0.0], [0.2, 0.2, 0.6]])


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_names_are_those_of_the_command_line():
    assert IMBALANCES == ("none", "weights", "oversample", "focal", "logit-adjust", "smote", "ensemble")


def test_inverse_weights_make_every_label_count_alike():
    weights = class_weights([90, 9, 1])
    np.testing.assert_allclose(weights, [100 / 270, 100 / 27, 100 / 3])
    np.testing.assert_allclose(weights * [90, 9, 1], 100 / 3)


def test_effective_number_is_that_of_the_paper():
    """Two samples with beta 0.9 are worth 1 + 0.9, three 1 + 0.9 + 0.81: the sum that (1 - beta^n) / (1 - beta) is."""
    weights = class_weights([2, 3], "effective", beta=0.9)
    assert weights[0] / weights[1] == pytest.approx((1 + 0.9 + 0.81) / (1 + 0.9))
    assert (weights * [2, 3]).sum() == pytest.approx(5)


def test_effective_number_runs_from_all_alike_to_inverse():
    np.testing.assert_allclose(class_weights([90, 9, 1], "effective", beta=0.0), 1)
    np.testing.assert_allclose(class_weights([90, 9, 1], "effective", beta=1 - 1e-12), class_weights([90, 9, 1]))


@pytest.mark.parametrize("scheme", ["inverse", "effective"])
def test_label_without_samples_weighs_nothing_and_the_others_as_if_it_were_not_there(scheme):
    weights = class_weights([8, 0, 2], scheme)
    assert weights[1] == 0
    np.testing.assert_allclose(weights[[0, 2]], class_weights([8, 2], scheme))


def test_weights_of_nothing_are_refused():
    with pytest.raises(TrainingError, match="no samples"):
        class_weights([0, 0])
    with pytest.raises(ValueError, match="none negative"):
        class_weights([3, -1])
    with pytest.raises(ValueError, match="beta 1"):
        class_weights([3, 1], "effective", beta=1)


@pytest.mark.parametrize("targets", [TARGETS, MIXED])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weight", [None, torch.tensor([0.5, 2.0, 1.5])])
def test_focal_loss_without_focus_is_cross_entropy(targets, smoothing, weight):
    soft = functional.one_hot(targets, 3).float() if targets.ndim == 1 else targets
    expected = functional.cross_entropy(LOGITS, soft, weight, label_smoothing=smoothing)
    torch.testing.assert_close(focal_loss(LOGITS, targets, weight, gamma=0, label_smoothing=smoothing), expected)


def test_focal_loss_is_that_of_the_paper():
    """p = 0.8 and 0.25 of the right label: (1 - p)^2 is 0.04 and 0.5625."""
    logits = torch.tensor([[0.8, 0.2], [0.75, 0.25]]).log()
    expected = (0.04 * -np.log(0.8) * 3 + 0.5625 * -np.log(0.25)) / 2
    found = focal_loss(logits, torch.tensor([0, 1]), torch.tensor([3.0, 1.0]), gamma=2)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_focal_loss_of_a_mixed_clip_is_the_mixture_of_its_losses():
    one, other = (focal_loss(LOGITS, torch.full((4,), k), gamma=1.5) for k in (0, 2))
    mixed = focal_loss(LOGITS, torch.tensor([[0.3, 0.0, 0.7]]).expand(4, 3), gamma=1.5)
    torch.testing.assert_close(mixed, 0.3 * one + 0.7 * other)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_has_a_finite_slope_where_a_clip_is_certain(gamma):
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    focal_loss(logits, torch.tensor([0, 0]), gamma=gamma).backward()
    assert logits.grad.isfinite().all()
    assert logits.grad[0].abs().sum() == 0
    assert logits.grad[1, 0] < 0


def test_negative_focus_is_refused():
    with pytest.raises(ValueError, match="gamma -1"):
        focal_loss(LOGITS, TARGETS, gamma=-1)


def test_adjusted_loss_is_that_of_the_paper():
    """Eq. 10: log(1 + sum over others of (prior_k / prior_y)^tau exp(f_k - f_y))."""
    prior, f = np.array([0.9, 0.1]), np.array([0.3, 1.1])
    expected = np.log1p((prior[0] / prior[1]) ** 0.5 * np.exp(f[0] - f[1]))
    loss = LogitAdjustment([90, 10], tau=0.5)
    assert loss(torch.tensor([[0.3, 1.1]]), torch.tensor([1])).item() == pytest.approx(expected, rel=1e-5)
    assert loss(torch.tensor([[0.3, 1.1]]), torch.tensor([[0.0, 1.0]])).item() == pytest.approx(expected, rel=1e-5)


def test_adjusted_loss_of_equally_common_labels_is_cross_entropy():
    for targets in (TARGETS, MIXED):
        expected = functional.cross_entropy(LOGITS, targets, label_smoothing=0.1)
        torch.testing.assert_close(LogitAdjustment([7, 7, 7], label_smoothing=0.1)(LOGITS, targets), expected)


def test_adjusted_training_favours_no_label_for_being_common():
    """Clips that say nothing, 9 to 1: cross-entropy learns the prior, the adjusted loss learns nothing."""
    targets = torch.tensor([0] * 9 + [1])

    def learnt(loss) -> torch.Tensor:
        logits = torch.zeros(2, requires_grad=True)
        optimiser = torch.optim.SGD([logits], lr=1.0)
        for _ in range(500):
            optimiser.zero_grad()
            loss(logits.expand(10, 2), targets).backward()
            optimiser.step()
        return logits.detach().softmax(0)

    torch.testing.assert_close(learnt(functional.cross_entropy), torch.tensor([0.9, 0.1]), atol=1e-3, rtol=0)
    torch.testing.assert_close(learnt(LogitAdjustment([9, 1])), torch.tensor([0.5, 0.5]), atol=1e-3, rtol=0)


def test_adjusted_loss_stays_finite_for_a_label_without_samples():
    assert LogitAdjustment([5, 0, 5], label_smoothing=0.1)(LOGITS, TARGETS).isfinite()
    with pytest.raises(ValueError, match="tau -1"):
        LogitAdjustment([5, 5], tau=-1)


TRUTH = np.array([0] * 7 + [1] * 3 + [2] * 2 + [1] * 50)
#: Only some are in the training part: sample 0 and the last fifty are held out.
TRAIN = np.arange(1, 12)


def test_oversampling_shows_every_label_as_often_and_every_sample_about_alike():
    drawn = oversampled(TRAIN, TRUTH, generator())
    assert np.bincount(TRUTH[drawn]).tolist() == [6, 6, 6]
    assert set(drawn) == set(TRAIN)
    for label in range(3):
        times = np.unique(drawn[TRUTH[drawn] == label], return_counts=True)[1]
        assert times.max() - times.min() <= 1


def test_oversampling_of_an_uneven_multiple_draws_the_rest():
    truth = np.array([0] * 5 + [1] * 2)
    drawn = oversampled(np.arange(7), truth, generator())
    assert sorted(np.bincount(drawn)[5:]) == [2, 3]


def test_draws_are_those_of_their_seed():
    for draw in (oversampled, lambda *a: np.concatenate(balanced_subsets(*a[:2], 3, a[2]))):
        first = draw(TRAIN, TRUTH, generator(1))
        assert np.array_equal(first, draw(TRAIN, TRUTH, generator(1)))
        assert not np.array_equal(first, draw(TRAIN, TRUTH, generator(2)))


def test_every_subset_holds_all_of_the_rarest_label_and_as_much_of_the_others():
    subsets = balanced_subsets(TRAIN, TRUTH, 8, generator())
    assert len(subsets) == 8
    for subset in subsets:
        assert np.bincount(TRUTH[subset]).tolist() == [2, 2, 2]
        assert len(set(subset)) == 6
        assert {10, 11} <= set(subset) <= set(TRAIN)
    assert set(np.concatenate(subsets)) == set(TRAIN), "together they should have seen everything"
    with pytest.raises(ValueError, match="0 subsets"):
        balanced_subsets(TRAIN, TRUTH, 0, generator())


def test_drawing_from_nothing_gives_nothing():
    nothing = TRAIN[:0]
    assert len(oversampled(nothing, TRUTH, generator())) == 0
    assert [len(s) for s in balanced_subsets(nothing, TRUTH, 2, generator())] == [0, 0]


def samples(*counts: int) -> tuple[np.ndarray, np.ndarray]:
    """Sequences (T = 2, F = 3) of label k around (10 k, 20 k, 30 k)."""
    truth = np.repeat(np.arange(len(counts)), counts)
    noise = generator().normal(size=(len(truth), 2, 3)) + truth[:, None, None] * np.array([10, 20, 30])
    return noise.astype(np.float32), truth


def test_synthetic_samples_even_the_labels_out_and_lie_between_two_of_their_own():
    features, truth = samples(12, 6, 2)
    more, names = synthetic_minority(features, truth, ("a", "b", "c"))
    assert np.bincount(names).tolist() == [12, 12, 12]
    assert more.shape == (36, 2, 3)
    assert more.dtype == features.dtype
    np.testing.assert_array_equal(more[:20], features)
    np.testing.assert_array_equal(names[:20], truth)
    first, second = (f.ravel() for f in features[truth == 2])
    for made in more[20:][names[20:] == 2]:
        share = (made.ravel() - first) @ (second - first) / ((second - first) @ (second - first))
        assert 0 <= share <= 1
        np.testing.assert_allclose(made.ravel(), first + share * (second - first), atol=1e-4)


def test_synthetic_samples_are_those_of_their_seed():
    features, truth = samples(12, 6)
    first, other = (synthetic_minority(features, truth, ("a", "b"), seed=s)[0] for s in (1, 2))
    np.testing.assert_array_equal(first, synthetic_minority(features, truth, ("a", "b"), seed=1)[0])
    assert not np.array_equal(first, other)


def test_label_that_is_absent_stays_absent():
    features, truth = samples(4, 0, 3)
    assert np.bincount(synthetic_minority(features, truth, ("a", "b", "c"))[1]).tolist() == [4, 0, 4]


def test_label_with_a_single_sample_is_named():
    features, truth = samples(5, 1, 3)
    with pytest.raises(TrainingError, match="only one sample of label 'fall'"):
        synthetic_minority(features, truth, ("normal", "fall", "fight"))
