"""What a person said of an event: that it was right, that it was none, or that no more is wanted for a while.

CloudEvents 1.0, binary mode. A link counts once: its answers have one id, made of the event and the channel, and of
several records with one id the first on the topic counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, Self, cast, get_args

from stream import Headers

from . import fields
from .fields import RecordError
from .prediction import content_id, rfc3339

#: What a link asks for.
Answer = Literal["right", "false", "snooze"]
ANSWERS: Final = get_args(Answer)
#: What may be said; `withdrawn`, by hand only, takes back what was said by hand before.
Said = Literal["right", "false", "snooze", "withdrawn"]
SAID: Final = get_args(Said)
TYPE: Final = "clipline.verdict"


def link_id(event: str, channel: str, answer: Answer) -> str:
    """Name what a link asks: whether an event was right, or whether more is wanted, of whom a channel reaches."""
    return content_id(event, channel, "snooze" if answer == "snooze" else "verdict")


@dataclass(frozen=True, slots=True)
class Verdict:
    """One answer about an event."""

    #: See `link_id`; of what somebody with access says by hand, one of its own.
    id: str
    answer: Said
    event: str
    camera: str
    label: str
    #: Of the event, as the message told it; event time in microseconds since the Unix epoch.
    start_us: int
    end_us: int
    #: When it was answered; wall clock.
    time_us: int
    #: Through which channel the link went; None where it was given by hand.
    channel: str | None
    #: Of a snooze: until when nothing more is told; wall clock.
    until_us: int | None = None
    #: Who gave it by hand, where that is known.
    by: str | None = None

    def body(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "answer": self.answer,
            "event": self.event,
            "camera": self.camera,
            "label": self.label,
            "start": rfc3339(self.start_us),
            "end": rfc3339(self.end_us),
            "time": rfc3339(self.time_us),
            "channel": self.channel,
            "until": None if self.until_us is None else rfc3339(self.until_us),
            "by": self.by,
        }

    def encode(self) -> tuple[bytes, Headers, bytes]:
        """Return record key, headers and value."""
        headers = {
            "ce_specversion": "1.0",
            "ce_id": self.id,
            "ce_type": TYPE,
            "ce_source": self.camera,
            "ce_subject": self.event,
            "ce_time": rfc3339(self.time_us),
            "content-type": "application/json",
        }
        return (
            self.camera.encode(),
            [(name, text.encode()) for name, text in headers.items()],
            fields.to_json(self.body()).encode(),
        )

    @classmethod
    def decode(cls, key: bytes | None, value: bytes | None, where: str) -> Self:
        """Read a record back. `where` names the record in errors (topic, partition, offset).

        Raises:
            RecordError: the record is no verdict, or damaged.
        """
        body = fields.json_object(value, where)
        found = cls(
            id=fields.field(body, "id", str, where),
            answer=cast(Said, fields.one_of(body, "answer", frozenset(SAID), where)),
            event=fields.field(body, "event", str, where),
            camera=fields.field(body, "camera", str, where),
            label=fields.field(body, "label", str, where),
            start_us=fields.time_us(body, "start", where),
            end_us=fields.time_us(body, "end", where),
            time_us=fields.time_us(body, "time", where),
            channel=fields.optional(body, "channel", str, where),
            until_us=None if body.get("until") is None else fields.time_us(body, "until", where),
            # Records of earlier versions do not say it.
            by=fields.optional(body, "by", str, where),
        )
        if key != found.camera.encode():
            raise RecordError(f"{where}: expected its camera {found.camera!r} as key, found {key!r}")
        if (found.answer == "snooze") != (found.until_us is not None):
            raise RecordError(f"{where}: expected a time 'until' if, and only if, the answer is 'snooze'")
        if found.answer == "withdrawn" and found.channel is not None:
            raise RecordError(f"{where}: expected the answer 'withdrawn' by hand only, found {found.channel!r}")
        return found
