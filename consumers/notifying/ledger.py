"""What the ledger of deliveries says by now: the sum of its entries, the same for whoever reads them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from typing import Final

from consumers.records.delivery import OVER, Delivery

#: Ids that are remembered, so that a report that comes twice is one message.
_REMEMBERED: Final = 100_000
_HOUR_US: Final = 3_600_000_000


class Ledger:
    """Messages that are not over, by channel, and what is to be known of those that are. Not for several threads."""

    def __init__(self) -> None:
        self._open: dict[str, dict[str, Delivery]] = {}
        self._known: dict[str, None] = {}
        self._disabled: dict[str, Delivery] = {}
        #: When messages that were not held back were queued within the last hour, by channel.
        self._queued: dict[str, deque[int]] = {}
        self._paused: dict[str, Delivery] = {}
        #: How many messages of a channel got to each of the states after which nothing is to be done.
        self.over: dict[str, Counter[str]] = {}

    def apply(self, entry: Delivery) -> None:
        """Take the next entry. One that comes again changes nothing."""
        if entry.kind == "test" and entry.state == "sent":
            self._disabled.pop(entry.channel, None)
            self._paused.pop(entry.channel, None)
        if self.knows(entry.id):
            self._go_on(entry)
        elif entry.attempt == 0:  # else it began before what is kept
            self._remember(entry.id)
            self._begin(entry)

    def _begin(self, entry: Delivery) -> None:
        if entry.state in OVER:  # at once, as what comes too late
            self._end(entry)
            return
        here = self._open.setdefault(entry.channel, {})
        here[entry.id] = entry
        for covered in entry.covers:
            here.pop(covered, None)
        if entry.state == "queued":
            self._queued.setdefault(entry.channel, deque()).append(entry.time_us)

    def _go_on(self, entry: Delivery) -> None:
        channel, here = entry.channel, self._open.get(entry.channel, {})
        if entry.id not in here or entry.state in {"queued", "held"}:
            return
        here[entry.id] = entry
        if entry.state in OVER:
            del here[entry.id]
            self._end(entry)
        if entry.state == "retrying" and entry.pauses:
            self._paused[channel] = entry
        elif entry.state == "sent":
            self._paused.pop(channel, None)
        elif entry.state == "failed" and entry.why == "disabled":
            self._disabled[channel] = entry

    def _remember(self, id_: str) -> None:
        self._known[id_] = None
        if len(self._known) > _REMEMBERED:
            del self._known[next(iter(self._known))]

    def _end(self, entry: Delivery) -> None:
        self.over.setdefault(entry.channel, Counter())[entry.state] += 1

    def knows(self, id_: str) -> bool:
        """Whether there is a message with this id, or was one."""
        return id_ in self._known

    def open(self, channel: str) -> Iterable[Delivery]:
        """Messages that are not over, oldest first."""
        return self._open.get(channel, {}).values()

    def count_open(self, channel: str) -> int:
        return len(self._open.get(channel, ()))

    def channels(self) -> Iterator[str]:
        """Channels of which something is open."""
        return (channel for channel, here in self._open.items() if here)

    def latest(self, delivery: Delivery) -> Delivery | None:
        """The newest entry of a message; None where it is over."""
        return self._open.get(delivery.channel, {}).get(delivery.id)

    def paused_until_us(self, channel: str) -> int | None:
        """From when on a channel that could not be reached may be tried again; None where it was reached last."""
        entry = self._paused.get(channel)
        return None if entry is None else entry.due_us

    def disabled(self, channel: str) -> Delivery | None:
        """The entry that says that the receiver wants nothing any more."""
        return self._disabled.get(channel)

    def queued_within_hour(self, channel: str, now_us: int) -> tuple[int, int | None]:
        """How many messages were queued within the last hour, and when the first of them was."""
        times = self._queued.get(channel)
        while times and times[0] <= now_us - _HOUR_US:
            times.popleft()
        return (len(times), times[0]) if times else (0, None)
