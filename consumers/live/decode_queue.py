"""Segments on their way through the decoders: decoded by several threads at once, handed out in the order they came.

What live work and replay share of it. Both put in what they read and take out what is decoded, a batch at a time; they
differ in where segments come from, and so in what they say of each (`item`).

Decoding may multiply what it is given by a hundred, so decoders wait while the pictures that nobody has taken yet weigh
too much; the oldest segment is decoded in any case.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from stream import ClipSpec, Decoded, Segment, SegmentError, decode

Item = TypeVar("Item")
#: A segment with its pictures, or why it has none.
Outcome = tuple[Segment, Decoded] | SegmentError

#: Of decoded pictures that wait to be taken; each decoding thread may exceed it by one segment.
MAX_PICTURE_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Entry(Generic[Item]):
    item: Item
    bytes: int
    outcome: Future[Outcome]
    number: int


class PictureBudget:
    """Holds decoders back while what they have decoded waits to be taken. Segments are numbered as they come."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._changed = threading.Condition()
        #: By number of a segment that is decoded and not yet taken.
        self._held: dict[int, int] = {}
        self._bytes = 0
        #: Number of the oldest segment that was not taken; all before it are done with.
        self._oldest = 0
        self._unwanted: set[int] = set()

    @property
    def bytes(self) -> int:
        return self._bytes

    def wait(self, number: int) -> bool:
        """Wait until a segment may be decoded; return False if nobody wants it any more."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._bytes < self._max_bytes or number <= self._oldest or number in self._unwanted
            )
            return number not in self._unwanted

    def hold(self, number: int, size: int) -> None:
        """Note what a segment's pictures weigh."""
        with self._changed:
            if number >= self._oldest and number not in self._unwanted:
                self._held[number] = size
                self._bytes += size

    def release(self, numbers: set[int], oldest: int) -> None:
        """Note that segments were taken or are not wanted, and which one is the oldest now."""
        with self._changed:
            self._bytes -= sum(self._held.pop(number, 0) for number in numbers)
            self._oldest = oldest
            self._unwanted = {number for number in self._unwanted | numbers if number > oldest}
            self._changed.notify_all()


class DecodeQueue(Generic[Item]):
    """First in, first out. One thread puts in and takes out, others decode."""

    def __init__(self, spec: ClipSpec, threads: int | None, max_picture_bytes: int = MAX_PICTURE_BYTES) -> None:
        """Begin.

        Args:
            spec: what windows want to see of a segment.
            threads: how many decode at once; as many as there are usable cores, if None.
            max_picture_bytes: of decoded pictures that wait to be taken.
        """
        self._spec = spec
        self._threads = threads or usable_cores()
        self._budget = PictureBudget(max_picture_bytes)
        self._next_number = 0
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="decode")
        self._entries: deque[_Entry[Item]] = deque()
        self._bytes = 0

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
        """What the segments weigh that are in here, and those of their pictures that are decoded."""
        return self._bytes + self._budget.bytes

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
        number, self._next_number = self._next_number, self._next_number + 1
        outcome = self._pool.submit(_decode, read, self._spec, where, self._budget, number)
        self._entries.append(_Entry(item, size, outcome, number))

    def take(self, *, wait: bool) -> tuple[Item, Outcome] | None:
        """Take out the oldest; None where there is none, or where it is not yet decoded and nobody wants to `wait`."""
        if not self._entries or not (wait or self._entries[0].outcome.done()):
            return None
        entry = self._entries.popleft()
        self._bytes -= entry.bytes
        outcome = entry.outcome.result()
        self._release({entry.number})
        return entry.item, outcome

    def remove(self, is_stale: Callable[[Item], bool]) -> None:
        """Take out what nobody wants any more."""
        removed = {entry.number for entry in self._entries if is_stale(entry.item)}
        self._entries = deque(entry for entry in self._entries if entry.number not in removed)
        self._bytes = sum(entry.bytes for entry in self._entries)
        self._release(removed)

    def close(self) -> None:
        """End the threads, without waiting for decoding that nobody needs any more."""
        self.remove(lambda _: True)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _release(self, numbers: set[int]) -> None:
        self._budget.release(numbers, self._entries[0].number if self._entries else self._next_number)


def usable_cores() -> int:
    """How many this process may use. More decoders than that displace one another's pictures from the caches."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _decode(read: Callable[[], Segment], spec: ClipSpec, where: str, budget: PictureBudget, number: int) -> Outcome:
    if not budget.wait(number):
        return SegmentError(where, "not wanted any more")
    try:
        segment = read()
        if segment.is_end:
            return segment, Decoded((), [])
        decoded = decode(segment, spec.sample_times_us(segment), spec.picture, where)
    except SegmentError as error:
        return error
    except Exception as error:  # noqa: BLE001  whatever foreign bytes do to a decoder is about that record alone
        return SegmentError(where, f"cannot be read or decoded: {type(error).__name__}: {error}")
    # One picture may be shown at several of the times asked for.
    budget.hold(number, sum({id(image): image.nbytes for _, image in decoded.samples}.values()))
    return segment, decoded
