"""What can go wrong in a replay beyond footage, models and brokers.

ReplayError
├── StoreError     predictions cannot be kept
├── TruthError     what is said of the footage cannot be read, or does not fit it; names the row
└── GateError      a condition cannot be understood
"""


class ReplayError(Exception):
    """Base of every error that `consumers.replaying` raises on purpose."""


class StoreError(ReplayError):
    """Predictions cannot be kept on disk."""


class TruthError(ReplayError):
    """Truth that cannot be read, or that speaks of footage that there is not."""


class GateError(ReplayError):
    """A condition of --fail-if cannot be understood."""
