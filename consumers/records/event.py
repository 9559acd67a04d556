"""What subscribers receive: a label that held long enough on one camera, as CloudEvents 1.0.

Kafka's binary mode: the context attributes are `ce_…` headers, the value is the JSON body, the key is the camera.
The body's schema is docs/event.schema.json. Those of drills are of other types, so that whoever does not ask for them
never takes one for an event.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Self, cast, get_args

from stream import Headers, drilled, trace_headers, trace_of

from . import fields
from .fields import OtherRecordError, RecordError
from .prediction import content_id, rfc3339

State = Literal["started", "updated", "ended"]
Ending = Literal["below_threshold", "gap", "feed_ended", "off_schedule", "rule_removed"]
Severity = Literal["alert", "detection"]
Reason = Literal["escalated"]
STATES: Final = frozenset(get_args(State))
ENDINGS: Final = frozenset(get_args(Ending))
SEVERITIES: Final = frozenset(get_args(Severity))
REASONS: Final = frozenset(get_args(Reason))
#: What the types of all reports begin with.
_KIND: Final = b"clipline.event."
_DRILL_KIND: Final = b"clipline.drill."
_REVISION: Final = re.compile(r"[0-9]{1,9}")
#: What bodies of earlier versions lack.
ADDED_KEYS: Final = frozenset({"severity", "rule", "escalated", "reason", "group", "merge_seconds"})
#: What only bodies of drills hold.
DRILL_KEYS: Final = frozenset({"drill"})
#: What a body holds.
BODY_KEYS: Final = frozenset(
    {
        *("event", "state", "camera", "label", "model", "start", "end", "seconds"),
        *("peak_score", "peak", "windows", "ending"),
        *ADDED_KEYS,
    }
)


def event_id(camera: str, epoch_us: int, label: str, start_us: int, model: str) -> str:
    """Name an event by what it is, so that whoever sees it again gives it the same name.

    Args:
        camera: where it was seen.
        epoch_us: the epoch of the feed.
        label: what was seen.
        start_us: begin of the first window in which the label held.
        model: what saw it.
    """
    return content_id(camera, epoch_us, label, start_us, model)


@dataclass(frozen=True, slots=True)
class Event:
    """One report about an event; several with the same `id` tell its course."""

    camera: str
    model: str
    label: str
    state: State
    #: 0 for started, then counting up: with the id it names this report.
    revision: int
    #: See `event_id`.
    id: str
    #: Begin of the first window in which the label held.
    start_us: int
    #: End of the newest window in which it held.
    end_us: int
    peak_score: float
    #: Begin of the window with the peak score.
    peak_us: int
    #: How many windows held it so far.
    windows: int
    #: Why it ended; None while it goes on.
    ending: Ending | None = None
    #: `alert`: somebody is to look. `detection`: it is noted.
    severity: Severity = "alert"
    #: The version of the rules that made this report; None where nothing is known of it.
    rule: str | None = None
    #: Whether it went on for so long that it became more urgent: so in all reports from the one that says it on.
    escalated: bool = False
    #: Why there is this report; None where it is one of its course.
    reason: Reason | None = None
    #: The group of cameras that it was seen in; None where its camera is in none.
    group: str | None = None
    #: Seconds between it and another event of its group that is of the same incident, see `consumers.rules.incidents`.
    merge_seconds: float | None = None
    #: Where the footage of it lies, "topic[partition]@first-last"; None where it comes from no topic. Not a part of
    #: what the event is: the same footage recorded again has other offsets.
    segments: str | None = field(default=None, compare=False)
    #: Its place in a trace, see `stream.child_trace`; None where it belongs to none, as where a feed fell silent.
    trace: str | None = field(default=None, compare=False)
    #: The place of the prediction that let the report be made. Known to who made it: records do not tell.
    cause: str | None = field(default=None, compare=False)

    @property
    def time_us(self) -> int:
        """The event time at which this report became true."""
        return self.end_us

    @property
    def drill(self) -> str | None:
        """The camera for which it is a drill; None where it is no drill."""
        return drilled(self.camera)

    @property
    def type(self) -> str:
        """The CloudEvents type of the report."""
        return f"{(_KIND if self.drill is None else _DRILL_KIND).decode()}{self.state}"

    def body(self) -> dict[str, Any]:
        body = {
            "event": self.id,
            "state": self.state,
            "camera": self.camera,
            "label": self.label,
            "model": self.model,
            "start": rfc3339(self.start_us),
            "end": rfc3339(self.end_us),
            "seconds": round((self.end_us - self.start_us) / 1e6, 6),
            "peak_score": round(self.peak_score, 6),
            "peak": rfc3339(self.peak_us),
            "windows": self.windows,
            "ending": self.ending,
            "severity": self.severity,
            "rule": self.rule,
            "escalated": self.escalated,
            "reason": self.reason,
            "group": self.group,
            "merge_seconds": self.merge_seconds,
        }
        return body if self.drill is None else body | {"drill": self.drill}

    def encode(self) -> tuple[bytes, Headers, bytes]:
        """Return record key, headers and value."""
        headers = {
            "ce_specversion": "1.0",
            "ce_id": f"{self.id}-{self.revision}",
            "ce_type": self.type,
            "ce_source": self.camera,
            "ce_subject": self.label,
            "ce_time": rfc3339(self.time_us),
            "content-type": "application/json",
        }
        if self.segments is not None:
            headers["ce_segments"] = self.segments
        if self.drill is not None:
            headers["ce_drill"] = self.drill
        return (
            self.camera.encode(),
            [*((k, v.encode()) for k, v in headers.items()), *trace_headers(self.trace)],
            fields.to_json(self.body()).encode(),
        )

    @classmethod
    def decode(
        cls, key: bytes | None, headers: Headers, value: bytes | None, where: str, *, drills: bool = False
    ) -> Self:
        """Read a record back. `where` names the record in errors (topic, partition, offset).

        The peak score comes back as it was published, with six decimals.

        Raises:
            OtherRecordError: the record is of another kind, such as a `LoadChange`; or a drill, unless `drills`.
            RecordError: the record is no event, or damaged.
        """
        context = dict(headers)
        kind, is_drill = context.get("ce_type", _KIND), drilled((key or b"").decode(errors="replace")) is not None
        if not kind.startswith(_DRILL_KIND if is_drill and drills else _KIND) or (is_drill and not drills):
            raise OtherRecordError(f"{where}: a {kind.decode(errors='replace')}, which is no event of a camera")
        body = fields.json_object(value, where)
        camera, state = fields.field(body, "camera", str, where), fields.one_of(body, "state", STATES, where)
        ending = None if body.get("ending") is None else fields.one_of(body, "ending", ENDINGS, where)
        if (state == "ended") != (ending is not None):
            raise RecordError(
                f"{where}: expected an ending if, and only if, the state is 'ended', found {ending!r} with {state!r}"
            )
        # Records of earlier versions do not say these.
        severity = fields.one_of({"severity": "alert"} | body, "severity", SEVERITIES, where)
        reason = None if body.get("reason") is None else fields.one_of(body, "reason", REASONS, where)
        if key != camera.encode():
            raise RecordError(f"{where}: expected its camera {camera!r} as key, found {key!r}")
        id_ = fields.field(body, "event", str, where)
        report = context.get("ce_id", b"").decode(errors="replace")
        name, _, revision = report.rpartition("-")
        if name != id_ or not _REVISION.fullmatch(revision):
            raise RecordError(
                f"{where}: expected header ce_id to be {id_!r}, '-' and the report's number, found {report!r}"
            )
        segments = context.get("ce_segments")
        found = cls(
            camera=camera,
            model=fields.field(body, "model", str, where),
            label=fields.field(body, "label", str, where),
            state=cast(State, state),
            revision=int(revision),
            id=id_,
            start_us=fields.time_us(body, "start", where),
            end_us=fields.time_us(body, "end", where),
            peak_score=fields.field(body, "peak_score", float, where),
            peak_us=fields.time_us(body, "peak", where),
            windows=fields.field(body, "windows", int, where),
            ending=cast(Ending | None, ending),
            severity=cast(Severity, severity),
            rule=fields.optional(body, "rule", str, where),
            escalated=fields.optional(body, "escalated", bool, where) or False,
            reason=cast(Reason | None, reason),
            group=fields.optional(body, "group", str, where),
            merge_seconds=fields.optional(body, "merge_seconds", float, where),
            segments=None if segments is None else segments.decode(errors="replace"),
            trace=trace_of(headers),
        )
        if found.end_us < found.start_us:
            raise RecordError(f"{where}: expected its end at or after its start, {body['start']}, found {body['end']}")
        return found
