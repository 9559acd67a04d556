"""Labelled footage, row by row: what can be used, and what is said of the rest."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from consumers.tables import bounded
from models import TrainingError, labels_in
from stream import Feed, SourceError

#: A container's length is not exact: a row may end so much later without a word.
_TOLERANCE_SECONDS: Final = 0.5

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Example:
    """A labelled video, or a part of one."""

    path: Path
    #: With `has_several` maybe more than one, as `models.labels_in` reads them.
    label: str
    #: Shared by all examples of one scene, person or recording: a split never divides a group.
    group: str
    start_seconds: float = 0.0
    end_seconds: float | None = None
    #: Whether somebody said which group it is in; else each file is taken for a group of its own.
    is_grouped: bool = False
    #: "train", "val" or "test" where somebody said so; else "".
    split: str = ""
    has_several: bool = False
    #: The file and line that says so, for errors.
    where: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not self.label or self.label.isspace():
            raise ValueError("no label: expected a name")
        if not 0 <= self.start_seconds < math.inf:
            raise ValueError(f"start {self.start_seconds:g}: expected seconds, at least 0")
        if self.end_seconds is not None and not self.start_seconds < self.end_seconds < math.inf:
            raise ValueError(f"end {self.end_seconds:g}: expected seconds, more than the start, {self.start_seconds:g}")

    @property
    def labels(self) -> tuple[str, ...]:
        """What is seen in it: one label, or all of them."""
        return labels_in(self.label) if self.has_several else (self.label,)

    @property
    def name(self) -> str:
        """The file, and which part of it, for people."""
        if self.start_seconds == 0 and self.end_seconds is None:
            return str(self.path)
        end = "end" if self.end_seconds is None else f"{self.end_seconds:g} s"
        return f"{self.path} from {self.start_seconds:g} s to {end}"


@dataclass(frozen=True, slots=True)
class DataOptions:
    """What to do about rows that cannot be used, and about footage without groups."""

    #: Go on without rows whose file is not there.
    skip_missing: bool = False
    #: Go on without rows that are wrong, and without footage that cannot be read.
    skip_bad_rows: bool = False
    #: Finds the group in a file's path: what its groups match, or all of the match.
    group_by: re.Pattern[str] | None = None
    #: The label of what lies outside of the rows of a file; None: nobody said anything about it.
    rest: str | None = None
    #: Whether a row may have several labels: those of its text, and of rows that say more of the same footage.
    multi_label: bool = False


DEFAULT_OPTIONS: Final = DataOptions()


class Rows:
    """The examples that were read, and what was wrong with the others."""

    def __init__(self, say: Say) -> None:
        self.say = say
        self.examples: list[Example] = []
        #: Files that a list names as they are on another machine, and what is taken for each.
        self.moved: list[str] = []
        self._missing: list[str] = []
        self._bad: list[str] = []
        #: By name: the full name of a group that a list gave.
        self._groups: dict[str, str] = {}

    def take(self, where: str, make: Callable[[], Example]) -> None:
        """Add what `make` returns, or note why it cannot be made."""
        try:
            self.examples.append(replace(make(), where=where))
        except FileNotFoundError as error:
            self._missing.append(f"{where}: {error}")
        except (ValueError, OSError) as error:
            self._bad.append(f"{where}: {error}")

    def group(self, folder: str, name: str) -> str:
        """The full name of a group that a list in `folder` calls `name`: the same for the same name in another list."""
        return self._groups.setdefault(name, f"{folder}/{name}")

    def check_ends(self) -> None:
        """Find rows that begin after the end of their footage, and say how many end after it."""
        lengths: dict[Path, float | None] = {}
        kept, longer = [], []
        for e in self.examples:
            if (e.start_seconds > 0 or e.end_seconds is not None) and e.path not in lengths:
                lengths[e.path] = footage_seconds(e.path)
            length = lengths.get(e.path)
            if length is not None and e.start_seconds >= length:
                self._bad.append(
                    f"{e.where}: start {e.start_seconds:g}: expected less than {length:g}, the length of {e.path.name}"
                )
                continue
            kept.append(e)
            if length is not None and e.end_seconds is not None and e.end_seconds > length + _TOLERANCE_SECONDS:
                longer.append(f"{e.where}: end {e.end_seconds:g}, and {e.path.name} is {length:g} s long")
        self.examples = kept
        if longer:
            self.say(f"{len(longer)} rows end after their footage, and are cut there; first: {longer[0]}")

    def settle(self, options: DataOptions) -> None:
        """Refuse the rows that cannot be used, or say how many are left out.

        Raises:
            TrainingError: some cannot be used and are not to be skipped, or none can.
        """
        if self.moved:
            self.say(
                f"{len(self.moved)} files are named as on another machine, and were found by the end of their path; "
                f"first: {self.moved[0]}"
            )
        total = len(self.examples) + len(self._missing) + len(self._bad)
        kinds = (
            (self._missing, options.skip_missing, "--skip-missing", "whose file is missing"),
            (self._bad, options.skip_bad_rows, "--skip-bad-rows", "that are wrong"),
        )
        problems: list[str] = []
        advice = []
        for found, is_skipped, option, which in kinds:
            if found and is_skipped:
                self.say(f"{len(found)} of {total} rows {which} are left out; first: {found[0]}")
            elif found:
                problems += found
                advice.append(f"{option} goes on without {_these(len(found), which)}")
        if problems:
            head = f"{len(problems)} of {total} rows cannot be used:\n" if len(problems) > 1 else ""
            raise TrainingError(head + bounded(problems) + f"\n{'; '.join(advice)}")
        if not self.examples:
            raise TrainingError("no row can be used: nothing is left")


def unusable_files(problems: Sequence[str], total: int) -> str:
    """One message about every file that cannot be used."""
    return f"{len(problems)} of {total} files cannot be used:\n{bounded(problems)}"


def _these(count: int, which: str) -> str:
    return f"the row {which.replace('that are', 'that is')}" if count == 1 else f"the {count} rows {which}"


def footage_seconds(path: Path) -> float | None:
    """Length of a file; None if it does not say, or cannot be opened (which is told when it is decoded)."""
    try:
        with Feed(str(path)) as feed:
            return feed.seconds
    except (SourceError, OSError):
        return None
