"""What becomes of segments while the broker is away: none is lost in silence, none is there twice, the order stays."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from consumers.running.sending import courier as courier_module
from consumers.running.sending.courier import Courier, Limits, Link
from consumers.running.sending.spool import Spool, place_of
from stream import BrokerError, RecordTooLargeError, Segment
from tests.waiting import eventually

HUGE = Limits(10**9, 3600)


class Broker:
    """A broker that can be away, and that may lose its answer to what it has stored."""

    def __init__(self) -> None:
        self.log: list[Segment] = []
        self.is_away = self.loses_answer = False
        self._sent: list[Segment] = []
        self._told: list[Callable[[int, int], None]] = []

    def connect(self, claim: int = 9, before_us: int = 0) -> Callable[[], Link]:
        def open_link() -> Link:
            if self.is_away:
                raise BrokerError("away")
            return Link(self, {"gate": claim, "film": claim}, {"gate": before_us}, self.stored)

        return open_link

    def send(self, topic, key, headers, value, partition=None, *, stored) -> None:
        self._sent.append(Segment.decode(key, headers, value, "x"))
        self._told.append(stored)

    def flush(self) -> None:
        sent, self._sent = self._sent, []
        told, self._told = self._told, []
        if self.is_away:
            raise BrokerError("away")
        first = len(self.log)
        self.log += sent
        if self.loses_answer:
            self.is_away, self.loses_answer = True, False
            raise BrokerError("no answer")
        for offset, tell in enumerate(told, first):
            tell(7, offset)

    def stored(self, since):
        return {
            (s.camera, s.claim, place_of(s.encode()[1])): (7, offset)
            for offset, s in enumerate(self.log)
            if s.camera in since
        }

    def close(self) -> None:
        self._sent = []


def segment(number: int, camera: str = "gate") -> Segment:
    at = 1_000_000 * number
    return Segment(camera, 0, number, at, at + 1_000_000, "mpegts", "h264", 64, 48, 10, 0, b"x" * 1000)


def send(courier: Courier, numbers, camera: str = "gate") -> None:
    for number in numbers:
        courier.send("segments", *segment(number, camera).encode())


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier_module, "AWAY_SECONDS", 0.1)
    monkeypatch.setattr(courier_module, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(courier_module, "_END_SECONDS", 0.3)


def courier(
    broker: Broker, folder: Path, *, limits: Limits = HUGE, stop=lambda: False, agent="a", told=None, **how
) -> Courier:
    spool = Spool(folder, agent)
    return Courier(broker.connect(**how), live=["gate"], spool=spool, limits=limits, stop=stop, told=told)


def has_missed(sender: Courier) -> bool:
    """Whether it has found its broker away: what it is sent from now on goes to disk at once."""
    return eventually(lambda: sender._is_away)


def numbers(broker: Broker) -> list[int]:
    return [s.sequence for s in broker.log]


def test_segments_wait_on_disk_and_are_sent_in_order_with_their_claim(tmp_path):
    broker = Broker()
    with courier(broker, tmp_path) as sender:
        send(sender, range(3))
        assert eventually(lambda: len(broker.log) == 3)
        broker.is_away = True
        send(sender, [3])
        assert eventually(lambda: sender.on_disk == 1)
        send(sender, range(4, 30))
        assert sender.on_disk == 27
        assert len(list(tmp_path.glob("a/gate/*.segment"))) == 27
        broker.is_away = False
        sender.flush()
        assert numbers(broker) == list(range(30))
        assert {s.claim for s in broker.log} == {9}
    assert not list(tmp_path.rglob("*.segment"))


def test_what_arrived_although_nobody_said_so_is_not_sent_again_and_told_of_once(tmp_path):
    broker, told = Broker(), []
    with courier(
        broker, tmp_path, told=lambda waiting: told.append((waiting.place[1], waiting.place_on_topic))
    ) as sender:
        broker.loses_answer = True
        send(sender, range(5))
        assert eventually(lambda: broker.is_away)
        send(sender, range(5, 9))
        assert eventually(lambda: sender.on_disk == 9)
        send(sender, [9])
        broker.is_away = False
        sender.flush()
    assert numbers(broker) == list(range(10))
    assert told == [(number, (7, number)) for number in range(10)]
    assert sender.sent == 10


def test_the_next_agent_sends_what_a_killed_one_left_first_and_nothing_twice(tmp_path):
    broker = Broker()
    killed = courier(broker, tmp_path)
    broker.loses_answer = True
    with contextlib.ExitStack() as stack:
        stack.enter_context(killed)
        send(killed, range(3))
        assert eventually(lambda: killed.on_disk == 3)
        send(killed, range(3, 8))
        assert killed.on_disk == 8
        with killed._changed:
            killed._spool._hold.close()  # as the system does for a process that is killed
            killed._spool = None
            killed._lives.waiting.clear()
    broker.is_away = False
    with courier(broker, tmp_path, agent="b", claim=12) as sender:
        send(sender, range(100, 103))
        sender.flush()
    assert numbers(broker) == [*range(8), 100, 101, 102]
    claims = [s.claim for s in broker.log]
    # How many the killed one sent before the broker went is up to chance.
    assert claims == sorted(claims)
    assert (claims[0], claims[8:]) == (9, [12] * 3)
    assert not list(tmp_path.rglob("*.segment"))


def test_too_much_and_too_old_is_dropped_the_oldest_first_and_told(tmp_path, monkeypatch):
    broker = Broker()
    broker.is_away = True
    with courier(broker, tmp_path, limits=Limits(5000, 3600)) as sender:
        assert has_missed(sender)
        send(sender, range(12))
        broker.is_away = False
        sender.flush()
    assert numbers(broker) == [7, 8, 9, 10, 11]
    assert broker.log[0].skipped == {"spool_full": 70}
    assert sum((Counter(s.skipped) for s in broker.log), Counter()) == {"spool_full": 70}

    broker.is_away = True
    with courier(broker, tmp_path, limits=Limits(10**9, 3600)) as sender:
        assert has_missed(sender)
        sent_us = time.time_ns() // 1000
        monkeypatch.setattr(time, "time_ns", lambda: sent_us * 1000)
        send(sender, range(12, 15))
        monkeypatch.setattr(time, "time_ns", lambda: (sent_us + 3601 * 10**6) * 1000)
        send(sender, [15])
        broker.is_away = False
        sender.flush()
    assert numbers(broker)[5:] == [15]
    assert broker.log[-1].skipped == {"spool_expired": 30}


def test_footage_waits_and_an_agent_that_is_stopped_ends_soon(tmp_path, monkeypatch):
    monkeypatch.setattr(courier_module, "_MEMORY_BYTES", 4000)
    broker, stop = Broker(), threading.Event()
    broker.is_away = True
    with courier(broker, tmp_path, stop=stop.is_set) as sender:
        thread = threading.Thread(target=send, args=(sender, range(10), "film"))
        thread.start()
        time.sleep(0.3)
        assert thread.is_alive()
        stop.set()
        thread.join(20)
        assert not thread.is_alive(), "it would wait for ever"
        sender.flush()
    assert sender.unsent == 10
    assert broker.log == []


def test_what_a_stopped_agent_has_on_disk_stays_and_so_does_what_it_dropped(tmp_path):
    broker, stop = Broker(), threading.Event()
    broker.is_away = True
    with courier(broker, tmp_path, stop=stop.is_set, limits=Limits(3000, 3600)) as sender:
        send(sender, range(5))
        assert has_missed(sender)
        send(sender, [5])
        stop.set()
        sender.flush()
    assert sender.on_disk == 3
    broker.is_away = False
    with courier(broker, tmp_path, agent="b", claim=20) as sender:
        send(sender, [6])
        sender.flush()
    assert numbers(broker) == [3, 4, 5, 6]
    # Nobody has claimed the camera since they were made.
    assert {s.claim for s in broker.log} == {20}
    assert broker.log[0].skipped == {"spool_full": 30}


def test_what_an_agent_left_before_another_one_claimed_the_camera_does_not_displace_it(tmp_path):
    broker = Broker()
    broker.is_away = True
    with courier(broker, tmp_path, stop=lambda: True) as sender:
        send(sender, [0])
        sender.flush()
    broker.is_away = False
    with courier(broker, tmp_path, agent="b", claim=20, before_us=time.time_ns() // 1000) as sender:
        send(sender, [1])
        sender.flush()
    assert [(s.sequence, s.claim) for s in broker.log] == [(0, 1), (1, 20)]


def test_a_folder_that_cannot_be_written_costs_no_segment_while_memory_lasts(tmp_path, monkeypatch):
    broker = Broker()
    broker.is_away = True

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Spool, "write", full)
    monkeypatch.setattr(courier_module, "_MEMORY_BYTES", 5500)
    with courier(broker, tmp_path) as sender:
        assert has_missed(sender)
        send(sender, range(8))
        broker.is_away = False
        sender.flush()
    assert numbers(broker) == [3, 4, 5, 6, 7]
    assert broker.log[0].skipped == {"spool_full": 30}


def test_a_segment_that_can_never_be_sent_is_refused_at_once_and_other_errors_end_the_agent(tmp_path):
    broker = Broker()
    with courier(broker, tmp_path) as sender, pytest.raises(RecordTooLargeError):
        sender.send("segments", b"gate", [], b"x" * (10 * 1024 * 1024))

    def refused() -> Link:
        raise ValueError("another agent reads it")

    spool = Spool(tmp_path, "a")
    with Courier(refused, live=["gate"], spool=spool, limits=HUGE, stop=lambda: False) as sender:
        assert eventually(lambda: not sender._thread.is_alive())
        with pytest.raises(ValueError, match="another agent"):
            send(sender, [0])


def test_a_damaged_file_is_told_and_stops_nothing(tmp_path, caplog):
    broker = Broker()
    broker.is_away = True
    with courier(broker, tmp_path) as sender:
        assert has_missed(sender)
        send(sender, range(3))
        next(iter(sorted(tmp_path.glob("a/gate/*.segment")))).write_bytes(b"\0\0")
        broker.is_away = False
        sender.flush()
    assert numbers(broker) == [1, 2]
    assert broker.log[0].skipped == {"spool_lost": 10}
    assert "is lost" in caplog.text


@pytest.mark.parametrize("stored", [b"", b"\0\0\0\2{}", b"\0\0\0\2[]x", b"\0\0\xff\xff{}", b"not a segment"])
def test_a_damaged_file_that_a_dead_agent_left_is_told_and_does_not_lie_there_for_ever(tmp_path, caplog, stored):
    """As after a power failure: files are not forced to the disk."""
    broker = Broker()
    folder = tmp_path / "dead" / "gate"
    folder.mkdir(parents=True)
    (folder / "000000000001.segment").write_bytes(stored)
    with courier(broker, tmp_path) as sender:
        send(sender, range(2))
        sender.flush()
    assert numbers(broker) == [0, 1]
    assert "dead/gate/000000000001.segment: the segment that waited there is damaged and is lost" in caplog.text
    assert not list(tmp_path.rglob("*.segment"))
