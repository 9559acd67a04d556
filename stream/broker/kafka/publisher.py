"""Transactions of Kafka: records and the offsets of what they were made of are stored all or not at all.

One rule keeps what follows simple: whatever goes wrong with a transaction, its producer is thrown away and a new one
of the same name opened, which makes the broker end what the old one left open, and refuse what is still on its way from
it. kafka-python 3.0.12 could go on with the old one after some errors, but not safely:

    - it keeps the offsets of a transaction that was aborted, and sends them with the next;
    - a record that could not be stored in time does not keep a transaction from being committed without it;
    - when records arrive out of order, it begins anew in silence, and reports a commit of nothing as done.

Each record's own answer is therefore waited for before the commit is asked for.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Mapping
from typing import Final

from kafka import TopicPartition
from kafka import errors as kafka_errors
from kafka.producer.transaction_manager import TransactionalRequestResult
from kafka.structs import OffsetAndMetadata

from stream.broker.records import TRANSACTION_TIMEOUT_SECONDS, Partition, check_record_size
from stream.broker.transport import Consumer
from stream.errors import BrokerError
from stream.headers import Headers

from .address import KafkaAddress
from .connection import mapped, text_of
from .consumer import KafkaConsumer
from .membership import fenced
from .producer import Outbox, open_producer

log = logging.getLogger(__name__)

#: A commit that has not been answered after so long is given up: the broker is gone.
COMMIT_SECONDS: Final = 30.0
#: A record that is not stored after so long has failed. More than a request may take.
_DELIVERY_SECONDS: Final = 30.0
#: A broker that does not answer one request for so long is asked again on a new connection.
_REQUEST_SECONDS: Final = 10.0
#: How long opening a producer may take, the end of its predecessor's transaction included.
_OPEN_SECONDS: Final = 15.0
#: The broker is still ending a transaction when the next one begins: how soon it is asked again.
_RETRY_MS: Final = 20
#: What no further attempt will change: somebody has to set up the broker, or mend us.
_REFUSALS: Final = (
    kafka_errors.AuthorizationError,
    kafka_errors.InvalidRecordError,
    kafka_errors.InvalidTopicError,
    kafka_errors.MessageSizeTooLargeError,
    kafka_errors.RecordListTooLargeError,
    kafka_errors.SaslAuthenticationFailedError,
    kafka_errors.UnknownTopicOrPartitionError,
    kafka_errors.UnsupportedForMessageFormatError,
    kafka_errors.UnsupportedVersionError,
)


class KafkaPublisher:
    def __init__(self, address: KafkaAddress, name: str) -> None:
        """Connect, and end what a predecessor of that name has left open.

        Raises:
            BrokerError: the broker does not answer, or refuses.
        """
        self._address, self._name = address, name
        self._outbox: Outbox | None = None
        self._opened_at: float | None = None
        #: Why the open transaction cannot be committed any more.
        self._failure: kafka_errors.KafkaError | None = None
        self._open()

    def _open(self) -> Outbox:
        with mapped(f"opening transactions of {self._name}", self._address):
            producer = open_producer(
                self._address,
                transactional_id=self._name,
                transaction_timeout_ms=int(TRANSACTION_TIMEOUT_SECONDS * 1000),
                request_timeout_ms=int(_REQUEST_SECONDS * 1000),
                delivery_timeout_ms=int(_DELIVERY_SECONDS * 1000),
                max_block_ms=int(_OPEN_SECONDS * 1000),
                retry_backoff_ms=_RETRY_MS,
            )
            try:
                producer.init_transactions()
            except BaseException:
                producer.close(timeout=0)
                raise
        self._outbox = Outbox(producer)
        return self._outbox

    def send(self, topic: str, key: bytes, headers: Headers, value: bytes | None, partition: int | None = None) -> None:
        size = check_record_size(topic, key, headers, value)
        outbox = self._begin()
        if self._failure is not None:
            return  # it will not be committed
        try:
            outbox.send(topic, key, headers, value, partition, size, COMMIT_SECONDS)
        except kafka_errors.KafkaError as error:
            self._failure = self._reason(error)
        except ValueError as error:
            raise BrokerError(f"sending to {topic}: {error}") from None

    def _begin(self) -> Outbox:
        outbox = self._outbox or self._open()
        if self._opened_at is None:
            with mapped("beginning a transaction", self._address):
                outbox.producer.begin_transaction()
            self._opened_at, self._failure = time.monotonic(), None
        return outbox

    @property
    def is_open(self) -> bool:
        return self._opened_at is not None

    @property
    def open_seconds(self) -> float:
        return time.monotonic() - self._opened_at if self._opened_at is not None else 0.0

    def flush(self) -> None:
        """Nothing: a transaction is stored as one."""

    def commit(self, consumer: Consumer, offsets: Mapping[Partition, int]) -> bool:
        assert isinstance(consumer, KafkaConsumer)
        if not (self.is_open or offsets):
            return True
        try:
            self._commit(self._begin(), consumer, offsets)
        except kafka_errors.KafkaError as error:
            reason = self._reason(error)
        else:
            self._opened_at = None
            return True
        self._drop()
        if isinstance(reason, kafka_errors.FencedInstanceIdError):
            # Our name is that of another process: opened again, we would end its transactions as it ended ours.
            raise fenced(consumer.membership)
        self._open()
        if isinstance(reason, _REFUSALS):
            with mapped(f"committing a transaction of {self._name}", self._address):
                raise reason
        log.warning("transaction of %s: not stored, reading again (%s)", self._name, text_of(reason))
        return False

    def _commit(self, outbox: Outbox, consumer: KafkaConsumer, offsets: Mapping[Partition, int]) -> None:
        deadline = time.monotonic() + COMMIT_SECONDS
        if self._failure is not None:
            raise self._failure
        outbox.flush(deadline - time.monotonic())
        # The vendor's own methods wait for answers without an end.
        transactions = outbox.producer._transaction_manager  # noqa: SLF001
        if offsets:
            if consumer.membership is None:
                raise kafka_errors.CommitFailedError("the group has given this member nothing yet")
            sent = {TopicPartition(*p): OffsetAndMetadata(at, "", -1) for p, at in offsets.items()}
            self._wait(outbox, transactions.send_offsets_to_transaction(sent, consumer.membership), deadline)
        self._wait(outbox, transactions.begin_commit(), deadline)

    def _wait(self, outbox: Outbox, result: TransactionalRequestResult, deadline: float) -> None:
        outbox.producer._sender.wakeup()  # noqa: SLF001
        if not result.wait(timeout_ms=max(0.0, deadline - time.monotonic()) * 1000):
            raise kafka_errors.KafkaTimeoutError(f"no answer within {COMMIT_SECONDS:g} s")

    def _reason(self, error: kafka_errors.KafkaError) -> kafka_errors.KafkaError:
        """What an error is about: once a transaction has failed, all that is asked of it fails for that reason."""
        assert self._outbox is not None
        first = self._outbox.producer._transaction_manager.last_error  # noqa: SLF001
        return first if isinstance(first, kafka_errors.KafkaError) else error

    def abort(self) -> None:
        if self.is_open:
            self._drop()
            # What cannot be reached now is opened by the next `send`; the broker ends the transaction by itself.
            with contextlib.suppress(BrokerError):
                self._open()

    def close(self) -> None:
        self.abort()
        self._drop()

    def _drop(self) -> None:
        if self._outbox is not None:
            self._outbox.producer.close(timeout=0)
        self._outbox, self._opened_at, self._failure = None, None, None
