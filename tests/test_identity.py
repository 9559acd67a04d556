"""The same footage gives the same predictions and events, byte for byte, however it comes and whoever classifies it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consumers.live.worker import Worker
from consumers.rules.rule import Rule
from consumers.settings import Settings
from consumers.topics import ensure_topics
from models import Classifier
from stream import MemoryTransport, Transport, attach
from tests.checkpoints import write_checkpoint
from tests.replays import (
    RULES,
    SETTINGS,
    SPEC,
    Brightness,
    Overheard,
    Said,
    blinking,
    live,
    replayed,
    said,
    told,
    work_off,
)
from tests.videos import write_video
from tests.waiting import eventually

START_US = 1_700_000_000_123_456
#: What engines, their precisions and batches may differ in, of a score between 0 and 1. Stated in docs/replay.md.
EXACT_TOLERANCE = 1e-4
BF16_TOLERANCE = 0.02


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty seconds with four events, two of which are close to one another."""
    path = tmp_path_factory.mktemp("identity") / "gate.mp4"
    frame = blinking((100, 170), (195, 260), (330, 400), (410, 470))
    return write_video(path, 500, rate=25, gop=12, size=(64, 48), frame=frame)


@pytest.fixture(scope="module")
def whole(footage: Path) -> tuple[list[Said], list[Said]]:
    """What one undisturbed worker says."""
    predictions, events, _ = live(footage, "gate", START_US)
    assert len({dict(headers)["ce_id"][:24] for _, headers, _ in events}) >= 3
    return predictions, events


def unique(said_things: Sequence[Said]) -> list[Said]:
    """Without repetitions, in the order of what is said first."""
    found: list[Said] = []
    for item in said_things:
        if item not in found:
            found.append(item)
    return found


def test_attached_at_real_time_pace(tmp_path: Path):
    clip = write_video(tmp_path / "clip.mp4", 100, rate=25, gop=12, size=(64, 48), frame=blinking((30, 80)))
    transport = MemoryTransport()
    heard = Overheard(transport)
    ensure_topics(transport, SETTINGS.topics)
    done = threading.Event()
    worker = Worker(heard, Brightness(), SPEC, RULES, SETTINGS)
    thread = threading.Thread(target=lambda: worker.run(done.is_set))
    thread.start()
    begun = time.monotonic()
    attach(str(clip), "clip", transport.producer(), SETTINGS.topics.segments, pace="realtime")
    assert time.monotonic() - begun > 3.5
    deadline = time.monotonic() + 40
    while worker.counts["clip"].frames < 100 or worker.counts["clip"].pending:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    done.set()
    thread.join()
    predictions, events = said(replayed([clip], tmp_path / "traces"), "clip")
    assert predictions == [told(p) for p in heard.predictions]
    assert events == [told(e) for e in heard.events] != []


def test_replayed_at_full_speed(footage: Path, whole, tmp_path: Path):
    assert said(replayed([footage], tmp_path, start_us=START_US), "gate") == whole


def test_replayed_from_the_recorded_topic(footage: Path, whole, tmp_path: Path):
    transport = MemoryTransport()
    live(footage, "gate", START_US, transport=transport)
    source = f"kafka://{SETTINGS.topics.segments}?camera=gate"
    assert said(replayed([source], tmp_path, transport=transport), "gate") == whole


@pytest.mark.parametrize(("least", "most"), [(0.2, 0.3), (0.5, 0.9), (3.0, 5.0)])
def test_cut_into_other_segments(footage: Path, whole, tmp_path: Path, least: float, most: float):
    limits = {"segments": {"min_seconds": least, "max_seconds": most}}
    settings = Settings.model_validate(SETTINGS.model_dump() | limits)
    predictions, events, _ = live(footage, "gate", START_US, settings=settings)
    assert (predictions, events) == whole
    assert said(replayed([footage], tmp_path, start_us=START_US, settings=settings), "gate") == whole


def by_camera(things: Sequence[Said]) -> dict[bytes, list[Said]]:
    return {key: [t for t in things if t[0] == key] for key in sorted({t[0] for t in things})}


class Unhurried(Overheard):
    """So slow that no worker is done before the next one joins."""

    def hear(self, *record: Any) -> None:
        super().hear(*record)
        time.sleep(0.03)


@pytest.mark.slow
def test_one_worker_or_three_that_come_and_go(footage: Path):
    cameras = [f"camera-{n}" for n in range(6)]

    def run(workers: int) -> tuple[dict[bytes, list[Said]], dict[bytes, list[Said]], list[int]]:
        transport = MemoryTransport()
        ensure_topics(transport, SETTINGS.topics)
        producer = transport.producer()
        for camera in cameras:
            attach(str(footage), camera, producer, SETTINGS.topics.segments, pace="max", start_us=START_US)
        heard = [Unhurried(transport) for _ in range(workers)]
        members = [Worker(each, Brightness(), SPEC, RULES, SETTINGS) for each in heard]
        done = threading.Event()
        threads = [threading.Thread(target=lambda w=w: w.run(done.is_set)) for w in members]
        for thread in threads:  # one after another, so that cameras move while they are worked on
            thread.start()
            time.sleep(0.05)
        deadline = time.monotonic() + 40
        expected = set()
        while time.monotonic() < deadline:
            expected = {p.camera for s in heard for p in s.predictions if p.window == 46}
            if expected == set(cameras):
                break
            time.sleep(0.05)
        assert eventually(lambda: not any(worker.active_events() for worker in members))
        time.sleep(0.3)  # for the last events
        done.set()
        for thread in threads:
            thread.join()
        assert expected == set(cameras)
        predictions = unique([p.encode() for s in heard for p in s.predictions])
        events = unique([told(e) for s in heard for e in s.events])
        order = lambda item: (item[0], dict(item[1]).get("ce_time", b""), item[2])  # noqa: E731
        shares = [len(s.predictions) for s in heard]
        return by_camera(sorted(predictions, key=order)), by_camera(sorted(events, key=order)), shares

    one, three = run(1), run(3)
    assert sum(share > 0 for share in three[2]) >= 2, "one worker did it all: the test shows nothing"
    assert one[:2] == three[:2]
    assert len(one[1]) == len(cameras)


def restarted(transport: Transport, settings: Settings, rules: dict[str, Rule], after: int) -> Overheard:
    """Two workers of one group: the first stops when it has taken `after` segments."""
    heard = Overheard(transport)
    first = Worker(heard, Brightness(), SPEC, rules, settings)
    # One record at a time, so that it can stop anywhere.
    first._settings = settings.worker.model_copy(update={"max_batch": 1})
    deadline = time.monotonic() + 20
    first.run(lambda: first.counts["gate"].segments >= after or time.monotonic() > deadline)
    assert first.counts["gate"].segments >= after
    work_off(Worker(heard, Brightness(), SPEC, rules, settings))
    return heard


@pytest.mark.parametrize("smoothing", [1, 3])
def test_worker_restarted_in_the_middle(footage: Path, smoothing: int):
    """Anywhere: before, in and after events, in a cooldown, with an event behind the cut that began before it."""
    rules = {"bright": Rule(0.6, 0.5, 0.8, 1.5, 2.0, smoothing)}
    settings = Settings.model_validate(SETTINGS.model_dump() | {"segments": {"min_seconds": 0.4, "max_seconds": 0.6}})
    recorded = MemoryTransport()
    ensure_topics(recorded, settings.topics)
    attach(
        str(footage),
        "gate",
        recorded.producer(),
        settings.topics.segments,
        limits=settings.segments.limits,
        pace="max",
        start_us=START_US,
    )
    records = list(recorded.read(recorded.offsets(settings.topics.segments)))
    undisturbed = Overheard(recorded)
    work_off(Worker(undisturbed, Brightness(), SPEC, rules, settings))
    assert sum(e.state == "ended" for e in undisturbed.events) >= 2
    for after in range(3, len(records) - 1, 3):
        transport = MemoryTransport()
        ensure_topics(transport, settings.topics)
        for record in records:
            transport.append(record.topic, record.key or b"", record.headers, record.value or b"")
        heard = restarted(transport, settings, rules, after)
        assert [told(p) for p in heard.predictions] == [told(p) for p in undisturbed.predictions], after
        assert [e.encode() for e in heard.events] == [e.encode() for e in undisturbed.events], after


@pytest.fixture(scope="module")
def clips() -> np.ndarray:
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (24, 4, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("model") / "m.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "tolerance"), [("openvino", 0.0), ("openvino-f32", 0.0), ("torch", 1e-6)])
def test_score_does_not_depend_on_what_shares_the_batch(model: Path, clips: np.ndarray, engine: str, tolerance: float):
    classifier = Classifier.load(str(model), engine)
    together = classifier.predict(clips)
    alone = np.concatenate([classifier.predict(clips[i : i + 1]) for i in range(len(clips))])
    backwards = classifier.predict(clips[::-1])[::-1]
    assert np.abs(together - alone).max() <= tolerance
    assert np.abs(together - backwards).max() <= tolerance


@pytest.mark.slow
def test_score_depends_on_engine_and_threads_within_the_stated_tolerance(model: Path, clips: np.ndarray):
    exact = Classifier.load(str(model), "torch").predict(clips)
    for engine, threads, tolerance in (
        ("openvino-f32", 1, EXACT_TOLERANCE),
        ("openvino-f32", 2, EXACT_TOLERANCE),
        ("openvino", 1, BF16_TOLERANCE),
        ("openvino", 2, BF16_TOLERANCE),
    ):
        scores = Classifier.load(str(model), engine, threads).predict(clips)
        assert np.abs(scores - exact).max() <= tolerance, (engine, threads)
