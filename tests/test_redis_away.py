"""A Redis that is away for long: `clipline work` goes on, keeps nothing for it, and shows all of it when it is back."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from consumers.outputs.redis.check import redis_differences
from consumers.outputs.redis.connection import REDIS_ERRORS, SinkError
from consumers.records.prediction import Prediction
from consumers.settings import Settings
from consumers.topics import ensure_topics
from stream import Footage, KafkaTransport
from stream.services import EmbeddedRedis
from tests.redis_topics import prediction
from tests.videos import write_video
from tests.waiting import eventually

pytestmark = pytest.mark.slow  # a worker with its model, and minutes of footage

#: What other workers send meanwhile, in all: far more than a worker may grow by.
RESULTS, RESULT_BYTES = 6000, 20_000
GROWTH_BYTES = 25_000_000
#: While it catches up, it holds what was fetched, and a batch of it.
HELD_BYTES = 75_000_000


def resident_bytes(pid: int) -> int:
    (line,) = (x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def test_a_worker_keeps_nothing_for_a_redis_that_is_away_and_all_is_shown_when_it_is_back(
    embedded_broker, topics_prefix, tmp_path, monkeypatch
):
    with EmbeddedRedis() as once:
        address, port = once.address, int(once.address.rpartition(":")[2].partition("/")[0])
    own = {"kafka": embedded_broker.address, "redis": address, "topics": {"prefix": topics_prefix, "partitions": 2}}
    settings = Settings.model_validate(own)
    transport = KafkaTransport(settings.kafka)
    ensure_topics(transport, settings.topics)
    producer = transport.producer()
    film = write_video(tmp_path / "film.mp4", 2400, rate=20, gop=20, size=(64, 48))

    def film_of(camera: str) -> None:
        for segment in Footage([film], camera, start_us=10**15).segments():
            producer.send(settings.topics.segments, *segment.encode())
        producer.flush()

    def shown() -> Counter[str]:
        ranges = {p: b for p, b in transport.offsets(settings.topics.predictions).items() if b[0] < b[1]}
        found = (Prediction.decode(r.key, r.headers, r.value, r.where) for r in transport.read(ranges))
        return Counter(each.camera for each in found)

    def is_right() -> bool:
        with suppress(SinkError, *REDIS_ERRORS):
            return redis_differences(transport, settings) == []
        return False

    def is_classified(camera: str) -> bool:
        """Whether the worker has classified most of a film, which has 297 windows."""
        return eventually(lambda: worker.poll() is not None or shown()[camera] > 200, 120) and worker.poll() is None

    command = ["work", "--model", "x3d-xs", "--stride", "0.4", "--from", "earliest", "--group", topics_prefix]
    environment = {
        "CLIPLINE_KAFKA": settings.kafka,
        "CLIPLINE_REDIS": address,
        "CLIPLINE_TOPICS__PREFIX": topics_prefix,
        "CLIPLINE_TOPICS__PARTITIONS": "2",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[1]))
    with (tmp_path / "log").open("w") as log:
        worker = subprocess.Popen([sys.executable, "-m", "consumers.cli", *command], stdout=log, stderr=log)
    try:
        film_of("first")
        assert is_classified("first"), (tmp_path / "log").read_text()
        before = resident_bytes(worker.pid)
        big = prediction(0, camera="elsewhere")
        scores = {**big.scores, **{f"{n:04d}-{'x' * 60}": 0.0 for n in range(RESULT_BYTES // 70)}}
        for number in range(RESULTS):
            producer.send(
                settings.topics.predictions, *replace(prediction(number, camera="elsewhere"), scores=scores).encode()
            )
        producer.flush()
        film_of("second")
        assert is_classified("second"), (tmp_path / "log").read_text()
        time.sleep(5)
        assert worker.poll() is None
        grown = resident_bytes(worker.pid) - before
        assert grown < GROWTH_BYTES
        with EmbeddedRedis(port=port) as back:
            assert back.address == address
            began = time.monotonic()
            assert eventually(is_right, 60), (tmp_path / "log").read_text()
            print(f"right {time.monotonic() - began:.1f} s after it was back, grown by {grown / 1e6:.1f} MB before")
            assert resident_bytes(worker.pid) - before < GROWTH_BYTES + HELD_BYTES
    finally:
        worker.terminate()
        worker.wait(60)
