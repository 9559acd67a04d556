"""A publisher where records and offsets cannot be stored together."""

from __future__ import annotations

import time
from collections.abc import Mapping

from stream.headers import Headers

from .records import Partition
from .transport import Consumer, Producer


class PlainPublisher:
    """At least once: everything that was sent is stored before the offsets are.

    Who dies in between has sent what will be sent again by whoever reads from the offsets as they were.
    """

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self._opened_at: float | None = None

    def send(self, topic: str, key: bytes, headers: Headers, value: bytes | None, partition: int | None = None) -> None:
        self._producer.send(topic, key, headers, value, partition)
        if self._opened_at is None:
            self._opened_at = time.monotonic()

    @property
    def is_open(self) -> bool:
        return self._opened_at is not None

    @property
    def open_seconds(self) -> float:
        return time.monotonic() - self._opened_at if self._opened_at is not None else 0.0

    def flush(self) -> None:
        self._producer.flush()

    def commit(self, consumer: Consumer, offsets: Mapping[Partition, int]) -> bool:
        self._producer.flush()
        self._opened_at = None
        return not offsets or consumer.commit(offsets)

    def abort(self) -> None:
        self._opened_at = None

    def close(self) -> None:
        self._producer.close()
