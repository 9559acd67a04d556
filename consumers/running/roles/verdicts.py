"""The process that serves the page behind the links of messages."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

from consumers.records.states.process import ProcessInfo
from consumers.running.child import Run
from consumers.running.ending import Ending
from consumers.running.supervising.pulse import Pulse
from consumers.settings import Settings, SettingsError
from consumers.verdicts.serving import serving_verdicts
from stream import KafkaTransport

AWAY: Final[tuple[type[Exception], ...]] = ()
REFUSED: Final[tuple[type[Exception], ...]] = ()


@contextlib.contextmanager
def prepare(settings: Settings, process: ProcessInfo, pulse: Pulse) -> Iterator[Run]:  # noqa: ARG001  a role
    """Get ready; the run serves until it is told to stop.

    Raises:
        SettingsError: there is no secret, or the address cannot be listened on.
    """
    watch = pulse.serving(settings.metrics.stuck_seconds)
    with contextlib.ExitStack() as stack:
        try:
            serving = serving_verdicts(
                lambda: KafkaTransport(settings.broker, at_once=True), settings, settings.verdicts.listen, watch=watch
            )
            stack.enter_context(serving)
        except ValueError as error:
            raise SettingsError(f"verdicts.listen: {error}") from None

        def run(ending: Ending) -> None:
            ending.stop.wait()

        yield run
