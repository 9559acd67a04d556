"""The newest states of all cameras, workers and channels, as their records tell them: kept, and not judged."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any, Final

from consumers.records.delivery import Delivery
from consumers.records.fields import RecordError
from consumers.records.states.camera_state import CameraState
from consumers.records.states.worker_state import WorkerState
from consumers.settings import TopicSettings
from stream import Record

log = logging.getLogger(__name__)

#: The state of a camera that nobody reads any more is kept for so long.
FORGET_CAMERA_SECONDS: Final = 24 * 3600
#: Cameras, and workers, of which states are kept at once; what further ones say is left out.
_MAX_STATES: Final = 20_000
#: So many records that are not what their topic holds are named, the others counted.
_NAMED: Final = 10


@dataclass(frozen=True, slots=True)
class ChannelTrouble:
    """A channel of notifications through which nothing gets; wall clock in microseconds, of the notifier."""

    since_us: int
    #: When it was tried last.
    time_us: int
    #: In one word, and what the other side said.
    why: str
    detail: str


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
