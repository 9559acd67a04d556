"""`clipline evaluate` and `compare` as a user calls them, and the report that they write."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from consumers.files import content_digest
from consumers.learning.evaluate import CompareOptions, EvaluateOptions, compare_command, evaluate_command
from consumers.learning.footage.leakage import footage_sample
from consumers.learning.trained_on import INT8_FOOTAGE
from models import Threshold, find
from tests.checkpoints import write_checkpoint
from tests.command_line import clipline
from tests.videos import write_video


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labelled")
    rows = ["path,label,group"]
    for number, label in enumerate(["fight", "quiet"] * 3):
        write_video(
            folder / f"{number}.mp4",
            20,
            rate=10,
            size=(64, 48),
            frame=lambda n, w, h, v=20 * number: np.full((h, w, 3), 30 + v + n, np.uint8),
        )
        rows.append(f"{number}.mp4,{label},g{number // 2}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder / "labels.csv"


def test_evaluate_prints_writes_figures_and_a_report_that_stands_alone(tmp_path: Path, data: Path) -> None:
    model = write_checkpoint(tmp_path / "m.safetensors", says="fight")
    result = clipline(
        *("evaluate", model, data, "--map", "quiet=normal", "--engine", "torch"),
        *("--json", tmp_path / "out.json", "--report", tmp_path / "out.html"),
    )
    assert result.returncode == 0, result.stderr
    assert "on 6 clips of 3 groups" in result.stdout
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["clips"] == 6
    assert found["accuracy"] == 0.5
    assert {"balanced_accuracy", "macro_f1", "auc"} <= set(found) & set(found["low"]) & set(found["high"])
    assert found["per_class"]["fight"]["recall"] == 1.0
    assert found["per_class"]["normal"]["recall"] == 0.0
    page = (tmp_path / "out.html").read_text()
    assert page.count("<svg") == 3
    assert page.count('<figure class="strip bad">') == 3, "a film strip for each of the three mistakes"
    assert page.count('<figure class="strip good">') == 3
    assert "3 of 6 clips labelled correctly (50 %" in page
    assert "3 of 6 clips labelled correctly (50 %" in result.stdout
    assert not re.search(r'(src|href)="(?!data:|#)', page), "nothing outside the file is needed"


def test_labels_are_renamed_as_they_were_for_training(tmp_path: Path, data: Path) -> None:
    model = write_checkpoint(tmp_path / "m.safetensors", says="fight", training={"renamed": {"quiet": "normal"}})
    result = clipline("evaluate", model, data, "--engine", "torch")
    assert result.returncode == 0, result.stderr
    assert "on 6 clips" in result.stdout


def test_labels_that_the_model_does_not_have_are_named(tmp_path: Path, data: Path) -> None:
    model = write_checkpoint(tmp_path / "m.safetensors", says="fight")
    result = clipline("evaluate", model, data)
    assert result.returncode == 2
    assert "labels quiet" in result.stderr
    assert "--map old=new" in result.stderr


def test_calibrated_model_carries_its_temperature_and_thresholds(tmp_path: Path, data: Path) -> None:
    model = write_checkpoint(tmp_path / "m.safetensors")
    better = tmp_path / "better.safetensors"
    result = clipline(
        *("evaluate", model, data, "--map", "quiet=normal", "--engine", "torch"),
        *("--calibrated", better, "--false-alarm-rate", "0"),
    )
    assert result.returncode == 0, result.stderr
    before, after = find(str(model)).contract, find(str(better)).contract
    assert after.temperature != before.temperature
    assert set(after.thresholds) == {"fight"}
    fitted_to = after.training["calibration"]
    assert (fitted_to["data"], fitted_to["false_alarm_rate"], len(fitted_to["footage"])) == ([data.parent.name], 0, 6)
    assert {"command", "versions"} <= set(fitted_to)
    notes = Console(record=True, width=1000, file=io.StringIO())
    evaluate_command(EvaluateOptions(str(better), [data], {"quiet": "normal"}, "torch"), Console(quiet=True), notes)
    assert "has its temperature and thresholds from 6 of these 6 videos" in notes.export_text()


@pytest.mark.parametrize(("known", "told"), [(slice(None), "6"), (slice(2), "2"), (slice(0), None)])
def test_footage_that_set_the_ranges_of_int8_is_warned_of(
    tmp_path: Path, data: Path, known: slice, told: str | None
) -> None:
    videos = sorted(data.parent.glob("*.mp4"))
    sample = footage_sample({video: content_digest(video) for video in videos[known]})
    model = write_checkpoint(tmp_path / "m.safetensors", training={"footage": [], INT8_FOOTAGE: {"footage": sample}})
    notes = Console(record=True, width=1000, file=io.StringIO())
    evaluate_command(EvaluateOptions(str(model), [data], {"quiet": "normal"}, "torch"), Console(quiet=True), notes)
    warned = re.search(r"has its ranges of int8 from (\d+) of these 6 videos", notes.export_text())
    assert (warned and warned[1]) == told


def test_compare_says_how_surely_two_models_differ(tmp_path: Path, data: Path) -> None:
    a = write_checkpoint(tmp_path / "a.safetensors", says="fight")
    b = write_checkpoint(tmp_path / "b.safetensors", says="normal")
    result = clipline(
        "compare", a, b, data, "--map", "quiet=normal", "--engine", "torch", "--json", tmp_path / "out.json"
    )
    assert result.returncode == 0, result.stderr
    assert "exact McNemar test" in result.stdout
    found = json.loads((tmp_path / "out.json").read_text())
    assert (found["only_first_right"], found["only_second_right"]) == (3, 3)
    assert found["difference"] == 0
    assert found["p_value"] == 1.0


def test_bounds_that_one_group_cannot_give_are_absent_everywhere(tmp_path: Path, data: Path) -> None:
    one = data.parent / "one.csv"
    one.write_text(re.sub(r"g\d$", "g", data.read_text(), flags=re.MULTILINE))
    model = write_checkpoint(tmp_path / "m.safetensors", says="fight")
    shown, out = Console(record=True, width=200), tmp_path / "out.json"
    renamed = {"quiet": "normal"}
    options = EvaluateOptions(str(model), [one], renamed, "torch", json_file=out, report_file=tmp_path / "out.html")
    evaluate_command(options, shown, shown)
    assert json.loads(out.read_text())["low"]["accuracy"] is None
    page = (tmp_path / "out.html").read_text()
    assert '<th scope="row">accuracy</th><td>0.5</td><td class="whole"></td>' in page
    assert "with one group there are none" in page
    compare_command(CompareOptions((str(model), str(model)), [one], renamed, "torch", out), shown, shown)
    found = json.loads(out.read_text())
    assert (found["difference"], found["low"], found["high"]) == (0, None, None)
    said = shown.export_text()
    assert re.search(r"accuracy +0\.500 +no interval: too few groups", said)
    assert "minus the first: 0.000 (–)" in said
    assert "nan" not in said


def test_checkpoint_that_tells_no_content_is_warned_of_by_the_name_of_its_data(tmp_path: Path, data: Path) -> None:
    model = write_checkpoint(tmp_path / "m.safetensors", training={"data": [data.parent.name]})
    notes = Console(record=True, width=1000)
    quiet = Console(quiet=True)
    evaluate_command(EvaluateOptions(str(model), [data], {"quiet": "normal"}, "torch"), quiet, notes)
    assert f"trained on {data.parent.name}" in notes.export_text()


@pytest.mark.parametrize(
    ("thresholds", "alarming"),
    [
        ({"walk": Threshold(0.5, 0.3), "fall": Threshold(0.5, 0.3)}, {"walk", "fall"}),
        ({"normal": Threshold(0.5, 0.3)}, {"normal"}),
        ({}, {"walk", "fall", "fight"}),
    ],
)
def test_calibrated_model_alarms_of_no_label_that_was_quiet(
    tmp_path: Path, data: Path, thresholds: dict[str, Threshold], alarming: set[str]
) -> None:
    """Where the model says which labels alarm, it is asked; only one that says nothing takes "normal" for quiet."""
    labels = ("normal", "walk", "fall", "fight")
    model = write_checkpoint(tmp_path / "m.safetensors", labels=labels, thresholds=thresholds)
    better, shown = tmp_path / "better.safetensors", Console(quiet=True)
    options = EvaluateOptions(str(model), [data], {"quiet": "normal"}, "torch", calibrated_file=better)
    evaluate_command(options, shown, shown)
    assert set(find(str(better)).contract.thresholds) == alarming
