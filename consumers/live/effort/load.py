"""How much is made of each segment, where footage comes faster than it can be worked off.

    waited        0 s   5 s              30 s              60 s              90 s
                  ├─────┼────────────────┼─────────────────┼─────────────────┼────────▶
    degrade       level 0                level 1           level 2           level 3
                        ◀─ back to 0 ─   every 2nd window  every 4th         and keyframes only
    live          level 0                level 1: nothing, until a segment has waited for less than 5 s

Decided when a segment is read, before it is decoded. A segment has waited since it came to its topic, if others wait
behind it: whoever has nothing else to read is not behind. No clock of an agent enters, see arrivals.py.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass, field, replace
from typing import Final

from consumers.live.figures.accounts import MAX_ACCOUNTS
from consumers.live.pipeline import Camera
from consumers.settings import LoadRule, LoadSettings
from stream import EVERYTHING, ClipSpec, Effort, Segment, Thinning, camera_behind

#: From level to level, less.
LEVELS: Final = (EVERYTHING, Effort(1, every=2), Effort(2, every=4), Effort(3, every=4, keyframes_only=True))
_NOTHING: Final = Effort(1, skipped="behind")
#: In a group of pictures that lies in several segments, a keyframe stands for too long.
_NO_KEYFRAME: Final = Effort(3, every=4, skipped="degraded")


@dataclass(slots=True)
class _Pace:
    """Of one camera, as far as its segments have been read."""

    rule: LoadRule
    level: int = 0
    epoch_us: int | None = None
    wanted: Thinning = field(default_factory=Thinning)


class LoadControl:
    """Of one worker."""

    def __init__(self, spec: ClipSpec, settings: LoadSettings, known: Callable[[str], Camera | None]) -> None:
        """Begin; `known` tells what was made of a camera by whoever had it before."""
        self._spec, self._settings, self._known = spec, settings, known
        self._paces: dict[str, _Pace] = {}

    def plan(self, segment: Segment, behind_seconds: float | None) -> tuple[list[int], Effort]:
        """Decide what is made of a segment: the times of the pictures that are wanted, and how much that is.

        Where it is not known how far behind it is, as much as of the one before.
        """
        pace = self._paces.get(segment.camera) or self._begin(segment.camera)
        if segment.epoch_us != pace.epoch_us:
            pace.epoch_us, pace.wanted = segment.epoch_us, Thinning()
        if segment.is_end:
            pace.level = 0
            return [], EVERYTHING
        effort = self._kept(pace, segment) if behind_seconds is None else self._effort(pace, segment, behind_seconds)
        effort = replace(effort, behind_seconds=behind_seconds or 0.0)
        if effort.skipped:
            return [], effort
        sample = -((segment.epoch_us - segment.start_us) // self._spec.spacing_us)
        pace.wanted.forget_before(self._spec.windows_with(sample).start)
        pace.wanted.note(self._spec.first_window(segment), effort.every)
        return self._spec.sample_times_us(segment, pace.wanted), effort

    def forget_all_but(self, cameras: Container[str]) -> None:
        """The others are read by another worker, or from elsewhere."""
        self._paces = {name: pace for name, pace in self._paces.items() if name in cameras}

    def _begin(self, name: str) -> _Pace:
        if len(self._paces) >= MAX_ACCOUNTS:  # names are foreign text
            del self._paces[next(iter(self._paces))]
        pace = self._paces[name] = _Pace(self._settings.rule_of(camera_behind(name)))
        if (camera := self._known(name)) is not None:
            # A level is that of a policy, and the camera may have another one by now.
            is_of_live = camera.effort.skipped == _NOTHING.skipped
            pace.level = camera.effort.level if is_of_live == (pace.rule.policy == "live") else 0
            pace.epoch_us = camera.clipper.epoch_us
            pace.wanted = Thinning(camera.clipper.state.thinned)
        return pace

    def _effort(self, pace: _Pace, segment: Segment, behind_seconds: float) -> Effort:
        rule = pace.rule
        if rule.policy == "catch-up":
            pace.level = 0
            return EVERYTHING
        if rule.policy == "live":
            if behind_seconds >= rule.enter_seconds:
                pace.level = 1
            elif behind_seconds <= rule.leave_seconds and not segment.continues:
                # What it continues was not decoded.
                pace.level = 0
            return self._kept(pace, segment)
        if behind_seconds <= rule.leave_seconds:
            pace.level = 0
        else:
            pace.level = min(len(LEVELS) - 1, max(pace.level, int(behind_seconds // rule.enter_seconds)))
        return self._kept(pace, segment)

    @staticmethod
    def _kept(pace: _Pace, segment: Segment) -> Effort:
        """What the level of a camera makes of a segment."""
        if pace.rule.policy == "live":
            return _NOTHING if pace.level else EVERYTHING
        effort = LEVELS[pace.level]
        is_long = segment.continues or segment.continued
        return _NO_KEYFRAME if effort.keyframes_only and is_long else effort
