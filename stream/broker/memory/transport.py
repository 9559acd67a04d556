"""The in-memory twin of a Kafka broker, for tests that need none.

Groups rebalance as they do with kafka-python 3.0.12, eagerly: when a member comes or goes, every other one gives up all
partitions with its next `poll` and joins anew; when the last one has joined, each gets its share with that or its next
`poll`, which may return records at once. Until then no member is given records. Positions of partitions that stay are
kept.

Transactions end as they do with Apache Kafka 4: a newer publisher of the same name aborts those of an older one, which
can commit no more; the broker aborts those that are too old; only a member of the group as it is now commits offsets.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from stream.broker.plain_publisher import PlainPublisher
from stream.broker.transport import (
    OPEN_TRANSACTIONS_SECONDS,
    TRANSACTION_TIMEOUT_SECONDS,
    Consumer,
    Existing,
    GroupInstance,
    Lookup,
    Partition,
    Polled,
    Producer,
    Publisher,
    Record,
    Topic,
)
from stream.errors import BrokerError
from stream.headers import Headers

from .clients import MemoryConsumer, MemoryLookup, MemoryProducer
from .log import Log, Transaction, partition_of
from .publisher import MemoryPublisher

#: Records of a partition that one `poll` returns at most.
_MAX_RECORDS: Final = 64


@dataclass(slots=True)
class _Group:
    members: list[MemoryConsumer] = field(default_factory=list)
    committed: dict[Partition, int] = field(default_factory=dict)
    #: Members that have joined the rebalance under way; None while there is none.
    joined: set[MemoryConsumer] | None = None


class MemoryTransport:
    """A broker within the process."""

    def __init__(self, *, is_transactional: bool = True) -> None:
        self._is_transactional = is_transactional
        self._lock = threading.Condition()
        self._logs: dict[Partition, Log] = {}
        self._partitions: dict[str, int] = {}
        self._groups: dict[str, _Group] = defaultdict(_Group)
        #: The newest publisher of each name.
        self._publishers: dict[str, MemoryPublisher] = {}
        #: Open transactions by the name of their publisher.
        self._open: dict[str, Transaction] = {}

    @property
    def is_transactional(self) -> bool:
        return self._is_transactional

    def existing(self, topics: Iterable[str]) -> Mapping[str, Existing]:
        with self._lock:
            return {name: Existing(name, self._partitions[name]) for name in topics if name in self._partitions}

    def partition_of(self, topic: str, key: bytes) -> int:
        with self._lock:
            if topic not in self._partitions:
                raise BrokerError(f"topic {topic} does not exist")
            return partition_of(key, self._partitions[topic])

    def ensure_topics(self, topics: Iterable[Topic]) -> None:
        with self._lock:
            new = {topic.name: topic.partitions for topic in topics if topic.name not in self._partitions}
            self._partitions |= new
            self._logs |= {
                (name, number): Log((name, number)) for name, count in new.items() for number in range(count)
            }
            for group in self._groups.values():
                if any(name in member.topics for name in new for member in group.members):
                    self._begin_rebalance(group)

    def producer(self, seconds: float | None = None) -> Producer:  # noqa: ARG002  it stores at once
        return MemoryProducer(self)

    def publisher(self, name: str | None) -> Publisher:
        if self._is_transactional and name is not None:
            return MemoryPublisher(self, name)
        return PlainPublisher(self.producer())

    def consumer(
        self,
        topics: Sequence[str],
        group: str | None = None,
        *,
        from_start: bool = True,
        instance: GroupInstance | None = None,
    ) -> Consumer:
        name = instance.name if instance is not None and self._is_transactional else None
        consumer = MemoryConsumer(self, topics, group, from_start=from_start, name=name)
        if group is None:
            with self._lock:
                for topic in topics:
                    if topic not in self._partitions:
                        raise BrokerError(f"topic {topic} does not exist")
                self._assign(consumer, {p for p in self._logs if p[0] in topics}, {})
        return consumer

    def follow(self, positions: Mapping[Partition, int]) -> Consumer:
        consumer = MemoryConsumer(self, sorted({topic for topic, _ in positions}), None, from_start=True)
        with self._lock:
            self._assign(consumer, set(positions), positions)
        return consumer

    def lookup(self, topics: Sequence[str]) -> Lookup:  # noqa: ARG002  it holds nothing of them
        return MemoryLookup(self)

    def offsets(self, topic: str) -> Mapping[Partition, tuple[int, int]]:
        with self._lock:
            if topic not in self._partitions:
                raise BrokerError(f"topic {topic} does not exist")
            return {p: (0, log.end_offset) for p, log in self._logs.items() if p[0] == topic}

    def sent_since(self, topic: str, time_us: int) -> Mapping[Partition, int]:
        bounds = self.offsets(topic)
        with self._lock:
            return {
                p: next((record.offset for record in self._logs[p].read(0, end)[0] if record.sent_us >= time_us), end)
                for p, (_, end) in bounds.items()
            }

    def read(self, ranges: Mapping[Partition, tuple[int, int]]) -> Iterator[Record]:
        for partition, (first, end) in ranges.items():
            with self._lock:
                records, _ = self._logs[partition].read(first, end)
            yield from records

    def read_to_end(self, partitions: Iterable[Partition]) -> Iterator[Record]:
        with self._lock:
            ends = {}
            for partition in partitions:
                if partition not in self._logs:
                    raise BrokerError(f"topic {partition[0]} has no partition {partition[1]}")
                ends[partition] = self._logs[partition].high_watermark
            if not self._wait_for(
                lambda: all(self._logs[p].end_offset >= end for p, end in ends.items()), OPEN_TRANSACTIONS_SECONDS
            ):
                raise BrokerError("a transaction has been open for too long")
        yield from self.read({partition: (0, end) for partition, end in ends.items()})

    def append(
        self,
        topic: str,
        key: bytes | None,
        headers: Headers,
        value: bytes | None,
        partition: int | None = None,
        transaction: Transaction | None = None,
    ) -> tuple[int, int]:
        """Store a record, as anybody may send one: of any size, with or without a key and a value.

        Returns:
            The number of its partition, and its offset: -1 where its transaction is over.
        """
        with self._lock:
            if topic not in self._partitions:
                raise BrokerError(f"topic {topic} does not exist")
            number = partition_of(key, self._partitions[topic]) if partition is None else partition
            if (topic, number) not in self._logs:
                raise BrokerError(f"topic {topic} has no partition {number}")
            offset = -1
            if transaction is None or transaction in self._open.values():
                offset = self._logs[topic, number].append(key, headers, value, transaction)
            self._lock.notify_all()
            return number, offset

    def take_name(self, name: str, publisher: MemoryPublisher) -> None:
        """From now on only this publisher commits under the name."""
        with self._lock:
            self._publishers[name] = publisher
            self._abort(name)

    def begin(self, name: str, publisher: MemoryPublisher) -> Transaction:
        """Open a transaction; one that a newer publisher of the name refuses can be sent to, and comes to nothing."""
        transaction = Transaction()
        with self._lock:
            if self._publishers[name] is publisher:
                self._open[name] = transaction
        return transaction

    def end(
        self,
        name: str,
        publisher: MemoryPublisher,
        transaction: Transaction | None,
        consumer: Consumer | None,
        offsets: Mapping[Partition, int],
    ) -> bool:
        """Commit a transaction with offsets of the consumer's group; abort it where there is no consumer."""
        assert consumer is None or isinstance(consumer, MemoryConsumer)
        with self._lock:
            self._abort_old()
            is_newest = self._publishers[name] is publisher
            is_committed = (
                consumer is not None
                and is_newest
                and (transaction is None or self._open.get(name) is transaction)
                and (not offsets or self._commit(consumer, offsets))
            )
            if is_committed and transaction is not None:
                self._open.pop(name).end(is_committed=True)
                self._lock.notify_all()
            else:
                # Opened again, a publisher ends what its name has open, also where that is of a newer one.
                self._abort(name)
            self._publishers[name] = publisher
            return is_committed

    def _abort(self, name: str) -> None:
        if (transaction := self._open.pop(name, None)) is not None:
            transaction.end(is_committed=False)
            self._lock.notify_all()

    def _abort_old(self) -> None:
        oldest = time.monotonic() - TRANSACTION_TIMEOUT_SECONDS
        for name in [name for name, transaction in self._open.items() if transaction.began_at < oldest]:
            self._abort(name)

    def _wait_for(self, is_so: Callable[[], bool], timeout_seconds: float) -> bool:
        """Wait, and abort meanwhile what has been open for too long."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            self._abort_old()
            now = time.monotonic()
            if is_so():
                return True
            if now >= deadline:
                return False
            ends = [transaction.began_at + TRANSACTION_TIMEOUT_SECONDS for transaction in self._open.values()]
            self._lock.wait(max(0.0, min([deadline, *ends]) - now))

    def add_partitions(self, topic: str, count: int) -> None:
        """Give a topic so many partitions, as an administrator may: keys are distributed anew from now on."""
        with self._lock:
            self._logs |= {(topic, number): Log((topic, number)) for number in range(self._partitions[topic], count)}
            self._partitions[topic] = count
            for group in self._groups.values():
                if any(topic in member.topics for member in group.members):
                    self._begin_rebalance(group)

    def expel(self, consumer: Consumer) -> None:
        """Shut a member out of its group, as a broker does with one that is silent for longer than its session."""
        assert isinstance(consumer, MemoryConsumer)
        with self._lock:
            self._leave(consumer)

    def leave(self, consumer: MemoryConsumer) -> None:
        with self._lock:
            consumer.has_left = True
            self._leave(consumer)
            self._assign(consumer, set(), {})
            self._lock.notify_all()

    def close(self, consumer: MemoryConsumer) -> None:
        if consumer.name is None:
            self.leave(consumer)
        # Else it is expected back: for how long, only a broker knows that has a clock. `expel` ends it.

    def take(self, consumer: MemoryConsumer, timeout_seconds: float) -> Polled:
        with self._lock:
            consumer.check()
            for partition, at in consumer.positions.items():
                if partition not in self._logs or at > self._logs[partition].high_watermark:
                    raise BrokerError(f"{partition[0]}[{partition[1]}] does not hold offset {at}")
            self._wait_for(lambda: self._is_stable(consumer) and self._has_more(consumer), timeout_seconds)
            records: list[Record] = []
            if self._is_stable(consumer):
                for partition in [p for p in consumer.positions if p not in consumer.paused]:
                    log = self._logs[partition]
                    found, at = log.read(consumer.positions[partition], log.end_offset, _MAX_RECORDS)
                    consumer.positions[partition] = at
                    records += found
            return Polled(*consumer.assignment.take(), records)

    def commit(self, consumer: MemoryConsumer, offsets: Mapping[Partition, int]) -> bool:
        with self._lock:
            return self._commit(consumer, offsets)

    def _commit(self, consumer: MemoryConsumer, offsets: Mapping[Partition, int]) -> bool:
        if consumer.group is None:
            raise BrokerError("a consumer without a group has nothing to commit to")
        if consumer.is_fenced:
            consumer.check()
        group = self._groups[consumer.group]
        if consumer not in group.members or (group.joined is not None and consumer in group.joined):
            return False
        group.committed |= offsets
        return True

    def is_rejoining(self, consumer: MemoryConsumer) -> bool:
        with self._lock:
            if consumer.group is None:
                return False
            group = self._groups[consumer.group]
            return consumer not in group.members or group.joined is not None

    def committed(self, consumer: MemoryConsumer) -> Mapping[Partition, int]:
        if consumer.group is None:
            raise BrokerError("a consumer without a group has committed nothing")
        with self._lock:
            committed = self._groups[consumer.group].committed
            return {p: committed[p] for p in consumer.positions if p in committed}

    def rewind(self, consumer: MemoryConsumer) -> None:
        if consumer.group is None:
            raise BrokerError("a consumer without a group has nothing to go back to")
        with self._lock:
            committed = self._groups[consumer.group].committed
            consumer.positions = {p: committed.get(p, consumer.began[p]) for p in consumer.positions}

    def seek(self, consumer: MemoryConsumer, positions: Mapping[Partition, int]) -> None:
        with self._lock:
            consumer.positions |= {p: at for p, at in positions.items() if p in consumer.positions}

    def lag(self, consumer: MemoryConsumer) -> Mapping[Partition, int]:
        return {partition: end - at for partition, (at, end) in self.progress(consumer).items()}

    def progress(self, consumer: MemoryConsumer) -> Mapping[Partition, tuple[int, int]]:
        with self._lock:
            self._abort_old()
            return {p: (at, max(at, self._logs[p].end_offset)) for p, at in consumer.positions.items()}

    def _has_more(self, consumer: MemoryConsumer) -> bool:
        """Whether there is a record to read; what holds none is passed over on the way."""
        for partition, at in consumer.positions.items():
            if partition not in consumer.paused:
                records, next_offset = self._logs[partition].read(at, self._logs[partition].end_offset, 1)
                if records:
                    return True
                consumer.positions[partition] = next_offset
        return False

    def _is_stable(self, consumer: MemoryConsumer) -> bool:
        """Join where the group wants it; return whether the consumer has its share."""
        if consumer.group is None:
            return True
        group = self._groups[consumer.group]
        if consumer not in group.members and not self._return(group, consumer):
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

    def _return(self, group: _Group, consumer: MemoryConsumer) -> bool:
        """Take the place of the member with our name, if there is one, with all that it has."""
        named = [member for member in group.members if consumer.name is not None and member.name == consumer.name]
        if consumer.was_member or not named:
            return False
        before, consumer.was_member = named[0], True
        before.is_fenced = True
        group.members[group.members.index(before)] = consumer
        if group.joined is None:
            self._assign(consumer, set(before.positions), group.committed)
        else:
            group.joined.discard(before)
        return True

    def _leave(self, consumer: MemoryConsumer) -> None:
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
        shares: dict[MemoryConsumer, set[Partition]] = {member: set() for member in group.members}
        for topic, count in self._partitions.items():
            takers = [member for member in group.members if topic in member.topics]
            for number in range(count if takers else 0):
                shares[takers[number % len(takers)]].add((topic, number))
        for member, share in shares.items():
            self._assign(member, share, group.committed)
        group.joined = None
        self._lock.notify_all()

    def _assign(self, consumer: MemoryConsumer, partitions: set[Partition], committed: Mapping[Partition, int]) -> None:
        kept = {p: at for p, at in consumer.positions.items() if p in partitions}
        new = {p: self._first(consumer, p, committed) for p in sorted(partitions - kept.keys())}
        consumer.positions = kept | new
        consumer.began = {p: consumer.began.get(p, at) for p, at in kept.items()} | new
        consumer.assignment.replace(partitions)

    def _first(self, consumer: MemoryConsumer, partition: Partition, committed: Mapping[Partition, int]) -> int:
        return committed.get(partition, 0 if consumer.from_start else self._logs[partition].end_offset)
