"""Brings segments to the broker, in order, and keeps them while it is away.

    camera threads ──send──▶ queue ──courier's thread──▶ broker
                               │ broker away for 2 s
                               ▼
                             disk (live cameras), up to a size and an age; files simply wait

Nothing is forgotten before the broker has said that it is stored. What was on its way when the broker went is looked
for on the topic before it is sent again, so that nothing is there twice.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final, Self

from consumers.outputs.outages import Refusals
from stream import MAX_RECORD_BYTES, BrokerError, Headers, Producer, RecordTooLargeError

from .spool import Place, Spool, Waiting, WaitingQueue

log = logging.getLogger(__name__)

#: A broker that has not stored a segment for so long is away: what waits goes to disk.
AWAY_SECONDS: Final = 2.0
RETRY_SECONDS: Final = 1.0
#: So much is on its way at once.
_BATCH_RECORDS: Final = 64
_BATCH_BYTES: Final = 16 * 1024 * 1024
#: What waits in memory: of files, and of live cameras where the disk does not take it.
_MEMORY_BYTES: Final = 48 * 1024 * 1024
#: How long the rest may take to be sent once the agent is told to stop.
_END_SECONDS: Final = 2.0
_LOOK_SECONDS: Final = 0.2
#: Room for the claim, and for what is told of dropped frames.
_HEADER_BYTES: Final = 1024


@dataclass(frozen=True, slots=True)
class Link:
    """A broker that answers, and what it says."""

    producer: Producer
    #: Numbers of our claims, by camera; others have the cameras that are not in here.
    claims: Mapping[str, int]
    #: When the camera was claimed before us; wall clock, in microseconds since the Unix epoch.
    claimed_before_us: Mapping[str, int]
    #: Finds which segments of cameras are stored, of those sent since a time each: by claim and place, the number of
    #: the partition and the offset.
    stored: Callable[[Mapping[str, int]], Mapping[tuple[str, int, Place], tuple[int, int]]]


@dataclass(frozen=True, slots=True)
class Limits:
    """Of what waits on disk."""

    max_bytes: int
    max_seconds: float


class Courier:
    """A `Sender` for `attach`; any thread may send. Use as a context manager."""

    def __init__(
        self,
        connect: Callable[[], Link],
        *,
        live: Collection[str],
        spool: Spool | None,
        limits: Limits,
        stop: Callable[[], bool],
        told: Callable[[Waiting], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare.

        Args:
            connect: opens the broker; asked again after each BrokerError. Any other error ends all sending.
            live: cameras whose segments go to disk while the broker is away. Senders of others wait.
            spool: where they lie on disk; without one they wait in memory.
            limits: of what lies on disk. What is beyond them is dropped, the oldest first.
            stop: whether the agent is to end; asked often.
            told: of each segment, once the broker has stored it.
            clock: seconds that only go forward.
        """
        self._connect, self._live = connect, live
        self._spool, self._limits, self._stop, self._told, self._clock = spool, limits, stop, told, clock
        self._changed = threading.Condition()
        #: Of live cameras, and of files.
        self._lives, self._files = WaitingQueue(), WaitingQueue()
        self._dropped: dict[str, Counter[str]] = {}
        self._link: Link | None = None
        self._is_adopted = False
        #: When the broker last stored something, or there was nothing to be stored.
        self._well_at = clock()
        self._is_away = self._said_disk = self._said_full = False
        self._refusals = Refusals()
        self._done = threading.Event()
        self._broken: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)
        #: Segments of files that were not sent because the agent was stopped.
        self.unsent = 0
        #: Segments that the broker has stored.
        self.sent = 0
        self._dropped_ever: dict[str, Counter[str]] = {}

    @property
    def on_disk(self) -> int:
        """How many segments wait on disk."""
        return self._lives.on_disk

    @property
    def disk_bytes(self) -> int:
        return self._lives.disk_bytes

    @property
    def memory_bytes(self) -> int:
        return self._lives.memory_bytes + self._files.memory_bytes

    @property
    def is_linked(self) -> bool:
        """Whether the broker answers, and cameras are claimed."""
        return self._link is not None

    def dropped(self) -> dict[str, Counter[str]]:
        """By camera, how many frames were dropped while they waited, by why. Any thread may ask."""
        with self._changed:
            return {camera: reasons.copy() for camera, reasons in self._dropped_ever.items()}

    def send(self, topic: str, key: bytes, headers: Headers, value: bytes) -> None:
        """Take a segment. Waits where it is of a file and enough waits already.

        Raises:
            RecordTooLargeError: it can never be sent.
            Exception: whatever but a BrokerError has ended the courier.
        """
        camera = key.decode()
        size = len(key) + len(value) + sum(len(name) + len(content) for name, content in headers)
        if size + _HEADER_BYTES > MAX_RECORD_BYTES:
            raise RecordTooLargeError(f"record of {size} bytes for {topic}, key {camera!r}: too large")
        waiting = Waiting(camera, topic, list(headers), value, len(value), time.time_ns() // 1000)
        with self._changed:
            queue = self._lives if camera in self._live else self._files
            while queue is self._files and self._broken is None and queue.memory_bytes + size > _MEMORY_BYTES:
                if self._stop():
                    self.unsent += 1
                    return
                self._changed.wait(_LOOK_SECONDS)
            self._raise_broken()
            queue.add(waiting)
            self._keep_bounds()
            self._changed.notify_all()

    def flush(self) -> None:
        """Return when all that was sent is stored; or soon after `stop()`, at once where the broker is away."""
        deadline: float | None = None
        with self._changed:
            while self._waits:
                self._raise_broken()
                if self._stop():
                    deadline = deadline or self._clock() + _END_SECONDS
                    if self._seems_away or self._clock() >= deadline:
                        return
                self._changed.wait(_LOOK_SECONDS)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join(_END_SECONDS)
        self.put_aside()
        with self._changed:
            self.unsent += len(self._files.waiting) + len(self._lives.waiting) - self._lives.on_disk
            if self._spool is not None:
                self._spool.close()
        if self._lives.on_disk:
            log.warning(
                "%d segments wait on disk: whoever attaches their cameras next on this machine sends them",
                self._lives.on_disk,
            )

    def put_aside(self) -> None:
        """Put on disk what waits of live cameras, for the next agent. Any thread may, where this one ends too late."""
        with self._changed:
            self._write_to_disk()
            if self._spool is not None:
                for camera, dropped in self._dropped.items():
                    self._spool.note_dropped(camera, dropped)

    @property
    def _seems_away(self) -> bool:
        return self._is_away or self._clock() - self._well_at >= AWAY_SECONDS

    @property
    def _waits(self) -> bool:
        return bool(self._lives.waiting or self._files.waiting)

    def _run(self) -> None:
        try:
            while not (self._done.is_set() and (self._link is None or not self._waits)):
                try:
                    self._bring()
                except BrokerError as error:
                    self._refusals.note(error)
                    self._is_away = True
                    self._unlink()
                    self._done.wait(RETRY_SECONDS)
                    if self._done.is_set():
                        break
        except Exception as error:  # noqa: BLE001  raised again by whoever sends
            with self._changed:
                self._broken = error
                self._changed.notify_all()
        finally:
            self._unlink()

    def _unlink(self) -> None:
        link, self._link = self._link, None
        with self._changed:
            for queue in (self._lives, self._files):
                for waiting in itertools.islice(queue.waiting, queue.in_flight):
                    waiting.was_sent = True
                queue.in_flight = 0
            self._keep_bounds()
        if link is not None:
            with contextlib.suppress(BrokerError):
                link.producer.close()

    def _bring(self) -> None:
        """Send what waits first, and forget it once it is stored."""
        if self._link is None:
            with self._changed:
                self._keep_bounds()
            link = self._connect()
            self._link, self._is_away = link, False
            self._adopt(link)
            self._forget_stored(link)
        batch = self._next_batch()
        if not batch:
            return
        for waiting, value in batch:
            self._link.producer.send(
                waiting.topic, waiting.camera.encode(), waiting.headers, value, stored=waiting.stored
            )
        self._link.producer.flush()
        with self._changed:
            for queue in (self._lives, self._files):
                for waiting in list(itertools.islice(queue.waiting, queue.in_flight)):
                    self._note_stored(queue, waiting)
                queue.in_flight = 0
            self._well_at = self._clock()
            if self._said_disk and not self._lives.on_disk:
                self._said_disk = False
                log.warning("all segments that waited on disk are sent")
            self._changed.notify_all()

    def _next_batch(self) -> list[tuple[Waiting, bytes]]:
        batch: list[tuple[Waiting, bytes]] = []
        size = 0
        with self._changed:
            if not self._waits:
                self._well_at = self._clock()
                self._changed.wait(_LOOK_SECONDS)
            for queue in (self._lives, self._files):
                for waiting in list(itertools.islice(queue.waiting, _BATCH_RECORDS)):
                    if batch and size + waiting.size > _BATCH_BYTES:
                        break
                    try:
                        value = waiting.value if waiting.value is not None else Spool.value(waiting)
                    except (OSError, ValueError) as error:
                        log.warning("camera %s: a segment that waited on disk is lost (%s)", waiting.camera, error)
                        self._drop(waiting, "spool_lost")
                        continue
                    self._stamp(waiting)
                    batch.append((waiting, value))
                    size += waiting.size
                    queue.in_flight += 1
        return batch

    def _stamp(self, waiting: Waiting) -> None:
        """Give a segment the number of its claim, and what is to be told of frames that were dropped before it."""
        link = self._link
        assert link is not None
        if not waiting.claim:
            is_ours = not waiting.was_sent or waiting.at_us > link.claimed_before_us.get(waiting.camera, 0)
            # What others have claimed since is theirs: any claim of theirs is higher than 1.
            waiting.claim = link.claims.get(waiting.camera, 1) if is_ours else 1
        waiting.facts["claim"] = str(waiting.claim).encode()
        dropped = self._dropped.pop(waiting.camera, Counter())
        waiting.tell(dropped)
        if dropped and self._spool is not None:
            self._spool.note_dropped(waiting.camera, Counter())

    def _adopt(self, link: Link) -> None:
        """Take what agents that are gone have left of our cameras, to be sent before what is ours."""
        if self._spool is None or self._is_adopted:
            return
        self._is_adopted = True
        with self._changed:
            for found, camera, dropped in self._spool.left_behind(link.claims.keys()):
                self._dropped[camera] = self._dropped.get(camera, Counter()) + dropped
                for waiting in reversed(found):
                    self._lives.add(waiting, first=True)
                if found:
                    self._said_disk = True
                    log.warning(
                        "camera %s: %d segments that an earlier agent left on disk are sent", camera, len(found)
                    )
            self._keep_bounds()

    def _forget_stored(self, link: Link) -> None:
        """Leave out what was on its way when the broker went, and had arrived."""
        since: dict[str, int] = {}
        with self._changed:
            doubtful = [(queue, w) for queue in (self._lives, self._files) for w in queue.waiting if w.was_sent]
        for _, waiting in doubtful:
            since[waiting.camera] = min(waiting.at_us, since.get(waiting.camera, waiting.at_us))
        if not since:
            return
        stored = link.stored(since)
        with self._changed:
            for queue, waiting in doubtful:
                if (place := stored.get((waiting.camera, waiting.claim, waiting.place))) is not None:
                    waiting.stored(*place)
                    self._note_stored(queue, waiting)
                elif waiting.claim:
                    waiting.was_sent = False

    def _note_stored(self, queue: WaitingQueue, waiting: Waiting) -> None:
        queue.remove(waiting)
        self.sent += 1
        if self._told is not None:
            self._told(waiting)

    def _keep_bounds(self) -> None:
        """Put what waits on disk while the broker is away, and drop what is too much or too old."""
        if not self._waits:
            self._well_at = self._clock()
        if self._seems_away:
            self._write_to_disk()
        queue, now_us = self._lives, time.time_ns() // 1000
        while len(queue.waiting) > queue.in_flight:
            oldest = queue.waiting[queue.in_flight]
            if oldest.path is None and oldest.was_sent:
                return  # it may be stored: nobody can say that it was dropped
            if oldest.path is not None and now_us - oldest.at_us > self._limits.max_seconds * 1e6:
                self._drop(oldest, "spool_expired")
            elif queue.disk_bytes > self._limits.max_bytes or queue.memory_bytes > _MEMORY_BYTES:
                self._drop(oldest, "spool_full")
            else:
                return

    def _write_to_disk(self) -> None:
        if self._spool is None:
            return
        try:
            has_written = self._lives.write(self._spool)
        except OSError as error:
            if not self._said_full:
                self._said_full = True
                log.warning("segments cannot wait on disk (%s): they wait in memory", error.strerror or error)
            return
        self._said_full = False
        if has_written and not self._said_disk:
            self._said_disk = True
            log.warning("segments of live cameras wait on disk until the broker is back")

    def _drop(self, waiting: Waiting, reason: str) -> None:
        (self._lives if waiting.camera in self._live else self._files).remove(waiting)
        dropped = self._dropped.setdefault(waiting.camera, Counter())
        if reason not in dropped:
            log.warning(
                "camera %s: segments that waited on disk are dropped (%s), the oldest first", waiting.camera, reason
            )
        dropped.update(waiting.skipped)
        dropped[reason] += waiting.frames
        self._dropped_ever.setdefault(waiting.camera, Counter())[reason] += waiting.frames
        if self._spool is not None:
            self._spool.note_dropped(waiting.camera, dropped)

    def _raise_broken(self) -> None:
        if self._broken is not None:
            raise self._broken
