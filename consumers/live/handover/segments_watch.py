"""Whether the segments topic still holds what a running worker has read of it: offsets do not tell."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Final

from stream import BrokerError, Partition

from .marks import Known
from .state_topic import StateTopic

#: How often it is looked.
_LOOK_SECONDS: Final = 60.0


class SegmentsWatch:
    """Of one worker.

    It does not notice that records were lost which were taken after its last look, if others came in their place
    before the next. What the worker then has passed over shows as a gap in a camera's segments: it is counted and said.
    """

    def __init__(self, state: StateTopic) -> None:
        self._state = state
        self._looked_at = time.monotonic()
        #: What had been taken of each partition then.
        self._known: Mapping[Partition, Known] = {}

    def look(self, taken: Callable[[], Mapping[Partition, Known]]) -> None:
        """Look, if it is time to; `taken` tells what has been taken of the worker's partitions.

        Raises:
            BrokerError: it is another topic by now, or the broker has lost records that were read. A worker that begins
                anew finds out what is to be read.
        """
        if time.monotonic() < self._looked_at + _LOOK_SECONDS:
            return
        self._looked_at = time.monotonic()
        is_made_anew, lost, known = False, None, taken()
        with contextlib.suppress(BrokerError):  # a broker that is away is waited for elsewhere
            is_made_anew = self._state.is_made_anew()
            # What has been taken since may be of what came in place of what was lost.
            before = {partition: each for partition, each in self._known.items() if partition in known}
            lost = next(iter(self._state.lost_tails(before) | self._state.lost_tails(known)), None)
        self._known = known
        if is_made_anew:
            raise BrokerError(f"topic {self._state.segments} was deleted and made anew")
        if lost is not None:
            raise BrokerError(f"{lost[0]}[{lost[1]}] does not hold any more what was read of it")
