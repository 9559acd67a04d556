"""Footage that nobody labelled, and whether it is among what figures are measured on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from consumers.learning.footage.datasets import find_examples
from consumers.learning.footage.examples import DataOptions, Example, Say
from consumers.learning.footage.leakage import file_digests
from consumers.terminal.wording import count
from models import TrainingError
from stream import VIDEO_SUFFIXES, SourceError, find_files

#: The label of footage without one, which nobody reads.
_UNLABELLED: Final = "unlabelled"
_LISTS: Final = frozenset({".csv", ".json", ".txt", ".tsv"})


def find_footage(paths: Sequence[Path], options: DataOptions, say: Say) -> list[Example]:
    """The videos that paths stand for: files, folders of any depth, and lists of labelled footage without its labels.

    Raises:
        TrainingError: a path stands for none.
    """
    found: list[Example] = []
    for path in paths:
        if path.suffix.lower() in _LISTS - VIDEO_SUFFIXES and path.is_file():
            found += find_examples(path, {}, options, say)
            continue
        left_out: list[str] = []
        try:
            files = find_files(path, left_out)
        except SourceError as error:
            raise TrainingError(str(error)) from None
        for line in left_out:
            say(f"{path}: {line}")
        found += [Example(file, _UNLABELLED, str(file), where=str(file)) for file in files]
    return list({(e.path.resolve(), e.start_seconds, e.end_seconds): e for e in found}.values())


def without_labelled(
    footage: Sequence[Example], labelled: Sequence[Example], say: Say
) -> tuple[list[Example], Mapping[Path, str]]:
    """The footage without files that are labelled, too, and the digests of all files.

    What of them is held out must not be learnt from under another name.

    Raises:
        TrainingError: some files cannot be read; they are named.
    """
    digests = file_digests([*labelled, *footage])
    known = {digests[e.path] for e in labelled}
    kept = [e for e in footage if digests[e.path] not in known]
    if left := len(footage) - len(kept):
        say(f"{count(left, 'piece')} of the footage labelled, too: learnt from as such, where it is not held out")
    return kept, digests
