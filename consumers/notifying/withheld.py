"""Messages about events of a stretch that is forgotten are not sent; the ledger says so. Pure.

    queued, held, retrying ─▶ failed, `forgotten`
    a summary              ─▶ the same without those events
What is under way when a stretch is forgotten may get there.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from consumers.forgetting import ForgottenBook
from consumers.records.delivery import OVER, Delivery
from consumers.records.event import Event
from consumers.records.forgotten import Forgotten
from consumers.settings.sections.notifying import ChannelSettings
from consumers.times import parse_time_us

from .ledger import Ledger
from .plan import summary

#: Why such a message has failed.
FORGOTTEN: Final = "forgotten"
#: What an entry about it keeps of an event: without it nobody could tell of which stretch it is.
_KEPT: Final = frozenset(
    {"event", "state", "camera", "label", "model", "start", "end", "seconds", "peak_score", "drill"}
)
#: Events that are remembered to be forgotten as one of their reports is.
_MOST_EVENTS: Final = 10_000
#: Entries that one turn brings at most, so that a transaction holds them.
_MOST_AT_ONCE: Final = 500


class Withheld:
    """What nobody is told of any more. One thread notes, any may ask."""

    def __init__(self, book: ForgottenBook | None = None) -> None:
        #: All stretches that are forgotten.
        self.book = ForgottenBook() if book is None else book
        #: Events of which one report reaches into a stretch: others of them may not.
        self._events: dict[str, Forgotten] = {}

    def note(self, event: Event) -> None:
        """Remember the event of a report where that is of a stretch."""
        stretch = self.book.of(event.camera, event.start_us, event.end_us)
        if stretch is None or event.id in self._events:
            return
        self._events[event.id] = stretch
        if len(self._events) > _MOST_EVENTS:
            del self._events[next(iter(self._events))]

    def of(self, entry: Delivery) -> Forgotten | None:
        """The stretch that the event of a message is of; None where it is of none, or is a message of another kind."""
        if entry.kind != "event" or not len(self.book):
            return None
        data = entry.message["data"]
        stretch = self._events.get(data["event"])
        if stretch is not None or not self.book.has(data["camera"]):
            return stretch
        return self.book.of(data["camera"], parse_time_us(data["start"]), parse_time_us(data["end"]), data["event"])

    def begun(self, entries: Iterable[Delivery], now_us: int) -> Iterator[Delivery]:
        """First entries of messages, where some are withheld from the start."""
        for entry in entries:
            stretch = self.of(entry)
            yield entry if stretch is None else _withheld(entry, stretch.described(), now_us)

    def entries(
        self, ledger: Ledger, channels: Mapping[str, ChannelSettings], busy: Collection[str], now_us: int
    ) -> Iterator[Delivery]:
        """What becomes of messages that wait and tell of what is forgotten. There may be more than one call gives.

        What has a `busy` id is being sent.
        """
        if len(self.book):
            yield from itertools.islice(self._entries(ledger, channels, busy, now_us), _MOST_AT_ONCE)

    def _entries(
        self, ledger: Ledger, channels: Mapping[str, ChannelSettings], busy: Collection[str], now_us: int
    ) -> Iterator[Delivery]:
        for name in list(ledger.channels()):
            for entry in [each for each in ledger.open(name) if each.id not in busy]:
                if (stretch := self.of(entry)) is not None:
                    yield _withheld(entry, stretch.described(), now_us)
                elif entry.kind == "summary" and name in channels and self.is_to_change(entry, ledger):
                    yield self._changed(entry, channels[name], ledger, now_us)

    def may_go(self, entry: Delivery, ledger: Ledger) -> bool:
        """Whether a message tells of nothing that is forgotten."""
        return self.of(entry) is None and not (entry.kind == "summary" and self.is_to_change(entry, ledger))

    def is_to_change(self, entry: Delivery, ledger: Ledger) -> bool:
        """Whether a summary tells of what is forgotten, or may."""
        if not len(self.book):
            return False
        data, covered = entry.message["data"], ledger.covered(entry.id)
        if covered is not None:
            gone = sum(self.of(each) is not None for each in covered)
            return gone > 0 and data["held"] > len(covered) - gone
        first_us, last_us = parse_time_us(data["first"]), parse_time_us(data["last"])
        return any(self.book.of(str(each["camera"]), first_us, last_us) is not None for each in data["counts"])

    def _changed(self, entry: Delivery, channel: ChannelSettings, ledger: Ledger, now_us: int) -> Delivery:
        """The summary without what is forgotten; one of which nothing is left, or nobody knows what is, is withheld."""
        covered = ledger.covered(entry.id) or ()
        told = [each for each in covered if self.of(each) is None]
        if not told:
            return entry.then("failed", now_us, attempt=entry.attempt, why=FORGOTTEN, detail="what it tells of is")
        message = summary(told, channel, now_us).message
        detail = f"{len(covered) - len(told)} events of it are"
        return entry.then("retrying", now_us, attempt=entry.attempt, why=FORGOTTEN, detail=detail, message=message)


def is_withheld(entry: Delivery) -> bool:
    """Whether an entry says that its message was not sent as it tells of what is forgotten."""
    return entry.state == "failed" and entry.why == FORGOTTEN


def _withheld(entry: Delivery, detail: str, now_us: int) -> Delivery:
    if entry.state in OVER:
        return entry
    gone = entry.then("failed", now_us, attempt=entry.attempt, why=FORGOTTEN, detail=detail)
    data = {name: value for name, value in entry.message["data"].items() if name in _KEPT}
    return replace(gone, message={**entry.message, "data": data})
