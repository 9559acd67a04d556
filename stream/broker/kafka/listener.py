"""Which partitions a consumer has, as kafka-python tells it, and as which member of its group."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence

from kafka import ConsumerRebalanceListener, TopicPartition
from kafka import KafkaConsumer as VendorConsumer
from kafka.structs import ConsumerGroupMetadata

from stream.broker.assignment import Assignment
from stream.broker.records import Partition


class Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # the vendor's base class is untyped
    """Notes what changes hands. It runs on the consumer's own loop, so it must not block or commit."""

    def __init__(self, consumer: Callable[[], VendorConsumer]) -> None:
        self._consumer = consumer
        self._lock = threading.Lock()
        self._assignment = Assignment()
        self._assigned_as: ConsumerGroupMetadata | None = None
        #: As which member, and of which generation of the group, the consumer was told what it has. What it works on
        #: is committed as that: the group refuses it once another generation has begun, told or not.
        self.told_as: ConsumerGroupMetadata | None = None

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Nothing has gone yet: all partitions are taken away at each rebalance.

        The vendor keeps them, with their positions, until it knows which of them come back.
        """

    def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:  # noqa: ARG002  # all of them
        with self._lock:
            self._assignment.lose()

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        partitions = list(assigned)
        consumer = self._consumer()
        forget_fetched_offsets(consumer)
        membership = consumer.group_metadata()
        with self._lock:
            if not _follows(membership, self._assigned_as):
                # Others may have had the partitions meanwhile, which the vendor does not always see: where it is shut
                # out while it joins, it keeps the positions of what it gets back.
                self._assignment.lose()
                forget_positions(consumer, partitions)
            self._assignment.replace((p.topic, p.partition) for p in partitions)
            self._assigned_as = membership

    def take(self) -> tuple[frozenset[Partition], frozenset[Partition]]:
        with self._lock:
            self.told_as = self._assigned_as
            return self._assignment.take()


def forget_fetched_offsets(consumer: VendorConsumer) -> None:
    """Have the group's offsets fetched anew.

    Where a poll's time ends while kafka-python 3.0.12 waits for them, it keeps what comes for whoever asks next for the
    same partitions, however old that is by then: others may have had them meanwhile.
    """
    consumer._coordinator._offset_fetch_futures.clear()  # noqa: SLF001  the vendor gives no other way in


def forget_positions(consumer: VendorConsumer, partitions: Sequence[TopicPartition]) -> None:
    """Have partitions of a group read from where it committed last."""
    subscription = consumer._subscription  # noqa: SLF001  as above
    if subscription.partitions_auto_assigned():
        subscription.assign_from_subscribed([])
        subscription.assign_from_subscribed(partitions)


def _follows(now: ConsumerGroupMetadata, before: ConsumerGroupMetadata | None) -> bool:
    """Whether a member has taken part in every generation of its group since it was last assigned partitions."""
    return (
        before is not None
        and before.generation_id <= now.generation_id <= before.generation_id + 1
        and now.member_id == before.member_id
        and now.generation_id > 0
    )
