"""Hours of the week in a time zone, also where clocks change."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.settings import Schedule
from consumers.settings.schedule import Stretch, check_clock, next_at_us

BERLIN = ZoneInfo("Europe/Berlin")
MINUTE = 60_000_000


def us(moment: dt.datetime) -> int:
    return round(moment.timestamp()) * 1_000_000


def utc(day: int, hour: int, minute: int = 0, month: int = 11, year: int = 2026) -> int:
    return us(dt.datetime(year, month, day, hour, minute, tzinfo=dt.UTC))


def covered(schedule: Schedule, day: dt.date, minutes: int = 2 * 24 * 60) -> list[str]:
    """Where a schedule begins and ends, in UTC, in the two days from a day on."""
    begin_us = us(dt.datetime.combine(day, dt.time(), dt.UTC))
    inside = [schedule.covers(begin_us + n * MINUTE) for n in range(minutes)]
    changes = [n for n in range(1, minutes) if inside[n] != inside[n - 1]]
    return [(dt.datetime.combine(day, dt.time()) + dt.timedelta(minutes=n)).strftime("%d %H:%M") for n in changes]


def test_hours_that_cross_midnight_belong_to_the_day_on_which_they_begin():
    # 2026-11-27 is a Friday.
    nights = Schedule(("mon-fri 22:00-06:00",), "UTC")
    assert covered(nights, dt.date(2026, 11, 27)) == ["27 06:00", "27 22:00", "28 06:00"]
    assert covered(nights, dt.date(2026, 11, 29)) == ["30 22:00"]


def test_a_stretch_holds_its_begin_and_not_its_end():
    day = Schedule(("08:30-17:00",), "UTC")
    assert not day.covers(utc(2, 8, 30) - 1)
    assert day.covers(utc(2, 8, 30))
    assert day.covers(utc(2, 17) - 1)
    assert not day.covers(utc(2, 17))


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("sat,sun", (5, 6)),
        ("fri-mon", (0, 4, 5, 6)),
        ("Mon - Wed, sat", (0, 1, 2, 5)),
        ("08:00-09:00", tuple(range(7))),
        ("tue 8:00 - 24:00", (1,)),
    ],
)
def test_days_are_named_one_by_one_or_from_one_to_another(text: str, days: tuple[int, ...]):
    assert Stretch.parse(text).days == days


def test_days_alone_are_whole_days_on_the_clock_of_the_zone():
    sunday = Schedule(("sun",), "Europe/Berlin")
    # 2026-11-29 is a Sunday; Berlin is an hour ahead of UTC in winter.
    assert covered(sunday, dt.date(2026, 11, 28)) == ["28 23:00", "29 23:00"]


def test_several_stretches_are_one_schedule():
    schedule = Schedule(("mon 08:00-09:00", "mon 12:00-13:00"), "UTC")
    assert covered(schedule, dt.date(2026, 11, 30)) == ["30 08:00", "30 09:00", "30 12:00", "30 13:00"]


def test_the_hour_that_clocks_skip_is_not_waited_for():
    # 2026-03-29: at 01:00 UTC the clocks of Berlin go from 02:00 to 03:00.
    spring = dt.date(2026, 3, 29)
    assert covered(Schedule(("sun 02:10-02:50",), "Europe/Berlin"), spring) == []
    assert covered(Schedule(("sun 01:30-02:30",), "Europe/Berlin"), spring) == ["29 00:30", "29 01:00"]
    assert covered(Schedule(("sun 02:30-04:00",), "Europe/Berlin"), spring) == ["29 01:00", "29 02:00"]
    # An hour less than its hands show.
    assert covered(Schedule(("sat 22:00-06:00",), "Europe/Berlin"), dt.date(2026, 3, 28)) == ["28 21:00", "29 04:00"]


def test_the_hour_that_clocks_show_twice_is_in_once_as_a_whole():
    # 2026-10-25: at 01:00 UTC the clocks of Berlin go from 03:00 back to 02:00.
    autumn = dt.date(2026, 10, 24)
    assert covered(Schedule(("sun 02:00-03:00",), "Europe/Berlin"), autumn) == ["25 00:00", "25 02:00"]
    # It begins at the first 02:15 and ends at the second 02:45, and does not stop between.
    assert covered(Schedule(("sun 02:15-02:45",), "Europe/Berlin"), autumn) == ["25 00:15", "25 01:45"]
    assert covered(Schedule(("sat 22:00-06:00",), "Europe/Berlin"), autumn) == ["24 20:00", "25 05:00"]


def test_clocks_that_go_back_over_midnight_lose_nothing():
    # 2007-11-04: at 00:01 the clocks of St. John's went back to 23:01 of the day before.
    sunday = Schedule(("sun",), "America/St_Johns")
    assert covered(sunday, dt.date(2007, 11, 4)) == ["04 02:30", "05 03:30"]


def test_a_day_that_a_zone_skipped_is_no_day():
    # Samoa had no 2011-12-30, a Friday.
    assert covered(Schedule(("fri",), "Pacific/Apia"), dt.date(2011, 12, 29), 3 * 24 * 60) == []


@given(
    st.integers(0, 2_000_000_000),
    st.integers(0, 23),
    st.integers(0, 24),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kolkata", "UTC"]),
)
def test_away_from_changes_of_clocks_a_schedule_is_what_the_clock_shows(seconds, begin, end, zone):
    if begin == end:
        return
    clock = dt.datetime.fromtimestamp(seconds, ZoneInfo(zone))
    offsets = {(clock + dt.timedelta(days=d)).utcoffset() for d in (-3, -2, -1, 0, 1, 2)}
    if len(offsets) > 1:
        return
    shown = clock.hour + clock.minute / 60 + clock.second / 3600
    expected = begin <= shown < end if begin < end else shown >= begin or shown < end
    schedule = Schedule((f"{begin:02}:00-{end:02}:00",), zone)
    assert schedule.covers(seconds * 1_000_000) == expected


@pytest.mark.parametrize(
    ("now", "clock", "next_"),
    [
        (utc(28, 7), "08:00", utc(29, 7)),  # 8:00 in Berlin: the next one
        (utc(28, 6, 59), "08:00", utc(28, 7)),
        (utc(28, 23, 30), "00:15", utc(29, 23, 15)),
        # On 29 March clocks show no 2:30, on 25 October they show it twice.
        (utc(29, 0, 0, 3), "02:30", utc(29, 1, 0, 3)),
        (utc(25, 0, 0, 10), "02:30", utc(25, 0, 30, 10)),
        (utc(25, 0, 31, 10), "02:30", utc(26, 1, 30, 10)),
    ],
)
def test_the_next_time_at_which_a_clock_shows_an_hour(now: int, clock: str, next_: int):
    assert next_at_us(clock, "Europe/Berlin", now) == next_


@pytest.mark.parametrize("text", ["8:00", "24:00", "08:60", "0800", "", "08:00 "])
def test_what_is_no_time_of_day_is_refused(text: str):
    with pytest.raises(ValueError, match="expected a time of day such as 08:00"):
        check_clock(text)


@pytest.mark.parametrize(
    "text", ["", "mon fri", "mon-xyz", "25:00-26:00", "08:60-09:00", "08:00-08:00", "24:00-08:00", "8-9"]
)
def test_what_is_no_schedule_is_refused_by_its_words(text: str):
    with pytest.raises(ValueError, match=repr(text)):
        Stretch.parse(text)


@pytest.mark.parametrize("time_us", [0, -1, 253_370_764_800_000_000])
def test_times_at_the_ends_of_what_a_camera_may_say_are_looked_up(time_us: int):
    assert Schedule(("mon-sun",), "Pacific/Kiritimati").covers(time_us)
