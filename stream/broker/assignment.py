"""Which partitions a consumer has, worked out of the rebalances that it went through. Kafka and its twin share it."""

from __future__ import annotations

from collections.abc import Iterable

from .records import Partition


class Assignment:
    """The partitions that a consumer has, and what changed hands since it was asked last."""

    def __init__(self) -> None:
        self._owned: frozenset[Partition] = frozenset()
        self._revoked: frozenset[Partition] = frozenset()
        self._assigned: frozenset[Partition] = frozenset()

    def replace(self, partitions: Iterable[Partition]) -> None:
        """A rebalance is over: these are the partitions now, and those of them that were there before have stayed."""
        now = frozenset(partitions)
        gone = self._owned - now
        # What had come since the last call and goes again was never told of.
        self._revoked |= gone - self._assigned
        self._assigned = (self._assigned - gone) | (now - self._owned)
        self._owned = now

    def lose(self) -> None:
        """The group has shut the consumer out: whatever comes back has a new position."""
        self.replace(())

    def take(self) -> tuple[frozenset[Partition], frozenset[Partition]]:
        """Return what went and what came since the last call."""
        changed = self._revoked, self._assigned
        self._revoked = self._assigned = frozenset()
        return changed
