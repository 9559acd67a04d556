"""Which footage a share shows: that of its event, with a few seconds before and after it."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from consumers.footage_index import FoundFootage
from consumers.records.access import Share
from consumers.records.event import Event
from consumers.web.playlists import Footage

_AROUND_US: Final = 5_000_000
_LONGEST_US: Final = 6 * 3_600_000_000
#: Shares of which it is known which segments they show.
_KEPT: Final = 256
#: An event that goes on has more footage, which players ask for; the index is asked again after so long.
_FRESH_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class _Known:
    at: float
    places: frozenset[tuple[int, int]]


class SharedFootage:
    """For routes of one event loop."""

    def __init__(self, footage: Footage) -> None:
        self._footage = footage
        self._known: OrderedDict[str, _Known] = OrderedDict()

    async def find(self, share: Share, report: Event) -> FoundFootage:
        """What the index says of it.

        Raises:
            BrokerError: the broker is away.
        """
        found = await self._footage.find(report.camera, *stretch_of(report))
        places = frozenset((s.partition, s.offset) for s in (*found.context, *found.segments))
        self._known[share.id] = _Known(time.monotonic(), places)
        self._known.move_to_end(share.id)
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return found

    async def shows(self, share: Share, report: Event, places: set[tuple[int, int]]) -> bool:
        """Whether segments, by partition and offset, are all of it.

        Raises:
            BrokerError: the broker is away.
        """
        known = self._known.get(share.id)
        if known is not None and places <= known.places:
            return True
        if known is not None and time.monotonic() - known.at < _FRESH_SECONDS:
            return False
        await self.find(share, report)
        return places <= self._known[share.id].places


def stretch_of(report: Event) -> tuple[int, int]:
    """Event times, in microseconds, between which a share shows footage and scores."""
    begin = max(0, report.start_us - _AROUND_US)
    return begin, min(report.end_us + _AROUND_US, begin + _LONGEST_US)
