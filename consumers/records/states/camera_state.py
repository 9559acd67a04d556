"""How a camera is doing, as its agent says it: the newest record of a camera is its state.

Topic `clipline.cameras.state`, key = camera, sent on change and every few seconds. A record that grows old means that
the agent died without a word. The camera's address is in none of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Self, get_args

from consumers.records.fields import RecordError, field, json_object, one_of, optional, to_json
from stream import FeedState, FeedStatus, Headers, check_sent_id

from .process import ProcessInfo

STATUSES: Final = frozenset(get_args(FeedStatus))
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class DiskTrouble:
    """An agent cannot keep segments on disk, where they wait while the broker is away."""

    #: In a few words.
    why: str
    #: Since when; wall clock in microseconds since the Unix epoch.
    since_us: int


@dataclass(frozen=True, slots=True)
class CameraState:
    """A camera's feed, the agent that reads it, and when the agent said so."""

    feed: FeedState
    agent: ProcessInfo
    #: Wall clock in microseconds since the Unix epoch.
    time_us: int
    #: Of the agent; None where all is well, and where it keeps none or is of an earlier version.
    disk: DiskTrouble | None = None
    #: Segments of all of the agent's cameras that wait on its disk for the broker; None where it does not say.
    spooled: int | None = None

    def body(self) -> dict[str, Any]:
        return {
            "clipline": _VERSION,
            "camera": self.feed.camera,
            "status": self.feed.status,
            "since_us": self.feed.since_us,
            "why": self.feed.why,
            "data_us": self.feed.data_us,
            "segments": self.feed.segments,
            "frames": self.feed.frames,
            "bytes": self.feed.bytes,
            "frames_per_second": self.feed.frames_per_second,
            "codec": self.feed.codec,
            "width": self.feed.width,
            "height": self.feed.height,
            "end_us": self.feed.end_us,
            "drift_ppm": self.feed.drift_ppm,
            "agent": self.agent.body(),
            "time_us": self.time_us,
            "disk": None if self.disk is None else {"why": self.disk.why, "since_us": self.disk.since_us},
            "spooled": self.spooled,
            "code": self.feed.code,
            "failed": self.feed.has_failed,
        }

    def encode(self) -> tuple[bytes, Headers, bytes]:
        """Return record key, headers and value (JSON)."""
        return self.feed.camera.encode(), [("content-type", b"application/json")], to_json(self.body()).encode()

    @classmethod
    def decode(cls, value: bytes, where: str) -> Self:
        """The state that `encode` wrote.

        Raises:
            RecordError: it is none; the message begins with `where`.
        """
        body = json_object(value, where)
        status = one_of(body, "status", STATUSES, where)
        return cls(
            FeedState(
                camera=_camera(body, where),
                status=status,  # type: ignore[arg-type]  # one of STATUSES
                since_us=field(body, "since_us", int, where),
                why=optional(body, "why", str, where),
                data_us=optional(body, "data_us", int, where),
                segments=field(body, "segments", int, where),
                frames=field(body, "frames", int, where),
                bytes=field(body, "bytes", int, where),
                frames_per_second=field(body, "frames_per_second", float, where),
                codec=field(body, "codec", str, where),
                width=field(body, "width", int, where),
                height=field(body, "height", int, where),
                # Agents of earlier versions do not say these.
                end_us=optional(body, "end_us", int, where) or 0,
                drift_ppm=optional(body, "drift_ppm", int, where) or 0,
                code=optional(body, "code", str, where),
                has_failed=optional(body, "failed", bool, where) or False,
            ),
            ProcessInfo.of_body(field(body, "agent", dict, where), f"{where}: agent"),
            field(body, "time_us", int, where),
            _disk(optional(body, "disk", dict, where), f"{where}: disk"),
            optional(body, "spooled", int, where),
        )


def _camera(body: dict[str, Any], where: str) -> str:
    """An id that others can name: who asks for all cameras must not fail at one that nobody may ask for."""
    try:
        return check_sent_id(field(body, "camera", str, where))
    except ValueError as error:
        raise RecordError(str(error) if isinstance(error, RecordError) else f"{where}: {error}") from None


def _disk(body: dict[str, Any] | None, where: str) -> DiskTrouble | None:
    if body is None:
        return None
    return DiskTrouble(field(body, "why", str, where), field(body, "since_us", int, where))
