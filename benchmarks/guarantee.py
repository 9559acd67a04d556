"""What transactions cost: a worker on Apache Kafka, exactly once and at least once in turn.

    python benchmarks/guarantee.py [--rounds N] [--cameras N] [--small]

Processor time of the worker's process for a camera-second, from segments on a broker to predictions there. Needs Java
and `make kafka`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

from checkpoint import write_checkpoint
from footage import Footage, footage
from paths import Job, _work_off, send_footage

from consumers.live.assemble import clip_spec, tracker_rules
from consumers.live.worker import Worker
from consumers.settings import Settings, override
from consumers.topics import ensure_topics
from models import Classifier
from stream import KafkaTransport
from stream.services import ApacheBroker

LARGE, SMALL = Footage(6), Footage(24, 320, 240, 10, 20, 300_000)
GUARANTEES = ("at-least-once", "exactly-once")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--small", action="store_true", help="320x240 at 10 frames/s instead of 1080p at 30")
    options = parser.parse_args()
    cache = Path("build/bench")
    film = footage(SMALL if options.small else LARGE, cache)
    checkpoint, contract = write_checkpoint(cache / "x3d_xs.safetensors")
    classifier, spec = Classifier.load(str(checkpoint)), clip_spec(contract, None)
    costs: dict[str, list[float]] = {guarantee: [] for guarantee in GUARANTEES}
    walls: dict[str, list[float]] = {guarantee: [] for guarantee in GUARANTEES}
    with ApacheBroker() as broker:
        transport, job = KafkaTransport(broker.address), Job("kafka", str(film), cameras=options.cameras)
        ensure_topics(transport, Settings().topics)
        seconds = send_footage(transport, Settings().topics.segments, job)
        for number in range(options.rounds):
            for guarantee in GUARANTEES if number % 2 else GUARANTEES[::-1]:
                own = {
                    "kafka": broker.address,
                    "worker": {"group": f"{guarantee}-{number}", "guarantee": guarantee, "start": "earliest"},
                }
                settings = override(Settings(), own, "benchmark")
                rules = tracker_rules(contract, settings.tracker)
                worker = Worker(transport, classifier, spec, rules, settings)
                spent, began = time.process_time(), time.monotonic()
                _work_off(worker, job, contract)
                costs[guarantee].append((time.process_time() - spent) / seconds)
                walls[guarantee].append((time.monotonic() - began) / seconds)
    for guarantee in GUARANTEES:
        cost, wall = statistics.median(costs[guarantee]), statistics.median(walls[guarantee])
        span = f"{min(costs[guarantee]):.4f} to {max(costs[guarantee]):.4f}"
        print(f"{guarantee}: {cost:.4f} s a camera-second ({span}), wall {wall:.4f}")
    plain, exact = (statistics.median(costs[guarantee]) for guarantee in GUARANTEES)
    print(f"price of transactions: {100 * (exact / plain - 1):+.1f} % processor time, {options.cameras} cameras")
    sys.stdout.flush()
    os._exit(0)  # threads of the engine are not waited for


if __name__ == "__main__":
    main()
