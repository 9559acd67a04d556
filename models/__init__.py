"""Clips become scores: architectures, checkpoints, engines and training."""

from .checkpoint import Checkpoint, find, save, shipped
from .classifier import Classifier
from .contract import Contract, Threshold
from .engines.choice import ENGINES
from .errors import (
    CheckpointError,
    ClipError,
    EngineError,
    ExportError,
    ModelError,
    TrainingError,
    UnknownModelError,
)

__all__ = [
    "ENGINES",
    "Checkpoint",
    "CheckpointError",
    "Classifier",
    "ClipError",
    "Contract",
    "EngineError",
    "ExportError",
    "ModelError",
    "Threshold",
    "TrainingError",
    "UnknownModelError",
    "find",
    "save",
    "shipped",
]
