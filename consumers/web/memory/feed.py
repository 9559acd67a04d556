"""What is read of a topic for all clients: by one consumer, from its newest records on, for as long as it takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

from consumers.outputs.follower import Bounds, TopicFollower
from consumers.records.states.away import Away
from stream import Partition, Record, Transport

_POLL_SECONDS: Final = 0.25
#: How often the broker is asked how much is still to be read.
_LOOK_SECONDS: Final = 2.0
_END_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class FeedHealth:
    """How far a feed is."""

    topics: tuple[str, ...]
    #: That the broker is away, and since when, in words; None where it is there.
    away: str | None
    #: What that is made of.
    outage: Away | None
    #: Whether nothing was written yet, so that there is no such topic.
    is_missing: bool
    #: How many offsets are still to be read; None before the broker has said so, and while it is away.
    behind: int | None
    #: Whether all that was there when it began has been read.
    is_begun: bool
    #: Records that were taken since the start.
    records: int
    #: Offsets before those with which it began, which were not read.
    left_out: int

    @property
    def is_caught_up(self) -> bool:
        return self.away is None and (self.is_missing or self.behind == 0)

    @property
    def waiting(self) -> str | None:
        """Why what is kept may not be what there is, in words; None where it is."""
        if self.away is not None or self.is_begun or self.is_missing:
            return self.away
        return f"what is on {self.topics[0]} is still being read"


class Feed:
    """Hands the records of some topics to `take`, in a thread of its own. Use as a context manager."""

    def __init__(
        self,
        connect: Callable[[], Transport],
        broker: str,
        topics: Sequence[str],
        take: Callable[[Record], None],
        say: Callable[[str], None],
        *,
        most: int,
        tidy: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare.

        Args:
            connect: connects to the broker, or raises BrokerError.
            broker: its name and address, to be told.
            topics: what to read; one that does not exist yet is waited for.
            take: takes a record; raises nothing.
            say: told what is waited for, in one line, and what was lost.
            most: so many of the newest records of each partition are read, at most.
            tidy: called every two seconds.
        """
        self._topics, self._take, self._most, self._tidy = tuple(topics), take, most, tidy
        self._records = self._left_out = 0
        self._behind: int | None = None
        self._is_begun = False
        self._follower = TopicFollower(*(connect, broker, topics, say), begin=self._begin)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"feed {topics[0]}", daemon=True)

    @property
    def health(self) -> FeedHealth:
        """How far it is. Any thread may ask."""
        outage = self._follower.away
        return FeedHealth(
            topics=self._topics,
            away=None if outage is None else str(outage),
            outage=outage,
            is_missing=outage is None and self._follower.awaited is not None,
            behind=self._behind if outage is None else None,
            is_begun=self._is_begun,
            records=self._records,
            left_out=self._left_out,
        )

    def was_away(self, seconds: float) -> float:
        """See `TopicFollower.was_away`. Any thread may ask."""
        return self._follower.was_away(seconds)

    def _begin(self, transport: Transport, topic: str, bounds: Bounds) -> Mapping[Partition, int]:  # noqa: ARG002  a Begin
        found = {partition: max(first, end - self._most) for partition, (first, end) in bounds.items()}
        self._left_out += sum(found[partition] - first for partition, (first, _) in bounds.items())
        return found

    def _run(self) -> None:
        look_at = 0.0
        with self._follower:
            while not self._stop.is_set():
                records = self._follower.poll(_POLL_SECONDS)
                for record in records:
                    self._take(record)
                self._records += len(records)
                if time.monotonic() >= look_at:
                    self._look()
                    look_at = time.monotonic() + (_LOOK_SECONDS if self._is_begun else _POLL_SECONDS)

    def _look(self) -> None:
        self._tidy()
        self._behind = self._follower.behind()
        # Where there was no such topic, nothing was there to be read.
        self._is_begun = self._is_begun or self._behind == 0 or self.health.is_missing

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(_END_SECONDS)
