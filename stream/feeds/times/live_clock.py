"""When pictures of a camera were filmed: its own timestamps give the spacing, their arrival the hour.

A camera's clock cannot be relied on: it is off by an hour or by decades, runs 50 ppm fast, stamps 25 pictures a second
and sends 15, jumps when it is set. Arrival cannot be relied on either: a network delays. But it only delays, so the
pictures that came with the least delay show where the camera's clock stands.

    event time = event time of the picture before + rate * (difference of the timestamps)

| what is seen                                                          | what is done                               |
|-----------------------------------------------------------------------|--------------------------------------------|
| least delay of the last 2 s within 50 ms of event time                | nothing: rate 1, the camera's own spacing  |
| more                                                                  | the rate is bent, by 10 % at most          |
| pictures come steadily at another rate than they are stamped with     | that is the rate                           |
| a picture later than its arrival by 250 ms, or timestamps 1 s back    | a jump: time goes on from here by arrival  |
| everything 2 s late for 2 s                                           | the same                                   |

Event times grow from picture to picture, whatever a camera stamps. What was given out stays as it is.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from statistics import fmean
from typing import Final

from stream.errors import SourceError
from stream.feeds.packets import Packet

#: What `date_packets` gives times in.
MICROSECONDS: Final = Fraction(1, 1_000_000)

#: Delay is looked at over so long: what holds it up for less leaves no trace.
_WINDOW_SECONDS: Final = 2.0
_TOLERANCE_SECONDS: Final = 0.05
#: A difference is worked off in about so long, at a rate that differs from the camera's by so much at most.
_CORRECTION_SECONDS: Final = 2.0
_MAX_BEND: Final = 0.1
#: Beyond this, at once where pictures would be from the future, and in haste where they are late.
_LIMIT_SECONDS: Final = 0.25
_HASTE_SECONDS: Final = 0.5
_MAX_HASTE: Final = 1.0
_MAX_LATE_SECONDS: Final = 2.0
#: Timestamps that step back further are no reordering of pictures.
_MAX_REORDER_SECONDS: Final = 1.0
#: Between pictures of which the second is stamped earlier, or much later than it can be.
_LEAST_STEP_SECONDS: Final = 0.001

#: Rates that differ by less than this are dealt with as offsets that grow.
_OTHER_RATE: Final = 0.06
#: The same where a camera begins, and a rate is told from less.
_OTHER_FIRST_RATE: Final = 0.2
#: Arrivals lie on a line, at the mean within so much of what a rate of 1 would make of them.
_STEADY: Final = 0.2
_RATES: Final = (0.1, 50.0)
_RATE_SAMPLES: Final = 5
_RATE_SECONDS: Final = 0.5
_FIRST_RATE_SECONDS: Final = 0.35
_LOOK_SECONDS: Final = 0.1
#: A piece a picture at most: more than any codec reorders.
_MAX_PIECES: Final = 64

#: Pictures are held back for so long when a camera begins: what it, or libav while it looks at the codec, has gathered
#: comes at once, and only the newest of it tells the time.
_HOLD_SECONDS: Final = 0.5
_MAX_HELD: Final = 600

_LEAST_PACE: Final = 0.99


@dataclass(frozen=True, slots=True)
class _Piece:
    """Event time from `pts` on."""

    pts: float
    event: float
    rate: float

    def at(self, pts: float) -> float:
        return self.event + (pts - self.pts) * self.rate


class LiveClock:
    """Tells event times of one connection from timestamps and arrivals. Pure: all times are seconds that it is told."""

    def __init__(self) -> None:
        self._pieces: deque[_Piece] = deque(maxlen=_MAX_PIECES)
        self._top = self._top_event = self._last_arrival = 0.0
        #: When, in seconds in which pictures came, and delay plus all that was bent until then: so that they compare.
        self._delays: deque[tuple[float, float]] = deque()
        self._busy = self._delays_from = 0.0
        self._bent = 0.0
        self._samples: deque[tuple[float, float]] = deque()
        self._samples_from = -math.inf
        self._rate = 1.0
        self._look_at = 0.0
        self._stamped = self._passed = 0.0
        #: Jumps of the camera's clock so far, and the newest: how far its timestamps were from where they should be.
        self.jumps = 0
        self.jump_seconds = 0.0

    @property
    def begun(self) -> bool:
        return bool(self._pieces)

    @property
    def corrected_seconds(self) -> float:
        """By how much event time has gained on the timestamps, jumps left out; negative for a clock that is fast."""
        return self._passed - self._stamped

    @property
    def drift(self) -> float:
        """The same as a part of the time that passed: 0.4 for a camera that stamps 25 a second and sends 15."""
        return self.corrected_seconds / self._passed if self._passed > 0 else 0.0

    def begin(self, pictures: Sequence[tuple[float, float]], *, not_before: float = -math.inf) -> None:
        """Take the first pictures (timestamp and arrival of each): the one with the least delay sets the clock."""
        first = min(pts for pts, _ in pictures)
        delay, newest = min((arrival - pts, pts) for pts, arrival in pictures)
        self._samples_from = newest  # what was gathered before says nothing about the rate
        self._rate = self._first_rate([picture for picture in pictures if picture[0] >= newest])
        event = max(not_before, first + delay)
        self._start(first, event)
        if newest > first:  # what was gathered keeps its spacing: how long that took is not known
            self._pieces[0] = replace(self._pieces[0], rate=1.0)
            self._pieces.append(_Piece(newest, event + newest - first, self._rate))
        self._last_arrival = pictures[0][1]
        self._delays.append((pictures[-1][1] - pictures[0][1], 0.0))  # as long as these pictures last

    def date(self, pts: float, arrival: float) -> float:
        """Return the event time of the next picture in decoding order, for ever."""
        if not self._pieces:
            self.begin([(pts, arrival)])
        # A wait is one delay, however long it was.
        self._busy += min(arrival - self._last_arrival, _LIMIT_SECONDS)
        back = self._top - pts
        event = self.at(pts)
        if back > _MAX_REORDER_SECONDS or (back < 0 and event > arrival + _LIMIT_SECONDS):
            event = self._jump(pts, arrival)
        elif back < 0:
            self._advance(pts, event, arrival)
            late = self._delays_from_now(arrival, event)
            if late > _MAX_LATE_SECONDS and self._is_covered():
                event = self._restart(pts, arrival, event + late)
            else:
                self._bend(pts, event, self._pull(late, arrival - event))
        elif arrival - self._top_event > 2 * _MAX_LATE_SECONDS:
            event = self._restart(pts, arrival, arrival)  # its timestamps stand still
        self._last_arrival = arrival
        return event

    def at(self, pts: float) -> float:
        """Event time of a timestamp near those that were dated."""
        piece = next((p for p in reversed(self._pieces) if p.pts <= pts), None)
        # Before all that is known: how far back, and no more than that.
        return piece.at(pts) if piece is not None else self._pieces[0].event - (self._pieces[0].pts - pts)

    def _start(self, pts: float, event: float) -> None:
        self._pieces.clear()
        self._pieces.append(_Piece(pts, event, self._rate))
        self._top, self._top_event = pts, event

    def _advance(self, pts: float, event: float, arrival: float) -> None:
        self._stamped += pts - self._top
        self._passed += event - self._top_event
        self._bent += (pts - self._top) * (self._pieces[-1].rate - self._rate)
        self._top, self._top_event = pts, event
        if pts >= self._samples_from:
            self._samples.append((pts, arrival))
        while len(self._samples) > _RATE_SAMPLES and arrival - self._samples[0][1] > _WINDOW_SECONDS:
            self._samples.popleft()

    def _delays_from_now(self, arrival: float, event: float) -> float:
        """The least delay of the last seconds, as it would be today."""
        self._note_delay(arrival - event + self._bent)
        while self._busy - self._delays[0][0] > _WINDOW_SECONDS:
            self._delays.popleft()
        return self._delays[0][1] - self._bent

    def _note_delay(self, delay: float) -> None:
        # Only those that may come to be the least: the first is it.
        while self._delays and self._delays[-1][1] >= delay:
            self._delays.pop()
        self._delays.append((self._busy, delay))

    def _is_covered(self) -> bool:
        return self._busy - self._delays_from > _WINDOW_SECONDS / 2

    def _pull(self, late: float, newest: float) -> float:
        if newest < -_TOLERANCE_SECONDS:
            return max(-_MAX_BEND, (newest + _TOLERANCE_SECONDS) / _CORRECTION_SECONDS)
        if late > _TOLERANCE_SECONDS:
            if late > _LIMIT_SECONDS:
                return min(_MAX_HASTE, late / _HASTE_SECONDS)
            return min(_MAX_BEND, (late - _TOLERANCE_SECONDS) / _CORRECTION_SECONDS)
        return 0.0

    def _bend(self, pts: float, event: float, pull: float) -> None:
        if self._busy >= self._look_at:
            self._rate, self._look_at = self._steady_rate(), self._busy + _LOOK_SECONDS
        rate = self._rate * (1 + pull)
        if rate != self._pieces[-1].rate:
            self._pieces.append(_Piece(pts, event, rate))

    def _steady_rate(self, least_seconds: float = _RATE_SECONDS) -> float:
        """How fast time passes for the camera's timestamps: 1 unless its pictures come steadily at another rate."""
        if len(self._samples) < _RATE_SAMPLES:
            return self._rate
        (first_pts, first_arrival), (pts, arrival) = self._samples[0], self._samples[-1]
        if arrival - first_arrival < least_seconds:
            return self._rate
        mean = (arrival - first_arrival) / (pts - first_pts)
        waits = (b[1] - a[1] for a, b in pairwise(self._samples))
        if not _RATES[0] <= mean <= _RATES[1] or 2 * max(waits) > arrival - first_arrival:
            return self._rate
        scatter = fmean(abs(a - first_arrival - (p - first_pts) * mean) for p, a in self._samples)
        if abs(mean - 1) <= _OTHER_RATE:
            return 1.0 if scatter < _TOLERANCE_SECONDS else self._rate
        # A network that holds up and lets go says nothing about the camera. What it let go looks like a rate below 1.
        steady = _STEADY if mean > 1 else _STEADY / 4
        return mean if scatter < steady * abs(mean - 1) * (pts - first_pts) else self._rate

    def _first_rate(self, pictures: Sequence[tuple[float, float]]) -> float:
        """The rate of a camera that is plainly slower than its stamps; a network only makes one look faster."""
        for pts, arrival in pictures:
            if not self._samples or pts > self._samples[-1][0]:
                self._samples.append((pts, arrival))
        rate = self._steady_rate(_FIRST_RATE_SECONDS)
        self._samples.clear()  # each is dated yet
        return rate if rate > 1 + _OTHER_FIRST_RATE else 1.0

    def _jump(self, pts: float, arrival: float) -> float:
        """Timestamps are elsewhere now: time went on as arrival did."""
        top, top_event = self._top, self._top_event
        event = self._restart(pts, arrival, min(arrival, top_event + arrival - self._last_arrival))
        off = (pts - top) - (event - top_event)
        if abs(off) > _MAX_REORDER_SECONDS:
            self._samples.clear()
            self._samples_from = -math.inf
            self.jumps, self.jump_seconds = self.jumps + 1, off
        return event

    def _restart(self, pts: float, arrival: float, event: float) -> float:
        event = max(event, self._top_event + _LEAST_STEP_SECONDS)
        self._start(pts, event)
        self._delays.clear()
        self._delays_from = self._busy
        self._note_delay(arrival - event + self._bent)
        return event


class ArrivalTime:
    """The wall clock in seconds, for dating what arrives: it never goes back.

    Where it begins ahead, because what was sent before ends later, or is set back, it runs 1 % slow until it is right.
    """

    def __init__(
        self,
        not_before: float = 0.0,
        *,
        wall: Callable[[], float] = lambda: time.time_ns() / 1e9,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall, self._steady = wall, steady
        self._now, self._at = max(not_before, wall()), steady()

    def __call__(self) -> float:
        at = self._steady()
        self._now, self._at = max(self._wall(), self._now + _LEAST_PACE * (at - self._at)), at
        return self._now

    @property
    def ahead_seconds(self) -> float:
        """How far ahead of the wall clock it is."""
        return self._now - self._wall()


def date_packets(
    packets: Iterable[Packet],
    time_base: Fraction,
    clock: LiveClock,
    now: Callable[[], float],
    *,
    not_before_us: int,
) -> Iterator[Packet]:
    """Yield a camera's packets with event times in place of its timestamps, in microseconds since the Unix epoch.

    Decoding times grow, presentation times are never before them. Begins half a second late.

    Args:
        packets: in decoding order, all with a presentation time.
        time_base: seconds a tick of theirs.
        clock: tells the times.
        now: the time of arrival in seconds since the Unix epoch, asked as each packet comes.
        not_before_us: nothing is dated before.
    """
    dating = _Dating(time_base, clock, round(now() * 1e6), not_before_us)
    try:
        for packet in packets:
            yield from dating.push(packet, now())
    except SourceError:
        yield from dating.release()
        raise
    yield from dating.release()


class _Dating:
    """Gives packets their event times; holds back the first ones until the clock is set."""

    def __init__(self, time_base: Fraction, clock: LiveClock, base_us: int, not_before_us: int) -> None:
        self._time_base, self._clock = time_base, clock
        # Times are counted from here: of small numbers a float keeps more places.
        self._base_us = base_us
        self._not_before = (not_before_us - base_us) / 1e6
        self._held: list[tuple[Packet, float]] = []
        self._last_dts: int | None = None

    def push(self, packet: Packet, now: float) -> list[Packet]:
        if packet.pts is None:
            return [packet]
        arrival = now - self._base_us / 1e6
        if self._clock.begun:
            return [self._dated(packet, arrival)]
        self._held.append((packet, arrival))
        if arrival - self._held[0][1] >= _HOLD_SECONDS or len(self._held) >= _MAX_HELD:
            return self.release()
        return []

    def release(self) -> list[Packet]:
        if self._held:
            pictures = [(self._seconds(packet.pts), at) for packet, at in self._held]
            self._clock.begin(pictures, not_before=self._not_before)
        held, self._held = self._held, []
        return [self._dated(packet, at) for packet, at in held]

    def _seconds(self, ticks: int | None) -> float:
        assert ticks is not None
        return float(ticks * self._time_base)

    def _us(self, seconds: float) -> int:
        return self._base_us + round(seconds * 1e6)

    def _dated(self, packet: Packet, arrival: float) -> Packet:
        pts = self._us(self._clock.date(self._seconds(packet.pts), arrival))
        duration = round(packet.duration * self._time_base / MICROSECONDS)
        if packet.dts is None:
            return replace(packet, pts=pts, duration=duration)
        dts = min(pts, self._us(self._clock.at(self._seconds(packet.dts))))
        self._last_dts = dts if self._last_dts is None else max(dts, self._last_dts + 1)
        return replace(packet, pts=max(pts, self._last_dts), dts=self._last_dts, duration=duration)
