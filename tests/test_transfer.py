"""Stages, frozen ones, learning rates that fall with depth, and variation that is the same in all frames of a clip."""

from __future__ import annotations

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from consumers.learning.footage.datasets import Example
from consumers.learning.train import TrainOptions, load_footage
from models import TrainingError, find
from models.networks.zoo import create
from models.training.material.augmentation import BatchMix, ClipTransform, random_window
from models.training.recipe import Augmentation, Recipe
from models.training.transfer import Clip, freeze, parameter_groups, set_regularisation, stages, usual_clip
from tests.checkpoints import write_checkpoint
from tests.command_line import clipline
from tests.videos import write_video


@pytest.mark.parametrize("architecture", ["x3d_xs", "cnn_lstm", "i3d_lite0", "r3d_18", "swin3d_t", "slowfast_r50"])
def test_stages_hold_every_weight_once_and_end_with_the_head(architecture: str) -> None:
    network = create(architecture, 3)
    held = [id(p) for stage in stages(network) for p in stage.parameters()]
    assert sorted(held) == sorted(id(p) for p in network.parameters())
    assert len(stages(network)) >= 4
    last = list(stages(network)[-1].parameters())
    assert last[-1].shape[0] == 3


def test_frozen_stages_do_not_learn_and_the_last_ones_do() -> None:
    network = create("x3d_xs", 2)
    frozen = freeze(network, 2)
    assert len(frozen) == len(stages(network)) - 2
    assert not any(p.requires_grad for stage in frozen for p in stage.parameters())
    assert all(p.requires_grad for stage in stages(network)[-2:] for p in stage.parameters())
    freeze(network, 0)
    assert all(p.requires_grad for p in network.parameters())
    with pytest.raises(TrainingError, match="9 trained stages: this network has 6"):
        freeze(network, 9)


def test_learning_rate_falls_with_depth_and_normalisation_does_not_decay() -> None:
    network = create("x3d_xs", 2)
    groups = parameter_groups(network, 1.0, 0.5, 0.1)
    rate = {id(p): g["lr"] for g in groups for p in g["params"]}
    parts = stages(network)
    for below, stage in enumerate(reversed(parts)):
        assert {rate[id(p)] for p in stage.parameters()} == {0.5**below}
    decay = {id(p): g["weight_decay"] for g in groups for p in g["params"]}
    assert {decay[id(p)] for p in network.parameters() if p.ndim == 1} == {0.0}
    assert {decay[id(p)] for p in network.parameters() if p.ndim > 1} == {0.1}


def test_dropout_and_stochastic_depth_reach_every_layer() -> None:
    network = create("swin3d_t", 2)
    set_regularisation(network, 0.3, 0.25)
    assert {m.p for m in network.modules() if type(m).__name__ == "StochasticDepth"} == {0.25}
    lstm = create("cnn_lstm", 2)
    set_regularisation(lstm, 0.3, None)
    assert {m.p for m in lstm.modules() if isinstance(m, torch.nn.Dropout)} == {0.3}
    with pytest.raises(TrainingError, match="no branches"):
        set_regularisation(create("r3d_18", 2), None, 0.1)


def test_every_frame_of_a_clip_is_varied_alike() -> None:
    still = np.repeat(np.random.default_rng(0).integers(0, 256, (1, 48, 48, 3), np.uint8), 5, axis=0)
    strong = ClipTransform(Augmentation(crop=0.3, colour=0.8, rand_augment=9, erasing=1.0), 32)
    seen = set()
    for seed in range(6):
        torch.manual_seed(seed)
        varied = strong(still)
        assert varied.shape == (5, 3, 32, 32)
        assert varied.dtype == torch.uint8
        assert (varied == varied[:1]).all()
        seen.add(varied.numpy().tobytes())
    assert len(seen) == 6


def test_without_variation_a_clip_stays_as_it_is() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
    plain = ClipTransform(Augmentation(crop=1, flip=False, colour=0), 32)(frames)
    np.testing.assert_array_equal(plain.permute(0, 2, 3, 1), frames)


@pytest.mark.parametrize("option", ["mixup", "cutmix"])
def test_mixed_targets_say_how_much_of_each_clip_is_seen(option: str) -> None:
    torch.manual_seed(1)
    clips = torch.stack([torch.full((4, 3, 16, 16), float(v)) for v in (0, 1)])
    mixed, targets = BatchMix(Augmentation(**{option: 1.0}), 2)(clips, torch.tensor([0, 1]))
    torch.testing.assert_close(targets.sum(1), torch.ones(2))
    torch.testing.assert_close(mixed.mean((1, 2, 3, 4)), targets[:, 1], atol=0.05, rtol=0)
    assert 0 < targets[0, 1] < 1


def test_features_can_be_mixed_too() -> None:
    torch.manual_seed(1)
    mixed, targets = BatchMix(Augmentation(mixup=1.0), 2)(
        torch.stack([torch.zeros(4, 7), torch.ones(4, 7)]), torch.tensor([0, 1])
    )
    assert mixed.shape == (2, 4, 7)
    torch.testing.assert_close(mixed[:, 0, 0], targets[:, 1])


def test_window_lies_in_the_video_and_its_speed_varies() -> None:
    generator = np.random.default_rng(0)
    spans = set()
    for _ in range(200):
        places = random_window(30, 8, 2, 1.5, generator)
        assert places.min() >= 0
        assert places.max() <= 29
        assert (np.diff(places) >= 0).all()
        spans.add(places[-1] - places[0])
    assert min(spans) < 12
    assert max(spans) > 17
    assert (random_window(3, 8, 2, 1.0, generator)[-4:] == 2).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "epochs 0: expected 1"),
        ({"learning_rate": -1.0}, "learning_rate -1.0"),
        ({"optimiser": "adam"}, "expected one of adamw, sgd"),
        ({"imbalance": "weight"}, "expected one of none, weights"),
        ({"dropout": 1.5}, "dropout 1.5"),
    ],
)
def test_recipe_that_makes_no_sense_is_refused(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe(**values)
    with pytest.raises(ValueError, match="crop 2"):
        Augmentation(crop=2)


def begun(folder: Path, **contract: object) -> str:
    return str(write_checkpoint(folder / "a.safetensors", **contract))


def test_training_takes_the_clips_of_the_checkpoint_that_it_begins_from(tmp_path):
    own = begun(tmp_path, frames=5, spacing_seconds=0.25, height=48, width=48, fit="crop")
    assert usual_clip("x3d_xs", own) == Clip(5, 0.25, 48, "crop")
    assert usual_clip("x3d_xs") == Clip(4, 0.4, 160, "stretch")


def test_checkpoint_of_pictures_that_are_not_square_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="takes pictures of 64x48; training takes square ones"):
        usual_clip("x3d_xs", begun(tmp_path, height=48, width=64))


@pytest.mark.parametrize(
    ("arguments", "clip"),
    [((), (5, 0.25, 48, "crop")), (("--frames", 6, "--spacing", 0.5, "--size", 64), (6, 0.5, 64, "crop"))],
)
def test_command_trains_on_the_clips_of_the_checkpoint_unless_told_otherwise(tmp_path, monkeypatch, arguments, clip):
    asked: list[TrainOptions] = []
    monkeypatch.setattr("consumers.learning.train.train_command", lambda options, _: asked.append(options))
    own = begun(tmp_path, frames=5, spacing_seconds=0.25, height=48, width=48, fit="crop")
    for label in ("fight", "normal"):
        (tmp_path / "data" / label).mkdir(parents=True)
        (tmp_path / "data" / label / "a.mp4").touch()
    result = clipline("train", tmp_path / "data", "--arch", "x3d_xs", "--from", own, *arguments)
    assert result.returncode == 0, result.stderr
    recipe = asked[0].recipe
    assert (recipe.frames, recipe.spacing_seconds, recipe.size, recipe.fit) == clip


@pytest.mark.parametrize("fit", ["stretch", "crop"])
def test_footage_is_decoded_and_served_as_the_recipe_fits_it(tmp_path, monkeypatch, fit):
    """A picture twice as wide as high, bright in the middle: only squeezed, its dark sides are seen."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def frame(n: int, width: int, height: int) -> np.ndarray:
        pixels = np.zeros((height, width, 3), np.uint8)
        pixels[:, width // 4 : -width // 4] = 200
        return pixels

    path = tmp_path / "a.mp4"
    write_video(path, 12, rate=10, size=(128, 64), frame=frame)
    recipe = Recipe("x3d_xs", frames=4, spacing_seconds=0.2, size=32, fit=fit)
    examples = [Example(path, "fight", "g")]
    (one,) = load_footage(examples, recipe, lambda *_: None)
    assert (one.frames[:, :, :4].mean() > 150) == (fit == "crop")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mirror(tmp_path):
    """The address of a server of the folder `mirror`."""
    (tmp_path / "mirror").mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path / "mirror")) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_command_fetches_and_fine_tunes_a_kinetics_checkpoint(tmp_path, mirror):
    """From a file of PyTorchVideo's form to a model of one's own labels: all but the last stage is Kinetics'."""
    torch.manual_seed(5)
    kinetics = create("x3d_xs", 400).state_dict()
    # As their training left it: with the state of the optimizer.
    whole = {"epoch": 299, "model_state": kinetics, "optimizer_state": {"state": {}}}
    torch.save(whole, tmp_path / "mirror" / "X3D_XS.pyth")
    for label, shade in (("dark", 40), ("bright", 200)):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(2):
            write_video(
                tmp_path / "data" / label / f"{number}.mp4",
                12,
                rate=5,
                size=(48, 48),
                frame=lambda n, w, h, shade=shade, at=number: np.full((h, w, 3), shade + 7 * at + n, np.uint8),
            )
    own = tmp_path / "own.safetensors"
    options = ("--from", "kinetics/x3d_xs", "--trained-stages", 1, "--size", 32, "--epochs", 1, "--folds", 2)
    places = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "CLIPLINE_MODEL_MIRROR": mirror}
    result = clipline("train", tmp_path / "data", *options, "--batch", 2, "-o", own, **places)
    assert result.returncode == 0, result.stderr
    assert "X3D_XS.pyth, MB: 15 of 15" in result.stderr
    made = find(str(own))
    assert (made.contract.architecture, made.contract.labels) == ("x3d_xs", ("bright", "dark"))
    assert (made.contract.frames, made.contract.spacing_seconds, made.contract.fit) == (4, 0.4, "crop")
    weights = {name: value for name, value in made.state().items() if not name.startswith("blocks.5")}
    assert len(weights) > 300
    assert all(torch.equal(value, kinetics[name].half().float()) for name, value in weights.items() if value.ndim > 1)
    assert made.state()["blocks.5.proj.weight"].shape == (2, 2048)


def test_kinetics_checkpoint_that_cannot_be_fetched_ends_the_command_in_one_line(tmp_path, mirror):
    for label in ("dark", "bright"):
        (tmp_path / "data" / label).mkdir(parents=True)
        (tmp_path / "data" / label / "a.mp4").touch()
    places = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "CLIPLINE_MODEL_MIRROR": mirror}
    result = clipline("train", tmp_path / "data", "--from", "kinetics/x3d_s", **places)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    by_hand = f"download {mirror}/X3D_S.pyth by hand and put it at {tmp_path / 'cache/clipline/hub/X3D_S.pyth'}"
    assert by_hand in result.stderr
