"""A worker's snapshot: which labels alarm, which cameras it has, and how long each has been silent."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from consumers.live.figures.snapshot import CameraSnapshot
from consumers.live.worker import Worker
from consumers.rules.rule import Rule
from consumers.settings import Settings
from consumers.topics import ensure_topics
from stream import ClipSpec, Consumer, MemoryTransport, attach
from tests.scorers import WholeClips
from tests.videos import write_video

SPEC = ClipSpec(frames=2, spacing_us=200_000, stride_us=400_000, height=24, width=32, fit="stretch")
RULES = {"bright": Rule(start=0.6, end=0.5, min_seconds=0.8, cooldown_seconds=1.0, update_seconds=10.0)}


class Brightness(WholeClips):
    id, labels = "brightness", ("dark", "bright")

    def predict(self, frames: np.ndarray) -> np.ndarray:
        light = frames.mean(axis=(1, 2, 3, 4)) / 255
        return np.stack([1 - light, light], axis=1)


@pytest.fixture
def settings() -> Settings:
    return Settings.model_validate(
        {"topics": {"partitions": 2}, "worker": {"start": "earliest", "threads": 1, "idle_seconds": 0.3}}
    )


@pytest.fixture
def transport(settings: Settings) -> MemoryTransport:
    transport = MemoryTransport()
    ensure_topics(transport, settings.topics)
    return transport


@pytest.fixture
def worker(transport: MemoryTransport, settings: Settings) -> Worker:
    return Worker(transport, Brightness(), SPEC, RULES, settings)


@pytest.fixture(scope="module")
def bright(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def white(_number: int, width: int, height: int) -> np.ndarray:
        return np.full((height, width, 3), 230, np.uint8)

    return write_video(tmp_path_factory.mktemp("footage") / "b.mp4", 30, rate=10, gop=10, size=(64, 48), frame=white)


def run_until(worker: Worker, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 40
    worker.run(lambda: ready() or time.monotonic() > deadline)
    assert ready(), worker.snapshot()


def cameras(worker: Worker) -> dict[str, CameraSnapshot]:
    return {c.camera: c for c in worker.snapshot().cameras}


def test_snapshot_says_which_labels_alarm_and_that_a_feed_has_ended(transport, settings, worker, bright):
    assert worker.snapshot().alarms == {"bright": 0.6}
    attach(str(bright), "gate", transport.producer(), settings.topics.segments, pace="max")
    run_until(worker, lambda: "gate" in cameras(worker) and cameras(worker)["gate"].ended)
    gate = cameras(worker)["gate"]
    assert (gate.frames, gate.pending) == (30, 0)
    assert gate.classified + gate.skipped.total() == 30
    assert gate.last_event is not None
    assert gate.last_event.label == "bright"


def test_silent_camera_is_shown_until_another_worker_has_its_partition(transport, settings, worker, bright):
    name = next(n for n in "abcdef" if zlib.crc32(n.encode()) % 2 == 1)  # the second member gets the second partition
    attach(str(bright), name, transport.producer(), settings.topics.segments, pace="max")
    others: list[Consumer] = []

    def moved() -> bool:
        camera = cameras(worker).get(name)
        # Longer than `idle_seconds`: its windows and events are closed, and it is listed all the same.
        if camera is not None and camera.silent_seconds > 0.6 and not others:
            assert camera.active == ()
            others.append(transport.consumer([settings.topics.segments], settings.worker.group))
        for other in others:
            other.poll(0)
        return bool(others) and name not in cameras(worker)

    run_until(worker, moved)
