"""A stretch of a camera's time that is to be known no more: readers leave out what is of it.

Topic `clipline.forgotten`, key = camera/from/to, compacted. Nothing takes a stretch back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Self

from stream import Headers

from . import fields
from .fields import RecordError
from .index.page import camera_of
from .prediction import rfc3339

_VERSION: Final = 1
#: Of who asked, and of why: longer ones are cut.
MAX_CHARACTERS: Final = 500


@dataclass(frozen=True, slots=True)
class Forgotten:
    """One stretch. Event times are microseconds since the Unix epoch."""

    camera: str
    from_us: int
    to_us: int
    #: Wall clock at which somebody asked for it.
    time_us: int
    #: Who did.
    by: str
    why: str | None = None

    @property
    def key(self) -> bytes:
        return f"{self.camera}/{self.from_us}/{self.to_us}".encode()

    def touches(self, start_us: int, end_us: int) -> bool:
        """Whether something that lasts from a time to another has a part of it; also what lasts for no time."""
        return start_us < self.to_us and (end_us > self.from_us or start_us >= self.from_us)

    def described(self) -> str:
        """In words, for whoever asks for what was there."""
        return (
            f"camera {self.camera}, {rfc3339(self.from_us)} to {rfc3339(self.to_us)}: forgotten, as {self.by} asked "
            f"at {rfc3339(self.time_us)[:19]}Z"
        )

    def body(self) -> dict[str, Any]:
        return {
            "clipline": _VERSION,
            "camera": self.camera,
            "from": rfc3339(self.from_us),
            "to": rfc3339(self.to_us),
            "time": rfc3339(self.time_us),
            "by": self.by,
            "why": self.why,
        }

    def encode(self) -> tuple[bytes, Headers, bytes]:
        """Return record key, headers and value (JSON)."""
        return self.key, [("content-type", b"application/json")], fields.to_json(self.body()).encode()

    @classmethod
    def decode(cls, key: bytes | None, value: bytes | None, where: str) -> Self:
        """Read a record back. `where` names the record in errors (topic, partition, offset).

        Raises:
            RecordError: the record is no such stretch, or damaged.
        """
        body = fields.json_object(value, where)
        found = cls(
            camera=camera_of(body, where),
            from_us=fields.time_us(body, "from", where),
            to_us=fields.time_us(body, "to", where),
            time_us=fields.time_us(body, "time", where),
            by=fields.field(body, "by", str, where),
            why=fields.optional(body, "why", str, where),
        )
        if found.from_us >= found.to_us:
            raise RecordError(f"{where}: expected a stretch that begins before it ends")
        if key != found.key:
            raise RecordError(f"{where}: expected the key {found.key.decode()!r}, found {key!r}")
        return found
