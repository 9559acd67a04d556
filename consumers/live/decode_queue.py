"""Segments on their way through the decoders: decoded by several threads at once, handed out in the order they came.

What live work and replay share of it. Both put in what they read and take out what is decoded, a batch at a time; they
differ in where segments come from, and so in what they say of each (`item`).
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from stream import ClipSpec, Decoded, Segment, SegmentError, decode

Item = TypeVar("Item")
#: A segment with its pictures, or why it has none.
Outcome = tuple[Segment, Decoded] | SegmentError


@dataclass(frozen=True, slots=True)
class _Entry(Generic[Item]):
    item: Item
    bytes: int
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

    def put(self, item: Item, read: Callable[[], Segment], where: str, size: int = 0) -> None:
        """Put in the next segment.

        Args:
            item: handed out with it again.
            read: gives the segment, or raises SegmentError; called by a decoding thread.
            where: names the segment in errors.
            size: what it weighs in `bytes`.
        """
        self._bytes += size
        self._entries.append(_Entry(item, size, self._pool.submit(_decode, read, self._spec, where)))

    def take(self, *, wait: bool) -> tuple[Item, Outcome] | None:
        """Take out the oldest; None where there is none, or where it is not yet decoded and nobody wants to `wait`."""
        if not self._entries or not (wait or self._entries[0].outcome.done()):
            return None
        entry = self._entries.popleft()
        self._bytes -= entry.bytes
        return entry.item, entry.outcome.result()

    def remove(self, is_stale: Callable[[Item], bool]) -> None:
        """Take out what nobody wants any more."""
        self._entries = deque(entry for entry in self._entries if not is_stale(entry.item))
        self._bytes = sum(entry.bytes for entry in self._entries)

    def close(self) -> None:
        """End the threads, without waiting for decoding that nobody needs any more."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def usable_cores() -> int:
    """How many this process may use. More decoders than that displace one another's pictures from the caches."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _decode(read: Callable[[], Segment], spec: ClipSpec, where: str) -> Outcome:
    try:
        segment = read()
        if segment.is_end:
            return segment, Decoded((), [])
        return segment, decode(segment, spec.sample_times_us(segment), spec.picture, where)
    except SegmentError as error:
        return error
