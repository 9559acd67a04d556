"""Fixed splits: rows that are to be learnt from, rows that judge a model, and rows that judge the one that is kept.

train   learnt from; without `val` the folds of a cross-validation are made of these
val     held out: figures, temperature and thresholds are of these
test    never learnt from, never fitted to: the model that was written is judged on these once, at the end
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from consumers.tables import bounded
from consumers.terminal.wording import count
from models import TrainingError
from models.evaluation.folds import possible_folds

from .examples import Example, Say

TRAIN, VALIDATION, TEST = "train", "val", "test"
_NAMES: Final = {
    **dict.fromkeys(("", "train", "training"), TRAIN),
    **dict.fromkeys(("val", "valid", "validate", "validation", "dev"), VALIDATION),
    **dict.fromkeys(("test", "testing"), TEST),
}


def split_named(text: str) -> str:
    """A cell of the column `split`: "train", "val" or "test", or "" if it is empty.

    Raises:
        ValueError: it is none of the names that people use for these.
    """
    if text.casefold() not in _NAMES:
        raise ValueError(f"split {text!r}: expected train, val or test")
    return _NAMES[text.casefold()] if text else ""


@dataclass(frozen=True, slots=True)
class Splits:
    """Examples by what they are for."""

    #: Learnt from, and divided into folds if nothing is held out for validation.
    train: Sequence[Example]
    validation: Sequence[Example]
    test: Sequence[Example]

    @classmethod
    def of(cls, examples: Sequence[Example]) -> Splits:
        """Divide the examples; those of which nobody said anything are learnt from.

        Raises:
            TrainingError: there is nothing to learn from, or a label cannot be learnt.
        """
        found: dict[str, list[Example]] = {TRAIN: [], VALIDATION: [], TEST: []}
        for e in examples:
            found[e.split or TRAIN].append(e)
        splits = cls(found[TRAIN], found[VALIDATION], found[TEST])
        if not splits.train:
            raise TrainingError(f"all {len(examples)} rows are held out: expected some of the split 'train'")
        learnt = {label for e in splits.train for label in e.labels}
        for e in [*splits.validation, *splits.test]:
            for label in e.labels:
                if label not in learnt:
                    raise TrainingError(
                        f"{e.where or e.name}: label {label!r} of split {e.split!r}: expected a label that rows to "
                        f"learn from have ({', '.join(sorted(learnt))}); leave it out with --map '{label}='"
                    )
        return splits

    @staticmethod
    def told(examples: Sequence[Example]) -> str:
        """How many videos of how many groups."""
        return f"{count(len(examples), 'video')} of {count(len({e.group for e in examples}), 'group')}"

    @property
    def learnt(self) -> list[Example]:
        """What a trainer needs: all but what is for the test."""
        return [*self.train, *self.validation]


def folds_of(examples: Sequence[Example], wanted: int) -> int:
    """Into how many of the wanted folds these can be divided."""
    pairs = [(label, e.group) for e in examples for label in e.labels]
    return possible_folds([label for label, _ in pairs], [group for _, group in pairs], wanted)


def without_test(examples: Sequence[Example], say: Say) -> list[Example]:
    """The examples that may be learnt from; `say` is told how many of the split "test" are left out."""
    found = [e for e in examples if e.split != TEST]
    if left_out := len(examples) - len(found):
        say(f"{count(left_out, 'row')} of the split 'test' left out: nothing is learnt from these")
    return found


def check_leaks(examples: Sequence[Example], digests: Mapping[Path, str]) -> None:
    """Refuse splits that share a group, or footage: a model would be judged on scenes that it has learnt.

    Args:
        examples: all of them.
        digests: SHA-256 of their files.

    Raises:
        TrainingError: the groups and files in more than one split are named, with the rows.
    """
    if len({e.split or TRAIN for e in examples}) < 2:
        return
    by_group: dict[str, dict[str, Example]] = defaultdict(dict)
    by_content: dict[str, dict[str, Example]] = defaultdict(dict)
    for e in examples:
        by_group[e.group].setdefault(e.split or TRAIN, e)
        by_content[digests[e.path]].setdefault(e.split or TRAIN, e)
    leaks = [f"group {group!r}: {_told(of)}" for group, of in by_group.items() if len(of) > 1]
    # A file of one group is told with that group.
    leaks += [
        f"the same footage: {_told(of)}"
        for of in by_content.values()
        if len(of) > 1 and len({e.group for e in of.values()}) > 1
    ]
    if leaks:
        raise TrainingError(
            f"{len(leaks)} groups or files are in more than one split, so a model would be judged on scenes "
            f"that it has learnt; give all rows of each the same split:\n{bounded(leaks)}"
        )


def _told(of: Mapping[str, Example]) -> str:
    """The first row of each split."""
    return ", ".join(f"{split} ({e.where or e.name})" for split, e in of.items())
