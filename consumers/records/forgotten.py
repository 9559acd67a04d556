"""A stretch of a camera's time that is to be known no more: readers leave out what is of it.

Topic `clipline.forgotten`, key = camera/from/to, compacted. Nothing takes a stretch back. Once its events were found,
it is written again, with the ids of those that reach beyond it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from stream import Headers

from . import fields
from .fields import RecordError
from .index.page import camera_of
from .prediction import rfc3339

_VERSION: Final = 1
#: Of why somebody asked.
MAX_CHARACTERS: Final = 500
#: Ids of events that one stretch keeps, and how long each may be: a broker takes a record of 1 MB, this is a tenth.
MAX_EVENTS: Final = 1_000
_ID_CHARACTERS: Final = 100


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
    #: Ids of events of it that also reach beyond it: what was told of them there does not say that it is of it.
    events: tuple[str, ...] = ()
    #: How many further ones there was no room for.
    events_left_out: int = 0

    @property
    def key(self) -> bytes:
        return f"{self.camera}/{self.from_us}/{self.to_us}".encode()

    def touches(self, start_us: int, end_us: int) -> bool:
        """Whether something that lasts from a time to another has a part of it; also what lasts for no time."""
        return start_us < self.to_us and (end_us > self.from_us or start_us >= self.from_us)

    def is_left_by(self, start_us: int, end_us: int) -> bool:
        """Whether something that has a part of it also reaches beyond it."""
        return start_us < self.from_us or end_us > self.to_us

    def with_events(self, found: Iterable[str], room: int = MAX_EVENTS) -> Self:
        """The same, with ids of further events, of which `room` are kept at most; the others are counted."""
        new = sorted(set(found) - set(self.events))
        fitting = [each for each in new if len(each) <= _ID_CHARACTERS]
        kept = fitting[: max(0, min(room, MAX_EVENTS - len(self.events)))]
        return replace(self, events=(*self.events, *kept), events_left_out=len(new) - len(kept))

    def described(self) -> str:
        """In words, for whoever asks for what was there."""
        return (
            f"camera {self.camera}, {rfc3339(self.from_us)} to {rfc3339(self.to_us)}: forgotten, as {self.by} asked "
            f"at {rfc3339(self.time_us)[:19]}Z"
        )

    def explained(self) -> str:
        """Likewise, and why that one asked, if it was written down."""
        return self.described() + (f": {self.why}" if self.why else "")

    def body(self) -> dict[str, Any]:
        events = {"events": list(self.events)} if self.events else {}
        left_out = {"events_left_out": self.events_left_out} if self.events_left_out else {}
        return {
            "clipline": _VERSION,
            "camera": self.camera,
            "from": rfc3339(self.from_us),
            "to": rfc3339(self.to_us),
            "time": rfc3339(self.time_us),
            "by": self.by,
            "why": self.why,
            **events,
            **left_out,
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
        events = _events(body, where)
        found = cls(
            camera=camera_of(body, where),
            from_us=fields.time_us(body, "from", where),
            to_us=fields.time_us(body, "to", where),
            time_us=fields.time_us(body, "time", where),
            by=fields.field(body, "by", str, where),
            why=fields.optional(body, "why", str, where),
            events=events[:MAX_EVENTS],
            events_left_out=(fields.optional(body, "events_left_out", int, where) or 0) + len(events[MAX_EVENTS:]),
        )
        if found.from_us >= found.to_us:
            raise RecordError(f"{where}: expected a stretch that begins before it ends")
        if key != found.key:
            raise RecordError(f"{where}: expected the key {found.key.decode()!r}, found {key!r}")
        return found


def _events(body: dict[str, Any], where: str) -> tuple[str, ...]:
    """None where they were not looked for yet, as of every record of earlier versions."""
    found = fields.optional(body, "events", list, where) or []
    if not all(isinstance(each, str) for each in found):
        raise RecordError(f"{where}: expected events to be ids")
    return tuple(found)
