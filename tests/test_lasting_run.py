"""`clipline run` goes on where what it shows cannot be shown: no disk, pipe or terminal ends what watches cameras."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from consumers.terminal.unhurried import UnhurriedOutput
from tests.waiting import eventually

SHOW = """
import logging, sys
from pathlib import Path
from consumers.terminal.console import Output
from consumers.terminal.lasting_run import LastingRun
from consumers.terminal.run_view import LiveRun, PlainRun

logging.basicConfig(format="%(message)s")
console = Output()
with LastingRun(PlainRun(sys.stdout) if sys.argv[1] == "lines" else LiveRun(console)) as view:
    view.say("first")
    sys.stdin.readline()
    for number in range(2000 if len(sys.argv) == 2 else 4000):
        view.say(f"line {number}")
    if len(sys.argv) > 2:
        logging.warning("logged")
        Path(sys.argv[2]).touch()
        sys.stdin.readline()
view.end(lambda: console.print("Everything has ended."), 3)
sys.exit(0)
"""
#: fcntl's F_SETPIPE_SZ, of Linux.
PIPE_SIZE = 1031
FULL = Path("/dev/full")
SHOWING = [sys.executable, "-c", SHOW]

needs_full = pytest.mark.skipif(not FULL.exists(), reason="writes to /dev/full")


@pytest.mark.parametrize("how", ["lines", "view"])
def test_a_pipe_that_nobody_reads_any_more_is_said_once_and_ends_nothing(how):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*SHOWING, how], **pipes) as process:
        assert process.stdout.readline().endswith("first\n")
        process.stdout.close()
        process.stdin.write("\n")
        process.stdin.close()
        said = process.stderr.read()
        assert process.wait(timeout=60) == 0, said
    assert [line.partition(":")[0] for line in said.splitlines()] == ["the output cannot be written (Broken pipe)"]


@pytest.mark.skipif(sys.platform != "linux", reason="makes a pipe small")
@pytest.mark.parametrize("is_read", [True, False], ids=["read again", "never read"])
@pytest.mark.parametrize("how", ["lines", "view"])
def test_a_pipe_that_nobody_reads_for_a_while_holds_up_nobody(how, is_read, tmp_path):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    has_said = tmp_path / "has said"
    with subprocess.Popen([*SHOWING, how, str(has_said)], **pipes) as process, contextlib.ExitStack() as stack:
        stack.callback(process.kill)
        fcntl.fcntl(process.stdout, PIPE_SIZE, 4096)
        assert process.stdout.readline().endswith("first\n")
        process.stdin.write("\n")
        process.stdin.flush()
        assert eventually(has_said.exists, 60), "it waits for its output"
        if is_read:
            threading.Timer(0.5, process.stdin.close).start()
            lines = process.stdout.read().splitlines()
            assert process.wait(timeout=60) == 0
            assert lines[-1] == "Everything has ended."
            shown = sum(" line " in line for line in lines)
            (missing,) = [line for line in lines if "missing here" in line]
            # The log has lines of its own, which count, too.
            left_out = int(missing.split(" lines missing here: nobody took them")[0].rpartition(" ")[2])
            assert shown + left_out + sum(line == "logged" for line in lines) == 4001
            assert shown > 1000
        else:
            process.stdin.close()
            assert process.wait(timeout=60) == 3


@needs_full
@pytest.mark.parametrize("how", ["lines", "view"])
def test_a_full_disk_is_said_once_and_ends_nothing(how):
    with FULL.open("w") as full:
        done = subprocess.run(
            [*SHOWING, how], input="\n", stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert done.returncode == 0, done.stderr
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == [
        "the output cannot be written (No space left on device)"
    ]


@needs_full
def test_where_the_log_goes_to_the_same_full_disk_nothing_ends_either():
    with FULL.open("w") as full:
        done = subprocess.run(
            [*SHOWING, "lines"], input="\n", stdout=full, stderr=full, text=True, timeout=60, check=False
        )
    assert done.returncode == 0


def test_a_log_line_says_what_was_so_when_it_was_logged(caplog):
    waits, now = threading.Event(), ["then"]
    output = UnhurriedOutput(lambda _: None)
    with output.logged():
        output.do(waits.wait)
        logging.getLogger("clipline").warning("it is %s", now)
        now[:] = ["later"]
        waits.set()
        assert output.finish()
    assert "it is ['then']" in caplog.text
