"""When footage was recorded, as well as a file knows, and the order of files that follows.

1. the time that its container tells (`creation_time`), unless a clock that was lost wrote it;
2. a time in its name, or in its folder's and its own: it begins then
       gate_2026-11-24_08-00-00.mp4   20261124T080000Z.mp4   2026-11-24/08-00-00.mp4   2026-11-24 08.00.00+01.00.mp4
   in UTC, if it names no zone;
3. the time of its last modification, less its duration: it ended then.

All stay the same when a file is read again, so that a second pass gives the same windows and ids.

Two films may have one such time: exported together, or copied. Ids are made of it, so each begins a little later, by
less than a tenth of a second, which its content says: another film has another time, the same film the same one.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: Clocks that were lost begin in 1904, 1970, 1980 or 2000, and may run for weeks.
_LOST_UNTIL: Final = dt.datetime(2000, 2, 1, tzinfo=dt.UTC)
#: Local time that was written as UTC is no more ahead than this.
_AHEAD: Final = dt.timedelta(days=1)
_SEPARATOR: Final = r"[-_.: ]?"
_IN_NAME: Final = re.compile(
    rf"(?<!\d)(?P<year>20\d\d){_SEPARATOR}(?P<month>\d\d){_SEPARATOR}(?P<day>\d\d)"
    rf"[-_.T ]{{0,3}}(?P<hour>\d\d){_SEPARATOR}(?P<minute>\d\d){_SEPARATOR}(?P<second>\d\d)"
    r"(?:[.,]?(?P<fraction>\d{1,6}))?(?!\d)(?P<zone>(?:Z|[+-]\d\d[.:]\d\d|\+\d{4})(?!\d))?"
)


#: Films of one time are spread over so long.
_SPREAD_US: Final = 100_000
#: Of a film, so much of its begin and of its end tell it from others: an index, at either, lists all that is between.
_END_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Recorded:
    """When footage was recorded."""

    start_us: int
    #: Whether the file or its name says so; else it is told from the file's modification.
    known: bool
    #: What its content adds, see `content_us`.
    content_us: int = 0

    @property
    def begin_us(self) -> int:
        """Event time at which it begins. Films are put in order without what their content adds."""
        return self.start_us + self.content_us


def recorded(path: Path, metadata: dict[str, str], seconds: float | None) -> Recorded:
    """When the file at `path` was recorded.

    Args:
        path: the file.
        metadata: of its container.
        seconds: how long it is, if that is known.
    """
    moment = _believed(_tagged(metadata.get("creation_time", ""))) or _believed(time_in_name(path))
    if moment is not None:
        return Recorded(round(moment.timestamp() * 1_000_000), known=True)
    ended_us = path.stat().st_mtime_ns // 1000
    return Recorded(max(0, ended_us - round((seconds or 0.0) * 1_000_000)), known=False)


def content_us(path: Path) -> int:
    """By how much a film begins later, in microseconds: another one of the same time, by something else."""
    digest = hashlib.blake2b(digest_size=8)
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        digest.update(size.to_bytes(8))
        for begin in sorted({0, max(0, size - _END_BYTES)}):
            file.seek(begin)
            digest.update(file.read(_END_BYTES))
    return int.from_bytes(digest.digest()) % _SPREAD_US


def time_in_name(path: Path) -> dt.datetime | None:
    """The time that a file's name tells, or its folder's name and its own."""
    for name in (path.stem, f"{path.parent.name}_{path.stem}"):
        # The first one: recorders write the end behind the begin.
        for match in _IN_NAME.finditer(name):
            parts = match.groupdict()
            zone = "+00:00" if parts["zone"] in {None, "Z"} else re.sub(r"[.:]", "", parts["zone"])
            text = "{year}-{month}-{day}T{hour}:{minute}:{second}".format(**parts)
            fraction = (parts["fraction"] or "").ljust(6, "0")
            try:
                return dt.datetime.fromisoformat(f"{text}.{fraction}{zone}")
            except ValueError:
                continue  # 13 is no month
    return None


def _tagged(text: str) -> dt.datetime | None:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=dt.UTC)


def _believed(moment: dt.datetime | None) -> dt.datetime | None:
    if moment is None or moment < _LOST_UNTIL:
        return None
    return moment if moment.timestamp() <= time.time() + _AHEAD.total_seconds() else None


def name_order(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """A key that sorts names as people do: 1, 2, 10."""
    parts = re.split(r"(\d+)", path.as_posix().casefold())
    # Numbers before words, and what differs in capitals only by the letter.
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part], path.as_posix()


def recorded_order(files: Sequence[tuple[Path, Recorded | None]]) -> list[int]:
    """The order in which files are one camera's footage, as indices: by when they were recorded.

    Those of which nobody knows, or only when they were modified, keep the order of their names among themselves: a copy
    has the time of copying.
    """
    by_name = sorted(range(len(files)), key=lambda index: name_order(files[index][0]))
    keys: dict[int, int] = {}
    newest_us = 0
    for index in by_name:
        when = files[index][1]
        if when is not None and when.known:
            keys[index] = when.start_us
        else:
            newest_us = max(newest_us, when.start_us if when is not None else 0)
            keys[index] = newest_us
    return sorted(by_name, key=lambda index: keys[index])
