"""Reading events as a subscriber does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from consumers.records.event import Event
from consumers.records.fields import OtherRecordError, RecordError
from consumers.settings import TopicSettings
from stream import BrokerError, Record, Transport

from .follower import TopicFollower

log = logging.getLogger(__name__)

_POLL_SECONDS: Final = 0.25
#: Repetitions come within a worker's last seconds: that many reports are more than all cameras send meanwhile.
_REMEMBERED: Final = 20_000
#: So many records that are no events are named, the others counted.
_NAMED: Final = 10


class EventReader:
    """Reads the reports of events in the order of their topic, each once.

    Where a broker has no transactions, a worker that takes over sends again what its predecessor had sent last. What is
    no event is left out with a word, and counted.
    """

    def __init__(self, topics: TopicSettings) -> None:
        self._topic = topics.events
        #: The newest reports, by their event's id and their number, oldest first.
        self._seen: dict[tuple[str, int], None] = {}
        #: Records that were left out.
        self.left_out = 0

    def stored(self, transport: Transport) -> Iterator[Event]:
        """Yield what is stored at this moment.

        Raises:
            BrokerError: there is no such topic, or the broker is away.
        """
        if not transport.existing([self._topic]):
            raise BrokerError(
                f"topic {self._topic} does not exist: nothing was sent yet (`clipline attach`, `clipline work`), or "
                "topics.prefix is another one"
            )
        yield from self._events(transport.read(transport.offsets(self._topic)))
        self._sum_up()

    def follow(
        self,
        open_transport: Callable[[], Transport],
        broker: str,
        *,
        stored: bool,
        stop: Callable[[], bool],
        give_up_seconds: float | None = None,
    ) -> Iterator[Event]:
        """Yield events as they come until `stop()`, each once. A broker that is away is waited for; the log says so.

        Args:
            open_transport: connects to the broker, or raises BrokerError.
            broker: its name and address, to be told.
            stored: begin with the oldest one kept, else with the next to come.
            stop: asked a few times a second.
            give_up_seconds: wait for a broker that is away for so long only.

        Raises:
            BrokerError: the broker has been away for `give_up_seconds`.
        """

        def say(line: str) -> None:
            log.warning("%s", line)

        with TopicFollower(open_transport, broker, [self._topic], say, from_start=stored) as follower:
            while not stop():
                yield from self._events(follower.poll(_POLL_SECONDS))
                if give_up_seconds is not None and follower.away_seconds >= give_up_seconds:
                    raise BrokerError(f"{broker} has not answered for {give_up_seconds:g} s")
        self._sum_up()

    def _events(self, records: Iterable[Record]) -> Iterator[Event]:
        for record in records:
            try:
                event = Event.decode(record.key, record.headers, record.value, record.where)
            except OtherRecordError:
                continue
            except RecordError as error:
                self.left_out += 1
                if self.left_out <= _NAMED:
                    log.warning("%s: left out", error)
                continue
            if self._is_new(event):
                yield event

    def _is_new(self, event: Event) -> bool:
        report = (event.id, event.revision)
        if report in self._seen:
            return False
        self._seen[report] = None
        if len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]
        return True

    def _sum_up(self) -> None:
        if self.left_out:
            log.warning("left out of %s: %d records that are no events", self._topic, self.left_out)


def stored_events(transport: Transport, topics: TopicSettings) -> Iterator[Event]:
    """See `EventReader.stored`."""
    return EventReader(topics).stored(transport)
