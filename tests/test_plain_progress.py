"""Progress of long work where no bar can be drawn: pipes and files."""

from __future__ import annotations

import io

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
