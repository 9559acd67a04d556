"""The dead letters on their topic: found, looked at, sent again and deleted."""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from consumers.forgetting import read_forgotten
from consumers.forgetting.search import record_matchers
from consumers.records.dead_letter import DeadLetter
from consumers.records.fields import RecordError
from consumers.settings import TopicSettings
from stream import KafkaTransport, Partition, Record, SourceError, Transport

_NAME: Final = re.compile(r"(?P<topic>.+)\[(?P<partition>\d{1,9})\]@(?P<offset>\d{1,18})")
#: Records are read backwards, so many offsets at once: few at first, as the newest are mostly enough.
_FIRST_READ: Final = 64
_MAX_READ: Final = 1024


@dataclass(frozen=True, slots=True)
class Summary:
    """A dead letter without what it carries."""

    #: "topic[partition]@offset" of the dead letter itself.
    where: str
    #: When it was sent to its topic, wall clock, in microseconds since the Unix epoch.
    sent_us: int
    #: Its key: the camera, where the record was one of a camera.
    camera: str
    #: Of the value, as the record had it.
    bytes: int
    origin: str
    reason: str
    #: Whether somebody had the time that it is of forgotten: nobody is shown it.
    is_forgotten: bool


class DeadLetters:
    """Those of one broker; what is read is committed."""

    def __init__(self, transport: Transport, topics: TopicSettings) -> None:
        """Look for the topic; where there is none yet, there are no dead letters.

        Raises:
            BrokerError: the broker is gone, or does not let us read what is forgotten.
        """
        self._transport, self._topics = transport, topics
        #: Whether the topic exists: the first worker makes it.
        self.has_topic = bool(transport.existing([topics.deadletter]))
        self._is_forgotten = record_matchers(topics, read_forgotten(transport, topics))[topics.deadletter]

    def newest(self, since_us: int | None = None) -> Iterator[Summary]:
        """What was sent since then, the newest first."""
        if not self.has_topic:
            return
        bounds = self._transport.offsets(self._topics.deadletter)
        since = {} if since_us is None else self._transport.sent_since(self._topics.deadletter, since_us)
        parts = [self._backwards(p, max(first, since.get(p, first)), end) for p, (first, end) in bounds.items()]
        for summary in heapq.merge(*parts, key=lambda s: s.sent_us, reverse=True):
            if since_us is None or summary.sent_us >= since_us:
                yield summary

    def _backwards(self, partition: Partition, first: int, end: int) -> Iterator[Summary]:
        count = _FIRST_READ
        while end > first:
            begin = max(first, end - count)
            found = [self._summary(record) for record in self._transport.read({partition: (begin, end)})]
            yield from reversed(found)
            end, count = begin, min(2 * count, _MAX_READ)

    def find(self, name: str) -> tuple[DeadLetter, Record]:
        """The dead letter "topic[partition]@offset", and the record that it is.

        Raises:
            SourceError: there is none there (any more), or it is forgotten.
        """
        topic, place = self._topics.deadletter, _NAME.fullmatch(name)
        if place is None or place["topic"] != topic:
            raise SourceError(f"{name}: expected the name of a dead letter, such as {topic}[0]@17")
        partition, offset = (topic, int(place["partition"])), int(place["offset"])
        if not self.has_topic:
            raise SourceError(f"{name}: there is no topic {topic} yet: no worker has run on this broker")
        bounds = self._transport.offsets(topic)
        if partition not in bounds:
            raise SourceError(f"{name}: {topic} has partitions 0 to {len(bounds) - 1}")
        first, end = bounds[partition]
        records = list(self._transport.read({partition: (offset, offset + 1)})) if first <= offset < end else []
        if not records:
            raise SourceError(f"{name}: no record there; offsets that are kept lie from {first} to {end - 1}")
        if self._is_forgotten(records[0]):
            raise SourceError(f"{name}: forgotten (`clipline forget --check`)")
        try:
            return DeadLetter.decode(records[0].key, records[0].headers, records[0].value, name), records[0]
        except RecordError as error:
            raise SourceError(str(error)) from None

    def send_again(self, name: str) -> DeadLetter:
        """Send the record to the segments topic once more, as it was; the dead letter stays.

        Raises:
            SourceError: there is none, or not all of the record is there.
            BrokerError: it is not stored, as far as is known.
        """
        letter, _ = self.find(name)
        if not letter.is_whole:
            raise SourceError(f"{name}: the record was too large to be kept whole, so it cannot be sent again")
        producer = self._transport.producer()
        try:
            producer.send(self._topics.segments, letter.key, letter.headers, letter.value)
            producer.flush()
        finally:
            producer.close()
        return letter

    def _summary(self, record: Record) -> Summary:
        camera, gone = (record.key or b"").decode(errors="backslashreplace"), self._is_forgotten(record)
        try:
            letter = DeadLetter.decode(record.key, record.headers, record.value, record.where)
        except RecordError as error:
            return Summary(record.where, record.sent_us, camera, len(record.value or b""), "", str(error), gone)
        size = len(letter.value) if letter.cut_from is None else letter.cut_from
        return Summary(record.where, record.sent_us, camera, size, letter.origin, letter.reason, gone)


def delete_dead_letters(transport: KafkaTransport, topics: TopicSettings, before_us: int | None) -> int:
    """Delete those that were sent before a time, or all, and return how many that were.

    They are read to be counted: offsets are also of the ends of transactions.

    Raises:
        BrokerError: the broker refuses, or cannot delete records.
    """
    if not transport.existing([topics.deadletter]):
        return 0
    bounds = transport.offsets(topics.deadletter)
    ends = {partition: end for partition, (_, end) in bounds.items()}
    if before_us is not None:
        ends = {**ends, **transport.sent_since(topics.deadletter, before_us)}
    to_delete = {partition: end for partition, end in ends.items() if end > bounds[partition][0]}
    count = sum(1 for _ in transport.read({p: (bounds[p][0], end) for p, end in to_delete.items()}))
    if to_delete:
        transport.delete_before(to_delete)
    return count
