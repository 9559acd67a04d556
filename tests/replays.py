"""A live worker and a replay over the same footage, for tests that compare them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from consumers.live.effort.stillness import StillRule
from consumers.live.worker import Worker
from consumers.records.event import Event
from consumers.records.prediction import Prediction
from consumers.replaying.footage.sources import find_recordings
from consumers.replaying.replay import Replayed, replay
from consumers.replaying.run import ScoringSetup
from consumers.replaying.store import TraceStore
from consumers.rules.rule import Rule
from consumers.settings import Settings
from consumers.topics import ensure_topics
from stream import ClipSpec, Headers, MemoryTransport, Transport, attach
from tests.scorers import WholeClips

SPEC = ClipSpec(frames=4, spacing_us=200_000, stride_us=400_000, height=24, width=32, fit="stretch")
RULES = {"bright": Rule(start=0.6, end=0.5, min_seconds=0.8, cooldown_seconds=1.0, update_seconds=2.0)}
SETTINGS = Settings.model_validate({"topics": {"partitions": 4}, "worker": {"start": "earliest", "threads": 1}})

Said = tuple[bytes, Headers, bytes]


class Brightness(WholeClips):
    """A scorer whose truth is in the pixels: the share of light in a clip. Counts what it is asked."""

    id, labels = "brightness", ("dark", "bright")

    def __init__(self) -> None:
        self.clips = 0

    def predict(self, frames: np.ndarray) -> np.ndarray:
        self.clips += len(frames)
        light = frames.mean(axis=(1, 2, 3, 4)) / 255
        return np.stack([1 - light, light], axis=1)


@dataclass(frozen=True, slots=True)
class Served:
    """A model, the clips that it takes, and what becomes of its scores."""

    scorer: Any
    spec: ClipSpec = field(default_factory=lambda: SPEC)
    rules: Mapping[str, Rule] = field(default_factory=lambda: RULES)


class Overheard:
    """A transport for workers that keeps what they say: predictions, and events."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.predictions: list[Prediction] = []
        self.events: list[Event] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def producer(self) -> Any:
        return _Overheard(self._transport.producer(), self)

    def publisher(self, name: str | None) -> Any:
        return _Overheard(self._transport.publisher(name), self)

    def hear(self, topic: str, key: bytes, headers: Headers, value: bytes | None) -> None:
        """Called with each record before it is sent."""
        if topic.endswith(".predictions"):
            self.predictions.append(Prediction.decode(key, headers, value, topic))
        elif topic.endswith(".events"):
            self.events.append(Event.decode(key, headers, value, topic))


class _Overheard:
    """What sends records, and lets somebody hear them."""

    def __init__(self, sender: Any, listener: Overheard) -> None:
        self._sender, self._listener = sender, listener

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sender, name)

    def send(self, topic: str, key: bytes, headers: Headers, value: bytes | None, *more: Any) -> None:
        self._listener.hear(topic, key, headers, value)
        self._sender.send(topic, key, headers, value, *more)


def blinking(*bright: tuple[int, int]) -> Callable[[int, int, int], np.ndarray]:
    """Dark, but for the given intervals of frames."""

    def frame(number: int, width: int, height: int) -> np.ndarray:
        lit = any(first <= number < end for first, end in bright)
        # Not flat: an encoder would make nothing of it, and a mistaken frame would not be seen.
        image = np.full((height, width, 3), 200 if lit else 20, np.uint8)
        image[:, (number * 3) % (width - 8) :][:, :8] += 25
        return image

    return frame


def live(
    footage: Path,
    camera: str,
    start_us: int | None,
    *,
    transport: Transport | None = None,
    settings: Settings = SETTINGS,
    served: Served | None = None,
) -> tuple[list[Said], list[Said], Overheard]:
    """What a worker says of footage that was attached, as it lies on the topics: predictions, and events."""
    transport = transport or MemoryTransport()
    ensure_topics(transport, settings.topics)
    attach(
        str(footage),
        camera,
        transport.producer(),
        settings.topics.segments,
        limits=settings.segments.limits,
        pace="max",
        start_us=start_us,
    )
    heard = Overheard(transport)
    served = served or Served(Brightness())
    work_off(Worker(heard, served.scorer, served.spec, served.rules, settings))
    return [told(p) for p in heard.predictions], [told(e) for e in heard.events], heard


def told(record: Prediction | Event) -> Said:
    """A record as it travels, but for what belongs to one topic alone: the offsets of its footage, and its trace."""
    if isinstance(record, Event):
        record = replace(record, segments=None)
    return replace(record, trace=None).encode()


def work_off(worker: Worker, seconds: float = 30) -> None:
    """Run until all that is on the topic was accounted for."""
    deadline, started = time.monotonic() + seconds, False

    def done() -> bool:
        nonlocal started
        started = started or bool(worker.counts)
        over = started and worker.waiting == 0 and all(c.pending == 0 for c in worker.counts.values())
        return (over and is_at_the_end()) or time.monotonic() > deadline

    def is_at_the_end() -> bool:
        """A worker that takes over has an account before it has read anything."""
        progress = worker._consumer.progress()
        return progress is not None and all(at >= end for at, end in progress.values())

    worker.run(done)
    assert time.monotonic() < deadline, {name: c.summary() for name, c in worker.counts.items()}


def replayed(
    sources: Sequence[str | Path],
    folder: Path,
    *,
    camera: str | None = None,
    start_us: int | None = None,
    transport: Transport | None = None,
    scorer: Brightness | None = None,
    settings: Settings = SETTINGS,
    served: Served | None = None,
    **options: object,
) -> Replayed:
    """Replay with the brightness scorer; traces are kept in `folder`."""

    def connect() -> Transport:
        assert transport is not None
        return transport

    recordings, _ = find_recordings(list(map(str, sources)), camera, start_us, settings.segments.limits, connect)
    of = served or Served(scorer or Brightness())
    how = ScoringSetup(of.scorer, of.spec, threads=2, still=StillRule.of(of.rules, settings.gates))
    found = replay(recordings, how, "pixels", TraceStore(folder), **options)  # type: ignore[arg-type]
    assert found is not None
    return found


def said(found: Replayed, camera: str, rules: Mapping[str, Rule] = RULES) -> tuple[list[Said], list[Said]]:
    """The predictions and events of a camera as they would travel."""
    timeline = next(c for c in found.timelines if c.camera == camera)
    return [p.encode() for p in timeline.predictions()], [r.event.encode() for r in timeline.play(rules)]
