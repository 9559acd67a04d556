"""Where results go: onto the topics, and to whoever is told once they are committed."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from typing import Protocol

from consumers.records.dead_letter import DeadLetter
from consumers.records.event import Event
from consumers.records.group_keys import transactional_id
from consumers.records.load_change import LoadChange
from consumers.records.prediction import Prediction
from consumers.settings import TopicSettings, WorkerSettings
from stream import Publisher, Transport

from .pipeline import Outcome, ScoredWindow

log = logging.getLogger(__name__)


class Outbox(Protocol):
    """Where results go."""

    def letter(self, letter: DeadLetter) -> None:
        """A record that cannot be used."""

    def load(self, change: LoadChange) -> None:
        """From now on less, or more, is made of a camera."""

    def results(self, outcomes: Sequence[Outcome], events: Sequence[Event]) -> None:
        """What became of windows, and events with where their footage lies."""


class TopicOutbox:
    """Sends results to the topics, and keeps them until they are committed."""

    def __init__(self, topics: TopicSettings) -> None:
        self._topics = topics
        #: Results that were sent and not yet committed.
        self.sent: list[tuple[Sequence[Outcome], Sequence[Event]]] = []

    def open(self, publisher: Publisher) -> None:
        """Send by this publisher from now on."""
        self._publisher = publisher

    def letter(self, letter: DeadLetter) -> None:
        """Send a record that cannot be used to the dead letters."""
        self._publisher.send(self._topics.deadletter, *letter.encode())

    def load(self, change: LoadChange) -> None:
        """Send that less, or more, is made of a camera from now on."""
        self._publisher.send(self._topics.events, *change.encode())

    def results(self, outcomes: Sequence[Outcome], events: Sequence[Event]) -> None:
        """Send predictions and events."""
        for prediction in _predictions(outcomes):
            self._publisher.send(self._topics.predictions, *prediction.encode())
        for event in events:
            self._publisher.send(self._topics.events, *event.encode())
        self.sent.append((outcomes, events))

    def clear(self) -> None:
        """What was sent is committed, or dropped."""
        self.sent = []


def _predictions(outcomes: Sequence[Outcome]) -> list[Prediction]:
    return [step.prediction for step in outcomes if isinstance(step, ScoredWindow)]


def publisher_name(transport: Transport, settings: WorkerSettings) -> str | None:
    """Under which a worker makes transactions; None without."""
    if settings.guarantee == "at-least-once":
        return None
    if not transport.is_transactional:
        log.warning(
            "this broker keeps no transactions: after a kill, predictions and events may come again, with the "
            "same ids (at least once)"
        )
    group, instance = settings.group, settings.instance
    return f"{group}-{uuid.uuid4()}" if instance is None else transactional_id(group, instance)
