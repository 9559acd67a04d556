"""Which frames of a film windows are made of: for peers, and to know how many there must be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from consumers.live.assemble import clip_spec
from models import Contract

#: A time that falls on a frame's own is not to fall before it by rounding.
_HAIR_SECONDS: Final = 1e-6


def expected_windows(seconds: float, contract: Contract) -> int:
    """How many whole windows footage holds, of the stride that serving takes by itself."""
    spec = clip_spec(contract, None)
    return max(0, (round(seconds * 1e6) - spec.span_us) // spec.stride_us + 1)


def frames_of_windows(frames: int, rate: float, contract: Contract) -> Iterator[list[int]]:
    """The places in a film of the frames that are shown at each window's times, window after window."""
    spec = clip_spec(contract, None)
    for window in range(expected_windows(frames / rate, contract)):
        begin = window * spec.stride_us
        times = ((begin + number * spec.spacing_us) / 1e6 for number in range(spec.frames))
        yield [min(frames - 1, int((time + _HAIR_SECONDS) * rate)) for time in times]
