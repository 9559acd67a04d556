"""Pictures of what was missed and of what was a false alarm, from the footage that was replayed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import numpy as np

from stream import Image, Picture, Segment, SegmentError, SourceError, decode

from .sources import Piece
from .trace import Piece as Placed

FRAMES: Final = 6
_HEIGHT: Final = 120
_PICTURE: Final = Picture(_HEIGHT, _HEIGHT * 16 // 9)


def strips(wanted: Sequence[tuple[Piece, Placed, int, int]]) -> list[list[Image]]:
    """For each interval in event time some pictures, evenly spaced; fewer where the footage has less.

    Args:
        wanted: the footage, its place in time, begin and end in µs.
    """
    times: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    pieces: dict[str, Piece] = {}
    for number, (piece, placed, start_us, end_us) in enumerate(wanted):
        pieces[piece.name] = piece
        for time_us in np.linspace(start_us, max(start_us, end_us - 1), FRAMES).astype(int).tolist():
            times[piece.name][time_us - placed.begin_us].append(number)
    found: list[list[tuple[int, Image]]] = [[] for _ in wanted]
    for name, at in times.items():
        for time_us, image in _pictures(pieces[name], sorted(at)):
            for number in at[time_us]:
                found[number].append((time_us, image))
    return [[image for _, image in sorted(row, key=lambda item: item[0])] for row in found]


def _pictures(piece: Piece, times_us: Sequence[int]) -> list[tuple[int, Image]]:
    found: list[tuple[int, Image]] = []
    try:
        for segment in piece.segments("pictures"):
            if isinstance(segment, Segment) and (
                inside := [t for t in times_us if segment.start_us <= t < segment.end_us]
            ):
                images = decode(segment, inside, _PICTURE, piece.name).samples
                found += [(t, image) for t, (_, image) in zip(inside, images, strict=True)]
    except (SegmentError, SourceError):
        return found  # what could not be decoded is in the trace's problems already
    return found
