"""Which process a record is of."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self, TypeVar

from consumers import __version__

#: How often processes send their state at least.
HEARTBEAT_SECONDS: Final = 5.0

_T = TypeVar("_T")


class RecordError(ValueError):
    """A record is not what its topic holds; the message says where it lies and what is wrong with it."""


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


def json_object(value: bytes, where: str) -> dict[str, Any]:
    """A record's value as the JSON object that it has to be.

    Raises:
        RecordError: it is not JSON, or another thing than an object.
    """
    try:
        body = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{where}: not JSON ({error})") from None
    if not isinstance(body, dict):
        raise RecordError(f"{where}: expected a JSON object, found {repr(body)[:80]}")
    return body


def field(body: Mapping[str, Any], name: str, kind: type[_T], where: str) -> _T:
    """The value of `name`, which has to be a `kind` (an int will do for a float).

    Raises:
        RecordError: it is missing or of another kind.
    """
    value = body.get(name)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)  # type: ignore[return-value]
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        found = "nothing" if name not in body else repr(value)[:80]
        raise RecordError(f"{where}: expected {name} to be of type {kind.__name__}, found {found}")
    return value


def optional(body: Mapping[str, Any], name: str, kind: type[_T], where: str) -> _T | None:
    """As `field`, where null and absence are None."""
    return None if body.get(name) is None else field(body, name, kind, where)
