"""The section of what happens where footage comes faster than it can be worked off."""

from __future__ import annotations

import fnmatch
from typing import Final, Literal

from pydantic import Field, ValidationInfo, model_validator

from consumers.settings.section import MAX_DAYS, PART, Section

LoadPolicy = Literal["catch-up", "degrade", "live"]

_POLICY: Final = (
    "catch-up: classify all of it, later. degrade: leave out windows, at first every other one, then three of four, "
    "then all pictures but keyframes. live: skip what is old, and go on with what comes now."
)
_ENTER: Final = "Seconds that a segment has waited for a worker from which on the policy is applied."
_LEAVE: Final = "Seconds below which it is applied no more."


class LoadRule(Section):
    """What happens to a camera that is behind."""

    policy: LoadPolicy = Field("catch-up", description=_POLICY)
    enter_seconds: float = Field(30.0, gt=0, le=MAX_DAYS, description=_ENTER)
    leave_seconds: float = Field(5.0, ge=0, le=MAX_DAYS, description=_LEAVE)

    @model_validator(mode="after")
    def _leaves_below(self) -> LoadRule:
        if self.leave_seconds >= self.enter_seconds:
            raise ValueError(
                f"leave_seconds = {self.leave_seconds:g}: expected less than enter_seconds, {self.enter_seconds:g}"
            )
        return self


class LoadClass(LoadRule):
    """Cameras with a rule of their own, [load.classes.NAME]."""

    cameras: list[str] | None = Field(
        None,
        examples=[["gate*", "dock-1"]],
        description="Ids of the cameras; * stands for any characters. The first class that names a camera holds.",
    )

    @model_validator(mode="after")
    def _has_cameras(self, info: ValidationInfo) -> LoadClass:
        # The file and the environment may each give a part of a class.
        if not self.cameras and info.context != PART:
            raise ValueError("expected cameras, a list of ids")
        return self


class LoadSettings(LoadRule):
    """What happens where footage comes faster than it can be worked off."""

    classes: dict[str, LoadClass] = Field(
        default_factory=dict, description="Cameras with a rule of their own, each a table [load.classes.NAME]."
    )

    def rule_of(self, camera: str) -> LoadRule:
        """The rule of a camera."""
        for each in self.classes.values():
            if any(fnmatch.fnmatchcase(camera, pattern) for pattern in each.cameras or ()):
                return each
        return self
