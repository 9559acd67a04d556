"""Write files whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the path of a new file beside `path`, which takes its place when the block ends without an error.

    Whoever reads `path` meanwhile sees the old content; an error in the block removes the new file. Its name begins
    with a dot and is unique, so that several processes and machines may write the same `path`, and ends as `path` does,
    since some writers choose the format by the suffix.

    Raises:
        OSError: the folder cannot be made, or the file cannot be written or renamed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{os.getpid()}-{secrets.token_hex(4)}-{path.name}")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        with contextlib.suppress(OSError):  # it was renamed, or never written
            unfinished.unlink()
