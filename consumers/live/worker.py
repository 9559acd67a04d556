"""The classifying worker: segments in, predictions and events out, nothing lost.

    poll ─▶ decode (threads) ─▶ clipper per camera ─▶ batch over cameras ─▶ classify
                                                                             │
    commit ◀─ flush ◀─ events ◀─ tracker per camera ◀─ predictions ◀─────────┘

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

from consumers.records.dead_letter import DeadLetter
from consumers.records.event import Event
from consumers.records.prediction import Prediction
from consumers.settings import Settings
from consumers.topics import ensure_topics
from stream import (
    CAMERA_ID,
    ClipSpec,
    Partition,
    Record,
    Segment,
    SegmentError,
    Transport,
    announced_frames,
)

from .accounts import NO_CAMERA
from .decode_queue import DecodeQueue
from .feed_guard import Arrival, FeedGuard, Reason
from .offsets import Footage, OffsetLedger
from .pipeline import FeedEnd, Pipeline, ScoredWindow, Scorer, Window
from .silence import SilenceWatch
from .snapshot import WorkerSnapshot
from .status import WorkerStatus
from .tracker import Rule

log = logging.getLogger(__name__)

_IDLE_POLL_SECONDS: Final = 0.25
#: A record that cannot be used is believed so many frames at most.
_MOST_FRAMES: Final = 1_000_000
#: How often it is said of a camera that there is another feed under its name.
_TELL_SECONDS: Final = 60.0
_OTHER_FEED: Final[Mapping[Reason, str]] = {
    "stale_epoch": "it began before the open one",
    "stray_epoch": "it began later, and did not go on",
    "other_bytes": "with the same times and other bytes",
}


class Worker:
    """A member of the consumer group. `run` until `stop` says so; one thread drives it, others decode."""

    def __init__(
        self,
        transport: Transport,
        scorer: Scorer,
        spec: ClipSpec,
        rules: Mapping[str, Rule],
        settings: Settings,
    ) -> None:
        self._transport, self._spec = transport, spec
        self._settings, self._topics = settings.worker, settings.topics
        self._max_bytes = int(self._settings.max_queue_megabytes * 1024 * 1024)
        self._model = scorer.id
        self._alarms = {label: rule.start for label, rule in rules.items()}
        self._pipeline = Pipeline(scorer, spec, rules)
        self._ledger = OffsetLedger()
        self._status = WorkerStatus()
        self._silence = SilenceWatch(self._settings.idle_seconds)
        self.counts = self._pipeline.counts
        #: Records that are stored and not yet acknowledged: unread, or read and not committed.
        self.lag = 0
        #: Those of them that nobody has worked on yet.
        self.waiting = 0

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
        return self._status.snapshot(self._model, self._alarms, self._pipeline, self.lag, self.waiting)

    def run(self, stop: Callable[[], bool]) -> None:
        """Work until `stop()`; then leave the group. What is in hand and not yet published is read again by the next.

        Raises:
            BrokerError: the broker is gone for longer than the retries last. Nothing is lost.
        """
        ensure_topics(self._transport, self._topics)
        self._producer = self._transport.producer()
        self._consumer = self._transport.consumer([self._topics.segments], self._settings.group)
        self._queue: DecodeQueue[Record] = DecodeQueue(self._spec, self._settings.threads, self._max_bytes)
        try:
            while not stop():
                self._take_records()
                self._work_off()
                self._close_idle_cameras()
                self._commit()
                self._count_lag()
            self._end_events_of(list(self._status.cameras))
        finally:
            self._queue.close()
            self._consumer.close()
            self._producer.close()

    def _take_records(self) -> None:
        full = self._queue.bytes > self._max_bytes
        self._consumer.pause(self._ledger.partitions if full else ())
        polled = self._consumer.poll(0.0 if len(self._queue) else _IDLE_POLL_SECONDS)
        if polled.revoked:
            self._drop(polled.revoked)
        if polled.revoked or polled.assigned:
            log.info("partitions given up: %s; taken: %s", _numbers(polled.revoked), _numbers(polled.assigned))
        for record in polled.records:
            self._ledger.read(_partition(record), record.offset)
            self._queue.put(record, functools.partial(_segment, record), record.where, len(record.value or b""))

    def _work_off(self) -> None:
        """Finish the oldest records that are decoded (at least one that completes something), as one batch."""
        steps: list[Window | FeedEnd] = []
        while len(steps) < self._settings.max_batch and (taken := self._queue.take(wait=not steps)) is not None:
            record, outcome = taken
            if isinstance(outcome, SegmentError):
                self._bury(record, outcome.reason)
            else:
                steps += self._take(Arrival(record, *outcome))
        if steps:
            self._publish(steps)

    def _take(self, arrival: Arrival) -> list[Window | FeedEnd]:
        """Take a camera's next segment, or leave it out; return the windows that are complete now."""
        name = arrival.segment.camera
        camera, status = self._pipeline.cameras.get(name), self._status.find(name)
        guard = status.guard if status else FeedGuard()
        steps: list[Window | FeedEnd] = []
        for each, reason in guard.take(arrival, camera.clipper.epoch_us if camera else None):
            if reason is None:
                steps += self._advance(each, guard)
            else:
                self._leave_out(each, reason)
        return steps

    def _advance(self, arrival: Arrival, guard: FeedGuard) -> list[Window | FeedEnd]:
        segment, record = arrival.segment, arrival.record
        self._status.seen(segment, record).guard = guard
        self._silence.heard(segment.camera, _partition(record))
        footage = Footage(segment.camera, segment.epoch_us, segment.end_us)
        self._ledger.holds(_partition(record), record.offset, footage)
        try:
            return self._pipeline.push(segment, arrival.decoded, record)
        except Exception as error:  # noqa: BLE001  a record ends no worker, whatever it does
            self._bury(record, f"cannot be cut into windows: {type(error).__name__}: {error}")
            return []

    def _leave_out(self, arrival: Arrival, reason: Reason) -> None:
        """Account for a segment that is of another feed than the camera's windows."""
        segment, record = arrival.segment, arrival.record
        status = self._status.find(segment.camera)
        now = time.monotonic()
        if status is not None and now - status.other_feed_told >= _TELL_SECONDS:
            status.other_feed_told = now
            log.warning(
                "camera %s: %s is of another feed (%s) and is left out, as are those like it: "
                "do two agents send under this name?",
                segment.camera,
                record.where,
                _OTHER_FEED[reason],
            )
        if reason == "other_bytes":
            number = f"segment {segment.sequence} of epoch {segment.epoch_us}"
            self._bury(record, f"{number} came before with other bytes: are there two feeds under one camera id?")
        else:
            self.counts[segment.camera].leave_out(segment, reason)
            self._ledger.settle(_partition(record), record.offset)

    def _publish(self, steps: Sequence[Window | FeedEnd]) -> None:
        """Classify the windows in `steps`, run the trackers over them in order, and send what comes of it."""
        scored = self._pipeline.classify(steps)
        predictions = [step.prediction for step in scored if isinstance(step, ScoredWindow)]
        events = self._send(predictions, self._pipeline.track(scored))
        self._pipeline.count(scored, events)
        self._status.published(scored, events)

    def _send(self, predictions: Sequence[Prediction], events: Sequence[Event]) -> list[Event]:
        """Publish; return the events with where their footage lies."""
        located = [self._status.cameras[e.camera].locator.locate(e) for e in events]
        for prediction in predictions:
            self._producer.send(self._topics.predictions, *prediction.encode())
        for event in located:
            self._producer.send(self._topics.events, *event.encode())
        self._producer.flush()
        return located

    def _end_events_of(self, cameras: Sequence[str]) -> None:
        """Others take these cameras: end what they cannot go on with, or nobody would ever say that it is over."""
        limit = self._settings.max_reread_seconds
        if events := [event for name in cameras for event in self._pipeline.let_go(name, limit)]:
            self._status.published([], self._send([], events))

    def _bury(self, record: Record, reason: str) -> None:
        """Send a record that cannot be used to the dead letters."""
        letter = DeadLetter.of(record, reason)
        self._producer.send(self._topics.deadletter, *letter.encode())
        self._producer.flush()
        self._ledger.settle(_partition(record), record.offset)
        name = letter.key.decode(errors="replace")
        account = self.counts[name if CAMERA_ID.fullmatch(name) else NO_CAMERA]
        account.bury(min(announced_frames(record.headers), _MOST_FRAMES))
        log.warning("%s is a dead letter: %s", record.where, " ".join(letter.reason.split()))

    def _close_idle_cameras(self) -> None:
        if not self._silence.is_due:
            return
        progress = self._consumer.progress()
        queued: dict[Partition, int] = {}
        for record in self._queue:
            queued.setdefault(_partition(record), record.offset)
        known = {} if progress is None else progress
        worked_off = {partition: queued.get(partition, at) for partition, (at, _) in known.items()}
        ends = None if progress is None else {partition: end for partition, (_, end) in progress.items()}
        for name in self._silence.look(worked_off, ends):
            self._close(name)

    def _close(self, name: str) -> None:
        """A camera is gone: end its windows and events. What was held back of a newer feed begins then."""
        status = self._status.cameras[name]
        self._publish([self._pipeline.close(name)])
        self._pipeline.forget(name)
        self._status.silent(name)
        self._silence.forget(name)
        self._queue.forget(name)
        if steps := [step for arrival in status.guard.waiting() for step in self._take(arrival)]:
            self._publish(steps)

    def _drop(self, revoked: frozenset[Partition]) -> None:
        """Drop all that is known of partitions that went: whoever has them now begins at their committed offsets."""
        gone = self._status.on(revoked)
        self._end_events_of(gone)
        self._status.revoked(revoked)
        for name in gone:
            self.counts[name].hand_over()
            self._pipeline.forget(name)
            self._silence.forget(name)
        self._ledger.revoke(revoked)
        self._queue.remove(lambda record: _partition(record) in revoked)

    def _commit(self) -> None:
        offsets = self._ledger.due(lambda footage: self._pipeline.needs(footage, self._settings.max_reread_seconds))
        if offsets and self._consumer.commit(offsets):
            self._ledger.committed(offsets)

    def _count_lag(self) -> None:
        unread = self._consumer.lag()
        self.lag, self.waiting = unread + self._ledger.unacknowledged, unread + len(self._queue)


def _partition(record: Record) -> Partition:
    return record.topic, record.partition


def _numbers(partitions: frozenset[Partition]) -> str:
    return ", ".join(str(number) for _, number in sorted(partitions)) or "none"


def _segment(record: Record) -> Segment:
    if record.unreadable is not None:
        raise SegmentError(record.where, record.unreadable)
    return Segment.decode(record.key, record.headers, record.value, record.where)
