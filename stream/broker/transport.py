"""How records move: the narrow interface that the rest of Clipline sees, and its in-memory twin for unit tests.

`KafkaTransport` (kafka_transport.py) is the real part; both pass the same tests.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from stream.errors import BrokerError, RecordTooLargeError
from stream.segment import Headers

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
    #: Of each partition.
    retention_bytes: int | None = None
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

    def offsets(self, topic: str) -> Mapping[Partition, tuple[int, int]]:
        """By partition: the first offset that is still kept, and the one after the last.

        Raises:
            BrokerError: there is no such topic.
        """

    def sent_since(self, topic: str, time_us: int) -> Mapping[Partition, int]:
        """By partition: the first offset of what was sent at `time_us` or later, or one before it.

        How near it is depends on the broker's index. The end of a partition to which nothing was sent since.

        Raises:
            BrokerError: there is no such topic.
        """

    def read(self, ranges: Mapping[Partition, tuple[int, int]]) -> Iterator[Record]:
        """The stored records with `first <= offset < end`, in order within a partition; those that are kept of them."""


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
    """A broker within the process, for tests that need none."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._logs: dict[Partition, list[Record]] = {}
        self._partitions: dict[str, int] = {}
        self._committed: dict[str, dict[Partition, int]] = defaultdict(dict)
        self._members: dict[str, list[_MemoryConsumer]] = defaultdict(list)

    def ensure_topics(self, topics: Iterable[Topic]) -> None:
        with self._lock:
            for topic in topics:
                if topic.name not in self._partitions:
                    self._partitions[topic.name] = topic.partitions
                    self._logs |= {(topic.name, i): [] for i in range(topic.partitions)}
            for group in self._members:
                self._rebalance(group)

    def producer(self) -> Producer:
        return _MemoryProducer(self)

    def consumer(self, topics: Sequence[str], group: str | None = None, *, from_start: bool = True) -> Consumer:
        consumer = _MemoryConsumer(self, topics, group, from_start=from_start)
        with self._lock:
            if group is not None:
                self._members[group].append(consumer)
                self._rebalance(group)
            else:
                for topic in topics:
                    if topic not in self._partitions:
                        raise BrokerError(f"topic {topic} does not exist")
                self._assign(consumer, {p for p in self._logs if p[0] in topics})
        return consumer

    def offsets(self, topic: str) -> Mapping[Partition, tuple[int, int]]:
        with self._lock:
            if topic not in self._partitions:
                raise BrokerError(f"topic {topic} does not exist")
            return {p: (0, len(log)) for p, log in self._logs.items() if p[0] == topic}

    def sent_since(self, topic: str, time_us: int) -> Mapping[Partition, int]:
        bounds = self.offsets(topic)
        with self._lock:
            return {
                p: next((record.offset for record in self._logs[p] if record.sent_us >= time_us), end)
                for p, (_, end) in bounds.items()
            }

    def read(self, ranges: Mapping[Partition, tuple[int, int]]) -> Iterator[Record]:
        for partition, (first, end) in ranges.items():
            with self._lock:
                records = self._logs[partition][first:end]
            yield from records

    def leave(self, consumer: _MemoryConsumer) -> None:
        with self._lock:
            if consumer.group is not None and consumer in self._members[consumer.group]:
                self._members[consumer.group].remove(consumer)
                self._rebalance(consumer.group)

    def append(self, topic: str, key: bytes, headers: Headers, value: bytes) -> None:
        with self._lock:
            if topic not in self._partitions:
                raise BrokerError(f"topic {topic} does not exist")
            partition = zlib.crc32(key) % self._partitions[topic]
            log = self._logs[topic, partition]
            log.append(Record(topic, partition, len(log), key, list(headers), value, time.time_ns() // 1000))
            self._lock.notify_all()

    def take(self, consumer: _MemoryConsumer, timeout_seconds: float) -> list[Record]:
        positions = consumer.positions
        with self._lock:
            self._lock.wait_for(
                lambda: any(len(self._logs[p]) > at for p, at in positions.items() if p not in consumer.paused),
                timeout=timeout_seconds,
            )
            active = {p: at for p, at in positions.items() if p not in consumer.paused}
            records = [record for p, at in active.items() for record in self._logs[p][at : at + 64]]
            for record in records:
                positions[record.topic, record.partition] = record.offset + 1
            return records

    def commit(self, consumer: _MemoryConsumer, offsets: Mapping[Partition, int]) -> None:
        if consumer.group is None:
            raise BrokerError("a consumer without a group has nothing to commit to")
        with self._lock:
            # Whoever got a partition meanwhile reads it again from the last commit.
            self._committed[consumer.group] |= {p: at for p, at in offsets.items() if p in consumer.positions}

    def lag(self, consumer: _MemoryConsumer) -> int:
        with self._lock:
            return sum(len(self._logs[p]) - at for p, at in consumer.positions.items())

    def take_revoked(self, consumer: _MemoryConsumer) -> set[Partition]:
        with self._lock:
            revoked, consumer.revoked = consumer.revoked, set()
            return revoked

    def _rebalance(self, group: str) -> None:
        shares: dict[int, set[Partition]] = defaultdict(set)
        for topic, count in self._partitions.items():
            takers = [m for m in self._members[group] if topic in m.topics]
            for number in range(count if takers else 0):
                shares[id(takers[number % len(takers)])].add((topic, number))
        for member in self._members[group]:
            self._assign(member, shares[id(member)])

    def _assign(self, consumer: _MemoryConsumer, partitions: set[Partition]) -> None:
        committed = self._committed[consumer.group] if consumer.group else {}
        for partition in consumer.positions.keys() - partitions:
            del consumer.positions[partition]
            consumer.revoked.add(partition)
        for partition in sorted(partitions - consumer.positions.keys()):
            start = 0 if consumer.from_start else len(self._logs[partition])
            consumer.positions[partition] = committed.get(partition, start)
        self._lock.notify_all()


class _MemoryProducer:
    def __init__(self, transport: MemoryTransport) -> None:
        self._transport = transport

    def send(self, topic: str, key: bytes, headers: Headers, value: bytes) -> None:
        check_record_size(topic, key, headers, value)
        self._transport.append(topic, key, headers, value)

    def flush(self) -> None: ...

    def close(self) -> None: ...


class _MemoryConsumer:
    """What the transport knows of a consumer; changed by the transport, under its lock."""

    def __init__(
        self, transport: MemoryTransport, topics: Sequence[str], group: str | None, *, from_start: bool
    ) -> None:
        self._transport = transport
        self.topics, self.group, self.from_start = topics, group, from_start
        self.positions: dict[Partition, int] = {}
        self.paused: set[Partition] = set()
        self.revoked: set[Partition] = set()

    def poll(self, timeout_seconds: float) -> Sequence[Record]:
        return self._transport.take(self, timeout_seconds)

    def take_revoked(self) -> set[Partition]:
        return self._transport.take_revoked(self)

    def pause(self, partitions: Iterable[Partition]) -> None:
        self.paused = set(partitions)

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        self._transport.commit(self, offsets)

    def lag(self) -> int:
        return self._transport.lag(self)

    def close(self) -> None:
        self._transport.leave(self)
