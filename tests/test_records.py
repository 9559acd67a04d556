"""Records of our own come back as they went, and bad ones are refused with what was expected and where they lie."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.records.dead_letter import DeadLetter
from consumers.records.event import ENDINGS, Event, event_id
from consumers.records.fields import RecordError
from consumers.records.prediction import SCORE_DIGITS, Prediction
from stream import Record

WHERE = "clipline.events[0]@17"
cameras = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
labels = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)
times = st.integers(0, 253_370_764_800_000_000)
scores = st.integers(0, 10**SCORE_DIGITS).map(lambda n: n / 10**SCORE_DIGITS)
headers = st.lists(st.tuples(st.text(st.characters(codec="utf-8"), max_size=20), st.binary(max_size=20)), max_size=4)


@st.composite
def predictions(draw: st.DrawFn) -> Prediction:
    start_us, end_us = sorted(draw(st.tuples(times, times)))
    by_label = draw(st.dictionaries(labels, scores, min_size=1, max_size=5))
    window = draw(st.integers(0, 10**9))
    return Prediction(draw(cameras), draw(times), window, start_us, end_us, draw(labels), by_label)


@st.composite
def events(draw: st.DrawFn) -> Event:
    start_us, end_us = sorted(draw(st.tuples(times, times)))
    camera, label, model = draw(cameras), draw(labels), draw(labels)
    ending = draw(st.sampled_from([None, *sorted(ENDINGS)]))
    return Event(
        camera=camera,
        model=model,
        label=label,
        state="ended" if ending else draw(st.sampled_from(["started", "updated"])),
        revision=draw(st.integers(0, 10**6)),
        id=event_id(camera, draw(times), label, start_us, model),
        start_us=start_us,
        end_us=end_us,
        peak_score=draw(scores),
        peak_us=draw(times),
        windows=draw(st.integers(1, 10**6)),
        ending=ending,
        segments=draw(st.sampled_from([None, "clipline.segments[3]@17-29"])),
    )


@st.composite
def dead_letters(draw: st.DrawFn) -> DeadLetter:
    record = Record("t", 2, draw(st.integers(0, 99)), draw(st.binary(max_size=9)), draw(headers), draw(st.binary()))
    letter = DeadLetter.of(record, draw(labels))
    cut_from = draw(st.sampled_from([None, 10_000_000]))
    return replace(letter, cut_from=cut_from)


@given(predictions())
@settings(max_examples=150, deadline=None)
def test_a_prediction_comes_back_as_it_went(prediction):
    again = Prediction.decode(*prediction.encode(), WHERE)
    assert again == prediction
    assert again.encode() == prediction.encode()


@given(events())
@settings(max_examples=150, deadline=None)
def test_an_event_comes_back_as_it_went(event):
    again = Event.decode(*event.encode(), WHERE)
    assert again == event
    assert again.segments == event.segments
    assert again.encode() == event.encode()


@given(dead_letters())
@settings(max_examples=150, deadline=None)
def test_a_dead_letter_comes_back_as_it_went(letter):
    assert DeadLetter.decode(*letter.encode(), WHERE) == letter


def test_a_dead_letter_of_a_dead_letter_keeps_the_first_reason_as_a_header():
    first = DeadLetter.of(Record("t", 0, 5, b"gate", [("clipline", b"1")], b"x"), "it is damaged")
    key, own_headers, value = first.encode()
    second = DeadLetter.of(Record("t.dead", 0, 0, key, own_headers, value), "again")
    again = DeadLetter.decode(*second.encode(), WHERE)
    assert (again.reason, again.origin) == ("again", "t.dead[0]@0")
    assert again.headers == own_headers


def test_a_dead_letter_that_is_too_large_is_cut_and_says_so():
    letter = DeadLetter.of(Record("t", 0, 5, b"gate", [], bytes(10 * 1024 * 1024)), "too large")
    assert len(letter.value) == 9 * 1024 * 1024
    assert letter.cut_from == 10 * 1024 * 1024


PREDICTION = Prediction("lobby", 10**15, 7, 10**15 + 1, 10**15 + 2, "m", {"a": 0.25, "b": 0.75})
EVENT = Event(
    "lobby", "m", "run", "started", 0, event_id("lobby", 10**15, "run", 10**15, "m"), 10**15, 10**15 + 5, 0.9, 10**15, 1
)
MISSING = object()


def changed(value: bytes, change: dict[str, object]) -> bytes:
    body = json.loads(value) | change
    return json.dumps({k: v for k, v in body.items() if v is not MISSING}).encode()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"scores": MISSING}, "expected scores to be of type dict, found nothing"),
        ({"scores": {}}, "expected a score for each label, found none"),
        ({"scores": {"a": "high"}}, "scores: expected a to be of type float, found 'high'"),
        ({"window": 7.5}, "expected window to be of type int, found 7.5"),
        ({"window": True}, "expected window to be of type int, found True"),
        ({"start": "yesterday"}, "expected start to be a time like 2026-11-24T08:00:00.000000Z, found 'yesterday'"),
        ({"start": 5}, "expected start to be of type str, found 5"),
        ({"camera": "gate"}, "expected its camera 'gate' as key, found b'lobby'"),
        ({"window": 8}, "of its camera, epoch, window and model, found"),
    ],
)
def test_a_bad_prediction_is_refused_with_what_was_expected_and_where_it_lies(change, reason):
    key, own_headers, value = PREDICTION.encode()
    with pytest.raises(RecordError) as caught:
        Prediction.decode(key, own_headers, changed(value, change), WHERE)
    assert str(caught.value).startswith(f"{WHERE}: ")
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"state": "begun"}, "expected state to be one of ended, started, updated, found 'begun'"),
        (
            {"ending": "bored"},
            "expected ending to be one of below_threshold, feed_ended, gap, off_schedule, rule_removed, found 'bored'",
        ),
        ({"ending": "gap"}, "expected an ending if, and only if, the state is 'ended', found 'gap' with 'started'"),
        ({"state": "ended"}, "expected an ending if, and only if, the state is 'ended', found None with 'ended'"),
        ({"label": None}, "expected label to be of type str, found None"),
        ({"peak": "2026-13-01T00:00:00Z"}, "expected peak to be a time like"),
        ({"end": "1999-01-01T00:00:00.000000Z"}, "expected its end at or after its start"),
        ({"event": "x"}, "expected header ce_id to be 'x', '-' and the report's number"),
        ({"camera": "gate"}, "expected its camera 'gate' as key, found b'lobby'"),
    ],
)
def test_a_bad_event_is_refused_with_what_was_expected_and_where_it_lies(change, reason):
    key, own_headers, value = EVENT.encode()
    with pytest.raises(RecordError) as caught:
        Event.decode(key, own_headers, changed(value, change), WHERE)
    assert str(caught.value).startswith(f"{WHERE}: ")
    assert reason in str(caught.value)


@pytest.mark.parametrize("value", [None, b"", b"[]", b"null", b"\xff", b"[" * 100_000, b"not JSON"])
@pytest.mark.parametrize("kind", [Prediction, Event])
def test_what_is_no_json_object_is_refused(kind, value):
    with pytest.raises(RecordError, match=r"clipline\.events\[0\]@17: expected a JSON object"):
        kind.decode(b"lobby", [], value, WHERE)


@given(st.binary(max_size=60), headers, st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists))
@settings(max_examples=200, deadline=None)
def test_whatever_else_is_on_a_topic_is_a_record_error_and_no_other(key, own_headers, value):
    for kind in (Prediction, Event, DeadLetter):
        with pytest.raises(RecordError, match=r"^clipline\.events\[0\]@17: "):
            kind.decode(key, own_headers, json.dumps(value).encode(), WHERE)


@pytest.mark.parametrize(
    ("own_headers", "reason"),
    [
        ([], "expected headers that end with clipline-reason and clipline-origin, found none"),
        ([("clipline-reason", b"x")], r"found \['clipline-reason'\]"),
        (
            [("clipline-reason", b"x"), ("clipline-origin", b"y"), ("clipline-cut-from", b"all")],
            "expected clipline-cut-from to be a number of bytes, found b'all'",
        ),
    ],
)
def test_what_is_no_dead_letter_is_refused(own_headers, reason):
    with pytest.raises(RecordError, match=reason):
        DeadLetter.decode(b"lobby", own_headers, b"", WHERE)


@pytest.mark.parametrize("key", ["camera", "label", "event"])
def test_half_a_character_is_no_text(key):
    event = Event("lobby", "m", "fight", "started", 0, "a" * 24, 1, 2, 0.5, 1, 1)
    record_key, headers, value = event.encode()
    body = json.loads(value) | {key: "\ud800"}
    with pytest.raises(RecordError, match=f"expected {key} to be text of Unicode, found"):
        Event.decode(record_key, headers, json.dumps(body).encode(), WHERE)
