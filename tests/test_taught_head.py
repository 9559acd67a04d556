"""A CNN-LSTM whose head learns from labels and from a regression."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models import Classifier, TrainingError, save
from models.networks.movenet_lstm import MoveNetLstm
from models.training.material.footage import Footage
from models.training.recipe import Augmentation, Recipe
from models.training.strategies.taught_head import TaughtLstm
from models.training.trainer import Trainer, strategy_for
from tests.checkpoints import write_checkpoint

RECIPE = Recipe("movenet_lstm", frames=4, size=48, epochs=4, learning_rate=2e-3, augmentation=Augmentation(flip=False))


def film(label: str, number: int, seed: int) -> Footage:
    """Noise that changes from frame to frame for `fight`; that stands still, and then moves evenly, else."""
    generator = np.random.default_rng(seed)
    if label == "fight":
        frames = generator.integers(0, 256, (10, 48, 48, 3), dtype=np.uint8)
    else:
        frames = np.stack([np.roll(generator.integers(0, 60, (48, 48, 3), dtype=np.uint8), k, 1) for k in [0] * 10])
        frames[:] = frames[0]
    return Footage(f"{label}{number}", label, f"{label}{number % 3}", frames)


@pytest.mark.slow
def test_it_learns_what_moves_how_and_is_served_as_it_was_trained(tmp_path: Path) -> None:
    footage = [film(label, n, 7 * n + (label == "fight")) for label in ("fight", "normal") for n in range(6)]
    trainer = Trainer(footage, RECIPE)
    validation = trainer.validate(3)
    assert validation.evaluation.figures["accuracy"].value == 1.0
    model = trainer.fit(validation.epochs)
    contract = trainer.contract(model, validation, {})
    assert (contract.views, contract.training["epochs"]) == (2, 4)
    save(tmp_path / "m.safetensors", dict(model.state_dict()), contract)
    served = Classifier.load(str(tmp_path / "m.safetensors"), "openvino-f32", 1)
    fight, normal = (served.predict(np.asarray(footage[k].frames[:8:2])) for k in (0, 6))
    assert fight[served.labels.index("fight")] > 0.5 > normal[served.labels.index("fight")]


def test_every_epoch_sees_as_many_windows_of_each_video() -> None:
    from models.training.strategies.taught_head import _order

    counts = [1, 5, 20]
    rows = _order(counts, 0)(0)
    assert np.histogram(rows, [0, 1, 6, 26])[0].tolist() == [8, 8, 8]
    assert not np.array_equal(rows, _order(counts, 0)(1))
    np.testing.assert_array_equal(rows, _order(counts, 0)(0))


@pytest.mark.slow
def test_engines_agree(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "m.safetensors", "movenet_lstm", frames=5, height=48, width=48, views=2)
    clips = np.random.default_rng(0).integers(0, 256, (3, 5, 48, 48, 3), dtype=np.uint8)
    torch, openvino = (Classifier.load(str(path), engine, 1).predict(clips) for engine in ("torch", "openvino-f32"))
    np.testing.assert_allclose(torch, openvino, atol=1e-4)
    assert len(np.unique(torch[:, 0])) == 3


def test_a_row_is_the_whole_and_each_step() -> None:
    assert MoveNetLstm(2, size=48).row_shape(10) == (9, 2000)


def test_what_is_meant_and_what_is_refused() -> None:
    assert strategy_for(RECIPE) is TaughtLstm
    assert strategy_for(replace(RECIPE, trained_stages=2)) is not TaughtLstm
    with pytest.raises(TrainingError, match="imbalance 'smote': movenet_lstm is taught by a regression"):
        TaughtLstm.check(replace(RECIPE, imbalance="smote"))
