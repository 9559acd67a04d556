"""`clipline train`: labelled footage in, a checkpoint out, decoded exactly as it will be served."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from models import TrainingError, save
from models.training import OVERSAMPLE, Footage, Recipe, Trainer
from stream import SourceError, sample_file
from stream.source import VIDEO_SUFFIXES

_REPORTED_FILES = 20
#: Where a bar cannot be drawn, so many lines tell of a task's progress.
_PLAIN_STEPS = 4


@dataclass(frozen=True, slots=True)
class Example:
    """A labelled video, or a part of one."""

    path: Path
    label: str
    group: str
    start_seconds: float = 0.0
    end_seconds: float | None = None


def find_examples(data: Path, renamed: Mapping[str, str]) -> list[Example]:
    """Read a folder with one folder a class, or a CSV with the columns path, label and maybe start, end, group.

    Paths in a CSV are relative to it, or to the folder above it. `renamed` maps labels; a label mapped to nothing is
    left out.

    Raises:
        TrainingError: nothing usable; the message names the row.
    """
    if data.is_dir():
        examples = [
            Example(path, renamed.get(folder.name, folder.name), str(path))
            for folder in sorted(p for p in data.iterdir() if p.is_dir())
            for path in sorted(folder.rglob("*"))
            if path.suffix.lower() in VIDEO_SUFFIXES
        ]
        if not examples:
            raise TrainingError(f"{data}: expected one folder a class with video files in it")
    elif data.is_file():
        examples = _from_csv(data, renamed)
    else:
        raise TrainingError(f"{data}: no such folder or CSV file")
    return [e for e in examples if e.label]


def _from_csv(data: Path, renamed: Mapping[str, str]) -> list[Example]:
    examples = []
    with data.open(encoding="utf-8", newline="") as lines:
        rows = csv.DictReader(lines)
        if not rows.fieldnames or not {"path", "label"} <= set(rows.fieldnames):
            raise TrainingError(f"{data}: expected the columns path,label[,start,end][,group], found {rows.fieldnames}")
        for number, row in enumerate(rows, start=2):
            try:
                path = next(p for base in (data.parent, data.parent.parent) if (p := base / row["path"]).is_file())
                examples.append(
                    Example(
                        path,
                        renamed.get(row["label"], row["label"]),
                        f"{data.parent.name}/{_group(row)}",
                        float(row.get("start") or 0),
                        float(row["end"]) if row.get("end") else None,
                    )
                )
            except StopIteration:
                raise TrainingError(f"{data}, line {number}: no such file: {row['path']}") from None
            except (TypeError, ValueError) as error:
                raise TrainingError(f"{data}, line {number}: {error}") from None
    return examples


def _group(row: Mapping[str, str]) -> str:
    if "group" in row:
        return row["group"]
    if "sequence" in row:
        return f"{row.get('set', '')}-{row['sequence']}"
    return row["path"]


def train_command(
    console: Console,
    data: Sequence[Path],
    output: Path,
    recipe: Recipe,
    renamed: Mapping[str, str],
    folds: int,
    used_folds: int | None,
    counted: str | None,
) -> None:
    """Validate, train on everything, write the checkpoint and say how good it is.

    Raises:
        TrainingError: the data cannot be used; unreadable files are all named.
    """
    examples = [e for d in data for e in find_examples(d, renamed)]
    columns = (TextColumn("{task.description:22}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        tasks: dict[str, int] = {}

        def show(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=total)
            progress.update(tasks[name], completed=done)  # type: ignore[arg-type]  # rich's TaskID is an int
            if not console.is_terminal and done * _PLAIN_STEPS // total > (done - 1) * _PLAIN_STEPS // total:
                console.print(f"{name}: {done} of {total}", highlight=False)

        trainer = Trainer(_load(examples, recipe, show), recipe, show)
        outcome = trainer.validate(folds, (lambda f: counted in f.name) if counted else (lambda _: True), used_folds)
        network = trainer.fit()
    contract = trainer.contract(
        outcome,
        {
            "data": sorted({d.parent.name if d.is_file() else d.name for d in data}),
            "videos": len(examples),
            "epochs": recipe.epochs,
            "seed": recipe.seed,
            "held_out": f"{used_folds or folds} of {folds} folds by group"
            + (f", counted: {counted}" if counted else ""),
        },
    )
    save(output, network.state_dict(), contract)
    m = outcome.metrics()
    console.print(
        f"{output}: {', '.join(trainer.labels)}; held-out accuracy {m['accuracy']:.1%} "
        f"(95 % interval {m['low']:.1%} to {m['high']:.1%}, {m['videos']} videos of {m['groups']} groups)"
        + (f", AUC {m['auc']:.3f}" if m["auc"] is not None else ""),
        highlight=False,
    )


def _load(examples: Sequence[Example], recipe: Recipe, show: Callable[[str, int, int], None]) -> list[Footage]:
    """Decode every example; unreadable ones are named together before any training."""
    problems: list[str] = []
    footage: list[Footage] = []

    def load(example: Example) -> Footage | str:
        try:
            frames = sample_file(
                example.path,
                spacing_seconds=recipe.spacing_seconds / OVERSAMPLE,
                height=recipe.size,
                width=recipe.size,
                start_seconds=example.start_seconds,
                end_seconds=example.end_seconds,
            )
        except SourceError as error:
            return str(error)
        return Footage(str(example.path), example.label, example.group, frames)

    with ThreadPoolExecutor() as pool:
        for done, loaded in enumerate(pool.map(load, examples)):
            if isinstance(loaded, str):
                problems.append(loaded)
            else:
                footage.append(loaded)
            show("decoding", done + 1, len(examples))
    if problems:
        more = f"\n… and {len(problems) - _REPORTED_FILES} more" if len(problems) > _REPORTED_FILES else ""
        raise TrainingError(
            f"{len(problems)} of {len(examples)} files cannot be used:\n" + "\n".join(problems[:_REPORTED_FILES]) + more
        )
    return footage
