"""The proof of reliability: its judge finds whatever is wrong, and workers that are killed give it nothing to find."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from consumers.live.effort.stillness import StillRule
from consumers.live.worker import Worker
from consumers.outputs.redis.check import redis_differences
from consumers.outputs.redis.projection import RedisProjection
from consumers.replaying.run import ScoringSetup
from consumers.settings import Settings
from consumers.topics import ensure_topics
from stream import KafkaTransport, MemoryTransport, Record, Transport, attach
from stream.services import EmbeddedBroker
from tests.replays import RULES, SPEC, Brightness, blinking, work_off
from tests.servers import needs_proc, server_of
from tests.videos import write_video
from tests.waiting import eventually

ROOT = Path(__file__).resolve().parents[1]
START_US = 1_700_000_000_000_000
#: What happens where nothing is said in one transaction.
DOUBLED = {"doubled", "events_doubled"}
CAMERAS = ["camera-0", "camera-1"]  # one on each of two partitions


@pytest.fixture(scope="module")
def chaos_judge() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        import chaos_judge

        yield chaos_judge


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frame = blinking((30, 75), (110, 170))
    return write_video(tmp_path_factory.mktemp("chaos") / "film.mp4", 250, rate=10, gop=4, size=(64, 48), frame=frame)


def settings_of(prefix: str, redis: str = "redis://127.0.0.1:1") -> Settings:
    return Settings.model_validate(
        {
            "redis": redis,
            "topics": {"prefix": prefix, "partitions": 2},
            "segments": {"min_seconds": 0.4, "max_seconds": 0.5},
            "worker": {"start": "earliest", "group": prefix, "threads": 1},
        }
    )


def send(film: Path, transport: Transport, settings: Settings, camera: str) -> None:
    limits, topic = settings.segments.limits, settings.topics.segments
    attach(str(film), camera, transport.producer(), topic, limits=limits, pace="max", start_us=START_US)


def judge_of(chaos_judge: Any, settings: Settings, transport: Transport, folder: Path, read: Any = None) -> Any:
    def stored(topic: str) -> list[Record]:
        return list(transport.read(transport.offsets(topic)))

    setup = ScoringSetup(Brightness(), SPEC, threads=1, still=StillRule.of(RULES, settings.gates))
    return chaos_judge.Judge(settings, setup, RULES, transport, read or stored, folder)


# -- the judge


@pytest.fixture(scope="module")
def undisturbed(film: Path) -> tuple[MemoryTransport, Settings]:
    transport, settings = MemoryTransport(), settings_of("clipline")
    ensure_topics(transport, settings.topics)
    for camera in CAMERAS:
        send(film, transport, settings, camera)
    transport.append(settings.topics.segments, b"camera-1", [("frames", b"4")], b"damaged")
    work_off(Worker(transport, Brightness(), SPEC, RULES, settings))
    return transport, settings


def test_the_judge_finds_nothing_where_nothing_is_wrong(chaos_judge, undisturbed, film, tmp_path):
    transport, settings = undisturbed
    films = [chaos_judge.Film(camera, film, START_US) for camera in CAMERAS]
    verdict = judge_of(chaos_judge, settings, transport, tmp_path).judge(CAMERAS, films)
    assert verdict.differences == {}
    assert verdict.windows > 100
    assert verdict.events > 10
    assert verdict.frames > 2 * 250


def removed(records: list[Record]) -> list[Record]:
    return records[:5] + records[6:]


def repeated(records: list[Record]) -> list[Record]:
    return [*records, records[5]]


def changed(edit: Callable[[dict[str, Any]], None]) -> Callable[[list[Record]], list[Record]]:
    """Edits the body of one record."""

    def doctor(records: list[Record]) -> list[Record]:
        body = json.loads(records[5].value or b"")
        edit(body)
        return [*records[:5], replace(records[5], value=json.dumps(body).encode()), *records[6:]]

    return doctor


def renamed(records: list[Record]) -> list[Record]:
    headers = [(name, b"another-0" if name == "ce_id" else content) for name, content in records[5].headers]
    body = (records[5].value or b"").replace(dict(records[5].headers)["ce_id"].rpartition(b"-")[0], b"another")
    return [*records[:5], replace(records[5], headers=headers, value=body), *records[6:]]


def without_one_classified(records: list[Record]) -> list[Record]:
    account = next(n for n in reversed(range(len(records))) if b'"camera"' in (records[n].value or b""))
    body = json.loads(records[account].value or b"")
    body["counts"]["classified"] -= 1
    return [*records[:account], replace(records[account], value=json.dumps(body).encode()), *records[account + 1 :]]


@pytest.mark.parametrize(
    ("topic", "doctor", "kinds"),
    [
        ("predictions", removed, {"lost"}),
        ("predictions", repeated, {"doubled"}),
        ("predictions", changed(lambda body: body["scores"].update(bright=0.123)), {"wrong_scores"}),
        ("predictions", changed(lambda body: body.update(window=9_999)), {"lost", "foreign"}),
        ("predictions", changed(lambda body: body.update(model="another")), {"lost", "foreign"}),
        ("events", removed, {"events_lost"}),
        ("events", repeated, {"events_doubled"}),
        ("events", changed(lambda body: body.update(peak_score=0.123)), {"events_wrong"}),
        ("events", renamed, {"events_lost", "events_foreign"}),
        ("segments", removed, {"segments_lost", "frames_mismatch"}),
        ("segments", repeated, {"segments_doubled", "frames_mismatch"}),
        ("deadletter", lambda records: [*records, records[0]], {"frames_mismatch"}),
        ("state", without_one_classified, {"frames_mismatch"}),
        ("state", lambda _: [], {"frames_mismatch"}),
    ],
)
def test_the_judge_finds_what_is_wrong(chaos_judge, undisturbed, tmp_path, topic, doctor, kinds):
    transport, settings = undisturbed

    def doctored(name: str) -> list[Record]:
        records = list(transport.read(transport.offsets(name)))
        return doctor(records) if name == getattr(settings.topics, topic) else records

    verdict = judge_of(chaos_judge, settings, transport, tmp_path, doctored).judge(CAMERAS)
    assert set(verdict.differences) == kinds


def test_the_judge_misses_footage_that_its_agent_never_sent(chaos_judge, undisturbed, tmp_path):
    transport, settings = undisturbed
    whole = write_video(
        tmp_path / "whole.mp4", 300, rate=10, gop=4, size=(64, 48), frame=blinking((30, 75), (110, 170))
    )
    films = [chaos_judge.Film("camera-0", whole, START_US)]
    verdict = judge_of(chaos_judge, settings, transport, tmp_path / "traces").judge(CAMERAS, films)
    # The longer film was encoded anew: where the shorter one ends, its pictures may be others.
    assert {"lost"} <= set(verdict.differences) <= {"lost", "wrong_scores"}
    assert all("camera-0" in each for each in verdict.lost)


def test_a_field_of_redis_that_is_another_is_found(undisturbed, redis_url):
    transport, settings = undisturbed
    settings = settings.model_copy(update={"redis": redis_url})
    with RedisProjection(lambda: transport, settings, lambda _: None) as projection:
        assert projection.catch_up(10)
    assert redis_differences(transport, settings) == []
    with Redis.from_url(redis_url) as redis:
        (name,) = redis.scan_iter(match="clipline:camera:{camera-0}:*")
        redis.hset(name, "score", "0.123")
        assert len(redis_differences(transport, settings)) == 1
        redis.delete("clipline:events")
        assert len(redis_differences(transport, settings)) == 2
        redis.flushdb()


# -- killed workers


@dataclass
class Killed:
    """A worker's process, which is started again when it was killed."""

    command: list[str]
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process = subprocess.Popen(self.command, cwd=ROOT, stderr=subprocess.DEVNULL)


def killable(address: str, settings: Settings, instance: str | None) -> Killed:
    own = settings.model_copy(update={"worker": settings.worker.model_copy(update={"instance": instance})})
    command = [sys.executable, "-m", "tests.brightness_worker", address, own.model_dump_json()]
    return Killed(command, subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL))


def recorded(film: Path, settings: Settings) -> list[Record]:
    """The segments of all cameras, as an agent would send them."""
    memory = MemoryTransport()
    ensure_topics(memory, settings.topics)
    for camera in CAMERAS:
        send(film, memory, settings, camera)
    return sorted(memory.read(memory.offsets(settings.topics.segments)), key=lambda record: record.offset)


def trickle(records: list[Record], transport: Transport, over: threading.Event) -> None:
    producer = transport.producer()
    for record in records:
        producer.send(record.topic, record.key or b"", record.headers, record.value or b"")
        over.wait(0.06)
    producer.flush()
    producer.close()


def test_workers_that_are_killed_lose_nothing_and_say_nothing_twice(
    chaos_judge, apache_broker, topics_prefix, film, tmp_path
):
    """The quick one: `make chaos` hurts all else, too."""
    settings, transport = settings_of(topics_prefix), KafkaTransport(apache_broker.address)
    ensure_topics(transport, settings.topics)
    # One is a static member of its group, the other is not.
    workers = [killable(apache_broker.address, settings, instance) for instance in (None, "a")]
    chance, over = random.Random(1), threading.Event()
    sender = threading.Thread(target=trickle, args=(recorded(film, settings), transport, over))
    judge = judge_of(chaos_judge, settings, transport, tmp_path)
    try:
        sender.start()
        # The one that the group takes longest to give up comes first.
        for worker in (*workers, workers[1]):
            time.sleep(chance.uniform(1, 2))
            worker.kill()
        over.set()
        sender.join()
        deadline = time.monotonic() + 30
        while (differences := judge.judge(CAMERAS).differences) and time.monotonic() < deadline:
            time.sleep(0.5)
    finally:
        over.set()
        for worker in workers:
            worker.process.kill()
            worker.process.wait()
    assert differences == {}


@pytest.mark.slow
@needs_proc
def test_an_embedded_broker_that_is_killed_again_and_again_loses_nothing(chaos_judge, topics_prefix, film, tmp_path):
    settings = settings_of(topics_prefix)
    settings = settings.model_copy(update={"worker": settings.worker.model_copy(update={"guarantee": "at-least-once"})})
    over = threading.Event()
    with EmbeddedBroker(max_bytes=100_000_000) as broker:
        transport = KafkaTransport(broker.address)
        ensure_topics(transport, settings.topics)
        sender = threading.Thread(target=trickle, args=(recorded(film, settings), transport, over))
        judge = judge_of(chaos_judge, settings, transport, tmp_path)
        worker = killable(broker.address, settings, None)
        try:
            sender.start()
            chance = random.Random(2)
            for _ in range(6):
                time.sleep(chance.uniform(0.3, 1.5))
                os.kill(server_of(broker), signal.SIGKILL)
                assert eventually(lambda: broker.ended() is not None)
                broker.again()
            over.set()
            sender.join()
            deadline = time.monotonic() + 60
            while (found := judge.judge(CAMERAS).differences.keys() - DOUBLED) and time.monotonic() < deadline:
                time.sleep(0.5)
            assert worker.process.poll() is None
        finally:
            over.set()
            worker.process.kill()
            worker.process.wait()
    assert found == set()
