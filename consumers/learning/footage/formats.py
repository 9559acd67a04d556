"""The forms in which people have labelled footage: folders, CSV, Kinetics, ActivityNet, MMAction2."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Final

from consumers.annotations import Annotation, activitynet_annotations
from consumers.tables import Line, read_table, read_text, seconds_of
from consumers.terminal.wording import count
from models import TrainingError, normal_label
from stream import VIDEO_SUFFIXES, what_is_there

from .examples import Example, Rows, Say
from .splits import split_named

_KINETICS: Final = ("label", "youtube_id", "time_start", "time_end")
_COLUMNS: Final = frozenset({"path", "group", "set", "sequence", "start", "end", "split", *_KINETICS})
#: What macOS leaves beside each file on foreign disks: its attributes, under the file's own suffix.
_APPLE_DOUBLE: Final = "._"


def read_rows(data: Path, rows: Rows) -> None:
    """Read a folder or a list of labelled footage, in the form that it has, into `rows`.

    Raises:
        TrainingError: there is no such file, or it has no such form.
        TableError: it cannot be read.
    """
    if not data.exists():
        raise TrainingError(f"{data}: no such folder or file")
    if data.is_dir():
        _from_folders(data, rows)
        return
    suffix = data.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        raise TrainingError(
            f"{data}: a video; expected a folder with one folder a class, or a list of labelled footage"
        )
    {".json": _from_activitynet, ".txt": _from_mmaction}.get(suffix, _from_csv)(data, rows)


def _from_folders(data: Path, rows: Rows) -> None:
    before = len(rows.examples)
    for folder in sorted(p for p in data.iterdir() if p.is_dir() and not p.name.startswith(".")):
        for path in _videos(folder, rows.say):
            label = normal_label(folder.name)
            rows.take(str(path), lambda path=path, label=label: Example(path, label, str(path)))  # type: ignore[misc]
    if len(rows.examples) == before:
        raise TrainingError(f"{data}: expected one folder a class with video files in it")
    beside = [p for p in sorted(data.iterdir()) if p.suffix.lower() in VIDEO_SUFFIXES and p.is_file()]
    if beside:
        rows.say(f"{data}: {len(beside)} videos are in no folder of a class and are left out; first: {beside[0].name}")


def _videos(folder: Path, say: Say) -> list[Path]:
    """The videos below a folder; what macOS left beside them is not among them."""
    # Anything but a folder: a broken link is reported when it cannot be read.
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES and not p.is_dir())
    videos = [p for p in found if not p.name.startswith(_APPLE_DOUBLE)]
    if apple := len(found) - len(videos):
        say(f"{folder}: {count(apple, 'file')} left out that macOS keeps attributes in (._*): no video")
    return videos


def _from_csv(data: Path, rows: Rows) -> None:
    columns, lines = read_table(data, _COLUMNS, rows.say)
    is_kinetics = set(columns) >= set(_KINETICS)
    if not is_kinetics and not set(columns) >= {"path", "label"}:
        raise TrainingError(
            f"{data}: expected the columns path,label[,start,end][,group][,split] "
            f"or Kinetics' {','.join(_KINETICS)}, found {', '.join(columns) or 'nothing'}"
        )
    by_name = _by_name(data.parent, rows.say) if is_kinetics else {}
    for line in lines:

        def make(line: Line = line) -> Example:
            line.check()
            return _kinetics_row(data, line, by_name, rows) if is_kinetics else _row(data, line, rows)

        rows.take(f"{data}, line {line.number}", make)


def _row(data: Path, line: Line, rows: Rows) -> Example:
    if not line.get("path"):
        raise ValueError("no path: expected the name of a file")
    label = _label(line.get("label"))
    start, end = line.get("start"), line.get("end")
    start_seconds = seconds_of(start, "start") if start else 0.0
    end_seconds = seconds_of(end, "end") if end else None
    if end_seconds is not None and end_seconds <= start_seconds:
        raise ValueError(f"end {end}: expected more than the start, {start or 0}")
    path = _existing(data, line.get("path"), rows)
    name = line.get("group") or (f"{line.get('set')}-{line.get('sequence')}" if line.get("sequence") else "")
    group = rows.group(data.parent.name, name) if name else f"{data.parent.name}/{line.get('path')}"
    return Example(
        path, label, group, start_seconds, end_seconds, is_grouped=bool(name), split=split_named(line.get("split"))
    )


def _kinetics_row(data: Path, line: Line, by_name: Mapping[str, Path], rows: Rows) -> Example:
    video = line.get("youtube_id")
    if not video:
        raise ValueError("no youtube_id")
    start, end = (seconds_of(line.get(column), column) for column in ("time_start", "time_end"))
    if end <= start:
        raise ValueError(f"time_end {line.get('time_end')}: expected more than time_start, {line.get('time_start')}")
    label = _label(line.get("label"))
    name = f"{video}_{int(start):06d}_{int(end):06d}"
    path = by_name.get(name) or by_name.get(video)
    if path is None:
        raise FileNotFoundError(f"no file {name}.* or {video}.* below {data.parent}")
    split = split_named(line.get("split"))
    return Example(path, label, rows.group(data.parent.name, video), is_grouped=True, split=split)


def _from_activitynet(data: Path, rows: Rows) -> None:
    by_name = _by_name(data.parent, rows.say)
    for annotation in activitynet_annotations(data, rows.say):

        def make(annotation: Annotation = annotation) -> Example:
            name, label, (start, end) = annotation.video, _label(annotation.label), annotation.segment
            if not 0 <= start < end:
                raise ValueError(f"segment [{start:g}, {end:g}]: expected 0 <= start < end, in seconds")
            path = by_name.get(name) or by_name.get(f"v_{name}")
            if path is None:
                raise FileNotFoundError(f"no file {name}.* or v_{name}.* below {data.parent}")
            return Example(path, label, rows.group(data.parent.name, name), start, end, is_grouped=True)

        rows.take(annotation.where, make)


def _from_mmaction(data: Path, rows: Rows) -> None:
    names_file = data.with_name("label_map.txt")
    names = [normal_label(n) for n in read_text(names_file, rows.say).splitlines()] if names_file.is_file() else None
    for number, line in enumerate(read_text(data, rows.say).splitlines(), start=1):

        def make(line: str = line) -> Example:
            path, _, label = line.strip().rpartition(" ")
            if not path or not label.isdecimal():
                raise ValueError(f"{line.strip()!r}: expected 'path label-number'")
            if names is not None and int(label) >= len(names):
                raise ValueError(f"label {label}: expected less than {len(names)}, the names in {names_file.name}")
            name = _label(names[int(label)] if names else label)
            return Example(_existing(data, path.strip(), rows), name, f"{data.parent.name}/{path.strip()}")

        if line.strip():
            rows.take(f"{data}, line {number}", make)


def _label(text: str) -> str:
    """The label as Clipline writes it; what is wrong with a row itself is told before a missing file.

    Raises:
        ValueError: there is none.
    """
    if not (label := normal_label(text)):
        raise ValueError("no label: expected a name")
    return label


def _existing(data: Path, text: str, rows: Rows) -> Path:
    """The file that a list names; of another system's path the longest end that is there.

    Raises:
        FileNotFoundError: there is none.
        ValueError: something else is there.
    """
    windows = PureWindowsPath(text)
    # A name may hold backslashes where Windows is unknown: as it is comes first.
    spellings = (PurePosixPath(text), PurePosixPath(*windows.parts) if not windows.drive else PurePosixPath())
    bases = (data.parent, data.parent.parent)
    places = [base / spelling for spelling in spellings if spelling.name for base in bases]
    if found := next((place for place in places if place.is_file()), None):
        return found
    if why := next(filter(None, (what_is_there(place, "a video file") for place in places)), None):
        raise ValueError(f"{text}: {why}")
    if not (windows.drive or windows.root or PurePosixPath(text).is_absolute()):
        raise FileNotFoundError(f"no such file: {text}")
    parts = (windows if windows.drive or "\\" in text else PurePosixPath(text)).parts[1:]
    for begin in range(len(parts)):
        for base in bases:
            if (found := base.joinpath(*parts[begin:])).is_file():
                rows.moved.append(f"{text}: {found}")
                return found
    raise FileNotFoundError(f"no such file: {text}")


def _by_name(folder: Path, say: Say) -> dict[str, Path]:
    return {path.stem: path for path in _videos(folder, say)}
