"""A limit for what the vendor waits for without one: a broker that takes connections and never begins with TLS."""

from __future__ import annotations

import ssl
import time

from kafka.net import manager
from kafka.net.transport import KafkaSSLTransport

from . import connection


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
