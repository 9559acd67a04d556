"""Following topics for as long as it takes: a broker that is away is waited for, and reading goes on where it was."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from consumers.records.states.away import Away
from stream import BrokerError, Existing, Partition, Polled, Reader, Record, Transport

from .outages import ASK_SECONDS, Outage

#: After so long it is tried again the first time; twice as long each time that it fails, up to the longest.
_RETRY_SECONDS: Final = 0.5
_LONGEST_RETRY_SECONDS: Final = 5.0


def topic_mark(topic_id: str) -> str:
    """Eight characters by which one topic is told from another one of its name, made before or after it."""
    return hashlib.sha256(topic_id.encode()).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class Place:
    """Where somebody stands in topics."""

    #: The offset to read next, by partition.
    offsets: Mapping[Partition, int] = field(default_factory=dict)
    #: By topic: which one of its name the offsets are of.
    marks: Mapping[str, str] = field(default_factory=dict)


#: By partition of a topic: its first offset, and the one after the last.
Bounds = Mapping[Partition, tuple[int, int]]
#: Says at which offsets of a topic's partitions to begin, from its bounds.
Begin = Callable[[Transport, str, Bounds], Mapping[Partition, int]]
#: Reads on from offsets.
Follow = Callable[[Transport, Mapping[Partition, int]], Reader]


def follow_alone(transport: Transport, positions: Mapping[Partition, int]) -> Reader:
    """Read on by a consumer of its own."""
    return transport.follow(positions)


def from_earliest(transport: Transport, topic: str, bounds: Bounds) -> Mapping[Partition, int]:  # noqa: ARG001  a Begin
    """Begin with the oldest records kept."""
    return {partition: first for partition, (first, _) in bounds.items()}


def from_now(transport: Transport, topic: str, bounds: Bounds) -> Mapping[Partition, int]:  # noqa: ARG001  a Begin
    """Begin with the next records to come."""
    return {partition: end for partition, (_, end) in bounds.items()}


def from_time(time_us: int) -> Begin:
    """Begin with what was sent at a time, in microseconds since the Unix epoch, or a little before it."""
    return lambda transport, topic, bounds: {
        **from_now(transport, topic, bounds),
        **transport.sent_since(topic, time_us),
    }


class TopicFollower:
    """Hands out each record of some topics once, in the order of its partition. Use as a context manager.

    What happens while the broker is away is read when it is back. Where a topic was made anew, or its oldest records
    were removed meanwhile, that is said, and reading begins with what is there.
    """

    def __init__(
        self,
        open_transport: Callable[[], Transport],
        name: str,
        topics: Sequence[str],
        say: Callable[[str], None],
        *,
        begin: Begin = from_now,
        place: Place | None = None,
        look_back: int = 0,
        follow: Follow = follow_alone,
    ) -> None:
        """Prepare; `poll` connects.

        Args:
            open_transport: connects to the broker, or raises BrokerError.
            name: of the broker, with its address.
            topics: what to read. Those that do not exist are waited for, and then read from their start.
            say: told what is waited for, in one line, and when it is back.
            begin: where to begin in topics that exist when the broker answers first.
            place: where an earlier follower stood, to go on there; `begin` is then not asked.
            look_back: hand out so many records before that place again, to be told by `is_old`.
            follow: reads on from where it is to begin or to go on.
        """
        self._open_transport, self._topics, self._say = open_transport, tuple(topics), say
        self._outage = Outage(name, say)
        self._follow, self._begin, self._is_first = follow, begin, place is None
        self._transport: Transport | None = None
        self._consumer: Reader | None = None
        self._missing: frozenset[str] = frozenset()
        #: Topics that have come into being meanwhile: nothing on them is older than this follower.
        self._came: set[str] = set()
        #: The topics as they were when `_positions` were found.
        self._existing: Mapping[str, Existing] = {}
        #: Which one of its name each topic was, by `topic_mark`.
        self._marks: dict[str, str] = dict(place.marks) if place is not None else {}
        #: Where to go on.
        self._positions: dict[Partition, int] = dict(place.offsets) if place is not None else {}
        self._look_back = look_back
        #: What somebody has had before this follower began: up to these offsets.
        self._had: dict[Partition, int] = dict(self._positions)
        #: Partitions of which that is still to be read again.
        self._unread: set[Partition] = set(self._positions)
        self._failures = 0
        self._try_at = self._ask_at = 0.0

    @property
    def awaited(self) -> str | None:
        """What is waited for and since when, in words; None where nothing is."""
        awaited = self._outage.awaited
        if awaited is None and self._missing and not self._existing:
            return f"topic {min(self._missing)}, which does not exist"
        return awaited

    @property
    def away(self) -> Away | None:
        """Since when the broker has been away; None where it is there."""
        return self._outage.away

    @property
    def away_seconds(self) -> float:
        """For how long the broker has been away; 0 where it is there."""
        return self._outage.seconds

    def was_away(self, seconds: float) -> float:
        """For how long the broker was away, where it came back less than `seconds` ago; else 0."""
        return self._outage.lately(seconds)

    def behind(self) -> int | None:
        """How many offsets there are still to read, as the broker says now; None where it does not say."""
        # What several share (a `Reader`) does not tell.
        progress = getattr(self._consumer, "progress", None)
        found = None if progress is None or self._outage.awaited is not None else progress()
        return None if found is None else sum(end - at for at, end in found.values())

    @property
    def place(self) -> Place:
        """Behind the last record that `poll` returned, and not before where an earlier follower stood."""
        had = self._had
        return Place({p: max(at, had.get(p, at)) for p, at in self._positions.items()}, dict(self._marks))

    def poll(self, timeout_seconds: float) -> list[Record]:
        """The next records, waiting for them for about that long. Never raises: what goes wrong is said."""
        if self._consumer is None and not self._reopen():
            time.sleep(timeout_seconds)
            return []
        assert self._consumer is not None
        try:
            polled = self._consumer.poll(timeout_seconds)
            self._look()
            return self._fresh(self._take(polled))
        except BrokerError as error:
            self._lose(str(error))
            return []

    def _fresh(self, records: Sequence[Record]) -> list[Record]:
        """Those that have not been handed out; they have been then."""
        fresh = []
        for record in records:
            partition = (record.topic, record.partition)
            if record.offset >= self._positions[partition]:
                self._positions[partition] = record.offset + 1
                fresh.append(record)
        return fresh

    def is_old(self, record: Record) -> bool:
        """Whether a record that `poll` returned lies before the place where this follower was to go on."""
        return record.offset < self._had.get((record.topic, record.partition), 0)

    def settle(self, place: Place) -> None:
        """Note that all before `place` has been dealt with: whoever shares the work with others need not do it again.

        This one shares it with nobody, and remembers nothing.
        """

    def _open(self, transport: Transport, existing: Mapping[str, Existing]) -> Reader:
        self._positions = self._find_positions(transport, existing)
        return self._follow(transport, self._positions)

    def _take(self, polled: Polled) -> Sequence[Record]:
        """The records of what a consumer polled that are to be handed out."""
        return polled.records

    def _lose(self, why: str) -> None:
        self.close()
        self._fail(why)

    def _fail(self, why: str) -> None:
        pause = min(_RETRY_SECONDS * 2.0 ** min(self._failures, 16), _LONGEST_RETRY_SECONDS)
        self._failures += 1
        self._try_at = time.monotonic() + pause
        self._outage.begin(why)

    def _reopen(self) -> bool:
        now = time.monotonic()
        if now < self._try_at:
            return False
        try:
            transport = self._open_transport()
            existing = transport.existing(self._topics)
            self._note_missing(frozenset(self._topics) - existing.keys())
            if existing:
                self._transport, self._consumer = transport, self._open(transport, existing)
            self._existing, self._is_first = existing, False
            self._marks |= {topic: topic_mark(found.id) for topic, found in existing.items()}
            self._outage.end()
        except BrokerError as error:
            self._fail(str(error))
            return False
        self._failures = 0
        self._try_at = now + 2 * _RETRY_SECONDS
        self._ask_at = now + ASK_SECONDS
        return self._consumer is not None

    def _note_missing(self, missing: frozenset[str]) -> None:
        for topic in sorted(missing - self._missing):
            gone = topic in self._existing
            self._say(f"topic {topic} {'is gone' if gone else 'does not exist (yet)'}: waiting for it")
        for topic in sorted(self._missing - missing):
            self._say(f"topic {topic} exists now")
            self._came.add(topic)
        self._missing = missing

    def _find_positions(self, transport: Transport, existing: Mapping[str, Existing]) -> dict[Partition, int]:
        """Where to begin, or to go on. A partition that comes later is read from its start."""
        found: dict[Partition, int] = {}
        for topic, now in sorted(existing.items()):
            mark = self._marks.get(topic)
            is_new = mark is not None and mark != topic_mark(now.id)
            bounds = transport.offsets(topic)
            begin = self._begin(transport, topic, bounds) if self._is_first and topic not in self._came else {}
            for partition, (first, end) in bounds.items():
                at = self._positions.get(partition)
                if at is None:
                    at = max(first, begin.get(partition, first))
                elif is_new or at > end:
                    self._say(
                        f"topic {topic} was made anew, so what was sent last before that may be lost: beginning with "
                        "what is there now"
                    )
                    at = first
                    self._had.pop(partition, None)
                elif at < first:
                    self._say(
                        f"{topic}[{partition[1]}]: what was sent from offset {at} to {first - 1} was removed before it "
                        "could be read"
                    )
                    at = first
                elif partition in self._unread:
                    at = max(first, at - self._look_back)
                self._unread.discard(partition)
                found[partition] = at
        return found

    def _look(self) -> None:
        """See whether the broker is there (a consumer says nothing of that), and the topics are as they were.

        Raises:
            BrokerError: the broker is away.
        """
        if time.monotonic() < self._ask_at:
            return
        self._ask_at = time.monotonic() + ASK_SECONDS
        assert self._transport is not None
        if self._transport.existing(self._topics) != self._existing:
            self.close()  # to be opened with what there is now

    def close(self) -> None:
        """Close the connection; `poll` opens it again."""
        if self._consumer is not None:
            with contextlib.suppress(BrokerError):
                self._consumer.close()
            self._consumer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
