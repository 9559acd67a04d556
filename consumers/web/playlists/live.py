"""The newest segments of cameras that somebody watches, as the index tells of them.

One thread follows the index for all viewers, while there are any. It reads no footage.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, Self

from consumers.footage_index import FootageIndex, Standing
from consumers.forgetting import ForgottenBook
from consumers.outputs.follower import TopicFollower
from consumers.records.fields import RecordError
from consumers.records.index.page import IndexedSegment, IndexPage
from consumers.settings import Settings
from stream import BrokerError, Record, Transport

from .connection import Kept

log = logging.getLogger(__name__)

#: Of each camera: more than a playlist has, so that servers that began at other times agree.
_KEPT: Final = 128
#: Cameras that are watched at once; those for which nobody has asked for longest go.
_MOST_CAMERAS: Final = 512
#: After so long without anybody who asks, a camera is not watched any more.
_WATCHED_SECONDS: Final = 30.0
#: Of a camera of which nothing new has come for so long, nothing is live.
FRESH_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.1
_END_SECONDS: Final = 3.0
#: Pages before the one that is being filled, at most, that a camera's newest segments are taken from.
_PAGES: Final = 8


@dataclass(frozen=True, slots=True)
class LiveWindow:
    """A camera's newest segments, in the order of their numbers."""

    #: None where the index has not been asked yet.
    segments: tuple[IndexedSegment, ...] | None
    #: Whether something came of late.
    is_fresh: bool
    #: Why nothing may come, in words; None where the broker is there.
    away: str | None


@dataclass(slots=True)
class _Watched:
    asked_at: float
    segments: tuple[IndexedSegment, ...] | None = None
    #: Of the agent that wrote the newest page.
    claim: int = 0
    #: Wall clock, in microseconds, at which something new was heard.
    heard_us: int = 0
    #: Pages that came before the index was asked.
    early: list[IndexPage] = field(default_factory=list)


class LiveIndex:
    """Tells the newest segments. Any thread may ask. Use as a context manager."""

    def __init__(
        self,
        connect: Callable[[], Transport],
        settings: Settings,
        forgotten: ForgottenBook,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        """Prepare; nothing is read before somebody asks. What is `forgotten` is in no window."""
        self._forgotten = forgotten
        self._connect, self._topics, self._now_us = connect, settings.topics, now_us
        self._broker = f"Kafka at {settings.broker}"
        self._index = Kept(lambda: FootageIndex(connect(), settings.topics))
        self._lock = threading.Lock()
        self._cameras: OrderedDict[str, _Watched] = OrderedDict()
        self._away: str | None = None
        self._wanted, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="live index", daemon=True)
        #: Records of the index that could not be read.
        self.left_out = 0

    def window(self, camera: str) -> LiveWindow:
        """What there is of a camera now; it is watched from then on, for a while."""
        now = time.monotonic()
        with self._lock:
            found = self._cameras.setdefault(camera, _Watched(now))
            found.asked_at = now
            self._cameras.move_to_end(camera)
            while len(self._cameras) > _MOST_CAMERAS:
                self._cameras.popitem(last=False)
            self._wanted.set()
            return LiveWindow(self._remembered(camera, found.segments), self._is_fresh(found), self._away)

    def _remembered(
        self, camera: str, segments: tuple[IndexedSegment, ...] | None
    ) -> tuple[IndexedSegment, ...] | None:
        """Without those that are forgotten, and what is before them: players count segments."""
        if not segments or not self._forgotten.stretches(camera):
            return segments
        kept = [s for s in segments if self._forgotten.of(camera, s.start_us, s.end_us) is None]
        return tuple(_unbroken(kept)) if kept else ()

    @property
    def watched(self) -> int:
        """How many cameras somebody watches."""
        return len(self._cameras)

    def holds(self, camera: str, partition: int, offset: int) -> bool:
        """Whether a segment is among the newest of its camera."""
        segments = self.window(camera).segments or ()
        return any(s.offset == offset and s.partition == partition for s in segments)

    def _is_fresh(self, watched: _Watched) -> bool:
        end_us = watched.segments[-1].end_us if watched.segments else 0
        now_us, least = self._now_us(), self._now_us() - round(FRESH_SECONDS * 1e6)
        return watched.heard_us > least or least < end_us <= now_us

    def _run(self) -> None:
        while not self._stop.is_set():
            if self._wanted.wait(1.0) and not self._stop.is_set():
                self._follow()

    def _follow(self) -> None:
        """Follow the index until nobody asks any more."""

        def say(line: str) -> None:
            # The view says it for all.
            log.debug("%s", line)

        with TopicFollower(self._connect, self._broker, [self._topics.segments_index], say) as follower:
            while not self._stop.is_set() and self._tidy():
                for record in follower.poll(_POLL_SECONDS):
                    self._take(record)
                self._away = follower.awaited if follower.away_seconds else None
                # Where nothing is followed yet, what comes between would be lost.
                if self._away is None:
                    self._look_up()
        self._away = None

    def _tidy(self) -> bool:
        """Forget what nobody watches; whether anything is left."""
        before = time.monotonic() - _WATCHED_SECONDS
        with self._lock:
            while self._cameras and next(iter(self._cameras.values())).asked_at < before:
                self._cameras.popitem(last=False)
            if not self._cameras:
                self._wanted.clear()
            return bool(self._cameras)

    def _take(self, record: Record) -> None:
        camera = (record.key or b"").rpartition(b"/")[0].rpartition(b"/")[0].decode(errors="replace")
        if record.value is None or camera not in self._cameras:
            return
        try:
            page = IndexPage.decode(record.value, record.where)
        except RecordError as error:
            self.left_out += 1
            log.warning("left out: %s", error)
            return
        with self._lock:
            watched = self._cameras.get(camera)
            if watched is None or page.camera != camera:
                return
            if watched.segments is None:
                watched.early = [*watched.early[-_PAGES:], page]
            elif self._is_new(watched, page):
                watched.heard_us = self._now_us()
                _put(watched, page)

    def _is_new(self, watched: _Watched, page: IndexPage) -> bool:
        # Pages of an hour are put together of older ones, when nothing of them is new.
        newest = watched.segments[-1].number if watched.segments else -1
        return page.claim > watched.claim or page.segments[-1].number > newest

    def _look_up(self) -> None:
        """Ask the index for cameras of which nothing is known yet."""
        with self._lock:
            asked = [camera for camera, watched in self._cameras.items() if watched.segments is None]
        for camera in asked:
            try:
                standing, pages = self._index.use(lambda index, camera=camera: _standing(index, camera))  # type: ignore[misc]
            except BrokerError as error:
                log.debug("%s", error)
                return
            with self._lock:
                watched = self._cameras.get(camera)
                if watched is None:
                    continue
                watched.segments = ()
                if standing.contents is not None:
                    watched.heard_us = standing.contents.time_us if standing.contents.time_us <= self._now_us() else 0
                for page in (*pages, *watched.early):
                    _put(watched, page)
                if watched.early:
                    watched.heard_us = self._now_us()
                watched.early = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._wanted.set()
        self._thread.join(_END_SECONDS)
        self._index.close()


def _standing(index: FootageIndex, camera: str) -> tuple[Standing, list[IndexPage]]:
    """What the index says of a camera, and the pages with its newest segments.

    Raises:
        BrokerError: the broker is gone.
    """
    standing = index.standing(camera)
    tail = [page for _, page in standing.tail]
    count, earlier = sum(len(page.segments) for page in tail), []
    contents = standing.contents
    for placed in reversed(contents.pages[-_PAGES:] if contents is not None else ()):
        if count >= _KEPT:
            break
        assert contents is not None
        page = index.page(camera, contents.index_partition, placed)
        if page is None:
            break
        earlier.append(page)
        count += len(page.segments)
    return standing, [*reversed(earlier), *tail]


def _put(watched: _Watched, page: IndexPage) -> None:
    """Take a page's segments; the higher claim wins from its first one on."""
    if page.claim < watched.claim:
        return
    first = page.first.number
    kept: Iterable[IndexedSegment] = watched.segments or ()
    if page.claim > watched.claim:
        kept = (s for s in kept if s.number < first)
    found = {s.number: s for s in kept} | {s.number: s for s in page.segments}
    watched.claim = page.claim
    watched.segments = tuple(_unbroken(sorted(found.values(), key=lambda s: s.number)[-_KEPT:]))


def _unbroken(segments: list[IndexedSegment]) -> list[IndexedSegment]:
    """The newest without a hole in their numbers: players count them."""
    first = len(segments) - 1
    while first > 0 and segments[first - 1].number == segments[first].number - 1:
        first -= 1
    return segments[max(0, first) :]
