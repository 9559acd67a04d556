"""Training: no group on both sides, the same seed gives the same model, and what is served is what was measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from consumers.datasets import find_examples
from models import Classifier, TrainingError, save
from models.training import Footage, Recipe, Trainer

RECIPE = Recipe(frames=4, size=32, epochs=4, batch=4, learning_rate=3e-3)


def footage(groups: int = 4, size: int = 32, frames: int = 12) -> list[Footage]:
    """Two labels told apart by which half of the picture is lit."""
    generator = np.random.default_rng(1)
    videos = []
    for group in range(groups):
        for label in ("normal", "fight"):
            pixels = generator.integers(0, 60, (frames, size, size, 3), dtype=np.uint8)
            pixels[:, : size // 2] += np.uint8(120 if label == "fight" else 0)
            pixels[:, size // 2 :] += np.uint8(0 if label == "fight" else 120)
            videos.append(Footage(f"{label}-{group}", label, f"group-{group}", pixels))
    return videos


def test_no_group_is_trained_on_and_held_out_at_once():
    trainer = Trainer(footage(6), RECIPE)
    groups = np.array([f.group for f in footage(6)])
    held = []
    for train, test in trainer.split(3):
        assert not set(groups[train]) & set(groups[test])
        held += list(test)
    assert sorted(held) == list(range(12))


@pytest.mark.parametrize("architecture", ["cnn_lstm", "x3d_xs"])
def test_same_seed_gives_the_same_model_and_another_seed_another(architecture):
    recipe = replace(RECIPE, architecture=architecture, epochs=1)

    def weights(seed: int) -> np.ndarray:
        state = Trainer(footage(2), replace(recipe, seed=seed)).fit().state_dict()
        return np.concatenate([t.numpy().ravel() for t in state.values()])

    first = weights(0)
    assert np.array_equal(first, weights(0))
    assert not np.array_equal(first, weights(1))


@pytest.mark.parametrize("architecture", ["cnn_lstm", "x3d_xs"])
def test_served_scores_are_those_that_training_measured(tmp_path, architecture):
    """Decoding is shared; this holds the rest together: normalisation, frozen statistics, float16 on disk."""
    trainer = Trainer(footage(), replace(RECIPE, architecture=architecture))
    network = trainer.fit()
    contract = replace(trainer.contract(trainer.validate(2), {}), temperature=1.0)
    save(tmp_path / "m.safetensors", network.state_dict(), contract)
    served = Classifier.load(str(tmp_path / "m.safetensors"), engine="torch")
    for index, video in enumerate(footage()):
        windows = np.stack([video.frames[b : b + 8 : 2] for b in (0, 4)])
        np.testing.assert_allclose(served.predict(windows).mean(0), trainer._score(network, index), atol=5e-3)


def test_cnn_lstm_learns_what_is_easy_to_see():
    outcome = Trainer(footage(6), replace(RECIPE, epochs=12)).validate(3)
    assert outcome.metrics()["accuracy"] == 1.0
    assert outcome.metrics()["auc"] == 1.0


@pytest.mark.parametrize(
    ("videos", "message"),
    [
        ([f for f in footage() if f.label == "normal"], "at least two"),
        ([*footage(), Footage("x", "fall", "only", footage()[0].frames)], "'fall': all of its footage is of one group"),
        (footage(size=40), "expected all 32x32x3"),
    ],
)
def test_data_that_cannot_be_learnt_from_is_refused(videos, message):
    with pytest.raises(TrainingError, match=message):
        Trainer(videos, RECIPE)


def write_csv(folder: Path, text: str) -> Path:
    (folder / "a.mp4").touch()
    (folder / "labels.csv").write_text(text)
    return folder / "labels.csv"


def test_labels_are_renamed_and_left_out(tmp_path):
    path = write_csv(tmp_path, "path,label,start,end,group\na.mp4,nofight,1,2.5,s1\na.mp4,dance,,,s2\n")
    [example] = find_examples(path, {"nofight": "normal", "dance": ""})
    assert (example.label, example.start_seconds, example.end_seconds) == ("normal", 1.0, 2.5)
    assert example.group.endswith("/s1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na.mp4,x\n", "expected the columns path,label"),
        ("path,label\nb.mp4,x\n", "line 2: no such file: b.mp4"),
        ("path,label,start\na.mp4,x,soon\n", "line 2: could not convert"),
    ],
)
def test_csv_that_is_wrong_is_answered_with_its_line(tmp_path, text, message):
    with pytest.raises(TrainingError, match=message):
        find_examples(write_csv(tmp_path, text), {})


def test_gpu_and_processor_train_alike():
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA GPU")
    assert Trainer(footage(6), replace(RECIPE, epochs=12)).validate(3).metrics()["accuracy"] == 1.0
