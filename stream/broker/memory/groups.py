"""Consumer groups of the in-memory twin: who has which partitions, and where each group goes on.

They rebalance as they do with kafka-python 3.0.12, eagerly: when a member comes or goes, every other one gives up all
partitions with its next `poll` and joins anew; when the last one has joined, each gets its share with that or its next
`poll`, which may return records at once. Until then no member is given records. Positions of partitions that stay are
kept.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from stream.broker.records import Partition
from stream.errors import BrokerError

from .clients import MemoryConsumer


@dataclass(slots=True)
class _Group:
    members: list[MemoryConsumer] = field(default_factory=list)
    committed: dict[Partition, int] = field(default_factory=dict)
    #: Members that have joined the rebalance under way; None while there is none.
    joined: set[MemoryConsumer] | None = None


class Groups:
    """All groups of a broker. Its lock is held by whoever calls."""

    def __init__(
        self, partitions: Mapping[str, int], end: Callable[[Partition], int], changed: Callable[[], None]
    ) -> None:
        """Begin without any.

        Args:
            partitions: how many each topic has, now and later.
            end: gives the offset after the last that can be read of a partition.
            changed: told where members that wait may go on.
        """
        self._partitions, self._end, self._changed = partitions, end, changed
        self._groups: dict[str, _Group] = defaultdict(_Group)

    def committed(self, group: str) -> Mapping[Partition, int]:
        """Where a group is to go on."""
        return self._groups[group].committed

    def topics_changed(self, topics: Collection[str]) -> None:
        """These have other partitions than before: they are handed out anew."""
        for group in self._groups.values():
            if any(name in member.topics for name in topics for member in group.members):
                self._begin_rebalance(group)

    def is_rejoining(self, consumer: MemoryConsumer) -> bool:
        """Whether the next `poll` takes part in a rebalance."""
        if consumer.group is None:
            return False
        group = self._groups[consumer.group]
        return consumer not in group.members or group.joined is not None

    def commit(self, consumer: MemoryConsumer, offsets: Mapping[Partition, int]) -> bool:
        """Store where a group is to go on; False where that does not take it from this consumer now.

        Raises:
            BrokerError: the consumer has no group.
            FencedError: another one has its name.
        """
        if consumer.group is None:
            raise BrokerError("a consumer without a group has nothing to commit to")
        if consumer.is_fenced:
            consumer.check()
        group = self._groups[consumer.group]
        if consumer not in group.members or (group.joined is not None and consumer in group.joined):
            return False
        group.committed |= offsets
        return True

    def is_stable(self, consumer: MemoryConsumer) -> bool:
        """Join where the group wants it; return whether the consumer has its share."""
        if consumer.group is None:
            return True
        group = self._groups[consumer.group]
        if consumer not in group.members and not self._return(group, consumer):
            if consumer.was_member:  # it was shut out
                self.assign(consumer, set(), {})
            consumer.was_member = True
            group.members.append(consumer)
            self._begin_rebalance(group)
        if group.joined is None:
            return True
        group.joined.add(consumer)
        self._end_rebalance(group)
        return group.joined is None

    def _return(self, group: _Group, consumer: MemoryConsumer) -> bool:
        """Take the place of the member with our name, if there is one, with all that it has."""
        named = [member for member in group.members if consumer.name is not None and member.name == consumer.name]
        if consumer.was_member or not named:
            return False
        before, consumer.was_member = named[0], True
        before.is_fenced = True
        group.members[group.members.index(before)] = consumer
        if group.joined is None:
            self.assign(consumer, set(before.positions), group.committed)
        else:
            group.joined.discard(before)
        return True

    def leave(self, consumer: MemoryConsumer) -> None:
        """Take a consumer out of its group, if it is a member."""
        if consumer.group is None or consumer not in self._groups[consumer.group].members:
            return
        group = self._groups[consumer.group]
        group.members.remove(consumer)
        self._begin_rebalance(group)
        self._end_rebalance(group)

    def _begin_rebalance(self, group: _Group) -> None:
        group.joined = set()
        self._changed()

    def _end_rebalance(self, group: _Group) -> None:
        """Hand out the partitions if all members have joined."""
        if group.joined is None or group.joined != set(group.members):
            return
        shares: dict[MemoryConsumer, set[Partition]] = {member: set() for member in group.members}
        for topic, count in self._partitions.items():
            takers = [member for member in group.members if topic in member.topics]
            for number in range(count if takers else 0):
                shares[takers[number % len(takers)]].add((topic, number))
        for member, share in shares.items():
            self.assign(member, share, group.committed)
        group.joined = None
        self._changed()

    def assign(self, consumer: MemoryConsumer, partitions: set[Partition], committed: Mapping[Partition, int]) -> None:
        """Give a consumer these partitions; what is new to it is read from where its group committed last."""
        kept = {p: at for p, at in consumer.positions.items() if p in partitions}
        new = {p: self._first(consumer, p, committed) for p in sorted(partitions - kept.keys())}
        consumer.positions = kept | new
        consumer.began = {p: consumer.began.get(p, at) for p, at in kept.items()} | new
        consumer.assignment.replace(partitions)

    def _first(self, consumer: MemoryConsumer, partition: Partition, committed: Mapping[Partition, int]) -> int:
        return committed.get(partition, 0 if consumer.from_start else self._end(partition))
