"""Whatever lies on the segments topic: it ends as a dead letter with its reason, and no worker ends."""

from __future__ import annotations

import json
import logging
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from kafka import KafkaProducer

from consumers.live.figures.accounts import MAX_ACCOUNTS, NO_CAMERA, OTHERS, Accounts
from consumers.live.worker import Worker
from consumers.records.dead_letter import DeadLetter
from consumers.settings import Settings
from consumers.topics import ensure_topics
from stream import MAX_RECORD_BYTES, Headers, KafkaTransport, MemoryTransport, Record, Transport, attach
from stream.broker.kafka import batches
from stream.broker.records import record_size
from tests.logs import messages_of
from tests.replays import RULES, SPEC, Brightness, Overheard, work_off
from tests.videos import write_video

START_US = 1_700_000_000_000_000
Sent = tuple[bytes | None, list[tuple[str, bytes]], bytes | None]


def dark(number: int, width: int, height: int) -> np.ndarray:
    return np.full((height, width, 3), 20 + number % 20, np.uint8)


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("bad") / "gate.mp4", 60, rate=10, gop=5, size=(64, 48), frame=dark)


def settings_of(prefix: str) -> Settings:
    return Settings.model_validate(
        {"topics": {"prefix": prefix, "partitions": 2}, "worker": {"start": "earliest", "group": prefix, "threads": 1}}
    )


def segments(footage: Path, settings: Settings, camera: str = "gate") -> list[tuple[bytes, Headers, bytes]]:
    memory = MemoryTransport()
    ensure_topics(memory, settings.topics)
    topic = settings.topics.segments
    attach(str(footage), camera, memory.producer(), topic, pace="max", start_us=START_US)
    return [(r.key or b"", r.headers, r.value or b"") for r in memory.read(memory.offsets(topic))]


def with_headers(headers: Headers, **changed: bytes | None) -> Headers:
    kept = [(name, value) for name, value in headers if name.replace("-", "_") not in changed]
    return kept + [(name.replace("_", "-"), value) for name, value in changed.items() if value is not None]


def bad_records(good: tuple[bytes, Headers, bytes]) -> Iterator[tuple[str, Sent]]:
    """Records by what their reason says."""
    key, headers, data = good
    zeros = bytes(len(data))
    yield "no 'clipline' header", (None, [], b"")
    yield "no 'clipline' header", (b"\xff\xfe", [], b"x")
    yield "cannot be read", (b"\xff\xfe", headers, data)
    yield "camera id ''", (None, headers, data)
    yield "truncated: 0 bytes", (key, headers, None)
    yield "", (key, with_headers(headers, crc32=str(zlib.crc32(zeros)).encode()), zeros)
    yield "a header cannot be read", (key, with_headers(headers, frames=b"9" * 5000), data)
    yield "a header cannot be read", (key, with_headers(headers, skipped=b'{"\\ud800": "\\ud800"}'), data)
    yield "", (key, with_headers(headers, first_tick=b"9" * 40), data)
    yield "no 'clipline' header", (key, [(f"h{n}", b"") for n in range(5000)], b"x")
    yield "no 'clipline' header", (key, [("h", bytes(5_000_000)), ("i", bytes(4_900_000))], bytes(500_000))
    yield "no 'clipline' header", (bytes(4_000_000), [], bytes(6_400_000))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["memory", "embedded", "apache"])
def test_every_bad_record_becomes_a_dead_letter_and_the_worker_goes_on(
    kind: str, request: pytest.FixtureRequest, topics_prefix: str, footage: Path, caplog: pytest.LogCaptureFixture
):
    settings = settings_of(topics_prefix)
    good = segments(footage, settings)
    matroska = write_video(footage.parent / "vp8.mkv", 20, rate=10, gop=5, size=(64, 48), codec="libvpx")
    other = segments(matroska, settings, "other")[0]
    other = (other[0], other[1], other[2].replace(b"V_VP8", b"V_XYZ"))
    other = (other[0], with_headers(other[1], crc32=str(zlib.crc32(other[2])).encode()), other[2])
    bad = [*bad_records(good[0]), ("", other)]
    topic = settings.topics.segments
    transport: Transport
    if kind == "memory":
        transport = MemoryTransport()
        ensure_topics(transport, settings.topics)
        for _, (key, headers, value) in bad:
            transport.append(topic, key, headers, value)
        for record in good:
            transport.append(topic, *record)
    else:
        address = request.getfixturevalue(f"{kind}_broker").address
        transport = KafkaTransport(address)
        ensure_topics(transport, settings.topics)
        producer = KafkaProducer(bootstrap_servers=[address], max_request_size=11_000_000)
        for _, (key, headers, value) in bad:
            producer.send(topic, key=key, headers=headers, value=value, timestamp_ms=1)
        for key, headers, value in good:
            producer.send(topic, key=key, headers=headers, value=value)
        producer.close()
    worker = Worker(transport, Brightness(), SPEC, RULES, settings)
    with caplog.at_level(logging.WARNING):
        work_off(worker)
    gate = worker.counts["gate"]
    assert gate.windows == 14
    letters = list(transport.read(transport.offsets(settings.topics.deadletter)))
    assert len(letters) == len(bad)
    assert sum(account.dead_letters for account in worker.counts.values()) == len(bad)
    assert worker.counts[NO_CAMERA].dead_letters == 5
    assert sum("is a dead letter: " in record.message for record in caplog.records) == len(bad)
    reasons = [DeadLetter.decode(r.key, r.headers, r.value, r.where).reason for r in letters]
    for word, _ in bad:
        assert any(word in reason for reason in reasons), (word, reasons)
    assert set(worker.counts) <= {"gate", "other", NO_CAMERA}


@pytest.mark.slow
def test_a_batch_that_nobody_can_uncompress_is_a_dead_letter_that_names_its_offsets(
    apache_broker, topics_prefix: str, footage: Path, monkeypatch: pytest.MonkeyPatch
):
    settings = settings_of(topics_prefix)
    topic, good = settings.topics.segments, segments(footage, settings)
    transport = KafkaTransport(apache_broker.address)
    ensure_topics(transport, settings.topics)
    for codec, count in ((None, 4), ("lz4", 3), ("zstd", 2), (None, len(good))):
        producer = KafkaProducer(bootstrap_servers=[apache_broker.address], compression_type=codec, linger_ms=100)
        for key, headers, value in good[:count] if codec is None else [(b"gate", [], b"x" * 100)] * count:
            producer.send(topic, key=key, headers=headers, value=value)
        producer.close()
    monkeypatch.setattr(batches.lz4.frame, "LZ4FrameDecompressor", None)
    worker = Worker(transport, Brightness(), SPEC, RULES, settings)
    work_off(worker)
    assert worker.counts["gate"].windows == 14
    letters = [
        DeadLetter.decode(r.key, r.headers, r.value, r.where)
        for r in transport.read(transport.offsets(settings.topics.deadletter))
    ]
    assert sorted(letter.reason.split(":")[0] for letter in letters) == ["not a Clipline segment"] * 2 + [
        "offsets 4 to 6"
    ]
    assert worker.lag == 0, "the hole is committed, too"


@pytest.mark.slow
def test_a_transaction_among_the_segments_is_no_obstacle(apache_broker, topics_prefix: str, footage: Path):
    settings = settings_of(topics_prefix)
    topic, good = settings.topics.segments, segments(footage, settings)
    transport = KafkaTransport(apache_broker.address)
    ensure_topics(transport, settings.topics)
    producer = KafkaProducer(bootstrap_servers=[apache_broker.address], transactional_id=topics_prefix)
    producer.init_transactions()
    for key, headers, value in good:
        producer.begin_transaction()
        producer.send(topic, key=key, headers=headers, value=value)
        producer.commit_transaction()
    producer.close()
    worker = Worker(transport, Brightness(), SPEC, RULES, settings)
    work_off(worker)
    assert worker.counts["gate"].windows == 14
    assert (worker.lag, worker.waiting) == (0, 0), "a commit's mark is no record that waits"


@pytest.mark.parametrize(
    "record",
    [
        Record("t", 0, 0, b"k", [("h", bytes(6_000_000)), ("i", bytes(6_000_000))], bytes(6_000_000)),
        Record("t", 0, 0, bytes(9_000_000), [], bytes(9_500_000)),
        Record("t", 0, 0, None, [("ü" * 100_000, b"")] * 50, None),
        Record("t", 0, 0, b"k", [("", b"")] * 100_000, b"x"),
    ],
)
def test_a_dead_letter_always_fits_and_says_what_was_left_out(record: Record):
    letter = DeadLetter.of(record, "because\ud800" + "x" * 100_000)
    key, headers, value = letter.encode()
    assert record_size(key, headers, value) + 20 * len(headers) < MAX_RECORD_BYTES
    back = DeadLetter.decode(key, headers, value, "here")
    assert back.reason.startswith("because")
    assert "(kept here: " in back.reason
    assert back.origin == "t[0]@0"


def test_accounts_of_foreign_names_are_bounded_and_nothing_is_lost_of_them():
    accounts = Accounts({"gate"}.__contains__)
    accounts["gate"].frames = 7
    for number in range(3 * MAX_ACCOUNTS):
        accounts[f"stray-{number}"].bury(2)
    assert len(accounts) <= MAX_ACCOUNTS + 2
    assert accounts["gate"].frames == 7
    assert sum(account.dead_lettered for account in accounts.values()) == 6 * MAX_ACCOUNTS
    assert accounts[OTHERS].dead_lettered > 0


def published(transport: Transport, topic: str) -> list[dict]:
    return [json.loads(r.value or b"") for r in transport.read(transport.offsets(topic))]


def test_two_films_with_one_creation_time_give_no_id_two_contents(tmp_path: Path, topics_prefix: str, footage: Path):
    settings = settings_of(topics_prefix)
    bright = write_video(
        tmp_path / "b.mp4", 60, rate=10, gop=5, size=(64, 48), frame=lambda n, w, h: 255 - dark(n, w, h)
    )
    transport = MemoryTransport()
    ensure_topics(transport, settings.topics)
    films = segments(footage, settings), segments(bright, settings)
    for record in [*films[0], *films[1], *(r for pair in zip(*films, strict=False) for r in pair), films[0][-1]]:
        transport.append(settings.topics.segments, *record)
    worker = Worker(transport, Brightness(), SPEC, RULES, settings)
    work_off(worker)
    contents: dict[str, set[str]] = {}
    for body in published(transport, settings.topics.predictions):
        contents.setdefault(body["id"], set()).add(json.dumps(body["scores"]))
    assert len(contents) == 14
    assert {len(each) for each in contents.values()} == {1}
    assert worker.counts["gate"].dead_letters >= 2 * (min(map(len, films)) - 1)
    reason = dict(next(transport.read(transport.offsets(settings.topics.deadletter))).headers)["clipline-reason"]
    assert b"came before with other bytes: are there two feeds under one camera id?" in reason


@pytest.mark.parametrize("later_us", [-3_600_000_000, 3_600_000_000])
def test_a_record_of_another_epoch_ends_nothing_and_is_said(
    later_us: int, topics_prefix: str, footage: Path, caplog: pytest.LogCaptureFixture
):
    settings = settings_of(topics_prefix)
    good = segments(footage, settings)
    memory = MemoryTransport()
    ensure_topics(memory, settings.topics)
    topic = settings.topics.segments
    attach(str(footage), "gate", memory.producer(), topic, pace="max", start_us=START_US + later_us)
    stray = [(r.key or b"", r.headers, r.value or b"") for r in memory.read(memory.offsets(topic))]
    transport = MemoryTransport()
    ensure_topics(transport, settings.topics)
    for number, record in enumerate(good):
        transport.append(topic, *record)
        if number in (3, 5, 6):
            transport.append(topic, *stray[number])
    worker = Worker(transport, Brightness(), SPEC, RULES, settings)
    with caplog.at_level(logging.WARNING):
        work_off(worker)
    gate = worker.counts["gate"]
    assert gate.windows == 14
    assert gate.skipped["stale_epoch" if later_us < 0 else "stray_epoch"] == 15
    assert gate.pending == 0
    assert [m.split(":")[0] for m in messages_of(caplog, "consumers.live")] == ["camera gate"], "said once"


def test_a_camera_whose_records_wait_behind_a_slow_flush_is_not_closed(topics_prefix: str, footage: Path):
    settings = Settings.model_validate(
        settings_of(topics_prefix).model_dump()
        | {"worker": {"start": "earliest", "group": topics_prefix, "threads": 1, "idle_seconds": 1.0, "max_batch": 1}}
    )

    class Slow(Overheard):
        def hear(self, topic, *record) -> None:
            super().hear(topic, *record)
            if topic == settings.topics.predictions and len(self.predictions) in (3, 6):
                time.sleep(1.5)

    good = segments(footage, settings)[:-1]  # no end: it goes on
    transport = MemoryTransport()
    heard = Slow(transport)
    ensure_topics(transport, settings.topics)
    worker, stop = Worker(heard, Brightness(), SPEC, RULES, settings), threading.Event()

    def send() -> None:
        for record in good:
            transport.append(settings.topics.segments, *record)
            time.sleep(0.1)

    sender = threading.Thread(target=send)
    sender.start()
    deadline = time.monotonic() + 20
    worker.run(lambda: len(heard.predictions) >= 12 or time.monotonic() > deadline or stop.is_set())
    sender.join()
    gate = worker.counts["gate"]
    assert len(heard.predictions) >= 12
    assert not gate.skipped["tail"], "it was closed amid its footage"
