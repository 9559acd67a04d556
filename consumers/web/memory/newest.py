"""Things by id, the newest first, as many as there is room for. Pure; for one thread at a time."""

from __future__ import annotations

import bisect
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
#: Where one stands among the others: a time in microseconds since the Unix epoch, and the id.
Key = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Slice(Generic[T]):
    """Some of them in a row, newest first."""

    items: tuple[T, ...]
    #: Behind which the next ones stand; None where there are no more.
    after: Key | None
    #: Those that would be among them, and of which nobody is told.
    withheld: int = 0


@dataclass(slots=True)
class _Entry(Generic[T]):
    key: Key
    heard_us: int
    value: T


class Newest(Generic[T]):
    """Keeps things in the order of a time of their own, and drops those that were heard of longest ago.

    put(id, at, …)     at = 3  2  1        the order of pages: a thing stays where it is when it changes
    room, forget       heard of longest ago goes first
    """

    def __init__(self, room: int) -> None:
        """Begin; `room` is how many are kept."""
        self._room = room
        #: That which was heard of longest ago first.
        self._entries: OrderedDict[str, _Entry[T]] = OrderedDict()
        self._keys: list[Key] = []
        #: How many were dropped because there was no room.
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, id_: str, at_us: int, value: T, heard_us: int) -> T | None:
        """Keep a thing, in place of what is known under its id; return what had to go for it.

        Args:
            id_: its name.
            at_us: where it stands among the others; of one that is known already, what was said first counts.
            value: what is kept.
            heard_us: when it was heard of.
        """
        before = self._entries.pop(id_, None)
        key = (at_us, id_) if before is None else before.key
        if before is None:
            bisect.insort(self._keys, key)
        self._entries[id_] = _Entry(key, heard_us, value)
        if len(self._entries) <= self._room:
            return None
        self.dropped += 1
        return self._drop_first()

    def get(self, id_: str) -> T | None:
        entry = self._entries.get(id_)
        return None if entry is None else entry.value

    def forget(self, before_us: int) -> Iterator[T]:
        """Drop and yield what was not heard of since a time."""
        while self._entries and next(iter(self._entries.values())).heard_us < before_us:
            yield self._drop_first()

    def slice(self, limit: int, wanted: Callable[[T], bool], after: Key | None = None) -> Slice[T]:
        """The newest `limit` that are wanted, of those that stand behind `after`."""
        end = len(self._keys) if after is None else bisect.bisect_left(self._keys, after)
        found: list[tuple[Key, T]] = []
        for key in reversed(self._keys[:end]):
            value = self._entries[key[1]].value
            if wanted(value):
                if len(found) == limit:
                    return Slice(tuple(each for _, each in found), found[-1][0])
                found.append((key, value))
        return Slice(tuple(each for _, each in found), None)

    def between(self, from_us: int, to_us: int) -> Iterator[T]:
        """Those that stand at `[from_us, to_us)`, the oldest first."""
        begin, end = (bisect.bisect_left(self._keys, (at_us, "")) for at_us in (from_us, to_us))
        return (self._entries[id_].value for _, id_ in self._keys[begin:end])

    def _drop_first(self) -> T:
        _, entry = self._entries.popitem(last=False)
        del self._keys[bisect.bisect_left(self._keys, entry.key)]
        return entry.value
