"""What the topic of forgotten stretches says: read once, or kept up to date."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from consumers.settings import TopicSettings
from stream import Lookup, Transport

from .book import ForgottenBook

#: What is known for so long is asked anew before it is used.
_FRESH_SECONDS: Final = 1.0


class ForgottenReader:
    """Keeps a book as the topic has it, over a connection that is there for other reads, too. For one thread.

    Whoever reads something has to know what of it is forgotten: what cannot be read here is an error there.
    """

    def __init__(
        self, topic: str, clock: Callable[[], float] = time.monotonic, book: ForgottenBook | None = None
    ) -> None:
        """Prepare; a `book` that others ask, too, is kept up to date."""
        self._topic, self._clock = topic, clock
        self._book = ForgottenBook() if book is None else book
        self._next = 0
        self._read_at: float | None = None

    def book(self, lookup: Lookup) -> ForgottenBook:
        """The book as it is now, or was a second ago.

        Raises:
            BrokerError: the broker does not answer, or does not let us read the topic.
        """
        now = self._clock()
        if self._read_at is not None and now - self._read_at < _FRESH_SECONDS:
            return self._book
        partition = self._topic, 0
        # It is made when the first stretch is forgotten.
        kept = lookup.first_kept(self._topic).get(partition)
        if kept is not None:
            for record in lookup.read(partition, max(kept, self._next)):
                self._book.take(record)
                self._next = record.offset + 1
        self._read_at = now
        return self._book


def read_forgotten(transport: Transport, topics: TopicSettings) -> ForgottenBook:
    """All that is forgotten, as of now.

    Raises:
        BrokerError: the broker does not answer, or does not let us read the topic.
    """
    lookup = transport.lookup([topics.forgotten])
    try:
        return ForgottenReader(topics.forgotten).book(lookup)
    finally:
        lookup.close()
