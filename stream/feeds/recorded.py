"""When footage was recorded."""

from __future__ import annotations

import datetime as dt
from pathlib import Path


def recorded_us(path: str, metadata: dict[str, str]) -> int:
    """When the footage was recorded, as well as the file knows: its `creation_time` tag, else its modification time.

    Both stay the same when the file is read again, so that a second pass gives the same windows and ids.
    """
    tag = metadata.get("creation_time", "")
    try:
        moment = dt.datetime.fromisoformat(tag)
    except ValueError:
        return Path(path).stat().st_mtime_ns // 1000
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    if moment.timestamp() <= 0:  # cameras without a clock write 1904 or 1970
        return Path(path).stat().st_mtime_ns // 1000
    return round(moment.timestamp() * 1_000_000)
