"""Days of a month in somebody's zone. Pure."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from consumers.web.paging import to_us


@dataclass(frozen=True, slots=True)
class Days:
    """A month; times in microseconds since the Unix epoch."""

    zone: ZoneInfo
    from_us: int
    to_us: int

    def of(self, time_us: int) -> str:
        """The day on which a time lies, such as 2026-11-24."""
        return dt.datetime.fromtimestamp(time_us / 1e6, self.zone).date().isoformat()


def days_of(month: str, time_zone: str) -> Days:
    """A month such as 2026-11.

    Raises:
        ValueError: nobody knows the zone.
    """
    try:
        zone = ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, OSError, ValueError):
        raise ValueError(f"time_zone: no zone is called {time_zone!r}") from None
    year, number = int(month[:4]), int(month[5:])
    first = dt.datetime(year, number, 1, tzinfo=zone)
    after = dt.datetime(year + number // 12, number % 12 + 1, 1, tzinfo=zone)
    return Days(zone, to_us(first), to_us(after))
