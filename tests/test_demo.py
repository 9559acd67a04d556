"""`clipline demo` on what ships: the truth is found, the quiet camera stays quiet, every frame is accounted for."""

from __future__ import annotations

import re

from consumers.terminal.demo import FOOTAGE, read_truth
from models import find
from tests.command_line import clipline
from tests.videos import write_video


def test_demo_finds_the_fights_and_leaves_the_courtyard_alone():
    known = find("default").contract.labels
    result = clipline("demo", "--pace", "max")
    assert result.returncode == 0, result.stderr
    for truth in read_truth(FOOTAGE / "truth.csv"):
        verdict = "detected" if truth.label in known else "–"
        begin = f"{truth.camera} .*{truth.label} {truth.start_seconds:.1f}–{truth.end_seconds:.1f} .*{verdict}"
        assert re.search(begin, result.stdout), result.stdout
    # Real people walking: nothing may alarm there. (The card of the model owns up to one false alarm on `gate`.)
    assert re.search(r"courtyard +nothing happens .*quiet, as it should be", result.stdout), result.stdout
    cameras = sorted(path.stem for path in FOOTAGE.glob("*.mp4"))
    assert len(cameras) >= 3
    assert re.findall(r"^ *(\S+) .* balanced", result.stdout, re.MULTILINE) == cameras
    assert re.search(r"times real time", result.stdout)
    assert re.search(r"segment's end to its prediction: \d+ ms", result.stdout)


def test_demo_runs_on_the_users_own_files(tmp_path):
    for name in ("yard", "door"):
        write_video(tmp_path / f"{name}.mp4", 90, rate=15)
    result = clipline("demo", tmp_path, "--pace", "max")
    assert result.returncode == 0, result.stderr
    assert re.findall(r"^ *(\S+) +90 .* balanced", result.stdout, re.MULTILINE) == ["door", "yard"]
