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

    --candidate movenet_views:10*3                     the default with three times its penalty
    --candidate movenet_views:8+movenet_views:10       scores of two models, averaged
    --also-normal ut-interaction/labels.csv            what is normal there (after --map) is learnt from, never counted
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self
from unittest import mock

import numpy as np
from rich.table import Table
from sklearn.metrics import roc_auc_score

from consumers.learning.footage.datasets import find_examples
from consumers.learning.train import load_footage
from consumers.terminal.console import Output
from consumers.terminal.progress import task_progress
from models.evaluation.folds import split_by_group
from models.evaluation.scores import ClipScores
from models.networks import movenet
from models.networks.zoo import describe
from models.training.loop import Trained
from models.training.recipe import Augmentation, Recipe
from models.training.trainer import Trainer

#: The cheapest first: what costs is how often a picture is encoded.
CANDIDATES: Final = ("movenet_motion:6", "movenet_motion:10", "movenet_views:8", "movenet_views:10")
_FOLDS: Final = 5
_NORMAL: Final = "normal"
_TIE: Final = 0.005
_DRAWS: Final = 1000


@dataclass(frozen=True, slots=True)
class Member:
    """One of the models whose scores are averaged."""

    architecture: str
    frames: int
    #: Times the penalty that it is fitted with otherwise.
    penalty: float = 1.0

    def __str__(self) -> str:
        times = "" if self.penalty == 1 else f", {self.penalty:g} times the penalty"
        return f"{self.architecture}, {self.frames} frames{times}"


class NestedTrainer(Trainer):
    """Divides the first `counted` of its videos; the others are learnt from in every part and judge none."""

    counted: int
    penalty: float

    def varied(self, member: Member, seed: int, counted: int) -> Self:
        """The same footage, of which computed features are shared, for a member and a division."""
        other = self.under(replace(self._recipe, seed=seed))
        assert isinstance(other, type(self))
        other.counted, other.penalty = counted, member.penalty
        return other

    def split(self, folds: int) -> list[tuple[np.ndarray, np.ndarray]]:
        counted = slice(self.counted)
        return split_by_group(self.truth[counted], self.groups[counted], folds, self._recipe.seed)

    def _train(self, chosen: np.ndarray, name: str, **how: Any) -> Trained[Any]:
        beside = np.arange(self.counted, len(self.truth))
        # Not an option of a recipe: nobody gained by another one (docs/accuracy.md).
        with mock.patch.object(movenet, "_INVERSE_PENALTY", movenet._INVERSE_PENALTY / self.penalty):  # noqa: SLF001
            return super()._train(np.concatenate([chosen, beside]), name, **how)


def figures(truth: np.ndarray, scores: np.ndarray) -> list[float]:
    """Accuracy, AUC, and the recall where 5 % and 10 % of the other clips pass; truth (N,) of 0 and 1, scores (N,)."""
    bounds = np.quantile(scores[truth == 0], [0.95, 0.90])
    recalls = [float((scores[truth == 1] > bound).mean()) for bound in bounds]
    return [float(((scores > 0.5) == truth).mean()), float(roc_auc_score(truth, scores)), *recalls]


def averaged(members: Sequence[ClipScores]) -> ClipScores:
    """What several models say of the same clips, in the mean."""
    return replace(members[0], scores=np.mean([member.scores for member in members], axis=0))


def quality(held: ClipScores) -> float:
    accuracy, area, *_ = figures(held.truth, held.scores[:, 1])
    return (accuracy + area) / 2


def division(
    trainers: Mapping[str, Sequence[Trainer]], counts: Counter[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth (N,), scores (N,) and groups (N,) of all clips, each by the candidate that was chosen without it."""
    splits = next(iter(trainers.values()))[0].split(_FOLDS)
    validated = {name: averaged([m.validate(_FOLDS).scores for m in members]) for name, members in trainers.items()}
    row, parts = 0, []
    for number, (learnt, held) in enumerate(splits, start=1):
        best, chosen = -np.inf, ""
        for name, members in trainers.items():
            if len(trainers) == 1:
                chosen = name  # there is nothing to choose
                continue
            within = [list(m.held_out_within(f"fold {number}", learnt, _FOLDS))[-1].by_clip() for m in members]
            if (found := quality(averaged(within))) > best + _TIE:
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


def candidate(text: str) -> tuple[Member, ...]:
    """Members of ARCHITECTURE:FRAMES[*PENALTY][+…]."""
    members = []
    for part in text.split("+"):
        found = re.fullmatch(r"(\w+):(\d+)(?:\*(\d+(?:\.\d+)?))?", part)
        if found is None:
            raise argparse.ArgumentTypeError(
                f"{text!r}: expected ARCHITECTURE:FRAMES, for example movenet_views:10, and maybe times the penalty, "
                "movenet_views:10*3, or several joined by +, whose scores are averaged"
            )
        members.append(Member(found[1], int(found[2]), float(found[3] or 1)))
    return tuple(members)


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


def recipe_of(architecture: str, frames: int, options: argparse.Namespace) -> Recipe:
    known = describe(architecture)
    return Recipe(
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--map", action="append", default=[], help="old=new")
    parser.add_argument("--divisions", type=int, default=5, help="how many, each of another seed (5)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (0)")
    parser.add_argument(
        "--candidate",
        action="append",
        type=candidate,
        help="ARCHITECTURE:FRAMES[*PENALTY][+…], the cheapest first; may be repeated",
    )
    parser.add_argument("--also-normal", action="append", type=Path, default=[], help="a list of labels")
    usual = Recipe()
    parser.add_argument("--epochs", type=int, default=usual.epochs)
    parser.add_argument("--batch", type=int, default=usual.batch)
    parser.add_argument("--learning-rate", type=float, default=usual.learning_rate)
    parser.add_argument("--weight-decay", type=float, default=usual.weight_decay)
    parser.add_argument("--mixup", type=float, default=usual.augmentation.mixup)
    parser.add_argument("--output", type=Path, default=Path("build/nested.json"))
    options = parser.parse_args()
    renamed = dict(pair.split("=") for pair in options.map)
    examples, further = find_examples([options.data], renamed), []
    if options.also_normal:
        further = [e for e in find_examples(options.also_normal, renamed) if e.label == _NORMAL]
    candidates = options.candidate or [candidate(text) for text in CANDIDATES]
    errors = Output(stderr=True)
    with task_progress(errors) as show:
        recipes = {
            key: recipe_of(*key, options)
            for key in dict.fromkeys((m.architecture, m.frames) for c in candidates for m in c)
        }
        known = {
            key: NestedTrainer(load_footage([*examples, *further], recipe, show), recipe)
            for key, recipe in recipes.items()
        }
        counts, outcomes = Counter[str](), []
        for seed in range(options.first, options.first + options.divisions):
            trainers = {
                " + ".join(map(str, members)): [
                    known[m.architecture, m.frames].varied(m, seed, len(examples)) for m in members
                ]
                for members in candidates
            }
            outcomes.append(division(trainers, counts))
            show("divisions", len(outcomes), options.divisions)
            report(outcomes, counts, options.output)


if __name__ == "__main__":
    main()
