"""An HTTP server in a thread, as events and verdicts are served. Needs the extra `serve`."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import threading
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from consumers.settings import SettingsError

#: A request has so long to be there as a whole; uvicorn itself waits for ever.
_REQUEST_SECONDS: Final = 10.0
#: What the kernel holds for a client beside what is in flight.
_SEND_BUFFER_BYTES: Final = 128 * 1024
#: Connections that wait to be accepted.
_WAITING: Final = 128
_END_SECONDS: Final = 3


class AddressTakenError(SettingsError):
    """Somebody listens there already."""


class WebServer:
    """A server that runs."""

    def __init__(self, server: uvicorn.Server, url: str) -> None:
        self._server = server
        #: Where it is reached, without a path.
        self.url = url

    def abort(self, client: Any) -> None:
        """Close the connection of a client, an address as ASGI has it, without a word."""
        for connection in list(self._server.server_state.connections):
            if getattr(connection, "client", None) == client and (transport := getattr(connection, "transport", None)):
                transport.abort()


@contextlib.contextmanager
def web_server(
    app: ASGIApp, address: str, connections: int, name: str, *, proxy_headers: bool = True
) -> Iterator[WebServer]:
    """Serve `app` at an address while the body runs.

    Args:
        app: what answers.
        address: see `parse_address`.
        connections: at once; further ones are told to come back later (503).
        name: of the thread.
        proxy_headers: whether whoever is connected from this machine may say that it asks for another address.

    Raises:
        SettingsError: the address cannot be listened on; AddressTakenError where somebody else does.
        ValueError: it is no address.
    """
    host, port = parse_address(address)
    listener = _listen(host, port)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            http=_PromptProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,  # addresses may hold secrets
            server_header=False,
            proxy_headers=proxy_headers,
            limit_concurrency=connections,
            timeout_graceful_shutdown=_END_SECONDS,
        )
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name=name, daemon=True)
    thread.start()
    shown = f"[{host}]" if ":" in host else host
    try:
        yield WebServer(server, f"http://{shown}:{listener.getsockname()[1]}")
    finally:
        server.should_exit = True
        thread.join(2 * _END_SECONDS)
        listener.close()


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of "127.0.0.1:8300", "[::1]:8300" or ":8300", which is localhost.

    Raises:
        ValueError: it is no such address.
    """
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname or "127.0.0.1", parts.port
    except ValueError:
        host, port = "", None
    if port is None or not host or f"//{text}" != f"//{parts.netloc}" or set(text) & set(" @"):
        raise ValueError(f"expected HOST:PORT, for example 127.0.0.1:8300, found {text!r}")
    return host, port


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # Those that are accepted inherit it.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
            listener.bind(place)
            listener.listen(_WAITING)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        refusal = AddressTakenError if error.errno == errno.EADDRINUSE else SettingsError
        raise refusal(f"{host}:{port} cannot be listened on ({error.strerror or error})") from None
    return listener


class _PromptProtocol(H11Protocol):
    """HTTP/1.1 as uvicorn has it; whoever begins a request and does not end it in time takes nobody's place for long.

    That an idle connection is closed between two requests is uvicorn's own.
    """

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._await_request()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state in {h11.IDLE, h11.SEND_BODY}:
            self._await_request()
        else:
            self._cancel_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_deadline()
        super().connection_lost(exc)

    def _await_request(self) -> None:
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().call_later(_REQUEST_SECONDS, self.transport.abort)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
