"""What is computed once of each video, and read for every fold: descriptors, features of a frozen network.

With a folder they lie on disk: memory holds those of one video at a time, and a run that was stopped goes on with the
next video. Processes that train together share the work and hold the results in memory, as they may share no disk.
"""

from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np
import torch

from models.files import replacing
from models.training import distributed

#: Before the name of a member of a zip archive; its last two numbers are the lengths of that and of what follows it.
_MEMBER_HEAD: Final = struct.Struct("<4s22xHH")


class Computed:
    """Arrays by name for each video of one data set, computed when they are first asked for."""

    def __init__(self, folder: Path | None, compute: Callable[[int], Mapping[str, np.ndarray]]) -> None:
        """`compute` is given the index of a video; `folder` belongs to one data set and one way to compute."""
        self._folder, self._compute = folder, compute
        self._held: dict[int, Mapping[str, np.ndarray]] = {}

    def all(self, count: int, progress: Callable[[int, int], None], *, threads: int = 1) -> None:
        """Compute what is not there yet of the first `count` videos; `progress` is told how many there are.

        First of none: one video may take minutes. So many `threads` compute at a time, where that helps.
        """
        progress(0, count)
        if distributed.world() > 1:
            self._held |= distributed.share_out(range(count), self._compute)
            progress(count, count)
            return
        if threads == 1:
            for index in range(count):
                self._compute_once(index)
                progress(index + 1, count)
            return
        # Each with one thread of torch: two videos side by side take less time than two threads on each, which wait for
        # each other after every layer, spinning if other programs hold them up (docs/training.md).
        before = torch.get_num_threads()
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            try:
                for done, _ in enumerate(pool.map(self._compute_once, range(count)), start=1):
                    progress(done, count)
            except BaseException:  # Ctrl-C, mostly: what waits in the pool would be computed first
                pool.shutdown(cancel_futures=True)
                raise
            finally:
                torch.set_num_threads(before)

    def of(self, index: int) -> Mapping[str, np.ndarray]:
        """The arrays of a video."""
        if index in self._held:
            return self._held[index]
        if self._folder is None:
            self._held[index] = self._compute(index)
            return self._held[index]
        kept = self._folder / f"{index}.npz"
        try:
            with np.load(kept, allow_pickle=False) as stored:
                return dict(stored)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):  # absent, or cut short by a full disk
            pass
        found = self._compute(index)
        try:
            with replacing(kept) as unfinished, unfinished.open("wb") as file:
                np.savez(file, **found)  # type: ignore[arg-type]  # names are free
        except OSError:  # a full disk costs memory, not the run
            self._held[index] = found
        return found

    def part(self, index: int, name: str) -> np.ndarray:
        """One of the arrays of a video. Where it lies on disk it is mapped: only what is used of it is read."""
        if index not in self._held and self._folder is not None:
            try:
                return _mapped(self._folder / f"{index}.npz", name)
            except (OSError, ValueError, KeyError, zipfile.BadZipFile):  # as in `of`
                pass
        return self.of(index)[name]

    def _compute_once(self, index: int) -> None:
        if index in self._held or (self._folder is not None and (self._folder / f"{index}.npz").is_file()):
            return
        self.of(index)


def _mapped(kept: Path, name: str) -> np.ndarray:
    """An array of a file that `numpy.savez` wrote, which does not compress."""
    with zipfile.ZipFile(kept) as archive:
        member = archive.getinfo(f"{name}.npy")
    with kept.open("rb") as file:
        file.seek(member.header_offset)
        *_, name_length, extra_length = _MEMBER_HEAD.unpack(file.read(_MEMBER_HEAD.size))
        file.seek(name_length + extra_length, os.SEEK_CUR)
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        return np.memmap(file, dtype, "r", file.tell(), shape)
