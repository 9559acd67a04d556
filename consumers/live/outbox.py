"""Where results go: onto the topics, and to whoever is told once they are committed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from consumers.records.dead_letter import DeadLetter
from consumers.records.event import Event
from consumers.records.load_change import LoadChange

from .pipeline import Outcome


class Outbox(Protocol):
    """Where results go."""

    def letter(self, letter: DeadLetter) -> None:
        """A record that cannot be used."""

    def load(self, change: LoadChange) -> None:
        """From now on less, or more, is made of a camera."""

    def results(self, outcomes: Sequence[Outcome], events: Sequence[Event]) -> None:
        """What became of windows, and events with where their footage lies."""
