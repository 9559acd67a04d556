"""A replay over the real path: files onto a broker, a worker of the consumer group, predictions read back.

It shows that the path without a broker says the same, and what the machinery around it costs.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from consumers.settings import Settings, override
from consumers.sinks import RedisSink, SinkError
from consumers.subscriber import read_events
from consumers.tracker import Rule
from consumers.worker import Worker, ensure_topics
from stream import KafkaTransport, Producer, RecordTooLargeError, Segment, SegmentLimits, StreamError
from stream.footage import Footage
from stream.services import EmbeddedBroker, EmbeddedRedis

from .errors import ReplayError
from .replay import Replayed
from .run import How
from .sources import FilePiece, Recording
from .store import Draft, draft_trace
from .trace import Course, Piece

#: All footage is on the topic, yet nothing more of it is classified: how long to wait.
_STALL_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.1
_RETENTION_HOURS: Final = 1.0


@dataclass(slots=True)
class _Sent:
    """What was sent of a camera, and where in time it lies."""

    draft: Draft = field(default_factory=Draft)
    #: By epoch: the ends of its segments.
    ends_us: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    closed: list[int] = field(default_factory=list)

    def note(self, segment: Segment) -> None:
        if segment.is_end:
            self.closed.append(segment.epoch_us)
            return
        skipped = sum(segment.skipped.values())
        self.draft.frames += segment.frames + skipped
        self.draft.skipped += skipped
        self.draft.cover(segment.start_us, segment.end_us)
        self.ends_us[segment.epoch_us].append(segment.end_us)


def replay_through_kafka(
    recordings: Sequence[Recording],
    how: How,
    rules: dict[str, Rule],
    settings: Settings,
    *,
    own_broker: bool,
    progress: Callable[[str, float, float], None] = lambda *_: None,
    stop: Callable[[], bool] = lambda: False,
) -> Replayed | None:
    """What a live worker says of all recordings; None where `stop` said so before it had said all.

    Args:
        recordings: the cameras, of files.
        how: the model and how its clips are made.
        rules: what makes events.
        settings: where broker and Redis are, unless `own_broker`.
        own_broker: start an embedded broker and a Redis for this replay.
        progress: told "classifying", and how many seconds of footage of how many it has been done to.
        stop: asked often.

    Raises:
        ReplayError: a recording is of a topic, or the worker's events are not those of its predictions.
        BrokerError, SinkError: a service is gone.
    """
    if any(not isinstance(piece, FilePiece) for r in recordings for piece in r.pieces):
        raise ReplayError("--through-kafka: expected files, which it puts on a topic; a topic is replayed without")
    with contextlib.ExitStack() as stack:
        if own_broker:
            kafka, redis = stack.enter_context(EmbeddedBroker()), stack.enter_context(EmbeddedRedis())
            settings = override(settings, {"kafka": kafka.address, "redis": redis.address}, "embedded services")
        name = f"{settings.topics.prefix}-replay-{secrets.token_hex(4)}"
        own = {"topics": {"prefix": name, "retention_hours": _RETENTION_HOURS}, "worker": {"group": name}}
        settings = override(settings, own, "replay")
        transport = KafkaTransport(settings.kafka)
        ensure_topics(transport, settings.topics)
        sink = RedisSink(settings.redis, settings.redis_limits, settings.topics.prefix)
        stack.callback(sink.close)
        worker = Worker(transport, how.scorer, how.spec, rules, sink, settings)
        sent = _run(recordings, worker, transport, settings, progress, stop)
        if sent is None:
            return None
        courses = _courses(recordings, how, transport, settings, sent)
        _compare(courses, rules, transport, settings)
    return Replayed(courses, 0.0)


def _run(
    recordings: Sequence[Recording],
    worker: Worker,
    transport: KafkaTransport,
    settings: Settings,
    progress: Callable[[str, float, float], None],
    stop: Callable[[], bool],
) -> dict[str, _Sent] | None:
    """Send everything while a worker takes it; return when all of it is accounted for."""
    done = threading.Event()
    failures: list[Exception] = []

    def work() -> None:
        try:
            worker.run(done.is_set)
        except (StreamError, SinkError) as error:
            failures.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    sent: dict[str, _Sent] = {recording.camera: _Sent() for recording in recordings}
    total = sum(piece.seconds for recording in recordings for piece in recording.pieces)
    try:
        producer = transport.producer()
        for recording in recordings:
            _send(recording, producer, settings.segments.limits, settings.topics.segments, sent, stop)
        producer.close()
        newest, changed_at = -1.0, time.monotonic()
        while not stop() and thread.is_alive():
            counts = dict(worker.counts)
            seconds = sum(c.seconds for c in counts.values())
            progress("classifying", min(seconds, total), total)
            if all(n in counts and counts[n].frames >= s.draft.frames for n, s in sent.items()) and not sum(
                c.pending for c in counts.values()
            ):
                break
            if seconds > newest:
                newest, changed_at = seconds, time.monotonic()
            elif time.monotonic() - changed_at > _STALL_SECONDS:
                accounts = "; ".join(f"{n}: {c.summary()}" for n, c in sorted(counts.items()))
                raise ReplayError(f"--through-kafka: the worker takes nothing more ({accounts or 'nothing so far'})")
            time.sleep(_POLL_SECONDS)
    finally:
        done.set()
        thread.join()
    if failures:
        raise failures[0]
    return None if stop() else sent


def _send(
    recording: Recording,
    producer: Producer,
    limits: SegmentLimits,
    topic: str,
    sent: dict[str, _Sent],
    stop: Callable[[], bool],
) -> None:
    files = [piece.path for piece in recording.pieces if isinstance(piece, FilePiece)]
    for segment in Footage(files, recording.camera, limits, start_us=recording.start_us).segments(stop=stop):
        if stop():
            return
        try:
            producer.send(topic, *segment.encode())
        except RecordTooLargeError as error:
            sent[recording.camera].draft.lose(segment.frames, str(error))
            continue
        sent[recording.camera].note(segment)
    producer.flush()


def _courses(
    recordings: Sequence[Recording],
    how: How,
    transport: KafkaTransport,
    settings: Settings,
    sent: dict[str, _Sent],
) -> tuple[Course, ...]:
    seen: set[str] = set()
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in transport.read(transport.offsets(settings.topics.predictions)):
        body = json.loads(record.value or b"")
        if body["id"] not in seen:
            seen.add(body["id"])
            rows[body["camera"]].append(body)
    labels = tuple(how.scorer.labels)
    courses = []
    for recording in recordings:
        place, draft = sent[recording.camera], sent[recording.camera].draft
        for body in rows[recording.camera]:
            epoch_us, start_us = body["epoch_us"], body["epoch_us"] + body["window"] * how.spec.stride_us
            end_us, ends = start_us + how.spec.span_us, place.ends_us[epoch_us]
            draft.places.append((epoch_us, body["window"], start_us, end_us, ends[bisect_left(ends, end_us)]))
            draft.scores.append([body["scores"][label] for label in labels])
        draft.closes = [sum(p[0] <= epoch_us for p in draft.places) for epoch_us in place.closed]
        name = " ".join(piece.name for piece in recording.pieces)
        courses.append(Course(recording.camera, [Piece(name, 0, draft_trace(how.scorer.id, labels, draft))]))
    return tuple(courses)


def _compare(courses: Sequence[Course], rules: dict[str, Rule], transport: KafkaTransport, settings: Settings) -> None:
    """The events on the topic are those that the predictions on the topic make, or something is wrong with us."""
    bodies = read_events(transport, settings.topics, follow=False, stored=True, stop=lambda: False)
    published = sorted({json.dumps(body) for body in bodies})
    played = sorted({json.dumps(r.event.body()) for course in courses for r in course.play(rules)})
    if published != played:
        raise ReplayError(
            f"--through-kafka: {len(published)} reports of events on the topic, and {len(played)} by the predictions "
            "there; they should be the same"
        )
