"""Which events are forgotten: all that is told of one reaches into a stretch, some of it does, or its id is noted."""

from __future__ import annotations

from consumers.records.event import Event
from consumers.records.fields import RecordError
from consumers.records.forgotten import Forgotten
from consumers.settings import TopicSettings
from stream import Record, Transport

from .book import ForgottenBook


def forgotten_events(transport: Transport, topics: TopicSettings, book: ForgottenBook) -> dict[str, Forgotten]:
    """The stretch of each event of which a report is forgotten: others of its reports may end before.

    All events are read for it, but where nothing is forgotten.

    Raises:
        BrokerError: the broker is away, or does not let us read events.
    """
    found = book.events()
    if not len(book) or not transport.existing([topics.events]):
        return found
    for record in transport.read(transport.offsets(topics.events)):
        if (proof := forgotten_report(record, book)) is not None:
            found.setdefault(*proof)
    return found


def forgotten_report(record: Record, book: ForgottenBook) -> tuple[str, Forgotten] | None:
    """The event that a record by itself proves to be forgotten, and its stretch; None where it proves none."""
    if not book.has((record.key or b"").decode(errors="replace")):
        return None
    try:
        event = Event.decode(record.key, record.headers, record.value, record.where, drills=True)
    except RecordError:
        return None  # whoever shows events says so
    stretch = book.of(event.camera, event.start_us, event.end_us)
    return None if stretch is None else (event.id, stretch)
