"""Trains as one of the processes that torchrun starts; the first writes the weights. For tests/test_distributed.py."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from models import distributed
from models.training import Trainer
from tests.test_training import RECIPE, footage


def main() -> None:
    output = Path(sys.argv[1])
    # SGD: AdamW would blow the rounding of near-zero gradients up to whole steps.
    recipe = replace(RECIPE, dropout=0.0, epochs=3, batch=6, patience=5, optimiser="sgd", learning_rate=0.05)
    with distributed.joined():
        # Fourteen videos in batches of six: parts of unequal size, too.
        trainer = Trainer(footage(7), recipe, folder=output.with_suffix(".unfinished"))
        outcome = trainer.validate(2)
        network = trainer.fit()
        if distributed.is_first():
            held = torch.from_numpy(np.asarray(outcome.judged.scores))
            torch.save({"scores": held, "processes": distributed.world(), **network.head.state_dict()}, output)


if __name__ == "__main__":
    main()
