"""How a worker is doing, as it says itself: the newest record of a worker is its state.

Topic `clipline.workers.state`, key = worker, sent every few seconds. A record that grows old means that the worker died
without a word.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, Self, get_args

from consumers.records.fields import RecordError, field, json_object, one_of, optional, to_json
from stream import Headers

from .away import Away
from .process import ProcessInfo

Status = Literal["working", "ended"]
STATUSES: Final = frozenset(get_args(Status))
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class WorkerCamera:
    """One camera of a worker."""

    camera: str
    #: Frames in and not yet accounted for.
    pending: int
    #: Wall seconds since its newest segment was taken.
    silent_seconds: float
    #: Wall seconds from the arrival of the newest classified segment on the topic to its predictions; None before.
    behind_seconds: float | None
    #: The newest window's label, its score and its end in event time; None before the first.
    label: str | None
    score: float | None
    window_end_us: int | None
    #: Labels of the events that go on.
    events: tuple[str, ...] = ()
    #: Frames of agents that were fenced, and wall seconds since the newest of them; None where there are none.
    fenced: int = 0
    fenced_seconds: float | None = None
    #: How much less than all of its footage is classified because it is behind; 0 is all.
    degraded: int = 0


@dataclass(frozen=True, slots=True)
class WorkerState:
    """A worker, what it serves and the cameras that it has, in the order of their names."""

    worker: ProcessInfo
    status: Status
    group: str
    model: str
    engine: str
    cameras: tuple[WorkerCamera, ...]
    #: Records that are stored and not yet acknowledged, over the worker's partitions.
    lag: int
    #: When the worker said so: wall clock in microseconds since the Unix epoch.
    time_us: int
    #: Those that nobody has worked on yet; None where the worker does not say.
    waiting: int | None = None
    #: Labels that raise events; none where the model has no thresholds. None: an older worker does not say.
    alarms: tuple[str, ...] | None = None
    #: Services that do not answer, and since when, in words.
    awaited: tuple[str, ...] = ()
    #: The same, as what the words are made of; older workers do not say.
    away: tuple[Away, ...] = ()
    #: Records on the topics that Redis does not show yet, of the worker's share.
    redis_behind: int | None = None
    #: Segments that the broker deleted before a worker came to them; None where the worker does not say.
    lost_to_retention: int | None = None
    #: The name that it keeps over restarts and machines; None where it has none.
    instance: str | None = None
    #: Numbers of the partitions of segments that it has; None where the worker does not say.
    partitions: tuple[int, ...] | None = None
    #: Whether results are stored in transactions; None where the worker does not say.
    exactly_once: bool | None = None

    @property
    def name(self) -> str:
        """What it is called where people read it."""
        return self.worker.id if self.instance is None else f"{self.instance} ({self.worker.id})"

    def body(self) -> dict[str, Any]:
        return {
            "clipline": _VERSION,
            "worker": self.worker.body(),
            "status": self.status,
            "group": self.group,
            "model": self.model,
            "engine": self.engine,
            "lag": self.lag,
            "waiting": self.waiting,
            "cameras": [
                {
                    "camera": c.camera,
                    "pending": c.pending,
                    "silent_seconds": round(c.silent_seconds, 3),
                    "behind_seconds": None if c.behind_seconds is None else round(c.behind_seconds, 3),
                    "label": c.label,
                    "score": c.score,
                    "window_end_us": c.window_end_us,
                    "events": list(c.events),
                    "fenced": c.fenced,
                    "fenced_seconds": None if c.fenced_seconds is None else round(c.fenced_seconds, 3),
                    "degraded": c.degraded,
                }
                for c in self.cameras
            ],
            "alarms": None if self.alarms is None else list(self.alarms),
            "awaited": list(self.awaited),
            "away": [each.body() for each in self.away],
            "redis_behind": self.redis_behind,
            "lost_to_retention": self.lost_to_retention,
            "instance": self.instance,
            "partitions": None if self.partitions is None else list(self.partitions),
            "exactly_once": self.exactly_once,
            "time_us": self.time_us,
        }

    def encode(self) -> tuple[bytes, Headers, bytes]:
        """Return record key, headers and value (JSON)."""
        return self.worker.id.encode(), [("content-type", b"application/json")], to_json(self.body()).encode()

    @classmethod
    def decode(cls, value: bytes, where: str) -> Self:
        """The state that `encode` wrote.

        Raises:
            RecordError: it is none; the message begins with `where`.
        """
        body = json_object(value, where)
        status = one_of(body, "status", STATUSES, where)
        return cls(
            worker=ProcessInfo.of_body(field(body, "worker", dict, where), f"{where}: worker"),
            status=status,  # type: ignore[arg-type]  # one of STATUSES
            group=field(body, "group", str, where),
            model=field(body, "model", str, where),
            engine=field(body, "engine", str, where),
            cameras=tuple(
                _camera(c, f"{where}: camera {n}") for n, c in enumerate(field(body, "cameras", list, where))
            ),
            lag=field(body, "lag", int, where),
            waiting=optional(body, "waiting", int, where),
            time_us=field(body, "time_us", int, where),
            # Workers of earlier versions say none of it.
            alarms=None if body.get("alarms") is None else _texts(body, "alarms", where),
            awaited=() if body.get("awaited") is None else _texts(body, "awaited", where),
            away=_away(body, where),
            redis_behind=optional(body, "redis_behind", int, where),
            lost_to_retention=optional(body, "lost_to_retention", int, where),
            instance=optional(body, "instance", str, where),
            partitions=_numbers(body, "partitions", where),
            exactly_once=optional(body, "exactly_once", bool, where),
        )


def _numbers(body: dict[str, Any], name: str, where: str) -> tuple[int, ...] | None:
    found = optional(body, name, list, where)
    if found is None:
        return None
    if not all(isinstance(each, int) and not isinstance(each, bool) for each in found):
        raise RecordError(f"{where}: {name}: expected whole numbers, found {repr(found)[:80]}")
    return tuple(found)


def _away(body: dict[str, Any], where: str) -> tuple[Away, ...]:
    found = optional(body, "away", list, where) or []
    return tuple(Away.of_body(each, f"{where}: away {number}") for number, each in enumerate(found))


def _texts(body: dict[str, Any], name: str, where: str) -> tuple[str, ...]:
    return tuple(str(text) for text in field(body, name, list, where))


def _camera(body: Any, where: str) -> WorkerCamera:
    if not isinstance(body, dict):
        raise RecordError(f"{where}: expected an object, found {repr(body)[:80]}")
    return WorkerCamera(
        camera=field(body, "camera", str, where),
        pending=field(body, "pending", int, where),
        silent_seconds=field(body, "silent_seconds", float, where),
        behind_seconds=optional(body, "behind_seconds", float, where),
        label=optional(body, "label", str, where),
        score=optional(body, "score", float, where),
        window_end_us=optional(body, "window_end_us", int, where),
        events=_texts(body, "events", where),
        # Workers of earlier versions do not say.
        fenced=optional(body, "fenced", int, where) or 0,
        fenced_seconds=optional(body, "fenced_seconds", float, where),
        degraded=optional(body, "degraded", int, where) or 0,
    )
