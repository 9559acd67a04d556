"""The account of each camera's frames: what came in, and what became of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from consumers.records.prediction import Prediction
from stream import Segment


@dataclass(slots=True)
class CameraCounts:
    """What became of a camera's frames: `frames == classified + skipped + dead_lettered + pending`."""

    frames: int = 0
    classified: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    dead_lettered: int = 0
    segments: int = 0
    dead_letters: int = 0
    windows: int = 0
    events: int = 0
    newest: Prediction | None = None
    seconds: float = 0.0

    @property
    def pending(self) -> int:
        return self.frames - self.classified - self.skipped.total() - self.dead_lettered

    def take(self, segment: Segment) -> None:
        """Count a segment's frames in."""
        self.segments += not segment.is_end
        self.frames += segment.frames + sum(segment.skipped.values())
        self.skipped.update(segment.skipped)
        self.seconds += segment.seconds

    def bury(self, frames: int) -> None:
        """Count in a record that became a dead letter, with the frames that it announced."""
        self.frames += frames
        self.dead_lettered += frames
        self.dead_letters += 1

    def hand_over(self) -> None:
        """Take out what is pending: another worker reads these frames again, and counts them."""
        self.frames -= self.pending

    def summary(self) -> str:
        """The account in words: what came in is what became of it."""
        skipped = ", ".join(f"{reason} {n}" for reason, n in sorted(self.skipped.items()))
        return (
            f"{self.frames} frames = {self.classified} classified + {self.skipped.total()} skipped"
            f"{f' ({skipped})' if skipped else ''} + {self.dead_lettered} dead-lettered + {self.pending} pending; "
            f"{self.windows} windows, {self.events} events"
        )
