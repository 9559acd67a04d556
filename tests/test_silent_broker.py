"""What a process takes while its broker takes connections and says nothing."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import time

import pytest

from stream import BrokerError, KafkaTransport, Topic
from stream.broker.kafka import consumer as kafka_consumer
from stream.services import EmbeddedBroker
from tests.test_local_services import server_of
from tests.waiting import eventually

_SECONDS = 3.0


@pytest.mark.parametrize("poll_seconds", [0.25, 0.02])
def test_a_member_of_a_group_waits_calmly_and_keeps_nothing_of_it(
    topics_prefix: str, monkeypatch: pytest.MonkeyPatch, poll_seconds: float
) -> None:
    monkeypatch.setattr(kafka_consumer, "SESSION_TIMEOUT_SECONDS", 2.0)  # and heartbeats four times as often
    with EmbeddedBroker() as broker:
        transport = KafkaTransport(broker.address)
        transport.ensure_topics([Topic(topics_prefix, 1)])
        consumer = transport.consumer([topics_prefix], topics_prefix)
        assert eventually(lambda: consumer.poll(0.25).assigned, 10)
        consumer.poll(0.25)
        os.kill(server_of(broker), signal.SIGSTOP)
        try:
            gc.collect()
            objects, spent, polls = len(gc.get_objects()), time.process_time(), 0
            until = time.monotonic() + _SECONDS
            while time.monotonic() < until:
                consumer.poll(poll_seconds)
                polls += 1
            spent = time.process_time() - spent
            gc.collect()
            kept = len(gc.get_objects()) - objects
        finally:
            os.kill(server_of(broker), signal.SIGCONT)
        consumer.close()
    assert polls > _SECONDS / poll_seconds / 4
    assert spent < _SECONDS / 8
    assert kept < 2000  # a poll that waits in vain leaves some 50 with the vendor


def test_a_producer_waits_calmly_for_a_connection_that_nobody_answers(topics_prefix: str) -> None:
    with EmbeddedBroker() as broker:
        transport = KafkaTransport(broker.address)
        transport.ensure_topics([Topic(topics_prefix, 1)])
        producer = transport.producer(_SECONDS)
        producer.send(topics_prefix, b"camera", [], b"before")
        producer.flush()
        os.kill(server_of(broker), signal.SIGSTOP)
        try:
            producer.send(topics_prefix, b"camera", [], b"meanwhile")
            spent = time.process_time()
            # After half of its time the connection is given up, and another one made.
            with contextlib.suppress(BrokerError):
                producer.flush()
            spent = time.process_time() - spent
        finally:
            os.kill(server_of(broker), signal.SIGCONT)
        producer.close()
    assert spent < _SECONDS / 12
