"""What lies between the annotated events of long footage: examples of the label for nothing.

rows      ████████            ███
rest  ──         ───────────     ────       in pieces, a second away from every event
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from consumers.terminal.wording import count
from models import normal_label

from .footage.examples import Example, Say, footage_seconds

#: Where an event begins and ends is not known to the second.
_MARGIN_SECONDS: Final = 1.0
#: So that an hour of nothing does not count as one clip: an example is at most so long.
_PIECE_SECONDS: Final = 10.0
#: Less shows next to nothing.
_LEAST_SECONDS: Final = 2.0


def with_rest(examples: Sequence[Example], label: str, say: Say) -> list[Example]:
    """The examples, and the rest of each file of which rows annotate parts, as examples of `label`.

    The rest of a file belongs to the group of its rows. Files of which a row annotates everything have no rest, and of
    files whose length nobody knows, what comes after the last event is left out.

    Args:
        examples: what rows annotate.
        label: of the rest.
        say: told how much was added.
    """
    by_file: dict[Path, list[Example]] = defaultdict(list)
    for e in examples:
        by_file[e.path].append(e)
    added = [piece for rows in by_file.values() for piece in _rest_of(rows, normal_label(label))]
    if added:
        files, seconds = len({e.path for e in added}), sum((e.end_seconds or 0) - e.start_seconds for e in added)
        say(
            f"{count(len(added), 'piece')} ({seconds / 60:.1f} min) of {count(files, 'file')} outside of its events "
            f"taken for {label!r}"
        )
    return [*examples, *added]


def _rest_of(rows: Sequence[Example], label: str) -> Iterator[Example]:
    length = footage_seconds(rows[0].path)
    at = 0.0
    for start, end in sorted((e.start_seconds, math.inf if e.end_seconds is None else e.end_seconds) for e in rows):
        yield from _pieces(rows[0], label, at, start - _MARGIN_SECONDS)
        at = max(at, end + _MARGIN_SECONDS)
    if length is not None:
        yield from _pieces(rows[0], label, at, length)


def _pieces(row: Example, label: str, begin: float, end: float) -> Iterator[Example]:
    """The time from `begin` to `end` in equal pieces that are not longer than they may be."""
    if end - begin < _LEAST_SECONDS:
        return
    pieces = -(-(end - begin) // _PIECE_SECONDS)
    step = (end - begin) / pieces
    for number in range(int(pieces)):
        start = begin + number * step
        where = f"{row.path}, outside of its events"
        yield replace(row, label=label, start_seconds=start, end_seconds=start + step, where=where)
