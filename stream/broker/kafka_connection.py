"""How a client of the vendor reaches a Kafka broker, and how its errors become ours."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any, Final

from kafka import errors as kafka_errors

from stream.errors import BrokerError

from .transport import MAX_RECORD_BYTES

CONNECT_TIMEOUT_SECONDS: Final = 5.0
#: Where modules need it, they ask for it here: tests shorten it.
CONNECT_TIMEOUT_MS = int(CONNECT_TIMEOUT_SECONDS * 1000)
#: A producer's batch and a topic's limit must hold the largest record with its framing.
FRAMING_BYTES: Final = 64 * 1024
TOPIC_BYTES: Final = MAX_RECORD_BYTES + FRAMING_BYTES


@contextlib.contextmanager
def mapped(doing: str, address: str) -> Iterator[None]:
    try:
        yield
    except (kafka_errors.MessageSizeTooLargeError, kafka_errors.RecordListTooLargeError) as error:
        # Not a RecordTooLargeError: this is about an earlier record, and the producer can send no other after it.
        raise BrokerError(
            f"{doing}: the Kafka broker at {address} takes smaller records only ({text_of(error)}): "
            f"set max.message.bytes of the topic, or message.max.bytes of the broker, to {TOPIC_BYTES} or more"
        ) from None
    except (kafka_errors.KafkaConnectionError, kafka_errors.KafkaTimeoutError) as error:
        raise BrokerError(f"{doing}: the Kafka broker at {address} does not answer ({text_of(error)})") from None
    except kafka_errors.KafkaError as error:
        raise BrokerError(f"{doing}: the Kafka broker at {address} refused ({text_of(error)})") from None


def text_of(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def check_listening(address: str) -> None:
    """Ask the system, which knows at once that nobody listens; the vendor tries again for seconds.

    Raises:
        KafkaConnectionError: nobody does, at any of the addresses.
    """
    reason = ""
    for each in address.split(","):
        host, _, port = each.strip().rpartition(":")
        if not (host and port.isdigit()):
            return  # the vendor's to understand
        try:
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIMEOUT_SECONDS).close()
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
        else:
            return
    raise kafka_errors.KafkaConnectionError(reason)


def connection(address: str) -> dict[str, Any]:
    return {"bootstrap_servers": address.split(","), "bootstrap_timeout_ms": CONNECT_TIMEOUT_MS}
