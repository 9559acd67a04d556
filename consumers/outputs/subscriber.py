"""Reading events as a subscriber does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Final

from consumers.records.event import Event
from consumers.records.fields import RecordError
from consumers.settings import TopicSettings
from consumers.topics import ensure_topics
from stream import Transport

log = logging.getLogger(__name__)

_POLL_SECONDS: Final = 0.25
#: A topic is read to its end when this many polls gave nothing.
_EMPTY_POLLS: Final = 4


def read_events(
    transport: Transport, topics: TopicSettings, *, follow: bool, stored: bool, stop: Callable[[], bool]
) -> Iterator[Event]:
    """Yield the reports of events in the order of the topic; what is none is logged and left out.

    Args:
        transport: the broker.
        topics: the names of its topics.
        follow: wait for further events until `stop()`.
        stored: begin with the oldest one kept, else with the next to come.
        stop: asked a few times a second.
    """
    ensure_topics(transport, topics)
    consumer = transport.consumer([topics.events], from_start=stored)
    try:
        empty = 0
        while not stop() and (follow or empty < _EMPTY_POLLS):
            records = consumer.poll(_POLL_SECONDS).records
            empty = 0 if records else empty + 1
            for record in records:
                try:
                    event = Event.decode(record.key, record.headers, record.value, record.where)
                except RecordError as error:
                    log.warning("%s: left out", error)
                    continue
                yield event
    finally:
        consumer.close()
