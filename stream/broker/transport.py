"""How records move: the narrow interface that the rest of Clipline sees.

`KafkaTransport` (kafka.py) is the real part, `MemoryTransport` (memory.py) its twin; both pass the same tests.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from stream.errors import RecordTooLargeError
from stream.headers import Headers

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
    #: When its producer sent it, wall clock, in microseconds since the Unix epoch; 0 where it does not say.
    sent_us: int = 0
    #: Why it cannot be read, if so: key and headers are not known, and `value` is what is stored.
    unreadable: str | None = None

    @property
    def where(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"


@dataclass(frozen=True, slots=True)
class Polled:
    """What one call of `poll` brought, in the order in which it happened: partitions went, others came, records.

    rebalance    before    after     revoked    assigned
                 {0, 1}    {0}       {1}        {}           another member joined
                 {0}       {0, 1}    {}         {1}          it left again
                 {0, 1}    {0, 1}    {}         {}           a third one joined and left: nothing changed hands
                 {0, 1}    {0, 1}    {0, 1}     {0, 1}       the group had shut this member out, and took it back

    Kafka takes all partitions away at each rebalance and gives them out anew. That is not told: a partition that stays
    with its member is read on from where it was, so what is known of its records still holds.
    """

    #: Partitions that went. What is known of their records is stale, even where `assigned` has them, too.
    revoked: frozenset[Partition] = frozenset()
    #: Partitions that came. They are read from where the group committed last.
    assigned: frozenset[Partition] = frozenset()
    #: In order within a partition, and only of partitions that the consumer has after all this.
    records: Sequence[Record] = ()


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

    def poll(self, timeout_seconds: float) -> Polled:
        """Take part in the group, and return what changed hands and the next records; none after the timeout.

        A group waits for each member's next call before it hands out partitions anew.
        """

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Fetch from all assigned partitions but these, until the next call."""

    def commit(self, offsets: Mapping[Partition, int]) -> bool:
        """Store where the group is to go on: the offset of the next record to read, by partition.

        Returns:
            False where a rebalance is under way: nothing is stored, and what stays with this member is to be
            committed again.
        """

    def lag(self) -> int:
        """Records that are stored and not yet read, over the assigned partitions."""

    def progress(self) -> Mapping[Partition, tuple[int, int]] | None:
        """By assigned partition: the offset that `poll` reads next, and the one after the last that is stored now.

        None where the broker does not answer within a second.
        """

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
