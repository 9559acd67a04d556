"""The account of each camera's frames: what came in, and what became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from consumers.records.prediction import Prediction
from stream import Segment

#: The account of what came under no camera's name, and of cameras that are longest gone.
NO_CAMERA: Final = "(no camera)"
OTHERS: Final = "(others)"
MAX_ACCOUNTS: Final = 4096


@dataclass(slots=True)
class CameraCounts:
    """What became of a camera's frames: `frames == classified + skipped + dead_lettered + pending`."""

    frames: int = 0
    classified: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    dead_lettered: int = 0
    segments: int = 0
    #: Of them: those of which only keyframes were decoded at first, since so little changes in them.
    still_segments: int = 0
    dead_letters: int = 0
    windows: int = 0
    events: int = 0
    newest: Prediction | None = None
    seconds: float = 0.0
    #: Of them: while a picture stood still because the camera sent no other.
    held_seconds: float = 0.0

    @property
    def pending(self) -> int:
        return self.frames - self.classified - self.skipped.total() - self.dead_lettered

    def take(self, segment: Segment) -> None:
        """Count a segment's frames in."""
        self.segments += not segment.is_end
        self.frames += segment.frames + sum(segment.skipped.values())
        self.skipped.update(segment.skipped)
        self.seconds += segment.seconds
        self.held_seconds += segment.held_us / 1e6

    def leave_out(self, segment: Segment, reason: str) -> None:
        """Count in a segment whose frames no window will span."""
        self.take(segment)
        self.skipped[reason] += segment.frames

    def bury(self, frames: int) -> None:
        """Count in a record that became a dead letter, with the frames that it announced."""
        self.frames += frames
        self.dead_lettered += frames
        self.dead_letters += 1

    def add(self, other: CameraCounts) -> None:
        """Count in what another account has counted."""
        for name in (
            "frames",
            "classified",
            "dead_lettered",
            "segments",
            "still_segments",
            "dead_letters",
            "windows",
            "events",
            "seconds",
            "held_seconds",
        ):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.skipped.update(other.skipped)

    def summary(self) -> str:
        """The account in words: what came in is what became of it."""
        skipped = ", ".join(f"{reason} {n}" for reason, n in sorted(self.skipped.items()))
        held = f"; pictures stood still for {self.held_seconds:.1f} s" if self.held_seconds else ""
        return (
            f"{self.frames} frames = {self.classified} classified + {self.skipped.total()} skipped"
            f"{f' ({skipped})' if skipped else ''} + {self.dead_lettered} dead-lettered + {self.pending} pending; "
            f"{self.windows} windows, {self.events} events{held}"
        )


class Accounts(dict[str, CameraCounts]):
    """By camera; made when first asked for.

    Keys are foreign text, so there are at most `MAX_ACCOUNTS`: beyond them, those that were made first and whose camera
    is gone are counted into `OTHERS`.
    """

    def __init__(self, is_here: Callable[[str], bool] = lambda _: False) -> None:
        super().__init__()
        self._is_here = is_here
        #: Told of an account that is counted into `OTHERS`.
        self.when_dropped: Callable[[str], None] = lambda _: None

    def __missing__(self, camera: str) -> CameraCounts:
        if len(self) >= MAX_ACCOUNTS:
            kept = {OTHERS, NO_CAMERA}
            gone = next((name for name in self if name not in kept and not self._is_here(name)), None)
            if gone is not None:
                others = self.setdefault(OTHERS, CameraCounts())
                others.add(self.pop(gone))
                self.when_dropped(gone)
        self[camera] = CameraCounts()
        return self[camera]
