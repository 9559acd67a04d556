"""`clipline train`: labelled footage in, a checkpoint out, decoded exactly as it will be served."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from consumers.terminal.progress import task_progress
from models import TrainingError, check_writable, find, save
from models.classical.kinds import is_classical
from models.classical.trainer import ClassicalTrainer, check_recipe
from models.evaluation.folds import Footage, Outcome, possible_folds
from models.training import distributed, fitted_head
from models.training.loop import Figures
from models.training.recipe import Recipe
from models.training.samples import OVERSAMPLE
from models.training.trainer import Trainer

from .datasets import Example, check_examples, file_digests, find_examples, footage_sample
from .evaluate import warn_of_training_data
from .scoring import load_frames

_NOT_HELD_OUT: Final = "What begins from it knows them, too, so the accuracy of clips held out here is too good."


def train_command(
    console: Console,
    data: Sequence[Path],
    output: Path,
    recipe: Recipe,
    renamed: Mapping[str, str],
    folds: int,
    used_folds: int | None,
    counted: str | None,
    resume: bool,  # noqa: FBT001  an option, handed on by name
    tensorboard: Path | None,
) -> None:
    """Validate, train on everything, write the checkpoint and say how good it is.

    Raises:
        CheckpointError: the checkpoint could not be written; told before anything is decoded.
        TrainingError: the data cannot be used; unreadable files are all named.
    """
    check_writable(output)
    if tensorboard is not None and (is_classical(recipe.architecture) or fitted_head.is_meant(recipe)):
        raise TrainingError(f"{recipe.architecture} has no epochs, so there are no curves for --tensorboard")
    if is_classical(recipe.architecture):
        _train_classical(console, data, output, recipe, renamed, folds, used_folds, counted)
        return
    fitted_head.check(recipe)
    unfinished = output.with_name(f".{output.name}.unfinished")
    with distributed.joined(), contextlib.ExitStack() as stack:
        if not distributed.is_first():
            console.quiet = True
        examples, story = _read(console, data, renamed, folds, used_folds, counted, recipe.begin_from)
        if not resume and distributed.is_first():
            shutil.rmtree(unfinished, ignore_errors=True)
        distributed.wait_for_all()
        if unfinished.is_dir():
            console.print(f"Going on from {unfinished}, which an earlier run left.", highlight=False)
        log = stack.enter_context(_curves(tensorboard))
        show = stack.enter_context(task_progress(console))
        trainer = Trainer(load_footage(examples, recipe, show), recipe, show, folder=unfinished, log=log)
        outcome = trainer.validate(folds, _only(counted), used_folds)
        network = trainer.fit(outcome.epochs)
        if not distributed.is_first():
            return
        contract = trainer.contract(outcome, {**story, "recipe": trainer.describe_recipe()})
        save(output, network.state_dict(), contract)
        trainer.finish()
    _sum_up(console, output, contract.labels, outcome)


def _train_classical(
    console: Console,
    data: Sequence[Path],
    output: Path,
    recipe: Recipe,
    renamed: Mapping[str, str],
    folds: int,
    used_folds: int | None,
    counted: str | None,
) -> None:
    """The same for the traditional baseline, which is fitted in seconds: nothing to resume, to draw or to share out."""
    check_recipe(recipe)
    examples, story = _read(console, data, renamed, folds, used_folds, counted)
    with task_progress(console) as show:
        trainer = ClassicalTrainer(load_footage(examples, recipe, show), recipe, show)
        outcome = trainer.validate(folds, _only(counted), used_folds)
        fitted = trainer.fit()
    contract = trainer.contract(outcome, {**story, "recipe": trainer.describe_recipe()})
    save(output, fitted.state_dict(), contract)
    _sum_up(console, output, contract.labels, outcome)


def _read(
    console: Console,
    data: Sequence[Path],
    renamed: Mapping[str, str],
    folds: int,
    used_folds: int | None,
    counted: str | None,
    begin_from: str | None = None,
) -> tuple[list[Example], dict[str, Any]]:
    """The examples, and what a checkpoint says of its training on them; warnings are printed."""
    examples = [e for d in data for e in find_examples(d, renamed)]
    if counted is not None and not any(counted in str(e.path) for e in examples):
        raise TrainingError(f"--counted {counted!r}: no path of the {len(examples)} files contains it")
    digests = file_digests(examples)
    for warning in check_examples(examples, digests):
        console.print(warning, style="yellow", markup=False, highlight=False)
    if begin_from is not None:
        warn_of_training_data(find(begin_from), digests, console, _NOT_HELD_OUT)
    parts = possible_folds([e.label for e in examples], [e.group for e in examples], folds)
    held_out = f"{min(used_folds or parts, parts)} of {parts} folds by group"
    return examples, {
        "data": sorted({d.parent.name if d.is_file() else d.name for d in (d.resolve() for d in data)}),
        "footage": footage_sample(digests),
        "videos": len(examples),
        "renamed": dict(renamed),
        "held_out": held_out + (f", counted: {counted}" if counted is not None else ""),
    }


def _only(counted: str | None) -> Callable[[Footage], bool]:
    """Whether a video is one of those to be counted."""
    return lambda footage: counted is None or counted in footage.name


def load_footage(examples: Sequence[Example], recipe: Recipe, show: Callable[[str, int, int], None]) -> list[Footage]:
    """Decode what is to be learnt from, as the recipe wants to see it."""
    videos = load_frames(
        examples,
        spacing_seconds=recipe.spacing_seconds / OVERSAMPLE,
        height=recipe.size,
        width=recipe.size,
        fit="stretch",
        progress=show,
    )
    return [Footage(str(e.path), e.label, e.group, f) for e, f in zip(examples, videos, strict=True)]


@contextlib.contextmanager
def _curves(folder: Path | None) -> Iterator[Callable[[str, Figures], None]]:
    """A log that writes TensorBoard's files into `folder`; one that does nothing without."""
    if folder is None or not distributed.is_first():
        yield lambda *_: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  optional, and slow to import
    except ImportError:
        raise TrainingError("--tensorboard needs the package: pip install tensorboard") from None
    writers: dict[str, Any] = {}

    def log(name: str, figures: Figures) -> None:
        if name not in writers:
            writers[name] = SummaryWriter(str(folder / name.replace(" ", "-")))
        values = {
            "loss": figures.loss,
            "learning rate": figures.learning_rate,
            "metric of the inner validation": figures.metric,
            "clips per second": figures.samples_per_second,
            "share of time waiting for data": figures.waiting,
        }
        for title, value in values.items():
            if value is not None:
                writers[name].add_scalar(title, value, figures.epoch)

    try:
        yield log
    finally:
        for writer in writers.values():
            writer.close()


def _sum_up(console: Console, output: Path, labels: Sequence[str], outcome: Outcome) -> None:
    m = outcome.metrics()
    interval = "" if m["low"] is None else f"95 % interval {m['low']:.1%} to {m['high']:.1%}, "
    console.print(
        f"{output}: {', '.join(labels)}; held-out accuracy {m['accuracy']:.1%} "
        f"({interval}{m['videos']} videos of {m['groups']} groups)"
        + (f", AUC {m['auc']:.3f}" if m["auc"] is not None else "")
        + (f"; {outcome.waiting:.0%} of the time went into loading data" if outcome.epochs else ""),
        highlight=False,
        soft_wrap=True,
    )
