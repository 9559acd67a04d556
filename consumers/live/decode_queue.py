"""Segments on their way through the decoders: decoded by several threads at once, handed out in the order they came.

What live work and replay share of it. Both put in what they read and take out what is decoded, a batch at a time; they
differ in where segments come from, and so in what they say of each (`item`).

Decoding may multiply what it is given by a hundred. So a segment is not begun with while the pictures of those before
it, that nobody has taken yet, leave no room for its own; the oldest one is, in any case.

Segments that need nothing but their bytes are decoded side by side. Those of one long group of pictures are decoded one
after the other, as their decoder goes from each to the next; no thread waits for another meanwhile. What strays between
them from another feed touches neither.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final, Generic, TypeVar

from consumers.cores import usable_cores
from stream import EVERYTHING, ClipSpec, Decoded, DecodeLimits, Decoder, Effort, Gpu, Segment, SegmentError, decode

Item = TypeVar("Item")
#: A segment with its pictures, or why it has none.
Outcome = tuple[Segment, Decoded] | SegmentError

#: Of a segment: the times of the pictures that are wanted, and how much is made of it.
Plan = Callable[[Segment], tuple[list[int], Effort]]

#: Of pictures that wait to be taken.
MAX_PICTURE_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Entry(Generic[Item]):
    item: Item
    bytes: int
    outcome: Future[Outcome]
    #: What its pictures weigh when they are decoded, at most.
    picture_bytes: int


@dataclass(frozen=True, slots=True)
class _Task(Generic[Item]):
    """A segment that is to be decoded."""

    item: Item
    segment: Segment
    times_us: list[int]
    effort: Effort
    where: str
    outcome: Future[Outcome]

    def settle(self, decoded: Decoded) -> None:
        self.outcome.set_result((self.segment, replace(decoded, effort=self.effort)))


@dataclass(slots=True)
class _Group(Generic[Item]):
    """A camera's group of pictures that goes on, and the newest segment of it that was begun with."""

    decoder: Decoder
    from_us: int
    item: Item
    segment: Segment
    outcome: Future[Outcome]

    def has_next(self, segment: Segment) -> bool:
        """Whether a segment goes on with the group's feed, or repeats what was there of it."""
        if segment.epoch_us == self.segment.epoch_us:
            return True
        return segment.decode_from_us == self.from_us

    def has_taken(self, segment: Segment) -> bool:
        newest = self.segment
        if segment.epoch_us != newest.epoch_us:
            return False
        return segment.start_us < newest.end_us or segment.sequence == newest.sequence


class DecodeQueue(Generic[Item]):
    """First in, first out. One thread puts in and takes out, others decode."""

    def __init__(
        self,
        spec: ClipSpec,
        threads: int | None,
        max_picture_bytes: int = MAX_PICTURE_BYTES,
        limits: DecodeLimits | None = None,
        told_seconds: Callable[[float], None] = lambda _: None,
        still_share: float | None = None,
        gpu: Gpu | None = None,
    ) -> None:
        """Begin.

        Args:
            spec: what windows want to see of a segment.
            threads: how many decode at once; as many as there are usable cores, if None. More would displace one
                another's pictures from the caches.
            max_picture_bytes: of decoded pictures that wait to be taken.
            limits: of one segment; the usual ones, if None.
            told_seconds: hears, by several threads, how long each segment took.
            still_share: of segments that need nothing but their bytes, see `decode`.
            gpu: decodes those, if it is there; of longer groups it does not.
        """
        self._spec, self._limits, self._still_share, self._gpu = spec, limits, still_share, gpu
        self._max_picture_bytes, self._told_seconds = max_picture_bytes, told_seconds
        self._threads = threads or usable_cores()
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="decode")
        self._entries: deque[_Entry[Item]] = deque()
        #: The newest entries, those that are not begun with, and how to begin.
        self._held: deque[tuple[_Entry[Item], Callable[[], None]]] = deque()
        self._groups: dict[str, _Group[Item]] = {}
        #: By camera, the highest that came, and with what.
        self._claims: dict[str, tuple[int, Item]] = {}
        self._bytes = self._picture_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Item]:
        """What was put in and not yet taken, the oldest first."""
        return (entry.item for entry in self._entries)

    @property
    def threads(self) -> int:
        return self._threads

    @property
    def bytes(self) -> int:
        """What the segments weigh that are in here, and the pictures of those that were begun with."""
        return self._bytes + self._picture_bytes

    @property
    def oldest(self) -> Future[Outcome] | None:
        """What is to be waited for until there is something to take."""
        return self._entries[0].outcome if self._entries else None

    def put(
        self,
        item: Item,
        read: Callable[[], Segment],
        where: str,
        size: int = 0,
        *,
        is_context: bool = False,
        plan: Plan | None = None,
    ) -> None:
        """Put in the next segment.

        Args:
            item: handed out with it again.
            read: gives the segment, or raises SegmentError.
            where: names the segment in errors.
            size: what it weighs in `bytes`.
            is_context: no picture of it is wanted, it is there for those that follow.
            plan: says what is wanted of the segment; every window, if None.
        """
        outcome: Future[Outcome] = Future()
        try:
            segment, effort = read(), EVERYTHING
            if plan is not None:
                times_us, effort = plan(segment)
            else:
                times_us = [] if is_context or segment.is_end else self._spec.sample_times_us(segment)
        except Exception as error:  # noqa: BLE001  whatever foreign bytes do is about that record alone
            outcome.set_result(_refusal(error, where))
            entry = _Entry(item, size, outcome, 0)
        else:
            entry = _Entry(item, size, outcome, len(times_us) * self._spec.height * self._spec.width * 3)
            task = _Task(item, segment, times_us, effort, where, outcome)
            self._held.append((entry, functools.partial(self._begin, task)))
        self._bytes += size
        self._entries.append(entry)
        self._begin_held()

    def take(self, *, wait: bool) -> tuple[Item, Outcome] | None:
        """Take out the oldest; None where there is none, or where it is not yet decoded and nobody wants to `wait`."""
        if not self._entries or not (wait or self._entries[0].outcome.done()):
            return None
        entry = self._entries.popleft()
        outcome = entry.outcome.result()
        self._bytes -= entry.bytes
        self._picture_bytes -= entry.picture_bytes
        self._begin_held()
        return entry.item, outcome

    def remove(self, is_stale: Callable[[Item], bool]) -> None:
        """Take out what nobody wants any more, and forget groups of pictures and claims that came with it.

        It may all be read again: what came before a claim is not fenced by it then, either.
        """
        self._entries = deque(entry for entry in self._entries if not is_stale(entry.item))
        self._held = deque((entry, begin) for entry, begin in self._held if not is_stale(entry.item))
        self._groups = {camera: group for camera, group in self._groups.items() if not is_stale(group.item)}
        self._claims = {camera: claim for camera, claim in self._claims.items() if not is_stale(claim[1])}
        self._bytes = sum(entry.bytes for entry in self._entries)
        held = sum(entry.picture_bytes for entry, _ in self._held)
        self._picture_bytes = sum(entry.picture_bytes for entry in self._entries) - held
        self._begin_held()

    def forget(self, camera: str) -> None:
        """Let go of a camera's decoder: nothing that follows continues what was there."""
        self._groups.pop(camera, None)
        self._claims.pop(camera, None)

    def close(self) -> None:
        """End the threads, without waiting for decoding that nobody needs any more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _begin_held(self) -> None:
        """Begin with what there is room for, in order, and with the oldest in any case."""
        while self._held:
            entry, begin = self._held[0]
            is_oldest = entry is self._entries[0]
            if not is_oldest and self._picture_bytes + entry.picture_bytes > self._max_picture_bytes:
                return
            self._held.popleft()
            self._picture_bytes += entry.picture_bytes
            begin()

    def _begin(self, task: _Task[Item]) -> None:
        segment, where, camera = task.segment, task.where, task.segment.camera
        group, (claim, _) = self._groups.get(camera), self._claims.get(camera, (0, None))
        if segment.claim > claim:
            self._claims[camera] = segment.claim, task.item
        if 0 < segment.claim < claim:
            # Of an agent that was fenced: nobody wants its pictures, and it is not to touch the other one's group.
            task.settle(Decoded((), []))
        elif task.effort.skipped is not None:
            task.settle(Decoded((), [], missing=task.effort.skipped))
        elif group is not None and group.has_next(segment):
            self._go_on(group, task)
        elif segment.continued and not segment.continues:
            decoder = Decoder(self._spec.picture, self._limits, still_share=self._still_share, gpu=self._gpu)
            self._groups[camera] = _Group(decoder, segment.start_us, task.item, segment, task.outcome)
            self._submit(task, lambda: decoder.decode(segment, task.times_us, where))
        elif segment.is_end:
            task.settle(Decoded((), []))
        else:
            if group is not None and segment.epoch_us > group.segment.epoch_us and segment.sequence > 0:
                del self._groups[camera]  # the feed began anew, and nobody said that the group is over
            self._submit(
                task,
                lambda: decode(
                    segment,
                    task.times_us,
                    self._spec.picture,
                    where,
                    self._limits,
                    keyframes_only=task.effort.keyframes_only,
                    still_share=self._still_share,
                    gpu=self._gpu,
                ),
            )

    def _go_on(self, group: _Group[Item], task: _Task[Item]) -> None:
        """Decode the group's next segment when the one before is done."""
        before, decoder, segment = group.outcome, group.decoder, task.segment
        if not group.has_taken(segment):
            group.item, group.segment = task.item, segment
            if not segment.continues:
                group.from_us = segment.start_us
            if not segment.continued:
                del self._groups[segment.camera]
        group.outcome = task.outcome
        before.add_done_callback(
            lambda _: self._submit(task, lambda: decoder.decode(segment, task.times_us, task.where))
        )

    def _submit(self, task: _Task[Item], decode_it: Callable[[], Decoded]) -> None:
        with contextlib.suppress(RuntimeError):  # the queue was closed meanwhile
            self._pool.submit(_settle, task, decode_it, self._told_seconds)


def _settle(task: _Task[Item], decode_it: Callable[[], Decoded], told_seconds: Callable[[float], None]) -> None:
    began = time.perf_counter()
    try:
        decoded = decode_it()
        told_seconds(time.perf_counter() - began)
        task.settle(decoded)
    except Exception as error:  # noqa: BLE001  as where it is read
        task.outcome.set_result(_refusal(error, task.where))


def _refusal(error: Exception, where: str) -> SegmentError:
    if isinstance(error, SegmentError):
        return error
    return SegmentError(where, f"cannot be read or decoded: {type(error).__name__}: {error}")
