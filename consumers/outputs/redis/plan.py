"""From where the topics have to be read again, so that Redis shows what it is to keep and no more."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from consumers.settings import RedisSettings, TopicSettings
from stream import Partition, Record, Transport


@dataclass(frozen=True, slots=True)
class Rebuild:
    """What of a partition is to be shown: the newest records of each camera."""

    start: int
    #: Where the partition ended when the rebuild began.
    end: int
    #: By key: the oldest record that is to be shown.
    first: Mapping[bytes, int] = field(default_factory=dict)

    def leaves_out(self, record: Record) -> bool:
        """Whether a record is older than what is to be shown of its camera."""
        return record.offset < self.first.get(record.key or b"", self.start)


def plan_rebuild(
    transport: Transport,
    topics: TopicSettings,
    limits: RedisSettings,
    bounds: Mapping[Partition, tuple[int, int]],
    breathe: Callable[[], None],
) -> dict[Partition, Rebuild]:
    """Look through partitions for the newest records, of each camera or of all, that Redis is to keep.

    Args:
        transport: the broker.
        topics: the names of its topics.
        limits: how much is kept, and for how long.
        bounds: the first offset that is kept and the one after the last, of predictions and events.
        breathe: called for each record; what it raises ends the search.

    Raises:
        BrokerError: the broker is away.
    """
    plans: dict[Partition, Rebuild] = {}
    since_us = time.time_ns() // 1000 - round(limits.camera_hours * 3.6e9)
    since: Mapping[Partition, int] = {}
    if any(topic == topics.predictions for topic, _ in bounds):
        since = transport.sent_since(topics.predictions, since_us)
    for partition, (kept, end) in bounds.items():
        is_events = partition[0] == topics.events
        limit = limits.max_events if is_events else limits.max_predictions
        newest: dict[bytes, deque[int]] = {}
        for record in transport.read({partition: (max(kept, since.get(partition, kept)), end)}):
            breathe()
            # Of events, the newest of all cameras together.
            key = b"" if is_events else record.key or b""
            newest.setdefault(key, deque(maxlen=limit)).append(record.offset)
        first = {key: offsets[0] for key, offsets in newest.items()}
        start = min(first.values(), default=end)
        plans[partition] = Rebuild(start, end, {} if is_events else first)
    return plans
