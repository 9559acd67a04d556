"""The process that serves the dashboard."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

from consumers.records.states.process import ProcessInfo
from consumers.running.child import Run
from consumers.running.ending import Ending
from consumers.running.supervising.pulse import Pulse
from consumers.settings import Settings, SettingsError
from consumers.web.serving import serving_dashboard

AWAY: Final[tuple[type[Exception], ...]] = ()
REFUSED: Final[tuple[type[Exception], ...]] = ()


@contextlib.contextmanager
def prepare(settings: Settings, process: ProcessInfo, pulse: Pulse) -> Iterator[Run]:  # noqa: ARG001  a role
    """Get ready; the run serves until it is told to stop.

    Raises:
        SettingsError: others could use it and nobody has to say who asks, or the address cannot be listened on.
    """
    watch = pulse.serving(settings.metrics.stuck_seconds)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(serving_dashboard(settings, settings.dashboard.listen, watch=watch))
        except ValueError as error:
            raise SettingsError(f"dashboard.listen: {error}") from None

        def run(ending: Ending) -> None:
            ending.stop.wait()

        yield run
