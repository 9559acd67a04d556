"""The traditional baseline: it sees motion, is served as it was measured, and its checkpoint holds numbers only."""

from __future__ import annotations

import functools
import json
import pickle
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import load_file, save_file

from consumers.learning.evaluate import EvaluateOptions, evaluate_command
from consumers.learning.train import TrainOptions, train_command
from models import CheckpointError, Classifier, EngineError, TrainingError, UnknownModelError, find, save
from models.classical.descriptors import PARTS
from models.classical.kinds import CLASSICAL, PARAMETERS
from models.classical.model import ClassicalModel, Parameters
from models.classical.strategy import Classical
from models.evaluation.figures import evaluate
from models.networks.zoo import create, describe
from models.training import distributed
from models.training.material.footage import Footage, TrainingSet
from models.training.recipe import Augmentation, Recipe
from models.training.strategies.strategy import Part
from models.training.trainer import Trainer
from models.windows.windowing import sliding_windows
from tests.videos import write_video

SIZE, FRAMES = 48, 12
RECIPE = Recipe("classical", frames=4, size=SIZE)


def blob_picture(background: np.ndarray, x: float, y: float) -> np.ndarray:
    ys, xs = np.mgrid[0:SIZE, 0:SIZE]
    spot = 150 * np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / 50)
    return np.repeat(np.clip(background + spot, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def blob(seed: int, pixels_a_frame: float) -> np.ndarray:
    """A bright blob before soft noise, (N, H, W, 3): of the label only its motion speaks, not where or what it is."""
    generator = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(generator.normal(size=(SIZE, SIZE)), (0, 0), 2)
    begin, height = generator.uniform(14, SIZE - 14, 2)
    places = begin + pixels_a_frame * (np.arange(FRAMES) - FRAMES / 2)
    return np.stack([blob_picture(60 + 15 * noise / noise.std(), x, height) for x in places])


def footage(speeds: dict[str, tuple[float, ...]], groups: int = 6) -> list[Footage]:
    """For each label and group one video for each of the label's speeds."""
    return [
        Footage(f"{label}-{g}-{k}", label, f"group-{g}", blob(1000 * g + k, speed))
        for g in range(groups)
        for k, (label, speed) in enumerate((label, s) for label, options in speeds.items() for s in options)
    ]


@pytest.fixture(autouse=True)
def _quick_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer bootstrap rounds: intervals are tested with `evaluate`, and take seconds here. And fewer trees."""
    monkeypatch.setitem(PARAMETERS["forest"], "n_estimators", 40)  # type: ignore[arg-type]
    for user in ("models.training.validation", "consumers.learning.evaluate"):
        monkeypatch.setattr(f"{user}.evaluate", functools.partial(evaluate, rounds=20))


MOVING = footage({"normal": (0.0, 0.0), "moving": (1.5, 1.5)})


@pytest.mark.parametrize("architecture", CLASSICAL)
def test_motion_is_told_from_stillness_though_single_pictures_look_alike(architecture: str) -> None:
    metrics = Trainer(MOVING, replace(RECIPE, architecture=architecture)).validate(3).metrics()
    assert (metrics["videos"], metrics["groups"]) == (24, 6)
    assert metrics["accuracy"] >= 0.9
    assert metrics["auc"] >= 0.95


def test_labels_that_say_nothing_are_not_learnt() -> None:
    """Each motion of each group has both labels once: a figure above one half would mean that something leaks."""
    videos = [replace(f, label=("normal", "moving")[k % 2]) for k, f in enumerate(MOVING)]
    assert Trainer(videos, RECIPE).validate(3).metrics()["accuracy"] <= 0.7


def test_left_is_told_from_right_only_where_clips_are_not_mirrored() -> None:
    sides = footage({"left": (-1.5,), "right": (1.5,)}, groups=8)
    mirrored, plain = (
        Trainer(sides, replace(RECIPE, augmentation=Augmentation(flip=flip))).validate(4).metrics()
        for flip in (True, False)
    )
    assert plain["accuracy"] >= 0.9
    assert mirrored["accuracy"] <= 0.7


def test_three_labels_are_told_apart_by_speed() -> None:
    videos = footage({"normal": (0.0,), "walk": (0.8, -0.8), "run": (2.4, -2.4)}, groups=8)
    outcome = Trainer(videos, RECIPE).validate(4)
    assert outcome.scores.labels == ("normal", "run", "walk")
    assert outcome.metrics()["accuracy"] >= 0.8


def trained(path: Path, architecture: str = "classical", videos: list[Footage] = MOVING) -> Trainer:
    """Write a checkpoint whose temperature is 1, so that scores can be compared with the model's own."""
    trainer = Trainer(videos, replace(RECIPE, architecture=architecture))
    model = trainer.fit()
    contract = replace(trainer.contract(model, trainer.validate(2), {"videos": len(videos)}), temperature=1.0)
    save(path, model.state_dict(), contract)
    return trainer


@pytest.mark.slow
@pytest.mark.parametrize("architecture", CLASSICAL)
def test_served_scores_are_those_that_training_measured(tmp_path: Path, architecture: str) -> None:
    trainer = trained(tmp_path / "m.safetensors", architecture)
    served = Classifier.load(str(tmp_path / "m.safetensors"))
    assert served.engine == "classical"
    assert served.labels == trainer.labels
    model = trainer.fit()
    for index, video in enumerate(MOVING):
        clips = video.frames[sliding_windows(FRAMES, 4, 2)]
        np.testing.assert_allclose(served.predict(clips), trainer._strategy.score(model, index), atol=1e-6)


def test_few_clips_are_all_asked_as_neighbours(tmp_path: Path) -> None:
    """A contract that said 15 could not be loaded."""
    few = [f for f in MOVING if f.group in {"group-0", "group-1"}][::2]
    recipe = replace(RECIPE, architecture="classical:knn", augmentation=Augmentation(flip=False))
    trainer = Trainer(few, recipe)
    model = trainer.fit()
    contract = trainer.contract(model, trainer.validate(2), {})
    assert contract.training["classical"]["estimator"] == {"n_neighbors": 8}
    save(tmp_path / "m.safetensors", model.state_dict(), contract)
    scores = Classifier.load(str(tmp_path / "m.safetensors")).predict(few[0].frames[:8:2])
    np.testing.assert_allclose(scores, 0.5, atol=1e-6)
    trained(tmp_path / "many.safetensors", "classical:knn")
    assert find(str(tmp_path / "many.safetensors")).contract.training["classical"]["estimator"] == {"n_neighbors": 15}


@pytest.mark.parametrize("architecture", CLASSICAL)
def test_score_of_a_clip_does_not_depend_on_its_batch(tmp_path: Path, architecture: str) -> None:
    trained(tmp_path / "m.safetensors", architecture)
    served = Classifier.load(str(tmp_path / "m.safetensors"))
    batch = np.stack([video.frames[:8:2] for video in MOVING[:7]])
    together = served.predict(batch)
    np.testing.assert_allclose(together.sum(1), 1, atol=1e-6)
    np.testing.assert_array_equal(together, np.stack([served.predict(clip) for clip in batch]))


def test_temperature_of_the_contract_sharpens_scores_and_leaves_the_answer(tmp_path: Path) -> None:
    trained(tmp_path / "m.safetensors")
    found = find(str(tmp_path / "m.safetensors"))
    # As `clipline evaluate --calibrated` writes it: what was read goes into another file.
    save(tmp_path / "sharp.safetensors", found.state(), replace(found.contract, temperature=0.5))
    clips = np.stack([video.frames[:8:2] for video in MOVING])
    plain, sharp = (Classifier.load(str(tmp_path / f"{n}.safetensors")).predict(clips) for n in ("m", "sharp"))
    np.testing.assert_array_equal(plain.argmax(1), sharp.argmax(1))
    assert (sharp.max(1) > plain.max(1)).all()


@pytest.mark.slow
@pytest.mark.parametrize("architecture", CLASSICAL)
def test_same_seed_gives_the_same_checkpoint(tmp_path: Path, architecture: str) -> None:
    for name in ("a", "b"):
        trained(tmp_path / name, architecture)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_checkpoint_holds_numbers_only_and_loads_where_nothing_is_unpickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(tmp_path / "m.safetensors", "classical:forest")
    shapes = {name: values.shape for name, values in load_file(tmp_path / "m.safetensors").items()}
    features = sum(PARTS.values())
    # 24 videos of 2 windows, and their mirror images.
    assert shapes == {
        "samples": (96, features),
        "truth": (96,),
        "mean": (features,),
        "scale": (features,),
        "probes": (32, 2),
    }

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    Classifier.load(str(tmp_path / "m.safetensors")).predict(MOVING[0].frames[:8:2])


def test_contract_says_how_it_was_fitted(tmp_path: Path) -> None:
    trained(tmp_path / "m.safetensors")
    contract = find(str(tmp_path / "m.safetensors")).contract
    assert contract.architecture == "classical:svm"
    assert contract.training["videos"] == 24
    story = contract.training["classical"]
    assert story["estimator"] == {"C": 1.0}
    assert (story["balanced"], story["seed"]) == (True, 0)
    assert "moving" in contract.thresholds
    json.dumps(contract.encode())


def altered(path: Path, **changes: np.ndarray) -> Path:
    """A copy of a checkpoint with other tensors."""
    wrong = path.with_name("wrong.safetensors")
    save_file(load_file(path) | changes, wrong, metadata=find(str(path)).contract.encode())
    return wrong


def test_checkpoint_that_this_scikit_learn_would_fit_otherwise_is_refused(tmp_path: Path) -> None:
    trained(tmp_path / "m.safetensors")
    probes = load_file(tmp_path / "m.safetensors")["probes"]
    with pytest.raises(CheckpointError, match=r"another model to its samples .* install that version, or train again"):
        Classifier.load(str(altered(tmp_path / "m.safetensors", probes=probes[:, ::-1].copy())))


@pytest.mark.parametrize(
    "changes",
    [
        {"truth": np.full(96, 2)},
        {"truth": np.zeros(95, np.int64)},
        {"mean": np.zeros(3, np.float16)},
        {"more": np.zeros(3, np.float16)},
    ],
)
def test_tensors_that_do_not_belong_together_are_refused(tmp_path: Path, changes: dict[str, np.ndarray]) -> None:
    trained(tmp_path / "m.safetensors")
    with pytest.raises(CheckpointError, match="not those of classical:svm"):
        Classifier.load(str(altered(tmp_path / "m.safetensors", **changes)))


@pytest.mark.parametrize(
    ("story", "message"),
    [
        ({}, "its classifier cannot be read"),
        ({"estimator": {"C": "much"}, "balanced": True, "seed": 0}, "could not convert string to float: 'much'"),
        ({"estimator": {"C": -1.0}, "balanced": True, "seed": 0}, "expected C, all positive"),
        ({"estimator": {"C": 1.0, "kernel": "linear"}, "balanced": True, "seed": 0}, "expected C, all positive"),
    ],
)
def test_classifier_that_a_contract_does_not_describe_is_refused(
    tmp_path: Path, story: dict[str, object], message: str
) -> None:
    trained(tmp_path / "m.safetensors")
    found = find(str(tmp_path / "m.safetensors"))
    save(tmp_path / "w.safetensors", found.state(), replace(found.contract, training={"classical": story}))
    with pytest.raises(CheckpointError, match=message):
        Classifier.load(str(tmp_path / "w.safetensors"))


@pytest.mark.parametrize("engine", ["openvino", "openvino-f32", "torch"])
def test_engine_for_networks_is_refused_with_the_reason(tmp_path: Path, engine: str) -> None:
    trained(tmp_path / "m.safetensors")
    with pytest.raises(EngineError, match=rf"engine {engine} runs networks, .* leave the engine at auto"):
        Classifier.load(str(tmp_path / "m.safetensors"), engine=engine)


def test_wrong_names_are_answered_with_near_ones() -> None:
    with pytest.raises(UnknownModelError, match=r"'classical:smv'; did you mean classical:svm"):
        Trainer(MOVING, replace(RECIPE, architecture="classical:smv"))
    for name in ("classical:tree", "clasical"):
        with pytest.raises(UnknownModelError, match=r"did you mean classical:"):
            describe(name)


def test_classical_models_are_known_by_name_and_are_no_networks() -> None:
    assert describe("classical").name == "classical:svm"
    with pytest.raises(UnknownModelError, match="classical:knn is no network"):
        create("classical:knn", 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 40, "learning_rate": 1.0}, "ignores --epochs, --learning-rate: only networks"),
        ({"augmentation": Augmentation(mixup=0.2)}, "ignores --mixup"),
        ({"imbalance": "focal"}, "'focal': classical:svm takes none, weights, smote"),
        ({"frames": 2}, "at least 3 frames"),
        ({"size": 64}, "expected all 64x64x3"),
    ],
)
def test_recipe_that_a_classical_model_cannot_follow_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        Trainer(MOVING, replace(RECIPE, **changes))  # type: ignore[arg-type]


def test_remedies_for_imbalance_reach_the_rare_label() -> None:
    """Many slow against few hardly faster ones, described by one number: recall of the rare rises with a remedy."""
    generator = np.random.default_rng(0)
    features = np.zeros((110, sum(PARTS.values())), np.float32)
    features[:, -1] = generator.normal(size=110) + np.repeat([0.0, 1.5], [100, 10])
    truth = np.repeat([0, 1], [100, 10])
    for name in CLASSICAL:
        found = {
            balanced: ClassicalModel.fit(Parameters.default(name, balanced=balanced, seed=0), 2, features, truth)
            .scores(features[100:])
            .argmax(1)
            .mean()
            for balanced in (True, False)
        }
        assert found[True] > found[False] + 0.2, name


def test_synthetic_samples_are_learnt_from() -> None:
    uneven = [f for f in MOVING if f.label == "normal" or f.group < "group-3"]
    recipe = replace(RECIPE, imbalance="smote")
    samples = Trainer(uneven, recipe).fit().model.state()["truth"]
    assert len(set(np.bincount(samples))) == 1
    assert len(set(np.bincount(Trainer(uneven, RECIPE).fit().model.state()["truth"]))) == 2


def test_label_without_samples_scores_nothing() -> None:
    features = np.random.default_rng(0).normal(size=(40, sum(PARTS.values()))).astype(np.float32)
    truth = np.repeat([0, 2], 20)
    for name in CLASSICAL:
        scores = ClassicalModel.fit(Parameters.default(name, balanced=True, seed=0), 3, features, truth).scores(
            features
        )
        assert not scores[:, 1].any()
        np.testing.assert_allclose(scores.sum(1), 1)


def test_more_clips_than_can_be_kept_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.classical.strategy.MAX_SAMPLES", 20)
    with pytest.raises(
        TrainingError, match="96 clips to learn from: classical:svm keeps them all and takes 20 at most"
    ):
        Trainer(MOVING, RECIPE).fit()


def write_footage(folder: Path) -> Path:
    """Files of a label each, and a list of them with their groups."""
    rows = ["path,label,group"]
    for number, video in enumerate(MOVING):
        write_video(
            folder / f"{number}.mp4",
            FRAMES,
            rate=10,
            size=(SIZE, SIZE),
            options={"crf": "12"},
            frame=lambda n, *_, frames=video.frames: frames[n],
        )
        rows.append(f"{number}.mp4,{video.label},{video.group}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder / "labels.csv"


@pytest.mark.slow
def test_trained_from_files_it_is_evaluated_like_any_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data, out, shown = write_footage(tmp_path), tmp_path / "m.safetensors", Console(record=True, width=200)
    recipe = replace(RECIPE, architecture="classical:svm")
    train_command(TrainOptions([data], out, recipe, folds=3), shown)
    assert "normal, moving; held-out accuracy" in shown.export_text()
    contract = find(str(out)).contract
    assert contract.metrics["accuracy"] >= 0.9
    assert contract.training["recipe"]["augmentation"] == {"flip": True}
    assert "epochs" not in contract.training["recipe"]
    figures = tmp_path / "figures.json"
    calibrated = tmp_path / "calibrated.safetensors"
    options = EvaluateOptions(
        str(out), [data], json_file=figures, report_file=tmp_path / "r.html", calibrated_file=calibrated
    )
    evaluate_command(options, shown, shown)
    assert json.loads(figures.read_text())["accuracy"] >= 0.9
    assert Classifier.load(str(calibrated)).engine == "classical"


def test_curves_of_what_has_no_epochs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no curves"):
        train_command(TrainOptions([tmp_path], tmp_path / "m", RECIPE, tensorboard=tmp_path), Console())


def test_processes_that_train_together_describe_a_share_each(monkeypatch: pytest.MonkeyPatch) -> None:
    few = MOVING[:9]
    recipe = replace(RECIPE, architecture="classical")
    described: list[dict[int, object]] = []

    def gathered(part: dict[int, object]) -> dict[int, object]:
        described.append(part)
        return part

    monkeypatch.setattr(distributed, "gathered", gathered)
    learnt = np.arange(9)
    for world, rank in ((2, 0), (2, 1)):
        monkeypatch.setattr(distributed, "world", lambda world=world: world)
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        strategy = Classical(TrainingSet(few, recipe), recipe, lambda *_: None, lambda *_: None)
        strategy.train(Part("all", recipe, learnt, learnt[:0], None, None))
    assert [sorted(part) for part in described] == [[0, 2, 4, 6, 8], [1, 3, 5, 7]]
