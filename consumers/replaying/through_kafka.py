"""Replay through Kafka: put files on a topic, let a live worker classify them, read its predictions back.

It shows that replaying without a broker gives the same results, and what Kafka and Redis cost.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from consumers.live.worker import Worker
from consumers.outputs.redis.projection import RedisProjection
from consumers.records.prediction import Prediction
from consumers.rules.book import RuleBook
from consumers.settings import Settings, override
from consumers.subscribing.reader import stored_events
from consumers.topics import ensure_topics
from stream import Footage, KafkaTransport, Producer, RecordTooLargeError, Segment, SegmentLimits, StreamError
from stream.services import EmbeddedBroker, EmbeddedRedis

from .errors import ReplayError
from .footage.sources import FilePiece, Recording
from .replay import Replayed
from .run import ScoringSetup
from .store import TraceDraft, draft_trace
from .trace import PlacedTrace, Timeline, Trace

#: How long to wait for a worker that classifies nothing more although footage is left.
_STALL_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.1
#: How long topics live on after a replay that was killed.
_RETENTION_HOURS: Final = 24.0
#: Footage on the topic at a time: the embedded broker keeps it in memory, and another's disk should not fill either.
MAX_BYTES: Final = 1024**3


@dataclass(slots=True)
class _SentFile:
    """What was sent of a file, and when in event time it is."""

    draft: TraceDraft = field(default_factory=TraceDraft)
    #: By epoch: the ends of its segments.
    ends_us: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    closed: list[int] = field(default_factory=list)

    def note(self, segment: Segment) -> None:
        self.draft.note(segment)
        if segment.is_end:
            self.closed.append(segment.epoch_us)
            return
        self.ends_us[segment.epoch_us].append(segment.end_us)


def replay_through_kafka(
    recordings: Sequence[Recording],
    setup: ScoringSetup,
    rules: RuleBook,
    settings: Settings,
    *,
    own_broker: bool,
    progress: Callable[[str, float, float], None] = lambda *_: None,
    stop: Callable[[], bool] = lambda: False,
) -> Replayed | None:
    """Run all recordings through a live worker; return its predictions, or None if `stop()` came first.

    Args:
        recordings: the cameras, of files.
        setup: the model and how its clips are sampled.
        rules: when scores are an event.
        settings: name the broker, unless `own_broker`.
        own_broker: start embedded brokers for this replay, each for as many cameras as fit into `MAX_BYTES`.
        progress: told "classifying", how many seconds of footage are classified, and of how many.
        stop: asked often.

    Raises:
        ReplayError: a recording is of a topic, a camera's footage is too large for an embedded broker, or the events
            on the topic do not follow from the predictions there.
        BrokerError: the broker does not answer.
    """
    if any(not isinstance(piece, FilePiece) for r in recordings for piece in r.pieces):
        raise ReplayError("--through-kafka: expected files, which it puts on a topic; a topic is replayed without")
    total, done = sum(_seconds(recording) for recording in recordings), 0.0
    timelines: list[Timeline] = []
    for batch in _batches(recordings, own_broker=own_broker):

        def show(name: str, seconds: float, _: float, before: float = done) -> None:
            progress(name, before + seconds, total)

        found = _replay_batch(batch, setup, rules, settings, own_broker=own_broker, progress=show, stop=stop)
        if found is None:
            return None
        timelines += found
        done += sum(_seconds(recording) for recording in batch)
    return Replayed(tuple(timelines), 0.0)


def _seconds(recording: Recording) -> float:
    return sum(piece.seconds for piece in recording.pieces)


def _batches(recordings: Sequence[Recording], *, own_broker: bool) -> list[list[Recording]]:
    """Split the cameras so that the footage of each batch fits into `MAX_BYTES`."""
    batches: list[list[Recording]] = []
    held = 0
    for recording in recordings:
        size = sum(piece.path.stat().st_size for piece in recording.pieces if isinstance(piece, FilePiece))
        if own_broker and size > MAX_BYTES:
            raise ReplayError(
                f"--through-kafka: camera {recording.camera} has {size / 1e6:.0f} MB, and the embedded broker, which "
                f"keeps them in memory, is given {MAX_BYTES / 1e6:.0f} MB at most: name one with a disk by --kafka"
            )
        if not batches or held + size > MAX_BYTES:
            batches.append([])
            held = 0
        batches[-1].append(recording)
        held += size
    return batches


def _replay_batch(
    recordings: Sequence[Recording],
    setup: ScoringSetup,
    rules: RuleBook,
    settings: Settings,
    *,
    own_broker: bool,
    progress: Callable[[str, float, float], None],
    stop: Callable[[], bool],
) -> tuple[Timeline, ...] | None:
    """Run some cameras through topics made for them and deleted afterwards."""
    with contextlib.ExitStack() as stack:
        # The user's Redis must not fill with the results of a replay.
        redis = stack.enter_context(EmbeddedRedis())
        settings = override(settings, {"redis": redis.address}, "embedded services")
        if own_broker:
            kafka = stack.enter_context(EmbeddedBroker())
            settings = override(settings, {"kafka": kafka.address}, "embedded services")
        name = f"{settings.topics.prefix}-replay-{secrets.token_hex(4)}"
        own = {
            "topics": {"prefix": name, "retention_hours": _RETENTION_HOURS},
            "worker": {"group": name, "start": "earliest"},
        }
        settings = override(settings, own, "replay")
        transport = KafkaTransport(settings.broker, at_once=True)
        if not own_broker:
            topics = settings.topics
            names = (topics.segments, topics.predictions, topics.events, topics.deadletter, topics.state, topics.rules)
            stack.callback(transport.delete_topics, names)
        ensure_topics(transport, settings.topics)
        stack.enter_context(RedisProjection(lambda: KafkaTransport(settings.broker), settings))
        worker = Worker(transport, setup.scorer, setup.spec, rules, settings)
        sent = _send_and_classify(recordings, worker, transport, settings, progress, stop)
        if sent is None:
            return None
        timelines = _timelines(recordings, setup, transport, settings, sent)
        _check_events(timelines, rules, transport, settings)
    return timelines


def _send_and_classify(
    recordings: Sequence[Recording],
    worker: Worker,
    transport: KafkaTransport,
    settings: Settings,
    progress: Callable[[str, float, float], None],
    stop: Callable[[], bool],
) -> dict[str, list[_SentFile]] | None:
    """Send everything while a worker classifies it; return what was sent, by camera and file, when it is done."""
    done = threading.Event()
    failures: list[Exception] = []

    def work() -> None:
        try:
            worker.run(done.is_set)
        except StreamError as error:
            failures.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    sent = {recording.camera: [_SentFile() for _ in recording.pieces] for recording in recordings}
    total = sum(_seconds(recording) for recording in recordings)

    def asked_to_stop() -> bool:
        progress("classifying", min(sum(c.seconds for c in dict(worker.counts).values()), total), total)
        return stop()

    try:
        producer = transport.producer()
        for recording in recordings:
            to = sent[recording.camera]
            _send(recording, producer, settings.segments.limits, settings.topics.segments, to, asked_to_stop)
        producer.close()
        frames = {name: sum(file.draft.frames for file in files) for name, files in sent.items()}
        newest, changed_at = -1.0, time.monotonic()
        while not asked_to_stop() and thread.is_alive():
            counts = dict(worker.counts)
            seconds = sum(c.seconds for c in counts.values())
            if all(n in counts and counts[n].frames >= many for n, many in frames.items()) and not sum(
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
    sent: Sequence[_SentFile],
    stop: Callable[[], bool],
) -> None:
    pieces = [piece for piece in recording.pieces if isinstance(piece, FilePiece)]
    footage = Footage(
        [piece.path for piece in pieces],
        recording.camera,
        limits,
        start_us=recording.start_us,
        reading=pieces[0].reading if pieces else None,
    )
    for segment in footage.segments(stop=stop):
        if stop():
            return
        try:
            producer.send(topic, *segment.encode())
        except RecordTooLargeError as error:
            sent[footage.number].draft.lose(segment.frames, str(error))
            continue
        sent[footage.number].note(segment)
    producer.flush()


def _timelines(
    recordings: Sequence[Recording],
    setup: ScoringSetup,
    transport: KafkaTransport,
    settings: Settings,
    sent: Mapping[str, Sequence[_SentFile]],
) -> tuple[Timeline, ...]:
    seen: set[str] = set()
    published: dict[tuple[str, int], list[Prediction]] = defaultdict(list)
    for record in transport.read(transport.offsets(settings.topics.predictions)):
        prediction = Prediction.decode(record.key, record.headers, record.value, record.where)
        if prediction.id not in seen:
            seen.add(prediction.id)
            published[prediction.camera, prediction.epoch_us].append(prediction)
    timelines = []
    for recording in recordings:
        pieces: list[PlacedTrace] = []
        next_us = recording.start_us if recording.start_us is not None else recording.pieces[0].recorded_us
        for piece, file in zip(recording.pieces, sent[recording.camera], strict=True):
            predictions = [p for epoch_us in file.ends_us for p in published[recording.camera, epoch_us]]
            trace = _trace(predictions, setup, file)
            # A file without any footage is placed where the one before it ended.
            pieces.append(PlacedTrace(piece.name, 0 if len(trace.spans) else next_us, trace))
            next_us = pieces[-1].end_us
        timelines.append(Timeline(recording.camera, pieces))
    return tuple(timelines)


def _trace(predictions: Sequence[Prediction], setup: ScoringSetup, sent: _SentFile) -> Trace:
    """What the worker published of a file; times are event times."""
    labels, draft = tuple(setup.scorer.labels), sent.draft
    for p in predictions:
        ends_us = sent.ends_us[p.epoch_us]
        known_us = ends_us[bisect_left(ends_us, p.end_us)]
        if p.gated:
            draft.gated.append(len(draft.places))
        draft.places.append((p.epoch_us, p.window, p.start_us, p.end_us, known_us))
        draft.scores.append([p.scores[label] for label in labels])
    draft.closes = [sum(p[0] <= epoch_us for p in draft.places) for epoch_us in sent.closed]
    return draft_trace(setup.scorer.id, labels, draft)


def _check_events(
    timelines: Sequence[Timeline], rules: RuleBook, transport: KafkaTransport, settings: Settings
) -> None:
    """Check that the events on the topic are those that follow from the predictions there.

    Raises:
        ReplayError: they are not; that would be a bug in Clipline.
    """
    events = stored_events(transport, settings.topics)
    published = sorted({json.dumps(event.body()) for event in events})
    played = sorted({json.dumps(r.event.body()) for timeline in timelines for r in timeline.play(rules)})
    if published != played:
        raise ReplayError(
            f"--through-kafka: {len(published)} reports of events on the topic, and {len(played)} by the predictions "
            "there; they should be the same"
        )
