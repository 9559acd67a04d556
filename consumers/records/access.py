"""Who may come in beside those whom the settings name: shares of events; and who may not any more: ended sessions.

Topic `clipline.access`, compacted. What is over is deleted from it.

    key               value
    share/ID          a share: whoever has its token sees one event, until it expires or is revoked (a tombstone)
    session/ID        a session that has been logged out of, until it would have ended by itself
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Self

from stream import Headers

from . import fields
from .fields import RecordError
from .prediction import rfc3339

_VERSION: Final = 1
_HEADERS: Final[Headers] = [("content-type", b"application/json")]
SHARE: Final = b"share/"
SESSION: Final = b"session/"


@dataclass(frozen=True, slots=True)
class Share:
    """A link to one event. Times are wall clock, in microseconds since the Unix epoch."""

    id: str
    #: SHA-256 of the token, "sha256:…"; the token itself is nowhere but in the link.
    token: str
    event: str
    camera: str
    #: Who made it.
    by: str
    created_us: int
    expires_us: int

    @property
    def key(self) -> bytes:
        return SHARE + self.id.encode()

    def body(self) -> dict[str, Any]:
        return {
            "clipline": _VERSION,
            "id": self.id,
            "token": self.token,
            "event": self.event,
            "camera": self.camera,
            "by": self.by,
            "created": rfc3339(self.created_us),
            "expires": rfc3339(self.expires_us),
        }

    def encode(self) -> tuple[bytes, Headers, bytes]:
        """Return record key, headers and value (JSON)."""
        return self.key, _HEADERS, fields.to_json(self.body()).encode()

    @classmethod
    def decode(cls, key: bytes | None, value: bytes | None, where: str) -> Self:
        """Read a record back. `where` names the record in errors (topic, partition, offset).

        Raises:
            RecordError: the record is no share, or damaged.
        """
        body = fields.json_object(value, where)
        found = cls(
            id=fields.field(body, "id", str, where),
            token=fields.field(body, "token", str, where),
            event=fields.field(body, "event", str, where),
            camera=fields.field(body, "camera", str, where),
            by=fields.field(body, "by", str, where),
            created_us=fields.time_us(body, "created", where),
            expires_us=fields.time_us(body, "expires", where),
        )
        _check_key(key, found.key, where)
        return found


@dataclass(frozen=True, slots=True)
class EndedSession:
    """A session that somebody has logged out of."""

    #: See `Session.id`: says nothing of what the session's cookie holds.
    id: str
    #: When it would have ended by itself, at the latest.
    expires_us: int

    @property
    def key(self) -> bytes:
        return SESSION + self.id.encode()

    def body(self) -> dict[str, Any]:
        return {"clipline": _VERSION, "id": self.id, "expires": rfc3339(self.expires_us)}

    def encode(self) -> tuple[bytes, Headers, bytes]:
        """Return record key, headers and value (JSON)."""
        return self.key, _HEADERS, fields.to_json(self.body()).encode()

    @classmethod
    def decode(cls, key: bytes | None, value: bytes | None, where: str) -> Self:
        """Read a record back; raises RecordError."""
        body = fields.json_object(value, where)
        found = cls(fields.field(body, "id", str, where), fields.time_us(body, "expires", where))
        _check_key(key, found.key, where)
        return found


def _check_key(key: bytes | None, expected: bytes, where: str) -> None:
    if key != expected:
        raise RecordError(f"{where}: expected the key {expected.decode(errors='replace')!r}, found {key!r}")
