"""Cameras for an hour: does anything grow, fall behind, or complain?

    python benchmarks/soak.py [--minutes 60] [--cameras 30] [--workers 2]

Real commands on Apache Kafka and Redis, as in chaos.py, and nothing hurts them. Every few seconds the resident memory,
the open files and the threads of each process, the memory of Redis and what the group has not yet acknowledged are
noted. Printed are their slopes over the second half (what is filled at the start is full by then), as growth an hour.
Writes build/soak.json; exits with 1 where something grows by more than its limit, or a log holds a warning.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import redis
from chaos_services import KillableRedis, ProxiedBroker, Proxy, children
from chaos_stand import Command, unacknowledged
from footage import Footage, footage
from kafka.errors import KafkaError

from consumers.settings.loading import load_settings

_SAMPLE_SECONDS: Final = 5.0
#: A group has no offsets before its first transaction.
_SETTLED_SECONDS: Final = 30.0
#: What may grow in an hour, by quantity: noise of a measurement, far below what a month would need to hurt.
LIMITS: Final = {"memory_mb": 10.0, "files": 1.0, "threads": 1.0, "redis_mb": 5.0, "lag": 20.0}


def sample(process: int) -> dict[str, float]:
    """Resident memory in MB, open files and threads of a process."""
    root = Path(f"/proc/{process}")
    pages = int((root / "statm").read_text("ascii").split()[1])
    return {
        "memory_mb": pages * resource.getpagesize() / 1e6,
        "files": float(len(list((root / "fd").iterdir()))),
        "threads": float(len(list((root / "task").iterdir()))),
    }


def slope(points: list[tuple[float, float]]) -> float:
    """Growth an hour over the second half of the points, by least squares."""
    late = np.array(points[len(points) // 2 :])
    return float(np.polyfit(late[:, 0] / 3600, late[:, 1], 1)[0]) if len(late) > 2 else float("nan")


def settings(kafka: str, redis_url: str, film: Path, cameras: int, workers: int, logs: Path) -> str:
    """The same film for all cameras, again and again."""
    head = f"""
kafka = "{kafka}"
redis = "{redis_url}"

[run]
services = "own"
workers = {workers}
log_folder = "{logs}"

[worker]
model = "x3d-xs"
threads = 1

[topics]
partitions = 12
"""
    return head + "".join(f'[cameras.camera-{n}]\nurl = "{film}"\nloop = true\n' for n in range(cameras))


def processes(root: int) -> dict[str, int]:
    """`clipline run` and its children, by name."""
    found = {"run": root}
    for child in children(root):
        words = Path(f"/proc/{child}/cmdline").read_text("utf-8").split("\0")
        if "consumers.running.child" in words:
            found[words[words.index("consumers.running.child") + 2]] = child
    return found


def summary(
    options: argparse.Namespace, points: dict[str, list[tuple[float, float]]], logs: list[str]
) -> dict[str, Any]:
    """What grew, and what was complained of."""
    warnings = [line for text in logs for line in text.splitlines() if "WARNING" in line or "ERROR" in line]
    slopes = {name: round(slope(values), 2) for name, values in points.items()}
    grew = {name: value for name, value in slopes.items() if value > LIMITS[name.split()[-1]]}
    return {
        "minutes": options.minutes,
        "cameras": options.cameras,
        "workers": options.workers,
        "growth_an_hour": slopes,
        "last": {name: round(values[-1][1], 1) for name, values in points.items()},
        "largest": {name: round(max(value for _, value in values), 1) for name, values in points.items()},
        "grew": grew,
        "warnings": warnings[:20],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--cameras", type=int, default=30)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    film = footage(Footage(60, 320, 240, rate=5, gop=10, bits_per_second=100_000), Path("build"))
    folder = Path(tempfile.mkdtemp(prefix="clipline-soak-"))
    proxy = Proxy()
    points: dict[str, list[tuple[float, float]]] = defaultdict(list)
    with ProxiedBroker(folder / "kafka", proxy) as broker, KillableRedis() as server:
        file = folder / "clipline.toml"
        logs = folder / "logs"
        text = settings(broker.proxied_address, server.address, film.resolve(), options.cameras, options.workers, logs)
        file.write_text(text, "utf-8")
        read = load_settings(file)
        command = Command("run", ["run"], file, folder)
        try:
            command.start()
            assert command.process is not None
            store = redis.Redis.from_url(server.address)
            began, seen = time.monotonic(), dict[str, int]()
            while (passed := time.monotonic() - began) < options.minutes * 60:
                time.sleep(_SAMPLE_SECONDS)
                if not command.runs:
                    sys.exit(f"clipline run has ended: see {folder}")
                now = processes(command.process.pid)
                if restarted := [name for name, process in seen.items() if now.get(name) != process]:
                    sys.exit(f"{', '.join(restarted)} ended and was started again: see {logs}")
                seen = now
                for name, process in now.items():
                    for quantity, value in sample(process).items():
                        points[f"{name} {quantity}"].append((passed, value))
                points["redis redis_mb"].append((passed, store.info("memory")["used_memory"] / 1e6))
                if passed > _SETTLED_SECONDS:
                    with contextlib.suppress(KafkaError):  # a broker that is busy answers the next time
                        points["group lag"].append((passed, unacknowledged(read)))
                newest = {name: round(values[-1][1], 1) for name, values in points.items()}
                print(f"{passed:6.0f} s {json.dumps(newest)}", flush=True)
        finally:
            command.finished = True
            command.end()
            proxy.close()
        texts = [file.read_text("utf-8") for file in [*logs.iterdir(), folder / "run.log"]]
    result = summary(options, points, texts)
    Path("build/soak.json").write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    print(json.dumps(result, indent=2))
    if result["grew"] or result["warnings"]:
        sys.exit(1)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
