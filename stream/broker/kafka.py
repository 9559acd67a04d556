"""Kafka through kafka-python 3. Every error of the vendor leaves this module as a BrokerError."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kafka import ConsumerRebalanceListener, KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka import errors as kafka_errors
from kafka.admin import ConfigResource
from kafka.structs import OffsetAndMetadata

from stream.errors import BrokerError
from stream.headers import Headers

from .assignment import Assignment
from .batches import Unreadable, keep_reading
from .transport import (
    MAX_RECORD_BYTES,
    Consumer,
    Partition,
    Polled,
    Producer,
    Record,
    Topic,
    check_record_size,
)

CONNECT_TIMEOUT_SECONDS: Final = 5.0
_CONNECT_TIMEOUT_MS: Final = int(CONNECT_TIMEOUT_SECONDS * 1000)
#: Bytes that a producer holds unacknowledged before `send` waits: kafka-python itself sets no bound.
MAX_IN_FLIGHT_BYTES: Final = 64 * 1024 * 1024
DELIVERY_TIMEOUT_SECONDS: Final = 60.0
#: A member that is silent for so long is dead and its cameras go to others. The least that Apache Kafka allows by
#: default; the embedded broker also waits half of it for further members before it hands out partitions.
SESSION_TIMEOUT_SECONDS: Final = 6.0
#: How often a member is heard of within its session, and learns that others came or went.
HEARTBEATS_PER_SESSION: Final = 4
_READ_SECONDS: Final = 0.25
#: How long a broker may take to say where partitions end.
_ANSWER_MS: Final = 1000
#: After so long a consumer knows of partitions that a topic was given, and reads them from their start.
_METADATA_SECONDS: Final = 30.0
#: How old the lag of paused partitions may be.
_LAG_SECONDS: Final = 1.0
#: A producer's batch and a topic's limit must hold the largest record with its framing.
_FRAMING_BYTES: Final = 64 * 1024
_TOPIC_BYTES: Final = MAX_RECORD_BYTES + _FRAMING_BYTES


@contextlib.contextmanager
def _mapped(doing: str, address: str) -> Iterator[None]:
    try:
        yield
    except (kafka_errors.MessageSizeTooLargeError, kafka_errors.RecordListTooLargeError) as error:
        # Not a RecordTooLargeError: this is about an earlier record, and the producer can send no other after it.
        raise BrokerError(
            f"{doing}: the Kafka broker at {address} takes smaller records only ({_text(error)}): "
            f"set max.message.bytes of the topic, or message.max.bytes of the broker, to {_TOPIC_BYTES} or more"
        ) from None
    except (kafka_errors.KafkaConnectionError, kafka_errors.KafkaTimeoutError) as error:
        raise BrokerError(f"{doing}: the Kafka broker at {address} does not answer ({_text(error)})") from None
    except kafka_errors.KafkaError as error:
        raise BrokerError(f"{doing}: the Kafka broker at {address} refused ({_text(error)})") from None


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


@dataclass(frozen=True, slots=True)
class Described:
    """A topic as the broker has it."""

    partitions: int
    #: The largest record that it takes; None where the broker does not say.
    max_record_bytes: int | None


def _max_record_bytes(configs: Mapping[str, Any]) -> int | None:
    value = configs.get("max.message.bytes", {}).get("value")
    return int(value) if value is not None else None


class KafkaTransport:
    """A real broker at `address` ("host:port[,host:port…]")."""

    def __init__(self, address: str) -> None:
        """Connect.

        Raises:
            BrokerError: nothing that speaks Kafka's protocol answers there within 5 s.
        """
        self.address = address
        try:
            admin = KafkaAdminClient(**_connection(address), request_timeout_ms=_CONNECT_TIMEOUT_MS)
            try:
                admin.describe_cluster()
            finally:
                admin.close()
        except (kafka_errors.KafkaError, OSError, ValueError) as error:
            raise BrokerError(
                f"no Kafka broker answers at {address} ({_text(error)}): "
                "start one with `clipline up`, or set CLIPLINE_KAFKA=host:port"
            ) from None

    def ensure_topics(self, topics: Iterable[Topic]) -> None:
        with _mapped("creating topics", self.address):
            admin = KafkaAdminClient(**_connection(self.address))
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
        with _mapped("deleting topics", self.address):
            admin = KafkaAdminClient(**_connection(self.address))
            try:
                if present := sorted(set(topics) & set(admin.list_topics())):
                    admin.delete_topics(present)
            finally:
                admin.close()

    def version(self) -> str:
        """The broker's version as far as its protocol tells it, for example "4.3"."""
        with _mapped("asking for the version", self.address):
            admin = KafkaAdminClient(**_connection(self.address))
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
        with _mapped("asking for topics", self.address):
            admin = KafkaAdminClient(**_connection(self.address))
            try:
                present = sorted(set(topics) & set(admin.list_topics()))
                if not present:
                    return {}
                configs = admin.describe_configs([ConfigResource("TOPIC", name) for name in present])["topic"]
                return {
                    each["name"]: Described(len(each["partitions"]), _max_record_bytes(configs.get(each["name"], {})))
                    for each in admin.describe_topics(present)
                }
            finally:
                admin.close()

    def producer(self) -> Producer:
        return _KafkaProducer(self.address)

    def consumer(self, topics: Sequence[str], group: str | None = None, *, from_start: bool = True) -> Consumer:
        return _KafkaConsumer(self.address, topics, group, from_start=from_start)

    def offsets(self, topic: str) -> Mapping[Partition, tuple[int, int]]:
        consumer = _KafkaConsumer(self.address, [topic], None, from_start=False)
        try:
            return consumer.bounds()
        finally:
            consumer.close()

    def sent_since(self, topic: str, time_us: int) -> Mapping[Partition, int]:
        consumer = _KafkaConsumer(self.address, [topic], None, from_start=False)
        try:
            return consumer.sent_since(time_us)
        finally:
            consumer.close()

    def read(self, ranges: Mapping[Partition, tuple[int, int]]) -> Iterator[Record]:
        if all(first >= end for first, end in ranges.values()):
            return
        consumer = _KafkaConsumer(self.address, sorted({topic for topic, _ in ranges}), None, from_start=True)
        try:
            yield from consumer.between(ranges)
        finally:
            consumer.close()


def _connection(address: str) -> dict[str, Any]:
    return {"bootstrap_servers": address.split(","), "bootstrap_timeout_ms": _CONNECT_TIMEOUT_MS}


def _creation(topic: Topic) -> dict[str, Any]:
    configs = {"max.message.bytes": str(_TOPIC_BYTES)}
    if topic.compacted:
        configs["cleanup.policy"] = "compact"
    if topic.retention_hours is not None:
        configs["retention.ms"] = str(int(topic.retention_hours * 3_600_000))
    if topic.retention_bytes is not None:
        configs["retention.bytes"] = str(topic.retention_bytes)
        # A broker drops whole files of a partition: ones of a gigabyte, its default, would outlast a smaller limit.
        configs["segment.bytes"] = str(max(_TOPIC_BYTES, min(topic.retention_bytes // 4, 1024**3)))
    return {"num_partitions": topic.partitions, "replication_factor": -1, "configs": configs}


class _KafkaProducer:
    def __init__(self, address: str) -> None:
        self._address = address
        self._in_flight = 0
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        with _mapped("opening a producer", address):
            self._producer = KafkaProducer(
                **_connection(address),
                enable_idempotence=True,
                acks="all",
                max_request_size=_TOPIC_BYTES,
                batch_size=1024 * 1024,
                delivery_timeout_ms=int(DELIVERY_TIMEOUT_SECONDS * 1000),
                max_block_ms=int(DELIVERY_TIMEOUT_SECONDS * 1000),
                send_buffer_bytes=4 * 1024 * 1024,
                metrics_enabled=False,
            )

    def send(self, topic: str, key: bytes, headers: Headers, value: bytes) -> None:
        size = check_record_size(topic, key, headers, value)
        with self._changed:
            fits = self._changed.wait_for(
                lambda: self._error is not None or self._in_flight + size <= MAX_IN_FLIGHT_BYTES,
                timeout=DELIVERY_TIMEOUT_SECONDS,
            )
            self._raise_failure(topic)
            if not fits:
                raise BrokerError(f"sending to {topic}: the Kafka broker at {self._address} takes no more records")
            self._in_flight += size
        try:
            with _mapped(f"sending to {topic}", self._address):
                future = self._producer.send(topic, key=key, headers=headers, value=value)
        except BrokerError:
            self._settle(size)
            raise
        future.add_callback(lambda _: self._settle(size))
        future.add_errback(lambda error: self._settle(size, error))

    def _settle(self, size: int, error: BaseException | None = None) -> None:
        with self._changed:
            self._error = self._error or error
            self._in_flight -= size
            self._changed.notify_all()

    def flush(self) -> None:
        with _mapped("sending", self._address):
            self._producer.flush(timeout=DELIVERY_TIMEOUT_SECONDS)
        with self._changed:
            # A future is resolved a moment before its callbacks have run.
            self._changed.wait_for(lambda: self._in_flight == 0 or self._error is not None, timeout=5)
            self._raise_failure("the broker")

    def _raise_failure(self, topic: str) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            with _mapped(f"sending to {topic}", self._address):
                raise error

    def close(self) -> None:
        try:
            self._producer.close(timeout=CONNECT_TIMEOUT_SECONDS)
        except kafka_errors.KafkaError:
            # What is on its way does not arrive: `flush` is there to tell. The vendor would leave its thread running.
            self._producer._sender.force_close()  # noqa: SLF001


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # the vendor's base class is untyped
    """Notes what changes hands. It runs on the consumer's own loop, so it must not block or commit."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._assignment = Assignment()

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Nothing has gone yet: all partitions are taken away at each rebalance.

        The vendor keeps them, with their positions, until it knows which of them come back.
        """

    def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:  # noqa: ARG002  # all of them
        with self._lock:
            self._assignment.lose()

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        with self._lock:
            self._assignment.replace((p.topic, p.partition) for p in assigned)

    def take(self) -> tuple[frozenset[Partition], frozenset[Partition]]:
        with self._lock:
            return self._assignment.take()


class _KafkaConsumer:
    def __init__(self, address: str, topics: Sequence[str], group: str | None, *, from_start: bool) -> None:
        self._address, self._group = address, group
        self._listener = _Listener()
        self._paused: set[TopicPartition] = set()
        self._ends: dict[TopicPartition, int] = {}
        self._ask_ends_at = 0.0
        with _mapped(f"opening a consumer of {', '.join(topics)}", address):
            self._consumer = KafkaConsumer(
                **_connection(address),
                group_id=group,
                enable_auto_commit=False,
                auto_offset_reset="earliest" if from_start else "latest",
                # One largest record must fit, or a partition would stand still.
                max_partition_fetch_bytes=_TOPIC_BYTES + _FRAMING_BYTES,
                fetch_max_bytes=2 * _TOPIC_BYTES,
                fetch_max_wait_ms=100,
                max_poll_records=32,
                receive_buffer_bytes=4 * 1024 * 1024,
                session_timeout_ms=int(SESSION_TIMEOUT_SECONDS * 1000),
                heartbeat_interval_ms=int(SESSION_TIMEOUT_SECONDS * 1000 / HEARTBEATS_PER_SESSION),
                metadata_max_age_ms=int(_METADATA_SECONDS * 1000),
                metrics_enabled=False,
            )
            keep_reading(self._consumer)
            if group is not None:
                self._consumer.subscribe(list(topics), listener=self._listener)
            else:
                self._assign_all(topics, from_start=from_start)

    def _assign_all(self, topics: Sequence[str], *, from_start: bool) -> None:
        partitions = []
        for topic in topics:
            numbers = self._consumer.partitions_for_topic(topic)
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
        with _mapped("reading", self._address):
            self._finish_joining()
            batches = self._consumer.poll(timeout_ms=int(timeout_seconds * 1000))
        # One call may finish a rebalance and fetch behind it, never the other way round.
        return Polled(*self._listener.take(), [_record(r) for records in batches.values() for r in records])

    def bounds(self) -> dict[Partition, tuple[int, int]]:
        """First kept offset and the one after the last, of each partition; the consumer stands at the ends."""
        with _mapped("asking for offsets", self._address):
            assigned = self._consumer.assignment()
            first = self._consumer.beginning_offsets(list(assigned))
            return {(p.topic, p.partition): (first[p], self._consumer.position(p)) for p in assigned}

    def sent_since(self, time_us: int) -> dict[Partition, int]:
        """Where records that were sent at a time or later begin; the partition's end where there are none."""
        ends = {partition: end for partition, (_, end) in self.bounds().items()}
        with _mapped("asking for offsets by time", self._address):
            # A broker knows milliseconds: of the one that has begun, so that nothing sent within it is left out.
            asked = {TopicPartition(*p): max(0, time_us // 1000) for p in ends}
            found = self._consumer.offsets_for_times(asked, timeout_ms=_CONNECT_TIMEOUT_MS)
        # The embedded broker says offset 0 of no time, where Apache Kafka says that there is none.
        known = {(p.topic, p.partition): at.offset for p, at in found.items() if at is not None and at.timestamp >= 0}
        return {**ends, **known}

    def between(self, ranges: Mapping[Partition, tuple[int, int]]) -> Iterator[Record]:
        """Records of each range, up to its end or to where the partition ends now, whichever comes first."""
        with _mapped("seeking", self._address):
            wanted = {TopicPartition(*p): bounds for p, bounds in ranges.items() if bounds[0] < bounds[1]}
            self._consumer.assign(list(wanted))
            for partition, (first, _) in wanted.items():
                self._consumer.seek(partition, first)
        open_ended = set(wanted)
        deadline = time.monotonic() + DELIVERY_TIMEOUT_SECONDS
        while open_ended:
            for record in self.poll(_READ_SECONDS).records:
                deadline = time.monotonic() + DELIVERY_TIMEOUT_SECONDS
                if record.offset < ranges[record.topic, record.partition][1]:
                    yield record
            with _mapped("reading", self._address):
                for partition in list(open_ended):
                    highwater = self._consumer.highwater(partition)
                    end = wanted[partition][1] if highwater is None else min(wanted[partition][1], highwater)
                    if self._consumer.position(partition) >= end:
                        open_ended.discard(partition)
                        self._consumer.pause(partition)
            if open_ended and time.monotonic() > deadline:
                raise BrokerError(f"the Kafka broker at {self._address} sends nothing of {min(open_ended)}")

    def _finish_joining(self) -> None:
        """Keep the vendor from forgetting a join that outlasts a poll.

        As a group's leader, kafka-python 3.0.12 notes that it has dealt with a change of partitions before the join is
        complete. If the poll's time ends just then, the next one sees no reason to join: no heartbeats, no partitions,
        for good.
        """
        coordinator = self._consumer._coordinator  # noqa: SLF001
        if self._group is not None and coordinator.rejoining:
            coordinator.request_rejoin()

    def pause(self, partitions: Iterable[Partition]) -> None:
        with _mapped("pausing", self._address):
            assigned = self._consumer.assignment()
            wanted = {TopicPartition(*p) for p in partitions} & assigned
            if resumed := (self._paused & assigned) - wanted:
                self._consumer.resume(*resumed)
            if wanted:
                self._consumer.pause(*wanted)
            self._paused = wanted

    def commit(self, offsets: Mapping[Partition, int]) -> bool:
        if self._group is None:
            raise BrokerError("a consumer without a group has nothing to commit to")
        if offsets:
            with _mapped("committing", self._address):
                try:
                    self._consumer.commit(
                        {TopicPartition(*p): OffsetAndMetadata(o, "", -1) for p, o in offsets.items()}
                    )
                except _REBALANCING:
                    return False
        return True

    def lag(self) -> int:
        with _mapped("asking for the lag", self._address):
            if self._paused and time.monotonic() >= self._ask_ends_at:
                # Ends are otherwise learnt from what is fetched, and nothing is fetched from where we pause.
                self._ends = self._consumer.end_offsets(list(self._paused))
                self._ask_ends_at = time.monotonic() + _LAG_SECONDS
            total = 0
            for partition in self._consumer.assignment():
                known = self._consumer.highwater(partition), self._ends.get(partition)
                ends = [end for end in known if end is not None]
                if ends:
                    total += max(0, max(ends) - self._consumer.position(partition))
            return total

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

    def close(self) -> None:
        with _mapped("closing a consumer", self._address):
            self._consumer.close(autocommit=False)


def _record(read: Any) -> Record:
    headers = [(name, value or b"") for name, value in read.headers]
    # A producer may give any time, or none (-1).
    sent_us = max(0, read.timestamp) * 1000
    reason = read.value.reason if isinstance(read.value, Unreadable) else None
    return Record(read.topic, read.partition, read.offset, read.key, headers, read.value, sent_us, reason)


_REBALANCING: Final = (
    kafka_errors.CommitFailedError,
    kafka_errors.RebalanceInProgressError,
    kafka_errors.IllegalGenerationError,
    kafka_errors.UnknownMemberIdError,
)
