"""Whether a main loop turns, as `/livez` says it, and the supervisor of a run is told."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from consumers.outputs.outages import watch_kafka, watching
from consumers.settings import Settings
from consumers.terminal.wording import duration

from .pulse import Pulse


class Liveness:
    """Whether a loop turns. Time without its broker does not count: whoever waits for it may be inside a call."""

    def __init__(self, stuck_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._stuck_seconds, self._clock = stuck_seconds, clock
        self._since = clock()

    def begin(self) -> None:
        """Something that takes a while begins, or the loop turns."""
        self._since = self._clock()

    def age_seconds(self, turned_at: float | None, *, is_excused: bool) -> float:
        """How long the loop has not turned, that turned last at `turned_at`."""
        now = self._clock()
        if is_excused:
            self._since = now
        return now - max(self._since, turned_at or 0.0)

    def stuck(self, age_seconds: float, doing: str) -> str | None:
        """Say so where that is too long."""
        if age_seconds <= self._stuck_seconds:
            return None
        return f"stuck for {duration(age_seconds)} while {doing}"


@contextlib.contextmanager
def turning(pulse: Pulse, settings: Settings, doing: str) -> Iterator[Callable[[], None]]:
    """What is to be called as often as the main loop of a process turns, while the body runs.

    Whoever hears the pulse is told where it does not; `doing`: what the process does with the broker, as in "stuck for
    2 min while …".
    """
    live = Liveness(settings.metrics.stuck_seconds)
    # That the broker is away, the loop itself says.
    with watching(kafka := watch_kafka(settings.broker, lambda _: None)):
        pulse.watch(lambda: live.stuck(live.age_seconds(None, is_excused=kafka.awaited is not None), doing))
        yield live.begin
