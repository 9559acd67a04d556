"""Event times as people and records write them."""

from __future__ import annotations

import datetime as dt
from typing import Final

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)


def parse_time_us(text: str) -> int:
    """Microseconds since the Unix epoch of an ISO 8601 time such as 2026-11-24T08:00:00Z; UTC if it names no zone.

    Raises:
        ValueError: it is not such a time.
    """
    moment = dt.datetime.fromisoformat(text)
    return ((moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)) - _EPOCH) // _MICROSECOND
