"""The one thing that serving needs of a model: clips in, scores out."""

from __future__ import annotations

import numpy as np

from .checkpoint import find
from .contract import Contract
from .engines.choice import open_engine
from .engines.engine import Engine
from .errors import ClipError


class Classifier:
    """A checkpoint in an engine."""

    def __init__(self, contract: Contract, engine: Engine, model_id: str) -> None:
        self.contract = contract
        self.id = model_id
        self._engine = engine

    @classmethod
    def load(cls, model: str, engine: str = "auto", threads: int | None = None) -> Classifier:
        """Load a shipped model by name or a checkpoint by path.

        Args:
            model: "default", a shipped model's name, or the path of a checkpoint.
            engine: one of `models.ENGINES`.
            threads: processor threads for inference; all cores if None.

        Raises:
            UnknownModelError, CheckpointError, EngineError: with what was found and what was expected.
        """
        checkpoint = find(model)
        return cls(checkpoint.contract, open_engine(engine, checkpoint, threads), checkpoint.id)

    @property
    def labels(self) -> tuple[str, ...]:
        return self.contract.labels

    @property
    def engine(self) -> str:
        return self._engine.name

    def predict(self, frames: np.ndarray) -> np.ndarray:
        """Scores of clips (B, T, H, W, 3) uint8 as (B, L) float32, or of one clip (T, H, W, 3) as (L,).

        Raises:
            ClipError: the frames are not what the contract asks for.
        """
        single = frames.ndim == 4
        clips = frames[None] if single else frames
        if clips.shape[1:] != self.contract.clip_shape or clips.dtype != np.uint8:
            raise ClipError(
                f"clip of shape {frames.shape} and type {frames.dtype}: {self.id} expects "
                f"(B, {', '.join(map(str, self.contract.clip_shape))}) of uint8"
            )
        scores = self._engine.run(clips)  # (B, L)
        return scores[0] if single else scores
