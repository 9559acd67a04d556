"""How records move: the narrow interface that the rest of Clipline sees.

`KafkaTransport` (kafka/) is the real part, `MemoryTransport` (memory/) its twin; both pass the same tests. What passes
through it is in `records.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from stream.headers import Headers

from .records import Existing, GroupInstance, Partition, Polled, Record, Stored, Topic


class Producer(Protocol):
    """Sends records; nothing is certain before `flush` returns."""

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
        """Queue a record, waiting while too much is on its way.

        Args:
            topic: where to.
            key: says which partition, unless `partition` does.
            headers: of the record.
            value: None is a tombstone: the key is deleted from a compacted topic.
            partition: the partition's number.
            stored: told where the record lies, by any thread, before `flush` returns; not of one that is not stored.

        Raises:
            RecordTooLargeError: larger than `MAX_RECORD_BYTES`.
            BrokerError: an earlier record failed, or the broker is gone.
        """

    def flush(self) -> None:
        """Return when every record sent so far is stored; raise BrokerError if one is not."""

    def close(self) -> None: ...


class Reader(Protocol):
    """Reads records."""

    def poll(self, timeout_seconds: float) -> Polled:
        """The next records; none after the timeout.

        Raises:
            BrokerError: the broker does not answer, or refuses.
        """

    def close(self) -> None:
        """End."""


class Consumer(Reader, Protocol):
    """Reads records, of the partitions that its group gives it, or of all partitions when it has no group."""

    def poll(self, timeout_seconds: float) -> Polled:
        """Take part in the group, and return what changed hands and the next records; none after the timeout.

        A group waits for each member's next call before it hands out partitions anew.

        Raises:
            FencedError: another consumer has joined the group under our name.
            BrokerError: the broker does not answer, or refuses; or `leave` was called.
        """

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Fetch from all assigned partitions but these, until the next call."""

    def seek(self, positions: Mapping[Partition, int]) -> None:
        """Read on from these offsets, of partitions that are assigned; what is committed stays as it is."""

    def commit(self, offsets: Mapping[Partition, int]) -> bool:
        """Store where the group is to go on: the offset of the next record to read, by partition.

        Returns:
            False where a rebalance is under way: nothing is stored, and what stays with this member is to be
            committed again.
        """

    @property
    def is_rejoining(self) -> bool:
        """Whether the group hands out its partitions anew and the next `poll` takes part in that.

        Who has a transaction open commits it first: afterwards the group has moved on and refuses it.
        """

    def committed(self) -> Mapping[Partition, int]:
        """Where the group is to go on, of those assigned partitions that it has committed.

        Raises:
            BrokerError: the consumer has no group, or the broker does not answer.
        """

    def rewind(self) -> None:
        """Forget what was read: `poll` goes on where the group committed last, on every assigned partition.

        Raises:
            BrokerError: the consumer has no group, or the broker does not answer.
        """

    def lag(self) -> Mapping[Partition, int]:
        """By assigned partition: how far what was read is behind what can be read, in offsets.

        Some offsets hold no record (see `Transport`): the lag may be larger than the number of records to come.
        """

    def progress(self) -> Mapping[Partition, tuple[int, int]] | None:
        """By assigned partition: the offset that `poll` reads next, and the one after the last that can be read now.

        None where the broker does not answer within a second.
        """

    def leave(self) -> None:
        """Leave the group for good; nothing can be read any more. Any thread may, also while another one is inside."""

    def close(self) -> None:
        """End. A member without a name leaves its group; one with a name is expected back (`GroupInstance`)."""


class Lookup(Protocol):
    """Reads a few stored records here and there, often: it keeps its connection, and fetches little beyond them.

    For one thread.
    """

    def first_kept(self, topic: str) -> Mapping[Partition, int]:
        """By partition, the first offset that is still kept; none of a topic that does not exist.

        Raises:
            BrokerError: the broker does not answer.
        """

    def end(self, partition: Partition) -> int:
        """The offset after the last that can be read, or shortly before that.

        Raises:
            BrokerError: there is no such partition, or the broker does not answer.
        """

    def since(self, partition: Partition, time_us: int) -> int:
        """Where records begin that were sent at a time or later; the partition's end where there are none.

        Raises:
            BrokerError: there is no such partition, or the broker does not answer.
        """

    def partition_of(self, topic: str, key: bytes) -> int:
        """As of `Transport`."""

    def read(self, partition: Partition, first: int, end: int | None = None) -> Iterator[Record]:
        """The stored records with `first <= offset < end`, or to where the partition ends now.

        Those that are kept of them. Where reading stops early, nothing more is fetched.

        Raises:
            BrokerError: the broker does not answer.
        """

    def close(self) -> None: ...


class Publisher(Protocol):
    """Sends records, and offsets of what they were made of, that are stored all or not at all (where the broker can).

        send  send  commit(offsets)    True: all of it is there, for every reader at once
        send  send  commit(offsets)    False: nothing of it ever was; the caller drops what it knows and reads again
        send  send  (killed)           nothing of it ever was, after 10 s at most: until then readers wait

    For one thread, as a consumer is.
    """

    def send(self, topic: str, key: bytes, headers: Headers, value: bytes | None, partition: int | None = None) -> None:
        """Queue a record; the first one since the last `commit` or `abort` begins a transaction.

        Takes what `Producer.send` takes.

        Raises:
            RecordTooLargeError: larger than `MAX_RECORD_BYTES`; what was sent before is still to be committed.
            BrokerError: the broker is gone. What was sent is lost: `abort`.
        """

    @property
    def is_open(self) -> bool:
        """Whether something was sent that is neither committed nor aborted."""

    @property
    def open_seconds(self) -> float:
        """For how long; 0.0 where nothing was sent. After 9 s the broker aborts it, and `commit` returns False."""

    def flush(self) -> None:
        """Without transactions: return when all that was sent is stored, so that nothing sent later is without it.

        Does nothing within a transaction, which is stored as one.

        Raises:
            BrokerError: something was not stored.
        """

    def commit(self, consumer: Consumer, offsets: Mapping[Partition, int]) -> bool:
        """Store what was sent since the last call, and the offsets for the consumer's group, all or nothing.

        Without transactions: first what was sent, then the offsets.

        Args:
            consumer: a member of the group, which has polled what `offsets` are about.
            offsets: of the next record to read, by partition. May be empty, and so may be what was sent.

        Returns:
            False where nothing of it is stored: the group has moved on, another process has the publisher's name, or
            the transaction took too long. What was sent is aborted, and the next `send` begins anew. The caller drops
            what it knows, calls `rewind` of the consumer, and reads again. (Where only the broker's answer was lost all
            of it may be stored, and is by now: reading again shows it.)

        Raises:
            FencedError: another consumer has joined the group under the name of this one.
            BrokerError: the broker is gone, or will never take this (a record, a topic, this user). To be treated as
                False once it is back: whoever reads, offsets too, waits until the broker has decided.
        """

    def abort(self) -> None:
        """Drop what was sent since the last `commit`. Without transactions it may be stored nevertheless."""

    def close(self) -> None:
        """Abort what is open."""


class Transport(Protocol):
    """A broker.

    Nobody reads records of a transaction that was aborted, nor of one that is still open, nor what others sent behind
    it to that partition: it ends, for readers, where the first open transaction on it begins.

        offset        0    1    2    3      4    5     6    7
        record of     -    T    T    (end)  -    U     -    U        T committed, U open
        can be read   0    1    2           4    | everything from here on when U has ended

    The end of a transaction takes an offset of its own, and what was aborted keeps its offsets: offsets have gaps, and
    the last one below an end need not hold a record.
    """

    @property
    def is_transactional(self) -> bool:
        """Whether a `Publisher` stores all or nothing; if not, it stores everything at least once."""

    def existing(self, topics: Iterable[str]) -> Mapping[str, Existing]:
        """Those of the topics that exist, by name. Asking makes none.

        Raises:
            BrokerError: the broker does not answer within a few seconds.
        """

    def partition_of(self, topic: str, key: bytes) -> int:
        """The number of the partition to which records with a key go.

        Raises:
            BrokerError: there is no such topic, or the broker does not answer.
        """

    def ensure_topics(self, topics: Iterable[Topic]) -> None:
        """Create the topics that are missing."""

    def producer(self, seconds: float | None = None) -> Producer:
        """Open a producer.

        Args:
            seconds: what is not stored within so long fails; None: a minute, so that a broker may begin anew meanwhile.

        Raises:
            BrokerError: the broker does not answer, or refuses.
        """

    def publisher(self, name: str | None) -> Publisher:
        """Open a publisher, and abort what a dead one of the same name has left open.

        Args:
            name: unique among all that publish now, on this broker: an older publisher of this name can store nothing
                any more. None, and any name where the broker is not transactional: without transactions.

        Raises:
            BrokerError: the broker does not answer, or refuses.
        """

    def consumer(
        self,
        topics: Sequence[str],
        group: str | None = None,
        *,
        from_start: bool = True,
        instance: GroupInstance | None = None,
    ) -> Consumer:
        """Join `group` (or read without one), where nothing is committed from the start or from now on."""

    def follow(self, positions: Mapping[Partition, int]) -> Consumer:
        """Read on from these offsets, without a group.

        `poll` of the consumer raises BrokerError where a partition does not hold its offset (any more).
        """

    def offsets(self, topic: str) -> Mapping[Partition, tuple[int, int]]:
        """By partition: the first offset that is still kept, and the one after the last that can be read.

        Raises:
            BrokerError: there is no such topic.
        """

    def sent_since(self, topic: str, time_us: int) -> Mapping[Partition, int]:
        """By partition: the first offset of what was sent at `time_us` or later, or one before it.

        How near it is depends on the broker's index. The end of a partition to which nothing was sent since.

        Raises:
            BrokerError: there is no such topic.
        """

    def lookup(self, topics: Sequence[str]) -> Lookup:
        """Read here and there in these topics.

        Raises:
            BrokerError: the broker does not answer.
        """

    def read(self, ranges: Mapping[Partition, tuple[int, int]]) -> Iterator[Record]:
        """The stored records with `first <= offset < end`, in order within a partition; those that are kept of them.

        Of what can be read now: it does not wait for open transactions.
        """

    def read_to_end(self, partitions: Iterable[Partition]) -> Iterator[Record]:
        """Every record that these partitions hold now, in order within a partition, also what is not yet committed.

        Waits for open transactions that have sent to them. What they turn out to have aborted is left out.

        Raises:
            BrokerError: no such topic or partition, or an open transaction has not ended within 30 s.
        """
