"""Progress of long work where no bar can be drawn: pipes and files."""

from __future__ import annotations

import io
import time

import pytest

from consumers.terminal.console import Output
from consumers.terminal.progress import task_progress


def test_a_pipe_is_told_that_work_begins_its_quarters_and_every_few_seconds(monkeypatch: pytest.MonkeyPatch):
    clock = [0.0]
    monkeypatch.setattr("consumers.terminal.progress.time.monotonic", lambda: clock[0])
    out = io.StringIO()
    with task_progress(Output(file=out)) as show:
        for done in range(13):
            show("descriptors", done, 12)
        show("fold 1", 1, 1)
        for done in range(3):
            clock[0] += 11.0
            show("slow", done, 100)
    assert out.getvalue().splitlines() == [
        *(f"descriptors: {done} of 12" for done in (0, 3, 6, 9, 12)),
        "fold 1: 1 of 1",
        *(f"slow: {done} of 100" for done in (0, 1, 2)),
    ]


def test_a_step_that_takes_long_is_told_to_go_on(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("consumers.terminal.progress._PLAIN_SECONDS", 0.05)
    out = io.StringIO()
    with task_progress(Output(file=out)) as show:
        show("fold 1 of 5", 0, 1)
        until = time.monotonic() + 10
        while out.getvalue().count("fold 1 of 5: 0 of 1, ") < 2 and time.monotonic() < until:
            time.sleep(0.01)
    assert out.getvalue().count("fold 1 of 5: 0 of 1, ") >= 2
