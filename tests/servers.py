"""Ports of servers, and the processes behind embedded services, for tests that kill and stop them."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest

from stream.services import Service
from stream.services.processes import is_taken

#: Below those that the system gives to whoever wants any: nobody gets one of ours while its server is started again.
_PORTS = itertools.cycle(random.SystemRandom().sample(range(10_000, 32_000), 22_000))
needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")


def free_ports(count: int) -> tuple[int, ...]:
    """Ports that are free, and stay so for whoever asked first."""
    return tuple(itertools.islice((port for port in _PORTS if not is_taken(port)), count))


def free_port() -> int:
    (port,) = free_ports(1)
    return port


def keeper_of(service: Service) -> int:
    assert service._running is not None
    return service._running[1]._process.pid


def server_of(service: Service) -> int:
    """The server that the keeper holds."""
    keeper = keeper_of(service)
    (server,) = Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()
    return int(server)
