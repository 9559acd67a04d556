"""Clipline's own paths: in one process without a broker, and the worker between a broker and Redis.

Loading a model, connecting and warming up come before the clock. Brokers and Redis run elsewhere and do not count.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from consumers.live.assemble import clip_spec, open_decoding, open_worker
from consumers.live.worker import Worker
from consumers.records.prediction import Prediction
from consumers.rules.rule_set import tracker_rules
from consumers.settings import Settings, override
from consumers.topics import ensure_topics
from models import Classifier, Contract, find
from price.measuring import Ask, Job, MissingError, Round
from stream import Feed, KafkaTransport, MemoryTransport, Segment, Segmenter, Transport

from .windows import expected_windows

#: A worker that takes longer for its round hangs.
_ROUND_SECONDS: Final = 300.0
_SAMPLE_SECONDS: Final = 0.02


class Direct:
    """The worker as it is, on records in its own memory: from the MP4 file over segments to predictions."""

    def __init__(self, job: Job) -> None:
        self.classifier = Classifier.load(job.model, job.engine)
        self.engine = self.classifier.engine
        # As a worker comes: on a GPU where torch computes on one.
        self.gpu = open_decoding("auto", self.engine)
        self.classifier.predict(np.zeros((1, *self.classifier.contract.clip_shape), np.uint8))

    def round(self, ask: Ask) -> Round:
        with Clock() as clock:
            transport = MemoryTransport()
            settings = _settings({"worker": {"start": "earliest"}, "gates": _gates(gated=ask.gated)})
            ensure_topics(transport, settings.topics)
            seconds = self.send(transport, settings.topics.segments, ask)
            self.work(transport, settings, ask)
        records = transport.read(transport.offsets(settings.topics.predictions))
        found = [Prediction.decode(r.key, r.headers, r.value, r.where) for r in records]
        keep_scores(ask, {p.window: list(p.scores.values()) for p in found if p.camera == camera_name(0)})
        gated = sum(p.gated for p in found)
        return Round(seconds, clock.cpu_seconds, clock.wall_seconds, len(found), gated)

    def send(self, transport: Transport, topic: str, ask: Ask) -> float:
        return send_footage(transport, topic, ask.footage, ask.cameras)

    def work(self, transport: Transport, settings: Settings, ask: Ask) -> None:
        contract = self.classifier.contract
        rules = tracker_rules(contract, settings.tracker)
        worker = Worker(transport, self.classifier, clip_spec(contract, None), rules, settings, gpu=self.gpu)
        work_off(worker, ask.cameras * expected_windows(film_seconds(ask.footage), contract))


class Kafka:
    """The worker as `clipline work` runs it, on segments that lie on a real broker, with results to a real Redis."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.contract = find(job.model).contract
        self.engine = Classifier.load(job.model, job.engine).engine
        self._rounds = 0

    def round(self, ask: Ask) -> Round:
        # A group that has not read anything, and a Redis in which nothing of it is stored.
        self._rounds += 1
        group = f"{ask.prefix}-{os.getpid()}-{self._rounds}"
        stored = _Redis(self.job.redis)
        stored.clear()
        wanted = ask.windows or ask.cameras * expected_windows(film_seconds(ask.footage), self.contract)
        with open_worker(_kafka_settings(self.job, ask.prefix, group)) as serving:
            serving.classifier.predict(np.zeros((1, *self.contract.clip_shape), np.uint8))
            with self.watched() as peak, Clock() as clock:
                work_off(serving.worker, wanted)
                serving.projection.catch_up(60)
        bodies = stored.predictions(ask.prefix, camera_name(0))
        keep_scores(ask, {body["window"]: list(body["scores"].values()) for body in bodies})
        windows = sum(stored.count(ask.prefix, camera_name(number)) for number in range(ask.cameras))
        seconds = sum(c.seconds for c in serving.worker.counts.values())
        return Round(seconds, clock.cpu_seconds, clock.wall_seconds, windows, peak_megabytes=peak[0] if peak else 0.0)

    def watched(self) -> contextlib.AbstractContextManager[list[float]]:
        return contextlib.nullcontext([])


class Memory(Kafka):
    """The same worker; what counts is the memory that it takes at most."""

    def __init__(self, job: Job) -> None:
        if not Path("/proc/self/smaps_rollup").exists():
            raise MissingError("a process's memory is read from /proc/self/smaps_rollup, which this system lacks")
        super().__init__(job)

    def watched(self) -> contextlib.AbstractContextManager[list[float]]:
        return _peak_megabytes()


class Clock:
    """Processor and wall time of a block."""

    cpu_seconds = wall_seconds = 0.0

    def __enter__(self) -> Self:
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu_seconds = time.process_time() - self._cpu
        self.wall_seconds = time.perf_counter() - self._wall


def camera_name(number: int) -> str:
    return f"camera-{number}"


def _gates(*, gated: bool) -> dict[str, bool]:
    return {} if gated else {"pictures": False, "segments": False}


def _settings(own: dict[str, Any]) -> Settings:
    return override(Settings(), own, "benchmark")


def _kafka_settings(job: Job, prefix: str, group: str = "benchmark") -> Settings:
    worker = {
        "model": job.model,
        "engine": job.engine,
        "start": "earliest",
        "guarantee": job.guarantee,
        "group": group,
    }
    return _settings({"kafka": job.kafka, "redis": job.redis, "worker": worker, "topics": {"prefix": prefix}})


def topics_of(job: Job, prefix: str) -> tuple[KafkaTransport, str, str]:
    """The broker, with all topics there, and the names of those of segments and of predictions."""
    transport, topics = KafkaTransport(job.kafka), _kafka_settings(job, prefix).topics
    ensure_topics(transport, topics)
    return transport, topics.segments, topics.predictions


def fill_topic(job: Job, ask: Ask) -> None:
    """Put the segments of the cameras where the worker's process, another one, will read them."""
    transport, segments, _ = topics_of(job, ask.prefix)
    send_footage(transport, segments, ask.footage, ask.cameras)


def send_footage(transport: Transport, topic: str, film: str, cameras: int) -> float:
    """Put a film on `topic` once for each camera, segment by segment in turn; return its camera-seconds."""
    producer, seconds = transport.producer(), 0.0
    for segments in zip(*(segments_of(film, camera_name(number)) for number in range(cameras)), strict=True):
        for segment in segments:
            producer.send(topic, *segment.encode())
            seconds += segment.seconds
    producer.flush()
    producer.close()
    return seconds


def segments_of(film: str, camera: str) -> Iterator[Segment]:
    with Feed(film) as feed:
        segmenter = Segmenter(camera, feed.track)
        for packet in feed.packets():
            yield from segmenter.push(packet)
        yield from segmenter.end()


def film_seconds(film: str) -> float:
    with Feed(film) as feed:
        return feed.seconds or 0.0


def work_off(worker: Worker, windows: int) -> None:
    """Run until so many windows are out."""
    deadline = time.monotonic() + _ROUND_SECONDS

    def stop() -> bool:
        return time.monotonic() > deadline or sum(c.windows for c in worker.counts.values()) >= windows

    worker.run(stop)


def keep_scores(ask: Ask, by_window: Mapping[int, Sequence[float] | np.ndarray]) -> None:
    if ask.scores:
        np.save(ask.scores, np.array([by_window[window] for window in sorted(by_window)], np.float32))


class _Redis:
    """What is shown in Redis."""

    def __init__(self, url: str) -> None:
        from consumers.outputs.redis.connection import connect_redis  # noqa: PLC0415

        self._redis = connect_redis(url)

    def clear(self) -> None:
        self._redis.flushall()

    def count(self, prefix: str, camera: str) -> int:
        return int(self._redis.xlen(f"{prefix}:predictions:{{{camera}}}"))

    def predictions(self, prefix: str, camera: str) -> list[dict[str, Any]]:
        entries: Any = self._redis.xrange(f"{prefix}:predictions:{{{camera}}}")
        return [json.loads(content[b"prediction"]) for _, content in entries]


@contextlib.contextmanager
def _peak_megabytes() -> Iterator[list[float]]:
    """The most memory that this process had as its own or as its share of what is shared; there at the end."""
    done, found, highest = threading.Event(), list[float](), 0.0

    def watch() -> None:
        nonlocal highest
        while not done.wait(_SAMPLE_SECONDS):
            highest = max(highest, proportional_megabytes())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()
        found.append(highest)


def proportional_megabytes() -> float:
    """PSS, as Linux counts it, in millions of bytes."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("Pss:"))


def contract_of(model: str) -> Contract:
    return find(model).contract
