"""`clipline deadletter`: what could not be used is found, looked at, sent again and deleted."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from consumers.live.worker import Worker
from consumers.outputs import dead_letters
from consumers.outputs.dead_letters import DeadLetters
from consumers.records.dead_letter import DeadLetter
from consumers.settings import Settings, TopicSettings
from consumers.topics import ensure_topics
from stream import (
    MAX_RECORD_BYTES,
    KafkaTransport,
    MemoryTransport,
    Record,
    Segment,
    SegmentError,
    SourceError,
    Transport,
    attach,
)
from stream.broker.records import record_size
from tests.command_line import clipline
from tests.replays import RULES, SETTINGS, SPEC, Brightness, work_off
from tests.videos import write_video


def letter(number: int, camera: str = "gate", reason: str = "truncated") -> DeadLetter:
    record = Record("clipline.segments", 1, number, camera.encode(), [("clipline", b"2")], b"body %d" % number)
    return DeadLetter.of(record, reason)


def send(transport: Transport, topics: TopicSettings, *letters: DeadLetter) -> None:
    ensure_topics(transport, topics)
    producer = transport.producer()
    for each in letters:
        producer.send(topics.deadletter, *each.encode())
    producer.flush()
    producer.close()


def test_the_newest_come_first_and_not_all_are_read_for_them(monkeypatch):
    topics, transport = TopicSettings(), MemoryTransport()
    send(transport, topics, *(letter(number) for number in range(500)))
    reads = []
    read = transport.read
    monkeypatch.setattr(transport, "read", lambda ranges: reads.append(ranges) or read(ranges))
    newest = DeadLetters(transport, topics).newest()
    assert [next(newest).origin for _ in range(3)] == [f"clipline.segments[1]@{n}" for n in (499, 498, 497)]
    assert reads == [{(topics.deadletter, 0): (500 - dead_letters._FIRST_READ, 500)}]
    assert sum(1 for _ in newest) == 497


def test_a_record_that_is_no_dead_letter_is_listed_as_what_it_is():
    topics, transport = TopicSettings(), MemoryTransport()
    send(transport, topics, letter(0))
    transport.append(topics.deadletter, b"\xff", [], None)
    foreign, _ = DeadLetters(transport, topics).newest()
    assert (foreign.camera, foreign.bytes, foreign.origin) == ("\\xff", 0, "")
    assert "not a dead letter" in foreign.reason
    with pytest.raises(SourceError, match="not a dead letter"):
        DeadLetters(transport, topics).find(f"{topics.deadletter}[0]@1")


@pytest.mark.parametrize(
    "name", ["17", "clipline.segments[0]@0", "clipline.deadletter[7]@0", "clipline.deadletter[0]@1", "x" * 99]
)
def test_a_name_of_no_dead_letter_is_refused_in_one_line(name: str):
    topics, transport = TopicSettings(), MemoryTransport()
    send(transport, topics, letter(0))
    with pytest.raises(SourceError) as refused:
        DeadLetters(transport, topics).find(name)
    assert str(refused.value).startswith(f"{name}: ")


def test_what_was_cut_is_not_sent_again():
    topics, transport = TopicSettings(), MemoryTransport()
    large = Record("s", 0, 0, b"gate", [("h", bytes(300_000))], b"x")
    send(transport, topics, DeadLetter.of(large, "foreign"), letter(1))
    letters = DeadLetters(transport, topics)
    with pytest.raises(SourceError, match="too large to be kept whole"):
        letters.send_again(f"{topics.deadletter}[0]@0")
    letters.send_again(f"{topics.deadletter}[0]@1")
    (again,) = transport.read(transport.offsets(topics.segments))
    assert (again.key, again.headers, again.value) == (b"gate", [("clipline", b"2")], b"body 1")


def test_records_as_large_as_they_may_be_with_long_headers_are_decoded_or_dead_letters(tmp_path: Path):
    """The headers of a record count as its value does; what a dead letter adds finds room."""
    settings, transport, source = SETTINGS, MemoryTransport(), MemoryTransport()
    topics = settings.topics
    for each in (transport, source):
        ensure_topics(each, topics)
    film = write_video(tmp_path / "gate.mp4", 40, rate=10, gop=5, size=(64, 48))
    attach(str(film), "gate", source.producer(), topics.segments, pace="max", start_us=1_700_000_000_000_000)
    producer, sent = transport.producer(), 0
    for record in source.read(source.offsets(topics.segments)):
        key, value = record.key or b"", record.value or b""
        filling = MAX_RECORD_BYTES - record_size(key, record.headers, value) - len("x-note")
        for damaged in (value[:-1] + b"?", value) if value else (value,):
            producer.send(topics.segments, key, [*record.headers, ("x-note", bytes(filling))], damaged)
            sent += damaged != value
    worker = Worker(transport, Brightness(), SPEC, RULES, settings)
    work_off(worker)
    gate = worker.counts["gate"]
    assert gate.windows > 0
    assert gate.dead_letters == sent > 1
    letters = DeadLetters(transport, topics)
    assert all("do not match their checksum (kept here: " in each.reason for each in letters.newest())
    with pytest.raises(SourceError, match="too large to be kept whole"):
        letters.send_again(next(letters.newest()).where)


def test_what_is_sent_again_once_it_can_be_used_is_classified(tmp_path: Path):
    strict, settings = Settings.model_validate({"worker": {"start": "earliest", "max_megapixels": 0.001}}), SETTINGS
    transport = MemoryTransport()
    ensure_topics(transport, settings.topics)
    film = write_video(tmp_path / "gate.mp4", 40, rate=10, gop=5, size=(64, 48))
    producer = transport.producer()
    attach(str(film), "gate", producer, settings.topics.segments, pace="max", start_us=1_700_000_000_000_000)
    before = Worker(transport, Brightness(), SPEC, RULES, strict)
    work_off(before)
    assert (before.counts["gate"].windows, before.counts["gate"].classified) == (0, 0)
    letters = DeadLetters(transport, settings.topics)
    for each in reversed(list(letters.newest())):
        letters.send_again(each.where)
    after = Worker(transport, Brightness(), SPEC, RULES, settings)
    work_off(after)
    assert (after.counts["gate"].windows, after.counts["gate"].classified) == (9, 40)


def test_an_error_quotes_little_of_a_record():
    for headers in ([("x" * 1_000_000, b"")], [("clipline", b"y" * 1_000_000)]):
        with pytest.raises(SegmentError) as error:
            Segment.decode(b"gate", headers, b"", "t[0]@1")
        assert len(str(error.value)) < 1100


@pytest.mark.slow
def test_dead_letters_from_the_command_line(broker, topics_prefix: str, tmp_path: Path):
    topics, transport = TopicSettings(prefix=topics_prefix), KafkaTransport(broker.address)
    variables = {"CLIPLINE_KAFKA": broker.address, "CLIPLINE_TOPICS__PREFIX": topics_prefix}

    def run(*arguments: object) -> str:
        result = clipline("deadletter", *arguments, **variables)
        assert result.returncode == 0, result.stderr
        return result.stdout

    none = clipline("deadletter", "list", "--json", **variables)
    said = f"no dead letters: the topic {topics.deadletter} does not exist yet\n"
    assert (none.returncode, none.stdout, none.stderr) == (0, "", said)
    for action in ("show", "retry"):
        missing = clipline("deadletter", action, f"{topics.deadletter}[0]@0", **variables)
        assert (missing.returncode, missing.stderr.count("\n")) == (2, 1)
        assert f"there is no topic {topics.deadletter} yet" in missing.stderr
    assert "deleted 0 dead letters (the topic does not exist yet)" in run("purge", "--all")
    send(transport, topics, letter(0), letter(1, "dock", "a header cannot be read: \x1b[31m"))
    time.sleep(0.01)
    middle = datetime.now(UTC).isoformat()
    time.sleep(0.01)
    send(transport, topics, letter(2), letter(3, "dock"))
    listed = [json.loads(line) for line in run("list", "--json").splitlines()]
    assert [each["origin"][-1] for each in listed] == ["3", "2", "1", "0"]
    assert [json.loads(x)["origin"][-1] for x in run("list", "--json", "--since", middle).splitlines()] == ["3", "2"]
    assert "\\x1b[31m" in run("list", "--camera", "dock", "--reason", "HEADER")
    assert run("list", "--limit", "1").count("\n") == 1
    name = listed[1]["record"]
    shown = run("show", name, "--save", tmp_path / "body")
    assert (tmp_path / "body").read_bytes() == b"body 2"
    assert all(word in shown for word in ("truncated", "62 6f 64 79 20 32", "clipline: 2", "6 bytes"))
    assert "again, once" in run("retry", name)
    (again,) = transport.read(transport.offsets(topics.segments))
    assert (again.key, again.headers, again.value) == (b"gate", [("clipline", b"2")], b"body 2")
    if not transport.is_transactional:
        refused = clipline("deadletter", "purge", "--all", **variables)
        assert (refused.returncode, "cannot delete records" in refused.stderr) == (2, True)
        return
    publisher = transport.publisher(topics_prefix)
    publisher.send(topics.deadletter, *letter(4).encode())  # its transaction's end has an offset, too
    publisher.commit(transport.consumer([topics.segments], topics_prefix), {})
    publisher.close()
    assert "deleted 2 dead letters\n" in run("purge", "--before", middle)
    assert run("list", "--json").count("\n") == 3
    assert "deleted 3 dead letters\n" in run("purge", "--all")
    assert run("list") == ""
    assert clipline("deadletter", "show", name, **variables).returncode == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["purge"], "needs either --before TIME or --all"),
        (["purge", "--all", "--before", "2026-01-01"], "needs either"),
        (["show"], "show needs RECORD"),
        (["list", "x"], "list takes no RECORD"),
        (["list", "--save", "x"], "--save is for show"),
        (["retry", "x", "--all"], "--all is for purge"),
        (["list", "--since", "yesterday"], "--since: 'yesterday' is no time"),
    ],
)
def test_what_does_not_belong_together_is_refused(arguments: list[str], said: str):
    result = clipline("deadletter", *arguments)
    assert (result.returncode, said in result.stderr) == (2, True), result.stderr
