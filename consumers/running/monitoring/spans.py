"""What agents and workers did with a record, as spans of OpenTelemetry whose ids are those of its `traceparent`.

    segment   ├─────┤                      from its cut until the broker had stored it
    window          ├───────────────┤      from that segment's arrival on the topic until its prediction was committed
    event           ├───────────────┤      likewise, of a report that the window let be made

Each is the parent of the next one. Nothing is told before it is stored: what is read again has one span.

Nothing is sent, and nothing imported, unless OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT says
where to.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from consumers.live.pipeline import Outcome, ScoredWindow
from consumers.records.event import Event
from consumers.records.states.process import ProcessInfo
from consumers.running.sending.spool import Waiting
from stream import trace_of

log = logging.getLogger(__name__)

Role = Literal["agent", "worker"]
Attributes = Mapping[str, str | int | float]

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
#: The one that the extra `otel` brings.
_PROTOCOL: Final = "http/protobuf"


@dataclass(frozen=True, slots=True)
class Span:
    """One step of a trace; times are wall clock in microseconds since the Unix epoch."""

    name: Literal["segment", "window", "event"]
    #: Its own place, and that of what it came of, as in the header `traceparent`.
    trace: str
    parent: str | None
    begun_us: int
    ended_us: int
    attributes: Attributes


class Spans:
    """Tells of segments, windows and events; never raises."""

    def __init__(self, send: Callable[[Span], None], counts: Callable[[], Mapping[str, int]]) -> None:
        """Prepare.

        Args:
            send: takes a span; returns at once.
            counts: how many of those were sent, and dropped.
        """
        self._send, self.counts = send, counts
        self._said_broken = False

    def stored(self, segment: Waiting) -> None:
        """Tell of a segment that the broker has stored."""
        self._tell(_of_segment(segment, time.time_ns() // 1000))

    def committed(self, outcomes: Sequence[Outcome], events: Sequence[Event]) -> None:
        """Tell of windows and event reports that were published."""
        self._tell(_of_results(outcomes, events, time.time_ns() // 1000))

    def _tell(self, spans: Iterable[Span]) -> None:
        try:
            for span in spans:
                self._send(span)
        except Exception:
            # Whatever is wrong with them, the work goes on.
            if not self._said_broken:
                self._said_broken = True
                log.exception("a span could not be made; it is said once")


def _of_segment(segment: Waiting, now_us: int) -> Iterator[Span]:
    if (trace := trace_of(segment.headers)) is None:
        return
    epoch_us, sequence, _ = segment.place
    yield Span(
        "segment",
        trace,
        None,
        segment.at_us,
        now_us,
        {
            "clipline.camera": segment.camera,
            "clipline.epoch_us": epoch_us,
            "clipline.sequence": sequence,
            "clipline.frames": segment.frames,
            "clipline.bytes": segment.size,
        },
    )


def _of_results(outcomes: Sequence[Outcome], events: Sequence[Event], now_us: int) -> Iterator[Span]:
    arrived_us: dict[str, int] = {}
    for step in outcomes:
        if not isinstance(step, ScoredWindow) or (record := step.window.record) is None:
            continue
        prediction = step.prediction
        if (trace := prediction.trace) is None:
            continue
        arrived_us[trace] = record.sent_us or now_us
        attributes: Attributes = {
            "clipline.camera": prediction.camera,
            "clipline.epoch_us": prediction.epoch_us,
            "clipline.window": prediction.window,
            "clipline.prediction": prediction.id,
            "clipline.model": prediction.model,
            "clipline.label": prediction.label,
            "clipline.score": prediction.scores[prediction.label],
        }
        yield Span("window", trace, trace_of(record.headers), arrived_us[trace], now_us, attributes)
    for event in events:
        if event.trace is not None and event.cause in arrived_us:
            attributes = {
                "clipline.camera": event.camera,
                "clipline.event": event.id,
                "clipline.revision": event.revision,
                "clipline.state": event.state,
                "clipline.model": event.model,
                "clipline.label": event.label,
                "clipline.score": event.peak_score,
            }
            yield Span("event", event.trace, event.cause, arrived_us[event.cause], now_us, attributes)


@contextlib.contextmanager
def sent_spans(role: Role, process: ProcessInfo) -> Iterator[Spans | None]:
    """Send spans while the body runs, to where the environment says; yield None where it names no place."""
    with contextlib.ExitStack() as stack:
        yield _opened(role, process, stack)


def _opened(role: Role, process: ProcessInfo, stack: contextlib.ExitStack) -> Spans | None:
    if not (name := next(filter(os.environ.get, ENDPOINTS), None)) or _is_off():
        return None
    protocol = next(filter(None, map(os.environ.get, _PROTOCOLS)), _PROTOCOL)
    if protocol != _PROTOCOL:
        log.warning("%s is set, but no spans are sent: their protocol is %s, not %s", name, _PROTOCOL, protocol)
        return None
    try:
        from .collector import Collector  # noqa: PLC0415  an extra of its own, and slow to import

        collector = stack.enter_context(Collector(role, process))
    except ModuleNotFoundError as error:
        log.warning(
            "%s is set, but no spans are sent: %s is not installed: pip install 'clipline[otel]'", name, error.name
        )
        return None
    except Exception as error:  # noqa: BLE001  settings of others: whatever is wrong with them, the work goes on
        log.warning("%s is set, but no spans are sent: %s", name, " ".join(str(error).split()))
        return None
    return Spans(collector.send, collector.counts)


def _is_off() -> bool:
    exporters = os.environ.get("OTEL_TRACES_EXPORTER") or "otlp"
    is_disabled = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    return is_disabled or "otlp" not in exporters.replace(" ", "").split(",")
