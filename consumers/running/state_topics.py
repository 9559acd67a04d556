"""The states of all cameras, workers and channels, from the topics on which they are told."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Self

from consumers.outputs.follower import TopicFollower, from_now
from consumers.records.states.process import HEARTBEAT_SECONDS
from consumers.settings import TopicSettings
from stream import BrokerError, Record, Transport

from .newest_states import States
from .overview import DEAD_SECONDS, Overview, any_dead, judged_at, overview, silent_overview

log = logging.getLogger(__name__)

#: So many of the newest records of a topic are read: the embedded broker keeps old ones, too. At a record every five
#: seconds that is 25 minutes of 16 cameras, or 50 seconds of 500.
_MAX_RECORDS: Final = 5_000
#: Each process says something so often, if the broker takes it.
_SIGN_SECONDS: Final = HEARTBEAT_SECONDS + 2.0
_SIGN_LOOK_SECONDS: Final = 0.5


def _topics_of_states(topics: TopicSettings, *, channels: bool) -> list[str]:
    return [topics.cameras_state, topics.workers_state, *([topics.deliveries] if channels else [])]


def _may_read_ledger(transport: Transport, topics: TopicSettings) -> bool:
    """Whether nothing keeps us from the ledger: who may see how cameras are need not see who is told of events."""
    if not transport.existing([topics.deliveries]):
        return True
    try:
        bounds = transport.offsets(topics.deliveries)
        for _ in transport.read({p: (max(first, end - 1), end) for p, (first, end) in bounds.items()}):
            pass
    except BrokerError as error:
        log.info("channels of notifications are left out: %s", error)
        return False
    return True


def read_states(
    transport: Transport, topics: TopicSettings, most_records: int | None = None, *, channels: bool = False
) -> States:
    """What the topics say now, as far as so many of their newest records tell it (5,000, if not given).

    With `channels` the ledger is read, too, where there is one that we may read.

    Raises:
        BrokerError: the broker does not answer.
    """
    channels = channels and _may_read_ledger(transport, topics)
    present = transport.existing(_topics_of_states(topics, channels=channels))

    def newest(topic: str) -> list[Record]:
        most = most_records or _MAX_RECORDS
        ranges = {p: (max(first, end - most), end) for p, (first, end) in transport.offsets(topic).items()}
        records = transport.read(ranges)
        # Of a ledger all entries count: the first one says since when, the newest may be about another message.
        return list(records) if topic == topics.deliveries else list({each.key: each for each in records}.values())

    states = States()
    # All at once: most of the time goes by in waiting for the broker.
    with ThreadPoolExecutor(max_workers=3) as pool:
        for records in pool.map(newest, sorted(present)):
            for record in records:
                states.take(record, topics)
    return states


def read_settled_states(transport: Transport, topics: TopicSettings, *, channels: bool = False) -> States:
    """As `read_states`. Where all fell silent together, they are given a moment: the broker may just have come back.

    Raises:
        BrokerError: the broker does not answer.
    """
    until = time.monotonic() + _SIGN_SECONDS
    states = read_states(transport, topics, channels=channels)
    if overview(states, time.time_ns() // 1000).silent_together is None:
        return states
    # One that speaks shows that the broker takes something; the others had then the same time to do so.
    while time.monotonic() < until and any_dead(overview(states, time.time_ns() // 1000)):
        time.sleep(_SIGN_LOOK_SECONDS)
        states = read_states(transport, topics, channels=channels)
    return states


class StatesFollower:
    """What the topics say now, and from now on. Use as a context manager."""

    def __init__(
        self,
        transport: Transport,
        topics: TopicSettings,
        broker: str,
        most_records: int | None = None,
        *,
        channels: bool = False,
    ) -> None:
        """Read what is there.

        Args:
            transport: the broker.
            topics: the names of its topics.
            broker: its name and address, to be told.
            most_records: as of `read_states`, and so is what follows.
            channels: whether the ledger is read, too.

        Raises:
            BrokerError: the broker does not answer.
        """
        self._topics = topics
        channels = channels and _may_read_ledger(transport, topics)
        names = _topics_of_states(topics, channels=channels)
        self._follower = TopicFollower(lambda: transport, broker, names, log.info, begin=from_now)
        # First: what comes while the stored records are read is then seen twice, and not missed.
        self._follower.poll(0.0)
        self.states = read_states(transport, topics, most_records, channels=channels)

    @property
    def awaited(self) -> str | None:
        """What is waited for and since when, in words; None where the states are those of now."""
        return self._follower.awaited

    def poll(self, timeout_seconds: float) -> bool:
        """Take what comes within about that time; whether anything did."""
        records = self._follower.poll(timeout_seconds)
        for record in records:
            self.states.take(record, self._topics)
        return bool(records)

    def overview(self) -> Overview:
        """How everything is now, as far as the broker tells it."""
        now_us = time.time_ns() // 1000
        awaited = self._follower.awaited
        if awaited is not None:
            # Old records are no sign of dead processes then, and are not to be shown as if they were new.
            return silent_overview(now_us, f"waiting for {awaited}")
        return overview(self.states, judged_at(now_us, self._follower.was_away(DEAD_SECONDS)))

    def close(self) -> None:
        """Read no more."""
        self._follower.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
