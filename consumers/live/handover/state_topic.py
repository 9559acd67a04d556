"""The state topic: what a worker knows goes there with its results, and who takes over begins with it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace

from consumers.records.fields import RecordError
from consumers.settings import TopicSettings
from stream import Partition, Producer, Publisher, Record, Transport

from .in_hand import InHand, decode_in_hand, encode_in_hand
from .marks import Known, lost_tails
from .progress import CameraProgress, PartitionProgress, decode_progress, encode_progress, progress_key

log = logging.getLogger(__name__)


class StateTopic:
    """Of one consumer group.

    What is known of a partition lies on the partition of the same number; where segments have more partitions than the
    state, it is the number modulo those.
    """

    def __init__(self, transport: Transport, topics: TopicSettings, group: str) -> None:
        self._transport, self._group = transport, group
        self.segments, self._topic = topics.segments, topics.state
        found = transport.existing([topics.state, topics.segments])
        self._partitions = found[topics.state].partitions
        #: Offsets say nothing any more where the topic was deleted and made anew.
        self._segments_id = found[topics.segments].id
        #: Records that could not be used.
        self.unusable = 0
        #: Partitions of which the newest `read` found what was known of a topic that is no more.
        self.anew: frozenset[int] = frozenset()
        #: Those that do not hold any more what was taken of them, and from which offset on.
        self.lost: Mapping[int, int] = {}
        #: What workers noted of the partitions of the newest `read`, by number.
        self.in_hand: Mapping[int, InHand] = {}

    def note(self, producer: Producer, note: InHand) -> None:
        """Send what is in hand, in no transaction: it is to be there if its sender dies."""
        key, value = encode_in_hand(self._group, replace(note, topic_id=self._segments_id))
        producer.send(self._topic, key, [], value, note.partition % self._partitions)

    def write(
        self,
        publisher: Publisher,
        changes: Iterable[tuple[Partition, CameraProgress | PartitionProgress | str]],
    ) -> None:
        """Send what changed; a name is a camera that is forgotten."""
        for (_, number), change in changes:
            key: bytes
            value: bytes | None
            if isinstance(change, str):
                key, value = progress_key(self._group, change), None
            else:
                key, value = encode_progress(self._group, replace(change, topic_id=self._segments_id))
            publisher.send(self._topic, key, [], value, number % self._partitions)

    def read(
        self, partitions: Iterable[Partition]
    ) -> tuple[list[CameraProgress | PartitionProgress], dict[Partition, int]]:
        """What is known of these partitions; waits for transactions of workers that had them before.

        A record that cannot be used is logged, counted, and as if it were not there.

        Returns:
            what is known, and by partition the first offset that the broker still keeps.

        Raises:
            BrokerError: the broker does not answer, or a transaction does not end.
        """
        numbers = {number for _, number in partitions}
        newest: dict[tuple[int, bytes | None], Record] = {}
        for record in self._transport.read_to_end({(self._topic, n % self._partitions) for n in sorted(numbers)}):
            newest[record.partition, record.key] = record
        found, noted = self._decoded(newest.values())
        self.in_hand = {each.partition: each for each in noted if each.topic_id == self._segments_id}
        self.anew = frozenset(
            each.partition
            for each in found
            if isinstance(each, PartitionProgress) and each.topic_id != self._segments_id
        )
        bounds = self._transport.offsets(self.segments)
        found = [each for each in found if each.partition in numbers]
        taken = {
            (self.segments, each.partition): Known(each.taken, each.marks)
            for each in found
            if isinstance(each, PartitionProgress) and each.topic_id == self._segments_id
        }
        there = {partition: each for partition, each in taken.items() if partition in bounds}
        lost = lost_tails(self._transport, there, bounds)
        self.lost = {number: first for (_, number), first in lost.items()}
        ends = {number: end for (_, number), (_, end) in bounds.items()} | self.lost
        known = [self._at_most(each, ends.get(each.partition, 0)) for each in found]
        return known, {partition: first for partition, (first, _) in bounds.items() if partition[1] in numbers}

    def is_made_anew(self) -> bool:
        """Whether the segments topic is another one than when this worker began. Asks the broker.

        Raises:
            BrokerError: the broker does not answer.
        """
        found = self._transport.existing([self.segments]).get(self.segments)
        return found is not None and found.id != self._segments_id

    def lost_tails(self, known: Mapping[Partition, Known]) -> dict[Partition, int]:
        """Of partitions that do not hold any more what was taken of them: the first offset that may be another's.

        Raises:
            BrokerError: the broker does not answer.
        """
        bounds = self._transport.offsets(self.segments)
        return lost_tails(self._transport, {p: each for p, each in known.items() if p in bounds}, bounds)

    def _decoded(self, records: Iterable[Record]) -> tuple[list[CameraProgress | PartitionProgress], list[InHand]]:
        known: list[CameraProgress | PartitionProgress] = []
        noted: list[InHand] = []
        for record in records:
            if record.value is None:
                continue
            try:
                if (note := decode_in_hand(self._group, record.key, record.value, record.where)) is not None:
                    noted.append(note)
                elif (each := decode_progress(self._group, record.key, record.value, record.where)) is not None:
                    known.append(each)
            except RecordError as error:
                self.unusable += 1
                log.warning("state that cannot be used: what it is about begins anew (%s)", error)
        return known, noted

    def _at_most(self, progress: CameraProgress | PartitionProgress, end: int) -> CameraProgress | PartitionProgress:
        """Leave out what is said of offsets that the topic does not hold, or that are of another topic."""
        is_anew = progress.topic_id != self._segments_id
        last = 0 if is_anew else end
        if isinstance(progress, PartitionProgress):
            if not is_anew:
                return progress  # see `lost`
            if progress.taken:
                log.warning("%s[%d] was made anew: it is read from its start", self.segments, progress.partition)
            return replace(progress, taken=0, marks=())
        if progress.next_offset <= last:
            return progress
        feed = progress.feed and replace(
            progress.feed, guard=progress.feed.guard.before(last), locator=progress.feed.locator.before(last)
        )
        return replace(progress, next_offset=last, feed=feed)
