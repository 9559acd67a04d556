"""Reading records from Kafka."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from kafka import KafkaConsumer as VendorConsumer
from kafka import TopicPartition
from kafka import errors as kafka_errors
from kafka.partitioner import murmur2
from kafka.structs import ConsumerGroupMetadata, OffsetAndMetadata

from stream.broker.records import OPEN_TRANSACTIONS_SECONDS, GroupInstance, Partition, Polled, Record
from stream.errors import BrokerError

from . import connection
from .address import KafkaAddress
from .batches import Unreadable, fetch_what_was_resumed, keep_reading
from .connection import CONNECT_TIMEOUT_SECONDS, FRAMING_BYTES, TOPIC_BYTES, mapped, opened
from .ends import Ends
from .listener import Listener, forget_fetched_offsets
from .membership import Named, fenced, keep_join, leave
from .waiting import forget_waits, wait_calmly

#: A member that is silent for so long is dead and its cameras go to others. The least that Apache Kafka allows by
#: default; the embedded broker also waits half of it for further members before it hands out partitions.
SESSION_TIMEOUT_SECONDS: Final = 6.0
#: How often a member is heard of within its session, and learns that others came or went.
HEARTBEATS_PER_SESSION = 4
_READ_SECONDS: Final = 0.25
#: A broker that sends nothing of a range for so long is gone.
_READ_TIMEOUT_SECONDS: Final = 60.0
#: How long a broker may take to say where partitions end.
_ANSWER_MS: Final = 1000
#: After so long a consumer knows of partitions that a topic was given, and reads them from their start.
_METADATA_SECONDS: Final = 30.0
#: How long to wait for the offsets that a group committed: a dead member's transaction may hold them.
_COMMITTED_MS: Final = int(OPEN_TRANSACTIONS_SECONDS * 1000)
#: How old the lag of paused partitions may be.
_LAG_SECONDS: Final = 1.0


class KafkaConsumer:
    def __init__(
        self,
        address: KafkaAddress,
        topics: Sequence[str],
        group: str | None,
        *,
        from_start: bool = True,
        instance: GroupInstance | None = None,
        positions: Mapping[Partition, int] | None = None,
    ) -> None:
        self._address, self._group = address, group
        self._listener = Listener(lambda: self._consumer)
        #: Where reading of a partition began.
        self._began: dict[Partition, int] = {}
        self._paused: set[TopicPartition] = set()
        self._ends: dict[TopicPartition, int] = {}
        self._ask_ends_at = 0.0
        self._topics = topics
        self._has_left = False
        with mapped(f"opening a consumer of {', '.join(topics)}", address):
            self._consumer = opened(
                VendorConsumer,
                address,
                group_id=group,
                enable_auto_commit=False,
                # Nothing of a transaction that may yet be aborted, neither records nor offsets.
                isolation_level="read_committed",
                # Only who names positions has to hear that one of them is not there any more.
                auto_offset_reset="none" if positions is not None else "earliest" if from_start else "latest",
                # A topic is made by whoever writes to it, with the partitions that it is to have.
                allow_auto_create_topics=False,
                # One largest record must fit, or a partition would stand still.
                max_partition_fetch_bytes=TOPIC_BYTES + FRAMING_BYTES,
                fetch_max_bytes=2 * TOPIC_BYTES,
                fetch_max_wait_ms=100,
                max_poll_records=32,
                receive_buffer_bytes=4 * 1024 * 1024,
                group_instance_id=instance.name if instance is not None else None,
                session_timeout_ms=int((SESSION_TIMEOUT_SECONDS if instance is None else instance.seconds) * 1000),
                heartbeat_interval_ms=int(SESSION_TIMEOUT_SECONDS * 1000 / HEARTBEATS_PER_SESSION),
                metadata_max_age_ms=int(_METADATA_SECONDS * 1000),
                metrics_enabled=False,
            )
            keep_reading(self._consumer)
            wait_calmly(self._consumer)
            self._named = Named(self._consumer, topics, _METADATA_SECONDS) if instance is not None else None
            self._ends_fetched = Ends(self._consumer)
            try:
                if group is not None:
                    self._consumer.subscribe(list(topics), listener=self._listener)
                elif positions is not None:
                    self._assign_at(positions)
                else:
                    self._assign_all(topics, from_start=from_start)
            except BaseException:
                self.close()
                raise

    def _assign_at(self, positions: Mapping[Partition, int]) -> None:
        partitions = {TopicPartition(*partition): offset for partition, offset in positions.items()}
        self._consumer.assign(list(partitions))
        self._listener.on_partitions_assigned(partitions)
        for partition, offset in partitions.items():
            self._consumer.seek(partition, offset)

    def _assign_all(self, topics: Sequence[str], *, from_start: bool) -> None:
        partitions = []
        # Asked for all topics first: the embedded broker makes a topic that it is asked for by name.
        there = self._consumer.topics()
        for topic in topics:
            numbers = self._consumer.partitions_for_topic(topic) if topic in there else None
            if not numbers:
                raise BrokerError(f"topic {topic} does not exist on the Kafka broker at {self._address}")
            partitions += [TopicPartition(topic, number) for number in sorted(numbers)]
        self._consumer.assign(partitions)
        self._listener.on_partitions_assigned(partitions)
        if from_start:
            self._consumer.seek_to_beginning(*partitions)
        else:
            self._seek_to_end(partitions)

    def _seek_to_end(self, partitions: list[TopicPartition]) -> None:
        """Fix the positions now: what is sent after this call returns is seen, and nothing older."""
        self._consumer.seek_to_end(*partitions)
        # The embedded broker tells where the last batch begins; where it ends comes with what is fetched from there.
        deadline = time.monotonic() + CONNECT_TIMEOUT_SECONDS
        while any(self._consumer.highwater(p) is None for p in partitions):
            if time.monotonic() > deadline:
                raise BrokerError(f"the Kafka broker at {self._address} does not tell where its topics end")
            self._consumer.poll(timeout_ms=100)
        for partition in partitions:
            self._consumer.seek(partition, self._consumer.highwater(partition))

    def poll(self, timeout_seconds: float) -> Polled:
        if self._has_left:
            raise BrokerError(f"reading {', '.join(self._topics)}: the group {self._group} was left")
        with mapped("reading", self._address):
            self._finish_joining()
            if self._named is not None:
                self._named.look()
            fetch_what_was_resumed(self._consumer)
            forget_waits(self._consumer)
            try:
                batches = self._consumer.poll(timeout_ms=int(timeout_seconds * 1000))
            except kafka_errors.FencedInstanceIdError:
                raise fenced(self._consumer.group_metadata()) from None
        if self._named is not None and self._named.is_fenced:
            raise fenced(self._consumer.group_metadata())
        # One call may finish a rebalance and fetch behind it, never the other way round.
        revoked, assigned = self._listener.take()
        for partition in revoked | assigned:
            self._began.pop(partition, None)
        for (topic, number, *_), records in batches.items():
            self._began.setdefault((topic, number), records[0].offset)
        return Polled(revoked, assigned, [record_of(r) for records in batches.values() for r in records])

    def bounds(self) -> dict[Partition, tuple[int, int]]:
        """First kept offset and the one after the last, of each partition; the consumer stands at the ends."""
        with mapped("asking for offsets", self._address):
            assigned = self._consumer.assignment()
            first = self._consumer.beginning_offsets(list(assigned))
            return {(p.topic, p.partition): (first[p], self._consumer.position(p)) for p in assigned}

    def sent_since(self, time_us: int) -> dict[Partition, int]:
        """Where records that were sent at a time or later begin; the partition's end where there are none."""
        ends = {partition: end for partition, (_, end) in self.bounds().items()}
        with mapped("asking for offsets by time", self._address):
            # A broker knows milliseconds: of the one that has begun, so that nothing sent within it is left out.
            asked = {TopicPartition(*p): max(0, time_us // 1000) for p in ends}
            found = self._consumer.offsets_for_times(asked, timeout_ms=connection.CONNECT_TIMEOUT_MS)
        # The embedded broker says offset 0 of no time, where Apache Kafka says that there is none.
        known = {(p.topic, p.partition): at.offset for p, at in found.items() if at is not None and at.timestamp >= 0}
        return {**ends, **known}

    def between(self, ranges: Mapping[Partition, tuple[int, int]]) -> Iterator[Record]:
        """Records of each range, up to its end or to where the partition ends now, whichever comes first."""
        wanted = {TopicPartition(*p): bounds for p, bounds in ranges.items() if bounds[0] < bounds[1]}
        with mapped("seeking", self._address):
            self._consumer.assign(list(wanted))
            for partition, (first, _) in wanted.items():
                self._consumer.seek(partition, first)

        def end(partition: TopicPartition) -> int:
            highwater, last = self._consumer.highwater(partition), wanted[partition][1]
            return last if highwater is None else min(last, highwater)

        for record in self._read_up_to(end, wanted, _READ_TIMEOUT_SECONDS):
            if record.offset < ranges[record.topic, record.partition][1]:
                yield record

    def to_end(self, partitions: Iterable[Partition]) -> Iterator[Record]:
        """All records of the partitions, up to where they end now, that of transactions included which are open now."""
        wanted = [TopicPartition(*p) for p in partitions]
        with mapped("seeking", self._address):
            if absent := sorted(set(wanted) - self._consumer.assignment()):
                topic, number = absent[0]
                raise BrokerError(f"topic {topic} has no partition {number} on the Kafka broker at {self._address}")
            self._consumer.assign(wanted)
            self._consumer.seek_to_beginning(*wanted)
        ends: dict[TopicPartition, int] = {}

        def end(partition: TopicPartition) -> int | None:
            if partition not in ends and partition in self._ends_fetched.stored:
                ends[partition] = self._ends_fetched.stored[partition]
            return ends.get(partition)

        yield from self._read_up_to(end, wanted, OPEN_TRANSACTIONS_SECONDS)

    def _read_up_to(
        self, end: Callable[[TopicPartition], int | None], partitions: Iterable[TopicPartition], seconds: float
    ) -> Iterator[Record]:
        """Read until each partition is at its end.

        Args:
            end: of a partition; None while it is not known.
            partitions: which of those that are assigned.
            seconds: that the broker may be silent for.
        """
        unfinished = set(partitions)
        deadline = time.monotonic() + seconds
        next_offsets: dict[Partition, int] = {}
        while unfinished:
            for record in self.poll(_READ_SECONDS).records:
                at_partition = record.topic, record.partition
                # A broker may send a batch again that records were taken out of.
                if record.offset < next_offsets.get(at_partition, 0):
                    continue
                next_offsets[at_partition] = record.offset + 1
                deadline = time.monotonic() + seconds
                yield record
            with mapped("reading", self._address):
                for partition in list(unfinished):
                    at = end(partition)
                    # It passes over offsets that hold no record.
                    if at is not None and self._consumer.position(partition) >= at:
                        unfinished.discard(partition)
                        self._consumer.pause(partition)
            if unfinished and time.monotonic() > deadline:
                topic, number = min(unfinished)
                raise BrokerError(
                    f"the Kafka broker at {self._address} has sent nothing of {topic}[{number}] for {seconds:g} s: "
                    "it is away, or a transaction is open there for longer than one may be"
                )

    def _finish_joining(self) -> None:
        """Keep the vendor from forgetting a join that outlasts a poll.

        As a group's leader, kafka-python 3.0.12 notes that it has dealt with a change of partitions before the join is
        complete. If the poll's time ends just then, the next one sees no reason to join: no heartbeats, no partitions,
        for good. And a join that is complete when the next poll comes is made anew, for which the leader has all others
        join again, too.
        """
        coordinator = self._consumer._coordinator  # noqa: SLF001
        if self._group is not None and coordinator.rejoining:
            coordinator.request_rejoin()
            keep_join(coordinator)

    def pause(self, partitions: Iterable[Partition]) -> None:
        with mapped("pausing", self._address):
            assigned = self._consumer.assignment()
            wanted = {TopicPartition(*p) for p in partitions} & assigned
            if resumed := (self._paused & assigned) - wanted:
                self._consumer.resume(*resumed)
            if wanted:
                self._consumer.pause(*wanted)
            self._paused = wanted

    def seek(self, positions: Mapping[Partition, int]) -> None:
        with mapped("seeking", self._address):
            for partition in self._consumer.assignment() & {TopicPartition(*p) for p in positions}:
                self._consumer.seek(partition, positions[partition.topic, partition.partition])

    def commit(self, offsets: Mapping[Partition, int]) -> bool:
        if self._group is None:
            raise BrokerError("a consumer without a group has nothing to commit to")
        if offsets:
            with mapped("committing", self._address):
                try:
                    self._consumer.commit(
                        {TopicPartition(*p): OffsetAndMetadata(o, "", -1) for p, o in offsets.items()}
                    )
                except _REBALANCING:
                    return False
        return True

    @property
    def is_rejoining(self) -> bool:
        return self._group is not None and bool(self._consumer._coordinator.need_rejoin())  # noqa: SLF001

    @property
    def membership(self) -> ConsumerGroupMetadata | None:
        """As what the group knows the consumer, for transactions; None where it is no member."""
        told = self._listener.told_as
        # Who names no member may commit to a group that is empty just then.
        return told if told is not None and told.generation_id >= 0 and told.member_id else None

    def committed(self) -> Mapping[Partition, int]:
        if self._group is None:
            raise BrokerError("a consumer without a group has committed nothing")
        with mapped("asking for what the group committed", self._address):
            forget_fetched_offsets(self._consumer)
            found = {p: self._consumer.committed(p, timeout_ms=_COMMITTED_MS) for p in self._consumer.assignment()}
        return {(p.topic, p.partition): at for p, at in found.items() if at is not None}

    def rewind(self) -> None:
        if self._group is None:
            raise BrokerError("a consumer without a group has nothing to go back to")
        # Of what it has committed nothing: where reading began; else nothing was read yet.
        self.seek({**self._began, **self.committed()})

    def lag(self) -> Mapping[Partition, int]:
        with mapped("asking for the lag", self._address):
            if self._paused and time.monotonic() >= self._ask_ends_at:
                # Ends are otherwise learnt from what is fetched, and nothing is fetched from where we pause.
                self._ends = self._consumer.end_offsets(list(self._paused))
                self._ask_ends_at = time.monotonic() + _LAG_SECONDS
            found = {}
            for partition in self._consumer.assignment():
                known = self._consumer.highwater(partition), self._ends.get(partition)
                ends = [end for end in known if end is not None]
                behind = max(ends) - self._consumer.position(partition) if ends else 0
                found[partition.topic, partition.partition] = max(0, behind)
            return found

    def progress(self) -> Mapping[Partition, tuple[int, int]] | None:
        try:
            assigned = list(self._consumer.assignment())
            ends = self._consumer.end_offsets(assigned, timeout_ms=_ANSWER_MS) if assigned else {}
            positions = {p: self._consumer.position(p, timeout_ms=_ANSWER_MS) for p in assigned}
        except kafka_errors.KafkaError:
            return None  # `poll` goes on trying
        # The embedded broker tells where the last batch begins; fetching tells where it ends.
        return {
            (p.topic, p.partition): (at, max(ends.get(p, 0), self._consumer.highwater(p) or 0, at))
            for p, at in positions.items()
            if at is not None
        }

    def leave(self) -> None:
        self._has_left = True
        if self._group is not None:
            leave(self._consumer, connection.CONNECT_TIMEOUT_SECONDS)

    def close(self) -> None:
        # It has nothing in hand that could get lost; a group without its broker finds out by itself.
        with contextlib.suppress(Exception):
            self._consumer.close(autocommit=False, timeout_ms=connection.CONNECT_TIMEOUT_MS)


def record_of(read: Any) -> Record:
    headers = [(name, value or b"") for name, value in read.headers]
    # A producer may give any time, or none (-1).
    sent_us = max(0, read.timestamp) * 1000
    reason = read.value.reason if isinstance(read.value, Unreadable) else None
    return Record(read.topic, read.partition, read.offset, read.key, headers, read.value, sent_us, reason)


def number_of(key: bytes, partitions: int) -> int:
    """Of the partition to which a key goes, as every client of Kafka's distributes keys."""
    number: int = (murmur2(key) & 0x7FFFFFFF) % partitions
    return number


_REBALANCING: Final = (
    kafka_errors.CommitFailedError,
    kafka_errors.RebalanceInProgressError,
    kafka_errors.IllegalGenerationError,
    kafka_errors.UnknownMemberIdError,
)
