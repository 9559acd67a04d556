"""Event times as people and records write them."""

from __future__ import annotations

import datetime as dt
import re
from typing import Final

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)
_AGO: Final = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*([smhdw])")
_UNIT_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def parse_time_us(text: str) -> int:
    """Microseconds since the Unix epoch of an ISO 8601 time such as 2026-11-24T08:00:00Z; UTC if it names no zone.

    Raises:
        ValueError: it is not such a time.
    """
    moment = dt.datetime.fromisoformat(text)
    return ((moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)) - _EPOCH) // _MICROSECOND


def parse_seconds(text: str) -> float:
    """Seconds of a length of time: "90s", "15m", "1h", "2d", "1w".

    Raises:
        ValueError: it is none; the message does not repeat it.
    """
    if (found := _AGO.fullmatch(text.strip())) is None:
        raise ValueError("expected a time like 12h, 3d or 2w")
    return float(found[1]) * _UNIT_SECONDS[found[2]]


def parse_since_us(text: str, now_us: int) -> int:
    """Microseconds since the Unix epoch of a time of the clock that is over.

    Args:
        text: "90s", "15m", "1h", "2d", "1w" before now; "earliest", which is 0; or a time, as `parse_time_us` takes it.
        now_us: the clock.

    Raises:
        ValueError: it is none of them, or in the future; the message does not repeat it.
    """
    text = text.strip()
    if text == "earliest":
        return 0
    if _AGO.fullmatch(text) is not None:
        return max(0, now_us - round(parse_seconds(text) * 1e6))
    try:
        time_us = parse_time_us(text)
    except (ValueError, OverflowError):
        raise ValueError(
            "expected how long ago (90s, 15m, 1h, 2d), a time like 2026-11-24T08:00:00Z, or earliest"
        ) from None
    return past_us(time_us, now_us)


def past_us(time_us: int, now_us: int) -> int:
    """Return a time of the clock, or 0 if it is before 1970.

    Raises:
        ValueError: it is in the future.
    """
    if time_us > now_us:
        raise ValueError("expected a time that is over, found one in the future")
    return max(0, time_us)
