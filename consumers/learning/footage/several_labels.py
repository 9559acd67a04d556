"""Footage that shows several things at once: every label of a row, and of the rows that overlap it.

rows        smoke  ██████████████
            fight          ███████████
pieces      smoke  ████████
            both           ██████
            fight                ████

What is not cut like this would teach that a fight is no smoke, while there is both.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Final

from consumers.terminal.wording import count
from models import SEPARATOR, labels_in, several_labels

from .examples import Example, Say

#: Nobody annotates begins and ends more exactly: a shorter piece between two of them is left out.
_LEAST_SECONDS: Final = 0.5


def with_several(examples: Sequence[Example], renamed: Mapping[str, str], say: Say) -> list[Example]:
    """The examples with all labels that each has, cut where rows of one file begin and end within one another.

    Args:
        examples: rows whose text may name several labels.
        renamed: new names of single labels; a label mapped to nothing is left out, and a row without any.
        say: told how many rows were joined or cut.
    """
    by_file: dict[Path, list[Example]] = defaultdict(list)
    for e in examples:
        named = several_labels(filter(None, (renamed.get(label, label) for label in labels_in(e.label))))
        if named:
            by_file[e.path].append(replace(e, label=named, has_several=True))
    found: list[Example] = []
    overlapping = made = lost = 0
    for rows in by_file.values():
        pieces, short = _pieces(rows)
        found += pieces
        if pieces is not rows:
            overlapping, made, lost = overlapping + len(rows), made + len(pieces), lost + short
    if overlapping:
        left_out = f"; {count(lost, 'piece')} shorter than {_LEAST_SECONDS:g} s left out" if lost else ""
        say(
            f"{count(overlapping, 'row')} of files in which rows overlap made {count(made, 'piece')}, each with the "
            f"labels of all rows that it is in{left_out}"
        )
    return found


def ask_of_separators(examples: Sequence[Example], say: Say) -> None:
    """Tell of labels that look like several ones, where a clip has one."""
    several = [e for e in examples if len(labels_in(e.label)) > 1]
    if several:
        labels = {e.label for e in several}
        say(
            f"{count(len(several), 'row')} with {SEPARATOR!r} in the label, taken for one label of that name "
            f"({min(labels)!r}); --multi-label takes it for {' and '.join(map(repr, labels_in(min(labels))))}"
        )


def _pieces(rows: list[Example]) -> tuple[list[Example], int]:
    """The rows of one file in pieces that do not overlap, and how many were too short; `rows` itself if none does."""
    spans = sorted(map(_span, rows))
    if all(end <= begin for (_, end), (begin, _) in pairwise(spans)):
        return rows, 0
    pieces: list[Example] = []
    short = 0
    for begin, end in pairwise(sorted({time for span in spans for time in span})):
        own = [e for e in rows if _span(e)[0] <= begin and end <= _span(e)[1]]
        if not own:
            continue
        if end - begin < _LEAST_SECONDS and {_span(e) for e in own} - {(begin, end)}:
            short += 1
            continue
        pieces += _joined(own, begin, end)
    return pieces, short


def _joined(own: Sequence[Example], begin: float, end: float) -> Iterator[Example]:
    """One example of all these, of each split: rows of two splits are an error, which is told later."""
    by_split: dict[str, list[Example]] = defaultdict(list)
    for e in own:
        by_split[e.split].append(e)
    for of_split in by_split.values():
        first = next((e for e in of_split if e.is_grouped), of_split[0])
        label = several_labels(label for e in of_split for label in e.labels)
        yield replace(first, label=label, start_seconds=begin, end_seconds=None if end == math.inf else end)


def _span(e: Example) -> tuple[float, float]:
    return e.start_seconds, math.inf if e.end_seconds is None else e.end_seconds
