"""From labelled footage to a trained model, with figures from footage that it has not learnt from.

    validate   for each fold, learn from the others and score it    figures, calibration, thresholds
    fit        learn from everything                                the model that is saved
    contract   what its checkpoint says of it

A strategy (strategy.py) knows how a model learns; the trainer knows folds, ensembles and how to continue after a kill.
"""

from __future__ import annotations

import copy
import itertools
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from models.checkpoint import find
from models.classical.kinds import is_classical
from models.classical.strategy import Classical
from models.contract import Contract, Unknown
from models.errors import TrainingError
from models.evaluation.folds import each_label, split_by_group
from models.evaluation.scores import WindowScores
from models.networks.movenet import MoveNetMotion
from models.networks.open_set import OpenSetHead
from models.versions import code_version, library_versions

from . import distributed, unfinished
from .distillation import Distilled, Taught
from .loop import CurvePoint, Progress, Trained
from .material.footage import Footage, TrainingSet
from .material.imbalance import balanced_subsets
from .open_set import fit_unknown
from .recipe import Recipe
from .strategies.fitted_head import FittedHead
from .strategies.frozen_features import FrozenFeatures
from .strategies.steps import Steps
from .strategies.strategy import EpochLog, Part, Savable, Strategy
from .strategies.taught_3d import TaughtConvolutions
from .strategies.taught_head import TaughtLstm
from .validation import CrossValidation, contract_of, mean_curve, summarise

#: One part in so many of the training groups is held out to choose the best epoch.
_INNER_FOLDS: Final = 5
_ONLY_FOLD: Final = "fold 1 of 1"
_NONE: Final = np.array([], int)
#: Another version of these may compute other features and other models.
_LIBRARIES: Final = (
    *("torch", "torchvision", "pytorchvideo", "timm", "numpy", "scipy", "scikit-learn", "scikit-image"),
    "opencv-python-headless",
)


def strategy_for(recipe: Recipe) -> type[Strategy[Any]]:
    """The way to train that a recipe asks for, by its architecture and by how much of it learns."""
    if is_classical(recipe.architecture):
        return Classical
    if FittedHead.is_meant(recipe):
        return FittedHead
    if recipe.unknown:
        raise TrainingError(
            f"--unknown: {recipe.architecture} has no descriptors by which the unknown is told; expected movenet_views "
            "or movenet_motion, of which only the head learns"
        )
    for taught in (TaughtLstm, TaughtConvolutions):
        if taught.is_meant(recipe):
            return taught
    return FrozenFeatures if FrozenFeatures.is_meant(recipe) else Steps


class Trainer:
    """Trains and cross-validates one recipe on one set of footage."""

    def __init__(
        self,
        footage: Sequence[Footage],
        recipe: Recipe,
        progress: Progress = lambda *_: None,
        *,
        folder: Path | None = None,
        log: EpochLog = lambda *_: None,
        taught: Taught | None = None,
    ) -> None:
        """Check recipe and data.

        Args:
            footage: what to learn from.
            recipe: how.
            progress: told a task's name, how much of it is done, and how much there is.
            folder: where the unfinished state is kept, from which the same call continues after a kill.
            log: told the name of a part and the figures of each of its epochs.
            taught: what teachers say of the footage and of more, for a model that is to imitate them.

        Raises:
            TrainingError: fewer than two labels, a label in one group only, pictures of differing sizes, or a recipe
                that sets what its architecture ignores.
            UnknownModelError: there is no such architecture.
            EngineError: a package that it needs is not installed.
        """
        self._recipe, self._progress, self._folder, self._log = recipe, progress, folder, log
        self._taught = taught
        self._data = TrainingSet(footage, recipe, None if taught is None else taught.labels)
        self._strategy = self._way(recipe)
        #: What an earlier run of the same work left, in words for the user; None if nothing.
        self.left: str | None = None
        if folder is not None:
            self.left = distributed.from_first(lambda: self._claim(folder))
            if distributed.world() == 1:
                self._data.folder = folder

    def under(self, recipe: Recipe, progress: Progress | None = None) -> Trainer:
        """The same footage with another recipe that samples and augments it alike: computed features are shared.

        `progress` is told in place of what this trainer tells, if it is given.

        Raises:
            TrainingError: the recipe sets what its architecture ignores.
        """
        other = copy.copy(self)
        other._progress = progress or self._progress  # noqa: SLF001  it is a Trainer, too
        other._recipe = recipe  # noqa: SLF001
        other._strategy = other._way(recipe)  # noqa: SLF001
        return other

    def _way(self, recipe: Recipe) -> Strategy[Any]:
        if self._taught is not None:
            Distilled.check(recipe)
            return Distilled(self._data, recipe, self._progress, self._log, self._taught)
        way = strategy_for(recipe)
        way.check(recipe)
        return way(self._data, recipe, self._progress, self._log)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels, the quiet ones first."""
        return self._data.labels

    @property
    def truth(self) -> np.ndarray:
        """Indices into `labels` (N,), one a video; where it may have several, which it has, (N, L)."""
        return self._data.truth

    @property
    def groups(self) -> np.ndarray:
        """The group of each video, (N,)."""
        return self._data.groups

    def validate(
        self,
        folds: int,
        only: Callable[[Footage], bool] = lambda _: True,
        used: int | None = None,
        learn_from: Callable[[np.ndarray], np.ndarray] = lambda learnt: learnt,
        choose: Callable[[str, np.ndarray], Recipe] | None = None,
        title: str = "",
    ) -> CrossValidation:
        """For each of the first `used` folds (all if None), train on the others and score it.

        Where some videos are held out by the user, these are the only fold.

        Args:
            folds: into how many the groups are divided.
            only: chooses the videos that are counted; the others are learnt from all the same.
            used: how many folds are held out, one after the other.
            learn_from: may thin out the videos of a training part, given their indices.
            choose: the recipe of a fold, given its name and the indices of its training part; None: this trainer's.
            title: before the names of folds, where they are trained more than once.

        Raises:
            TrainingError: a part cannot be learnt from.
        """
        found: dict[int, np.ndarray] = {}
        epochs: list[int] = []
        curves: list[list[CurvePoint]] = []
        waiting: list[float] = []
        splits = [(learn_from(learnt), held) for learnt, held in self.split(folds)[:used]]
        names = [f"{title}fold {number} of {len(splits)}" for number in range(1, len(splits) + 1)]
        if self._recipe.patience is not None:
            for name, (learnt, _) in zip(names, splits, strict=True):
                self._inner_split(learnt, name, self._recipe.seed)  # refuse before anything is trained
        for name, (learnt, held) in zip(names, splits, strict=True):
            trainer = self if choose is None else self.under(choose(name, learnt))
            fold = trainer._validate_fold(name, learnt, held)  # noqa: SLF001
            found |= {int(i): s.numpy() for i, s in fold["scores"].items()}
            epochs.append(fold["epochs"])
            curves.append([CurvePoint(*point) for point in fold["curve"]])
            waiting.append(fold["waiting"])
        order = [int(i) for _, held in splits for i in held]
        counted = np.array([only(self._data.videos[i]) for i in order])
        return summarise(
            self._data.window_scores(order, found.__getitem__),
            counted,
            self._recipe,
            epochs=round(float(np.mean(epochs))),
            waiting=float(np.mean(waiting)),
            curve=mean_curve(curves),
        )

    def held_out_within(self, name: str, chosen: np.ndarray, folds: int) -> Iterator[WindowScores]:
        """Cross-validate within the `chosen` videos: yield all scores so far, each time that a fold was held out.

        Raises:
            TrainingError: they cannot be divided.
        """
        self._check_divisible(chosen, name, "to try recipes on: leave out --trials")
        found: dict[int, np.ndarray] = {}
        splits = split_by_group(self._data.truth[chosen], self._data.groups[chosen], folds, self._recipe.seed)
        for number, (learnt, held) in enumerate(splits, start=1):
            fold = self._validate_fold(f"{name}, inner fold {number}", chosen[learnt], chosen[held])
            found |= {int(i): s.numpy() for i, s in fold["scores"].items()}
            yield self._data.window_scores(list(found), found.__getitem__)

    def fit(self, epochs: int | None = None) -> Savable:
        """Train on everything, until as many epochs as were best in validation, or all of the recipe's if None.

        The learning rate goes as it went in validation, along the schedule of all the recipe's epochs.
        Where some videos are held out by the user, it is the model that was judged by them.
        """
        name, learnt = self.whole_part()
        if self._data.held_out.any():
            judged: Savable = self._train(learnt, name, inner=True).model  # goes on from where its fold ended
            return judged
        model: Savable = self._train(learnt, name, inner=False, last_epoch=epochs).model
        return model

    def with_unknown(self, model: Savable, folds: int, only: Callable[[Footage], bool], used: int | None) -> Unknown:
        """Let a model from `fit` tell what is unknown, by windows that are held out as `validate` does it."""
        strategy, held_out = self._strategy, []
        assert isinstance(strategy, FittedHead)
        assert isinstance(model, MoveNetMotion)
        for learnt, held in self.split(folds)[:used]:
            known = strategy.known_rows(model, learnt.tolist())
            held_out += [strategy.distances(model, known, i) for i in held.tolist() if only(self._data.videos[i])]
            self._progress("what is unknown", len(held_out), len(self._data.videos))
        known = strategy.known_rows(model, self.whole_part()[1].tolist())
        unknown = fit_unknown(held_out, len(known))
        model.head = OpenSetHead(model.head, known, unknown)  # type: ignore[assignment]  # of the same and one more
        return unknown

    def whole_part(self) -> tuple[str, np.ndarray]:
        """The name and the indices of all that the model that is kept may learn from."""
        if self._data.held_out.any():
            return _ONLY_FOLD, np.flatnonzero(~self._data.held_out)
        return "all footage", np.arange(len(self._data.videos))

    def contract(self, model: Savable, validation: CrossValidation | None, provenance: Mapping[str, Any]) -> Contract:
        """The contract of a model from `fit`: temperature and thresholds from held-out scores, and its provenance."""
        last = self._recipe.epochs if validation is None else validation.epochs
        epochs = {"epochs": last} if self._strategy.has_epochs else {}
        whole = {**provenance, **epochs, **self._strategy.provenance(model)}
        looks = self._strategy.learns_all_looks
        return contract_of(self._recipe, self._architecture(), self.labels, validation, whole, learns_all_looks=looks)

    def describe_recipe(self) -> dict[str, Any]:
        """The options of the recipe that matter here, as plain values for a checkpoint's metadata."""
        return self._strategy.describe_recipe()

    def split(self, folds: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Indices (train, held out) of each fold; no group is in both."""
        if self._data.held_out.any():
            return [(np.flatnonzero(~self._data.held_out), np.flatnonzero(self._data.held_out))]
        return split_by_group(self._data.truth, self._data.groups, folds, self._recipe.seed)

    def finish(self) -> None:
        """Remove the unfinished state: the model is written."""
        if self._folder is not None and distributed.is_first():
            shutil.rmtree(self._folder, ignore_errors=True)

    def _architecture(self) -> str:
        name = self._strategy.architecture()
        return f"{self._recipe.members}*{name}" if self._recipe.imbalance == "ensemble" else name

    def _validate_fold(self, name: str, learnt: np.ndarray, held: np.ndarray) -> dict[str, Any]:
        """Held-out scores (by index), epochs and share of waiting of one fold, maybe from before a kill."""
        kept = self._kept(name, "scores", self._recipe, learnt, held)
        if (state := unfinished.read(kept)) is not None:
            return state
        trained = self._train(learnt, name, inner=True, watched=held)
        scores = self._score(trained.model, held, f"{name}, held out")
        state = {
            "scores": {i: torch.from_numpy(s) for i, s in scores.items()},
            "epochs": trained.epochs,
            "waiting": trained.waiting,
            "curve": [astuple(point) for point in trained.curve],
        }
        unfinished.write(kept, state)
        return state

    def _score(self, model: Savable, videos: np.ndarray, name: str) -> dict[int, np.ndarray]:
        """Scores (W, L) of the windows of videos, by index."""
        mine = len(videos[distributed.rank() :: distributed.world()])
        done = itertools.count(1)

        def score(index: int) -> np.ndarray:
            scores = self._strategy.score(model, index)
            self._progress(name, next(done), mine)
            return scores

        return distributed.share_out(videos, score)

    def _train(
        self,
        chosen: np.ndarray,
        name: str,
        *,
        inner: bool,
        last_epoch: int | None = None,
        watched: np.ndarray = _NONE,
    ) -> Trained[Any]:
        """Train on the chosen videos; `inner` holds some of them out to choose the best epoch, if the recipe does.

        On the `watched` videos accuracy is told while it learns.
        """
        recipe = self._recipe
        if recipe.imbalance != "ensemble":
            part = self._part(chosen, name, recipe, inner=inner, last_epoch=last_epoch)
            return self._strategy.train(replace(part, watched=watched))
        generator = np.random.default_rng([recipe.seed, len(chosen)])
        members = []
        for number, subset in enumerate(balanced_subsets(chosen, self._data.truth, recipe.members, generator), start=1):
            one = replace(recipe, seed=recipe.seed + number)
            part = self._part(subset, f"{name}, member {number}", one, inner=inner, last_epoch=last_epoch)
            members.append(self._strategy.train(part))
        return Trained(
            self._strategy.average([m.model for m in members]),
            round(float(np.mean([m.epochs for m in members]))),
            float(np.mean([m.waiting for m in members])),
        )

    def _part(self, chosen: np.ndarray, name: str, recipe: Recipe, *, inner: bool, last_epoch: int | None) -> Part:
        learnt, held = chosen, np.array([], int)
        if inner and recipe.patience is not None:
            learnt, held = self._inner_split(chosen, name, recipe.seed)
        return Part(name, recipe, learnt, held, last_epoch, self._kept(name, "state", recipe, chosen, held, last_epoch))

    def _inner_split(self, chosen: np.ndarray, name: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Of the videos of a training part those to learn from, and those that choose the best epoch."""
        self._check_divisible(chosen, name, "to choose the best epoch: leave out --patience")
        truth, groups = self._data.truth[chosen], self._data.groups[chosen]
        learnt, held = split_by_group(truth, groups, _INNER_FOLDS, seed)[0]
        return chosen[learnt], chosen[held]

    def _check_divisible(self, chosen: np.ndarray, name: str, purpose: str) -> None:
        truth, groups = self._data.truth[chosen], self._data.groups[chosen]
        for index, has in each_label(truth):
            own = set(groups[has])
            if len(own) < 2:
                raise TrainingError(
                    f"{name}: all footage of label {self.labels[index]!r} to learn from is of one group "
                    f"({str(own.pop())!r}), so none can be held out {purpose}, or add footage of more groups"
                )

    def _claim(self, folder: Path) -> str | None:
        """Keep the state that a run of the same recipe on the same footage left; remove that of any other run."""
        begin_from = self._recipe.begin_from
        footage = []
        for done, f in enumerate(self._data.videos, start=1):
            footage.append((f.name, f.label, f.group, f.is_held_out, unfinished.fingerprint(f.frames)))
            self._progress("fingerprints", done, len(self._data.videos))
        story = [self._recipe.describe(), begin_from and find(begin_from).id, footage, library_versions(*_LIBRARIES)]
        taught = [] if self._taught is None else [self._taught.story, self._taught.temperature]
        return unfinished.claim(folder, [*story, *taught, code_version(Path(__file__).parents[1])])

    def _kept(self, name: str, suffix: str, recipe: Recipe, *story: Any) -> Path | None:
        """Where the state of some work is kept; it depends on `story` beside the footage."""
        if self._folder is None:
            return None
        # With the recipe, since a trainer `under` another one has the same folder.
        return self._folder / unfinished.file_name(name, suffix, recipe.describe(), recipe.begin_from, *story)
