"""Rules by camera and label: what wins, what a tracker makes of them, and versions over event time."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from consumers.live.tracker import Tracker, TrackerState
from consumers.records.event import Event
from consumers.records.prediction import Prediction
from consumers.rules.book import RuleBook
from consumers.rules.rule import Rule
from consumers.rules.rule_set import RuleSet, check_cameras, version_of
from consumers.settings import RuleSettings, Schedule, Settings, SettingsError, TrackerSettings, load_settings
from models import find

CONTRACT = find("default").contract
LABEL = next(iter(CONTRACT.thresholds))
OTHER = next(label for label in CONTRACT.labels if label not in CONTRACT.thresholds)
SECOND = 1_000_000
STATE = TypeAdapter(TrackerState)
#: A Monday, 21:59:50 UTC.
EPOCH_US = round(dt.datetime(2026, 11, 30, 21, 59, 50, tzinfo=dt.UTC).timestamp()) * SECOND
RULE = Rule(start=0.8, end=0.4, min_seconds=2.0, cooldown_seconds=0.0, update_seconds=1000.0, version="one")


def rules(*tables: dict[str, object], tracker: dict[str, object] | None = None) -> RuleSet:
    return RuleSet(
        CONTRACT,
        TrackerSettings.model_validate(tracker or {}),
        [RuleSettings.model_validate(table) for table in tables],
    )


def window(number: int, score: float) -> Prediction:
    """Windows of 2 s, one each second."""
    start_us = EPOCH_US + number * SECOND
    return Prediction("cam", EPOCH_US, number, start_us, start_us + 2 * SECOND, "model-1", {"run": score})


def track(scores: Sequence[float], rule: Rule | RuleBook) -> list[Event]:
    tracker = Tracker(rule.of("cam") if isinstance(rule, RuleBook) else {"run": rule})
    return [event for n, score in enumerate(scores) for event in tracker.push(window(n, score))]


def told(events: Sequence[Event]) -> list[tuple[str, float, str | None]]:
    return [(e.state, (e.end_us - EPOCH_US) / SECOND, e.ending or e.reason) for e in events]


def test_without_tables_rules_are_those_of_the_model_and_the_tracker():
    found = rules(tracker={"min_seconds": 3.0}).of("dock-1")
    threshold = CONTRACT.thresholds[LABEL]
    assert list(found) == list(CONTRACT.thresholds)
    assert (found[LABEL].start, found[LABEL].end, found[LABEL].min_seconds) == (threshold.start, threshold.end, 3.0)
    assert (found[LABEL].severity, found[LABEL].schedule, found[LABEL].escalate_after_seconds) == ("alert", None, None)


def test_the_lower_table_wins_key_by_key():
    found = rules(
        {"severity": "detection", "min_seconds": 4, "start": 0.9},
        {"camera": "dock-*", "min_seconds": 1},
        {"camera": "dock-1", "label": LABEL, "start": 0.95, "end": 0.2},
    )
    at = {name: found.of(name)[LABEL] for name in ("gate", "dock-2", "dock-1")}
    assert {name: (r.severity, r.min_seconds, r.start) for name, r in at.items()} == {
        "gate": ("detection", 4.0, 0.9),
        "dock-2": ("detection", 1.0, 0.9),
        "dock-1": ("detection", 1.0, 0.95),
    }
    assert at["dock-1"].end == 0.2


def test_a_lower_start_takes_the_end_down_with_it():
    found = rules({"start": 0.05}).of("gate")[LABEL]
    assert (found.start, found.end) == (0.05, 0.05)


def test_what_a_table_sets_a_lower_one_takes_back():
    schedule = {"schedule": ["mon-fri 22:00-06:00"], "time_zone": "Europe/Berlin"}
    found = rules(
        {"enabled": False, "escalate_after_seconds": 30, "group": "yard", "merge_seconds": 9, **schedule},
        {"camera": "dock-*", "enabled": True},
        {"camera": "dock-1", "schedule": [], "escalate_after_seconds": 0, "group": ""},
    )
    assert found.of("gate") == {}
    assert found.of("dock-2")[LABEL].schedule == Schedule(("mon-fri 22:00-06:00",), "Europe/Berlin")
    assert found.of("dock-2")[LABEL].escalate_after_seconds == 30
    assert (found.of("dock-2")[LABEL].group, found.of("dock-2")[LABEL].merge_seconds) == ("yard", 9)
    assert found.of("dock-1")[LABEL].group is None
    assert (found.of("dock-1")[LABEL].schedule, found.of("dock-1")[LABEL].escalate_after_seconds) == (None, None)


def test_labels_raise_events_if_they_do_so_on_some_camera():
    found = RuleBook(rules({"enabled": False}, {"camera": "dock-*", "enabled": True, "start": 0.9}))
    assert found.alarms([]) == {LABEL: 0.9}
    assert RuleBook(rules({"enabled": False})).alarms(["dock-1"]) == {}


def test_a_label_without_a_threshold_makes_events_where_a_table_names_it_and_gives_one():
    found = rules({"camera": "dock-*", "label": OTHER, "start": 0.6})
    assert found.of("dock-1")[OTHER].start == 0.6
    assert OTHER not in found.of("gate")
    # Said of all labels, it is said of those that make events.
    assert OTHER not in rules({"start": 0.6}).of("gate")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"label": "juggling"}, "rules #2.label: the model knows"),
        ({"label": OTHER, "min_seconds": 1}, "rules #2.label: the model has no threshold for"),
    ],
)
def test_labels_that_cannot_make_events_are_refused(table, message):
    with pytest.raises(SettingsError, match=message):
        rules({}, table)


def test_tables_that_contradict_one_another_are_refused_for_cameras_that_are_known():
    found = rules({"start": 0.5}, {"camera": "dock-*", "end": 0.7})
    check_cameras(found, ["gate"])
    with pytest.raises(SettingsError, match=r"rules #2.end = 0.7: camera dock-1 starts events of '.*' from 0.5"):
        check_cameras(found, ["gate", "dock-1"])
    assert found.of("dock-1")[LABEL].end == 0.5


def test_a_version_is_named_by_what_it_says():
    one = rules({"start": 0.9})
    assert one.version == rules({"camera": "*", "start": 0.9}).version == version_of(one.tracker, one.tables)
    assert len({one.version, rules().version, rules({"start": 0.8}).version}) == 3
    assert {rule.version for rule in one.of("gate").values()} == {one.version}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("strat = 0.9", r"unknown setting 'rules #1.strat'; did you mean 'start'\?"),
        ("start = 1.5", "rules #1.start = 1.5: Input should be less than or equal to 1"),
        ('start = "0.9"', "rules #1.start = '0.9': expected a number, without quotes"),
        ("start = 0.4\nend = 0.6", r"rules #1 = .*: expected end \(0.6\) <= start \(0.4\)"),
        ('severity = "loud"', "rules #1.severity = 'loud': Input should be 'alert' or 'detection'"),
        (
            'schedule = ["mon-fry 8:00-9:00"]\ntime_zone = "UTC"',
            "rules #1.schedule #1 = 'mon-fry 8:00-9:00': expected hours like 22:00-07:00",
        ),
        ('schedule = ["sun"]', "rules #1 = .*: expected schedule and time_zone together"),
        ('time_zone = "Europe/Berlin"', "rules #1 = .*: expected schedule and time_zone together"),
        ('schedule = ["sun"]\ntime_zone = "Berlin"', "rules #1.time_zone = 'Berlin': expected a time zone"),
    ],
)
def test_errors_name_the_table_and_the_key(tmp_path: Path, table: str, message: str):
    file = tmp_path / "clipline.toml"
    file.write_text(f"[[rules]]\n{table}\n")
    with pytest.raises(SettingsError, match=message):
        load_settings(file, {})


def test_tables_are_read_in_their_order(tmp_path: Path):
    file = tmp_path / "clipline.toml"
    file.write_text('[[rules]]\ncamera = "a"\n[[rules]]\ncamera = "b"\nschedule = ["sat,sun"]\ntime_zone = "UTC"\n')
    found = load_settings(file, {})
    assert [table.camera for table in found.rules] == ["a", "b"]
    assert found.rules[1].hours == Schedule(("sat,sun",), "UTC")
    assert Settings().rules == ()


def test_an_event_that_goes_on_is_escalated_once_and_is_an_alert_from_then_on():
    rule = replace(RULE, severity="detection", escalate_after_seconds=5.0, update_seconds=3.0)
    events = track([0.9] * 9 + [0.1], rule)
    assert told(events) == [
        ("started", 2, None),
        ("updated", 5, "escalated"),
        ("updated", 8, None),
        ("ended", 10, "below_threshold"),
    ]
    assert [(e.severity, e.escalated) for e in events] == [("detection", False), *[("alert", True)] * 3]
    assert {e.rule for e in events} == {"one"}


def test_an_event_says_its_group_and_a_camera_by_itself_says_none():
    grouped = track([0.9] * 3 + [0.1], replace(RULE, group="yard", merge_seconds=12.0))
    assert {(e.state, e.group, e.merge_seconds) for e in grouped} == {
        ("started", "yard", 12.0),
        ("ended", "yard", 12.0),
    }
    assert {(e.group, e.merge_seconds) for e in track([0.9] * 3 + [0.1], RULE)} == {(None, None)}


def test_an_event_that_ends_before_is_not_escalated():
    events = track([0.9] * 3 + [0.1], replace(RULE, escalate_after_seconds=10.0))
    assert told(events) == [("started", 2, None), ("ended", 4, "below_threshold")]
    assert not any(e.escalated for e in events)


def test_events_begin_with_the_schedule_and_end_with_it():
    # From 22:00:00 to 22:00:05, of windows that begin at 21:59:50 and each second after.
    nights = Schedule(("22:00-22:01",), "UTC")
    events = track([0.9] * 15, replace(RULE, schedule=nights))
    assert [(e.state, (e.start_us - EPOCH_US) / SECOND) for e in events] == [("started", 10)]
    ended = track([0.9] * 75, replace(RULE, schedule=nights))[1]
    # The last window that begins before 22:01 is that of 22:00:59, and lasts until 22:01:01.
    assert (ended.ending, (ended.end_us - EPOCH_US) / SECOND) == ("off_schedule", 71)


def test_averages_are_known_when_a_schedule_begins():
    rule = replace(RULE, smoothing=4, schedule=Schedule(("22:00-23:00",), "UTC"))
    (started,) = track([0.9] * 15, rule)
    assert (started.start_us - EPOCH_US) / SECOND == 10


def book(since_seconds: float, *versions: dict[str, Rule]) -> RuleBook:
    """One version after another, so many seconds apart."""
    found = RuleBook(versions[0])
    found.set(
        {EPOCH_US + round(since_seconds * n * SECOND): RuleBook(v)._versions[1][0] for n, v in enumerate(versions) if n}
    )
    return found


def test_a_window_goes_by_the_version_of_the_time_at_which_it_begins():
    stricter = {"run": replace(RULE, start=0.95, end=0.92, version="two")}
    events = track([0.9] * 8, book(5, {"run": RULE}, stricter))
    assert told(events) == [("started", 2, None), ("ended", 6, "below_threshold")]
    assert [e.rule for e in events] == ["one", "two"]


def test_an_event_goes_on_under_a_new_version_with_its_id():
    later = {"run": replace(RULE, severity="detection", update_seconds=2.0, version="two")}
    events = track([0.9] * 8, book(5, {"run": RULE}, later))
    assert [(e.state, e.severity, e.rule) for e in events] == [
        ("started", "alert", "one"),
        ("updated", "detection", "two"),
        ("updated", "detection", "two"),
    ]
    assert len({e.id for e in events}) == 1
    assert events[0].id == track([0.9] * 8, RULE)[0].id


def test_an_event_ends_where_its_label_has_no_rule_any_more():
    events = track([0.9] * 8, book(3, {"run": RULE}, {}, {"run": RULE}))
    assert told(events) == [("started", 2, None), ("ended", 4, "rule_removed"), ("started", 8, None)]
    assert len({e.id for e in events}) == 2


def test_older_footage_goes_by_the_version_of_its_time():
    versions = book(5, {"run": RULE}, {"run": replace(RULE, version="two")})
    tracker = Tracker(versions.of("cam"))
    found = [event.rule for n in (7, 0) for event in tracker.push(window(n, 0.9))]
    assert found == ["two", "two", "one"]  # started, ended by the step back in time, started


@pytest.mark.parametrize("cut", range(13))
def test_a_tracker_that_takes_over_goes_on_through_a_change_of_rules(cut: int):
    first = {"run": replace(RULE, smoothing=2, escalate_after_seconds=6.0)}
    versions = book(
        5, first, {"run": replace(RULE, smoothing=3, version="two", schedule=Schedule(("22:00-22:01",), "UTC"))}
    )
    scores = [0.9, 0.9, 0.5, 0.9, 0.9, 0.9, 0.9, 0.9, 0.1, 0.9, 0.9, 0.9, 0.9, 0.9]
    undisturbed = track(scores, versions)
    one = Tracker(versions.of("cam"))
    events = [event for n in range(cut) for event in one.push(window(n, scores[n]))]
    other = Tracker.restored(versions.of("cam"), one.state)
    events += [event for n in range(cut, len(scores)) for event in other.push(window(n, scores[n]))]
    assert events == undisturbed
    assert {e.ending for e in undisturbed if e.state == "ended"} == {"off_schedule"}


RULES = st.builds(
    lambda start, smoothing, seconds, name: replace(
        RULE, start=start, end=0.3, smoothing=smoothing, min_seconds=seconds, escalate_after_seconds=6.0, version=name
    ),
    st.sampled_from([0.4, 0.8]),
    st.integers(1, 3),
    st.sampled_from([0.0, 2.0, 4.0]),
    st.text("abc", min_size=1, max_size=3),
)
VERSIONS = st.lists(st.dictionaries(st.just("run"), RULES, max_size=1), min_size=1, max_size=4)


@given(st.lists(st.sampled_from([0.1, 0.5, 0.9]), max_size=30), VERSIONS, st.sets(st.integers(0, 30), max_size=3))
def test_whatever_changes_and_whoever_takes_over_events_are_the_same(scores, versions, cuts):
    rules = book(7, *versions)
    undisturbed = track(scores, rules)
    tracker, events = Tracker(rules.of("cam")), []
    for n, score in enumerate(scores):
        if n in cuts:
            tracker = Tracker.restored(rules.of("cam"), STATE.validate_json(STATE.dump_json(tracker.state)))
        events += tracker.push(window(n, score))
    assert events == undisturbed
    for name in {event.id for event in events}:
        course = [event for event in events if event.id == name]
        assert [event.revision for event in course] == list(range(len(course)))
        assert course[0].state == "started"
        assert {event.state for event in course[1:-1]} <= {"updated"}
        assert sum(event.reason == "escalated" for event in course) <= 1


def test_what_an_earlier_version_knew_of_an_event_is_gone_on_with():
    tracker = Tracker({"run": RULE})
    for n in range(3):
        tracker.push(window(n, 0.9))
    known = json.loads(STATE.dump_json(tracker.state))
    for added in ("severity", "rule", "escalated", "reason", "group", "merge_seconds"):
        del known["courses"]["run"]["event"][added]
    restored = Tracker.restored({"run": RULE}, STATE.validate_python(known))
    (ended,) = restored.push(window(3, 0.1))
    assert (ended.state, ended.severity, ended.rule) == ("ended", "alert", "one")
