"""Scikit-learn as an engine, for models that are no networks."""

from __future__ import annotations

import os

import numpy as np

from models.checkpoint import Checkpoint
from models.evaluation.scores import apply_temperature

from .kinds import PREFIX
from .model import ClassicalModel, describe_clips


class ClassicalEngine:
    """Serves a classical checkpoint on the processor."""

    name = PREFIX

    def __init__(self, checkpoint: Checkpoint, threads: int | None) -> None:
        """Fit its classifier.

        Raises:
            CheckpointError: it is damaged, or its tensors do not belong together.
        """
        self._model = ClassicalModel.load(checkpoint, threads)
        self._temperature = checkpoint.contract.temperature
        self._threads = threads or os.cpu_count() or 1

    def run(self, clips: np.ndarray) -> np.ndarray:
        """(B, T, H, W, 3) uint8 to (B, L)."""
        scores = self._model.scores(describe_clips(clips, self._threads))
        return apply_temperature(scores, self._temperature).astype(np.float32)
