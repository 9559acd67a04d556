"""Where a group begins, and what retention takes from it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from consumers.live.handover import segments_watch
from consumers.live.handover.marks import Mark, thinned
from consumers.live.handover.starting import goes_on
from consumers.live.worker import Worker
from consumers.records.prediction import Prediction, rfc3339
from consumers.settings import Settings, SettingsError, override
from consumers.topics import ensure_topics
from stream import BrokerError, KafkaTransport, MemoryTransport, Partition, Transport, attach
from stream.broker.memory.log import Log
from stream.broker.records import Existing
from tests.replays import RULES, SPEC, Brightness
from tests.videos import write_video

START_US = 1_700_000_000_000_000


def settings_of(start: str, **more: Any) -> Settings:
    worker = {"start": start, "threads": 1, **more.pop("worker", {})}
    return override(Settings(), {"worker": worker, "topics": {"partitions": 2}, **more}, "test")


def send(transport: Transport, settings: Settings, film: Path, camera: str, start_us: int = START_US) -> None:
    ensure_topics(transport, settings.topics)
    attach(
        str(film),
        camera,
        transport.producer(),
        settings.topics.segments,
        limits=settings.segments.limits,
        pace="max",
        start_us=start_us,
    )


def windows(transport: Transport, settings: Settings) -> list[tuple[str, int]]:
    """Camera and epoch of each prediction."""
    topic = settings.topics.predictions
    found = (Prediction.decode(r.key, r.headers, r.value, r.where) for r in transport.read(transport.offsets(topic)))
    return sorted({(each.camera, each.epoch_us) for each in found})


def work(transport: Transport, settings: Settings) -> Worker:
    worker = Worker(transport, Brightness(), SPEC, RULES, settings)
    worker.run(at_the_end(worker))
    return worker


def at_the_end(worker: Worker, seconds: float = 30) -> Callable[[], bool]:
    """Asks whether the worker has partitions and has worked off all that is on them."""
    deadline = time.monotonic() + seconds

    def is_over() -> bool:
        assert time.monotonic() < deadline
        progress = worker._consumer.progress() if worker.partitions else None
        return (
            progress is not None
            and all(at >= end for at, end in progress.values())
            and worker.waiting == 0
            and all(account.pending == 0 for account in worker.counts.values())
        )

    return is_over


def once_done(worker: Worker, happens: Callable[[], None]) -> Callable[[], bool]:
    """Never stops a worker; lets something happen whenever it has worked off all that there is."""
    is_over = at_the_end(worker)

    def stop() -> bool:
        if is_over():
            happens()
        return False

    return stop


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("films") / "film.mp4", 40, rate=10, gop=5, size=(64, 48))


@pytest.fixture(params=["memory", pytest.param("embedded", marks=pytest.mark.slow), "apache"])
def transport(request: pytest.FixtureRequest) -> Transport:
    if request.param == "memory":
        return MemoryTransport()
    return KafkaTransport(request.getfixturevalue(f"{request.param}_broker").address)


@pytest.mark.slow
def test_a_new_group_begins_now_and_goes_on_where_it_stopped(transport: Transport, film: Path, topics_prefix: str):
    settings = settings_of("now", topics={"prefix": topics_prefix, "partitions": 2}, worker={"group": topics_prefix})
    for camera in ("a", "b"):
        send(transport, settings, film, camera)
    work(transport, settings)
    assert windows(transport, settings) == []
    # Sent while no worker is there: the group has begun.
    for camera in ("a", "b"):
        send(transport, settings, film, camera, START_US + 60_000_000)
    work(transport, settings)
    assert windows(transport, settings) == [("a", START_US + 60_000_000), ("b", START_US + 60_000_000)]


@pytest.mark.slow
def test_a_new_group_begins_where_it_is_asked_to(transport: Transport, film: Path, topics_prefix: str):
    topics = {"prefix": topics_prefix, "partitions": 1}
    settings = settings_of("now", topics=topics)
    send(transport, settings, film, "a")
    between = max(r.sent_us for r in transport.read(transport.offsets(settings.topics.segments))) + 1000
    time.sleep(0.05)
    send(transport, settings, film, "a", START_US + 60_000_000)
    moment = override(settings, {"worker": {"start": rfc3339(between), "group": f"{topics_prefix}-later"}}, "test")
    work(transport, moment)
    assert windows(transport, settings) == [("a", START_US + 60_000_000)]
    earliest = override(settings, {"worker": {"start": "earliest", "group": f"{topics_prefix}-all"}}, "test")
    work(transport, earliest)
    assert windows(transport, settings) == [("a", START_US), ("a", START_US + 60_000_000)]


def test_partitions_that_a_topic_is_given_later_are_read_from_their_start(film: Path):
    transport, settings = MemoryTransport(), settings_of("now", topics={"partitions": 1})
    send(transport, settings, film, "a")
    work(transport, settings)
    transport.add_partitions(settings.topics.segments, 4)
    for camera in ("a", "b", "c", "d"):
        send(transport, settings, film, camera, START_US + 60_000_000)
    assert len({p for p, (_, end) in transport.offsets(settings.topics.segments).items() if end}) > 1
    work(transport, settings)
    assert {camera for camera, _ in windows(transport, settings)} == {"a", "b", "c", "d"}


def test_workers_that_come_at_one_moment_begin_at_one_place(film: Path):
    """Each has its own partitions; who comes second does not take what the first has committed for a sign of age."""
    transport, settings = MemoryTransport(), settings_of("now")
    for camera in ("camera-0", "camera-1"):
        send(transport, settings, film, camera)
    workers = [Worker(transport, Brightness(), SPEC, RULES, settings) for _ in range(2)]
    threads = [threading.Thread(target=lambda each=each: each.run(at_the_end(each))) for each in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert windows(transport, settings) == []


class Retaining(MemoryTransport):
    """Deletes the oldest segments of a partition."""

    def __init__(self) -> None:
        super().__init__()
        self.first: dict[Partition, int] = {}

    def offsets(self, topic: str) -> Mapping[Partition, tuple[int, int]]:
        return {p: (self.first.get(p, first), end) for p, (first, end) in super().offsets(topic).items()}

    def delete_before(self, partition: Partition, offset: int) -> None:
        self.first[partition] = offset
        log = self._logs[partition]
        reading = log.read
        log.read = lambda at, *more: reading(max(at, offset), *more)  # type: ignore[method-assign]


def test_what_retention_took_between_two_workers_is_counted_and_said(film: Path, caplog: pytest.LogCaptureFixture):
    transport, settings = Retaining(), settings_of("earliest", topics={"partitions": 1})
    send(transport, settings, film, "a")
    first = work(transport, settings)
    ((partition, (_, end)),) = transport.offsets(settings.topics.segments).items()
    assert first.lost_to_retention == 0
    for number in range(1, 4):
        send(transport, settings, film, "a", START_US + number * 60_000_000)
    transport.delete_before(partition, end + 5)
    with caplog.at_level(logging.WARNING):
        second = work(transport, settings)
    assert second.lost_to_retention == 5
    assert f"deleted 5 segments, offsets {end} to {end + 4}" in caplog.text
    assert second.measures.lost_to_retention._value.get() == 5
    # It is known to the next one, and counted once.
    assert work(transport, settings).lost_to_retention == 5


def test_what_retention_took_under_a_slow_worker_is_counted(film: Path):
    transport, settings = Retaining(), settings_of("earliest", topics={"partitions": 1})
    send(transport, settings, film, "a")
    worker = Worker(transport, Brightness(), SPEC, RULES, settings)
    turns, done = 0, 0

    def stop() -> bool:
        nonlocal turns, done
        turns += 1
        ((partition, (_, end)),) = transport.offsets(settings.topics.segments).items()
        if turns == 20:
            send(transport, settings, film, "a", START_US + 60_000_000)
            transport.delete_before(partition, end + 3)
        done = done + 1 if turns > 20 and worker.lag == 0 else 0
        return done > 3

    worker.run(stop)
    assert worker.lost_to_retention == 3


@pytest.mark.parametrize("start", ["yesterday", "2026-13-01", ""])
def test_a_start_that_is_none_is_refused(start: str):
    with pytest.raises(SettingsError, match="expected earliest, now, or a time"):
        settings_of(start)


def test_a_record_of_the_start_that_cannot_be_read_is_as_none(film: Path, caplog: pytest.LogCaptureFixture):
    transport, settings = MemoryTransport(), settings_of("earliest", topics={"partitions": 1})
    send(transport, settings, film, "a")
    transport.append(settings.topics.state, f"{settings.worker.group}//start".encode(), [], b"{", 0)
    with caplog.at_level(logging.WARNING):
        work(transport, settings)
    assert windows(transport, settings) == [("a", START_US)]
    assert "cannot be read" in caplog.text


def test_asking_a_consumer_without_a_group_for_its_offsets_is_refused():
    with pytest.raises(BrokerError, match="without a group"):
        MemoryTransport().consumer([]).committed()


class Replaced(MemoryTransport):
    """Its topic of segments can be deleted and made anew."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    def existing(self, topics: Iterable[str]) -> Mapping[str, Existing]:
        return {
            name: Existing(f"{each.id}-{self.number}", each.partitions)
            for name, each in super().existing(topics).items()
        }

    def replace(self, topic: str) -> None:
        self.number += 1
        for partition in [p for p in self._logs if p[0] == topic]:
            self._logs[partition] = Log(partition)


@pytest.mark.parametrize("sent", [1, 2, 3])
def test_a_topic_that_was_made_anew_is_read_from_its_start(film: Path, sent: int):
    """Whatever its offsets are by the time that it is noticed: fewer, as many or more than were committed."""
    transport, settings = Replaced(), settings_of("earliest", topics={"partitions": 1})
    for number in range(2):
        send(transport, settings, film, "a", START_US + number * 60_000_000)
    work(transport, settings)
    transport.replace(settings.topics.segments)
    for number in range(sent):
        send(transport, settings, film, "b", START_US + number * 60_000_000)
    work(transport, settings)
    assert [each for each in windows(transport, settings) if each[0] == "b"] == [
        ("b", START_US + number * 60_000_000) for number in range(sent)
    ]


def test_a_worker_notices_that_its_topic_was_made_anew(film: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(segments_watch, "_LOOK_SECONDS", 0.0)
    transport, settings = Replaced(), settings_of("earliest", topics={"partitions": 1})
    send(transport, settings, film, "a")
    worker = Worker(transport, Brightness(), SPEC, RULES, settings)

    def replace_topic() -> None:
        transport.number += 1

    with pytest.raises(BrokerError, match="was deleted and made anew"):
        worker.run(once_done(worker, replace_topic))


class Unanswered(MemoryTransport):
    """As Apache Kafka: of what is sent to a topic that is not there nothing is heard, and nothing is committed."""

    is_lost = False

    def delete(self, topic: str) -> None:
        del self._partitions[topic]

    def append(self, topic: str, *record: Any) -> tuple[int, int]:
        self.is_lost = self.is_lost or topic not in self._partitions
        return super().append(topic, *record) if topic in self._partitions else (0, -1)

    def end(self, name: str, publisher: Any, transaction: Any, consumer: Any, offsets: Any) -> bool:
        is_lost, self.is_lost = self.is_lost, False
        return super().end(name, publisher, transaction, None if is_lost else consumer, offsets) and not is_lost


def test_a_topic_of_results_that_is_deleted_is_made_anew(film: Path):
    transport, settings = Unanswered(), settings_of("earliest", topics={"partitions": 1})
    send(transport, settings, film, "a")
    worker, topic = Worker(transport, Brightness(), SPEC, RULES, settings), settings.topics.predictions
    deadline, deleted = time.monotonic() + 5, list[str]()

    def stop() -> bool:
        if not deleted:
            deleted.append(topic)
            transport.delete(topic)
        assert time.monotonic() < deadline
        return bool(transport.existing([topic]) and windows(transport, settings))

    worker.run(stop)
    assert windows(transport, settings) == [("a", START_US)]


def test_what_retention_took_before_anything_was_taken_is_counted(film: Path):
    """The group has begun, and no worker was there while footage came and went."""
    transport, settings = Retaining(), settings_of("now", topics={"partitions": 1})
    send(transport, settings, film, "a")
    work(transport, settings)
    ((partition, (_, end)),) = transport.offsets(settings.topics.segments).items()
    for number in range(1, 4):
        send(transport, settings, film, "a", START_US + number * 60_000_000)
    transport.delete_before(partition, end + 5)
    assert work(transport, settings).lost_to_retention == 5


def test_a_group_cannot_begin_in_the_future(film: Path):
    transport, settings = MemoryTransport(), settings_of("2999-01-01")
    send(transport, settings, film, "a")
    with pytest.raises(SettingsError, match="expected a time that is past"):
        work(transport, settings)


def test_a_group_that_has_begun_says_where_it_goes_on_and_how_to_begin_elsewhere(
    film: Path, caplog: pytest.LogCaptureFixture
):
    transport, settings = MemoryTransport(), settings_of("earliest", topics={"partitions": 1})
    send(transport, settings, film, "a")
    with caplog.at_level(logging.INFO):
        work(transport, settings)
        assert "has begun before" not in caplog.text
        work(transport, settings)
    ((_, end),) = transport.offsets(settings.topics.segments).values()
    (said,) = (line.getMessage() for line in caplog.records if "has begun before" in line.getMessage())
    assert said == (
        f"group clipline-classify has begun before and goes on where it stopped, at clipline.segments[0]@{end}: "
        "worker.start (--from) = earliest is for new groups; give another name with --group to begin there"
    )


def test_of_many_partitions_on_which_a_group_goes_on_a_few_are_named():
    said = goes_on("a", "now", "segments", dict.fromkeys(range(20), 7))
    assert "segments[7]@7 and 12 more: " in said
    assert "segments[8]" not in said


class Cut(MemoryTransport):
    """Loses its newest records, as a broker without replicas may when its power is cut."""

    def cut(self, topic: str, count: int) -> None:
        (log,) = (log for (name, _), log in self._logs.items() if name == topic)
        del log._entries[len(log._entries) - count :]


@pytest.mark.parametrize(("lost", "sent"), [(1, 0), (3, 1), (5, 1), (5, 4), (99, 1)])
def test_what_comes_in_place_of_segments_that_the_broker_lost_is_classified(
    film: Path, sent: int, lost: int, caplog: pytest.LogCaptureFixture
):
    """Whether the topic is shorter by then than it was, as long, or longer; and what was told is told once."""
    transport, settings = Cut(), settings_of("earliest", topics={"partitions": 1}, worker={"idle_seconds": 0.5})
    topic = settings.topics.segments
    for number in range(4):
        send(transport, settings, film, "a", START_US + number * 60_000_000)
    work(transport, settings)
    ((_, end),) = transport.offsets(topic).values()
    lost = min(lost, end)
    told = len(list(transport.read(transport.offsets(settings.topics.predictions))))
    transport.cut(topic, lost)
    for number in range(sent):
        send(transport, settings, film, "b", START_US + number * 60_000_000)
    with caplog.at_level(logging.WARNING):
        worker = work(transport, settings)
        work(transport, settings)
    records = list(transport.read(transport.offsets(settings.topics.predictions)))
    found = [Prediction.decode(r.key, r.headers, r.value, r.where) for r in records]
    assert len({each.id for each in found}) == len(found) == told // 4 * (4 + sent)
    counted = worker.measures.lost_by_broker._value.get()
    assert lost <= counted <= 2 * lost
    (said,) = (line.getMessage() for line in caplog.records if "the broker has lost" in line.getMessage())
    assert said.startswith(f"{topic}[0]: the broker has lost {counted:.0f} of its newest segments, offsets ")
    assert f"to {end - 1}, which" in said


def test_a_worker_notices_that_the_broker_lost_what_it_has_read(film: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(segments_watch, "_LOOK_SECONDS", 0.0)
    transport, settings = Cut(), settings_of("earliest", topics={"partitions": 1})
    send(transport, settings, film, "a")
    worker = Worker(transport, Brightness(), SPEC, RULES, settings)
    over = at_the_end(worker)
    asked_when_over = 0

    def stop() -> bool:
        nonlocal asked_when_over
        asked_when_over += over() and worker.lag == 0
        # It looks whenever it has asked: by now it has looked at all that was taken.
        if asked_when_over == 2:
            asked_when_over += 1
            transport.cut(settings.topics.segments, 1)
            send(transport, settings, film, "b")
        return False

    with pytest.raises(BrokerError, match=r"segments\[0\] does not hold any more what was read"):
        worker.run(stop)
    work(transport, settings)
    assert windows(transport, settings) == [("a", START_US), ("b", START_US)]


def test_a_consumer_that_is_sent_back_to_the_start_does_not_pass_over_what_is_new(film: Path):
    """As one is whose broker ends before it."""
    transport, settings = Cut(), settings_of("earliest", topics={"partitions": 1})
    send(transport, settings, film, "a")
    worker = Worker(transport, Brightness(), SPEC, RULES, settings)

    def send_back() -> None:
        transport.cut(settings.topics.segments, 2)
        worker._consumer.seek({(settings.topics.segments, 0): 0})

    with pytest.raises(BrokerError, match=r"segments\[0\] does not hold any more what was read"):
        worker.run(once_done(worker, send_back))


def test_marks_are_few_and_no_more_than_twice_as_far_back_as_what_is_looked_for():
    marks: list[Mark] = []
    for taken in range(1, 2000):
        marks.append(Mark(taken - 1, taken))
        if taken % 97 == 0:
            marks = thinned(marks, taken)
            assert len(marks) < 30
            for lost in range(1, taken):
                at = next((mark.offset for mark in reversed(marks) if mark.offset < taken - lost), -1)
                assert taken - 1 - at <= 2 * lost
