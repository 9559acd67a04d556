"""Reading events as a subscriber does."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Final

from consumers.forgetting import NOTHING_FORGOTTEN, ForgottenBook, forgotten_events, read_forgotten
from consumers.records.event import Event
from consumers.records.fields import OtherRecordError, RecordError
from consumers.settings import TopicSettings
from stream import BrokerError, Record, Transport

log = logging.getLogger(__name__)

#: Repetitions come within a worker's last seconds: that many reports are more than all cameras send meanwhile.
_REMEMBERED: Final = 20_000
#: So many records that are no events are named, the others counted.
_NAMED: Final = 10


def sent_since(record: Record, time_us: int) -> bool:
    """Whether a record was sent at a time or later; one that does not say when is taken for one that was."""
    return not record.sent_us or record.sent_us >= time_us


class EventReader:
    """Reads the reports of events in the order of their topic, each once.

    Where a broker has no transactions, a worker that takes over sends again what its predecessor had sent last. What is
    no event is left out with a word, and counted.
    """

    def __init__(self, topics: TopicSettings, *, drills: bool = False, book: ForgottenBook = NOTHING_FORGOTTEN) -> None:
        """Begin; `drills` are read, too, where they are wanted, and what is forgotten by `book` is not."""
        self._topics, self._topic, self._drills = topics, topics.events, drills
        #: What is forgotten; `stored` reads it by itself.
        self.book = book
        #: Reports that were left out as they are forgotten, by camera.
        self.forgotten: Counter[str] = Counter()
        #: Events that are known to be: of those that are stored, also what was reported before the stretch.
        self._forgotten_events: Collection[str] = ()
        #: The newest reports, by their event's id and their number, oldest first.
        self._seen: dict[tuple[str, int], None] = {}
        #: Records that were left out.
        self.left_out = 0

    def stored(self, transport: Transport, since_us: int = 0) -> Iterator[Event]:
        """Yield what is stored at this moment, of what was sent at a time or later.

        Raises:
            BrokerError: there is no such topic, or the broker is away.
        """
        if not transport.existing([self._topic]):
            raise BrokerError(
                f"topic {self._topic} does not exist: nothing was sent yet (`clipline attach`, `clipline work`), or "
                "topics.prefix is another one"
            )
        self.book = read_forgotten(transport, self._topics)
        self._forgotten_events = forgotten_events(transport, self._topics, self.book)
        bounds = dict(transport.offsets(self._topic))
        if since_us:
            begin = transport.sent_since(self._topic, since_us)
            bounds = {p: (max(first, begin.get(p, first)), end) for p, (first, end) in bounds.items()}
        for record in transport.read(bounds):
            if sent_since(record, since_us) and (event := self.new_event(record)) is not None:
                yield event
        self.sum_up()

    def new_event(self, record: Record) -> Event | None:
        """The report that a record holds; None where it is no event, or has been read before."""
        try:
            event = Event.decode(record.key, record.headers, record.value, record.where, drills=self._drills)
        except OtherRecordError:
            return None
        except RecordError as error:
            self.left_out += 1
            if self.left_out <= _NAMED:
                log.warning("%s: left out", error)
            return None
        if not self._is_new(event):
            return None
        if self._is_forgotten(event):
            self.forgotten[event.camera] += 1
            return None
        return event

    def _is_forgotten(self, event: Event) -> bool:
        stretch = self.book.of(event.camera, event.start_us, event.end_us, event.id)
        return stretch is not None or event.id in self._forgotten_events

    def _is_new(self, event: Event) -> bool:
        report = (event.id, event.revision)
        if report in self._seen:
            return False
        self._seen[report] = None
        if len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]
        return True

    def sum_up(self) -> None:
        """Say how many records were left out, if any."""
        if self.forgotten:
            log.warning("%s", self._forgotten_line())
        if self.left_out:
            log.warning("left out of %s: %d records that are no events", self._topic, self.left_out)

    def _forgotten_line(self) -> str:
        total, cameras = self.forgotten.total(), sorted(self.forgotten)
        named = ", ".join(cameras[:_NAMED]) + (" …" if len(cameras) > _NAMED else "")
        what = "1 report of an event" if total == 1 else f"{total} reports of events"
        return f"{what} at {named} not shown: forgotten (`clipline forget --check`)"


def stored_events(transport: Transport, topics: TopicSettings) -> Iterator[Event]:
    """See `EventReader.stored`."""
    return EventReader(topics).stored(transport)
