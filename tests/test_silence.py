"""When a camera counts as silent: not while anything of it may wait, and only in time in which somebody looked."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from consumers.live.silence import SilenceWatch
from consumers.settings import Settings
from consumers.topics import ensure_topics
from stream import KafkaTransport, MemoryTransport, attach
from tests.replays import blinking
from tests.videos import write_video
from tests.waiting import eventually

P, Q = ("segments", 0), ("segments", 1)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watch(clock: Clock) -> SilenceWatch:
    return SilenceWatch(60.0, clock)


def look(watch: SilenceWatch, clock: Clock, seconds: float, worked_off, ends, step: float = 1.0) -> float | None:
    """Work on as a worker does; return after how long a camera was silent, None if none was."""
    begun = clock.now
    while clock.now - begun < seconds:
        clock.now += step
        if watch.is_due and watch.look(worked_off, ends):
            return clock.now - begun
    return None


def test_a_camera_is_silent_when_all_is_worked_off_and_nothing_came(watch, clock):
    watch.heard("gate", P)
    assert 60 <= look(watch, clock, 100, {P: 7}, {P: 7}) <= 75


def test_a_camera_whose_records_may_wait_is_not_silent(watch, clock):
    watch.heard("gate", P)
    assert look(watch, clock, 300, {P: 7}, {P: 8}) is None
    assert look(watch, clock, 300, {P: 7, Q: 3}, {P: 8, Q: 3}) is None
    assert look(watch, clock, 20, {P: 8}, {P: 8}) is not None, "what waited was worked off, and not of this camera"


def test_others_of_its_partition_that_always_wait_a_little_do_not_keep_it(watch, clock):
    watch.heard("gate", P)
    silent, offset = None, 0
    while silent is None and offset < 1000:
        clock.now += 1
        offset += 1
        if watch.is_due and watch.look({P: 5 * offset}, {P: 5 * offset + 3}):
            silent = offset
    assert silent is not None
    assert 60 <= silent <= 80


def test_a_pause_of_the_process_is_not_silence(watch, clock):
    watch.heard("gate", P)
    assert look(watch, clock, 20, {P: 7}, {P: 7}) is None
    for _ in range(3):
        clock.now += 70
        assert watch.look({P: 7}, {P: 7}) == []
    assert look(watch, clock, 60, {P: 7}, {P: 7}) is not None, "looks count all the same"


def test_time_in_which_the_broker_does_not_answer_is_not_silence(watch, clock):
    watch.heard("gate", P)
    assert look(watch, clock, 300, {}, None) is None
    assert look(watch, clock, 50, {P: 7}, {P: 7}) is None
    assert look(watch, clock, 50, {P: 7}, {P: 7}) is not None


def test_a_camera_that_was_heard_or_is_gone_is_not_silent(watch, clock):
    watch.heard("gate", P)
    for _ in range(10):
        assert look(watch, clock, 30, {P: 7}, {P: 7}) is None
        watch.heard("gate", P)
    watch.forget("gate")
    assert look(watch, clock, 300, {P: 7}, {P: 7}) is None


def test_a_partition_that_came_back_begins_anew(watch, clock):
    watch.heard("gate", P)
    look(watch, clock, 50, {P: 7}, {P: 7})
    watch.forget("gate")
    look(watch, clock, 50, {Q: 7}, {Q: 7})
    watch.heard("gate", P)
    assert look(watch, clock, 50, {P: 3}, {P: 7}) is None


@pytest.mark.slow
def test_a_worker_that_was_stopped_for_a_while_closes_no_camera(embedded_broker, topics_prefix: str, tmp_path: Path):
    """Real pauses, longer than the time after which a camera is gone, while its footage keeps coming."""
    settings = Settings.model_validate(
        {
            "topics": {"prefix": topics_prefix, "partitions": 1},
            "segments": {"min_seconds": 0.4, "max_seconds": 0.5},
            "worker": {"group": topics_prefix, "start": "earliest", "threads": 1, "idle_seconds": 1.0},
        }
    )
    topic = settings.topics.segments
    footage = write_video(  # bright: one event, all along
        tmp_path / "gate.mp4", 120, rate=10, gop=4, size=(64, 48), frame=blinking((0, 120))
    )
    memory = MemoryTransport()
    ensure_topics(memory, settings.topics)
    attach(str(footage), "gate", memory.producer(), topic, limits=settings.segments.limits, pace="max")
    records = list(memory.read(memory.offsets(topic)))
    transport = KafkaTransport(embedded_broker.address)
    ensure_topics(transport, settings.topics)
    producer = transport.producer()

    def send(count: int) -> None:
        for record in [records.pop(0) for _ in range(min(count, len(records)))]:
            producer.send(topic, record.key or b"", record.headers, record.value or b"")
            producer.flush()
            time.sleep(0.1)

    def told(topic: str) -> list[dict]:
        return [json.loads(r.value or b"") for r in transport.read(transport.offsets(topic))]

    command = [sys.executable, "-m", "tests.brightness_worker", embedded_broker.address, settings.model_dump_json()]
    with subprocess.Popen(command, cwd=Path(__file__).parents[1]) as process:
        deadline = time.monotonic() + 120
        while not told(settings.topics.predictions) and time.monotonic() < deadline:
            send(1)
        for _ in range(4):
            process.send_signal(signal.SIGSTOP)
            time.sleep(1.4)
            send(2)
            process.send_signal(signal.SIGCONT)
            time.sleep(0.4)
        send(100)
        while len({b["window"] for b in told(settings.topics.predictions)}) < 29 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert eventually(lambda: any(body["state"] == "ended" for body in told(settings.topics.events)))
        process.terminate()
    producer.close()
    windows = {body["window"] for body in told(settings.topics.predictions)}
    assert windows == set(range(29))
    endings = [body["ending"] for body in told(settings.topics.events) if body["state"] == "ended"]
    assert endings == ["feed_ended"], "once, at its end"
