"""Memory that a process has freed goes back to the system, soon.

glibc raises its thresholds when a large block is freed, up to 32 MB, so that a moment in which many segments wait would
stay with the process for as long as anything lies above it. And what is freed below something that is still in use
stays in any case until somebody asks. A process that is left alone for a month is better off with the thresholds that
it began with, and with being asked: memory then shows what is in use, and so whether it grows.
"""

from __future__ import annotations

import ctypes
import threading
import time
from typing import Final

#: <malloc.h>: blocks from so many bytes on are mapped one by one, and so much may be free at the top of a heap.
#: To set either is to keep both.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
#: A decoded picture of 320x240 is above it, what comes and goes all the time below.
_BYTES: Final = 64 * 1024
_NAME: Final = "giving back"
#: What lies free amid a heap is given back so often. It takes 1 to 5 ms of a processor.
_SECONDS: Final = 60.0


def give_back_early(seconds: float = _SECONDS) -> bool:
    """Keep the thresholds small, and from now on give back every so many seconds what lies free between what is in use.

    False where the C library is another than glibc, which needs no asking.
    """
    libc = ctypes.CDLL(None)
    mallopt, trim = getattr(libc, "mallopt", None), getattr(libc, "malloc_trim", None)
    if mallopt is None or trim is None:
        return False
    if any(mallopt(threshold, _BYTES) != 1 for threshold in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD)):
        return False

    def give_back() -> None:
        while True:
            time.sleep(seconds)
            trim(0)

    if not any(thread.name == _NAME for thread in threading.enumerate()):
        threading.Thread(target=give_back, name=_NAME, daemon=True).start()
    return True
