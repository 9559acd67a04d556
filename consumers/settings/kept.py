"""A settings file as it is now, for processes that are started later: whoever edits it is not done yet, perhaps."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from .section import SettingsError


@contextlib.contextmanager
def kept_file(file: Path) -> Iterator[Path]:
    """A copy of a settings file in memory, where processes of the same user find it while the body runs.

    In memory, since the file may hold secrets: a copy on disk would outlive a process that is killed. Where a system
    has no such files (macOS), it is the file itself.

    Raises:
        SettingsError: the file cannot be read.
    """
    try:
        held = file.read_bytes()
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read ({error.strerror})") from None
    if not hasattr(os, "memfd_create"):
        yield file.resolve()
        return
    with os.fdopen(os.memfd_create("clipline.toml"), "wb") as copy:
        copy.write(held)
        copy.flush()
        yield Path(f"/proc/{os.getpid()}/fd/{copy.fileno()}")
