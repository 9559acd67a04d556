"""The processes behind embedded services, for tests that kill and stop them."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream.services import Service

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")


def keeper_of(service: Service) -> int:
    assert service._running is not None
    return service._running[1]._process.pid


def server_of(service: Service) -> int:
    """The server that the keeper holds."""
    keeper = keeper_of(service)
    (server,) = Path(f"/proc/{keeper}/task/{keeper}/children").read_text().split()
    return int(server)
