"""An HTTP server in a thread, as events and verdicts are served. Needs the extra `serve`."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from consumers.settings import SettingsError

log = logging.getLogger(__name__)

#: A request has so long to be there as a whole; uvicorn itself waits for ever.
_REQUEST_SECONDS: Final = 10.0
#: What the kernel holds for a client beside what is in flight.
_SEND_BUFFER_BYTES: Final = 128 * 1024
#: Connections that wait to be accepted.
_WAITING: Final = 128
_END_SECONDS: Final = 3
#: Clients that take nothing are looked for so often, in ticks of uvicorn of a tenth of a second.
_LOOK_TICKS: Final = 10
#: Streams let go of their clients by themselves, with words of their own: they are given so much longer here.
_LATER_SECONDS: Final = 2.0
SLOW_SECONDS: Final = 30.0


class AddressTakenError(SettingsError):
    """Somebody listens there already."""


class WebServer:
    """A server that runs."""

    def __init__(self, server: _Server, url: str) -> None:
        self._server = server
        #: Where it is reached, without a path.
        self.url = url

    @property
    def let_go(self) -> int:
        """Clients that were disconnected since they took nothing of what they had asked for."""
        return self._server.let_go

    @property
    def still_seconds(self) -> float:
        """For how long its event loop has not turned: nobody is answered meanwhile."""
        return time.monotonic() - self._server.turned_at

    def abort(self, client: Any) -> None:
        """Close the connection of a client, an address as ASGI has it, without a word."""
        for connection in list(self._server.server_state.connections):
            if getattr(connection, "client", None) == client and (transport := getattr(connection, "transport", None)):
                transport.abort()


@contextlib.contextmanager
def web_server(
    app: ASGIApp,
    address: str,
    connections: int,
    name: str,
    *,
    proxy_headers: bool = True,
    slow_seconds: float = SLOW_SECONDS,
) -> Iterator[WebServer]:
    """Serve `app` at an address while the body runs.

    Args:
        app: what answers.
        address: see `parse_address`.
        connections: at once; further ones are told to come back later (503).
        name: of the thread.
        proxy_headers: whether whoever is connected from this machine may say that it asks for another address.
        slow_seconds: for so long a client may take nothing of what it is sent, or two seconds more.

    Raises:
        SettingsError: the address cannot be listened on; AddressTakenError where somebody else does.
        ValueError: it is no address.
    """
    host, port = parse_address(address)
    listener = _listen(host, port)
    server = _Server(
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
        ),
        slow_seconds + _LATER_SECONDS,
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


class _Server(uvicorn.Server):
    """uvicorn's, which disconnects clients that take nothing: it would wait for them for ever, and with it whoever
    sends, what that one holds, and the connection's place.
    """

    def __init__(self, config: uvicorn.Config, slow_seconds: float) -> None:
        super().__init__(config)
        self._slow_seconds = slow_seconds
        self.let_go = 0
        self.turned_at = time.monotonic()
        #: Of connections on which something waits to be taken: bytes that were, and since when none more was.
        self._waiting: dict[Any, tuple[int, float]] = {}

    async def on_tick(self, counter: int) -> bool:
        self.turned_at = time.monotonic()
        if counter % _LOOK_TICKS == 0:
            self._look(self.turned_at)
        return await super().on_tick(counter)

    def _look(self, now: float) -> None:
        before, self._waiting = self._waiting, {}
        for connection in list(self.server_state.connections):
            sent = getattr(connection, "transport", None)
            if not isinstance(sent, _Counted) or not sent.waiting:
                continue
            taken, since = before.get(connection, (sent.taken, now))
            self._waiting[connection] = sent.taken, (now if sent.taken > taken else since)
            if now - self._waiting[connection][1] >= self._slow_seconds:
                del self._waiting[connection]
                self.let_go += 1
                client = ":".join(map(str, getattr(connection, "client", None) or ("?",)))
                log.warning(
                    "%s: disconnected, it took nothing for %g s of what it had asked for (%d such so far)",
                    *(client, self._slow_seconds, self.let_go),
                )
                sent.abort()


class _Counted:
    """A connection's transport, and how much of what was written was taken: at least by this machine's kernel."""

    def __init__(self, transport: Any) -> None:
        self._transport, self._written = transport, 0

    def write(self, data: bytes) -> None:
        self._written += len(data)
        self._transport.write(data)

    @property
    def waiting(self) -> int:
        size: int = self._transport.get_write_buffer_size()
        return size

    @property
    def taken(self) -> int:
        return self._written - self.waiting

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class _PromptProtocol(H11Protocol):
    """HTTP/1.1 as uvicorn has it; whoever begins a request and does not end it in time takes nobody's place for long.

    That an idle connection is closed between two requests is uvicorn's own.
    """

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        counted: Any = _Counted(transport)
        super().connection_made(counted)
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
