"""How much a camera sent over a stretch of time. Pure: segments as the index names them in, steps out."""

from __future__ import annotations

from dataclasses import dataclass

from consumers.footage_index import FoundFootage


@dataclass(slots=True)
class Step:
    """What began within a part of the stretch."""

    start_us: int
    covered_us: int = 0
    bytes: int = 0
    segments: int = 0


def steps_of(found: FoundFootage, step_us: int) -> list[Step]:
    """The parts of a stretch, each `step_us` long, oldest first; footage that reaches into two is shared by time."""
    count = max(1, -(-(found.to_us - found.from_us) // step_us))
    steps = [Step(found.from_us + number * step_us) for number in range(count)]
    for segment in found.segments:
        begin, end = max(segment.start_us, found.from_us), min(segment.end_us, found.to_us)
        first = min(count - 1, (begin - found.from_us) // step_us)
        steps[first].segments += 1
        if end <= begin:
            steps[first].bytes += segment.size
            continue
        for number in range(first, count):
            step = steps[number]
            part = min(end, step.start_us + step_us) - max(begin, step.start_us)
            if part <= 0:
                break
            step.covered_us += part
            step.bytes += round(segment.size * part / max(1, segment.duration_us))
    return steps
