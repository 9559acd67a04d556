"""Every packet gets a presentation time, also where the container has none.

    decoding order        I0 P3 B1 B2 I6 B4 B5      times of the container: decoding times only (AVI), or none (raw)
    places on the screen   0  3  1  2  6  4  5      from the codec's headers (picture_order.py)
    times by place         0, 1, 2, 3, 4, 5, 6      the decoding times, a count of pictures, or what some packets tell

Where single times are missing, as at the beginning of many RTSP streams, they are put into the gaps that they left.
"""

from __future__ import annotations

import heapq
import itertools
import statistics
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from stream.feeds.codecs.picture_order import PictureOrder
from stream.feeds.packets import Packet

#: A decoder holds at most 16 frames, of two fields each, before it shows one.
MAX_REORDER: Final = 32
#: Packets that are held back until a time is known; a longer run without times is numbered.
MAX_HELD: Final = 256
#: So many known times behind a hole tell how far pictures are reordered across it.
_LOOK_AHEAD: Final = 4


def in_picture_order(packets: Iterable[Packet], order: PictureOrder, interval: int) -> Iterator[Packet]:
    """Give the packets of a recording, in decoding order, the times of their places on the screen.

    Args:
        packets: where some have presentation times, the others get theirs between those. Where none has, the n-th
            picture on the screen gets the n-th decoding time; where there is none either, n times the interval.
        order: tells their order on the screen.
        interval: from a picture to the next, in ticks, where nothing else tells.
    """
    begin, rest = _peek(packets, MAX_REORDER)
    by_place = any(packet.pts is not None for packet in begin)
    # AVI: libav tells B pictures' times alone, which are shown when they are decoded.
    by_delay = by_place and all(p.dts is not None and p.pts in (None, p.dts) for p in begin)
    ordering = _Ordering(interval, by_place=by_place, by_delay=by_delay)
    key = (0, 0)
    for packet in _told_once(itertools.chain(begin, rest)):
        if packet.extradata is not None:
            order.take_parameters(packet.extradata)
        key = order.key(packet.data) or key  # unreadable: shown after the one before it
        ordering.add(packet, key)
        yield from ordering.ready()
    ordering.end()
    yield from ordering.ready()


def _told_once(packets: Iterable[Packet]) -> Iterator[Packet]:
    """Without a time that is the next packet's too: in MPEG-PS, libav gives it to both pictures of a PES packet."""
    before: Packet | None = None
    for packet in packets:
        if before is not None:
            is_twice = before.pts is not None and before.pts == packet.pts
            yield replace(before, pts=None, dts=None) if is_twice else before
        before = packet
    if before is not None:
        yield before


def _peek(packets: Iterable[Packet], count: int) -> tuple[list[Packet], Iterator[Packet]]:
    source = iter(packets)
    return list(itertools.islice(source, count)), source


class _Ordering:
    """Packets go in as they are decoded, get their places as they are shown, and come out as they went in."""

    def __init__(self, interval: int, *, by_place: bool, by_delay: bool) -> None:
        self._interval, self._by_place, self._by_delay = interval, by_place, by_delay
        self._decoding_times: dict[int, int | None] = {}  # by number
        self._times = _Times(interval)
        self._waiting: list[tuple[tuple[int, int], int, Packet]] = []  # a heap: who is shown next
        self._held: deque[Packet] = deque()
        self._places: dict[int, int] = {}  # by number in decoding order
        self._added = self._shown = self._taken = 0
        #: How many pictures decoding runs ahead of the screen.
        self._delay = 0
        self._is_over = False

    def add(self, packet: Packet, key: tuple[int, int]) -> None:
        heapq.heappush(self._waiting, (key, self._added, packet))
        self._held.append(packet)
        if self._by_delay:
            self._decoding_times[self._added] = packet.dts
        if not self._by_place:
            self._times.add(packet.dts if packet.dts is not None else self._added * self._interval)
        self._added += 1
        if len(self._waiting) > MAX_REORDER:
            self._show_next()

    def end(self) -> None:
        while self._waiting:
            self._show_next()
        self._times.end()
        self._is_over = True

    def _show_next(self) -> None:
        if self._by_delay and not self._shown:
            shown = enumerate(number for _, number, _ in sorted(self._waiting, key=lambda entry: entry[:2]))
            self._delay = max(number - place for place, number in shown)
        _, number, packet = heapq.heappop(self._waiting)
        self._places[number] = self._shown
        self._delay = max(self._delay, number - self._shown)
        self._shown += 1
        if self._by_place:
            time = packet.pts
            if self._by_delay:
                self._decoding_times.pop(self._shown - 2, None)
                time = self._decoding_times.get(self._shown - 1 + self._delay)
            self._times.add(time)

    def ready(self) -> Iterator[Packet]:
        """The packets that got their times. Each waits for those behind it: they tell the delay."""
        while self._held and (self._is_over or self._shown > self._taken + MAX_REORDER):
            place = self._places.get(self._taken)
            if place is None or max(place, self._taken) >= self._times.known:
                return
            del self._places[self._taken]
            pts, dts = self._times[place], self._times[self._taken - self._delay]
            yield replace(self._held.popleft(), pts=pts, dts=min(dts, pts))
            self._taken += 1
            self._times.forget(self._taken - 2 * MAX_REORDER)


class _Times:
    """Times by place. Those that are missing lie evenly between their neighbours, or an interval from the only one."""

    def __init__(self, interval: int) -> None:
        self._interval = interval
        self._by_place: dict[int, int] = {}
        self._missing = 0  # places at the end that have no time yet
        #: Places that have a time, from 0 on.
        self.known = 0

    def add(self, time: int | None) -> None:
        if time is None:
            self._missing += 1
            if self._missing > MAX_HELD:
                self.end()
            return
        count = self._missing + 1
        if self.known:
            last = self._by_place[self.known - 1]
            if time > last:
                self._interval = max((time - last) // count, 1)
            for step in range(1, count):
                self._by_place[self.known - 1 + step] = last + (time - last) * step // count
        else:
            for step in range(1, count):
                self._by_place[count - 1 - step] = time - step * self._interval
        self._by_place[self.known + count - 1] = time
        self.known, self._missing = self.known + count, 0

    def end(self) -> None:
        """No further time will tell what is missing."""
        last = self._by_place[self.known - 1] if self.known else -self._interval
        for step in range(1, self._missing + 1):
            self._by_place[self.known - 1 + step] = last + step * self._interval
        self.known, self._missing = self.known + self._missing, 0

    def __getitem__(self, place: int) -> int:
        """Also before the first: decoding begins that much earlier."""
        return self._by_place[place] if place >= 0 else self._by_place[0] + place * self._interval

    def forget(self, place: int) -> None:
        if place > 0:  # the first one tells the times before it
            self._by_place.pop(place, None)


def with_gaps_filled(packets: Iterable[Packet], order: PictureOrder | None, interval: int) -> Iterator[Packet]:
    """Give those packets times that have none, from their neighbours; hold packets back only where that is needed.

    Args:
        packets: in decoding order.
        order: tells their order on the screen; None where the codec's headers are not read.
        interval: from a picture to the next, in ticks, where too few packets have times to tell.
    """
    recent: deque[_Seen] = deque(maxlen=MAX_REORDER)
    held: list[_Seen] = []
    known_behind = 0
    for packet in packets:
        seen = _Seen(packet, order.key(packet.data) if order is not None else None)
        if packet.pts is not None and not held:
            recent.append(seen)
            yield packet
            continue
        held.append(seen)
        known_behind = known_behind + 1 if packet.pts is not None else 0
        # Without reordering the next time is on the other side of the hole, and one more tells the interval.
        enough = _LOOK_AHEAD if packet.pts != packet.dts else _LOOK_AHEAD // 2
        if known_behind >= enough or len(held) > MAX_HELD:
            filled = _filled(recent, held, interval)
            recent.extend(filled)
            yield from (seen.packet for seen in filled)
            held, known_behind = [], 0
    yield from (seen.packet for seen in _filled(recent, held, interval))


def with_decoding_times(packets: Iterable[Packet], interval: int) -> Iterator[Packet]:
    """Give decoding times to the first packets, which Matroska and RTSP leave without where pictures are reordered.

    Args:
        packets: in decoding order. Where none of the first has a decoding time, they stay as they are.
        interval: from a picture to the next, in ticks.
    """
    first: list[Packet] = []
    source = iter(packets)
    for packet in source:
        first.append(packet)
        if packet.dts is not None or len(first) > MAX_REORDER:
            break
    if first and (known := first[-1].dts) is not None:
        for ahead, packet in zip(range(len(first) - 1, 0, -1), first[:-1], strict=True):
            dts = known - ahead * interval
            yield replace(packet, dts=dts if packet.pts is None else min(dts, packet.pts))
        yield first[-1]
    else:
        yield from first
    yield from source


def with_own_decoding_times(packets: Iterable[Packet], interval: int, *, live: bool) -> Iterator[Packet]:
    """Give decoding times where those that libav makes of presentation times are wrong.

    Behind a step back in time it still knows what was shown before, and takes each picture for one that is shown when
    it is decoded: 0, 160, 80, 40, 120. So it does at the begin of a film that it has not looked far enough into.

    Args:
        packets: in decoding order, of a container without decoding times.
        interval: from a picture to the next, in ticks.
        live: nothing is held back; else the first packets are, at the begin and behind a step back.
    """
    run, held = _Run(interval), list[Packet]()
    for packet in packets:
        if packet.pts is not None and run.is_left_by(packet, packet.pts):
            yield from map(run.timed, held)
            run, held = _Run(interval), []
        run.see(packet)
        held.append(packet)
        if live or run.seen > MAX_REORDER:
            yield from map(run.timed, held)
            held = []
    yield from map(run.timed, held)


class _Run:
    """Packets between two steps back in time."""

    def __init__(self, interval: int) -> None:
        self._interval = interval
        self.seen = 0
        self._recent: deque[int] = deque(maxlen=MAX_REORDER)
        self._timed: deque[int] = deque(maxlen=MAX_REORDER)
        #: How many pictures decoding runs ahead of the screen.
        self._delay = 0
        self._last_dts: int | None = None
        self._is_wrong = False

    def is_left_by(self, packet: Packet, pts: int) -> bool:
        """Whether time steps back with a packet, rather than that it is shown before others."""
        if self._last_dts is None or packet.dts is None or pts >= min(self._recent):
            return False
        return packet.dts > pts or packet.dts < self._last_dts

    def see(self, packet: Packet) -> None:
        self.seen += 1
        pts, dts = packet.pts, packet.dts
        if pts is None:
            return
        self._delay = max(self._delay, sum(other > pts for other in self._recent))
        self._recent.append(pts)
        if dts is not None:
            is_back = self._last_dts is not None and dts < self._last_dts
            self._is_wrong = self._is_wrong or dts > pts or (is_back and dts == pts)
            self._last_dts = dts

    def timed(self, packet: Packet) -> Packet:
        if packet.pts is None:
            return packet
        self._timed.append(packet.pts)
        if not (self._is_wrong and self._delay):
            return packet
        ahead = self._delay + 1 - len(self._timed)
        dts = self._timed[0] - ahead * self._interval if ahead > 0 else sorted(self._timed)[-self._delay - 1]
        return replace(packet, dts=min(dts, packet.pts))


@dataclass(frozen=True, slots=True)
class _Seen:
    packet: Packet
    #: Its place on the screen, as `PictureOrder` gives it.
    key: tuple[int, int] | None


def _filled(before: Sequence[_Seen], held: Sequence[_Seen], interval: int) -> list[_Seen]:
    """`held` with all times."""
    by_key = {s.key: s.packet.pts for s in (*before, *held) if s.key is not None and s.packet.pts is not None}
    times = [s.packet.pts for s in held]
    for index, seen in enumerate(held):
        if times[index] is None and seen.key is not None:
            times[index] = _time_by_order(seen.key, by_key)
    known = sorted({t for t in (*times, *(s.packet.pts for s in before)) if t is not None})
    steps = [b - a for a, b in itertools.pairwise(known)]
    typical = max(round(statistics.median(steps)), 1) if steps else max(interval, 1)
    last = before[-1].packet.pts if before else None
    for is_missing, run in itertools.groupby(range(len(held)), key=lambda index: times[index] is None):
        indices = list(run)
        if not is_missing:
            last = times[indices[-1]]
            continue
        following = times[indices[-1] + 1] if indices[-1] + 1 < len(held) else None
        found = _times_by_gaps(known, typical, len(indices), last, following)
        known = sorted({*known, *found})
        in_order = sorted(indices, key=lambda index: held[index].key or (0, 0))
        for index, time in zip(in_order, found, strict=True):
            times[index] = time
    filled: list[_Seen] = []
    next_dts: int | None = None
    for seen, pts in zip(reversed(held), reversed(times), strict=True):
        assert pts is not None
        dts = seen.packet.dts
        if dts is None and seen.packet.pts is None and next_dts is not None:
            dts = min(next_dts - typical, pts)
        next_dts = dts
        filled.append(replace(seen, packet=replace(seen.packet, pts=pts, dts=dts)))
    return filled[::-1]


def _time_by_order(key: tuple[int, int], known: Mapping[tuple[int, int], int]) -> int | None:
    """The time of a picture, counted from two others of its sequence; None where there are not so many."""
    near = sorted((k for k in known if k[0] == key[0]), key=lambda k: abs(k[1] - key[1]))[:2]
    if len(near) < 2:
        return None
    (_, from_count), (_, to_count) = near
    begin, end = known[near[0]], known[near[1]]
    return begin + round((key[1] - from_count) * (end - begin) / (to_count - from_count))


def _times_by_gaps(
    known: Sequence[int], typical: int, count: int, last: int | None, following: int | None
) -> list[int]:
    """`count` times, ascending, for packets decoded between two that have the times `last` and `following`.

    They go into gaps of the `known` times, those that are nearest.
    """
    if last is None:
        begin = known[0] if known else count * typical
        return [begin - step * typical for step in range(count, 0, -1)]
    if following is None:
        return [known[-1] + step * typical for step in range(1, count + 1)]
    near, free = (last + following) / 2, list[int]()
    for a, b in itertools.pairwise(known):
        pictures = round((b - a) / typical)
        free += [a + (b - a) * step // pictures for step in range(1, pictures)]
    if len(free) < count:  # pictures came closer together than usual: halfway between their neighbours
        below = max((t for t in known if t <= near), default=known[0])
        above = min((t for t in known if t > near), default=known[-1] + typical)
        free = [below + (above - below) * step // (count + 1) for step in range(1, count + 1)]
    return sorted(sorted(free, key=lambda time: abs(time - near))[:count])
