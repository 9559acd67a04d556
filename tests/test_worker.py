"""The worker on real brokers and a real Redis: everything is accounted for, nothing bad stops it, nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import redis

from consumers.live.assemble import open_worker
from consumers.live.worker import Worker
from consumers.outputs.redis.projection import RedisProjection
from consumers.rules.rule import Rule
from consumers.settings import Settings
from consumers.topics import ensure_topics
from stream import (
    MAX_RECORD_BYTES,
    ClipSpec,
    Headers,
    KafkaTransport,
    MemoryTransport,
    Record,
    Transport,
    attach,
)
from tests.checkpoints import write_checkpoint
from tests.scorers import WholeClips
from tests.videos import write_video

START_US = 1_700_000_000_000_000
SPEC = ClipSpec(frames=4, spacing_us=200_000, stride_us=400_000, height=24, width=32, fit="stretch")
RULES = {"bright": Rule(start=0.6, end=0.5, min_seconds=0.8, cooldown_seconds=1.0, update_seconds=10.0)}


class Brightness(WholeClips):
    """A scorer whose truth is in the pixels: the share of light in a clip."""

    id, labels = "brightness", ("dark", "bright")

    def predict(self, frames: np.ndarray) -> np.ndarray:
        light = frames.mean(axis=(1, 2, 3, 4)) / 255
        return np.stack([1 - light, light], axis=1)


def blinking(number: int, width: int, height: int) -> np.ndarray:
    """Dark, but for the seconds 4 to 8 at 25 frames a second."""
    return np.full((height, width, 3), 230 if 100 <= number < 200 else 20, np.uint8)


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("footage") / "blinking.mp4"
    return write_video(path, 300, rate=25, gop=25, size=(64, 48), frame=blinking)


@pytest.fixture
def settings(broker, redis_url: str, topics_prefix: str) -> Settings:
    topics = {"prefix": topics_prefix, "partitions": 2}
    worker = {"start": "earliest", "group": f"{topics_prefix}-group", "threads": 1}
    return Settings.model_validate({"kafka": broker.address, "redis": redis_url, "topics": topics, "worker": worker})


@pytest.fixture
def transport(settings: Settings) -> KafkaTransport:
    transport = KafkaTransport(settings.kafka)
    ensure_topics(transport, settings.topics)
    return transport


def send_footage(transport: Transport, settings: Settings, path: Path, *cameras: str) -> None:
    for camera in cameras:
        attach(str(path), camera, transport.producer(), settings.topics.segments, pace="max", start_us=START_US)


def make_worker(transport: Transport, settings: Settings) -> Worker:
    return Worker(transport, Brightness(), SPEC, RULES, settings)


def run_until(worker: Worker, ready: Callable[[], bool], seconds: float = 40) -> None:
    """Run the worker here until `ready`, and fail if that takes too long."""
    deadline = time.monotonic() + seconds
    worker.run(lambda: ready() or time.monotonic() > deadline)
    assert ready(), {name: counts.summary() for name, counts in worker.counts.items()}


def settled(worker: Worker, *cameras: str) -> Callable[[], bool]:
    """Every camera's footage has ended and is accounted for."""
    return lambda: all(worker.counts[c].frames >= 300 and worker.counts[c].pending == 0 for c in cameras)


def records(transport: Transport, topic: str, count: int, seconds: float = 20) -> list[Record]:
    """The first `count` records of a topic."""
    consumer, found = transport.consumer([topic]), []
    deadline = time.monotonic() + seconds
    while len(found) < count and time.monotonic() < deadline:
        found += consumer.poll(0.2).records
    consumer.close()
    return found


def segments_of(path: Path, camera: str) -> list[tuple[bytes, Headers, bytes]]:
    memory = MemoryTransport()
    settings = Settings()
    ensure_topics(memory, settings.topics)
    send_footage(memory, settings, path, camera)
    consumer, found = memory.consumer([settings.topics.segments]), []
    while more := consumer.poll(0).records:
        found += [(r.key or b"", r.headers, r.value or b"") for r in more]
    return found


def test_footage_becomes_predictions_and_an_event_in_kafka_and_redis(
    transport: KafkaTransport, settings: Settings, footage: Path
) -> None:
    send_footage(transport, settings, footage, "gate", "lobby")
    worker = make_worker(transport, settings)
    with RedisProjection(lambda: transport, settings) as projection:
        run_until(worker, settled(worker, "gate", "lobby"))
        assert projection.catch_up(20)

    for camera in ("gate", "lobby"):
        counts = worker.counts[camera]
        assert counts.frames == 300 == counts.classified + counts.skipped.total()
        assert counts.dead_lettered == 0
    windows = sum(c.windows for c in worker.counts.values())
    predictions = [json.loads(r.value or b"") for r in records(transport, settings.topics.predictions, windows)]
    assert len({p["id"] for p in predictions}) == len(predictions) == windows
    bodies = [json.loads(r.value or b"") for r in records(transport, settings.topics.events, 4)]
    for camera in ("gate", "lobby"):
        started, ended = (b for b in bodies if b["camera"] == camera)
        assert (started["state"], ended["state"]) == ("started", "ended")
        assert started["event"] == ended["event"]
        assert 3.0 <= ended["seconds"] <= 5.5  # four seconds of light, give or take a window

    client = redis.Redis.from_url(settings.redis, decode_responses=True)
    prefix = settings.topics.prefix
    newest = max((p for p in predictions if p["camera"] == "gate"), key=lambda p: p["window"])
    state = client.hgetall(f"{prefix}:camera:{{gate}}:{newest['model']}")
    assert (state["label"], state["window_end"]) == (newest["label"], newest["end"])
    assert client.xlen(f"{prefix}:predictions:{{gate}}") == worker.counts["gate"].windows
    assert client.xlen(f"{prefix}:events") == 4


def damaged(records: Sequence[tuple[bytes, Headers, bytes]]) -> Iterator[tuple[str, tuple[bytes, Headers, bytes]]]:
    """A record of each bad kind, by what its reason must say."""
    (key, headers, data), *_ = records
    flipped = bytearray(data)
    flipped[len(flipped) // 2] ^= 0xFF
    yield "checksum", (key, headers, bytes(flipped))
    yield "0 bytes", (key, headers, b"")
    yield "bytes", (key, headers, data[: len(data) // 2])
    yield "bytes", (key, headers, data + bytes(6 * 1024 * 1024))
    yield "clipline", (key, [("content-type", b"video/mp4")], data)


def test_bad_records_go_to_the_dead_letters_and_those_after_them_are_classified(
    transport: KafkaTransport, settings: Settings, footage: Path
) -> None:
    good = segments_of(footage, "gate")
    bad = list(damaged(segments_of(footage, "broken")))
    producer = transport.producer()
    for _, record in bad:
        producer.send(settings.topics.segments, *record)
    for record in good:
        producer.send(settings.topics.segments, *record)
    producer.close()
    worker = make_worker(transport, settings)
    run_until(worker, lambda: settled(worker, "gate")() and worker.counts["broken"].dead_letters == len(bad))

    letters = records(transport, settings.topics.deadletter, len(bad))
    assert len(letters) == len(bad)
    for (word, (_, _, value)), letter in zip(bad, letters, strict=True):
        headers = dict(letter.headers)
        assert word in headers["clipline-reason"].decode()
        assert headers["clipline-origin"].decode().startswith(settings.topics.segments)
        assert (letter.key, letter.value or b"") == (b"broken", value)
    broken = worker.counts["broken"]
    assert broken.frames == broken.dead_lettered > 0


def test_record_over_the_limit_is_refused_where_it_is_sent(transport: KafkaTransport, settings: Settings) -> None:
    from stream import RecordTooLargeError

    with pytest.raises(RecordTooLargeError, match="gate"):
        transport.producer().send(settings.topics.segments, b"gate", [], bytes(MAX_RECORD_BYTES + 1))


def test_next_worker_goes_on_where_the_last_one_stopped_without_losing_a_window(
    transport: KafkaTransport, settings: Settings, footage: Path
) -> None:
    """Half of the footage, a clean stop with windows open, then the rest: together each window, with the same ids."""
    whole = MemoryTransport()
    ensure_topics(whole, settings.topics)
    send_footage(whole, settings, footage, "gate")
    reference = make_worker(whole, settings)
    run_until(reference, settled(reference, "gate"))
    expected = {r.value for r in records(whole, settings.topics.predictions, reference.counts["gate"].windows)}

    parts = segments_of(footage, "gate")
    producer = transport.producer()
    for record in parts[: len(parts) // 2]:
        producer.send(settings.topics.segments, *record)
    producer.flush()
    first = make_worker(transport, settings)
    run_until(first, lambda: first.counts["gate"].segments == len(parts) // 2 and first.waiting == 0)
    for record in parts[len(parts) // 2 :]:
        producer.send(settings.topics.segments, *record)
    producer.close()
    second = make_worker(transport, settings)
    frames = reference.counts["gate"].frames
    run_until(
        second,
        lambda: second.waiting == 0 and second.counts["gate"].pending == 0 and second.counts["gate"].frames == frames,
    )
    said = [r.value for r in records(transport, settings.topics.predictions, len(expected) + 50, seconds=4)]
    assert set(said) == expected


@pytest.mark.slow
def test_worker_that_is_killed_leaves_nothing_undone(
    embedded_broker, redis_url: str, topics_prefix: str, tmp_path: Path
) -> None:
    """SIGKILL amid the work, then a second process: every window of an undisturbed run is on the topic."""
    footage = write_video(tmp_path / "long.mp4", 4000, rate=10, gop=10, size=(64, 48))
    model = write_checkpoint(tmp_path / "m.safetensors", always="fight")
    values = {
        "kafka": embedded_broker.address,
        "redis": redis_url,
        "topics": {"prefix": topics_prefix, "partitions": 1},
    }
    worker_values = {"start": "earliest", "model": str(model), "group": topics_prefix, "engine": "torch", "threads": 1}
    settings = Settings.model_validate(values | {"worker": worker_values})
    transport = KafkaTransport(settings.kafka)
    ensure_topics(transport, settings.topics)
    send_footage(transport, settings, footage, "gate")

    environment = os.environ | {
        "CLIPLINE_KAFKA": settings.kafka,
        "CLIPLINE_REDIS": redis_url,
        "CLIPLINE_TOPICS__PREFIX": topics_prefix,
        "CLIPLINE_TOPICS__PARTITIONS": "1",
    }
    command = [
        sys.executable,
        "-m",
        "consumers.cli",
        "work",
        "--model",
        str(model),
        "--group",
        topics_prefix,
        "--from",
        "earliest",
    ]
    command += ["--engine", "torch"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert records(transport, settings.topics.predictions, 20, seconds=60), "nothing was classified"
        process.kill()
    before = len(records(transport, settings.topics.predictions, 100_000, seconds=2))
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        predictions: list[Record] = []
        deadline = time.monotonic() + 90
        # 4000 frames at 10 a second: windows of 1.6 s, one every 0.8 s.
        while len({r.value for r in predictions}) < 498 and time.monotonic() < deadline:
            predictions = records(transport, settings.topics.predictions, 100_000, seconds=2)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=90)
    assert process.returncode == 0, output.decode()
    assert before < 498, "the first process was done before it was killed: the test shows nothing"
    windows = sorted({json.loads(r.value or b"")["window"] for r in predictions})
    assert windows == list(range(windows[0], windows[0] + len(windows)))
    assert len(windows) >= 498
    ids = {json.loads(r.value or b"")["id"] for r in predictions}
    assert len(ids) == len(windows), "a window that is said twice keeps its id"


def test_open_worker_names_an_unknown_model_before_it_asks_for_a_broker() -> None:
    from models import UnknownModelError

    settings = Settings.model_validate({"kafka": "127.0.0.1:1", "worker": {"start": "earliest", "model": "nope"}})
    with pytest.raises(UnknownModelError, match="nope"), open_worker(settings):
        pass
