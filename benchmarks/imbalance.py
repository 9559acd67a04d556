"""What each remedy for imbalance does where one label is ten times rarer than the other.

    python benchmarks/imbalance.py ../shared/data/surveillance-fight/labels.csv --map nofight=normal --rare fight

The training part of each fold keeps so few videos of the rare label that the others are `--ratio` times as many; what
is held out stays whole, so that the rare label's recall means something. Means over `--draws` draws of what is kept.
Writes build/imbalance.json.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from rich.table import Table

from consumers.learning.footage.datasets import find_examples
from consumers.learning.train import load_footage
from consumers.terminal.console import Output
from consumers.terminal.progress import task_progress
from models.training.material.imbalance import IMBALANCES
from models.training.recipe import Augmentation, Recipe
from models.training.trainer import Trainer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--map", action="append", default=[], help="old=new")
    parser.add_argument("--rare", required=True, help="the label to make rare")
    parser.add_argument("--ratio", type=int, default=10)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--arch", default="cnn_lstm", help="a CNN-LSTM, whose head alone learns")
    options = parser.parse_args()
    recipe = Recipe(options.arch, epochs=options.epochs, augmentation=Augmentation(views=2))
    examples = find_examples([options.data], dict(pair.split("=") for pair in options.map))
    errors = Output(stderr=True)
    with task_progress(errors) as show:
        first = Trainer(load_footage(examples, recipe, show), recipe, show)
        rare = first.labels.index(options.rare)
        rows = []
        for imbalance in IMBALANCES:
            measured = []
            for draw in range(options.draws):
                trainer = first.under(replace(recipe, imbalance=imbalance))
                generator = np.random.default_rng(draw)
                outcome = trainer.validate(5, learn_from=partial(thinned, first.truth, rare, options.ratio, generator))
                found = outcome.evaluation
                recall = next(c.recall for c in found.per_class if c.label == options.rare)
                names = ("macro_f1", "balanced_accuracy", "auc")
                measured.append([recall, *(found.figures[n].value for n in names)])
            mean = np.mean(measured, axis=0)
            spread = np.std(measured, axis=0)
            rows.append((imbalance, mean, spread))
    table = Table(box=None)
    table.add_column("remedy")
    for name in (f"recall of {options.rare}", "macro F1", "balanced accuracy", "AUC"):
        table.add_column(name, justify="right")
    for name, mean, spread in rows:
        table.add_row(name, *(f"{m:.3f} ± {s:.3f}" for m, s in zip(mean, spread, strict=True)))
    Output().print(table)
    output = Path("build/imbalance.json")
    output.parent.mkdir(exist_ok=True)
    keys = ("rare_recall", "macro_f1", "balanced_accuracy", "auc")
    output.write_text(json.dumps({n: dict(zip(keys, map(float, mean), strict=True)) for n, mean, _ in rows}, indent=2))


def thinned(truth: np.ndarray, rare: int, ratio: int, generator: np.random.Generator, part: np.ndarray) -> np.ndarray:
    """`part` with so few of the rare label that the others are `ratio` times as many; at least two stay."""
    is_rare = truth[part] == rare
    kept = max(2, round((~is_rare).sum() / ratio))
    return np.sort(np.concatenate([part[~is_rare], generator.choice(part[is_rare], kept, replace=False)]))


if __name__ == "__main__":
    main()
