"""Which states of cameras, agents, workers and disks are told, once they have lasted. Pure: overviews and a time in.

    seen      bad ─── connecting ─── bad ─── good ─ bad ─ good ────────────────
    debounce  |─────────────────────|        |─|          |────────────|
                                    started                            ended

What is seen is what `clipline status` says (consumers/running/overview.py). A condition lasts from the first time it is
seen as bad to the first time it is seen as good; `connecting` is neither, and delays only that it is called good again.
What a channel was told of stands in the ledger, so whoever goes on with it tells nothing twice and each end once.
"""

from __future__ import annotations

import fnmatch
import itertools
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from consumers.printable import printable
from consumers.records.delivery import Delivery
from consumers.records.prediction import content_id, rfc3339
from consumers.running.newest_states import FORGET_CAMERA_SECONDS
from consumers.running.overview import (
    DEAD_SECONDS,
    AgentLine,
    CameraLine,
    Overview,
    WorkerLine,
    given_up_words,
    too_many_waiting,
)
from consumers.settings.sections.notifying import ChannelSettings
from consumers.terminal.wording import count
from consumers.times import parse_time_us

from .open_conditions import OpenConditions, Subject

_SECOND_US: Final = 1_000_000
_MINUTE_US: Final = 60 * _SECOND_US
#: Who has not looked for so long does not know what was in between, and begins anew.
_GAP_US: Final = 10 * _SECOND_US
#: Messages that one look brings at most; what is more comes with the next one.
_MOST_AT_ONCE: Final = 500
#: Cameras that a message about an agent names.
_NAMED: Final = 10
_SHOWN_CHARACTERS: Final = 200
_NO_WORD: Final = "it has died without a word, or cannot reach the broker"
#: The state of a subject that is there no more, as others have taken over what it did.
GONE: Final = "gone"

Level = Literal["bad", "unclear", "good"]


@dataclass(frozen=True, slots=True)
class Seen:
    """How a subject is at one moment."""

    level: Level
    #: In one word.
    status: str
    #: Since when it is bad; wall clock in microseconds, of whoever says so. 0: nobody says, so since it was seen.
    since_us: int = 0
    why: str | None = None
    #: Nothing is heard of it, which may be as nobody could hear.
    is_silent: bool = False
    #: A message about its agent covers it.
    is_of_dead_agent: bool = False


@dataclass(frozen=True, slots=True)
class _Lasting:
    """A level that lasts."""

    seen: Seen
    #: When it was seen first, by our clock.
    first_us: int
    #: Whether it is so now, and not only maybe.
    is_now: bool = True


def seen_in(overview: Overview) -> dict[Subject, Seen]:
    """How all subjects of an overview are."""
    found: dict[Subject, Seen] = {}
    #: Cameras of each agent that fell silent.
    dead: dict[str, list[str]] = {line.agent.id: [] for line in overview.agents if line.dead}
    for camera in overview.cameras:
        found["camera", _short(camera.state.feed.camera)] = _camera(camera, dead)
        if camera.state.agent.id in dead:
            dead[camera.state.agent.id].append(camera.state.feed.camera)
    for agent in overview.agents:
        found["agent", _short(agent.agent.id)] = _agent(agent, dead.get(agent.agent.id, []))
        found["disk", _short(agent.agent.id)] = _disk(agent)
    for worker in overview.workers:
        subject = "worker", _short(worker.state.instance or worker.state.worker.id)
        seen = _worker(worker)
        # One name may stand for a process that has ended and its successor.
        if subject not in found or _rank(seen) > _rank(found[subject]):
            found[subject] = seen
    return found


def _rank(seen: Seen) -> int:
    return 2 if seen.level == "bad" else int(seen.status != "ended")


def _camera(line: CameraLine, dead_agents: Container[str]) -> Seen:
    feed, agent = line.state.feed, line.state.agent
    if line.status == "lost":
        why = f"its agent {agent.id} has died without a word, or cannot reach the broker"
        since_us = line.state.time_us
        return Seen("bad", "lost", since_us, why, is_silent=True, is_of_dead_agent=agent.id in dead_agents)
    if line.status in {"failed", "stalled"}:
        # Its status may go to and fro between the two, and with it `since_us`.
        since_us = feed.since_us if feed.has_failed else feed.data_us or agent.started_us
        return Seen("bad", line.status, since_us, given_up_words(feed.why) if feed.has_failed else feed.why)
    if line.status in {"live", "ended"}:
        return Seen("good", line.status, why=feed.why)
    return Seen("unclear", line.status)


def _agent(line: AgentLine, cameras: list[str]) -> Seen:
    if line.dead:
        named = ", ".join(sorted(cameras)[:_NAMED]) + (" and others" if len(cameras) > _NAMED else "")
        return Seen("bad", "silent", line.heard_us, f"{_NO_WORD}; it had {named}", is_silent=True)
    return Seen("good", "ended" if line.ended else "reading")


def _disk(line: AgentLine) -> Seen:
    if line.ended:
        return Seen("good", "ended")
    if line.dead:
        return Seen("unclear", "silent")
    if line.disk is not None:
        why = f"no segment could wait there while the broker is away: {line.disk.why}"
        return Seen("bad", "unwritable", line.disk.since_us, why)
    return Seen("good", "writable")


def _worker(line: WorkerLine) -> Seen:
    if line.dead:
        return Seen("bad", "silent", line.state.time_us, _NO_WORD, is_silent=True)
    if line.state.status == "working" and (waiting := too_many_waiting(line.state)):
        return Seen("bad", "behind", why=f"{count(waiting, 'segment')} wait for it")
    return Seen("good", line.state.status)


class Conditions:
    """What lasts, as far as it was seen. Not for several threads."""

    def __init__(self, channels: Mapping[str, ChannelSettings], debounce_seconds: float) -> None:
        self._channels = {name: channel for name, channel in channels.items() if channel.conditions}
        self._debounce_us = int(debounce_seconds * _SECOND_US)
        self._bad: dict[Subject, _Lasting] = {}
        self._good: dict[Subject, _Lasting] = {}
        #: When it was looked last, and since when without a gap.
        self._looked_us = self._since_us = 0

    def due(
        self, overview: Overview, told: OpenConditions, now_us: int, is_known: Callable[[str], bool]
    ) -> list[Delivery]:
        """Messages that are to be told now, `queued`. There may be more than one call gives.

        Args:
            overview: as it is now. Not to be called while nobody knows how it is.
            told: what the channels were told of, as the ledger has it.
            now_us: wall clock.
            is_known: whether there is a message with an id, or was one that failed: it takes nobody's place.
        """
        if not 0 <= now_us - self._looked_us <= _GAP_US:
            self._bad, self._good, self._since_us = {}, {}, now_us
        self._looked_us = now_us
        found = seen_in(overview)
        for name in self._channels:
            found.update(_missing(told.of(name), found, now_us))
        self._note(found, now_us)
        messages = (
            message
            for name, channel in self._channels.items()
            for message in (
                *self._started(name, channel, told.of(name), now_us),
                *self._ended(name, channel, told.of(name), now_us),
            )
            if not is_known(message.id)
        )
        return list(itertools.islice(messages, _MOST_AT_ONCE))

    def _note(self, found: Mapping[Subject, Seen], now_us: int) -> None:
        """See how long what is seen now has lasted."""
        could_hear = now_us - self._since_us >= DEAD_SECONDS * _SECOND_US
        bad, good = self._bad, self._good
        self._bad, self._good = {}, {}
        for subject, seen in found.items():
            if seen.level == "good":
                self._good[subject] = _Lasting(seen, good[subject].first_us if subject in good else now_us)
            elif seen.level == "bad" and (could_hear or not seen.is_silent):
                self._bad[subject] = _Lasting(seen, bad[subject].first_us if subject in bad else now_us)
            elif subject in bad:
                self._bad[subject] = replace(bad[subject], is_now=False)

    def _started(
        self, name: str, channel: ChannelSettings, told: Mapping[Subject, Delivery], now_us: int
    ) -> Iterator[Delivery]:
        for subject, lasting in self._bad.items():
            if subject not in told and self._has_lasted(lasting, now_us) and _wants(channel, subject, lasting.seen):
                since_us = min(max(lasting.seen.since_us or lasting.first_us, 0), now_us)
                yield _message(name, channel, subject, lasting.seen, rfc3339(since_us), None, now_us)

    def _ended(
        self, name: str, channel: ChannelSettings, told: Mapping[Subject, Delivery], now_us: int
    ) -> Iterator[Delivery]:
        for subject, message in told.items():
            lasting = self._good.get(subject)
            if lasting is not None and self._has_lasted(lasting, now_us) and _wants(channel, subject, lasting.seen):
                since = message.message["data"]["since"]
                yield _message(name, channel, subject, lasting.seen, since, lasting.first_us, now_us)

    def _has_lasted(self, lasting: _Lasting, now_us: int) -> bool:
        return lasting.is_now and now_us - lasting.first_us >= self._debounce_us


def _missing(
    told: Mapping[Subject, Delivery], found: Mapping[Subject, Seen], now_us: int
) -> Iterable[tuple[Subject, Seen]]:
    """What was told of and is there no more, as others do its work now; not what is only forgotten."""
    kinds = {kind for kind, _ in found}
    for subject, message in told.items():
        since_us = parse_time_us(message.message["data"]["since"])
        if subject not in found and subject[0] in kinds and now_us - since_us < FORGET_CAMERA_SECONDS * _SECOND_US:
            yield subject, Seen("good", GONE)


def _wants(channel: ChannelSettings, subject: Subject, seen: Seen) -> bool:
    kind, name = subject
    return (
        kind in channel.conditions
        and (
            kind != "camera" or not channel.cameras or any(fnmatch.fnmatchcase(name, each) for each in channel.cameras)
        )
        # One message about an agent, in place of one about each of its cameras.
        and not (seen.is_of_dead_agent and "agent" in channel.conditions)
    )


def _message(
    name: str,
    channel: ChannelSettings,
    subject: Subject,
    seen: Seen,
    since: str,
    until_us: int | None,
    now_us: int,
) -> Delivery:
    """The first entry of a message; it is about the end of a condition where `until_us` is given."""
    state = "started" if until_us is None else "ended"
    lasted_us = (now_us if until_us is None else until_us) - parse_time_us(since)
    data: dict[str, Any] = {
        "state": state,
        "subject": subject[0],
        "name": subject[1],
        "status": seen.status,
        "since": since,
        "until": None if until_us is None else rfc3339(until_us),
        "seconds": max(0, lasted_us) / _SECOND_US,
        "why": None if seen.why is None else _short(seen.why),
    }
    return Delivery(
        id=content_id(name, "condition", *subject, since, state),
        channel=name,
        kind="condition",
        state="queued",
        time_us=now_us,
        expires_us=now_us + int((channel.use_by_minutes + (channel.unanswered_minutes or 0)) * _MINUTE_US),
        message={"type": f"clipline.condition.{state}", "timestamp": rfc3339(now_us), "data": data},
    )


def _short(text: str) -> str:
    """What others wrote, as it may stand in a message."""
    return printable(text)[:_SHOWN_CHARACTERS]
