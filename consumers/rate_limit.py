"""How many requests one client may send, for whoever serves them."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from typing import Final

#: Clients whose requests are counted; those that came least recently go.
_CLIENTS: Final = 4096


class RateLimit:
    """So many requests a minute of each client, in any minute at most twice as many. For several threads."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._lock = threading.Lock()
        #: By client: what is left, and as of when.
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str, now: float) -> bool:
        """Whether one more may be answered at `now`, in seconds."""
        with self._lock:
            return self._take(client, now)

    def give_back(self, client: str) -> None:
        """Take one back that was not meant to be counted."""
        with self._lock:
            if client in self._left:
                left, at = self._left[client]
                self._left[client] = (left + 1, at)

    @property
    def retry_seconds(self) -> int:
        """After so long one more may be answered."""
        return max(1, math.ceil(60 / self._per_minute))

    def _take(self, client: str, now: float) -> bool:
        left, at = self._left.pop(client, (float(self._per_minute), now))
        left = min(float(self._per_minute), left + (now - at) * self._per_minute / 60)
        allowed = left >= 1
        self._left[client] = (left - 1 if allowed else left, now)
        while len(self._left) > _CLIENTS:
            self._left.popitem(last=False)
        return allowed
