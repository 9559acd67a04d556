"""A drill from its first segment to the last recipient."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from consumers.outputs.names import Names
from consumers.settings import Settings
from consumers.topics import ensure_topic_of_deliveries
from stream import BrokerError, Consumer, Pace, SourceError, Transport, drill_id

from . import diagnosis
from .clip import DrillClip
from .course import Course

_POLL_SECONDS: Final = 0.1

#: Where a drill ended that did not come through.
Missing = Literal["segment", "prediction", "event", "notification", "acknowledgement"]


@dataclass(frozen=True, slots=True)
class Drill:
    """What is to be done."""

    camera: str
    #: File or folder of the clip.
    footage: str
    pace: Pace = "realtime"
    #: How long the next station is waited for.
    timeout_seconds: float = 60.0
    #: How long somebody is waited for who says that he saw it; not at all, if None.
    acknowledge_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class DrillResult:
    """What came of it."""

    course: Course
    camera: str
    partition: int
    #: The station that was not reached, and why; None where the drill came through.
    missing: Missing | None = None
    why: str | None = None
    #: Whether it was told to stop.
    stopped: bool = False

    @property
    def refused(self) -> list[str]:
        """Channels through which an alarm would not have got."""
        return [name for name in self.course.wanting() if self.course.is_refused(name)]

    @property
    def passed(self) -> bool:
        """Whether an alarm would have reached whoever is to be told now."""
        return self.missing is None and not self.refused and not self.stopped

    def body(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "camera": self.camera,
            "partition": self.partition,
            "passed": self.passed,
            "missing": self.missing,
            "why": self.why,
            **self.course.body(),
        }


def run_drill(
    transport: Transport,
    settings: Settings,
    drill: Drill,
    stop: Callable[[], bool],
    hear: Callable[[Course], None] = lambda _: None,
) -> DrillResult:
    """Send the clip, and follow it to whoever is told.

    Args:
        transport: the broker.
        settings: topics, the workers' group and the channels.
        drill: what is to be done.
        stop: asked often.
        hear: told how far it has come, several times a second.

    Raises:
        SourceError: the camera is not known, or the clip cannot be read.
        BrokerError: the broker is away, or nothing was ever sent to it.
    """
    if unknown := Names(settings).unknown(transport, [drill.camera], []):
        raise SourceError(unknown[0])
    topics = settings.topics
    wanted = [topics.segments, topics.predictions, topics.events, topics.deadletter]
    if missing := sorted(set(wanted) - set(transport.existing(wanted))):
        raise BrokerError(f"topic {missing[0]} does not exist: no worker was ever at work here (`clipline work`)")
    if settings.channels:
        ensure_topic_of_deliveries(transport, topics, settings.notify.keep_days * 24)
    course = Course(drill_id(drill.camera, secrets.token_hex(4)), topics, settings.channels)
    with (
        contextlib.closing(_followed(transport, settings)) as follower,
        DrillClip(transport, settings, drill.footage, course.id, drill.pace, course.segments.append) as clip,
    ):
        end_before = transport.offsets(topics.segments)[topics.segments, clip.partition][1]
        desk = _Desk(transport, settings, drill, course, clip, follower, end_before)
        result = desk.follow(stop, hear)
        clip.stop()
        desk.see_end()
    return result


class _Desk:
    """One drill under way."""

    def __init__(
        self,
        transport: Transport,
        settings: Settings,
        drill: Drill,
        course: Course,
        clip: DrillClip,
        follower: Consumer,
        end_before: int,
    ) -> None:
        self._transport, self._settings, self._drill, self._course = transport, settings, drill, course
        self._clip, self._follower, self._end_before = clip, follower, end_before

    def follow(self, stop: Callable[[], bool], hear: Callable[[Course], None]) -> DrillResult:
        """Until it has come through, or the next station has been waited for for too long."""
        course, moved_at, told_at = self._course, time.monotonic(), None
        before = self._reached()
        while not stop():
            self._poll()
            hear(course)
            now = time.monotonic()
            if (reached := self._reached()) != before:
                before, moved_at = reached, now
            if self._clip.error is not None:
                raise self._clip.error
            if course.reports and not course.awaited():
                told_at = now if told_at is None else told_at
                wait = self._drill.acknowledge_seconds
                if wait is None or not course.unacknowledged():
                    return self._result()
                if now - told_at >= wait:
                    names = ", ".join(course.unacknowledged())
                    return self._result("acknowledgement", f"nobody has acknowledged it within {wait:g} s: {names}")
            elif now - self._since(moved_at) >= self._drill.timeout_seconds:
                return self._result(*self._why())
        return self._result(stopped=True)

    def _since(self, moved_at: float) -> float:
        """When waiting for the next station began: while the clip lasts, an event may come later in it."""
        if not self._course.predictions or self._course.reports:
            return moved_at
        ended_at = self._clip.ended_at
        return time.monotonic() if ended_at is None else max(moved_at, ended_at)

    def _why(self) -> tuple[Missing, str]:
        course = self._course
        if not course.segments:
            return "segment", "no segment of the clip is on the topic"
        if not course.predictions:
            why = diagnosis.no_prediction(
                self._transport, self._settings, course, self._clip.partition, self._end_before
            )
            return "prediction", why
        if not course.reports:
            rules = diagnosis.rules_of(self._transport, self._settings, course)
            return "event", diagnosis.no_event(course, rules)
        return "notification", diagnosis.not_told(course)

    def see_end(self) -> None:
        """Wait for the end of its events, for a while: then nothing is left of it."""
        until = time.monotonic() + min(10.0, self._drill.timeout_seconds)
        while self._course.reports and not self._course.has_ended and time.monotonic() < until:
            self._poll()

    def _poll(self) -> None:
        for record in self._follower.poll(_POLL_SECONDS).records:
            self._course.take(record)

    def _reached(self) -> tuple[int, ...]:
        """Grows when another station is reached."""
        course = self._course
        return bool(course.segments), bool(course.predictions), bool(course.reports), len(course.entries)

    def _result(self, missing: Missing | None = None, why: str | None = None, *, stopped: bool = False) -> DrillResult:
        return DrillResult(self._course, self._drill.camera, self._clip.partition, missing, why, stopped)


def _followed(transport: Transport, settings: Settings) -> Consumer:
    """What comes from now on, of all topics on which a drill shows."""
    topics = settings.topics
    names = [topics.predictions, topics.events, topics.deadletter, *([topics.deliveries] if settings.channels else [])]
    return transport.follow({p: end for name in names for p, (_, end) in transport.offsets(name).items()})
