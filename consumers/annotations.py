"""Read ActivityNet's JSON, which describes footage to train on as well as what happens in footage to replay."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path


class AnnotationError(Exception):
    """A file of annotations that cannot be read; the message names the file, and the line or the video."""


def activitynet_annotations(path: Path) -> Iterator[tuple[str, str, float, float]]:
    """Yield video id, label, start and end (seconds) of each annotation.

    Raises:
        AnnotationError: the file cannot be read or has another form.
    """
    where = f"{path}"
    try:
        for name, entry in json.loads("".join(utf8_lines(path)))["database"].items():
            where = f"{path}, video {name!r}"
            for annotation in entry["annotations"]:
                start, end = (float(t) for t in annotation["segment"])
                label = annotation["label"]
                if not isinstance(label, str):
                    raise TypeError(f"label {label!r} is no text")  # noqa: TRY301  told like whatever else is wrong
                yield name, label, start, end
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise AnnotationError(
            f"{where}: expected ActivityNet's form, database → video → annotations → segment and label ({error!r})"
        ) from None


def utf8_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a text file with their ends; a byte order mark is left out.

    Raises:
        AnnotationError: the file cannot be read, or is not UTF-8; names the line.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
            for number, line in enumerate(lines, start=1):
                # Bytes that are not UTF-8 come as lone surrogates, so that their line is known.
                if odd := next((c for c in line if "\ud800" <= c <= "\udfff"), None):
                    raise AnnotationError(
                        f"{path}: expected text in UTF-8, found the byte 0x{ord(odd) & 0xFF:02x} in line {number}"
                    )
                yield line
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read ({error.strerror})") from None
