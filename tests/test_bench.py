"""`make bench`: the figures are of work that was done, and come in a form that others can read."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from models import DEFAULT_MODEL, find, shipped

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
PEERS = ("opencv_torch", "torchcodec_openvino", "decord_openvino")
SCHEMA = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["name", "value", "unit", "ratio_to_best_peer", "reason", "counted", "machine"],
        "properties": {
            "name": {"type": "string"},
            "value": {"type": ["number", "null"], "exclusiveMinimum": 0},
            "unit": {"type": "string"},
            "ratio_to_best_peer": {"type": ["number", "null"], "exclusiveMinimum": 0},
            "reason": {"type": ["string", "null"]},
            "counted": {"type": "string"},
            "machine": {"type": "string"},
        },
    },
}


@pytest.fixture(autouse=True)
def price(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def rows(precisions=("f32",)):
    from price.rows import all_rows

    return all_rows(list(shipped()), DEFAULT_MODEL, precisions)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / "bench.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)


@pytest.mark.slow
def test_a_quick_run_writes_a_figure_for_each_name_that_was_asked_for(tmp_path):
    names = [
        "cameras_per_core.direct.x3d-xs.360p15.f32.ungated",
        "cameras_per_core.direct.x3d-xs.360p15.f32.still",
        "core_ms.x3d-xs.360p15",
        "latency_p95_ms.embedded.x3d-xs.360p15",
        "broker_mb_per_s.embedded",
    ]
    output = tmp_path / "bench.json"
    done = run("--quick", *(word for name in names for word in ("--only", name)), "--output", str(output))
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads(output.read_text())
    jsonschema.validate(results, SCHEMA)
    assert [r["name"] for r in results] == names
    assert all(r["value"] is not None for r in results)
    direct, still, parts, latency, broker = results
    assert direct["windows_per_round"] == 4  # 1.6 s long, every 0.8 s, in 4 s
    assert direct["ratio_to_best_peer"] is None  # no peer was measured
    assert still["windows_computed"] < 0.5
    assert sum(parts["parts"].values()) == pytest.approx(parts["value"], abs=0.1)
    assert all(parts["parts"][part] > 0 for part in ("reading", "decoding", "scaling", "head", "rest"))
    assert latency["windows"] == latency["cameras"] * 9  # in 8 s without a seam
    assert latency["median_ms"] <= latency["value"] <= latency["max_ms"] + 0.1
    assert broker["value"] <= min(broker["in_mb_per_s"], broker["out_mb_per_s"]) + 0.1


@pytest.mark.slow
def test_a_process_that_ends_fails_its_own_figure_with_the_reason(tmp_path):
    from price.desk import Desk
    from price.measuring import Ask, Job, WrongWorkError
    from price.plan import QUICK
    from rich.console import Console

    desk = Desk(QUICK, tmp_path, Console(stderr=True))
    with pytest.raises(WrongWorkError, match="status 1: KeyError: 'nonsense'"):
        desk.start(Job("nonsense"))
    process = desk.start(Job("direct", "x3d-xs"))
    for _ in range(2):  # the second time it is gone already
        with pytest.raises(WrongWorkError, match=r"nowhere\.mp4"):
            process.round(Ask("nowhere.mp4"))
    process.close()


def test_every_shipped_model_is_measured_gated_and_ungated_at_each_resolution_and_precision():
    names = {row.name for row in rows(("f32", "bf16"))}
    for model in shipped():
        for footage in ("1080p30", "720p25", "360p15"):
            for precision in ("f32", "bf16"):
                for gates in ("gated", "ungated"):
                    assert f"cameras_per_core.direct.{model}.{footage}.{precision}.{gates}" in names
        assert f"core_ms.{model}.1080p30" in names
        assert f"cameras_per_core.peer.torchcodec_openvino.{model}.1080p30" in names


def test_no_two_figures_share_a_name():
    names = [row.name for row in rows(("f32", "bf16"))]
    assert len(names) == len(set(names))


def test_an_unknown_name_is_refused_with_those_that_exist():
    from price.rows import chosen_rows

    with pytest.raises(ValueError, match=r"--only cameras: .*memory_mb_per_camera"):
        chosen_rows(rows(), ["cameras"])


def test_no_rounds_are_refused(capsys):
    from price.cli import main

    with pytest.raises(SystemExit) as ended:
        main(["--rounds", "0"])
    assert ended.value.code == 2
    assert "expected 1 or more" in capsys.readouterr().err


def test_parts_of_a_name_stand_for_all_figures_that_have_them():
    from price.rows import chosen_rows

    found = chosen_rows(rows(), ["peer.x3d-xs.1080p30", "memory_mb_per_camera"])
    assert {row.path for row in found[:-1]} == set(PEERS)
    assert {(row.model, row.footage) for row in found[:-1]} == {("x3d-xs", "1080p30")}
    assert found[-1].name == f"memory_mb_per_camera.{DEFAULT_MODEL}"


def scores(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(2, 0.5), 20).astype(np.float32)


def test_paths_that_scored_the_same_windows_agree():
    from price.agreement import judge

    assert judge(scores(1), scores(1), 0.01) == ({"mean_score_difference": 0, "max_score_difference": 0}, None)


def test_a_path_that_scored_other_windows_is_refused():
    from price.agreement import judge

    details, wrong = judge(scores(1), np.roll(scores(1), 1, axis=0), 0.1)
    assert f"differ from Clipline's by {details['mean_score_difference']} on average" in wrong


def test_a_path_that_left_out_a_window_is_refused():
    from price.agreement import judge

    assert "(19, 2)" in judge(scores(1), scores(1)[1:], 1.0)[1]


def pictures(shift: int = 0) -> list[np.ndarray]:
    """Something that moves by a column from picture to picture."""
    scene = np.random.default_rng(1).integers(0, 256, (16, 16, 3), np.uint8)
    return [np.roll(scene, number + shift, axis=1) for number in range(8)]


def judged(theirs: list[np.ndarray], network: float = 0.0) -> str | None:
    from price.agreement import judge_pictures, pictures_apart

    found = pictures_apart(pictures(), theirs, stride=2)
    return judge_pictures(found | {"network_difference": network})[1]


def test_a_peer_that_makes_about_the_same_pictures_is_taken():
    assert judged(pictures()) is None
    assert judged([picture // 4 * 4 for picture in pictures()]) is None


def test_a_peer_that_takes_other_frames_or_mixes_up_colours_is_refused():
    assert "its pictures differ" in judged(pictures(1))
    assert "its pictures differ" in judged([picture[..., ::-1] for picture in pictures()])


def test_a_peer_with_another_network_is_refused():
    assert "other scores for the same pictures" in judged(pictures(), network=0.4)


def test_ratios_are_to_the_best_peer_of_the_same_model_and_footage():
    from price.figures import Figure, relate
    from price.rows import Row

    figures = {
        Row("cameras_per_core", "direct", "", "m", "1080p30", "f32", "ungated"): 12.0,
        Row("cameras_per_core", "direct", "", "m", "1080p30", "bf16", "ungated"): 20.0,
        Row("cameras_per_core", "opencv_torch", "", "m", "1080p30"): 4.0,
        Row("cameras_per_core", "torchcodec_openvino", "", "m", "1080p30"): 10.0,
        Row("cameras_per_core", "torchcodec_openvino", "", "m", "360p15"): 40.0,
        Row("cameras_per_core", "direct", "", "n", "1080p30", "bf16", "ungated"): 9.0,
    }
    found = {row: Figure(row, value) for row, value in figures.items()}
    relate(found, "bf16")
    assert [f.ratio_to_best_peer for f in found.values()] == [None, 2.0, 0.4, 1.0, 1.0, None]


def test_windows_of_peers_show_what_is_on_the_screen_at_their_times():
    from price.paths.windows import expected_windows, frames_of_windows

    contract = find("x3d-xs").contract  # 8 frames 0.2 s apart, every 0.8 s
    windows = list(frames_of_windows(60, 15.0, contract))
    assert len(windows) == expected_windows(4.0, contract) == 4
    assert windows[1] == [12, 15, 18, 21, 24, 27, 30, 33]
    uneven = find("movenet-motion").contract  # 0.13 s apart: at 15 frames/s the frame that was shown last
    assert next(frames_of_windows(60, 15.0, uneven)) == [0, 1, 3, 5, 7, 9]


def test_what_a_part_does_within_another_is_counted_once():
    from price.paths.parts import Clocks

    clocks = Clocks()
    times = iter([0.0, 2.0, 5.0, 9.0])
    with (
        clocks.around("head", lambda: next(times), alone=True),
        clocks.around("encoder", lambda: next(times), alone=True),
    ):
        pass
    assert clocks.seconds == {"encoder": 3.0, "head": 6.0}


def test_parts_that_are_to_run_alone_wait_for_one_another():
    from price.paths.parts import Clocks

    clocks, order = Clocks(), []

    def other() -> None:
        with clocks.around("decoding", time.thread_time, alone=True):
            order.append("decoding")

    with clocks.around("head", time.process_time, alone=True):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(0.1)
        order.append("head")
    thread.join()
    assert order == ["head", "decoding"]


def test_the_time_of_a_part_is_the_time_that_it_took():
    from price.paths.parts import Clocks

    clocks = Clocks()
    spin = clocks.wrap(lambda: [None for _ in range(10**6)], "rest", time.process_time, alone=False)
    began = time.process_time()
    spin()
    assert 0 < clocks.seconds["rest"] <= time.process_time() - began


def a_run() -> list[dict]:
    """Figures as the JSON has them, each with another value."""
    from price.figures import Figure

    found = []
    for number, row in enumerate(rows(("f32", "bf16"))):
        figure = Figure(row)
        figure.take([100 + number / 7])
        if row.kind == "core_ms":
            figure.details |= {
                "parts": {"reading": 1.0, "decoding": 60.0, "scaling": 2.0, "encoder": 0.0, "head": 30.0}
            }
            figure.details["parts"]["rest"] = figure.value - 93
            figure.details["windows_looked_at_close_up"] = 0.18
        if row.kind == "latency_p95_ms":
            figure.details |= {"cameras": 4, "worker_cores": 0.9, "cores": 2, "median_ms": 90.0, "max_ms": 300.0}
        if row.kind == "broker_mb_per_s":
            figure.details |= {"in_mb_per_s": 88.0, "out_mb_per_s": 245.0}
        if row.kind == "cameras_per_gpu":
            figure.value, figure.reason = None, "no GPU found"
        found.append({**figure.as_json(), "machine": "2 cores of a made-up processor", "quick": False})
    return found


@pytest.fixture
def pages(tmp_path, monkeypatch):
    """The pages, in a folder of their own."""
    from price import pages

    (tmp_path / "docs").mkdir()
    for name in ("README.md", "docs/sizing.md"):
        (tmp_path / name).write_text((BENCHMARKS.parent / name).read_text("utf-8"), "utf-8")
    monkeypatch.setattr(pages, "REPOSITORY", tmp_path)
    return pages


def written(pages, tmp_path: Path, run: list[dict]) -> dict[str, str]:
    source = tmp_path / "bench.json"
    source.write_text(json.dumps(run))
    return {page.name: page.read_text("utf-8") for page in pages.write(source)}


def test_pages_take_their_figures_from_a_run_and_from_nowhere_else(pages, tmp_path):
    run = a_run()
    texts = written(pages, tmp_path, run)
    by_name = {entry["name"]: entry for entry in run}
    for model in shipped():
        gated = by_name[f"cameras_per_core.direct.{model}.1080p30.bf16.gated"]["value"]
        peers = [e["value"] for e in run if e.get("path") in PEERS and (e["model"], e["footage"]) == (model, "1080p30")]
        [row] = [
            line for line in texts["README.md"].splitlines() if line.startswith(f"| `{model}`") and "OpenV" in line
        ]
        assert f" | {gated:.1f} | " in row
        assert row.endswith(f"| {gated / max(peers):.2f} |")
        for precision in ("f32", "bf16"):
            ungated = by_name[f"cameras_per_core.direct.{model}.360p15.{precision}.ungated"]["value"]
            assert f"{1000 / ungated:.0f} |" in texts["sizing.md"]
    for text in texts.values():
        assert "2 cores of a made-up processor" in text
        assert "Intel(R) Xeon(R) Processor (AVX-512, bf16); the median of 2 rounds" not in text  # of the run before
        assert "Apache Kafka, exactly once" in text
    assert "no GPU found" in texts["sizing.md"]
    assert "## When nothing moves" in texts["sizing.md"]
    assert "`make bench-minutes`" in texts["README.md"]


def test_pages_are_the_same_however_often_they_are_written(pages, tmp_path):
    assert written(pages, tmp_path, a_run()) == written(pages, tmp_path, a_run())


def test_pages_say_nothing_of_a_figure_that_is_not_there(pages, tmp_path):
    run = a_run()
    for entry in run:
        if "decord" in entry["name"] or entry["name"].startswith("memory"):
            entry |= {"value": None, "reason": "decord does not load"}
    texts = written(pages, tmp_path, run)
    assert "MB of a worker's memory" not in texts["README.md"]
    assert "decord does not load" in texts["sizing.md"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (json.dumps([{"name": "a", "quick": True, "machine": "m", "value": 1}]), "--quick"),
        (json.dumps([{"name": "core_ms.a", "quick": False, "machine": "m", "value": 1}]), "without broker_mb_per_s"),
        ("[]", "not what `make bench` writes"),
        ("{", "not what `make bench` writes"),
        (None, "cannot be read"),
    ],
)
def test_pages_are_not_written_from_what_is_no_whole_run(pages, tmp_path, content, words):
    before = (tmp_path / "README.md").read_text("utf-8")
    source = tmp_path / "other.json"
    if content is not None:
        source.write_text(content)
    with pytest.raises(pages.PagesError, match=words):
        pages.write(source)
    assert (tmp_path / "README.md").read_text("utf-8") == before
