"""Files that commands write and keep: results as text, atomic replacement, caches with a bound."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import json
import math
import os
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Final

from models.files import replacing

__all__ = [
    "content_digest",
    "hold_folder",
    "is_held",
    "passing_folder",
    "remove_abandoned_folders",
    "replacing",
    "trim_folder",
    "write_json",
    "write_text",
]

#: No file takes so long to write.
_ABANDONED_SECONDS: Final = 24 * 3600.0
_PASSING: Final = "clipline-passing-"
#: A folder that nobody holds may be so young that whoever made it is about to.
_YOUNG_SECONDS: Final = 1.0


def write_text(path: Path, text: str, error: type[Exception]) -> None:
    """Write a result that the user asked for, as UTF-8; make its folder where there is none.

    Raises:
        error: the path cannot be written; the message names it and the reason.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as problem:
        raise error(f"{path}: cannot be written ({problem.strerror or problem})") from None


def content_digest(path: Path) -> str:
    """SHA-256 of a file in hexadecimal, computed once for as long as its size and time stay the same.

    Raises:
        OSError: it cannot be read.
    """
    status = path.stat()
    return _content_digest(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=65_536)
def _content_digest(path: Path, size: int, modified_ns: int) -> str:  # noqa: ARG001  part of what is remembered by
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, content: Any, error: type[Exception]) -> None:
    """Write a result as JSON, numbers that are none as null, since JSON has no others.

    Raises:
        error: as `write_text`.
    """
    write_text(path, json.dumps(_finite(content), indent=2, allow_nan=False) + "\n", error)


def _finite(content: Any) -> Any:
    match content:
        case float():
            return content if math.isfinite(content) else None
        case Mapping():
            return {key: _finite(value) for key, value in content.items()}
        case list() | tuple():
            return [_finite(value) for value in content]
    return content


@contextlib.contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Make a folder and hold it for this process alone.

    Raises:
        BlockingIOError: another process holds it.
        OSError: it cannot be made or written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(lock)


@contextlib.contextmanager
def passing_folder() -> Iterator[Path]:
    """A temporary folder for what nobody is to find afterwards, as footage that may be forgotten.

    It is removed at the end; where this process is killed before, by the next one that makes such a folder, or by the
    next process that `clipline run` starts.

    Raises:
        OSError: it cannot be made.
    """
    remove_abandoned_folders()
    folder, held = _held_folder()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


def remove_abandoned_folders() -> None:
    """Remove the passing folders of processes that were killed."""
    # It brings the broker's client along, which most of those who write a file have no use for.
    from stream.services import remove_abandoned  # noqa: PLC0415

    remove_abandoned(_PASSING, _YOUNG_SECONDS)


def _held_folder() -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PASSING))
        held = os.open(folder, os.O_RDONLY)
        fcntl.flock(held, fcntl.LOCK_EX)
        if folder.exists():  # on a busy machine somebody may have taken it for an abandoned one
            return folder, held
        os.close(held)


def is_held(folder: Path) -> bool:
    """Whether a process holds a folder. Makes nothing."""
    try:
        lock = os.open(folder / ".lock", os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def trim_folder(
    folder: Path,
    pattern: str,
    max_bytes: int,
    *,
    unit: Callable[[Path], str] = str,
    held: Callable[[str], AbstractContextManager[bool]] = lambda _: nullcontext(enter_result=True),
) -> None:
    """Remove the least recently used files that match `pattern` until the rest has at most `max_bytes`.

    Files of one `unit` go together, and only while `held` says that nobody else uses them. What a killed run left
    unfinished (its name begins with a dot) is removed after a day.
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
