"""What is computed once of each video, and read for every fold: descriptors, features of a frozen network.

With a folder they lie on disk: memory holds those of one video at a time, and a run that was stopped goes on with the
next video. Processes that train together share the work and hold the results in memory, as they may share no disk.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from models.files import replacing

from . import distributed


class Computed:
    """Arrays by name for each video of one data set, computed when they are first asked for."""

    def __init__(self, folder: Path | None, compute: Callable[[int], Mapping[str, np.ndarray]]) -> None:
        """`compute` is given the index of a video; `folder` belongs to one data set and one way to compute."""
        self._folder, self._compute = folder, compute
        self._held: dict[int, Mapping[str, np.ndarray]] = {}

    def all(self, count: int, progress: Callable[[int, int], None]) -> None:
        """Compute what is not there yet of the first `count` videos; `progress` is told how many there are.

        First of none: one video may take minutes.
        """
        progress(0, count)
        if distributed.world() > 1:
            self._held |= distributed.share_out(range(count), self._compute)
            progress(count, count)
            return
        for index in range(count):
            if not self._is_there(index):
                self.of(index)
            progress(index + 1, count)

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

    def _is_there(self, index: int) -> bool:
        return index in self._held or (self._folder is not None and (self._folder / f"{index}.npz").is_file())
