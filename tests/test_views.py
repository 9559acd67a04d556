"""The second view: where it looks, and that it looks there wherever a model is served."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models import Classifier, ExportError, TrainingError, UnknownModelError, find
from models.contract import Contract
from models.engines.engine import Graph
from models.engines.export import export
from models.engines.two_views import _joined
from models.networks.movenet_views import MoveNetViews
from models.networks.zoo import create, parameters_and_multiply_adds
from models.training.recipe import Recipe
from models.training.strategies.fitted_head import FittedHead
from models.windows.views import cells_of, close_at, place_of, settled, whole_of
from models.windows.windowing import sliding_windows
from tests.checkpoints import write_checkpoint

FRAMES, SIZE = 4, 96
#: Row and column, in sixths of the picture, of what moves, and the first place that has it inside.
MOVING = [(0, 0, 0), (0, 5, 4), (5, 0, 20), (5, 5, 24), (1, 1, 0), (2, 3, 7)]


def scene(row: int, column: int, count: int = FRAMES, *, seed: int = 0) -> np.ndarray:
    """Pictures (count, SIZE, SIZE, 3) that stand still but for a sixth by a sixth, which flickers."""
    generator = np.random.default_rng(seed)
    pictures = np.repeat(generator.integers(0, 256, (1, SIZE, SIZE, 3), dtype=np.uint8), count, 0)
    sixth = SIZE // 6
    part = np.s_[:, row * sixth : (row + 1) * sixth, column * sixth : (column + 1) * sixth]
    pictures[part] = generator.integers(0, 256, pictures[part].shape, dtype=np.uint8)
    return pictures


def place(pictures: np.ndarray) -> int:
    return place_of([cells_of(whole_of(picture)) for picture in pictures])


@pytest.mark.parametrize(("row", "column", "expected"), MOVING)
def test_second_view_looks_where_something_moves(row: int, column: int, expected: int) -> None:
    pictures = scene(row, column)
    found = place(pictures)
    assert found == expected
    close = np.stack([close_at(picture, found) for picture in pictures])
    assert (np.abs(np.diff(close.astype(int), axis=0)).sum((0, 3)) > 0).mean() > 0.24, "a quarter of it moves"


def test_second_view_of_a_still_picture_is_the_first_place() -> None:
    assert place(np.repeat(scene(0, 0)[:1], FRAMES, 0)) == 0


def test_whole_is_the_mean_of_four_pixels_each() -> None:
    picture = scene(1, 2)[0]
    expected = np.floor(picture.reshape(SIZE // 2, 2, SIZE // 2, 2, 3).mean((1, 3)) + 0.5)
    np.testing.assert_array_equal(whole_of(picture), expected)


@pytest.mark.parametrize("place", [0, 7, 24])
def test_close_view_is_a_third_of_the_picture_enlarged_between_pixels(place: int) -> None:
    cv2 = pytest.importorskip("cv2")
    picture = scene(1, 2)[0]
    row, column = (step * SIZE // 6 for step in divmod(place, 5))
    part = picture[row : row + SIZE // 3, column : column + SIZE // 3]
    expected = cv2.resize(part, (SIZE // 2, SIZE // 2), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(close_at(picture, place).astype(int), expected.astype(int), atol=1)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("views") / "m.safetensors"
    return write_checkpoint(path, "movenet_views", frames=FRAMES, height=SIZE, width=SIZE, views=2)


@pytest.mark.parametrize("engine", ["torch", "openvino-f32"])
def test_every_way_to_ask_gives_the_same_scores(checkpoint: Path, engine: str) -> None:
    model = Classifier.load(str(checkpoint), engine, 1)
    pictures = np.concatenate([scene(0, 0, 5), scene(5, 5, 5, seed=1), scene(2, 1, 5, seed=2)])
    windows = sliding_windows(len(pictures), FRAMES)
    expected = model.predict_windows(pictures, windows)
    assert len(np.unique(expected[:, 0])) == len(windows)
    np.testing.assert_array_equal(model.predict(pictures[windows]), expected)
    encoded = model.encode(list(pictures))
    backwards = [model.score([[encoded[k] for k in window]])[0] for window in windows[::-1]]
    np.testing.assert_array_equal(np.stack(backwards[::-1]), expected)
    network = create("movenet_views", 2, frames=FRAMES, size=SIZE).eval()
    network.load_state_dict(find(str(checkpoint)).state())
    clips = torch.from_numpy(pictures[windows]).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
    with torch.inference_mode():
        whole = torch.softmax(network(clips), 1).numpy()
    np.testing.assert_allclose(whole, expected, atol=2e-3)


def test_close_view_is_encoded_once_while_windows_look_at_one_place(checkpoint: Path) -> None:
    model = Classifier.load(str(checkpoint), "torch", 1)
    asked = counted(model)
    pictures = scene(3, 0, 10)
    encoded = model.encode(list(pictures))
    for window in sliding_windows(10, FRAMES):
        model.score([[encoded[k] for k in window]])
    assert asked == [10, 4, 2, 2, 2]


def test_windows_are_described_as_their_clips_are() -> None:
    network = MoveNetViews(2, size=SIZE, pretrained=True).eval()
    pictures = (
        torch.from_numpy(np.concatenate([scene(0, 0, 5), scene(5, 5, 5)])).permute(0, 3, 1, 2).float() / 127.5 - 1
    )
    windows = torch.from_numpy(sliding_windows(len(pictures), FRAMES))
    with torch.inference_mode():
        found = network.describe_windows(pictures.split(4), windows)
        alone = network.describe(pictures[windows].transpose(1, 2))
    assert found.shape == (len(windows), 2, MoveNetViews.FEATURES)
    np.testing.assert_allclose(found[:, 1], alone, atol=1e-4)
    assert not np.allclose(found[:, 0], alone, atol=1e-2), "the whole alone shows less"


class Counted:
    """An encoder that notes how many views it is given."""

    def __init__(self, encoder: Graph) -> None:
        self._encoder, self.asked = encoder, list[int]()

    def run(self, items: Iterable[np.ndarray]) -> list[np.ndarray]:
        given = list(items)
        self.asked.append(len(given))
        return self._encoder.run(given)


def counted(model: Classifier) -> list[int]:
    """How many views the encoder is given, call by call."""
    encoder = Counted(model._engine.encoder)
    object.__setattr__(model._engine, "encoder", encoder)
    return encoder.asked


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["torch", "openvino-f32"])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_close_view_is_taken_only_where_the_whole_leaves_something_open(
    tmp_path: Path, engine: str, temperature: float
) -> None:
    """And each window's scores are the same whichever others are asked about with it."""
    clips = np.stack([scene(row, column, seed=number) for number, (row, column, _) in enumerate(MOVING)])
    shape = {"frames": FRAMES, "height": SIZE, "width": SIZE, "views": 2, "temperature": temperature}
    always = Classifier.load(str(write_checkpoint(tmp_path / "a.safetensors", "movenet_views", **shape)), engine, 1)
    both = always.predict(clips)
    wholes = [[replace(seen, closes={0: seen.whole}) for seen in always.encode(list(clip))] for clip in clips]
    whole = np.stack(always._engine.head.run(_joined(window, [s.whole for s in window]) for window in wholes))
    odds = np.sort(whole.max(1) / whole.min(1))
    # At the contract's temperature odds are another power of what they are at 1.
    asked_for = float(np.sqrt(odds[2] * odds[3]) ** temperature)
    path = write_checkpoint(tmp_path / "m.safetensors", "movenet_views", **shape, settling_odds=asked_for)
    model = Classifier.load(str(path), engine, 1)
    asked = counted(model)
    found = model.predict(clips)
    assert asked == [len(MOVING) * FRAMES, 3 * FRAMES]
    is_settled = whole.max(1) / whole.min(1) >= odds[3]
    np.testing.assert_array_equal(found, np.where(is_settled[:, None], whole, both))
    np.testing.assert_array_equal(np.concatenate([model.predict(clip[None]) for clip in clips]), found)


def test_scores_that_are_no_numbers_settle_nothing() -> None:
    assert settled(np.array([[0.05, 0.95], [0.2, 0.8], [np.nan, np.nan], [0.9, 0.1]]), 9.0).tolist() == [
        True,
        False,
        False,
        True,
    ]


def test_a_head_that_learns_both_looks_judges_as_it_will_serve() -> None:
    head = torch.nn.Linear(1, 2, bias=False)
    head.weight.data = torch.tensor([[0.0], [1.0]])
    looks = torch.tensor([[[3.0], [-1.0]], [[1.0], [-1.0]], [[-3.0], [1.0]]])
    with torch.inference_mode():
        odds = MoveNetViews.judge(head, looks)[:, 1]
    assert odds.tolist() == [3.0, -1.0, -3.0]


@pytest.mark.slow
def test_export_holds_both_graphs_and_a_pt2_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    clips = np.stack([scene(0, 3), scene(2, 2)])
    made = export(find(str(checkpoint)), tmp_path / "m.onnx").checkpoint
    assert made.contract.views == 2
    expected = Classifier.load(str(checkpoint), "openvino-f32", 1).predict(clips)
    np.testing.assert_allclose(Classifier.load(str(made.path), "openvino-f32", 1).predict(clips), expected, atol=1e-4)
    with pytest.raises(ExportError, match=r"a .pt2 file holds whole networks only; expected .xml or .onnx"):
        export(find(str(checkpoint)), tmp_path / "m.pt2")


def test_the_zoo_counts_both_views() -> None:
    one, two = (parameters_and_multiply_adds(name)[1] for name in ("movenet_motion", "movenet_views"))
    assert two / one == pytest.approx(2 * 10 / 6, rel=0.02)


def test_what_cannot_be_seen_in_two_views_is_refused() -> None:
    with pytest.raises(TrainingError, match="pictures of 100 pixels: movenet_views sees each in two views"):
        FittedHead.check(Recipe("movenet_views", size=100))
    with pytest.raises(TrainingError, match="clips of 2 frames: movenet_views compares frames"):
        FittedHead.check(Recipe("movenet_views", frames=2, size=96))
    with pytest.raises(UnknownModelError, match=r"3\*movenet_views: there are no ensembles of networks that see two"):
        create("3*movenet_views")
    with pytest.raises(ValueError, match="2 views of 100x100"):
        Contract("x", ("a", "b"), 4, 0.1, 100, 100, "stretch", (0.5,) * 3, (0.5,) * 3, views=2)  # type: ignore[arg-type]
    for odds, views in ((1.0, 2), (float("nan"), 2), (9.0, 1)):
        with pytest.raises(ValueError, match="settling odds"):
            Contract(
                *("x", ("a", "b"), 4, 0.1, 96, 96, "stretch", (0.5,) * 3, (0.5,) * 3),  # type: ignore[arg-type]
                views=views,
                settling_odds=odds,
            )
