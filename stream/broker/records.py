"""What passes through a broker: records, topics, what a poll brings; and how large and how late it may be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from stream.errors import RecordTooLargeError
from stream.headers import Headers

MAX_RECORD_BYTES: Final = 10 * 1024 * 1024
#: A transaction that is open for longer is aborted by the broker. So long a dead publisher holds readers up, and
#: a second more at most where the broker looks for such transactions each second.
TRANSACTION_TIMEOUT_SECONDS: Final = 9.0
#: Who has to know how open transactions end waits for so long.
OPEN_TRANSACTIONS_SECONDS: Final = 30.0
Partition = tuple[str, int]  # topic, number
#: Told of a record once it is stored: the number of its partition, and its offset; -1 where the broker does not say.
Stored = Callable[[int, int], None]


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
    #: Of each key only the newest record is kept; with `retention_hours` for so long, else for ever.
    compacted: bool = False


@dataclass(frozen=True, slots=True)
class Existing:
    """A topic as it is now."""

    #: Another one once the topic was deleted and made anew.
    id: str
    partitions: int


@dataclass(frozen=True, slots=True)
class GroupInstance:
    """Under which name a consumer is a member of its group, and keeps its partitions while it is away.

        close() … consumer(instance) within `seconds`     the same partitions, and nobody else hears of it
        close() …                                         others get them after `seconds`
        leave()                                           others get them at once

    Of two consumers with one name the newer one stays: `poll` of the other one raises FencedError. Without a name,
    and on brokers that know none, `close` leaves the group.
    """

    name: str
    #: Kafka's session timeout.
    seconds: float


def record_size(key: bytes, headers: Headers, value: bytes | None) -> int:
    return len(key) + len(value or b"") + sum(len(name) + len(content) for name, content in headers)


def check_record_size(topic: str, key: bytes, headers: Headers, value: bytes | None) -> int:
    size = record_size(key, headers, value)
    if size > MAX_RECORD_BYTES:
        raise RecordTooLargeError(
            f"record of {size} bytes for {topic}, key {key.decode(errors='replace')!r}: the limit is {MAX_RECORD_BYTES}"
        )
    return size
