"""A student learns what teachers say: of which windows, towards which scores, and what its checkpoint tells of it."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from consumers.learning.distilling.command import DistillOptions, distill_command
from consumers.learning.distilling.teachers import Teachers
from consumers.learning.trained_on import warn_of_training_data
from consumers.terminal.console import Output
from consumers.terminal.notes import Notes
from models import Contract, Threshold, TrainingError, find
from models.training import loop
from models.training.distillation import Lesson, Opinion, Taught, TaughtWindows, agreement
from models.training.material.footage import Footage
from models.training.objective import Batch, Imitation
from models.training.recipe import Augmentation, Recipe
from models.training.trainer import Trainer
from tests.checkpoints import write_checkpoint
from tests.command_line import clipline
from tests.test_training import footage
from tests.videos import write_video

RECIPE = Recipe(
    "x3d_xs",
    frames=4,
    spacing_seconds=0.2,
    size=32,
    epochs=1,
    batch=4,
    learning_rate=3e-3,
    imbalance="none",
    augmentation=Augmentation(crop=1, colour=0),
)
LABELS = ("normal", "fight")


def lesson(video: Footage, scores: tuple[float, float] | None = None) -> Lesson:
    """A teacher that is nearly sure of the label, or says what it is told to."""
    sure = (0.9, 0.1) if video.label == "normal" else (0.1, 0.9)
    return Lesson(video.frames, [Opinion(np.array([0.3, 0.9]), np.array([scores or sure] * 2))])


def taught(labelled: list[Footage] | None = None, unlabelled: list[Footage] | None = None) -> Taught:
    return Taught(LABELS, [lesson(v) for v in labelled or []], [lesson(v) for v in unlabelled or []], 2.0)


def test_a_window_is_to_have_the_mean_of_the_scores_whose_middles_lie_in_it():
    said = Opinion(np.array([1.0, 2.0, 3.0, 4.0]), np.array([[1, 0], [0.8, 0.2], [0.4, 0.6], [0, 1]]))
    spans = np.array([[1.5, 3.5], [0, 9], [2, 2], [2.25, 2.75], [0, 0.5], [7, 9]])
    found = said.of_spans(spans[:, 0], spans[:, 1])
    expected = [0.6, 0.55, 0.8, 0.6, 1.0, 0.0]  # the fourth lies between two, the last ones before and after all
    np.testing.assert_allclose(found, [[p, 1 - p] for p in expected])


def test_windows_of_student_and_teacher_are_compared_by_time_not_by_number():
    """A teacher with windows of another length sees one label in the first half, another one in the second."""
    half = Opinion(np.array([0.5, 1.0, 3.0, 3.5]), np.array([[1, 0], [1, 0], [0, 1], [0, 1]], float))
    frames = np.zeros((41, 32, 32, 3), np.uint8)  # 4 s: two frames for each of the recipe's
    windows = TaughtWindows([Lesson(frames, [half])], RECIPE, torch.device("cpu"))
    assert windows.truth[0].tolist() == [1, 0]
    assert windows.truth[-1].tolist() == [0, 1]
    np.testing.assert_allclose(windows.truth[len(windows.truth) // 2], [0.5, 0.5], atol=0.1)


def test_scores_of_several_teachers_are_averaged():
    one, other = lesson(footage()[0]), lesson(footage()[0], (0.3, 0.7))
    both = TaughtWindows([Lesson(one.frames, [*one.opinions, *other.opinions])], RECIPE, torch.device("cpu"))
    np.testing.assert_allclose(both.truth, [[0.6, 0.4]] * len(both.truth), rtol=1e-6)


def test_loss_is_the_divergence_at_a_temperature_and_0_where_the_student_says_the_same():
    logits = torch.tensor([[2.0, -1.0, 0.5], [0.1, 0.2, 0.3]])
    scores = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    for temperature in (1.0, 4.0):
        imitate = Imitation(RECIPE, 3, temperature)
        p = torch.softmax(scores.log() / temperature, 1)
        q = torch.softmax(logits / temperature, 1)
        expected = temperature**2 * (p * (p / q).log()).sum(1).mean()
        torch.testing.assert_close(imitate(torch.nn.Identity(), Batch(logits, scores)), expected)
        torch.testing.assert_close(
            imitate(torch.nn.Identity(), Batch(scores.log(), scores)), torch.tensor(0.0), atol=1e-6, rtol=0
        )
    sure = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    assert torch.isfinite(Imitation(RECIPE, 3, 1.0)(torch.nn.Identity(), Batch(logits, sure)))


def test_clips_that_are_mixed_are_to_have_their_mixed_scores():
    inputs, scores = torch.randn(4, 3, 2, 8, 8), torch.softmax(torch.randn(4, 2), 1)
    seen = []

    def network(mixed: torch.Tensor) -> torch.Tensor:
        seen.append(mixed)
        return torch.zeros(4, 2)

    torch.manual_seed(1)
    mixing = replace(RECIPE, augmentation=Augmentation(mixup=1.0))
    Imitation(mixing, 2, 1.0)(network, Batch(inputs, scores))  # type: ignore[arg-type]
    assert not torch.equal(seen[0], inputs)


@pytest.mark.slow
def test_student_learns_from_footage_that_nobody_labelled():
    recipe = replace(RECIPE, architecture="cnn_lstm", epochs=16)
    lessons = taught(unlabelled=footage(4))
    trainer = Trainer([], recipe, taught=lessons)
    student = trainer.fit()
    assert agreement(student, lessons, recipe) == 1.0  # type: ignore[arg-type]
    contract = trainer.contract(student, None, {})
    assert (contract.labels, contract.temperature, contract.thresholds, contract.metrics) == (LABELS, 1.0, {}, {})


def test_what_is_held_out_is_not_learnt_from_and_the_rest_is(monkeypatch: pytest.MonkeyPatch):
    """Over some epochs every window of the rest, and in each as many as would be served."""
    asked: list[tuple[TaughtWindows, list[np.ndarray]]] = []

    def steps(network, samples, rows, part, data, *, order, **_: object) -> loop.Trained[torch.nn.Module]:
        asked.append((samples, [order(epoch) for epoch in range(40)]))
        return loop.Trained(network.eval(), 1, 0.0)

    monkeypatch.setattr("models.training.distillation.run_steps", steps)
    videos, others = footage(3), footage(2, frames=30)
    trainer = Trainer(videos, RECIPE, taught=taught(videos, others))
    trainer.validate(3, used=1)
    ((samples, epochs),) = asked
    learnt = {*trainer.split(3)[0][0].tolist(), *range(len(videos), len(videos) + len(others))}
    rows = np.flatnonzero(np.isin(samples.videos, list(learnt)))
    assert set(np.concatenate(epochs)) == set(rows)
    assert {len(drawn) for drawn in epochs} == {len(rows) // 4}


def test_labels_that_the_labelled_footage_does_not_show_are_kept():
    videos = footage(2)
    three = replace(taught(videos), labels=(*LABELS, "fall"))
    three = replace(
        three, labelled=[Lesson(v.frames, [Opinion(np.array([0.5]), np.array([[0.5, 0.3, 0.2]]))]) for v in videos]
    )
    trainer = Trainer(videos, RECIPE, taught=three)
    assert trainer.labels == (*LABELS, "fall")
    assert trainer.validate(2).scores.scores.shape == (4, 3)


def test_only_networks_are_taught():
    with pytest.raises(TrainingError, match="classical:svm is no network"):
        Trainer([], replace(RECIPE, architecture="classical:svm"), taught=taught(unlabelled=footage(2)))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    return write_checkpoint(
        folder / "teacher.safetensors",
        thresholds={"fight": Threshold(0.6, 0.4)},
        training={"footage": ["abcdefabcdef"], "renamed": {"nofight": "normal"}},
    )


def films(folder: Path, count: int = 4) -> Path:
    folder.mkdir()
    for number in range(count):
        level = 120 * (number % 2) + number
        write_video(
            folder / f"{number}.mp4",
            20,
            rate=10,
            size=(64, 48),
            frame=lambda n, w, h, v=level: np.random.default_rng(n).integers(v, v + 90, (h, w, 3), dtype=np.uint8),
        )
    return folder


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def distilled(teacher: Path, *paths: Path, out: Path, **more: object) -> tuple[Contract, str]:
    console = Output(record=True, width=400, file=io.StringIO())
    options = DistillOptions([str(teacher)], list(paths), out, RECIPE, engine="torch", **more)  # type: ignore[arg-type]
    distill_command(options, console)
    return find(str(out)).contract, console.export_text()


def test_checkpoint_of_a_student_tells_who_taught_it_from_what(teacher: Path, tmp_path: Path):
    folder = films(tmp_path / "films")
    contract, said = distilled(teacher, folder, out=tmp_path / "s.safetensors")
    assert contract.labels == LABELS
    assert contract.thresholds == {"fight": Threshold(0.6, 0.4)}, "those of its teacher"
    training = contract.training
    assert training["teachers"] == [{"model": find(str(teacher)).id, "footage": ["abcdefabcdef"]}]
    assert (training["data"], len(training["footage"]), training["videos"]) == (["films"], 4, 4)
    assert (training["temperature"], training["held_out"], training["labelled"]) == (2.0, "nothing", 0)
    assert training["recipe"]["epochs"] == 1
    assert not {"imbalance", "label_smoothing"} & set(training["recipe"])
    assert set(training) >= {"command", "versions", "processor", "hours"}
    assert "nothing is known of its accuracy" in said
    assert not (tmp_path / ".s.safetensors.unfinished").exists()


def test_student_is_not_to_be_judged_on_what_its_teacher_learnt_from(teacher: Path, tmp_path: Path):
    distilled(teacher, films(tmp_path / "films", 2), out=tmp_path / "s.safetensors")
    notes = Notes(Output(quiet=True))
    warn_of_training_data(find(str(tmp_path / "s.safetensors")), {Path("x.mp4"): "abcdefabcdef0123"}, notes)
    assert "was trained on 1 of these 1 videos" in notes.warnings[0]


@pytest.mark.slow
def test_labelled_footage_measures_the_student_and_is_not_learnt_from_twice(teacher: Path, tmp_path: Path):
    folder = films(tmp_path / "films")
    (folder / "copy.mp4").write_bytes((folder / "0.mp4").read_bytes())
    rows = [f"{n}.mp4,{('nofight', 'fight')[n % 2]},g{n // 2}" for n in range(4)]
    (folder / "labels.csv").write_text("\n".join(["path,label,group", *rows]))
    (tmp_path / "more").mkdir()
    (folder / "copy.mp4").rename(tmp_path / "more" / "copy.mp4")
    write_video(tmp_path / "more" / "other.mp4", 20, rate=10)
    contract, said = distilled(
        teacher, tmp_path / "more", out=tmp_path / "s.safetensors", labelled=[folder / "labels.csv"], used_folds=1
    )
    assert "1 piece of the footage labelled, too" in said
    assert contract.training["videos"] == 5
    assert contract.training["held_out"] == "1 of 2 folds"
    assert contract.metrics["videos"] == 2
    assert "of what teaches it, on all 4 labelled videos" in said


@pytest.mark.slow
def test_stopped_distilling_goes_on_and_ends_with_the_same_student(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = films(tmp_path / "films", 3)
    distilled(teacher, folder, out=tmp_path / "whole.safetensors")
    score, scored = Teachers._score, []

    def stopped(self, classifiers, example, tell):
        if len(scored) == 2:
            raise KeyboardInterrupt
        scored.append(example.path.name)
        return score(self, classifiers, example, tell)

    monkeypatch.setattr(Teachers, "_score", stopped)
    with pytest.raises(KeyboardInterrupt):
        distilled(teacher, folder, out=tmp_path / "s.safetensors")
    assert len(list((tmp_path / ".s.safetensors.unfinished" / "teachers").rglob("*.npz"))) == 2
    scored.clear()
    _, said = distilled(teacher, folder, out=tmp_path / "s.safetensors")
    assert scored == ["2.mp4"]
    assert "teachers' scores of 2 videos" in said
    first, again = (find(str(tmp_path / f"{name}.safetensors")).state() for name in ("whole", "s"))
    assert all(torch.equal(first[name], again[name]) for name in first)


@pytest.mark.slow
def test_another_recipe_does_not_need_the_teachers_again(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = films(tmp_path / "films", 2)

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "fit", stop)
        with pytest.raises(KeyboardInterrupt):
            distilled(teacher, folder, out=tmp_path / "s.safetensors")
    monkeypatch.setattr(Teachers, "_score", stop)
    monkeypatch.setattr("tests.test_distilling.RECIPE", replace(RECIPE, seed=7))
    contract, _ = distilled(teacher, folder, out=tmp_path / "s.safetensors")
    assert contract.training["recipe"]["seed"] == 7


def test_all_footage_that_cannot_be_decoded_is_named_and_can_be_left_out(teacher: Path, tmp_path: Path):
    folder = films(tmp_path / "films", 2)
    for name in ("broken", "torn"):
        (folder / f"{name}.mp4").write_bytes(b"\0" * 5000)
    asked = ("distill", teacher, folder, "-o", tmp_path / "s.safetensors", "--engine", "torch", "--epochs", 1)
    asked += ("--size", 32, "--batch", 4)
    refused = clipline(*asked)
    assert refused.returncode == 2
    assert all(f"{name}.mp4" in refused.stderr for name in ("broken", "torn"))
    assert "--skip-bad-rows goes on without them" in refused.stderr
    done = clipline(*asked, "--skip-bad-rows")
    assert done.returncode == 0, done.stderr
    assert "2 of 4 videos cannot be read and are left out" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent-model", "films"], "unknown model 'absent-model'"),
        (["TEACHER", "absent"], "absent: no such file or folder"),
        (["TEACHER", "empty"], "empty: the folder holds no video file"),
        (["TEACHER", "films", "--also", "OTHER"], "teachers must know the same labels"),
        (["TEACHER", "films", "--arch", "classical:svm"], "classical:svm is no network"),
        (["TEACHER", "films", "--arch", "x3d_xxs"], "unknown architecture 'x3d_xxs'"),
        (["TEACHER", "films", "--crop", "7"], "--crop 7"),
        (["TEACHER", "films", "--labelled", "labels.csv"], "labels fall: teacher"),
        (["TEACHER", "films", "--labelled", "single.csv"], "label 'fight': only one video (films/0.mp4)"),
        (["TEACHER", "films", "-o", "films"], "films: cannot be written"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    films(tmp_path / "films", 1)
    (tmp_path / "labels.csv").write_text("path,label\nfilms/0.mp4,fall\n")
    (tmp_path / "single.csv").write_text("path,label\nfilms/0.mp4,fight\n")
    other = write_checkpoint(tmp_path / "other.safetensors", labels=("normal", "fall"))
    told = clipline("distill", *(str({"TEACHER": teacher, "OTHER": other}.get(a, a)) for a in arguments))
    assert told.returncode == 2
    assert message in told.stderr
    assert "Traceback" not in told.stderr
