"""What comes of watched cameras, read from the topic of segments as it is stored: one reader for all who watch.

    topic ──▶ one thread, the partitions of watched cameras only ──▶ queues of viewers, eight segments each

A viewer who does not keep up loses the oldest of them, and goes on where decoding can begin. What comes late of a
stretch that is forgotten, out of an agent's spool, for example, is handed to nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Final, Self

from consumers.forgetting import ForgottenBook
from consumers.settings import TopicSettings
from stream import BrokerError, Lookup, Record, Segment, SegmentError, Transport

log = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 0.05
_RETRY_SECONDS: Final = 1.0
_END_SECONDS: Final = 3.0
#: Segments that wait for a viewer.
_WAITING: Final = 8
#: Of records that are no segments so many are named, the others counted.
_NAMED: Final = 10


class FastFeed:
    """What a viewer is given of a camera: `next` waits for it. Of one event loop."""

    def __init__(self, camera: str, loop: asyncio.AbstractEventLoop) -> None:
        self.camera = camera
        self._loop, self._waiting, self._there = loop, deque[Segment](maxlen=_WAITING), asyncio.Event()
        self._wants_start = True
        #: Segments that the viewer was too slow for.
        self.dropped = 0

    async def next(self, seconds: float) -> Segment | None:
        """The next segment, decodable after those before; None where none comes within so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    while not self._waiting:
                        self._there.clear()
                        await self._there.wait()
                    segment = self._waiting.popleft()
                    if not self._wants_start or segment.decode_from_us is None:
                        self._wants_start = False
                        return segment
        return None

    def put(self, segment: Segment) -> None:
        """Hand over a segment; by any thread."""
        with contextlib.suppress(RuntimeError):  # its loop is over
            self._loop.call_soon_threadsafe(self._take, segment)

    def _take(self, segment: Segment) -> None:
        if len(self._waiting) == _WAITING:
            self.dropped += 1
            self._wants_start = True
            while self._waiting and self._waiting[0].decode_from_us is not None:
                self._waiting.popleft()
        self._waiting.append(segment)
        self._there.set()


class FastFootage:
    """Follows the cameras that somebody watches. Use as a context manager."""

    def __init__(
        self, connect: Callable[[], Transport], topics: TopicSettings, max_viewers: int, forgotten: ForgottenBook
    ) -> None:
        """Prepare; nothing is read before somebody watches. What is `forgotten` is shown to nobody."""
        self._connect, self._topic, self._max = connect, topics.segments, max_viewers
        self._forgotten = forgotten
        self._lock = threading.Lock()
        self._feeds: dict[FastFeed, None] = {}
        #: Of viewers who have left.
        self._dropped = 0
        self._wanted, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="fast view", daemon=True)
        #: Records that are no segments, and why nothing comes; None while the broker is there.
        self.left_out = 0
        self.away: str | None = None

    def watch(self, camera: str) -> FastFeed | None:
        """Watch a camera from now on, until `leave`; None where as many watch as may. By the event loop."""
        feed = FastFeed(camera, asyncio.get_running_loop())
        with self._lock:
            if len(self._feeds) >= self._max:
                return None
            self._feeds[feed] = None
        self._wanted.set()
        return feed

    def leave(self, feed: FastFeed) -> None:
        """Watch no more."""
        with self._lock:
            if feed in self._feeds:
                del self._feeds[feed]
                self._dropped += feed.dropped

    @property
    def dropped(self) -> int:
        """Segments that viewers were too slow for."""
        with self._lock:
            return self._dropped + sum(feed.dropped for feed in self._feeds)

    @property
    def viewers(self) -> int:
        """How many watch."""
        return len(self._feeds)

    def _watched(self) -> dict[str, list[FastFeed]]:
        with self._lock:
            found: dict[str, list[FastFeed]] = {}
            for feed in self._feeds:
                found.setdefault(feed.camera, []).append(feed)
            if not found:
                self._wanted.clear()
            return found

    def _run(self) -> None:
        while not self._stop.is_set():
            if not self._wanted.wait(_RETRY_SECONDS) or self._stop.is_set():
                continue
            try:
                with contextlib.closing(self._connect().lookup([self._topic])) as lookup:
                    self._follow(lookup)
                self.away = None
            except BrokerError as error:
                self.away = str(error)
                self._stop.wait(_RETRY_SECONDS)

    def _follow(self, lookup: Lookup) -> None:
        """Read until nobody watches.

        Raises:
            BrokerError: the broker is away.
        """
        partitions: dict[str, int] = {}
        nexts: dict[int, int] = {}
        while not self._stop.is_set() and (watched := self._watched()):
            for camera in watched.keys() - partitions.keys():
                partitions[camera] = lookup.partition_of(self._topic, camera.encode())
            wanted = {partitions[camera] for camera in watched}
            # Whoever comes back to a partition begins at its end.
            nexts = {number: nexts.get(number, -1) for number in wanted}
            for number in sorted(wanted):
                nexts[number] = self._read(lookup, number, nexts[number], watched)
            self.away = None
            self._stop.wait(_LOOK_SECONDS)

    def _read(self, lookup: Lookup, number: int, first: int, watched: dict[str, list[FastFeed]]) -> int:
        """Hand over what is new in a partition; where to go on."""
        if first < 0:
            return lookup.end((self._topic, number))
        for record in lookup.read((self._topic, number), first):
            if record.offset < first:
                continue
            first = record.offset + 1
            if (feeds := watched.get((record.key or b"").decode(errors="replace"))) is not None:
                self._hand_over(record, feeds)
        return first

    def _hand_over(self, record: Record, feeds: list[FastFeed]) -> None:
        try:
            segment = Segment.decode(record.key, record.headers, record.value, record.where)
        except SegmentError as error:
            self.left_out += 1
            log.log(logging.WARNING if self.left_out <= _NAMED else logging.DEBUG, "left out: %s", error)
            return
        if segment.frames and self._forgotten.of(segment.camera, segment.start_us, segment.end_us) is None:
            for feed in feeds:
                feed.put(segment)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._wanted.set()
        self._thread.join(_END_SECONDS)
