"""What is forgotten is taken out of the embedded broker, which runs in this process: its records, for good.

clipline.forgotten ─▶ the stretch ─▶ batches of the topics, without its records: soon, and again a minute later
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

from consumers.outputs.follower import TopicFollower, from_earliest
from consumers.settings import TopicSettings
from stream import KafkaTransport, Record
from stream.services import Condition, EmbeddedBroker

from .book import ForgottenBook
from .search import deletable, record_matchers

log = logging.getLogger(__name__)

_POLL_SECONDS: Final = 0.5
#: Whoever had it forgotten counts first what there is; nobody is shown it meanwhile.
_COUNTED_SECONDS: Final = 8.0
#: What was under way when a stretch was forgotten has arrived by then.
_AGAIN_SECONDS: Final = 60.0
#: The newest record of a partition stays until newer ones are there: looked at so often from then on.
_LATER_SECONDS: Final = 3600.0
_END_SECONDS: Final = 3.0


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
                take_out(broker, topics, book)


def take_out(broker: EmbeddedBroker, topics: TopicSettings, book: ForgottenBook) -> int:
    """Take out all that is of some stretches; return how many records that were."""
    matchers = record_matchers(topics, book)
    gone = sum(broker.take_out(topic, _condition(topic, matchers[topic])) or 0 for topic in deletable(topics))
    if gone:
        log.info("took %d records out of the embedded broker that are forgotten", gone)
    return gone


def _condition(topic: str, is_of: Callable[[Record], bool]) -> Condition:
    """Whether a record goes, as the broker asks it: by key, headers, value and when it was sent."""
    return lambda key, headers, value, sent_ms: is_of(Record(topic, 0, 0, key, list(headers), value, sent_ms * 1000))
