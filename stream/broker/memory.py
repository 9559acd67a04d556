"""The in-memory twin of a Kafka broker, for tests that need none.

Groups rebalance as they do with kafka-python 3.0.12, eagerly: when a member comes or goes, every other one gives up all
partitions with its next `poll` and joins anew; when the last one has joined, each gets its share with that or its next
`poll`, which may return records at once. Until then no member is given records. Positions of partitions that stay are
kept.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from stream.errors import BrokerError
from stream.headers import Headers

from .assignment import Assignment
from .transport import Consumer, Partition, Polled, Producer, Record, Topic, check_record_size

#: Records of a partition that one `poll` returns at most.
_MAX_RECORDS: Final = 64


@dataclass(slots=True)
class _Group:
    members: list[_MemoryConsumer] = field(default_factory=list)
    committed: dict[Partition, int] = field(default_factory=dict)
    #: Members that have joined the rebalance under way; None while there is none.
    joined: set[_MemoryConsumer] | None = None


class MemoryTransport:
    """A broker within the process."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._logs: dict[Partition, list[Record]] = {}
        self._partitions: dict[str, int] = {}
        self._groups: dict[str, _Group] = defaultdict(_Group)

    def ensure_topics(self, topics: Iterable[Topic]) -> None:
        with self._lock:
            new = {topic.name: topic.partitions for topic in topics if topic.name not in self._partitions}
            self._partitions |= new
            self._logs |= {(name, number): [] for name, count in new.items() for number in range(count)}
            for group in self._groups.values():
                if any(name in member.topics for name in new for member in group.members):
                    self._begin_rebalance(group)

    def producer(self) -> Producer:
        return _MemoryProducer(self)

    def consumer(self, topics: Sequence[str], group: str | None = None, *, from_start: bool = True) -> Consumer:
        consumer = _MemoryConsumer(self, topics, group, from_start=from_start)
        if group is None:
            with self._lock:
                for topic in topics:
                    if topic not in self._partitions:
                        raise BrokerError(f"topic {topic} does not exist")
                self._assign(consumer, {p for p in self._logs if p[0] in topics}, {})
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

    def append(self, topic: str, key: bytes | None, headers: Headers, value: bytes | None) -> None:
        """Store a record, as anybody may send one: of any size, with or without a key and a value."""
        with self._lock:
            if topic not in self._partitions:
                raise BrokerError(f"topic {topic} does not exist")
            partition = zlib.crc32(key or b"") % self._partitions[topic]
            log = self._logs[topic, partition]
            log.append(Record(topic, partition, len(log), key, list(headers), value, time.time_ns() // 1000))
            self._lock.notify_all()

    def add_partitions(self, topic: str, count: int) -> None:
        """Give a topic so many partitions, as an administrator may: keys are distributed anew from now on."""
        with self._lock:
            self._logs |= {(topic, number): [] for number in range(self._partitions[topic], count)}
            self._partitions[topic] = count
            for group in self._groups.values():
                if any(topic in member.topics for member in group.members):
                    self._begin_rebalance(group)

    def expel(self, consumer: Consumer) -> None:
        """Shut a member out of its group, as a broker does with one that is silent for longer than its session."""
        assert isinstance(consumer, _MemoryConsumer)
        with self._lock:
            self._leave(consumer)

    def leave(self, consumer: _MemoryConsumer) -> None:
        with self._lock:
            self._leave(consumer)
            self._assign(consumer, set(), {})

    def take(self, consumer: _MemoryConsumer, timeout_seconds: float) -> Polled:
        with self._lock:
            self._lock.wait_for(lambda: self._is_stable(consumer) and self._has_more(consumer), timeout_seconds)
            records: list[Record] = []
            if self._is_stable(consumer):
                for partition in [p for p in consumer.positions if p not in consumer.paused]:
                    at = consumer.positions[partition]
                    found = self._logs[partition][at : at + _MAX_RECORDS]
                    consumer.positions[partition] = at + len(found)
                    records += found
            return Polled(*consumer.assignment.take(), records)

    def commit(self, consumer: _MemoryConsumer, offsets: Mapping[Partition, int]) -> bool:
        if consumer.group is None:
            raise BrokerError("a consumer without a group has nothing to commit to")
        with self._lock:
            group = self._groups[consumer.group]
            if consumer not in group.members or (group.joined is not None and consumer in group.joined):
                return False
            group.committed |= offsets
            return True

    def lag(self, consumer: _MemoryConsumer) -> int:
        with self._lock:
            return sum(len(self._logs[p]) - at for p, at in consumer.positions.items())

    def progress(self, consumer: _MemoryConsumer) -> Mapping[Partition, tuple[int, int]]:
        with self._lock:
            return {p: (at, len(self._logs[p])) for p, at in consumer.positions.items()}

    def _has_more(self, consumer: _MemoryConsumer) -> bool:
        return any(len(self._logs[p]) > at for p, at in consumer.positions.items() if p not in consumer.paused)

    def _is_stable(self, consumer: _MemoryConsumer) -> bool:
        """Join where the group wants it; return whether the consumer has its share."""
        if consumer.group is None:
            return True
        group = self._groups[consumer.group]
        if consumer not in group.members:
            if consumer.was_member:  # it was shut out
                self._assign(consumer, set(), {})
            consumer.was_member = True
            group.members.append(consumer)
            self._begin_rebalance(group)
        if group.joined is None:
            return True
        group.joined.add(consumer)
        self._end_rebalance(group)
        return group.joined is None

    def _leave(self, consumer: _MemoryConsumer) -> None:
        if consumer.group is None or consumer not in self._groups[consumer.group].members:
            return
        group = self._groups[consumer.group]
        group.members.remove(consumer)
        self._begin_rebalance(group)
        self._end_rebalance(group)

    def _begin_rebalance(self, group: _Group) -> None:
        group.joined = set()
        self._lock.notify_all()

    def _end_rebalance(self, group: _Group) -> None:
        """Hand out the partitions if all members have joined."""
        if group.joined is None or group.joined != set(group.members):
            return
        shares: dict[_MemoryConsumer, set[Partition]] = {member: set() for member in group.members}
        for topic, count in self._partitions.items():
            takers = [member for member in group.members if topic in member.topics]
            for number in range(count if takers else 0):
                shares[takers[number % len(takers)]].add((topic, number))
        for member, share in shares.items():
            self._assign(member, share, group.committed)
        group.joined = None
        self._lock.notify_all()

    def _assign(
        self, consumer: _MemoryConsumer, partitions: set[Partition], committed: Mapping[Partition, int]
    ) -> None:
        kept = {p: at for p, at in consumer.positions.items() if p in partitions}
        new = {
            p: committed.get(p, 0 if consumer.from_start else len(self._logs[p]))
            for p in sorted(partitions - kept.keys())
        }
        consumer.positions = kept | new
        consumer.assignment.replace(partitions)


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
        self.was_member = False
        self.assignment = Assignment()
        self.positions: dict[Partition, int] = {}
        self.paused: set[Partition] = set()

    def poll(self, timeout_seconds: float) -> Polled:
        return self._transport.take(self, timeout_seconds)

    def pause(self, partitions: Iterable[Partition]) -> None:
        self.paused = set(partitions)

    def commit(self, offsets: Mapping[Partition, int]) -> bool:
        return self._transport.commit(self, offsets)

    def lag(self) -> int:
        return self._transport.lag(self)

    def progress(self) -> Mapping[Partition, tuple[int, int]] | None:
        return self._transport.progress(self)

    def close(self) -> None:
        self._transport.leave(self)
