"""What routes work with: the newest of each camera, stretches of time, and single segments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from anyio import CapacityLimiter, to_thread

from consumers.footage_index import FootageIndex, FoundFootage
from consumers.forgetting import ForgottenBook
from consumers.settings import Settings
from stream import Transport

from .connection import Kept
from .live import LiveIndex
from .store import SegmentStore


class Footage:
    """The footage of all cameras, for all viewers. Use as a context manager."""

    def __init__(self, connect: Callable[[], Transport], settings: Settings, forgotten: ForgottenBook) -> None:
        """Prepare; nothing is read before somebody asks. What is `forgotten` is shown to nobody."""
        self.live = LiveIndex(connect, settings, forgotten)
        max_bytes = int(settings.dashboard.footage_megabytes * 1024 * 1024)
        self.segments = SegmentStore(connect, settings.topics, max_bytes)
        self._index = Kept(lambda: FootageIndex(connect(), settings.topics))
        #: Whoever looks for something waits here, and in no thread.
        self._room = CapacityLimiter(1)

    async def find(self, camera: str, from_us: int, to_us: int) -> FoundFootage:
        """What the index says of a stretch of a camera's time.

        Raises:
            BrokerError: the broker is away.
        """
        return await to_thread.run_sync(
            lambda: self._index.use(lambda index: index.find(camera, from_us, to_us)), limiter=self._room
        )

    async def knows(self, camera: str) -> bool:
        """Whether the index has heard of a camera.

        Raises:
            BrokerError: the broker is away.
        """
        return await to_thread.run_sync(
            lambda: self._index.use(lambda index: index.contents(camera)) is not None, limiter=self._room
        )

    def __enter__(self) -> Self:
        self.live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.live.__exit__(*error)
        self.segments.close()
        self._index.close()
