"""How many alarms are wanted: "3 per night". Pure: nights, days and weeks of a time zone."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import Final, Literal, cast

from consumers.replaying.errors import ReplayError

Unit = Literal["night", "day", "week"]
#: A night, in hours of local time; it belongs to the day on which it begins.
_NIGHT_FROM, _NIGHT_TO = 22, 6
_BUDGET: Final = re.compile(r"\s*(?P<n>[0-9]{1,6})\s*(?:alarms?\s+)?(?:per|a|/)\s*(?P<unit>night|day|week)\s*")


@dataclass(frozen=True, slots=True)
class AlarmBudget:
    """So many alarms, of all cameras together, at most in each night, day or week."""

    most: int
    unit: Unit

    @classmethod
    def parse(cls, text: str) -> AlarmBudget:
        """Read "3 per night", "10 a day", "20/week".

        Raises:
            ReplayError: the text is no such budget.
        """
        if (found := _BUDGET.fullmatch(text)) is None:
            raise ReplayError(
                f"--budget {text!r}: expected alarms of all cameras together, like '3 per night', '10 per day' or "
                "'20 per week'"
            )
        return cls(int(found["n"]), cast(Unit, found["unit"]))


def unit_of(unit: Unit, time_us: int, zone: dt.tzinfo) -> str | None:
    """Name the night, day or week to which an event time belongs; None by day, where nights are counted."""
    moment = dt.datetime.fromtimestamp(time_us / 1e6, zone)
    day = moment.date()
    if unit == "week":
        year, week, _ = day.isocalendar()
        return f"{year}-W{week:02d}"
    if unit == "night":
        if _NIGHT_TO <= moment.hour < _NIGHT_FROM:
            return None
        day -= dt.timedelta(days=moment.hour < _NIGHT_TO)
    return day.isoformat()


def unit_words(unit: Unit, zone: dt.tzinfo) -> str:
    """What is counted, in words."""
    hours = f" ({_NIGHT_FROM:02d}:00 to {_NIGHT_TO:02d}:00)" if unit == "night" else ""
    return f"{unit}{hours}, {zone}"
