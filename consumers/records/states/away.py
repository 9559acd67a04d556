"""A service that does not answer, and since when: in words, and as what they are made of."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any, Self

from consumers.records.fields import RecordError, field


@dataclass(frozen=True, slots=True)
class Away:
    """It does not answer; as text: `Kafka at broker:9092 since 08:00:00 UTC`."""

    #: As Kafka or Redis.
    service: str
    #: Without passwords.
    address: str
    #: Wall clock in microseconds since the Unix epoch.
    since_us: int

    def __str__(self) -> str:
        place = f"{self.service} at {self.address}" if self.address else self.service
        return f"{place} since {dt.datetime.fromtimestamp(self.since_us / 1e6, dt.UTC):%H:%M:%S} UTC"

    def body(self) -> dict[str, Any]:
        return {"service": self.service, "address": self.address, "since_us": self.since_us}

    @classmethod
    def of_body(cls, body: Any, where: str) -> Self:
        """What `body` wrote.

        Raises:
            RecordError: it is none; the message begins with `where`.
        """
        if not isinstance(body, dict):
            raise RecordError(f"{where}: expected an object, found {repr(body)[:80]}")
        return cls(
            service=field(body, "service", str, where),
            address=field(body, "address", str, where),
            since_us=field(body, "since_us", int, where),
        )
