"""Keeps the records of other feeds from the one that a camera's windows are made of.

A camera has one open epoch. Two agents under one name, or a record that strayed, bring others:

    comes                           what becomes of it
    A0 A1 B0 B1 …    A < B          B0 waits for B1: then the feed began anew, A is over
    A0 A1 B0 A2 …                   A goes on: B0 strayed, and is left out
    A0 A1 B0 Aend B1 …              A is over, and B begins with B0
    B0 B1 A2 …                      A2 is of an epoch that is over, and is left out
    A0 A1 B0        B0 continues A1: a gap in the time of one film, so B is no other feed
    A0 A1 A9 A2 …                   A9 comes too soon for its number, and is left out
    A0 A1 A999 A2 …                 A999 waits for A1000, as it is a minute ahead: it strayed, and is left out
    A0 A1 … A0'                     an end and a number that were there with other bytes: refused
    A0 A1 C0 A2 …   C claims more   C0 is taken at once, A is over: what still comes of it is fenced, whatever its time
    A0 A1 B0 C0 …   C claims more   B0 is of A's agent, and was the begin of its next feed

Agents claim a camera before they send, with a number that grows: of two, the later one. Agents of earlier versions
claim nothing, and are judged by the rest.

So a stray ends nothing, of two agents that take turns one is left out, and no window is told twice with two contents,
as far back as segments are remembered.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from stream import Decoded, Record, Segment

#: Of a camera's segments, so many are remembered: an hour and more, in 100 kB at most.
_KNOWN: Final = 4096
#: Of those, so many are told to a guard that goes on.
_HANDED_OVER: Final = 8
_SEEN: Final = np.dtype([("epoch_us", "i8"), ("number", "i8"), ("bytes", "u4"), ("crc32", "u4")])
#: A foreign record may have any number.
_NUMBERS: Final = (1 << 63) - 1

#: A hole in the numbers is believed if there is time in it for so short segments,
_SHORTEST_US: Final = 1_000
#: and one of more time if another segment follows.
_LEAP_US: Final = 60_000_000

Reason = Literal["fenced", "stale_epoch", "stray_epoch", "stray_segment", "other_bytes"]
WHY_LEFT_OUT: Final[Mapping[Reason, str]] = {
    "fenced": "another agent has claimed the camera since",
    "stale_epoch": "it began before the open one",
    "stray_epoch": "it began later, and did not go on",
    "stray_segment": "its number or its time does not follow",
    "other_bytes": "with the same times and other bytes",
}


@dataclass(frozen=True, slots=True)
class Arrival:
    """A segment as it came, with its pictures."""

    record: Record
    segment: Segment
    decoded: Decoded


@dataclass(frozen=True, slots=True)
class GuardState:
    """What another guard has to know to go on."""

    #: Of the record that is held back.
    held_offset: int | None = None
    #: The newest segments that were taken: epoch, number, size and checksum. Older ones are not handed over.
    newest: tuple[tuple[int, int, int, int], ...] = ()
    #: The highest that came.
    claim: int = 0

    def before(self, offset: int) -> GuardState:
        """What holds of it where records from an offset on are other ones."""
        is_there = self.held_offset is not None and self.held_offset < offset
        return self if is_there else replace(self, held_offset=None)


class FeedGuard:
    """Of one camera."""

    def __init__(self, state: GuardState = GuardState()) -> None:
        """Begin, or go on; what is held back is to be given to `hold` when it is read again."""
        #: The highest that came.
        self.claim = state.claim
        self._seen = np.zeros(_KNOWN, _SEEN)
        #: The first segment of a newer epoch, or behind a leap, until it is known to be more than a stray.
        self._newer: Arrival | None = None
        self._awaited_offset = state.held_offset
        self._newest: deque[tuple[int, int, int, int]] = deque(state.newest, _HANDED_OVER)
        for known in self._newest:
            self._seen[(known[1] - 1) % _KNOWN] = known
        #: The segment that ended last of those that were taken here.
        self._last: Segment | None = None

    @property
    def state(self) -> GuardState:
        """What another guard has to know to go on."""
        held_offset = self._newer.record.offset if self._newer else self._awaited_offset
        return GuardState(held_offset, tuple(self._newest), self.claim)

    def awaits(self, offset: int) -> bool:
        """Whether the record at an offset was held back by the guard that this one goes on for."""
        return offset == self._awaited_offset

    def hold(self, arrival: Arrival) -> None:
        """Hold back again what was held back."""
        self._newer, self._awaited_offset = arrival, None

    def recall(self, segment: Segment) -> bool:
        """See a segment again that was read before; return whether it is the one that was taken in its place."""
        if self._was_other(segment):
            return False
        self._see(segment)
        return True

    def take(self, arrival: Arrival, open_epoch_us: int | None) -> Iterator[tuple[Arrival, Reason | None]]:
        """Take what comes next; give what is known now: arrivals to go on with, and ones to leave out and why."""
        segment = arrival.segment
        if self.claim < segment.claim:
            for other in self.waiting():
                # What the agent sent that had the camera until now was its own.
                if is_own := 0 < other.segment.claim == self.claim:
                    self._remember(other.segment)
                yield other, None if is_own else "fenced"
            open_epoch_us = None  # what was open is over
            self.claim = segment.claim
        if (refused := self._refused(segment, open_epoch_us)) is not None:
            yield arrival, refused
        else:
            yield from self._judge(arrival, open_epoch_us)

    def _judge(self, arrival: Arrival, open_epoch_us: int | None) -> Iterator[tuple[Arrival, Reason | None]]:
        """Tell the feed of the open epoch from strays."""
        segment = arrival.segment
        if open_epoch_us is None or self._goes_on(segment, open_epoch_us):
            held = self.waiting()
            if held and _follows(segment, held[0].segment):  # what was held back when another guard went on
                self._remember(held[0].segment)
                yield held[0], None
                held = []
            is_over = segment.is_end and all(newer.segment.epoch_us != segment.epoch_us for newer in held)
            if held and not is_over:
                yield held[0], _why_stray(held[0].segment, segment)
            self._remember(segment)
            yield arrival, None
            if held and is_over:
                self._remember(held[0].segment)
                yield held[0], None
        elif segment.epoch_us < open_epoch_us:
            yield arrival, "stale_epoch"
        else:
            for newer in self.waiting():
                if newer.segment.epoch_us != segment.epoch_us or (
                    segment.epoch_us == open_epoch_us and segment.start_us < newer.segment.end_us
                ):
                    yield newer, _why_stray(newer.segment, segment)
                    continue
                self._remember(newer.segment)
                self._remember(segment)
                yield newer, None
                yield arrival, None
                return
            self._newer = arrival

    def waiting(self) -> list[Arrival]:
        """What was held back, and is not any more: to be taken again if the open epoch has ended."""
        held, self._newer, self._awaited_offset = self._newer, None, None
        return [held] if held else []

    def _refused(self, segment: Segment, open_epoch_us: int | None) -> Reason | None:
        if 0 < segment.claim < self.claim:
            return "fenced"
        if self._was_other(segment):
            return "other_bytes"
        return "stray_segment" if self._comes_too_soon(segment, open_epoch_us) else None

    def _was_other(self, segment: Segment) -> bool:
        """Whether there was another segment in this one's place.

        One that the seen one is the beginning of is the same: it was cut short when its agent stopped.
        """
        seen = self._seen[(_number(segment) - 1) % _KNOWN]
        if segment.is_end or seen["number"] != _number(segment) or seen["epoch_us"] != segment.epoch_us:
            return False
        size = int(seen["bytes"])
        return size > len(segment.data) or zlib.crc32(segment.data[:size]) != seen["crc32"]

    def _comes_too_soon(self, segment: Segment, open_epoch_us: int | None) -> bool:
        """Whether a segment leaves more of the epoch out than there was time for."""
        last = self._last
        if last is None or segment.is_end or not open_epoch_us == segment.epoch_us == last.epoch_us:
            return False
        missing = segment.sequence - last.sequence - 1
        return missing > 0 and segment.start_us - last.end_us < missing * _SHORTEST_US

    def _goes_on(self, segment: Segment, open_epoch_us: int) -> bool:
        """Whether a segment is of the open epoch's feed, and no leap in it."""
        if segment.epoch_us != open_epoch_us:
            return _goes_on_behind_a_gap(segment, open_epoch_us)
        last = self._last
        return last is None or last.epoch_us != open_epoch_us or segment.start_us - last.end_us <= _LEAP_US

    def _remember(self, segment: Segment) -> None:
        last = self._last
        if segment.is_end:
            self._last = None
        elif last is None or last.epoch_us != segment.epoch_us or last.end_us <= segment.end_us:
            self._last = replace(segment, data=b"", frames=0)
        if (known := self._see(segment)) is not None:
            if known in self._newest:
                self._newest.remove(known)
            self._newest.append(known)

    def _see(self, segment: Segment) -> tuple[int, int, int, int] | None:
        if segment.is_end:
            return None
        known = segment.epoch_us, _number(segment), len(segment.data), zlib.crc32(segment.data)
        self._seen[(known[1] - 1) % _KNOWN] = known
        return known


def _goes_on_behind_a_gap(segment: Segment, open_epoch_us: int) -> bool:
    """Whether an epoch begins amid a group of pictures: only the feed of the open epoch can give that."""
    return segment.continues and segment.start_us == segment.epoch_us > open_epoch_us


def _follows(segment: Segment, before: Segment) -> bool:
    return segment.epoch_us == before.epoch_us and segment.start_us >= before.end_us


def _why_stray(segment: Segment, of: Segment) -> Reason:
    return "stray_segment" if segment.epoch_us == of.epoch_us else "stray_epoch"


def _number(segment: Segment) -> int:
    """From 1 on: a place that was never written to is 0, and takes no memory."""
    return segment.sequence % _NUMBERS + 1
