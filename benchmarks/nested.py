"""How good is the way in which the default was chosen? Nested cross-validation, by the protocol of docs/accuracy.md.

    python benchmarks/nested.py ../shared/data/surveillance-fight/labels.csv --map nofight=normal [--divisions 5]

For each division (seed) and each outer fold, every candidate is cross-validated within the other folds; the best there
(mean of accuracy and AUC; among those within half a point the cheapest to serve) scores what the outer fold holds out,
which had no part in choosing. Printed are the means over divisions, and 95 % intervals that draw whole sources.
Descriptors are computed once for each candidate; hours where footage is much. Writes build/nested.json after each
division.

    python benchmarks/nested.py … --candidate movenet_3d:10 --epochs 3 --batch 32 --learning-rate 3e-3 \\
        --weight-decay 0.05 --first 1 --divisions 2

tries others. Of one alone there is nothing to choose: what is printed is how good it is on divisions of other seeds.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from rich.table import Table
from sklearn.metrics import roc_auc_score

from consumers.learning.footage.datasets import find_examples
from consumers.learning.train import load_footage
from consumers.terminal.console import Output
from consumers.terminal.progress import task_progress
from models.evaluation.scores import WindowScores
from models.networks.zoo import describe
from models.training.recipe import Augmentation, Recipe
from models.training.trainer import Trainer

#: Architecture and frames, the cheapest first: what costs is how often a picture is encoded.
CANDIDATES: Final = (("movenet_motion", 6), ("movenet_motion", 10), ("movenet_views", 8), ("movenet_views", 10))
_FOLDS: Final = 5
_TIE: Final = 0.005
_DRAWS: Final = 1000


def figures(truth: np.ndarray, scores: np.ndarray) -> list[float]:
    """Accuracy, AUC, and the recall where 5 % and 10 % of the other clips pass; truth (N,) of 0 and 1, scores (N,)."""
    bounds = np.quantile(scores[truth == 0], [0.95, 0.90])
    recalls = [float((scores[truth == 1] > bound).mean()) for bound in bounds]
    return [float(((scores > 0.5) == truth).mean()), float(roc_auc_score(truth, scores)), *recalls]


def quality(held: WindowScores) -> float:
    accuracy, area, *_ = figures(held.truth, held.by_clip().scores[:, 1])
    return (accuracy + area) / 2


def division(trainers: Mapping[str, Trainer], counts: Counter[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth (N,), scores (N,) and groups (N,) of all clips, each by the candidate that was chosen without it."""
    splits = next(iter(trainers.values())).split(_FOLDS)
    validated = {name: trainer.validate(_FOLDS).scores for name, trainer in trainers.items()}
    row, parts = 0, []
    for number, (learnt, held) in enumerate(splits, start=1):
        best, chosen = -np.inf, ""
        for name, trainer in trainers.items():
            if len(trainers) == 1:
                chosen = name  # there is nothing to choose
                continue
            *_, within = trainer.held_out_within(f"fold {number}", learnt, _FOLDS)
            if (found := quality(within)) > best + _TIE:
                best, chosen = found, name
        counts[chosen] += 1
        parts.append((validated[chosen], slice(row, row + len(held))))
        row += len(held)
    truth = np.concatenate([outer.truth[part] for outer, part in parts])
    scores = np.concatenate([outer.scores[part, 1] for outer, part in parts])
    return truth, scores, np.concatenate([np.array(outer.groups)[part] for outer, part in parts])


def interval(outcomes: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> np.ndarray:
    """Low and high (2, F) of the figures' means over divisions, drawing sources."""
    generator, drawn = np.random.default_rng(0), []
    sources = sorted(set(outcomes[0][2]))
    for _ in range(_DRAWS):
        picked = generator.choice(sources, len(sources))
        means = []
        for truth, scores, groups in outcomes:
            rows = np.concatenate([np.flatnonzero(groups == source) for source in picked])
            if 0 < truth[rows].sum() < len(rows):
                means.append(figures(truth[rows], scores[rows]))
        drawn.append(np.mean(means, axis=0))
    bounds: np.ndarray = np.quantile(drawn, [0.025, 0.975], axis=0)
    return bounds


def candidate(text: str) -> tuple[str, int]:
    """Architecture and frames of ARCHITECTURE:FRAMES."""
    name, colon, frames = text.rpartition(":")
    if not colon or not frames.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r}: expected ARCHITECTURE:FRAMES, for example movenet_views:10")
    return name, int(frames)


def report(outcomes: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], counts: Counter[str], to: Path) -> None:
    """Print what came of the divisions so far, and write it to a file."""
    each = [figures(truth, scores) for truth, scores, _ in outcomes]
    means = np.mean(each, axis=0)
    low, high = interval(outcomes)
    table = Table("figure", "mean", "95 %", f"of {len(outcomes)} divisions", box=None)
    names = ("accuracy", "AUC", "recall at 5 % false alarms", "recall at 10 %")
    for number, (name, *values) in enumerate(zip(names, means, low, high, strict=True)):
        shown = ", ".join(f"{found[number]:.3f}" for found in each)
        table.add_row(name, f"{values[0]:.3f}", f"{values[1]:.3f} to {values[2]:.3f}", shown)
    Output().print(table)
    Output().print("chosen: " + ", ".join(f"{name} {count} times" for name, count in counts.most_common()))
    written = {
        "divisions": len(outcomes),
        "figures": dict(zip(names, means.tolist(), strict=True)),
        "chosen": dict(counts),
    }
    to.parent.mkdir(exist_ok=True)
    to.write_text(json.dumps(written, indent=2) + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--map", action="append", default=[], help="old=new")
    parser.add_argument("--divisions", type=int, default=5, help="how many, each of another seed (5)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (0)")
    parser.add_argument(
        "--candidate", action="append", type=candidate, help="ARCHITECTURE:FRAMES, the cheapest first; may be repeated"
    )
    usual = Recipe()
    parser.add_argument("--epochs", type=int, default=usual.epochs)
    parser.add_argument("--batch", type=int, default=usual.batch)
    parser.add_argument("--learning-rate", type=float, default=usual.learning_rate)
    parser.add_argument("--weight-decay", type=float, default=usual.weight_decay)
    parser.add_argument("--mixup", type=float, default=usual.augmentation.mixup)
    parser.add_argument("--output", type=Path, default=Path("build/nested.json"))
    options = parser.parse_args()
    examples = find_examples([options.data], dict(pair.split("=") for pair in options.map))
    errors = Output(stderr=True)
    with task_progress(errors) as show:
        trainers: dict[str, tuple[Recipe, Trainer]] = {}
        for architecture, frames in options.candidate or CANDIDATES:
            known = describe(architecture)
            recipe = Recipe(
                architecture,
                frames=frames,
                spacing_seconds=known.spacing_seconds,
                size=known.size,
                epochs=options.epochs,
                batch=options.batch,
                learning_rate=options.learning_rate,
                weight_decay=options.weight_decay,
                augmentation=Augmentation(flip=False, mixup=options.mixup),
            )
            trainers[f"{architecture}, {frames} frames"] = recipe, Trainer(load_footage(examples, recipe, show), recipe)
        counts, outcomes = Counter[str](), []
        for seed in range(options.first, options.first + options.divisions):
            alike = {name: trainer.under(replace(recipe, seed=seed)) for name, (recipe, trainer) in trainers.items()}
            outcomes.append(division(alike, counts))
            show("divisions", len(outcomes), options.divisions)
            report(outcomes, counts, options.output)


if __name__ == "__main__":
    main()
