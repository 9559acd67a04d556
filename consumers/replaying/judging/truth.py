"""Read the ground truth: what happens in the footage, and when.

- CSV `camera_or_file,label,start,end`: seconds of the footage, or times in RFC 3339. The first column may also be
  called camera, file, path or video.
- CSV `path,label`: a whole file shows the label.
- JSON of ActivityNet: database → video → annotations; videos are files named by their id.

A file is named by its path or the end of it, with or without its suffix.
"""

from __future__ import annotations

import csv
import difflib
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final

from consumers.annotations import AnnotationError, activitynet_annotations
from consumers.replaying.errors import TruthError
from consumers.replaying.trace import Timeline
from consumers.terminal.wording import count
from consumers.times import parse_time_us

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


@dataclass(frozen=True, slots=True)
class TrueEvent:
    """Something that happens on a camera, in event time."""

    camera: str
    label: str
    start_us: int
    end_us: int
    where: str


def read_truth(path: Path, renamed: Mapping[str, str]) -> list[TruthRow]:
    """Read a file of truth; rename labels, and leave out those renamed to nothing.

    Raises:
        TruthError: there is no such file, it has another form, or a row cannot be understood; names the row.
    """
    if not path.is_file():
        raise TruthError(f"{path}: no such file of truth")
    truth_rows = list(_from_activitynet(path) if path.suffix.lower() == ".json" else _from_csv(path))
    named = [
        TruthRow(c.where, c.name, renamed.get(c.label, c.label), c.start, c.end, c.interval_us) for c in truth_rows
    ]
    return [row for row in named if row.label]


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
        if row.name in pieces or any(_ends_with(path, PurePath(row.name).parts) for path in paths):
            return
    if truth_rows:
        raise TruthError(f"{truth_rows[0].where}: {_unknown(truth_rows[0], pieces)}; no row is about this footage")


def place_truth(
    truth_rows: Sequence[TruthRow], timelines: Sequence[Timeline], labels: Collection[str]
) -> tuple[list[TrueEvent], list[str]]:
    """Find the footage of each row.

    Args:
        truth_rows: as `read_truth` gives them.
        timelines: the cameras.
        labels: those that raise events.

    Returns:
        The true events of these labels, and notes on rows that are left out.

    Raises:
        TruthError: a row begins after the end of its footage, or names several files.
    """
    cameras = {timeline.camera: timeline for timeline in timelines}
    events: list[TrueEvent] = []
    unknown: list[TruthRow] = []
    outside: list[TruthRow] = []
    silent: dict[str, list[TruthRow]] = defaultdict(list)
    for row in truth_rows:
        place = _find(row, cameras)
        if place is None:
            unknown.append(row)
        elif (interval_us := _interval_us(row, place)) is None:
            outside.append(row)
        elif row.label not in labels:
            silent[row.label].append(row)
        else:
            events.append(TrueEvent(place.camera, row.label, *interval_us, row.where))
    names = ", ".join(f'"{label}"' for label in sorted(labels))
    raised = f"this model raises events only for {names}" if labels else "this model raises no events"
    notes = [
        f"{count(len(rows), 'row')} of truth left out, first {rows[0].where}: {raised}, not for {label!r}"
        for label, rows in silent.items()
    ]
    if unknown:
        row = unknown[0]
        notes.append(f"{count(len(unknown), 'row')} of truth left out, first {row.where}: {_unknown(row, cameras)}")
    if outside:
        notes.append(
            f"{count(len(outside), 'row')} of truth left out, first {outside[0].where}: outside the footage's time"
        )
    return events, notes


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
        raise TruthError(
            f"{row.where}: begins at {row.start:g} s, and {row.name} is "
            f"{(place.end_us - place.begin_us) / 1e6:g} s long"
        )
    return start_us, place.begin_us + round(row.end * 1e6)


def _unknown(row: TruthRow, cameras: Collection[str]) -> str:
    near = difflib.get_close_matches(row.name, cameras, n=1)
    return f"{row.name!r} is neither a camera nor a file of this footage" + (
        f"; did you mean {near[0]!r}?" if near else ""
    )


def _find(row: TruthRow, cameras: Mapping[str, Timeline]) -> _Place | None:
    if row.name in cameras:
        timeline = cameras[row.name]
        return _Place(timeline.camera, timeline.begin_us, timeline.end_us)
    wanted = PurePath(row.name).parts
    found = [
        (timeline, piece)
        for timeline in cameras.values()
        for piece in timeline.pieces
        if _ends_with(PurePath(piece.name).parts, wanted)
    ]
    if len(found) > 1:
        raise TruthError(f"{row.where}: {row.name!r} is {found[0][1].name} or {found[1][1].name}: name more of it")
    if not found:
        return None
    timeline, piece = found[0]
    return _Place(timeline.camera, piece.first_us, piece.end_us)


def _ends_with(path: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    if not wanted or len(wanted) > len(path):
        return False
    *above, name = path[len(path) - len(wanted) :]
    if tuple(above) != wanted[:-1]:
        return False
    return name == wanted[-1] or PurePath(name).stem in {wanted[-1], f"v_{wanted[-1]}"}


def _from_activitynet(path: Path) -> Iterator[TruthRow]:
    try:
        for name, label, start, end in activitynet_annotations(path):
            where = f"{path}, video {name!r}"
            yield TruthRow(where, name, label, *_checked(start, end, where))
    except AnnotationError as error:
        raise TruthError(str(error)) from None


def _from_csv(path: Path) -> Iterator[TruthRow]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            rows = csv.DictReader(lines, strict=True)
            fields = rows.fieldnames or ()
            column = next((name for name in _NAMES if name in fields), None)
            if column is None or "label" not in fields or ("start" in fields) != ("end" in fields):
                raise TruthError(
                    f"{path}, line 1: expected the columns camera_or_file,label,start,end or path,label, "
                    f"found {', '.join(fields) or 'nothing'}"
                )
            for row in rows:
                yield _parse_row(row, column, f"{path}, line {rows.line_num}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TruthError(f"{path}: cannot be read as CSV ({error})") from None


def _parse_row(row: Mapping[str, str | None], column: str, where: str) -> TruthRow:
    name, label = (row.get(column) or "").strip(), (row.get("label") or "").strip()
    start, end = (row.get("start") or "").strip(), (row.get("end") or "").strip()
    if not name or not label or bool(start) != bool(end):
        raise TruthError(f"{where}: expected {column}, label, and both start and end or neither, found {dict(row)}")
    if not start:
        return TruthRow(where, name, label, None, None)
    try:
        seconds = float(start), float(end)
    except ValueError:
        first, last = (_time_us(text, where) for text in (start, end))
        if not first < last:
            raise TruthError(f"{where}: start {start} is not before end {end}") from None
        return TruthRow(where, name, label, None, None, (first, last))
    return TruthRow(where, name, label, *_checked(*seconds, where))


def _checked(start: float, end: float, where: str) -> tuple[float, float]:
    if not 0 <= start < end < float("inf"):
        raise TruthError(f"{where}: start {start:g}, end {end:g}: expected seconds with 0 <= start < end")
    return start, end


def _time_us(text: str, where: str) -> int:
    try:
        return parse_time_us(text)
    except ValueError:
        raise TruthError(f"{where}: {text!r} is neither seconds nor a time like 2026-11-24T08:00:00Z") from None
