"""Publishers of the in-memory twin."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from stream.broker.records import Partition, check_record_size
from stream.broker.transport import Consumer
from stream.headers import Headers

from .log import Transaction

if TYPE_CHECKING:
    from .transport import MemoryTransport


class MemoryPublisher:
    """With transactions, as Apache Kafka has them: what is sent is stored at once, and read when it is committed."""

    def __init__(self, transport: MemoryTransport, name: str) -> None:
        self._transport, self._name = transport, name
        self._transaction: Transaction | None = None
        transport.take_name(name, self)

    def send(self, topic: str, key: bytes, headers: Headers, value: bytes | None, partition: int | None = None) -> None:
        check_record_size(topic, key, headers, value)
        if self._transaction is None:
            self._transaction = self._transport.begin(self._name, self)
        self._transport.append(topic, key, headers, value, partition, self._transaction)

    @property
    def is_open(self) -> bool:
        return self._transaction is not None

    @property
    def open_seconds(self) -> float:
        return time.monotonic() - self._transaction.began_at if self._transaction is not None else 0.0

    def flush(self) -> None: ...

    def commit(self, consumer: Consumer, offsets: Mapping[Partition, int]) -> bool:
        transaction, self._transaction = self._transaction, None
        return self._transport.end(self._name, self, transaction, consumer, offsets)

    def abort(self) -> None:
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            self._transport.end(self._name, self, transaction, None, {})

    def close(self) -> None:
        self.abort()
