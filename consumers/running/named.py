"""What `clipline status` compares with the settings: which cameras they name, and which broker was asked."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Self

from consumers.settings import Settings
from stream import BrokerError, Transport

from .overview import Overview

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Named:
    """What the settings name."""

    #: The broker.
    kafka: str
    #: Cameras; where there are none, all are as good as named.
    cameras: frozenset[str]
    #: Of these, those that no agent has ever sent.
    never_sent: frozenset[str]

    @classmethod
    def read(cls, transport: Transport, settings: Settings) -> Self:
        """Ask the broker who has sent them: of a camera that ended long ago there may be no state any more.

        Raises:
            BrokerError: the broker does not answer.
        """
        cameras, topic = frozenset(settings.cameras), settings.topics.cameras_claims
        never: frozenset[str] = frozenset()
        # One that is not there, or that we may not see, tells nothing.
        if cameras and transport.existing([topic]):
            try:
                records = transport.read(transport.offsets(topic))
                never = cameras - {(record.key or b"").decode(errors="replace") for record in records}
            except BrokerError as error:
                log.info("which cameras were never sent cannot be told: %s", error)
        return cls(settings.kafka, cameras, never)

    def beside(self, now: Overview, known: Collection[str]) -> Overview:
        """An overview that tells the broker, cameras that nobody has heard of, and those that the settings do not name.

        Args:
            now: as it is without them.
            known: cameras that have told how they are.
        """
        never = sorted(self.never_sent - set(known)) if now.cameras or now.workers else []
        problems = (*now.problems, *((f"never reported: {', '.join(never)} (in the settings)",) if never else ()))
        told = (line.state.feed.camera for line in now.cameras)
        unnamed = tuple(name for name in told if self.cameras and name not in self.cameras)
        return replace(now, kafka=self.kafka, problems=problems, unnamed=unnamed, never_reported=tuple(never))
