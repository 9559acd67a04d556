"""The embedded broker keeps few objects however many batches are sent, and every record at its offset."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from stream import KafkaTransport, Record, Topic
from stream.services import EmbeddedBroker
from stream.services.joining import joined, last_delta, without
from stream.services.objects import ObjectStore
from tests.waiting import eventually

Content = tuple[int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]
texts = st.none() | st.binary(max_size=20)
contents = st.lists(
    st.tuples(st.integers(0, 2**40), texts, texts, st.lists(st.tuples(st.text(max_size=5), texts), max_size=2)),
    min_size=1,
    max_size=4,
)


def batch(records: list[Content], base: int = 0, codec: int = 0, *, transactional: bool = False) -> bytes:
    builder = DefaultRecordBatchBuilder(2, codec, transactional, 7, 0, 3, 2**20)
    for offset, (time_ms, key, value, headers) in enumerate(records):
        builder.append(offset, time_ms, key, value, headers)
    made = bytes(builder.build())
    return base.to_bytes(8, "big") + made[8:]


def read(data: bytes, first: int) -> list[tuple[int, Content]]:
    found = DefaultRecordBatch(data)
    assert found.validate_crc()
    return [
        (first + r.offset - found.base_offset, (r.timestamp, r.key, r.value, [tuple(h) for h in r.headers]))  # type: ignore[misc]
        for r in found
    ]


@given(st.lists(st.tuples(contents, st.integers(0, 3), st.sampled_from([0, 1])), min_size=1, max_size=5), st.booleans())
def test_all_records_are_in_the_one_batch_at_their_offsets(parts, is_stored):
    """Also behind gaps, of producers that compress, and of a broker that stores offsets in batches."""
    batches, at = [], 5
    for records, gap, codec in parts:
        at += gap
        batches.append((at, batch(records, at if is_stored else 0, codec)))
        at += len(records)
    found = joined(batches)
    assert found is not None
    assert read(found, batches[0][0]) == [each for first, data in batches for each in read(data, first)]
    assert found[:8] == batches[0][1][:8]


def test_what_is_no_plain_batch_is_left_as_it_is():
    plain = batch([(1, b"k", b"v", [])])
    damaged = plain[:-1] + bytes([plain[-1] ^ 1])
    for other in (batch([(1, b"k", b"v", [])], transactional=True), damaged, b"", plain[:40]):
        assert joined([(0, plain), (1, other)]) is None


@given(contents, st.sets(st.integers(0, 3)), st.sampled_from([0, 1]))
def test_a_batch_without_some_records_has_the_others_at_their_offsets_and_ends_where_it_ended(records, gone, codec):
    data, number = batch(records, 0, codec), iter(range(len(records)))
    made, count = without(data, lambda *_: next(number) in gone)
    kept = [each for each in read(data, 5) if each[0] - 5 not in gone]
    assert count == len(records) - len(kept)
    if not kept:
        assert made is None
        return
    assert made is not None
    assert read(made, 5) == kept
    assert last_delta(made) == len(records) - 1
    # Joined with the next one later, it still ends there.
    then = joined([(5, made), (9, made)])
    assert then is not None
    assert last_delta(then) == 4 + len(records) - 1


def test_nothing_is_taken_out_of_what_is_no_plain_batch():
    plain = batch([(1, b"k", b"v", [])])
    damaged = plain[:-1] + bytes([plain[-1] ^ 1])
    for other in (batch([(1, b"k", b"v", [])], transactional=True), damaged, b"", plain[:40]):
        assert without(other, lambda *_: True) == (other, 0)


def test_what_is_taken_out_of_a_broker_is_gone_and_all_else_is_read_on_as_before():
    with EmbeddedBroker(max_bytes=100_000_000) as broker:
        transport = KafkaTransport(broker.address)
        transport.ensure_topics([Topic("few", 1)])
        producer = transport.producer()

        def send(*batches: int) -> None:
            for count in batches:
                for _ in range(count):
                    producer.send("few", b"%d" % next(numbers), [], b"v")
                producer.flush()

        def stored() -> list[int]:
            return [record.offset for record in transport.read(transport.offsets("few"))]

        def take_out(*wanted: int) -> int | None:
            return broker.take_out("few", lambda key, *_: int(key or b"-1") in wanted)

        numbers = iter(range(100))
        send(1, 1, 1, 1, 5, 1, 1, 1)  # 0 1 2 3 4-8 9 10 11
        lookup, follower = transport.lookup(["few"]), transport.follow({("few", 0): 2})
        assert take_out(2, 3, 5, 8, 10, 11) == 5, "11 is the newest record"
        assert stored() == [0, 1, 4, 6, 7, 9, 11]
        for first, found in ((2, [4, 6]), (3, [4, 6]), (5, [6]), (6, [6])):
            assert [record.offset for record in lookup.read(("few", 0), first, 7)] == found
        assert [record.offset for record in lookup.read(("few", 0), 2, 3)] == []
        send(1)
        assert take_out(0, 1, 11) == 3
        assert transport.offsets("few") == {("few", 0): (4, 13)}
        assert stored() == [4, 6, 7, 9, 12]
        read: list[int] = []
        assert eventually(lambda: read.extend(r.offset for r in follower.poll(0.1).records) or read[-1:] == [12])
        assert [offset for offset in read if offset != 11] == [4, 6, 7, 9, 12], "11 may have been fetched before"
        assert broker.kept().bytes == sum(broker._store._topic_bytes.values())
        for client in (follower, lookup, producer):
            client.close()


@pytest.mark.parametrize("gone", [{4}, {0}, {2, 3}, {1, 2, 4}, {0, 1, 2, 3, 4}], ids=str)
def test_what_is_taken_out_of_the_newest_batch_leaves_no_reader_with_records_twice(gone: set[int]):
    with EmbeddedBroker(max_bytes=100_000_000) as broker:
        transport = KafkaTransport(broker.address)
        transport.ensure_topics([Topic("few", 1)])
        producer = transport.producer()

        def send(*numbers: int) -> None:
            for number in numbers:
                producer.send("few", b"%d" % number, [], b"v")
            producer.flush()

        def read() -> list[int]:
            lookup = transport.lookup(["few"])
            found = [record.offset for record in lookup.read(("few", 0), min(kept, default=4))]
            lookup.close()
            assert [record.offset for record in transport.read(transport.offsets("few"))] == found
            return found

        def take_out() -> int | None:
            return broker.take_out("few", lambda key, *_: int(key or b"-1") in gone)

        kept = sorted({0, 1, 2, 3} - gone)
        send(0, 1, 2, 3, 4)
        assert take_out() == 4 - len(kept)
        assert read() == [*kept, 4], "the newest record stays"
        assert (take_out(), broker.kept().bytes) == (0, sum(broker._store._topic_bytes.values()))
        send(5, 6)
        assert take_out() == len(gone & {4})
        kept += sorted({4} - gone)
        assert read() == [*kept, 5, 6] if kept else [5, 6]
        producer.close()


def test_one_batch_that_cannot_be_joined_keeps_no_other_one_apart():
    store, folder = ObjectStore(100_000_000), "clusters/c/topics/small/partitions/0000000000/records"
    plain = batch([(1, b"k", b"v" * 300, [])])
    damaged = plain[:-1] + bytes([plain[-1] ^ 1])
    for number in range(2000):
        store.put(f"{folder}/{number:020}.batch", damaged if number in {7, 900} else plain, {})
    objects = store._folders[folder]
    assert len(objects) < 700
    assert [objects[f"{number:020}.batch"].data for number in (7, 900)] == [damaged, damaged]
    assert sum(len(each.data) for each in objects.values()) == store.kept().bytes
    records = [offset for name, each in sorted(objects.items()) for offset, _ in held(each.data, int(name[:20]))]
    assert records == list(range(2000))


def held(data: bytes, first: int) -> list[tuple[int, Content]]:
    return read(data, first) if DefaultRecordBatch(data).validate_crc() else [(first, (0, None, None, []))]


@pytest.mark.parametrize("count", [1500])
def test_a_broker_that_was_sent_many_small_batches_is_as_quick_and_complete_as_ever(count: int):
    with EmbeddedBroker(max_bytes=100_000_000) as broker:
        transport = KafkaTransport(broker.address)
        transport.ensure_topics([Topic("small", 1)])
        reads: list[Record] = []
        consumer, over = transport.consumer(["small"], from_start=True), threading.Event()

        def follow() -> None:
            while not over.is_set() or len(reads) < count:
                reads.extend(consumer.poll(0.1).records)

        following = threading.Thread(target=follow, daemon=True)
        following.start()
        producer = transport.producer()
        for number in range(count):
            producer.send("small", b"%d" % (number % 7), [("n", b"%d" % number)], b"v" * (number % 300))
            producer.flush()
        producer.close()
        over.set()
        following.join(30)
        consumer.close()
        objects = [
            len(each) for name, each in broker._store._folders.items() if "/small/" in name and "records" in name
        ]
        assert sum(objects) < 600
        whole = list(transport.read({("small", 0): (0, count)}))
        for found in (reads, whole):
            assert [r.offset for r in found] == list(range(count))
            assert [(r.key, dict(r.headers)["n"], len(r.value or b"")) for r in found] == [
                (b"%d" % (n % 7), b"%d" % n, n % 300) for n in range(count)
            ]
        # From amid a joined batch, and by time.
        with_lookup = transport.lookup(["small"])
        assert [r.offset for r in with_lookup.read(("small", 0), 321, 324)] == [321, 322, 323]
        with_lookup.close()
        since = transport.sent_since("small", whole[700].sent_us)
        assert since[("small", 0)] <= 700
