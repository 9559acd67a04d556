"""`clipline train`: labelled footage in, a checkpoint out, decoded exactly as it will be served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from models import save
from models.training import OVERSAMPLE, Footage, Recipe, Trainer

from .datasets import check_examples, find_examples
from .progress import task_progress
from .scoring import load_frames


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
    for warning in check_examples(examples):
        console.print(warning, style="yellow", markup=False, highlight=False)
    with task_progress(console) as show:
        videos = load_frames(
            examples,
            spacing_seconds=recipe.spacing_seconds / OVERSAMPLE,
            height=recipe.size,
            width=recipe.size,
            fit="stretch",
            progress=show,
        )
        footage = [Footage(str(e.path), e.label, e.group, f) for e, f in zip(examples, videos, strict=True)]
        trainer = Trainer(footage, recipe, show)
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
