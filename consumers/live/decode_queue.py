"""Segments on their way through the decoders: decoded by several threads at once, handed out in the order they came.

What live work and replay share of it. Both put in what they read and take out what is decoded, a batch at a time; they
differ in where segments come from, and so in what they say of each (`item`).

Segments that need nothing but their bytes are decoded side by side. Those of one long group of pictures are decoded one
after the other, as their decoder goes from each to the next; no thread waits for another meanwhile.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from stream import ClipSpec, Decoded, Decoder, Segment, SegmentError, decode

Item = TypeVar("Item")
#: A segment with its pictures, or why it has none.
Outcome = tuple[Segment, Decoded] | SegmentError


@dataclass(frozen=True, slots=True)
class _Entry(Generic[Item]):
    item: Item
    bytes: int
    outcome: Future[Outcome]


@dataclass(slots=True)
class _Group(Generic[Item]):
    """A camera's group of pictures that goes on, and the newest segment that was put in of it."""

    decoder: Decoder
    item: Item
    segment: Segment
    outcome: Future[Outcome]


class DecodeQueue(Generic[Item]):
    """First in, first out. One thread puts in and takes out, others decode."""

    def __init__(self, spec: ClipSpec, threads: int | None) -> None:
        """Begin.

        Args:
            spec: what windows want to see of a segment.
            threads: how many decode at once; as many as there are usable cores, if None.
        """
        self._spec = spec
        self._threads = threads or usable_cores()
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="decode")
        self._entries: deque[_Entry[Item]] = deque()
        self._groups: dict[str, _Group[Item]] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def threads(self) -> int:
        return self._threads

    @property
    def bytes(self) -> int:
        """What the segments weigh that are in here."""
        return self._bytes

    @property
    def oldest(self) -> Future[Outcome] | None:
        """What is to be waited for until there is something to take."""
        return self._entries[0].outcome if self._entries else None

    def put(
        self, item: Item, read: Callable[[], Segment], where: str, size: int = 0, *, is_context: bool = False
    ) -> None:
        """Put in the next segment.

        Args:
            item: handed out with it again.
            read: gives the segment, or raises SegmentError.
            where: names the segment in errors.
            size: what it weighs in `bytes`.
            is_context: no picture of it is wanted, it is there for those that follow.
        """
        outcome: Future[Outcome] = Future()
        try:
            segment = read()
        except SegmentError as error:
            outcome.set_result(error)
        else:
            times_us = [] if is_context or segment.is_end else self._spec.sample_times_us(segment)
            self._start(item, segment, times_us, where, outcome)
        self._bytes += size
        self._entries.append(_Entry(item, size, outcome))

    def take(self, *, wait: bool) -> tuple[Item, Outcome] | None:
        """Take out the oldest; None where there is none, or where it is not yet decoded and nobody wants to `wait`."""
        if not self._entries or not (wait or self._entries[0].outcome.done()):
            return None
        entry = self._entries.popleft()
        self._bytes -= entry.bytes
        return entry.item, entry.outcome.result()

    def remove(self, is_stale: Callable[[Item], bool]) -> None:
        """Take out what nobody wants any more, and forget groups of pictures that go on from there."""
        self._entries = deque(entry for entry in self._entries if not is_stale(entry.item))
        self._bytes = sum(entry.bytes for entry in self._entries)
        self._groups = {camera: group for camera, group in self._groups.items() if not is_stale(group.item)}

    def forget(self, camera: str) -> None:
        """Let go of a camera's decoder: nothing that follows continues what was there."""
        self._groups.pop(camera, None)

    def close(self) -> None:
        """End the threads, without waiting for decoding that nobody needs any more."""
        self._groups.clear()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _start(self, item: Item, segment: Segment, times_us: list[int], where: str, outcome: Future[Outcome]) -> None:
        group = self._groups.get(segment.camera)
        if group is None:
            if segment.continued and not segment.continues:
                decoder = Decoder(self._spec.picture)
                self._groups[segment.camera] = _Group(decoder, item, segment, outcome)
                self._pool.submit(_settle, outcome, segment, lambda: decoder.decode(segment, times_us, where))
            elif segment.is_end:
                outcome.set_result((segment, Decoded((), [])))
            else:
                picture = self._spec.picture
                self._pool.submit(_settle, outcome, segment, lambda: decode(segment, times_us, picture, where))
            return
        before, decoder = group.outcome, group.decoder
        is_repeated = segment.epoch_us == group.segment.epoch_us and segment.sequence <= group.segment.sequence
        group.outcome = outcome
        if not is_repeated:
            group.item, group.segment = item, segment
            if not segment.continued:
                del self._groups[segment.camera]

        def go_on(_: Future[Outcome]) -> None:
            with contextlib.suppress(RuntimeError):  # the queue was closed meanwhile
                self._pool.submit(_settle, outcome, segment, lambda: decoder.decode(segment, times_us, where))

        before.add_done_callback(go_on)


def usable_cores() -> int:
    """How many this process may use. More decoders than that displace one another's pictures from the caches."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _settle(outcome: Future[Outcome], segment: Segment, decode_it: Callable[[], Decoded]) -> None:
    try:
        outcome.set_result((segment, decode_it()))
    except SegmentError as error:
        outcome.set_result(error)
    except Exception as error:  # noqa: BLE001  whoever takes it out raises it
        outcome.set_exception(error)
