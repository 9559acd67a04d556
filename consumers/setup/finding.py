"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `clipline check`."""

    level: Level
    #: What was looked at: "settings", "port 9092", "camera dock-1".
    subject: str
    #: What was found, and what to do where it is not well.
    text: str
