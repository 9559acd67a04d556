"""Footage of a run is sent once, whoever dies amid it."""

from __future__ import annotations

import itertools
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from consumers.records.prediction import Prediction
from consumers.settings import Settings, TopicSettings
from stream import (
    Beginning,
    FleetCamera,
    KafkaTransport,
    MemoryTransport,
    Record,
    Segment,
    SegmentLimits,
    SourceError,
    Topic,
    Transport,
    attach,
    attach_all,
)
from stream.feeds import agent
from tests.test_run import needs_proc, running
from tests.videos import write_video
from tests.waiting import eventually

QUICK = {"options": {"bf": "0", "preset": "ultrafast", "sc_threshold": "0"}, "rate": 10, "gop": 10, "size": (64, 48)}
LIMITS = SegmentLimits(min_seconds=0.9, max_seconds=2.0)


def stored(transport: Transport, topic: str) -> list[Record]:
    if not transport.existing([topic]):
        return []
    bounds = transport.offsets(topic)
    return list(transport.read({each: limits for each, limits in bounds.items() if limits[0] < limits[1]}))


def segments_of(transport: Transport, topic: str, camera: str = "gate") -> list[Segment]:
    found = [Segment.decode(each.key, each.headers, each.value, each.where) for each in stored(transport, topic)]
    return [each for each in found if each.camera == camera]


def claims_of(transport: Transport, topic: str) -> int:
    """How many agents have sent something."""
    return len({each.claim for each in segments_of(transport, topic)})


def predictions_of(transport: Transport, topic: str) -> list[Prediction]:
    return [Prediction.decode(each.key, each.headers, each.value, each.where) for each in stored(transport, topic)]


def memory() -> MemoryTransport:
    transport = MemoryTransport()
    transport.ensure_topics([Topic("segments", 1)])
    return transport


def sent_at_once(film: Path, begun: Beginning, limits: SegmentLimits = LIMITS) -> list[Segment]:
    transport = memory()
    attach(str(film), "gate", transport.producer(), "segments", pace="max", start_us=begun.time_us, limits=limits)
    return segments_of(transport, "segments")


def sent_by_a_fleet(film: Path, begun: Beginning, end_us: int = 0) -> list[Segment]:
    transport = memory()
    attach_all(
        [FleetCamera("gate", str(film), end_us=end_us)], transport.producer(), "segments", limits=LIMITS, begun=begun
    )
    return segments_of(transport, "segments")


@pytest.fixture
def film(tmp_path) -> Path:
    return write_video(tmp_path / "film.mp4", 100, **QUICK)


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "films").mkdir()
    for name in ("a", "b"):
        write_video(tmp_path / "films" / f"{name}.mp4", 50, **QUICK)
    return tmp_path / "films"


def ago(seconds: float) -> Beginning:
    now = Beginning.now()
    return Beginning(now.time_us - round(seconds * 1e6), now.clock - seconds)


@pytest.mark.parametrize("source", ["film", "folder"])
def test_footage_goes_on_behind_what_was_sent_and_what_is_due_is_sent_at_once(source, request):
    path, begun = request.getfixturevalue(source), ago(9.0)
    whole = sent_at_once(path, begun)
    data = [each for each in whole if not each.is_end]
    for count in (0, 1, len(data) - 1):
        end_us = data[count - 1].end_us if count else 0
        began = time.monotonic()
        rest = sent_by_a_fleet(path, begun, end_us)
        # Ten seconds of which nine are over: far from real time, and not sooner than its end.
        assert time.monotonic() - began < 8
        assert begun.late_seconds(data[-1].end_us) > 0 or begun.late_seconds(data[-1].start_us) > 0
        assert rest == [each for each in whole if each.end_us > end_us or (each.is_end and each.end_us == end_us)]


def test_of_footage_that_was_sent_only_its_end_is_said_again(film):
    begun = ago(60.0)
    whole = sent_at_once(film, begun)
    assert whole[-1].is_end
    assert sent_by_a_fleet(film, begun, whole[-1].end_us) == whole[-1:]


def test_what_was_sent_of_a_time_that_is_still_to_come_is_other_footage(film):
    begun = ago(60.0)
    ahead_us = time.time_ns() // 1000 + 3_600_000_000
    sent = sent_by_a_fleet(film, begun, ahead_us)
    assert sum(each.frames for each in sent) == 100
    assert sent[0].start_us >= ahead_us


def test_footage_that_breaks_off_is_sent_once_however_often_it_is_tried(film, monkeypatch):
    monkeypatch.setattr(agent, "RECONNECT_SECONDS", (0.05, 0.1))
    begun, tries = ago(60.0), 0
    whole = sent_at_once(film, begun)
    packets = agent.Feed.packets

    def breaking(feed):
        for number, packet in enumerate(packets(feed)):
            if number == 55 and tries < 3:
                raise SourceError("broken here", cause="broken")
            yield packet

    def counted(*given, **named):
        nonlocal tries
        tries += 1
        return opened(*given, **named)

    opened = agent.Footage
    monkeypatch.setattr(agent, "Footage", counted)
    monkeypatch.setattr(agent.Feed, "packets", breaking)
    sent = [each for each in sent_by_a_fleet(film, begun) if not each.is_end]
    assert tries == 3
    # That in which it broke off was sent as far as it went, and comes whole: workers know it by its beginning.
    broken = 5
    assert sent == [*sent[: broken + 1], *(each for each in whole[broken:] if not each.is_end)]
    assert sent[:broken] == whole[:broken]
    assert (sent[broken].start_us, sent[broken].frames) == (whole[broken].start_us, 5)


@pytest.mark.slow
@needs_proc
def test_an_agent_that_is_killed_amid_a_film_sends_and_reports_nothing_twice(tmp_path, embedded_broker, redis_url):
    prefix = f"go-on-{tmp_path.name}"
    film = write_video(tmp_path / "film.mp4", 400, **QUICK)
    settings = f"""
        kafka = "{embedded_broker.address}"
        redis = "{redis_url}"
        [topics]
        prefix = "{prefix}"
        [cameras.gate]
        url = "{film}"
        [run]
        services = "own"
        [worker]
        model = "movenet-motion"
    """
    topics = Settings(topics=TopicSettings(prefix=prefix)).topics
    transport = KafkaTransport(embedded_broker.address)
    with running(tmp_path, settings) as run:
        run.until("gate: live")
        for lives in (1, 2):
            assert eventually(lambda lives=lives: claims_of(transport, topics.segments) == lives)
            (killed,) = run.pids("running.child agent")
            os.kill(killed, signal.SIGKILL)
            assert eventually(lambda killed=killed: run.pids("running.child agent") not in ([], [killed]))
        run.until("gate: the footage is over")
        sent = segments_of(transport, topics.segments)
        told = []

        def all_told() -> bool:
            told[:] = predictions_of(transport, topics.predictions)
            return bool(told) and max(each.end_us for each in told) > sent[-1].end_us - 1_500_000

        assert eventually(all_told, 90)
        assert run.end() == 0
    begun = Beginning(sent[0].start_us, 0.0)
    plain = [replace(each, claim=0) for each in sent]
    assert plain == sent_at_once(film, begun, SegmentLimits())
    assert claims_of(transport, topics.segments) == 3
    starts = sorted(each.start_us for each in told)
    strides = {later - earlier for earlier, later in itertools.pairwise(starts)}
    # Each window once, and none is missing.
    assert len(strides) == 1
    assert min(strides) > 0
    assert starts[0] == begun.time_us
