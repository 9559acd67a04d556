"""How much is measured, and on what footage."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from footage import Footage

#: By name: the size, rate and bits of what a camera sends; how long it is, is the plan's affair.
FOOTAGE: Final = {
    "1080p30": Footage(0),
    "720p25": Footage(0, 1280, 720, rate=25, gop=50, bits_per_second=2_000_000),
    "360p15": Footage(0, 640, 360, rate=15, gop=30, bits_per_second=600_000),
}
#: What they are for people.
FOOTAGE_NAMES: Final = {
    "1080p30": "1080p, 30 frames/s",
    "720p25": "720p, 25 frames/s",
    "360p15": "640x360, 15 frames/s",
}
LARGEST: Final = "1080p30"
SUBSTREAM: Final = "360p15"
#: A substream whose segments are half as long.
SHORT: Final = "360p15-1s"
#: How soon is measured on: segments are as long as the camera's groups of pictures.
LATENCY_FOOTAGE: Final = FOOTAGE | {SHORT: Footage(0, 640, 360, rate=15, gop=15, bits_per_second=600_000)}
LATENCY_NAMES: Final = FOOTAGE_NAMES | {SHORT: "640x360, 15 frames/s, segments of 1 s"}


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    #: Of all but latency, of which one is long.
    rounds: int
    seconds: int
    #: Of a still view: as long as a view lasts until it is computed again (`gates.refresh_seconds`), so that what is
    #: computed at its begin has its share.
    still_seconds: int
    #: Of a worker behind a broker.
    broker_cameras: int
    memory_cameras: tuple[int, int]
    #: So often is the footage shown, one after the other.
    latency_repeats: int
    records: int

    def footage(self, name: str, *, still: bool = False) -> Footage:
        moving = LATENCY_FOOTAGE[name]
        if still:
            return replace(moving, seconds=self.still_seconds, scene="still")
        return replace(moving, seconds=self.seconds, scene="busy")


FULL: Final = Plan(3, 6, 30, 6, (4, 16), 3, 800)
QUICK: Final = Plan(1, 4, 12, 1, (2, 6), 2, 200)
