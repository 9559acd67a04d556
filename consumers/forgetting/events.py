"""Which events are forgotten: all that is told of one reaches into a stretch, or some of it does."""

from __future__ import annotations

from consumers.records.event import Event
from consumers.records.fields import RecordError
from consumers.records.forgotten import Forgotten
from consumers.settings import TopicSettings
from stream import Transport

from .book import ForgottenBook


def forgotten_events(transport: Transport, topics: TopicSettings, book: ForgottenBook) -> dict[str, Forgotten]:
    """The stretch of each event of which a report is forgotten: others of its reports may end before.

    All events are read for it, but where nothing is forgotten.

    Raises:
        BrokerError: the broker is away, or does not let us read events.
    """
    found: dict[str, Forgotten] = {}
    if not len(book) or not transport.existing([topics.events]):
        return found
    for record in transport.read(transport.offsets(topics.events)):
        if not book.has((record.key or b"").decode(errors="replace")):
            continue
        try:
            event = Event.decode(record.key, record.headers, record.value, record.where, drills=True)
        except RecordError:
            continue  # whoever shows events says so
        stretch = book.of(event.camera, event.start_us, event.end_us)
        if stretch is not None:
            found.setdefault(event.id, stretch)
    return found
