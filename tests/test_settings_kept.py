"""Processes of a run go by the settings that it began with, whatever becomes of the file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from consumers.settings import SettingsError, kept_file, load_settings, override
from consumers.setup.services import Services, without_transactions
from stream.services import EmbeddedBroker
from tests.test_run import needs_proc, running
from tests.waiting import eventually

READ = "from consumers.settings import load_settings; print(load_settings().worker.model)"


@needs_proc
def test_another_process_reads_the_file_as_it_was(tmp_path):
    file = tmp_path / "clipline.toml"
    file.write_text('[worker]\nmodel = "x3d-xs"\n')
    with kept_file(file) as kept:
        file.write_text("half of a [table")
        environment = {**os.environ, "CLIPLINE_SETTINGS": str(kept)}
        for _ in range(2):
            read = subprocess.run(
                [sys.executable, "-c", READ], env=environment, capture_output=True, text=True, timeout=60, check=True
            )
            assert read.stdout == "x3d-xs\n"
    assert not kept.exists()


def test_a_file_that_is_gone_is_named(tmp_path):
    with (
        pytest.raises(SettingsError, match=r"gone\.toml: cannot be read \(No such file"),
        kept_file(tmp_path / "gone.toml"),
    ):
        pass


@pytest.mark.parametrize(("text", "lines"), [("", 0), ('[worker]\nguarantee = "exactly-once"\n', 1)])
def test_only_a_guarantee_that_somebody_asked_for_is_said_to_be_missing(tmp_path, text, lines):
    file = tmp_path / "clipline.toml"
    file.write_text(text)
    # As the command line does it.
    settings = override(load_settings(file, {}), {"worker": {"model": "x3d-xs"}}, "--model")
    services = Services("127.0.0.1:1", "redis://127.0.0.1:1", [], (EmbeddedBroker(),))
    assert len(list(without_transactions(settings, services))) == lines
    assert settings.worker.model == "x3d-xs"


@pytest.mark.slow
@needs_proc
def test_a_worker_is_started_again_however_the_file_was_edited_meanwhile(tmp_path):
    settings = (
        '[cameras.dead]\nurl = "rtsp://127.0.0.1:1/cam"\n[run]\nservices = "embedded"\n[worker]\nmodel = "x3d-xs"\n'
    )
    with running(tmp_path, settings) as run:
        run.until(": working, model x3d-xs")
        Path(tmp_path / "clipline.toml").write_text("half of a [table")
        (worker,) = run.pids("running.child worker")
        os.kill(worker, signal.SIGKILL)
        run.until("worker-1 ended: killed by SIGKILL")
        log = tmp_path / "clipline-logs" / "worker-1.log"
        assert eventually(lambda: log.read_text().count(" INFO working: model x3d-xs") == 2, 60)
        assert run.end() == 0


def test_where_no_file_can_be_in_memory_the_file_itself_is_read(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "memfd_create")
    file = tmp_path / "clipline.toml"
    file.write_text("")
    with kept_file(file) as kept:
        assert kept == file.resolve()
    assert file.exists()
