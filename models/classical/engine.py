"""Scikit-learn as an engine, for models that are no networks."""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np

from models.checkpoint import Checkpoint
from models.engines.engine import Engine
from models.evaluation.scores import apply_temperature

from .kinds import PREFIX
from .model import ClassicalModel, describe_clips


def open_classical(checkpoint: Checkpoint, threads: int | None) -> Engine:
    """Fit the classifier of a classical checkpoint, on the processor.

    Raises:
        CheckpointError: it is damaged, or its tensors do not belong together.
    """
    return Engine(PREFIX, _Fitted(checkpoint, threads))


class _Fitted:
    """From clips (T, H, W, 3) uint8 to scores (L,)."""

    def __init__(self, checkpoint: Checkpoint, threads: int | None) -> None:
        self._model = ClassicalModel.load(checkpoint, threads)
        self._temperature = checkpoint.contract.temperature
        self._threads = threads or os.cpu_count() or 1

    def run(self, items: Iterable[np.ndarray]) -> list[np.ndarray]:
        scores = self._model.scores(describe_clips(np.stack(list(items)), self._threads))
        return list(apply_temperature(scores, self._temperature).astype(np.float32))
