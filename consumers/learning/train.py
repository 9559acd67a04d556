"""`clipline train`: labelled footage in, a checkpoint out, decoded exactly as it will be served.

find_examples   which file shows what, in which group          datasets.py
load_footage    decoded frames, kept on disk                   frames.py
Trainer         cross-validated, then trained on everything    models/training/trainer.py
save            weights and contract                           models/checkpoint.py
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from consumers.terminal.console import Output
from consumers.terminal.notes import Notes
from consumers.terminal.progress import task_progress
from models import TrainingError, check_writable, find, save
from models.evaluation.folds import possible_folds
from models.training import distributed
from models.training.footage import Footage
from models.training.loop import EpochStats
from models.training.recipe import Recipe
from models.training.samples import OVERSAMPLE
from models.training.strategy import EpochLog
from models.training.trainer import Trainer, strategy_for
from models.training.validation import CrossValidation

from .datasets import Example, check_examples, file_digests, find_examples
from .frames import Progress, load_frames
from .provenance import describe_footage, describe_run
from .trained_on import warn_of_training_data

_NOT_HELD_OUT: Final = "Training begins from it, so the accuracy of clips held out here is too optimistic."


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """What to train, on what, and how it is validated."""

    data: Sequence[Path]
    output: Path
    recipe: Recipe
    #: Labels by the name they have in the data; one that is renamed to nothing is left out.
    renamed: Mapping[str, str] = field(default_factory=dict)
    #: Into how many parts groups are divided, and how many of them are held out, one after the other; None is all.
    folds: int = 5
    used_folds: int | None = None
    #: Only videos whose path contains this are counted in the figures.
    counted: str | None = None
    #: Continue from what a killed run of the same command left.
    resume: bool = True
    #: Where TensorBoard's files go.
    tensorboard: Path | None = None


def train_command(options: TrainOptions, console: Output) -> None:
    """Validate, train on everything, write the checkpoint and print how good it is.

    Raises:
        CheckpointError: the checkpoint could not be written; told before anything is decoded.
        TrainingError: the data or the recipe cannot be used; unreadable files are all named.
    """
    output, recipe = options.output, options.recipe
    check_writable(output)
    strategy = strategy_for(recipe)
    if options.tensorboard is not None and not strategy.has_epochs:
        raise TrainingError(f"{recipe.architecture} has no epochs, so there are no curves for --tensorboard")
    strategy.check(recipe)
    unfinished = output.with_name(f".{output.name}.unfinished")
    with distributed.joined(), contextlib.ExitStack() as stack:
        if not distributed.is_first():
            console.quiet = True
        examples, provenance = _read(options, console)
        if not options.resume and distributed.is_first():
            shutil.rmtree(unfinished, ignore_errors=True)
        distributed.wait_for_all()
        if unfinished.is_dir():
            console.print(f"Continuing from {unfinished}, which an earlier run left.", highlight=False, markup=False)
        log = stack.enter_context(_tensorboard(options.tensorboard))
        show = stack.enter_context(task_progress(console))
        trainer = Trainer(load_footage(examples, recipe, show), recipe, show, folder=unfinished, log=log)
        validation = trainer.validate(options.folds, _counts(options.counted), options.used_folds)
        model = trainer.fit(validation.epochs)
        if not distributed.is_first():
            return
        story = {**provenance, **describe_run(), "recipe": trainer.describe_recipe()}
        contract = trainer.contract(model, validation, story)
        save(output, dict(model.state_dict()), contract)
        trainer.finish()
    _sum_up(console, output, contract.labels, validation)


def _read(options: TrainOptions, console: Output) -> tuple[list[Example], dict[str, Any]]:
    """The examples, and what a checkpoint keeps about them; warnings are printed."""
    counted, folds = options.counted, options.folds
    examples = [e for d in options.data for e in find_examples(d, options.renamed)]
    if counted is not None and not any(counted in str(e.path) for e in examples):
        raise TrainingError(f"--counted {counted!r}: no path of the {len(examples)} files contains it")
    digests = file_digests(examples)
    for warning in check_examples(examples, digests):
        console.print(warning, style="yellow", markup=False, highlight=False)
    if options.recipe.begin_from is not None:
        warn_of_training_data(find(options.recipe.begin_from), digests, Notes(console), _NOT_HELD_OUT)
    parts = possible_folds([e.label for e in examples], [e.group for e in examples], folds)
    held_out = f"{min(options.used_folds or parts, parts)} of {parts} folds by group"
    return examples, {
        **describe_footage(options.data, digests),
        "videos": len(examples),
        "renamed": dict(options.renamed),
        "held_out": held_out + (f", counted: {counted}" if counted is not None else ""),
    }


def load_footage(examples: Sequence[Example], recipe: Recipe, show: Progress) -> list[Footage]:
    """Decode the examples in the size and at the rate that the recipe needs.

    Raises:
        TrainingError: some cannot be decoded; all of them are named.
    """
    videos = load_frames(
        examples,
        spacing_seconds=recipe.spacing_seconds / OVERSAMPLE,
        height=recipe.size,
        width=recipe.size,
        fit=recipe.fit,
        progress=show,
    )
    return [Footage(str(e.path), e.label, e.group, f) for e, f in zip(examples, videos, strict=True)]


def _counts(counted: str | None) -> Callable[[Footage], bool]:
    """Whether a video is counted in the figures."""
    return lambda footage: counted is None or counted in footage.name


@contextlib.contextmanager
def _tensorboard(folder: Path | None) -> Iterator[EpochLog]:
    """A log that writes TensorBoard's files into `folder`; one that does nothing without a folder."""
    if folder is None or not distributed.is_first():
        yield lambda *_: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  optional, and slow to import
    except ImportError:
        raise TrainingError("--tensorboard needs the package: pip install tensorboard") from None
    writers: dict[str, Any] = {}

    def log(name: str, stats: EpochStats) -> None:
        if name not in writers:
            writers[name] = SummaryWriter(str(folder / name.replace(" ", "-")))
        values = {
            "loss": stats.loss,
            "learning rate": stats.learning_rate,
            "metric of the inner validation": stats.metric,
            "clips per second": stats.samples_per_second,
            "share of time waiting for data": stats.waiting,
        }
        for title, value in values.items():
            if value is not None:
                writers[name].add_scalar(title, value, stats.epoch)

    try:
        yield log
    finally:
        for writer in writers.values():
            writer.close()


def _sum_up(console: Output, output: Path, labels: Sequence[str], validation: CrossValidation) -> None:
    m = validation.metrics()
    interval = "" if m["low"] is None else f"95 % interval {m['low']:.1%} to {m['high']:.1%}, "
    console.print(
        f"{output}: {', '.join(labels)}; held-out accuracy {m['accuracy']:.1%} "
        f"({interval}{m['videos']} videos of {m['groups']} groups)"
        + (f", AUC {m['auc']:.3f}" if m["auc"] is not None else "")
        + (f"; {validation.waiting:.0%} of the training time was spent waiting for data" if validation.epochs else ""),
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
