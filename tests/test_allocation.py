"""What a process frees goes back to the system."""

from __future__ import annotations

import subprocess
import sys

import pytest

_PROGRAM = """
import ctypes, threading
from pathlib import Path
from consumers.running.allocation import give_back_early

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

early = {early}
if early and not give_back_early():
    raise SystemExit("no glibc")
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

def block(size):
    place = libc.malloc(size)
    ctypes.memset(place, 1, size)
    return place

def burst():
    libc.free(block(30_000_000))  # a large block comes and goes: glibc raises its thresholds
    before = resident()
    waiting = [block(300_000) for _ in range(100)]
    newest = block(1000)  # lies above them
    for place in waiting:
        libc.free(place)
    kept.append(resident() - before)

kept = []
thread = threading.Thread(target=burst)
thread.start()
thread.join()
print(kept[0])
"""


def _kept(*, early: bool) -> int:
    program = _PROGRAM.format(early=early)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="about glibc")
def test_what_waited_for_a_moment_does_not_stay_with_the_process() -> None:
    assert _kept(early=False) > 20_000_000
    assert _kept(early=True) < 2_000_000


_HOLES = """
import ctypes, threading, time
from pathlib import Path
from consumers.running.allocation import give_back_early

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

give_back_early({seconds})
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
before = resident()
places = []

def fill():  # blocks that are too small to be mapped, with smaller ones between them
    for size in (40_000, 24) * 1500:
        places.append(libc.malloc(size))
        ctypes.memset(places[-1], 1, size)
    for place in places[::2]:
        libc.free(place)

thread = threading.Thread(target=fill)
thread.start()
thread.join()
until = time.monotonic() + {wait}
while resident() - before > 10_000_000 and time.monotonic() < until:
    time.sleep(0.05)
print(resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="about glibc")
@pytest.mark.parametrize(("seconds", "wait"), [(0.1, 10), (3600, 0.5)], ids=["often", "not yet"])
def test_what_lies_free_between_what_is_in_use_is_given_back_after_a_while(seconds: float, wait: float) -> None:
    program = _HOLES.format(seconds=seconds, wait=wait)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (int(done.stdout) < 20_000_000) == (seconds < wait)
