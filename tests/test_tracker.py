"""When a label becomes an event, and when it stops being one."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.live.tracker import Tracker
from consumers.records.event import Event
from consumers.records.prediction import Prediction
from consumers.rules.rule import Rule

EPOCH_US = 1_700_000_000_000_000
SECOND = 1_000_000
RULE = Rule(start=0.8, end=0.4, min_seconds=2.0, cooldown_seconds=3.0, update_seconds=5.0)


def window(
    number: int, score: float | dict[str, float], *, epoch_us=EPOCH_US, camera="cam", span=2.0, stride=1.0
) -> Prediction:
    start_us = epoch_us + round(number * stride * SECOND)
    scores = score if isinstance(score, dict) else {"run": score}
    return Prediction(camera, epoch_us, number, start_us, start_us + round(span * SECOND), "model-1", scores)


def track(scores: Sequence[float], rule: Rule = RULE, **how) -> list[Event]:
    tracker = Tracker({"run": rule})
    return [e for n, score in enumerate(scores) for e in tracker.push(window(n, score, **how))]


def told(events: Sequence[Event]) -> list[tuple[str, float, float]]:
    """State, begin and end in seconds after the epoch."""
    return [(e.state, (e.start_us - EPOCH_US) / SECOND, (e.end_us - EPOCH_US) / SECOND) for e in events]


def rule(**changes) -> Rule:
    values = {"start": 0.8, "end": 0.4, "min_seconds": 0.0, "cooldown_seconds": 0.0, "update_seconds": 1000.0}
    return Rule(**values | changes)


@pytest.mark.parametrize(("score", "starts"), [(0.8, True), (0.799999, False), (1.0, True), (float("nan"), False)])
def test_an_event_starts_at_the_start_threshold(score, starts):
    assert bool(track([score], rule())) == starts


@pytest.mark.parametrize(("score", "goes_on"), [(0.4, True), (0.399999, False), (float("nan"), False)])
def test_an_event_goes_on_down_to_the_lower_end_threshold(score, goes_on):
    events = track([0.9, score], rule())
    assert told(events) == [("started", 0, 2)] + ([] if goes_on else [("ended", 0, 2)])


def test_the_end_threshold_alone_starts_nothing():
    assert track([0.79] * 10, rule()) == []


def test_an_event_starts_once_it_has_held_for_its_least_duration():
    # Windows of 2 s, one each second: after the third the label has held for 4 s.
    events = track([0.9] * 5, rule(min_seconds=4.0))
    assert told(events) == [("started", 0, 4)]
    assert events[0].windows == 3


def test_a_label_that_does_not_hold_long_enough_is_none():
    assert track([0.9, 0.9, 0.1, 0.9, 0.9, 0.1], rule(min_seconds=4.0)) == []


def test_an_event_ends_with_the_last_window_that_held_it():
    started, ended = track([0.9, 0.5, 0.95, 0.6, 0.1], rule())
    assert told([started, ended]) == [("started", 0, 2), ("ended", 0, 5)]
    assert ended.ending == "below_threshold"
    assert ended.windows == 4
    assert (ended.peak_score, ended.peak_us) == (0.95, EPOCH_US + 2 * SECOND)
    assert started.ending is None


def test_after_an_event_the_label_is_left_alone_for_the_cooldown():
    # Held until 2 s, so nothing begins before 5 s.
    scores = [0.9, 0.1, 0.9, 0.9, 0.9, 0.9, 0.9]
    assert told(track(scores, rule(cooldown_seconds=3.0))) == [("started", 0, 2), ("ended", 0, 2), ("started", 5, 7)]


def test_a_candidate_that_never_became_an_event_costs_no_cooldown():
    scores = [0.9, 0.1, 0.9, 0.9, 0.9]
    assert told(track(scores, rule(min_seconds=4.0, cooldown_seconds=100.0))) == [("started", 2, 6)]


def test_an_event_that_goes_on_is_reported_again_at_its_interval():
    events = track([0.9] * 12, rule(update_seconds=5.0))
    assert told(events) == [("started", 0, 2), ("updated", 0, 7), ("updated", 0, 12)]
    assert [e.revision for e in events] == [0, 1, 2]
    assert len({e.id for e in events}) == 1


def test_windows_that_are_missing_end_the_event_where_it_was_last_seen():
    tracker = Tracker({"run": rule()})
    events = [e for n in (0, 1, 5, 6) for e in tracker.push(window(n, 0.9))]
    assert told(events) == [("started", 0, 2), ("ended", 0, 3), ("started", 5, 7)]
    assert events[1].ending == "gap"


def test_windows_further_apart_than_they_are_long_are_no_gap():
    events = track([0.9] * 5, rule(min_seconds=7.0), span=2.0, stride=5.0)
    assert told(events) == [("started", 0, 7)]


def test_a_new_epoch_ends_the_event_and_its_candidates():
    tracker = Tracker({"run": rule(min_seconds=3.0)})
    events = tracker.push(window(0, 0.9)) + tracker.push(window(1, 0.9))
    events += tracker.push(window(0, 0.9, epoch_us=EPOCH_US + 2 * SECOND))
    events += tracker.push(window(1, 0.9, epoch_us=EPOCH_US + 2 * SECOND))
    assert told(events) == [("started", 0, 3), ("ended", 0, 3)]  # the second one begins before the first one's end
    events = tracker.push(window(2, 0.9, epoch_us=EPOCH_US + 2 * SECOND))
    assert told(events) == [("started", 3, 6)]


def test_the_end_of_the_feed_ends_events_and_forgets_candidates():
    tracker = Tracker({"run": rule(), "fall": rule(min_seconds=10.0)})
    tracker.push(window(0, {"run": 0.9, "fall": 0.9}))
    assert [e.label for e in tracker.active] == ["run"]
    (ended,) = tracker.close("feed_ended")
    assert (ended.label, ended.state, ended.ending) == ("run", "ended", "feed_ended")
    assert tracker.active == []
    assert tracker.close("feed_ended") == []
    # What comes next begins anew.
    assert tracker.push(window(1, {"run": 0.1, "fall": 0.9})) == []


def test_labels_are_tracked_apart():
    tracker = Tracker({"run": rule(), "fall": rule(start=0.5)})
    scores = [{"run": 0.9, "fall": 0.1, "other": 1.0}, {"run": 0.1, "fall": 0.6, "other": 1.0}]
    events = [e for n, s in enumerate(scores) for e in tracker.push(window(n, s))]
    assert [(e.label, e.state) for e in events] == [("run", "started"), ("run", "ended"), ("fall", "started")]


def test_cameras_are_told_apart_by_the_ids_of_their_events():
    (one,) = Tracker({"run": rule()}).push(window(0, 0.9, camera="a"))
    (other,) = Tracker({"run": rule()}).push(window(0, 0.9, camera="b"))
    assert one.id != other.id


def test_footage_that_is_sent_again_gives_the_same_events_again():
    scores = [0.1, 0.9, 0.9, 0.1, 0.1, 0.1, 0.9, 0.9, 0.9, 0.1]
    tracker = Tracker({"run": RULE})

    def once() -> list[Event]:
        return [e for n, s in enumerate(scores) for e in tracker.push(window(n, s))] + tracker.close("feed_ended")

    first = once()
    assert {e.state for e in first} == {"started", "ended"}
    assert once() == first


@pytest.mark.parametrize("values", [(0.4, 0.8), (1.1, 0.5), (0.5, -0.1), (float("nan"), 0.1)])
def test_thresholds_that_contradict_are_refused(values):
    with pytest.raises(ValueError, match="thresholds: expected 0 <= end"):
        Rule(*values, 0.0, 0.0, 1.0)


rules = st.builds(
    lambda one, other, *seconds: Rule(max(one, other), min(one, other), *seconds),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0, 6),
    st.floats(0, 6),
    st.floats(0.1, 6),
)
#: Windows in the order of a feed: most continue, some leave a hole or begin an epoch, some end the feed.
courses = st.lists(
    st.tuples(
        st.sampled_from(["next"] * 12 + ["hole", "epoch", "end"]),
        st.tuples(*[st.floats(0, 1) | st.sampled_from([0.0, 1.0])] * 2),
    ),
    max_size=60,
)


def play(rules_by_label: dict[str, Rule], course, restart=lambda tracker, _: tracker) -> list[Event]:
    tracker, events, number, epoch_us, end_us = Tracker(rules_by_label), [], 0, EPOCH_US, EPOCH_US
    for n, (step, scores) in enumerate(course):
        tracker = restart(tracker, n)
        if step == "end":
            events += tracker.close("feed_ended")
        if step in {"epoch", "end"}:
            number, epoch_us = 0, end_us
        prediction = window(
            number + (4 if step == "hole" else 0), dict(zip(("run", "fall"), scores, strict=True)), epoch_us=epoch_us
        )
        events += tracker.push(prediction)
        number, end_us = prediction.window + 1, prediction.end_us
    return events + tracker.close("feed_ended")


@given(rules, rules, courses)
@settings(max_examples=200, deadline=None)
def test_events_of_a_label_alternate_and_never_overlap(run, fall, course):
    by_label: dict[str, list[Event]] = defaultdict(list)
    rules_by_label = {"run": run, "fall": fall}
    events = play(rules_by_label, course)
    for event in events:
        by_label[event.label].append(event)
    for label, reports in by_label.items():
        previous_end_us = 0
        for event_id, group in itertools.groupby(reports, key=lambda e: e.id):
            started, *updates, ended = list(group)
            assert (started.state, ended.state) == ("started", "ended"), event_id
            assert all(u.state == "updated" for u in updates)
            assert [e.revision for e in (started, *updates, ended)] == list(range(len(updates) + 2))
            assert started.start_us >= previous_end_us + rules_by_label[label].cooldown_seconds * SECOND - 1
            assert ended.end_us - ended.start_us >= rules_by_label[label].min_seconds * SECOND
            assert ended.peak_score >= rules_by_label[label].start
            assert ended.ending is not None
            previous_end_us = ended.end_us
        # Each event is told in one go: an id does not come back.
        ids = [i for i, _ in itertools.groupby(e.id for e in reports)]
        assert len(set(ids)) == len(ids)
    assert play(rules_by_label, course) == events


def test_smoothed_score_is_the_mean_over_windows_without_a_gap():
    smoothed = rule(smoothing=3, min_seconds=0.0)
    assert told(track([0.9, 0.0, 0.9, 0.0, 0.9, 0.0], smoothed)) == []
    events = told(track([0.0, 0.8, 0.8, 0.8, 0.8, 0.0, 0.0], smoothed))
    assert events[0] == ("started", 3.0, 5.0)
    tracker = Tracker({"run": smoothed})
    for n in (0, 1, 5, 6):  # a gap between 1 and 5: no three in a row
        assert tracker.push(window(n, 0.9)) == []


@given(courses, st.integers(0, 60), st.sampled_from([1, 3]))
@settings(max_examples=200, deadline=None)
def test_a_tracker_that_goes_on_from_the_state_of_another_says_the_same(course, cut, smoothing):
    rules_by_label = {label: rule(cooldown_seconds=2.0, smoothing=smoothing) for label in ("run", "fall")}

    def restart(tracker: Tracker, number: int) -> Tracker:
        return Tracker.restored(rules_by_label, tracker.state) if number == cut else tracker

    assert play(rules_by_label, course, restart) == play(rules_by_label, course)


def test_labels_without_a_rule_end_where_another_tracker_goes_on():
    both = {label: rule(min_seconds=0.0) for label in ("run", "fall")}
    tracker = Tracker(both)
    events = [e for n in range(3) for e in tracker.push(window(n, {"run": 0.9, "fall": 0.9}))]
    (ended,) = tracker.state.ended(["run"])
    started = next(e for e in events if e.label == "fall")
    assert (ended.id, ended.state, ended.ending, ended.revision) == (started.id, "ended", "gap", 1)
    assert [e.label for e in Tracker.restored({"run": both["run"]}, tracker.state).active] == ["run"]
