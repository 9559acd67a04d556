"""The unfinished state of training: what the first process keeps, and all of them go on from after a kill.

State is taken up by the same work only: the folder belongs to one recipe on one set of footage, and the name of a file
holds a digest of what else the state depends on, such as which videos are learnt from. The other processes may run on
machines that do not see the folder, so that what the first one reads is handed to them.
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

from . import distributed

_DIGITS: Final = 12


def claim(folder: Path, story: Any) -> None:
    """Keep what an earlier run with the same `story`, of plain values, left in the folder; remove what another left.

    Raises:
        TrainingError: the folder cannot be written.
    """
    digest = _digest(story)
    mark = folder / "recipe.sha256"
    try:
        if not mark.is_file() or mark.read_text() != digest:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            mark.write_text(digest)
    except OSError as error:
        raise TrainingError(f"{folder}: the state of training cannot be written ({error.strerror})") from None


def fingerprint(frames: np.ndarray) -> str:
    """A digest of pictures, which may be more than memory holds."""
    digest = hashlib.sha256(f"{frames.shape} {frames.dtype}".encode())
    for frame in frames:
        digest.update(np.ascontiguousarray(frame).data)
    return digest.hexdigest()


def file_name(title: str, suffix: str, *story: Any) -> str:
    """A readable name that no other work's state has: indices and plain values in `story` say what it depends on."""
    return f"{title.replace(',', '').replace(' ', '-')}-{_digest(story)[:_DIGITS]}.{suffix}"


def read(path: Path | None) -> dict[str, Any] | None:
    """What the first process kept there, on the processor, in every process; None where it kept nothing.

    Raises:
        TrainingError: it cannot be read; in every process.
    """
    return None if path is None else distributed.from_first(lambda: _read(path))


def write(path: Path | None, state: dict[str, Any]) -> None:
    """Keep the state, in the first process; what was kept before stays where that fails.

    Raises:
        TrainingError: it cannot be written.
    """
    if path is None or not distributed.is_first():
        return
    try:
        with replacing(path) as unfinished:
            torch.save(state, unfinished)
    except (OSError, RuntimeError) as error:  # torch says RuntimeError of a full disk
        raise TrainingError(
            f"{path}: the state of training cannot be written ({_first_line(error)}); what was there before is "
            "kept, and the same command goes on from it"
        ) from None


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise TrainingError(
            f"{path}: the state of an earlier run cannot be read ({_first_line(error)}); remove it to begin anew"
        ) from None
    return state


def _digest(story: Any) -> str:
    return hashlib.sha256(json.dumps(story, sort_keys=True, default=_plain).encode()).hexdigest()


def _plain(value: Iterable[int]) -> list[int]:
    return [int(v) for v in value]


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
