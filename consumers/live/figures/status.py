"""How a worker is doing: when each camera was heard of last, how late its results are, and the newest events."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from consumers.live.drills import without_drills
from consumers.live.feed_guard import FeedGuard
from consumers.live.handover.locating import EventLocator
from consumers.live.pipeline import Outcome, Pipeline, ScoredWindow
from consumers.records.event import Event
from stream import Partition, Record, Segment, drilled

from .accounts import CameraCounts
from .snapshot import CameraSnapshot, WorkerSnapshot

#: Latencies kept for the percentiles.
_LATENCIES: Final = 10_000
#: Events kept to be shown.
_NEWEST_EVENTS: Final = 100
#: Cameras that fell silent and are still shown; the longest silent leave first.
_SILENT_KNOWN: Final = 1024


@dataclass(slots=True)
class CameraStatus:
    """A camera that the worker has."""

    #: Where its records come from.
    partition: Partition
    locator: EventLocator
    guard: FeedGuard = field(default_factory=FeedGuard)
    #: When the last one was taken, `time.monotonic()`.
    last_seen: float = 0.0
    #: Wall seconds from the newest classified segment's arrival on the topic to its predictions.
    behind_seconds: float | None = None
    last_event: Event | None = None
    #: The newest segment was the end of the feed.
    ended: bool = False
    #: When it was last said that segments of another feed are left out, `time.monotonic()`.
    other_feed_told: float = float("-inf")
    #: When a segment of an agent was left out that another one has fenced, `time.monotonic()`.
    fenced_at: float | None = None


class WorkerStatus:
    """The cameras that a worker has now, and what it has published. Read by other threads through `snapshot`."""

    def __init__(self) -> None:
        self.cameras: dict[str, CameraStatus] = {}
        #: Cameras that are considered gone, in the order in which they went.
        self._silent: dict[str, CameraStatus] = {}
        self.newest_events: deque[Event] = deque(maxlen=_NEWEST_EVENTS)
        self.events_total = 0
        self._latencies_seconds: deque[float] = deque(maxlen=_LATENCIES)

    def find(self, camera: str) -> CameraStatus | None:
        """A camera that is here, or was until it fell silent."""
        return self.cameras.get(camera) or self._silent.get(camera)

    def seen(self, segment: Segment, record: Record) -> CameraStatus:
        """Note that a camera's next segment was taken.

        It may come on another partition than those before: keys are distributed anew where a topic is given more.
        """
        partition = record.topic, record.partition
        status = self.find(segment.camera) or CameraStatus(partition, EventLocator(partition))
        self._silent.pop(segment.camera, None)
        self.cameras[segment.camera] = status
        if status.partition != partition:
            status.partition, status.locator = partition, EventLocator(partition)
        status.last_seen, status.ended = time.monotonic(), segment.is_end
        status.locator.note(segment, record.offset)
        return status

    def restored(
        self,
        camera: str,
        partition: Partition,
        guard: FeedGuard,
        locator: EventLocator,
        *,
        is_silent: bool,
        ended: bool,
    ) -> None:
        """Note a camera that another worker had."""
        status = CameraStatus(partition, locator, guard, last_seen=time.monotonic(), ended=ended)
        (self._silent if is_silent else self.cameras)[camera] = status

    def silent(self, camera: str) -> str | None:
        """Note that a camera is considered gone; that it was here is still told.

        Return the camera that is not told of any more, if that are too many.
        """
        status = self.cameras.pop(camera)
        status.locator = EventLocator(status.partition)
        self._silent[camera] = status
        if len(self._silent) <= _SILENT_KNOWN:
            return None
        longest = next(iter(self._silent))
        del self._silent[longest]
        return longest

    def forget(self, camera: str) -> None:
        """Tell of a camera no more."""
        self.cameras.pop(camera, None)
        self._silent.pop(camera, None)

    def on(self, partitions: frozenset[Partition]) -> list[str]:
        """The cameras that are here and whose records come on some partitions."""
        return [name for name, status in self.cameras.items() if status.partition in partitions]

    def revoked(self, partitions: frozenset[Partition]) -> None:
        """Forget the cameras of partitions that went to another worker, silent ones, too."""
        for name in self.on(partitions):
            del self.cameras[name]
        self._silent = {name: status for name, status in self._silent.items() if status.partition not in partitions}

    def published(
        self,
        steps: Sequence[Outcome],
        events: Sequence[Event],
        late: Callable[[Record], float],
        told_seconds: Callable[[float], None],
    ) -> None:
        """Note what has just been published.

        Args:
            steps: windows with their scores, and ends of feeds.
            events: what was told of them.
            late: tells for how long a segment has been on its topic, in seconds.
            told_seconds: hears that of each window's newest segment.
        """
        steps = [step for step in steps if drilled(step.camera) is None]
        events = [event for event in events if event.drill is None]
        for step in steps:
            if isinstance(step, ScoredWindow) and step.window.record is not None and step.window.record.sent_us:
                seconds = late(step.window.record)
                self._latencies_seconds.append(seconds)
                told_seconds(seconds)
                if (status := self.find(step.camera)) is not None:
                    status.behind_seconds = seconds
        for event in events:
            if (status := self.find(event.camera)) is not None:
                status.last_event = event
        self.newest_events.extend(events)
        self.events_total += len(events)

    def latency_seconds(self, percentile: float) -> float | None:
        """Wall time from a segment's arrival on the topic to its predictions; None before the first."""
        latencies = list(self._latencies_seconds)
        return float(np.percentile(latencies, percentile)) if latencies else None

    def snapshot(
        self, model: str, alarms: Mapping[str, float], pipeline: Pipeline, lag: int, waiting: int
    ) -> WorkerSnapshot:
        """The worker at this moment; `alarms` are the scores from which labels raise events."""
        now = time.monotonic()
        cameras = []
        for name, status in sorted(without_drills({**self._silent, **self.cameras}).items()):
            counts, state = pipeline.counts.get(name, CameraCounts()), pipeline.cameras.get(name)
            cameras.append(
                CameraSnapshot(
                    camera=name,
                    newest=counts.newest,
                    frames=counts.frames,
                    pending=counts.pending,
                    skipped=Counter(counts.skipped),
                    dead_lettered=counts.dead_lettered,
                    windows=counts.windows,
                    events=counts.events,
                    silent_seconds=now - status.last_seen,
                    behind_seconds=status.behind_seconds,
                    active=tuple(state.tracker.active) if state else (),
                    last_event=status.last_event,
                    ended=status.ended,
                    fenced_seconds=None if status.fenced_at is None else now - status.fenced_at,
                    degraded=state.effort.level if state else 0,
                )
            )
        return WorkerSnapshot(
            model=model,
            cameras=tuple(cameras),
            lag=lag,
            waiting=waiting,
            latency_seconds=self.latency_seconds(50),
            events_total=self.events_total,
            newest_events=tuple(self.newest_events),
            alarms=alarms,
        )
