"""Kafka through kafka-python 3. Every error of the vendor leaves these modules as a BrokerError."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kafka import KafkaAdminClient, TopicPartition
from kafka import errors as kafka_errors
from kafka.admin import ConfigResource

from stream.broker.plain_publisher import PlainPublisher
from stream.broker.records import Existing, GroupInstance, Partition, Record, Topic
from stream.broker.transport import Consumer, Lookup, Producer, Publisher
from stream.errors import BrokerError, EntryError, UnansweredError

from . import connection
from .address import KafkaAddress
from .connection import TOPIC_BYTES, check_listening, hung_told, mapped, opened, why_unreachable
from .consumer import KafkaConsumer, number_of
from .entry import REFUSED_ENTRY, check_entry, not_let_in
from .lookup import KafkaLookup
from .producer import DELIVERY_TIMEOUT_SECONDS, KafkaProducer
from .publisher import KafkaPublisher
from .waiting import limit_handshakes

#: The request by which a broker tells of its transactions: Apache Kafka since 3.0. The embedded broker takes part in
#: transactions, but does not end those of producers that died, and knows no such request.
_DESCRIBE_TRANSACTIONS: Final = 65


@dataclass(frozen=True, slots=True)
class Described:
    """A topic as the broker has it."""

    partitions: int
    #: The largest record that it takes; None where the broker does not say, as all that follows.
    max_record_bytes: int | None
    #: For how long a record is kept, in milliseconds; -1 for ever.
    retention_ms: int | None = None
    #: The broker deletes files of a partition as a whole: one has records of so many milliseconds, at most.
    file_ms: int | None = None
    #: What becomes of records in the end: "delete", "compact", or both.
    cleanup: str | None = None


def _described(partitions: int, configs: Mapping[str, Any]) -> Described:
    def number(name: str) -> int | None:
        value = configs.get(name, {}).get("value")
        return int(value) if value is not None else None

    cleanup = configs.get("cleanup.policy", {}).get("value")
    return Described(partitions, number("max.message.bytes"), number("retention.ms"), number("segment.ms"), cleanup)


class KafkaTransport:
    """A real broker at `address`, which is "host:port[,host:port…]" where it asks nobody who they are."""

    def __init__(self, address: str | KafkaAddress, *, at_once: bool = False) -> None:
        """Connect. That the broker has not answered after 2 s is logged, once in this process.

        Args:
            address: where the broker is.
            at_once: do not try again for 5 s where nobody listens (yet).

        Raises:
            BrokerError: nothing that speaks Kafka's protocol answers there within 5 s, or it does not let us in.
        """
        self._at = address if isinstance(address, KafkaAddress) else KafkaAddress(address)
        self.address = self._at.servers
        limit_handshakes()
        with hung_told(self._at):
            self._is_transactional = self._connect(at_once=at_once)

    def _connect(self, *, at_once: bool) -> bool:
        """Ask the broker who it is; whether it has transactions."""
        try:
            if at_once:
                check_listening(self._at)
            admin = opened(KafkaAdminClient, self._at, request_timeout_ms=connection.CONNECT_TIMEOUT_MS)
            try:
                node = admin.describe_cluster()["brokers"][0]["broker_id"]
                return _DESCRIBE_TRANSACTIONS in admin.get_broker_version_data(node).api_versions
            finally:
                admin.close()
        except REFUSED_ENTRY as error:
            raise EntryError(not_let_in(error, self._at)) from None
        except (kafka_errors.KafkaError, OSError, ValueError) as error:
            check_entry(self._at)
            raise UnansweredError(
                f"no Kafka broker answers at {self.address} ({why_unreachable(error, self._at)})",
                "start one with `clipline run` or `clipline up`, or set CLIPLINE_KAFKA=host:port",
            ) from None

    def existing(self, topics: Iterable[str]) -> Mapping[str, Existing]:
        with mapped("asking for topics", self._at):
            check_listening(self._at)
            admin = opened(KafkaAdminClient, self._at, request_timeout_ms=connection.CONNECT_TIMEOUT_MS)
            try:
                # Asked for all first: the embedded broker makes a topic that it is asked for by name.
                present = sorted(set(topics) & set(admin.list_topics()))
                found = admin.describe_topics(present) if present else []
            finally:
                admin.close()
            return {t["name"]: Existing(str(t.get("topic_id", "")), len(t["partitions"])) for t in found}

    def partition_of(self, topic: str, key: bytes) -> int:
        found = self.existing([topic]).get(topic)
        if found is None:
            raise BrokerError(f"topic {topic} does not exist")
        return number_of(key, found.partitions)

    def ensure_topics(self, topics: Iterable[Topic]) -> None:
        with mapped("creating topics", self._at):
            admin = opened(KafkaAdminClient, self._at)
            try:
                present = set(admin.list_topics())
                missing = {t.name: _creation(t) for t in topics if t.name not in present}
                if missing:
                    # Two processes may start at once: the other one's topics are as good as ours.
                    with contextlib.suppress(kafka_errors.TopicAlreadyExistsError):
                        admin.create_topics(missing)
                    admin.wait_for_topics(list(missing), timeout_ms=10_000)
            finally:
                admin.close()

    def delete_topics(self, topics: Iterable[str]) -> None:
        """Delete those of the topics that there are, with all that is on them.

        Raises:
            BrokerError: the broker refused.
        """
        with mapped("deleting topics", self._at):
            admin = opened(KafkaAdminClient, self._at)
            try:
                if present := sorted(set(topics) & set(admin.list_topics())):
                    admin.delete_topics(present)
            finally:
                admin.close()

    def delete_before(self, offsets: Mapping[Partition, int]) -> None:
        """Delete the records below these offsets, by partition.

        Raises:
            BrokerError: the broker refused, or cannot delete records (the embedded broker).
        """
        if not self._is_transactional:
            # The embedded broker lists the request among those it knows, and closes the connection on it.
            raise BrokerError(f"the broker at {self._at} cannot delete records; Apache Kafka can")
        with mapped("deleting records", self._at):
            admin = opened(KafkaAdminClient, self._at)
            try:
                admin.delete_records({TopicPartition(*p): offset for p, offset in offsets.items()})
            finally:
                admin.close()

    def version(self) -> str:
        """The broker's version as far as its protocol tells it, for example "4.3"."""
        with mapped("asking for the version", self._at):
            admin = opened(KafkaAdminClient, self._at)
            try:
                node = admin.describe_cluster()["brokers"][0]["broker_id"]
                return ".".join(map(str, admin.get_broker_version_data(node).broker_version))
            finally:
                admin.close()

    def described(self, topics: Iterable[str]) -> Mapping[str, Described]:
        """Those of the topics that exist, by name.

        Raises:
            BrokerError: the broker refused.
        """
        with mapped("asking for topics", self._at):
            admin = opened(KafkaAdminClient, self._at)
            try:
                present = sorted(set(topics) & set(admin.list_topics()))
                if not present:
                    return {}
                configs = admin.describe_configs(
                    [ConfigResource("TOPIC", name) for name in present], config_filter="all"
                )["topic"]
                return {
                    each["name"]: _described(len(each["partitions"]), configs.get(each["name"], {}))
                    for each in admin.describe_topics(present)
                }
            finally:
                admin.close()

    def producer(self, seconds: float | None = None) -> Producer:
        return KafkaProducer(self._at, DELIVERY_TIMEOUT_SECONDS if seconds is None else seconds)

    @property
    def is_transactional(self) -> bool:
        return self._is_transactional

    def publisher(self, name: str | None) -> Publisher:
        if self._is_transactional and name is not None:
            return KafkaPublisher(self._at, name)
        return PlainPublisher(self.producer())

    def consumer(
        self,
        topics: Sequence[str],
        group: str | None = None,
        *,
        from_start: bool = True,
        instance: GroupInstance | None = None,
    ) -> Consumer:
        # The embedded broker keeps no place for whoever is away.
        named = instance if self._is_transactional else None
        return KafkaConsumer(self._at, topics, group, from_start=from_start, instance=named)

    def follow(self, positions: Mapping[Partition, int]) -> Consumer:
        return KafkaConsumer(self._at, sorted({topic for topic, _ in positions}), None, positions=positions)

    def lookup(self, topics: Sequence[str]) -> Lookup:
        return KafkaLookup(self._at, topics, tells_ends=self._is_transactional)

    def offsets(self, topic: str) -> Mapping[Partition, tuple[int, int]]:
        consumer = KafkaConsumer(self._at, [topic], None, from_start=False)
        try:
            return consumer.bounds()
        finally:
            consumer.close()

    def sent_since(self, topic: str, time_us: int) -> Mapping[Partition, int]:
        consumer = KafkaConsumer(self._at, [topic], None, from_start=False)
        try:
            return consumer.sent_since(time_us)
        finally:
            consumer.close()

    def read(self, ranges: Mapping[Partition, tuple[int, int]]) -> Iterator[Record]:
        if all(first >= end for first, end in ranges.values()):
            return
        consumer = KafkaConsumer(self._at, sorted({topic for topic, _ in ranges}), None, from_start=True)
        try:
            yield from consumer.between(ranges)
        finally:
            consumer.close()

    def read_to_end(self, partitions: Iterable[Partition]) -> Iterator[Record]:
        wanted = list(partitions)
        if not wanted:
            return
        consumer = KafkaConsumer(self._at, sorted({topic for topic, _ in wanted}), None, from_start=True)
        try:
            yield from consumer.to_end(wanted)
        finally:
            consumer.close()


def _creation(topic: Topic) -> dict[str, Any]:
    configs = {"max.message.bytes": str(TOPIC_BYTES)}
    if topic.compacted:
        # Whoever begins reads all of it first. By default the newest gigabyte, and a week, would never be compacted.
        configs |= {
            "cleanup.policy": "compact" if topic.retention_hours is None else "compact,delete",
            "segment.bytes": str(TOPIC_BYTES),
            "segment.ms": "600000",
            "min.cleanable.dirty.ratio": "0.1",
        }
    if topic.retention_hours is not None:
        configs["retention.ms"] = str(int(topic.retention_hours * 3_600_000))
    if topic.retention_bytes is not None:
        configs["retention.bytes"] = str(topic.retention_bytes)
        # A broker drops whole files of a partition: ones of a gigabyte, its default, would outlast a smaller limit.
        configs["segment.bytes"] = str(max(TOPIC_BYTES, min(topic.retention_bytes // 4, 1024**3)))
    return {"num_partitions": topic.partitions, "replication_factor": -1, "configs": configs}
