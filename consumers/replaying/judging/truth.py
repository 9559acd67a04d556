"""What really happens in the footage, in the forms that people write it down in.

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
from consumers.replaying.trace import Course
from consumers.times import parse_time_us

_NAMES: Final = ("camera_or_file", "camera", "file", "path", "video")


@dataclass(frozen=True, slots=True)
class Claim:
    """A row of truth as it was written."""

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
    """What happens on a camera, in event time."""

    camera: str
    label: str
    start_us: int
    end_us: int
    where: str


def read_truth(path: Path, renamed: Mapping[str, str]) -> list[Claim]:
    """Read a file of truth; labels are renamed, and those renamed to nothing left out.

    Raises:
        TruthError: there is no such file, it has another form, or a row cannot be understood; names the row.
    """
    if not path.is_file():
        raise TruthError(f"{path}: no such file of truth")
    claims = list(_from_activitynet(path) if path.suffix.lower() == ".json" else _from_csv(path))
    named = [Claim(c.where, c.name, renamed.get(c.label, c.label), c.start, c.end, c.interval_us) for c in claims]
    return [claim for claim in named if claim.label]


def check_truth(claims: Sequence[Claim], pieces: Mapping[str, Sequence[str]]) -> None:
    """See that some claim is about this footage, before any of it is decoded.

    Args:
        claims: what is said.
        pieces: the files of each camera.

    Raises:
        TruthError: none is.
    """
    paths = [PurePath(name).parts for names in pieces.values() for name in names]
    for claim in claims:
        if claim.name in pieces or any(_ends_with(path, PurePath(claim.name).parts) for path in paths):
            return
    if claims:
        raise TruthError(f"{claims[0].where}: {_unknown(claims[0], pieces)}; no row is about this footage")


def place_truth(
    claims: Sequence[Claim], courses: Sequence[Course], labels: Collection[str]
) -> tuple[list[TrueEvent], list[str]]:
    """Find the footage that each claim speaks of.

    Returns:
        What happens, of those `labels` that make events; and notes on claims that were left out.

    Raises:
        TruthError: a claim speaks of a time at which its footage is over, or of a name that is several files.
    """
    cameras = {course.camera: course for course in courses}
    events: list[TrueEvent] = []
    unknown: list[Claim] = []
    outside: list[Claim] = []
    silent: dict[str, list[Claim]] = defaultdict(list)
    for claim in claims:
        place = _find(claim, cameras)
        if place is None:
            unknown.append(claim)
        elif (interval_us := _interval_us(claim, place)) is None:
            outside.append(claim)
        elif claim.label not in labels:
            silent[claim.label].append(claim)
        else:
            events.append(TrueEvent(place.camera, claim.label, *interval_us, claim.where))
    made = ", ".join(sorted(labels)) or "none"
    notes = [
        f"truth of {label!r} left out ({len(rows)} rows, first {rows[0].where}): events are made of {made}, not of it"
        for label, rows in silent.items()
    ]
    left_out = "rows of truth left out, first"
    if unknown:
        notes.append(f"{len(unknown)} {left_out} {unknown[0].where}: {_unknown(unknown[0], cameras)}")
    if outside:
        notes.append(f"{len(outside)} {left_out} {outside[0].where}: not in the footage's time")
    return events, notes


@dataclass(frozen=True, slots=True)
class _Place:
    """The footage that a claim is about."""

    camera: str
    begin_us: int
    end_us: int


def _interval_us(claim: Claim, place: _Place) -> tuple[int, int] | None:
    """When it happens; None where that is not in the footage."""
    if claim.interval_us is not None:
        start_us, end_us = claim.interval_us
        return None if end_us <= place.begin_us or start_us >= place.end_us else claim.interval_us
    if claim.start is None or claim.end is None:
        return place.begin_us, place.end_us
    start_us = place.begin_us + round(claim.start * 1e6)
    if start_us >= place.end_us:
        raise TruthError(
            f"{claim.where}: begins at {claim.start:g} s, and {claim.name} is "
            f"{(place.end_us - place.begin_us) / 1e6:g} s long"
        )
    return start_us, place.begin_us + round(claim.end * 1e6)


def _unknown(claim: Claim, cameras: Collection[str]) -> str:
    near = difflib.get_close_matches(claim.name, cameras, n=1)
    return f"{claim.name!r} is no camera or file here" + (f"; did you mean {near[0]!r}?" if near else "")


def _find(claim: Claim, cameras: Mapping[str, Course]) -> _Place | None:
    if claim.name in cameras:
        course = cameras[claim.name]
        return _Place(course.camera, course.begin_us, course.end_us)
    wanted = PurePath(claim.name).parts
    found = [
        (course, piece)
        for course in cameras.values()
        for piece in course.pieces
        if _ends_with(PurePath(piece.name).parts, wanted)
    ]
    if len(found) > 1:
        raise TruthError(f"{claim.where}: {claim.name!r} is {found[0][1].name} or {found[1][1].name}: name more of it")
    if not found:
        return None
    course, piece = found[0]
    return _Place(course.camera, piece.first_us, piece.end_us)


def _ends_with(path: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    if not wanted or len(wanted) > len(path):
        return False
    *above, name = path[len(path) - len(wanted) :]
    if tuple(above) != wanted[:-1]:
        return False
    return name == wanted[-1] or PurePath(name).stem in {wanted[-1], f"v_{wanted[-1]}"}


def _from_activitynet(path: Path) -> Iterator[Claim]:
    try:
        for name, label, start, end in activitynet_annotations(path):
            where = f"{path}, video {name!r}"
            yield Claim(where, name, label, *_checked(start, end, where))
    except AnnotationError as error:
        raise TruthError(str(error)) from None


def _from_csv(path: Path) -> Iterator[Claim]:
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
                yield _claim(row, column, f"{path}, line {rows.line_num}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TruthError(f"{path}: cannot be read as CSV ({error})") from None


def _claim(row: Mapping[str, str | None], column: str, where: str) -> Claim:
    name, label = (row.get(column) or "").strip(), (row.get("label") or "").strip()
    start, end = (row.get("start") or "").strip(), (row.get("end") or "").strip()
    if not name or not label or bool(start) != bool(end):
        raise TruthError(f"{where}: expected {column}, label, and both start and end or neither, found {dict(row)}")
    if not start:
        return Claim(where, name, label, None, None)
    try:
        seconds = float(start), float(end)
    except ValueError:
        first, last = (_time_us(text, where) for text in (start, end))
        if not first < last:
            raise TruthError(f"{where}: start {start} is not before end {end}") from None
        return Claim(where, name, label, None, None, (first, last))
    return Claim(where, name, label, *_checked(*seconds, where))


def _checked(start: float, end: float, where: str) -> tuple[float, float]:
    if not 0 <= start < end < float("inf"):
        raise TruthError(f"{where}: start {start:g}, end {end:g}: expected seconds with 0 <= start < end")
    return start, end


def _time_us(text: str, where: str) -> int:
    try:
        return parse_time_us(text)
    except ValueError:
        raise TruthError(f"{where}: {text!r} is neither seconds nor a time like 2026-11-24T08:00:00Z") from None
