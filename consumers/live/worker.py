"""The classifying consumer: segments in, predictions and events out, nothing lost.

    poll ─▶ decode (threads) ─▶ clipper per camera ─▶ batch over cameras ─▶ classify
                                                                             │
    commit ◀─ flush ◀─ Redis ◀─ events ◀─ tracker per camera ◀─ predictions ◀┘

A segment's offset is committed when every window that touches it has been published and no event goes on that began
in it, so a worker that is killed leaves nothing undone: the next one reads again what was still needed, comes to the
same state and tells an event on under the same id. What it says twice has the same id.
"""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from consumers.outputs.redis import Sink
from consumers.records.event import Event
from consumers.settings import Settings, TopicSettings
from stream import (
    ClipSpec,
    Decoded,
    Headers,
    Partition,
    Record,
    Segment,
    SegmentError,
    Topic,
    Transport,
)

from .pipeline import Pipeline, Scorer, Step, decode_segment
from .snapshot import CameraSnapshot, WorkerSnapshot
from .tracker import Rule

#: Longest latencies kept for the summary.
_LATENCIES: Final = 10_000
#: A dead letter carries the record's own value up to this size.
_MAX_DEAD_LETTER_BYTES: Final = 9 * 1024 * 1024
_IDLE_POLL_SECONDS: Final = 0.25
#: Segments of a camera whose offsets are remembered; the first one of an event that goes on is, in any case.
_SEGMENTS_KNOWN: Final = 1024
#: Cameras that fell silent and are still shown, the longest silent leave first.
_SILENT_KNOWN: Final = 1024


@dataclass(slots=True)
class _Unfinished:
    """A record whose offset is not yet committed, in the order of its partition."""

    offset: int
    camera: str | None = None
    epoch_us: int = 0
    end_us: int = 0
    settled: bool = False


@dataclass(slots=True)
class _Place:
    """Where a camera's records come from, when the last one came, and up to which event time."""

    partition: Partition
    last_seen: float = 0.0
    newest_us: int = 0
    #: Wall time from the newest classified segment's arrival on the topic to its predictions.
    behind_seconds: float | None = None
    last_event: Event | None = None
    #: The newest segment was the end of the feed.
    ended: bool = False
    #: Begin and end in event time, and offset, of the newest segments.
    segments: deque[tuple[int, int, int]] = field(default_factory=lambda: deque(maxlen=_SEGMENTS_KNOWN))
    #: By id of an event that goes on: the offset of the first segment it was seen in.
    first_offsets: dict[str, int] = field(default_factory=dict)

    def located(self, event: Event) -> Event:
        """The event with the records that it was seen in."""
        offsets = [o for start, end, o in self.segments if start < event.end_us and event.start_us < end]
        if not offsets:
            return event
        first = self.first_offsets.setdefault(event.id, offsets[0])
        if event.state == "ended":
            del self.first_offsets[event.id]
        topic, number = self.partition
        return replace(event, segments=f"{topic}[{number}]@{first}-{offsets[-1]}")


@dataclass(frozen=True, slots=True)
class _Job:
    record: Record
    unfinished: _Unfinished
    size: int
    result: Future[tuple[Segment, Decoded] | SegmentError]


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
        self._pipeline = Pipeline(scorer, spec, rules)
        self._alarms = {label: rule.start for label, rule in rules.items()}
        self.counts = self._pipeline.counts
        self.latencies_seconds: deque[float] = deque(maxlen=_LATENCIES)
        self.newest_events: deque[Event] = deque(maxlen=100)
        self.events_total = 0
        self.lag = 0
        self._places: dict[str, _Place] = {}
        #: Cameras that are considered gone, in the order in which they went: no state is kept but that they were here.
        self._silent: dict[str, _Place] = {}
        self._unfinished: dict[Partition, deque[_Unfinished]] = defaultdict(deque)
        self._queue: deque[_Job] = deque()
        self._queued_bytes = 0

    def active_events(self) -> list[Event]:
        """The events that are going on."""
        return [event for camera in list(self._pipeline.cameras.values()) for event in camera.tracker.active]

    def latency_seconds(self, percentile: float) -> float | None:
        """Wall time from a segment's arrival on the topic to its predictions; None before the first."""
        latencies = list(self.latencies_seconds)
        return float(np.percentile(latencies, percentile)) if latencies else None

    def snapshot(self) -> WorkerSnapshot:
        """The worker at this moment. May be asked by other threads."""
        now = time.monotonic()
        cameras = []
        for name, place in sorted({**self._silent, **self._places}.items()):
            counts = self.counts[name]
            state = self._pipeline.cameras.get(name)
            cameras.append(
                CameraSnapshot(
                    camera=name,
                    newest=counts.newest,
                    frames=counts.frames,
                    pending=counts.pending,
                    skipped=Counter(counts.skipped),
                    dead_lettered=counts.dead_lettered,
                    windows=counts.windows,
                    events=counts.events,
                    silent_seconds=now - place.last_seen,
                    behind_seconds=place.behind_seconds,
                    active=tuple(state.tracker.active) if state else (),
                    last_event=place.last_event,
                    ended=place.ended,
                )
            )
        return WorkerSnapshot(
            model=self._model,
            cameras=tuple(cameras),
            lag=self.lag,
            latency_seconds=self.latency_seconds(50),
            events_total=self.events_total,
            newest_events=tuple(self.newest_events),
            alarms=self._alarms,
        )

    def run(self, stop: Callable[[], bool]) -> None:
        """Work until `stop()`; then publish what is in hand, commit and leave the group.

        Raises:
            BrokerError, SinkError: a service is gone for longer than the retries last. Nothing is lost.
        """
        ensure_topics(self._transport, self._topics)
        self._producer = self._transport.producer()
        self._consumer = self._transport.consumer([self._topics.segments], self._settings.group)
        # Without a with-block: leaving one would wait for decoding that nobody needs any more.
        self._pool = ThreadPoolExecutor(self._settings.threads or usable_cores(), thread_name_prefix="decode")
        try:
            while not stop():
                self._take_records()
                self._forget_revoked()
                self._work_off()
                self._close_idle_cameras()
                self._commit()
        finally:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._consumer.close()
            self._producer.close()

    def _take_records(self) -> None:
        full = self._queued_bytes > self._settings.max_queue_megabytes * 1024 * 1024
        self._consumer.pause(self._unfinished if full else ())
        waiting = not self._queue
        for record in self._consumer.poll(_IDLE_POLL_SECONDS if waiting else 0.0):
            unfinished = _Unfinished(record.offset)
            self._unfinished[record.topic, record.partition].append(unfinished)
            size = len(record.value or b"")
            self._queued_bytes += size
            self._queue.append(_Job(record, unfinished, size, self._pool.submit(_decode, record, self._spec)))
        self.lag = self._consumer.lag() + len(self._queue)

    def _work_off(self) -> None:
        """Finish the oldest jobs that are decoded (at least one), as one batch."""
        steps: list[Step] = []
        windows = 0
        while self._queue and windows < self._settings.max_batch and (not steps or self._queue[0].result.done()):
            job = self._queue.popleft()
            self._queued_bytes -= job.size
            outcome = job.result.result()
            if isinstance(outcome, SegmentError):
                self._dead_letter(job.record, outcome.reason)
                job.unfinished.settled = True
                continue
            new = self._advance(job, *outcome)
            windows += len(new)
            steps += new
        if steps:
            self._publish(steps)

    def _advance(self, job: _Job, segment: Segment, decoded: Decoded) -> list[Step]:
        partition = (job.record.topic, job.record.partition)
        self._silent.pop(segment.camera, None)
        place = self._places.setdefault(segment.camera, _Place(partition))
        place.last_seen, place.newest_us, place.ended = time.monotonic(), segment.end_us, segment.is_end
        place.segments.append((segment.start_us, segment.end_us, job.record.offset))
        job.unfinished.camera = segment.camera
        job.unfinished.epoch_us, job.unfinished.end_us = segment.epoch_us, segment.end_us
        return self._pipeline.push(segment, decoded, job.record)

    def _publish(self, steps: Sequence[Step]) -> None:
        """Classify the clips in `steps`, run the trackers over them in order, and send what comes of it."""
        predictions = self._pipeline.classify(steps)
        events = [self._places[e.camera].located(e) for e in self._pipeline.track(steps, predictions)]
        for prediction in predictions:
            self._producer.send(self._topics.predictions, *prediction.encode())
        for event in events:
            self._producer.send(self._topics.events, *event.encode())
        self._producer.flush()
        self._sink.write(predictions, events)
        self._pipeline.count(steps, predictions, events)
        now_us = time.time_ns() // 1000
        for step in steps:
            if step.record is not None:
                seconds = (now_us - step.record.sent_us) / 1e6
                self.latencies_seconds.append(seconds)
                self._places[step.camera].behind_seconds = seconds
        for event in events:
            self._places[event.camera].last_event = event
        self.newest_events.extend(events)
        self.events_total += len(events)

    def _dead_letter(self, record: Record, reason: str) -> None:
        key, headers, value = dead_letter(record, reason)
        self._producer.send(self._topics.deadletter, key, headers, value)
        self._producer.flush()
        counts = self.counts[key.decode(errors="replace") or "(no camera)"]
        frames = announced_frames(record)
        counts.frames += frames
        counts.dead_lettered += frames
        counts.dead_letters += 1

    def _close_idle_cameras(self) -> None:
        limit = time.monotonic() - self._settings.idle_seconds
        for name, place in list(self._places.items()):
            if place.last_seen < limit:
                self._publish(self._pipeline.close(name))
                place.segments.clear()
                self._silent[name] = place
                self._forget(name)
                if len(self._silent) > _SILENT_KNOWN:
                    del self._silent[next(iter(self._silent))]

    def _forget(self, name: str) -> None:
        self._pipeline.forget(name)
        del self._places[name]

    def _forget_revoked(self) -> None:
        revoked = self._consumer.take_revoked()
        if not revoked:
            return
        for name in [n for n, place in self._places.items() if place.partition in revoked]:
            # The new owner reads these frames again, and counts them.
            self.counts[name].frames -= self.counts[name].pending
            self._forget(name)
        self._silent = {n: place for n, place in self._silent.items() if place.partition not in revoked}
        for partition in revoked:
            self._unfinished.pop(partition, None)
        kept = [job for job in self._queue if (job.record.topic, job.record.partition) not in revoked]
        self._queue, self._queued_bytes = deque(kept), sum(job.size for job in kept)

    def _commit(self) -> None:
        offsets: dict[Partition, int] = {}
        for partition, records in self._unfinished.items():
            while records and self._is_settled(records[0]):
                offsets[partition] = records.popleft().offset + 1
        self._consumer.commit(offsets)

    def _is_settled(self, record: _Unfinished) -> bool:
        if record.settled or record.camera is None:
            return record.settled
        camera = self._pipeline.cameras.get(record.camera)
        if camera is None:
            return True
        needed_us = camera.clipper.needed_from_us
        if needed_us is not None and camera.clipper.epoch_us == record.epoch_us and record.end_us > needed_us:
            return False
        # The next worker reads an event that goes on from its begin, and so tells it on as this one would have.
        held_us = camera.tracker.needed_from_us
        newest_us = self._places[record.camera].newest_us
        limit_us = self._settings.max_reread_seconds * 1e6
        return held_us is None or record.end_us <= held_us or newest_us - held_us > limit_us


def usable_cores() -> int:
    """How many this process may use. More decoders than that displace one another's pictures from the caches."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ensure_topics(transport: Transport, topics: TopicSettings) -> None:
    """Create the topics of the wire where they are missing."""
    transport.ensure_topics(
        [
            Topic(topics.segments, topics.partitions, topics.retention_hours, topics.retention_bytes),
            Topic(topics.predictions, topics.partitions),
            Topic(topics.events, 1),
            Topic(topics.deadletter, 1),
        ]
    )


def dead_letter(record: Record, reason: str) -> tuple[bytes, Headers, bytes]:
    """The record as it was, with why it could not be used and where it lay."""
    value = record.value or b""
    headers = [
        *record.headers,
        ("clipline-reason", reason.encode()),
        ("clipline-origin", record.where.encode()),
    ]
    if len(value) > _MAX_DEAD_LETTER_BYTES:
        headers.append(("clipline-cut-from", str(len(value)).encode()))
        value = value[:_MAX_DEAD_LETTER_BYTES]
    return record.key or b"", headers, value


def announced_frames(record: Record) -> int:
    """How many frames a record says that it has, whatever else of it can be read."""
    try:
        return max(0, int(dict(record.headers).get("frames", b"0")))
    except ValueError:
        return 0


def _decode(record: Record, spec: ClipSpec) -> tuple[Segment, Decoded] | SegmentError:
    try:
        segment = Segment.decode(record.key, record.headers, record.value, record.where)
        return segment, decode_segment(segment, spec, record.where)
    except SegmentError as error:
        return error
