"""Who changed what through the HTTP API. CloudEvents 1.0, binary mode.

An entry is on its topic before the change is made: there may be one without its change, where a process was killed
between the two, and never a change without one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, Self, cast, get_args

from stream import Headers

from . import fields
from .prediction import rfc3339

#: How somebody was known: by a token, by a password, by the word of a proxy or of an OpenID provider, or as whoever is
#: at this machine.
Way = Literal["token", "password", "proxy", "oidc", "local"]
WAYS: Final = frozenset(get_args(Way))
TYPE: Final = "clipline.audit"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change that somebody asked for."""

    id: str
    #: Wall clock, in microseconds since the Unix epoch.
    time_us: int
    #: Who: the name of a token or user.
    actor: str
    way: Way
    role: str
    #: From where, as far as that is known.
    address: str
    #: What: "verdict.give", "verdict.withdraw" …
    action: str
    #: Of what: the id of what was changed, such as an event.
    subject: str
    #: The camera that it belongs to; None where to none.
    camera: str | None
    #: What it was changed to, in one word where there is one.
    value: str | None

    def body(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "time": rfc3339(self.time_us),
            "actor": self.actor,
            "way": self.way,
            "role": self.role,
            "address": self.address,
            "action": self.action,
            "subject": self.subject,
            "camera": self.camera,
            "value": self.value,
        }

    def encode(self) -> tuple[bytes, Headers, bytes]:
        """Return record key, headers and value."""
        headers = {
            "ce_specversion": "1.0",
            "ce_id": self.id,
            "ce_type": TYPE,
            "ce_source": self.actor,
            "ce_subject": self.subject,
            "ce_time": rfc3339(self.time_us),
            "content-type": "application/json",
        }
        return (
            self.actor.encode(),
            [(name, text.encode()) for name, text in headers.items()],
            fields.to_json(self.body()).encode(),
        )

    @classmethod
    def decode(cls, key: bytes | None, value: bytes | None, where: str) -> Self:
        """Read a record back. `where` names the record in errors (topic, partition, offset).

        Raises:
            RecordError: the record is no such entry, or damaged.
        """
        body = fields.json_object(value, where)
        found = cls(
            id=fields.field(body, "id", str, where),
            time_us=fields.time_us(body, "time", where),
            actor=fields.field(body, "actor", str, where),
            way=cast(Way, fields.one_of(body, "way", WAYS, where)),
            role=fields.field(body, "role", str, where),
            address=fields.field(body, "address", str, where),
            action=fields.field(body, "action", str, where),
            subject=fields.field(body, "subject", str, where),
            camera=fields.optional(body, "camera", str, where),
            value=fields.optional(body, "value", str, where),
        )
        if key != found.actor.encode():
            raise fields.RecordError(f"{where}: expected its actor {found.actor!r} as key, found {key!r}")
        return found
