"""What subscribers are told of a camera of which less, or all again, is classified: CloudEvents 1.0.

On the topic of events, in Kafka's binary mode; the type is `clipline.worker.degraded`. Readers of events leave it out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, Self, cast, get_args

from stream import Headers

from . import fields
from .fields import RecordError
from .prediction import content_id, rfc3339

TYPE: Final = "clipline.worker.degraded"
Change = Literal["entered", "changed", "left"]


@dataclass(frozen=True, slots=True)
class LoadChange:
    """From a segment on, less than before is made of a camera's footage, or more."""

    camera: str
    epoch_us: int
    #: Event time at which the segment begins.
    time_us: int
    policy: str
    #: 0 where everything is classified again; more is less, see `[load]` in docs/configuration.md.
    level: int
    change: Change
    #: Wall seconds that the segment had waited when this was decided.
    behind_seconds: float = field(compare=False)

    @property
    def id(self) -> str:
        return content_id(self.camera, self.epoch_us, self.time_us, "load", self.level)

    def encode(self) -> tuple[bytes, Headers, bytes]:
        """Return record key, headers and value."""
        headers = {
            "ce_specversion": "1.0",
            "ce_id": self.id,
            "ce_type": TYPE,
            "ce_source": self.camera,
            "ce_subject": self.policy,
            "ce_time": rfc3339(self.time_us),
            "content-type": "application/json",
        }
        body = {
            "camera": self.camera,
            "epoch_us": self.epoch_us,
            "time": rfc3339(self.time_us),
            "policy": self.policy,
            "level": self.level,
            "change": self.change,
            "behind_seconds": round(self.behind_seconds, 1),
        }
        return self.camera.encode(), [(k, v.encode()) for k, v in headers.items()], fields.to_json(body).encode()

    @classmethod
    def decode(cls, key: bytes | None, headers: Headers, value: bytes | None, where: str) -> Self:
        """Read a record back. `where` names the record in errors (topic, partition, offset).

        Raises:
            RecordError: the record is of another kind, or damaged.
        """
        if dict(headers).get("ce_type") != TYPE.encode():
            raise RecordError(f"{where}: expected a {TYPE}")
        body = fields.json_object(value, where)
        camera = fields.field(body, "camera", str, where)
        if key != camera.encode():
            raise RecordError(f"{where}: expected its camera {camera!r} as key, found {key!r}")
        return cls(
            camera=camera,
            epoch_us=fields.field(body, "epoch_us", int, where),
            time_us=fields.time_us(body, "time", where),
            policy=fields.field(body, "policy", str, where),
            level=fields.field(body, "level", int, where),
            change=cast(Change, fields.one_of(body, "change", frozenset(get_args(Change)), where)),
            behind_seconds=fields.field(body, "behind_seconds", float, where),
        )
