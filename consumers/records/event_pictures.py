"""What follows a report of an event: where its pictures lie, or why there are none. CloudEvents 1.0, binary mode.

On a topic of its own (ADR 38). The same report gives the same id, however often its pictures are made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Self, cast, get_args

from stream import Headers

from . import fields
from .event import STATES, Event, State
from .fields import RecordError
from .prediction import rfc3339

TYPE: Final = "clipline.pictures"
Kind = Literal["peak", "strip"]
Reason = Literal["no_footage", "retention", "undecodable", "too_large", "too_slow", "given_up", "redis", "broker"]
KINDS: Final = get_args(Kind)
REASONS: Final = frozenset(get_args(Reason))


@dataclass(frozen=True, slots=True)
class StoredPicture:
    """One picture, WebP, as it lies in Redis."""

    key: str
    width: int
    height: int
    bytes: int
    #: Event times of the frames in it, in the order in which they are read; one of a peak.
    frames_us: tuple[int, ...]
    #: Which part of the camera's picture the frames show: left, top, width, height as shares of it.
    region: tuple[float, float, float, float]

    def body(self) -> dict[str, Any]:
        return {
            "key": self.key,
            "media_type": "image/webp",
            "width": self.width,
            "height": self.height,
            "bytes": self.bytes,
            "frames": [rfc3339(time_us) for time_us in self.frames_us],
            "region": [round(share, 4) for share in self.region],
        }

    @classmethod
    def of(cls, body: Mapping[str, Any], where: str) -> Self:
        """Read a body back; raises RecordError."""
        times, region = fields.field(body, "frames", list, where), fields.field(body, "region", list, where)
        if len(region) != 4:
            raise RecordError(f"{where}: expected four numbers as region, found {len(region)}")
        return cls(
            key=fields.field(body, "key", str, where),
            width=fields.field(body, "width", int, where),
            height=fields.field(body, "height", int, where),
            bytes=fields.field(body, "bytes", int, where),
            frames_us=tuple(fields.time_us({"frames": time}, "frames", where) for time in times),
            region=cast(
                tuple[float, float, float, float],
                tuple(fields.field({"region": share}, "region", float, where) for share in region),
            ),
        )


@dataclass(frozen=True, slots=True)
class Missing:
    """A picture that could not be made, and why."""

    reason: Reason
    #: In words.
    detail: str


@dataclass(frozen=True, slots=True)
class EventPictures:
    """The pictures of one report of an event."""

    event: str
    #: Of the report that they are of.
    revision: int
    state: State
    camera: str
    label: str
    #: Event time of the report.
    time_us: int
    peak: StoredPicture | Missing
    strip: StoredPicture | Missing
    #: How long Redis keeps them.
    keep_seconds: int

    @classmethod
    def following(
        cls, event: Event, peak: StoredPicture | Missing, strip: StoredPicture | Missing, keep_seconds: int
    ) -> Self:
        """What follows `event`."""
        return cls(
            event.id,
            event.revision,
            event.state,
            event.camera,
            event.label,
            event.time_us,
            peak,
            strip,
            keep_seconds,
        )

    @property
    def id(self) -> str:
        return f"{self.event}-{self.revision}-pictures"

    def body(self) -> dict[str, Any]:
        pictures: dict[str, StoredPicture | Missing] = {"peak": self.peak, "strip": self.strip}
        return {
            "event": self.event,
            "revision": self.revision,
            "state": self.state,
            "camera": self.camera,
            "label": self.label,
            **{kind: p.body() if isinstance(p, StoredPicture) else None for kind, p in pictures.items()},
            "missing": {
                kind: {"reason": p.reason, "detail": p.detail} for kind, p in pictures.items() if isinstance(p, Missing)
            },
            "keep_seconds": self.keep_seconds,
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
        key, value = self.camera.encode(), fields.to_json(self.body()).encode()
        return key, [(name, text.encode()) for name, text in headers.items()], value

    @classmethod
    def decode(cls, key: bytes | None, headers: Headers, value: bytes | None, where: str) -> Self:
        """Read a record back. `where` names the record in errors (topic, partition, offset).

        Raises:
            RecordError: the record is of another kind, or damaged.
        """
        context = dict(headers)
        if context.get("ce_type") != TYPE.encode():
            raise RecordError(f"{where}: expected a {TYPE}")
        body = fields.json_object(value, where)
        camera = fields.field(body, "camera", str, where)
        if key != camera.encode():
            raise RecordError(f"{where}: expected its camera {camera!r} as key, found {key!r}")
        missing = fields.field(body, "missing", dict, where)

        def picture(kind: Kind) -> StoredPicture | Missing:
            if body.get(kind) is not None:
                return StoredPicture.of(fields.field(body, kind, dict, where), where)
            why = fields.field(missing, kind, dict, where)
            return Missing(
                cast(Reason, fields.one_of(why, "reason", REASONS, where)), fields.field(why, "detail", str, where)
            )

        return cls(
            event=fields.field(body, "event", str, where),
            revision=fields.field(body, "revision", int, where),
            state=cast(State, fields.one_of(body, "state", STATES, where)),
            camera=camera,
            label=fields.field(body, "label", str, where),
            time_us=fields.time_us({"ce_time": context.get("ce_time", b"").decode(errors="replace")}, "ce_time", where),
            peak=picture("peak"),
            strip=picture("strip"),
            keep_seconds=fields.field(body, "keep_seconds", int, where),
        )
