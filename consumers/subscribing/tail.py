"""The newest records of a topic, read once for all subscribers of a process that are up to date.

    broker ─▶ one consumer ─▶ the newest records ─┬─▶ a subscriber at the end
                                                  └─▶ a subscriber at the end
    broker ─▶ a consumer of its own ────────────────▶ a subscriber that is behind, until it has caught up

Nobody waits for a subscriber: what it has not taken when it goes from here, it reads from the topic by itself.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from stream import BrokerError, Partition, Polled, Reader, Record, Transport

_POLL_SECONDS: Final = 0.25
#: A tail that nobody has asked for so long ends.
_IDLE_SECONDS: Final = 10.0
#: What is kept, of records and of their bytes; the newest record is, whatever its size.
_MOST_RECORDS: Final = 2_000
_MOST_BYTES: Final = 16 * 1024 * 1024

Positions = Mapping[Partition, int]


class Tail:
    """Reads on from some offsets until nobody asks any more. Any thread may ask."""

    def __init__(self, reader: Reader, positions: Positions) -> None:
        """Begin.

        Args:
            reader: reads on from `positions`; the tail closes it.
            positions: the offset to read next, by partition.
        """
        self._reader = reader
        self._changed = threading.Condition()
        self._records: deque[Record] = deque()
        self._bytes = 0
        #: The number of the oldest record that is kept; records are counted from 0.
        self._first = 0
        #: By partition: all records from this offset on are kept.
        self._from = dict(positions)
        self._failure: BrokerError | None = None
        self._asked_at = time.monotonic()
        self.is_over = False
        threading.Thread(target=self._run, name="newest events", daemon=True).start()

    def join(self, positions: Positions) -> int | None:
        """The number of a record before which none of those behind these offsets lies; None if some are not kept."""
        with self._changed:
            self._asked_at = time.monotonic()  # whoever is behind will be there
            # Of a topic that was made anew some partitions may not be there any more.
            is_kept = not self.is_over and all(at >= self._from.get(each, at + 1) for each, at in positions.items())
            return self._first if is_kept else None

    def take(self, number: int, timeout_seconds: float) -> tuple[list[Record], int] | None:
        """Records from a number on, and the number of the next; none after the timeout.

        Returns:
            None where not all of them are kept any more.

        Raises:
            BrokerError: the broker does not answer, or refuses.
        """
        with self._changed:
            self._asked_at = time.monotonic()
            self._changed.wait_for(lambda: self.is_over or self._next > number, timeout_seconds)
            if self._failure is not None:
                raise type(self._failure)(*self._failure.args)
            if self.is_over or number < self._first:
                return None
            return list(itertools.islice(self._records, number - self._first, None)), self._next

    @property
    def _next(self) -> int:
        return self._first + len(self._records)

    def _run(self) -> None:
        try:
            while time.monotonic() - self._asked_at < _IDLE_SECONDS:
                if records := self._reader.poll(_POLL_SECONDS).records:
                    with self._changed:
                        for record in records:
                            self._keep(record)
                        self._changed.notify_all()
        except BrokerError as error:
            self._failure = error
        finally:
            with self._changed:
                self.is_over = True
                self._records.clear()
                self._changed.notify_all()
            with contextlib.suppress(BrokerError):
                self._reader.close()

    def _keep(self, record: Record) -> None:
        self._records.append(record)
        self._bytes += _size(record)
        while len(self._records) > 1 and (len(self._records) > _MOST_RECORDS or self._bytes > _MOST_BYTES):
            oldest = self._records.popleft()
            self._bytes -= _size(oldest)
            self._first += 1
            self._from[oldest.topic, oldest.partition] = oldest.offset + 1


def _size(record: Record) -> int:
    """Bytes that others have put into a record."""
    return len(record.key or b"") + len(record.value or b"") + sum(len(k) + len(v) for k, v in record.headers)


class TailReader:
    """Reads on from some offsets: from the tail where that has them, else by itself."""

    def __init__(self, tail: Callable[[], Tail], alone: Callable[[Positions], Reader], positions: Positions) -> None:
        """Prepare.

        Args:
            tail: the tail of these partitions; raises BrokerError.
            alone: opens a consumer that reads on from offsets; raises BrokerError.
            positions: the offset to read next, by partition.
        """
        self._find_tail, self._read_alone = tail, alone
        self._positions = dict(positions)
        self._tail: Tail | None = None
        #: Of the record of the tail to read next.
        self._number = 0
        self._alone: Reader | None = None

    def poll(self, timeout_seconds: float) -> Polled:
        if self._is_joined() and (found := self._from_tail(timeout_seconds)) is not None:
            return found
        if self._alone is None:
            self._alone = self._read_alone(self._positions)
        polled = self._alone.poll(timeout_seconds)
        self._positions |= {(r.topic, r.partition): r.offset + 1 for r in polled.records}
        return polled

    def close(self) -> None:
        self._tail = None
        if self._alone is not None:
            self._alone.close()
            self._alone = None

    def _is_joined(self) -> bool:
        if self._tail is None:
            tail = self._find_tail()
            if (number := tail.join(self._positions)) is None:
                return False
            self.close()
            self._tail, self._number = tail, number
        return True

    def _from_tail(self, timeout_seconds: float) -> Polled | None:
        assert self._tail is not None
        if (found := self._tail.take(self._number, timeout_seconds)) is None:
            self._tail = None
            return None
        records, self._number = found
        # Of those that were kept when it joined, it has had some.
        fresh = [r for r in records if r.offset >= self._positions[r.topic, r.partition]]
        self._positions |= {(r.topic, r.partition): r.offset + 1 for r in fresh}
        return Polled(records=fresh)


class Tails:
    """The tail of each topic that somebody follows. Any thread may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: By partitions, and by the ids of their topics.
        self._tails: dict[tuple[frozenset[Partition], frozenset[str]], Tail] = {}

    def follow(self, transport: Transport, positions: Positions) -> Reader:
        """Read on from some offsets: a `Follow`.

        Raises:
            BrokerError: the broker does not answer, or refuses.
        """
        topics = {topic for topic, _ in positions}
        ids = frozenset(found.id for found in transport.existing(topics).values())

        def begin() -> Tail:
            ends = {p: end for topic in topics for p, (_, end) in transport.offsets(topic).items() if p in positions}
            return Tail(transport.follow(ends), ends)

        return TailReader(lambda: self._get(positions, ids, begin), transport.follow, positions)

    def _get(self, partitions: Iterable[Partition], ids: frozenset[str], begin: Callable[[], Tail]) -> Tail:
        key = frozenset(partitions), ids
        with self._lock:
            self._tails = {name: tail for name, tail in self._tails.items() if not tail.is_over}
            if key not in self._tails:
                self._tails[key] = begin()
            return self._tails[key]
