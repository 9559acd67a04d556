"""Snapshots of workers that never ran, for tests of what shows them."""

from __future__ import annotations

import time
from collections import Counter

from consumers.live.figures.snapshot import CameraSnapshot, WorkerSnapshot
from consumers.records.event import Ending, Event, event_id
from consumers.records.prediction import Prediction

MODEL = "movenet-motion-42c84c9e"


def now_us() -> int:
    return time.time_ns() // 1000


def event(
    camera: str,
    seconds: float = 3.5,
    ending: Ending | None = None,
    *,
    at_us: int | None = None,
    group: str | None = None,
    merge_seconds: float | None = None,
) -> Event:
    start_us = now_us() if at_us is None else at_us
    return Event(
        camera=camera,
        model=MODEL,
        label="fight",
        state="started" if ending is None else "ended",
        revision=0 if ending is None else 1,
        id=event_id(camera, start_us, "fight", start_us, MODEL),
        start_us=start_us,
        end_us=start_us + round(seconds * 1e6),
        peak_score=0.97,
        peak_us=start_us,
        windows=4,
        ending=ending,
        group=group,
        merge_seconds=merge_seconds,
    )


def camera(name: str, fight: float = 0.01, *, at_us: int | None = None, **changes: object) -> CameraSnapshot:
    """A camera on which all is well, but for `changes`."""
    end_us = now_us() if at_us is None else at_us
    scores = {"normal": 1 - fight, "fight": fight}
    values: dict[str, object] = {
        "camera": name,
        "newest": Prediction(name, end_us, 7, end_us - 800_000, end_us, MODEL, scores),
        "frames": 1000,
        "pending": 10,
        "skipped": Counter(tail=3),
        "dead_lettered": 0,
        "windows": 90,
        "events": 0,
        "silent_seconds": 0.4,
        "behind_seconds": 0.4,
        "active": (),
        "last_event": None,
    }
    return CameraSnapshot(**(values | changes))  # type: ignore[arg-type]


def worker(*cameras: CameraSnapshot, **changes: object) -> WorkerSnapshot:
    values: dict[str, object] = {
        "model": MODEL,
        "cameras": cameras,
        "lag": 4,
        "waiting": 2,
        "latency_seconds": 0.4,
        "events_total": 0,
        "newest_events": (),
        "alarms": {"fight": 0.7},
    }
    return WorkerSnapshot(**(values | changes))  # type: ignore[arg-type]
