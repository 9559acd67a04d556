"""Where a group begins with partitions that it has not read yet: decided once for all of them, by its first worker.

    key                      value
    GROUP//start             by number of partition, the first offset to read

What a partition is given before a worker comes to it is not lost: the next one begins where the first one would have.
A partition that is not named was added later, and is read from its start.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from pydantic import TypeAdapter, ValidationError

from consumers.records.fields import what_is_wrong
from consumers.records.group_keys import group_key
from consumers.settings import SettingsError, TopicSettings
from consumers.times import parse_time_us
from stream import Partition, Transport

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Start:
    """What stands on the state topic."""

    #: Of the segments topic that the offsets are of.
    topic_id: str
    offsets: dict[int, int] = field(default_factory=dict)
    version: Literal[1] = 1


_START: Final = TypeAdapter(_Start)
#: So many partitions are named where a group goes on.
_NAMED: Final = 8


def goes_on(group: str, begin: str, topic: str, offsets: Mapping[int, int]) -> str:
    """Where a group that has begun before goes on, in one line: by number of partition, the offset that is next."""
    places = [f"{topic}[{number}]@{offset}" for number, offset in sorted(offsets.items())]
    more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
    return (
        f"group {group} has begun before and goes on where it stopped, at {', '.join(places[:_NAMED])}{more}: "
        f"worker.start (--from) = {begin} is for new groups; give another name with --group to begin there"
    )


class GroupStart:
    """Of one consumer group."""

    def __init__(self, transport: Transport, topics: TopicSettings, group: str, begin: str) -> None:
        """Begin at `begin`: "earliest", "now", or a time such as 2026-11-24T08:00:00Z, if it has not begun before."""
        self._transport, self._segments, self._state = transport, topics.segments, topics.state
        self._group, self._begin = group, begin
        self._key = group_key(group, "/start")
        self._found: Mapping[int, int] | None = None

    def offsets(self) -> Mapping[int, int]:
        """By number of partition, the first offset to read.

        Raises:
            BrokerError: the broker does not answer.
            SettingsError: the group is new and would begin in the future.
        """
        if self._found is None:
            if (found := self._read()) is None:
                self._write(self._decide())
                # Another worker may have begun at the same moment: what is stored last holds for both.
                found = self._read()
            self._found = found or {}
        return self._found

    def _read(self) -> Mapping[int, int] | None:
        value = None
        for record in self._transport.read_to_end([(self._state, 0)]):
            if record.key == self._key:
                value = record.value
        if value is None:
            return None
        try:
            found = _START.validate_json(value)
        except ValidationError as error:
            log.warning("where group %s began cannot be read: it begins anew (%s)", self._group, what_is_wrong(error))
            return None
        # Offsets say nothing of a topic that was made anew: all of it came since.
        return found.offsets if found.topic_id == self._id() else {}

    def _write(self, offsets: Mapping[int, int]) -> None:
        left_out = sum(offsets.get(n, 0) - first for (_, n), (first, _) in self._bounds().items() if n in offsets)
        if left_out > 0:
            log.warning(
                "group %s is new and begins at %s: %d segments that were sent before are left out "
                "(a new group with --from earliest takes them, too)",
                *(self._group, self._begin, left_out),
            )
        producer = self._transport.producer()
        try:
            producer.send(self._state, self._key, [], _START.dump_json(_Start(self._id(), dict(offsets))), 0)
            producer.flush()
        finally:
            producer.close()

    def _decide(self) -> Mapping[int, int]:
        if self._begin == "earliest":
            return {}
        if self._begin == "now":
            return {number: end for (_, number), (_, end) in self._bounds().items()}
        since_us = parse_time_us(self._begin)
        if since_us > time.time_ns() // 1000:
            raise SettingsError(
                f"worker.start (--from) = {self._begin}: expected a time that is past, now, or earliest"
            )
        ends = self._bounds()
        first = self._transport.sent_since(self._segments, since_us)
        return {
            partition[1]: self._first_sent(partition, at, ends[partition][1], since_us)
            for partition, at in first.items()
        }

    def _first_sent(self, partition: Partition, first: int, end: int, since_us: int) -> int:
        """The broker's index may be coarse: look for the record itself."""
        records = self._transport.read({partition: (first, end)})
        return next((record.offset for record in records if record.sent_us >= since_us), end)

    def _bounds(self) -> Mapping[Partition, tuple[int, int]]:
        return self._transport.offsets(self._segments)

    def _id(self) -> str:
        return self._transport.existing([self._segments])[self._segments].id
