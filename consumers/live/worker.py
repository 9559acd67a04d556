"""The classifying worker: segments in, predictions and events out, nothing lost.

    poll ─▶ decode (threads) ─▶ clipper per camera ─▶ batch over cameras ─▶ classify
                                                                             │
    commit ◀─ flush ◀─ Redis ◀─ events ◀─ tracker per camera ◀─ predictions ◀┘

A segment's offset is committed when every window that touches it has been published and no event goes on that began
in it. So if a worker dies, the next one reads again what was still needed, comes to the same state and continues each
event under its id; duplicates carry the same id. The same holds where partitions change hands: what stays with this
worker is not touched, what goes is dropped, what comes is read from its committed offset.
"""

from __future__ import annotations

import functools
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from consumers.outputs.redis import Sink
from consumers.records.dead_letter import DeadLetter
from consumers.records.event import Event
from consumers.settings import Settings
from consumers.topics import ensure_topics
from stream import (
    ClipSpec,
    Decoded,
    Partition,
    Record,
    Segment,
    SegmentError,
    Transport,
    announced_frames,
)

from .decode_queue import DecodeQueue
from .offsets import Footage, OffsetLedger
from .pipeline import FeedEnd, Pipeline, ScoredWindow, Scorer, Window
from .snapshot import WorkerSnapshot
from .status import WorkerStatus
from .tracker import Rule

log = logging.getLogger(__name__)

_IDLE_POLL_SECONDS: Final = 0.25


class Worker:
    """A member of the consumer group. `run` until `stop` says so; one thread drives it, others decode."""

    def __init__(
        self,
        transport: Transport,
        scorer: Scorer,
        spec: ClipSpec,
        rules: Mapping[str, Rule],
        sink: Sink,
        settings: Settings,
    ) -> None:
        self._transport, self._spec, self._sink = transport, spec, sink
        self._settings, self._topics = settings.worker, settings.topics
        self._model = scorer.id
        self._alarms = {label: rule.start for label, rule in rules.items()}
        self._pipeline = Pipeline(scorer, spec, rules)
        self._ledger = OffsetLedger()
        self._status = WorkerStatus()
        self.counts = self._pipeline.counts
        #: Records that are stored and not yet worked off.
        self.lag = 0

    @property
    def events_total(self) -> int:
        return self._status.events_total

    @property
    def newest_events(self) -> deque[Event]:
        return self._status.newest_events

    def active_events(self) -> list[Event]:
        """The events that are going on."""
        return [event for camera in list(self._pipeline.cameras.values()) for event in camera.tracker.active]

    def latency_seconds(self, percentile: float) -> float | None:
        """Wall time from a segment's arrival on the topic to its predictions; None before the first."""
        return self._status.latency_seconds(percentile)

    def snapshot(self) -> WorkerSnapshot:
        """The worker at this moment. May be asked by other threads."""
        return self._status.snapshot(self._model, self._alarms, self._pipeline, self.lag)

    def run(self, stop: Callable[[], bool]) -> None:
        """Work until `stop()`; then leave the group. What is in hand and not yet published is read again by the next.

        Raises:
            BrokerError, SinkError: a service is gone for longer than the retries last. Nothing is lost.
        """
        ensure_topics(self._transport, self._topics)
        self._producer = self._transport.producer()
        self._consumer = self._transport.consumer([self._topics.segments], self._settings.group)
        self._queue: DecodeQueue[Record] = DecodeQueue(self._spec, self._settings.threads)
        try:
            while not stop():
                self._take_records()
                self._work_off()
                self._close_idle_cameras()
                self._commit()
        finally:
            self._queue.close()
            self._consumer.close()
            self._producer.close()

    def _take_records(self) -> None:
        full = self._queue.bytes > self._settings.max_queue_megabytes * 1024 * 1024
        self._consumer.pause(self._ledger.partitions if full else ())
        polled = self._consumer.poll(0.0 if len(self._queue) else _IDLE_POLL_SECONDS)
        if polled.revoked:
            self._drop(polled.revoked)
        if polled.revoked or polled.assigned:
            log.info("partitions given up: %s; taken: %s", _numbers(polled.revoked), _numbers(polled.assigned))
        for record in polled.records:
            self._ledger.read((record.topic, record.partition), record.offset)
            self._queue.put(record, functools.partial(_segment, record), record.where, len(record.value or b""))
        self.lag = self._consumer.lag() + len(self._queue)

    def _work_off(self) -> None:
        """Finish the oldest records that are decoded (at least one that completes something), as one batch."""
        steps: list[Window | FeedEnd] = []
        while len(steps) < self._settings.max_batch and (taken := self._queue.take(wait=not steps)) is not None:
            record, outcome = taken
            if isinstance(outcome, SegmentError):
                self._bury(record, outcome.reason)
            else:
                steps += self._advance(record, *outcome)
        if steps:
            self._publish(steps)

    def _advance(self, record: Record, segment: Segment, decoded: Decoded) -> list[Window | FeedEnd]:
        self._status.seen(segment, record)
        footage = Footage(segment.camera, segment.epoch_us, segment.end_us)
        self._ledger.holds((record.topic, record.partition), record.offset, footage)
        return self._pipeline.push(segment, decoded, record)

    def _publish(self, steps: Sequence[Window | FeedEnd]) -> None:
        """Classify the windows in `steps`, run the trackers over them in order, and send what comes of it."""
        scored = self._pipeline.classify(steps)
        events = [self._status.cameras[e.camera].locator.locate(e) for e in self._pipeline.track(scored)]
        predictions = [step.prediction for step in scored if isinstance(step, ScoredWindow)]
        for prediction in predictions:
            self._producer.send(self._topics.predictions, *prediction.encode())
        for event in events:
            self._producer.send(self._topics.events, *event.encode())
        self._producer.flush()
        self._sink.write(predictions, events)
        self._pipeline.count(scored, events)
        self._status.published(scored, events)

    def _bury(self, record: Record, reason: str) -> None:
        """Send a record that cannot be used to the dead letters."""
        letter = DeadLetter.of(record, reason)
        self._producer.send(self._topics.deadletter, *letter.encode())
        self._producer.flush()
        self._ledger.settle((record.topic, record.partition), record.offset)
        self.counts[letter.key.decode(errors="replace") or "(no camera)"].bury(announced_frames(record.headers))

    def _close_idle_cameras(self) -> None:
        limit = time.monotonic() - self._settings.idle_seconds
        for name, status in list(self._status.cameras.items()):
            if status.last_seen < limit:
                self._publish([self._pipeline.close(name)])
                self._pipeline.forget(name)
                self._queue.forget(name)
                self._status.silent(name)

    def _drop(self, revoked: frozenset[Partition]) -> None:
        """Drop all that is known of partitions that went: whoever has them now begins at their committed offsets."""
        for name in self._status.revoked(revoked):
            self.counts[name].hand_over()
            self._pipeline.forget(name)
        self._ledger.revoke(revoked)
        self._queue.remove(lambda record: (record.topic, record.partition) in revoked)

    def _commit(self) -> None:
        offsets = self._ledger.due(lambda footage: self._pipeline.needs(footage, self._settings.max_reread_seconds))
        if offsets and self._consumer.commit(offsets):
            self._ledger.committed(offsets)


def _numbers(partitions: frozenset[Partition]) -> str:
    return ", ".join(str(number) for _, number in sorted(partitions)) or "none"


def _segment(record: Record) -> Segment:
    return Segment.decode(record.key, record.headers, record.value, record.where)
