"""Hours of the week in a time zone, as rules name them: "mon-fri 22:00-06:00", "sat,sun", "08:30-17:00".

    on the clock            22:00           00:00           06:00
    mon-fri 22:00-06:00     Friday ├───────────────────────────┤ Saturday: a stretch belongs to the day it begins on

A stretch is one piece of time, also where clocks change within it:

    clocks go forward       ends that are skipped (02:30) lie at the jump; a stretch within the jump is not that day
    clocks go back          a stretch begins at the first of two equal times, and ends at the second

Pure: whether a moment lies within follows from the moment alone, and from the rules of the zone.
"""

from __future__ import annotations

import datetime as dt
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOURS: Final = re.compile(r"([0-9]{1,2}):([0-9]{2})\s*-\s*([0-9]{1,2}):([0-9]{2})")
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)
_CLOCK: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
_DAY_MINUTES: Final = 24 * 60
#: A stretch may have begun the day before, and near midnight a clock that goes back shows the day before again.
_NEAR: Final = (-2, -1, 0, 1)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Some hours of some days of the week."""

    #: Monday is 0.
    days: tuple[int, ...]
    #: Minutes after midnight of the day on which it begins, on the clock; the end may lie on the next day.
    begin: int
    end: int

    @classmethod
    def parse(cls, text: str) -> Stretch:
        """Read "mon-fri 22:00-06:00": days, or hours, or both.

        Raises:
            ValueError: it is neither.
        """
        days, hours = tuple(range(7)), (0, _DAY_MINUTES)
        words = text.lower()
        if (match := _HOURS.search(words)) is not None:
            hours = _minutes(match, text)
            words = f"{words[: match.start()]} {words[match.end() :]}"
        if words := re.sub(r"\s*([,-])\s*", r"\1", words.strip()):
            days = tuple(sorted({day for part in words.split(",") for day in _days(part, text)}))
        elif match is None:
            raise _expected(text)
        return cls(days, *hours)


@dataclass(frozen=True)
class Schedule:
    """When a rule holds."""

    #: As they are written.
    stretches: tuple[str, ...]
    time_zone: str

    def covers(self, time_us: int) -> bool:
        """Whether a moment, microseconds since the Unix epoch, lies within one of the stretches."""
        return self.until_us(time_us) is not None

    def until_us(self, time_us: int) -> int | None:
        """When the stretch ends in which a moment lies, the last one of several; None where it lies in none."""
        moment = (_EPOCH + dt.timedelta(microseconds=time_us)).astimezone(zone(self.time_zone))
        day = moment.date().toordinal()
        return max(
            (
                end_us
                for near in _NEAR
                for begin_us, end_us in _on_day(self.stretches, self.time_zone, day + near)
                if begin_us <= time_us < end_us
            ),
            default=None,
        )


@functools.cache
def zone(name: str) -> ZoneInfo:
    """A time zone by its IANA name, such as Europe/Berlin or UTC.

    Raises:
        ValueError: there is none of this name.
    """
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise ValueError("expected a time zone by its IANA name, such as Europe/Berlin or UTC") from None


def check_zone(name: str) -> str:
    """Return the name of a time zone.

    Raises:
        ValueError: there is none of this name.
    """
    zone(name)
    return name


def check_clock(text: str) -> str:
    """Return a time of day as a setting holds it.

    Raises:
        ValueError: it is none.
    """
    if _CLOCK.fullmatch(text) is None:
        raise ValueError("expected a time of day such as 08:00")
    return text


def next_at_us(clock: str, time_zone: str, time_us: int) -> int:
    """The first moment after another one at which the clocks show a time; the jump, on a day on which they skip it.

    Args:
        clock: such as 08:00.
        time_zone: by its IANA name.
        time_us: microseconds since the Unix epoch, as what is returned.
    """
    today = (_EPOCH + dt.timedelta(microseconds=time_us)).astimezone(zone(time_zone)).date()
    at = dt.time.fromisoformat(clock)
    days = (today + dt.timedelta(days=n) for n in range(3))
    moments = (_instant_us(day, at.hour * 60 + at.minute, time_zone, last=False) for day in days)
    return next(moment for moment in moments if moment > time_us)


def check_stretch(text: str) -> str:
    """Return hours as a setting holds them.

    Raises:
        ValueError: they are none. Not what stands there: it may be a secret that was put into the wrong line.
    """
    try:
        Stretch.parse(text)
    except ValueError:
        raise ValueError("expected hours like 22:00-07:00, or of some days: sat,sun 22:00-09:00") from None
    return " ".join(text.split())


@functools.lru_cache(maxsize=4096)
def _on_day(stretches: tuple[str, ...], time_zone: str, day: int) -> tuple[tuple[int, int], ...]:
    """Begin and end, in microseconds since the Unix epoch, of the stretches that begin on a day."""
    if not 1 <= day < dt.date.max.toordinal():
        return ()
    date = dt.date.fromordinal(day)
    return tuple(
        (_instant_us(date, stretch.begin, time_zone, last=False), _instant_us(date, stretch.end, time_zone, last=True))
        for stretch in map(Stretch.parse, stretches)
        if date.weekday() in stretch.days
    )


def _instant_us(date: dt.date, minutes: int, time_zone: str, *, last: bool) -> int:
    """When a clock shows so many minutes after midnight of a day: the first or the last time; at the jump, if never."""
    where = zone(time_zone)
    shown = dt.datetime.combine(date, dt.time()) + dt.timedelta(minutes=minutes)
    first, second = (shown.replace(tzinfo=where, fold=fold).astimezone(dt.UTC) for fold in (0, 1))
    if first.astimezone(where).replace(tzinfo=None) != shown:
        return _jump_us(min(first, second), max(first, second), where)
    return ((second if last else first) - _EPOCH) // _MICROSECOND


def _jump_us(low: dt.datetime, high: dt.datetime, where: ZoneInfo) -> int:
    """When the offset changes between two moments."""
    before = low.astimezone(where).utcoffset()
    while high - low > _MICROSECOND:
        middle = low + (high - low) // 2
        if middle.astimezone(where).utcoffset() == before:
            low = middle
        else:
            high = middle
    return (high - _EPOCH) // _MICROSECOND


def _days(part: str, text: str) -> Iterator[int]:
    first, dash, last = part.partition("-")
    if first not in DAYS or (dash and last not in DAYS):
        raise _expected(text)
    day = DAYS.index(first)
    yield day
    while dash and DAYS[day] != last:
        day = (day + 1) % 7
        yield day


def _minutes(match: re.Match[str], text: str) -> tuple[int, int]:
    begin_hour, begin_minute, end_hour, end_minute = map(int, match.groups())
    begin, end = begin_hour * 60 + begin_minute, end_hour * 60 + end_minute
    if max(begin_minute, end_minute) > 59 or begin >= _DAY_MINUTES or end > _DAY_MINUTES:
        raise ValueError(f"{text!r}: expected hours from 00:00 to 24:00")
    if begin == end:
        raise ValueError(f"{text!r}: begins when it ends; leave the hours out for the whole day")
    return begin, end if end > begin else end + _DAY_MINUTES


def _expected(text: str) -> ValueError:
    return ValueError(f"{text!r}: expected days and hours like 'mon-fri 22:00-06:00', 'sat,sun' or '08:30-17:00'")
