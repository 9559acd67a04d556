"""The training loop: the same for every network and objective, on a processor or GPUs, and after a kill.

    for each epoch
        for each step
            for each batch     samples ──▶ objective(network, batch) ──▶ gradients, which add up
            optimiser, schedule, average
        judge              the metric on videos that are held out from the training part, if there are any
        keep               the unfinished state, from which the same run continues

What a step sees depends only on the seed, the epoch and the sample: not on how many processes load data or train, and
not on whether the run was interrupted.
"""

from __future__ import annotations

import contextlib
import copy
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Final, Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

from models.errors import TrainingError

from . import distributed, unfinished
from .objective import Batch, Objective
from .recipe import Recipe
from .transfer import parameter_groups

#: Told a task's name, how much of it is done, and how much there is.
Progress = Callable[[str, int, int], None]
#: Processes that prepare clips for a GPU. Beside training on a processor they would only take its cores.
_GPU_LOADERS: Final = 8
_MAX_GRADIENT: Final = 1.0
#: After so many epochs, spread over all, held-out videos are scored: after each would cost as much as training.
_WATCHED_EPOCHS: Final = 5


class Samples(Protocol):
    """What is learnt from, by index: windows of videos, or of their features."""

    def sample(self, index: int, generator: np.random.Generator) -> torch.Tensor:
        """One sample, maybe augmented; all randomness comes from `generator`."""

    def inputs(self, batch: torch.Tensor) -> torch.Tensor:
        """A batch of samples as the network takes it, on its device."""

    @property
    def truth(self) -> np.ndarray:
        """The label of each sample, (N,); or which of several it has, or what teachers say of it, (N, L)."""

    @property
    def loads_beside(self) -> bool:
        """Whether other processes may prepare samples: not if they lie on a GPU, which a fork cannot use."""


@dataclass(frozen=True, slots=True)
class EpochStats:
    """One epoch in numbers, for a log."""

    epoch: int
    loss: float
    learning_rate: float
    #: The recipe's metric on the videos that choose the best epoch; None without such videos.
    metric: float | None
    #: `Evaluation.main` on videos that nothing is chosen by; None where it was not measured.
    held_out: float | None
    samples_per_second: float
    #: Share of the time that training waited for data.
    waiting: float


@dataclass(frozen=True, slots=True)
class Run:
    """One network to be trained: on what, how, and where its unfinished state is kept."""

    name: str
    recipe: Recipe
    samples: Samples
    #: What is minimised.
    objective: Objective
    #: The samples of each epoch in order, the same in every process.
    order: Callable[[int], np.ndarray]
    device: torch.device
    #: Modules that do not learn.
    frozen: Sequence[nn.Module] = ()
    #: The recipe's metric on videos that are held out for it, better when larger; None trains all epochs.
    judge: Callable[[nn.Module], float] | None = None
    #: `Evaluation.main` on videos that nothing is chosen by: it is told after some epochs, and nothing follows from it.
    watch: Callable[[nn.Module], float] | None = None
    #: After which training ends, amid the schedule of the recipe's epochs; None trains them all.
    last_epoch: int | None = None
    state: Path | None = None


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """What an epoch came to."""

    epoch: int
    loss: float
    #: `Evaluation.main` on held-out videos; None where it was not measured.
    held_out: float | None


M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class Trained(Generic[M]):
    """A trained model, and how that went."""

    model: M
    #: How many epochs the kept weights have seen.
    epochs: int
    #: Share of the time that training waited for data.
    waiting: float
    #: How it learnt, epoch by epoch; nothing if it was fitted in one step.
    curve: tuple[CurvePoint, ...] = ()


def train(
    network: nn.Module,
    run: Run,
    progress: Progress = lambda *_: None,
    log: Callable[[EpochStats], None] = lambda _: None,
) -> Trained[nn.Module]:
    """Train `network` in place and return it with the weights to keep: newest, average, or those of the best epoch.

    Raises:
        TrainingError: the state cannot be written, or a loss is not a number.
    """
    return _Loop(network, run, progress, log).run()


class _Loop:
    def __init__(self, network: nn.Module, run: Run, progress: Progress, log: Callable[[EpochStats], None]) -> None:
        self._run, self._progress, self._log = run, progress, log
        self._network = network.to(run.device)
        recipe = run.recipe
        if recipe.batch < 2 * distributed.world():
            raise TrainingError(
                f"batches of {recipe.batch} for {distributed.world()} processes: expected two clips each or more"
            )
        self._trained: nn.Module = network
        if distributed.world() > 1:
            self._trained = nn.parallel.DistributedDataParallel(network, find_unused_parameters=True)
        groups = parameter_groups(network, recipe.learning_rate, recipe.layer_decay, recipe.weight_decay)
        self._optimiser: torch.optim.Optimizer
        if recipe.optimiser == "sgd":
            self._optimiser = torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=0.9, nesterov=True)
        else:
            self._optimiser = torch.optim.AdamW(groups, lr=recipe.learning_rate)
        self._steps = len(_steps(run.order(0), recipe))
        self._schedule = _schedule(self._optimiser, recipe, recipe.epochs * self._steps)
        self._last = min(recipe.epochs, run.last_epoch or recipe.epochs)
        self._average = _running_average(network, recipe.averaging) if recipe.averaging else None
        self._best: dict[str, Any] | None = None
        self._best_metric, self._best_epoch = -np.inf, 0
        self._epoch = 0
        self._curve: list[CurvePoint] = []
        self._busy_seconds = self._waiting_seconds = 0.0

    def run(self) -> Trained[nn.Module]:
        self._restore()
        while self._epoch < self._last and not self._is_stale():
            stats = self._run_epoch()
            self._curve.append(CurvePoint(stats.epoch, stats.loss, stats.held_out))
            self._keep()
            self._log(stats)
            self._tell(0)
        if self._epoch < self._last:
            self._progress(self._run.name, self._last * self._steps, self._last * self._steps)  # stopped early
        if self._best is not None:
            self._network.load_state_dict(self._best)
        elif self._average is not None:
            self._network.load_state_dict(self._average.module.state_dict())
        seen = self._best_epoch if self._best is not None else self._epoch
        busy = self._busy_seconds + self._waiting_seconds
        return Trained(self._network.eval(), seen, self._waiting_seconds / busy if busy else 0.0, tuple(self._curve))

    def _tell(self, steps: int) -> None:
        """Say how many steps are done, of which `steps` in an epoch that goes on."""
        self._progress(self._run.name, self._epoch * self._steps + steps, self._last * self._steps)

    def _is_stale(self) -> bool:
        patience = self._run.recipe.patience
        return patience is not None and self._run.judge is not None and self._epoch - self._best_epoch >= patience

    def _run_epoch(self) -> EpochStats:
        recipe, device = self._run.recipe, self._run.device
        self._network.train()
        for module in self._run.frozen:
            module.eval()
        torch.manual_seed(_seed(recipe.seed, self._epoch, distributed.rank()))
        begun, waited, losses, count = time.perf_counter(), 0.0, 0.0, 0
        asked = begun
        self._optimiser.zero_grad(set_to_none=True)
        done = 0
        for share, clips, labels, ends_step in self._loaded():
            waited += time.perf_counter() - asked
            batch = Batch(self._run.samples.inputs(clips), labels.to(device))
            with self._sent_on(ends_step=ends_step):
                # Each process has its share of the step, in pieces; gradients of pieces add up, those of processes are
                # averaged.
                loss = self._run.objective(self._trained, batch)
                (loss * share).backward()  # type: ignore[no-untyped-call]
            if not torch.isfinite(loss):
                raise TrainingError(
                    f"{self._run.name}: the loss is no longer a number in epoch {self._epoch + 1}: "
                    "try a lower learning rate"
                )
            losses, count = losses + float(loss.detach()) * len(clips), count + len(clips)
            if not ends_step:
                asked = time.perf_counter()
                continue
            nn.utils.clip_grad_norm_(self._network.parameters(), _MAX_GRADIENT)
            self._optimiser.step()
            self._schedule.step()
            if self._average is not None:
                self._average.update_parameters(self._network)
            self._optimiser.zero_grad(set_to_none=True)
            done += 1
            self._tell(done)
            asked = time.perf_counter()
        self._epoch += 1
        seconds = time.perf_counter() - begun
        self._busy_seconds += seconds - waited
        self._waiting_seconds += waited
        metric = self._judge()
        held_out = self._watch()
        return EpochStats(
            self._epoch,
            losses / max(count, 1),
            float(self._schedule.get_last_lr()[-1]),
            metric,
            held_out,
            count / seconds,
            waited / seconds,
        )

    def _sent_on(self, *, ends_step: bool) -> contextlib.AbstractContextManager[None]:
        """Processes exchange gradients at the end of a step only."""
        if ends_step or not isinstance(self._trained, nn.parallel.DistributedDataParallel):
            return contextlib.nullcontext()
        held: contextlib.AbstractContextManager[None] = self._trained.no_sync()
        return held

    def _loaded(self) -> Iterator[tuple[float, torch.Tensor, torch.Tensor, bool]]:
        """The share of this process in each batch: (its weight in the step, samples, labels, ends the step)."""
        recipe = self._run.recipe
        rank, world = distributed.rank(), distributed.world()
        steps = _steps(self._run.order(self._epoch), recipe)
        batches = [batch for step in steps for batch in step]
        # Beside each batch: the samples of its step, and whether it is the last one.
        places = [(sum(map(len, step)), batch is step[-1]) for step in steps for batch in step]
        shares = [batch[rank::world] for batch in batches]
        loader: DataLoader[tuple[torch.Tensor, Any]] = DataLoader(
            _Epoch(self._run.samples, recipe.seed, self._epoch),
            batch_sampler=shares,  # type: ignore[arg-type]  # any iterable of lists of indices will do
            num_workers=_loaders(self._run),
        )
        for (size, ends_step), share, (clips, labels) in zip(places, shares, loader, strict=True):
            yield len(share) * world / size, clips, labels, ends_step

    def _candidate(self) -> nn.Module:
        """The network as it would be kept now."""
        candidate: nn.Module = self._network if self._average is None else self._average.module
        return candidate.eval()

    def _watch(self) -> float | None:
        watched = np.linspace(0, self._last, min(self._last, _WATCHED_EPOCHS) + 1)[1:].round()
        return self._run.watch(self._candidate()) if self._run.watch is not None and self._epoch in watched else None

    def _judge(self) -> float | None:
        if self._run.judge is None:
            return None
        candidate = self._candidate()
        metric = self._run.judge(candidate)
        if metric > self._best_metric:
            self._best_metric, self._best_epoch = metric, self._epoch
            self._best = copy.deepcopy(candidate.state_dict())
        return metric

    def _keep(self) -> None:
        unfinished.write(
            self._run.state,
            {
                "epoch": self._epoch,
                "network": self._network.state_dict(),
                "optimiser": self._optimiser.state_dict(),
                "schedule": self._schedule.state_dict(),
                "average": None if self._average is None else self._average.state_dict(),
                "best": self._best,
                "best_metric": self._best_metric,
                "best_epoch": self._best_epoch,
                "curve": [astuple(point) for point in self._curve],
                "seconds": [self._busy_seconds, self._waiting_seconds],
            },
        )

    def _restore(self) -> None:
        state = unfinished.read(self._run.state)
        if state is None:
            return
        self._network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        self._best, self._best_metric, self._best_epoch = state["best"], state["best_metric"], state["best_epoch"]
        self._busy_seconds, self._waiting_seconds = state["seconds"]
        self._curve = [CurvePoint(*point) for point in state["curve"]]
        self._epoch = state["epoch"]
        self._tell(0)


class _Epoch(Dataset[tuple[torch.Tensor, Any]]):
    """The samples with the randomness of one epoch."""

    def __init__(self, samples: Samples, seed: int, epoch: int) -> None:
        self._samples, self._seed, self._epoch = samples, seed, epoch

    def __getitem__(self, index: int) -> tuple[torch.Tensor, Any]:
        generator = np.random.default_rng([self._seed, self._epoch, int(index)])
        return self._samples.sample(int(index), generator), self._samples.truth[index]


def _loaders(run: Run) -> int:
    """How many processes prepare samples while this one trains."""
    return min(_GPU_LOADERS, os.cpu_count() or 1) if run.device.type == "cuda" and run.samples.loads_beside else 0


def _steps(order: np.ndarray, recipe: Recipe) -> list[list[np.ndarray]]:
    """The samples of each step in batches, whose gradients add up."""
    return [_batches(step, recipe.batch) for step in _batches(order, recipe.batch * recipe.accumulate)]


def _batches(order: np.ndarray, size: int) -> list[np.ndarray]:
    """Batches of nearly equal size, at most `size`: a small last batch would upset batch normalisation."""
    return np.array_split(order, math.ceil(len(order) / size))


def _running_average(network: nn.Module, kept: float) -> AveragedModel:
    """Exponential moving average of weights and buffers."""
    average = get_ema_multi_avg_fn(kept)  # type: ignore[no-untyped-call]
    return AveragedModel(network, multi_avg_fn=average, use_buffers=True)


def _schedule(optimiser: torch.optim.Optimizer, recipe: Recipe, steps: int) -> torch.optim.lr_scheduler.LambdaLR:
    """Linear warm-up, then a cosine to zero (Loshchilov and Hutter, ICLR 2017, without restarts)."""
    warm = max(1, round(recipe.warm_up * steps))

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + float(np.cos(np.pi * (step - warm) / max(1, steps - warm))))

    return torch.optim.lr_scheduler.LambdaLR(optimiser, factor)


def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1)[0])
