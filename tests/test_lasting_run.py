"""`clipline run` goes on where what it shows cannot be shown: no disk, pipe or terminal ends what watches cameras."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SHOW = """
import logging, sys
from consumers.terminal.console import Output
from consumers.terminal.lasting_run import LastingRun, last_words
from consumers.terminal.run_view import LiveRun, PlainRun

logging.basicConfig(format="%(message)s")
console = Output()
view = LastingRun(PlainRun(sys.stdout) if sys.argv[1] == "lines" else LiveRun(console))
view.say("first")
sys.stdin.readline()
for number in range(2000):
    view.say(f"line {number}")
last_words(lambda: console.print("Everything has ended."))
sys.exit(0)
"""
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
        assert process.wait(timeout=20) == 0, said
    assert [line.partition(":")[0] for line in said.splitlines()] == ["the output cannot be written (Broken pipe)"]


@needs_full
@pytest.mark.parametrize("how", ["lines", "view"])
def test_a_full_disk_is_said_once_and_ends_nothing(how):
    with FULL.open("w") as full:
        done = subprocess.run(
            [*SHOWING, how], input="\n", stdout=full, stderr=subprocess.PIPE, text=True, timeout=20, check=False
        )
    assert done.returncode == 0, done.stderr
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == [
        "the output cannot be written (No space left on device)"
    ]


@needs_full
def test_where_the_log_goes_to_the_same_full_disk_nothing_ends_either():
    with FULL.open("w") as full:
        done = subprocess.run(
            [*SHOWING, "lines"], input="\n", stdout=full, stderr=full, text=True, timeout=20, check=False
        )
    assert done.returncode == 0
