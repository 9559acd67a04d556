"""Clients that wait for a broker which says nothing: what kafka-python 3.0.12 makes of that.

A consumer in a group waits for records only until its next heartbeat is due. While one is not answered, the next is
always due: `poll` then goes round a thousand times a second until its time is up. Each round leaves a callback, with
the exception that ended it and all that hangs on that, on the request for records, which waits for half a minute:
millions of objects, hundreds of megabytes, and a processor for it.

A producer that has something to send asks for how many seconds there is no use in connecting, and waits for so many
milliseconds.

Who connects waits without a limit for one that never begins with TLS.
"""

from __future__ import annotations

import ssl
import time
from typing import Final

from kafka import KafkaConsumer, KafkaProducer
from kafka.net import manager
from kafka.net.transport import KafkaSSLTransport

from . import connection

#: For how long records are waited for in any case. Heartbeats are sent by a thread of the vendor's, whoever waits.
_LEAST_SECONDS: Final = 0.1
#: After so long a producer looks again whether its broker is there. That it is wakes it at once.
_LOOK_MS: Final = 100.0
#: What a wait that is over leaves on a request.
_LEFT_BEHIND: Final = "Fetcher.fetch_records.<locals>._wake"


def wait_calmly(consumer: KafkaConsumer) -> None:
    """Have a member of a group wait for records also while a heartbeat is due."""
    coordinator = consumer._coordinator  # noqa: SLF001  the vendor gives no other way in
    told = coordinator.time_to_next_poll
    coordinator.time_to_next_poll = lambda: max(_LEAST_SECONDS, told())


def forget_waits(consumer: KafkaConsumer) -> None:
    """Take what waits that are over have left on requests under way. To be called when no poll is."""
    for future in tuple(consumer._fetcher._fetch_futures):  # noqa: SLF001  as above
        with future._lock:  # noqa: SLF001
            for callbacks in (future._callbacks, future._errbacks):  # noqa: SLF001
                if callbacks:  # None where it is done
                    callbacks[:] = [f for f in callbacks if getattr(f, "__qualname__", "") != _LEFT_BEHIND]


def connect_calmly(producer: KafkaProducer) -> None:
    """Have a producer wait for a connection that is being made."""
    producer._sender._client.connection_delay = lambda _: _LOOK_MS  # noqa: SLF001  as above


class LimitedTlsTransport(KafkaSSLTransport):  # type: ignore[misc]  # the vendor has no types
    """The vendor's, whose handshake may take as long as connecting may."""

    async def handshake(self) -> None:
        """Agree on keys; raise KafkaTimeoutError where that takes too long, as kafka-python 3.0.12 never does."""
        until = time.monotonic() + connection.CONNECT_TIMEOUT_MS / 1000
        try:
            await self._agree(until)
        except BaseException:
            # The vendor drops it as it is.
            self._sock.close()
            raise

    async def _agree(self, until: float) -> None:
        while True:
            try:
                self._sock.do_handshake()
            except ssl.SSLWantReadError:
                await self._net.wait_read(self._sock, until)
            except ssl.SSLWantWriteError:
                await self._net.wait_write(self._sock, until)
            else:
                return


def limit_handshakes() -> None:
    """Have all of the vendor's clients of this process give up."""
    manager.KafkaSSLTransport = LimitedTlsTransport
