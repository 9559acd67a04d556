"""`clipline export`: write a checkpoint as a file for other machines, and measure it against the original."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
from rich.table import Table

from consumers.files import write_json
from consumers.terminal.console import Output
from consumers.terminal.notes import Notes
from consumers.terminal.progress import task_progress
from models import Checkpoint, Classifier, Contract, ExportError, Frames, TrainingError, find
from models.classical.kinds import is_classical
from models.engines.export import MAX_CALIBRATION_CLIPS, Exported, export, form_of, refusal
from models.engines.files import FORM_NAMES, FORMS, PRECISIONS, Precision
from models.evaluation.figures import evaluate
from models.windows.windowing import sliding_windows

from .footage.datasets import find_examples
from .footage.examples import DataOptions, Example
from .footage.frames import Progress, Sampling, frames_for, readable
from .footage.leakage import file_digests
from .provenance import describe_footage
from .scoring import check_labels, score_frames
from .trained_on import INT8_FOOTAGE, known_labels, warn_of_training_data

#: Scores that differ by more than this from the checkpoint's are warned of: its thresholds no longer hold.
_STRANGE_DIFFERENCE: Final = 0.2
#: Clips in a timed batch: what a worker's batch holds if some cameras are ready together.
_BATCH: Final = 8
_ROUNDS: Final = 15
#: A form that takes so many times as long as the checkpoint in torch is not evaluated: nobody would choose it.
_TOO_SLOW: Final = 20.0


@dataclass(frozen=True, slots=True)
class Row:
    """The measurements of one form of a model; `reason` says why some are missing."""

    #: "checkpoint", ".xml", ".onnx" or ".pt2".
    file: str
    precision: str
    engine: str | None = None
    megabytes: float | None = None
    milliseconds: float | None = None
    accuracy: float | None = None
    balanced_accuracy: float | None = None
    #: In place of both, where a clip may have several labels.
    mean_average_precision: float | None = None
    #: Largest difference between an example's score and the checkpoint's in torch.
    difference: float | None = None
    #: Why figures are missing.
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """Which model to export to what, and on which footage to measure the result."""

    model: str
    #: Its suffix chooses the format; None measures every format and precision and keeps none.
    output: Path | None = None
    precision: Precision = "f32"
    #: Labelled footage whose clips set the ranges of int8.
    calibration: Sequence[Path] = ()
    #: Labelled footage to measure size, speed and accuracy on; empty for no measurement.
    compared: Sequence[Path] = ()
    #: Labels by the name they have in the data; one that is renamed to nothing is left out.
    renamed: Mapping[str, str] = field(default_factory=dict)
    json_file: Path | None = None
    #: What to do about rows that cannot be used, and about footage without groups.
    data_options: DataOptions = field(default_factory=DataOptions)


def export_command(options: ExportOptions, console: Output, notes: Output) -> None:
    """Export a model, and measure it against the original; progress and warnings go to `notes`.

    Raises:
        ModelError: the model cannot be exported so, or the footage cannot be used.
    """
    checkpoint, output, precision = find(options.model), options.output, options.precision
    if is_classical(checkpoint.contract.architecture):
        raise ExportError(f"{checkpoint.id} is {checkpoint.contract.architecture}: only networks can be exported")
    renamed = known_labels([checkpoint], options.renamed)
    if output is not None and (reason := refusal(form_of(output), precision)) is not None:
        raise ExportError(reason)  # before anything is decoded
    warned = Notes(notes)
    clips: np.ndarray | None = None
    calibrating: dict[Path, str] = {}
    if options.calibration:
        examples = _examples(options.calibration, checkpoint, renamed, options.data_options, warned)
        clips = calibration_clips(checkpoint, examples, notes)
        calibrating = file_digests(examples)
    if output is not None:
        told = _with_calibration(checkpoint, options.calibration, calibrating) if precision == "int8" else checkpoint
        with notes.status(f"exporting {checkpoint.id}"):
            exported = export(told, output, precision, clips)
        _tell(console, notes, output, checkpoint, exported)
    if not options.compared:
        return
    examples = _examples(options.compared, checkpoint, renamed, options.data_options, warned)
    digests = file_digests(examples)
    warn_of_training_data(checkpoint, digests, warned)
    _warn_of_calibration(calibrating, digests, warned)
    with task_progress(notes) as show:
        if output is not None:
            rows = measure(checkpoint, [(output.suffix, precision, output)], examples, show)
        else:
            rows = measure_every_form(checkpoint, clips, examples, show)
    console.print(_table(rows))
    for row in rows:
        if row.reason is not None:
            console.print(f"{row.file} {row.precision}: {row.reason}", style="yellow", markup=False, soft_wrap=True)
    if options.json_file is not None:
        content = {"model": checkpoint.id, "rows": [asdict(row) for row in rows]}
        write_json(options.json_file, content, ExportError)


def _with_calibration(checkpoint: Checkpoint, data: Sequence[Path], digests: Mapping[Path, str]) -> Checkpoint:
    """The checkpoint, whose contract also says which footage sets the ranges of int8."""
    training = {**checkpoint.contract.training, INT8_FOOTAGE: describe_footage(data, digests)}
    return replace(checkpoint, contract=replace(checkpoint.contract, training=training))


def _warn_of_calibration(calibrating: Mapping[Path, str], digests: Mapping[Path, str], notes: Notes) -> None:
    """Warn about files that set the ranges of int8, where both are given by their digests."""
    if both := len(set(calibrating.values()) & set(digests.values())):
        notes.warn(
            f"{both} of the {len(digests)} videos to compare on also set the ranges of int8, so its figures on them "
            "are too optimistic. Calibrate with other footage"
        )


def calibration_clips(checkpoint: Checkpoint, examples: Sequence[Example], notes: Output) -> np.ndarray:
    """Clips (N, T, H, W, 3) as they are served, spread evenly over the footage, at most `MAX_CALIBRATION_CLIPS`.

    Raises:
        TrainingError: the footage cannot be used.
    """
    with task_progress(notes) as show:
        videos = frames_for(checkpoint.contract, examples, show)
    frames = checkpoint.contract.frames
    places = [(video, w) for video in videos for w in sliding_windows(len(video), frames)]
    chosen = np.linspace(0, len(places) - 1, min(len(places), MAX_CALIBRATION_CLIPS)).round().astype(int)
    return np.stack([places[i][0][places[i][1]] for i in chosen])


def measure_every_form(
    checkpoint: Checkpoint, calibration: np.ndarray | None, examples: Sequence[Example], progress: Progress
) -> list[Row]:
    """Export to every format and precision in a temporary folder, and measure all of them."""
    wanted = [(suffix, precision) for suffix in FORMS for precision in PRECISIONS]
    made: list[tuple[str, str, Path]] = []
    refused: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="clipline-export-") as folder:
        for done, (suffix, precision) in enumerate(wanted, start=1):
            path = Path(folder) / f"{checkpoint.path.stem}-{precision}{suffix}"
            try:
                export(checkpoint, path, precision, calibration)
                made.append((suffix, precision, path))
            except ExportError as error:
                refused.append(Row(suffix, precision, reason=str(error)))
            progress("exporting", done, len(wanted))
        return measure(checkpoint, made, examples, progress) + refused


def measure(
    checkpoint: Checkpoint, files: Sequence[tuple[str, str, Path]], examples: Sequence[Example], progress: Progress
) -> list[Row]:
    """Measure the checkpoint in each engine, and each file (suffix, precision, path) in the engine that serves it."""
    original = str(checkpoint.path)
    check_labels(checkpoint.id, checkpoint.contract, examples)
    videos = frames_for(checkpoint.contract, examples, progress)
    stored = "f16" if checkpoint.path.suffix == ".safetensors" else "f32"
    wanted = [("checkpoint", stored, original, engine) for engine in ("torch", "openvino-f32", "openvino")]
    wanted += [(suffix, precision, str(path), "auto") for suffix, precision, path in files]
    classifiers = [Classifier.load(path, engine) for *_, path, engine in wanted]
    batch = _batch(checkpoint.contract, videos)
    first = [_seconds(c.predict, batch[:1]) for c in classifiers]
    slow = [seconds > _TOO_SLOW * first[0] for seconds in first]
    quick = iter(
        _times([c.predict for c, is_slow in zip(classifiers, slow, strict=True) if not is_slow], batch, progress)
    )
    rows: list[Row] = []
    expected: np.ndarray | None = None
    for done, ((file, precision, path, _), classifier) in enumerate(zip(wanted, classifiers, strict=True), start=1):
        progress("classifying", done, len(wanted))
        if slow[done - 1]:
            reason = f"not evaluated: {first[done - 1] / first[0]:.0f} times as slow as the checkpoint in torch"
            milliseconds = first[done - 1] * 1e3
            rows.append(Row(file, precision, classifier.engine, _megabytes(Path(path)), milliseconds, reason=reason))
            continue
        clips = score_frames(classifier, examples, videos, lambda *_: None).by_clip()
        expected = clips.scores if expected is None else expected
        figures = evaluate(clips, rounds=1).figures
        rows.append(
            Row(
                file,
                precision,
                classifier.engine,
                _megabytes(Path(path)),
                next(quick),
                difference=float(np.abs(clips.scores - expected).max()),
                **{name: figures[name].value for name in _FIGURES if name in figures},  # type: ignore[arg-type]
            )
        )
    return rows


def _seconds(run: Callable[[np.ndarray], np.ndarray], clips: np.ndarray) -> float:
    """Seconds of a call, after a first one that warms up."""
    run(clips)
    before = time.perf_counter()
    run(clips)
    return time.perf_counter() - before


def _times(runs: Sequence[Callable[[np.ndarray], np.ndarray]], clips: np.ndarray, progress: Progress) -> list[float]:
    """Median milliseconds a clip of each; they take turns, so that other load on the machine affects all alike."""
    taken: list[list[float]] = [[] for _ in runs]
    for number in range(1, _ROUNDS + 1):
        for run, seconds in zip(runs, taken, strict=True):
            before = time.perf_counter()
            run(clips)
            seconds.append(time.perf_counter() - before)
        progress("timing", number, _ROUNDS)
    return [statistics.median(seconds) / len(clips) * 1e3 for seconds in taken]


def _batch(contract: Contract, videos: Sequence[Frames]) -> np.ndarray:
    clips = [video[sliding_windows(len(video), contract.frames)[0]] for video in videos]
    return np.stack([clips[i % len(clips)] for i in range(_BATCH)])


def _megabytes(path: Path) -> float:
    weights = path.with_suffix(".bin").stat().st_size if path.suffix == ".xml" else 0
    return (path.stat().st_size + weights) / 1e6


def _examples(
    data: Sequence[Path], checkpoint: Checkpoint, renamed: Mapping[str, str], data_options: DataOptions, notes: Notes
) -> list[Example]:
    handling = replace(data_options, multi_label=checkpoint.contract.multi_label)
    examples = find_examples(data, renamed, handling, notes.warn)
    if data_options.skip_bad_rows:
        with task_progress(notes.console) as show:
            examples = readable(examples, Sampling.of(checkpoint.contract), show, notes.warn)
    if not examples:
        raise TrainingError(f"{', '.join(map(str, data))}: no labelled footage, expected at least one example")
    return examples


def _tell(console: Output, notes: Output, output: Path, checkpoint: Checkpoint, exported: Exported) -> None:
    assert exported.checkpoint.export is not None
    console.print(
        f"{output}: {FORM_NAMES[exported.checkpoint.export.form]}, {exported.checkpoint.export.precision}, "
        f"{exported.bytes / 1e6:.1f} MB, id {exported.checkpoint.id}; "
        f"scores differ by {exported.difference:.2g} at most from those of {checkpoint.id}",
        highlight=False,
        soft_wrap=True,
    )
    if exported.difference > _STRANGE_DIFFERENCE:
        notes.print(
            f"Scores differ too much for rounding alone: measure it with --compare before you serve {output}",
            style="yellow",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


_HEADINGS: Final = (
    "file", "precision", "engine", "MB", "ms a clip", "accuracy", "balanced accuracy", "mean average precision",
    "largest score difference",
)  # fmt: skip
#: So many of them are text, and the columns of these are left out where no row has any.
TEXTS: Final = 3
_FIGURES: Final = ("accuracy", "balanced_accuracy", "mean_average_precision")
_FIGURE_HEADINGS: Final = frozenset(name.replace("_", " ") for name in _FIGURES)


def columns(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Headings, and the cells of each row below them: accuracy or the mean average precision, whichever there is."""
    shown = list(map(_cells, rows))
    used = [n for n, name in enumerate(_HEADINGS) if name not in _FIGURE_HEADINGS or {of[n] for of in shown} != {"–"}]
    return [_HEADINGS[n] for n in used], [[of[n] for n in used] for of in shown]


def _cells(row: Row) -> tuple[str, ...]:
    """A row's figures as text, in the order of `_HEADINGS`; dashes for missing ones."""

    def number(value: float | None, form: str) -> str:
        return "–" if value is None else format(value, form)

    return (
        row.file,
        row.precision,
        row.engine or "refused",
        number(row.megabytes, ".1f"),
        number(row.milliseconds, ".1f"),
        number(row.accuracy, ".3f"),
        number(row.balanced_accuracy, ".3f"),
        number(row.mean_average_precision, ".3f"),
        number(row.difference, ".1g"),
    )


def _table(rows: Sequence[Row]) -> Table:
    table = Table(box=None)
    headings, shown = columns(rows)
    for n, name in enumerate(headings):
        table.add_column(name, justify="left" if n < TEXTS else "right")
    for of in shown:
        table.add_row(*of)
    return table
