"""When a label is an event."""

from __future__ import annotations

from dataclasses import dataclass

from consumers.records.event import Severity
from consumers.settings import Schedule


@dataclass(frozen=True, slots=True)
class Rule:
    """When one label is an event, on one camera."""

    start: float
    end: float
    min_seconds: float
    cooldown_seconds: float
    update_seconds: float
    #: A score is the mean over so many windows, the newest last; until there are as many it is not known.
    smoothing: int = 1
    severity: Severity = "alert"
    #: After so long an event that goes on is reported as escalated; None where it never is.
    escalate_after_seconds: float | None = None
    #: Windows that begin outside of it hold no event; None where there are events at any time.
    schedule: Schedule | None = None
    #: Cameras that see one place, by the name of what they see; None where the camera is seen by itself.
    group: str | None = None
    #: How far apart what they see may be and is still one incident; of no meaning without a group.
    merge_seconds: float = 30.0
    #: The version of the rules that it is of; None where it is of none.
    version: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.end <= self.start <= 1:
            raise ValueError(f"thresholds: expected 0 <= end ({self.end}) <= start ({self.start}) <= 1")
        if self.smoothing < 1:
            raise ValueError(f"smoothing over {self.smoothing} windows: expected at least 1")

    def holds_at(self, time_us: int) -> bool:
        """Whether there may be an event in a window that begins at an event time."""
        return self.schedule is None or self.schedule.covers(time_us)
