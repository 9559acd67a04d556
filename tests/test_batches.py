"""Batches of a partition that cannot be read: what they hold is named, and reading goes on behind them."""

from __future__ import annotations

import pytest
from kafka import KafkaProducer, TopicPartition
from kafka.record import MemoryRecords
from kafka.record.default_records import DefaultRecordBatchBuilder

from stream import KafkaTransport, Topic
from stream.broker.kafka import batches
from stream.broker.kafka.batches import Unreadable, _Records

PARTITION = TopicPartition("segments", 0)
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


def batch(base: int, values: list[bytes], codec: str = "none", header: str = "h") -> bytearray:
    builder = DefaultRecordBatchBuilder(2, CODECS[codec], 0, -1, -1, -1, 1_000_000)
    for number, value in enumerate(values):
        builder.append(number, 1_000, b"gate", value, [(header, b"1")])
    built = bytearray(builder.build())
    built[:8] = base.to_bytes(8, "big")  # as the broker does; the checksum begins behind it
    return built


def checked(stored: bytearray) -> bytearray:
    """With the checksum that the bytes have now."""
    from kafka.record.util import calc_crc32c

    stored[17:21] = calc_crc32c(memoryview(stored)[21:]).to_bytes(4, "big")
    return stored


def read(stored: bytes, first: int = 0) -> list:
    part = _Records(first, PARTITION, MemoryRecords(stored))
    found = part.take(1000)
    assert not part, "the vendor goes on with it"
    assert part.next_fetch_offset > found[-1].offset
    return found


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_is_read(codec: str):
    found = read(batch(0, [b"a" * 1000, b"b"], codec) + batch(2, [b"c"], codec))
    assert [(r.offset, r.key, r.value[:1], r.headers) for r in found] == [
        (number, b"gate", letter, [("h", b"1")]) for number, letter in enumerate((b"a", b"b", b"c"))
    ]


@pytest.mark.parametrize("damage", ["checksum", "codec", "bytes", "size"])
@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_a_batch_that_cannot_be_read_is_named_with_its_offsets(codec: str, damage: str, monkeypatch):
    bad = batch(5, [b"x" * 5000] * 3, codec)
    match damage:
        case "checksum":
            bad[-1] ^= 1
        case "codec":
            bad[22] = (bad[22] & ~7) | 6
            checked(bad)
        case "bytes":
            bad[65:80] = bytes(15)
            checked(bad)
        case "size":
            if codec == "snappy":
                pytest.skip("it makes some twenty bytes of one at most")
            monkeypatch.setattr(batches, "MAX_UNCOMPRESSED_BYTES", 10_000)
    good = [batch(4, [b"before"]), batch(8, [b"behind"])]
    before, lost, behind = read(good[0] + bad + good[1], 4)
    assert (before.value, behind.value) == (b"before", b"behind")
    assert (lost.offset, lost.key, lost.headers) == (7, None, [])
    assert isinstance(lost.value, Unreadable)
    assert lost.value.reason.startswith("offsets 5 to 7: the batch is lost, ")


def test_a_damaged_record_does_not_take_its_neighbours_along():
    stored = batch(5, [b"one", b"two", b"three"], header="name")
    second = stored.index(b"name", stored.index(b"two"))
    stored[second] = 0xFF  # no UTF-8
    one, two, three = read(checked(stored), 5)
    assert [r.offset for r in (one, two, three)] == [5, 6, 7]
    assert (one.value, three.value) == (b"one", b"three")
    assert b"two" in two.value
    assert two.value.reason.startswith("the record cannot be read: ")


def test_a_record_that_lies_about_its_size_leaves_the_rest_unread():
    stored = batch(5, [b"one", b"two", b"three"])
    begin = stored.index(b"gate", stored.index(b"one")) - 5
    stored[begin] = 0xFE
    found = read(checked(stored), 5)
    assert [r.offset for r in found] == [5, 7]
    assert found[1].value.reason.startswith("offsets 6 to 7: the batch is lost, damaged: ")


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_compressed_batches_come_through_a_broker(broker, topics_prefix: str, codec: str):
    transport = KafkaTransport(broker.address)
    transport.ensure_topics([Topic(topics_prefix, 1)])
    producer = KafkaProducer(bootstrap_servers=[broker.address], compression_type=codec, linger_ms=50)
    for number in range(5):
        producer.send(topics_prefix, key=b"gate", value=bytes([number]) * 5000)
    producer.close()
    found = list(transport.read(transport.offsets(topics_prefix)))
    assert [(r.offset, r.value, r.unreadable) for r in found] == [(n, bytes([n]) * 5000, None) for n in range(5)]


def test_a_batch_whose_codec_is_missing_is_a_record_that_says_so(broker, topics_prefix: str, monkeypatch):
    """Where a library is not there, or the codec is of tomorrow."""
    transport = KafkaTransport(broker.address)
    transport.ensure_topics([Topic(topics_prefix, 1)])
    for compression in (None, "lz4", None):
        producer = KafkaProducer(bootstrap_servers=[broker.address], compression_type=compression, linger_ms=50)
        for _ in range(3):
            producer.send(topics_prefix, value=b"x" * 1000)
        producer.close()

    def missing(*_):
        raise NotImplementedError("no such codec")

    monkeypatch.setattr(batches.lz4.frame, "LZ4FrameDecompressor", missing)
    consumer = transport.consumer([topics_prefix])
    found: list = []
    for _ in range(50):
        found += consumer.poll(0.2).records
        if len(found) == 7:
            break
    assert [r.offset for r in found] == [0, 1, 2, 5, 6, 7, 8]
    assert found[3].unreadable == (
        "offsets 3 to 5: the batch is lost, cannot be uncompressed: NotImplementedError: no such codec"
    )
    assert sum(consumer.lag().values()) == 0
    consumer.close()
