"""What `clipline train` tells of a training in the checkpoint, and what it refuses before any work."""

from __future__ import annotations

import hashlib
import io
import platform
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from rich.console import Console

from consumers.learning.evaluate import EvaluateOptions, evaluate_command
from consumers.learning.train import TrainOptions, train_command
from models import CheckpointError, Contract, TrainingError, find
from models.training.recipe import Recipe
from tests.videos import write_video

RECIPE = Recipe("classical:svm", frames=4, spacing_seconds=0.2, size=32)


def write_labelled(folder: Path, shade: int = 0) -> Path:
    """Six files of two labels and three groups: bright ones and dark ones, noise in all."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(shade)
    rows = ["path,label,group"]
    for number in range(6):
        label, level = ("fight", 160 + shade) if number % 2 else ("normal", 40 + shade)
        write_video(
            folder / f"{number}.mp4",
            20,
            rate=10,
            size=(64, 48),
            frame=lambda n, w, h, v=level: generator.integers(v, v + 50, (h, w, 3), dtype=np.uint8),
        )
        rows.append(f"{number}.mp4,{label},g{number // 2}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder / "labels.csv"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labelled(tmp_path_factory.mktemp("train") / "data")


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: Path) -> Callable[..., Contract]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run(
        source: Path = data,
        out: Path = tmp_path / "m.safetensors",
        folds: int = 5,
        used: int | None = None,
        **more: Any,
    ) -> Contract:
        options = TrainOptions([source], out, RECIPE, folds=folds, used_folds=used, **more)
        train_command(options, Console(quiet=True))
        return find(str(out)).contract

    return run


@pytest.mark.parametrize(("folds", "used", "told"), [(5, 9, "3 of 3"), (5, None, "3 of 3"), (3, 2, "2 of 3")])
def test_held_out_folds_are_those_that_there_were(
    train: Callable[..., Contract], folds: int, used: int | None, told: str
) -> None:
    """Three groups a label make three folds, however many were asked for."""
    assert train(folds=folds, used=used).training["held_out"] == f"{told} folds by group"


def warned(model: Path, data: Path) -> str:
    console = Console(record=True, width=1000)
    evaluate_command(EvaluateOptions(str(model), [data]), Console(quiet=True), console)
    return "".join(line for line in console.export_text().splitlines(keepends=True) if "trained on" in line)


def test_model_judged_on_what_it_was_trained_on_says_so(
    train: Callable[..., Contract], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By content: in the data's own folder, and under another name."""
    monkeypatch.chdir(data.parent)
    model = tmp_path / "m.safetensors"
    assert train(Path(data.name), model).training["data"] == ["data"]
    assert "trained on 6 of these 6 videos" in warned(model, Path(data.name))
    write_labelled(tmp_path / "mixed", shade=9)
    (tmp_path / "mixed/1.mp4").write_bytes((data.parent / "1.mp4").read_bytes())
    assert "trained on 1 of these 6 videos" in warned(model, tmp_path / "mixed/labels.csv")


@pytest.mark.slow
def test_what_begins_from_a_model_that_knows_the_clips_says_so(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    recipe = replace(RECIPE, architecture="x3d_xs", epochs=1, batch=4)

    def told(source: Path, begin_from: Path | None) -> str:
        console = Console(record=True, width=1000, file=io.StringIO())
        out = tmp_path / f"{source.parent.name}-{begin_from is None}.safetensors"
        begun = replace(recipe, begin_from=None if begin_from is None else str(begin_from))
        train_command(TrainOptions([source], out, begun, folds=2, used_folds=1), console)
        return console.export_text()

    assert "was trained on" not in told(data, None)
    first = tmp_path / "data-True.safetensors"
    assert "was trained on 6 of these 6 videos" in told(data, first)
    assert "was trained on" not in told(write_labelled(tmp_path / "others", shade=9), first)


def test_other_footage_in_a_folder_of_the_same_name_is_not_warned_of(
    train: Callable[..., Contract], tmp_path: Path
) -> None:
    train(out=tmp_path / "m.safetensors")
    assert not warned(tmp_path / "m.safetensors", write_labelled(tmp_path / "data", shade=9))


def test_no_more_than_a_sample_of_much_footage_is_told(
    train: Callable[..., Contract], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumers.learning.footage.leakage._KEPT_DIGESTS", 2)
    assert len(train(out=tmp_path / "m.safetensors").training["footage"]) == 2
    assert "trained on at least 2 of these 6 videos" in warned(tmp_path / "m.safetensors", data)


def test_trained_file_says_of_what_and_how_it_was_made(
    train: Callable[..., Contract], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Digests, command and versions, so that it can be made again; no folder of the machine that made it."""
    typed = ["train", str(data), "-o", "/home/me/m.safetensors", "--from=/home/me/a.safetensors", "--map", "a=b"]
    monkeypatch.setattr("sys.argv", ["/usr/bin/clipline", *typed])
    training = train().training
    digests = [hashlib.sha256(file.read_bytes()).hexdigest()[:12] for file in data.parent.glob("*.mp4")]
    assert training["footage"] == sorted(digests)
    assert training["command"] == "clipline train labels.csv -o m.safetensors --from=a.safetensors --map a=b"
    assert training["versions"].items() >= {"torch": torch.__version__.split("+")[0], "av": av.__version__}.items()
    assert set(training["versions"]) >= {"python", "clipline", "numpy", "scikit-learn"}
    assert platform.machine() in training["processor"]


@pytest.fixture
def nothing_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("decoded before what is wrong was told")

    monkeypatch.setattr("consumers.learning.train.load_frames", refuse)


@pytest.mark.usefixtures("nothing_is_decoded")
@pytest.mark.parametrize("architecture", ["classical:svm", "movenet_motion"])
@pytest.mark.parametrize("place", ["folder", "file/m.safetensors", "/proc/m.safetensors"])
def test_checkpoint_that_could_not_be_written_is_refused_before_anything_is_decoded(
    train: Callable[..., Contract], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: str, place: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    monkeypatch.setattr(f"{__name__}.RECIPE", replace(RECIPE, architecture=architecture))
    with pytest.raises(CheckpointError, match=f"{place}: cannot be written"):
        train(out=tmp_path / place)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.usefixtures("nothing_is_decoded")
@pytest.mark.parametrize("architecture", ["classical:svm", "movenet_motion"])
def test_word_that_counts_no_file_is_refused_before_anything_is_decoded(
    train: Callable[..., Contract], monkeypatch: pytest.MonkeyPatch, architecture: str
) -> None:
    monkeypatch.setattr(f"{__name__}.RECIPE", replace(RECIPE, architecture=architecture))
    with pytest.raises(TrainingError, match=r"--counted 'survailance': no path of the 6 files contains it"):
        train(counted="survailance")


def test_only_files_that_contain_the_word_are_counted(train: Callable[..., Contract]) -> None:
    contract = train(counted="1.mp4", folds=3)
    assert contract.metrics["videos"] == 1
    assert contract.training["held_out"] == "3 of 3 folds by group, counted: 1.mp4"
