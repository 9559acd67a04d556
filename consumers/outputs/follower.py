"""Following topics for as long as it takes: a broker that is away is waited for, and reading goes on where it was."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Self

from stream import BrokerError, Consumer, Existing, Partition, Record, Transport

from .outages import ASK_SECONDS, Outage

#: How often it is tried again.
_RETRY_SECONDS: Final = 1.0


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
        from_start: bool,
    ) -> None:
        """Prepare; `poll` connects.

        Args:
            open_transport: connects to the broker, or raises BrokerError.
            name: of the broker, with its address.
            topics: what to read. Those that do not exist are waited for.
            say: told what is waited for, in one line, and when it is back.
            from_start: begin with the oldest record kept, else with the next to come.
        """
        self._open_transport, self._topics, self._say = open_transport, tuple(topics), say
        self._outage = Outage(name, say)
        self._from_start, self._is_first = from_start, True
        self._transport: Transport | None = None
        self._consumer: Consumer | None = None
        self._missing: frozenset[str] = frozenset()
        #: The topics as they were when `_positions` were found.
        self._existing: Mapping[str, Existing] = {}
        #: Where to go on.
        self._positions: dict[Partition, int] = {}
        self._try_at = self._ask_at = 0.0

    @property
    def awaited(self) -> str | None:
        """What is waited for and since when, in words; None where nothing is."""
        return self._outage.awaited

    @property
    def away_seconds(self) -> float:
        """For how long the broker has been away; 0 where it is there."""
        return self._outage.seconds

    def poll(self, timeout_seconds: float) -> list[Record]:
        """The next records, waiting for them for about that long. Never raises: what goes wrong is said."""
        if self._consumer is None and not self._reopen():
            time.sleep(timeout_seconds)
            return []
        assert self._consumer is not None
        try:
            records = list(self._consumer.poll(timeout_seconds).records)
            self._look()
        except BrokerError as error:
            self._lose(str(error))
            return []
        fresh = []
        for record in records:
            partition = (record.topic, record.partition)
            if record.offset >= self._positions[partition]:
                self._positions[partition] = record.offset + 1
                fresh.append(record)
        return fresh

    def _lose(self, why: str) -> None:
        self.close()
        self._try_at = time.monotonic() + _RETRY_SECONDS
        self._outage.begin(why)

    def _reopen(self) -> bool:
        now = time.monotonic()
        if now < self._try_at:
            return False
        self._try_at = now + _RETRY_SECONDS
        try:
            transport = self._open_transport()
            existing = transport.existing(self._topics)
            self._note_missing(frozenset(self._topics) - existing.keys())
            self._positions = self._find_positions(transport, existing)
            self._existing, self._is_first = existing, False
            self._outage.end()
            if not existing:
                return False
            self._transport, self._consumer = transport, transport.follow(self._positions)
        except BrokerError as error:
            self._outage.begin(str(error))
            return False
        self._ask_at = now + ASK_SECONDS
        return True

    def _note_missing(self, missing: frozenset[str]) -> None:
        for topic in sorted(missing - self._missing):
            gone = topic in self._existing
            self._say(f"topic {topic} {'is gone' if gone else 'does not exist (yet)'}: waiting for it")
        for topic in sorted(self._missing - missing):
            self._say(f"topic {topic} exists now")
        self._missing = missing

    def _find_positions(self, transport: Transport, existing: Mapping[str, Existing]) -> dict[Partition, int]:
        """Where to begin, or to go on. A partition that comes later is read from its start."""
        found: dict[Partition, int] = {}
        for topic, now in sorted(existing.items()):
            before = self._existing.get(topic)
            is_new = before is not None and before.id != now.id
            for partition, (first, end) in transport.offsets(topic).items():
                at = self._positions.get(partition)
                if at is None:
                    at = end if self._is_first and not self._from_start else first
                elif is_new or at > end:
                    self._say(
                        f"topic {topic} was made anew, so what was sent last before that may be lost: beginning with "
                        "what is there now"
                    )
                    at = first
                elif at < first:
                    self._say(
                        f"{topic}[{partition[1]}]: what was sent from offset {at} to {first - 1} was removed before it "
                        "could be read"
                    )
                    at = first
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
