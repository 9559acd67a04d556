"""Clips become scores: architectures, checkpoints, engines and training."""

from .checkpoint import DEFAULT_MODEL, Checkpoint, cache_folder, check_writable, find, name_of, save, shipped
from .classifier import Classifier
from .contract import Contract, Platt, Threshold, Unknown
from .engines.choice import ENGINES, choose_engine, engine_version
from .errors import (
    CheckpointError,
    ClipError,
    EngineError,
    ExportError,
    ModelError,
    TrainingError,
    UnknownModelError,
)
from .labels import SEPARATOR, UNKNOWN, labels_in, normal_label, same_but_for_case, several_labels
from .versions import code_version, library_versions
from .windows.frames import Frames
from .windows.stepping import Step, Stepped
from .windows.views import views_of

__all__ = [
    "DEFAULT_MODEL",
    "ENGINES",
    "SEPARATOR",
    "UNKNOWN",
    "Checkpoint",
    "CheckpointError",
    "Classifier",
    "ClipError",
    "Contract",
    "EngineError",
    "ExportError",
    "Frames",
    "ModelError",
    "Platt",
    "Step",
    "Stepped",
    "Threshold",
    "TrainingError",
    "Unknown",
    "UnknownModelError",
    "cache_folder",
    "check_writable",
    "choose_engine",
    "code_version",
    "engine_version",
    "find",
    "labels_in",
    "library_versions",
    "name_of",
    "normal_label",
    "same_but_for_case",
    "save",
    "several_labels",
    "shipped",
    "views_of",
]
