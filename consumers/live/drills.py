"""What workers do differently for a drill: they say when they had it, count it nowhere, and forget it when it is over.

All else is the way of any camera: its segments are decoded, cut, classified and tracked beside those of others.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from stream import drilled

from .feed_guard import Arrival
from .pipeline import FeedEnd, Outcome, ScoredWindow

T = TypeVar("T")


class DrillTimes:
    """When segments of drills were decoded, until what was made of them is published."""

    def __init__(self) -> None:
        self._decoded_us: dict[tuple[str, int], int] = {}

    def note(self, arrival: Arrival) -> None:
        """A segment is here with its pictures."""
        if drilled(arrival.segment.camera) is not None:
            self._decoded_us[arrival.segment.camera, arrival.record.offset] = _now_us()

    def stamped(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Outcomes that have just been classified, those of drills with their times."""
        if not self._decoded_us:
            return list(outcomes)
        now_us, decoded_us, self._decoded_us = _now_us(), self._decoded_us, {}
        return [_stamped(each, decoded_us, now_us) if isinstance(each, ScoredWindow) else each for each in outcomes]


def ended_drills(outcomes: Iterable[Outcome]) -> Iterator[str]:
    """Drills of which nothing follows."""
    return (each.camera for each in outcomes if isinstance(each, FeedEnd) and drilled(each.camera) is not None)


def without_drills(by_camera: Mapping[str, T]) -> dict[str, T]:
    """What is known of cameras."""
    return {camera: each for camera, each in by_camera.items() if drilled(camera) is None}


def _stamped(scored: ScoredWindow, decoded_us: Mapping[tuple[str, int], int], now_us: int) -> ScoredWindow:
    record = scored.window.record
    at_us = None if record is None else decoded_us.get((scored.camera, record.offset))
    if at_us is None:
        return scored
    return replace(scored, prediction=replace(scored.prediction, stations_us=(at_us, now_us)))


def _now_us() -> int:
    return time.time_ns() // 1000
