"""MPEG-TS as players get it: on the clock of the camera, each picture in one segment. Pure; nothing is encoded again.

    stored    I0 P3 B1 B2  I6 B4 B5 | I6 P9 …      the first one holds I6, which B4 and B5 refer to
    served    I0 P3 B1 B2           | I6 B4 B5 P9 …      in the order of decoding, each once

Stored segments count from the begin of their epoch. What is served counts from the Unix epoch, in ticks of 90 kHz, so
all of a camera is on one clock, whichever server or agent it comes from; 33 bits of that travel, 26 hours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream import Segment

_SIZE: Final = 188
_SYNC: Final = 0x47
_WRAP: Final = 1 << 33
_Table = NDArray[np.uint8]  # (packets, 188)


@dataclass(frozen=True, slots=True)
class _Picture:
    """One coded picture: rows of a table, and its times in ticks of the camera's clock, not wrapped."""

    pts: int
    dts: int
    first_row: int
    end_row: int


@dataclass(frozen=True, slots=True)
class _Parsed:
    """A segment's packets, on the camera's clock, and the pictures in them."""

    table: _Table
    pid: int
    pictures: tuple[_Picture, ...]
    #: How many of them are of this segment; those from there on are with what carries pictures of the next one.
    own: int

    def rows(self, picture: _Picture) -> _Table:
        found: _Table = self.table[picture.first_row : picture.end_row]
        return found


def served(segment: Segment, before: Callable[[], Segment | None]) -> bytes:
    """The bytes of a segment as players get them.

    Args:
        segment: of H.264 or H.265.
        before: gives the one from which it goes on, or None; only asked where some of its pictures may lie there.

    Raises:
        ValueError: one of them is no transport stream with one video.
    """
    here = _parsed(segment)
    own = here.pictures[: here.own]
    if not own:
        return here.table.tobytes()
    # What carries pictures of the next one is at the end.
    head, kept = here.table[: own[0].first_row], here.table[: own[-1].end_row]
    # Only what is decoded before it is shown can have been needed by what is shown before it.
    is_reordered = own[0].pts != own[0].dts
    earlier = before() if is_reordered else None
    late = _left_by(_parsed(earlier), here) if earlier is not None else []
    if not late:
        return kept.tobytes()
    # Sorting is stable: of equal times the own picture comes first.
    merged = sorted([(p.dts, here.rows(p)) for p in own] + late, key=lambda each: each[0])
    found = np.concatenate([head, *(rows for _, rows in merged)])
    _count(found, here.pid)
    return found.tobytes()


def follows(before: Segment, segment: Segment) -> bool:
    """Whether a segment goes on from another one."""
    return (before.camera, before.epoch_us, before.sequence, before.end_us) == (
        segment.camera,
        segment.epoch_us,
        segment.sequence - 1,
        segment.start_us,
    )


def _left_by(before: _Parsed, here: _Parsed) -> list[tuple[int, _Table]]:
    """Pictures behind one that the segment before carries of this one: when they are decoded, and their packets."""
    carried, there = before.pictures[before.own :], {p.pts for p in here.pictures}
    if not carried or before.pid != here.pid or carried[0].pts not in there:
        return []
    return [(p.dts, _only(before.rows(p), here.pid)) for p in carried if p.pts not in there]


def _parsed(segment: Segment) -> _Parsed:
    data = segment.data
    if not data or len(data) % _SIZE:
        raise ValueError(f"{len(data)} bytes are no whole packets of a transport stream")
    table = np.frombuffer(data, np.uint8).reshape(-1, _SIZE).copy()
    if (table[:, 0] != _SYNC).any():
        raise ValueError("no packets of a transport stream")
    pids = ((table[:, 1] & 0x1F).astype(np.int32) << 8) | table[:, 2]
    starts = [(row, at) for row in np.flatnonzero(table[:, 1] & 0x40) if (at := _video_at(table[row])) is not None]
    if not starts or len({int(pids[row]) for row, _ in starts}) != 1:
        raise ValueError("expected one video")
    first = _stamp(table[starts[0][0]], starts[0][1] + 9)
    clock = segment.epoch_us * 9 // 100 + segment.first_tick
    ends = [*(int(row) for row, _ in starts[1:]), len(table)]
    pictures = []
    for (row, at), end in zip(starts, ends, strict=True):
        pts, dts = _restamped(table[row], at, clock, first)
        pictures.append(_Picture(pts, dts, int(row), end))
    for row in _with_clock(table):
        _shift_clock(table[row], clock - first)
    return _Parsed(table, int(pids[starts[0][0]]), tuple(pictures), _own(segment, pictures))


def _own(segment: Segment, pictures: Sequence[_Picture]) -> int:
    """How many pictures come before the first, in the order of decoding, that is of the next segment."""
    if not segment.frames:
        return len(pictures)
    base = pictures[0].pts
    times_us = segment.packet_times_us([(p.pts - base) % _WRAP for p in pictures])
    return next((n for n, time_us in enumerate(times_us) if time_us >= segment.end_us), len(pictures))


def _video_at(packet: _Table) -> int | None:
    """Where a packet's PES header begins, if it begins a picture."""
    at = 4 + (1 + int(packet[4]) if packet[3] & 0x20 else 0)
    if not packet[3] & 0x10 or at + 19 > _SIZE or packet[at : at + 3].tobytes() != b"\0\0\1":
        return None
    is_video = 0xE0 <= packet[at + 3] <= 0xEF
    return at if is_video and packet[at + 7] & 0x80 else None


def _restamped(packet: _Table, at: int, clock: int, first: int) -> tuple[int, int]:
    """Write a picture's times on the camera's clock into its header; return them, not wrapped."""
    pts_in = _stamp(packet, at + 9)
    pts = clock + _signed(pts_in - first)
    _write_stamp(packet, at + 9, pts)
    if not packet[at + 7] & 0x40:
        return pts, pts
    dts = pts - _signed(pts_in - _stamp(packet, at + 14))
    _write_stamp(packet, at + 14, dts)
    return pts, dts


def _signed(ticks: int) -> int:
    return (ticks + _WRAP // 2) % _WRAP - _WRAP // 2


def _stamp(packet: _Table, at: int) -> int:
    """A time stamp of 33 bits in five bytes, with marker bits between."""
    a, b, c, d, e = (int(each) for each in packet[at : at + 5])
    return (a >> 1 & 7) << 30 | b << 22 | c >> 1 << 15 | d << 7 | e >> 1


def _write_stamp(packet: _Table, at: int, ticks: int) -> None:
    ticks %= _WRAP
    packet[at] = (int(packet[at]) & 0xF0) | ticks >> 29 & 0x0E | 1
    packet[at + 1 : at + 5] = (ticks >> 22 & 0xFF, ticks >> 14 & 0xFE | 1, ticks >> 7 & 0xFF, ticks << 1 & 0xFE | 1)


def _with_clock(table: _Table) -> Iterator[Any]:
    """Rows of packets with a program clock reference."""
    yield from np.flatnonzero((table[:, 3] & 0x20 > 0) & (table[:, 4] > 0) & (table[:, 5] & 0x10 > 0))


def _shift_clock(packet: _Table, ticks: int) -> None:
    base = int.from_bytes(packet[6:11].tobytes()) >> 7
    shifted = ((base + ticks) % _WRAP) << 7 | (int(packet[10]) & 0x7F)
    packet[6:11] = list(shifted.to_bytes(5))


def _only(table: _Table, pid: int) -> _Table:
    """The packets of the video: what else lies between is there once already."""
    found: _Table = table[(((table[:, 1] & 0x1F).astype(np.int32) << 8) | table[:, 2]) == pid]
    return found


def _count(table: _Table, pid: int) -> None:
    """Have the packets of the video count on from one to the next, as far as they carry something."""
    of_video = (((table[:, 1] & 0x1F).astype(np.int32) << 8) | table[:, 2]) == pid
    rows = np.flatnonzero(of_video & (table[:, 3] & 0x10 > 0))
    counts = (np.arange(len(rows)) + int(table[rows[0], 3] & 0x0F)) & 0x0F
    table[rows, 3] = (table[rows, 3] & 0xF0) | counts.astype(np.uint8)
