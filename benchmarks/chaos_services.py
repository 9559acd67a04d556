"""Servers that chaos.py and soak.py run on, and ways to hurt them: brokers behind proxies, Redis, and cameras.

    agents ──▶ proxy ──▶ Apache Kafka (data on disk) ◀── proxy ◀── workers ──▶ Redis
       ▲
       └── films that are served as cameras

What is killed comes back on the same address: brokers with their data, Redis empty.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import selectors
import signal
import socket
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, Self

import av

from stream.services import HOST, ApacheBroker, EmbeddedRedis, Plan

_CHUNK_BYTES: Final = 64 * 1024


class Proxy:
    """A TCP proxy in front of a port of this machine, which can be slow, or refuse and cut everything."""

    def __init__(self, target_port: int = 0) -> None:
        self.target_port = target_port
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._lock = threading.Lock()
        #: Seconds that each chunk waits.
        self.delay_seconds = 0.0
        #: Whether connections are refused.
        self.is_cut = False
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Break every connection, and refuse new ones until `heal`."""
        self.is_cut = True
        with self._lock:
            for pair in list(self._pairs):
                for each in pair:
                    with contextlib.suppress(OSError):
                        each.shutdown(socket.SHUT_RDWR)

    def heal(self) -> None:
        """Carry everything again."""
        self.is_cut = False

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                if self.is_cut:
                    raise OSError  # noqa: TRY301  refused, as where nobody listens
                server = socket.create_connection((HOST, self.target_port), 2)
            except OSError:
                client.close()
                continue
            with self._lock:
                self._pairs.add((client, server))
            threading.Thread(target=self._carry, args=(client, server), daemon=True).start()

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        with client, server, selectors.DefaultSelector() as ready, contextlib.suppress(OSError):
            server.settimeout(None)
            ready.register(client, selectors.EVENT_READ, server)
            ready.register(server, selectors.EVENT_READ, client)
            while True:
                for key, _ in ready.select():
                    source, target = key.fileobj, key.data
                    assert isinstance(source, socket.socket)
                    if not (chunk := source.recv(_CHUNK_BYTES)):
                        raise OSError
                    if self.delay_seconds:
                        time.sleep(self.delay_seconds)
                    target.sendall(chunk)
        with self._lock:
            self._pairs.discard((client, server))


class ProxiedBroker(ApacheBroker):
    """A node of Apache Kafka that tells its clients to come through a proxy; it can be killed and started again."""

    def __init__(
        self,
        data_dir: Path,
        proxy: Proxy,
        *,
        node: int = 1,
        controllers: Sequence[int] = (),
        cluster: str | None = None,
    ) -> None:
        """Prepare.

        Args:
            data_dir: of this node.
            proxy: through which clients and other nodes reach it.
            node: its number, from 1 on.
            controllers: ports of the controllers of all nodes, where there are several.
            cluster: its id, where there are several nodes.
        """
        super().__init__(data_dir)
        self._proxy, self._node, self._controllers, self._cluster = proxy, node, controllers, cluster

    @property
    def proxied_address(self) -> str:
        return f"{HOST}:{self._proxy.port}"

    def ports(self, count: int) -> tuple[int, ...]:
        port, controller = super().ports(count)
        return port, self._controllers[self._node - 1] if self._controllers else controller

    def _new_cluster(self) -> str:
        return self._cluster or super()._new_cluster()

    def plan(self) -> Plan:
        plan = super().plan()
        self._proxy.target_port = plan.ports[0]
        (name, properties), *_ = plan.job.files.items()
        told = {
            "advertised.listeners": f"PLAINTEXT://{self.proxied_address}",
            # A node that was killed may come back once its session is over; 9 s by default.
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
        }
        commands = plan.job.commands
        if (nodes := len(self._controllers)) > 1:
            voters = (f"{number}@{HOST}:{port}" for number, port in enumerate(self._controllers, 1))
            told |= {"node.id": str(self._node), "controller.quorum.voters": ",".join(voters)}
            told |= {"default.replication.factor": str(nodes), "min.insync.replicas": str(nodes - 1)}
            told |= {"replica.lag.time.max.ms": "3000"}
            for topic in ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic"):
                told[f"{topic}.replication.factor"] = str(nodes)
            told |= {
                f"{topic}.min.isr": str(nodes - 1)
                for topic in ("transaction.state.log", "share.coordinator.state.topic")
            }
            commands = tuple(tuple(part.replace("-Xmx512m", "-Xmx256m") for part in each) for each in commands)
        lines = "".join(f"{key}={value}\n" for key, value in told.items())
        return replace(plan, job=replace(plan.job, commands=commands, files={name: properties + lines}))

    def kill(self) -> None:
        """SIGKILL for the broker, and for nobody else; its data stays."""
        assert self._running is not None
        keeper = self._running[1]._process.pid  # noqa: SLF001  nobody else wants to hurt it
        for child in children(keeper):
            os.kill(child, signal.SIGKILL)
        self.ended()
        self.__exit__(None, None, None)


class Brokers:
    """One broker or several, each behind a proxy of its own. Use as a context manager."""

    def __init__(self, folder: Path, count: int) -> None:
        self.proxies = [Proxy() for _ in range(count)]
        cluster = urlsafe_b64encode(b"\0" + secrets.token_bytes(15)).decode().rstrip("=")
        controllers = _free_ports(count) if count > 1 else ()
        self.nodes = [
            ProxiedBroker(folder / f"kafka-{number}", proxy, node=number, controllers=controllers, cluster=cluster)
            for number, proxy in enumerate(self.proxies, 1)
        ]
        self._starts = ThreadPoolExecutor(count)
        self._down: set[int] = set()

    @property
    def address(self) -> str:
        """What clients are told, through the proxies."""
        return ",".join(node.proxied_address for node in self.nodes)

    @property
    def are_up(self) -> bool:
        return not self._down

    def kill(self, number: int, seconds: float) -> bool:
        """Kill a node, and start it again after `seconds`, by a thread; False where one is down already."""
        if self._down:
            return False
        self._down.add(number)
        self.nodes[number].kill()

        def restart() -> None:
            time.sleep(seconds)
            self.nodes[number].__enter__()
            self._down.discard(number)

        self._restart = self._starts.submit(restart)
        return True

    def look(self) -> None:
        """Raise what a node's restart raised."""
        if self._down and self._restart.done():
            self._restart.result()

    def cut(self) -> None:
        for proxy in self.proxies:
            proxy.cut()

    def slow(self, seconds: float) -> None:
        """Let each chunk wait."""
        for proxy in self.proxies:
            proxy.delay_seconds = seconds

    def heal(self) -> None:
        for proxy in self.proxies:
            proxy.heal()

    def __enter__(self) -> Self:
        # All at once: a node answers when most of them are there.
        list(self._starts.map(lambda node: node.__enter__(), self.nodes))
        return self

    def __exit__(self, *_: object) -> None:
        self._starts.shutdown(wait=True)
        for node, proxy in zip(self.nodes, self.proxies, strict=True):
            with contextlib.suppress(AssertionError):  # it did not come back
                node.__exit__(None, None, None)
            proxy.close()


class KillableRedis(EmbeddedRedis):
    """Redis on one port, which comes back empty."""

    def kill(self) -> None:
        assert self._running is not None
        for child in children(self._running[1]._process.pid):  # noqa: SLF001  as above
            os.kill(child, signal.SIGKILL)
        port = self._running[0].ports[0]
        self.ended()
        self.__exit__(None, None, None)
        self._wanted_port = port


def children(process: int) -> list[int]:
    """The processes that a process has started."""
    listed = Path(f"/proc/{process}/task/{process}/children").read_text("ascii")
    return [int(each) for each in listed.split()]


class LiveFeeds:
    """Films that are served as cameras: without end, each in its own time, as an MPEG transport stream by HTTP."""

    def __init__(self, films: Sequence[Path]) -> None:
        self._server = ThreadingHTTPServer((HOST, 0), _handler({film.stem: film for film in films}))
        self._server.daemon_threads = True
        #: All viewers come through here.
        self.proxy = Proxy(self._server.server_port)

    def url(self, film: Path) -> str:
        return f"http://{HOST}:{self.proxy.port}/{film.stem}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self.proxy.close()


def _handler(films: dict[str, Path]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "video/mp2t")
            self.end_headers()
            with contextlib.suppress(OSError, av.error.FFmpegError):
                _send_without_end(films[self.path.strip("/")], self.wfile.write)

        def log_message(self, *_: object) -> None: ...

    return Handler


class _Pipe:
    """What libav writes to: it can neither seek nor be asked where it is."""

    def __init__(self, write: Callable[[bytes], Any]) -> None:
        self.write = write


def _send_without_end(film: Path, write: Callable[[bytes], Any]) -> None:
    began, next_dts = time.monotonic(), 0
    with av.open(_Pipe(write), "w", format="mpegts", options={"flush_packets": "1"}) as sent:
        track: av.VideoStream | None = None
        while True:
            with av.open(str(film)) as source:
                found, shift = source.streams.video[0], None
                track = track or sent.add_stream_from_template(found)
                assert found.time_base is not None
                for packet in source.demux(found):
                    if packet.dts is None or packet.pts is None:
                        continue
                    shift = next_dts - packet.dts if shift is None else shift
                    packet.dts, packet.pts = packet.dts + shift, packet.pts + shift
                    next_dts = packet.dts + (packet.duration or 0)
                    time.sleep(max(0.0, began + float(packet.dts * found.time_base) - time.monotonic()))
                    packet.stream = track
                    sent.mux(packet)


def _free_ports(count: int) -> tuple[int, ...]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server((HOST, 0))) for _ in range(count)]
        return tuple(each.getsockname()[1] for each in sockets)
