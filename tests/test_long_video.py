"""A long recording is described and classified in parts: the same numbers, in memory that does not grow with it."""

from __future__ import annotations

import tracemalloc
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from consumers.learning.footage.datasets import Example
from consumers.learning.scoring import score_frames
from models import Classifier
from models.networks.movenet import PICTURES_AT_ONCE, MoveNetMotion
from models.training.material.computed import Computed
from models.training.material.samples import OVERSAMPLE, Features
from models.training.recipe import Recipe
from models.windows.windowing import sliding_windows
from tests.checkpoints import write_checkpoint

FRAMES = 4


@pytest.fixture(scope="module")
def network() -> MoveNetMotion:
    return MoveNetMotion(2, pretrained=True).eval()


def pictures(count: int) -> torch.Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


class Counted(nn.Module):
    """A backbone that counts for how many pictures its maps are held at most."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone, self.alive, self.most = backbone, 0, 0

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        made = [m.contiguous().numpy() for m in self.backbone(images)]
        self.alive += len(images)
        self.most = max(self.most, self.alive)
        # The deepest map stands for all: a tensor holds the array that it was made from.
        weakref.finalize(made[-1], self._gone, len(images))
        return tuple(torch.from_numpy(m) for m in made)

    def _gone(self, count: int) -> None:
        self.alive -= count


@pytest.mark.parametrize("length", [2, FRAMES, 21, 60])
@pytest.mark.parametrize("denser", [1, 2])
def test_windows_are_described_as_if_all_maps_were_at_hand(network: MoveNetMotion, length: int, denser: int) -> None:
    images, places = pictures(length), torch.from_numpy(sliding_windows(length, FRAMES, denser=denser))
    parts = torch.split(images, PICTURES_AT_ONCE)
    with torch.inference_mode():
        found = network.describe_windows(parts, places)
        depths = zip(
            *(network.backbone(part.contiguous(memory_format=torch.channels_last)) for part in parts), strict=True
        )
        maps = [torch.cat(depth).flatten(2) for depth in depths]
        whole = torch.cat([network._pooled([m[window][None] for m in maps]) for window in places])
    assert torch.equal(found, whole[:, None])


def test_maps_are_held_while_a_window_needs_them_only() -> None:
    counted = MoveNetMotion(2, pretrained=True).eval()
    counted.backbone = Counted(counted.backbone)  # type: ignore[assignment]
    with torch.inference_mode():
        counted.describe_windows(
            torch.split(pictures(60), PICTURES_AT_ONCE), torch.from_numpy(sliding_windows(60, FRAMES))
        )
    assert 0 < counted.backbone.most <= FRAMES + 2 * PICTURES_AT_ONCE
    assert counted.backbone.alive <= PICTURES_AT_ONCE


def test_pictures_too_few_for_a_window_are_told(network: MoveNetMotion) -> None:
    with torch.inference_mode(), pytest.raises(ValueError, match="5 pictures: window 4 needs 6"):
        network.describe_windows([pictures(5)], torch.from_numpy(sliding_windows(6, 2)))


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["x3d_xs", "movenet_motion"])
def test_torch_takes_many_clips_in_parts_and_gives_the_scores_of_each(tmp_path: Path, architecture: str) -> None:
    served = Classifier.load(str(write_checkpoint(tmp_path / "m.safetensors", architecture)), engine="torch")
    clips = np.random.default_rng(0).integers(0, 256, (70, FRAMES, 32, 32, 3), dtype=np.uint8)
    sizes: list[int] = []
    served._engine.head._module.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))  # type: ignore[attr-defined]
    together = served.predict(clips)
    assert sum(sizes) == 70
    assert max(sizes) <= 32
    np.testing.assert_allclose(
        together, np.concatenate([served.predict(clips[k : k + 7]) for k in range(0, 70, 7)]), atol=1e-5
    )
    assert served.predict(clips[0]).shape == (2,)


def test_windows_of_a_long_example_are_asked_about_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served = Classifier.load(str(write_checkpoint(tmp_path / "m.safetensors")), engine="torch")
    frames = np.random.default_rng(0).integers(0, 256, (43, 32, 32, 3), dtype=np.uint8)
    expected = served.predict(frames[sliding_windows(43, FRAMES)])
    windows, pictures = list[int](), list[int]()
    score, encode = Classifier.score, Classifier.encode
    monkeypatch.setattr(Classifier, "score", lambda self, given: windows.append(len(given)) or score(self, given))
    monkeypatch.setattr(Classifier, "encode", lambda self, given: pictures.append(len(given)) or encode(self, given))
    monkeypatch.setattr("models.classifier._WINDOWS_AT_ONCE", 8)
    example = Example(tmp_path / "long.mp4", "fight", "group")
    [scores] = score_frames(served, [example], [frames], lambda *_: None).scores
    assert windows == [8, 8, 4]
    assert sum(pictures) == 42, "each picture of a window once"
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_of_what_was_computed_of_a_video_only_what_is_used_is_read(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).random((2, 5000, 1280), np.float32)  # 51 MB
    asked: list[int] = []

    def compute(index: int) -> dict[str, np.ndarray]:
        asked.append(index)
        return {"served": rows[0, :3] + index, "rows": rows}

    kept = Computed(tmp_path, compute)
    kept.all(2, lambda *_: None)
    tracemalloc.start()
    window = np.array(kept.part(1, "rows")[1, [4990, 7, 4999]])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e6
    np.testing.assert_array_equal(window, rows[1, [4990, 7, 4999]])
    np.testing.assert_array_equal(kept.part(1, "served"), rows[0, :3] + 1)
    assert asked == [0, 1]
    (tmp_path / "1.npz").write_bytes((tmp_path / "1.npz").read_bytes()[:100])
    np.testing.assert_array_equal(kept.part(1, "served"), rows[0, :3] + 1)
    assert asked == [0, 1, 1], "what was cut short is computed again"


@pytest.mark.parametrize("folder", [True, False])
def test_features_in_a_file_are_those_in_memory(tmp_path: Path, *, folder: bool) -> None:
    recipe = Recipe("cnn_lstm", frames=4)
    rows = np.random.default_rng(0).random((2, 9000, 3), np.float32)
    kept = Computed(tmp_path if folder else None, lambda _: {"rows": rows})
    features = Features(lambda index: kept.part(index, "rows"), np.zeros(1, int), recipe, torch.device("cpu"))
    windows = sliding_windows(9000, 4, OVERSAMPLE)
    parts = list(features.windows_of(0))
    assert [len(part) for part in parts] == [1024, 1024, len(windows) - 2048]
    np.testing.assert_array_equal(torch.cat(parts), rows[0, windows])
    np.testing.assert_array_equal(features.views_of(0), rows[:, windows])
    drawn = features.sample(0, np.random.default_rng(3)).numpy()
    assert drawn.shape == (4, 3)
    assert all((rows == picture).all(2).any() for picture in drawn)
