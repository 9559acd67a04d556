"""How a client of the vendor reaches a Kafka broker, and how its errors become ours."""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final

from kafka import errors as kafka_errors
from kafka.net.compat import KafkaNetClient

from stream.broker.records import MAX_RECORD_BYTES
from stream.errors import BrokerError, EntryError

from .address import KafkaAddress
from .entry import REFUSED_ENTRY, check_entry, not_let_in

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_SECONDS: Final = 5.0
#: Where modules need it, they ask for it here: tests shorten it.
CONNECT_TIMEOUT_MS = int(CONNECT_TIMEOUT_SECONDS * 1000)
#: A producer's batch and a topic's limit must hold the largest record with its framing.
FRAMING_BYTES: Final = 64 * 1024
TOPIC_BYTES: Final = MAX_RECORD_BYTES + FRAMING_BYTES
#: A broker that says nothing for so long is told of: the vendor tries for two or three times as long, in silence.
_HUNG_SECONDS: Final = 2.0
#: Brokers that have answered this process, or were told of. Each is told of once: clients connect again and again.
_known: Final[deque[str]] = deque(maxlen=16)


@contextlib.contextmanager
def hung_told(address: KafkaAddress) -> Iterator[None]:
    """While the body connects for the first time: log that the broker has not answered yet, where it takes long."""
    servers = address.servers
    if servers in _known:
        yield
        return

    def tell() -> None:
        if servers not in _known:  # another client connects at the same time
            _known.append(servers)
            log.warning("the Kafka broker at %s has not answered yet: waiting for it", servers)

    late = threading.Timer(_HUNG_SECONDS, tell)
    late.daemon = True
    late.start()
    try:
        yield
        if servers not in _known:
            _known.append(servers)
    finally:
        late.cancel()
        late.join()


@contextlib.contextmanager
def mapped(doing: str, address: KafkaAddress) -> Iterator[None]:
    try:
        yield
    except REFUSED_ENTRY as error:
        raise EntryError(f"{doing}: {not_let_in(error, address)}") from None
    except (kafka_errors.MessageSizeTooLargeError, kafka_errors.RecordListTooLargeError) as error:
        # Not a RecordTooLargeError: this is about an earlier record, and the producer can send no other after it.
        raise BrokerError(
            f"{doing}: the Kafka broker at {address} takes smaller records only ({text_of(error)}): "
            f"set max.message.bytes of the topic, or message.max.bytes of the broker, to {TOPIC_BYTES} or more"
        ) from None
    except (kafka_errors.KafkaConnectionError, kafka_errors.KafkaTimeoutError) as error:
        check_entry(address)
        raise BrokerError(f"{doing}: the Kafka broker at {address} does not answer ({text_of(error)})") from None
    except kafka_errors.KafkaError as error:
        raise BrokerError(f"{doing}: the Kafka broker at {address} refused ({text_of(error)})") from None


#: What the vendor puts before its messages, once or twice: "[Error 3] UnknownTopicOrPartitionError: ".
_CLASS_NAME: Final = re.compile(r"(?:(?:\[Error -?\d+\] )?\w+(?:Error|Exception)(?::\s*|$))+")
#: What it quotes as Python writes it: "[('127.0.0.1', 9092, <AddressFamily.AF_UNSPEC: 0>)]".
_UNABLE: Final = "Unable to bootstrap"


def text_of(error: BaseException) -> str:
    """What the vendor says, without the names of its classes; where it says nothing else, they are words."""
    text = _CLASS_NAME.sub("", getattr(error, "strerror", None) or str(error), count=1).strip()
    if text.startswith(_UNABLE):
        return "what listens there does not answer as a Kafka broker does"
    if text:
        return text
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__.removesuffix("Error")).lower()


def why_unreachable(error: BaseException, address: KafkaAddress) -> str:
    """Why no broker could be reached: what the system says is nearer to the cause than what the vendor does."""
    try:
        check_listening(address)
    except kafka_errors.KafkaConnectionError as nobody:
        return text_of(nobody)
    return text_of(error)


def check_listening(address: KafkaAddress) -> None:
    """Ask the system, which knows at once that nobody listens; the vendor tries again for seconds.

    Raises:
        KafkaConnectionError: nobody does, at any of the addresses.
    """
    reason = ""
    for each in address.servers.split(","):
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


def opened(client: Callable[..., Any], address: KafkaAddress, **settings: Any) -> Any:
    """Connect a client of the vendor, one of its classes.

    Raises:
        BrokerError: a certificate, a key or a token cannot be used.
        KafkaError: the broker does not answer.
    """
    made: list[KafkaNetClient] = []

    def make(**config: Any) -> KafkaNetClient:
        made.append(KafkaNetClient(**config))
        return made[-1]

    security = address.security.options()
    try:
        return client(
            bootstrap_servers=address.servers.split(","),
            bootstrap_timeout_ms=CONNECT_TIMEOUT_MS,
            kafka_client=make,
            **security,
            **settings,
        )
    except BaseException:
        # kafka-python 3.0.12 leaves a thread and its files open where nobody answers, and we ask again and again.
        for each in made:
            each.close()
            each._manager._net.stop()  # noqa: SLF001  the vendor gives no other way in
        raise
