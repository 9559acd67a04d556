"""Errors of a replay, beside those of footage, models and brokers.

ReplayError
├── StoreError     predictions cannot be written to the cache
├── TruthError     the truth file cannot be read, or does not fit the footage; names the row
└── GateError      a --fail-if condition cannot be parsed
"""


class ReplayError(Exception):
    """Base of every error that `consumers.replaying` raises on purpose."""


class StoreError(ReplayError):
    """Predictions cannot be written to the cache."""


class TruthError(ReplayError):
    """The truth file cannot be read, or does not fit the footage."""


class GateError(ReplayError):
    """A condition of --fail-if cannot be parsed."""
