"""Where in the footage each row of the truth lies: rows become events of cameras, in event time."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath, PureWindowsPath

from consumers.replaying.errors import TruthError
from consumers.replaying.trace import Timeline
from consumers.terminal.wording import count

from .truth import TruthRow, settle


@dataclass(frozen=True, slots=True)
class TrueEvent:
    """Something that happens on a camera, in event time."""

    camera: str
    label: str
    start_us: int
    end_us: int
    where: str


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
    settle(problems, len(truth_rows), skip_bad_rows=skip, say=notes.append)
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
