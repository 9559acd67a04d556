"""`clipline evaluate` and `clipline compare`: how good a checkpoint is on labelled footage."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from consumers.terminal.progress import task_progress
from models import Checkpoint, Classifier, Contract, ExportError, TrainingError, check_writable, find, save
from models.evaluation.figures import (
    Evaluation,
    Judged,
    WindowScores,
    choose_thresholds,
    compare,
    evaluate,
    number,
    shown,
)

from .datasets import Example, check_examples, file_digests, find_examples, seen_footage
from .report import write_report
from .scoring import judge

#: Of a model that has no thresholds yet.
_QUIET: Final = ("normal",)
_ITS_OWN_FIGURES: Final = "Its own metrics are of clips that were held out."


def evaluate_command(
    console: Console,
    model: str,
    data: Sequence[Path],
    renamed: Mapping[str, str],
    engine: str,
    json_file: Path | None,
    report_file: Path | None,
    calibrated_file: Path | None,
    false_alarm_rate: float,
    notes: Console,
) -> None:
    """Judge a model, print what was found, and write what was asked for; progress and warnings go to `notes`.

    Raises:
        ModelError: the model or the data cannot be used.
    """
    checkpoint = find(model)
    if calibrated_file is not None and checkpoint.export is not None:
        raise ExportError(
            f"{checkpoint.path}: --calibrated writes a checkpoint, and this was exported from one; "
            f"calibrate {checkpoint.export.source} and export it again"
        )
    if calibrated_file is not None:
        check_writable(calibrated_file)
    examples, digests = _examples(data, [checkpoint], renamed, notes)
    warn_of_training_data(checkpoint, digests, notes)
    scores = _judge(model, engine, examples, notes)
    judged = scores.judged()
    evaluation = evaluate(judged)
    _print(console, checkpoint.id, evaluation)
    if json_file is not None:
        _write(json_file, json.dumps({"model": checkpoint.id, **evaluation.to_json()}, indent=2) + "\n")
    if report_file is not None:
        _write(report_file, write_report(checkpoint, judged, evaluation, examples))
        console.print(f"Report: {report_file}", highlight=False)
    if calibrated_file is not None:
        factor = scores.fit_temperature()
        cooled = scores.judged(factor)
        contract = replace(
            checkpoint.contract,
            temperature=round(checkpoint.contract.temperature * factor, 4),
            thresholds=choose_thresholds(cooled, quiet_labels(checkpoint.contract), false_alarm_rate),
        )
        save(calibrated_file, checkpoint.state(), contract)
        before, after = evaluation.figures["calibration_error"].value, evaluate(cooled).figures["calibration_error"]
        starts = ", ".join(f"{label} from {t.start:g}" for label, t in contract.thresholds.items())
        console.print(
            f"{calibrated_file}: temperature {contract.temperature:g}, calibration error {before:.3f} → "
            f"{after.value:.3f} (on the clips it was fitted to); events of {starts}, "
            f"which {false_alarm_rate:.0%} of the other clips pass",
            highlight=False,
            soft_wrap=True,
        )


def compare_command(
    console: Console,
    models: tuple[str, str],
    data: Sequence[Path],
    renamed: Mapping[str, str],
    engine: str,
    json_file: Path | None,
    notes: Console,
) -> None:
    """Judge two models on the same footage and say whether they differ.

    Raises:
        ModelError: a model or the data cannot be used, or the models have different labels.
    """
    checkpoints = [find(m) for m in models]
    examples, digests = _examples(data, checkpoints, renamed, notes)
    for checkpoint in checkpoints:
        warn_of_training_data(checkpoint, digests, notes)
    a, b = (_judge(m, engine, examples, notes).judged() for m in models)
    b = _same_order(a, b)
    result = compare(a, b)
    table = Table(box=None)
    for name in ("", *(c.id for c in checkpoints)):
        table.add_column(name)
    both = [evaluate(a), evaluate(b)]
    for name in both[0].figures:
        table.add_row(name.replace("_", " "), *(str(e.figures[name]) for e in both))
    console.print(table)
    console.print(
        f"\nAccuracy of the second less the first: {result.difference}. "
        f"Only the first is right on {result.only_a_right} clips, only the second on {result.only_b_right}; "
        f"by chance alone with probability {result.p_value:.3g} (exact McNemar test, clips taken as independent).",
        highlight=False,
        soft_wrap=True,
    )
    if json_file is not None:
        content = {
            "models": [c.id for c in checkpoints],
            "difference": result.difference.value,
            "low": number(result.difference.low),
            "high": number(result.difference.high),
            "only_first_right": result.only_a_right,
            "only_second_right": result.only_b_right,
            "p_value": result.p_value,
            "evaluations": [e.to_json() for e in both],
        }
        _write(json_file, json.dumps(content, indent=2) + "\n")


def _examples(
    data: Sequence[Path], checkpoints: Sequence[Checkpoint], renamed: Mapping[str, str], notes: Console
) -> tuple[list[Example], dict[Path, str]]:
    """The examples, and the digests of their files."""
    names = known_labels(checkpoints, renamed)
    examples = [e for d in data for e in find_examples(d, names)]
    digests = file_digests(examples)
    for warning in check_examples(examples, digests):
        notes.print(warning, style="yellow", markup=False, highlight=False, soft_wrap=True)
    return examples, digests


def known_labels(checkpoints: Sequence[Checkpoint], renamed: Mapping[str, str]) -> dict[str, str]:
    """How labels are renamed: as they were for training, and as the user wants, who has the last word."""
    known = {label for c in checkpoints for label in c.contract.labels}
    in_training = {
        old: new
        for c in reversed(checkpoints)
        for old, new in c.contract.training.get("renamed", {}).items()
        if old not in known
    }
    return in_training | dict(renamed)


def quiet_labels(contract: Contract) -> tuple[str, ...]:
    """The labels that make no events: those without a threshold, "normal" where there are none at all."""
    if not contract.thresholds:
        return _QUIET
    return tuple(label for label in contract.labels if label not in contract.thresholds)


def warn_of_training_data(
    checkpoint: Checkpoint, digests: Mapping[Path, str], notes: Console, advice: str = _ITS_OWN_FIGURES
) -> None:
    """Say so where a model is judged on footage that it was trained on; `digests` are those of the files."""
    training = checkpoint.contract.training
    if "footage" in training:
        count, is_all = seen_footage(training["footage"], digests)
        seen = f"{'' if is_all else 'at least '}{count} of these {len(digests)} videos" if count else ""
    else:  # an older one tells only the name of its data
        trained_on = training.get("data", ())
        names = {trained_on} if isinstance(trained_on, str) else set(trained_on)
        seen = ", ".join(sorted(names & {part for path in digests for part in path.parts}))
    if seen:
        notes.print(
            f"{checkpoint.id} was trained on {seen}: on clips that it has seen, figures say little. {advice}",
            style="yellow",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def _judge(model: str, engine: str, examples: Sequence[Example], notes: Console) -> WindowScores:
    classifier = Classifier.load(model, engine)
    with task_progress(notes) as show:
        return judge(classifier, examples, show)


def _same_order(a: Judged, b: Judged) -> Judged:
    """`b` with its labels in the order of `a`."""
    if set(a.labels) != set(b.labels):
        raise TrainingError(
            f"the models have different labels ({', '.join(a.labels)}; {', '.join(b.labels)}): nothing to compare"
        )
    order = [b.labels.index(label) for label in a.labels]
    return replace(b, labels=a.labels, truth=a.truth, scores=b.scores[:, order])


def _print(console: Console, model_id: str, evaluation: Evaluation) -> None:
    console.print(f"{model_id} on {evaluation.clips} clips of {evaluation.groups} groups", highlight=False)
    figures = Table(box=None)
    for name in ("", "value", "95 % interval"):
        figures.add_column(name)
    for name, f in evaluation.figures.items():
        figures.add_row(name.replace("_", " "), shown(f.value), f.interval)
    console.print(figures)
    classes = Table(box=None)
    classes.add_column("label")
    for name in ("clips", "precision", "recall", "F1", "AUC", "average precision"):
        classes.add_column(name, justify="right")
    for c in evaluation.per_class:
        classes.add_row(
            c.label, str(c.clips), *(shown(v) for v in (c.precision, c.recall, c.f1, c.auc, c.average_precision))
        )
    console.print(classes)


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise TrainingError(f"{path}: cannot be written ({error})") from None
