"""Following a topic as a member of a consumer group, which remembers how far its members have come."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from consumers.outputs.follower import Begin, Place, TopicFollower
from stream import BrokerError, Consumer, Existing, Partition, Polled, Record, Transport

#: How often what was dealt with is committed, while something is.
_COMMIT_SECONDS: Final = 1.0


class GroupFollower(TopicFollower):
    """Hands out records of the partitions that its group gives it, from where the group committed last.

        poll ─▶ records ─▶ settle(place) … settle(place) ─▶ commit, once a second and at the end
                       killed here: what was not committed is handed out again, to whoever goes on

    A group that has committed nothing begins where `begin` says, and commits that at once.
    """

    def __init__(
        self,
        open_transport: Callable[[], Transport],
        name: str,
        topic: str,
        group: str,
        say: Callable[[str], None],
        *,
        begin: Begin,
        look_back: int,
    ) -> None:
        """Prepare; see `TopicFollower`."""
        super().__init__(open_transport, name, [topic], say, begin=begin, look_back=look_back)
        self._topic, self._group = topic, group
        self._consumer: Consumer | None = None
        self._assigned: set[Partition] = set()
        #: What was dealt with and is not committed.
        self._settled: dict[Partition, int] = {}
        self._committed: dict[Partition, int] = {}
        self._commit_at = self._polled_at = 0.0
        #: Partitions from this number on are younger than this follower.
        self._first_count = sys.maxsize
        #: Records that came while membership was kept up.
        self._held: list[Record] = []

    def poll(self, timeout_seconds: float) -> list[Record]:
        if self._held:
            held, self._held = self._held, []
            return held
        self._polled_at = time.monotonic()
        if self._consumer is not None:
            try:
                self._consumer.pause(())
            except BrokerError as error:
                self._lose(str(error))
        return super().poll(timeout_seconds)

    def settle(self, place: Place) -> None:
        for partition, at in place.offsets.items():
            if partition in self._assigned and at > self._committed.get(partition, -1):
                self._settled[partition] = at
        if self._consumer is None or time.monotonic() < self._commit_at:
            return
        try:
            if self._settled:
                self._commit(self._consumer)
            self._commit_at = time.monotonic() + _COMMIT_SECONDS
            if time.monotonic() - self._polled_at > _COMMIT_SECONDS:
                # Who deals with each record for long is not silent meanwhile, or the group would take it for dead.
                self._polled_at = time.monotonic()
                self._consumer.pause(self._assigned)
                self._held += self._fresh(self._take(self._consumer.poll(0.0)))
        except BrokerError as error:
            self._lose(str(error))

    def _open(self, transport: Transport, existing: Mapping[str, Existing]) -> Consumer:
        self._forget(set(self._positions))
        self._first_count = min(self._first_count, existing[self._topic].partitions)
        # From the start where what the group committed is not there any more.
        return transport.consumer([self._topic], self._group, from_start=True)

    def _take(self, polled: Polled) -> Sequence[Record]:
        self._forget(polled.revoked)
        if polled.assigned:
            self._go_on(polled.assigned)
        # What came with an assignment was read from where the vendor began, and comes again.
        return [r for r in polled.records if (r.topic, r.partition) in self._assigned - polled.assigned]

    def _forget(self, partitions: Collection[Partition]) -> None:
        self._held = [r for r in self._held if (r.topic, r.partition) not in partitions]
        for partition in partitions:
            self._assigned.discard(partition)
            self._positions.pop(partition, None)
            self._settled.pop(partition, None)
            self._committed.pop(partition, None)
            self._had.pop(partition, None)

    def _go_on(self, partitions: Collection[Partition]) -> None:
        """Read partitions that came on from where the group is.

        Raises:
            BrokerError: the broker does not say where that is.
        """
        assert self._transport is not None
        assert self._consumer is not None
        self._forget(partitions)
        committed = {p: at for p, at in self._consumer.committed().items() if p in partitions}
        self._positions |= committed
        self._had |= committed
        self._unread |= committed.keys()
        self._is_first = True
        self._positions |= {p: 0 for p in partitions if p[1] >= self._first_count and p not in committed}
        found = self._find_positions(self._transport, self._transport.existing([self._topic]))
        begun = {p: at for p, at in found.items() if p in partitions}
        self._consumer.seek(begun)
        self._positions |= begun
        self._assigned |= begun.keys()
        # So that what comes from here on is the group's, even if this member ends before anything came.
        new = {p: at for p, at in begun.items() if p not in committed}
        self._committed |= committed | (new if self._consumer.commit(new) else {})

    def _commit(self, consumer: Consumer) -> None:
        """Commit what was dealt with; in a rebalance later.

        Raises:
            BrokerError: the broker is away.
        """
        assert self._transport is not None
        # Committing waits in silence, for as long as a broker is away.
        self._transport.existing([self._topic])
        if consumer.commit(self._settled):
            self._committed |= self._settled
            self._settled.clear()

    def _lose(self, why: str) -> None:
        # Nobody takes it now: it is read again, and told by its ids.
        self._settled.clear()
        super()._lose(why)

    def close(self) -> None:
        if self._consumer is not None and self._settled:
            with contextlib.suppress(BrokerError):
                self._commit(self._consumer)
        super().close()
        self._forget(set(self._assigned))
