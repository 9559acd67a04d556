"""What several cameras of a group see at once is one incident, whoever puts the events together."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from consumers.records.event import Event
from consumers.rules.incidents import Incidents, merged, news
from tests.snapshots import event

BEGIN_US = 1_764_000_000_000_000
SECOND = 1_000_000


def seen(camera: str, start: float, seconds: float = 4.0, *, group: str | None = "yard", merge: float = 30.0) -> Event:
    """The first report of an event that begins so many seconds after the beginning."""
    at_us = BEGIN_US + round(start * SECOND)
    return event(camera, seconds, at_us=at_us, group=group, merge_seconds=None if group is None else merge)


def over(begun: Event, seconds: float | None = None) -> Event:
    """Its last report."""
    end_us = begun.end_us if seconds is None else begun.start_us + round(seconds * SECOND)
    return replace(begun, state="ended", ending="below_threshold", revision=9, end_us=end_us)


def told(*reports: Event) -> list[tuple[str | None, tuple[str, ...], int]]:
    return [(each.state, each.cameras, len(each.events)) for each in news(reports)]


def test_an_incident_opens_grows_and_is_over_when_all_of_its_events_are():
    first, second = seen("gate", 0), seen("yard", 2)
    assert told(first, second, over(first), over(second)) == [
        ("started", ("gate",), 1),
        ("updated", ("gate", "yard"), 2),
        ("ended", ("gate", "yard"), 2),
    ]
    (incident,) = merged([first, second, over(first), over(second, 9.0)])
    assert (incident.id, incident.group, incident.label) == (first.id, "yard", "fight")
    assert (incident.start_us, incident.end_us) == (first.start_us, second.start_us + 9 * SECOND)


def test_what_goes_on_is_one_incident_however_long_ago_it_was_reported():
    long = seen("gate", 0)
    assert len(merged([long, seen("yard", 300)])) == 1
    assert len(merged([over(long), seen("yard", 300)])) == 2


def test_little_time_between_two_events_is_one_incident_more_is_another():
    first = over(seen("gate", 0, 4.0))
    assert [len(merged([first, seen("gate", at)])) for at in (33.9, 34.1)] == [1, 2]
    # What is reported late is near from the other side, too.
    assert [len(merged([first, over(seen("yard", at, 2.0))])) for at in (-31, -33)] == [1, 2]


def test_labels_groups_and_cameras_by_themselves_are_apart():
    base = seen("gate", 0)
    others = [
        replace(seen("yard", 1), label="fall"),
        seen("yard", 1, group="docks"),
        seen("gate", 1, group=None),
        seen("yard", 1, group=None),
        seen("gate~drill-0123abcd", 1),
    ]
    for other in others:
        assert [each.events for each in merged([base, other])] == [(base.id,), (other.id,)]
    assert merged([others[2]])[0].group is None


def test_one_alert_makes_an_incident_an_alert():
    noted = replace(seen("gate", 0), severity="detection")
    assert [each.severity for each in merged([noted])] == ["detection"]
    assert [each.severity for each in merged([noted, seen("yard", 1)])] == ["alert"]


def test_what_is_remembered_is_bounded():
    incidents = Incidents()
    for n in range(5000):
        incidents.take(over(seen("gate", n * 100.0, group=f"g{n}")))
    for n in range(100):
        incidents.take(over(seen("gate", n * 100.0)))
    assert len(incidents._places) <= 4096
    assert max(len(courses) for courses in incidents._places.values()) <= 16
    many = [replace(seen("gate", 0), id=f"{n:024x}") for n in range(1500)]
    assert len(merged(many)[0].events) == 1000


def chains(spans: Iterable[tuple[int, int]]) -> int:
    """How many pieces of time there are between which 30 s and more lie."""
    pieces, end = 0, -1000
    for start, length in sorted(spans):
        pieces += start > end + 30
        end = max(end, start + length)
    return pieces


#: By camera and begin, how long an event lasts; begins are 7 s apart, so that nothing lies on the edge of the 30 s.
drawn = st.dictionaries(
    st.tuples(st.sampled_from(["gate", "yard", "dock"]), st.integers(0, 60).map(lambda n: n * 7)),
    st.integers(1, 8).map(lambda n: 7 * n + 2),
    max_size=12,
)


@given(drawn, st.integers(0, 1000))
def test_two_workers_that_are_not_in_step_change_no_incident(lengths: dict[tuple[str, int], int], seed: int):
    begun = {seen(camera, start, 2.0): length for (camera, start), length in lengths.items()}
    reports = [*begun, *(over(first, float(length)) for first, length in begun.items())]
    lag = {camera: random.Random(f"{seed}{camera}").randint(0, 2 * SECOND) for camera in ("gate", "yard", "dock")}
    in_time = sorted(reports, key=lambda e: (e.time_us, e.camera))
    behind = sorted(reports, key=lambda e: (e.time_us + lag[e.camera], e.camera))
    found = [{frozenset(each.events) for each in merged(some)} for some in (in_time, behind)]
    assert found[0] == found[1]
    assert len(found[0]) == chains((start, length) for (_, start), length in lengths.items())
