"""What makes figures too good: footage that a model is judged on, and that it has learnt from.

Files are told apart by their content (SHA-256); alike.py compares what pictures look like.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from consumers.files import content_digest
from consumers.tables import bounded
from consumers.terminal.wording import count
from models import Frames, TrainingError

from .alike import Alike, find_alike, hashes_of, joined
from .examples import Example, unusable_files
from .frames import Progress

#: 48 bits distinguish millions of files; so many digests take 150 KB of a checkpoint.
_DIGEST_LETTERS: Final = 12
_KEPT_DIGESTS: Final = 10_000
#: Pairs that look alike and are named.
_NAMED_PAIRS: Final = 5
#: The part of a file's name that numbered clips of one recording share.
_BEFORE_NUMBER: Final = r"([^/]+?)[-_ .]*\d*\.\w+$"


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
            + bounded([f"{' = '.join(sorted(set(names[k])))}: {', '.join(sorted(labels[k]))}" for k in wrong])
        )
    warnings = []
    if leaked := [found for found in groups.values() if len(found) > 1]:
        warnings.append(
            f"{count(len(leaked), 'video')} in more than one group, so a model may be tested on what it has learnt; "
            f"first: {' and '.join(sorted(leaked[0]))}"
        )
    if (without := groupless_warning(examples)) is not None:
        warnings.append(without)
    return warnings


def groupless_warning(examples: Sequence[Example]) -> str | None:
    """How figures are to be read if nobody said which videos show the same scene, and how to say it."""
    alone = sorted({e.path for e in examples if not e.is_grouped})
    if not alone:
        return None
    suggestion = ""
    by_name = [re.search(_BEFORE_NUMBER, e.path.as_posix()) for e in examples if not e.is_grouped]
    names = [match[1] for match in by_name if match is not None]
    if len(names) == len(by_name) and len(set(names)) < len(alone):
        found = defaultdict(set)
        for e, name in zip((e for e in examples if not e.is_grouped), names, strict=True):
            found[e.label].add(name)
        if min(len(of_label) for of_label in found.values()) > 1:
            suggestion = f" (by name perhaps {len(set(names))} recordings: --group-by '{_BEFORE_NUMBER}')"
    return (
        f"NO GROUPS: nobody said which of {count(len(alone), 'video')} show one scene or were cut from one recording, "
        "so each is taken for a recording of its own. Where that is not so, a model is judged on scenes that it has "
        "learnt: accuracy is then too high and its interval too narrow. Name the recording of each file in a column "
        f"`group` of a CSV, or find it in its path with --group-by PATTERN{suggestion}"
    )


def check_pictures(
    examples: Sequence[Example], videos: Sequence[Frames], *, merge: bool, show: Progress = lambda *_: None
) -> tuple[list[Example], list[str]]:
    """Find videos (N, H, W, 3) of different groups that look alike.

    Returns:
        The examples, with the groups of such videos made one if `merge`, and what is to be said.
    """
    groups = [e.group for e in examples]
    hashes = []
    for done, frames in enumerate(videos, start=1):
        hashes.append(hashes_of(frames))
        show("comparing", done, len(videos))
    pairs = find_alike(hashes, groups)
    if not pairs:
        return list(examples), []
    named = "; ".join(f"{examples[p.first].path} and {examples[p.second].path}" for p in pairs[:_NAMED_PAIRS])
    more = f"; and {len(pairs) - _NAMED_PAIRS} more" if len(pairs) > _NAMED_PAIRS else ""
    told = f"{count(len(pairs), 'pair')} of videos of different groups look alike: {named}{more}"
    differing = [p for p in pairs if examples[p.first].label != examples[p.second].label]
    if differing:
        told += f" ({_of_two_labels(examples, differing)})"
    if not merge:
        advice = "give them one group, or make one of the groups of all of them with --merge-alike"
        return list(examples), [f"{told}. If they are of one scene or recording, accuracy is too high: {advice}"]
    one = joined(groups, pairs)
    before, after = len(set(groups)), len(set(one))
    merged = [replace(e, group=group, is_grouped=e.is_grouped) for e, group in zip(examples, one, strict=True)]
    return merged, [f"{told}; {before} groups became {after}"]


def _of_two_labels(examples: Sequence[Example], pairs: Sequence[Alike]) -> str:
    """What is said of videos that look alike and have different labels: one of these may be wrong."""
    first, second = examples[pairs[0].first], examples[pairs[0].second]
    return (
        f"{len(pairs)} of these with two labels, of which one may be wrong; first: {first.path} is {first.label}, "
        f"{second.path} {second.label}"
    )


def file_digests(examples: Sequence[Example], show: Progress = lambda *_: None) -> dict[Path, str]:
    """SHA-256 of each file.

    Raises:
        TrainingError: some files cannot be read; all of them are named.
    """
    digests: dict[Path, str] = {}
    problems = []
    paths = dict.fromkeys(e.path for e in examples)
    for done, path in enumerate(paths, start=1):
        try:
            digests[path] = content_digest(path)
        except OSError as error:
            problems.append(f"{path}: {error.strerror}")
        show("digests", done, len(paths))
    if problems:
        raise TrainingError(unusable_files(problems, len(paths)))
    return digests


def footage_sample(digests: Mapping[Path, str]) -> list[str]:
    """The digests of footage that a checkpoint keeps, shortened; of a large data set only the smallest ones.

    The smallest digests are a fair sample, since a digest has nothing to do with what the footage shows.
    """
    return sampled(d[:_DIGEST_LETTERS] for d in digests.values())


def sampled(shortened: Iterable[str]) -> list[str]:
    """A checkpoint's `footage_sample` of shortened digests, which may be of several samples."""
    return sorted(set(shortened))[:_KEPT_DIGESTS]


def seen_footage(sample: Sequence[str], digests: Mapping[Path, str]) -> tuple[int, bool]:
    """How many of the files are in a checkpoint's `footage_sample`, and whether the sample holds all of its footage."""
    known = set(sample)
    return sum(d[:_DIGEST_LETTERS] in known for d in digests.values()), len(sample) < _KEPT_DIGESTS
