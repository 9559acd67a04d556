"""Where a minute of a camera lies: found without reading footage, also after kills, takeovers, retention and damage."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import pytest

from consumers.footage_index import CameraWriter, FootageIndex, SegmentFacts, Standing, stretches
from consumers.footage_index import writer as writer_module
from consumers.footage_index.timeline import answer
from consumers.footage_index.writer import standing_tail
from consumers.records.fields import RecordError
from consumers.records.index.contents import IndexContents
from consumers.records.index.page import IndexPage
from consumers.records.prediction import rfc3339
from consumers.replaying.footage.sources import find_recordings
from consumers.running.sending import indexing
from consumers.running.sending.courier import Courier, Limits, Link
from consumers.running.sending.indexing import Indexer
from consumers.settings import TopicSettings
from stream import BrokerError, MemoryTransport, Partition, Segment, SegmentLimits, Topic, Transport
from tests.test_events_kcat import ASYNCAPI, contract
from tests.waiting import eventually

TOPICS = TopicSettings(partitions=2)
#: A full hour.
BEGIN_US = 1_795_507_200_000_000
SECOND_US = 1_000_000


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WRITE_SECONDS", "RETRY_SECONDS", "_OPEN_SECONDS"):
        monkeypatch.setattr(indexing, name, 0.05)


def segment(second: int, claim: int = 0, camera: str = "gate", epoch: int = 0, **changed) -> Segment:
    """One that lasts a second; an epoch begins at its second."""
    start_us = BEGIN_US + second * SECOND_US
    made = Segment(
        camera,
        BEGIN_US + epoch * SECOND_US,
        second - epoch,
        start_us,
        start_us + SECOND_US,
        "mpegts",
        "h264",
        64,
        48,
        10,
        0,
        b"x" * (1000 + second % 100),
        claim=claim,
        feed=f"{epoch:016x}",
    )
    return replace(made, **changed)


def broker() -> MemoryTransport:
    transport = MemoryTransport()
    transport.ensure_topics([Topic(TOPICS.segments, TOPICS.partitions)])
    return transport


@contextlib.contextmanager
def agent(
    transport: Transport, claim: int, *cameras: str, connect: Callable[[], Transport] | None = None
) -> Iterator[tuple[Courier, Indexer]]:
    """What of an agent sends and indexes."""
    named = cameras or ("gate",)
    with (
        Indexer(connect or (lambda: transport), TOPICS) as index,
        Courier(
            lambda: Link(transport.producer(), dict.fromkeys(named, claim), {}, lambda _: {}),
            live=named,
            spool=None,
            limits=Limits(10**9, 3600),
            stop=lambda: False,
            told=index.stored,
        ) as courier,
    ):
        index.claimed(dict.fromkeys(named, claim), {})
        yield courier, index


def send(courier: Courier, *segments: Segment) -> None:
    for each in segments:
        courier.send(TOPICS.segments, *each.encode())
    courier.flush()


def sent_by_nobody_who_indexes(transport: Transport, *segments: Segment) -> None:
    """As an agent that is killed before it has indexed them."""
    producer = transport.producer()
    for each in segments:
        producer.send(TOPICS.segments, *each.encode())
    producer.flush()


def kill(index: Indexer) -> None:
    """Nothing more is written, and no last word."""
    index._write = lambda *_, **__: None  # type: ignore[method-assign]


def find(transport: Transport, begin: int, end: int, camera: str = "gate"):
    with FootageIndex(transport, TOPICS) as index:
        return index.find(camera, BEGIN_US + begin * SECOND_US, BEGIN_US + end * SECOND_US)


def seconds(found) -> list[int]:
    return [(s.start_us - BEGIN_US) // SECOND_US for s in found.segments]


def indexed(transport: Transport, count: int, camera: str = "gate") -> bool:
    with FootageIndex(transport, TOPICS) as index:
        return len(index.find(camera, 0, 1 << 60).segments) == count


class Counting(MemoryTransport):
    """Counts the bodies of segments that are read."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies = 0

    def read(self, ranges):
        for record in super().read(ranges):
            self.bodies += record.topic == TOPICS.segments
            yield record


def test_a_minute_is_found_with_where_its_segments_lie_and_no_footage_is_read():
    transport = Counting()
    transport.ensure_topics([Topic(TOPICS.segments, TOPICS.partitions)])
    with agent(transport, 5, "gate", "hall") as (courier, _):
        for second in range(150):
            send(courier, segment(second), segment(second, camera="hall"))
    transport.bodies = 0
    found = find(transport, 60, 120)
    assert transport.bodies == 0
    assert seconds(found) == list(range(60, 120))
    assert (found.gaps, found.gone, found.notes, found.covered_us) == ((), 0, (), 60 * SECOND_US)
    for each, second in zip(found.segments, range(60, 120), strict=True):
        (record,) = transport.read({(TOPICS.segments, each.partition): (each.offset, each.offset + 1)})
        there = Segment.decode(record.key, record.headers, record.value, record.where)
        assert there == segment(second, claim=5)
        assert (each.size, each.begins, each.continued, each.number) == (len(there.data), True, False, second)
        assert (each.run.codec, each.run.width, each.run.height) == ("h264", 64, 48)
    with FootageIndex(transport, TOPICS) as index:
        assert [s.start_us for s in index.footage("gate", found.segments[:3])] == [
            BEGIN_US + n * SECOND_US for n in (60, 61, 62)
        ]
        assert sorted(index.all_contents()) == ["gate", "hall"]


def test_a_minute_that_is_not_over_is_found_while_it_fills():
    transport = broker()
    with agent(transport, 5) as (courier, _):
        for count in (3, 7):
            send(courier, *(segment(n) for n in range(count)))
            assert eventually(lambda count=count: indexed(transport, count)), count


def test_what_is_missing_is_a_gap():
    transport = broker()
    with agent(transport, 5) as (courier, _):
        send(courier, *(segment(n) for n in (*range(5), *range(8, 12))))
        # Reconnected.
        send(courier, *(segment(n, epoch=20) for n in range(20, 25)))
    found = find(transport, -10, 30)
    assert [((b - BEGIN_US) / 1e6, (e - BEGIN_US) / 1e6) for b, e in found.gaps] == [
        (-10, 0),
        (5, 8),
        (12, 20),
        (25, 30),
    ]
    assert found.covered_us == 14 * SECOND_US
    assert [len(each.segments) for each in stretches(found.segments)] == [5, 4, 5]
    assert [s.run.discontinuity for s in found.segments] == [0] * 9 + [1] * 5


def test_segments_sent_before_the_agent_was_killed_are_indexed_by_the_next_one():
    transport = broker()
    with agent(transport, 5) as (courier, index):
        send(courier, *(segment(n) for n in range(10)))
        assert eventually(lambda: indexed(transport, 10))
        kill(index)
        send(courier, *(segment(n) for n in range(10, 14)))
    assert indexed(transport, 10)
    sent_by_nobody_who_indexes(transport, segment(14, claim=5), segment(15, camera="hall"))
    with agent(transport, 9):
        assert eventually(lambda: indexed(transport, 15))
    found = find(transport, 0, 60)
    assert [(s.number, s.run.claim) for s in found.segments] == [(n, 5) for n in range(15)]


def test_who_takes_over_goes_on_with_the_numbers():
    transport = broker()
    with agent(transport, 5) as (courier, _):
        send(courier, *(segment(n) for n in range(70)))
    with agent(transport, 9) as (courier, _):
        send(courier, *(segment(n, epoch=100) for n in range(100, 110)))
    with agent(transport, 12) as (courier, index):
        send(courier, *(segment(n, epoch=120) for n in range(120, 125)))
        assert eventually(lambda: indexed(transport, 85))
        kill(index)
    with agent(transport, 15) as (courier, _):
        # The first minute of the one before was not over.
        send(courier, *(segment(n, epoch=130, width=128) for n in range(130, 135)))
    found = find(transport, 0, 200)
    assert [s.number for s in found.segments] == list(range(90))
    assert [(k, len(list(g))) for k, g in itertools.groupby(s.run.discontinuity for s in found.segments)] == [
        (0, 70),
        (1, 10),
        (2, 5),
        (3, 5),
    ]


def test_changed_parameters_within_an_epoch_are_a_discontinuity():
    transport = broker()
    with agent(transport, 5) as (courier, _):
        send(courier, *(segment(n) for n in range(3)), *(segment(n, width=128) for n in range(3, 5)))
    assert [s.run.discontinuity for s in find(transport, 0, 5).segments] == [0, 0, 0, 1, 1]


def test_an_agent_that_has_lost_the_camera_is_not_indexed():
    transport = broker()
    with agent(transport, 5) as (courier, _):
        send(courier, *(segment(n) for n in range(10)))
        assert eventually(lambda: indexed(transport, 10))
        with agent(transport, 9) as (other, index):
            send(other, *(segment(n, epoch=20) for n in range(20, 25)))
            assert eventually(lambda: indexed(transport, 15))
            # What was on its way; both wrote numbers from 10 on.
            send(courier, *(segment(n) for n in range(10, 13)))
            sent_by_nobody_who_indexes(transport, segment(13, claim=5))
            send(other, segment(25, epoch=20))
            assert eventually(lambda: indexed(transport, 16))
            assert index.unlooked == 0
    found = find(transport, 0, 60)
    assert seconds(found) == [*range(10), *range(20, 26)]
    assert [s.number for s in found.segments] == list(range(16))


def test_of_two_that_sent_one_time_the_higher_claim_counts():
    transport = broker()
    with agent(transport, 5) as (courier, _):
        send(courier, *(segment(n) for n in range(10)))
    with agent(transport, 9) as (courier, _):
        send(courier, *(segment(n, epoch=6) for n in range(6, 12)))
    found = find(transport, 0, 20)
    assert [(s.run.claim, second) for s, second in zip(found.segments, seconds(found), strict=True)] == [
        *((5, n) for n in range(6)),
        *((9, n) for n in range(6, 12)),
    ]


def test_footage_that_is_sent_again_is_there_once():
    transport = broker()
    with agent(transport, 5) as (courier, _):
        send(courier, *(segment(n) for n in range(6)), *(segment(n) for n in range(3, 8)))
    with agent(transport, 9) as (courier, _):
        send(courier, *(segment(n) for n in range(6)))
    assert seconds(find(transport, 0, 20)) == list(range(8))


class Retaining(MemoryTransport):
    """A broker whose retention removes what lies before an offset."""

    kept = 0

    def offsets(self, topic: str) -> Mapping[Partition, tuple[int, int]]:
        bounds = super().offsets(topic)
        return {
            p: (min(self.kept, end), end) if topic == TOPICS.segments else (0, end) for p, (_, end) in bounds.items()
        }


def test_what_retention_has_taken_is_said_and_never_returned_as_if_it_were_there():
    transport = Retaining()
    transport.ensure_topics([Topic(TOPICS.segments, TOPICS.partitions)])
    with agent(transport, 5) as (courier, _):
        send(courier, *(segment(n) for n in range(150)))
    transport.kept = 70
    found = find(transport, 0, 120)
    assert seconds(found) == list(range(70, 120))
    assert min(s.offset for s in found.segments) == 70
    assert (found.gone, found.gaps) == (70, ((BEGIN_US, BEGIN_US + 70 * SECOND_US),))
    transport.kept = 1000
    assert (find(transport, 0, 120).segments, find(transport, 0, 120).gone) == ((), 120)


def test_damaged_records_of_the_index_are_left_out_and_said(caplog):
    transport = broker()
    with agent(transport, 5) as (courier, _):
        send(courier, *(segment(n) for n in range(150)))
    with FootageIndex(transport, TOPICS) as index:
        contents = index.contents("gate")
    partition = (TOPICS.segments_index, contents.index_partition)
    entries = transport._logs[partition]._entries
    at = contents.pages[1].index_offset
    entries[at] = (replace(entries[at][0], value=entries[at][0].value[:-9]), None)
    found = find(transport, 0, 150)
    assert seconds(found) == [*range(60), *range(120, 150)]
    assert found.notes == ("a page of the index with 60 segments cannot be read",)
    assert caplog.text.count(f"{TOPICS.segments_index}[{partition[1]}]@{at}: expected a JSON object") == 1
    # Others under its key, and contents that are none: those of before count.
    for value in (b"{}", b"[" * 100_000, None, b'{"camera":"gate","pages":[[1]]}'):
        transport.append(TOPICS.segments_index, b"gate/5/150", [], value, partition[1])
        transport.append(TOPICS.segments_contents, b"gate", [("claim", b"x")], value)
    assert seconds(find(transport, 0, 150)) == [*range(60), *range(120, 150)]
    with agent(transport, 9) as (courier, _):
        send(courier, segment(150, epoch=150))
    assert [s.number for s in find(transport, 150, 151).segments] == [150]


def test_a_broker_that_refuses_the_index_costs_no_segment_and_what_it_lacks_is_made_up_for(caplog):
    transport, refuses = broker(), [True]

    def connect() -> Transport:
        if refuses[0]:
            raise BrokerError("not allowed")
        return transport

    with agent(transport, 5, connect=connect) as (courier, _):
        send(courier, *(segment(n) for n in range(20)))
        refuses[0] = False
        assert eventually(lambda: indexed(transport, 20))
        send(courier, segment(20))
    assert [s.number for s in find(transport, 0, 60).segments] == list(range(21))


def test_a_segment_of_which_the_broker_does_not_say_where_it_lies_is_looked_for():
    transport = broker()
    with agent(transport, 5) as (courier, _):
        told = courier._told

        def forgetful(waiting) -> None:
            if waiting.place[1] % 3 == 1:
                waiting.place_on_topic = (0, -1)
            told(waiting)

        courier._told = forgetful
        for second in range(12):
            send(courier, segment(second))
        assert eventually(lambda: indexed(transport, 12))
    assert [s.number for s in find(transport, 0, 60).segments] == list(range(12))


def test_more_than_is_looked_through_is_counted_and_said(monkeypatch, caplog):
    monkeypatch.setattr(indexing, "MAX_CATCH_UP_RECORDS", 5)
    transport = broker()
    with agent(transport, 5) as (courier, index):
        send(courier, segment(0))
        assert eventually(lambda: indexed(transport, 1))
        kill(index)
    sent_by_nobody_who_indexes(transport, *(segment(n, claim=5) for n in range(1, 20)))
    with agent(transport, 9) as (_, index):
        index.claimed({"gate": 9}, {"gate": BEGIN_US + 20 * SECOND_US})
        assert eventually(lambda: index.unlooked == 14)
        assert eventually(lambda: indexed(transport, 6))
    assert "@6-19 were not looked through, and its footage up to 2026-11-24T08:00:20.000000Z is not all" in caplog.text
    assert find(transport, 0, 20).gaps == ((BEGIN_US + 6 * SECOND_US, BEGIN_US + 20 * SECOND_US),)


def test_footage_from_before_there_was_an_index_is_said_to_be_unknown(monkeypatch):
    monkeypatch.setattr(indexing, "_UNKNOWN_RECORDS", 5)
    transport = broker()
    sent_by_nobody_who_indexes(transport, *(segment(n) for n in range(20)))
    with agent(transport, 9):
        assert eventually(lambda: indexed(transport, 5))
    found = find(transport, 0, 20)
    assert seconds(found) == list(range(15, 20))
    (note,) = found.notes
    assert note.endswith("@15 is not in the index")
    assert find(transport, 0, 20, "hall").notes == ("the index does not know this camera",)


class Stored:
    """Pages as an index holds them, for a writer alone."""

    def __init__(self, writer: CameraWriter) -> None:
        self.writer, self.log, self.deleted = writer, [], []

    def write(self) -> None:
        for page in self.writer.pages():
            self.log.append(page.encode())
            self.writer.placed(page, len(self.log) - 1)
        if self.writer.is_contents_due:
            if (merged := self.writer.merge(self.load)) is not None:
                self.log.append(merged.page.encode())
                self.deleted += self.writer.merged(merged, len(self.log) - 1)
            self.contents = self.writer.contents(0)

    def load(self, placed) -> IndexPage | None:
        return IndexPage.decode(self.log[placed.index_offset][2], "x")


def test_hours_that_are_over_become_one_page_and_contents_stay_short():
    writer = CameraWriter("gate", 5, 0, Standing(None))
    stored = Stored(writer)
    for second in range(3 * 3600 + 100):
        writer.take(SegmentFacts.of(segment(second, claim=5).encode()[1]), 1, 2 * second)
        if second % 10 == 9:
            stored.write()
    rows = stored.contents.pages
    assert [row.segments for row in rows] == [3600, 3600, 3600, 60]
    pages = [stored.load(row) for row in rows]
    everything = [s for page in pages for s in page.segments]
    assert [(s.number, s.offset) for s in everything] == [(n, 2 * n) for n in range(3 * 3600 + 60)]
    # The key of the first minute is the hour's; those of the others can go.
    assert len(stored.deleted) == 3 * 59
    assert not set(stored.deleted) & {row.key("gate") for row in rows}
    assert len(stored.contents.encode()[2]) < 1000
    assert len(stored.log[rows[0].index_offset][2]) < 3600 * 45


def test_a_writer_that_goes_on_from_contents_and_pages_merges_what_others_wrote():
    first = Stored(CameraWriter("gate", 5, 0, Standing(None)))
    for second in range(1000):
        first.writer.take(SegmentFacts.of(segment(second, claim=5).encode()[1]), 1, second)
        first.write()
    contents = IndexContents.decode(first.contents.encode()[2], "x")
    assert contents == first.contents
    tail = [(n, IndexPage.decode(value, "x")) for n, (*_, value) in enumerate(first.log) if n >= contents.index_offset]
    standing = Standing(contents, standing_tail(contents, tail))
    second_one = Stored(CameraWriter("gate", 9, 0, standing))
    second_one.log = first.log
    assert second_one.writer.next_offset == 1000
    for second in range(3500, 3700):
        second_one.writer.take(SegmentFacts.of(segment(second, claim=9, epoch=3500).encode()[1]), 1, second)
        second_one.write()
    rows = second_one.contents.pages
    assert [row.segments for row in rows] == [1100, 60]
    assert [s.number for s in second_one.load(rows[0]).segments] == list(range(1100))


def test_the_oldest_pages_are_named_no_more_and_counted_where_they_are_too_many(monkeypatch):
    monkeypatch.setattr(writer_module, "MAX_PAGES", 5)
    stored = Stored(CameraWriter("gate", 5, 0, Standing(None)))
    for hour in range(9):
        for second in range(3):
            facts = SegmentFacts.of(segment(hour * 3600 + second, claim=5).encode()[1])
            stored.writer.take(facts, 1, hour * 3 + second)
        stored.write()
    assert (len(stored.contents.pages), stored.contents.dropped) == (5, 9)


def test_groups_of_pictures_over_several_segments_come_with_their_begin():
    transport = broker()
    with agent(transport, 5) as (courier, _):
        for second in range(130):
            begins = second % 40 == 0
            made = segment(
                second,
                decode_from_us=None if begins else BEGIN_US + second // 40 * 40 * SECOND_US,
                continued=second % 40 != 39,
            )
            send(courier, made)
    found = find(transport, 65, 66)
    assert [s.sequence for s in found.context] == list(range(40, 65))
    assert [(s.begins, s.continued) for s in (found.context[0], found.segments[0])] == [(True, True), (False, True)]
    # The begin lies on a page of the minute before.
    assert [s.sequence for s in find(transport, 79, 80).context] == list(range(40, 79))
    assert find(transport, 80, 81).context == ()


def test_a_group_of_pictures_goes_on_over_an_epoch():
    transport = broker()
    with agent(transport, 5) as (courier, _):
        send(courier, *(segment(n, decode_from_us=BEGIN_US if n else None, continued=True) for n in range(5)))
        send(courier, segment(5, epoch=5, sequence=5, decode_from_us=BEGIN_US))
    assert [s.sequence for s in find(transport, 5, 6).context] == [0, 1, 2, 3, 4]


def test_of_a_group_of_pictures_that_lacks_a_segment_no_context_is_given():
    transport = broker()
    with agent(transport, 5) as (courier, _):
        for second in (0, 1, 3, 4):
            send(courier, segment(second, decode_from_us=None if second == 0 else BEGIN_US, continued=True))
    assert find(transport, 4, 5).context == ()
    assert len(find(transport, 1, 2).context) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"runs": []},
        {"runs": [7]},
        {"camera": "a/b"},
        {"partition": -1},
        {"number": True},
        {"claim": 1 << 70},
        {"runs": [{"epoch_us": 0}]},
    ],
)
def test_a_page_that_is_none_says_what_is_wrong_with_it(change):
    page = IndexPage("gate", 5, find_page().segments)
    body = json.loads(page.encode()[2])
    assert IndexPage.decode(json.dumps(body).encode(), "x") == page
    with pytest.raises(RecordError, match=r"^x: "):
        IndexPage.decode(json.dumps(body | change).encode(), "x")
    body["runs"][0]["segments"][0][2] = -1
    with pytest.raises(RecordError, match=r"^x: expected 6 whole numbers of a segment"):
        IndexPage.decode(json.dumps(body).encode(), "x")


def find_page() -> IndexPage:
    writer = CameraWriter("gate", 5, 0, Standing(None))
    for second in range(3):
        writer.take(SegmentFacts.of(segment(second, claim=5).encode()[1]), 1, second)
    (page,) = writer.pages()
    return page


def test_an_answer_counts_what_is_gone_only_within_the_interval():
    segments = find_page().segments
    found = answer("gate", (BEGIN_US + SECOND_US, BEGIN_US + 3 * SECOND_US), segments, {1: 2})
    assert (len(found.segments), found.gone, found.covered_us) == (1, 1, SECOND_US)


def test_records_that_are_no_segments_are_passed_over(caplog):
    caplog.set_level(logging.INFO)
    transport = broker()
    transport.append(TOPICS.segments, b"gate", [("sequence", b"x")], b"y")
    sent_by_nobody_who_indexes(transport, segment(0))
    with agent(transport, 9):
        assert eventually(lambda: indexed(transport, 1))
    assert "1 segments that were not in the index are" in caplog.text


def test_what_is_written_is_what_the_contract_says():
    first = Stored(CameraWriter("gate", 5, 0, Standing(None)))
    for second in range(70):
        first.writer.take(SegmentFacts.of(segment(second, claim=5).encode()[1]), 1, second)
        first.write()
    for name, value in (
        ("indexPage", first.log[-1][2]),
        ("indexContents", first.contents.encode()[2]),
        ("indexContents", CameraWriter("gate", 5, 0, Standing(None)).contents(0).encode()[2]),
    ):
        contract("indexContents", "headers").validate({n: v.decode() for n, v in first.contents.encode()[1]})
        body = json.loads(value)
        contract(name, "payload").validate(body)
        assert ASYNCAPI["components"]["messages"][name]["payload"]["properties"].keys() == body.keys()
    assert json.loads(first.contents.encode()[2])["pages"]


def test_hours_of_a_camera_are_merged_on_the_broker_and_all_is_found():
    transport = broker()
    with agent(transport, 5) as (courier, _):
        for start in range(0, 3 * 3600, 600):
            long = [segment(n, end_us=BEGIN_US + (n + 20) * SECOND_US) for n in range(start, start + 600, 20)]
            send(courier, *long)
            assert eventually(lambda count=(start + 600) // 20: indexed(transport, count))
    with FootageIndex(transport, TOPICS) as index:
        contents = index.contents("gate")
    assert [page.segments for page in contents.pages][:2] == [180, 180]
    found = find(transport, 0, 3 * 3600)
    assert (found.gaps, [s.number for s in found.segments]) == ((), list(range(540)))
    gone = [r for r in transport.read({(TOPICS.segments_index, contents.index_partition): (0, 1 << 40)}) if not r.value]
    assert len(gone) == 2 * 59


def test_a_replay_by_time_reads_what_the_index_names_and_the_same_as_without_it():
    transport = Counting()
    transport.ensure_topics([Topic(TOPICS.segments, TOPICS.partitions)])
    with agent(transport, 5) as (courier, _):
        send(courier, *(segment(n, epoch=0) for n in range(200)))
    source = f"kafka://{TOPICS.segments}?camera=gate&from={rfc3339(BEGIN_US + 60 * SECOND_US)}&to="

    def times(to: int, of: Transport) -> list[int]:
        asked = source + rfc3339(BEGIN_US + to * SECOND_US)
        ((recording,), _) = find_recordings([asked], None, None, SegmentLimits(), lambda: of)
        return [(s.start_us - BEGIN_US) // SECOND_US for s in recording.pieces[0].segments("x")]

    transport.bodies = 0
    # One that ends where the interval begins is of it.
    assert times(70, transport) == list(range(59, 70))
    # Once to see what is there, once to replay it; nothing of what was sent before and since.
    assert transport.bodies == 2 * 11
    without = broker()
    sent_by_nobody_who_indexes(without, *(segment(n, claim=5) for n in range(200)))
    assert times(70, without) == list(range(59, 70))
    # What is not all there is looked for in all that was sent.
    assert times(300, transport) == list(range(59, 200)) == times(300, without)
