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
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath, PureWindowsPath
from typing import Final

from consumers.annotations import Annotation, activitynet_annotations
from consumers.replaying.errors import TruthError
from consumers.replaying.trace import Timeline
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


@dataclass(frozen=True, slots=True)
class TrueEvent:
    """Something that happens on a camera, in event time."""

    camera: str
    label: str
    start_us: int
    end_us: int
    where: str


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
    _settle(problems, len(found) + len(problems), skip_bad_rows=skip_bad_rows, say=say)
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


def _settle(problems: Sequence[str], total: int, *, skip_bad_rows: bool, say: Callable[[str], None]) -> None:
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


def check_truth(truth_rows: Sequence[TruthRow], pieces: Mapping[str, Sequence[str]]) -> None:
    """Check that some row is about this footage, before any of it is decoded.

    Args:
        truth_rows: as `read_truth` gives them.
        pieces: the files of each camera.

    Raises:
        TruthError: no row is.
    """
    paths = [PurePath(name).parts for names in pieces.values() for name in names]
    for row in truth_rows:
        if row.name in pieces or any(_ends_with(path, _parts(row.name)) for path in paths):
            return
    if truth_rows:
        why = _unknown(truth_rows[0], pieces, paths)
        raise TruthError(f"{truth_rows[0].where}: {why}; no row is about this footage")


def place_truth(
    truth_rows: Sequence[TruthRow],
    timelines: Sequence[Timeline],
    labels: Collection[str],
) -> tuple[list[TrueEvent], list[str]]:
    """Find the footage of each row. Rows of one camera and label that overlap are one event, as a worker reports it.

    Args:
        truth_rows: as `read_truth` gives them.
        timelines: the cameras.
        labels: those that raise events.

    Returns:
        The true events of these labels, and notes on rows that are left out.

    Raises:
        TruthError: rows that may not be skipped begin after the end of their footage, or name several files; all of
            them are named.
    """
    cameras = {timeline.camera: timeline for timeline in timelines}
    events: list[TrueEvent] = []
    unknown: list[TruthRow] = []
    outside: list[TruthRow] = []
    silent: dict[str, list[TruthRow]] = defaultdict(list)
    problems: list[str] = []
    notes: list[str] = []
    for row in truth_rows:
        try:
            place = _find(row, cameras)
            interval_us = None if place is None else _interval_us(row, place)
        except ValueError as error:
            problems.append(f"{row.where}: {error}")
            continue
        if place is None:
            unknown.append(row)
        elif interval_us is None:
            outside.append(row)
        elif row.label not in labels:
            silent[row.label].append(row)
        else:
            events.append(TrueEvent(place.camera, row.label, *interval_us, row.where))
    skip = all(row.may_be_skipped for row in truth_rows)
    _settle(problems, len(truth_rows), skip_bad_rows=skip, say=notes.append)
    names = ", ".join(f'"{label}"' for label in sorted(labels))
    raised = f"this model raises events only for {names}" if labels else "this model raises no events"
    notes += [
        f"{count(len(rows), 'row')} of truth left out, first {rows[0].where}: {raised}, not for {label!r}"
        for label, rows in silent.items()
    ]
    if unknown:
        row = unknown[0]
        paths = [PurePath(piece.name).parts for timeline in timelines for piece in timeline.pieces]
        why = _unknown(row, cameras, paths)
        notes.append(f"{count(len(unknown), 'row')} of truth left out, first {row.where}: {why}")
    if outside:
        notes.append(
            f"{count(len(outside), 'row')} of truth left out, first {outside[0].where}: outside the footage's time"
        )
    events, overlapping = _merged(events)
    if overlapping:
        first, second = overlapping[0]
        notes.append(
            f"{count(len(overlapping), 'row')} of truth that overlap another of the same label on the same camera are "
            f"counted as one event with it; first: {first.where} and {second.where}"
        )
    return events, notes


def _merged(events: Sequence[TrueEvent]) -> tuple[list[TrueEvent], list[tuple[TrueEvent, TrueEvent]]]:
    """The events, in order, with those that overlap made one, and the pairs that were."""
    newest: dict[tuple[str, str], int] = {}
    found: list[TrueEvent] = []
    pairs = []
    order = {id(event): number for number, event in enumerate(events)}
    for event in sorted(events, key=lambda e: e.start_us):
        before = newest.get((event.camera, event.label))
        if before is not None and event.start_us < found[before].end_us:
            pairs.append((found[before], event))
            found[before] = replace(found[before], end_us=max(found[before].end_us, event.end_us))
            order[id(found[before])] = order[id(pairs[-1][0])]
        else:
            newest[event.camera, event.label] = len(found)
            found.append(event)
    return sorted(found, key=lambda e: order[id(e)]), pairs


@dataclass(frozen=True, slots=True)
class _Place:
    """The footage of a row."""

    camera: str
    begin_us: int
    end_us: int


def _interval_us(row: TruthRow, place: _Place) -> tuple[int, int] | None:
    """The row's interval in event time; None if it is outside the footage."""
    if row.interval_us is not None:
        start_us, end_us = row.interval_us
        return None if end_us <= place.begin_us or start_us >= place.end_us else row.interval_us
    if row.start is None or row.end is None:
        return place.begin_us, place.end_us
    start_us = place.begin_us + round(row.start * 1e6)
    if start_us >= place.end_us:
        raise ValueError(
            f"begins at {row.start:g} s, and {row.name} is {(place.end_us - place.begin_us) / 1e6:g} s long"
        )
    return start_us, place.begin_us + round(row.end * 1e6)


def _unknown(row: TruthRow, cameras: Collection[str], paths: Sequence[tuple[str, ...]]) -> str:
    """Why a row is about nothing, where there are these cameras and files."""
    if inside := _below(_parts(row.name), paths):
        return f"{row.name!r} is a folder of this footage; expected a camera or a file, such as {inside!r}"
    near = difflib.get_close_matches(row.name, cameras, n=1)
    return f"{row.name!r} is neither a camera nor a file of this footage" + (
        f"; did you mean {near[0]!r}?" if near else ""
    )


def _find(row: TruthRow, cameras: Mapping[str, Timeline]) -> _Place | None:
    if row.name in cameras:
        timeline = cameras[row.name]
        return _Place(timeline.camera, timeline.begin_us, timeline.end_us)
    wanted = _parts(row.name)
    found = [
        (timeline, piece)
        for timeline in cameras.values()
        for piece in timeline.pieces
        if _ends_with(PurePath(piece.name).parts, wanted)
    ]
    if len(found) > 1:
        raise ValueError(f"{row.name!r} is {found[0][1].name} or {found[1][1].name}: name more of it")
    if not found:
        return None
    timeline, piece = found[0]
    return _Place(timeline.camera, piece.first_us, piece.end_us)


def _parts(name: str) -> tuple[str, ...]:
    """The parts of a path, which Windows may have written."""
    path = PureWindowsPath(name) if "\\" in name else PurePath(name)
    return path.parts[1:] if path.drive else path.parts


def _below(folder: tuple[str, ...], paths: Sequence[tuple[str, ...]]) -> str | None:
    """The first of `paths` that lies in `folder`, from there on."""
    for path in paths:
        for begin in range(len(path) - len(folder)):
            if folder and path[begin : begin + len(folder)] == folder:
                return PurePath(*path[begin:]).as_posix()
    return None


def _ends_with(path: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    if not wanted or len(wanted) > len(path):
        return False
    *above, name = path[len(path) - len(wanted) :]
    if tuple(above) != wanted[:-1]:
        return False
    return name == wanted[-1] or PurePath(name).stem in {wanted[-1], f"v_{wanted[-1]}"}


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
