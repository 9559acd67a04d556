"""What pictures of an event take: `python benchmarks/pictures.py [FILM …]`.

Each film is sent to a broker in memory, and counts as an event from its second to its eighth second. Without films: the
sample cameras, and 1080p at 30 frames a second, made here.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Final

from footage import Footage, footage

from consumers.pictures.maker import MadePictures, PictureMaker
from consumers.records.event import Event
from consumers.records.event_pictures import Missing
from consumers.settings import Settings
from consumers.topics import ensure_topics
from stream import MemoryTransport, attach

_BEGIN_US: Final = 1_700_000_000_000_000
_TIMES: Final = 5
_SAMPLES: Final = Path(__file__).resolve().parents[1] / "consumers" / "footage"


def measure(film: Path, settings: Settings) -> str:
    transport = MemoryTransport()
    ensure_topics(transport, settings.topics)
    limits, topic = settings.segments.limits, settings.topics.segments
    attach(str(film), "gate", transport.producer(), topic, limits=limits, pace="max", start_us=_BEGIN_US)
    (place,) = (f"{t}[{n}]@{first}-{end - 1}" for (t, n), (first, end) in transport.offsets(topic).items() if end)
    at_us = [_BEGIN_US + seconds * 1_000_000 for seconds in (2, 8, 4)]
    event = Event(
        "gate", "m", "fight", "ended", 1, "0" * 24, at_us[0], at_us[1], 0.9, at_us[2], 9, "gap", segments=place
    )
    maker = PictureMaker(settings)
    wall, cpu = [], []
    for _ in range(_TIMES):
        began, began_cpu = time.monotonic(), time.process_time()
        made = maker.make(transport, event)
        wall.append(time.monotonic() - began)
        cpu.append(time.process_time() - began_cpu)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return (
        f"| {film.stem} | {_size(made, 'peak')} | {_size(made, 'strip')} | {statistics.median(wall):.2f} | "
        f"{statistics.median(cpu):.2f} | {memory:.0f} |"
    )


def _size(made: MadePictures, kind: str) -> str:
    picture = made.peak if kind == "peak" else made.strip
    if isinstance(picture, Missing):
        return picture.reason
    return f"{picture.width}x{picture.height}, {len(picture.data) / 1024:.0f} KiB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("films", nargs="*", type=Path)
    films = parser.parse_args().films
    print("| footage | peak | strip | seconds | core-seconds | MiB at most so far |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        films = films or [*sorted(_SAMPLES.glob("*.mp4")), footage(Footage(10), Path(folder))]
        for film in films:
            print(measure(film, Settings()), flush=True)


if __name__ == "__main__":
    main()
