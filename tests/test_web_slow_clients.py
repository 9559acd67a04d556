"""Whoever takes nothing of what was asked for is let go in time, whatever it was: nothing is held for ever."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

pytest.importorskip("uvicorn")

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from consumers import web_server as server_module
from consumers.web_server import WebServer, web_server
from tests.waiting import eventually

#: More than kernels hold for a client.
LARGE = 1 << 24


class Held(StreamingResponse):
    """Goes on and on, and holds something as long as somebody is sent it."""

    held = 0

    def __init__(self) -> None:
        super().__init__(self._pieces())

    async def _pieces(self) -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 100_000
            await asyncio.sleep(0)

    async def __call__(self, *given: object) -> None:
        type(self).held += 1
        try:
            await super().__call__(*given)  # type: ignore[arg-type]
        finally:
            type(self).held -= 1


async def endless(_request: Request) -> Response:
    return Held()


async def whole(_request: Request) -> Response:
    return Response(b"x" * LARGE)


@contextmanager
def serving(monkeypatch: pytest.MonkeyPatch, slow_seconds: float) -> Iterator[WebServer]:
    monkeypatch.setattr(server_module, "_LATER_SECONDS", 0.0)
    monkeypatch.setattr(server_module, "_LOOK_TICKS", 1)
    app = Starlette(routes=[Route("/endless", endless), Route("/whole", whole)])
    with web_server(app, "127.0.0.1:0", 50, "slow", slow_seconds=slow_seconds) as server:
        yield server


@contextmanager
def asking(url: str, path: str) -> Iterator[socket.socket]:
    """A client that has asked for something, and does not hold much of it."""
    parts = urlsplit(url)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(30)
        client.connect((parts.hostname, parts.port))
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
        yield client


@pytest.mark.parametrize("path", ["/endless", "/whole"])
def test_a_client_that_takes_nothing_is_let_go_counted_and_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    with serving(monkeypatch, 0.5) as server, asking(server.url, path) as client:
        assert client.recv(10)
        began = time.monotonic()
        assert eventually(lambda: server.let_go == 1)
        assert time.monotonic() - began > 0.4
        assert eventually(lambda: Held.held == 0)
        host, port = client.getsockname()
        assert eventually(lambda: f"{host}:{port}: disconnected, it took nothing for 0.5 s" in caplog.text)
        assert eventually(lambda: not server._server.server_state.connections)
        with contextlib.suppress(ConnectionError):  # an end, or a reset
            while client.recv(1 << 16):
                pass
    assert "Traceback" not in caplog.text


def taken(client: socket.socket, seconds: float) -> int:
    """Take some of what comes, slowly."""
    total, until = 0, time.monotonic() + seconds
    while time.monotonic() < until:
        total += len(client.recv(1 << 16))
        time.sleep(0.01)
    return total


@pytest.mark.parametrize("path", ["/endless", "/whole"])
def test_a_client_that_takes_something_is_not_though_it_takes_long(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    # Kernels take more once a third of what they hold has gone.
    with serving(monkeypatch, 1.5) as server, asking(server.url, path) as client:
        assert taken(client, 4.0) > 0
        assert server.let_go == 0


def test_whoever_has_got_everything_and_asks_for_nothing_more_is_none_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(monkeypatch, 0.3) as server, asking(server.url, "/nothing") as client:
        assert b"404" in client.recv(1000)
        time.sleep(1.0)
        assert server.let_go == 0
