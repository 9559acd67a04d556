"""Kafka through kafka-python 3. Every error of the vendor leaves this module as a BrokerError."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from kafka import ConsumerRebalanceListener, KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka import errors as kafka_errors
from kafka.structs import OffsetAndMetadata

from .errors import BrokerError, RecordTooLargeError
from .segment import Headers
from .transport import MAX_RECORD_BYTES, Consumer, Partition, Producer, Record, Topic, check_record_size

CONNECT_TIMEOUT_SECONDS: Final = 5.0
#: Bytes that a producer holds unacknowledged before `send` waits: kafka-python itself sets no bound.
MAX_IN_FLIGHT_BYTES: Final = 64 * 1024 * 1024
DELIVERY_TIMEOUT_SECONDS: Final = 60.0
#: A member that is silent for so long is dead and its cameras go to others. The least that Apache Kafka allows by
#: default; the embedded broker also waits half of it for further members before it hands out partitions.
SESSION_TIMEOUT_SECONDS: Final = 6.0
#: A producer's batch and a topic's limit must hold the largest record with its framing.
_FRAMING_BYTES: Final = 64 * 1024
_TOPIC_BYTES: Final = MAX_RECORD_BYTES + _FRAMING_BYTES

# kafka-python reports each failed connection attempt; what matters reaches the user as a BrokerError.
logging.getLogger("kafka").setLevel(logging.CRITICAL)


@contextlib.contextmanager
def _mapped(doing: str, address: str) -> Iterator[None]:
    try:
        yield
    except (
        kafka_errors.MessageSizeTooLargeError,
        kafka_errors.RecordListTooLargeError,
        kafka_errors.InvalidRecordError,
    ) as error:
        raise RecordTooLargeError(f"{doing}: refused by the broker at {address} ({error})") from None
    except (kafka_errors.KafkaConnectionError, kafka_errors.KafkaTimeoutError) as error:
        raise BrokerError(f"{doing}: the Kafka broker at {address} does not answer ({_text(error)})") from None
    except kafka_errors.KafkaError as error:
        raise BrokerError(f"{doing}: the Kafka broker at {address} refused ({_text(error)})") from None


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


class KafkaTransport:
    """A real broker at `address` ("host:port[,host:port…]")."""

    def __init__(self, address: str) -> None:
        """Connect.

        Raises:
            BrokerError: nothing that speaks Kafka's protocol answers there within 5 s.
        """
        self.address = address
        milliseconds = int(CONNECT_TIMEOUT_SECONDS * 1000)
        try:
            admin = KafkaAdminClient(
                bootstrap_servers=address.split(","), bootstrap_timeout_ms=milliseconds, request_timeout_ms=milliseconds
            )
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
            admin = KafkaAdminClient(bootstrap_servers=self.address.split(","))
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

    def producer(self) -> Producer:
        return _KafkaProducer(self.address)

    def consumer(self, topics: Sequence[str], group: str | None = None, *, from_start: bool = True) -> Consumer:
        return _KafkaConsumer(self.address, topics, group, from_start=from_start)


def _creation(topic: Topic) -> dict[str, Any]:
    configs = {"max.message.bytes": str(_TOPIC_BYTES)}
    if topic.compacted:
        configs["cleanup.policy"] = "compact"
    if topic.retention_hours is not None:
        configs["retention.ms"] = str(int(topic.retention_hours * 3_600_000))
    return {"num_partitions": topic.partitions, "replication_factor": -1, "configs": configs}


class _KafkaProducer:
    def __init__(self, address: str) -> None:
        self._address = address
        self._in_flight = 0
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        with _mapped("opening a producer", address):
            self._producer = KafkaProducer(
                bootstrap_servers=address.split(","),
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
        with _mapped(f"sending to {topic}", self._address):
            future = self._producer.send(topic, key=key, headers=headers, value=value)

        def done(_: object) -> None:
            with self._changed:
                self._in_flight -= size
                self._changed.notify_all()

        def failed(error: BaseException) -> None:
            with self._changed:
                self._error = self._error or error
                self._in_flight -= size
                self._changed.notify_all()

        future.add_callback(done)
        future.add_errback(failed)

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
        with _mapped("closing a producer", self._address):
            self._producer.close(timeout=5)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # the vendor's base class is untyped
    """Notes what was taken away. It runs on the consumer's own loop, so it must not block or commit."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._revoked: set[Partition] = set()

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        with self._lock:
            self._revoked |= {(p.topic, p.partition) for p in revoked}

    def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        self.on_partitions_revoked(lost)

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None: ...

    def take(self) -> set[Partition]:
        with self._lock:
            revoked, self._revoked = self._revoked, set()
            return revoked


class _KafkaConsumer:
    def __init__(self, address: str, topics: Sequence[str], group: str | None, *, from_start: bool) -> None:
        self._address, self._group = address, group
        self._listener = _Listener()
        self._paused: set[TopicPartition] = set()
        with _mapped(f"opening a consumer of {', '.join(topics)}", address):
            self._consumer = KafkaConsumer(
                bootstrap_servers=address.split(","),
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
                heartbeat_interval_ms=int(SESSION_TIMEOUT_SECONDS * 250),
                metrics_enabled=False,
            )
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
        if from_start:
            self._consumer.seek_to_beginning(*partitions)
        else:
            # Fixes the positions now: what is sent after this call returns is seen.
            self._consumer.seek_to_end(*partitions)
            for partition in partitions:
                self._consumer.position(partition)

    def poll(self, timeout_seconds: float) -> Sequence[Record]:
        with _mapped("reading", self._address):
            batches = self._consumer.poll(timeout_ms=int(timeout_seconds * 1000))
        return [
            Record(
                r.topic,
                r.partition,
                r.offset,
                r.key,
                [(n, v or b"") for n, v in r.headers],
                r.value,
                r.timestamp * 1000,
            )
            for records in batches.values()
            for r in records
        ]

    def take_revoked(self) -> set[Partition]:
        return self._listener.take()

    def pause(self, partitions: Iterable[Partition]) -> None:
        with _mapped("pausing", self._address):
            assigned = self._consumer.assignment()
            wanted = {TopicPartition(*p) for p in partitions} & assigned
            if resumed := (self._paused & assigned) - wanted:
                self._consumer.resume(*resumed)
            if wanted:
                self._consumer.pause(*wanted)
            self._paused = wanted

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        if self._group is None:
            raise BrokerError("a consumer without a group has nothing to commit to")
        if not offsets:
            return
        # A rebalance is under way: whoever gets the partition reads again from the last commit.
        with _mapped("committing", self._address), contextlib.suppress(*_REBALANCING):
            self._consumer.commit({TopicPartition(*p): OffsetAndMetadata(o, "", -1) for p, o in offsets.items()})

    def lag(self) -> int:
        with _mapped("asking for the lag", self._address):
            total = 0
            for partition in self._consumer.assignment():
                high = self._consumer.highwater(partition)
                if high is not None:
                    total += max(0, high - self._consumer.position(partition))
            return total

    def close(self) -> None:
        with _mapped("closing a consumer", self._address):
            self._consumer.close(autocommit=False)


_REBALANCING: Final = (
    kafka_errors.CommitFailedError,
    kafka_errors.RebalanceInProgressError,
    kafka_errors.IllegalGenerationError,
    kafka_errors.UnknownMemberIdError,
)
