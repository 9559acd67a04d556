"""Which scores a share shows: those of its event, with a few seconds before and after it, read once for a while."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from anyio import to_thread

from consumers.forgetting import ForgottenBook
from consumers.records.event import Event
from consumers.web.scores import ScoreReader

from .footage import stretch_of

#: Windows of one event, 150 bytes each, and events.
_MOST_SCORES: Final = 5000
_KEPT: Final = 64
#: Scores of what came after an event come after its last report: they are read again after so long.
_FRESH_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class SharedWindow:
    """A window, in event time in microseconds, and its score of the event's label."""

    start_us: int
    end_us: int
    score: float | None


@dataclass(frozen=True, slots=True)
class _Known:
    at: float
    windows: tuple[SharedWindow, ...]


class SharedScores:
    """For routes of one event loop. Whoever has links reads one event at a time, and others' reads go on beside."""

    def __init__(self, reader: ScoreReader, forgotten: ForgottenBook) -> None:
        self._reader, self._forgotten = reader, forgotten
        #: By event and revision.
        self._known: OrderedDict[tuple[str, int], _Known] = OrderedDict()
        self._reading = asyncio.Lock()

    async def find(self, report: Event) -> list[SharedWindow]:
        """Its windows, oldest first, without those that are forgotten by now.

        Raises:
            BrokerError: the broker is away.
        """
        known = self._fresh(report)
        if known is None:
            async with self._reading:
                # Another one may have read them meanwhile.
                known = self._fresh(report) or await self._read(report)
        of = self._forgotten.of
        return [each for each in known.windows if of(report.camera, each.start_us, each.end_us) is None]

    def _fresh(self, report: Event) -> _Known | None:
        known = self._known.get((report.id, report.revision))
        return known if known is not None and time.monotonic() - known.at < _FRESH_SECONDS else None

    async def _read(self, report: Event) -> _Known:
        reader, label = self._reader, report.label
        stretch = stretch_of(report)
        scores = await to_thread.run_sync(reader.read, report.camera, *stretch, _MOST_SCORES, limiter=reader.room)
        windows = tuple(
            SharedWindow(each.start_us, each.end_us, each.scores.get(label))
            for each in scores.predictions
            if each.model == report.model
        )
        found = self._known[report.id, report.revision] = _Known(time.monotonic(), windows)
        self._known.move_to_end((report.id, report.revision))
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return found
