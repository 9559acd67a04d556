"""Whether segments could wait on disk: tried before the broker is away, since then nobody could be told."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from consumers.records.states.camera_state import DiskTrouble

#: How often it is tried.
_TRY_SECONDS: Final = 15.0
#: As large as a short segment. It is gone before the system writes it.
_TRY_BYTES: Final = bytes(256 * 1024)


class DiskCheck:
    """Tries now and then whether a file can be written in a folder. For one thread."""

    def __init__(
        self,
        folder: Path,
        clock: Callable[[], float] = time.monotonic,
        wall_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._folder, self._clock, self._wall_us = folder, clock, wall_us
        self._tried_at: float | None = None
        self._trouble: DiskTrouble | None = None

    def trouble(self) -> DiskTrouble | None:
        """Why no segment could wait there, as of a few seconds ago; None where it could."""
        if self._tried_at is None or self._clock() - self._tried_at >= _TRY_SECONDS:
            self._tried_at = self._clock()
            why = self._try()
            since_us = self._wall_us() if self._trouble is None else self._trouble.since_us
            self._trouble = None if why is None else DiskTrouble(why, since_us)
        return self._trouble

    def _try(self) -> str | None:
        """What the system says when a file is written."""
        path = self._folder / f".try-{os.getpid()}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_TRY_BYTES)
        except OSError as error:
            return error.strerror or type(error).__name__
        finally:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        return None
