"""The classifying consumer: segments in, predictions and events out, nothing lost.

    poll ─▶ decode (threads) ─▶ clipper per camera ─▶ batch over cameras ─▶ classify
                                                                             │
    commit ◀─ flush ◀─ Redis ◀─ events ◀─ tracker per camera ◀─ predictions ◀┘

A segment's offset is committed when every window that touches it has been published, so a worker that is killed
leaves nothing undone: the next one reads again what was still needed. What it then says twice has the same id.
"""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np

from stream import (
    Clip,
    Clipper,
    ClipSpec,
    Decoded,
    Headers,
    Partition,
    Record,
    Segment,
    SegmentError,
    Topic,
    Transport,
    decode,
)

from .event import Event
from .prediction import SCORE_DIGITS, Prediction
from .settings import Settings, TopicSettings
from .sinks import Sink
from .tracker import Rule, Tracker

#: Longest latencies kept for the summary.
_LATENCIES: Final = 10_000
#: A dead letter carries the record's own value up to this size.
_MAX_DEAD_LETTER_BYTES: Final = 9 * 1024 * 1024
_IDLE_POLL_SECONDS: Final = 0.25


class Scorer(Protocol):
    """The part of `models.Classifier` that a worker needs."""

    @property
    def id(self) -> str: ...

    @property
    def labels(self) -> Sequence[str]: ...

    def predict(self, frames: np.ndarray) -> np.ndarray:
        """Clips (B, T, H, W, 3) uint8 to scores (B, L)."""


@dataclass(slots=True)
class CameraCounts:
    """What became of a camera's frames: `frames == classified + skipped + dead_lettered + pending`."""

    frames: int = 0
    classified: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    dead_lettered: int = 0
    segments: int = 0
    dead_letters: int = 0
    windows: int = 0
    events: int = 0
    newest: Prediction | None = None
    seconds: float = 0.0

    @property
    def pending(self) -> int:
        return self.frames - self.classified - self.skipped.total() - self.dead_lettered

    def summary(self) -> str:
        """The account in words: what came in is what became of it."""
        skipped = ", ".join(f"{reason} {n}" for reason, n in sorted(self.skipped.items()))
        return (
            f"{self.frames} frames = {self.classified} classified + {self.skipped.total()} skipped"
            f"{f' ({skipped})' if skipped else ''} + {self.dead_lettered} dead-lettered + {self.pending} pending; "
            f"{self.windows} windows, {self.events} events"
        )


@dataclass(slots=True)
class _Unfinished:
    """A record whose offset is not yet committed, in the order of its partition."""

    offset: int
    camera: str | None = None
    epoch_us: int = 0
    end_us: int = 0
    settled: bool = False


@dataclass(slots=True)
class _Camera:
    clipper: Clipper
    tracker: Tracker
    partition: Partition
    last_seen: float


@dataclass(frozen=True, slots=True)
class _Job:
    record: Record
    unfinished: _Unfinished
    size: int
    result: Future[tuple[Segment, Decoded] | SegmentError]


@dataclass(frozen=True, slots=True)
class _Step:
    """What a tracker is to take next: a window (and the record that completed it), or the end of the feed."""

    camera: str
    clip: Clip | None = None
    record: Record | None = None


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
        self._transport, self._scorer, self._spec, self._rules, self._sink = transport, scorer, spec, rules, sink
        self._settings, self._topics = settings.worker, settings.topics
        self.counts: dict[str, CameraCounts] = defaultdict(CameraCounts)
        self.latencies_seconds: deque[float] = deque(maxlen=_LATENCIES)
        self.newest_events: deque[Event] = deque(maxlen=100)
        self.events_total = 0
        self.lag = 0
        self._cameras: dict[str, _Camera] = {}
        self._unfinished: dict[Partition, deque[_Unfinished]] = defaultdict(deque)
        self._queue: deque[_Job] = deque()
        self._queued_bytes = 0

    def active_events(self) -> list[Event]:
        """The events that are going on."""
        return [event for camera in list(self._cameras.values()) for event in camera.tracker.active]

    def latency_seconds(self, percentile: float) -> float | None:
        """Wall time from a segment's arrival on the topic to its predictions; None before the first."""
        latencies = list(self.latencies_seconds)
        return float(np.percentile(latencies, percentile)) if latencies else None

    def run(self, stop: Callable[[], bool]) -> None:
        """Work until `stop()`; then publish what is in hand, commit and leave the group.

        Raises:
            BrokerError, SinkError: a service is gone for longer than the retries last. Nothing is lost.
        """
        ensure_topics(self._transport, self._topics)
        self._producer = self._transport.producer()
        self._consumer = self._transport.consumer([self._topics.segments], self._settings.group)
        # Without a with-block: leaving one would wait for decoding that nobody needs any more.
        self._pool = ThreadPoolExecutor(self._settings.threads or _cores(), thread_name_prefix="decode")
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
        steps: list[_Step] = []
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

    def _advance(self, job: _Job, segment: Segment, decoded: Decoded) -> list[_Step]:
        camera = self._cameras.get(segment.camera)
        if camera is None:
            camera = _Camera(
                Clipper(self._spec), Tracker(self._rules), (job.record.topic, job.record.partition), time.monotonic()
            )
            self._cameras[segment.camera] = camera
        camera.last_seen = time.monotonic()
        job.unfinished.camera = segment.camera
        job.unfinished.epoch_us, job.unfinished.end_us = segment.epoch_us, segment.end_us
        counts = self.counts[segment.camera]
        counts.segments += not segment.is_end
        counts.frames += segment.frames + sum(segment.skipped.values())
        counts.skipped.update(segment.skipped)
        counts.seconds += segment.seconds
        steps = [_Step(segment.camera, clip, job.record) for clip in camera.clipper.push(segment, decoded)]
        self._count_skipped(segment.camera, camera)
        return [*steps, _Step(segment.camera)] if segment.is_end else steps

    def _count_skipped(self, name: str, camera: _Camera) -> None:
        self.counts[name].skipped.update(camera.clipper.skipped)
        camera.clipper.skipped.clear()

    def _publish(self, steps: Sequence[_Step]) -> None:
        """Classify the clips in `steps`, run the trackers over them in order, and send what comes of it."""
        clips = [step.clip for step in steps if step.clip is not None]
        rows = iter(self._scorer.predict(np.stack([clip.frames for clip in clips])) if clips else ())
        predictions: list[Prediction] = []
        events: list[Event] = []
        for step in steps:
            tracker = self._cameras[step.camera].tracker
            if step.clip is None:
                events += tracker.close("feed_ended")
                continue
            predictions.append(self._prediction(step.clip, next(rows)))
            events += tracker.push(predictions[-1])
        for prediction in predictions:
            self._producer.send(self._topics.predictions, *prediction.encode())
        for event in events:
            self._producer.send(self._topics.events, *event.encode())
        self._producer.flush()
        self._sink.write(predictions, events)
        self._count(steps, predictions, events)

    def _prediction(self, clip: Clip, row: np.ndarray) -> Prediction:
        # Rounded here, so that a tracker sees exactly what subscribers see.
        scores = {label: round(float(s), SCORE_DIGITS) for label, s in zip(self._scorer.labels, row, strict=True)}
        return Prediction(clip.camera, clip.epoch_us, clip.window, clip.start_us, clip.end_us, self._scorer.id, scores)

    def _count(self, steps: Sequence[_Step], predictions: Sequence[Prediction], events: Sequence[Event]) -> None:
        now_us = time.time_ns() // 1000
        classified = [(step.clip, step.record) for step in steps if step.clip and step.record]
        for (clip, record), prediction in zip(classified, predictions, strict=True):
            counts = self.counts[clip.camera]
            counts.classified += clip.frames_spanned
            counts.windows += 1
            counts.newest = prediction
            self.latencies_seconds.append((now_us - record.sent_us) / 1e6)
        for event in events:
            self.counts[event.camera].events += event.state == "started"
            self.newest_events.append(event)
        self.events_total += len(events)

    def _dead_letter(self, record: Record, reason: str) -> None:
        key, headers, value = dead_letter(record, reason)
        self._producer.send(self._topics.deadletter, key, headers, value)
        self._producer.flush()
        counts = self.counts[key.decode(errors="replace") or "(no camera)"]
        frames = _announced_frames(record)
        counts.frames += frames
        counts.dead_lettered += frames
        counts.dead_letters += 1

    def _close_idle_cameras(self) -> None:
        limit = time.monotonic() - self._settings.idle_seconds
        for name, camera in list(self._cameras.items()):
            if camera.last_seen < limit:
                camera.clipper.close()
                self._count_skipped(name, camera)
                self._publish([_Step(name)])
                del self._cameras[name]

    def _forget_revoked(self) -> None:
        revoked = self._consumer.take_revoked()
        if not revoked:
            return
        for name in [n for n, c in self._cameras.items() if c.partition in revoked]:
            # The new owner reads these frames again, and counts them.
            self.counts[name].frames -= self.counts[name].pending
            del self._cameras[name]
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
        camera = self._cameras.get(record.camera)
        needed_from_us = camera.clipper.needed_from_us if camera else None
        return (
            needed_from_us is None
            or camera is None
            or camera.clipper.epoch_us != record.epoch_us
            or record.end_us <= needed_from_us
        )


def _cores() -> int:
    """How many this process may use. More decoders than that displace one another's pictures from the caches."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ensure_topics(transport: Transport, topics: TopicSettings) -> None:
    """Create the topics of the wire where they are missing."""
    transport.ensure_topics(
        [
            Topic(topics.segments, topics.partitions, topics.retention_hours),
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


def _announced_frames(record: Record) -> int:
    try:
        return max(0, int(dict(record.headers).get("frames", b"0")))
    except ValueError:
        return 0


def _decode(record: Record, spec: ClipSpec) -> tuple[Segment, Decoded] | SegmentError:
    try:
        segment = Segment.decode(record.key, record.headers, record.value, record.where)
        if segment.is_end:
            return segment, Decoded((), [])
        return segment, decode(segment, spec.sample_times_us(segment), spec.picture, record.where)
    except SegmentError as error:
        return error
