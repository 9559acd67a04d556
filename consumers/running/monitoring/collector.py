"""Spans to an OpenTelemetry collector: OTLP over HTTP, in batches, by a thread of the library.

The library's own environment variables hold: where the collector is, its certificate and headers, the sampler, batches.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping, Sequence
from typing import Final, Self

from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags

from consumers.records.states.process import ProcessInfo
from stream import display_name

from .spans import ENDPOINTS, Attributes, Role, Span

log = logging.getLogger(__name__)

#: So many spans wait, about 2 KB each; those beyond are dropped.
_MAX_WAITING: Final = 8192
#: How long what waits may take to be sent when the process ends.
_END_SECONDS: Final = 2.0
_LIBRARY: Final = logging.getLogger(trace_exporter.__name__)
_KINDS: Final = {"segment": SpanKind.PRODUCER, "window": SpanKind.CONSUMER, "event": SpanKind.PRODUCER}


class Collector:
    """Where spans go. Never waits for it, but for its end; use as a context manager. One thread sends."""

    def __init__(self, role: Role, process: ProcessInfo) -> None:
        """Prepare to send.

        Raises:
            Exception: a variable of the library holds what it does not take.
        """
        self._scope = InstrumentationScope("clipline", process.version)
        ours: Attributes = {
            "service.name": f"clipline-{role}",
            "service.version": process.version,
            "service.instance.id": process.id,
            "host.name": process.host,
            "process.pid": process.pid,
        }
        # What the user has set counts more.
        self._resource = Resource.create(ours).merge(OTELResourceDetector().detect())
        self._sampler = TracerProvider(shutdown_on_exit=False).sampler
        self._exporter = _Exporter()
        self._processor = BatchSpanProcessor(self._exporter, max_queue_size=_MAX_WAITING)
        self._taken = self._overflown = 0

    def counts(self) -> Mapping[str, int]:
        """How many spans were sent, and how many dropped. Any thread may ask."""
        return {"sent": self._exporter.sent, "dropped": self._exporter.dropped + self._overflown}

    def send(self, span: Span) -> None:
        """Take a span, if its trace is sampled: all spans of a trace are, or none."""
        own = _context(span.trace)
        # As of the trace's first span everywhere: who reads a record does not know what was decided of it elsewhere.
        decision = self._sampler.should_sample(None, own.trace_id, span.name).decision
        if not own.trace_flags.sampled or decision is not Decision.RECORD_AND_SAMPLE:
            return
        if self._taken - self._exporter.begun >= _MAX_WAITING:
            self._overflown += 1
            return
        self._taken += 1
        self._processor.on_end(
            ReadableSpan(
                span.name,
                own,
                None if span.parent is None else _context(span.parent),
                self._resource,
                span.attributes,
                kind=_KINDS[span.name],
                # Clocks of machines differ.
                start_time=min(span.begun_us, span.ended_us) * 1000,
                end_time=span.ended_us * 1000,
                instrumentation_scope=self._scope,
            )
        )

    def __enter__(self) -> Self:
        _LIBRARY.addFilter(self._exporter.hear)
        return self

    def __exit__(self, *_: object) -> None:
        over = threading.Thread(target=self._processor.shutdown, name="last spans", daemon=True)
        over.start()
        over.join(_END_SECONDS)
        self._exporter.shutdown()
        _LIBRARY.removeFilter(self._exporter.hear)
        if lost := self._taken + self._overflown - self._exporter.sent:
            log.warning("%d of %d spans were not sent", lost, self._taken + self._overflown)


class _Exporter(SpanExporter):
    """Counts, and says once that the collector does not take spans, where the library says so each time."""

    def __init__(self) -> None:
        self._status: int | None = None
        self._fails = False
        self._exporter = trace_exporter.OTLPSpanExporter()
        #: Spans that are on their way, were sent or dropped; of those, sent and dropped.
        self.begun = self.sent = self.dropped = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.begun += len(spans)
        self._status = None
        try:
            result = self._exporter.export(spans)
        except Exception:  # noqa: BLE001  as where it is not reached
            result = SpanExportResult.FAILURE
        if result is SpanExportResult.SUCCESS:
            self.sent += len(spans)
            if self._fails:
                log.warning("the collector takes spans again; %d were dropped", self.dropped)
        else:
            self.dropped += len(spans)
            if not self._fails:
                place = next(filter(None, map(os.environ.get, ENDPOINTS)), "")
                why = "" if self._status is None else f" (status {self._status})"
                log.warning("the collector at %s takes no spans%s: they are dropped", display_name(place), why)
        self._fails = result is not SpanExportResult.SUCCESS
        return result

    def shutdown(self) -> None:
        """Give up what is on its way."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def hear(self, record: logging.LogRecord) -> bool:
        """Take a line of the library's log for the status in it; it is not logged."""
        numbers = [each for each in record.args or () if isinstance(each, int)]
        self._status = numbers[0] if numbers else self._status
        return False


def _context(trace: str) -> SpanContext:
    """What a `traceparent` says."""
    _, number, span, flags = trace.split("-")
    return SpanContext(int(number, 16), int(span, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
