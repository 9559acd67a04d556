"""Read lists of labelled footage in common formats: which file shows what, from when to when, in which group."""

from __future__ import annotations

import csv
import hashlib
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from consumers.annotations import AnnotationError, activitynet_annotations, utf8_lines
from models import TrainingError
from stream import VIDEO_SUFFIXES

_REPORTED: Final = 20
#: 48 bits distinguish millions of files; so many digests take 150 KB of a checkpoint.
_DIGEST_LETTERS: Final = 12
_KEPT_DIGESTS: Final = 10_000
_KINETICS: Final = {"label", "youtube_id", "time_start", "time_end"}


@dataclass(frozen=True, slots=True)
class Example:
    """A labelled video, or a part of one."""

    path: Path
    label: str
    #: Shared by all examples of one scene, person or recording: a split never divides a group.
    group: str
    start_seconds: float = 0.0
    end_seconds: float | None = None

    def __post_init__(self) -> None:
        if not self.label or self.label.isspace():
            raise ValueError("no label: expected a name")
        end = math.inf if self.end_seconds is None else self.end_seconds
        if not 0 <= self.start_seconds < end or self.end_seconds == math.inf:
            raise ValueError(
                f"start {self.start_seconds}, end {self.end_seconds}: expected 0 <= start < end, in seconds"
            )


def find_examples(data: Path, renamed: Mapping[str, str]) -> list[Example]:
    """Read a list of labelled footage, in one of these forms:

    - A folder with one folder a class.
    - A CSV with the columns path, label and optionally start, end, group. Paths are relative to it or to the folder
      above. An empty start or end means that of the file; without a group, each file is a group of its own.
    - A CSV of Kinetics (label, youtube_id, time_start, time_end); the trimmed files lie somewhere below it.
    - A JSON of ActivityNet; files are named by video id, somewhere below it.
    - A list of MMAction2, "path label-number" a line; names in `label_map.txt` beside it, if there is one.

    Text is UTF-8. `renamed` maps labels to new names; a label mapped to nothing is left out.

    Raises:
        TrainingError: nothing can be used; the message names the line.
    """
    try:
        found = list(_read(data))
    except AnnotationError as error:
        raise TrainingError(str(error)) from None
    return [replace(e, label=label) for e in found if (label := renamed.get(e.label, e.label))]


def _read(data: Path) -> Iterator[Example]:
    if not data.exists():
        raise TrainingError(f"{data}: no such folder or file")
    if data.is_dir():
        return _from_folders(data)
    by_suffix = {".json": _from_activitynet, ".txt": _from_mmaction}
    return by_suffix.get(data.suffix.lower(), _from_csv)(data)


def check_examples(examples: Sequence[Example], digests: Mapping[Path, str]) -> list[str]:
    """Check labels and groups by content and return warnings; `digests` are those of the files.

    Raises:
        TrainingError: the same footage has two labels; all such footage is named.
    """
    labels: dict[tuple[str, float, float | None], set[str]] = defaultdict(set)
    names: dict[tuple[str, float, float | None], list[str]] = defaultdict(list)
    groups: dict[str, set[str]] = defaultdict(set)
    for e in examples:
        key = (digests[e.path], e.start_seconds, e.end_seconds)
        labels[key].add(e.label)
        names[key].append(str(e.path))
        groups[digests[e.path]].add(e.group)
    if wrong := [key for key, found in labels.items() if len(found) > 1]:
        raise TrainingError(
            f"{len(wrong)} pieces of footage have more than one label:\n"
            + "\n".join(
                f"{' = '.join(sorted(set(names[k])))}: {', '.join(sorted(labels[k]))}" for k in wrong[:_REPORTED]
            )
            + _more(len(wrong))
        )
    leaked = [found for found in groups.values() if len(found) > 1]
    if not leaked:
        return []
    return [
        (
            f"{len(leaked)} videos are in more than one group, so a model may be tested on what it has learnt; "
            f"first: {' and '.join(sorted(leaked[0]))}"
        )
    ]


def file_digests(examples: Sequence[Example]) -> dict[Path, str]:
    """SHA-256 of each file.

    Raises:
        TrainingError: some files cannot be read; all of them are named.
    """
    digests: dict[Path, str] = {}
    problems = []
    paths = dict.fromkeys(e.path for e in examples)
    for path in paths:
        try:
            with path.open("rb") as file:
                digests[path] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            problems.append(f"{path}: {error.strerror}")
    if problems:
        raise TrainingError(unusable_files(problems, len(paths)))
    return digests


def footage_sample(digests: Mapping[Path, str]) -> list[str]:
    """The digests of footage that a checkpoint keeps, shortened; of a large data set only the smallest ones.

    The smallest digests are a fair sample, since a digest has nothing to do with what the footage shows.
    """
    return sorted({d[:_DIGEST_LETTERS] for d in digests.values()})[:_KEPT_DIGESTS]


def seen_footage(sample: Sequence[str], digests: Mapping[Path, str]) -> tuple[int, bool]:
    """How many of the files are in a checkpoint's `footage_sample`, and whether the sample holds all of its footage."""
    known = set(sample)
    return sum(d[:_DIGEST_LETTERS] in known for d in digests.values()), len(sample) < _KEPT_DIGESTS


def unusable_files(problems: Sequence[str], total: int) -> str:
    """One message about every file that cannot be used."""
    return (
        f"{len(problems)} of {total} files cannot be used:\n" + "\n".join(problems[:_REPORTED]) + _more(len(problems))
    )


def _more(count: int) -> str:
    return f"\n… and {count - _REPORTED} more" if count > _REPORTED else ""


def _from_folders(data: Path) -> Iterator[Example]:
    is_empty = True
    for folder in sorted(p for p in data.iterdir() if p.is_dir()):
        for path in sorted(folder.rglob("*")):
            # Anything but a folder: a broken link is reported when it cannot be read.
            if path.suffix.lower() in VIDEO_SUFFIXES and not path.is_dir():
                is_empty = False
                yield Example(path, folder.name, str(path))
    if is_empty:
        raise TrainingError(f"{data}: expected one folder a class with video files in it")


def _from_csv(data: Path) -> Iterator[Example]:
    rows = csv.DictReader(utf8_lines(data))
    try:
        fields = set(rows.fieldnames or ())
        if fields >= _KINETICS:
            by_name = _videos_below(data.parent)
        elif not fields >= {"path", "label"}:
            raise TrainingError(
                f"{data}: expected the columns path,label[,start,end][,group] "
                f"or Kinetics' label,youtube_id,time_start,time_end, found {rows.fieldnames}"
            )
        for row in rows:
            yield _kinetics_row(data, row, by_name) if fields >= _KINETICS else _row(data, row)
    except (TypeError, ValueError, OSError, csv.Error) as error:
        raise TrainingError(f"{data}, line {rows.reader.line_num}: {error}") from None


def _row(data: Path, row: Mapping[str, str]) -> Example:
    if not row["path"]:
        raise ValueError("no path")
    return Example(
        _existing(data, row["path"]),
        row["label"] or "",
        f"{data.parent.name}/{_group(row)}",
        float(row.get("start") or 0),
        float(row["end"]) if row.get("end") else None,
    )


def _kinetics_row(data: Path, row: Mapping[str, str], by_name: Mapping[str, Path]) -> Example:
    name = f"{row['youtube_id']}_{int(row['time_start']):06d}_{int(row['time_end']):06d}"
    path = by_name.get(name) or by_name.get(row["youtube_id"])
    if path is None:
        raise ValueError(f"no file {name}.* below {data.parent}")
    return Example(path, row["label"] or "", f"{data.parent.name}/{row['youtube_id']}")


def _from_activitynet(data: Path) -> Iterator[Example]:
    by_name = _videos_below(data.parent)
    for name, label, start, end in activitynet_annotations(data):
        path = by_name.get(name) or by_name.get(f"v_{name}")
        if path is None:
            raise TrainingError(f"{data}, video {name!r}: no file {name}.* or v_{name}.* below {data.parent}")
        try:
            yield Example(path, label, f"{data.parent.name}/{name}", start, end)
        except ValueError as error:
            raise TrainingError(f"{data}, video {name!r}: {error}") from None


def _from_mmaction(data: Path) -> Iterator[Example]:
    names_file = data.with_name("label_map.txt")
    names = [line.strip() for line in utf8_lines(names_file)] if names_file.is_file() else None
    for number, line in enumerate(utf8_lines(data), start=1):
        if not line.strip():
            continue
        where = f"{data}, line {number}"
        path, _, label = line.strip().rpartition(" ")
        if not path or not label.isdecimal():
            raise TrainingError(f"{where}: expected 'path label-number', found {line.rstrip()!r}")
        if names is not None and int(label) >= len(names):
            raise TrainingError(f"{where}: label {label}, and {names_file.name} has {len(names)} names")
        try:
            name = names[int(label)] if names else label
            yield Example(_existing(data, path), name, f"{data.parent.name}/{path}")
        except (ValueError, OSError) as error:
            raise TrainingError(f"{where}: {error}") from None


def _existing(data: Path, path: str) -> Path:
    for base in (data.parent, data.parent.parent):
        if (found := base / path).is_file():
            return found
    raise ValueError(f"no such file: {path}")


def _videos_below(folder: Path) -> dict[str, Path]:
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES and not p.is_dir())
    return {path.stem: path for path in found}


def _group(row: Mapping[str, str]) -> str:
    if row.get("group"):
        return row["group"]
    if row.get("sequence"):
        return f"{row.get('set', '')}-{row['sequence']}"
    return row["path"]
