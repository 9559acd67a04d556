"""Sending records to Kafka."""

from __future__ import annotations

import threading
from typing import Any, Final

from kafka import KafkaProducer as VendorProducer
from kafka import errors as kafka_errors

from stream.broker.records import Stored, check_record_size
from stream.headers import Headers

from .address import KafkaAddress
from .connection import CONNECT_TIMEOUT_SECONDS, TOPIC_BYTES, mapped, opened
from .waiting import connect_calmly

#: Bytes that a producer holds unacknowledged before `send` waits: kafka-python itself sets no bound.
MAX_IN_FLIGHT_BYTES: Final = 64 * 1024 * 1024
DELIVERY_TIMEOUT_SECONDS: Final = 60.0
#: A future is resolved a moment before its callbacks have run.
_CALLBACK_SECONDS: Final = 5.0


class Outbox:
    """A producer of the vendor's with a bound on what is on its way, and an answer for all of it.

    Raises the vendor's errors.
    """

    def __init__(self, producer: VendorProducer) -> None:
        self.producer = producer
        self._in_flight = 0
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    def send(
        self,
        topic: str,
        key: bytes,
        headers: Headers,
        value: bytes | None,
        partition: int | None,
        size: int,
        seconds: float,
        stored: Stored | None = None,
    ) -> None:
        """Queue a record; wait so long while too much is on its way."""
        with self._changed:
            fits = self._changed.wait_for(
                lambda: self._error is not None or self._in_flight + size <= MAX_IN_FLIGHT_BYTES, timeout=seconds
            )
            self._raise_failure()
            if not fits:
                raise kafka_errors.KafkaTimeoutError("it takes no more records")
            self._in_flight += size
        try:
            future = self.producer.send(topic, key=key, headers=headers, value=value, partition=partition)
        except BaseException:
            self._settle(size)
            raise
        if stored is not None:
            # Before what lets `flush` return.
            future.add_callback(lambda place: stored(place.partition, place.offset))
        future.add_callback(lambda _: self._settle(size))
        future.add_errback(lambda error: self._settle(size, error))

    def _settle(self, size: int, error: BaseException | None = None) -> None:
        with self._changed:
            self._error = self._error or error
            self._in_flight -= size
            self._changed.notify_all()

    def flush(self, seconds: float) -> None:
        """Return when all that was sent is stored, within so long; raise what hindered the first that is not."""
        self.producer.flush(timeout=max(0.0, seconds))
        with self._changed:
            settled = self._changed.wait_for(
                lambda: self._in_flight == 0 or self._error is not None, timeout=_CALLBACK_SECONDS
            )
            self._raise_failure()
            if not settled:
                raise kafka_errors.KafkaTimeoutError(f"it has not said of {self._in_flight} bytes that they are stored")

    def _raise_failure(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error


class KafkaProducer:
    def __init__(self, address: KafkaAddress, seconds: float = DELIVERY_TIMEOUT_SECONDS) -> None:
        """Connect; what is not stored within `seconds` fails.

        Raises:
            BrokerError: the broker does not answer, or refuses.
        """
        self._address, self._seconds = address, seconds
        with mapped("opening a producer", address):
            self._outbox = Outbox(
                open_producer(
                    address,
                    delivery_timeout_ms=int(seconds * 1000),
                    max_block_ms=int(seconds * 1000),
                    # Half of that, as it may be tried again.
                    request_timeout_ms=int(seconds * 500),
                )
            )

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
        size = check_record_size(topic, key, headers, value)
        with mapped(f"sending to {topic}", self._address):
            self._outbox.send(topic, key, headers, value, partition, size, self._seconds, stored)

    def flush(self) -> None:
        with mapped("sending", self._address):
            self._outbox.flush(self._seconds)

    def close(self) -> None:
        self._outbox.producer.close(timeout=CONNECT_TIMEOUT_SECONDS)


def open_producer(address: KafkaAddress, **settings: Any) -> VendorProducer:
    """Connect a producer that stores each record once and in order, whatever has to be sent again."""
    producer: VendorProducer = opened(
        _Producer,
        address,
        enable_idempotence=True,
        acks="all",
        max_request_size=TOPIC_BYTES,
        batch_size=1024 * 1024,
        send_buffer_bytes=4 * 1024 * 1024,
        metrics_enabled=False,
        **settings,
    )
    connect_calmly(producer)
    return producer


class _Producer(VendorProducer):  # type: ignore[misc]  # the vendor's base class is untyped
    """Ends in silence, also where the interpreter's end or the garbage collector closes it.

    What was on its way and does not arrive any more is `flush`'s to tell. The vendor raises, from `atexit` and
    `__del__` as well, which ends in tracebacks below a command's last line, and leaves its thread running.
    """

    def close(self, timeout: float | None = None, null_logger: bool = False) -> None:  # noqa: FBT001, FBT002  the vendor's
        try:
            super().close(timeout, null_logger)
        except Exception:  # noqa: BLE001  at the interpreter's end anything may be gone
            self._sender.force_close()
            self._closed = True
