"""How far a drill has come, as the topics show it. Pure: records in, stations out.

    segment ─▶ decoded ─▶ classified ─▶ prediction ─▶ event ─▶ queued ─▶ sent ─▶ acknowledged
                                                               └── for each channel ──┘

Shown are the times of what let the event be reported: its deciding window, and the segment that completed that one.
They are the clocks of the processes that did it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from consumers.notifying.plan import wants
from consumers.records.delivery import OVER, Delivery
from consumers.records.event import Event
from consumers.records.fields import RecordError
from consumers.records.prediction import Prediction
from consumers.settings import TopicSettings
from consumers.settings.sections.notifying import ChannelSettings
from stream import Record

Name = Literal[
    "segment", "decoded", "classified", "prediction", "event", "queued", "sent", "acknowledged", "not told", "failed"
]
#: Why a channel is not told of a drill, and somebody wants it so.
INTENDED: Final = frozenset({"drill", "quiet", "snoozed", "digest", "unanswered"})
#: What entries of a channel say, in this order.
_TOLD: Final[tuple[Literal["queued", "failed", "sent", "acknowledged"], ...]] = (
    "queued",
    "failed",
    "sent",
    "acknowledged",
)


@dataclass(frozen=True, slots=True)
class Station:
    """One that was reached."""

    name: Name
    #: Wall clock, in microseconds since the Unix epoch.
    time_us: int
    channel: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """A segment of the clip that is on the topic."""

    #: Event time at which it ends.
    end_us: int
    #: Wall clock at which the broker had stored it.
    time_us: int


@dataclass(slots=True)
class Course:
    """Of one drill."""

    #: The name under which it travels.
    id: str
    topics: TopicSettings
    channels: Mapping[str, ChannelSettings]
    #: The clip's segments, in their order.
    segments: list[Stored] = field(default_factory=list)
    #: Predictions and the wall clock at which each was sent.
    predictions: list[tuple[Prediction, int]] = field(default_factory=list)
    reports: list[tuple[Event, int]] = field(default_factory=list)
    #: Entries about the drill, in the order in which they came.
    entries: list[Delivery] = field(default_factory=list)
    #: Why segments became dead letters.
    letters: list[str] = field(default_factory=list)

    def take(self, record: Record) -> bool:
        """Take what was read from a topic; whether it is about the drill."""
        with contextlib.suppress(RecordError):
            return self._take(record)
        return False

    def _take(self, record: Record) -> bool:
        if record.topic == self.topics.deliveries:
            entry = Delivery.decode(record.key, record.value, record.where)
            is_ours = entry.drill is not None and entry.message["data"].get("camera") == self.id
            if is_ours:
                self.entries.append(entry)
            return is_ours
        if record.key != self.id.encode():
            return False
        parts = record.key, record.headers, record.value, record.where
        if record.topic == self.topics.deadletter:
            self.letters.append(dict(record.headers).get("clipline-reason", b"").decode(errors="replace"))
        elif record.topic == self.topics.predictions:
            self.predictions.append((Prediction.decode(*parts, drills=True), record.sent_us))
        elif record.topic == self.topics.events:
            self.reports.append((Event.decode(*parts, drills=True), record.sent_us))
        return True

    @property
    def event(self) -> Event | None:
        """The first report."""
        return self.reports[0][0] if self.reports else None

    @property
    def has_ended(self) -> bool:
        """Whether all events of the drill are over."""
        started = {event.id for event, _ in self.reports}
        return started == {event.id for event, _ in self.reports if event.state == "ended"}

    def wanting(self) -> list[str]:
        """Channels that events like this one are told through, by the settings; none before there is one."""
        return [] if self.event is None else [n for n, each in self.channels.items() if _would_want(each, self.event)]

    def awaited(self) -> list[str]:
        """Of those, the ones of which nothing is known yet, or that have not got the message yet."""
        over = {entry.channel for entry in self.entries if entry.state in OVER}
        return [name for name in self.wanting() if name not in over]

    def unacknowledged(self) -> list[str]:
        """Channels through which it was told, and nobody has said that he saw it."""
        seen = {entry.channel for entry in self.entries if entry.state == "acknowledged"}
        told = dict.fromkeys(entry.channel for entry in self.entries if entry.state == "sent")
        return [name for name in told if name not in seen]

    def newest(self, channel: str) -> Delivery | None:
        """The newest entry about the drill in a channel."""
        return next((entry for entry in reversed(self.entries) if entry.channel == channel), None)

    def most_tried(self, channel: str) -> Delivery | None:
        """The entry in a channel that was tried most often, the newest of several: later events of the clip wait."""
        return max(reversed([e for e in self.entries if e.channel == channel]), key=lambda e: e.attempt, default=None)

    def is_refused(self, channel: str) -> bool:
        """Whether an alarm would not have got through a channel, and nobody wants it so."""
        failed = [e for e in self.entries if e.channel == channel and e.state == "failed" and e.why not in INTENDED]
        return bool(failed) and not any(e.channel == channel and e.state == "sent" for e in self.entries)

    def best_scores(self) -> dict[str, float]:
        """By label: the highest score that a window of the clip got."""
        best: dict[str, float] = {}
        for prediction, _ in self.predictions:
            for label, score in prediction.scores.items():
                best[label] = max(score, best.get(label, 0.0))
        return best

    def stations(self) -> list[Station]:
        """Those that were reached, in their order."""
        return [*self._to_event(), *self._to_channels()]

    def _to_event(self) -> Iterator[Station]:
        decided = self._deciding()
        end_us = 0 if decided is None else decided[0].end_us
        if (segment := next((s for s in self.segments if s.end_us >= end_us), None)) is not None:
            yield Station("segment", segment.time_us)
        if decided is None:
            return
        prediction, sent_us = decided
        if prediction.stations_us is not None:
            yield Station("decoded", prediction.stations_us[0])
            yield Station("classified", prediction.stations_us[1])
            sent_us = _stored(sent_us, prediction.stations_us[1])
        yield Station("prediction", sent_us, detail=_scored(prediction, self.event))
        if self.reports:
            event, reported_us = self.reports[0]
            yield Station(
                "event", _stored(reported_us, sent_us), detail=f"{event.label}, {event.severity}, {event.id[:6]}"
            )

    def _deciding(self) -> tuple[Prediction, int] | None:
        """The prediction that let the event be reported; the first one where there is none."""
        event = self.event
        found = (each for each in self.predictions if event is not None and each[0].end_us == event.end_us)
        return next(found, self.predictions[0] if self.predictions else None)

    def _to_channels(self) -> Iterator[Station]:
        first: dict[tuple[str, str], Delivery] = {}
        for entry in self.entries:
            first.setdefault((entry.channel, entry.state), entry)
        for channel in dict.fromkeys(entry.channel for entry in self.entries):
            for state in _TOLD:
                if (found := first.get((channel, state))) is not None:
                    name: Name = "not told" if state == "failed" and found.why in INTENDED else state
                    why = ": ".join(part for part in (found.why, found.detail) if part)
                    yield Station(name, found.time_us, channel, why or None)

    def seconds_to(self, channel: str) -> tuple[float, float] | None:
        """Until a channel's receiver had it: since the action began in the clip, and since its segment was stored.

        None where it has not got it. The former means something where the clip goes as fast as it was filmed.
        """
        sent = next((e for e in self.entries if e.channel == channel and e.state == "sent"), None)
        segment = next((s for s in self._to_event() if s.name == "segment"), None)
        if sent is None or segment is None or self.event is None:
            return None
        return (sent.time_us - self.event.start_us) / 1e6, (sent.time_us - segment.time_us) / 1e6

    def body(self) -> dict[str, Any]:
        """What is known, for programs."""
        told = {channel: self.seconds_to(channel) for channel in dict.fromkeys(e.channel for e in self.entries)}
        return {
            "id": self.id,
            "event": None if self.event is None else self.event.id,
            "stations": [
                {"station": s.name, "time_us": s.time_us, "channel": s.channel, "detail": s.detail}
                for s in self.stations()
            ],
            "recipients": [
                {
                    "channel": channel,
                    "told": seconds is not None,
                    "seconds_since_action": None if seconds is None else round(seconds[0], 3),
                    "seconds_since_segment": None if seconds is None else round(seconds[1], 3),
                }
                for channel, seconds in told.items()
            ],
        }


def _scored(prediction: Prediction, event: Event | None) -> str:
    """The score of a window; of the one that let the event be reported also the event's highest one so far.

    An event goes on while the score is above the end of its rule: the last window that it took may lie below the start.
    """
    if event is None or event.label not in prediction.scores:
        return f"{prediction.label} {prediction.scores[prediction.label]:.2f}"
    return f"{event.label} {prediction.scores[event.label]:.2f}, peak {event.peak_score:.2f}"


def _would_want(channel: ChannelSettings, event: Event) -> bool:
    """Whether a channel is told of some report of an event."""
    return any(wants(channel, replace(event, state=state)) for state in channel.states)


def _stored(sent_us: int, after_us: int) -> int:
    """When a record was stored that came after a moment: brokers know the millisecond that it was in, no more."""
    return after_us if sent_us // 1000 == after_us // 1000 else sent_us
