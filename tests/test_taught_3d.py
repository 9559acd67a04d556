"""A 3D-CNN over maps of a frozen network, which learns from labels and from a regression."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models import Classifier, TrainingError, save
from models.networks.movenet import LinearHead
from models.networks.movenet_3d import KEPT, ChangeConvolutions, MoveNet3d
from models.networks.zoo import create
from models.training.recipe import Augmentation, Recipe
from models.training.strategies import taught_3d
from models.training.strategies.taught_3d import TaughtConvolutions
from models.training.trainer import Trainer, strategy_for
from tests.checkpoints import contract
from tests.test_taught_head import film

RECIPE = Recipe("movenet_3d", frames=4, size=48, epochs=4, learning_rate=1e-3, augmentation=Augmentation(flip=False))


@pytest.mark.slow
def test_it_learns_what_moves_how_and_is_served_as_it_was_trained(tmp_path: Path) -> None:
    footage = [film(label, n, 7 * n + (label == "fight")) for label in ("fight", "normal") for n in range(6)]
    trainer = Trainer(footage, RECIPE, folder=tmp_path / "unfinished")
    validation = trainer.validate(3)
    assert validation.evaluation.figures["accuracy"].value == 1.0
    model = trainer.fit(validation.epochs)
    assert isinstance(model, MoveNet3d)
    moved = model.head.kernels.weight - ChangeConvolutions(2000, 2, (4, 1, 1)).kernels.weight
    assert moved.norm() > 0, "kernels learn, too"
    found = trainer.contract(model, validation, {})
    assert (found.views, found.settling_odds, found.training["epochs"]) == (2, 9, 4)
    save(tmp_path / "m.safetensors", dict(model.state_dict()), found)
    served = Classifier.load(str(tmp_path / "m.safetensors"), "openvino-f32", 1)
    fight, normal = (served.predict(np.asarray(footage[k].frames[:8:2])) for k in (0, 6))
    assert fight[served.labels.index("fight")] > 0.5 > normal[served.labels.index("fight")]


def test_engines_agree(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, path = create("movenet_3d", 2, frames=5, size=96, pretrained=True), tmp_path / "m.safetensors"
    save(path, dict(network.state_dict()), contract("movenet_3d", frames=5, height=96, width=96, views=2))
    clips = np.random.default_rng(0).integers(0, 256, (3, 5, 96, 96, 3), dtype=np.uint8)
    torch_, openvino = (Classifier.load(str(path), engine, 1).predict(clips) for engine in ("torch", "openvino-f32"))
    np.testing.assert_allclose(torch_, openvino, atol=1e-4)
    assert len(np.unique(torch_[:, 0])) == 3


def test_a_clip_as_a_whole_and_picture_by_picture_is_the_same() -> None:
    network = create("movenet_3d", 2, frames=4, size=96, pretrained=True).eval()
    assert isinstance(network, MoveNet3d)
    network.kept.copy_(torch.arange(KEPT) * 7)
    still = torch.randint(0, 256, (1, 3, 1, 96, 96), generator=torch.Generator().manual_seed(0)).float() / 127.5 - 1
    clip = still.repeat(1, 1, 4, 1, 1)
    clip[:, :, 1::2, :32, :32] *= -1  # where most moves: the first place
    from models.windows.views import close_at, whole_of

    pictures = ((clip[0].permute(1, 2, 3, 0) + 1) * 127.5).round().byte().numpy()
    views = [torch.from_numpy(np.stack([of(p) for p in pictures])) for of in (whole_of, lambda p: close_at(p, 0))]
    with torch.inference_mode():
        encoded = [network.encode(v.permute(0, 3, 1, 2).float() / 127.5 - 1) for v in views]
        found = network.classify(torch.cat(encoded, dim=1)[None])
        torch.testing.assert_close(network(clip), found, atol=1e-4, rtol=1e-4)


def test_at_the_start_it_says_what_the_regression_says_and_kernels_stand_for_their_columns() -> None:
    network = create("movenet_3d", 2, frames=5, size=96).eval()
    assert isinstance(network, MoveNet3d)
    network.kept.copy_(torch.arange(KEPT) * 7)
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(6, 2, network.CHANNELS, 5, 2, 2, generator=generator)
    change = (maps[:, :, :, 2:] - 2 * maps[:, :, :, 1:-1] + maps[:, :, :, :-2]).abs().mean(3).amax((3, 4))
    rest = torch.randn(6, 2, network.FEATURES - network.CHANNELS, generator=generator)
    described = torch.cat([rest, torch.stack([change[:, 0], change.amax(1)], dim=1)], dim=2)
    looks = torch.cat([described, maps.flatten(2)], dim=2)
    regression = LinearHead(network.FEATURES, 2)
    regression.fit(described.flatten(0, 1), torch.tensor([0, 1] * 6), torch.ones(12))
    network.head.start_as(regression, network.columns)
    with torch.inference_mode():
        read = network.read(looks)
        for look in range(2):
            expected = regression(described[:, look])
            torch.testing.assert_close(network.head(read[:, look]), expected, atol=1e-4, rtol=1e-4)
        read[..., network.FEATURES :] = 0
        found = network.head(read[:, 1])
    assert (found - expected).abs().amin() > 1e-3, "without their maps, what the kernels stand for is missing"


def test_footage_whose_maps_would_not_fit_is_refused_with_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    footage = [film(label, n, n) for label in ("fight", "normal") for n in range(3)]
    a_window = 2 * 2 * (2000 + MoveNet3d.CHANNELS * 4)
    monkeypatch.setattr(taught_3d, "_OF_A_VIDEO", a_window - 1)
    with pytest.raises(TrainingError, match=r"fight0: .* GB for the maps of its \d windows, expected at most"):
        Trainer(footage, RECIPE).fit()
    monkeypatch.setattr(taught_3d, "_OF_A_VIDEO", 100 * a_window)
    monkeypatch.setattr(taught_3d, "_OF_ALL", 5 * a_window)
    with pytest.raises(TrainingError, match=r"for the maps of all windows, expected at most .*movenet_lstm"):
        Trainer(footage, RECIPE).fit()


def test_what_is_meant_and_what_is_refused() -> None:
    assert strategy_for(RECIPE) is TaughtConvolutions
    assert strategy_for(replace(RECIPE, trained_stages=2)) is not TaughtConvolutions
    with pytest.raises(TrainingError, match="imbalance 'smote': movenet_3d is taught by a regression"):
        TaughtConvolutions.check(replace(RECIPE, imbalance="smote"))
