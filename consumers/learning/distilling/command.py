"""`clipline distill`: footage and teachers in, a student's checkpoint out.

find_footage    which files                                     footage.py
Teachers        scores of every window, kept on disk            teachers.py
Trainer         towards these scores; held out where labelled   models/training/distillation.py
save            weights and contract                            models/checkpoint.py
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from consumers.learning.footage.datasets import find_examples
from consumers.learning.footage.examples import DataOptions, Example, unusable_files
from consumers.learning.footage.frames import Progress, Sampling, load_frames, trim_frames
from consumers.learning.footage.leakage import check_examples
from consumers.learning.footage.splits import folds_of, without_test
from consumers.learning.provenance import describe_footage, describe_run
from consumers.learning.results.summary import figures_line
from consumers.learning.results.tables import print_classes
from consumers.learning.scoring import check_labels, windows_of
from consumers.learning.threads import one_thread_a_core
from consumers.learning.trained_on import TEACHERS, began_from, known_labels, quiet_labels, warn_of_training_data
from consumers.terminal.console import Output
from consumers.terminal.notes import Notes
from consumers.terminal.progress import task_progress
from consumers.terminal.wording import count, duration
from models import TrainingError, check_writable, save
from models.evaluation.figures import evaluate
from models.training import distributed
from models.training.distillation import Distilled, Lesson, Opinion, Taught, agreement
from models.training.material.footage import Footage, check_held_out
from models.training.material.samples import OVERSAMPLE
from models.training.recipe import Recipe
from models.training.trainer import Trainer
from models.training.validation import CrossValidation

from .footage import find_footage, without_labelled
from .teachers import Teachers, story_of

_NOT_HELD_OUT: Final = "The student learns from it, so the accuracy of clips held out here is too optimistic."


@dataclass(frozen=True, slots=True)
class DistillOptions:
    """Who teaches whom, from what."""

    #: Names or paths of models; the first gives labels and, where nothing is labelled, thresholds.
    teachers: Sequence[str]
    #: Files, folders and lists of which no label is read.
    footage: Sequence[Path]
    output: Path
    recipe: Recipe
    #: Labelled footage, which is learnt from likewise, and on which the student is measured where it is held out.
    labelled: Sequence[Path] = ()
    temperature: float = 2.0
    engine: str = "auto"
    renamed: Mapping[str, str] = field(default_factory=dict)
    folds: int = 5
    used_folds: int | None = None
    resume: bool = True
    data_options: DataOptions = field(default_factory=DataOptions)


def distill_command(options: DistillOptions, console: Output) -> None:
    """Let teachers score the footage, train a student on that, and write and measure it.

    Raises:
        CheckpointError: the checkpoint could not be written; told before anything is decoded.
        ModelError: a teacher, the footage or the recipe cannot be used.
    """
    check_writable(options.output)
    Distilled.check(options.recipe)
    folder = options.output.with_name(f".{options.output.name}.unfinished")
    with distributed.joined(), one_thread_a_core(), contextlib.ExitStack() as stack:
        if not distributed.is_first():
            console.quiet = True
        notes = Notes(console)
        stack.callback(trim_frames)
        show = stack.enter_context(task_progress(console))
        try:
            _distill(options, folder, console, notes, show)
        except KeyboardInterrupt:
            notes.say(
                f"stopped; what was scored and learnt is kept in {folder}: the same command goes on from there "
                "(--fresh begins anew)"
            )
            raise


@dataclass(frozen=True, slots=True)
class _Class:
    """The footage that is learnt from, and what teachers say of it."""

    labelled: Sequence[Example]
    footage: Sequence[Example]
    digests: Mapping[Path, str]
    taught: Taught


def _distill(options: DistillOptions, folder: Path, console: Output, notes: Notes, show: Progress) -> None:
    teachers = Teachers(options.teachers, options.engine)
    recipe = replace(options.recipe, quiet=quiet_labels(teachers.contract), multi_label=teachers.contract.multi_label)
    if not options.resume and distributed.is_first():
        shutil.rmtree(folder, ignore_errors=True)
    distributed.wait_for_all()
    learnt = _taught(options, recipe, teachers, folder, notes, show)
    videos = [
        Footage(e.name, e.label, e.group, lesson.frames)
        for e, lesson in zip(learnt.labelled, learnt.taught.labelled, strict=True)
    ]
    trainer = Trainer(videos, recipe, show, folder=folder / "student", taught=learnt.taught)
    if trainer.left is not None:
        notes.say(trainer.left, style="")
    validation = trainer.validate(options.folds, used=options.used_folds) if videos else None
    model: Any = trainer.fit(None if validation is None else validation.epochs)
    if not distributed.is_first():
        return
    story = _provenance(options, teachers, learnt) | describe_run()
    contract = trainer.contract(model, validation, {**story, "recipe": trainer.describe_recipe()})
    if validation is None:  # what imitates scores is judged by the thresholds of what it imitates
        contract = replace(contract, thresholds=teachers.contract.thresholds)
    save(options.output, dict(model.state_dict()), contract)
    _sum_up(console, options, teachers, learnt, validation, agreement(model, learnt.taught, recipe))
    shutil.rmtree(folder, ignore_errors=True)


def _taught(
    options: DistillOptions, recipe: Recipe, teachers: Teachers, folder: Path, notes: Notes, show: Progress
) -> _Class:
    """Find the footage, and let the teachers score it.

    Raises:
        TrainingError: some of it cannot be used.
    """
    labelled = _labelled(options, recipe, teachers, notes) if options.labelled else []
    footage, digests = without_labelled(
        find_footage(options.footage, options.data_options, notes.warn), labelled, notes.say
    )
    for warning in check_examples(labelled, digests) if labelled else ():
        notes.warn(warning)
    for checkpoint in teachers.checkpoints if labelled else ():
        warn_of_training_data(checkpoint, {e.path: digests[e.path] for e in labelled}, notes, _NOT_HELD_OUT)
    scored = teachers.opinions([*labelled, *footage], digests, folder / "teachers", notes, show)
    usable = _usable(scored, options.data_options, notes)
    videos = load_frames(list(usable), _sampling(recipe), show)
    lessons = {e: Lesson(frames, usable[e]) for e, frames in zip(usable, videos, strict=True)}
    labelled, footage = ([e for e in some if e in lessons] for some in (labelled, footage))
    taught = Taught(
        teachers.contract.labels,
        [lessons[e] for e in labelled],
        [lessons[e] for e in footage],
        options.temperature,
        story_of(teachers, [*labelled, *footage], digests),
    )
    return _Class(labelled, footage, digests, taught)


def _labelled(options: DistillOptions, recipe: Recipe, teachers: Teachers, notes: Notes) -> list[Example]:
    """The labelled footage, with labels that the teachers know."""
    names = known_labels(teachers.checkpoints, options.renamed)
    examples = find_examples(
        options.labelled, names, replace(options.data_options, multi_label=recipe.multi_label), notes.warn
    )
    examples = without_test(examples, notes.say)
    check_labels(teachers.checkpoints[0].id, teachers.contract, examples)
    check_held_out(examples, recipe)  # before hours of scoring
    return examples


def _usable(
    scored: Mapping[Example, Sequence[Opinion] | str], options: DataOptions, notes: Notes
) -> dict[Example, Sequence[Opinion]]:
    """What could be decoded, and what teachers say of it; the rest is told.

    Raises:
        TrainingError: some could not be and is not to be skipped, or none could be.
    """
    usable = {e: said for e, said in scored.items() if not isinstance(said, str)}
    problems = [why for why in scored.values() if isinstance(why, str)]
    if problems and not (options.skip_bad_rows and usable):
        raise TrainingError(f"{unusable_files(problems, len(scored))}\n--skip-bad-rows goes on without them")
    if problems:
        notes.warn(f"{len(problems)} of {len(scored)} videos cannot be read and are left out; first: {problems[0]}")
    return usable


def _sampling(recipe: Recipe) -> Sampling:
    return Sampling(recipe.spacing_seconds / OVERSAMPLE, recipe.size, recipe.size, recipe.fit)


def _provenance(options: DistillOptions, teachers: Teachers, learnt: _Class) -> dict[str, Any]:
    """What the student's checkpoint keeps about teachers and footage."""
    used = [*learnt.labelled, *learnt.footage]
    parts = folds_of(learnt.labelled, options.folds)
    held_out = f"{min(options.used_folds or parts, parts)} of {parts} folds" if learnt.labelled else "nothing"
    return {
        **describe_footage([*options.footage, *options.labelled], {e.path: learnt.digests[e.path] for e in used}),
        TEACHERS: [began_from(checkpoint) for checkpoint in teachers.checkpoints],
        "temperature": options.temperature,
        "videos": len(used),
        "labelled": len(learnt.labelled),
        "hours": round(_seconds(learnt, options.recipe) / 3600, 3),
        "renamed": dict(options.renamed),
        "held_out": held_out,
    }


def _sum_up(
    console: Output,
    options: DistillOptions,
    teachers: Teachers,
    learnt: _Class,
    validation: CrossValidation | None,
    agreed: float,
) -> None:
    names = " and ".join(c.id for c in teachers.checkpoints)
    figures = ""
    if validation is not None:
        figures = (
            f"held-out {figures_line(validation.evaluation)}; "
            f"of what teaches it, on all {count(len(learnt.labelled), 'labelled video')}, "
            f"{_teachers_figure(teachers, learnt)}; "
        )
    console.print(
        f"{options.output}: learnt from {names} on {count(len(learnt.labelled) + len(learnt.footage), 'video')} "
        f"({duration(_seconds(learnt, options.recipe))}); {figures}"
        f"it says what it was taught on {agreed:.1%} of the windows that it learnt from",
        soft_wrap=True,
    )
    if validation is not None:
        print_classes(console, validation.evaluation)
    else:
        console.print("Nobody labelled this footage, so nothing is known of its accuracy: --labelled measures it.")


def _teachers_figure(teachers: Teachers, learnt: _Class) -> str:
    """How good the mean score of the teachers is on the labelled videos: what `Evaluation.main` is."""
    means = [
        np.mean([o.scores.mean(0) for o in lesson.opinions], axis=0)[None].astype(np.float64)
        for lesson in learnt.taught.labelled
    ]
    return f"{evaluate(windows_of(teachers.contract, learnt.labelled, means).by_clip(), rounds=0).main.value:.1%}"


def _seconds(learnt: _Class, recipe: Recipe) -> float:
    lessons = [*learnt.taught.labelled, *learnt.taught.unlabelled]
    return sum(len(lesson.frames) for lesson in lessons) * _sampling(recipe).spacing_seconds
