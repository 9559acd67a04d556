"""What is made of a camera's newest footage when somebody asks for it, and kept for a moment, for all who ask.

One camera at a time, with limits of its own, so that it takes nothing from whoever waits for a playlist.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final, Generic, TypeVar

from anyio import CapacityLimiter

from consumers.footage_index import FootageIndex
from consumers.forgetting import ForgottenBook
from consumers.settings import Settings
from consumers.web.playlists.connection import Kept
from stream import DecodeLimits, Transport

from .decoding import DecoderProcess

#: So long it is shown to whoever asks.
FRESH_SECONDS: Final = 10.0
#: Behind the newest footage that its agent told of, the index may be so far.
BESIDE_US: Final = 15_000_000
_MOST_KEPT: Final = 64
#: Of one segment.
_SEGMENT_SECONDS: Final = 3.0

_T = TypeVar("_T")


class NewestMaker(Generic[_T]):
    """Makes something of it. For one thread at a time: see `room`."""

    def __init__(self, connect: Callable[[], Transport], settings: Settings, forgotten: ForgottenBook) -> None:
        """Prepare; nothing is read before it is asked for. Of what is `forgotten` nothing that was kept is shown."""
        self._forgotten = forgotten
        self._index = Kept(lambda: FootageIndex(connect(), settings.topics))
        limits = settings.worker.decode_limits
        self._limits = DecodeLimits(
            limits.max_pixels, min(limits.max_seconds, _SEGMENT_SECONDS), limits.max_picture_bytes
        )
        self._decoder = DecoderProcess()
        self._kept: OrderedDict[str, tuple[float, _T]] = OrderedDict()
        self.room = CapacityLimiter(1)

    def _kept_or_made(self, camera: str, holds: Callable[[_T], bool], make: Callable[[FootageIndex], _T]) -> _T:
        """What was made a moment ago, if it still holds; else what is made now.

        Raises:
            BrokerError: the broker is away.
        """
        kept = self._kept.get(camera)
        if kept is not None and holds(kept[1]) and time.monotonic() - kept[0] < FRESH_SECONDS:
            return kept[1]
        made = self._index.use(make)
        self._kept[camera] = time.monotonic(), made
        self._kept.move_to_end(camera)
        while len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)
        return made

    def _is_remembered(self, camera: str, times_us: Iterable[int]) -> bool:
        """Whether no picture of a camera, each of a time, is of a stretch that is forgotten."""
        return all(self._forgotten.of(camera, each, each) is None for each in times_us)

    def close(self) -> None:
        """Read and decode no more."""
        self._index.close()
        self._decoder.close()
