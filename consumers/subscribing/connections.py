"""HTTP connections that say nothing may not take the places of those that do."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

#: A connection has so long to bring its first whole request head; uvicorn itself waits for ever.
_FIRST_REQUEST_SECONDS: Final = 10.0


class PromptProtocol(H11Protocol):
    """HTTP/1.1 as uvicorn has it; a connection that asks for nothing in time is closed."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._deadline = asyncio.get_running_loop().call_later(_FIRST_REQUEST_SECONDS, self._close_if_silent)

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.cancel()
        super().connection_lost(exc)

    def _close_if_silent(self) -> None:
        if getattr(self, "cycle", None) is None:  # its type says that it never is
            self.transport.abort()
