"""From films that show several things at once to a model, its files, a worker's events and the same from a replay."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from consumers.learning.evaluate import CompareOptions, EvaluateOptions, compare_command, evaluate_command
from consumers.learning.train import TrainOptions, train_command
from consumers.live.assemble import clip_spec
from consumers.rules.rule_set import tracker_rules
from models import Classifier, Platt, TrainingError, find
from models.engines.export import export
from models.networks.movenet import LinearHead
from models.training.material.footage import Footage
from models.training.objective import Batch, Classification, Imitation
from models.training.recipe import Augmentation, Recipe
from models.training.trainer import Trainer
from tests.checkpoints import write_checkpoint
from tests.replays import SETTINGS, Served, live, replayed, said
from tests.videos import write_video

FITTED = Recipe("movenet_motion", frames=4, spacing_seconds=0.2, size=32, multi_label=True)
KINDS = ("normal", "fight", "smoke", "fight|smoke")


def picture(kind: str, generator: np.random.Generator, width: int, height: int) -> np.ndarray:
    """A dark view; noise that changes all the time above for `fight`, a bright patch below for `smoke`."""
    image = np.full((height, width, 3), 40, np.uint8)
    if "fight" in kind:
        image[: height // 2] = generator.integers(0, 255, (height // 2, width, 3))
    if "smoke" in kind:
        image[height // 2 :] = 230
    return image


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("several")
    rows = ["path,label,group"]
    for number in range(12):
        kind, generator = KINDS[number % 4], np.random.default_rng(number)
        write_video(
            folder / f"{number}.mp4",
            24,
            rate=10,
            size=(64, 64),
            frame=lambda n, w, h, k=kind, g=generator: picture(k, g, w, h),
        )
        rows.append(f"{number}.mp4,{kind},g{number // 4}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder / "labels.csv"


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A model as `clipline train --multi-label` makes it, and what that says."""
    folder = tmp_path_factory.mktemp("model")
    console = Console(file=io.StringIO(), width=200)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        train_command(TrainOptions([data], folder / "own.safetensors", FITTED, learning_curve=True), console)
    return folder / "own.safetensors", console.file.getvalue()


@pytest.fixture
def model(trained: tuple[Path, str]) -> Path:
    return trained[0]


def test_scores_of_labels_are_independent_and_calibrated_each(model: Path, data: Path) -> None:
    contract = find(str(model)).contract
    assert contract.labels == ("normal", "fight", "smoke")
    assert contract.multi_label
    assert set(contract.calibration) == set(contract.labels)
    assert set(contract.thresholds) == {"fight", "smoke"}, "nothing is raised for the quiet label"
    assert contract.metrics["mean_average_precision"] > 0.9
    assert "accuracy" not in contract.metrics
    clips = np.stack([np.stack([picture(kind, np.random.default_rng(n), 32, 32) for n in range(4)]) for kind in KINDS])
    scores = Classifier.load(str(model), "torch", 1).predict(clips)
    assert scores[3, 1] > 0.5
    assert scores[3, 2] > 0.5
    assert scores[3].sum() > 1.2, "they need not sum to one"


def test_held_out_scores_and_what_is_printed_name_all_labels_and_no_accuracy(trained: tuple[Path, str]) -> None:
    model, told = trained
    result = told[told.index("own.safetensors: normal, fight, smoke; held-out mean average precision") :]
    assert "recall at 5 %" in result
    assert "accuracy" not in result
    rows = model.with_name("own.held-out.csv").read_text().splitlines()
    assert rows[0].endswith("predicted,score normal,score fight,score smoke")
    assert [row.split(",")[3] for row in rows].count("fight|smoke") == 3


@pytest.mark.slow
def test_evaluation_and_its_report_judge_each_label(model: Path, data: Path, tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=200)
    options = EvaluateOptions(
        str(model),
        [data],
        engine="torch",
        json_file=tmp_path / "out.json",
        report_file=tmp_path / "out.html",
        calibrated_file=tmp_path / "calibrated.safetensors",
    )
    evaluate_command(options, console, Console(quiet=True))
    told = console.file.getvalue()
    assert "mean average precision" in told
    assert "a calibration of each label" in told
    figures = json.loads((tmp_path / "out.json").read_text())
    assert figures["confusion"] is None
    assert "recall_at_5_percent_false_alarms" in figures["per_class"]["smoke"]
    assert "fight|smoke" in (tmp_path / "out.html").read_text()
    assert set(find(str(tmp_path / "calibrated.safetensors")).contract.calibration) == {"normal", "fight", "smoke"}


def test_models_of_several_labels_and_of_one_have_nothing_to_compare(model: Path, data: Path, tmp_path: Path) -> None:
    one = write_checkpoint(tmp_path / "one.safetensors", labels=("normal", "fight", "smoke"))
    with pytest.raises(TrainingError, match=r"a clip may have several labels for own-.*, and one for one-"):
        compare_command(CompareOptions((str(one), str(model)), [data]), Console(quiet=True), Console(quiet=True))


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".xml", ".onnx"])
def test_exported_files_hold_the_sigmoids_and_their_calibration(model: Path, tmp_path: Path, suffix: str) -> None:
    written = export(find(str(model)), tmp_path / f"own{suffix}")
    assert written.checkpoint.contract.multi_label
    assert written.difference < 1e-3


@pytest.mark.slow
def test_a_pt2_file_holds_them_too(tmp_path: Path) -> None:
    several = write_checkpoint(
        tmp_path / "m.safetensors",
        multi_label=True,
        calibration={"normal": Platt(2.0, 0.5), "fight": Platt(0.5, -1.0)},
    )
    assert export(find(str(several)), tmp_path / "m.pt2").difference < 1e-4


def test_each_logit_is_divided_and_shifted_by_itself(tmp_path: Path) -> None:
    plain = write_checkpoint(tmp_path / "plain.safetensors", multi_label=True)
    calibration = {"normal": Platt(2.0, 0.5), "fight": Platt(0.5, -1.0)}
    changed = write_checkpoint(tmp_path / "changed.safetensors", multi_label=True, calibration=calibration)
    clips = np.random.default_rng(0).integers(0, 255, (2, 4, 32, 32, 3), np.uint8)
    before, after = (Classifier.load(str(m), "torch", 1).predict(clips).astype(np.float64) for m in (plain, changed))
    logits = np.log(before / (1 - before))
    expected = 1 / (1 + np.exp(-(logits / np.array([2.0, 0.5]) + np.array([0.5, -1.0]))))
    np.testing.assert_allclose(after, expected, atol=1e-5)


def test_a_worker_and_a_replay_say_the_same_of_what_happens_at_once(model: Path, tmp_path: Path) -> None:
    """Films are replayed, so that the truth of a model's events is that of its worker's."""
    generator = np.random.default_rng(0)
    course = ["normal"] * 30 + ["fight"] * 20 + ["fight|smoke"] * 20 + ["smoke"] * 20 + ["normal"] * 30
    film = write_video(
        tmp_path / "gate.mp4",
        len(course),
        rate=10,
        size=(64, 64),
        frame=lambda n, w, h: picture(course[n], generator, w, h),
    )
    classifier = Classifier.load(str(model), "torch", 1)
    rules = {
        label: replace(rule, start=0.5, end=0.3, min_seconds=0, cooldown_seconds=0)
        for label, rule in tracker_rules(classifier.contract, SETTINGS.tracker).items()
    }
    served = Served(classifier, clip_spec(classifier.contract, None), rules)
    predictions, events, heard = live(film, "gate", 0, served=served)
    of_replay = said(replayed([film], tmp_path / "kept", camera="gate", start_us=0, served=served), "gate", rules)
    assert (predictions, events) == of_replay
    assert max(sum(p.scores.values()) for p in heard.predictions) > 1.3
    started = {e.label: e for e in heard.events if e.state == "started"}
    ended = {e.label: e for e in heard.events if e.state == "ended"}
    assert set(started) == {"fight", "smoke"}
    assert started["smoke"].start_us < ended["fight"].end_us, "they overlap"


# Losses


def batch(labels: torch.Tensor) -> Batch:
    torch.manual_seed(0)
    return Batch(torch.randn(len(labels), 3, 4), labels)


def network(labels: int = 2) -> torch.nn.Module:
    torch.manual_seed(1)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, labels))


def test_each_label_has_a_binary_cross_entropy_of_its_own() -> None:
    truth = np.array([[1, 0], [1, 1], [0, 0], [0, 1]], bool)
    recipe = Recipe(multi_label=True, imbalance="none", label_smoothing=0)
    found = batch(torch.from_numpy(truth).float())
    loss = Classification(recipe, truth, 2, torch.device("cpu"))(network(), found)
    one_by_one = sum(
        torch.nn.functional.binary_cross_entropy_with_logits(network()(found.inputs)[:, k], found.labels[:, k])
        for k in range(2)
    )
    assert loss.item() == pytest.approx(one_by_one.item(), rel=1e-5)


@pytest.mark.parametrize("imbalance", ["weights", "focal"])
def test_a_rare_label_weighs_as_much_as_its_absence(imbalance: str) -> None:
    truth = np.zeros((10, 1), bool)
    truth[0] = True
    recipe = Recipe(multi_label=True, imbalance=imbalance, label_smoothing=0)  # type: ignore[arg-type]
    objective = Classification(recipe, truth, 1, torch.device("cpu"))
    bias = torch.zeros(1, requires_grad=True)

    class Constant(torch.nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return bias.expand(len(inputs), 1)

    objective(Constant(), batch(torch.from_numpy(truth).float())).backward()
    assert bias.grad is not None
    assert bias.grad.item() == pytest.approx(0, abs=1e-6), "where both weigh alike, saying half is best"


def test_a_student_that_says_what_its_teacher_says_of_each_label_has_nothing_to_learn() -> None:
    recipe = Recipe(multi_label=True)
    inputs = batch(torch.zeros(4, 2)).inputs
    said = torch.sigmoid(network()(inputs)).detach()
    assert Imitation(recipe, 2, 2.0)(network(), Batch(inputs, said)).item() == pytest.approx(0, abs=1e-5)
    assert Imitation(recipe, 2, 2.0)(network(), Batch(inputs, 1 - said)).item() > 0.01


def test_a_fitted_head_is_a_regression_of_each_label() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(200, 6, generator=generator)
    truth = torch.stack([rows[:, 0] > 0, rows[:, 1] > 0.8, rows[:, 0] > 0], dim=1)
    together, alone = LinearHead(6, 3), LinearHead(6, 2)
    together.fit(rows, truth, torch.full((200,), 1.0))
    alone.fit(rows, truth[:, 0].long(), torch.full((200,), 1.0))
    with torch.no_grad():
        several, one = torch.sigmoid(together(rows)), torch.softmax(alone(rows), dim=1)[:, 1]
    np.testing.assert_allclose(several[:, 0], one, atol=2e-3)  # as a softmax of two labels says it
    assert ((several > 0.5) == truth).float().mean() > 0.95


# Other ways to train, and what is refused


def films(size: int = 32) -> list[Footage]:
    return [
        Footage(
            f"{kind} {n}.mp4",
            kind,
            f"g{n}",
            np.stack([picture(kind, np.random.default_rng(10 * n + t), size, size) for t in range(12)]),
        )
        for n in range(3)
        for kind in KINDS
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe",
    [
        Recipe("x3d_xs", frames=4, size=32, epochs=1, batch=4, augmentation=Augmentation(crop=1, mixup=0.4)),
        Recipe("cnn_lstm", frames=4, size=32, epochs=1, batch=4, augmentation=Augmentation(crop=1, colour=0, views=1)),
        Recipe("movenet_lstm", frames=4, size=48, epochs=1, augmentation=Augmentation(flip=False)),
        Recipe("movenet_3d", frames=4, size=48, epochs=1, augmentation=Augmentation(flip=False)),
    ],
    ids=lambda recipe: recipe.architecture,
)
def test_every_network_learns_several_labels(recipe: Recipe) -> None:
    trainer = Trainer(films(recipe.size), replace(recipe, multi_label=True))
    held = trainer.validate(3, used=1)
    assert held.scores.is_multi_label
    assert held.scores.scores.shape == (4, 3)
    assert trainer.contract(trainer.fit(1), held, {}).multi_label


def test_a_head_that_was_trained_for_labels_that_exclude_one_another_starts_afresh(tmp_path: Path) -> None:
    begun = write_checkpoint(tmp_path / "one.safetensors", labels=("normal", "fight", "smoke"), says="fight")
    recipe = Recipe("x3d_xs", frames=4, size=32, epochs=1, multi_label=True, begin_from=str(begun))
    trainer = Trainer(films(), replace(recipe, trained_stages=1, learning_rate=1e-9))
    model = trainer.fit()
    last = [name for name in model.state_dict() if name.endswith("proj.weight")][-1]
    assert model.state_dict()[last].abs().sum() > 0, "the weights of the other head are all zero"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"imbalance": "smote"}, "imbalance 'smote': with several labels a clip expected one of none, weights, focal"),
        ({"metric": "accuracy"}, "metric 'accuracy': with several labels a clip expected loss"),
    ],
)
def test_what_makes_no_sense_of_several_labels_is_refused(more: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Recipe(multi_label=True, **more)  # type: ignore[arg-type]


def test_classical_models_take_one_label_a_clip() -> None:
    with pytest.raises(TrainingError, match="classical:svm ignores --multi-label"):
        Trainer(films(), Recipe("classical:svm", frames=4, size=32, multi_label=True))


def test_a_label_of_one_group_is_named_although_its_clips_have_others() -> None:
    some = [f for f in films() if "smoke" not in f.label or f.group == "g0"]
    with pytest.raises(TrainingError, match=r"label 'smoke': all of its footage is of one group \('g0'\)"):
        Trainer(some, FITTED)
