"""Keep small decoded frames on disk, so that a second training run, or a second model, decodes nothing."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from consumers.files import replacing, trim_folder
from consumers.versions import decoder_version

_DEFAULT_BYTES: Final = 4 * 1024**3


class StoredFrames:
    """Frames (N, H, W, 3) uint8 that lie in a file: read when they are asked for, and then let go.

    Neither memory nor a descriptor is held between two reads: a data set may have more files than a process may open.
    """

    def __init__(self, kept: Path, shape: tuple[int, ...], again: Callable[[], np.ndarray]) -> None:
        """`again` decodes what is no longer in `kept`, because another run needed the room."""
        self._kept, self._again = kept, again
        self.shape = shape
        self.dtype = np.dtype(np.uint8)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any, /) -> Any:
        return np.array(self._mapped()[index])

    def __iter__(self) -> Iterator[np.ndarray]:
        yield from self._mapped()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:  # noqa: FBT001  numpy's protocol
        return np.array(self._mapped(), dtype=dtype)

    def _mapped(self) -> np.ndarray:
        try:
            return _map(self._kept)
        except (OSError, ValueError, EOFError):
            return self._again()


class FrameCache:
    """Frames by file and way of sampling; the least recently used go when the bound is reached."""

    def __init__(self, folder: Path, max_bytes: int = _DEFAULT_BYTES) -> None:
        self._folder, self._max_bytes = folder, max_bytes

    def get(
        self, path: Path, how: Mapping[str, float | str | None], decode: Callable[[], np.ndarray]
    ) -> StoredFrames | np.ndarray:
        """Return the frames kept for this unchanged file and way of sampling; else decode and keep them.

        What cannot be kept, on a full disk or in a read-only home, is held in memory.
        """
        status = path.stat()
        story = [str(path.resolve()), status.st_size, status.st_mtime_ns, dict(how), decoder_version()]
        digest = hashlib.sha256(json.dumps(story, sort_keys=True).encode()).hexdigest()
        kept = self._folder / f"{digest[:32]}.npy"
        try:
            os.utime(kept)
            shape = _map(kept).shape
        except (OSError, ValueError, EOFError):  # absent, or cut short by a kill or a full disk
            frames = decode()
            shape = frames.shape
            if not self._keep(kept, frames):
                return frames
        return StoredFrames(kept, shape, lambda: self._anew(kept, decode))

    def _anew(self, kept: Path, decode: Callable[[], np.ndarray]) -> np.ndarray:
        frames = decode()
        self._keep(kept, frames)
        return frames

    def _keep(self, kept: Path, frames: np.ndarray) -> bool:
        try:
            with replacing(kept) as unfinished, unfinished.open("wb") as file:
                np.save(file, frames, allow_pickle=False)
        except OSError:
            return False
        return True

    def trim(self) -> None:
        """Remove the least recently used frames until the rest is within the bound, and leftovers of killed runs."""
        trim_folder(self._folder, "*.npy", self._max_bytes)


def _map(kept: Path) -> np.ndarray:
    frames: np.ndarray = np.load(kept, mmap_mode="r", allow_pickle=False)
    return frames
