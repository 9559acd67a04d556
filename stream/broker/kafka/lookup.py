"""Reading a few records here and there over one connection."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from kafka import KafkaConsumer as VendorConsumer
from kafka import TopicPartition

from stream.broker.records import Partition, Record
from stream.errors import BrokerError

from . import connection
from .address import KafkaAddress
from .batches import fetch_what_was_resumed, keep_reading
from .connection import mapped, opened
from .consumer import number_of, record_of

#: One fetch; a broker sends a batch that is larger whole. What a lookup skips is fetched for nothing.
_FETCH_BYTES: Final = 128 * 1024
#: How long a broker waits for more where a partition is at its end: that is what ends such a read.
_FETCH_WAIT_MS: Final = 5
_POLL_MS: Final = 5
#: A broker that sends nothing of a partition for so long is gone.
_SILENT_SECONDS: Final = 15.0
_MAX_POLL_RECORDS: Final = 500


class KafkaLookup:
    def __init__(self, address: KafkaAddress, topics: Sequence[str], *, tells_ends: bool) -> None:
        """Connect.

        Args:
            address: where the broker is.
            topics: to be read.
            tells_ends: whether the broker says where partitions end, not only where the last batch begins.

        Raises:
            BrokerError: it does not answer.
        """
        self._address, self._tells_ends = address, tells_ends
        self._there: frozenset[str] = frozenset()
        with mapped(f"looking up in {', '.join(topics)}", address):
            self._consumer = opened(
                VendorConsumer,
                address,
                group_id=None,
                enable_auto_commit=False,
                isolation_level="read_committed",
                # What compaction or retention has taken is passed over.
                auto_offset_reset="earliest",
                allow_auto_create_topics=False,
                max_partition_fetch_bytes=_FETCH_BYTES,
                fetch_max_bytes=_FETCH_BYTES,
                fetch_max_wait_ms=_FETCH_WAIT_MS,
                max_poll_records=_MAX_POLL_RECORDS,
                metrics_enabled=False,
            )
            keep_reading(self._consumer)
            # Each change of topics makes the client ask anew what there is, and wait before it does.
            there = set(topics) & set(self._consumer.topics())
            self._assign([TopicPartition(topic, 0) for topic in sorted(there)])

    def first_kept(self, topic: str) -> Mapping[Partition, int]:
        with mapped("asking for offsets", self._address):
            asked = [TopicPartition(topic, number) for number in sorted(self._numbers(topic))]
            if not asked:
                return {}
            found = self._consumer.beginning_offsets(asked, timeout_ms=connection.CONNECT_TIMEOUT_MS)
            return {(p.topic, p.partition): first for p, first in found.items()}

    def end(self, partition: Partition) -> int:
        with mapped("asking for offsets", self._address):
            at = TopicPartition(*partition)
            # The embedded broker tells where the last batch begins.
            end: int = self._consumer.end_offsets([at], timeout_ms=connection.CONNECT_TIMEOUT_MS)[at]
            return end

    def since(self, partition: Partition, time_us: int) -> int:
        at = TopicPartition(*partition)
        with mapped("asking for offsets by time", self._address):
            # As a consumer asks: milliseconds, of which the one that has begun; some say offset 0 of no time.
            asked = {at: max(0, time_us // 1000)}
            found = self._consumer.offsets_for_times(asked, timeout_ms=connection.CONNECT_TIMEOUT_MS).get(at)
        return self.end(partition) if found is None or found.timestamp < 0 else int(found.offset)

    def partition_of(self, topic: str, key: bytes) -> int:
        with mapped("asking for topics", self._address):
            numbers = self._numbers(topic)
        if not numbers:
            raise BrokerError(f"topic {topic} does not exist")
        return number_of(key, len(numbers))

    def _numbers(self, topic: str) -> set[int]:
        # Asked for all topics first: the embedded broker makes a topic that it is asked for by name.
        if topic not in self._there:
            self._there = frozenset(self._consumer.topics())
        return set(self._consumer.partitions_for_topic(topic) or ()) if topic in self._there else set()

    def read(self, partition: Partition, first: int, end: int | None = None) -> Iterator[Record]:
        at = TopicPartition(*partition)
        stop = self.end(partition) if end is None and self._tells_ends else end
        if stop is not None and first >= stop:
            return
        self._seek(at, first)
        deadline = time.monotonic() + _SILENT_SECONDS
        while not self._is_at(at, stop):
            for read in self._polled():
                deadline = time.monotonic() + _SILENT_SECONDS
                if stop is not None and read.offset >= stop:
                    return
                yield record_of(read)
            self._check_time(at, deadline)

    def _check_time(self, at: TopicPartition, deadline: float) -> None:
        if time.monotonic() > deadline:
            raise BrokerError(
                f"the Kafka broker at {self._address} has sent nothing of {at.topic}[{at.partition}] for "
                f"{_SILENT_SECONDS:g} s"
            )

    def _seek(self, at: TopicPartition, first: int) -> None:
        """Fetch from there, and from no other partition."""
        with mapped("seeking", self._address):
            self._assign([at])
            self._drop_what_was_asked_for(at)
            self._consumer.resume(at)
            self._consumer.seek(at, first)
        fetch_what_was_resumed(self._consumer)

    def _drop_what_was_asked_for(self, at: TopicPartition) -> None:
        """By an earlier read, which may not have waited for it: what it tells of the partition's end is old."""
        fetcher = self._consumer._fetcher  # noqa: SLF001  the vendor gives no other way
        deadline = time.monotonic() + _SILENT_SECONDS
        while fetcher.in_flight_fetches():
            self._consumer.poll(timeout_ms=_POLL_MS)  # gives nothing: all partitions are paused
            self._check_time(at, deadline)
        fetcher._completed_fetches.clear()  # noqa: SLF001  as above
        fetcher._paused_completed_fetches.pop(at, None)  # noqa: SLF001
        self._consumer._subscription.assignment[at].highwater = None  # noqa: SLF001

    def _assign(self, partitions: Sequence[TopicPartition]) -> None:
        """Have partitions that are paused, and positions that nobody has to ask for; those from before stay."""
        assigned = self._consumer.assignment()
        if new := [p for p in partitions if p not in assigned]:
            self._consumer.assign([*assigned, *new])
            for partition in new:
                self._consumer.seek(partition, 0)
        if here := self._consumer.assignment():
            self._consumer.pause(*here)

    def _is_at(self, at: TopicPartition, stop: int | None) -> bool:
        """Whether all below `stop` was read, or all that there is."""
        with mapped("reading", self._address):
            position, highwater = self._consumer.position(at), self._consumer.highwater(at)
        return (stop is not None and position >= stop) or (highwater is not None and position >= highwater)

    def _polled(self) -> Iterator[Any]:
        with mapped("reading", self._address):
            batches = self._consumer.poll(timeout_ms=_POLL_MS)
        for records in batches.values():
            yield from records

    def close(self) -> None:
        # It has nothing in hand that could get lost.
        with contextlib.suppress(Exception):
            self._consumer.close(autocommit=False, timeout_ms=connection.CONNECT_TIMEOUT_MS)
