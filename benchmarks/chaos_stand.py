"""Everything that a run of chaos.py needs to stand: a broker, a Redis, agents and workers, and ways to hurt them.

    agents ──▶ proxy ──▶ Apache Kafka (data on disk) ◀── proxy ◀── workers ──▶ Redis

Processes are the real commands, `clipline attach` and `clipline work`, each in a group of its own. Whatever ends by
itself is started again, as a supervisor would, and counted.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Final

from stream.services import HOST, ApacheBroker, EmbeddedRedis, Plan

_CHUNK_BYTES: Final = 64 * 1024
_REPOSITORY: Final = Path(__file__).resolve().parents[1]


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
        """Carry everything again, at once."""
        self.is_cut, self.delay_seconds = False, 0.0

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
    """Apache Kafka that tells its clients to come through a proxy, and that can be killed and started again."""

    #: It reads its logs again, on a machine that is busy with all else.
    _deadline_seconds = 180.0

    def __init__(self, data_dir: Path, proxy: Proxy) -> None:
        super().__init__(data_dir)
        self._proxy = proxy

    @property
    def proxied_address(self) -> str:
        return f"{HOST}:{self._proxy.port}"

    def plan(self) -> Plan:
        plan = super().plan()
        self._proxy.target_port = plan.ports[0]
        (name, properties), *_ = plan.job.files.items()
        told = f"advertised.listeners=PLAINTEXT://{self.proxied_address}\n"
        return replace(plan, job=replace(plan.job, files={name: properties + told}))

    def kill(self) -> None:
        """SIGKILL for the broker, and for nobody else; its data stays."""
        assert self._running is not None
        keeper = self._running[1]._process.pid  # noqa: SLF001  nobody else wants to hurt it
        for child in children(keeper):
            os.kill(child, signal.SIGKILL)
        self.ended()
        self.__exit__(None, None, None)


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


@dataclass(slots=True)
class Command:
    """A command of ours that is to run: started again when it ends, until it may."""

    name: str
    arguments: list[str]
    settings: Path
    log_folder: Path
    #: Footage that ends: exit status 0 is its end.
    ends: bool = False
    process: subprocess.Popen[bytes] | None = None
    #: How often it ended without having been hurt.
    endings: int = 0
    hurt: bool = False
    finished: bool = False
    _log: IO[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        self._log = self._log or (self.log_folder / f"{self.name}.log").open("ab")
        environment = os.environ | {"PYTHONPATH": str(_REPOSITORY), "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
        self.hurt = False
        self.process = subprocess.Popen(
            [sys.executable, "-m", "consumers.cli", *self.arguments, "--settings", str(self.settings)],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
            env=environment,
            cwd=self.log_folder,
        )

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def signal(self, number: int) -> None:
        if self.process is not None and self.runs:
            self.process.send_signal(number)

    def kill(self) -> None:
        if self.runs:
            self.hurt = True
            self.signal(signal.SIGKILL)
            assert self.process is not None
            self.process.wait()

    def end(self, seconds: float = 30.0) -> bool:
        """SIGTERM; False where it had to be killed after `seconds`."""
        if not self.runs:
            return True
        assert self.process is not None
        self.hurt = True
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return False
        return True

    def look(self) -> None:
        """Start it again where it has ended and should not have."""
        if self.finished or self.process is None or self.runs:
            return
        if self.ends and self.process.returncode == 0:
            self.finished = True
            return
        self.endings += not self.hurt
        self.start()
