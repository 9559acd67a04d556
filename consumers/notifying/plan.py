"""Which reports become messages, what is held back, and what is tried next. Pure: settings, ledger and a time in."""

from __future__ import annotations

import fnmatch
import itertools
import random
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from consumers.records.delivery import Delivery
from consumers.records.event import Event
from consumers.records.prediction import content_id, rfc3339
from consumers.settings.sections.notifying import ChannelSettings
from consumers.times import parse_time_us

from .answers import LONGEST_US, Answers
from .ledger import Ledger, awaits_answer
from .open_conditions import newest_of
from .pictured import PicturedReports

_MINUTE_US: Final = 60_000_000
_HOUR_US: Final = 60 * _MINUTE_US
#: Between two tries: doubled each time, from and up to.
_FIRST_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 300.0
#: What a receiver may ask for by Retry-After, at most.
_LONGEST_WISH_SECONDS: Final = 3600.0
#: Tries in a row of one message while its channel cannot be reached; then another one has its turn, since it may be
#: this one that the receiver cannot take.
_TRIES_IN_A_ROW: Final = 4
#: Entries that one turn brings at most, so that a transaction holds them; what is more comes with the next turn.
_MOST_DUE: Final = 500
#: A message that a receiver refuses so often is given up.
MAX_REFUSALS: Final = 6
#: Events that a summary names; all are counted.
_NAMED: Final = 50
#: Of a name.
_NAME_CHARACTERS: Final = 200
#: Messages that one summary covers. What is more comes with the next one.
_COVERED: Final = 1000
#: A drill is of no use any more after so long: whoever did it has gone home.
_DRILL_MINUTES: Final = 5.0


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

    def __init__(
        self,
        channels: Mapping[str, ChannelSettings],
        max_open: int,
        said: Answers | None = None,
        pictured: PicturedReports | None = None,
    ) -> None:
        self._channels, self._max_open = channels, max_open
        #: What people want to hear nothing more of; as it is by the time of each call.
        self._said = said or Answers()
        #: Which pictures there are, likewise.
        self._pictured = pictured or PicturedReports()

    def entries(self, event: Event, sent_us: int, ledger: Ledger, now_us: int) -> Iterator[Delivery]:
        """The first entries of the messages about a report.

        Args:
            event: the report.
            sent_us: when its record was sent, by the clock of who sent it; messages are of use for a while after that.
            ledger: as it is now.
            now_us: wall clock.
        """
        # A clock that is ahead makes nothing be of use for longer.
        sent_us = min(sent_us or now_us, now_us)
        for name, channel in self._channels.items():
            if not wants(channel, event):
                continue
            minutes = channel.use_by_minutes if event.drill is None else min(channel.use_by_minutes, _DRILL_MINUTES)
            expires_us = sent_us + int((minutes + (channel.unanswered_minutes or 0)) * _MINUTE_US)
            queued = Delivery.about(event, name, now_us=now_us, expires_us=expires_us)
            if not ledger.knows(queued.id):
                yield self._begun(queued, channel, ledger, now_us)

    def begun(self, queued: Delivery, ledger: Ledger, now_us: int) -> Iterator[Delivery]:
        """The first entry of a message that is about no event; none where there is such a message, or was."""
        if not ledger.knows(queued.id):
            yield self._begun(queued, self._channels[queued.channel], ledger, now_us)

    def _begun(self, queued: Delivery, channel: ChannelSettings, ledger: Ledger, now_us: int) -> Delivery:
        """How a message begins."""
        if channel.unanswered_minutes is None or (queued.drill is not None and not channel.drill):
            return self._let_in(queued, channel, ledger, now_us)
        if queued.drill is not None:
            return queued.then("failed", now_us, why="unanswered", detail="the channel is told of what nobody answers")
        if self._is_answered(queued, ledger):
            return queued.then("acknowledged", now_us, why="answered")
        if ledger.count_open(queued.channel) >= self._max_open:
            return self._overflown(queued, now_us)
        due_us = now_us + int(channel.unanswered_minutes * _MINUTE_US)
        return queued.then("held", now_us, why="unanswered", due_us=due_us)

    def _let_in(self, queued: Delivery, channel: ChannelSettings, ledger: Ledger, now_us: int) -> Delivery:
        name, is_drill = queued.channel, queued.drill is not None
        if is_drill and not channel.drill:
            return queued.then("failed", now_us, why="drill", detail="the channel is not told of drills")
        if queued.expires_us <= now_us:
            return queued.then("failed", now_us, why="expired")
        if ledger.disabled(name) is not None:
            return queued.then("failed", now_us, why="disabled")
        if ledger.count_open(name) >= self._max_open and not ledger.knows(queued.id):
            return self._overflown(queued, now_us)
        held = self._held(queued, channel, ledger, now_us)
        if held is not None and is_drill:
            # No summary tells of a drill later, among alarms.
            return queued.then("failed", now_us, why=held[0], detail="an alarm would be held back now")
        return queued if held is None else queued.then("held", now_us, why=held[0], due_us=held[1])

    def _overflown(self, queued: Delivery, now_us: int) -> Delivery:
        return queued.then("failed", now_us, why="overflow", detail=f"{self._max_open} messages wait already")

    def _is_answered(self, entry: Delivery, ledger: Ledger) -> bool:
        """Whether somebody has said that he saw the event, or what it was."""
        return entry.event is not None and (ledger.is_seen(entry.event) or self._said.has_answer(entry.event))

    def _held(self, queued: Delivery, channel: ChannelSettings, ledger: Ledger, now_us: int) -> tuple[str, int] | None:
        """Why a message is held back, and until when; None where it is not."""
        name, quiet_us = queued.channel, channel.quiet_until_us(now_us)
        if (until_us := self._snoozed_until_us(queued, now_us)) is not None:
            return "snoozed", max(until_us, quiet_us or 0)
        if (digest_us := channel.digest_us(now_us)) is not None:
            return "digest", digest_us
        if quiet_us is not None:
            return "quiet", quiet_us
        if (until_us := self._merged_until_us(queued, ledger, now_us)) is not None:
            return "merged", until_us
        # One summary for all of them: while some are held, what comes joins them.
        if (until_us := ledger.over_limit_until_us(name)) is not None:
            return "rate", until_us
        count, first_us = ledger.queued_within_hour(name, now_us)
        return ("rate", first_us + _HOUR_US) if count >= channel.per_hour and first_us is not None else None

    def _merged_until_us(self, queued: Delivery, ledger: Ledger, now_us: int) -> int | None:
        """Until when a message is held back of what another camera of the group has told; None where none has."""
        data = queued.message["data"]
        if queued.kind != "event" or queued.drill is not None or data.get("reason") == "escalated":
            return None
        if (group := data.get("group")) is None:
            return None
        start_us, span_us = parse_time_us(data["start"]), int((data.get("merge_seconds") or 0) * 1e6)
        until_us = [
            # What a clock that was ahead has written holds nothing back for longer.
            min(newest.time_us, now_us) + span_us
            for camera, newest in ledger.told(queued.channel, data["label"])
            if camera != data["camera"] and newest.group == group and abs(newest.start_us - start_us) <= span_us
        ]
        return max(now_us, min(until_us)) if until_us else None

    def _snoozed_until_us(self, queued: Delivery, now_us: int) -> int | None:
        if queued.kind != "event":
            return None
        data = queued.message["data"]
        return self._said.until_us(queued.channel, queued.drill or data["camera"], data["label"], now_us)

    def due(self, ledger: Ledger, busy: Collection[str], now_us: int) -> Iterator[Delivery]:
        """Entries that only time brings: what is too late, summaries of what was held back, channels that are gone.

        What has a `busy` id is being tried. There may be more than one call gives.
        """
        yield from itertools.islice(self._due(ledger, busy, now_us), _MOST_DUE)

    def _due(self, ledger: Ledger, busy: Collection[str], now_us: int) -> Iterator[Delivery]:
        for name in list(ledger.channels()):
            idle = [entry for entry in ledger.open(name) if entry.id not in busy]
            if (channel := self._channels.get(name)) is None:
                for entry in idle:
                    yield entry.then("failed", now_us, why="no_channel", detail="the settings have none of this name")
            elif (disabled := ledger.disabled(name)) is not None:
                for entry in idle:
                    if entry.kind != "test":  # it may be what shows that the receiver is there again
                        yield entry.then("failed", now_us, why="disabled", detail=disabled.detail)
            else:
                yield from self._unanswered(filter(awaits_answer, idle), channel, ledger, now_us)
                yield from _due_of(channel, list(itertools.filterfalse(awaits_answer, idle)), now_us)

    def _unanswered(
        self, waiting: Iterable[Delivery], channel: ChannelSettings, ledger: Ledger, now_us: int
    ) -> Iterator[Delivery]:
        """What becomes of messages that wait for somebody to answer."""
        for entry in waiting:
            if self._is_answered(entry, ledger):
                yield entry.then("acknowledged", now_us, why="answered")
            elif not _is_kept(entry, now_us):
                data = {**entry.message["data"], "unanswered_minutes": channel.unanswered_minutes}
                queued = entry.then("queued", now_us, message={**entry.message, "data": data})
                yield self._let_in(queued, channel, ledger, now_us)

    def next(
        self, ledger: Ledger, busy: Collection[str], now_us: int, free: Mapping[str, int] | None = None
    ) -> Iterator[Delivery]:
        """Messages that may be tried now, oldest first, no more of a channel than `free`; none with a `busy` id.

        What waits for pictures holds up no other one. While a channel cannot be reached one message is tried at a
        time, the oldest first, and not always the same.
        """
        for name, channel in self._channels.items():
            if (
                ledger.disabled(name) is not None
                or _waits(ledger.paused_until_us(name), now_us)
                or channel.quiet_until_us(now_us) is not None
            ):
                continue
            ready = (
                entry
                for entry in ledger.open(name)
                if entry.id not in busy
                and _is_ready(entry, now_us)
                and not self._pictured.awaits(entry, channel, now_us)
            )
            if not ledger.missed(name):
                yield from itertools.islice(ready, None if free is None else max(0, free[name]))
            elif ledger.ids(name).isdisjoint(busy):
                yield from sorted(ready, key=lambda entry: entry.attempt // _TRIES_IN_A_ROW)[:1]

    def outcome(self, tried: Delivery, outcome: Outcome, ledger: Ledger, now_us: int) -> Iterator[Delivery]:
        """The entries that follow a try."""
        attempt = tried.attempt + 1
        if isinstance(outcome, Sent):
            yield tried.then("sent", now_us, attempt=attempt, detail=outcome.detail)
            return
        if isinstance(outcome, Never):
            yield tried.then("failed", now_us, attempt=attempt, why=outcome.why, detail=outcome.detail)
            return
        if outcome.is_of_message and attempt >= MAX_REFUSALS:
            yield tried.then("failed", now_us, attempt=attempt, why=outcome.why, detail=outcome.detail)
            return
        # Of a channel that cannot be reached all tries count, whichever message they were made with.
        missed = ledger.missed(tried.channel) + (not _waits(ledger.paused_until_us(tried.channel), now_us))
        count = attempt if outcome.is_of_message else max(attempt, missed)
        yield tried.then(
            "retrying",
            now_us,
            attempt=attempt,
            why=outcome.why,
            detail=outcome.detail,
            due_us=now_us + int(_pause_seconds(tried.id, count, outcome.after_seconds) * 1e6),
            pauses=not outcome.is_of_message,
        )


def _due_of(channel: ChannelSettings, idle: Sequence[Delivery], now_us: int) -> Iterator[Delivery]:
    """What time brings to the messages of a channel of which none is being tried."""
    if (quiet_us := channel.quiet_until_us(now_us)) is not None:
        for entry in idle:
            if (later := _kept_for_later(entry, channel, quiet_us, now_us)) is not None:
                yield later
        return
    for entry in idle:
        if entry.state != "held" and entry.expires_us <= now_us:
            yield entry.then("failed", now_us, why="expired", detail=entry.detail)
    if held := [entry for entry in idle if entry.state == "held" and not _is_kept(entry, now_us)]:
        yield summary(held[:_COVERED], channel, now_us)


def _is_ready(entry: Delivery, now_us: int) -> bool:
    """Whether a message may be tried. A test is tried by whoever asked for it."""
    return entry.kind != "test" and entry.state != "held" and not _waits(entry.due_us, now_us)


def _is_kept(entry: Delivery, now_us: int) -> bool:
    """Whether the time of a message that is held back is still to come."""
    return _waits(entry.due_us, now_us, _HOUR_US if entry.why == "rate" else LONGEST_US)


def _waits(until_us: int | None, now_us: int, longest_us: int = _HOUR_US) -> bool:
    """Whether a time is still to come. What lies further ahead than anything waits was written by a wrong clock."""
    return until_us is not None and now_us < until_us <= now_us + longest_us


def _kept_for_later(entry: Delivery, channel: ChannelSettings, until_us: int, now_us: int) -> Delivery | None:
    """How a message that waits to be tried waits for the end of quiet hours; None where it does already."""
    if entry.state == "held":
        return None
    if entry.drill is not None:  # it is not told later, among alarms
        return entry.then("failed", now_us, attempt=entry.attempt, why="quiet", detail=entry.detail)
    if entry.kind in {"event", "condition"}:
        return entry.then("held", now_us, attempt=entry.attempt, why="quiet", due_us=until_us)
    if entry.kind == "test" or entry.expires_us > until_us:
        return None
    # A summary stands for others, so it has to get there.
    later_us = until_us + int(channel.use_by_minutes * _MINUTE_US)
    return entry.then("retrying", now_us, attempt=entry.attempt, why="quiet", expires_us=later_us)


def wants(channel: ChannelSettings, event: Event) -> bool:
    """Whether a channel is to be told of a report; of a drill as of an event of the camera that it stands for."""
    camera = event.drill or event.camera
    return (
        event.severity in channel.severities
        # That it still goes on is news, which somebody asked for in a rule.
        and (event.state in channel.states or event.reason == "escalated")
        and (not channel.labels or event.label in channel.labels)
        and (not channel.cameras or any(fnmatch.fnmatchcase(camera, pattern) for pattern in channel.cameras))
    )


def _pause_seconds(id_: str, attempt: int, wish: float | None) -> float:
    """Doubled each time, and drawn from its upper half, so that those who wait do not all come at once."""
    longest = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0 ** min(attempt - 1, 20))
    drawn = longest * random.Random(f"{id_}-{attempt}").uniform(0.5, 1.0)  # noqa: S311  no secret
    return max(drawn, min(wish or 0.0, _LONGEST_WISH_SECONDS))


def _short(name: str) -> str:
    """A name as a summary holds it: with the longest ones of all that it names it can still be stored."""
    return name[:_NAME_CHARACTERS]


def summary(held: Sequence[Delivery], channel: ChannelSettings, now_us: int) -> Delivery:
    """One message in place of those that were held back."""
    told: list[Mapping[str, Any]] = [entry.message["data"] for entry in held]
    bodies = [entry.message["data"] for entry in held if entry.kind != "condition"]
    conditions = [entry.message["data"] for entry in held if entry.kind == "condition"]
    counts = Counter((body["camera"], body["label"]) for body in bodies)
    message = {
        "type": "clipline.summary",
        "timestamp": rfc3339(now_us),
        "data": {
            "held": len(held),
            "reasons": dict(Counter(_short(entry.why or "") for entry in held)),
            "first": min(body.get("start") or body["since"] for body in told),
            "last": max(body.get("end") or body.get("until") or body["since"] for body in told),
            "counts": [
                {"camera": _short(camera), "label": _short(label), "events": count}
                for (camera, label), count in counts.most_common(_NAMED)
            ],
            "events": [
                {
                    **{key: _short(body[key]) for key in ("event", "camera", "label")},
                    **{key: body[key] for key in ("start", "peak_score")},
                }
                for body in bodies
            ][:_NAMED],
            **({"conditions": len(conditions), "newest": newest_of(conditions)[:_NAMED]} if conditions else {}),
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
