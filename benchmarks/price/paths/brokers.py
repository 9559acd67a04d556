"""How fast brokers take and give records."""

from __future__ import annotations

import os
import time
from typing import Final

from price.measuring import Ask, Job, Round, WrongWorkError
from stream import KafkaTransport, Topic

_RECORD_BYTES: Final = 250_000
_PARTITIONS: Final = 4
_ROUND_SECONDS: Final = 300.0


class Broker:
    """Records of 250 KB through Clipline's own producer, stored by every replica before they count, and back."""

    engine = ""

    def __init__(self, job: Job) -> None:
        self._transport = KafkaTransport(job.kafka)
        self._noise = os.urandom(_RECORD_BYTES - 8)

    def round(self, ask: Ask) -> Round:
        topic, megabytes = ask.prefix, ask.records * _RECORD_BYTES / 1e6
        self._transport.ensure_topics([Topic(topic, _PARTITIONS)])
        producer = self._transport.producer()
        producer.send(topic, b"first", [], b"connects")
        producer.flush()
        begin = time.perf_counter()
        for number in range(ask.records):
            producer.send(topic, f"camera-{number % 16}".encode(), [], number.to_bytes(8, "big") + self._noise)
        producer.flush()
        in_seconds = time.perf_counter() - begin
        producer.close()
        consumer = self._transport.consumer([topic], from_start=True)
        seen, deadline = set[int](), time.monotonic() + _ROUND_SECONDS
        begin = time.perf_counter()
        while len(seen) < ask.records and time.monotonic() < deadline:
            seen |= {_number(r.value) for r in consumer.poll(0.5).records if r.value and len(r.value) == _RECORD_BYTES}
        out_seconds = time.perf_counter() - begin
        consumer.close()
        if seen != set(range(ask.records)):
            raise WrongWorkError(f"{len(seen)} of {ask.records} records came back")
        return Round(in_mb_per_s=megabytes / in_seconds, out_mb_per_s=megabytes / out_seconds)


def _number(value: bytes) -> int:
    return int.from_bytes(value[:8], "big")
