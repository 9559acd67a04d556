"""Before and while a camera is attached by hand: who reads it, where its footage ends, and what it does not give."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import Console

from consumers.outputs.states import ensure_state_topics, reported_camera
from consumers.records.states.camera_claim import CameraClaim
from consumers.records.states.camera_state import CameraState
from consumers.records.states.process import ProcessInfo
from consumers.running.sending.claims import ClaimWatch, claim_cameras, holder_of, newest_ends, read_claims, reader_of
from consumers.settings import TopicSettings
from consumers.terminal.printing.attaching import QuietNotes
from consumers.topics import ensure_topics
from stream import Attached, FeedState, KafkaTransport, MemoryTransport, Segment
from tests.command_line import clipline
from tests.videos import write_video
from tests.waiting import eventually

ELSEWHERE = ProcessInfo("hub-4711", "hub", 4711, "1.0", 0)


def now_us() -> int:
    return time.time_ns() // 1000


def state(camera: str = "gate", status="live", agent: ProcessInfo = ELSEWHERE, age: float = 0.0, end_us: int = 0):
    feed = FeedState(camera, status, since_us=0, end_us=end_us)
    return CameraState(feed, agent, now_us() - round(age * 1e6))


def segment(camera: str, end_us: int) -> Segment:
    return Segment(camera, end_us - 1000, 0, end_us - 1000, end_us, "mpegts", "h264", 64, 48, 1, 0, b"x")


@pytest.mark.parametrize(
    ("found", "agent"),
    [
        (None, None),
        ({}, ELSEWHERE),
        ({"status": "failed"}, ELSEWHERE),
        ({"status": "ended"}, None),
        ({"age": 60}, None),
        ({"agent": replace(ProcessInfo.current(), pid=2**22 - 1)}, None),
    ],
    ids=["unknown", "live", "failed", "ended", "old", "dead"],
)
def test_a_camera_is_taken_while_another_agent_lives_and_says_so(found, agent):
    # Made here: a state is fresh for seconds, and collecting tests may take longer.
    assert reader_of(None if found is None else state(**found)) == agent


def test_where_a_camera_ends_is_told_by_its_state_and_by_what_was_sent_since():
    topics, transport = TopicSettings(), MemoryTransport()
    ensure_topics(transport, topics)
    producer = transport.producer()
    for camera, end_us in (("gate", 7_000_000), ("gate", 9_000_000), ("yard", 8_000_000), ("shed", 9_000_000)):
        producer.send(topics.segments, *segment(camera, end_us).encode())
    producer.send(topics.segments, b"gate", [], b"no segment")
    states = {
        "gate": state("gate", age=3, end_us=5_000_000),
        "yard": state("yard", status="ended", end_us=8_000_000),
        "shed": state("shed", age=3600, end_us=4_000_000),
    }
    assert newest_ends(transport, topics, states, ["gate", "yard", "shed", "new"]) == {
        "gate": 9_000_000,
        "yard": 8_000_000,
        "shed": 4_000_000,
        "new": 0,
    }


def test_attach_refuses_a_camera_that_another_agent_reads(embedded_broker, tmp_path, topics_prefix):
    film = write_video(tmp_path / "gate.mp4", 10)
    settings = tmp_path / "clipline.toml"
    settings.write_text(f'[topics]\nprefix = "{topics_prefix}"\n')
    topics, transport = TopicSettings(prefix=topics_prefix), KafkaTransport(embedded_broker.address)
    ensure_state_topics(transport, topics)
    producer = transport.producer()
    producer.send(topics.cameras_state, *state().encode())
    producer.close()
    call = ("attach", str(film), "--settings", str(settings), "--kafka", embedded_broker.address)
    refused = clipline(*call)
    assert refused.returncode == 2
    assert "camera gate: hub-4711 (process 4711 on hub) reads it already" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    assert clipline(*call, "--camera", "gate-2", "--pace", "max").returncode == 0


def said(tell: Callable[[QuietNotes], None]) -> list[str]:
    out = io.StringIO()
    tell(QuietNotes(Console(file=out, width=200)))
    return out.getvalue().splitlines()


def test_a_camera_that_gives_nothing_is_said_with_why_and_since_when_and_when_it_is_back():
    at = 1_800_000_000_000_000
    quiet = FeedState("gate[/b]", "failed", at + 10_000_000, why="connection refused", data_us=at)

    def tell(notes: QuietNotes) -> None:
        for one in (
            FeedState("gate[/b]", "live", at, data_us=at),
            quiet,
            quiet,
            replace(quiet, why="no answer for 10 s"),
            replace(quiet, status="connecting"),
            replace(quiet, status="live", why=None, data_us=at + 45_000_000),
            replace(quiet, status="ended", why="the agent stopped"),
        ):
            notes.hear(one)

    assert said(tell) == [
        "gate[/b]: no data since 2027-01-15 08:00:00 (connection refused)",
        "gate[/b]: no data since 2027-01-15 08:00:00 (no answer for 10 s)",
        "gate[/b]: live again, after 45 s",
    ]


def test_a_camera_that_never_gave_anything_is_said_while_it_is_attached():
    heard: list[FeedState] = []
    with reported_camera(
        MemoryTransport, TopicSettings(), "gate", ELSEWHERE, quiet_seconds=0.3, hear=heard.append
    ) as watch:
        watch.update(Attached(problem="connection refused"))
        assert eventually(lambda: any(one.status == "failed" for one in heard))
    assert [one.why for one in heard if one.status == "failed"][:1] == ["connection refused"]


def agent(number: int) -> ProcessInfo:
    return ProcessInfo(f"hub-{number}", "hub", number, "1.0", number)


def claims_topic() -> tuple[MemoryTransport, TopicSettings]:
    transport, topics = MemoryTransport(), TopicSettings()
    ensure_state_topics(transport, topics)
    return transport, topics


def test_claims_grow_also_where_the_clock_of_the_one_before_was_ahead():
    transport, topics = claims_topic()
    producer = transport.producer()
    ahead = CameraClaim("gate", now_us() + 3_600_000_000, agent(1), 0)
    producer.send(topics.cameras_claims, *ahead.encode())
    before = read_claims(transport, topics)
    ours, lost = claim_cameras(transport, producer, topics, ["gate", "yard"], agent(2), before)
    assert (ours["gate"].claim, lost) == (ahead.claim + 1, {})
    assert abs(ours["yard"].claim - now_us()) < 5_000_000
    assert read_claims(transport, topics) == ours


@pytest.mark.parametrize("seconds", [-3600, 0, 3600])
def test_of_two_agents_at_the_same_instant_exactly_one_goes_on_whatever_their_clocks_say(seconds, monkeypatch):
    transport, topics = claims_topic()
    producer = transport.producer()
    before = read_claims(transport, topics)
    real = time.time_ns
    with ClaimWatch(lambda: transport, topics, agent(1)) as first:
        ours, lost = claim_cameras(transport, producer, topics, ["gate"], agent(1), before)
        assert not lost
        first.add(ours)
        time.sleep(0.05)
        monkeypatch.setattr(time, "time_ns", lambda: real() + seconds * 10**9)
        theirs, refused = claim_cameras(transport, producer, topics, ["gate"], agent(2), before)
        # The first one is stopped at some time, or never: a moment has to do for that.
        eventually(lambda: first.taken_by("gate") is not None, 1.5 if refused else 20)
        stopped = first.taken_by("gate")
    assert (stopped is None) != (not refused)
    if refused:
        assert refused["gate"].agent == agent(1)
        # The one that holds is the newest record: compaction keeps it.
        (*_, newest) = transport.read_to_end([(topics.cameras_claims, 0)])
        assert CameraClaim.decode(newest.value, "x") == ours["gate"]
    else:
        assert stopped == agent(2)
        assert read_claims(transport, topics) == theirs


def test_who_has_claimed_a_camera_and_said_nothing_yet_has_it():
    claim = CameraClaim("gate", 7, ELSEWHERE, now_us())
    assert holder_of(claim, None) == ELSEWHERE
    assert holder_of(replace(claim, time_us=now_us() - 60_000_000), None) is None
    assert holder_of(claim, state(status="ended")) is None
    assert holder_of(replace(claim, agent=agent(3)), state(status="ended", age=5)) == agent(3)


def test_a_record_that_is_no_claim_is_left_out(caplog):
    transport, topics = claims_topic()
    producer = transport.producer()
    for value in (b"{}", b"x", b'{"claim": 1e400}', None):
        producer.send(topics.cameras_claims, b"gate", [], value)
    assert read_claims(transport, topics) == {}
    assert caplog.text.count("left out") == 3
