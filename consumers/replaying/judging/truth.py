"""Read the ground truth: what happens in the footage, and when.

- CSV `camera_or_file,label,start,end`: seconds of the footage (also as 00:01:23), or times in RFC 3339. The first
  column may also be called camera, file, path or video.
- CSV `path,label`: a whole file shows the label.
- JSON of ActivityNet: database → video → annotations; videos are files named by their id.

A file is named by its path or the end of it, with or without its suffix. Text may be as `consumers.tables` says, and
labels are written as `models.normal_label` writes them.
"""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from consumers.annotations import Annotation, activitynet_annotations
from consumers.replaying.errors import TruthError
from consumers.tables import Line, TableError, bounded, read_table, seconds_of
from consumers.terminal.wording import count
from consumers.times import parse_time_us
from models import labels_in, normal_label, same_but_for_case
from stream import what_is_there

_NAMES: Final = ("camera_or_file", "camera", "file", "path", "video")


@dataclass(frozen=True, slots=True)
class TruthRow:
    """A row of the truth file, as written."""

    #: File and line, for errors.
    where: str
    #: A camera, or a file.
    name: str
    label: str
    #: Seconds of the footage; None with `end` for all of it.
    start: float | None
    end: float | None
    #: Instead of seconds: event time, µs.
    interval_us: tuple[int, int] | None = None
    #: Whether it is left out, not refused, if it does not fit its footage.
    may_be_skipped: bool = False


def read_truth(
    path: Path,
    renamed: Mapping[str, str],
    *,
    multi_label: bool = False,
    skip_bad_rows: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> list[TruthRow]:
    """Read a file of truth; rename labels, and leave out those renamed to nothing, and rows that repeat another.

    Args:
        path: of the file.
        renamed: new names of labels.
        multi_label: whether a row may name several labels, `fight|smoke`: it is then a row of each.
        skip_bad_rows: leave out rows that cannot be understood.
        say: told what was left out or guessed.

    Raises:
        TruthError: there is no such file, it has another form, rows cannot be understood (all of them are named, up to
            a bound), or labels differ in case only.
    """
    if not path.is_file():
        raise TruthError(f"{path}: {what_is_there(path, 'a CSV or JSON file') or 'no such file of truth'}")
    found: list[TruthRow] = []
    problems: list[str] = []
    try:
        parts = _from_activitynet(path, say) if path.suffix.lower() == ".json" else _from_csv(path, say)
        for where, make in parts:
            try:
                found.append(make())
            except ValueError as error:
                problems.append(f"{where}: {error}")
    except TableError as error:
        raise TruthError(str(error)) from None
    settle(problems, len(found) + len(problems), skip_bad_rows=skip_bad_rows, say=say)
    named = [
        replace(row, label=label, may_be_skipped=skip_bad_rows)
        for row in found
        for own in (labels_in(row.label) if multi_label else (row.label,))
        if (label := renamed.get(own, own))
    ]
    if (question := same_but_for_case(row.label for row in named)) is not None:
        raise TruthError(f"{path}: {question}")
    distinct = {(row.name, row.label, row.start, row.end, row.interval_us): row for row in reversed(named)}
    if again := len(named) - len(distinct):
        say(f"{path}: {count(again, 'row')} that repeat another are counted once")
    return list(reversed(distinct.values()))


def settle(problems: Sequence[str], total: int, *, skip_bad_rows: bool, say: Callable[[str], None]) -> None:
    """Refuse rows that cannot be used, or say how many are left out.

    Raises:
        TruthError: there are some that are not to be skipped.
    """
    if problems and skip_bad_rows:
        say(f"{len(problems)} of {count(total, 'row')} of truth are wrong and left out; first: {problems[0]}")
    elif problems:
        head = f"{len(problems)} of {total} rows of truth cannot be used:\n" if len(problems) > 1 else ""
        raise TruthError(f"{head}{bounded(problems)}\n--skip-bad-rows goes on without what is wrong")


def check_known(truth_rows: Sequence[TruthRow], model_id: str, known: Sequence[str]) -> None:
    """Check that the truth speaks of something that the model knows, before any footage is decoded.

    Raises:
        TruthError: none of its labels is one of the model's; suggests how to rename them.
    """
    labels = list(dict.fromkeys(row.label for row in truth_rows))
    if labels and not set(labels) & set(known):
        raise TruthError(
            f"{truth_rows[0].where}: {model_id} knows {', '.join(known)}, and none of the labels of truth "
            f"({', '.join(labels)}) is one of them{_renaming(labels, known)}"
        )


def _renaming(labels: Sequence[str], known: Collection[str]) -> str:
    """How one would rename labels to those that are meant, as far as that can be guessed."""
    by_case = {label.casefold(): label for label in known}
    for label in labels:
        near = difflib.get_close_matches(label.casefold(), by_case, n=1, cutoff=0.5)
        if near:
            return f"; did you mean --map '{label}={by_case[near[0]]}'?"
    return f"; rename them, as with --map '{labels[0]}={next(iter(known), 'label')}'"


def _from_activitynet(path: Path, say: Callable[[str], None]) -> Iterator[tuple[str, Callable[[], TruthRow]]]:
    for annotation in activitynet_annotations(path, say):

        def make(annotation: Annotation = annotation) -> TruthRow:
            start, end = annotation.segment
            label = annotation.label
            if not label:
                raise ValueError("no label: expected a name")
            return TruthRow(annotation.where, annotation.video, label, *_checked(start, end, f"{start:g}", f"{end:g}"))

        yield annotation.where, make


def _from_csv(path: Path, say: Callable[[str], None]) -> Iterator[tuple[str, Callable[[], TruthRow]]]:
    columns, lines = read_table(path, {*_NAMES, "label", "start", "end"}, say)
    column = next((name for name in _NAMES if name in columns), None)
    if column is None or "label" not in columns or ("start" in columns) != ("end" in columns):
        raise TableError(
            f"{path}, line 1: expected the columns camera_or_file,label,start,end or path,label, "
            f"found {', '.join(columns) or 'nothing'}"
        )
    for line in lines:
        where = f"{path}, line {line.number}"

        def make(line: Line = line, where: str = where, column: str = column) -> TruthRow:
            line.check()
            return _parse_row(line, column, where)

        yield where, make


def _parse_row(line: Line, column: str, where: str) -> TruthRow:
    name, label, start, end = line.get(column), normal_label(line.get("label")), line.get("start"), line.get("end")
    if not name or not label or bool(start) != bool(end):
        lacks = column if not name else "label" if not label else "start" if not start else "end"
        raise ValueError(f"no {lacks}: expected {column}, label, and both start and end or neither")
    if not start:
        return TruthRow(where, name, label, None, None)
    times_us = _time_us(start), _time_us(end)
    if None not in times_us:
        first, last = times_us
        if not first < last:  # type: ignore[operator]  # neither is None
            raise ValueError(f"end {end}: expected a time after the start, {start}")
        return TruthRow(where, name, label, None, None, times_us)  # type: ignore[arg-type]  # neither is None
    return TruthRow(where, name, label, *_checked(_seconds(start, "start"), _seconds(end, "end"), start, end))


def _checked(start: float, end: float, start_text: str, end_text: str) -> tuple[float, float]:
    if not 0 <= start < float("inf"):
        raise ValueError(f"start {start_text}: expected seconds, at least 0")
    if not start < end < float("inf"):
        raise ValueError(f"end {end_text}: expected seconds, more than the start, {start_text}")
    return start, end


def _seconds(text: str, column: str) -> float:
    if _time_us(text) is not None:
        raise ValueError(f"{column} {text!r} is a time of day, and the other one is not: expected two of a kind")
    try:
        return seconds_of(text, column)
    except ValueError as error:
        raise ValueError(f"{error}, or one like 2026-11-24T08:00:00Z") from None


def _time_us(text: str) -> int | None:
    """A time as of RFC 3339; None for anything else, such as seconds."""
    with contextlib.suppress(ValueError):
        float(text)  # 20261124 would be a date, too
        return None
    try:
        return parse_time_us(text)
    except ValueError:
        return None
