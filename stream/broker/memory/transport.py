"""The in-memory twin of a Kafka broker, for tests that need none.

Groups (`groups.py`) rebalance as they do with kafka-python 3.0.12.

Transactions end as they do with Apache Kafka 4: a newer publisher of the same name aborts those of an older one, which
can commit no more; the broker aborts those that are too old; only a member of the group as it is now commits offsets.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from stream.broker.plain_publisher import PlainPublisher
from stream.broker.records import (
    OPEN_TRANSACTIONS_SECONDS,
    TRANSACTION_TIMEOUT_SECONDS,
    Existing,
    GroupInstance,
    Partition,
    Polled,
    Record,
    Topic,
)
from stream.broker.transport import Consumer, Lookup, Producer, Publisher
from stream.errors import BrokerError
from stream.headers import Headers

from .clients import MemoryConsumer, MemoryLookup, MemoryProducer
from .groups import Groups
from .log import Log, Transaction, partition_of
from .publisher import MemoryPublisher

#: Records of a partition that one `poll` returns at most.
_MAX_RECORDS: Final = 64


class MemoryTransport:
    """A broker within the process."""

    def __init__(self, *, is_transactional: bool = True) -> None:
        self._is_transactional = is_transactional
        self._lock = threading.Condition()
        self._logs: dict[Partition, Log] = {}
        self._partitions: dict[str, int] = {}
        self._groups = Groups(
            self._partitions, lambda partition: self._logs[partition].end_offset, self._lock.notify_all
        )
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
            self._groups.topics_changed(new)

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
                self._groups.assign(consumer, {p for p in self._logs if p[0] in topics}, {})
        return consumer

    def follow(self, positions: Mapping[Partition, int]) -> Consumer:
        consumer = MemoryConsumer(self, sorted({topic for topic, _ in positions}), None, from_start=True)
        with self._lock:
            self._groups.assign(consumer, set(positions), positions)
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
                and (not offsets or self._groups.commit(consumer, offsets))
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
            self._groups.topics_changed([topic])

    def expel(self, consumer: Consumer) -> None:
        """Shut a member out of its group, as a broker does with one that is silent for longer than its session."""
        assert isinstance(consumer, MemoryConsumer)
        with self._lock:
            self._groups.leave(consumer)

    def leave(self, consumer: MemoryConsumer) -> None:
        with self._lock:
            consumer.has_left = True
            self._groups.leave(consumer)
            self._groups.assign(consumer, set(), {})
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
            self._wait_for(lambda: self._groups.is_stable(consumer) and self._has_more(consumer), timeout_seconds)
            records: list[Record] = []
            if self._groups.is_stable(consumer):
                for partition in [p for p in consumer.positions if p not in consumer.paused]:
                    log = self._logs[partition]
                    found, at = log.read(consumer.positions[partition], log.end_offset, _MAX_RECORDS)
                    consumer.positions[partition] = at
                    records += found
            return Polled(*consumer.assignment.take(), records)

    def commit(self, consumer: MemoryConsumer, offsets: Mapping[Partition, int]) -> bool:
        with self._lock:
            return self._groups.commit(consumer, offsets)

    def is_rejoining(self, consumer: MemoryConsumer) -> bool:
        with self._lock:
            return self._groups.is_rejoining(consumer)

    def committed(self, consumer: MemoryConsumer) -> Mapping[Partition, int]:
        if consumer.group is None:
            raise BrokerError("a consumer without a group has committed nothing")
        with self._lock:
            committed = self._groups.committed(consumer.group)
            return {p: committed[p] for p in consumer.positions if p in committed}

    def rewind(self, consumer: MemoryConsumer) -> None:
        if consumer.group is None:
            raise BrokerError("a consumer without a group has nothing to go back to")
        with self._lock:
            committed = self._groups.committed(consumer.group)
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
