"""Workers that are killed at any call, refused by their group, or lose partitions amid a transaction."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from consumers.live.worker import Worker
from consumers.settings import Settings
from consumers.topics import ensure_topics
from stream import Headers, MemoryTransport, Publisher, attach
from tests.replays import RULES, SPEC, Brightness, blinking, work_off
from tests.videos import write_video
from tests.waiting import eventually

START_US = 1_700_000_000_000_000
CAMERAS = ["camera-0", "camera-1"]  # one on each of two partitions
SETTINGS = Settings.model_validate(
    {
        "topics": {"partitions": 2},
        "segments": {"min_seconds": 0.4, "max_seconds": 0.5},
        "worker": {"start": "earliest", "threads": 1, "max_batch": 3, "instance": "a"},
    }
)


class KilledError(Exception):
    """The process is no more."""


@dataclass
class Disturbed:
    """A publisher whose process ends at its n-th call, or whose group refuses its n-th commit."""

    publisher: Publisher
    kill_at: int | None = None
    refuse_at: int | None = None
    #: How long a commit takes, beside what it takes anyway.
    commit_seconds: float = 0.0
    calls: int = 0
    commits: int = 0
    told: list[str] = field(default_factory=list)

    def _call(self, name: str) -> None:
        self.calls += 1
        if self.calls == self.kill_at:
            self.told.append(name)
            raise KilledError(name)

    def send(self, *record: Any) -> None:
        self._call("send")
        self.publisher.send(*record)

    def commit(self, consumer: Any, offsets: Any) -> bool:
        self._call("commit")
        assert offsets, "without offsets nobody knows whether the group has moved on"
        self.commits += 1
        time.sleep(self.commit_seconds)
        if self.commits == self.refuse_at:
            self.told.append("refused")
            self.publisher.abort()
            return False
        done = self.publisher.commit(consumer, offsets)
        self._call("committed")
        return done

    def close(self) -> None:
        if not self.told:  # a dead process closes nothing
            self.publisher.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.publisher, name)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[bytes, Any, bytes]]:
    frame = blinking((30, 75), (110, 130))
    footage = write_video(tmp_path_factory.mktemp("once") / "gate.mp4", 150, rate=10, gop=8, size=(64, 48), frame=frame)
    memory = MemoryTransport()
    ensure_topics(memory, SETTINGS.topics)
    limits, topic = SETTINGS.segments.limits, SETTINGS.topics.segments
    attach(str(footage), "gate", memory.producer(), topic, limits=limits, pace="max", start_us=START_US)
    stored = list(memory.read(memory.offsets(topic)))
    stored[len(stored) // 3 : len(stored) // 3 + 1] = []  # a hole
    half = len(stored) // 2

    def headers(number: int, camera: str) -> Headers:
        """The second camera is read by two agents, one after the other."""
        claim = b"5" if number < half else b"8"
        return [*stored[number].headers, *([("claim", claim)] if camera == CAMERAS[1] else [])]

    sent = [(camera.encode(), headers(n, camera), r.value or b"") for n, r in enumerate(stored) for camera in CAMERAS]
    return [*sent[:20], sent[0], (b"camera-1", [("frames", b"4")], b"damaged"), *sent[20:]]


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.ERROR, logger="consumers.live"):
        yield


def filled(records: list[tuple[bytes, Any, bytes]], **options: bool) -> MemoryTransport:
    transport = MemoryTransport(**options)
    ensure_topics(transport, SETTINGS.topics)
    for record in records:
        transport.append(SETTINGS.topics.segments, *record)
    return transport


def told(transport: MemoryTransport) -> dict[str, list[Any]]:
    """What is on the topics, by camera in the order of the topic."""
    found: dict[str, list[Any]] = {}
    for topic in (SETTINGS.topics.predictions, SETTINGS.topics.events, SETTINGS.topics.deadletter):
        for record in transport.read(transport.offsets(topic)):
            found.setdefault(f"{topic} {record.key!r}", []).append((record.headers, record.value))
    return found


def accounts(transport: MemoryTransport) -> dict[str, dict[str, Any]]:
    """The accounts of cameras on the state topic."""
    newest = {r.key: r.value for r in transport.read(transport.offsets(SETTINGS.topics.state))}
    bodies = [json.loads(value) for value in newest.values() if value]
    return {body["camera"]: body["counts"] for body in bodies if "camera" in body}


@pytest.fixture(scope="module")
def undisturbed(records: list[tuple[bytes, Any, bytes]]) -> tuple[dict[str, list[Any]], dict[str, dict[str, Any]]]:
    transport = filled(records)
    work_off(Worker(transport, Brightness(), SPEC, RULES, SETTINGS))
    return told(transport), accounts(transport)


def work(transport: MemoryTransport, **disturbance: float) -> Disturbed:
    """Work in one process; return its publisher."""
    disturbed: list[Disturbed] = []

    def publisher(name: str | None) -> Disturbed:
        disturbed.append(Disturbed(MemoryTransport.publisher(transport, name), **disturbance))  # type: ignore[arg-type]
        return disturbed[0]

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(KilledError):
        patch.setattr(transport, "publisher", publisher)
        # Whoever finds what it left knows it for another's.
        patch.setattr("consumers.live.handover.in_hand._OURSELVES", uuid.uuid4().hex)
        work_off(Worker(transport, Brightness(), SPEC, RULES, SETTINGS))
    return disturbed[0]


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit after each batch."""
    monkeypatch.setattr("consumers.live.handover.commit_pace.COMMIT_SECONDS", 0.0)
    monkeypatch.setattr("consumers.live.handover.commit_pace._COMMIT_SHARE", 0)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("step", [29, pytest.param(1, marks=pytest.mark.slow)])
def test_a_worker_that_is_killed_at_any_call_is_followed_by_one_that_says_the_rest(records, undisturbed, step):
    names, kill_at = set(), 1
    while True:
        transport = filled(records)
        killed = work(transport, kill_at=kill_at)
        if not killed.told:
            break
        names |= set(killed.told)
        work(transport)
        assert told(transport) == undisturbed[0], (kill_at, killed.told)
        assert accounts(transport) == undisturbed[1], (kill_at, killed.told)
        kill_at += step
    assert names == {"send", "commit", "committed"} or step > 1
    assert kill_at > 100


@pytest.mark.usefixtures("at_once")
def test_a_worker_that_its_group_refuses_begins_again_where_it_committed(records, undisturbed):
    refuse_at = 1
    while True:
        transport = filled(records)
        refused = work(transport, refuse_at=refuse_at)
        if not refused.told:
            break
        assert told(transport) == undisturbed[0], refuse_at
        assert accounts(transport) == undisturbed[1], refuse_at
        refuse_at += 7
    assert refuse_at > 10


@pytest.mark.usefixtures("at_once")
def test_without_transactions_nothing_is_lost_and_what_is_told_again_is_the_same(records, undisturbed, caplog):
    kill_at, again = 1, 0
    while True:
        transport = filled(records, is_transactional=False)
        killed = work(transport, kill_at=kill_at)
        if not killed.told:
            break
        work(transport)
        for name, values in told(transport).items():
            unique = [value for n, value in enumerate(values) if value not in values[:n]]
            assert unique == undisturbed[0][name], (kill_at, killed.told)
            again += len(values) - len(unique)
        kill_at += 11
    assert again, "nothing was told again: the test shows nothing"
    assert "at least once" not in caplog.text
    with caplog.at_level(logging.WARNING, logger="consumers.live.outbox"):
        work(filled(records, is_transactional=False))
    assert caplog.text.count("this broker keeps no transactions") == 1


class Slow(Brightness):
    def predict(self, frames: np.ndarray) -> np.ndarray:
        time.sleep(0.02)
        return super().predict(frames)


def test_a_partition_that_goes_amid_a_transaction_is_told_of_by_its_new_worker_only(records, undisturbed, monkeypatch):
    """A rebalance that begins and ends within one poll: nobody sees it coming."""
    monkeypatch.setattr(MemoryTransport, "is_rejoining", lambda *_: False)
    # A transaction is open most of the time, but not always.
    assert any(a_partition_goes(records, undisturbed, monkeypatch) for _ in range(5)), "the test shows nothing"


def a_partition_goes(records: Any, undisturbed: Any, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Have a second worker join amid the work of the first; return whether something was open when it did."""
    transport, done = filled(records), threading.Event()
    workers = [Worker(transport, Slow(), SPEC, RULES, named(name)) for name in ("first", "second")]
    dropped: list[int] = []
    begin_again = workers[0]._begin_again
    monkeypatch.setattr(
        workers[0], "_begin_again", lambda: (dropped.append(len(workers[0]._outbox.sent)), begin_again())
    )
    threads = [threading.Thread(target=worker.run, args=(done.is_set,)) for worker in workers]
    deadline = time.monotonic() + 60
    threads[0].start()
    while not any(counts.windows > 4 for counts in list(workers[0].counts.values())):
        time.sleep(0.01)
    threads[1].start()
    while (told(transport), accounts(transport)) != undisturbed and time.monotonic() < deadline:
        time.sleep(0.05)
    done.set()
    for thread in threads:
        thread.join()
    assert told(transport) == undisturbed[0]
    assert accounts(transport) == undisturbed[1]
    return bool(dropped)


def named(instance: str) -> Settings:
    worker = SETTINGS.worker.model_copy(update={"instance": instance, "max_batch": 1})
    return SETTINGS.model_copy(update={"worker": worker})


def bodies(transport: MemoryTransport) -> list[tuple[str, dict[str, Any]]]:
    topics = (SETTINGS.topics.predictions, SETTINGS.topics.events)
    return [(t, json.loads(r.value or b"")) for t in topics for r in transport.read(transport.offsets(t))]


@pytest.mark.parametrize("damage", [b"{", b'{"version": 2}', b"\xff\xfe"])
def test_state_that_cannot_be_used_is_said_and_the_camera_begins_anew(records, damage, caplog):
    transport = filled(records)
    work(transport)
    group, topic = SETTINGS.worker.group, SETTINGS.topics.state
    (stored,) = {r.partition for r in transport.read(transport.offsets(topic)) if r.key == f"{group}/camera-0".encode()}
    transport.append(topic, f"{group}/camera-0".encode(), [], damage, stored)
    with caplog.at_level(logging.WARNING, logger="consumers.live.handover.state_topic"):
        work(transport)
    assert caplog.text.count("state that cannot be used") == 1
    assert f"{topic}[{stored}]@" in caplog.text


def test_segments_that_were_deleted_and_made_anew_are_read_from_their_begin(records, undisturbed):
    transport = filled(records)
    work(transport)
    state = list(transport.read(transport.offsets(SETTINGS.topics.state)))
    fresh = filled([])
    for record in state:
        moved = (record.value or b"").replace(b'"topic_id":"clipline.segments"', b'"topic_id":"another"')
        fresh.append(record.topic, record.key, [], moved or None, record.partition)
    for record in records[:40]:
        fresh.append(SETTINGS.topics.segments, *record)
    worker = Worker(fresh, Brightness(), SPEC, RULES, SETTINGS)
    worker.run(lambda: worker.waiting == 0 and sum(c.segments for c in worker.counts.values()) >= 40)
    assert sum(counts.segments for counts in worker.counts.values()) > 40, "with what had been counted before"


def test_a_worker_with_nothing_else_to_do_commits_at_once(records, monkeypatch):
    monkeypatch.setattr("consumers.live.handover.commit_pace.COMMIT_SECONDS", 60.0)
    monkeypatch.setattr("consumers.live.handover.commit_pace._LATEST_COMMIT_SECONDS", 60.0)
    transport, stop = filled(records[:8]), threading.Event()
    worker = Worker(transport, Brightness(), SPEC, RULES, SETTINGS)
    running = threading.Thread(target=worker.run, args=(stop.is_set,))
    running.start()
    try:
        assert eventually(lambda: bool(told(transport)), 60)
    finally:
        stop.set()
        running.join()


def test_commits_of_a_worker_that_is_behind_take_no_more_than_a_tenth_of_the_time(records, undisturbed, monkeypatch):
    monkeypatch.setattr("consumers.live.handover.commit_pace.COMMIT_SECONDS", 0.0)
    transport, began = filled(records), time.monotonic()
    slow = work(transport, commit_seconds=0.02)
    seconds = time.monotonic() - began
    # The first one has nothing to go by, the last one is at the end.
    assert 2 <= slow.commits <= 2 + seconds / (10 * 0.02)
    assert told(transport) == undisturbed[0]


def test_a_commit_that_took_long_puts_the_next_one_off_for_seconds_at_most(records, monkeypatch):
    monkeypatch.setattr("consumers.live.handover.commit_pace.COMMIT_SECONDS", 0.0)
    monkeypatch.setattr("consumers.live.handover.commit_pace._LATEST_COMMIT_SECONDS", 0.3)
    began = time.monotonic()
    assert 2 <= work(filled(records), commit_seconds=0.6).commits <= 6
    assert time.monotonic() - began < 10
