"""The newest records of a topic, read once for all that are up to date: each gets every record once, in order."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest

from consumers.subscribing import tail as module
from consumers.subscribing.tail import Tails
from stream import BrokerError, MemoryTransport, Partition, Polled, Reader, Topic
from tests.waiting import eventually

TOPIC = "events"


class Counting(MemoryTransport):
    """Counts the consumers that follow, those that are closed left out; they fail while it is away."""

    def __init__(self, partitions: int = 1) -> None:
        super().__init__()
        self.ensure_topics([Topic(TOPIC, partitions)])
        self.following = 0
        self.is_away = False

    def follow(self, positions: Mapping[Partition, int]) -> Any:
        self.following += 1
        return Failing(self, super().follow(positions))

    def send(self, *values: bytes) -> None:
        producer = self.producer()
        for value in values:
            producer.send(TOPIC, value, [], value)


class Failing:
    def __init__(self, transport: Counting, reader: Reader) -> None:
        self._transport, self._reader = transport, reader

    def poll(self, timeout_seconds: float) -> Polled:
        if self._transport.is_away:
            raise BrokerError("gone")
        return self._reader.poll(timeout_seconds)

    def close(self) -> None:
        self._transport.following -= 1
        self._reader.close()


def start(transport: MemoryTransport) -> dict[Partition, int]:
    return {partition: first for partition, (first, _) in transport.offsets(TOPIC).items()}


def end(transport: MemoryTransport) -> dict[Partition, int]:
    return {partition: end for partition, (_, end) in transport.offsets(TOPIC).items()}


def taken(reader: Reader, count: int) -> list[bytes | None]:
    found: list[bytes | None] = []
    assert eventually(lambda: found.extend(r.value for r in reader.poll(0.05).records) or len(found) >= count)
    return found


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_POLL_SECONDS", 0.02)
    monkeypatch.setattr(module, "_IDLE_SECONDS", 1.0)


def test_those_who_are_up_to_date_share_one_consumer():
    transport, tails = Counting(), Tails()
    transport.send(b"old")
    readers = [tails.follow(transport, end(transport)) for _ in range(20)]
    for reader in readers:
        assert not reader.poll(0).records
    transport.send(b"1", b"2")
    assert [taken(reader, 2) for reader in readers] == [[b"1", b"2"]] * 20
    assert transport.following == 1


def test_one_that_is_behind_reads_alone_until_it_has_caught_up():
    transport, tails = Counting(), Tails()
    transport.send(b"1", b"2")
    late, early = tails.follow(transport, start(transport)), tails.follow(transport, end(transport))
    early.poll(0)
    assert taken(late, 2) == [b"1", b"2"]
    assert transport.following == 2
    transport.send(b"3")
    assert (taken(late, 1), taken(early, 1)) == ([b"3"], [b"3"])
    assert not late.poll(0).records
    assert transport.following == 1


def test_one_that_took_nothing_for_long_misses_nothing(monkeypatch):
    monkeypatch.setattr(module, "_MOST_RECORDS", 3)
    transport, tails = Counting(), Tails()
    slow, quick = tails.follow(transport, end(transport)), tails.follow(transport, end(transport))
    slow.poll(0)
    sent = [b"%d" % n for n in range(20)]
    transport.send(*sent)
    assert taken(quick, 20) == sent
    assert taken(slow, 20) == sent


@pytest.mark.parametrize("seed", range(5))
def test_each_gets_every_record_once_in_order_however_slow_it_is(monkeypatch, seed):
    monkeypatch.setattr(module, "_MOST_RECORDS", 4)
    monkeypatch.setattr(module, "_MOST_BYTES", 40)
    chance = random.Random(seed)
    transport, tails = Counting(partitions=3), Tails()
    sent: list[bytes] = []
    readers: list[tuple[int, Reader, list[bytes]]] = []
    for _ in range(200):
        if chance.random() < 0.1:
            readers.append((len(sent), tails.follow(transport, end(transport)), []))
        for _ in range(chance.randrange(4)):
            sent.append(b"%04d" % len(sent) * chance.randrange(1, 5))
            transport.send(sent[-1])
        for _, reader, found in readers:
            if chance.random() < 0.2:
                found += [record.value or b"" for record in reader.poll(0).records]
    for begun, reader, found in readers:
        assert eventually(
            lambda begun=begun, reader=reader, found=found: (
                found.extend(record.value or b"" for record in reader.poll(0.01).records)
                or len(found) >= len(sent) - begun
            )
        )
        assert not reader.poll(0.05).records
        assert sorted(found) == sorted(sent[begun:])
        by_partition = [[v for v in found if number(transport, v) == n] for n in range(3)]
        assert by_partition == [[v for v in sent[begun:] if number(transport, v) == n] for n in range(3)]


def number(transport: MemoryTransport, value: bytes) -> int:
    """The partition on which a value lies."""
    return next(r.partition for r in transport.read(transport.offsets(TOPIC)) if r.value == value)


def test_a_failure_is_told_to_each_and_what_comes_after_it_is_read():
    transport, tails = Counting(), Tails()
    readers = [tails.follow(transport, end(transport)) for _ in range(3)]
    for reader in readers:
        reader.poll(0)
    transport.is_away = True
    for reader in readers:
        with pytest.raises(BrokerError, match="gone"):
            reader.poll(5)
    transport.send(b"meanwhile")
    transport.is_away = False
    again = tails.follow(transport, start(transport))
    assert taken(again, 1) == [b"meanwhile"]


def test_a_tail_that_nobody_asks_ends_and_a_topic_made_anew_has_its_own():
    transport, tails = Counting(), Tails()
    reader = tails.follow(transport, end(transport))
    reader.poll(0)
    assert transport.following == 1
    assert eventually(lambda: transport.following == 0)
    transport.send(b"1")
    assert taken(reader, 1) == [b"1"], "and whoever comes back misses nothing"
    anew = Counting()
    other = tails.follow(anew, end(anew))
    other.poll(0)
    assert anew.following == 1


def test_a_topic_made_anew_with_fewer_partitions_ends_no_reader_with_an_error_of_its_own(monkeypatch):
    transport, tails = Counting(partitions=2), Tails()
    reader = tails.follow(transport, end(transport))
    monkeypatch.setattr(transport, "offsets", lambda _: {(TOPIC, 0): (0, 0)})
    assert not reader.poll(0).records


def test_what_is_kept_is_bounded_whatever_part_of_a_record_is_large(monkeypatch):
    monkeypatch.setattr(module, "_MOST_BYTES", 1000)
    transport, tails = Counting(), Tails()
    slow, quick = tails.follow(transport, end(transport)), tails.follow(transport, end(transport))
    slow.poll(0)
    producer = transport.producer()
    for number in range(20):
        producer.send(TOPIC, b"key", [("large", b"x" * 400)], b"%d" % number)
        assert taken(quick, 1) == [b"%d" % number]
    assert transport.following == 1
    assert len(taken(slow, 20)) == 20
    assert transport.following == 2, "it was read again by a consumer of its own"
