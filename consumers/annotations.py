"""Read ActivityNet's JSON, which describes footage to train on as well as what happens in footage to replay."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models import normal_label

from .tables import TableError, read_text


@dataclass(frozen=True, slots=True)
class Annotation:
    """One annotation as the file has it."""

    #: File, video and, if the video has several, number of the annotation, for errors.
    where: str
    #: Id of the video.
    video: str
    raw: Any

    @property
    def label(self) -> str:
        """The label as Clipline writes it.

        Raises:
            ValueError: there is none, or it is no text.
        """
        label = self.raw.get("label") if isinstance(self.raw, dict) else None
        if not isinstance(label, str):
            raise ValueError(f"label {label!r}: expected text")  # noqa: TRY004  of a file, not of an argument
        return normal_label(label)

    @property
    def segment(self) -> tuple[float, float]:
        """Start and end, s.

        Raises:
            ValueError: they are not two numbers.
        """
        segment = self.raw.get("segment") if isinstance(self.raw, dict) else None
        try:
            start, end = segment  # type: ignore[misc]  # whatever it is
            return float(start), float(end)
        except (TypeError, ValueError):
            raise ValueError(f"segment {segment!r}: expected [start, end], in seconds") from None


def activitynet_annotations(path: Path, say: Callable[[str], None]) -> Iterator[Annotation]:
    """Yield each annotation; `say` is told if the encoding had to be guessed.

    Raises:
        TableError: the file cannot be read or has another form.
    """
    form = "expected ActivityNet's form, database → video → annotations → segment and label"
    try:
        content = json.loads(read_text(path, say))
    except (ValueError, RecursionError) as error:
        if isinstance(error, TableError):
            raise
        raise TableError(f"{path}: {form} ({error})") from None
    videos = content.get("database") if isinstance(content, dict) else None
    if not isinstance(videos, dict):
        raise TableError(f"{path}: {form}, found no database")
    for name, entry in videos.items():
        annotations = entry.get("annotations") if isinstance(entry, dict) else None
        if not isinstance(annotations, list):
            raise TableError(f"{path}, video {name!r}: {form}, found no annotations")
        for number, annotation in enumerate(annotations, start=1):
            which = f", annotation {number}" if len(annotations) > 1 else ""
            yield Annotation(f"{path}, video {name!r}{which}", name, annotation)
