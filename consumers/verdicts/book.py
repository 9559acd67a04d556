"""What the topic of verdicts says: of records with one id the first counts, the same for whoever reads them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from consumers.records.fields import RecordError
from consumers.records.verdict import Verdict
from consumers.settings import TopicSettings
from stream import BrokerError, Partition, Record, Transport

log = logging.getLogger(__name__)

#: Answers that a server remembers; one that is older and comes again is stored again, and readers drop it.
_REMEMBERED: Final = 100_000

Judged = Literal["right", "false", "contested"]


def verdict_of(record: Record) -> Verdict | None:
    """The verdict that a record holds; None, with a word in the log, where it is none."""
    try:
        return Verdict.decode(record.key, record.value, record.where)
    except RecordError as error:
        log.warning("%s: left out", error)
        return None


def stored_verdicts(transport: Transport, topics: TopicSettings) -> Iterator[Verdict]:
    """Yield the verdicts that count, in the order in which they were given.

    Raises:
        BrokerError: the broker is away, or has no such topic.
    """
    if not transport.existing([topics.verdicts]):
        raise BrokerError(f"topic {topics.verdicts} does not exist: no verdict was given yet (`clipline verdicts`)")
    seen: set[str] = set()
    for record in transport.read(transport.offsets(topics.verdicts)):
        if (verdict := verdict_of(record)) is not None and verdict.id not in seen:
            seen.add(verdict.id)
            yield verdict


@dataclass(frozen=True, slots=True)
class JudgedEvent:
    """What was said of one event, all in all."""

    judged: Judged
    #: Those that say so, or contradict one another, as they were given.
    verdicts: tuple[Verdict, ...]

    @property
    def newest(self) -> Verdict:
        return self.verdicts[-1]


def judged_events(verdicts: Iterable[Verdict]) -> dict[str, JudgedEvent]:
    """By event: what was said of it, events in the order in which they were judged first.

    The newest verdict that was given by hand settles it. Else those of all channels have to agree. What was given by
    hand before it was withdrawn does not count.
    """
    found: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        if verdict.answer == "withdrawn":
            found[verdict.event] = [each for each in found.get(verdict.event, ()) if each.channel is not None]
        elif verdict.answer != "snooze":
            found.setdefault(verdict.event, []).append(verdict)
    return {event: _judged(said) for event, said in found.items() if said}


def seen_by(verdicts: Iterable[Verdict]) -> frozenset[str]:
    """Who has judged an event by hand, of what was said of it, as far as that is known; what is taken back is gone."""
    found: set[str] = set()
    for verdict in verdicts:
        if verdict.answer == "withdrawn":
            found.clear()
        elif verdict.channel is None and verdict.by is not None and verdict.answer != "snooze":
            found.add(verdict.by)
    return frozenset(found)


def _judged(said: list[Verdict]) -> JudgedEvent:
    by_hand = [verdict for verdict in said if verdict.channel is None]
    counting = by_hand[-1:] or said
    answers = {verdict.answer for verdict in counting}
    if len(answers) > 1:
        return JudgedEvent("contested", tuple(counting))
    return JudgedEvent("right" if answers == {"right"} else "false", tuple(counting))


class VerdictBook:
    """What has been answered, for a server that may be one of several. For several threads."""

    def __init__(self, transport: Transport, topics: TopicSettings) -> None:
        """Connects to nothing yet; the topic exists."""
        self._transport, self._topic = transport, topics.verdicts
        self._read: dict[Partition, int] = {}
        self._first: dict[str, Verdict] = {}
        self._lock = threading.Lock()

    def answered(self, id_: str) -> Verdict | None:
        """The answer that counts for an id; None where there is none yet.

        Raises:
            BrokerError: the broker is away.
        """
        with self._lock:
            self._catch_up()
            return self._first.get(id_)

    def give(self, verdict: Verdict) -> Verdict:
        """Store a verdict, if none of its id is there; return the one that counts.

        Raises:
            BrokerError: the broker is away. It may be stored nevertheless, as asking again shows.
        """
        with self._lock:
            self._catch_up()
            if (found := self._first.get(verdict.id)) is not None:
                return found
            write_verdict(self._transport, self._topic, verdict)
            # Another server may have stored one meanwhile: the topic's order settles it.
            self._catch_up()
            return self._first.get(verdict.id, verdict)

    def _catch_up(self) -> None:
        bounds = self._transport.offsets(self._topic)
        # A topic that was made anew is shorter than what was read of the one before.
        new = {
            p: (at if first <= (at := self._read.get(p, first)) <= end else first, end)
            for p, (first, end) in bounds.items()
        }
        new = {p: (begin, end) for p, (begin, end) in new.items() if begin < end}
        if not new:
            return
        for record in self._transport.read(new):
            if (verdict := verdict_of(record)) is not None:
                self._first.setdefault(verdict.id, verdict)
        self._read |= {p: end for p, (_, end) in new.items()}
        while len(self._first) > _REMEMBERED:
            del self._first[next(iter(self._first))]


def write_verdict(transport: Transport, topic: str, verdict: Verdict) -> None:
    """Store a verdict.

    Raises:
        BrokerError: it is not stored, as far as the broker says.
    """
    producer = transport.producer()
    try:
        producer.send(topic, *verdict.encode())
        producer.flush()
    finally:
        producer.close()
