"""Read labelled footage: which file shows what, from when to when, in which group."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from consumers.learning.rest import with_rest
from consumers.tables import TableError, bounded
from consumers.terminal.wording import count
from models import TrainingError, same_but_for_case

from .examples import DEFAULT_OPTIONS, DataOptions, Example, Rows, Say
from .formats import read_rows
from .several_labels import ask_of_separators, with_several
from .splits import TEST


def find_examples(
    data: Path | Sequence[Path],
    renamed: Mapping[str, str],
    options: DataOptions = DEFAULT_OPTIONS,
    say: Say = lambda _: None,
    *,
    test: Sequence[Path] = (),
) -> list[Example]:
    """Read lists of labelled footage, each in one of these forms:

    - A folder with one folder a class.
    - A CSV with the columns path, label and optionally start, end, group, split. Paths are relative to it or to the
      folder above. An empty start or end means that of the file; without a group, each file is a group of its own.
      With `options.multi_label` a label may be several, `fight|smoke`.
    - A CSV of Kinetics (label, youtube_id, time_start, time_end); the trimmed files lie somewhere below it.
    - A JSON of ActivityNet; files are named by video id, somewhere below it.
    - A list of MMAction2, "path label-number" a line; names in `label_map.txt` beside it, if there is one.

    Text may be as `consumers.tables` says. Labels are written as `models.normal_label` writes them.

    Args:
        data: the lists and folders; a group of the same name in two of them is one group.
        renamed: new names of labels; a label mapped to nothing is left out.
        options: what to do about rows that cannot be used, and about groups.
        say: told what was left out or guessed.
        test: lists and folders of which everything is of the split "test".

    Raises:
        TrainingError: rows cannot be used (all of them are named, up to a bound), labels differ in case only, or
            nothing is left.
    """
    paths = [data] if isinstance(data, Path) else data
    rows = Rows(say)
    try:
        for path in paths:
            read_rows(path, rows)
        before = len(rows.examples)
        for path in test:
            read_rows(path, rows)
        rows.examples[before:] = [replace(e, split=TEST) for e in rows.examples[before:]]
    except TableError as error:
        raise TrainingError(str(error)) from None
    rows.check_ends()
    rows.settle(options)
    if options.multi_label:
        found = with_several(rows.examples, renamed, say)
    else:
        found = [replace(e, label=label) for e in rows.examples if (label := renamed.get(e.label, e.label))]
        ask_of_separators(found, say)
    if (question := same_but_for_case(label for e in found for label in e.labels)) is not None:
        raise TrainingError(question)
    found = _distinct(found, say)
    if options.rest is not None:
        found = with_rest(found, options.rest, say)
    return (
        found
        if options.group_by is None
        else _grouped(found, options.group_by, [d if d.is_dir() else d.parent for d in (*paths, *test)])
    )


def _distinct(examples: Sequence[Example], say: Say) -> list[Example]:
    """The examples without rows that say the same twice; rows of one file that overlap are told."""
    # Rows of two splits are kept, since that is an error to be told.
    rows: dict[tuple[Path, str, float, float | None, str], Example] = {}
    for e in examples:
        first = rows.setdefault(_content(e), e)
        if e.is_grouped and not first.is_grouped:
            rows[_content(e)] = e
    if again := len(examples) - len(rows):
        counts = Counter(map(_content, examples))
        first = next(rows[key] for key, n in counts.items() if n > 1)
        say(f"{count(again, 'row')} repeating another counted once; first: {first.where} ({first.path.name})")
    by_file: dict[Path, list[Example]] = {}
    for e in rows.values():
        by_file.setdefault(e.path, []).append(e)
    overlapping = []
    for parts in by_file.values():
        parts.sort(key=lambda e: (e.start_seconds, e.end_seconds or math.inf))
        overlapping += [
            (a, b)
            for a, b in pairwise(parts)
            if b.start_seconds < (math.inf if a.end_seconds is None else a.end_seconds)
        ]
    if overlapping:
        a, b = overlapping[0]
        say(
            f"{count(len(overlapping), 'row')} overlapping another one of the same file, so the same pictures count "
            f"twice; first: {a.where} ({a.label}) and {b.where} ({b.label})"
        )
    return list(rows.values())


def _content(e: Example) -> tuple[Path, str, float, float | None, str]:
    return e.path, e.label, e.start_seconds, e.end_seconds, e.split


def _grouped(examples: Sequence[Example], pattern: re.Pattern[str], folders: Sequence[Path]) -> list[Example]:
    """The examples with the groups that a pattern finds in their paths below `folders`; groups that a list gave stay.

    Raises:
        TrainingError: it finds none in some paths; they are named.
    """
    found, problems = [], []
    for e in examples:
        below = next((e.path.relative_to(folder) for folder in folders if e.path.is_relative_to(folder)), e.path)
        match = None if e.is_grouped else pattern.search(below.as_posix())
        if e.is_grouped:
            found.append(e)
        elif match is None or not (group := "/".join(g for g in match.groups() or (match[0],) if g)):
            problems.append(str(e.path))
        else:
            found.append(replace(e, group=group, is_grouped=True))
    if problems:
        raise TrainingError(
            f"--group-by {pattern.pattern!r} finds no group in {len(problems)} of {len(examples)} paths:\n"
            + bounded(problems)
        )
    return found
