"""Decoded small frames on disk, so that a second training run, or a second model, decodes nothing."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Final

import numpy as np

_DEFAULT_BYTES: Final = 4 * 1024**3
_UNFINISHED: Final = ".unfinished"
#: No file takes so long to write.
_ABANDONED_SECONDS: Final = 24 * 3600.0


class FrameCache:
    """Frames (N, H, W, 3) uint8 by what they were made from; the oldest go when the bound is reached."""

    def __init__(self, folder: Path, max_bytes: int = _DEFAULT_BYTES) -> None:
        self._folder, self._max_bytes = folder, max_bytes

    def get(self, path: Path, how: Mapping[str, float | str | None], decode: Callable[[], np.ndarray]) -> np.ndarray:
        """Return what was kept for this file, as it is now, and this way of sampling it; else decode and keep it."""
        status = path.stat()
        story = json.dumps([str(path.resolve()), status.st_size, status.st_mtime_ns, dict(how)], sort_keys=True)
        kept = self._folder / f"{hashlib.sha256(story.encode()).hexdigest()[:32]}.npy"
        try:
            os.utime(kept)
            return _mapped(kept)
        except (OSError, ValueError, EOFError):  # absent, or cut short by a kill or a full disk
            return self._keep(kept, decode())

    def _keep(self, kept: Path, frames: np.ndarray) -> np.ndarray:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            # A name of its own: several threads, and several machines on one disk, may keep the same frames.
            handle, name = tempfile.mkstemp(_UNFINISHED, ".", self._folder)
        except OSError:  # a full disk or a read-only home costs time and memory, not the run
            return frames
        unfinished = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                np.save(file, frames, allow_pickle=False)
            unfinished.replace(kept)
            return _mapped(kept)
        except OSError:
            return frames
        finally:
            unfinished.unlink(missing_ok=True)

    def trim(self) -> None:
        """Remove what was used longest ago until the rest is within the bound, and what killed runs left unfinished."""
        trim_folder(self._folder, "*.npy", self._max_bytes)


def trim_folder(
    folder: Path,
    pattern: str,
    max_bytes: int,
    *,
    unit: Callable[[Path], str] = str,
    held: Callable[[str], AbstractContextManager[bool]] = lambda _: nullcontext(enter_result=True),
) -> None:
    """Remove the files that match and were used longest ago until the rest has at most `max_bytes`.

    Files of one `unit` go together, and only while `held` says that nobody else uses them. What a killed run left
    unfinished, whose names begin with a dot, goes after a day.
    """
    for unfinished in folder.glob(".*"):
        with contextlib.suppress(OSError):  # another run trims, too
            if time.time() - unfinished.stat().st_mtime > _ABANDONED_SECONDS:
                unfinished.unlink()
    units: dict[str, list[tuple[float, int, Path]]] = defaultdict(list)
    for path in folder.glob(pattern):
        try:
            status = path.stat()
        except OSError:  # another run trims, too
            continue
        units[unit(path)].append((status.st_mtime, status.st_size, path))
    total = sum(size for files in units.values() for _, size, _ in files)
    for name, files in sorted(units.items(), key=lambda item: max(item[1])):
        if total <= max_bytes:
            break
        with held(name) as free:
            for _, size, path in files if free else ():
                path.unlink(missing_ok=True)
                total -= size


def _mapped(kept: Path) -> np.ndarray:
    """The frames as the operating system pages them in: a data set may be larger than memory."""
    frames: np.ndarray = np.load(kept, mmap_mode="r", allow_pickle=False)
    return frames
