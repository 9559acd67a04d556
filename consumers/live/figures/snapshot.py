"""A worker at one moment, for whoever shows or reports it: the live view, `clipline status`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from consumers.records.event import Event
from consumers.records.prediction import Prediction
from consumers.records.states.away import Away


@dataclass(frozen=True, slots=True)
class CameraSnapshot:
    """One camera of a worker. Frames are counted since the worker started."""

    camera: str
    newest: Prediction | None
    frames: int
    pending: int
    skipped: Counter[str]
    dead_lettered: int
    windows: int
    events: int
    #: Wall seconds since its newest segment was taken.
    silent_seconds: float
    #: Wall seconds from the arrival of the newest classified segment on the topic to its predictions; None before.
    behind_seconds: float | None
    #: Events that go on.
    active: tuple[Event, ...]
    last_event: Event | None
    #: Its newest segment said that the feed has ended: the footage is over, or the camera was lost.
    ended: bool = False
    #: Wall seconds since something of an agent was left out that another one has fenced; None where that never was.
    fenced_seconds: float | None = None
    #: How much less than all of its footage is classified because it is behind: 0 is all, see `LoadChange`.
    degraded: int = 0

    @property
    def classified(self) -> int:
        return self.frames - self.skipped.total() - self.dead_lettered - self.pending


@dataclass(frozen=True, slots=True)
class WorkerSnapshot:
    """A worker and the cameras that it has now, in the order of their names."""

    model: str
    cameras: tuple[CameraSnapshot, ...]
    #: Records that are stored and not yet acknowledged (committed), over the worker's partitions: what a worker that
    #: takes over would have to read.
    lag: int
    #: Median wall time from a segment's arrival on the topic to its predictions; None before the first.
    latency_seconds: float | None
    events_total: int
    #: The newest events, the newest last.
    newest_events: tuple[Event, ...]
    #: By label that raises events: the score from which one may start. Other labels are calm, whatever their score.
    alarms: Mapping[str, float] = field(default_factory=dict)
    #: Those of them that nobody has worked on yet.
    waiting: int = 0
    #: Services that do not answer, and since when.
    awaited: tuple[Away, ...] = ()
    #: Records on the topics that Redis does not show yet, of this process's share.
    redis_behind: int = 0
    #: Segments that the broker deleted before a worker came to them.
    lost_to_retention: int = 0
    #: Numbers of the partitions of segments that it has.
    partitions: tuple[int, ...] = ()
    #: Whether results are stored in transactions, so that each is there exactly once after a kill, too.
    exactly_once: bool = False
