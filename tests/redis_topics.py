"""Predictions and events on topics, for tests of what Redis shows of them."""

from __future__ import annotations

from consumers.records.event import Event, event_id
from consumers.records.prediction import Prediction
from consumers.settings import Settings
from consumers.topics import ensure_topics
from stream import Transport

EPOCH_US = 1_700_000_000_000_000
SECOND = 1_000_000


def prediction(
    window: int, *, epoch_us: int = EPOCH_US, camera: str = "lobby", model: str = "m-1", run: float = 0.25
) -> Prediction:
    start_us = epoch_us + window * SECOND
    return Prediction(camera, epoch_us, window, start_us, start_us + 2 * SECOND, model, {"run": run, "walk": 1 - run})


def report(number: int, revision: int = 0, camera: str = "lobby") -> Event:
    start_us = EPOCH_US + number * SECOND
    id_ = event_id(camera, EPOCH_US, "run", start_us, "m-1")
    state = "updated" if revision else "started"
    return Event(camera, "m-1", "run", state, revision, id_, start_us, start_us + 2 * SECOND, 0.9, start_us, 1)


def publish(transport: Transport, settings: Settings, *what: Prediction | Event) -> None:
    ensure_topics(transport, settings.topics)
    topics, producer = settings.topics, transport.producer()
    for each in what:
        producer.send(topics.predictions if isinstance(each, Prediction) else topics.events, *each.encode())
    producer.flush()
    producer.close()
