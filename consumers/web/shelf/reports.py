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
from typing import BinaryIO, Final

from anyio import CapacityLimiter

#: Entries that are looked at, and reports that are listed, the newest.
_MOST_ENTRIES: Final = 5_000
MOST_REPORTS: Final = 500
MOST_BYTES: Final = 64 * 1024 * 1024
NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9 ._+-]{0,127}\.(html|json)$"
_NAME: Final = re.compile(NAME)
_TITLE: Final = re.compile(rb"<title>([^<]{1,300})</title>", re.IGNORECASE)
_HEAD: Final = 8 * 1024
#: Whoever looks into the folder or reads a piece of a report waits here, so that clients leave threads to others.
_AT_ONCE: Final = 2


@dataclass(frozen=True, slots=True)
class Report:
    """A report as it lies there."""

    name: str
    bytes: int
    #: When it was written; wall clock in microseconds since the Unix epoch.
    time_us: int
    #: What it calls itself, where it is a page.
    title: str | None


@dataclass(frozen=True, slots=True)
class OpenReport:
    """A report to be read and closed."""

    file: BinaryIO
    bytes: int
    #: Changes when the file does, as far as its size and time tell.
    tag: str


class ReportFolder:
    """Lists and opens them. For several threads."""

    def __init__(self, folder: Path | None) -> None:
        """Prepare; without a folder there are none."""
        self._folder = folder
        self.room = CapacityLimiter(_AT_ONCE)
        #: Of those that were listed last, by time, size and name. Replaced as a whole.
        self._titles: dict[tuple[int, int, str], str | None] = {}

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
        known, files = self._titles, found[:MOST_REPORTS]
        titles = {each: known[each] if each in known else self._title(each[2]) for each in files}
        self._titles = titles
        return [Report(each[2], each[1], each[0], titles[each]) for each in files], why

    def open(self, name: str) -> OpenReport | None:
        """A report; None where there is none of that name, or it is larger than is served."""
        if self._folder is None or not _NAME.fullmatch(name):
            return None
        try:
            # Whoever may write into the folder may not have others' files read through it.
            descriptor = os.open(self._folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return None
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MOST_BYTES:
            os.close(descriptor)
            return None
        return OpenReport(os.fdopen(descriptor, "rb"), status.st_size, f"{status.st_mtime_ns:x}-{status.st_size:x}")

    def _title(self, name: str) -> str | None:
        report = self.open(name) if name.endswith(".html") else None
        if report is None:
            return None
        with report.file as file:
            try:
                found = _TITLE.search(file.read(_HEAD))
            except OSError:
                return None
        return None if found is None else html.unescape(found[1].decode("utf-8", "replace")).strip() or None
