"""The command line as a user meets it: its output and its exit code, in this process where that is the same."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from importlib.abc import MetaPathFinder
from pathlib import Path

import numpy as np
import pytest

from stream import KafkaTransport
from tests.checkpoints import write_checkpoint
from tests.command_line import Finished, clipline
from tests.videos import write_video
from tests.waiting import eventually


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["attach", "/no/such.mp4"], "/no/such.mp4: no such file or folder"),
        (["attach", "rtsp://127.0.0.1/x"], "--camera is needed"),
        (["attach", "gate=film.mp4"], "a camera is named by --camera: clipline attach film.mp4 --camera gate"),
        (["attach", "gate=rtsp://me:secret@127.0.0.1/x"], "clipline attach rtsp://127.0.0.1/x --camera gate"),
        (["attach", __file__, "--camera", "a b/c"], "--camera"),
        (["attach", __file__, "--camera", "入口"], "'RuKou-1a793027' would do"),
        (["attach", "gopher://u:pw@h/x", "--camera", "a"], "gopher://h/x: expected a file, a folder or a camera"),
        (["attach", __file__, "--start", "yesterday"], "'yesterday' is neither"),
        (["attach", __file__, "--start", "0001-01-01T00:00:00"], "expected a time from 1970 to 9998"),
        (["attach", __file__, "--start", "9999-12-31T23:59:59-14:00"], "expected a time from 1970 to 9998"),
        (["work", "--model", "nope"], "unknown model 'nope'"),
        (["events", "--kafka", "127.0.0.1:1"], "no Kafka broker answers at 127.0.0.1:1"),
        (["events", "--settings", "/no/such.toml"], "/no/such.toml: no such settings file"),
        (["run", "--settings", "/no/such.toml"], "/no/such.toml: no such settings file"),
        (["status", "--kafka", "127.0.0.1:1"], "no Kafka broker answers at 127.0.0.1:1"),
        (["status", "--watch", "--json"], "--json prints once"),
        (["up", "--data", "/tmp/x"], "--data needs --broker apache"),
        (["train", "/no/such"], "/no/such: no such folder or file"),
        (["evaluate", "movnet-motion", "/tmp"], "did you mean 'movenet-motion'?"),
        (["evaluate", "x3d-x", "/tmp"], "Shipped models: "),
        (["export", "/no/such.safetensors"], "unknown model '/no/such.safetensors': no such file"),
        (["train", "/tmp", "--map", "fight"], "expected OLD=NEW"),
        (["demo", "/no/such"], "/no/such: no such file or folder"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_said_in_one_line_with_exit_code_2(arguments, words, monkeypatch):
    monkeypatch.setattr("stream.broker.kafka.connection.CONNECT_TIMEOUT_MS", 300)
    result = clipline(*arguments)
    assert result.returncode == 2, result.stderr
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert result.stdout == ""


def test_a_broker_that_is_not_there_is_said_at_once_without_names_of_classes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for arguments in (["events"], ["status"], ["evidence", "3f2a", "-o", "x.mp4"]):
        began = time.monotonic()
        result = clipline(*arguments, "--kafka", "127.0.0.1:1")
        assert time.monotonic() - began < 15, arguments
        assert result.returncode == 2
        assert "answers at 127.0.0.1:1 (Connection refused): start one with `clipline run` or" in result.stderr
        assert "Error" not in result.stderr


def test_a_broker_that_hangs_is_said_on_stderr_before_it_is_given_up(monkeypatch):
    monkeypatch.setattr("stream.broker.kafka.connection.CONNECT_TIMEOUT_MS", 1500)
    monkeypatch.setattr("stream.broker.kafka.connection._HUNG_SECONDS", 0.5)
    monkeypatch.setattr("stream.broker.kafka.connection._known", deque())
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        result = clipline("status", "--json", "--kafka", address)
    assert result.returncode == 2
    assert result.stdout == ""
    told, given_up = result.stderr.splitlines()
    assert told.endswith(f"WARNING the Kafka broker at {address} has not answered yet: waiting for it")
    assert given_up.startswith(f"clipline: no Kafka broker answers at {address}")


def test_settings_in_a_folder_above_are_pointed_to(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "no clipline.toml in this folder (`clipline init` writes one)" in clipline("run").stderr
    (tmp_path / "clipline.toml").touch()
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below.parent)
    found = clipline("run")
    assert found.returncode == 2
    assert "no clipline.toml in this folder (found one in the parent: --settings ../clipline.toml)" in found.stderr
    monkeypatch.chdir(below)
    assert "(found one in a folder above: --settings ../../clipline.toml)" in clipline("run").stderr


def test_an_architecture_is_corrected(tmp_path):
    for label in ("fight", "normal"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "a.mp4").touch()
    assert "did you mean x3d_" in clipline("train", tmp_path, "--arch", "x3d_q").stderr


class NoTorch(MetaPathFinder):
    """An import of it fails. None in `sys.modules` would do, but that scipy looks there for its arrays."""

    def find_spec(self, name, *_):
        if name == "torch":
            raise ModuleNotFoundError(name)


@pytest.mark.parametrize("command", ["train", "evaluate movenet-motion", "compare movenet-motion x3d-xs"])
def test_what_is_wrong_with_labelled_footage_is_said_before_torch_is_imported(tmp_path, command, monkeypatch):
    (tmp_path / "bad.csv").write_text("path,lable\na.mp4,fight\n")
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(sys, "meta_path", [NoTorch(), *sys.meta_path])
    result = clipline(*command.split(), tmp_path / "bad.csv")
    assert result.returncode == 2
    assert "bad.csv" in result.stderr
    assert "label" in result.stderr
    assert "torch" not in result.stderr


def test_models_are_listed_line_by_line_where_a_table_has_no_room():
    lines = clipline("models", COLUMNS="80").stdout.splitlines()
    assert "movenet-views (default)" in lines
    assert re.search(r"^  held-out accuracy \(95 %\): \d\d\.\d % \(", "\n".join(lines), re.MULTILINE)
    assert not re.search(r"\d%", "\n".join(lines))


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
    result = clipline("models", COLUMNS="80")
    assert result.returncode == 0
    assert re.search(r"^movenet-views \(default\)$(\n  .*)*?\d\d\.\d %", result.stdout, re.MULTILINE)
    assert re.search(r"^x3d-xs$", result.stdout, re.MULTILINE)


def test_models_says_what_they_reached_on_clips_that_nobody_had_seen():
    shown = " ".join(clipline("models").stdout.split())
    for figure in ("75.0", "0.887", "0.97)", "71.9", "0.735"):
        assert figure in shown  # cells are broken as the terminal is wide
    assert "64 clips of 9 sources that nobody here has seen" in shown
    assert "reaches 76.3 %, AUC 0.847 on the clips that the models learnt from" in shown
    assert "x3d-xs does less" in shown
    rows = {row["name"]: row["unseen"] for row in json.loads(clipline("models", "--json").stdout)}
    assert rows["movenet-motion"] == {"accuracy": [0.75, 0.6, 0.83], "auc": [0.887, 0.79, 0.97]}
    assert rows["movenet-views"] is None, "nobody has measured it there"


def test_0_is_for_what_was_done_and_for_what_was_stopped_in_order(monkeypatch):
    def ctrl_c(*_, stop, **__):
        signal.raise_signal(signal.SIGINT)
        assert stop.is_set()
        return contextlib.nullcontext(())

    monkeypatch.setattr("consumers.subscribing.subscription.open_subscription", ctrl_c)
    assert clipline("events", "--follow").returncode == 0
    assert clipline("events", "--help").returncode == 0


def test_1_is_for_the_answer_no(tmp_path):
    footage = write_video(tmp_path / "gate.mp4", 30, rate=10, gop=10, size=(64, 48))
    model = write_checkpoint(tmp_path / "m.safetensors")
    arguments = ["replay", footage, "--model", model, "--engine", "torch", "--no-resume", "--fail-if"]
    assert clipline(*arguments, "events>0").returncode == 0
    assert clipline(*arguments, "events<1").returncode == 1


def test_2_is_for_what_cannot_be_done():
    assert clipline("models", "--zooo").returncode == 2


def test_2_is_for_a_file_that_cannot_be_used(monkeypatch):
    def cannot(*_):
        raise IsADirectoryError(21, "Is a directory", "clips")

    monkeypatch.setattr("stream.KafkaTransport", lambda *_, **__: None)
    monkeypatch.setattr("consumers.outputs.evidence.find_evidence", cannot)
    assert clipline("evidence", "3f0c6a", "-o", "clips") == Finished(2, "", "clipline: clips: Is a directory\n")


def test_70_is_for_what_nobody_foresaw(monkeypatch):
    def broken(*_):
        raise RuntimeError("nobody foresaw this")

    monkeypatch.setattr("stream.KafkaTransport", lambda *_, **__: None)
    monkeypatch.setattr("consumers.outputs.evidence.find_evidence", broken)
    failed = clipline("evidence", "3f0c6a")
    assert failed.returncode == 70
    assert "Traceback" in failed.stderr
    assert "nobody foresaw this" in failed.stderr


@pytest.mark.parametrize("arguments", [["--pace", "realtime"], ["--pace", "max", "--loop"]], ids=" ".join)
def test_130_is_for_footage_that_was_not_sent_to_its_end(tmp_path, embedded_broker, arguments):
    footage = write_video(tmp_path / "gate.mp4", 100, rate=10, gop=10, size=(64, 48))
    transport, topic = KafkaTransport(embedded_broker.address), "clipline.segments"

    def sent() -> int:
        return sum(end for _, end in transport.offsets(topic).values()) if transport.existing([topic]) else 0

    def press_ctrl_c() -> None:
        if eventually(lambda: sent() > before):
            os.kill(os.getpid(), signal.SIGINT)

    before = sent()
    threading.Thread(target=press_ctrl_c).start()
    stopped = clipline("attach", footage, "--kafka", embedded_broker.address, *arguments)
    # Repeated footage has no end: it is stopped in order.
    assert stopped.returncode == (0 if "--loop" in arguments else 130)


def test_130_is_for_ctrl_c_where_nothing_waits_for_it(monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("stream.KafkaTransport", lambda *_, **__: None)
    monkeypatch.setattr("consumers.outputs.evidence.find_evidence", interrupted)
    assert clipline("evidence", "3f0c6a") == Finished(130, "", "")


def test_141_is_for_a_reader_that_closed_the_pipe(monkeypatch):
    from consumers.cli.main import main

    reader, writer = os.pipe()
    os.close(reader)
    monkeypatch.setattr("consumers.cli.options.console.quiet", False)  # rich's way to print no more
    with open(writer, "w") as closed, monkeypatch.context() as patched:  # noqa: PTH123  a descriptor
        patched.setattr(sys, "stdout", closed)
        with pytest.raises(SystemExit) as ended:
            main(["models", "--json"])
    assert ended.value.code == 141


def test_exit_codes_are_those_of_the_page():
    page = (Path(__file__).parents[1] / "docs" / "exit-codes.md").read_text(encoding="utf-8")
    tried = {int(found[1]) for name in globals() if (found := re.match(r"test_(\d+)_is_for_", name))}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)} == tried


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
        with running("work", "--from", "earliest", "--model", str(model), **exports) as work:
            deadline = time.monotonic() + 120
            events: list[dict] = []
            while not any(e["state"] == "ended" for e in events) and time.monotonic() < deadline:
                shown = clipline("events", "--json", "--camera", "gate", **exports)
                events = [json.loads(line) for line in shown.stdout.splitlines()]
            work.send_signal(signal.SIGTERM)
            summary, _ = work.communicate(timeout=60)
        assert [e["state"] for e in events] == ["started", "ended"]
        assert work.returncode == 0
        assert re.search(r"gate:? 120 frames = ", summary)
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
    result = clipline(*arguments)
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
