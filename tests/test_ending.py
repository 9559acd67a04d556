"""How a process ends that is told to: in order, after a while, or at once."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

#: The main thread hangs where no handler of Python's is called.
HANGING = """
import ctypes, logging, signal, sys, threading, time
from consumers.running.ending import Ending
logging.basicConfig(format="%(message)s", stream=sys.stdout)
ending = Ending({seconds}, 7)
signal.pthread_sigmask(signal.SIG_SETMASK, [])
with ending.listen(), ending.last(lambda: time.sleep(60)), ending.last(lambda: print("left", flush=True)):
    print("ready", flush=True)
    ending.is_done = {is_done}
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
    threading.Thread(target=lambda: ending.stop.wait() and print("asked", flush=True), daemon=True).start()
    ctypes.CDLL(None).sleep(60)
"""


@contextlib.contextmanager
def hanging(seconds: float | None, *, is_done: bool = False) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", HANGING.format(seconds=seconds, is_done=is_done)],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def test_what_has_stored_everything_is_cut_short_without_a_complaint():
    with hanging(1.0, is_done=True) as process:
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=30)
    assert "not all was finished" not in said
    assert "left" in said.splitlines()


def test_what_hangs_gets_its_time_then_its_last_acts_and_ends_with_its_own_code():
    with hanging(1.0) as process:
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=30)
        assert 0.5 < time.monotonic() - began < 20, "its main thread and one of its last acts would take a minute"
    assert process.returncode == 7
    assert sorted(said.splitlines()) == [
        "asked",
        "left",
        "not all was finished within 1 s: what is not stored is left to whoever comes next",
    ]


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once_whatever_the_main_thread_is_in(second):
    with hanging(60) as process:
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)  # as `timeout` does, which sends it to the process and to its group
        assert process.stdout is not None
        assert process.stdout.readline() == "asked\n"
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(second)
        assert process.wait(20) == 128 + second, "it would take a minute"


def test_what_has_nothing_in_hand_ends_at_the_first_signal():
    with hanging(0) as process:
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 7
    assert "left" not in said


ASKED = """
import os, signal
from consumers.running.ending import Ending
before, ending = signal.getsignal({number}), Ending(seconds=30)
with ending.listen():
    os.kill(os.getpid(), {number})
    print(ending.stop.wait(5), ending.is_for_good)
print(signal.getsignal({number}) == before)
"""


@pytest.mark.parametrize(
    ("number", "for_good"), [(signal.SIGTERM, False), (signal.SIGINT, True), (signal.SIGHUP, False)]
)
def test_a_signal_asks_once_and_ctrl_c_is_for_good(number, for_good):
    command = [sys.executable, "-c", ASKED.format(number=int(number))]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["True", str(for_good), "True"]


def test_a_terminal_that_goes_away_ends_in_order_and_is_never_a_second_signal():
    with hanging(3.0) as process:
        for _ in range(2):
            process.send_signal(signal.SIGHUP)
            time.sleep(0.3)
        assert process.poll() is None
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 7
    assert {"asked", "left"} <= set(said.splitlines())


def test_whom_nohup_started_does_not_end_with_its_terminal():
    ignored = f"import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n{ASKED.format(number=1)}"
    done = subprocess.run(
        [sys.executable, "-c", ignored.replace("wait(5)", "wait(0.3)")],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.split() == ["False", "False", "True"]


def test_whoever_has_no_time_set_is_waited_for():
    with hanging(None) as process:
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.6)
