"""The command line as a user meets it: a process, its output, its exit code."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.checkpoints import write_checkpoint
from tests.videos import write_video

COMMANDS = ("up", "attach", "work", "events", "replay", "tune", "evidence", "train", "models", "demo", "version")


def clipline(*arguments: object, timeout: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "consumers.cli", *map(str, arguments)],
        env=os.environ | {"COLUMNS": "200"} | environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command):
    result = clipline(command, "--help")
    assert result.returncode == 0
    # A line of its own, as it would be typed.
    assert re.search(rf"^\s*clipline {command}\b", result.stdout.split("\n", 2)[2], re.MULTILINE), result.stdout


def test_version_is_that_of_the_package():
    from consumers import __version__

    assert clipline("version").stdout == f"clipline {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bogus"], "No such command 'bogus'"),
        (["attach"], "Missing argument"),
        (["attach", "/no/such.mp4"], "/no/such.mp4: no such file or folder"),
        (["attach", "rtsp://127.0.0.1/x"], "--camera is needed"),
        (["attach", __file__, "--camera", "a b/c"], "--camera"),
        (["attach", __file__, "--pace", "fast"], "'fast' is not one of 'realtime', 'max'"),
        (["attach", __file__, "--start", "yesterday"], "'yesterday' is neither"),
        (["attach", __file__, "--kafka", "127.0.0.1:1"], "no Kafka broker answers at 127.0.0.1:1"),
        (["work", "--model", "nope"], "unknown model 'nope'"),
        (["work", "--engine", "tpu"], "worker.engine = 'tpu'"),
        (["work", "--stride", "-1"], "worker.stride_seconds = -1.0"),
        (["work", "--kafka", "127.0.0.1:1"], "no Kafka broker answers at 127.0.0.1:1"),
        (["events", "--kafka", "127.0.0.1:1"], "no Kafka broker answers at 127.0.0.1:1"),
        (["events", "--settings", "/no/such.toml"], "/no/such.toml: no such settings file"),
        (["up", "--data", "/tmp/x"], "--data needs --broker apache"),
        (["train", "/no/such"], "/no/such: no such folder or file"),
        (["train", "/tmp", "--arch", "x3d_q"], "did you mean x3d_"),
        (["train", "/tmp", "--map", "fight"], "expected old=new"),
        (["demo", "/no/such"], "/no/such: no such file or folder"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_said_in_one_line_with_exit_code_2(arguments, words):
    result = clipline(*arguments)
    assert result.returncode == 2, result.stderr
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert result.stdout == ""


def test_unreachable_redis_is_said_in_one_line_with_exit_code_2(embedded_broker):
    result = clipline("work", "--kafka", embedded_broker.address, "--redis", "redis://:hunter2@127.0.0.1:1/0")
    assert result.returncode == 2
    assert "no Redis answers at redis://127.0.0.1:1/0" in result.stderr
    assert "hunter2" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_unknown_setting_is_an_error_with_its_name(tmp_path):
    (tmp_path / "own.toml").write_text("[worker]\nmodell = 'x'\n")
    result = clipline("work", "--settings", tmp_path / "own.toml")
    assert result.returncode == 2
    assert "worker.modell" in result.stderr
    assert "did you mean 'model'" in result.stderr


def test_footage_that_is_no_video_is_named(tmp_path, embedded_broker):
    (tmp_path / "fake.mp4").write_bytes(b"not a video" * 100)
    result = clipline("attach", tmp_path / "fake.mp4", "--kafka", embedded_broker.address)
    assert result.returncode == 2
    assert "fake.mp4" in result.stderr


def test_models_lists_what_ships_with_its_accuracy():
    result = clipline("models")
    assert result.returncode == 0
    assert "movenet-motion (default)" in result.stdout
    assert "x3d-xs" in result.stdout
    assert re.search(r"\d\d\.\d%", result.stdout)


@contextlib.contextmanager
def running(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A command that goes on; killed if the test fails before it has ended."""
    command = [sys.executable, "-u", "-m", "consumers.cli", *arguments]
    with subprocess.Popen(command, env=os.environ | environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_up_attach_work_and_events_are_one_system(tmp_path):
    """What the README says to type, in four processes on services that `up` started."""
    footage = write_video(tmp_path / "gate.mp4", 120, rate=15, gop=15)
    model = write_checkpoint(tmp_path / "m.safetensors", always="fight")
    with running("up") as up:
        assert up.stdout is not None
        exports = {}
        while len(exports) < 2:
            line = up.stdout.readline()
            assert line, "`up` ended early"
            if match := re.match(r"export (CLIPLINE_\w+)=(\S+)", line):
                exports[match[1]] = match[2]
        attached = clipline("attach", footage, "--pace", "max", **exports)
        assert attached.returncode == 0, attached.stderr
        assert "gate: 120 frames in" in attached.stdout
        with running("work", "--model", str(model), **exports) as work:
            deadline = time.monotonic() + 120
            events: list[dict] = []
            while not any(e["state"] == "ended" for e in events) and time.monotonic() < deadline:
                shown = clipline("events", "--json", "--camera", "gate", **exports)
                events = [json.loads(line) for line in shown.stdout.splitlines()]
            work.send_signal(signal.SIGTERM)
            summary, _ = work.communicate(timeout=60)
        assert [e["state"] for e in events] == ["started", "ended"]
        assert work.returncode == 0
        assert "gate: 120 frames = " in summary
        assert " 0 pending" in summary
        up.send_signal(signal.SIGINT)
        up.communicate(timeout=60)
        assert up.returncode == 0


def test_train_makes_a_model_that_serves(tmp_path):
    """A folder a class, bright against dark: learnt, measured on held-out files, and loaded by the name of its file."""
    from models import Classifier, find

    for label, level in (("normal", 40), ("fight", 200)):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(4):
            write_video(
                tmp_path / "data" / label / f"{number}.mp4",
                20,
                rate=10,
                size=(64, 48),
                frame=lambda n, w, h, v=level + 5 * number: np.full((h, w, 3), v, np.uint8),
            )
    output = tmp_path / "own.safetensors"
    arguments = ["train", tmp_path / "data", "-o", output, "--size", "32", "--epochs", "6", "--folds", "2"]
    arguments += ["--learning-rate", "0.003", "--arch", "cnn_lstm", "--tensorboard", tmp_path / "curves"]
    result = clipline(*arguments, timeout=120)
    assert result.returncode == 0, result.stderr
    assert "held-out accuracy" in result.stderr
    contract = find(str(output)).contract
    assert contract.labels == ("normal", "fight")
    assert contract.metrics["videos"] == 8
    assert contract.metrics["accuracy"] > 0.8
    assert Classifier.load(str(output), engine="torch").labels == contract.labels
    assert not list(tmp_path.glob(".*unfinished")), "a finished run leaves no state behind"
    curves = {path.parent.name for path in (tmp_path / "curves").rglob("events.out.tfevents.*")}
    assert curves == {"fold-1-of-2", "fold-2-of-2", "all-footage"}


def test_train_names_every_file_it_cannot_read(tmp_path):
    for label in ("normal", "fight"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "broken.mp4").write_text(label * 200)
    result = clipline("train", tmp_path)
    assert result.returncode == 2
    assert "2 of 2 files cannot be used" in result.stderr
    assert str(Path("normal") / "broken.mp4") in result.stderr
    assert str(Path("fight") / "broken.mp4") in result.stderr
