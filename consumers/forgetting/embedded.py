"""What is forgotten is taken out of the embedded broker, which runs in this process: its records, for good.

clipline.forgotten ─▶ the stretch ─▶ batches of the topics, without its records: soon, and again a minute later

An event is of a stretch as a whole if one of its reports is. Once that report is gone nobody could tell so: all else
that names the event goes before it, and while something of it stays, that report does.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from consumers.outputs.follower import TopicFollower, from_earliest
from consumers.settings import TopicSettings
from stream import KafkaTransport, Record
from stream.services import EmbeddedBroker

from .book import ForgottenBook
from .events import forgotten_report
from .search import event_named, record_matchers, taken_out

log = logging.getLogger(__name__)

_POLL_SECONDS: Final = 0.5
#: Whoever had it forgotten counts first what there is; nobody is shown it meanwhile.
_COUNTED_SECONDS: Final = 8.0
#: What was under way when a stretch was forgotten has arrived by then.
_AGAIN_SECONDS: Final = 60.0
#: The newest record of a partition stays until newer ones are there: looked at so often from then on.
_LATER_SECONDS: Final = 3600.0
_END_SECONDS: Final = 3.0
#: Events that are remembered to be forgotten: what comes later of them goes, too.
_MOST_EVENTS: Final = 100_000
_IsOf = Callable[[Record], bool]


@contextlib.contextmanager
def taking_out(broker: EmbeddedBroker, topics: TopicSettings) -> Iterator[None]:
    """Take out of a broker what is forgotten, while the body runs."""
    stop = threading.Event()
    thread = threading.Thread(target=_run, args=(broker, topics, stop), name="taking out", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(_END_SECONDS)


def _run(broker: EmbeddedBroker, topics: TopicSettings, stop: threading.Event) -> None:
    def say(line: str) -> None:
        log.debug("%s", line)  # it is ours: whoever runs it says what is the matter with it

    book = ForgottenBook()
    events: dict[str, None] = {}
    #: When to take out, in turn.
    due: list[float] = []
    follower = TopicFollower(
        lambda: KafkaTransport(broker.address, at_once=True), "Kafka", [topics.forgotten], say, begin=from_earliest
    )
    with follower:
        while not stop.is_set():
            records = follower.poll(_POLL_SECONDS)
            for record in records:
                book.take(record)
            now = time.monotonic()
            if records:
                # More stretches do not put off what is due for earlier ones.
                due = [min([*due[:1], now + _COUNTED_SECONDS]), now + _AGAIN_SECONDS]
            if due and now >= due[0]:
                due = due[1:] or [now + _LATER_SECONDS]
                take_out(broker, topics, book, events)
                while len(events) > _MOST_EVENTS:
                    del events[next(iter(events))]


def take_out(broker: EmbeddedBroker, topics: TopicSettings, book: ForgottenBook, events: dict[str, None]) -> int:
    """Take out all that is of some stretches; return how many records that were.

    Args:
        broker: out of which.
        topics: their names.
        book: the stretches.
        events: ids of events that were found to be of them before; those that are found now join them.
    """

    def note(record: Record) -> None:
        if (proof := forgotten_report(record, book)) is not None:
            events[proof[0]] = None

    _look_at(broker, topics.events, note)
    matchers = record_matchers(topics, book, events)
    gone = sum(_take_out(broker, topic, matchers[topic]) for topic in taken_out(topics) if topic != topics.events)
    is_of = matchers[topics.events]
    gone += _take_out(broker, topics.events, lambda record: is_of(record) and forgotten_report(record, book) is None)
    left = _left(broker, topics, book, matchers) if events else set()
    gone += _take_out(broker, topics.events, lambda record: is_of(record) and event_named(topics, record) not in left)
    if gone:
        log.info("took %d records out of the embedded broker that are forgotten", gone)
    return gone


def _left(
    broker: EmbeddedBroker, topics: TopicSettings, book: ForgottenBook, matchers: Mapping[str, _IsOf]
) -> set[str]:
    """Events of which there still is something that does not prove by itself that it is forgotten."""
    left: set[str] = set()

    def note(record: Record) -> None:
        is_proof = record.topic == topics.events and forgotten_report(record, book) is not None
        if not is_proof and matchers[record.topic](record) and (event := event_named(topics, record)) is not None:
            left.add(event)

    for topic in (topics.pictures, topics.verdicts, topics.deliveries, topics.events):
        _look_at(broker, topic, note)
    return left


def _look_at(broker: EmbeddedBroker, topic: str, look: Callable[[Record], None]) -> None:
    """Show each record of a topic as the broker holds it, but for its offset, which is not known."""

    def stays(record: Record) -> bool:
        look(record)
        return False

    _take_out(broker, topic, stays)


def _take_out(broker: EmbeddedBroker, topic: str, goes: _IsOf) -> int:
    def condition(key: bytes | None, headers: Sequence[tuple[str, bytes]], value: bytes | None, sent_ms: int) -> bool:
        return goes(Record(topic, 0, 0, key, list(headers), value, sent_ms * 1000))

    return broker.take_out(topic, condition) or 0
