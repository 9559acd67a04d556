"""What can go wrong with a model.

ModelError
├── CheckpointError    a file that is not a checkpoint, or whose contract cannot be met
├── UnknownModelError  a name that nothing is known by
├── EngineError        an engine that is not installed or cannot run the model
├── ExportError        a format or precision that a model cannot be exported to
├── ClipError          frames that are not what the contract asks for
└── TrainingError      data that a model cannot be trained on
"""


class ModelError(Exception):
    """Base of every error that `models` raises on purpose."""


class CheckpointError(ModelError):
    """A file is not a checkpoint, or its contract cannot be met."""


class UnknownModelError(ModelError):
    """No model or architecture has this name; the message lists near ones."""


class EngineError(ModelError):
    """An engine is not installed, unknown, or cannot run the model."""


class ExportError(ModelError):
    """A model cannot be exported as it was asked for; the message gives the reason."""


class ClipError(ModelError):
    """Frames have another shape or type than the contract says."""


class TrainingError(ModelError):
    """The data cannot train a model."""
