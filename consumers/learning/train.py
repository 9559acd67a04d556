"""`clipline train`: labelled footage in, a checkpoint out, decoded exactly as it will be served.

find_examples   which file shows what, in which group          datasets.py
load_footage    decoded frames, kept on disk                   frames.py
Trainer         cross-validated, then trained on everything    models/training/trainer.py
save            weights and contract                           models/checkpoint.py
"""

from __future__ import annotations

import contextlib
import difflib
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from consumers.terminal.console import Output
from consumers.terminal.notes import Notes
from consumers.terminal.progress import task_progress
from models import UNKNOWN, Checkpoint, Classifier, Frames, TrainingError, check_writable, find, save
from models.training import distributed
from models.training.loop import EpochStats
from models.training.material.footage import Footage
from models.training.material.samples import OVERSAMPLE
from models.training.open_set import UNKNOWN_RATE
from models.training.recipe import Recipe
from models.training.strategies.strategy import EpochLog
from models.training.trainer import Trainer, strategy_for
from models.training.trials import SEARCHED, Trials, check_trials
from models.training.validation import metrics_of

from .footage.datasets import find_examples
from .footage.examples import DataOptions, Example
from .footage.frames import Progress, Sampling, decode_ahead, load_frames, readable, trim_frames
from .footage.leakage import check_examples, check_pictures, file_digests
from .footage.splits import VALIDATION, Splits, check_leaks, folds_of
from .label_errors import label_doubts
from .provenance import describe_footage, describe_run
from .results.scores_file import scores_path, write_scores
from .results.source_curve import Held, SourcePoint, source_curve
from .results.summary import sum_up
from .scoring import evaluation_of, score_frames
from .threads import one_thread_a_core
from .trained_on import CALIBRATION_FOOTAGE, began_from, warn_of_training_data

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
    #: Make one group of the groups of videos that look alike.
    merge_alike: bool = False
    #: Continue from what a killed run of the same command left.
    resume: bool = True
    #: So many recipes are tried on the training part of each fold; None: only the one that was given.
    trials: int | None = None
    #: Lists and folders that judge the model at the end, and are never learnt from.
    test: Sequence[Path] = ()
    #: Also measure accuracy over the number of groups that are learnt from.
    learning_curve: bool = False
    #: Where TensorBoard's files go.
    tensorboard: Path | None = None
    #: What to do about rows that cannot be used, and about footage without groups.
    data_options: DataOptions = field(default_factory=DataOptions)


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
    if options.trials is not None:
        check_trials(recipe)
    unfinished = output.with_name(f".{output.name}.unfinished")
    with distributed.joined(), one_thread_a_core(), contextlib.ExitStack() as stack:
        if not distributed.is_first():
            console.quiet = True
        notes = Notes(console)
        stack.callback(trim_frames)
        try:
            _train(options, unfinished, console, notes, stack)
        except KeyboardInterrupt:
            state = f", and the state of training in {unfinished}" if unfinished.is_dir() else ""
            notes.say(
                f"stopped; decoded frames are kept{state}: the same command goes on from there (--fresh begins anew)"
            )
            raise


def _train(
    options: TrainOptions,
    unfinished: Path,
    console: Output,
    notes: Notes,
    stack: contextlib.ExitStack,
) -> None:
    recipe = options.recipe
    show = stack.enter_context(task_progress(console))
    splits, digests, begun = _read(options, notes, show)
    if not options.resume and distributed.is_first():
        shutil.rmtree(unfinished, ignore_errors=True)
    distributed.wait_for_all()
    log = stack.enter_context(_tensorboard(options.tensorboard))
    videos = load_videos(splits.learnt, recipe, show)
    # As it is served, not as it is learnt from; what cannot be decoded is told before training.
    test_videos = load_frames(splits.test, _served(recipe), show) if splits.test else []
    examples, alike = check_pictures(
        [*splits.learnt, *splits.test], [*videos, *test_videos], merge=options.merge_alike, show=show
    )
    for warning in alike:
        notes.warn(warning)
    check_leaks(examples, digests)  # anew, since groups may have become one
    splits = Splits.of(examples)
    trainer = Trainer(_as_footage(splits.learnt, videos), recipe, show, folder=unfinished, log=log)
    if trainer.left is not None:
        notes.say(trainer.left, style="")
    trials = None if options.trials is None else Trials(trainer, recipe, options.trials, show)
    how = Held(options.folds, options.used_folds, _counts(options.counted), None if trials is None else trials.choose)
    validation = trainer.validate(how.folds, how.counts, how.used, choose=how.choose)
    sources = source_curve(trainer, recipe, how, validation) if options.learning_curve else []
    if trials is not None:
        trainer = trainer.under(trials.choose(*trainer.whole_part()))
    model = trainer.fit(validation.epochs)
    if not distributed.is_first():
        return
    provenance = _provenance(options, splits, digests, begun) | describe_run()
    if trials is not None:
        provenance["trials"] = {"count": options.trials, "of": list(SEARCHED)}
    contract = trainer.contract(model, validation, {**provenance, "recipe": trainer.describe_recipe()})
    contract = replace(contract, metrics={**contract.metrics, **_curves(sources)})
    if recipe.unknown:
        unknown = trainer.with_unknown(model, how.folds, how.counts, how.used)
        contract = replace(contract, labels=(*contract.labels, UNKNOWN), unknown=unknown)
        notes.say(
            f"{UNKNOWN}: what is farther than {unknown.threshold:g} from what was learnt, as {UNKNOWN_RATE:.0%} of the "
            "held-out windows are; the figures here are those without it",
            style="",
        )
    save(options.output, dict(model.state_dict()), contract)
    held_out, test = [validation.scores], None
    if splits.test:
        # By the file that was written, as it will be served.
        show("classifying", 0, len(splits.test))  # an engine may take long to take the model
        windows = score_frames(Classifier.load(str(options.output)), splits.test, test_videos, show)
        test = evaluation_of(contract, windows)
        held_out.append(windows.by_clip())
        contract = replace(contract, metrics={**contract.metrics, "test": metrics_of(test)})
        save(options.output, dict(model.state_dict()), contract)
    scores = scores_path(options.output)
    write_scores(scores, held_out, [*splits.learnt, *splits.test])
    trainer.finish()
    sum_up(console, options.output, contract.labels, validation, test, sources, scores)
    if (doubts := label_doubts(validation.scores)) is not None:
        notes.warn(doubts)


def _read(options: TrainOptions, notes: Notes, show: Progress) -> tuple[Splits, dict[Path, str], Checkpoint | None]:
    """The examples, the digests of their files, and the model that training begins from; warnings are printed."""
    counted, recipe = options.counted, options.recipe
    handling = replace(options.data_options, multi_label=recipe.multi_label)
    examples = find_examples(options.data, options.renamed, handling, notes.warn, test=options.test)
    _check_quiet(recipe.quiet, {label for e in examples for label in e.labels}, notes)
    if counted is not None and not any(counted in str(e.path) for e in examples):
        raise TrainingError(f"--counted {counted!r}: no path of the {len(examples)} files contains it")
    if options.data_options.skip_bad_rows:
        _decode_shares(examples, recipe, show)
        examples = readable(examples, _sampling(recipe), show, notes.warn)
    splits = Splits.of(examples)
    digests = file_digests(examples, show)
    check_leaks(examples, digests)
    for warning in check_examples(examples, digests):
        notes.warn(warning)
    begun = None
    if recipe.begin_from is not None:
        begun = find(recipe.begin_from)
        warn_of_training_data(begun, digests, notes, _NOT_HELD_OUT)
    return splits, digests, begun


def _provenance(
    options: TrainOptions, splits: Splits, digests: Mapping[Path, str], begun: Checkpoint | None
) -> dict[str, Any]:
    """What a checkpoint keeps about its footage."""

    def footage(examples: Sequence[Example]) -> dict[str, Any]:
        return describe_footage(options.data, {e.path: digests[e.path] for e in examples})

    examples = splits.train
    if splits.validation:
        held_out = f"{splits.told(splits.validation)} of the split 'val'"
    else:
        parts = folds_of(examples, options.folds)
        by = "group" if all(e.is_grouped for e in examples) else "file"
        held_out = f"{min(options.used_folds or parts, parts)} of {parts} folds by {by}"
    return {
        **footage(examples),
        # Temperature and thresholds are fitted to what is held out.
        **({CALIBRATION_FOOTAGE: footage(splits.validation)} if splits.validation else {}),
        **({"test": splits.told(splits.test)} if splits.test else {}),
        **({} if begun is None else {"began_from": began_from(begun)}),
        "videos": len(examples),
        "renamed": dict(options.renamed),
        "held_out": held_out + (f", counted: {options.counted}" if options.counted is not None else ""),
    }


def load_videos(examples: Sequence[Example], recipe: Recipe, show: Progress) -> list[Frames]:
    """Decode the examples in the size and at the rate that the recipe needs.

    Raises:
        TrainingError: some cannot be decoded; all of them are named.
    """
    _decode_shares(examples, recipe, show)
    return load_frames(examples, _sampling(recipe), show)


def _decode_shares(examples: Sequence[Example], recipe: Recipe, show: Progress) -> None:
    """Decode ahead: processes that train together share the work, and the frames if they share a cache."""
    if distributed.world() > 1:
        decode_ahead(examples[distributed.rank() :: distributed.world()], _sampling(recipe), show)
        distributed.wait_for_all()


def load_footage(examples: Sequence[Example], recipe: Recipe, show: Progress) -> list[Footage]:
    """The examples as a trainer takes them, decoded in the size and at the rate that the recipe needs.

    Raises:
        TrainingError: some cannot be decoded; all of them are named.
    """
    return _as_footage(examples, load_videos(examples, recipe, show))


def _as_footage(examples: Sequence[Example], videos: Sequence[Frames]) -> list[Footage]:
    return [Footage(e.name, e.label, e.group, f, e.split == VALIDATION) for e, f in zip(examples, videos, strict=True)]


def _sampling(recipe: Recipe) -> Sampling:
    return Sampling(recipe.spacing_seconds / OVERSAMPLE, recipe.size, recipe.size, recipe.fit)


def _served(recipe: Recipe) -> Sampling:
    return Sampling(recipe.spacing_seconds, recipe.size, recipe.size, recipe.fit)


def _check_quiet(quiet: Sequence[str], labels: Collection[str], notes: Notes) -> None:
    """Check the labels that are never to raise an event.

    Raises:
        TrainingError: there is no such label, and somebody named it.
    """
    for label in quiet if tuple(quiet) != Recipe().quiet else ():
        if label not in labels:
            near = difflib.get_close_matches(label, labels, n=1)
            raise TrainingError(
                f"--quiet {label!r}: expected a label of the footage ({', '.join(sorted(labels))})"
                + (f"; did you mean {near[0]!r}?" if near else "")
            )
    if set(labels) <= set(quiet):
        notes.warn("all labels are quiet, so the model raises no events")


def _curves(sources: Sequence[SourcePoint]) -> dict[str, Any]:
    return {"over_groups": [point.to_json() for point in sources]} if sources else {}


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
