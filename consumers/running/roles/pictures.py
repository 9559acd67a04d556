"""The process that makes pictures of events."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Final

from consumers.pictures.follow import PictureFollower
from consumers.records.states.process import ProcessInfo
from consumers.running.child import Run
from consumers.running.ending import Ending
from consumers.running.supervising.liveness import turning
from consumers.running.supervising.pulse import Pulse
from consumers.settings import Settings
from stream import KafkaTransport

AWAY: Final[tuple[type[Exception], ...]] = ()
REFUSED: Final[tuple[type[Exception], ...]] = ()
#: Behind workers and the agent, where they want the processor.
_NICENESS: Final = 10


@contextlib.contextmanager
def prepare(settings: Settings, _process: ProcessInfo, pulse: Pulse) -> Iterator[Run]:
    """Get ready; the run makes pictures until it is told to stop. A broker or Redis that is away is waited for."""
    os.nice(_NICENESS)
    with turning(pulse, settings, "making pictures") as turn:

        def run(ending: Ending) -> None:
            PictureFollower(
                lambda: KafkaTransport(settings.broker, at_once=True), settings, ending.stop.is_set, turn=turn
            ).run()

        yield run
