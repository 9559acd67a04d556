"""What became of a message to a channel: an entry of the ledger of deliveries. CloudEvents 1.0, binary mode.

    queued ─▶ (sending) ─▶ sent ─▶ acknowledged          held ─▶ covered by the `queued` of a summary
       ▲           │
       └ retrying ◀┴─▶ failed

`sending` is there only where the channel cannot tell a repetition. The entries of one message have one id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, Self, cast, get_args

from stream import Headers

from . import fields
from .event import Event
from .event_pictures import KINDS as PICTURES
from .event_pictures import StoredPicture
from .fields import RecordError
from .prediction import content_id, rfc3339

State = Literal["queued", "sending", "retrying", "sent", "failed", "held", "acknowledged"]
Kind = Literal["event", "condition", "summary", "test"]
STATES: Final = frozenset(get_args(State))
KINDS: Final = frozenset(get_args(Kind))
#: States after which nothing is to be done any more.
OVER: Final = frozenset({"sent", "failed", "acknowledged"})
_TYPE: Final = "clipline.delivery."
_DETAIL_CHARACTERS: Final = 500
#: What is read of entries: what is written next about them has to be stored, too, and summaries name many.
MAX_BYTES: Final = 1024 * 1024
_MAX_CONDITION_BYTES: Final = 16 * 1024
_MAX_ID: Final = 64


@dataclass(frozen=True, slots=True)
class Delivery:
    """One entry: what became of a message at a time."""

    #: Names the message: of the channel and what it is about, the same whenever it is made again.
    id: str
    channel: str
    kind: Kind
    state: State
    #: Wall clock of the entry, in microseconds since the Unix epoch, as all times here.
    time_us: int
    #: From when on it is of no use.
    expires_us: int
    #: What is sent: `type`, `timestamp` and `data`.
    message: Mapping[str, Any]
    #: How often it was tried before this entry, this one included.
    attempt: int = 0
    #: In one word: why it is held, tried again or given up.
    why: str | None = None
    #: What the other side said.
    detail: str | None = None
    #: When it is tried again, or let go.
    due_us: int | None = None
    #: Whether it is the channel that cannot be reached, so that nothing else is tried before `due_us`.
    pauses: bool = False
    #: Of a summary: the ids of what it sums up.
    covers: tuple[str, ...] = ()

    @classmethod
    def about(cls, event: Event, channel: str, *, now_us: int, expires_us: int) -> Self:
        """The first entry of a message about a report of an event."""
        message = {
            "type": event.type,
            "timestamp": rfc3339(event.time_us),
            "data": event.body(),
        }
        id_ = content_id(channel, f"{event.id}-{event.revision}")
        return cls(id_, channel, "event", "queued", now_us, expires_us, message)

    def then(self, state: State, now_us: int, **changes: Any) -> Self:
        """The entry that follows this one."""
        fresh: dict[str, Any] = {"why": None, "detail": None, "due_us": None, "pauses": False, "covers": ()}
        if (detail := changes.get("detail")) is not None:
            changes["detail"] = detail[:_DETAIL_CHARACTERS]
        return replace(self, state=state, time_us=now_us, **{**fresh, **changes})

    @property
    def event(self) -> str | None:
        """The event that it is about, where it is about one."""
        return cast(str | None, self.message.get("data", {}).get("event"))

    @property
    def drill(self) -> str | None:
        """The camera for which it is a drill; None where it is no drill."""
        return cast(str | None, self.message.get("data", {}).get("drill"))

    def body(self) -> dict[str, Any]:
        return {
            "delivery": self.id,
            "channel": self.channel,
            "kind": self.kind,
            "state": self.state,
            "time": rfc3339(self.time_us),
            "expires": rfc3339(self.expires_us),
            "attempt": self.attempt,
            "why": self.why,
            "detail": self.detail,
            "due": None if self.due_us is None else rfc3339(self.due_us),
            "pauses": self.pauses,
            "covers": list(self.covers),
            "message": dict(self.message),
        }

    def encode(self) -> tuple[bytes, Headers, bytes]:
        """Return record key, headers and value."""
        headers = {
            "ce_specversion": "1.0",
            "ce_id": f"{self.id}-{self.state}-{self.attempt}",
            "ce_type": f"{_TYPE}{self.state}",
            "ce_source": self.channel,
            "ce_subject": self.id,
            "ce_time": rfc3339(self.time_us),
            "content-type": "application/json",
        }
        if self.drill is not None:
            headers["ce_drill"] = self.drill
        return (
            self.channel.encode(),
            [(name, text.encode()) for name, text in headers.items()],
            fields.to_json(self.body()).encode(),
        )

    @classmethod
    def decode(cls, key: bytes | None, value: bytes | None, where: str) -> Self:
        """Read a record back. `where` names the record in errors (topic, partition, offset).

        Raises:
            RecordError: the record is of another kind, or damaged.
        """
        body = fields.json_object(value, where)
        found = cls(
            id=fields.field(body, "delivery", str, where),
            channel=fields.field(body, "channel", str, where),
            kind=cast(Kind, fields.one_of(body, "kind", KINDS, where)),
            state=cast(State, fields.one_of(body, "state", STATES, where)),
            time_us=fields.time_us(body, "time", where),
            expires_us=fields.time_us(body, "expires", where),
            attempt=fields.field(body, "attempt", int, where),
            why=fields.optional(body, "why", str, where),
            detail=fields.optional(body, "detail", str, where),
            due_us=None if body.get("due") is None else fields.time_us(body, "due", where),
            pauses=fields.field(body, "pauses", bool, where),
            covers=tuple(
                fields.field({"covers": each}, "covers", str, where)
                for each in fields.field(body, "covers", list, where)
            ),
            message=_message(body, where),
        )
        size, most = len(value or b""), _MAX_CONDITION_BYTES if found.kind == "condition" else MAX_BYTES
        if size > most or len(found.id) > _MAX_ID:
            raise RecordError(f"{where}: expected at most {most} bytes and an id of {_MAX_ID} characters, found {size}")
        if found.state == "held" and found.kind not in {"event", "condition"}:
            raise RecordError(f"{where}: expected an event or a condition to be held, found a {found.kind}")
        if key != found.channel.encode():
            raise RecordError(f"{where}: expected its channel {found.channel!r} as key, found {key!r}")
        return found


#: What stands under `data` of a message, by its kind.
_DATA: Final[Mapping[str, Mapping[str, type]]] = {
    "event": {
        **dict.fromkeys(("event", "state", "camera", "label", "model", "start", "end"), str),
        **dict.fromkeys(("seconds", "peak_score"), float),
    },
    "condition": {**dict.fromkeys(("state", "subject", "name", "status", "since"), str), "seconds": float},
    "summary": {"held": int, "reasons": dict, "counts": list, "first": str, "last": str},
    "test": {},
}
#: What may stand there, whatever it is about.
_OPTIONAL_DATA: Final[Mapping[str, type]] = {"event": str, "drill": str, "until": str, "conditions": int}
#: What of it is read as a time.
_TIMES: Final[Mapping[str, tuple[str, ...]]] = {"event": ("start", "end"), "condition": ("since",)}


def _message(body: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The message of an entry; what others wrote there may not end whoever reads it."""
    message: dict[str, Any] = fields.field(body, "message", dict, where)
    data = fields.field(message, "data", dict, where)
    for name, kind in _DATA[body["kind"]].items():
        fields.field(data, name, kind, where)
    for name, kind in _OPTIONAL_DATA.items():
        fields.optional(data, name, kind, where)
    if (pictures := fields.optional(data, "pictures", dict, where)) is not None:
        _check_pictures(pictures, where)
    for name in _TIMES.get(body["kind"], ()):
        fields.time_us(data, name, where)
    return message


def _check_pictures(said: Mapping[str, Any], where: str) -> None:
    """Raise RecordError where what a message says of pictures is not as records of pictures have it."""
    for kind in PICTURES:
        if said.get(kind) is not None:
            StoredPicture.of(fields.field(said, kind, dict, where), where)
        else:
            why = fields.field(fields.field(said, "missing", dict, where), kind, dict, where)
            fields.field(why, "reason", str, where)
            fields.field(why, "detail", str, where)
