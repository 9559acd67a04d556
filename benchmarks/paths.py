"""What is measured, each in a process of its own: `python paths.py` reads a `Job`, then one line a round.

    bench.py ──stdin: the job, then a line for each round──▶ this ──stdout: a line for each result──▶ bench.py

Every path over footage does the same work: a clip of four frames, 0.4 s apart, 160 x 160, begins every 0.8 s of
footage, goes through the same X3D-XS, and its scores are kept. `Round.scores` lets bench.py see that it was so.

Processor time is that of this process: user and system, all of its threads. None of the paths starts another one.
Where a figure is by core-second, the process is confined to one core: two that work at once slow each other down, and
a path that uses one only would look better for it.
Brokers and Redis run elsewhere and do not count; loading a model, connecting and warming up come before the clock.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, Final, Literal

import numpy as np

from consumers.live.assemble import clip_spec, open_worker, tracker_rules
from consumers.live.worker import Worker
from consumers.records.prediction import Prediction
from consumers.settings import Settings, override
from consumers.topics import ensure_topics
from models import Classifier, Contract, find
from models.engines.choice import open_engine
from models.engines.engine import Engine
from stream import Feed, KafkaTransport, MemoryTransport, Segment, Segmenter, Topic, Transport

PathName = Literal["direct", "kafka", "memory", "opencv_torch", "torchcodec_openvino", "broker"]

#: A worker that takes longer for its round hangs.
_ROUND_SECONDS: Final = 300.0
_SAMPLE_SECONDS: Final = 0.02
_RECORD_BYTES: Final = 250_000
_PARTITIONS: Final = 4
#: A peer that decodes in one go asks for as many frames as a group of pictures holds samples.
_SAMPLES_AT_ONCE: Final = 5


class MissingError(Exception):
    """Something that a path needs is not installed; the message says what."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a process is to measure."""

    path: PathName
    footage: str = ""
    checkpoint: str = ""
    cameras: int = 1
    kafka: str = ""
    redis: str = ""
    #: Records of a broker's round.
    records: int = 0
    #: Where the scores of a round go, as .npy.
    scores: str = ""


@dataclass(frozen=True, slots=True)
class Round:
    """What one round gave: of these figures the ones that its path has."""

    camera_seconds: float = 0.0
    cpu_seconds: float = 0.0
    clips: int = 0
    peak_megabytes: float = 0.0
    in_mb_per_s: float = 0.0
    out_mb_per_s: float = 0.0


class Measured(ABC):
    """A path that is set up by its constructor, and measured by each call."""

    def __init__(self, job: Job) -> None:
        self.job = job

    @abstractmethod
    def round(self, number: int) -> Round: ...


@contextlib.contextmanager
def _cpu_seconds(into: list[float]) -> Iterator[None]:
    begin = time.process_time()
    yield
    into.append(time.process_time() - begin)


# --- Clipline ---------------------------------------------------------------------------------------------------------


class Direct(Measured):
    """The worker as it is, on records in its own memory: from the MP4 file over segments to predictions."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._classifier = Classifier.load(job.checkpoint)
        self._classifier.predict(np.zeros((4, *self._classifier.contract.clip_shape), np.uint8))

    def round(self, number: int) -> Round:
        del number
        contract, cpu = self._classifier.contract, list[float]()
        with _cpu_seconds(cpu):
            transport = MemoryTransport()
            settings = override(Settings(), {"worker": {"start": "earliest"}}, "benchmark")
            ensure_topics(transport, settings.topics)
            seconds = send_footage(transport, settings.topics.segments, self.job)
            rules = tracker_rules(contract, settings.tracker)
            worker = Worker(transport, self._classifier, clip_spec(contract, None), rules, settings)
            _work_off(worker, self.job, contract)
        records = transport.read(transport.offsets(settings.topics.predictions))
        found = [Prediction.decode(r.key, r.headers, r.value, r.where) for r in records]
        _keep_scores(self.job, {p.window: list(p.scores.values()) for p in found if p.camera == "camera-0"})
        return Round(seconds, cpu[0], len(found))


class Kafka(Measured):
    """The worker as `clipline work` runs it, on segments that lie on a real broker, with results to a real Redis."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._settings = _kafka_settings(job)
        self._contract = find(job.checkpoint).contract

    def round(self, number: int) -> Round:
        cpu, peak = list[float](), list[float]()
        # A group that has not read anything, and a Redis in which nothing of it is stored.
        settings = override(self._settings, {"worker": {"group": f"{self.job.path}-{os.getpid()}-{number}"}}, "round")
        stored = _Redis(self.job.redis)
        stored.clear()
        with open_worker(settings) as serving:
            serving.classifier.predict(np.zeros((4, *self._contract.clip_shape), np.uint8))
            watched = _peak_megabytes(peak) if self.job.path == "memory" else contextlib.nullcontext()
            with watched, _cpu_seconds(cpu):
                _work_off(serving.worker, self.job, self._contract)
                serving.projection.catch_up(60)
        bodies = stored.predictions(settings.topics.prefix, "camera-0")
        _keep_scores(self.job, {body["window"]: list(body["scores"].values()) for body in bodies})
        clips = sum(stored.count(settings.topics.prefix, name) for name in camera_names(self.job))
        seconds = sum(c.seconds for c in serving.worker.counts.values())
        return Round(seconds, cpu[0], clips, peak[0] if peak else 0.0)


def _kafka_settings(job: Job) -> Settings:
    own = {"kafka": job.kafka, "redis": job.redis, "worker": {"model": job.checkpoint, "start": "earliest"}}
    return override(Settings(), {**own, "topics": {"prefix": f"{job.path}-{job.cameras}"}}, "benchmark")


def fill_topic(job: Job) -> None:
    """Put the segments of the job's cameras where its process, another one, will read them."""
    transport, topics = KafkaTransport(job.kafka), _kafka_settings(job).topics
    ensure_topics(transport, topics)
    send_footage(transport, topics.segments, job)


class _Redis:
    """What is shown in Redis."""

    def __init__(self, url: str) -> None:
        from consumers.outputs.redis_connection import connect_redis  # noqa: PLC0415

        self._redis = connect_redis(url)

    def clear(self) -> None:
        self._redis.flushall()

    def count(self, prefix: str, camera: str) -> int:
        return int(self._redis.xlen(f"{prefix}:predictions:{{{camera}}}"))

    def predictions(self, prefix: str, camera: str) -> list[dict]:
        entries = self._redis.xrange(f"{prefix}:predictions:{{{camera}}}")
        return [json.loads(content[b"prediction"]) for _, content in entries]


def camera_names(job: Job) -> list[str]:
    return [f"camera-{number}" for number in range(job.cameras)]


def send_footage(transport: Transport, topic: str, job: Job) -> float:
    """Put the footage on `topic` once for each camera, segment by segment in turn; return its camera-seconds."""
    producer, seconds = transport.producer(), 0.0
    for segments in zip(*(_segments(job.footage, name) for name in camera_names(job)), strict=True):
        for segment in segments:
            producer.send(topic, *segment.encode())
            seconds += segment.seconds
    producer.flush()
    producer.close()
    return seconds


def _segments(path: str, camera: str) -> Iterator[Segment]:
    with Feed(path) as feed:
        segmenter = Segmenter(camera, feed.track)
        for packet in feed.packets():
            yield from segmenter.push(packet)
        yield from segmenter.end()


def expected_clips(footage_seconds: float, contract: Contract) -> int:
    """How many whole windows footage holds, of the stride that serving takes by itself."""
    spec = clip_spec(contract, None)
    return (round(footage_seconds * 1e6) - spec.span_us) // spec.stride_us + 1


def _work_off(worker: Worker, job: Job, contract: Contract) -> None:
    """Run until every window is out."""
    with Feed(job.footage) as feed:
        wanted = job.cameras * expected_clips(feed.seconds or 0.0, contract)
    deadline = time.monotonic() + _ROUND_SECONDS

    def stop() -> bool:
        return time.monotonic() > deadline or sum(c.windows for c in worker.counts.values()) >= wanted

    worker.run(stop)


@contextlib.contextmanager
def _peak_megabytes(into: list[float]) -> Iterator[None]:
    """The most memory that this process had as its own or as its share of what is shared, meanwhile."""
    done, highest = threading.Event(), 0.0

    def watch() -> None:
        nonlocal highest
        while not done.wait(_SAMPLE_SECONDS):
            highest = max(highest, proportional_megabytes())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        into.append(highest)


def proportional_megabytes() -> float:
    """PSS, as Linux counts it, in millions of bytes."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("Pss:"))


class Memory(Kafka):
    """The same worker; what counts is the memory that it takes at most."""

    def __init__(self, job: Job) -> None:
        if not Path("/proc/self/smaps_rollup").exists():
            raise MissingError("a process's memory is read from /proc/self/smaps_rollup, which this system lacks")
        super().__init__(job)


# --- Peers ------------------------------------------------------------------------------------------------------------


class OpencvTorch(Measured):
    """OpenCV reads every frame, every twelfth is scaled; torch as it comes. One thread: the least for what it does."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        try:
            import cv2  # noqa: PLC0415
        except ImportError as error:
            raise MissingError(f"OpenCV is not installed: `pip install opencv-python-headless` ({error})") from None
        import torch  # noqa: PLC0415

        from models.engines.torch import serving_module  # noqa: PLC0415  imports torch

        cv2.setNumThreads(1)
        torch.set_num_threads(1)
        self._cv2, self._torch = cv2, torch
        self._checkpoint = find(job.checkpoint)
        self._module = serving_module(self._checkpoint)
        self._predict(np.zeros(self._checkpoint.contract.clip_shape, np.uint8))

    def _predict(self, clip: np.ndarray) -> np.ndarray:
        with self._torch.inference_mode():
            scores: np.ndarray = self._module(self._torch.from_numpy(clip[None]))[0].numpy()
            return scores

    def round(self, number: int) -> Round:
        del number
        cv2, contract, cpu = self._cv2, self._checkpoint.contract, list[float]()
        scores: dict[int, np.ndarray] = {}
        with _cpu_seconds(cpu):
            capture = cv2.VideoCapture(self.job.footage, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
            rate = capture.get(cv2.CAP_PROP_FPS)
            every, samples, frames = round(rate * contract.spacing_seconds), list[np.ndarray](), 0
            while True:
                read, frame = capture.read()
                if not read:
                    break
                if frames % every == 0:
                    small = cv2.resize(frame, (contract.width, contract.height), interpolation=cv2.INTER_AREA)
                    samples.append(cv2.cvtColor(small, cv2.COLOR_BGR2RGB))
                    _add_window(scores, samples, contract, self._predict)
                frames += 1
            capture.release()
        _keep_scores(self.job, scores)
        return Round(frames / rate, cpu[0], len(scores))


class TorchcodecOpenvino(Measured):
    """torchcodec decodes and scales the frames that are wanted; OpenVINO as Clipline has it.

    Its settings are those that were fastest here: no scan of the file beforehand, one thread, scaling inside the
    decoder, as many frames a call as lie between two keyframes.
    """

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        try:
            import torch  # noqa: PLC0415
            from torchcodec.decoders import VideoDecoder  # noqa: PLC0415
            from torchcodec.transforms import Resize  # noqa: PLC0415

            self._checkpoint = find(job.checkpoint)
            contract = self._checkpoint.contract
            self._open = partial(
                VideoDecoder,
                seek_mode="approximate",
                num_ffmpeg_threads=1,
                dimension_order="NHWC",
                transforms=[Resize((contract.height, contract.width))],
            )
            self._open(job.footage)
        except ImportError as error:
            raise MissingError(f"torchcodec is not installed: `pip install torchcodec` ({error})") from None
        except RuntimeError as error:
            if "libtorchcodec" not in str(error):
                raise
            raise MissingError(
                "torchcodec finds no FFmpeg libraries (versions 4 to 9): PyAV's wheel brings none that fit here; "
                "install FFmpeg's shared libraries (Debian: apt install ffmpeg)"
            ) from None
        torch.set_num_threads(1)
        self._engine: Engine = open_engine("openvino", self._checkpoint, 1)
        self._predict(np.zeros(contract.clip_shape, np.uint8))

    def _predict(self, clip: np.ndarray) -> np.ndarray:
        return self._engine.run(clip[None])[0]

    def round(self, number: int) -> Round:
        del number
        contract, cpu = self._checkpoint.contract, list[float]()
        scores: dict[int, np.ndarray] = {}
        with _cpu_seconds(cpu):
            decoder = self._open(self.job.footage)
            rate, frames = decoder.metadata.average_fps, decoder.metadata.num_frames
            wanted = range(0, frames, round(rate * contract.spacing_seconds))
            samples: list[np.ndarray] = []
            for begin in range(0, len(wanted), _SAMPLES_AT_ONCE):
                batch = decoder.get_frames_at(list(wanted[begin : begin + _SAMPLES_AT_ONCE]))
                for image in batch.data.numpy():
                    samples.append(image)
                    _add_window(scores, samples, contract, self._predict)
        _keep_scores(self.job, scores)
        return Round(frames / rate, cpu[0], len(scores))


def _add_window(scores: dict[int, np.ndarray], samples: list[np.ndarray], contract: Contract, predict: object) -> None:
    """Classify the window that the newest sample completes, if it completes one."""
    assert callable(predict)
    spec = clip_spec(contract, None)
    window, rest = divmod(len(samples) - spec.frames, spec.samples_per_stride)
    if window >= 0 and rest == 0:
        scores[window] = predict(np.stack(samples[-spec.frames :]))


# --- Brokers ----------------------------------------------------------------------------------------------------------


class Broker(Measured):
    """Records of 250 KB through Clipline's own producer, stored by every replica before they count, and back."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._transport = KafkaTransport(job.kafka)
        noise = os.urandom(_RECORD_BYTES - 8)
        self._values = [number.to_bytes(8, "big") + noise for number in range(job.records)]

    def round(self, number: int) -> Round:
        topic, megabytes = f"benchmark-{number}", self.job.records * _RECORD_BYTES / 1e6
        self._transport.ensure_topics([Topic(topic, _PARTITIONS)])
        producer = self._transport.producer()
        producer.send(topic, b"first", [], b"connects")
        producer.flush()
        begin = time.perf_counter()
        for index, value in enumerate(self._values):
            producer.send(topic, f"camera-{index % 16}".encode(), [], value)
        producer.flush()
        in_seconds = time.perf_counter() - begin
        producer.close()
        consumer = self._transport.consumer([topic], from_start=True)
        seen, deadline = set[int](), time.monotonic() + _ROUND_SECONDS
        begin = time.perf_counter()
        while len(seen) < self.job.records and time.monotonic() < deadline:
            seen |= {_number(r.value) for r in consumer.poll(0.5).records if r.value and len(r.value) == _RECORD_BYTES}
        out_seconds = time.perf_counter() - begin
        consumer.close()
        if seen != set(range(self.job.records)):
            raise RuntimeError(f"{len(seen)} of {self.job.records} records came back")
        return Round(in_mb_per_s=megabytes / in_seconds, out_mb_per_s=megabytes / out_seconds)


def _number(value: bytes) -> int:
    return int.from_bytes(value[:8], "big")


# --- The process ------------------------------------------------------------------------------------------------------


def _keep_scores(job: Job, by_window: dict[int, Sequence[float] | np.ndarray]) -> None:
    np.save(job.scores, np.array([by_window[window] for window in sorted(by_window)], np.float32))


class _Protocol:
    """Results go to the stdout that bench.py reads; whatever libraries print goes to stderr."""

    PATHS: ClassVar[dict[PathName, type[Measured]]] = {
        "direct": Direct,
        "kafka": Kafka,
        "memory": Memory,
        "opencv_torch": OpencvTorch,
        "torchcodec_openvino": TorchcodecOpenvino,
        "broker": Broker,
    }

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)

    def serve(self) -> None:
        job = Job(**json.loads(sys.stdin.readline()))
        if job.path not in {"memory", "broker"} and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        try:
            measured = self.PATHS[job.path](job)
        except MissingError as error:
            self._say({"missing": str(error)})
            return
        self._say({"ready": True})
        for number, _ in enumerate(sys.stdin):
            self._say(asdict(measured.round(number)))

    def _say(self, answer: dict) -> None:
        self._out.write(json.dumps(answer) + "\n")
        self._out.flush()


if __name__ == "__main__":
    _Protocol().serve()
