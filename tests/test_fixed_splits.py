"""Validation and test rows that the user fixed are never learnt from, and may share nothing with what is."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from consumers.learning.train import TrainOptions, train_command
from models import Contract, TrainingError, find
from models.training.recipe import Recipe
from tests.videos import write_video

RECIPE = Recipe("classical:svm", frames=4, spacing_seconds=0.2, size=32)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen films, dark and bright in turn."""
    folder = tmp_path_factory.mktemp("films")
    for number in range(16):
        generator = np.random.default_rng(number)
        level = 160 if number % 2 else 40
        write_video(
            folder / f"{number}.mp4",
            20,
            rate=10,
            size=(64, 48),
            frame=lambda n, w, h, g=generator, v=level: g.integers(v, v + 50, (h, w, 3), dtype=np.uint8),
        )
    return folder


def label_list(
    films: Path, name: str, numbers: range, split: Callable[[int], str] | None, label: str = "fight"
) -> Path:
    """A list of films, two of each group."""
    path = films / name
    head = "path,label,group" + (",split" if split else "")
    rows = [f"{n}.mp4,{label if n % 2 else 'normal'},g{n // 2}" + (f",{split(n)}" if split else "") for n in numbers]
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


Train = Callable[..., tuple[Contract, str]]


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run(data: Path, **more: Any) -> tuple[Contract, str]:
        console = Console(file=io.StringIO(), width=200)
        recipe = more.pop("recipe", RECIPE)
        train_command(TrainOptions([data], tmp_path / "own.safetensors", recipe, **more), console)
        assert isinstance(console.file, io.StringIO)
        return find(str(tmp_path / "own.safetensors")).contract, console.file.getvalue()

    return run


def by_group(*splits: str) -> Callable[[int], str]:
    """The split of each film by its group, the last one for all groups that follow."""
    return lambda n: splits[min(n // 2, len(splits) - 1)]


def test_a_column_fixes_what_validates_and_what_tests(train: Train, films: Path, tmp_path: Path):
    data = label_list(films, "fixed.csv", range(16), by_group("val", "Validation", "test", "TEST", ""))
    contract, told = train(data)
    assert contract.training["held_out"] == "4 videos of 2 groups of the split 'val'"
    assert contract.training["test"] == "4 videos of 2 groups"
    assert len(contract.training["footage"]) == 8
    assert len(contract.training["calibration"]["footage"]) == 4, "thresholds are fitted to what validates"
    assert (contract.metrics["videos"], contract.metrics["test"]["videos"]) == (4, 4)
    assert "Test: accuracy" in told
    with (tmp_path / "own.held-out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["split"] for r in rows] == ["val"] * 4 + ["test"] * 4
    assert {r["group"] for r in rows} == {f"{films.name}/g{n}" for n in range(4)}
    assert all(float(r["score normal"]) + float(r["score fight"]) == pytest.approx(1, abs=1e-5) for r in rows)


def test_without_validation_rows_the_rest_is_cross_validated(train: Train, films: Path):
    contract, _ = train(
        label_list(films, "known.csv", range(12), None), test=[label_list(films, "test.csv", range(12, 16), None)]
    )
    assert contract.training["held_out"] == "5 of 5 folds by group"
    assert (contract.metrics["videos"], contract.metrics["test"]["videos"]) == (12, 4)
    assert len(contract.training["footage"]) == 12


def test_a_group_in_two_splits_is_refused_with_its_rows(train: Train, films: Path):
    data = label_list(films, "leak.csv", range(16), lambda n: "test" if n == 3 else "")
    with pytest.raises(TrainingError, match=r"group '.*/g1': train \(.*line 4\), test \(.*line 5\)"):
        train(data)


def test_a_test_list_that_shares_a_group_with_the_rest_is_refused(train: Train, films: Path):
    with pytest.raises(TrainingError, match=r"g5.*train.*test"):
        train(label_list(films, "some.csv", range(12), None), test=[label_list(films, "more.csv", range(10, 16), None)])


def test_the_same_footage_in_two_splits_is_refused_whatever_it_is_called(train: Train, films: Path):
    (films / "again.mp4").write_bytes((films / "1.mp4").read_bytes())
    data = films / "copy.csv"
    data.write_text(
        label_list(films, "base.csv", range(16), by_group("", "test", "")).read_text() + "again.mp4,fight,other,test\n"
    )
    with pytest.raises(TrainingError, match=r"same footage: train \(.*\), test \(.*line 18\)"):
        train(data)


@pytest.mark.parametrize(
    ("split", "label", "message"),
    [
        (lambda n: "tset" if n == 2 else "", "fight", r"line 4: split 'tset': expected train, val or test"),
        (lambda _: "test", "fight", "all 16 rows are held out: expected some of the split 'train'"),
        (by_group("test", ""), "dance", None),
    ],
)
def test_splits_that_cannot_be_used_are_told(
    train: Train, films: Path, split: Callable[[int], str], label: str, message: str | None
):
    data = label_list(films, "wrong.csv", range(16), split)
    if message is None:
        data.write_text(data.read_text().replace("1.mp4,fight,g0,test", f"1.mp4,{label},g0,test"))
        message = (
            r"line 3: label 'dance' of split 'test': expected a label that rows to learn from have \(fight, normal\)"
        )
    with pytest.raises(TrainingError, match=message):
        train(data)


def test_the_summary_shows_confusion_figures_by_label_and_alarms(train: Train, films: Path):
    contract, told = train(label_list(films, "plain.csv", range(16), None), learning_curve=True)
    for text in ("precision", "it is, and is taken for", "false alarms", "beyond a threshold", "groups learnt from"):
        assert text in told
    metrics = contract.metrics
    assert {"recall_at_5_percent_false_alarms", "recall_at_10_percent_false_alarms", "false_windows"} <= set(metrics)
    assert [p["groups"] for p in metrics["over_groups"]] == sorted(p["groups"] for p in metrics["over_groups"])
    assert len(metrics["over_groups"]) == 4
    assert contract.training["versions"]["code"]


def test_labels_that_never_alarm_are_named(train: Train, films: Path):
    data = label_list(films, "quiet.csv", range(16), None)
    contract, _ = train(data, recipe=Recipe("classical:svm", frames=4, spacing_seconds=0.2, size=32, quiet=("fight",)))
    assert contract.labels == ("fight", "normal")
    assert set(contract.thresholds) == {"normal"}
    with pytest.raises(TrainingError, match=r"--quiet 'figth': .* did you mean 'fight'"):
        train(data, recipe=Recipe("classical:svm", frames=4, spacing_seconds=0.2, size=32, quiet=("figth",)))
