"""Labelled footage in the forms that people have it: which file shows what, from when to when, in which group."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models import TrainingError
from stream.source import VIDEO_SUFFIXES

_REPORTED: Final = 20
_KINETICS: Final = {"label", "youtube_id", "time_start", "time_end"}


@dataclass(frozen=True, slots=True)
class Example:
    """A labelled video, or a part of one."""

    path: Path
    label: str
    #: What it shares with others of the same scene, person or recording: a split never divides a group.
    group: str
    start_seconds: float = 0.0
    end_seconds: float | None = None


def find_examples(data: Path, renamed: Mapping[str, str]) -> list[Example]:
    """Read what `data` describes.

    - A folder with one folder a class.
    - A CSV with the columns path, label and maybe start, end, group. Paths are relative to it or to the folder above.
    - A CSV of Kinetics (label, youtube_id, time_start, time_end); the trimmed files lie somewhere below it.
    - A JSON of ActivityNet; files are named by video id, somewhere below it.
    - A list of MMAction2, "path label-number" a line; names in `label_map.txt` beside it, if there is one.

    `renamed` maps labels; one that is mapped to nothing is left out.

    Raises:
        TrainingError: nothing usable; the message names the row.
    """
    if data.is_dir():
        found = list(_from_folders(data))
        if not found:
            raise TrainingError(f"{data}: expected one folder a class with video files in it")
    elif not data.is_file():
        raise TrainingError(f"{data}: no such folder or file")
    elif data.suffix.lower() == ".json":
        found = list(_from_activitynet(data))
    elif data.suffix.lower() == ".txt":
        found = list(_from_mmaction(data))
    else:
        found = list(_from_csv(data))
    examples = [Example(e.path, renamed.get(e.label, e.label), e.group, e.start_seconds, e.end_seconds) for e in found]
    return [e for e in examples if e.label]


def check_examples(examples: Sequence[Example]) -> list[str]:
    """Return warnings about examples that can be used.

    Raises:
        TrainingError: one piece of footage has two labels; all such are named.
    """
    labels: dict[tuple[str, float, float | None], set[str]] = defaultdict(set)
    names: dict[tuple[str, float, float | None], list[str]] = defaultdict(list)
    groups: dict[str, set[str]] = defaultdict(set)
    digests: dict[Path, str] = {}
    for e in examples:
        if e.path not in digests:
            with e.path.open("rb") as file:
                digests[e.path] = hashlib.file_digest(file, "sha256").hexdigest()
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
            f"{len(leaked)} videos are in more than one group, so a split may show a model what it is tested on; "
            f"first: {' and '.join(sorted(leaked[0]))}"
        )
    ]


def report(problems: Sequence[str], total: int) -> str:
    """One message about every file that cannot be used."""
    return (
        f"{len(problems)} of {total} files cannot be used:\n" + "\n".join(problems[:_REPORTED]) + _more(len(problems))
    )


def _more(count: int) -> str:
    return f"\n… and {count - _REPORTED} more" if count > _REPORTED else ""


def _from_folders(data: Path) -> Iterator[Example]:
    for folder in sorted(p for p in data.iterdir() if p.is_dir()):
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in VIDEO_SUFFIXES:
                yield Example(path, folder.name, str(path))


def _from_csv(data: Path) -> Iterator[Example]:
    with data.open(encoding="utf-8", newline="") as lines:
        rows = csv.DictReader(lines)
        fields = set(rows.fieldnames or ())
        if fields >= _KINETICS:
            by_name = _videos_below(data.parent)
        elif not fields >= {"path", "label"}:
            raise TrainingError(
                f"{data}: expected the columns path,label[,start,end][,group] "
                f"or Kinetics' label,youtube_id,time_start,time_end, found {rows.fieldnames}"
            )
        for number, row in enumerate(rows, start=2):
            where = f"{data}, line {number}"
            try:
                if fields >= _KINETICS:
                    name = f"{row['youtube_id']}_{int(row['time_start']):06d}_{int(row['time_end']):06d}"
                    path = by_name.get(name) or by_name.get(row["youtube_id"])
                    if path is None:
                        raise TrainingError(f"{where}: no file {name}.* below {data.parent}")
                    yield Example(path, row["label"], f"{data.parent.name}/{row['youtube_id']}")
                else:
                    yield Example(
                        _existing(data, row["path"], where),
                        row["label"],
                        f"{data.parent.name}/{_group(row)}",
                        float(row.get("start") or 0),
                        float(row["end"]) if row.get("end") else None,
                    )
            except (TypeError, ValueError) as error:
                raise TrainingError(f"{where}: {error}") from None


def _from_activitynet(data: Path) -> Iterator[Example]:
    by_name = _videos_below(data.parent)
    for name, label, start, end in activitynet_annotations(data):
        path = by_name.get(name) or by_name.get(f"v_{name}")
        if path is None:
            raise TrainingError(f"{data}, video {name!r}: no file {name}.* or v_{name}.* below {data.parent}")
        yield Example(path, label, f"{data.parent.name}/{name}", start, end)


def activitynet_annotations(data: Path) -> Iterator[tuple[str, str, float, float]]:
    """Video id, label, start and end in seconds of each annotation in a JSON of ActivityNet.

    Raises:
        TrainingError: it has another form; the message names the video, where there is one.
    """
    where = f"{data}"
    try:
        for name, entry in json.loads(data.read_text(encoding="utf-8"))["database"].items():
            where = f"{data}, video {name!r}"
            for annotation in entry["annotations"]:
                start, end = (float(t) for t in annotation["segment"])
                yield name, annotation["label"], start, end
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrainingError(
            f"{where}: expected ActivityNet's form, database → video → annotations → segment and label ({error!r})"
        ) from None


def _from_mmaction(data: Path) -> Iterator[Example]:
    names_file = data.with_name("label_map.txt")
    names = names_file.read_text(encoding="utf-8").splitlines() if names_file.is_file() else None
    for number, line in enumerate(data.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{data}, line {number}"
        path, _, label = line.strip().rpartition(" ")
        if not path or not label.isdigit():
            raise TrainingError(f"{where}: expected 'path label-number', found {line!r}")
        if names is not None and int(label) >= len(names):
            raise TrainingError(f"{where}: label {label}, and {names_file.name} has {len(names)} names")
        yield Example(_existing(data, path, where), names[int(label)] if names else label, f"{data.parent.name}/{path}")


def _existing(data: Path, path: str, where: str) -> Path:
    for base in (data.parent, data.parent.parent):
        if (found := base / path).is_file():
            return found
    raise TrainingError(f"{where}: no such file: {path}")


def _videos_below(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.rglob("*")) if path.suffix.lower() in VIDEO_SUFFIXES}


def _group(row: Mapping[str, str]) -> str:
    if "group" in row:
        return row["group"]
    if "sequence" in row:
        return f"{row.get('set', '')}-{row['sequence']}"
    return row["path"]
