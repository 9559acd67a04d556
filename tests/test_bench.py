"""`make bench`: the figures are of work that was done, and come in a form that others can read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from rich.console import Console

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
SCHEMA = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["name", "value", "unit", "ratio_to_best_peer", "reason", "counted"],
        "properties": {
            "name": {"type": "string"},
            "value": {"type": ["number", "null"], "exclusiveMinimum": 0},
            "unit": {"enum": ["camera-seconds per core-second", "MB", "MB/s"]},
            "ratio_to_best_peer": {"type": ["number", "null"], "exclusiveMinimum": 0},
            "reason": {"type": ["string", "null"]},
            "counted": {"type": "string"},
        },
    },
}


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import bench

    return bench


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / "bench.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=400)


@pytest.mark.slow
def test_a_quick_run_writes_a_figure_for_each_name_that_was_asked_for(tmp_path):
    names = ["cameras_per_core.direct", "broker_mb_per_s.embedded"]
    output = tmp_path / "bench.json"
    done = run("--quick", "--only", names[0], "--only", names[1], "--output", str(output))
    assert done.returncode == 0, done.stderr
    results = json.loads(output.read_text())
    jsonschema.validate(results, SCHEMA)
    assert [r["name"] for r in results] == names
    assert all(r["value"] is not None for r in results)
    direct, broker = results
    assert direct["clips_per_round"] == 6  # 1.6 s long, every 0.8 s, in 6 s
    assert direct["ratio_to_best_peer"] is None  # no peer was measured
    assert broker["value"] <= min(broker["in_mb_per_s"], broker["out_mb_per_s"]) + 0.1
    assert all(name in done.stdout for name in names)


def test_an_unknown_name_is_refused_with_those_that_exist():
    done = run("--only", "cameras")
    assert done.returncode == 2
    assert "memory_mb_per_camera" in done.stderr


def test_a_prefix_stands_for_all_that_it_begins(bench):
    assert bench._names(["cameras_per_core.peer"]) == [bench.OPENCV, bench.TORCHCODEC]


def scores(number: int) -> np.ndarray:
    return np.random.default_rng(number).dirichlet(np.full(400, 0.1), 20).astype(np.float32)


def compare(bench, tmp_path: Path, ours: np.ndarray, theirs: np.ndarray) -> dict:
    measured = bench.Bench(bench.QUICK, [bench.DIRECT, bench.OPENCV], Console(), tmp_path)
    np.save(tmp_path / "ours.npy", ours)
    np.save(tmp_path / "theirs.npy", theirs)
    measured._compare_scores({bench.DIRECT: tmp_path / "ours.npy", bench.OPENCV: tmp_path / "theirs.npy"})
    return measured.results[bench.OPENCV].details


def test_paths_that_scored_the_same_clips_agree(bench, tmp_path):
    details = compare(bench, tmp_path, scores(1), scores(1))
    assert details["same_first_label"] == details["score_correlation"] == 1
    assert details["one_window_apart"]["score_correlation"] < 0.5


def test_a_path_that_scored_other_clips_fails_the_run(bench, tmp_path):
    with pytest.raises(bench.WrongWorkError, match="agree on the first label"):
        compare(bench, tmp_path, scores(1), np.roll(scores(1), 1, axis=0))


def test_a_path_that_left_out_a_clip_fails_the_run(bench, tmp_path):
    with pytest.raises(bench.WrongWorkError, match="19, 400"):
        compare(bench, tmp_path, scores(1), scores(1)[1:])


def test_ratios_are_to_the_best_peer_that_was_measured(bench):
    results = {name: bench.Result(name, "", value) for name, value in
               ((bench.DIRECT, 12.0), (bench.OPENCV, 4.0), (bench.TORCHCODEC, 8.0))}  # fmt: skip
    bench._relate(results)
    assert [r.ratio_to_best_peer for r in results.values()] == [1.5, 0.5, 1.0]
    results = {bench.DIRECT: bench.Result(bench.DIRECT, "", 12.0)}
    bench._relate(results)
    assert results[bench.DIRECT].ratio_to_best_peer is None
