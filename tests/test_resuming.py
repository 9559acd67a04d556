"""A training that was stopped goes on from where it was, at every stage, and says so truly."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest

from consumers.learning.footage.leakage import footage_sample
from consumers.learning.train import TrainOptions, train_command
from consumers.learning.trained_on import began_from, warn_of_training_data
from consumers.terminal.console import Output
from consumers.terminal.notes import Notes
from models import Checkpoint, Contract
from models.training import trainer as trainer_module
from models.training.material.computed import Computed
from models.training.material.samples import Descriptors
from models.training.recipe import Augmentation, Recipe
from models.training.trainer import Trainer
from tests.command_line import clipline
from tests.test_training import footage

RECIPES = {
    "motion descriptors by look": ("descriptors", Recipe("movenet_motion", frames=4, size=32)),
    "classical descriptions": ("features", Recipe("classical:svm", frames=4, size=32)),
    "features of a frozen image network": (
        "features",
        Recipe("cnn_lstm", frames=4, size=32, epochs=1, augmentation=Augmentation(crop=1, colour=0)),
    ),
}


class StoppedAt:
    """Progress that is told Ctrl-C when so much of a stage is done."""

    def __init__(self, stage: str, done: int) -> None:
        self.stage, self.done = stage, done

    def __call__(self, name: str, done: int, total: int) -> None:
        if name == self.stage and done == self.done:
            raise KeyboardInterrupt


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The indices of videos that something was computed of."""
    indices: list[int] = []
    make = Computed.__init__

    def counting(self, folder, compute) -> None:
        def counted(index: int):
            indices.append(index)
            return compute(index)

        make(self, folder, counted)

    monkeypatch.setattr(Computed, "__init__", counting)
    return indices


@pytest.mark.slow
@pytest.mark.parametrize("work", RECIPES)
def test_what_was_computed_of_videos_before_a_stop_is_not_computed_again(
    tmp_path: Path, computed: list[int], work: str
) -> None:
    stage, recipe = RECIPES[work]
    videos = footage(3)
    with pytest.raises(KeyboardInterrupt):
        Trainer(videos, recipe, StoppedAt(stage, 4), folder=tmp_path / "f").validate(2)
    before = len(set(computed))
    assert 4 <= before < len(videos) or work == "classical descriptions"  # which several threads compute
    computed.clear()
    again = Trainer(videos, recipe, folder=tmp_path / "f")
    assert again.left is not None
    assert again.left.startswith(f"Goes on from {tmp_path / 'f'}: {work} of {before} videos")
    resumed = again.validate(2)
    assert len(computed) == len(videos) - before
    whole = Trainer(videos, recipe).validate(2)
    assert resumed.metrics() == whole.metrics()


def test_folds_that_were_done_are_named(tmp_path: Path) -> None:
    recipe = RECIPES["motion descriptors by look"][1]
    with pytest.raises(KeyboardInterrupt):
        Trainer(footage(3), recipe, StoppedAt("fold 2 of 3", 1), folder=tmp_path / "f").validate(3)
    left = Trainer(footage(3), recipe, folder=tmp_path / "f").left
    assert left == f"Goes on from {tmp_path / 'f'}: motion descriptors by look of 6 videos, 1 fold"


@pytest.mark.parametrize("changed", ["footage", "recipe", "library"])
def test_state_of_other_work_or_versions_is_not_continued_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    recipe = RECIPES["motion descriptors by look"][1]
    with pytest.raises(KeyboardInterrupt):
        Trainer(footage(3), recipe, StoppedAt("descriptors", 4), folder=tmp_path / "f").validate(2)
    if changed == "library":
        monkeypatch.setattr(trainer_module, "library_versions", lambda *_: {"torch": "another"})
    videos = footage(3, frames=13) if changed == "footage" else footage(3)
    left = Trainer(videos, replace(recipe, seed=1) if changed == "recipe" else recipe, folder=tmp_path / "f").left
    assert left is not None
    assert left.startswith(f"Begins anew: {tmp_path / 'f'} was left by a run with other footage")
    assert not list((tmp_path / "f").rglob("*.npz"))


def test_ctrl_c_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "labels.csv").write_text("path,label\na.mp4,fight\n")
    (tmp_path / "a.mp4").touch()

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("consumers.learning.train.find_examples", stopped)
    found = clipline("train", tmp_path / "labels.csv", "-o", tmp_path / "own.safetensors")
    assert found.returncode == 130
    assert "stopped; decoded frames are kept" in found.stderr
    assert "the same command goes on from there (--fresh begins anew)" in found.stderr


def test_target_is_checked_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").mkdir()
    for name, words in {"a.safetensors": "it is a folder", "a.xml": "ends in .safetensors"}.items():
        options = TrainOptions([tmp_path / "absent.csv"], tmp_path / name, Recipe())
        with pytest.raises(Exception, match=words):
            train_command(options, Output(quiet=True))


def test_of_much_footage_so_many_windows_are_learnt_from_as_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = RECIPES["motion descriptors by look"][1]
    monkeypatch.setattr(Descriptors, "LEARNT_ROWS", 24)
    trainer = Trainer(footage(3, frames=40), recipe)
    trainer.fit()
    rows = trainer._data.once("motion descriptors by look", lambda: pytest.fail("they are there"))
    assert [len(rows.learnt(i)) for i in range(6)] == [4] * 6  # two windows, as they are and mirrored
    assert len(rows.served(0)) == 9


def checkpoint(name: str, **training: object) -> Checkpoint:
    contract = Contract(
        "x3d_xs", ("normal", "fight"), 4, 0.2, 64, 64, "stretch", (0.5,) * 3, (0.5,) * 3, training=training
    )
    return Checkpoint(Path(f"{name}.safetensors"), contract, name)


def test_footage_of_every_model_that_a_training_began_from_is_known_as_learnt_from() -> None:
    digests = {Path(f"{n}.mp4"): f"{n:064x}"[::-1] for n in range(3)}
    first = checkpoint("first", footage=footage_sample({Path("0"): digests[Path("0.mp4")]}))
    second = checkpoint(
        "second", footage=footage_sample({Path("1"): digests[Path("1.mp4")]}), began_from=began_from(first)
    )
    third = checkpoint("third", footage=[], began_from=began_from(second))
    assert third.contract.training["began_from"]["model"] == "second"
    notes = Notes(Output(file=io.StringIO()))
    warn_of_training_data(third, digests, notes)
    assert "third was trained on 2 of these 3 videos" in notes.warnings[0]
