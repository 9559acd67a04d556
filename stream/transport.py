"""How records move: the narrow interface that the rest of Clipline sees, and its in-memory twin for unit tests.

`KafkaTransport` (kafka_transport.py) is the real part; both pass the same tests.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from .errors import BrokerError, RecordTooLargeError
from .segment import Headers

MAX_RECORD_BYTES: Final = 10 * 1024 * 1024
Partition = tuple[str, int]  # topic, number


@dataclass(frozen=True, slots=True)
class Record:
    """One record as it was read."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    headers: Headers
    value: bytes | None = field(repr=False)
    #: When its producer sent it, wall clock, in microseconds since the Unix epoch.
    sent_us: int = 0

    @property
    def where(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic to create where it is missing. Limits are those of the broker where None."""

    name: str
    partitions: int
    retention_hours: float | None = None
    compacted: bool = False


class Producer(Protocol):
    """Sends records; nothing is certain before `flush` returns."""

    def send(self, topic: str, key: bytes, headers: Headers, value: bytes) -> None:
        """Queue a record, waiting while too much is on its way.

        Raises:
            RecordTooLargeError: larger than `MAX_RECORD_BYTES`.
            BrokerError: an earlier record failed, or the broker is gone.
        """

    def flush(self) -> None:
        """Return when every record sent so far is stored; raise BrokerError if one is not."""

    def close(self) -> None: ...


class Consumer(Protocol):
    """Reads records, of the partitions that its group gives it, or of all partitions when it has no group."""

    def poll(self, timeout_seconds: float) -> Sequence[Record]:
        """The next records, in order within a partition; empty after the timeout."""

    def take_revoked(self) -> set[Partition]:
        """Partitions that went to other members since the last call: what is known of them is stale."""

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Fetch from all assigned partitions but these, until the next call."""

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Store where the group is to go on: the offset of the next record to read, by partition."""

    def lag(self) -> int:
        """Records that are stored and not yet read, over the assigned partitions."""

    def close(self) -> None: ...


class Transport(Protocol):
    """A broker."""

    def ensure_topics(self, topics: Iterable[Topic]) -> None:
        """Create the topics that are missing."""

    def producer(self) -> Producer: ...

    def consumer(self, topics: Sequence[str], group: str | None = None, *, from_start: bool = True) -> Consumer:
        """Join `group` (or read without one), where nothing is committed from the start or from now on."""


def record_size(key: bytes, headers: Headers, value: bytes) -> int:
    return len(key) + len(value) + sum(len(name) + len(content) for name, content in headers)


def check_record_size(topic: str, key: bytes, headers: Headers, value: bytes) -> int:
    size = record_size(key, headers, value)
    if size > MAX_RECORD_BYTES:
        raise RecordTooLargeError(
            f"record of {size} bytes for {topic}, key {key.decode(errors='replace')!r}: the limit is {MAX_RECORD_BYTES}"
        )
    return size


class MemoryTransport:
    """A broker within the process, for tests that need none. One consumer of a group at a time."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._logs: dict[Partition, list[Record]] = {}
        self._partitions: dict[str, int] = {}
        self._committed: dict[str, dict[Partition, int]] = defaultdict(dict)

    def ensure_topics(self, topics: Iterable[Topic]) -> None:
        with self._lock:
            for topic in topics:
                if topic.name not in self._partitions:
                    self._partitions[topic.name] = topic.partitions
                    self._logs |= {(topic.name, i): [] for i in range(topic.partitions)}

    def producer(self) -> Producer:
        return _MemoryProducer(self)

    def consumer(self, topics: Sequence[str], group: str | None = None, *, from_start: bool = True) -> Consumer:
        return _MemoryConsumer(self, topics, group, from_start=from_start)

    def append(self, topic: str, key: bytes, headers: Headers, value: bytes) -> None:
        with self._lock:
            if topic not in self._partitions:
                raise BrokerError(f"topic {topic} does not exist")
            partition = zlib.crc32(key) % self._partitions[topic]
            log = self._logs[topic, partition]
            log.append(Record(topic, partition, len(log), key, list(headers), value, time.time_ns() // 1000))
            self._lock.notify_all()

    def read(self, positions: dict[Partition, int], timeout_seconds: float) -> list[Record]:
        with self._lock:
            self._lock.wait_for(
                lambda: any(len(self._logs[p]) > at for p, at in positions.items()), timeout=timeout_seconds
            )
            records = [record for p, at in positions.items() for record in self._logs[p][at : at + 64]]
            for record in records:
                positions[record.topic, record.partition] = record.offset + 1
            return records

    def start_positions(self, topics: Sequence[str], group: str | None, *, from_start: bool) -> dict[Partition, int]:
        with self._lock:
            committed = self._committed[group] if group else {}
            return {
                p: committed.get(p, 0 if from_start else len(log)) for p, log in self._logs.items() if p[0] in topics
            }

    def commit(self, group: str, offsets: Mapping[Partition, int]) -> None:
        with self._lock:
            self._committed[group] |= offsets

    def ends(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        with self._lock:
            return {p: len(self._logs[p]) for p in partitions}


class _MemoryProducer:
    def __init__(self, transport: MemoryTransport) -> None:
        self._transport = transport

    def send(self, topic: str, key: bytes, headers: Headers, value: bytes) -> None:
        check_record_size(topic, key, headers, value)
        self._transport.append(topic, key, headers, value)

    def flush(self) -> None: ...

    def close(self) -> None: ...


class _MemoryConsumer:
    def __init__(
        self, transport: MemoryTransport, topics: Sequence[str], group: str | None, *, from_start: bool
    ) -> None:
        self._transport, self._group = transport, group
        self._positions = transport.start_positions(topics, group, from_start=from_start)
        self._paused: set[Partition] = set()

    def poll(self, timeout_seconds: float) -> Sequence[Record]:
        active = {p: at for p, at in self._positions.items() if p not in self._paused}
        records = self._transport.read(active, timeout_seconds)
        self._positions |= active
        return records

    def take_revoked(self) -> set[Partition]:
        return set()

    def pause(self, partitions: Iterable[Partition]) -> None:
        self._paused = set(partitions)

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        if self._group is None:
            raise BrokerError("a consumer without a group has nothing to commit to")
        self._transport.commit(self._group, offsets)

    def lag(self) -> int:
        ends = self._transport.ends(self._positions)
        return sum(ends[p] - at for p, at in self._positions.items())

    def close(self) -> None: ...
