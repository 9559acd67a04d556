"""A record that ends whoever decodes it is found out by those who come after, and set aside; nothing else is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from consumers.live.handover import in_hand
from consumers.live.handover.in_hand import FATAL_TRIES, InHand, InHandNotes, decode_in_hand, encode_in_hand
from consumers.records.fields import RecordError
from consumers.settings import Settings
from consumers.topics import ensure_topics
from stream import KafkaTransport, Record, SegmentError, Transport
from tests import test_chaos
from tests.test_chaos import CAMERAS, recorded, settings_of

film = test_chaos.film
ROOT = Path(__file__).resolve().parents[1]
PARTITION = ("segments", 3)


class Noted:
    """A state topic that keeps the newest note."""

    def __init__(self) -> None:
        self.notes: list[InHand] = []

    def write(self, _producer: Any, note: InHand) -> None:
        self.notes.append(note)

    def flush(self) -> None:
        """As a producer: all is there."""

    def worker(self, name: str, monkeypatch: pytest.MonkeyPatch) -> InHandNotes:
        """The next worker, which takes the partition over."""
        monkeypatch.setattr(in_hand, "_OURSELVES", name)
        notes = InHandNotes(self.write, self)  # type: ignore[arg-type]
        notes.restore([PARTITION], {each.partition: each for each in self.notes})
        return notes


def record(offset: int, value: bytes = b"no segment") -> Record:
    return Record(*PARTITION, offset, b"gate", [], value)


def test_what_was_given_up_in_order_is_suspected_of_nothing(monkeypatch):
    noted = Noted()
    first = noted.worker("a", monkeypatch)
    first.begin(PARTITION)
    first.begin(PARTITION)
    assert [note.by for note in noted.notes] == ["a"], "noted once, not for each record"
    first.give_up([PARTITION])
    assert not noted.worker("b", monkeypatch).waits(PARTITION)


def test_whoever_begins_again_with_what_it_had_itself_has_not_died(monkeypatch):
    noted = Noted()
    noted.worker("a", monkeypatch).begin(PARTITION)
    assert not noted.worker("a", monkeypatch).waits(PARTITION)
    # Nor have others died anew where it is careful already.
    for _ in range(2 * FATAL_TRIES):
        careful = noted.worker("b", monkeypatch)
        assert careful.waits(PARTITION)
        careful.waiting.append(record(7))
        assert careful.next() == record(7)
    assert noted.notes[-1].tries == 1
    assert noted.notes[-1].deaths == 1


def test_a_record_with_which_workers_die_alone_in_a_row_is_not_decoded_any_more(monkeypatch):
    noted = Noted()
    noted.worker("a", monkeypatch).begin(PARTITION)
    for life in range(FATAL_TRIES):
        worker = noted.worker(f"b{life}", monkeypatch)
        worker.waiting.extend([record(6), record(7), record(8)])
        if life == 0:
            assert worker.next() == record(6)
            assert worker.next() is None, "one after the other"
            worker.committed()
        else:
            worker.waiting.popleft()  # it was committed
        assert worker.next() == record(7)
        with pytest.raises(SegmentError, match="not a Clipline segment"):
            worker.reading(record(7))()
    last = noted.worker("c", monkeypatch)
    with pytest.raises(SegmentError, match="3 workers in a row died or hung with it in hand, and nothing else") as told:
        last.reading(record(7))()
    assert told.value.fault == "fatal"
    # It is remembered while it may be read once more, as others before it are.
    last.waiting.extend([record(7), record(8)])
    assert last.next() == record(7)
    last.committed()
    assert last.next() == record(8)
    assert noted.notes[-1].fatal == (7,)
    again = noted.worker("d", monkeypatch)
    with pytest.raises(SegmentError, match="died or hung"):
        again.reading(record(7))()


def test_workers_that_die_elsewhere_each_time_set_nothing_aside(monkeypatch):
    noted = Noted()
    noted.worker("a", monkeypatch).begin(PARTITION)
    for life in range(20):
        worker = noted.worker(f"b{life}", monkeypatch)
        worker.waiting.extend([record(life), record(life + 1)])
        worker.next()
        worker.committed()
        worker.next()
    assert noted.notes[-1].fatal == ()
    assert max(note.tries for note in noted.notes) == 2


def test_after_a_while_records_are_taken_side_by_side_again_and_the_while_grows_with_deaths(monkeypatch):
    noted, lasted = Noted(), []
    for life in range(5):
        worker = noted.worker(str(life), monkeypatch)
        count = 0
        while worker.waits(PARTITION):
            worker.waiting.append(record(count))
            worker.next()
            worker.committed()
            count += 1
        lasted.append(count)
        worker.begin(PARTITION)
    assert lasted == [0, 64, 256, 1024, 1024]


def test_records_that_wait_when_the_while_is_over_are_not_overtaken(monkeypatch):
    noted = Noted()
    noted.worker("a", monkeypatch).begin(PARTITION)
    worker = noted.worker("b", monkeypatch)
    worker.waiting.extend(map(record, range(66)))
    for offset in range(66):
        assert worker.waits(PARTITION)
        assert worker.next() == record(offset)
        worker.committed()
    assert not worker.waits(PARTITION)


def test_what_is_dropped_waits_no_longer(monkeypatch):
    noted = Noted()
    noted.worker("a", monkeypatch).begin(PARTITION)
    worker = noted.worker("b", monkeypatch)
    worker.waiting.extend([record(1), record(2)])
    worker.next()
    worker.drop([PARTITION])
    assert (list(worker.waiting), worker.alone, worker.next()) == ([], None, None)


def test_a_note_comes_back_as_it_was_and_nothing_else_passes_for_one():
    note = InHand(3, "w", 2, 17, 1, (4, 9), "topic")
    for group in ("clipline", "a/b"):
        key, value = encode_in_hand(group, note)
        assert decode_in_hand(group, key, value, "state[3]@1") == note
        assert decode_in_hand("another", key, value, "state[3]@1") is None
    assert decode_in_hand("clipline", b"clipline/gate", b"{}", "state[3]@1") is None
    for key, value in ((b"clipline//3/hand", b"{"), (b"clipline//4/hand", json.dumps({"partition": 3}).encode())):
        with pytest.raises(RecordError, match=r"state\[3\]@1: "):
            decode_in_hand("clipline", key, value, "state[3]@1")


# -- processes


def lives(address: str, settings: Settings, dies_of: str) -> Iterator[subprocess.Popen[bytes]]:
    """Workers, each started when the one before has died."""
    command = [sys.executable, "-m", "tests.brightness_worker", address, settings.model_dump_json()]
    while True:
        yield subprocess.Popen(command, cwd=ROOT, env={**os.environ, "DIES_OF": dies_of}, stderr=subprocess.DEVNULL)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["embedded", "apache"])
def test_a_segment_that_kills_its_worker_is_a_dead_letter_and_all_others_are_classified(
    kind, request, topics_prefix, film
):
    broker = request.getfixturevalue(f"{kind}_broker")
    settings = settings_of(topics_prefix)
    if kind == "embedded":
        worker = settings.worker.model_copy(update={"guarantee": "at-least-once"})
        settings = settings.model_copy(update={"worker": worker})
    transport: Transport = KafkaTransport(broker.address)
    ensure_topics(transport, settings.topics)
    producer = transport.producer()
    segments = recorded(film, settings)
    for each in segments:
        producer.send(each.topic, each.key or b"", each.headers, each.value or b"")
    producer.flush()
    producer.close()
    deaths, deadline = 0, time.monotonic() + 120
    for process in lives(broker.address, settings, f"{CAMERAS[0]}/9"):
        try:
            while process.poll() is None and ends(transport, settings, CAMERAS) < len(CAMERAS):
                assert time.monotonic() < deadline, deaths
                time.sleep(0.2)
            if process.poll() is None:
                break
            deaths += 1
        finally:
            process.kill()
            process.wait()
    assert deaths == 1 + FATAL_TRIES
    (letter,) = stored(transport, settings.topics.deadletter)
    assert letter.key == CAMERAS[0].encode()
    assert "3 workers in a row died or hung with it in hand" in str(letter.headers)
    windows = {camera: set() for camera in CAMERAS}
    for each in stored(transport, settings.topics.predictions):
        body = json.loads(each.value or b"")
        windows[body["camera"]].add(body["window"])
    # A window is missing where a picture of the segment would be in it.
    missing = windows[CAMERAS[1]] - windows[CAMERAS[0]]
    assert windows[CAMERAS[0]] < windows[CAMERAS[1]]
    assert 1 <= len(missing) <= 4


def stored(transport: Transport, topic: str) -> list[Record]:
    return list(transport.read(transport.offsets(topic)))


def ends(transport: Transport, settings: Settings, cameras: list[str]) -> int:
    """How many cameras are classified to their end."""
    newest = {r.key: json.loads(r.value or b"{}") for r in stored(transport, settings.topics.state)}
    found = [newest.get(f"{settings.worker.group}/{camera}".encode(), {}) for camera in cameras]
    return sum(bool((each.get("feed") or {}).get("ended")) for each in found)
