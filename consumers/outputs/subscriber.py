"""Reading events as a subscriber does."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any, Final

from consumers.live.worker import ensure_topics
from consumers.records.event import BODY_KEYS, STATES
from consumers.settings import TopicSettings
from stream import Transport

log = logging.getLogger(__name__)

_POLL_SECONDS: Final = 0.25
#: A topic is read to its end when this many polls gave nothing.
_EMPTY_POLLS: Final = 4


def read_events(
    transport: Transport, topics: TopicSettings, *, follow: bool, stored: bool, stop: Callable[[], bool]
) -> Iterator[dict[str, Any]]:
    """Yield the bodies of events in the order of the topic.

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
            records = consumer.poll(_POLL_SECONDS)
            empty = 0 if records else empty + 1
            for record in records:
                body = event_body(record.value or b"")
                if body is None:
                    log.warning("%s: not a Clipline event, left out", record.where)
                else:
                    yield body
    finally:
        consumer.close()


def event_body(value: bytes) -> dict[str, Any] | None:
    """The body of an event's record; None if it is another thing."""
    try:
        body = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) and body.keys() >= BODY_KEYS and body["state"] in STATES else None
