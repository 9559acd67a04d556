"""The process that sends notifications."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

from consumers.notifying.notifier import Notifier
from consumers.records.states.process import ProcessInfo
from consumers.running.child import Run
from consumers.running.ending import Ending
from consumers.running.supervising.liveness import turning
from consumers.running.supervising.pulse import Pulse
from consumers.settings import Settings
from stream import GroupInstance, KafkaTransport

AWAY: Final[tuple[type[Exception], ...]] = ()
REFUSED: Final[tuple[type[Exception], ...]] = ()
_BACK_WITHIN_SECONDS: Final = 15.0


@contextlib.contextmanager
def prepare(settings: Settings, process: ProcessInfo, pulse: Pulse) -> Iterator[Run]:
    """Get ready; the run notifies until it is told to stop. A broker that is away is waited for."""
    with turning(pulse, settings, "notifying") as turn:

        def run(ending: Ending) -> None:
            Notifier(
                lambda: KafkaTransport(settings.broker, at_once=True),
                settings,
                ending.stop.is_set,
                # Its supervisor starts it again under the same name: nobody waits for a dead member.
                instance=GroupInstance(process.id, _BACK_WITHIN_SECONDS),
                turn=turn,
            ).run()

        yield run
