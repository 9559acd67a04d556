"""Threads for messages that are under way."""

from __future__ import annotations

import logging
import queue
import threading
from collections import Counter
from collections.abc import Mapping, Sequence

from consumers.records.delivery import Delivery
from consumers.verdicts.messages import LinkedMessages

from .attaching import Attachments
from .channels import Channel
from .pictured import left_out
from .plan import Again, Never, Outcome, Sent
from .withheld import FORGOTTEN, Withheld

log = logging.getLogger(__name__)


class Senders:
    """Threads for messages that are under way. Only their results come back, to the one thread that decides."""

    def __init__(
        self,
        channels: Mapping[str, Channel],
        messages: LinkedMessages,
        attachments: Attachments,
        withheld: Withheld,
    ) -> None:
        self._channels, self._messages, self._attachments = channels, messages, attachments
        self._withheld = withheld
        self._done: queue.SimpleQueue[tuple[Delivery, Outcome]] = queue.SimpleQueue()
        #: Channels of the messages that are under way, or done and not settled, by their ids.
        self._under_way: dict[str, str] = {}
        self._results: list[tuple[Delivery, Outcome]] = []
        self._waiting: dict[str, queue.SimpleQueue[Delivery]] = {name: queue.SimpleQueue() for name in channels}
        self._threads: Counter[str] = Counter()

    @property
    def busy(self) -> frozenset[str]:
        """Ids of the messages that are under way."""
        return frozenset(self._under_way)

    def free(self) -> Counter[str]:
        """How many more messages each channel takes now."""
        free = Counter({name: channel.at_once for name, channel in self._channels.items()})
        free.subtract(self._under_way.values())
        return free

    def start(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            name = delivery.channel
            self._under_way[delivery.id] = name
            self._waiting[name].put(delivery)
            if self._threads[name] < min(self._channels[name].at_once, Counter(self._under_way.values())[name]):
                self._threads[name] += 1
                threading.Thread(target=self._work, args=(name,), name=f"to {name}", daemon=True).start()

    def _work(self, name: str) -> None:
        while True:
            self._send(self._waiting[name].get())

    def _send(self, delivery: Delivery) -> None:
        try:
            message, pictures = self._attachments.of(self._messages.linked(delivery))
            # It may have waited for Redis.
            stretch = self._withheld.of(delivery)
            outcome: Outcome = (
                self._channels[delivery.channel].send(message, pictures)
                if stretch is None
                else Never(FORGOTTEN, stretch.described())
            )
            if isinstance(outcome, Sent):
                outcome = Sent(f"{outcome.detail}{left_out(message)}")
        except Exception as error:  # a channel is others' code: whatever it does, the ledger says so
            log.warning("channel %s: unexpected", delivery.channel, exc_info=True)
            outcome = Again("unexpected", type(error).__name__, is_of_message=True)
        self._done.put((delivery, outcome))

    def outcomes(self) -> Sequence[tuple[Delivery, Outcome]]:
        """What came of those that are done, again and again until `settle` says that it is stored."""
        while True:
            try:
                self._results.append(self._done.get_nowait())
            except queue.Empty:
                return self._results

    def settle(self) -> None:
        """What `outcomes` gave is stored."""
        for delivery, _ in self._results:
            self._under_way.pop(delivery.id, None)
        self._results = []
