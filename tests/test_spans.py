"""What an OpenTelemetry collector is sent of segments, windows and events; and that nobody waits for it."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from consumers.live.assemble import Serving
from consumers.live.worker import Worker
from consumers.outputs.redis.projection import RedisProjection
from consumers.records.event import Event
from consumers.records.prediction import Prediction
from consumers.records.states.process import ProcessInfo
from consumers.rules.rule import Rule
from consumers.running.attaching import attach_camera
from consumers.running.ending import Ending
from consumers.running.monitoring.spans import Span, sent_spans
from consumers.running.roles import worker as worker_module
from consumers.running.roles.worker import keep_working
from consumers.settings import Settings
from stream import KafkaTransport, Reading, Segment, trace_of
from tests.brightness_worker import SPEC, Brightness
from tests.logs import messages_of
from tests.waiting import eventually

pytest.importorskip("opentelemetry.sdk")
pytest.importorskip("opentelemetry.exporter.otlp.proto.http")

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SentSpan

#: Nothing is that dark.
RULES = {"bright": Rule(start=0.02, end=0.01, min_seconds=0.8, cooldown_seconds=1.0, update_seconds=2.0)}
PROCESS = ProcessInfo.current("here")


class Collector(ThreadingHTTPServer):
    """Takes spans over HTTP, as collectors do."""

    daemon_threads = True

    def __init__(self) -> None:
        self.spans: list[SentSpan] = []
        self.services: set[tuple[str, str]] = set()
        self.status = 200
        self.may_answer = threading.Event()
        self.may_answer.set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def take(self, body: bytes) -> None:
        for each in ExportTraceServiceRequest.FromString(body).resource_spans:
            facts = {a.key: a.value.string_value for a in each.resource.attributes}
            self.services.add((facts["service.name"], facts["service.instance.id"]))
            for scope in each.scope_spans:
                self.spans += scope.spans

    def by_name(self, name: str) -> dict[str, SentSpan]:
        """Spans by their place in a trace, as records name it."""
        found = [s for s in self.spans if s.name == name]
        return {f"00-{s.trace_id.hex()}-{s.span_id.hex()}-01": s for s in found}


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.may_answer.wait(30)
        if self.path == "/v1/traces" and self.server.status == 200:
            self.server.take(body)
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(autouse=True)
def _no_settings_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith("OTEL_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with Collector() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        yield server
        server.may_answer.set()
        server.shutdown()


def facts(span: SentSpan) -> dict[str, str | int | float]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}


@pytest.mark.slow
def test_a_segment_its_windows_and_their_events_are_one_trace(
    collector, embedded_broker, redis_url, topics_prefix, shared_data, tmp_path, monkeypatch
):
    settings = Settings.model_validate(
        {
            "kafka": embedded_broker.address,
            "redis": redis_url,
            "topics": {"prefix": topics_prefix, "partitions": 1},
            "spool": {"folder": tmp_path},
            "worker": {"start": "earliest", "group": topics_prefix},
        }
    )
    transport, ending = KafkaTransport(settings.kafka), Ending()

    @contextlib.contextmanager
    def open_worker(settings: Settings) -> Iterator[Serving]:
        with RedisProjection(lambda: transport, settings) as projection:
            model = SimpleNamespace(id="brightness", engine="numpy")
            yield Serving(Worker(transport, Brightness(), SPEC, RULES, settings), model, projection, tuple)

    def records(topic: str) -> list:
        ranges = {p: span for p, span in transport.offsets(topic).items() if span[0] < span[1]}
        return list(transport.read(ranges))

    monkeypatch.setattr(worker_module, "open_worker", open_worker)
    film = shared_data / "footage" / "arm-wrestling.mp4"
    attached = attach_camera(
        settings, str(film), "gate", pace="max", loop=False, start_us=None, reading=Reading(), take_over=False,
        exit_after_seconds=None, ending=ending, progress=lambda _: None, hear=lambda _: None,
    )  # fmt: skip
    working = threading.Thread(
        target=lambda: keep_working(settings, PROCESS, ending, lambda _: contextlib.nullcontext()), daemon=True
    )
    working.start()
    try:
        assert eventually(lambda: any(facts(s).get("clipline.state") == "started" for s in collector.spans))
        assert eventually(lambda: any(facts(s).get("clipline.window", 0) >= 20 for s in collector.spans))
    finally:
        ending.ask()
        working.join(20)

    segments, windows, events = (collector.by_name(name) for name in ("segment", "window", "event"))
    topics = settings.topics
    stored = {trace_of(r.headers): Segment.decode(r.key, r.headers, r.value, "") for r in records(topics.segments)}
    assert len(stored) == attached.segments + 1  # the mark that ends it
    assert segments.keys() == stored.keys()
    for trace, span in segments.items():
        segment, told = stored[trace], facts(span)
        assert not span.parent_span_id
        assert (told["clipline.camera"], told["clipline.epoch_us"]) == ("gate", segment.epoch_us)
        assert told["clipline.sequence"] == segment.sequence
        assert (told["clipline.frames"], told["clipline.bytes"]) == (segment.frames, len(segment.data))
    predictions = [Prediction.decode(r.key, r.headers, r.value, "") for r in records(topics.predictions)]
    assert windows.keys() == {p.trace for p in predictions}
    for prediction in predictions:
        span = windows[prediction.trace]
        assert span.parent_span_id.hex() in {t.split("-")[2] for t in segments if span.trace_id.hex() in t}
        assert facts(span)["clipline.label"] == prediction.label
        assert facts(span)["clipline.score"] == prediction.scores[prediction.label]
    reports = [Event.decode(r.key, r.headers, r.value, "") for r in records(topics.events)]
    assert {e.trace for e in reports if e.trace is not None} == events.keys() != set()
    for span in events.values():
        assert span.parent_span_id.hex() in {t.split("-")[2] for t in windows if span.trace_id.hex() in t}
    assert all(s.end_time_unix_nano >= s.start_time_unix_nano > 1.7e18 for s in collector.spans)
    assert {name for name, _ in collector.services} == {"clipline-agent", "clipline-worker"}
    assert ("clipline-worker", "here") in collector.services


def span_of(number: int, name: str = "segment") -> Span:
    return Span(name, f"00-{number:032x}-{number:016x}-01", None, 10**15, 10**15 + 1, {"clipline.camera": "gate"})


def test_of_a_sampled_trace_all_is_sent_and_of_another_nothing(collector, monkeypatch):
    traces = [i * 0x9E3779B97F4A7C15 % (1 << 64) | 1 for i in range(1, 300)]
    for sampler in ("traceidratio", "parentbased_traceidratio"):
        collector.spans.clear()
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
        monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.25")
        for role, name in (("agent", "segment"), ("worker", "window"), ("worker", "event")):
            with sent_spans(role, PROCESS) as spans:
                for number in traces:
                    spans._send(span_of(number, name))
                    # Somebody decided against it.
                    spans._send(Span(name, f"00-{number:032x}-{number:016x}-00", None, 1, 2, {}))
        parts = Counter(s.trace_id for s in collector.spans)
        assert set(parts.values()) == {3}
        assert 40 < len(parts) < 120


def test_a_collector_that_refuses_is_told_of_once_and_what_it_missed_is_counted(collector, caplog):
    caplog.set_level(logging.WARNING)
    collector.status = 401
    with sent_spans("agent", PROCESS) as spans:
        for number in range(1, 4):
            spans._send(span_of(number))
            assert eventually(lambda n=number: spans.counts() == {"sent": 0, "dropped": n})
        collector.status = 200
        spans._send(span_of(9))
        assert eventually(lambda: spans.counts() == {"sent": 1, "dropped": 3})
    address = f"http://127.0.0.1:{collector.server_port}"
    assert messages_of(caplog, "consumers.running") == [
        f"the collector at {address} takes no spans (status 401): they are dropped",
        "the collector takes spans again; 3 were dropped",
        "3 of 4 spans were not sent",
    ]


@pytest.mark.parametrize("fault", ["hangs", "gone"])
def test_nobody_waits_for_a_collector_and_what_waits_is_bounded(collector, fault: str, monkeypatch):
    if fault == "hangs":
        collector.may_answer.clear()
    else:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"http://127.0.0.1:{port}/v1/traces")
    began = time.monotonic()
    with sent_spans("agent", PROCESS) as spans:
        for number in range(1, 12_001):
            spans._send(span_of(number))
        assert time.monotonic() - began < 9, "one call of the collector may take ten seconds"
        assert spans.counts()["dropped"] > 2000
        ended = time.monotonic()
    assert time.monotonic() - ended < 9


def test_a_span_that_cannot_be_made_ends_nothing(collector, caplog):
    with sent_spans("agent", PROCESS) as spans:
        for _ in range(2):
            spans.stored(SimpleNamespace(headers=[("traceparent", span_of(1).trace.encode())]))
    assert messages_of(caplog, "consumers.running") == ["a span could not be made; it is said once"]


def test_without_an_endpoint_nothing_is_imported(monkeypatch):
    monkeypatch.delitem(sys.modules, "consumers.running.monitoring.collector", raising=False)
    with sent_spans("worker", PROCESS) as spans:
        assert spans is None
    assert "consumers.running.monitoring.collector" not in sys.modules


def test_where_packages_are_missing_one_line_says_what_to_install(collector, caplog, monkeypatch):
    monkeypatch.delitem(sys.modules, "consumers.running.monitoring.collector", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http", None)
    with sent_spans("worker", PROCESS) as spans:
        assert spans is None
    (message,) = messages_of(caplog, "consumers.running")
    assert message == (
        "OTEL_EXPORTER_OTLP_ENDPOINT is set, but no spans are sent: opentelemetry.exporter.otlp.proto.http is not "
        "installed: pip install 'clipline[otel]'"
    )


@pytest.mark.parametrize(
    ("variables", "warning"),
    [
        ({"OTEL_SDK_DISABLED": "true"}, None),
        ({"OTEL_TRACES_EXPORTER": "none"}, None),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "their protocol is http/protobuf, not grpc"),
        ({"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "100000"}, "max_export_batch_size"),
    ],
)
def test_settings_that_forbid_spans_hold(collector, caplog, monkeypatch, variables, warning):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with sent_spans("worker", PROCESS) as spans:
        assert spans is None
    messages = messages_of(caplog, "consumers.running")
    assert len(messages) == (warning is not None)
    assert all(warning in message for message in messages)
