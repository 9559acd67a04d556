"""For how long a record has waited on its topic: by our own clock, and by its sender's only where ours agrees.

asked at      0 s     1 s     2 s     3 s                 the time at which a record was sent is that of its agent's
end           100     110     120     130                 clock, which may be minutes late or ahead
record 115    is there at 1.5 s: it has waited since then
record 80     was there before we were: at 10 a second, it came 2 s before
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Mapping
from typing import Final

from stream import Partition, Record

#: So many ends of a partition are kept: a quarter of an hour, asked each second.
_KNOWN: Final = 900
#: How often a broker is asked where partitions end.
ASK_SECONDS: Final = 1.0
#: Nothing is known of what was there before us until we have looked for so long.
_LEAST_SECONDS: Final = 2.0
#: So many unread segments of each camera of a partition are no backlog.
_UNREAD_SEGMENTS: Final = 4
#: A sender's clock is believed while it is no more wrong than this.
_CLOCK_SECONDS: Final = 5.0


def now() -> float:
    """Seconds of the clock that all this goes by."""
    return time.monotonic()


class Arrivals:
    """Of the partitions of one worker."""

    def __init__(self) -> None:
        #: When it was asked where a partition ends, and what the answer was; of equal ones the first and the last.
        self._ends: dict[Partition, deque[tuple[float, int]]] = {}
        #: By partition, how many cameras it has.
        self._cameras: Counter[Partition] = Counter()
        self._asked_at = float("-inf")

    def is_due(self, at: float) -> bool:
        """Whether it is to be asked again where partitions end: what a fetch told of it may be old by then."""
        return at >= self._asked_at + ASK_SECONDS

    def note(self, ends: Mapping[Partition, int] | None, cameras: Counter[Partition], at: float) -> None:
        """Note where the worker's partitions end now, if the broker told, and how many cameras each has."""
        self._asked_at, self._cameras = at, cameras
        if ends is None:
            return
        self._ends = {p: self._ends.get(p) or deque(maxlen=_KNOWN) for p in ends}
        for partition, end in ends.items():
            known = self._ends[partition]
            if known and known[-1][1] > end:
                known.clear()  # it is another topic, or has lost its newest records
            if len(known) > 1 and known[-2][1] == end:
                known.pop()
            known.append((at, end))

    def waited(self, partition: Partition, offset: int, at: float) -> float | None:
        """Seconds since the record at an offset was stored; None where that is not known yet.

        0 where few wait behind it: whoever has nothing else to read is not behind.
        """
        known = self._ends.get(partition)
        if not known:
            return None
        (first_at, first_end), (last_at, last_end) = known[0], known[-1]
        if last_end - offset <= _UNREAD_SEGMENTS * max(1, self._cameras[partition]):
            return 0.0
        if offset < first_end:
            if at - first_at < _LEAST_SECONDS:
                return None
            # What came before we looked came as fast as what came since; if nothing did, that is all that is known.
            grown = last_end - first_end
            before = (first_end - offset) * (last_at - first_at) / grown if grown else 0.0
            return at - first_at + before
        after = bisect_right(known, offset, key=lambda each: each[1])
        (since, begin), (until, end) = known[after - 1], known[after]
        return at - (since + (until - since) * (offset + 1 - begin) / (end - begin))

    def late(self, record: Record) -> float:
        """Seconds since a record was stored: by the clock of who sent it, unless ours tells that it is wrong."""
        by_sender = max(0.0, time.time() - record.sent_us / 1e6)
        by_us = self.waited((record.topic, record.partition), record.offset, now())
        return by_sender if by_us is None or abs(by_sender - by_us) <= _CLOCK_SECONDS else by_us
