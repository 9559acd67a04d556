"""Logs for machines: each line is one JSON object that says who speaks, about which camera and record, and what."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys

import pytest

from consumers.live.figures.snapshot import WorkerSnapshot
from consumers.running.child import LOG_FORMAT, child_command, child_environment
from consumers.running.logs import JsonLine, LoggedText, OneLine, message_of
from consumers.settings import Settings, load_settings
from consumers.terminal.plain import PlainLog
from tests.logs import logged_by
from tests.snapshots import event


def logged(message: str, *values: object, error: bool = False, **extra: object) -> dict[str, object]:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(JsonLine("worker", "hub-1-worker-1"))
    logger = logging.Logger("consumers.live.intake")  # noqa: LOG001  one that nobody else hears
    logger.addHandler(handler)
    logger.warning(message, *values, exc_info=error, extra=extra)
    lines = out.getvalue().splitlines()
    assert len(lines) == 1
    return json.loads(lines[0])


def test_a_line_says_who_what_and_where():
    body = logged("camera %s: %s is of another feed", "dock-1", "clipline.segments[3]@41")
    assert body.pop("time").endswith("Z")
    assert body == {
        "level": "warning", "logger": "consumers.live.intake", "role": "worker", "id": "hub-1-worker-1",
        "camera": "dock-1", "topic": "clipline.segments", "partition": 3, "offset": 41,
        "message": "camera dock-1: clipline.segments[3]@41 is of another feed",
    }  # fmt: skip


def test_what_is_about_no_camera_and_no_record_names_none():
    assert not {"camera", "topic", "partition", "offset"} & logged("partitions given up: none; taken: 0").keys()
    assert logged("ended", camera="gate")["camera"] == "gate"


@pytest.mark.parametrize("text", ["a\nb", 'quote " and \\', "\x1b[2J", "\ud800", "入口"])
def test_foreign_text_breaks_no_line(text: str):
    assert logged("%s", text)["message"] == text


def test_credentials_are_in_no_line():
    try:
        int("rtsp://viewer:secret@10.0.0.7/stream")
    except ValueError:
        body = logged("rtsp://viewer:secret@10.0.0.7/stream", error=True)
    assert "secret" not in json.dumps(body)
    assert "ValueError" in str(body["exception"])


@pytest.mark.parametrize("style", [OneLine(), JsonLine("agent", "a")])
def test_a_supervisor_finds_the_message_in_a_line_of_either_style(style: logging.Formatter):
    record = logging.LogRecord("consumers", logging.ERROR, "", 0, "Kafka at %s is away", ("hub:9092",), None)
    assert message_of(style.format(record)) == "Kafka at hub:9092 is away"
    assert message_of("{not json at all") == "at all"


def test_text_that_is_printed_becomes_lines_of_the_log(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO):
        LoggedText(logging.getLogger("consumers"), logging.INFO).write("one\n\ntw")
        PlainLog(None).write(WorkerSnapshot("m", (), 0, None, 1, (event("gate"),)))
    text, event_line = logged_by(caplog, "consumers")
    assert text.getMessage() == "one"
    assert "event started" in event_line.getMessage()
    assert event_line.camera == "gate"


def test_a_child_that_cannot_begin_says_so_in_json():
    environment = child_environment({**os.environ, LOG_FORMAT: "json", "CLIPLINE_KAFFKA": "x"})
    # A child lives no longer than its standard input.
    with subprocess.Popen(
        child_command("worker", "w-1"), env=environment, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        child.wait(60)
        (body,) = map(json.loads, child.stderr)
    assert (body["level"], body["role"], body["id"]) == ("error", "worker", "w-1")
    assert "unknown setting 'kaffka'" in body["message"]


@pytest.mark.slow
def test_a_command_prints_nothing_but_json(tmp_path):
    command = [sys.executable, "-m", "consumers.cli", "attach", str(tmp_path / "none.mp4"), "--log", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    (body,) = map(json.loads, done.stderr.splitlines())
    assert (body["level"], body["role"]) == ("error", "agent")
    assert "none.mp4" in body["message"]


def test_the_format_is_a_setting(tmp_path):
    assert Settings().log.format == "text"
    assert load_settings(environment={LOG_FORMAT: "json"}).log.format == "json"
