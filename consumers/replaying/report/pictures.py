"""Pictures of intervals of the footage that was replayed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from consumers.replaying.footage.sources import Piece
from consumers.replaying.footage.topic_pieces import ContextSegment, LostSegmentError
from consumers.replaying.trace import PlacedTrace
from stream import Image, Picture, SampleReader, SegmentError, SourceError

FRAMES: Final = 6
_HEIGHT: Final = 120
_PICTURE: Final = Picture(_HEIGHT, _HEIGHT * 16 // 9)


@dataclass(frozen=True, slots=True)
class Interval:
    """Footage to take pictures of."""

    footage: Piece
    #: Where the footage lies in event time.
    placed: PlacedTrace
    start_us: int
    end_us: int


def take_pictures(intervals: Sequence[Interval]) -> list[list[tuple[int, Image]]]:
    """For each interval up to `FRAMES` pictures with their event times in µs, evenly spaced.

    Each file is read once, whatever the number of intervals in it.
    """
    wanted: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    by_name: dict[str, Piece] = {}
    for number, interval in enumerate(intervals):
        name = interval.footage.name
        by_name[name] = interval.footage
        last_us = max(interval.start_us, interval.end_us - 1)
        for time_us in np.linspace(interval.start_us, last_us, FRAMES).astype(int).tolist():
            wanted[name][time_us - interval.placed.begin_us].append(number)
    found: list[list[tuple[int, Image]]] = [[] for _ in intervals]
    for name, at in wanted.items():
        for time_us, image in _decode_at(by_name[name], sorted(at)):
            for number in at[time_us]:
                found[number].append((time_us + intervals[number].placed.begin_us, image))
    return [sorted(row, key=lambda item: item[0]) for row in found]


def _decode_at(piece: Piece, times_us: Sequence[int]) -> list[tuple[int, Image]]:
    found: list[tuple[int, Image]] = []
    reader = SampleReader(_PICTURE)
    try:
        for item in piece.segments("pictures"):
            if isinstance(item, LostSegmentError):
                continue
            segment = item.segment if isinstance(item, ContextSegment) else item
            inside = [t for t in times_us if segment.start_us <= t < segment.end_us]
            found += [(s.at_us, s.image) for s in reader.read(segment, inside, piece.name)]
        found += [(s.at_us, s.image) for s in reader.end()]
    except (SegmentError, SourceError):
        return found  # what could not be decoded is in the trace's problems already
    return found
