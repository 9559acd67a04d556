"""What travels: it comes back as it went, and nothing else is taken for it."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import zlib
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import consumers
from consumers.records.event import BODY_KEYS, STATES, Event, event_id
from consumers.records.prediction import Prediction, rfc3339
from stream import MAX_RECORD_BYTES, RecordTooLargeError, Segment, SegmentError, announced_frames
from stream.broker.records import check_record_size
from stream.segment import COLOUR_MATRICES, MAX_TIME_US, Display

WHERE = "clipline.segments[3]@77"
SEGMENT = Segment(
    camera="lobby",
    epoch_us=1_700_000_000_000_000,
    sequence=4,
    start_us=1_700_000_002_000_000,
    end_us=1_700_000_003_500_000,
    container="mpegts",
    codec="h264",
    width=640,
    height=360,
    frames=45,
    first_tick=180_000,
    data=bytes(range(256)) * 4,
    skipped={"no_keyframe": 3},
)
PREDICTION = Prediction(
    "lobby", 1_700_000_000_000_000, 7, 1_700_000_007_000_000, 1_700_000_009_000_000, "x3d-1", {"a": 0.25, "b": 0.75}
)
EVENT = Event(
    camera="lobby",
    model="x3d-1",
    label="climbing a rope, naïvely",
    state="started",
    revision=0,
    id=event_id("lobby", 1_700_000_000_000_000, "climbing a rope, naïvely", 1_700_000_007_000_000, "x3d-1"),
    start_us=1_700_000_007_000_000,
    end_us=1_700_000_009_400_000,
    peak_score=0.123456789,
    peak_us=1_700_000_007_400_000,
    windows=2,
)


def decode(key=None, headers=None, value=None) -> Segment:
    """`SEGMENT`'s record with parts replaced, read back."""
    own_key, own_headers, own_value = SEGMENT.encode()
    changed = dict(own_headers) | (headers or {})
    return Segment.decode(
        own_key if key is None else key,
        [(n, v) for n, v in changed.items() if v is not None],
        own_value if value is None else value,
        WHERE,
    )


def test_a_segment_comes_back_as_it_went():
    key, headers, value = SEGMENT.encode()
    assert key == b"lobby"
    assert value == SEGMENT.data
    assert Segment.decode(key, headers, value, WHERE) == SEGMENT


def test_claim_and_feed_come_back_and_a_segment_of_an_earlier_version_has_none():
    claimed = replace(SEGMENT, claim=1_700_000_000_000_007, feed="0123456789abcdef")
    assert Segment.decode(*claimed.encode(), WHERE) == claimed
    assert {"claim", "feed"}.isdisjoint(dict(SEGMENT.encode()[1]))
    assert (decode().claim, decode().feed) == (0, "")


@pytest.mark.parametrize(
    "headers", [{"claim": b"-1"}, {"claim": b"x"}, {"claim": b"9" * 19}, {"feed": b"x"}, {"feed": b"0" * 17}]
)
def test_a_claim_or_fingerprint_that_is_none_is_refused(headers):
    with pytest.raises(SegmentError, match=r"clipline\.segments\[3\]@77: .*(claim|feed|header)"):
        decode(headers=headers)


def test_the_mark_that_ends_an_epoch_comes_back_as_it_went():
    mark = replace(SEGMENT, frames=0, data=b"", start_us=SEGMENT.end_us, skipped={})
    again = Segment.decode(*mark.encode(), WHERE)
    assert again == mark
    assert again.is_end


times = st.integers(0, MAX_TIME_US - 10**9)


@given(
    camera=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True),
    epoch_us=times,
    offset_us=st.integers(0, 10**8),
    length_us=st.integers(0, 10**8),
    sequence=st.integers(0, 2**31 - 1),
    container=st.sampled_from(["mpegts", "matroska"]),
    first_tick=st.integers(-(2**40), 2**40),
    data=st.binary(min_size=1, max_size=50),
    skipped=st.dictionaries(st.from_regex(r"[a-z_]{1,32}", fullmatch=True), st.integers(0, 10**6), max_size=3),
    decode_from_us=st.none() | st.just(0),
    continued=st.booleans(),
    display=st.builds(
        Display,
        st.integers(0, 3),
        st.booleans(),
        st.fractions(Fraction(1, 100), 100, max_denominator=10**6),
        st.sampled_from([None, "limited", "full"]),
        st.none() | st.sampled_from(sorted(COLOUR_MATRICES)),
    ),
    held=st.floats(0, 1),
)
@settings(max_examples=60, deadline=None)
def test_every_segment_comes_back_as_it_went(camera, epoch_us, offset_us, length_us, data, held, **more):
    start_us = epoch_us + offset_us
    segment = replace(
        SEGMENT,
        camera=camera,
        epoch_us=epoch_us,
        start_us=start_us,
        end_us=start_us + length_us,
        frames=len(data),
        data=data,
        held_us=int(held * length_us),
        **more,
    )
    assert Segment.decode(*segment.encode(), WHERE) == segment


NUMBERS = ["epoch-us", "sequence", "start-us", "end-us", "width", "height", "frames", "first-tick", "size", "crc32"]
OPTIONAL = [
    *("skipped", "decode-from-us", "continued", "held-us"),
    *("quarter-turns", "mirrored", "pixel-aspect", "colour-range", "colour-matrix"),
]


@pytest.mark.parametrize("name", [*NUMBERS, "container", "codec"])
def test_a_missing_header_is_named(name):
    with pytest.raises(SegmentError) as caught:
        decode(headers={name: None})
    assert str(caught.value) == f"{WHERE}: header '{name}' is missing"


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [b"", b"many", b"1.5", b"\xff\xfe", b"9" * 5000, b"1_0", b"+1", b" 1", "٣".encode()])
def test_a_header_that_is_no_number_is_refused(name, value):
    with pytest.raises(SegmentError) as caught:
        decode(headers={name: value})
    assert str(caught.value).startswith(f"{WHERE}: ")


@pytest.mark.parametrize(
    ("changes", "words"),
    {
        "foreign": ({"headers": {"clipline": None}}, "not a Clipline segment"),
        "other version": ({"headers": {"clipline": b"3"}}, "wire version '3': this Clipline reads versions 1 and 2"),
        "version that is no text": ({"headers": {"clipline": b"\xff"}}, "wire version"),
        "cut off": ({"value": SEGMENT.data[:-1]}, "truncated: 1023 bytes of 1024"),
        "no bytes": ({"value": b"", "headers": {"size": b"0", "crc32": b"0"}}, "empty: 45 frames announced"),
        "other bytes": ({"value": SEGMENT.data[::-1]}, "do not match their checksum"),
        "no camera": ({"key": b""}, "camera id ''"),
        "a path as camera": ({"key": b"../etc"}, r"camera id '\.\./etc'"),
        "a camera with a line break": ({"key": b"lobby\n"}, r"camera id 'lobby\\n'"),
        "a camera that is no text": ({"key": b"\xff\xff"}, "cannot be read"),
        "an unknown container": ({"headers": {"container": b"avi"}}, "container 'avi': expected one of"),
        "a negative sequence": ({"headers": {"sequence": b"-1"}}, "must not be negative"),
        "a sequence of an age": ({"headers": {"sequence": b"2147483648"}}, "expected at most 2147483647"),
        "a picture of miles": ({"headers": {"width": b"65537"}}, "expected at most 65536 each way"),
        "a tick beyond all time": ({"headers": {"first-tick": b"-9223372036854775809"}}, "first tick"),
        "skipped frames of years": (
            {"headers": {"skipped": b'{"gap": 9999999, "tail": 2}'}},
            "at most 10000000 frames",
        ),
        "skipped for a story": ({"headers": {"skipped": b'{"A long story": 1}'}}, "expected a reason and a count"),
        "more frames than bytes": ({"headers": {"frames": b"1025"}}, "1025 frames in 1024 bytes"),
        "an end before its start": ({"headers": {"end-us": b"1700000001000000"}}, "expected 0 <= epoch"),
        "a start before its epoch": ({"headers": {"start-us": b"1"}}, "expected 0 <= epoch"),
        "a time before 1970": ({"headers": {"epoch-us": b"-1"}}, "expected 0 <= epoch"),
        "a time after the calendar's end": (
            {"headers": {n: str(MAX_TIME_US + 1).encode() for n in ("epoch-us", "start-us", "end-us")}},
            "<= the year 9999",
        ),
        "a segment of years": ({"headers": {"end-us": b"1800000000000000"}}, "expected at most 3600 s"),
        "skipped frames that are no object": ({"headers": {"skipped": b"[]"}}, "cannot be read"),
        "skipped frames that are no JSON": ({"headers": {"skipped": b"{"}}, "cannot be read"),
        "skipped frames that are null": ({"headers": {"skipped": b'{"a": null}'}}, "cannot be read"),
        "skipped frames without bound": ({"headers": {"skipped": b'{"a": 1e999}'}}, "cannot be read"),
        "skipped frames below nothing": ({"headers": {"skipped": b'{"a": -1}'}}, "expected counts"),
        "decoding that begins later": ({"headers": {"decode-from-us": b"1800000000000000"}}, "at most the start"),
        "a picture that stands still for too long": ({"headers": {"held-us": b"1500001"}}, "as long as the segment"),
        "five quarter turns": ({"headers": {"quarter-turns": b"5"}}, "expected 0 to 3"),
        "pixels without a height": ({"headers": {"pixel-aspect": b"4/0"}}, "cannot be read"),
        "pixels without a shape": ({"headers": {"pixel-aspect": b"1e999999999"}}, "cannot be read"),
        "a colour range of a third kind": ({"headers": {"colour-range": b"wide"}}, "expected 'limited' or 'full'"),
        "a matrix that nobody has": ({"headers": {"colour-matrix": b"77"}}, "expected one of"),
        "pixels like lines": ({"headers": {"pixel-aspect": b"1/101"}}, "at most 100 times"),
        "JSON that is too deep": ({"headers": {"skipped": b"[" * 100_000}}, "cannot be read"),
    }.values(),
)
def test_a_damaged_record_is_refused_with_where_it_lies_and_what_is_wrong(changes, words):
    with pytest.raises(SegmentError, match=words) as caught:
        decode(**changes)
    assert str(caught.value).startswith(f"{WHERE}: ")
    assert caught.value.where == WHERE


def test_a_record_without_key_value_or_headers_is_refused():
    with pytest.raises(SegmentError, match="no 'clipline' header among none"):
        Segment.decode(None, [], None, WHERE)
    with pytest.raises(SegmentError, match="truncated: 0 bytes of 1024"):
        Segment.decode(SEGMENT.camera.encode(), SEGMENT.encode()[1], None, WHERE)


header_values = st.one_of(
    st.binary(max_size=12),
    st.integers(-(2**70), 2**70).map(lambda n: str(n).encode()),
    st.recursive(
        st.none() | st.floats() | st.text(max_size=3) | st.integers(),
        lambda inner: st.dictionaries(st.text(max_size=2), inner, max_size=2) | st.lists(inner, max_size=2),
        max_leaves=4,
    ).map(lambda value: json.dumps(value).encode()),
)


@given(
    key=st.none() | st.binary(max_size=6) | st.just(b"lobby"),
    headers=st.dictionaries(
        st.sampled_from([*NUMBERS, *OPTIONAL, "clipline", "container", "codec", "other"]), header_values, max_size=5
    ),
    value=st.none() | st.binary(max_size=20) | st.just(SEGMENT.data),
    honest=st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_arbitrary_records_are_segments_or_the_one_error(key, headers, value, honest):
    fields = dict(SEGMENT.encode()[1]) | headers
    if honest:  # else most records would fail at the checksum
        fields |= {"size": str(len(value or b"")).encode(), "crc32": str(zlib.crc32(value or b"")).encode()}
    with contextlib.suppress(SegmentError):
        segment = Segment.decode(key, list(fields.items()), value, WHERE)
        # Whatever is let through can be told, sampled and sent on.
        assert rfc3339(segment.start_us) <= rfc3339(segment.end_us)
        assert Segment.decode(*segment.encode(), WHERE) == segment


def test_records_of_the_first_version_are_read_as_what_they_are():
    """Decodable on their own, upright, with square pixels."""
    first = decode(headers={"clipline": b"1"})
    assert first == SEGMENT
    assert not first.continues
    assert not first.continued
    assert first.display == Display()


@given(headers=st.lists(st.tuples(st.text(max_size=8), st.binary(max_size=8)), max_size=4), value=st.binary(max_size=8))
@settings(max_examples=100, deadline=None)
def test_foreign_records_are_the_one_error(headers, value):
    with pytest.raises(SegmentError, match="not a Clipline segment"):
        Segment.decode(b"key", [h for h in headers if h[0] != "clipline"], value, WHERE)


@pytest.mark.parametrize(
    ("headers", "frames"),
    [
        ({"frames": b"25", "container": b"mpegts"}, 25),
        ({"frames": b"1000000", "container": b"mpegts"}, 100),
        ({"frames": b"1000000", "container": b"matroska"}, 2685),
        ({"frames": b"1000000", "container": b"\xff"}, 9400),
        ({"frames": b"1_0"}, 0),
        ({"frames": b"-4"}, 0),
        ({}, 0),
    ],
)
def test_a_record_is_believed_no_more_frames_than_its_bytes_can_hold(headers, frames):
    assert announced_frames(list(headers.items()), bytes(188 * 100)) == frames
    assert announced_frames(list(headers.items()), None) == 0


def test_a_record_beyond_the_limit_is_refused_with_its_size_topic_and_key():
    headers = [("name", b"12345")]
    room = MAX_RECORD_BYTES - len(b"lobby") - len("name12345")
    assert check_record_size("clipline.segments", b"lobby", headers, b"x" * room) == MAX_RECORD_BYTES
    with pytest.raises(RecordTooLargeError) as caught:
        check_record_size("clipline.segments", b"lobby", headers, b"x" * (room + 1))
    for word in (str(MAX_RECORD_BYTES + 1), str(MAX_RECORD_BYTES), "clipline.segments", "'lobby'"):
        assert word in str(caught.value)


def microseconds(text: str) -> int:
    return (dt.datetime.fromisoformat(text) - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)


@given(times)
@settings(max_examples=60, deadline=None)
def test_times_as_text_keep_their_microseconds_and_their_order(time_us):
    assert microseconds(rfc3339(time_us)) == time_us
    assert rfc3339(time_us) < rfc3339(time_us + 1)


def test_a_prediction_on_the_wire():
    key, headers, value = PREDICTION.encode()
    body = json.loads(value)
    assert (key, dict(headers)) == (b"lobby", {"content-type": b"application/json"})
    assert [microseconds(body[n]) for n in ("start", "end")] == [PREDICTION.start_us, PREDICTION.end_us]
    assert body["label"] == "b"
    assert body["id"] == PREDICTION.id


def test_an_event_on_the_wire():
    ended = replace(EVENT, state="ended", revision=2, ending="gap")
    for event in (EVENT, ended):
        key, headers, value = event.encode()
        body, context = json.loads(value), {n: v.decode() for n, v in headers}
        assert key == b"lobby"
        assert (body["camera"], body["label"], body["model"]) == (event.camera, event.label, event.model)
        assert (body["state"], body["ending"], body["windows"]) == (event.state, event.ending, event.windows)
        assert [microseconds(body[n]) for n in ("start", "end", "peak")] == [
            event.start_us,
            event.end_us,
            event.peak_us,
        ]
        assert body["peak_score"] == 0.123457
        assert body["seconds"] == 2.4
        assert body["event"] == event.id
        assert context["ce_id"] == f"{event.id}-{event.revision}"
        assert context["ce_type"] == f"clipline.event.{event.state}"
        assert context["ce_time"] == body["end"]
        assert body.keys() == BODY_KEYS
        assert body["state"] in STATES


def test_ids_name_what_they_are_made_of_and_nothing_else():
    assert PREDICTION.id == replace(PREDICTION, scores={"a": 1.0}).id
    others = [
        replace(PREDICTION, **{n: v}) for n, v in {"camera": "x", "epoch_us": 1, "window": 8, "model": "y"}.items()
    ]
    assert len({PREDICTION.id, *(p.id for p in others)}) == 5
    parts = {"camera": "lobby", "epoch_us": 3, "label": "run", "start_us": 4, "model": "m"}
    others = [
        event_id(**parts | {n: v})
        for n, v in {"camera": "x", "epoch_us": 1, "start_us": 2, "model": "y", "label": "z"}.items()
    ]
    assert len({event_id(**parts), *others}) == 6
    # Subscribers keep ids: another value for the same parts would be a break of the wire.
    assert PREDICTION.id == "491b12289311ac6c238540a6"
    assert EVENT.id == "3c580c3a3c7ece5e1a244a62"


def test_consumers_is_an_application_that_exports_subscribers_and_its_version_only():
    assert set(consumers.__all__) == {"Event", "Subscription", "__version__", "subscribe"}
    assert consumers.__version__.count(".") == 2
