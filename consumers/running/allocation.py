"""Memory that a process has freed goes back to the system at once.

glibc raises its thresholds when a large block is freed, up to 32 MB, so that a moment in which many segments wait would
stay with the process for as long as anything lies above it. A process that is left alone for a month is better off with
the thresholds that it began with: memory then shows what is in use, and so whether it grows.
"""

from __future__ import annotations

import ctypes
from typing import Final

#: <malloc.h>: blocks from so many bytes on are mapped one by one, and so much may be free at the top of a heap.
#: To set either is to keep both.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
#: A decoded picture of 320x240 is above it, what comes and goes all the time below.
_BYTES: Final = 64 * 1024


def give_back_early() -> bool:
    """Keep the thresholds small; False where the C library is another than glibc, which needs no asking."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(
        mallopt(threshold, _BYTES) == 1 for threshold in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD)
    )
