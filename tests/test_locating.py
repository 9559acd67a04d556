"""Where on the topic an event was seen."""

from __future__ import annotations

from consumers.live.handover.locating import EventLocator
from consumers.records.event import Event
from stream import Segment

SECOND = 1_000_000


def segment(number: int) -> Segment:
    start_us = number * SECOND
    return Segment("gate", 0, number, start_us, start_us + SECOND, "mpegts", "h264", 8, 8, 1, 0, b"x")


def event(start_us: int, end_us: int, state: str = "started") -> Event:
    ending = "gap" if state == "ended" else None
    return Event("gate", "m", "run", state, 0, "an-id", start_us, end_us, 0.9, start_us, 1, ending)  # type: ignore[arg-type]


def test_an_event_lies_in_the_records_that_overlap_it():
    locator = EventLocator(("clipline.segments", 3))
    for number in range(6):
        locator.note(segment(number), 100 + 2 * number)  # others lie between
    assert locator.locate(event(SECOND, 3 * SECOND)).segments == "clipline.segments[3]@102-104"
    assert locator.locate(event(9 * SECOND, 10 * SECOND)).segments is None


def test_a_long_event_keeps_its_first_record_although_that_is_forgotten():
    locator = EventLocator(("clipline.segments", 0))
    locator.note(segment(0), 7)
    locator.hold([event(0, SECOND)])
    assert locator.locate(event(0, SECOND)).segments == "clipline.segments[0]@7-7"
    for number in range(1, 3000):
        locator.note(segment(number), 7 + number)
    assert locator.locate(event(0, 3000 * SECOND, "ended")).segments == "clipline.segments[0]@7-3006"
    locator.hold([])  # it has ended
    assert locator.locate(event(0, 3000 * SECOND)).segments == f"clipline.segments[0]@{3007 - 1024}-3006"


def test_who_goes_on_with_the_places_of_another_names_the_same_records():
    first = EventLocator(("clipline.segments", 0))
    for number in range(4):
        first.note(segment(number), 7 + number)
    first.hold([event(0, 3 * SECOND)])
    second = EventLocator(("clipline.segments", 0), first.state)
    assert second.locate(event(0, 3 * SECOND, "ended")) == first.locate(event(0, 3 * SECOND, "ended"))
    for locator in (first, second):
        locator.note(segment(4), 20)
        locator.note(segment(4), 21)  # sent twice
    assert first.locate(event(0, 5 * SECOND)).segments == "clipline.segments[0]@7-20"
    assert second.locate(event(0, 5 * SECOND)).segments == "clipline.segments[0]@7-20"
