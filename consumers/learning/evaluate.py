"""`clipline evaluate` and `clipline compare`: how good a checkpoint is on labelled footage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.table import Table

from consumers.files import write_json, write_text
from consumers.reports.page import command_line
from consumers.terminal.console import Output
from consumers.terminal.notes import Notes
from consumers.terminal.progress import task_progress
from models import UNKNOWN, Checkpoint, Classifier, ExportError, TrainingError, check_writable, find, save
from models.evaluation.calibration import choose_thresholds, fit_calibration, recalibrated
from models.evaluation.figures import Figure, evaluate, number
from models.evaluation.scores import WindowScores
from models.evaluation.significance import AccuracyComparison, compare_accuracy, compare_precision

from .footage.datasets import find_examples
from .footage.examples import DataOptions, Example
from .footage.frames import Sampling, readable
from .footage.leakage import check_examples, file_digests
from .provenance import describe_footage, describe_run
from .report import verdict, write_report
from .results.tables import figure_title, print_classes, print_figures
from .scoring import evaluation_of, score_examples
from .trained_on import CALIBRATION_FOOTAGE, known_labels, quiet_labels, warn_of_training_data


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """Which model to evaluate on what, and what to write."""

    model: str
    data: Sequence[Path]
    #: Labels by the name they have in the data; one that is renamed to nothing is left out.
    renamed: Mapping[str, str] = field(default_factory=dict)
    engine: str = "auto"
    json_file: Path | None = None
    report_file: Path | None = None
    #: Where the model goes with a temperature and thresholds that are fitted to this footage.
    calibrated_file: Path | None = None
    #: Share of the other clips that a threshold may let pass.
    false_alarm_rate: float = 0.05
    #: What to do about rows that cannot be used, and about footage without groups.
    data_options: DataOptions = field(default_factory=DataOptions)


@dataclass(frozen=True, slots=True)
class CompareOptions:
    """Which two models to compare on what, and what to write."""

    models: tuple[str, str]
    data: Sequence[Path]
    renamed: Mapping[str, str] = field(default_factory=dict)
    engine: str = "auto"
    json_file: Path | None = None
    #: What to do about rows that cannot be used, and about footage without groups.
    data_options: DataOptions = field(default_factory=DataOptions)


def evaluate_command(options: EvaluateOptions, console: Output, notes: Output) -> None:
    """Evaluate a model, print the figures, and write what was asked for; progress and warnings go to `notes`.

    Raises:
        ModelError: the model or the data cannot be used.
    """
    checkpoint = find(options.model)
    if options.calibrated_file is not None:
        if checkpoint.export is not None:
            raise ExportError(
                f"{checkpoint.path}: --calibrated writes a checkpoint, and this was exported from one; "
                f"calibrate {checkpoint.export.source} and export it again"
            )
        if checkpoint.contract.unknown is not None:
            raise TrainingError(
                f"{checkpoint.path}: --calibrated does not know what is {UNKNOWN!r} from what is not; expected a model "
                "that was trained without --unknown"
            )
        check_writable(options.calibrated_file)
    warned = Notes(notes)
    examples, digests = _examples(options, [checkpoint], warned)
    before = len(warned.warnings)
    warn_of_training_data(checkpoint, digests, warned)
    too_good = warned.warnings[before:]
    windows = _score(options.model, options.engine, examples, notes)
    evaluation = evaluation_of(checkpoint.contract, windows)
    console.print(
        f"{checkpoint.id} on {evaluation.clips} clips of {evaluation.groups} groups", highlight=False, markup=False
    )
    print_figures(console, evaluation)
    print_classes(console, evaluation)
    # Again: minutes and many lines lie between, or the figures go into a file.
    for warning in too_good:
        console.print(warning, style="yellow", soft_wrap=True)
    console.print(verdict(evaluation), style="bold", highlight=False, markup=False, soft_wrap=True)
    if options.json_file is not None:
        _write_json(options.json_file, {"model": checkpoint.id, **evaluation.to_json()})
    if options.report_file is not None:
        sources = [str(path) for path in options.data]
        page = write_report(checkpoint, windows, evaluation, examples, warned.warnings, sources, command_line())
        write_text(options.report_file, page, TrainingError)
        console.print(f"Report: {options.report_file}", highlight=False, markup=False, soft_wrap=True)
    if options.calibrated_file is not None:
        fitted_to = {"false_alarm_rate": options.false_alarm_rate, **describe_footage(options.data, digests)}
        _calibrate(checkpoint, windows, options.calibrated_file, fitted_to, console)


def compare_command(options: CompareOptions, console: Output, notes: Output) -> None:
    """Evaluate two models on the same footage and test whether the difference is significant.

    Raises:
        ModelError: a model or the data cannot be used, or the models have different labels.
    """
    checkpoints = [find(m) for m in options.models]
    if len({c.contract.multi_label for c in checkpoints}) > 1:
        several, one = sorted(checkpoints, key=lambda c: not c.contract.multi_label)
        raise TrainingError(
            f"a clip may have several labels for {several.id}, and one for {one.id}: nothing to compare"
        )
    warned = Notes(notes)
    examples, digests = _examples(options, checkpoints, warned)
    for checkpoint in checkpoints:
        warn_of_training_data(checkpoint, digests, warned)
    a, b = (_score(m, options.engine, examples, notes) for m in options.models)
    b = _same_order(a, b)
    table = Table(box=None)
    for name in ("", *(c.id for c in checkpoints)):
        table.add_column(name)
    both = [evaluation_of(c.contract, windows) for c, windows in zip(checkpoints, (a, b), strict=True)]
    for name in both[0].figures:
        table.add_row(figure_title(name), *(str(e.figures[name]) for e in both))
    console.print(table)
    console.print()
    if a.is_multi_label:
        difference = compare_precision(a.by_clip(), b.by_clip())
        _say(console, f"Mean average precision of the second minus the first: {difference}.")
        told: dict[str, Any] = _difference_json(difference)
    else:
        result = compare_accuracy(a.by_clip(), b.by_clip())
        _say(
            console,
            f"Accuracy of the second minus the first: {result.difference}. "
            f"Only the first is right on {result.only_a_right} clips, only the second on {result.only_b_right}: "
            f"p = {result.p_value:.3g} (exact McNemar test, which takes clips as independent).",
        )
        told = _accuracy_json(result)
    if options.json_file is not None:
        content = {"models": [c.id for c in checkpoints], **told, "evaluations": [e.to_json() for e in both]}
        _write_json(options.json_file, content)


def _difference_json(difference: Figure) -> dict[str, Any]:
    return {"difference": difference.value, "low": number(difference.low), "high": number(difference.high)}


def _accuracy_json(result: AccuracyComparison) -> dict[str, Any]:
    return {
        **_difference_json(result.difference),
        "only_first_right": result.only_a_right,
        "only_second_right": result.only_b_right,
        "p_value": result.p_value,
    }


def _say(console: Output, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True)


def _examples(
    options: EvaluateOptions | CompareOptions, checkpoints: Sequence[Checkpoint], notes: Notes
) -> tuple[list[Example], dict[Path, str]]:
    """The examples, and the digests of their files."""
    names = known_labels(checkpoints, options.renamed)
    handling = replace(options.data_options, multi_label=checkpoints[0].contract.multi_label)
    examples = find_examples(options.data, names, handling, notes.warn)
    if options.data_options.skip_bad_rows:
        with task_progress(notes.console) as show:
            for checkpoint in checkpoints:
                examples = readable(examples, Sampling.of(checkpoint.contract), show, notes.warn)
    digests = file_digests(examples)
    for warning in check_examples(examples, digests):
        notes.warn(warning)
    return examples, digests


def _score(model: str, engine: str, examples: Sequence[Example], notes: Output) -> WindowScores:
    classifier = Classifier.load(model, engine)
    with task_progress(notes) as show:
        return score_examples(classifier, examples, show)


def _calibrate(
    checkpoint: Checkpoint, windows: WindowScores, path: Path, fitted_to: Mapping[str, Any], console: Output
) -> None:
    """Write the model with a temperature and thresholds that are fitted to these scores of the footage `fitted_to`."""
    false_alarm_rate: float = fitted_to["false_alarm_rate"]
    calibration = fit_calibration(windows)
    fitted = windows.scaled(calibration)
    contract = replace(
        recalibrated(checkpoint.contract, calibration),
        thresholds=choose_thresholds(fitted, quiet_labels(checkpoint.contract), false_alarm_rate),
        training={**checkpoint.contract.training, CALIBRATION_FOOTAGE: {**fitted_to, **describe_run()}},
    )
    save(path, checkpoint.state(), contract)
    before, after = (evaluate(w.by_clip(), w, rounds=0).figures["calibration_error"].value for w in (windows, fitted))
    starts = ", ".join(f"{label} {t.start:g}" for label, t in contract.thresholds.items())
    how = "a calibration of each label" if contract.multi_label else f"temperature {contract.temperature:g}"
    console.print(
        f"{path}: {how}, calibration error {before:.3f} → {after:.3f} "
        f"(of the windows it was fitted to); events start at {starts}, "
        f"which at most {false_alarm_rate:.0%} of the windows of other clips reach",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def _same_order(a: WindowScores, b: WindowScores) -> WindowScores:
    """`b` with its labels in the order of `a`."""
    if set(a.labels) != set(b.labels):
        raise TrainingError(
            f"the models have different labels ({', '.join(a.labels)}; {', '.join(b.labels)}): nothing to compare"
        )
    order = [b.labels.index(label) for label in a.labels]
    return replace(b, labels=a.labels, truth=a.truth, scores=tuple(rows[:, order] for rows in b.scores))


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_json(path, content, TrainingError)
