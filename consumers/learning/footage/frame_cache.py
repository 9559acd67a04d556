"""Keep small decoded frames on disk, so that a second training run, or a second model, decodes nothing."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import os
import secrets
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from consumers.files import replacing, trim_folder
from consumers.versions import decoder_version
from models import Frames

_DEFAULT_BYTES: Final = 4 * 1024**3
_BLOCK_BYTES: Final = 4 * 1024**2

How = Mapping[str, float | str | None]


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
        # Part by part: what of a map was read counts as memory of the process until the map is closed.
        step = max(_BLOCK_BYTES // max(math.prod(self.shape[1:]), 1), 1)
        for begin in range(0, len(self), step):
            yield from self[begin : begin + step]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:  # noqa: FBT001  numpy's protocol
        return np.array(self._mapped(), dtype=dtype)

    def _mapped(self) -> np.ndarray:
        try:
            return _map(self._kept)
        except (OSError, ValueError, EOFError):
            return self._again()


class Reel:
    """Pictures (H, W, 3) uint8 as they are decoded, of which memory holds only the last few.

    The rest lies in a file until the reel is kept or no longer needed; on a full disk, or in a read-only home, memory
    holds them all.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / f".{os.getpid()}-{secrets.token_hex(4)}-reel.npy"
        self._block: list[np.ndarray] = []
        self._written = 0
        self._is_writable = True
        weakref.finalize(self, _remove, self._file)

    def append(self, image: np.ndarray, /) -> None:
        self._block.append(image)
        if self._is_writable and len(self._block) * image.nbytes >= _BLOCK_BYTES:
            self._write()

    def __len__(self) -> int:
        return self._written + len(self._block)

    def frames(self) -> np.ndarray:
        """All of them, (N, H, W, 3), in memory."""
        written = [np.array(_map(self._file)[: self._written])] if self._written else []
        return np.concatenate([*written, np.stack(self._block)] if self._block else written)

    def keep(self, kept: Path) -> bool:
        """Become the file `kept`; return False where that cannot be, and the reel is as it was."""
        if self._block and not self._write():
            return False
        try:
            self._file.replace(kept)
        except OSError:
            return False
        return True

    def _write(self) -> bool:
        """Move the block into the file. Its header comes last: a disk that is full amid it leaves what was there."""
        header = io.BytesIO()
        shape = (len(self), *self._block[0].shape)  # numpy leaves room for more digits
        np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("r+b" if self._written else "w+b") as file:
                file.seek(len(header.getvalue()) + self._written * self._block[0].nbytes)
                for image in self._block:
                    file.write(np.ascontiguousarray(image).data)
                file.seek(0)
                file.write(header.getvalue())
        except OSError:
            self._is_writable = False
            return False
        self._written += len(self._block)
        self._block = []
        return True


class FrameCache:
    """Frames by file and way of sampling; the least recently used go when the bound is reached."""

    def __init__(self, folder: Path, max_bytes: int = _DEFAULT_BYTES) -> None:
        self._folder, self._max_bytes = folder, max_bytes

    def find(self, path: Path, how: How, again: Callable[[], np.ndarray | Reel]) -> StoredFrames | None:
        """Return the frames that are kept for this unchanged file and way of sampling; `again` makes them anew.

        Raises:
            OSError: there is no such file.
        """
        kept = self._place(path, how)
        try:
            os.utime(kept)
            shape = _map(kept).shape
        except (OSError, ValueError, EOFError):  # absent, or cut short by a kill or a full disk
            return None
        return StoredFrames(kept, shape, lambda: self._anew(kept, again))

    def put(self, path: Path, how: How, frames: np.ndarray | Reel, again: Callable[[], np.ndarray | Reel]) -> Frames:
        """Keep the frames for `find`; return them from where they lie: what cannot be kept is held in memory.

        Raises:
            OSError: there is no such file.
        """
        if self._keep(self._place(path, how), frames) and (found := self.find(path, how, again)) is not None:
            return found
        return _whole(frames)

    def get(self, path: Path, how: How, decode: Callable[[], np.ndarray | Reel]) -> Frames:
        """Return the frames kept for this unchanged file and way of sampling; else decode and keep them."""
        found = self.find(path, how, decode)
        return self.put(path, how, decode(), decode) if found is None else found

    def reel(self) -> Reel:
        """For frames that are decoded one by one, to be kept here."""
        return Reel(self._folder)

    def _place(self, path: Path, how: How) -> Path:
        status = path.stat()
        story = [str(path.resolve()), status.st_size, status.st_mtime_ns, dict(how), decoder_version()]
        digest = hashlib.sha256(json.dumps(story, sort_keys=True).encode()).hexdigest()
        return self._folder / f"{digest[:32]}.npy"

    def _anew(self, kept: Path, decode: Callable[[], np.ndarray | Reel]) -> np.ndarray:
        frames = decode()
        return _map(kept) if self._keep(kept, frames) else _whole(frames)

    def _keep(self, kept: Path, frames: np.ndarray | Reel) -> bool:
        if isinstance(frames, Reel):
            return frames.keep(kept)
        try:
            with replacing(kept) as unfinished, unfinished.open("wb") as file:
                np.save(file, frames, allow_pickle=False)
        except OSError:
            return False
        return True

    def trim(self) -> None:
        """Remove the least recently used frames until the rest is within the bound, and leftovers of killed runs."""
        trim_folder(self._folder, "*.npy", self._max_bytes)


def _whole(frames: np.ndarray | Reel) -> np.ndarray:
    return frames.frames() if isinstance(frames, Reel) else frames


def _remove(file: Path) -> None:
    with contextlib.suppress(OSError):  # it was kept, or never written
        file.unlink()


def _map(kept: Path) -> np.ndarray:
    frames: np.ndarray = np.load(kept, mmap_mode="r", allow_pickle=False)
    return frames
