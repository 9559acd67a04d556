"""From labelled footage to a checkpoint, with honest figures about it."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from models.checkpoint import find
from models.contract import Contract
from models.errors import TrainingError
from models.evaluation.figures import Judged, WindowScores, evaluate
from models.evaluation.folds import Footage, Outcome, check_footage, contract_of, split_by_group, summarise
from models.networks.cnn_lstm import CnnLstm
from models.networks.ensemble import Averaged
from models.networks.movenet import MoveNetMotion
from models.networks.zoo import create
from models.windowing import in_batches, sliding_windows

from . import distributed, fitted_head, unfinished
from .imbalance import LogitAdjustment, balanced_subsets, class_weights, focal_loss, oversampled, synthetic_minority
from .loop import Figures, Loss, Progress, Run, Samples, Trained, train
from .recipe import Recipe
from .samples import OVERSAMPLE, Descriptors, Features, FixedWindows, Normalise, Pixels, video_features
from .transfer import freeze, load_known, set_regularisation

#: One part in so many of the training groups is held out to say when to stop.
_INNER_FOLDS: Final = 5
_EVALUATION_BATCH: Final = 32


@dataclass(slots=True)
class _Made:
    """What a frozen network said of the footage, made when it is first wanted."""

    features: Features | None = None
    descriptors: Descriptors | None = None


class Trainer:
    """Trains and cross-validates one recipe on one set of footage; features of a frozen backbone are made once."""

    def __init__(
        self,
        footage: Sequence[Footage],
        recipe: Recipe,
        progress: Progress = lambda *_: None,
        *,
        folder: Path | None = None,
        log: Callable[[str, Figures], None] = lambda *_: None,
    ) -> None:
        """Check the data.

        Args:
            footage: what to learn from.
            recipe: how.
            progress: told a task's name, how much of it is done, and how much there is.
            folder: where the unfinished state is kept, from which the same call goes on after a kill.
            log: told the name of a run and the figures of each of its epochs.

        Raises:
            TrainingError: fewer than two labels, a label in one group only, pictures of differing sizes, or a recipe
                that says what such a model has no use for.
        """
        fitted_head.check(recipe)
        self._recipe, self._progress, self._folder, self._log = recipe, progress, folder, log
        self._footage = list(footage)
        self.labels = check_footage(footage, recipe.quiet)
        sizes = {f.frames.shape[1:] for f in footage}
        if sizes != {(recipe.size, recipe.size, 3)}:
            raise TrainingError(f"pictures of {sorted(sizes)}: expected all {recipe.size}x{recipe.size}x3")
        self._truth = np.array([self.labels.index(f.label) for f in footage])
        self._groups = np.array([f.group for f in footage])
        self._device = distributed.device()
        self._normalise = Normalise(recipe.architecture, self._device)
        self._made = _Made()
        if folder is not None:
            distributed.from_first(lambda: self._claim(folder))

    def under(self, recipe: Recipe) -> Trainer:
        """The same footage under another recipe that sees it alike: features that were made are shared.

        Raises:
            TrainingError: the recipe says what such a model has no use for.
        """
        fitted_head.check(recipe)
        other = copy.copy(self)
        other._recipe = recipe  # noqa: SLF001  it is a Trainer, too
        return other

    @property
    def truth(self) -> np.ndarray:
        """Indices into `labels` (N,), one a video."""
        return self._truth

    def split(self, folds: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Indices (train, held out) of each fold; no group is in both."""
        return split_by_group(self._truth, self._groups, folds, self._recipe.seed)

    def validate(
        self,
        folds: int,
        only: Callable[[Footage], bool] = lambda _: True,
        used: int | None = None,
        learn_from: Callable[[np.ndarray], np.ndarray] = lambda learnt: learnt,
    ) -> Outcome:
        """Train on all folds but one, score that one, for each of the first `used` folds (all if None).

        `only` chooses the videos that are counted; the others still train. `learn_from` may thin out the videos of a
        training part, given their indices.
        """
        found: dict[int, np.ndarray] = {}
        epochs: list[int] = []
        waiting: list[float] = []
        splits = [(learn_from(learnt), held) for learnt, held in self.split(folds)[:used]]
        names = [f"fold {number} of {len(splits)}" for number in range(1, len(splits) + 1)]
        if self._recipe.patience is not None:
            for name, (learnt, _) in zip(names, splits, strict=True):
                self._inner_split(learnt, name, self._recipe.seed)  # refuse before anything is trained
        for name, (learnt, held) in zip(names, splits, strict=True):
            kept = self._kept(name, "scores", self._recipe, learnt, held)
            if (state := unfinished.read(kept)) is not None:
                scores = {int(i): s.numpy() for i, s in state["scores"].items()}
            else:
                trained = self._train(learnt, name, self._recipe.epochs, inner=True)
                mine = held[distributed.rank() :: distributed.world()]
                scores = distributed.gathered({int(i): self._score(trained.network, int(i)) for i in mine})
                state = {
                    "scores": {i: torch.from_numpy(s) for i, s in scores.items()},
                    "epochs": trained.epochs,
                    "waiting": trained.waiting,
                }
                unfinished.write(kept, state)
            found |= scores
            epochs.append(state["epochs"])
            waiting.append(state["waiting"])
        order = [int(i) for _, held in splits for i in held]
        scored = self._window_scores(order, [found[i] for i in order])
        counted = np.array([only(self._footage[i]) for i in order])
        return summarise(
            scored, counted, self._recipe, epochs=round(float(np.mean(epochs))), waiting=float(np.mean(waiting))
        )

    def fit(self, epochs: int | None = None) -> nn.Module:
        """Train on everything, for as many epochs as were best in validation or all of the recipe's if none is told."""
        everything = np.arange(len(self._footage))
        return self._train(everything, "all footage", epochs or self._recipe.epochs, inner=False).network

    def contract(self, outcome: Outcome, training: dict[str, Any]) -> Contract:
        """The contract of a model trained so; thresholds from held-out scores."""
        return contract_of(self._recipe, self.architecture, self.labels, outcome, training)

    def describe_recipe(self) -> dict[str, Any]:
        """The parts of the recipe that matter here, as plain values for a checkpoint's metadata."""
        return fitted_head.describe(self._recipe) if fitted_head.is_meant(self._recipe) else self._recipe.describe()

    @property
    def architecture(self) -> str:
        """The name by which what is trained can be created again."""
        recipe = self._recipe
        return f"{recipe.members}*{recipe.architecture}" if recipe.imbalance == "ensemble" else recipe.architecture

    def finish(self) -> None:
        """Remove the unfinished state: the model is written."""
        if self._folder is not None and distributed.is_first():
            shutil.rmtree(self._folder, ignore_errors=True)

    def _claim(self, folder: Path) -> None:
        """Go on from what another run of the same recipe on the same footage left; remove what another left."""
        begin_from = self._recipe.begin_from
        footage = []
        for done, f in enumerate(self._footage, start=1):
            footage.append((f.name, f.label, f.group, unfinished.fingerprint(f.frames)))
            self._progress("fingerprints", done, len(self._footage))
        unfinished.claim(folder, [self._recipe.describe(), begin_from and find(begin_from).id, footage])

    def _kept(self, name: str, suffix: str, recipe: Recipe, *story: Any) -> Path | None:
        """Where the state of a part of the work lies, which depends on `story` beside the footage."""
        if self._folder is None:
            return None
        # The recipe is told again: `under` another one, the folder is the same.
        return self._folder / unfinished.file_name(name, suffix, recipe.describe(), recipe.begin_from, *story)

    def _train(self, chosen: np.ndarray, name: str, epochs: int, *, inner: bool) -> Trained:
        recipe = replace(self._recipe, epochs=epochs)
        if recipe.imbalance != "ensemble":
            return self._train_one(chosen, name, recipe, inner=inner)
        is_recurrent = recipe.architecture.startswith(("cnn_lstm", "cnn_bilstm"))
        if is_recurrent and recipe.trained_stages not in {None, 1}:
            raise TrainingError("an ensemble of CNN-LSTMs shares its image network, so only their heads may learn")
        generator = np.random.default_rng([recipe.seed, len(chosen)])
        members = []
        for number, subset in enumerate(balanced_subsets(chosen, self._truth, recipe.members, generator), start=1):
            one = replace(recipe, seed=recipe.seed + number)
            members.append(self._train_one(subset, f"{name}, member {number}", one, inner=inner))
        network = create(
            self.architecture, len(self.labels), frames=recipe.frames, size=recipe.size, pretrained=False
        ).to(self._device)
        if isinstance(network, CnnLstm):
            network.backbone = members[0].network.get_submodule("backbone")
            network.head = Averaged(m.network.get_submodule("head") for m in members)
        else:
            network = Averaged(m.network for m in members)
        return Trained(
            network.eval(),
            round(float(np.mean([m.epochs for m in members]))),
            float(np.mean([m.waiting for m in members])),
        )

    def _train_one(self, chosen: np.ndarray, name: str, recipe: Recipe, *, inner: bool) -> Trained:
        torch.manual_seed(recipe.seed)
        network = self._network(recipe)
        head_only = isinstance(network, CnnLstm) and recipe.trained_stages in {None, 1}
        learnt, held = chosen, np.array([], int)
        if inner and recipe.patience is not None:
            learnt, held = self._inner_split(chosen, name, recipe.seed)

        def judge(candidate: nn.Module) -> float:
            whole = self._whole(network, candidate)
            mine = held[distributed.rank() :: distributed.world()]
            scores = distributed.gathered({int(i): self._score(whole, int(i)) for i in mine})
            return _metric(self._window_scores(held, [scores[int(i)] for i in held]).judged(), recipe.metric)

        if fitted_head.is_meant(recipe):
            assert isinstance(network, MoveNetMotion)
            described = self._descriptors(network)
            videos = [described.learnt(int(i)) for i in chosen]
            fitted_head.fit(network.head, videos, self._truth[chosen], self.labels, recipe)
            self._progress(name, 1, 1)
            return Trained(network, 0, 0.0)
        samples: Samples
        trained: nn.Module = network
        frozen: list[nn.Module] = []
        if head_only:
            assert isinstance(network, CnnLstm)
            network.eval()
            samples, trained = self._frozen_features(network), network.head
            recipe = replace(recipe, layer_decay=1.0)  # a head is one stage
        else:
            samples = Pixels([f.frames for f in self._footage], self._truth, recipe, self._device)
            frozen = freeze(network, recipe.trained_stages or 0)
        if recipe.imbalance == "smote":
            if not isinstance(samples, Features):
                raise TrainingError(
                    "imbalance 'smote' makes features, not pixels: it needs a CNN-LSTM of which only the head learns"
                )
            samples = self._with_synthetic(samples, learnt)
            learnt = np.arange(len(samples.truth))
        result = train(
            trained,
            Run(
                name,
                recipe,
                samples,
                len(self.labels),
                _order(learnt, samples.truth, recipe),
                _loss(np.bincount(samples.truth[learnt], minlength=len(self.labels)), recipe, self._device),
                self._device,
                frozen,
                judge if len(held) else None,
                self._kept(name, "state", recipe, chosen, held),
            ),
            self._progress,
            lambda figures: self._log(name, figures),
        )
        return replace(result, network=self._whole(network, result.network).eval())

    def _inner_split(self, chosen: np.ndarray, name: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Of the videos of a training part those that are learnt from, and those that say when to stop."""
        for index in np.unique(self._truth[chosen]):
            groups = set(self._groups[chosen][self._truth[chosen] == index])
            if len(groups) < 2:
                raise TrainingError(
                    f"{name}: what label {self.labels[index]!r} has there to learn from is of one group "
                    f"({str(groups.pop())!r}), so none can be held out to say when to stop: leave out --patience, "
                    "or bring footage of more groups"
                )
        parts = split_by_group(self._truth[chosen], self._groups[chosen], _INNER_FOLDS, seed)[0]
        return chosen[parts[0]], chosen[parts[1]]

    def _network(self, recipe: Recipe) -> nn.Module:
        network = create(
            recipe.architecture,
            len(self.labels),
            frames=recipe.frames,
            size=recipe.size,
            pretrained=recipe.begin_from is None,
        )
        if recipe.begin_from is not None:
            begun = find(recipe.begin_from)
            others = None if begun.contract.labels == self.labels else len(self.labels)
            load_known(network, begun.state(), recipe.begin_from, others)
        set_regularisation(network, recipe.dropout, recipe.stochastic_depth)
        return distributed.together(network.to(self._device), self._device)

    @staticmethod
    def _whole(network: nn.Module, trained: nn.Module) -> nn.Module:
        """The network with its head replaced by the one that was trained on features."""
        if trained is network or not isinstance(network, CnnLstm) or isinstance(trained, CnnLstm):
            return trained
        network.head = trained
        return network

    def _frozen_features(self, network: CnnLstm) -> Features:
        if self._made.features is None:
            made = video_features(
                network,
                [f.frames for f in self._footage],
                self._recipe,
                self._normalise,
                lambda done, total: self._progress("features", done, total),
            )
            self._made.features = Features(made, self._truth, self._recipe)
        return self._made.features

    def _descriptors(self, network: MoveNetMotion) -> Descriptors:
        if self._made.descriptors is None:
            self._made.descriptors = Descriptors(
                network.eval(),
                [f.frames for f in self._footage],
                self._recipe,
                self._normalise,
                lambda done, total: self._progress("descriptors", done, total),
            )
        return self._made.descriptors

    def _with_synthetic(self, features: Features, chosen: np.ndarray) -> FixedWindows:
        real = [features.windows(int(i)) for i in chosen]
        truth = np.repeat(self._truth[chosen], [len(w) for w in real])
        made, labels = synthetic_minority(torch.cat(real).cpu().numpy(), truth, self.labels, seed=self._recipe.seed)
        return FixedWindows(made.astype(np.float32), labels, self._device)

    def _score(self, network: nn.Module, index: int) -> np.ndarray:
        """Scores (W, L) of the windows of one video, half a window apart, as the worker sees them."""
        with torch.inference_mode():
            if isinstance(network, CnnLstm) and self._made.features is not None:
                logits = network.head(self._made.features.windows(index))
            elif isinstance(network, MoveNetMotion) and self._made.descriptors is not None:
                logits = network.head(self._made.descriptors.served(index))
            else:
                frames = self._footage[index].frames
                places = sliding_windows(len(frames), self._recipe.frames, OVERSAMPLE)  # (W, T)
                parts = in_batches(places, _EVALUATION_BATCH)
                clips = (torch.from_numpy(np.array(frames[part])).permute(0, 4, 1, 2, 3) for part in parts)
                logits = torch.cat([network(self._normalise(part)) for part in clips])
            scores: np.ndarray = functional.softmax(logits.double(), dim=1).cpu().numpy()
            return scores

    def _window_scores(self, held: Sequence[int] | np.ndarray, scores: Sequence[np.ndarray]) -> WindowScores:
        return WindowScores(
            self.labels,
            self._truth[np.asarray(held, int)],
            tuple(scores),
            tuple(self._groups[np.asarray(held, int)]),
            tuple(self._footage[i].name for i in held),
        )


def _order(chosen: np.ndarray, truth: np.ndarray, recipe: Recipe) -> Callable[[int], np.ndarray]:
    def order(epoch: int) -> np.ndarray:
        generator = np.random.default_rng([recipe.seed, epoch])
        if recipe.imbalance == "oversample":
            return oversampled(chosen, truth, generator)
        return generator.permutation(chosen)

    return order


def _loss(counts: np.ndarray, recipe: Recipe, device: torch.device) -> Loss:
    weights = torch.tensor(class_weights(counts), dtype=torch.float32, device=device)
    if recipe.imbalance == "focal":
        return lambda logits, targets: focal_loss(logits, targets, weights, label_smoothing=recipe.label_smoothing)
    if recipe.imbalance == "logit-adjust":
        return LogitAdjustment(counts, label_smoothing=recipe.label_smoothing).to(device)
    return nn.CrossEntropyLoss(
        weight=weights if recipe.imbalance == "weights" else None, label_smoothing=recipe.label_smoothing
    )


def _metric(judged: Judged, name: str) -> float:
    if name == "loss":
        return -judged.log_loss()
    return evaluate(judged, rounds=0).figures[name].value
