"""What works on while nobody looks: commands that last are not held up by a paused terminal or a pipe that is full."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from stream.services import Service
from tests.receivers import Receiver
from tests.servers import needs_proc
from tests.snapshots import event
from tests.test_local_services import _broker_in
from tests.test_notifier import Site
from tests.waiting import eventually

ROOT = Path(__file__).resolve().parents[1]
SHOW = """
import logging, signal, sys, threading
from pathlib import Path
from consumers.cli.logs import logging_to
from consumers.terminal.console import Output
from consumers.terminal.unhurried_streams import unhurried_streams

count, has_said, goes_on = int(sys.argv[1]), Path(sys.argv[2]), threading.Event()
signal.signal(signal.SIGTERM, lambda *_: goes_on.set())
console, errors = Output(), Output(stderr=True)
with logging_to(errors), unhurried_streams(goes_on.is_set, 3):
    console.print("first")
    sys.stdin.readline()
    for number in range(count):
        console.print(f"line {number}")
    logging.getLogger("consumers").warning("logged")
    has_said.touch()
    sys.stdin.readline()
print("last")
"""
#: fcntl's F_SETPIPE_SZ, of Linux.
PIPE_SIZE = 1031
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="makes a pipe small")


@contextlib.contextmanager
def showing(count: int, folder: Path, stderr: int) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process that prints so many lines, at the first line of its input; and the file that it makes then."""
    has_said = folder / "has said"
    command = [sys.executable, "-c", SHOW, str(count), str(has_said)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": stderr, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        try:
            fcntl.fcntl(process.stdout, PIPE_SIZE, 4096)
            assert process.stdout.readline() == "first\n"
            process.stdin.write("\n")
            process.stdin.flush()
            yield process, has_said
        finally:
            process.kill()


@needs_linux
def test_a_pipe_that_nobody_reads_for_a_while_holds_up_nobody_and_what_is_missing_is_said(tmp_path):
    with showing(4000, tmp_path, subprocess.STDOUT) as (process, has_said):
        assert eventually(has_said.exists, 20), "it waits for its output"
        threading.Timer(0.5, process.stdin.close).start()
        lines = process.stdout.read().splitlines()
        assert process.wait(timeout=20) == 0
    assert lines[-1] == "last"
    told = [re.search(r"WARNING (\d+) lines missing on standard output: nobody took them", line) for line in lines]
    (missing,) = [int(each[1]) for each in told if each]
    shown = sum(line.startswith("line ") for line in lines)
    assert shown > 900
    assert shown + missing + sum("logged" in line for line in lines) == 4001


@needs_linux
def test_what_waits_on_one_stream_does_not_hold_up_the_other(tmp_path):
    with showing(2000, tmp_path, subprocess.PIPE) as (process, _):
        assert process.stderr.readline().endswith("WARNING logged\n")


@needs_linux
def test_whoever_is_to_end_does_not_wait_for_a_pipe_that_nobody_reads(tmp_path):
    with showing(2000, tmp_path, subprocess.DEVNULL) as (process, has_said):
        assert eventually(has_said.exists, 20)
        process.send_signal(signal.SIGTERM)
        process.stdin.close()
        assert process.wait(timeout=20) == 3


@needs_linux
def test_a_pipe_that_is_closed_ends_it_as_it_always_does(tmp_path):
    with showing(100, tmp_path, subprocess.PIPE) as (process, _):
        process.stdout.close()
        process.stdin.close()
        said = process.stderr.read()
        assert process.wait(timeout=20) == 141, said
    assert "Traceback" not in said


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="writes to /dev/full")
def test_a_disk_that_is_full_is_an_error_as_it_always_is(tmp_path):
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-c", SHOW, "3", str(tmp_path / "has said")]
        done = subprocess.run(
            command, input="\n\n", stdout=full, stderr=subprocess.PIPE, text=True, timeout=20, check=False
        )
    assert done.returncode == 1
    assert "OSError: [Errno 28] No space left on device" in done.stderr


class Terminal:
    """A terminal in which a command runs, and what is to be seen on it. Use as a context manager."""

    def __init__(self, *command: str, **environment: str) -> None:
        self._ours, self._theirs = pty.openpty()
        self.text = ""
        variables = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "200"} | environment
        self.process = subprocess.Popen(
            [sys.executable, "-m", "consumers.cli", *command],
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=self._theirs,
            stderr=self._theirs,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while data := os.read(self._ours, 65536):
                self.text += data.decode(errors="replace")

    def until(self, words: str) -> None:
        assert eventually(lambda: words in self.text, 60), self.text

    def pause(self) -> None:
        """As Ctrl-S does."""
        termios.tcflow(self._theirs, termios.TCOOFF)

    def go_on(self) -> None:
        termios.tcflow(self._theirs, termios.TCOON)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on()
        self.process.terminate()
        try:
            self.process.wait(30)
        finally:
            self.process.kill()
            os.close(self._theirs)


@pytest.mark.slow
@needs_proc
def test_up_replaces_a_broker_that_dies_while_the_terminal_is_paused_and_ends_then(tmp_path):
    with Terminal("up", TMPDIR=str(tmp_path)) as terminal:
        terminal.until("Ctrl-C here stops both servers")
        terminal.pause()
        died: set[int] = set()
        # What is said of the first waits for the terminal; the second is replaced all the same.
        for _ in range(2):

            def there() -> bool:
                with contextlib.suppress(ValueError):
                    return _broker_in(tmp_path) not in died
                return False

            assert eventually(there, 30)
            died.add(_broker_in(tmp_path))
            os.kill(_broker_in(tmp_path), signal.SIGKILL)
        assert eventually(there, 30)
        time.sleep(1.5)
        terminal.process.terminate()
        assert terminal.process.wait(30) == 0
        assert "it was started again" not in terminal.text


def test_messages_are_sent_while_the_terminal_is_paused(embedded_broker: Service, topics_prefix: str, tmp_path: Path):
    with Receiver() as receiver:
        site = Site(embedded_broker.address, topics_prefix, url=receiver.url)
        (tmp_path / "clipline.toml").write_text(
            f'kafka = "{embedded_broker.address}"\ntopics.prefix = "{topics_prefix}"\n'
            f'notify.group = "{topics_prefix}-notify"\n[channels.ops]\nurl = "{receiver.url}"\n'
        )
        with Terminal("notify", "--settings", str(tmp_path / "clipline.toml")) as terminal:

            def tells() -> bool:
                site.send(event("gate", at_us=time.time_ns() // 1000))
                return eventually(lambda: bool(receiver.requests), 1.0)

            assert eventually(tells, 60), terminal.text
            terminal.until("sent")
            terminal.pause()
            for number in range(5):
                told = event(f"dock-{number}", at_us=time.time_ns() // 1000)
                site.send(told)
                about = {"event": told.id}
                assert eventually(
                    lambda about=about: any(about.items() <= each.body["data"].items() for each in receiver.requests),
                    10,
                ), "it waits for its terminal"
            terminal.go_on()
            terminal.until("dock-4")
