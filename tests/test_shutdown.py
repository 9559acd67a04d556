"""A worker that is told to stop: finishes what it has, or hands it over; and agents, that keep what is not sent."""

from __future__ import annotations

import contextlib
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from consumers.live.decode_queue import DecodeQueue
from consumers.live.worker import Worker
from consumers.records.states.process import ProcessInfo
from consumers.running.ending import Ending
from consumers.running.roles import worker as worker_module
from consumers.running.roles.worker import keep_working
from consumers.settings import Settings
from consumers.topics import ensure_topics
from stream import BrokerError, MemoryTransport
from stream.broker.kafka import consumer as kafka_consumer
from stream.broker.kafka import publisher as kafka_publisher
from stream.broker.memory import transport as memory_transport
from tests import test_rebalance
from tests.replays import RULES, SPEC, Brightness
from tests.test_rebalance import published, segments, settings_of, windows_of, working
from tests.waiting import eventually

footage = test_rebalance.footage
transport = test_rebalance.transport


class Slow(Brightness):
    """Scores a few batches, and then takes for ever for one."""

    def __init__(self, batches: int) -> None:
        super().__init__()
        self._batches = batches
        self.hangs, self.go_on = threading.Event(), threading.Event()

    def predict(self, frames: np.ndarray) -> np.ndarray:
        self._batches -= 1
        if self._batches < 0:
            self.hangs.set()
            assert self.go_on.wait(60)
        return super().predict(frames)


@pytest.mark.slow
@pytest.mark.parametrize("name", [None, "one"])
def test_a_worker_amid_a_long_batch_hands_over_at_once_and_nothing_is_lost_or_told_twice(
    transport, footage: Path, topics_prefix: str, name, monkeypatch
):
    # A worker that is only missed when they are over is far too late.
    for module in (memory_transport, kafka_publisher):
        monkeypatch.setattr(module, "TRANSACTION_TIMEOUT_SECONDS", 60.0)
    monkeypatch.setattr(kafka_consumer, "SESSION_TIMEOUT_SECONDS", 60.0)
    monkeypatch.setattr(kafka_consumer, "HEARTBEATS_PER_SESSION", 400)
    settings = settings_of(topics_prefix)
    records = segments(footage, settings)
    expected, events = windows_of(records, settings)
    ensure_topics(transport, settings.topics)
    producer = transport.producer()
    for record in records:
        producer.send(settings.topics.segments, *record)
    producer.flush()
    named = settings.model_copy(update={"worker": settings.worker.model_copy(update={"instance": name})})
    scorer, errors = Slow(batches=5), []
    late = Worker(transport, scorer, SPEC, RULES, named)

    def work() -> None:
        try:
            late.run(lambda: False)
        except BrokerError as error:
            errors.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    assert scorer.hangs.wait(60)
    began = time.monotonic()
    late.leave()
    assert time.monotonic() - began < 10
    with working(transport, settings) as successor:
        assert eventually(lambda: successor.partitions == 4)
        assert eventually(lambda: any(counts.windows for counts in successor.counts.values()))
        assert time.monotonic() - began < 45
        scorer.go_on.set()
        thread.join(20)
        assert not thread.is_alive()
        assert "was left" in errors[0]
        assert eventually(lambda: published(transport, settings) >= expected, 60)
        assert eventually(lambda: len(test_rebalance.reports(transport, settings)) >= events)
    assert published(transport, settings) == expected
    assert len(test_rebalance.reports(transport, settings)) == events
    producer.close()


def test_a_worker_does_not_wait_for_a_decoder_once_it_is_told_to_stop(monkeypatch, footage: Path):
    transport, settings = MemoryTransport(), settings_of("decoding")
    ensure_topics(transport, settings.topics)
    transport.append(settings.topics.segments, *segments(footage, settings)[0])
    monkeypatch.setattr(DecodeQueue, "oldest", property(lambda queue: Future() if len(queue) else None))
    stop = threading.Event()
    worker = Worker(transport, Brightness(), SPEC, RULES, settings)
    thread = threading.Thread(target=lambda: worker.run(stop.is_set))
    thread.start()
    assert eventually(lambda: worker.partitions == 4)
    time.sleep(0.3)
    assert thread.is_alive()
    stop.set()
    thread.join(20)
    assert not thread.is_alive(), "it would wait for ever"


def test_a_worker_gives_up_on_its_broker_only_when_told_to_and_ends_soon_when_stopped(monkeypatch):
    def away(_: Settings) -> NoReturn:
        raise BrokerError("nobody there")

    monkeypatch.setattr(worker_module, "open_worker", away)
    settings, process = Settings(kafka="127.0.0.1:1"), ProcessInfo.current()
    ending = Ending()
    with pytest.raises(BrokerError, match=r"Kafka at 127\.0\.0\.1:1 has not answered for 0\.5 s"):
        keep_working(settings, process, ending, lambda _: contextlib.nullcontext(), exit_after_seconds=0.5)
    assert ending.code == 2
    patient = Ending()
    threading.Timer(1.0, patient.ask).start()
    assert keep_working(settings, process, patient, lambda _: contextlib.nullcontext()) is None
