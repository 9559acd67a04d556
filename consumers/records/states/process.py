"""Which process a record is of."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from consumers import __version__
from consumers.records.fields import field

#: How often processes send their state at least.
HEARTBEAT_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """An agent or worker, as the records that it sends name it."""

    #: Names it among all machines. Stays the same when a supervisor starts it again.
    id: str
    host: str
    pid: int
    version: str
    #: Wall clock in microseconds since the Unix epoch.
    started_us: int

    @classmethod
    def current(cls, id: str | None = None) -> Self:  # noqa: A002  the record's own word
        """Describe this process; its host and number are its name unless `id` is given."""
        host = platform.node() or "localhost"
        return cls(id or f"{host}-{os.getpid()}", host, os.getpid(), __version__, time.time_ns() // 1000)

    def body(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "host": self.host,
            "pid": self.pid,
            "version": self.version,
            "started_us": self.started_us,
        }

    @classmethod
    def of_body(cls, body: Mapping[str, Any], where: str) -> Self:
        """The process that `body` made.

        Raises:
            RecordError: something is missing or of another kind.
        """
        return cls(
            field(body, "id", str, where),
            field(body, "host", str, where),
            field(body, "pid", int, where),
            field(body, "version", str, where),
            field(body, "started_us", int, where),
        )
