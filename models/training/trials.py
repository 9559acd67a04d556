"""Choose options of a recipe by trial, on the training part of each fold alone, so that the figure stays honest.

    fold k   ████████████████████████████  │ held out
             trial 1   inner folds ▓▓▓│░░░   metric
             trial 2   …                      metric     best ─▶ train on all of it ─▶ score what is held out
    all      the same on everything          best ─▶ the model that is saved

What is held out of a fold never has a part in choosing the recipe that is judged on it (Cawley and Talbot, JMLR 11,
2010). Trials come from a tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011, as Optuna computes it); one
that is worse than the median of those before it, after as many inner folds, is stopped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from models.errors import TrainingError

from .loop import Progress
from .recipe import Recipe
from .strategies.steps import metric_of
from .trainer import Trainer, strategy_for

if TYPE_CHECKING:
    from optuna import Trial

#: Parts of a training part, each held out once in every trial.
_INNER_FOLDS: Final = 3
#: Trials before one may be stopped early.
_WHOLE_TRIALS: Final = 4
#: What is tried, by the names of the recipe's options.
SEARCHED: Final = ("learning_rate", "weight_decay", "label_smoothing", "dropout", "mixup")


def check_trials(recipe: Recipe) -> None:
    """Refuse trials of what has nothing to try, or without the package that proposes them.

    Raises:
        TrainingError: with what was found and what was expected.
    """
    if not strategy_for(recipe).has_epochs:
        raise TrainingError(
            f"--trials: {recipe.architecture} is fitted in one step, so there is no learning rate or the like to try"
        )
    _optuna()


class Trials:
    """Searches a recipe for parts of a trainer's footage."""

    def __init__(self, trainer: Trainer, recipe: Recipe, count: int, progress: Progress) -> None:
        """`trainer` trains by `recipe`, which is the first of the trials and holds all that is not searched."""
        self._trainer, self._recipe, self._count, self._progress = trainer, recipe, count, progress

    def choose(self, name: str, chosen: np.ndarray) -> Recipe:
        """The best recipe for learning from the `chosen` videos (their indices): that of the best trial on these.

        The same seed gives the same trials, and the scores of their inner folds are kept with the state of training: a
        run that was stopped goes through what was done in seconds.

        Raises:
            TrainingError: the videos cannot be divided.
        """
        optuna = _optuna()
        seed = int(np.random.SeedSequence([self._recipe.seed, *np.sort(chosen)]).generate_state(1)[0])
        study = optuna.create_study(
            direction="maximize",
            sampler=optuna.samplers.TPESampler(seed=seed),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=_WHOLE_TRIALS),
        )
        as_given = self._measure(name, 0, self._recipe, chosen, lambda *_: False)
        assert as_given is not None

        def tried(trial: Trial) -> float:
            def is_hopeless(value: float, folds: int) -> bool:
                trial.report(value, folds)
                return trial.should_prune()

            value = self._measure(name, trial.number + 1, _proposed(self._recipe, trial), chosen, is_hopeless)
            if value is None:
                raise optuna.TrialPruned
            return value

        study.optimize(tried, n_trials=self._count - 1)
        self._tell(name, self._count)
        best = study.best_trial if self._count > 1 else None
        return self._recipe if best is None or best.value <= as_given else _with_options(self._recipe, best.params)

    def _measure(
        self, name: str, trial: int, recipe: Recipe, chosen: np.ndarray, is_hopeless: Callable[[float, int], bool]
    ) -> float | None:
        """The recipe's metric on what inner folds hold out; None if it was hopeless before all of them were done."""
        self._tell(name, trial)
        value = -math.inf
        trainer = self._trainer.under(recipe, lambda *_: None)
        for done, held in enumerate(trainer.held_out_within(name, chosen, _INNER_FOLDS), start=1):
            value = metric_of(held, recipe.metric)
            self._tell(name, trial + done / _INNER_FOLDS)
            if is_hopeless(value, done):
                return None
        return value

    def _tell(self, name: str, trials: float) -> None:
        self._progress(f"{name}, trials", int(trials), self._count)


def _proposed(recipe: Recipe, trial: Trial) -> Recipe:
    """The recipe with options that a trial proposes."""
    return _with_options(
        recipe,
        {
            "learning_rate": trial.suggest_float("learning_rate", 3e-5, 1e-2, log=True),
            "weight_decay": trial.suggest_float("weight_decay", 1e-3, 0.5, log=True),
            "label_smoothing": trial.suggest_float("label_smoothing", 0.0, 0.2),
            "dropout": trial.suggest_float("dropout", 0.0, 0.7),
            "mixup": trial.suggest_categorical("mixup", [0.0, 0.2, 0.8]),
        },
    )


def _with_options(recipe: Recipe, options: Mapping[str, Any]) -> Recipe:
    own = {name: value for name, value in options.items() if name != "mixup"}
    return replace(recipe, **own, augmentation=replace(recipe.augmentation, mixup=options["mixup"]))


def _optuna() -> Any:
    """The package, quiet.

    Raises:
        TrainingError: it is not installed.
    """
    try:
        import optuna  # noqa: PLC0415  optional, and only for this
    except ImportError:
        raise TrainingError("--trials needs the package: pip install optuna") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
