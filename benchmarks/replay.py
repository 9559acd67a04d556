"""How fast recorded footage is replayed, and whether memory stays flat: `make bench-replay`, or `replay.py --help`.

    replay.1080p30         footage as cameras send it, 4 Mb/s, with X3D-XS, 4 frames of 160x160, a clip every 0.8 s, as
                           `clipline work` classifies it: windows overlap by half, each frame is in two
    replay.1080p30.once    the same, a clip every 1.6 s: as long as a clip is, each frame is in one
    replay.320x240         the same scene and rate in small, a clip every 0.8 s
    replay.320x240.once    and every 1.6 s
    replay.320x240.int8    every 0.8 s, by the network that `clipline export --precision int8` makes of it
    replay.memory          resident memory after a tenth of an hour and after all of it, of 320x240

One process for each, on all cores that it may use; from opening the files to the last trace on disk, nothing kept from
before. Times real time is seconds of footage a second of wall time. By its side stand the footage a core-second of
processor time replays, which depends less on what else the machine does; how many cores were busy with it; and how many
times real time the engine alone would come to with as many clips and nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import av
import numpy as np
from footage import Footage, footage

from consumers.live.assemble import clip_spec
from consumers.replaying.footage.sources import find_recordings
from consumers.replaying.replay import replay
from consumers.replaying.run import ScoringSetup
from consumers.replaying.store import TraceStore
from models import Classifier, find
from models.engines.export import MAX_CALIBRATION_CLIPS, export
from models.windows.windowing import sliding_windows
from stream import MemoryTransport, SegmentLimits, sample_file

BUILD: Final = Path(__file__).resolve().parents[1] / "build"
LARGE: Final = Footage(120)
SMALL: Final = Footage(600, width=320, height=240, bits_per_second=300_000)


@dataclass(frozen=True, slots=True)
class Case:
    """What is replayed, and how."""

    footage: Footage
    #: Whether clips follow one another; else they overlap by half, as `clipline work` makes them.
    once: bool = False
    int8: bool = False


CASES: Final = {
    "replay.1080p30": Case(LARGE),
    "replay.1080p30.once": Case(LARGE, once=True),
    "replay.320x240": Case(SMALL),
    "replay.320x240.once": Case(SMALL, once=True),
    "replay.320x240.int8": Case(SMALL, int8=True),
}
#: So often is the small footage repeated for an hour of it.
_REPEATS: Final = 6
_FLAT_MEGABYTES: Final = 48.0
#: Clips that the engine alone is timed with.
_ENGINE_CLIPS: Final = 256


@dataclass(frozen=True, slots=True)
class Figure:
    name: str
    engine: str
    clip_every_seconds: float
    times_realtime: float
    camera_seconds_per_core_second: float
    cores_busy: float
    #: Times real time if classifying its clips were all there is to do.
    engine_times_realtime: float
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


def measure(name: str, file: Path, cameras: int, model: str, rounds: int, *, once: bool) -> Figure:
    """The best of some rounds: whatever else the machine does makes it slower, never faster."""
    best: Figure | None = None
    engine_times_realtime = 0.0
    classifier = Classifier.load(model)
    contract = classifier.contract
    spec = clip_spec(contract, contract.frames * contract.spacing_seconds if once else None)
    every_seconds = spec.stride_us / 1e6
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
            found = replay(recordings, ScoringSetup(classifier, spec), classifier.engine, store, progress=note)
            wall, cpu = time.monotonic() - wall, time.process_time() - cpu
            assert found is not None
            late = resident_megabytes()
            engine_times_realtime = max(engine_times_realtime, every_seconds / _seconds_a_clip(classifier))
            figure = Figure(
                name,
                classifier.engine,
                every_seconds,
                found.seconds / wall,
                found.seconds / cpu,
                cpu / wall,
                engine_times_realtime,
                memory[0] if memory else late,
                late,
            )
            if best is None or figure.times_realtime > best.times_realtime:
                best = figure
    assert best is not None
    return replace(best, engine_times_realtime=engine_times_realtime)


def _seconds_a_clip(classifier: Classifier) -> float:
    clips = np.random.default_rng(1).integers(0, 256, (_ENGINE_CLIPS, *classifier.contract.clip_shape), np.uint8)
    begin = time.monotonic()
    classifier.predict(clips)
    return (time.monotonic() - begin) / len(clips)


def float_model() -> Path:
    """The 400-class X3D-XS; converted already, so that the processes that are measured need no torch."""
    from checkpoint import write_checkpoint  # noqa: PLC0415  it brings torch, half a gigabyte of memory

    path, _ = write_checkpoint(BUILD / "bench-x3d_xs.safetensors")
    Classifier.load(str(path))
    return path


def int8_model(model: Path, file: Path) -> Path:
    """The same in int8, calibrated on clips from all of `file`."""
    contract = find(str(model)).contract
    [frames] = sample_file(
        file, spacing_seconds=contract.spacing_seconds, height=contract.height, width=contract.width, fit=contract.fit
    )
    places = sliding_windows(len(frames), contract.frames)
    chosen = np.linspace(0, len(places) - 1, min(len(places), MAX_CALIBRATION_CLIPS)).round().astype(int)
    output = model.with_name(f"{model.stem}-int8.xml")
    export(find(str(model)), output, "int8", np.stack([frames[places[i]] for i in chosen]))
    return output


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--hour", action="store_true", help="measure memory over an hour of footage, too")
    parser.add_argument("--model", help="another model than the 400-class X3D-XS of 4 frames of 160x160")
    parser.add_argument("--only", help="measure this figure only", choices=[*CASES, "replay.memory"])
    parser.add_argument("--json", type=Path, default=BUILD / "bench-replay.json")
    options = parser.parse_args()
    BUILD.mkdir(exist_ok=True)
    model = Path(options.model) if options.model else float_model()
    figures = []
    # A process for each, started afresh: what one leaves in memory is none of the next one's.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as processes:
        for name, case in CASES.items():
            if options.only not in {None, name}:
                continue
            file = footage(case.footage, BUILD)
            used = str(int8_model(model, file) if case.int8 else model)
            figures.append(processes.submit(measure, name, file, 2, used, options.rounds, once=case.once).result())
            _tell(figures[-1])
        if options.hour or options.only == "replay.memory":
            hour = repeated(footage(SMALL, BUILD), _REPEATS)
            figures.append(processes.submit(measure, "replay.memory", hour, 1, str(model), 1, once=False).result())
            _tell(figures[-1])
    options.json.write_text(json.dumps([asdict(f) for f in figures], indent=2) + "\n", "utf-8")
    grown = [f for f in figures if f.name == "replay.memory" and f.late_megabytes - f.early_megabytes > _FLAT_MEGABYTES]
    if grown:
        print(f"memory grew by more than {_FLAT_MEGABYTES:g} MB", file=sys.stderr)
    return 1 if grown else 0


def _tell(f: Figure) -> None:
    print(
        f"{f.name:20} {f.times_realtime:6.1f} times real time, a clip every {f.clip_every_seconds:g} s, {f.engine}; "
        f"{f.camera_seconds_per_core_second:.1f} camera-seconds a core-second, {f.cores_busy:.2f} cores busy, "
        f"the engine alone {f.engine_times_realtime:.1f} times; memory {f.early_megabytes:.0f} → "
        f"{f.late_megabytes:.0f} MB",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
