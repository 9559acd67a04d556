"""Which agent may send a camera: of a camera's records, the one with the highest claim; of equal ones the first.

Topic `clipline.cameras.claims`, key = camera, compacted. An agent writes its claim before its first segment, and each
segment carries the number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Self

from consumers.records.fields import RecordError, field, json_object, to_json
from stream import Headers, check_camera_id

from .process import ProcessInfo

_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class CameraClaim:
    """An agent's claim on a camera."""

    camera: str
    #: Larger than any before, and at least the wall clock in microseconds.
    claim: int
    agent: ProcessInfo
    #: Wall clock in microseconds since the Unix epoch.
    time_us: int

    def body(self) -> dict[str, Any]:
        return {
            "clipline": _VERSION,
            "camera": self.camera,
            "claim": self.claim,
            "agent": self.agent.body(),
            "time_us": self.time_us,
        }

    def encode(self) -> tuple[bytes, Headers, bytes]:
        """Return record key, headers and value (JSON)."""
        return self.camera.encode(), [("content-type", b"application/json")], to_json(self.body()).encode()

    @classmethod
    def decode(cls, value: bytes, where: str) -> Self:
        """The claim that `encode` wrote.

        Raises:
            RecordError: it is none; the message begins with `where`.
        """
        body = json_object(value, where)
        claim = field(body, "claim", int, where)
        if not 0 < claim < 1 << 62:
            raise RecordError(f"{where}: claim {claim}: expected 1 to 2^62")
        try:
            camera = check_camera_id(field(body, "camera", str, where))
        except ValueError as error:
            raise RecordError(f"{where}: {error}") from None
        agent = ProcessInfo.of_body(field(body, "agent", dict, where), f"{where}: agent")
        return cls(camera, claim, agent, field(body, "time_us", int, where))
