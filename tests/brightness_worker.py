"""A worker in a process of its own, for tests that stop and kill it.

    python -m tests.brightness_worker ADDRESS SETTINGS

It scores by brightness, keeps nothing, and ends at SIGTERM as `clipline work` does. `DIES_OF=CAMERA/SEQUENCE` in its
environment names a segment of which it dies when it decodes it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

import numpy as np

from consumers.live import decode_queue
from consumers.live.worker import Worker
from consumers.rules.rule import Rule
from consumers.settings import Settings
from stream import ClipSpec, KafkaTransport
from stream.broker.kafka import consumer as kafka_consumer
from tests.scorers import WholeClips

SPEC = ClipSpec(frames=4, spacing_us=200_000, stride_us=400_000, height=24, width=32, fit="stretch")
RULES = {"bright": Rule(start=0.6, end=0.5, min_seconds=0.8, cooldown_seconds=1.0, update_seconds=2.0)}


class Brightness(WholeClips):
    id, labels = "brightness", ("dark", "bright")

    def predict(self, frames: np.ndarray) -> np.ndarray:
        light = frames.mean(axis=(1, 2, 3, 4)) / 255
        return np.stack([1 - light, light], axis=1)


def die_of(name: str) -> None:
    settle = decode_queue._settle

    def dies(task: Any, *arguments: Any) -> None:
        if f"{task.segment.camera}/{task.segment.sequence}" == name:
            os.kill(os.getpid(), signal.SIGKILL)
        settle(task, *arguments)

    decode_queue._settle = dies


def main() -> None:
    address, settings = sys.argv[1:]
    # Members learn of one another at once; or as in earnest, where that is what is measured.
    kafka_consumer.HEARTBEATS_PER_SESSION = int(os.environ.get("HEARTBEATS_PER_SESSION", "40"))
    if "DIES_OF" in os.environ:
        die_of(os.environ["DIES_OF"])
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    worker = Worker(KafkaTransport(address), Brightness(), SPEC, RULES, Settings.model_validate_json(settings))
    print("ready", flush=True)
    worker.run(stop.is_set)


if __name__ == "__main__":
    main()
