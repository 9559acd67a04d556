"""Which reports become messages, what is held back, and what is tried next. Pure: settings, ledger and a time in."""

from __future__ import annotations

import datetime as dt
import fnmatch
import random
import zoneinfo
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from consumers.records.delivery import Delivery
from consumers.records.event import Event
from consumers.records.prediction import content_id, rfc3339
from consumers.settings.notifying import ChannelSettings, minutes_of

from .ledger import Ledger
from .snoozes import Snoozes

_MINUTE_US: Final = 60_000_000
_HOUR_US: Final = 60 * _MINUTE_US
#: Between two tries: doubled each time, from and up to.
_FIRST_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 300.0
#: What a receiver may ask for by Retry-After, at most.
_LONGEST_WISH_SECONDS: Final = 3600.0
#: A message that a receiver refuses so often is given up.
MAX_REFUSALS: Final = 6
#: Events that a summary names; all are counted.
_NAMED: Final = 50
#: Messages that one summary covers. What is more comes with the next one.
_COVERED: Final = 1000


@dataclass(frozen=True, slots=True)
class Sent:
    """It got there."""

    detail: str


@dataclass(frozen=True, slots=True)
class Again:
    """It did not, this time."""

    #: In one word, such as `timeout`.
    why: str
    detail: str
    #: How long the receiver wants to be left alone.
    after_seconds: float | None = None
    #: Whether it is about this message only, so that others may get there.
    is_of_message: bool = False


@dataclass(frozen=True, slots=True)
class Never:
    """It never will."""

    #: `refused`, or `disabled`: the receiver wants nothing any more.
    why: str
    detail: str


Outcome = Sent | Again | Never


class Plan:
    """What is to be told through which channels."""

    def __init__(self, channels: Mapping[str, ChannelSettings], max_open: int, snoozes: Snoozes | None = None) -> None:
        self._channels, self._max_open = channels, max_open
        #: What people want to hear nothing more of; as it is by the time of each call.
        self._snoozes = snoozes or Snoozes()

    def entries(self, event: Event, sent_us: int, ledger: Ledger, now_us: int) -> Iterator[Delivery]:
        """The first entries of the messages about a report.

        Args:
            event: the report.
            sent_us: when its record was sent; messages are of use for a while after that.
            ledger: as it is now.
            now_us: wall clock.
        """
        for name, channel in self._channels.items():
            if not _wants(channel, event):
                continue
            expires_us = (sent_us or now_us) + int(channel.use_by_minutes * _MINUTE_US)
            queued = Delivery.about(event, name, now_us=now_us, expires_us=expires_us)
            if not ledger.knows(queued.id):
                yield self._begun(queued, channel, ledger, now_us)

    def _begun(self, queued: Delivery, channel: ChannelSettings, ledger: Ledger, now_us: int) -> Delivery:
        name = queued.channel
        if queued.expires_us <= now_us:
            return queued.then("failed", now_us, why="expired")
        if ledger.disabled(name) is not None:
            return queued.then("failed", now_us, why="disabled")
        if ledger.count_open(name) >= self._max_open:
            return queued.then("failed", now_us, why="overflow", detail=f"{self._max_open} messages wait already")
        held = self._held(queued, channel, ledger, now_us)
        return queued if held is None else queued.then("held", now_us, why=held[0], due_us=held[1])

    def _held(self, queued: Delivery, channel: ChannelSettings, ledger: Ledger, now_us: int) -> tuple[str, int] | None:
        """Why a message is held back, and until when; None where it is not."""
        name, data, quiet_us = queued.channel, queued.message["data"], _quiet_until_us(channel, now_us)
        if (until_us := self._snoozes.until_us(name, data["camera"], data["label"], now_us)) is not None:
            return "snoozed", max(until_us, quiet_us or 0)
        if quiet_us is not None:
            return "quiet", quiet_us
        count, first_us = ledger.queued_within_hour(name, now_us)
        return ("rate", first_us + _HOUR_US) if count >= channel.per_hour and first_us is not None else None

    def due(self, ledger: Ledger, busy: Collection[str], now_us: int) -> Iterator[Delivery]:
        """Entries that only time brings: what is too late, summaries of what was held back, channels that are gone.

        What has a `busy` id is being tried.
        """
        for name in list(ledger.channels()):
            channel = self._channels.get(name)
            held: list[Delivery] = []
            for entry in list(ledger.open(name)):
                if entry.id in busy:
                    continue
                if channel is None:
                    yield entry.then("failed", now_us, why="no_channel", detail="the settings have none of this name")
                elif entry.state == "held":
                    if (entry.due_us or 0) <= now_us and len(held) < _COVERED:
                        held.append(entry)
                elif entry.expires_us <= now_us:
                    yield entry.then("failed", now_us, why="expired", detail=entry.detail)
            if held and channel is not None:
                yield _summary(held, channel, now_us)

    def next(self, ledger: Ledger, busy: Collection[str], now_us: int) -> Iterator[Delivery]:
        """Messages that may be tried now, oldest first, but for those with a `busy` id.

        While a channel cannot be reached one message is tried at a time.
        """
        for name in self._channels:
            paused_us = ledger.paused_until_us(name)
            if ledger.disabled(name) is not None or (paused_us or 0) > now_us:
                continue
            under_way = sum(entry.id in busy for entry in ledger.open(name))
            for entry in ledger.open(name):
                if entry.id in busy or entry.state == "held" or (entry.due_us or 0) > now_us:
                    continue
                if paused_us is not None and under_way:
                    break
                under_way += 1
                yield entry

    def outcome(self, tried: Delivery, outcome: Outcome, ledger: Ledger, now_us: int) -> Iterator[Delivery]:
        """The entries that follow a try."""
        attempt = tried.attempt + 1
        if isinstance(outcome, Sent):
            yield tried.then("sent", now_us, attempt=attempt, detail=outcome.detail)
            return
        if isinstance(outcome, Never):
            yield tried.then("failed", now_us, attempt=attempt, why=outcome.why, detail=outcome.detail)
            if outcome.why == "disabled":
                for entry in list(ledger.open(tried.channel)):
                    if entry.id != tried.id:
                        yield entry.then("failed", now_us, why="disabled", detail=outcome.detail)
            return
        if outcome.is_of_message and attempt >= MAX_REFUSALS:
            yield tried.then("failed", now_us, attempt=attempt, why=outcome.why, detail=outcome.detail)
            return
        yield tried.then(
            "retrying",
            now_us,
            attempt=attempt,
            why=outcome.why,
            detail=outcome.detail,
            due_us=now_us + int(_pause_seconds(tried.id, attempt, outcome.after_seconds) * 1e6),
            pauses=not outcome.is_of_message,
        )


def _wants(channel: ChannelSettings, event: Event) -> bool:
    return (
        event.severity in channel.severities
        # That it still goes on is news, which somebody asked for in a rule.
        and (event.state in channel.states or event.reason == "escalated")
        and (not channel.labels or event.label in channel.labels)
        and (not channel.cameras or any(fnmatch.fnmatchcase(event.camera, pattern) for pattern in channel.cameras))
    )


def _pause_seconds(id_: str, attempt: int, wish: float | None) -> float:
    """Doubled each time, and drawn from its upper half, so that those who wait do not all come at once."""
    longest = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0 ** min(attempt - 1, 20))
    drawn = longest * random.Random(f"{id_}-{attempt}").uniform(0.5, 1.0)  # noqa: S311  no secret
    return max(drawn, min(wish or 0.0, _LONGEST_WISH_SECONDS))


def _quiet_until_us(channel: ChannelSettings, now_us: int) -> int | None:
    """When the quiet hours end in which `now_us` lies; None outside of them."""
    if channel.quiet is None:
        return None
    zone = zoneinfo.ZoneInfo(channel.time_zone)
    now = dt.datetime.fromtimestamp(now_us / 1e6, zone)
    begin, end = minutes_of(channel.quiet)
    minute = now.hour * 60 + now.minute
    inside = begin <= minute < end if begin < end else minute >= begin or minute < end
    if not inside:
        return None
    day = now.date() + dt.timedelta(days=int(end <= minute))
    until = dt.datetime.combine(day, dt.time(end // 60, end % 60), zone)
    return int(until.timestamp() * 1e6)


def _summary(held: list[Delivery], channel: ChannelSettings, now_us: int) -> Delivery:
    """One message in place of those that were held back."""
    bodies: list[Mapping[str, Any]] = [entry.message["data"] for entry in held]
    counts = Counter((body["camera"], body["label"]) for body in bodies)
    message = {
        "type": "clipline.summary",
        "timestamp": rfc3339(now_us),
        "data": {
            "held": len(held),
            "reasons": dict(Counter(entry.why for entry in held)),
            "first": min(body["start"] for body in bodies),
            "last": max(body["end"] for body in bodies),
            "counts": [
                {"camera": camera, "label": label, "events": count} for (camera, label), count in counts.most_common()
            ][:_NAMED],
            "events": [
                {key: body[key] for key in ("event", "camera", "label", "start", "peak_score")} for body in bodies
            ][:_NAMED],
        },
    }
    return Delivery(
        id=content_id(held[0].channel, "summary", held[0].id, len(held)),
        channel=held[0].channel,
        kind="summary",
        state="queued",
        time_us=now_us,
        expires_us=now_us + int(channel.use_by_minutes * _MINUTE_US),
        message=message,
        covers=tuple(entry.id for entry in held),
    )
