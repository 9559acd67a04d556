"""The port of a worker or agent: /metrics for Prometheus, and the probes /livez and /readyz.

    GET /metrics   200, in Prometheus' text format
    GET /livez     200 while the main loop turns, else 503: whoever supervises the process ends it
    GET /readyz    200 while it does its work, else 503: the text says what it waits for

There is no password and nothing secret: names of cameras, addresses without credentials, numbers.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Protocol

from prometheus_client import (
    CollectorRegistry,
    Metric,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from consumers.settings import MetricsSettings, SettingsError

log = logging.getLogger(__name__)

#: Who does not send its question within so long is hung up on, and so many may ask at once.
_QUESTION_SECONDS: Final = 5.0
_ASK_AT_ONCE: Final = 16
_TEXT: Final = "text/plain; charset=utf-8"


class Monitor(Protocol):
    """What the port tells of a process. Asked by several threads."""

    def collect(self) -> Iterable[Metric]:
        """Its metrics."""

    def stuck(self) -> str | None:
        """Why it does not live any more, in words; None while it does."""

    def awaited(self) -> Iterable[str]:
        """What it waits for before it does its work, in words."""

    def notes(self) -> Iterable[str]:
        """What else is to be known, though it does its work."""


@contextlib.contextmanager
def endpoint(settings: MetricsSettings, monitor: Monitor) -> Iterator[str | None]:
    """Listen while the body runs, where a port is set; yield the address, "http://host:port".

    Raises:
        SettingsError: the port cannot be listened on.
    """
    if settings.port is None:
        yield None
        return
    # A series more for each counter, and nobody asks for it.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    registry.register(_MonitorCollector(monitor))
    ProcessCollector(registry=registry)
    try:
        server = _Server(settings.host, settings.port, registry, monitor)
    except OSError as error:
        reason = error.strerror or str(error)
        raise SettingsError(f"metrics.port: {settings.host}:{settings.port} cannot be listened on ({reason})") from None
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    try:
        yield f"http://{settings.host}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class _MonitorCollector(Collector):
    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor

    def describe(self) -> Iterable[Metric]:
        return ()  # asked when it is registered: nothing is collected for that

    def collect(self) -> Iterable[Metric]:
        return self._monitor.collect()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, host: str, port: int, registry: CollectorRegistry, monitor: Monitor) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._places = threading.BoundedSemaphore(_ASK_AT_ONCE)
        self.answers: dict[str, Callable[[], tuple[int, str, bytes]]] = {
            "/metrics": lambda: (200, CONTENT_TYPE_LATEST, generate_latest(registry)),
            "/livez": lambda: _probe("live", [why] if (why := monitor.stuck()) is not None else [], ()),
            "/readyz": lambda: _probe("ready", list(monitor.awaited()), monitor.notes()),
        }
        super().__init__((host, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  the library's
        # Who hangs up asks again.
        if not isinstance(error := sys.exception(), OSError):
            log.error("metrics or a probe could not be answered", exc_info=error)


def _probe(word: str, awaited: list[str], notes: Iterable[str]) -> tuple[int, str, bytes]:
    lines = [*(awaited or [word]), *notes]
    return (503 if awaited else 200), _TEXT, "".join(f"{line}\n" for line in lines).encode()


class _Handler(BaseHTTPRequestHandler):
    timeout = _QUESTION_SECONDS
    server: _Server
    server_version, sys_version = "clipline", ""

    def do_GET(self) -> None:
        answer = self.server.answers.get(self.path.partition("?")[0])
        known = ", ".join(self.server.answers)
        status, kind, body = answer() if answer else (404, _TEXT, f"known are {known}\n".encode())
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815  the library's name

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the library's name
        """Say nothing: somebody asks every few seconds."""
