"""Trains as one of the processes that torchrun starts; the first writes the weights. For tests/test_distributed.py.

Each process has a folder for unfinished state of its own, as on machines without a common disk. With the name of a task
as second argument, all end in its second epoch, as if killed.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from models.training import distributed
from models.training.trainer import Trainer
from tests.test_training import RECIPE, footage


class KilledError(Exception):
    """All processes are to end."""


def main() -> None:
    output = Path(sys.argv[1])

    def progress(task: str, done: int, total: int) -> None:
        if task in sys.argv[2:] and done == 2:
            raise KilledError

    # SGD: AdamW would blow the rounding of near-zero gradients up to whole steps.
    recipe = replace(RECIPE, dropout=0.0, epochs=3, batch=6, patience=5, optimiser="sgd", learning_rate=0.05)
    with distributed.joined():
        # Fourteen videos in batches of six: parts of unequal size, too.
        folder = output.with_suffix(f".unfinished-{distributed.rank()}")
        trainer = Trainer(footage(7), recipe, progress, folder=folder)
        try:
            outcome = trainer.validate(2)
        except KilledError:
            return
        network = trainer.fit()
        if distributed.is_first():
            held = torch.from_numpy(np.asarray(outcome.scores.scores))
            torch.save({"scores": held, "processes": distributed.world(), **network.head.state_dict()}, output)


if __name__ == "__main__":
    main()
