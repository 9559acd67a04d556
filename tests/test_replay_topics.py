"""A part of a topic is found by its time without reading what was sent before, and nothing of it is left out."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from kafka import KafkaProducer

from consumers.live.worker import Worker
from consumers.replaying.footage import topic_pieces
from consumers.replaying.footage.sources import find_recordings
from consumers.replaying.footage.topic_pieces import TopicPiece
from consumers.topics import ensure_topics
from stream import KafkaTransport, MemoryTransport, Partition, Record, Segment, SegmentLimits, Topic, attach
from tests.replays import RULES, SETTINGS, SPEC, Brightness, Overheard, blinking, replayed, said, told, work_off
from tests.videos import write_video

MINUTE_US = 60_000_000
MINUTES = 1500  # a day and an hour


class Reading(KafkaTransport):
    """A real broker, and a note of the offsets that were read."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.read_offsets: list[int] = []

    def read(self, ranges: Mapping[Partition, tuple[int, int]]) -> Iterator[Record]:
        for record in super().read(ranges):
            self.read_offsets.append(record.offset)
            yield record


def record(address: str, topic: str, begin_us: int, sent_us: Callable[[Segment], int]) -> None:
    """A day of two cameras, a segment a minute each, sent when `sent_us` says so."""
    KafkaTransport(address).ensure_topics([Topic(topic, 1)])
    producer = KafkaProducer(bootstrap_servers=[address])
    for number in range(MINUTES):
        start_us = begin_us + number * MINUTE_US
        for camera in ("gate", "hall"):
            segment = Segment(
                camera, begin_us, number, start_us, start_us + MINUTE_US, "mpegts", "h264", 64, 48, 1, 0, b"picture"
            )
            key, headers, value = segment.encode()
            producer.send(topic, key=key, headers=headers, value=value, timestamp_ms=sent_us(segment) // 1000)
    producer.flush()
    producer.close()


def found(transport: KafkaTransport, topic: str, begin_us: int, query: str) -> list[int]:
    """The minutes of the day that a source holds."""
    recordings, _ = find_recordings([f"kafka://{topic}?{query}"], None, None, SegmentLimits(), lambda: transport)
    minutes = set()
    for recording in recordings:
        (piece,) = recording.pieces
        assert isinstance(piece, TopicPiece)
        for segment in piece.segments("x"):
            assert isinstance(segment, Segment)
            minutes.add((segment.start_us - begin_us) // MINUTE_US)
    return sorted(minutes)


def at(begin_us: int, minute: int) -> str:
    return (dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=begin_us + minute * MINUTE_US)).strftime(
        "%Y-%m-%dT%H:%M:%S.%fZ"
    )


@pytest.fixture
def begin_us() -> int:
    """A day and two hours ago: what a broker keeps by default, and takes as a time."""
    return (time.time_ns() // 1000 // MINUTE_US - MINUTES - 60) * MINUTE_US


# A segment whose end is the begin of the interval, too, as everywhere.
WANTED = list(range(1199, 1230))


@pytest.mark.slow
def test_an_interval_is_sought_by_time_and_what_was_sent_before_is_not_read(
    apache_broker, topics_prefix: str, begin_us: int
):
    """Apache Kafka takes a producer's word for when a record was sent; the embedded broker looks at its own clock."""
    record(apache_broker.address, topics_prefix, begin_us, lambda segment: segment.end_us)
    transport = Reading(apache_broker.address)
    interval = f"from={at(begin_us, 1200)}&to={at(begin_us, 1230)}"
    for camera in ("camera=gate&", ""):
        transport.read_offsets.clear()
        assert found(transport, topics_prefix, begin_us, camera + interval) == WANTED
        # An hour and 128 records before, and not the day.
        assert min(transport.read_offsets) >= 2 * (1200 - 60) - 130
    with pytest.raises(Exception, match="the topic holds no such footage"):
        found(transport, topics_prefix, begin_us, f"from={at(begin_us, MINUTES + 60)}")


def test_what_a_camera_sends_now_is_sought_by_time(broker, topics_prefix: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(topic_pieces, "_AHEAD_US", 0)
    monkeypatch.setattr(topic_pieces, "_LOOK_BACK", 4)
    transport = Reading(broker.address)
    transport.ensure_topics([Topic(topics_prefix, 1)])
    producer = transport.producer()
    begin_us = end_us = time.time_ns() // 1000
    ends_us = []
    for number in range(40):
        time.sleep(0.02)
        start_us, end_us = end_us, time.time_ns() // 1000
        ends_us.append(end_us)
        segment = Segment("gate", begin_us, number, start_us, end_us, "mpegts", "h264", 64, 48, 1, 0, b"picture")
        producer.send(topics_prefix, *segment.encode())
        producer.flush()
    producer.close()
    moment = dt.datetime.fromtimestamp((ends_us[29] + 1) / 1e6, dt.UTC).isoformat().replace("+00:00", "Z")
    recordings, _ = find_recordings(
        [f"kafka://{topics_prefix}?camera=gate&from={moment}"], None, None, SegmentLimits(), lambda: transport
    )
    assert len(list(recordings[0].pieces[0].segments("x"))) == 10
    assert 20 <= min(transport.read_offsets) <= 30


@pytest.mark.slow
def test_footage_that_was_sent_ahead_of_its_time_is_found(broker, topics_prefix: str, begin_us: int):
    """`attach --start now --pace max`: a day of footage is sent within seconds of its begin."""
    record(broker.address, topics_prefix, begin_us, lambda _: begin_us)
    transport = Reading(broker.address)
    interval = f"from={at(begin_us, 1200)}&to={at(begin_us, 1230)}"
    assert found(transport, topics_prefix, begin_us, f"camera=gate&{interval}") == WANTED
    assert found(transport, topics_prefix, begin_us, interval) == WANTED


def test_an_archive_that_was_sent_long_after_is_found(broker, topics_prefix: str, begin_us: int):
    record(broker.address, topics_prefix, begin_us, lambda segment: begin_us + 26 * 60 * MINUTE_US + segment.sequence)
    interval = f"from={at(begin_us, 1200)}&to={at(begin_us, 1230)}"
    assert found(KafkaTransport(broker.address), topics_prefix, begin_us, f"camera=gate&{interval}") == WANTED


def segments_of(film: Path, start_us: int, claim: int) -> list[Segment]:
    memory = MemoryTransport()
    ensure_topics(memory, SETTINGS.topics)
    limits, topic = SETTINGS.segments.limits, SETTINGS.topics.segments
    attach(str(film), "gate", memory.producer(), topic, limits=limits, pace="max", start_us=start_us)
    stored = memory.read(memory.offsets(topic))
    return [replace(Segment.decode(r.key, r.headers, r.value, r.where), claim=claim) for r in stored]


@pytest.mark.parametrize("offset_us", [-30_000_000, 0, 700_000, 30_000_000])
def test_of_a_camera_that_another_agent_took_over_a_replay_says_what_the_worker_said(tmp_path, offset_us):
    """The first agent does not hear of it for a while, and goes on: what it sends then counts for neither."""
    film = write_video(tmp_path / "film.mp4", 160, rate=10, gop=4, size=(64, 48), frame=blinking((20, 60), (90, 140)))
    start_us = 1_700_000_000_000_000
    first, second = segments_of(film, start_us, 5), segments_of(film, start_us + offset_us, 8)
    sent = [*first[:4], *second[:4], *first[4:6], *second[4:6], *first[6:], *second[6:]]
    transport = MemoryTransport()
    ensure_topics(transport, SETTINGS.topics)
    for segment in sent:
        transport.append(SETTINGS.topics.segments, *segment.encode())
    heard = Overheard(transport)
    worker = Worker(heard, Brightness(), SPEC, RULES, SETTINGS)
    work_off(worker)
    assert worker.counts["gate"].skipped["fenced"] == sum(s.frames for s in first[4:])
    replay = replayed([f"kafka://{SETTINGS.topics.segments}"], tmp_path / "traces", transport=transport)
    assert said(replay, "gate") == ([told(p) for p in heard.predictions], [told(e) for e in heard.events])
    assert heard.events


def test_the_first_segment_of_an_epoch_is_not_lost_where_its_agent_died_behind_it(tmp_path):
    film = write_video(tmp_path / "film.mp4", 60, rate=10, gop=16, size=(64, 48), frame=blinking((20, 60)))
    start_us = 1_700_000_000_000_000
    epochs = [segments_of(film, start_us + n * 20_000_000, claim) for n, claim in enumerate((5, 5, 8))]
    transport = MemoryTransport()
    ensure_topics(transport, SETTINGS.topics)
    for segment in [*epochs[0][:3], epochs[1][0], *epochs[2]]:
        transport.append(SETTINGS.topics.segments, *segment.encode())
    heard = Overheard(transport)
    work_off(Worker(heard, Brightness(), SPEC, RULES, SETTINGS))
    replay = replayed([f"kafka://{SETTINGS.topics.segments}"], tmp_path / "traces", transport=transport)
    assert said(replay, "gate") == ([told(p) for p in heard.predictions], [told(e) for e in heard.events])
    assert {p.epoch_us for p in heard.predictions} == {segments[0].epoch_us for segments in epochs}


YEAR_US = 365 * 24 * 3600 * 1_000_000


def moved(segment: Segment, by_us: int, **more: int) -> Segment:
    return replace(
        segment,
        epoch_us=segment.epoch_us + by_us,
        start_us=segment.start_us + by_us,
        end_us=segment.end_us + by_us,
        **more,
    )


#: By name: what strays, made of a film's segments, and behind which of them it comes.
STRAYS: dict[str, Callable[[list[Segment]], tuple[Segment, int]]] = {
    "years ahead": lambda film: (moved(film[2], 9 * YEAR_US), 3),
    "years ago": lambda film: (moved(film[2], -9 * YEAR_US), 3),
    "a leap amid the epoch": lambda film: (
        replace(film[5], start_us=film[5].start_us + YEAR_US, end_us=film[5].end_us + YEAR_US),
        3,
    ),
    "a number that comes too soon": lambda film: (replace(film[4], sequence=5_000_000), 3),
    "other bytes": lambda film: (replace(film[1], data=film[2].data), 3),
    "runs backwards": lambda film: (moved(film[4], -60_000_000, sequence=film[4].sequence + 1), 5),
}


@pytest.mark.parametrize("stray", STRAYS)
def test_of_segments_with_forged_times_a_replay_says_what_the_worker_said(tmp_path, stray):
    film = write_video(tmp_path / "film.mp4", 160, rate=10, gop=4, size=(64, 48), frame=blinking((20, 60), (90, 140)))
    segments = segments_of(film, 1_700_000_000_000_000, 0)
    forged, behind = STRAYS[stray](segments)
    transport = MemoryTransport()
    ensure_topics(transport, SETTINGS.topics)
    for segment in [*segments[:behind], forged, *segments[behind:]]:
        transport.append(SETTINGS.topics.segments, *segment.encode())
    heard = Overheard(transport)
    work_off(Worker(heard, Brightness(), SPEC, RULES, SETTINGS))
    replay = replayed([f"kafka://{SETTINGS.topics.segments}"], tmp_path / "traces", transport=transport)
    assert said(replay, "gate") == ([told(p) for p in heard.predictions], [told(e) for e in heard.events])
    assert heard.events
    assert replay.seconds < 20


class Sent(MemoryTransport):
    """Where each record was sent so long after the one before."""

    seconds = 2

    def read(self, ranges: Mapping[Partition, tuple[int, int]]) -> Iterator[Record]:
        for each in super().read(ranges):
            yield replace(each, sent_us=1_700_000_000_000_000 + each.offset * self.seconds * 1_000_000)


def test_a_forged_time_before_all_others_costs_no_more_than_the_time_in_which_its_camera_falls_silent(tmp_path):
    film = write_video(tmp_path / "film.mp4", 900, rate=10, gop=4, size=(64, 48), frame=blinking((700, 740)))
    segments = segments_of(film, 1_700_000_000_000_000, 0)
    transport = Sent()
    transport.ensure_topics([Topic(SETTINGS.topics.segments, 1)])
    for segment in [moved(segments[2], 9 * YEAR_US), *segments]:
        transport.append(SETTINGS.topics.segments, *segment.encode())
    replay = replayed([f"kafka://{SETTINGS.topics.segments}"], tmp_path / "traces", transport=transport)
    (timeline,) = replay.timelines
    assert timeline.seconds > 0.5 * 90
    predictions, events = said(replay, "gate")
    assert predictions
    assert events
