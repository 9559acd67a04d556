"""How much memory learning and judging take: `python benchmarks/memory.py [windows | clips | hours] [options]`.

windows   judging a replay of so many windows with truth: 100,000
clips     training on so many clips of two seconds: 5,000
hours     training on so many hours of footage in clips of a minute: 10

Each is run in a process of its own, whose peak is printed (the highest resident set, which libraries alone make half a
gigabyte). Footage is made here; --size is that of the pictures to learn from: 192 is the default's, and takes about as
much processor time as the footage is long.
"""

# ruff: noqa: PLC0415  each measured process imports only what it needs

from __future__ import annotations

import argparse
import io
import multiprocessing
import multiprocessing.connection
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Final

import av
import numpy as np

from consumers.terminal.console import Output

_LIMIT_MB: Final = 2048
_FILMS: Final = 8
_RATE: Final = 10
_STRIDE_US: Final = 390_000


def judge(count: int) -> None:
    """Judge a replay of ten cameras with `count` windows in all."""
    from consumers.replaying.judging.judgement import judge_events
    from consumers.replaying.judging.metrics import by_overlap
    from consumers.replaying.judging.placing import TrueEvent
    from consumers.replaying.judging.windows import judged_windows
    from consumers.replaying.trace import PlacedTrace, Timeline, Trace
    from consumers.rules.rule import Rule
    from models.evaluation.figures import evaluate

    generator = np.random.default_rng(0)
    timelines, truth = [], []
    for camera in (f"camera{n}" for n in range(10)):
        number = np.arange(count // 10)
        start = number * _STRIDE_US
        end_us = int(start[-1]) + 2 * _STRIDE_US
        places = np.stack([np.zeros_like(number), number, start, start + 2 * _STRIDE_US, start + 2_000_000], axis=1)
        score = generator.random(len(number))
        scores = np.stack([1 - score, score], axis=1).round(6)
        trace = Trace("m", ("normal", "fight"), places, scores, number[-1:] + 1, np.array([[0, end_us]]), 1, 0)
        timelines.append(Timeline(camera, [PlacedTrace(f"{camera}.mp4", 0, trace)]))
        minutes = range(0, end_us, 60_000_000)
        truth += [TrueEvent(camera, "fight", begin, begin + 8_000_000, "truth") for begin in minutes]
    rules = {"fight": Rule(0.9, 0.5, 0, 1, 5)}
    judge_events(timelines, rules, truth, by_overlap(0.1))
    windows = judged_windows(timelines, truth, rules)
    assert windows is not None
    evaluate(windows, rounds=200)


def train(clips: int, seconds: int, size: int) -> None:
    """Train the default model on so many clips."""
    from consumers.learning.train import TrainOptions, train_command
    from models.training.recipe import Recipe

    with tempfile.TemporaryDirectory(prefix="clipline-memory-") as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        rows = ["path,label,group"]
        films = [_film(Path(folder) / f"film{n}.mp4", n, seconds) for n in range(_FILMS)]
        for number in range(clips):
            path = Path(folder) / f"{number}.mp4"
            # Other bytes, so that no two are the same footage; what follows the last box is no video.
            path.write_bytes(films[number % _FILMS].read_bytes() + b"\0\0\0\x0cfree" + number.to_bytes(4, "big"))
            rows.append(f"{path.name},{'fight' if number % _FILMS % 2 else 'normal'},g{number % _FILMS}")
        (Path(folder) / "labels.csv").write_text("\n".join(rows) + "\n")
        options = TrainOptions(
            [Path(folder) / "labels.csv"],
            Path(folder) / "m.safetensors",
            Recipe("movenet_motion", frames=6, spacing_seconds=0.13, size=size),
        )
        train_command(options, Output(file=io.StringIO()))


def _film(path: Path, seed: int, seconds: int) -> Path:
    """A scene of its own in which something moves."""
    still = np.random.default_rng(seed).integers(0, 200, (6, 8, 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=_RATE)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for number in range(seconds * _RATE):
            picture = still.copy()
            picture[30:60, (number * (seed + 2)) % 110 :][:, :18] = 255
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        out.mux(stream.encode(None))
    return path


def _measured(what: str, count: float, size: int) -> None:
    if what == "windows":
        judge(int(count))
    elif what == "clips":
        train(int(count), 2, size)
    else:
        train(round(count * 60), 60, size)


def _in_a_process(what: str, count: float, size: int) -> int:
    """The peak of a process that does it, MB."""

    def run(found: multiprocessing.connection.Connection) -> None:
        _measured(what, count, size)
        found.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)

    context = multiprocessing.get_context("fork")  # nothing heavy is imported yet
    ours, theirs = context.Pipe()
    process = context.Process(target=run, args=(theirs,))
    process.start()
    process.join()
    return int(ours.recv()) if process.exitcode == 0 else -1


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", metavar="WHAT", default=[])
    parser.add_argument("--windows", type=int, default=100_000)
    parser.add_argument("--clips", type=int, default=5_000)
    parser.add_argument("--hours", type=float, default=10)
    parser.add_argument("--size", type=int, default=192, help="of the pictures to learn from, pixels")
    options = parser.parse_args()
    for what in options.what or ["windows", "clips", "hours"]:
        count, begun = getattr(options, what), time.monotonic()
        peak = _in_a_process(what, count, options.size)
        verdict = "failed" if peak < 0 else f"{peak} MB at most" + (" — TOO MUCH" if peak > _LIMIT_MB else "")
        print(f"{count:g} {what}: {verdict}, {time.monotonic() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
