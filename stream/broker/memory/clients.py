"""Who sends to the in-memory twin of a broker, and who reads from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from stream.broker.assignment import Assignment
from stream.broker.records import Partition, Polled, Record, Stored, check_record_size
from stream.errors import BrokerError, FencedError
from stream.headers import Headers

if TYPE_CHECKING:
    from .transport import MemoryTransport


class MemoryProducer:
    def __init__(self, transport: MemoryTransport) -> None:
        self._transport = transport

    def send(
        self,
        topic: str,
        key: bytes,
        headers: Headers,
        value: bytes | None,
        partition: int | None = None,
        *,
        stored: Stored | None = None,
    ) -> None:
        check_record_size(topic, key, headers, value)
        number, offset = self._transport.append(topic, key, headers, value, partition)
        if stored is not None:
            stored(number, offset)

    def flush(self) -> None: ...

    def close(self) -> None: ...


class MemoryLookup:
    def __init__(self, transport: MemoryTransport) -> None:
        self._transport = transport

    def first_kept(self, topic: str) -> Mapping[Partition, int]:
        try:
            return {partition: first for partition, (first, _) in self._transport.offsets(topic).items()}
        except BrokerError:  # there is none
            return {}

    def end(self, partition: Partition) -> int:
        return self._transport.offsets(partition[0])[partition][1]

    def since(self, partition: Partition, time_us: int) -> int:
        return self._transport.sent_since(partition[0], time_us)[partition]

    def partition_of(self, topic: str, key: bytes) -> int:
        return self._transport.partition_of(topic, key)

    def read(self, partition: Partition, first: int, end: int | None = None) -> Iterator[Record]:
        kept, ends = self._transport.offsets(partition[0]).get(partition, (0, 0))
        yield from self._transport.read({partition: (max(first, kept), ends if end is None else min(end, ends))})

    def close(self) -> None: ...


class MemoryConsumer:
    """What the transport knows of a consumer; changed by the transport, under its lock."""

    def __init__(
        self,
        transport: MemoryTransport,
        topics: Sequence[str],
        group: str | None,
        *,
        from_start: bool,
        name: str | None = None,
    ) -> None:
        self._transport = transport
        self.topics, self.group, self.from_start, self.name = topics, group, from_start, name
        self.is_fenced = self.has_left = False
        self.was_member = False
        self.assignment = Assignment()
        self.positions: dict[Partition, int] = {}
        #: Where reading of each partition began.
        self.began: dict[Partition, int] = {}
        self.paused: set[Partition] = set()

    def poll(self, timeout_seconds: float) -> Polled:
        return self._transport.take(self, timeout_seconds)

    def pause(self, partitions: Iterable[Partition]) -> None:
        self.paused = set(partitions)

    def seek(self, positions: Mapping[Partition, int]) -> None:
        self._transport.seek(self, positions)

    def commit(self, offsets: Mapping[Partition, int]) -> bool:
        return self._transport.commit(self, offsets)

    @property
    def is_rejoining(self) -> bool:
        return self._transport.is_rejoining(self)

    def committed(self) -> Mapping[Partition, int]:
        return self._transport.committed(self)

    def rewind(self) -> None:
        self._transport.rewind(self)

    def lag(self) -> Mapping[Partition, int]:
        return self._transport.lag(self)

    def progress(self) -> Mapping[Partition, tuple[int, int]] | None:
        return self._transport.progress(self)

    def check(self) -> None:
        if self.has_left:
            raise BrokerError(f"the group {self.group} was left")
        if self.is_fenced:
            raise FencedError(f"another process has joined the group {self.group} as {self.name!r}: this one ends")

    def leave(self) -> None:
        self._transport.leave(self)

    def close(self) -> None:
        self._transport.close(self)
