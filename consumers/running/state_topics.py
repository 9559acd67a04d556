"""The states of all cameras, workers and channels, from the topics on which they are told."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, Self

from consumers.outputs.follower import TopicFollower, from_now
from consumers.records.delivery import Delivery
from consumers.records.fields import RecordError
from consumers.records.states.camera_state import CameraState
from consumers.records.states.process import HEARTBEAT_SECONDS
from consumers.records.states.worker_state import WorkerState
from consumers.settings import TopicSettings
from stream import BrokerError, Record, Transport

from .overview import (
    DEAD_SECONDS,
    FORGET_CAMERA_SECONDS,
    ChannelTrouble,
    Overview,
    any_dead,
    judged_at,
    overview,
    silent_overview,
)

log = logging.getLogger(__name__)

#: So many of the newest records of a topic are read: the embedded broker keeps old ones, too. At a record every five
#: seconds that is 25 minutes of 16 cameras, or 50 seconds of 500.
_MAX_RECORDS: Final = 5_000
#: Cameras, and workers, of which states are kept at once; what further ones say is left out.
_MAX_STATES: Final = 20_000
#: Each process says something so often, if the broker takes it.
_SIGN_SECONDS: Final = HEARTBEAT_SECONDS + 2.0
_SIGN_LOOK_SECONDS: Final = 0.5
#: So many records that are not what their topic holds are named, the others counted.
_NAMED: Final = 10


@dataclass(slots=True)
class States:
    """The newest record of each camera and worker, by key."""

    cameras: dict[str, CameraState] = field(default_factory=dict)
    workers: dict[str, WorkerState] = field(default_factory=dict)
    #: Channels through which nothing gets, by name.
    channels: dict[str, ChannelTrouble] = field(default_factory=dict)
    #: Records that are not what their topic holds.
    left_out: int = 0
    _said_full: bool = False

    def take(self, record: Record, topics: TopicSettings) -> None:
        """Take what a record of one of the topics says; a record without a value takes its key away."""
        key = (record.key or b"").decode(errors="replace")
        try:
            if record.topic == topics.cameras_state:
                self._put(
                    self.cameras, key, None if record.value is None else CameraState.decode(record.value, record.where)
                )
            elif record.topic == topics.deliveries:
                self._note_delivery(Delivery.decode(record.key, record.value, record.where))
            else:
                self._put(
                    self.workers, key, None if record.value is None else WorkerState.decode(record.value, record.where)
                )
        except RecordError as error:
            self.left_out += 1
            if self.left_out <= _NAMED:
                log.warning("left out: %s", error)

    def _note_delivery(self, entry: Delivery) -> None:
        is_disabled = entry.state == "failed" and entry.why == "disabled"
        if entry.state == "sent" or entry.why == "no_channel":
            self.channels.pop(entry.channel, None)
        elif is_disabled or (entry.state == "retrying" and entry.pauses):
            before = self.channels.get(entry.channel)
            since_us = entry.time_us if before is None else before.since_us
            trouble = ChannelTrouble(since_us, entry.time_us, entry.why or "", entry.detail or "")
            self._put(self.channels, entry.channel, trouble)

    def _put(self, states: dict[str, Any], key: str, state: Any) -> None:
        if state is None:
            states.pop(key, None)
        elif key in states or len(states) < _MAX_STATES:
            states[key] = state
        elif not self._said_full:
            self._said_full = True
            log.warning("more than %d cameras or workers tell how they are: further ones are left out", _MAX_STATES)

    def forget(self, now_us: int) -> None:
        """Drop what is so old that nobody is told of it."""
        oldest_us = now_us - FORGET_CAMERA_SECONDS * 1_000_000
        for states in (self.cameras, self.workers, self.channels):
            for key in [key for key, state in states.items() if state.time_us < oldest_us]:
                del states[key]


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
