"""A segment's trace goes on in the prediction and the event that came of it, with the same ids each time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consumers.live.pipeline import Pipeline
from consumers.records.event import Event
from consumers.records.prediction import Prediction
from stream import Decoded, Record, Segment, child_trace, trace_headers, trace_of
from tests.brightness_worker import RULES, SPEC, Brightness
from tests.videos import write_video


class Found:
    """What a pipeline makes of records with these headers."""

    def __init__(self, records: list[Record], segments: list[tuple[Segment, Decoded]]) -> None:
        self.predictions: list[Prediction] = []
        self.events: list[Event] = []
        self.completed_by: list[Record] = []
        pipeline = Pipeline(Brightness(), SPEC, RULES)
        for record, (segment, decoded) in zip(records, segments, strict=True):
            outcomes = pipeline.classify(pipeline.push(segment, decoded, record))
            scored = [step.prediction for step in outcomes if hasattr(step, "prediction")]
            self.predictions += scored
            self.completed_by += [record] * len(scored)
            self.events += pipeline.track(outcomes)


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> list[tuple[Segment, Decoded]]:
    import numpy as np

    from stream import Footage, decode

    def light(number: int, width: int, height: int) -> np.ndarray:
        return np.full((height, width, 3), 230 if 50 <= number < 150 else 20, np.uint8)

    path = write_video(tmp_path_factory.mktemp("t") / "gate.mp4", 250, rate=25, gop=25, size=(64, 48), frame=light)
    segments = list(Footage([path], "gate", start_us=10**15).segments())
    return [
        (s, Decoded((), []) if s.is_end else decode(s, SPEC.sample_times_us(s), SPEC.picture, "here")) for s in segments
    ]


def records_of(film: list[tuple[Segment, Decoded]]) -> list[Record]:
    encoded = [segment.encode() for segment, _ in film]
    return [Record("segments", 0, n, key, headers, value) for n, (key, headers, value) in enumerate(encoded)]


def test_a_trace_leads_from_the_segment_to_the_prediction_and_the_event(film):
    records = records_of(film)
    assert len({trace_of(r.headers) for r in records}) == len(records)
    found = Found(records, film)
    assert found.predictions
    for prediction, record in zip(found.predictions, found.completed_by, strict=True):
        ids = [trace.split("-") for trace in (trace_of(record.headers), prediction.trace)]
        assert ids[0][1] == ids[1][1]
        assert ids[0][2] != ids[1][2]
    traces = {prediction.trace.split("-")[1] for prediction in found.predictions}
    assert found.events
    started = found.events[0]
    assert started.state == "started"
    assert started.trace.split("-")[1] in traces
    key, headers, value = started.encode()
    assert Event.decode(key, headers, value, "here").trace == started.trace
    key, headers, value = found.predictions[0].encode()
    assert Prediction.decode(key, headers, value, "here").trace == found.predictions[0].trace


def test_the_same_footage_has_the_same_traces(film):
    once, again = Found(records_of(film), film), Found(records_of(film), film)
    assert [p.trace for p in once.predictions] == [p.trace for p in again.predictions]
    assert [e.trace for e in once.events] == [e.trace for e in again.events]


def test_records_of_agents_that_trace_nothing_give_none(film):
    records = [replace(r, headers=[h for h in r.headers if h[0] != "traceparent"]) for r in records_of(film)]
    found = Found(records, film)
    assert {p.trace for p in found.predictions} == {None} == {e.trace for e in found.events}
    assert "traceparent" not in dict(found.predictions[0].encode()[1])


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"00",
        b"\xff",
        b"00-" + b"0" * 32 + b"-" + b"1" * 16 + b"-01",
        b"ff-" + b"1" * 32 + b"-" + b"1" * 16 + b"-01",
    ],
)
def test_a_header_that_is_no_trace_is_none(text: bytes):
    assert trace_of([("traceparent", text)]) is None


def test_flags_of_others_are_kept():
    parent = f"00-{'1' * 32}-{'2' * 16}-00"
    child = child_trace(parent, "x")
    assert trace_of(trace_headers(child)) == child
    assert (child[:36], child[-3:]) == (parent[:36], "-00")
    assert child_trace(None, "x") is None
