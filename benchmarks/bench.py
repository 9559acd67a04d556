"""Clipline against what people would write instead, side by side in one run: `make bench`, or `bench.py --help`.

    cameras_per_core.direct     from an MP4 file over segments to predictions, in one process, without a broker
    cameras_per_core.kafka      the worker of `clipline work` between a real broker and a real Redis
    cameras_per_core.peer.*     the same clips and the same network, with OpenCV and torch, or torchcodec and OpenVINO
    memory_mb_per_camera        what one more camera adds to a worker's memory while it works off a backlog
    broker_mb_per_s.*           records of 250 KB in and out, acknowledged by all replicas; the slower way counts

Camera-seconds per core-second: seconds of 1080p30 footage that one second of processor time classifies; each path is
one process that is confined to one core.
Rounds are interleaved, so that whatever else the machine does meets all alike; the median of the rounds is reported.
The run fails when a path leaves out a clip, or scores clips unlike the others.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from footage import Footage, footage
from paths import Job, Round, expected_clips, fill_topic
from rich.table import Table

from consumers.terminal.console import Output
from stream import StreamError
from stream.services import ApacheBroker, EmbeddedBroker, EmbeddedRedis

REPOSITORY: Final = Path(__file__).resolve().parents[1]
BUILD: Final = REPOSITORY / "build"
DIRECT: Final = "cameras_per_core.direct"
KAFKA: Final = "cameras_per_core.kafka"
OPENCV: Final = "cameras_per_core.peer.opencv_torch"
TORCHCODEC: Final = "cameras_per_core.peer.torchcodec_openvino"
MEMORY: Final = "memory_mb_per_camera"
EMBEDDED: Final = "broker_mb_per_s.embedded"
APACHE: Final = "broker_mb_per_s.apache"
CAMERAS_PER_CORE: Final = {DIRECT: "direct", KAFKA: "kafka", OPENCV: "opencv_torch", TORCHCODEC: "torchcodec_openvino"}
NAMES: Final = (*CAMERAS_PER_CORE, MEMORY, EMBEDDED, APACHE)
_CORES: Final = "camera-seconds per core-second"
_FROM_FILE: Final = "processor time of the one process, all threads, from opening the MP4 file to the last scores"
#: What a figure is made of, for whoever reads the JSON.
COUNTED: Final = {
    DIRECT: _FROM_FILE + "; cutting segments included",
    KAFKA: "processor time of the worker process, all threads, from joining the group to the last commit, Redis and "
    "Kafka clients included; segments were produced before; broker and Redis are other processes, not counted",
    OPENCV: _FROM_FILE,
    TORCHCODEC: _FROM_FILE,
    MEMORY: "highest proportional set size (PSS) of the worker process on a backlog with many cameras, less that with "
    "few, by the difference in cameras",
    EMBEDDED: "wall time from the first send to the last acknowledgement, and of reading all of it back",
    APACHE: "wall time from the first send to the last acknowledgement, and of reading all of it back",
}
#: What paths that saw the same clips agree on at least. Not all: the weights are random, which leaves no label a
#: margin, and decoders, scalers and engines round differently; Clipline leaves out deblocking. Clips that are one
#: window apart are reported beside it, so that one sees what different clips would give.
_SAME_LABEL: Final = 0.6
_CORRELATION: Final = 0.9
_LEAST_SCORE: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    rounds: int
    footage: Footage
    direct_cameras: int
    kafka_cameras: int
    memory_rounds: int
    memory_footage: Footage
    memory_cameras: tuple[int, int]
    broker_rounds: int
    records: int


FULL: Final = Plan(5, Footage(24), 2, 4, 3, Footage(12), (4, 20), 3, 800)
QUICK: Final = Plan(1, Footage(6), 1, 2, 1, Footage(6), (2, 6), 1, 200)


@dataclass(slots=True)
class Result:
    """A figure, or the reason why there is none."""

    name: str
    unit: str
    value: float | None = None
    ratio_to_best_peer: float | None = None
    #: Least and most of the rounds.
    low: float | None = None
    high: float | None = None
    rounds: int = 0
    reason: str | None = None
    details: dict[str, Any] = field(default_factory=dict)

    def take(self, values: Sequence[float]) -> None:
        self.value = round(statistics.median(values), 3)
        self.low, self.high, self.rounds = round(min(values), 3), round(max(values), 3), len(values)


class WrongWorkError(Exception):
    """A path did not do what it was measured for."""


class MissingError(Exception):
    """Something that a measurement needs is not installed."""


class Measuring:
    """A process of paths.py."""

    def __init__(self, job: Job, environment: dict[str, str], log: Path) -> None:
        self._log = log
        with log.open("a", encoding="utf-8") as errors:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("paths.py"))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment,
                cwd=REPOSITORY,
            )
        answer = self._ask(json.dumps(asdict(job)))
        if "missing" in answer:
            self.close()
            raise MissingError(answer["missing"])

    def round(self) -> Round:
        return Round(**self._ask("round"))

    def _ask(self, line: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            self.close()
            words = self._log.read_text(encoding="utf-8")[-3000:]
            raise WrongWorkError(f"a measured process ended with status {self._process.returncode}:\n{words}")
        return dict(json.loads(answer))

    def close(self) -> None:
        self._process.communicate()


class Bench:
    """The measurements of one run, and what they share: footage, a checkpoint, a folder, an environment."""

    def __init__(self, plan: Plan, names: Sequence[str], console: Output, scratch: Path) -> None:
        self._plan, self._names, self._console, self._scratch = plan, names, console, scratch
        self._cache = BUILD / "bench"
        self._log = scratch / "stderr.txt"
        self.results = {name: Result(name, _unit(name)) for name in names}
        # Converted models go beside the footage, and no setting of the user's enters.
        own = {name: value for name, value in os.environ.items() if not name.startswith("CLIPLINE_")}
        self._environment = {**own, "XDG_CACHE_HOME": str(self._cache), "PYTHONWARNINGS": "ignore"}

    def run(self) -> list[Result]:
        if any(name in self._names for name in CAMERAS_PER_CORE):
            self._measure_cameras()
        if MEMORY in self._names:
            self._measure_memory()
        if EMBEDDED in self._names or APACHE in self._names:
            self._measure_brokers()
        return list(self.results.values())

    def _start(self, job: Job) -> Measuring:
        environment = self._environment
        if job.path == "torchcodec_openvino":
            environment = _with_ffmpeg(environment, self._scratch)
        return Measuring(job, environment, self._log)

    def _status(self, text: str) -> None:
        self._console.print(text, style="dim", highlight=False)

    def _footage(self, wanted: Footage) -> str:
        self._status(f"{wanted.seconds} s of {wanted.width}x{wanted.height} footage, 4 Mb/s (kept in build/bench)")
        return str(footage(wanted, self._cache))

    @contextmanager
    def _services(self) -> Iterator[dict[str, str]]:
        with EmbeddedBroker() as kafka, EmbeddedRedis() as redis:
            yield {"kafka": kafka.address, "redis": redis.address}

    def _measure_cameras(self) -> None:
        film, checkpoint = self._footage(self._plan.footage), self._checkpoint()
        with ExitStack() as stack:
            processes: dict[str, tuple[Job, Measuring]] = {}
            for name, path in CAMERAS_PER_CORE.items():
                if name not in self._names:
                    continue
                self._status(f"preparing {name}")
                job = Job(path, film, checkpoint, scores=str(self._scratch / f"{path}.npy"))
                if name == DIRECT:
                    job = replace(job, cameras=self._plan.direct_cameras)
                if name == KAFKA:
                    addresses = stack.enter_context(self._services())
                    job = replace(job, cameras=self._plan.kafka_cameras, **addresses)
                    fill_topic(job)
                try:
                    process = self._start(job)
                except MissingError as error:
                    self.results[name].reason = str(error)
                    continue
                stack.callback(process.close)
                processes[name] = job, process
            values: dict[str, list[float]] = {name: [] for name in processes}
            for number in range(self._plan.rounds):
                for name, (job, process) in processes.items():
                    figures = process.round()
                    self._check_clips(name, job, figures)
                    values[name].append(figures.camera_seconds / figures.cpu_seconds)
                shown = ", ".join(f"{name.removeprefix('cameras_per_core.')} {v[-1]:.1f}" for name, v in values.items())
                self._status(f"round {number + 1} of {self._plan.rounds}: {shown}")
        for name, measured in values.items():
            self.results[name].take(measured)
            self.results[name].details["clips_per_round"] = processes[name][0].cameras * self._clips
        self._compare_scores({name: Path(job.scores) for name, (job, _) in processes.items()})
        _relate(self.results)

    def _checkpoint(self) -> str:
        from checkpoint import write_checkpoint  # noqa: PLC0415  imports torch

        path, self._contract = write_checkpoint(self._cache / "x3d_xs.safetensors")
        self._clips = expected_clips(self._plan.footage.seconds, self._contract)
        return str(path)

    def _check_clips(self, name: str, job: Job, figures: Round) -> None:
        clips, seconds = job.cameras * self._clips, job.cameras * self._plan.footage.seconds
        if figures.clips != clips or abs(figures.camera_seconds - seconds) > 0.1 * job.cameras:
            raise WrongWorkError(
                f"{name}: {figures.clips} clips of {figures.camera_seconds:.1f} camera-seconds, "
                f"expected {clips} of {seconds}"
            )

    def _compare_scores(self, paths: dict[str, Path]) -> None:
        """Refuse a run whose paths did not see the same clips through the same network."""
        reference = next((name for name in (DIRECT, KAFKA) if name in paths), None)
        if reference is None:
            return
        ours = np.load(paths[reference])
        for name, path in paths.items():
            if name == reference:
                continue
            theirs = np.load(path)
            if theirs.shape != ours.shape:
                raise WrongWorkError(f"{name}: scores {theirs.shape}, {reference}: {ours.shape}")
            same, alike = _agreement(ours, theirs)
            self.results[name].details |= {
                "agreement_with": reference,
                "same_first_label": same,
                "score_correlation": alike,
                "max_score_difference": round(float(np.abs(ours - theirs).max()), 3),
                "one_window_apart": dict(
                    zip(("same_first_label", "score_correlation"), _agreement(ours[1:], theirs[:-1]), strict=True)
                ),
            }
            if same < _SAME_LABEL or alike < _CORRELATION:
                raise WrongWorkError(
                    f"{name} and {reference} agree on the first label of {same:.0%} of the clips, and their scores "
                    f"correlate by {alike:.2f}: expected {_SAME_LABEL:.0%} and {_CORRELATION} at least"
                )

    def _measure_memory(self) -> None:
        film, checkpoint = self._footage(self._plan.memory_footage), self._checkpoint()
        few, many = self._plan.memory_cameras
        growth, peaks = [], []
        with self._services() as addresses:
            jobs = {
                cameras: Job("memory", film, checkpoint, cameras, scores=str(self._scratch / "memory.npy"), **addresses)
                for cameras in (few, many)
            }
            for job in jobs.values():
                fill_topic(job)
            for number in range(self._plan.memory_rounds):
                peak = {}
                for cameras, job in jobs.items():
                    try:
                        process = self._start(job)  # memory that was given back once is not asked for again
                    except MissingError as error:
                        self.results[MEMORY].reason = str(error)
                        return
                    figures = process.round()
                    process.close()
                    clips = cameras * expected_clips(self._plan.memory_footage.seconds, self._contract)
                    if figures.clips != clips:
                        raise WrongWorkError(f"{MEMORY}: {figures.clips} clips of {cameras} cameras, expected {clips}")
                    peak[cameras] = figures.peak_megabytes
                peaks.append(peak)
                growth.append((peak[many] - peak[few]) / (many - few))
                self._status(
                    f"memory, round {number + 1} of {self._plan.memory_rounds}: "
                    f"{peak[few]:.0f} MB with {few} cameras, {peak[many]:.0f} MB with {many}"
                )
        result = self.results[MEMORY]
        result.take(growth)
        for cameras in (few, many):
            peak_mb = statistics.median(p[cameras] for p in peaks)
            result.details[f"peak_mb_with_{cameras}_cameras"] = round(peak_mb, 1)

    def _measure_brokers(self) -> None:
        kinds: dict[str, Callable[[], Any]] = {EMBEDDED: EmbeddedBroker, APACHE: ApacheBroker}
        with ExitStack() as stack:
            processes: dict[str, Measuring] = {}
            for name in (n for n in kinds if n in self._names):
                if name == APACHE and (reason := ApacheBroker.missing()) is not None:
                    self.results[name].reason = reason
                    continue
                service = stack.enter_context(kinds[name]())
                process = self._start(Job("broker", kafka=service.address, records=self._plan.records))
                stack.callback(process.close)
                processes[name] = process
            rounds: dict[str, list[Round]] = {name: [] for name in processes}
            for number in range(self._plan.broker_rounds):
                for name, process in processes.items():
                    rounds[name].append(process.round())
                    last = rounds[name][-1]
                    self._status(
                        f"{name}, round {number + 1} of {self._plan.broker_rounds}: "
                        f"{last.in_mb_per_s:.0f} MB/s in, {last.out_mb_per_s:.0f} MB/s out"
                    )
        for name, measured in rounds.items():
            into = statistics.median(r.in_mb_per_s for r in measured)
            out = statistics.median(r.out_mb_per_s for r in measured)
            self.results[name].take([r.in_mb_per_s if into <= out else r.out_mb_per_s for r in measured])
            self.results[name].details |= {"in_mb_per_s": round(into, 1), "out_mb_per_s": round(out, 1)}


def _unit(name: str) -> str:
    return _CORES if name in CAMERAS_PER_CORE else "MB" if name == MEMORY else "MB/s"


def _agreement(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Of two sets of scores (N, L): the share of clips with the same first label, and the mean correlation of logs."""
    logs = [np.log(np.maximum(scores, _LEAST_SCORE)) for scores in (one, other)]
    alike = [np.corrcoef(a, b)[0, 1] for a, b in zip(*logs, strict=True)]
    return round(float((one.argmax(1) == other.argmax(1)).mean()), 3), round(float(np.mean(alike)), 3)


def _relate(results: dict[str, Result]) -> None:
    peers = [r.value for name in (OPENCV, TORCHCODEC) if (r := results.get(name)) is not None and r.value is not None]
    for name in CAMERAS_PER_CORE:
        if peers and (result := results.get(name)) is not None and result.value is not None:
            result.ratio_to_best_peer = round(result.value / max(peers), 3)


def _with_ffmpeg(environment: dict[str, str], scratch: Path) -> dict[str, str]:
    """The environment in which torchcodec finds FFmpeg's libraries: those in PyAV's wheel, under their own names.

    torchcodec brings none. PyAV's are of a version that it knows, need no root to install, and are those that Clipline
    decodes with. Where PyAV has none of its own, the system's are left to be found.
    """
    import av  # noqa: PLC0415

    bundled = Path(av.__file__).parents[1] / "av.libs"
    folder = scratch / "ffmpeg"
    folder.mkdir(exist_ok=True)
    for library in bundled.glob("lib*-*.so.*"):
        name, _, version = library.name.partition(".so.")  # libavcodec-5e6b81c2.so.62.28.102
        with suppress(FileExistsError):
            (folder / f"{name.rpartition('-')[0]}.so.{version.partition('.')[0]}").symlink_to(library)
    before = environment.get("LD_LIBRARY_PATH")
    found = [str(folder), str(bundled), *([before] if before else [])]
    return {**environment, "LD_LIBRARY_PATH": os.pathsep.join(found)}


def _table(results: Sequence[Result]) -> Table:
    table = Table(box=None, title="\nmedian of the rounds; ratio to the best peer", title_justify="left")
    table.add_column("", no_wrap=True)
    for name in ("value", "rounds", "ratio"):
        table.add_column(name, justify="right", no_wrap=True)
    unit = None
    for r in results:
        if r.unit != unit:
            table.add_row(r.unit, style="bold")
            unit = r.unit
        ratio = "" if r.ratio_to_best_peer is None else f"{r.ratio_to_best_peer:.2f}"
        if r.value is None:
            table.add_row(f"  {r.name}", "–", style="yellow")
        else:
            table.add_row(f"  {r.name}", f"{r.value:.1f}", f"{r.low:.1f} to {r.high:.1f}", ratio)
    return table


def _names(chosen: Sequence[str] | None) -> list[str]:
    """The measurements that `--only` stands for: those it names, or whose names begin with it and a dot.

    Raises:
        argparse.ArgumentTypeError: it names none.
    """
    if not chosen:
        return list(NAMES)
    names: list[str] = []
    for wanted in chosen:
        found = [name for name in NAMES if name == wanted or name.startswith(f"{wanted}.")]
        if not found:
            raise argparse.ArgumentTypeError(f"--only {wanted}: expected one of {', '.join(NAMES)}")
        names += found
    return [name for name in NAMES if name in names]


def main() -> int:
    """Measure, print a table, write the JSON; 1 when a path did not do its work, 2 for a wrong command line."""
    summary, _, explanation = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=explanation, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one short round each: whether it works, not how fast")
    parser.add_argument("--only", action="append", metavar="NAME", help="a name above, or what comes before its dot")
    parser.add_argument("--output", type=Path, default=BUILD / "bench.json", help="default: build/bench.json")
    arguments = parser.parse_args()
    try:
        names = _names(arguments.only)
    except argparse.ArgumentTypeError as error:
        parser.error(str(error))
    console = Output(stderr=True)
    warnings.simplefilter("ignore")  # torch's, about what pytorchvideo and OpenVINO call
    with tempfile.TemporaryDirectory(prefix="clipline-bench-") as scratch:
        bench = Bench(QUICK if arguments.quick else FULL, names, console, Path(scratch))
        try:
            results = bench.run()
        except (WrongWorkError, StreamError) as error:
            console.print(f"bench: {error}", style="red", markup=False, highlight=False)
            return 1
    report = Output()
    report.print(_table(results))
    for result in results:
        if result.value is None:
            report.print(f"{result.name}: not measured. {result.reason}", style="yellow", markup=False, highlight=False)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps([_as_json(r) for r in results], indent=2) + "\n", encoding="utf-8")
    console.print(f"\nWritten to {arguments.output}", style="dim")
    return 0


def _as_json(result: Result) -> dict[str, Any]:
    values = asdict(result)
    details = values.pop("details")
    return {**values, "counted": COUNTED[result.name], **details}


if __name__ == "__main__":
    sys.exit(main())
