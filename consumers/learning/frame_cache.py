"""Keep small decoded frames on disk, so that a second training run, or a second model, decodes nothing."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import numpy as np

from consumers.files import replacing, trim_folder

_DEFAULT_BYTES: Final = 4 * 1024**3


class FrameCache:
    """Frames (N, H, W, 3) uint8, by file and way of sampling; the least recently used go when the bound is reached."""

    def __init__(self, folder: Path, max_bytes: int = _DEFAULT_BYTES) -> None:
        self._folder, self._max_bytes = folder, max_bytes

    def get(self, path: Path, how: Mapping[str, float | str | None], decode: Callable[[], np.ndarray]) -> np.ndarray:
        """Return the frames kept for this unchanged file and way of sampling; else decode and keep them."""
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
            with replacing(kept) as unfinished, unfinished.open("wb") as file:
                np.save(file, frames, allow_pickle=False)
            return _mapped(kept)
        except OSError:  # a full disk or a read-only home costs time and memory, not the run
            return frames

    def trim(self) -> None:
        """Remove the least recently used frames until the rest is within the bound, and leftovers of killed runs."""
        trim_folder(self._folder, "*.npy", self._max_bytes)


def _mapped(kept: Path) -> np.ndarray:
    """The frames, mapped into memory: a data set may be larger than memory."""
    frames: np.ndarray = np.load(kept, mmap_mode="r", allow_pickle=False)
    return frames
