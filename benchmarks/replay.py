"""How fast recorded footage is replayed, and whether memory stays flat: `make bench-replay`, or `replay.py --help`.

    replay.1080p30    footage as cameras send it, 4 Mb/s, with X3D-XS, 4 frames of 160x160 every 0.8 s
    replay.320x240    the same scene and rate in small
    replay.memory     resident memory after a tenth of an hour and after all of it, of 320x240

One process on all cores that it may use; from opening the files to the last trace on disk, nothing kept from before.
Times real time is seconds of footage a second of wall time; by the side of it stands the footage a core-second of
processor time replays, which does not depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import av
from checkpoint import write_checkpoint
from footage import Footage, footage

from consumers.replaying.replay import replay
from consumers.replaying.run import How
from consumers.replaying.sources import find_recordings
from consumers.replaying.store import TraceStore
from consumers.serving import clip_spec
from models import Classifier
from stream import MemoryTransport, SegmentLimits

BUILD: Final = Path(__file__).resolve().parents[1] / "build"
SIZES: Final = {
    "replay.1080p30": Footage(120),
    "replay.320x240": Footage(600, width=320, height=240, bits_per_second=300_000),
}
#: So often is the small footage repeated for an hour of it.
_REPEATS: Final = 6
_FLAT_MEGABYTES: Final = 48.0


@dataclass(frozen=True, slots=True)
class Figure:
    name: str
    times_realtime: float
    camera_seconds_per_core_second: float
    #: Resident memory when a tenth of the footage was through, and at the end.
    early_megabytes: float
    late_megabytes: float


def resident_megabytes() -> float:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def repeated(file: Path, times: int) -> Path:
    """The footage several times over, not encoded again."""
    path = file.with_name(f"{file.stem}-x{times}.mp4")
    if path.is_file():
        return path
    unfinished = path.with_name(f".{path.name}")
    with av.open(str(unfinished), "w") as out:
        stream, begin = None, 0
        for _ in range(times):
            with av.open(str(file)) as container:
                source = container.streams.video[0]
                stream = stream or out.add_stream_from_template(source)
                end = begin
                for packet in container.demux(source):
                    if packet.pts is None or packet.dts is None:
                        continue
                    packet.stream, packet.pts, packet.dts = stream, packet.pts + begin, packet.dts + begin
                    end = max(end, packet.pts + (packet.duration or 0))
                    out.mux(packet)
                begin = end
    unfinished.replace(path)
    return path


def measure(name: str, file: Path, cameras: int, classifier: Classifier, rounds: int) -> Figure:
    """The best of some rounds: whatever else the machine does makes it slower, never faster."""
    best: Figure | None = None
    spec = clip_spec(classifier.contract, None)
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            for number in range(cameras):
                # Different bytes, or they would be known to be the same footage.
                copy = Path(folder) / f"camera-{number}.mp4"
                copy.write_bytes(file.read_bytes() + bytes(8 * (number + 1)))
            recordings, _ = find_recordings([folder], None, None, SegmentLimits(), MemoryTransport)
            memory: list[float] = []

            def note(what: str, done: float, total: float, memory: list[float] = memory) -> None:
                if what == "classifying" and done >= total / 10 and not memory:
                    memory.append(resident_megabytes())

            wall, cpu = time.monotonic(), time.process_time()
            store = TraceStore(Path(folder) / "traces")
            found = replay(recordings, How(classifier, spec), classifier.engine, store, progress=note)
            wall, cpu = time.monotonic() - wall, time.process_time() - cpu
            assert found is not None
            late = resident_megabytes()
            figure = Figure(name, found.seconds / wall, found.seconds / cpu, memory[0] if memory else late, late)
            if best is None or figure.times_realtime > best.times_realtime:
                best = figure
    assert best is not None
    return best


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--hour", action="store_true", help="measure memory over an hour of footage, too")
    parser.add_argument("--model", help="another model than the 400-class X3D-XS of 4 frames of 160x160")
    parser.add_argument("--only", help="measure this figure only", choices=[*SIZES, "replay.memory"])
    parser.add_argument("--json", type=Path, default=BUILD / "bench-replay.json")
    options = parser.parse_args()
    BUILD.mkdir(exist_ok=True)
    model = options.model or str(write_checkpoint(BUILD / "bench-x3d_xs.safetensors")[0])
    classifier = Classifier.load(model)
    figures = []
    for name, wanted in SIZES.items():
        if options.only not in {None, name}:
            continue
        figures.append(measure(name, footage(wanted, BUILD), 2, classifier, options.rounds))
    if options.hour or options.only == "replay.memory":
        figures.append(
            measure("replay.memory", repeated(footage(SIZES["replay.320x240"], BUILD), _REPEATS), 1, classifier, 1)
        )
    for f in figures:
        print(
            f"{f.name:16} {f.times_realtime:6.1f} times real time, "
            f"{f.camera_seconds_per_core_second:6.1f} camera-seconds a core-second, "
            f"memory {f.early_megabytes:.0f} → {f.late_megabytes:.0f} MB"
        )
    options.json.write_text(json.dumps([asdict(f) for f in figures], indent=2) + "\n", "utf-8")
    grown = [f for f in figures if f.name == "replay.memory" and f.late_megabytes - f.early_megabytes > _FLAT_MEGABYTES]
    if grown:
        print(f"memory grew by more than {_FLAT_MEGABYTES:g} MB", file=sys.stderr)
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())
