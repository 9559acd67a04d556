"""Workers that come and go while footage keeps coming: every window is published, whoever has the camera then."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumers.live.handover.commit_pace import COMMIT_SECONDS
from consumers.live.worker import Worker
from consumers.settings import Settings
from consumers.topics import ensure_topics
from stream import Headers, KafkaTransport, MemoryTransport, Transport, attach
from stream.broker.kafka import consumer as kafka_transport
from tests.replays import RULES, SPEC, Brightness, blinking, work_off
from tests.videos import write_video

START_US = 1_700_000_000_000_000
#: One on each of four partitions, as Kafka's clients and the twin distribute keys.
CAMERAS = [f"camera-{n}" for n in (0, 1, 4, 7)]
#: Times that the second worker joins and leaves.
VISITS = 3


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frame = blinking((100, 170), (400, 520))
    return write_video(
        tmp_path_factory.mktemp("rebalance") / "gate.mp4", 600, rate=10, gop=4, size=(64, 48), frame=frame
    )


@pytest.fixture(params=["memory", "apache"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Transport:
    if request.param == "memory":
        return MemoryTransport()
    monkeypatch.setattr(kafka_transport, "HEARTBEATS_PER_SESSION", 40)  # members learn of one another at once
    return KafkaTransport(request.getfixturevalue("apache_broker").address)


def settings_of(prefix: str) -> Settings:
    limits = {"min_seconds": 0.4, "max_seconds": 0.5}
    worker = {"group": prefix, "threads": 1, "start": "earliest"}
    return Settings.model_validate(
        {"topics": {"prefix": prefix, "partitions": 4}, "segments": limits, "worker": worker}
    )


def segments(footage: Path, settings: Settings) -> list[tuple[bytes, Headers, bytes]]:
    """The records of all cameras, all of the same footage, in the order in which cameras send them: together."""
    memory = MemoryTransport()
    ensure_topics(memory, settings.topics)
    limits, topic = settings.segments.limits, settings.topics.segments
    attach(str(footage), "gate", memory.producer(), topic, limits=limits, pace="max", start_us=START_US)
    stored = list(memory.read(memory.offsets(topic)))
    return [(camera.encode(), r.headers, r.value or b"") for r in stored for camera in CAMERAS]


def published(transport: Transport, settings: Settings) -> set[tuple[str, int]]:
    """Camera and number of each window whose prediction is on the topic, each of them once."""
    stored = transport.read(transport.offsets(settings.topics.predictions))
    bodies = [json.loads(r.value or b"") for r in stored]
    windows = Counter((body["camera"], body["window"]) for body in bodies)
    assert not (twice := {window for window, times in windows.items() if times > 1}), f"told twice: {sorted(twice)[:9]}"
    return set(windows)


def reports(transport: Transport, settings: Settings) -> set[tuple[str, bytes, bytes]]:
    """Camera, state and body of each report of an event, each of them once."""
    stored = list(transport.read(transport.offsets(settings.topics.events)))
    found = {((r.key or b"").decode(), dict(r.headers)["ce_type"], r.value or b"") for r in stored}
    assert len(found) == len(stored), "a report is told twice"
    return found


def windows_of(records: list[tuple[bytes, Headers, bytes]], settings: Settings) -> tuple[set[tuple[str, int]], int]:
    """What an undisturbed worker publishes: windows, and how many reports of events."""
    alone = MemoryTransport()
    ensure_topics(alone, settings.topics)
    for _, headers, value in records[:: len(CAMERAS)]:
        alone.append(settings.topics.segments, b"gate", headers, value)
    work_off(Worker(alone, Brightness(), SPEC, RULES, settings))
    windows = {(camera, window) for camera in CAMERAS for _, window in published(alone, settings)}
    return windows, len(reports(alone, settings)) * len(CAMERAS)


@contextlib.contextmanager
def working(transport: Transport, settings: Settings) -> Iterator[Worker]:
    worker, stop = Worker(transport, Brightness(), SPEC, RULES, settings), threading.Event()
    thread = threading.Thread(target=lambda: worker.run(stop.is_set))
    thread.start()
    try:
        yield worker
    finally:
        stop.set()
        thread.join()


def wait_until(ready, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_every_window_is_published_although_a_second_worker_comes_and_goes(
    transport, footage: Path, topics_prefix: str
):
    settings = settings_of(topics_prefix)
    records = segments(footage, settings)
    expected, events = windows_of(records, settings)
    assert len(expected) > 100 * len(CAMERAS)

    ensure_topics(transport, settings.topics)
    producer, left, hurry = transport.producer(), iter(records), threading.Event()

    def send() -> None:
        for number, record in enumerate(left):
            producer.send(settings.topics.segments, *record)
            if number % len(CAMERAS) == 0:
                # On a slow machine it all takes longer: something is left to be sent until it is over.
                hurry.wait(0.15 if number + 3 * len(CAMERAS) < len(records) else 60)
        producer.flush()

    sender = threading.Thread(target=send)
    with working(transport, settings) as stays:
        sender.start()
        wait_until(lambda: any(c.windows for c in stays.counts.values()))
        for _ in range(VISITS):
            with working(transport, settings) as visitor:
                wait_until(lambda v=visitor: v.latency_seconds(50) is not None)
            time.sleep(0.1)
        assert sender.is_alive(), "all had been sent before the last one left: the test shows nothing"
        hurry.set()
        sender.join()
        wait_until(lambda: stays.waiting == 0 and {c for c, w in published(transport, settings)} == set(CAMERAS))
        with contextlib.suppress(AssertionError):
            wait_until(lambda: published(transport, settings) >= expected)
    missing = sorted(expected - published(transport, settings))
    assert not missing, f"{len(missing)} of {len(expected)} windows were never published: {missing[:5]} …"
    assert len(reports(transport, settings)) == events
    producer.close()


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["memory"], indirect=True)
def test_a_worker_that_its_group_shut_out_reads_again_and_loses_no_window(transport, footage: Path, topics_prefix: str):
    """As after a pause longer than its session: what it knew is dropped, its partitions are read from the commit."""
    settings = settings_of(topics_prefix)
    ensure_topics(transport, settings.topics)
    records = segments(footage, settings)
    for record in records:
        transport.append(settings.topics.segments, *record)
    scorer = Brightness()
    worker = Worker(transport, scorer, SPEC, RULES, settings)
    expelled: list[int] = []

    def over() -> bool:
        windows = sum(c.windows for c in worker.counts.values())
        if windows > 100 * (len(expelled) + 1) and len(expelled) < 3:
            expelled.append(windows)
            transport.expel(worker._consumer)
        return len(expelled) == 3 and worker.waiting == 0 and not any(c.pending for c in worker.counts.values())

    deadline = time.monotonic() + 30
    worker.run(lambda: over() or time.monotonic() > deadline)
    assert len(expelled) == 3
    expected, events = windows_of(records, settings)
    assert published(transport, settings) == expected
    assert len(reports(transport, settings)) == events
    assert sum(counts.segments for counts in worker.counts.values()) == len(records) - len(CAMERAS)
    assert scorer.clips > len(expected), "nothing was classified again: the test shows nothing"


@pytest.mark.parametrize("transport", ["memory"], indirect=True)
def test_a_camera_that_stays_with_its_worker_is_classified_once(transport, footage: Path, topics_prefix: str):
    """Others may move as they like: it is not read again."""
    settings = settings_of(topics_prefix)
    topic = settings.topics.segments
    ensure_topics(transport, settings.topics)
    records = segments(footage, settings)
    half = len(records) // 2
    for record in records[:half]:
        transport.append(topic, *record)
    with working(transport, settings) as stays:
        wait_until(lambda: len(stays.counts) == len(CAMERAS))
        consumer = transport.consumer([topic], settings.worker.group)
        moved = set()
        wait_until(lambda: moved.update(consumer.poll(0.2).assigned) or len(moved) == 2)
        for record in records[half:]:
            transport.append(topic, *record)
        stayed = {
            (r.key or b"").decode()
            for r in transport.read(transport.offsets(topic))
            if (topic, r.partition) not in moved
        }
        assert len(stayed) == 2
        expected = len(records) // len(CAMERAS) - 1  # the last record is the end of the feed
        wait_until(lambda: all(stays.counts[name].segments >= expected for name in stayed))
        time.sleep(0.1)
        assert {stays.counts[name].segments for name in stayed} == {expected}
        assert not any(stays.counts[name].skipped["gap"] for name in stayed)
        consumer.close()


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["memory"], indirect=True)
def test_cameras_that_move_to_new_partitions_go_on_and_go_with_them(transport, footage: Path, topics_prefix: str):
    """A topic is given more partitions: keys are distributed anew, and a camera is where its records come now."""
    settings = settings_of(topics_prefix)
    topic = settings.topics.segments
    ensure_topics(transport, settings.topics)
    records = segments(footage, settings)
    third = len(records) // 3
    for record in records[:third]:
        transport.append(topic, *record)
    with working(transport, settings) as stays:
        # Until all of the old partitions is committed, it may be read beside what comes on the new ones, or by another
        # worker: the windows at the seam are then lost.
        wait_until(lambda: sum(c.segments for c in stays.counts.values()) == third and stays.waiting == 0)
        time.sleep(3 * COMMIT_SECONDS)
        transport.add_partitions(topic, 11)
        for record in records[third : 2 * third]:
            transport.append(topic, *record)
        now = {name: zlib.crc32(name.encode()) % 11 for name in CAMERAS}
        assert all(now[name] != zlib.crc32(name.encode()) % 4 for name in CAMERAS), "not all moved"
        wait_until(lambda: sum(c.segments for c in stays.counts.values()) == 2 * third and stays.waiting == 0)
        assert not any(c.skipped["gap"] for c in stays.counts.values())
        assert {name: status.partition[1] for name, status in stays._status.cameras.items()} == now
        time.sleep(3 * COMMIT_SECONDS)
        with working(transport, settings) as visitor:
            wait_until(lambda: len(stays._status.cameras) == 2)
            for record in records[2 * third :]:
                transport.append(topic, *record)
            expected, _ = windows_of(records, settings)
            wait_until(lambda: published(transport, settings) >= expected)
            both = {name for w in (stays, visitor) for name in w._status.cameras}
            assert both == set(CAMERAS)
            assert not set(stays._status.cameras) & set(visitor._status.cameras), "a camera is with one worker"


@pytest.mark.slow
def test_lag_is_what_another_worker_would_have_to_read(transport, footage: Path, topics_prefix: str):
    """What is read and not committed counts: here the segments of windows that are not yet complete."""
    settings = settings_of(topics_prefix)
    topic = settings.topics.segments
    ensure_topics(transport, settings.topics)
    producer, records = transport.producer(), segments(footage, settings)
    for record in records[: len(records) // 2 - 1]:
        producer.send(topic, *record)
    producer.flush()
    with working(transport, settings) as worker:
        wait_until(lambda: worker.waiting == 0 and len(worker.counts) == len(CAMERAS))
        wait_until(lambda: worker.lag < 40)
    # What it said when it had ended: until then it goes on to commit.
    lag = worker.lag
    assert lag > 0
    other = transport.consumer([topic], settings.worker.group)
    read = 0
    deadline = time.monotonic() + 40
    while read < lag and time.monotonic() < deadline:
        read += len(other.poll(0.2).records)
    assert read + len(other.poll(0.5).records) == lag
    other.close()
    producer.close()
