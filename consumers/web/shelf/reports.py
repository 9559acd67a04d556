"""Reports of replays and evaluations in one folder: what lies directly in it, and nothing of what it points to.

A name is looked up among those that the folder lists, so no path can lead out of it.
"""

from __future__ import annotations

import html
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: Entries that are looked at, and reports that are listed, the newest.
_MOST_ENTRIES: Final = 5_000
MOST_REPORTS: Final = 500
MOST_BYTES: Final = 64 * 1024 * 1024
NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9 ._+-]{0,127}\.(html|json)$"
_NAME: Final = re.compile(NAME)
_TITLE: Final = re.compile(rb"<title>([^<]{1,300})</title>", re.IGNORECASE)
_HEAD: Final = 8 * 1024


@dataclass(frozen=True, slots=True)
class Report:
    """A report as it lies there."""

    name: str
    bytes: int
    #: When it was written; wall clock in microseconds since the Unix epoch.
    time_us: int
    #: What it calls itself, where it is a page.
    title: str | None


class ReportFolder:
    """Lists and reads them. For several threads."""

    def __init__(self, folder: Path | None) -> None:
        """Prepare; without a folder there are none."""
        self._folder = folder

    @property
    def is_named(self) -> bool:
        return self._folder is not None

    def listed(self) -> tuple[list[Report], str | None]:
        """The newest first; and why there may be more, in words."""
        if self._folder is None:
            return [], None
        found: list[tuple[int, int, str]] = []
        why = None
        try:
            with os.scandir(self._folder) as entries:
                for number, entry in enumerate(entries):
                    if number == _MOST_ENTRIES:
                        why = f"the folder has more than {_MOST_ENTRIES} entries"
                        break
                    if _NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                        status = entry.stat(follow_symlinks=False)
                        if status.st_size > MOST_BYTES:
                            why = f"what is larger than {MOST_BYTES >> 20} MiB is not listed"
                            continue
                        found.append((status.st_mtime_ns // 1000, status.st_size, entry.name))
        except OSError as error:
            return [], f"the folder of reports cannot be read ({error.strerror})"
        found.sort(reverse=True)
        if len(found) > MOST_REPORTS:
            why = why or f"the newest {MOST_REPORTS} of {len(found)} are listed"
        return [Report(name, size, time_us, self._title(name)) for time_us, size, name in found[:MOST_REPORTS]], why

    def read(self, name: str) -> bytes | None:
        """A report; None where there is none of that name, or it is larger than is served."""
        if self._folder is None or not _NAME.fullmatch(name):
            return None
        found = self._read(name, MOST_BYTES + 1)
        return found if found is not None and len(found) <= MOST_BYTES else None

    def _title(self, name: str) -> str | None:
        head = self._read(name, _HEAD) if name.endswith(".html") else None
        found = None if head is None else _TITLE.search(head)
        return None if found is None else html.unescape(found[1].decode("utf-8", "replace")).strip() or None

    def _read(self, name: str, most: int) -> bytes | None:
        """The first bytes of a file that lies directly in the folder; None where there is none."""
        assert self._folder is not None
        try:
            # Whoever may write into the folder may not have others' files read through it.
            descriptor = os.open(self._folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb") as file:
                return file.read(most) if stat.S_ISREG(os.fstat(descriptor).st_mode) else None
        except OSError:
            return None
