"""The labelled videos that a model learns from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from models.errors import TrainingError
from models.evaluation.scores import WindowScores
from models.labels import UNKNOWN, labels_in
from models.training.recipe import Recipe
from models.windows.frames import Frames

from .computed import Computed

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Footage:
    """One labelled video: (N, H, W, 3) uint8, sampled every `spacing / OVERSAMPLE` seconds."""

    name: str
    #: With `Recipe.multi_label` maybe several, as `models.labels_in` reads them.
    label: str
    #: Videos of one group show the same scene; a split never divides a group.
    group: str
    frames: Frames
    #: Whether it is never learnt from, but judges what learns from the rest, in place of cross-validation.
    is_held_out: bool = False


class TrainingSet:
    """Checked footage with its labels and groups as arrays; row i of everything belongs to video i."""

    def __init__(self, footage: Sequence[Footage], recipe: Recipe, labels: tuple[str, ...] | None = None) -> None:
        """Check that a model can be trained on the footage by the recipe.

        Args:
            footage: the videos; none may be enough for a model that has others to learn from.
            recipe: how.
            labels: what a teacher knows, if there is one; the footage need not show all of it.

        Raises:
            TrainingError: fewer than two labels, a label that cannot be both learnt and held out, or pictures of
                another size than the recipe's.
        """
        self.videos = tuple(footage)
        #: Names, the quiet ones first.
        self.labels = _labels(footage, recipe) if labels is None else labels
        #: (N,) what judges in place of cross-validation; nothing if there is to be one.
        self.held_out = np.array([f.is_held_out for f in footage], bool)
        if self.held_out.any():
            _check_learnt(footage, self.labels, recipe)
        else:
            check_held_out(footage, recipe)
        sizes = {f.frames.shape[1:] for f in footage}
        if sizes - {(recipe.size, recipe.size, 3)}:
            raise TrainingError(f"pictures of {sorted(sizes)}: expected all {recipe.size}x{recipe.size}x3")
        indices = [[self.labels.index(name) for name in labels_of(f, recipe)] for f in footage]
        #: Indices into `labels`, (N,); where a video may have several, which it has, (N, L).
        self.truth: np.ndarray = np.array([first for first, *_ in indices], int)
        if recipe.multi_label:
            self.truth = np.zeros((len(footage), len(self.labels)), bool)
            for row, own in zip(self.truth, indices, strict=True):
                row[own] = True
        #: Videos of one group show the same scene, (N,).
        self.groups = np.array([f.group for f in footage])
        #: Where what is computed of the videos is kept, so that a stopped run goes on; None for in memory.
        self.folder: Path | None = None
        self._computed: dict[str, Any] = {}

    @property
    def has_label(self) -> np.ndarray:
        """Which labels each video has, (N, L)."""
        has: np.ndarray = self.truth if self.truth.ndim > 1 else np.eye(len(self.labels), dtype=bool)[self.truth]
        return has

    @property
    def targets(self) -> np.ndarray:
        """The truth as samples have it: several labels as numbers of 0 and 1, (N, L)."""
        return self.truth.astype(np.float32) if self.truth.ndim > 1 else self.truth

    def once(self, name: str, compute: Callable[[], T]) -> T:
        """The result of `compute`, which is called once for each name: such as a frozen network's features."""
        if name not in self._computed:
            self._computed[name] = compute()
        found: T = self._computed[name]
        return found

    def computed(self, name: str, compute: Callable[[int], Mapping[str, np.ndarray]]) -> Computed:
        """What `compute` returns for each index of a video, computed once."""
        return Computed(None if self.folder is None else self.folder / name.replace(" ", "-"), compute)

    def window_scores(self, chosen: Sequence[int] | np.ndarray, score: Callable[[int], np.ndarray]) -> WindowScores:
        """The chosen videos with the scores (W, L) that `score` gives for each index."""
        rows = np.asarray(chosen, int)
        return WindowScores(
            self.labels,
            self.truth[rows],
            tuple(score(int(i)) for i in rows),
            tuple(self.groups[rows]),
            tuple(self.videos[i].name for i in rows),
        )


def _labels(footage: Sequence[Footage], recipe: Recipe) -> tuple[str, ...]:
    """Return the labels, the quiet ones first.

    Raises:
        TrainingError: fewer than two labels.
    """
    found = {label for f in footage for label in labels_of(f, recipe)}
    labels = tuple(sorted(found, key=lambda n: (n not in recipe.quiet, n)))
    if recipe.unknown and UNKNOWN in labels:
        raise TrainingError(
            f"label {UNKNOWN!r}: with --unknown it is what no footage is taught as; rename it with --map"
        )
    if len(labels) < 2:
        raise TrainingError(f"labels {labels}: expected at least two")
    return labels


def _check_learnt(footage: Sequence[Footage], labels: Sequence[str], recipe: Recipe) -> None:
    """Refuse a label that is only held out.

    Raises:
        TrainingError: with its name.
    """
    learnt = {label for f in footage if not f.is_held_out for label in labels_of(f, recipe)}
    for label in labels:
        if label not in learnt:
            raise TrainingError(f"label {label!r}: all of its footage is held out, so it cannot be learnt")


class Labelled(Protocol):
    """A labelled video, whether or not it is decoded yet."""

    @property
    def name(self) -> str: ...

    @property
    def label(self) -> str: ...

    @property
    def group(self) -> str: ...


def labels_of(video: Labelled, recipe: Recipe) -> tuple[str, ...]:
    """The label of a video, or all that it has where the recipe says that it may have several."""
    return labels_in(video.label) if recipe.multi_label else (video.label,)


def check_held_out(footage: Sequence[Labelled], recipe: Recipe) -> None:
    """Refuse a label that cannot be both learnt and held out.

    Raises:
        TrainingError: with its name.
    """
    for label in dict.fromkeys(label for f in footage for label in labels_of(f, recipe)):
        videos = [f for f in footage if label in labels_of(f, recipe)]
        if len(videos) == 1:
            raise TrainingError(f"label {label!r}: only one video ({videos[0].name}), so none can be held out")
        if len(groups := {f.group for f in videos}) < 2:
            raise TrainingError(
                f"label {label!r}: all of its footage is of one group ({groups.pop()!r}), so none can be held out"
            )
