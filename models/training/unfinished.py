"""The unfinished state of training, from which all processes continue after a kill.

Only the same work continues from it: the folder belongs to one recipe on one set of footage, and each file's name holds
a digest of what else its state depends on, such as which videos are learnt from. Only the first process reads and
writes; it sends what it reads to the others, which may run on machines that do not see the folder.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from models.errors import TrainingError
from models.files import replacing
from models.windows.frames import Frames

from . import distributed

_DIGITS: Final = 12


def claim(folder: Path, story: Any) -> str | None:
    """Keep the state in the folder if an earlier run with the same `story` (plain values) left it; else remove it.

    Returns what a user is to be told of the state that was there; None if there was none.

    Raises:
        TrainingError: the folder cannot be written.
    """
    digest = _digest(story)
    mark = folder / "recipe.sha256"
    try:
        if mark.is_file() and mark.read_text() == digest:
            return _what_is_done(folder)
        was_there = mark.is_file()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        mark.write_text(digest)
    except OSError as error:
        raise TrainingError(f"{folder}: the state of training cannot be written ({error.strerror})") from None
    return (
        f"Begins anew: {folder} was left by a run with other footage, another recipe or another version of Clipline or "
        "its libraries"
        if was_there
        else None
    )


def _what_is_done(folder: Path) -> str | None:
    done = [
        f"{part.name.replace('-', ' ')} of {count} {'video' if count == 1 else 'videos'}"
        for part in sorted(folder.iterdir())
        if part.is_dir() and (count := len(list(part.glob("*.npz"))))
    ]
    if folds := len(list(folder.glob("*.scores"))):
        done.append(f"{folds} {'fold' if folds == 1 else 'folds'}")
    if states := len(list(folder.glob("*.state"))):
        done.append(f"the epochs of {states} {'model' if states == 1 else 'models'}")
    return f"Goes on from {folder}: {', '.join(done)}" if done else None


def fingerprint(frames: Frames) -> str:
    """A digest of frames, which may be more than memory holds."""
    digest = hashlib.sha256(f"{frames.shape} {frames.dtype}".encode())
    for frame in frames:
        digest.update(np.ascontiguousarray(frame).data)
    return digest.hexdigest()


def file_name(title: str, suffix: str, *story: Any) -> str:
    """A readable name that is unique to this work; `story` (indices and plain values) is what its state depends on."""
    return f"{title.replace(',', '').replace(' ', '-')}-{_digest(story)[:_DIGITS]}.{suffix}"


def read(path: Path | None) -> dict[str, Any] | None:
    """Read the state in the first process and return it in all of them, on the processor; None if there is none.

    Raises:
        TrainingError: it cannot be read; every process raises it.
    """
    return None if path is None else distributed.from_first(lambda: _read(path))


def write(path: Path | None, state: dict[str, Any]) -> None:
    """Write the state, in the first process only; the state that was there stays if that fails.

    Raises:
        TrainingError: it cannot be written.
    """
    if path is None or not distributed.is_first():
        return
    try:
        with replacing(path) as unfinished:
            torch.save(state, unfinished)
    except (OSError, RuntimeError) as error:  # torch raises RuntimeError on a full disk
        raise TrainingError(
            f"{path}: the state of training cannot be written ({_first_line(error)}); the state before is "
            "kept, and the same command continues from it"
        ) from None


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise TrainingError(
            f"{path}: the state of an earlier run cannot be read ({_first_line(error)}); remove it to start afresh"
        ) from None
    return state


def _digest(story: Any) -> str:
    return hashlib.sha256(json.dumps(story, sort_keys=True, default=_plain).encode()).hexdigest()


def _plain(value: Iterable[int]) -> list[int]:
    return [int(v) for v in value]


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
