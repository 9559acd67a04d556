"""Models that say what they do not know: what is far from all that they learnt is `unknown`, live and in a replay."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from consumers.learning.evaluate import EvaluateOptions, evaluate_command
from consumers.learning.train import TrainOptions, train_command
from consumers.live.assemble import clip_spec
from consumers.replaying.judging.windows import judged_windows
from consumers.rules.rule_set import tracker_rules
from consumers.settings import TrackerSettings
from models import Classifier, Contract, TrainingError, Unknown, find
from models.engines.export import export
from models.evaluation.figures import evaluate
from models.evaluation.scores import ClipScores
from models.networks.open_set import OpenSetHead, distances
from models.training.open_set import fit_unknown
from models.training.recipe import Recipe
from models.training.trainer import strategy_for
from tests.replays import Served, live, replayed, said
from tests.test_judged_windows import timeline
from tests.videos import write_video

FITTED = Recipe("movenet_motion", frames=4, spacing_seconds=0.2, size=32, unknown=True)
LABELS = ("normal", "fight", "unknown")


def picture(kind: str, generator: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Dark for `normal`, flickering noise for `fight`; bright stripes, as no footage that is learnt from has them."""
    if kind == "stripes":
        image = np.full((height, width, 3), 250, np.uint8)
        image[:, :: int(generator.integers(4, 9))] = 0
        return image
    image = generator.integers(30, 50, (height, width, 3), dtype=np.uint8)
    if kind == "fight":
        image[::2] = generator.integers(0, 255, (len(image[::2]), width, 3))
    return image


def write_film(path: Path, course: list[str], seed: int) -> Path:
    generator = np.random.default_rng(seed)
    return write_video(
        path, len(course), rate=10, size=(64, 64), frame=lambda n, w, h: picture(course[n], generator, w, h)
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A model as `clipline train --unknown` makes it, and what that says."""
    folder = tmp_path_factory.mktemp("open")
    rows = ["path,label,group,split"]
    for number in range(10):
        kind = ("normal", "fight")[number % 2]
        write_film(folder / f"{number}.mp4", [kind] * 20, number)
        rows.append(f"{number}.mp4,{kind},g{number // 2},{'test' if number > 7 else ''}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    console = Console(file=io.StringIO(), width=200)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        train_command(TrainOptions([folder / "labels.csv"], folder / "own.safetensors", FITTED), console)
    return folder / "own.safetensors", console.file.getvalue()


@pytest.fixture
def model(trained: tuple[Path, str]) -> Path:
    return trained[0]


def clips(*kinds: str) -> np.ndarray:
    """Clips (B, 4, 32, 32, 3) of pictures at half their size, as the films are seen."""
    generator = np.random.default_rng(99)
    whole = np.stack([np.stack([picture(kind, generator, 64, 64) for _ in range(4)]) for kind in kinds])
    return whole.reshape(len(kinds), 4, 32, 2, 32, 2, 3).mean((3, 5)).round().astype(np.uint8)


@pytest.mark.slow
def test_what_is_like_nothing_learnt_is_unknown_and_the_rest_is_as_before(trained: tuple[Path, str]) -> None:
    model, told = trained
    contract = find(str(model)).contract
    assert contract.labels == LABELS
    assert contract.taught_labels == LABELS[:2]
    assert set(contract.thresholds) == {"fight"}, "the unknown alarms nobody unless a rule says so"
    scores = Classifier.load(str(model), "torch", 1).predict(clips("stripes", "fight", "normal"))
    assert [LABELS[n] for n in scores.argmax(1)] == ["unknown", "fight", "normal"]
    np.testing.assert_allclose(scores.sum(1), 1, atol=1e-5)
    assert "unknown: what is farther than" in told
    rows = model.with_name("own.held-out.csv").read_text().splitlines()
    assert rows[0].endswith("score normal,score fight,score unknown")
    assert sum(row.endswith(",") for row in rows) == 8, "held-out models of the folds know nothing of it"


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".xml", pytest.param(".onnx", marks=pytest.mark.slow)])
def test_exported_files_know_the_unknown(model: Path, tmp_path: Path, suffix: str) -> None:
    written = export(find(str(model)), tmp_path / f"own{suffix}", calibration=None)
    assert written.difference < 5e-3
    scores = Classifier.load(str(written.checkpoint.path), "openvino-f32", 1).predict(clips("stripes", "fight"))
    assert [LABELS[n] for n in scores.argmax(1)] == ["unknown", "fight"]


@pytest.mark.slow
def test_a_rule_may_alarm_on_it_and_a_worker_and_a_replay_say_the_same(model: Path, tmp_path: Path) -> None:
    film = write_film(tmp_path / "gate.mp4", ["normal"] * 25 + ["stripes"] * 25 + ["fight"] * 25, 5)
    classifier = Classifier.load(str(model), "torch", 1)
    settings = TrackerSettings.model_validate({"labels": {"unknown": {"start": 0.5, "min_seconds": 0}}})
    rules = tracker_rules(classifier.contract, settings)
    assert set(rules) == {"fight", "unknown"}
    served = Served(classifier, clip_spec(classifier.contract, None), rules)
    predictions, events, heard = live(film, "gate", 0, served=served)
    of_replay = said(replayed([film], tmp_path / "kept", camera="gate", start_us=0, served=served), "gate", rules)
    assert (predictions, events) == of_replay
    assert "unknown" in {e.label for e in heard.events}
    assert {p.label for p in heard.predictions} >= {"normal", "unknown"}


@pytest.mark.slow
def test_footage_of_strangers_measures_it(model: Path, tmp_path: Path) -> None:
    rows = ["path,label"]
    for number in range(2):
        write_film(tmp_path / f"{number}.mp4", ["stripes"] * 15, 50 + number)
        rows.append(f"{number}.mp4,parade")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    options = EvaluateOptions(
        str(model), [tmp_path / "labels.csv"], {"parade": "unknown"}, "torch", json_file=tmp_path / "out.json"
    )
    evaluate_command(options, Console(quiet=True), Console(quiet=True))
    assert json.loads((tmp_path / "out.json").read_text())["per_class"]["unknown"]["recall"] == 1.0


@pytest.mark.slow
def test_calibrating_it_anew_is_refused(model: Path, tmp_path: Path) -> None:
    options = EvaluateOptions(str(model), [tmp_path], calibrated_file=tmp_path / "c.safetensors")
    with pytest.raises(TrainingError, match="expected a model that was trained without --unknown"):
        evaluate_command(options, Console(quiet=True), Console(quiet=True))


# Parts


def test_the_distance_is_that_of_the_nearest_but_some_whatever_the_length() -> None:
    known = torch.eye(4)
    found = distances(torch.tensor([[5.0, 0, 0, 0], [1.0, 1.0, 0, 0]]), known, 2)
    assert found.tolist() == pytest.approx([2**0.5, (2 - 2**0.5) ** 0.5])


def test_at_the_threshold_the_score_of_the_unknown_is_a_half() -> None:
    head = OpenSetHead(torch.nn.Linear(2, 2), torch.eye(2), Unknown(2, 1, threshold=0.5, softness=0.1))
    angle = 2 * np.arcsin(0.25)  # a chord of 0.5
    logits = head(torch.tensor([[np.cos(angle), np.sin(angle)]], dtype=torch.float32))
    assert logits.shape == (1, 3)
    assert logits[0, 2].item() == pytest.approx(0, abs=1e-4)


def test_one_in_twenty_of_the_known_windows_is_beyond_the_threshold_and_every_clip_counts_alike() -> None:
    generator = np.random.default_rng(0)
    found = fit_unknown([generator.random(5) for _ in range(400)] + [np.full(10_000, 0.99)], 100)
    assert found.threshold == pytest.approx(0.95, abs=0.02)
    usual = 1 / (1 + np.exp(-(0.5 - found.threshold) / found.softness))
    assert usual < 0.01


def contract(**more: object) -> Contract:
    values: dict[str, object] = {
        "architecture": "movenet_motion",
        "labels": LABELS,
        "frames": 4,
        "spacing_seconds": 0.4,
        "height": 32,
        "width": 32,
        "fit": "stretch",
        "mean": (0.0,) * 3,
        "std": (1.0,) * 3,
        "unknown": Unknown(100, 5, 0.25, 0.006),
    }
    return Contract(**(values | more))  # type: ignore[arg-type]


def test_a_contract_carries_how_the_unknown_is_told() -> None:
    assert Contract.decode(contract().encode(), "m") == contract()
    assert "unknown" not in json.loads(contract(unknown=None).encode()["clipline"])


@pytest.mark.parametrize("labels", [("normal", "fight"), ("normal", "unknown"), ("unknown", "normal", "fight")])
def test_a_contract_with_the_unknown_has_it_as_the_last_of_three_labels_or_more(labels: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="'unknown' as the last"):
        contract(labels=labels)


@pytest.mark.parametrize(
    "recipe",
    [Recipe("x3d_xs"), Recipe("movenet_lstm"), Recipe("movenet_3d"), Recipe("movenet_views", trained_stages=2)],
)
def test_what_has_no_descriptors_is_refused(recipe: Recipe) -> None:
    with pytest.raises(TrainingError, match=f"--unknown: {recipe.architecture} has no descriptors"):
        strategy_for(replace(recipe, unknown=True))


def test_areas_are_of_what_is_taught_where_no_clip_is_known_to_be_strange() -> None:
    scores = np.array([[0.6, 0.1, 0.3], [0.1, 0.7, 0.2], [0.2, 0.2, 0.6], [0.1, 0.8, 0.1]])
    names = tuple("abcd")
    found = evaluate(ClipScores(LABELS, np.array([0, 1, 0, 1]), scores, names, names), rounds=20)
    assert found.figures["auc"].value == 1.0
    assert found.figures["accuracy"].value == 0.75, "what is taken for unknown is not right"


def test_nothing_that_happens_is_taken_for_unknown_in_a_replay() -> None:
    course = timeline(4)
    trace = replace(course.pieces[0].trace, labels=("fight", "fall", "unknown"))
    of = [replace(course.pieces[0], trace=trace)]
    course.pieces = tuple(of)
    assert judged_windows([course], [], {"fight", "fall"}) is None
