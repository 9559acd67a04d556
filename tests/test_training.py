"""Training: no group on both sides, the same seed gives the same model, and what is served is what was measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from consumers.learning.footage.datasets import find_examples
from consumers.learning.train import TrainOptions, train_command
from models import Classifier, Contract, TrainingError, find, save
from models.classical.strategy import Classical
from models.training import loop
from models.training.loop import Progress
from models.training.material.footage import Footage
from models.training.material.samples import FixedWindows
from models.training.objective import Batch, Classification
from models.training.recipe import Augmentation, Recipe
from models.training.strategies import frozen_features
from models.training.strategies.fitted_head import FittedHead
from models.training.strategies.frozen_features import FrozenFeatures
from models.training.strategies.steps import Steps
from models.training.trainer import Trainer, strategy_for

RECIPE = Recipe(
    frames=4, size=32, epochs=4, batch=4, learning_rate=3e-3, augmentation=Augmentation(crop=1, colour=0, views=2)
)
#: Fitted in one step.
FITTED = Recipe("movenet_motion", frames=4, size=32)


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


@pytest.mark.slow
@pytest.mark.parametrize(
    "architecture", ["cnn_lstm", "x3d_xs", "movenet_motion", pytest.param("co_x3d_xs", marks=pytest.mark.slow)]
)
def test_served_scores_are_those_that_training_measured(tmp_path, architecture):
    """Decoding is shared; this holds the rest together: normalisation, frozen statistics, float16 on disk."""
    recipe = FITTED if architecture == FITTED.architecture else replace(RECIPE, architecture=architecture)
    trainer = Trainer(footage(), recipe)
    network = trainer.fit()
    contract = replace(trainer.contract(network, trainer.validate(2), {}), temperature=1.0)
    save(tmp_path / "m.safetensors", network.state_dict(), contract)
    served = Classifier.load(str(tmp_path / "m.safetensors"), engine="torch")
    for index, video in enumerate(footage()):
        windows = np.array([range(b, b + 8, 2) for b in (0, 4)])
        scores = served.predict_windows(video.frames, windows)
        np.testing.assert_allclose(scores, trainer._strategy.score(network, index), atol=5e-3)


def test_cnn_lstm_learns_what_is_easy_to_see():
    outcome = Trainer(footage(6), replace(RECIPE, epochs=12)).validate(3)
    assert outcome.metrics()["accuracy"] == 1.0
    assert outcome.metrics()["auc"] == 1.0


@pytest.mark.parametrize(
    ("videos", "message"),
    [
        ([f for f in footage() if f.label == "normal"], "at least two"),
        ([*footage(), Footage("x", "fall", "only", footage()[0].frames)], r"'fall': only one video \(x\)"),
        (
            [*footage(), *(Footage(n, "fall", "only", footage()[0].frames) for n in "xy")],
            "'fall': all of its footage is of one group",
        ),
        (footage(size=40), "expected all 32x32x3"),
    ],
)
def test_data_that_cannot_be_learnt_from_is_refused(videos, message):
    with pytest.raises(TrainingError, match=message):
        Trainer(videos, RECIPE)


@pytest.mark.slow
@pytest.mark.parametrize("imbalance", ["none", "weights", "oversample", "focal", "logit-adjust", "smote", "ensemble"])
def test_every_remedy_for_imbalance_learns_and_is_served(tmp_path, imbalance):
    rare = [f for f in footage(6) if f.label == "normal" or f.group in {"group-0", "group-1", "group-2"}]
    recipe = replace(RECIPE, imbalance=imbalance, members=2, epochs=16)
    trainer = Trainer(rare, recipe)
    outcome = trainer.validate(3)
    assert outcome.metrics()["balanced_accuracy"] > 0.8
    model = trainer.fit()
    save(tmp_path / "m.safetensors", model.state_dict(), trainer.contract(model, outcome, {}))
    served = Classifier.load(str(tmp_path / "m.safetensors"), engine="torch")
    assert served.predict(rare[0].frames[:8:2])[served.labels.index(rare[0].label)] > 0.5


@pytest.mark.slow
def test_ensemble_of_whole_networks_is_created_again_by_its_name(tmp_path):
    trainer = Trainer(footage(), replace(RECIPE, architecture="x3d_xs", imbalance="ensemble", members=2, epochs=1))
    network = trainer.fit()
    contract = trainer.contract(network, trainer.validate(2), {})
    assert contract.architecture == "2*x3d_xs"
    save(tmp_path / "m.safetensors", network.state_dict(), replace(contract, temperature=1.0))
    served = Classifier.load(str(tmp_path / "m.safetensors"), engine="torch")
    windows = np.stack([footage()[0].frames[b : b + 8 : 2] for b in (0, 4)])
    np.testing.assert_allclose(served.predict(windows), trainer._strategy.score(network, 0), atol=5e-3)


def moving(groups: int = 5) -> list[Footage]:
    """Noise that stands still or changes all the time: no single frame tells which."""
    generator = np.random.default_rng(2)
    videos = []
    for group in range(groups):
        for label in ("normal", "fight"):
            pixels = generator.integers(0, 255, (12, 32, 32, 3), dtype=np.uint8)
            pixels = pixels if label == "fight" else pixels[:1].repeat(12, axis=0)
            videos.append(Footage(f"{label}-{group}", label, f"group-{group}", pixels))
    return videos


@pytest.mark.slow
@pytest.mark.parametrize("imbalance", ["none", "weights", "smote"])
def test_motion_features_of_a_pose_network_tell_motion_from_stillness(imbalance):
    assert Trainer(moving(), replace(FITTED, imbalance=imbalance)).validate(5).metrics()["accuracy"] == 1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"imbalance": "focal"}, "'focal': movenet_motion is fitted in one step"),
        ({"imbalance": "ensemble"}, "'ensemble': movenet_motion is fitted in one step"),
        ({"epochs": 40, "learning_rate": 0.1}, "ignores --epochs, --learning-rate: it is fitted in one step"),
        ({"patience": 3, "averaging": 0.9, "dropout": 0.5}, "ignores --dropout, --averaging, --patience"),
        ({"augmentation": Augmentation(mixup=0.2)}, r"ignores --mixup.*--trained-stages 2"),
        ({"frames": 1}, "clips of 1 frame: .* needs at least 2"),
        ({"frames": 1, "trained_stages": 2}, "clips of 1 frame: .* needs at least 2"),
    ],
)
def test_head_that_is_fitted_in_one_step_refuses_options_of_gradient_steps_before_decoding(tmp_path, changes, message):
    recipe = replace(FITTED, **changes)
    with pytest.raises(TrainingError, match=message):
        Trainer(moving(2), recipe)
    with pytest.raises(TrainingError, match=message):
        Trainer(moving(2), FITTED).under(recipe)
    with pytest.raises(TrainingError, match=message):
        trained_from(tmp_path / "no such data", recipe)


def trained_from(data: Path, recipe: Recipe, tensorboard: Path | None = None) -> None:
    output = data.with_name("m.safetensors")
    train_command(TrainOptions([data], output, recipe, folds=2, tensorboard=tensorboard), Console())


def test_head_that_is_fitted_in_one_step_has_no_curves_and_records_no_epochs(tmp_path):
    with pytest.raises(TrainingError, match="no epochs, so there are no curves"):
        trained_from(tmp_path / "no such data", FITTED, tmp_path / "curves")
    trainer = Trainer(moving(2), replace(FITTED, augmentation=Augmentation(flip=False)))
    assert trainer.validate(2).epochs == 0
    story = trainer.describe_recipe()
    assert story["augmentation"] == {"flip": False}
    assert (story["architecture"], story["frames"], story["imbalance"]) == ("movenet_motion", 4, "weights")
    assert not {"epochs", "learning_rate", "batch", "weight_decay"} & set(story)
    assert Trainer(moving(2), RECIPE).describe_recipe() == RECIPE.describe()


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_weight_decay_that_is_none_is_refused(value):
    with pytest.raises(ValueError, match=r"weight_decay .*: expected a number of at least 0"):
        Recipe(weight_decay=value)


def test_pose_network_can_be_trained_in_steps_too():
    recipe = replace(RECIPE, architecture="movenet_motion", trained_stages=2, epochs=1, imbalance="focal")
    network = Trainer(moving(2), recipe).fit()
    known = find("movenet-motion").state()
    state = network.state_dict()
    assert torch.equal(state["backbone.stem.conv.weight"], known["backbone.stem.conv.weight"])
    assert not torch.equal(state["backbone.last.conv.weight"], known["backbone.last.conv.weight"])


@pytest.mark.slow
def test_recipes_that_see_footage_alike_share_features():
    tasks: list[str] = []
    trainer = Trainer(footage(), RECIPE, lambda name, done, total: tasks.append(name))
    trainer.validate(2)
    made = tasks.count("features")
    trainer.under(replace(RECIPE, imbalance="focal")).validate(2)
    assert tasks.count("features") == made > 0


@pytest.mark.parametrize(
    ("changes", "strategy"),
    [
        ({"architecture": "x3d_xs"}, Steps),
        ({"architecture": "x3d_xs", "trained_stages": 1}, Steps),
        ({"architecture": "cnn_lstm:movenet"}, FrozenFeatures),
        ({"architecture": "3*cnn_bilstm", "trained_stages": 1}, FrozenFeatures),
        ({"architecture": "cnn_lstm", "trained_stages": 2}, Steps),
        ({"architecture": "movenet_motion"}, FittedHead),
        ({"architecture": "movenet_motion", "trained_stages": 0}, Steps),
        ({"architecture": "2*movenet_motion"}, Steps),
        ({"architecture": "classical:knn"}, Classical),
    ],
)
def test_recipe_decides_how_a_model_is_trained(changes, strategy):
    assert strategy_for(replace(RECIPE, **changes)) is strategy


def test_smote_learns_from_the_same_views_as_every_other_remedy(monkeypatch):
    seen: list[tuple[str, set[bytes]]] = []

    def watched(network: torch.nn.Module, run: loop.Run, *others: object) -> loop.Trained[torch.nn.Module]:
        rows = range(len(run.samples.truth))
        drawn = [run.samples.sample(n, np.random.default_rng(k)) for n in rows for k in range(60)]
        seen.append((run.recipe.imbalance, {row.numpy().tobytes() for row in drawn}))
        return loop.train(network, run, *others)

    monkeypatch.setattr("models.training.strategies.steps.train", watched)
    # A window as long as the video, at the speed that it has: a view is a window.
    recipe = replace(RECIPE, frames=6, epochs=1, augmentation=Augmentation(speed=1, views=3))
    trainer = Trainer(footage(2), recipe)
    trainer.fit()
    trainer.under(replace(recipe, imbalance="smote")).fit()
    (_, others), (_, smote) = seen
    assert len(others) == 4 * 3, "videos, views"
    assert smote == others, "labels are balanced: nothing is made up"


def test_smote_refuses_pixels():
    with pytest.raises(TrainingError, match="interpolates features, not pixels"):
        Trainer(footage(), replace(RECIPE, architecture="x3d_xs", imbalance="smote")).fit()


class InterruptedRunError(Exception):
    """Stands for a kill between two epochs."""


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"averaging": 0.9, "patience": 3, "imbalance": "ensemble", "members": 2}])
def test_run_that_was_killed_goes_on_to_the_same_model(tmp_path, options):
    recipe = replace(RECIPE, epochs=5, **options)
    whole = Trainer(footage(6), recipe, folder=tmp_path / "whole")
    expected = whole.validate(2)
    weights = whole.fit().state_dict()

    epochs = 0

    def kill(name: str, done: int, total: int) -> None:
        nonlocal epochs
        epochs += name.startswith("fold")
        if epochs == 8:  # in the second fold
            raise InterruptedRunError

    with pytest.raises(InterruptedRunError):
        Trainer(footage(6), recipe, kill, folder=tmp_path / "killed").validate(2)
    started: list[int] = []
    again = Trainer(footage(6), recipe, lambda name, done, total: started.append(done), folder=tmp_path / "killed")
    outcome = again.validate(2)
    np.testing.assert_array_equal(outcome.scores.scores, expected.scores.scores)
    for name, value in again.fit().state_dict().items():
        assert torch.equal(value, weights[name]), name
    again.finish()
    assert not (tmp_path / "killed").exists()


def test_state_of_another_recipe_is_not_gone_on_from(tmp_path):
    Trainer(footage(), RECIPE, folder=tmp_path / "state").fit()
    left = list((tmp_path / "state").glob("*.state"))
    assert left
    Trainer(footage(), replace(RECIPE, learning_rate=1e-4), folder=tmp_path / "state")
    assert not any(path.exists() for path in left)


def killed_in(fold: int, trainer_of: Callable[[Progress], Trainer], folds: int, used: int | None = None) -> None:
    """Begin to validate, and die after the first epoch of a fold."""

    def kill(name: str, done: int, total: int) -> None:
        if name.startswith(f"fold {fold} "):
            raise InterruptedRunError

    with pytest.raises(InterruptedRunError):
        trainer_of(kill).validate(folds, used=used)


@pytest.mark.slow
@pytest.mark.parametrize("fold", [1, 2])
def test_state_of_another_split_is_not_gone_on_from(tmp_path, fold):
    """Two of five folds and two folds have the same names, and what one has learnt from the other holds out."""

    def trainer(progress: Progress = lambda *_: None) -> Trainer:
        return Trainer(footage(6), RECIPE, progress, folder=tmp_path / "state")

    killed_in(fold, trainer, 5, used=2)
    expected = Trainer(footage(6), RECIPE).validate(2)
    np.testing.assert_array_equal(trainer().validate(2).scores.scores, expected.scores.scores)


@pytest.mark.slow
def test_state_of_thinned_footage_and_of_another_recipe_of_the_same_trainer_is_not_gone_on_from(tmp_path):
    trainer = Trainer(footage(6), RECIPE, folder=tmp_path / "state")
    trainer.validate(2)
    other = replace(RECIPE, imbalance="focal", learning_rate=1e-3)
    for kept, fresh, options in (
        (trainer, Trainer(footage(6), RECIPE), {"learn_from": lambda part: part[:4]}),
        (trainer.under(other), Trainer(footage(6), other), {}),
    ):
        expected = fresh.validate(2, **options)
        np.testing.assert_array_equal(kept.validate(2, **options).scores.scores, expected.scores.scores)


@pytest.mark.slow
def test_state_of_other_pictures_of_the_same_names_and_lengths_is_not_gone_on_from(tmp_path):
    Trainer(footage(), RECIPE, folder=tmp_path / "state").fit()
    darker = [replace(f, frames=f.frames // 2) for f in footage()]
    weights = Trainer(darker, RECIPE, folder=tmp_path / "state").fit().state_dict()
    for name, value in Trainer(darker, RECIPE).fit().state_dict().items():
        assert torch.equal(weights[name], value), name


@pytest.mark.slow
def test_fewer_epochs_do_not_go_on_from_the_state_of_more(tmp_path):
    Trainer(footage(), RECIPE, folder=tmp_path / "state").fit(3)
    weights = Trainer(footage(), RECIPE, folder=tmp_path / "state").fit(1).state_dict()
    for name, value in Trainer(footage(), RECIPE).fit(1).state_dict().items():
        assert torch.equal(weights[name], value), name


@pytest.mark.parametrize("kind", ["state", "scores"])
def test_damaged_state_is_named(tmp_path, kind):
    Trainer(footage(), RECIPE, folder=tmp_path / "state").validate(2)
    for kept in (tmp_path / "state").glob(f"*.{kind}"):
        kept.write_bytes(kept.read_bytes()[:100])
    if kind == "state":
        for kept in (tmp_path / "state").glob("*.scores"):
            kept.unlink()
    with pytest.raises(TrainingError, match=rf"fold-1-of-2-\w+\.{kind}.*cannot be read.*remove it"):
        Trainer(footage(), RECIPE, folder=tmp_path / "state").validate(2)


@pytest.mark.slow
def test_early_stopping_looks_at_groups_that_are_neither_learnt_nor_held_out(monkeypatch):
    trainer = Trainer(footage(6), replace(RECIPE, epochs=40, patience=3, learning_rate=3e-3))
    groups = np.array([f.group for f in footage(6)])
    asked: list[set[str]] = []  # for each fold: of the videos that were scored while it trained
    learnt: list[set[str]] = []
    score = frozen_features._scores

    def watched(network: torch.nn.Module, run: loop.Run, *others: object) -> loop.Trained[torch.nn.Module]:
        asked.append(set())
        learnt.append(set(groups[run.order(0)]))
        with monkeypatch.context() as during:
            during.setattr(frozen_features, "_scores", lambda h, f, i, r: asked[-1].add(groups[i]) or score(h, f, i, r))
            # What is only told while it trains is left out; what is chosen is the same without it.
            return loop.train(network, replace(run, watch=None), *others)

    with monkeypatch.context() as during:
        during.setattr("models.training.strategies.steps.train", watched)
        validation = trainer.validate(2)
    assert validation.epochs < 40
    assert np.array_equal(validation.scores.scores, trainer.validate(2).scores.scores)
    for (part, held), seen, taught in zip(trainer.split(2), asked, learnt, strict=True):
        assert seen
        assert not seen & taught
        assert seen | taught == set(groups[part])
        assert not (seen | taught) & set(groups[held])


@pytest.mark.slow
@pytest.mark.parametrize("imbalance", ["none", "ensemble"])
def test_model_that_is_stopped_early_follows_the_schedule_by_which_it_was_measured(imbalance):
    """Two epochs of ten: the learning rate is still high, as it was in validation, and has not come down to nothing."""
    rates: dict[str, list[float]] = {}
    recipe = replace(RECIPE, epochs=10, patience=9, imbalance=imbalance, members=2)
    trainer = Trainer(
        footage(6), recipe, log=lambda name, stats: rates.setdefault(name, []).append(stats.learning_rate)
    )
    validation = trainer.validate(2)
    model = trainer.fit(2)
    member = "" if imbalance == "none" else ", member 1"
    assert len(rates[f"all footage{member}"]) == 2
    assert rates[f"all footage{member}"] == pytest.approx(rates[f"fold 1 of 2{member}"][:2], rel=0.1)
    assert trainer.contract(model, validation, {}).training["epochs"] == validation.epochs


def test_early_stopping_that_could_hold_out_no_group_of_a_label_is_refused_before_training():
    tasks: list[str] = []
    rare = [f for f in footage(5) if f.label == "normal" or f.group in {"group-0", "group-1"}]
    trainer = Trainer(rare, replace(RECIPE, patience=3), lambda name, *_: tasks.append(name))
    with pytest.raises(
        TrainingError, match=r"fold 1 of 2: .*'fight'.* one group \('group-[01]'\).*leave out --patience"
    ):
        trainer.validate(5)
    assert not tasks
    assert Trainer(rare, RECIPE).validate(5).epochs == RECIPE.epochs


@pytest.mark.parametrize("averaging", [0.0, 0.5])
def test_weights_of_the_best_epoch_are_kept_where_later_ones_are_worse(averaging):
    generator = np.random.default_rng(0)
    samples = FixedWindows(generator.normal(size=(8, 3)).astype(np.float32), np.arange(8) % 2, torch.device("cpu"))
    at: list[dict[str, torch.Tensor]] = []

    def judge(candidate: torch.nn.Module) -> float:
        at.append({name: value.clone() for name, value in candidate.state_dict().items()})
        return (0.1, 0.5, 0.3, 0.5, 0.2)[len(at) - 1]  # as good again is no gain

    recipe = replace(RECIPE, epochs=40, patience=3, averaging=averaging)
    objective = Classification(recipe, np.repeat([0, 1], 4), 2, torch.device("cpu"))
    run = loop.Run("all", recipe, samples, objective, lambda _: np.arange(8), torch.device("cpu"), judge=judge)
    trained = loop.train(torch.nn.Linear(3, 2), run)
    assert (trained.epochs, len(at)) == (2, 5)
    for name, value in trained.model.state_dict().items():
        assert torch.equal(value, at[1][name])
        assert not torch.equal(value, at[4][name])


def test_the_loop_minimises_whatever_objective_it_is_given():
    """Not only labels: here the network learns to return its own inputs, and no label is looked at."""
    generator = np.random.default_rng(0)
    samples = FixedWindows(generator.normal(size=(16, 3)).astype(np.float32), np.zeros(16, int), torch.device("cpu"))
    losses: list[float] = []

    def reconstruct(network: torch.nn.Module, batch: Batch) -> torch.Tensor:
        loss = (network(batch.inputs) - batch.inputs).square().mean()
        losses.append(float(loss.detach()))
        return loss

    recipe = replace(RECIPE, epochs=30, learning_rate=0.05)
    run = loop.Run("all", recipe, samples, reconstruct, lambda _: np.arange(16), torch.device("cpu"))
    loop.train(torch.nn.Linear(3, 3), run)
    assert losses[-1] < 0.1 * losses[0]


def test_loss_that_is_no_number_ends_training_with_advice():
    with pytest.raises(TrainingError, match=r"no longer a number.*lower learning rate"):
        Trainer(footage(), replace(RECIPE, architecture="x3d_xs", learning_rate=1e30, epochs=4)).fit()


@pytest.mark.slow
def test_begins_from_a_checkpoint_with_other_labels(tmp_path):
    recipe = replace(RECIPE, architecture="x3d_xs", epochs=1)
    save(tmp_path / "a.safetensors", Trainer(footage(), recipe).fit().state_dict(), contract_of(recipe))
    other = [replace(f, label={"normal": "walk", "fight": "run"}[f.label]) for f in footage()]
    third = [replace(f, label="fall", group=f.group + "x") for f in footage() if f.label == "fight"]
    begun = Trainer([*other, *third], replace(recipe, begin_from=str(tmp_path / "a.safetensors"), learning_rate=1e-9))
    weights = begun.fit().state_dict()
    known = find(str(tmp_path / "a.safetensors")).state()
    name = "blocks.2.res_blocks.0.branch2.conv_a.weight"
    torch.testing.assert_close(weights[name], known[name], atol=1e-6, rtol=0)
    assert weights["blocks.5.proj.weight"].shape[0] == 3
    judging = "blocks.5.proj.weight"
    again = replace(recipe, begin_from=str(tmp_path / "a.safetensors"), learning_rate=1e-9, seed=recipe.seed + 1)
    as_many = Trainer(other, again).fit()
    assert (as_many.state_dict()[judging] - known[judging]).abs().max() > 0.01, "rows of other labels"
    the_same = Trainer(footage(), again).fit()
    torch.testing.assert_close(the_same.state_dict()[judging], known[judging], atol=1e-6, rtol=0)
    with pytest.raises(TrainingError, match=r"only .* of the weights fit"):
        Trainer(footage(), replace(RECIPE, architecture="x3d_m", begin_from="cnn-lstm", size=32)).fit()


def contract_of(recipe: Recipe) -> Contract:
    trainer = Trainer(footage(), recipe)
    return trainer.contract(trainer.fit(), trainer.validate(2), {})


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
        ("path,label,start\na.mp4,x,soon\n", "line 2: start 'soon': expected seconds"),
    ],
)
def test_csv_that_is_wrong_is_answered_with_its_line(tmp_path, text, message):
    with pytest.raises(TrainingError, match=message):
        find_examples(write_csv(tmp_path, text), {})


@pytest.mark.slow
def test_only_pixels_are_prepared_by_other_processes_and_only_for_a_gpu():
    """Features lie on the GPU, which a forked process cannot use."""
    chosen: list[dict[str, int]] = []

    def watched(network: torch.nn.Module, run: loop.Run, *others: object) -> loop.Trained:
        devices = {device: replace(run, device=torch.device(device)) for device in ("cuda", "cpu")}
        chosen.append({device: loop._loaders(there) for device, there in devices.items()})
        return loop.train(network, run, *others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("models.training.strategies.steps.train", watched)
        for changes in ({"architecture": "x3d_xs"}, {}, {"imbalance": "smote"}):
            Trainer(footage(), replace(RECIPE, epochs=1, **changes)).fit()
    pixels, *features = chosen
    assert pixels["cuda"] > 0
    assert pixels["cpu"] == 0
    assert features == [{"cuda": 0, "cpu": 0}] * 2


def test_gpu_and_processor_train_alike():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA GPU")
    assert Trainer(footage(6), replace(RECIPE, epochs=12)).validate(3).metrics()["accuracy"] == 1.0


def test_gradients_of_small_batches_add_up_to_a_step_of_a_large_one():
    """But for rounding; no batch normalisation or dropout looks at the batch."""

    def weights(batch: int, accumulate: int) -> torch.Tensor:
        torch.manual_seed(0)
        recipe = Recipe(epochs=2, batch=batch, accumulate=accumulate, imbalance="weights")
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2))
        generator = np.random.default_rng(0)
        truth = np.arange(14) % 2
        samples = FixedWindows(generator.normal(size=(14, 3, 4)).astype(np.float32), truth, torch.device("cpu"))
        objective = Classification(recipe, truth, 1 + truth.max(), torch.device("cpu"))
        run = loop.Run("all", recipe, samples, objective, lambda epoch: np.arange(14), torch.device("cpu"))
        return loop.train(network, run).model.state_dict()["1.weight"]

    assert torch.allclose(weights(8, 1), weights(4, 2), atol=1e-6)
    assert not torch.allclose(weights(8, 1), weights(4, 1), atol=1e-6)


@pytest.mark.slow
def test_accuracy_of_held_out_videos_is_told_over_epochs_and_outlives_a_kill(tmp_path):
    recipe = replace(RECIPE, epochs=6)
    whole = Trainer(footage(4), recipe, folder=tmp_path / "state").validate(2)
    assert [p.epoch for p in whole.curve] == [1, 2, 3, 4, 5, 6]
    told = [p.held_out for p in whole.curve if p.held_out is not None]
    assert len(told) == 5
    assert told[-1] == whole.evaluation.figures["accuracy"].value
    again = Trainer(footage(4), recipe, folder=tmp_path / "state").validate(2)
    assert again.curve == whole.curve


def test_videos_that_are_held_out_by_the_user_are_never_learnt_from():
    videos = [replace(f, is_held_out=f.group == "group-0") for f in footage(4)]
    trainer = Trainer(videos, RECIPE)
    ((learnt, held),) = trainer.split(5)
    assert {videos[i].group for i in held} == {"group-0"}
    assert not set(learnt) & set(held)
    other = [replace(f, frames=255 - f.frames) if f.is_held_out else f for f in videos]
    a, b = (Trainer(v, RECIPE).fit().state_dict() for v in (videos, other))
    assert all(torch.equal(a[name], b[name]) for name in a)
