"""One worker and 200 cameras: does it keep up, and how much memory does an hour's backlog take?

    python benchmarks/load.py                         200 cameras live, for two minutes
    python benchmarks/load.py --backlog 60            an hour of them lies on the topic before the worker comes
    python benchmarks/load.py --backlog 60 --policy live

320x240 at 10 frames/s, a window every 3.2 s; the worker is `clipline work` with one thread for decoding, on Apache
Kafka and Redis. Cameras are a thread that sends segments when they are due, under 200 names. Printed every few seconds:
the worker's cores, resident memory and lag; at the end windows, what was skipped and why, and the largest memory.
Writes build/load.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Self

from chaos_services import KillableRedis
from chaos_stand import Command
from footage import Footage, footage
from soak import sample

from consumers.running.state_topics import read_states
from consumers.settings import Settings
from consumers.settings.loading import load_settings
from consumers.topics import ensure_topics
from stream import KafkaTransport, MemoryTransport, Segment, attach
from stream.services import ApacheBroker

_SAMPLE_SECONDS: Final = 5.0
_FILM: Final = Footage(20, 320, 240, rate=10, gop=20, bits_per_second=60_000)


def film_segments() -> list[Segment]:
    """The segments of the film, as an agent cuts them."""
    transport, settings = MemoryTransport(), Settings()
    ensure_topics(transport, settings.topics)
    film = footage(_FILM, Path("build"))
    attach(str(film), "camera", transport.producer(), settings.topics.segments, pace="max", start_us=0)
    records = transport.read(transport.offsets(settings.topics.segments))
    found = [Segment.decode(r.key, r.headers, r.value, r.where) for r in records]
    return [each for each in found if not each.is_end]


def on_air(film: list[Segment], camera: int, begin_us: int) -> Iterator[Segment]:
    """Segments of a camera that shows the film again and again, each time as a new epoch, beginning at `begin_us`."""
    length_us = film[-1].end_us
    while True:
        for each in film:
            yield replace(
                each,
                camera=f"camera-{camera:03}",
                epoch_us=begin_us,
                start_us=begin_us + each.start_us,
                end_us=begin_us + each.end_us,
            )
        begin_us += length_us


class Cameras:
    """Sends what cameras have recorded, when it is due."""

    def __init__(self, transport: KafkaTransport, topic: str, count: int, begin_us: int) -> None:
        film = film_segments()
        self._producer, self._topic = transport.producer(), topic
        length_us = film[-1].end_us
        # Not all at the same moment.
        self._feeds = [on_air(film, n, begin_us - n * length_us // count) for n in range(count)]
        self._next = [next(feed) for feed in self._feeds]
        self._over = threading.Event()
        self.sent = 0

    def send_until(self, time_us: int) -> None:
        """Send all that has been recorded by a time."""
        for number, feed in enumerate(self._feeds):
            while self._next[number].end_us <= time_us:
                self._producer.send(self._topic, *self._next[number].encode())
                self.sent += 1
                self._next[number] = next(feed)
        self._producer.flush()

    def run(self) -> None:
        while not self._over.wait(0.2):
            self.send_until(time.time_ns() // 1000)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self.run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._producer.close()


def cores(process: int, seconds: float, before: float) -> tuple[float, float]:
    """Cores that a process has used since, and its processor seconds now."""
    fields = (Path(f"/proc/{process}/stat").read_text("ascii").rpartition(")")[2]).split()
    spent = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return (spent - before) / seconds, spent


def watch(command: Command, transport: KafkaTransport, settings: Settings, seconds: float) -> list[dict[str, Any]]:
    """Note how the worker is every few seconds."""
    assert command.process is not None
    points: list[dict[str, Any]] = []
    began, spent = time.monotonic(), 0.0
    while (passed := time.monotonic() - began) < seconds:
        time.sleep(_SAMPLE_SECONDS)
        if not command.runs:
            sys.exit("the worker has ended")
        used, spent = cores(command.process.pid, _SAMPLE_SECONDS, spent)
        states = read_states(transport, settings.topics)
        worker = next(iter(states.workers.values()), None)
        behind = [c.behind_seconds for c in worker.cameras if c.behind_seconds is not None] if worker else []
        point = {
            "seconds": round(passed),
            "cores": round(used, 2),
            "memory_mb": round(sample(command.process.pid)["memory_mb"]),
            "waiting": worker.waiting if worker else None,
            "behind_seconds": round(sorted(behind)[len(behind) // 2], 1) if behind else None,
            "degraded": sum(c.degraded > 0 for c in worker.cameras) if worker else 0,
        }
        points.append(point)
        print(json.dumps(point), flush=True)
    return points


def settings_text(kafka: str, redis: str, options: argparse.Namespace) -> str:
    return f"""
kafka = "{kafka}"
redis = "{redis}"

[worker]
model = "x3d-xs"
engine = "openvino-f32"
stride_seconds = 3.2
threads = 1
start = "{"earliest" if options.backlog else "now"}"

[load]
policy = "{options.policy}"

[topics]
retention_hours = 2.0
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--backlog", type=float, default=0.0, help="minutes of footage that wait on the topic")
    parser.add_argument("--policy", choices=("catch-up", "degrade", "live"), default="catch-up")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="clipline-load-"))
    try:
        with ApacheBroker(folder / "kafka") as broker, KillableRedis() as redis:
            file = folder / "clipline.toml"
            file.write_text(settings_text(broker.address, redis.address, options), "utf-8")
            settings, transport = load_settings(file), KafkaTransport(broker.address)
            ensure_topics(transport, settings.topics)
            now_us = time.time_ns() // 1000
            cameras = Cameras(
                transport, settings.topics.segments, options.cameras, now_us - round(options.backlog * 60e6)
            )
            cameras.send_until(now_us)
            print(f"{cameras.sent} segments lie on the topic", flush=True)
            command = Command("worker", ["work"], file, folder)
            command.start()
            try:
                with cameras:
                    points = watch(command, transport, settings, options.seconds)
            finally:
                command.finished = True
                command.end()
            log = (folder / "worker.log").read_text("utf-8")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    late = points[len(points) // 2 :]
    result = {
        **vars(options),
        "processor": processor(),
        "largest_memory_mb": max(point["memory_mb"] for point in points),
        "cores": round(sum(point["cores"] for point in late) / len(late), 2),
        "last": points[-1],
        "warnings": sorted({line for line in log.splitlines() if "WARNING" in line or "ERROR" in line})[:10],
    }
    Path("build/load.json").write_text(json.dumps(result | {"points": points}, indent=2) + "\n", "utf-8")
    print(json.dumps(result, indent=2))


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text("ascii").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
