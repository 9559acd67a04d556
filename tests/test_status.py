"""`clipline status`: from records on topics to a table, a sentence and an exit code."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
import yaml
from rich.console import Console

from consumers.live.figures.snapshot import CameraSnapshot, WorkerSnapshot
from consumers.outputs.states import CameraReporter, ensure_state_topics, reported_camera, worker_state
from consumers.records.delivery import Delivery
from consumers.records.fields import RecordError
from consumers.records.prediction import Prediction
from consumers.records.states.camera_state import CameraState
from consumers.records.states.process import ProcessInfo
from consumers.records.states.worker_state import WorkerCamera, WorkerState
from consumers.running import state_topics
from consumers.running.newest_states import States
from consumers.running.overview import overview
from consumers.running.state_topics import StatesFollower, read_states
from consumers.settings import TopicSettings, WorkerSettings
from consumers.terminal.run_view import PlainRun
from consumers.terminal.status_view import StatusView
from stream import Attached, FeedState, KafkaTransport, MemoryTransport, Record
from tests.snapshots import event

NOW_US = 1_795_838_400_000_000
AGENT = ProcessInfo("hub-agent", "hub", 41, "0.1.0", NOW_US - 3_600_000_000)
WORKER = ProcessInfo("hub-worker-1", "hub", 42, "0.1.0", NOW_US - 3_600_000_000)


def ago(seconds: float) -> int:
    return NOW_US - round(seconds * 1e6)


def camera(name: str, status: str = "live", *, age: float = 1.0, agent: ProcessInfo = AGENT, **feed) -> CameraState:
    known = {"since_us": ago(600), "data_us": ago(1), "segments": 9, "frames": 900, "bytes": 1_000_000}
    known |= {"frames_per_second": 25.0, "codec": "h264", "width": 1920, "height": 1080, **feed}
    return CameraState(FeedState(name, status, **known), agent, ago(age))


def classified(name: str, *, behind: float | None = 0.4, label: str = "normal", events=()) -> WorkerCamera:
    return WorkerCamera(name, 0, 0.5, behind, label, 0.98, ago(2), tuple(events))


def worker(*cameras: WorkerCamera, age: float = 1.0, **other) -> WorkerState:
    known = {"status": "working", "group": "clipline-classify", "model": "movenet-motion-42c84c9e"}
    known |= {"engine": "openvino-bf16", "lag": 0, "worker": WORKER, **other}
    return WorkerState(cameras=cameras, time_us=ago(age), **known)


def states(*records: CameraState | WorkerState) -> States:
    found = States()
    for record in records:
        if isinstance(record, CameraState):
            found.cameras[record.feed.camera] = record
        else:
            found.workers[record.worker.id] = record
    return found


def problems(*records: CameraState | WorkerState) -> list[str]:
    return list(overview(states(*records), NOW_US).problems)


def test_records_decode_to_what_was_encoded():
    one, other = camera("dock-1", "failed", why="connection refused"), worker(classified("dock-1", events=["fight"]))
    key, _, value = one.encode()
    assert key == b"dock-1"
    assert CameraState.decode(value, "t[0]@1") == one
    key, _, value = other.encode()
    assert key == b"hub-worker-1"
    assert WorkerState.decode(value, "t[0]@1") == other


def test_records_are_what_asyncapi_promises():
    document = yaml.safe_load((Path(__file__).parents[1] / "docs" / "asyncapi.yaml").read_text("utf-8"))
    for name, record in {
        "cameraState": camera("dock-1", "failed", why="connection refused", data_us=None),
        "workerState": worker(classified("dock-1", behind=None), replace(classified("gate"), label=None, score=None)),
    }.items():
        schema = {**document, "$ref": f"#/components/messages/{name}/payload"}
        jsonschema.validate(json.loads(record.encode()[2]), schema)
        (channel,) = [c for c in document["channels"].values() if name in c["messages"]]
        assert channel["address"] in {TopicSettings().cameras_state, TopicSettings().workers_state}
        assert set(record.body()) == set(document["components"]["messages"][name]["payload"]["properties"])


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (b"\xff", "t[0]@7: expected a JSON object"),
        (b"[]", "t[0]@7: expected a JSON object"),
        (b"{}", "t[0]@7: expected status to be of type str, found nothing"),
        (camera("x").encode()[2].replace(b'"live"', b'"fine"'), "found 'fine'"),
        (camera("x").encode()[2].replace(b'"frames": 900', b'"frames": true'), "expected frames to be of type int"),
        (camera("x").encode()[2].replace(b'"camera": "x"', b'"camera": "a b/c"'), "t[0]@7: camera id 'a b/c'"),
        (camera("x").encode()[2].replace(b'"pid": 41', b'"pid": "41"'), "t[0]@7: agent: expected pid"),
    ],
)
def test_a_record_that_is_none_says_where_it_lies_and_what_is_wrong(value, words):
    with pytest.raises(RecordError) as caught:
        CameraState.decode(value, "t[0]@7")
    assert words in str(caught.value)


def test_what_runs_well_is_no_problem():
    now = overview(states(camera("dock-1"), camera("gate"), worker(classified("dock-1"), classified("gate"))), NOW_US)
    assert now.problems == ()
    assert now.sentence == "All is well: 2 cameras live, 1 worker."


@pytest.mark.parametrize(
    "begun", [camera("dock-1", since_us=ago(2)), camera("dock-1", "connecting")], ids=["no worker yet", "connecting"]
)
def test_what_has_just_begun_is_not_yet_called_well(begun):
    now = overview(states(begun, worker()), NOW_US)
    assert now.problems == ()
    assert now.sentence.startswith("Nothing is wrong yet: ")


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ((), ["no camera and no worker has said anything: start them with `clipline run`, or `attach` and `work`"]),
        (
            (camera("dock-1", "failed", why="connection refused", data_us=ago(40)), worker()),
            ["dock-1: no data for 40 s (connection refused)"],
        ),
        (
            (camera("dock-1", "failed", why="no route", data_us=None), worker()),
            ["dock-1: no data for 1 h 0 min (no route)"],
        ),
        ((camera("a"), camera("b"), worker(classified("a"))), ["no worker has b"]),
        ((camera("a"),), ["no worker runs"]),
        ((camera("a", since_us=ago(5)),), []),  # a group that was joined just now shares cameras out first
        (
            (camera("a"), worker(classified("a"), age=180)),
            ["worker hub-worker-1 died without a word 3 min 0 s ago", "no worker runs"],
        ),
        (
            (camera("a", age=180), camera("b", age=180), worker(classified("a"))),
            ["agent hub-agent died without a word 3 min 0 s ago (a, b)"],
        ),
        ((camera("a"), worker(classified("a", behind=131.7))), ["a is 2 min 11 s behind"]),
        ((camera("a"), worker(classified("a"), lag=500)), ["500 segments wait for worker hub-worker-1"]),
        ((camera("a", "ended", why="the footage is over"), worker()), []),
        ((camera("a", "connecting", since_us=ago(3)), worker()), []),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, list) else "",
)
def test_what_is_wrong_is_said(records, said):
    assert problems(*records) == said


def test_what_is_wrong_is_told_with_its_figures_for_those_who_say_it_in_other_words():
    now = overview(
        states(
            camera("dock-1", "failed", why="connection refused", data_us=ago(40)),
            camera("a"),
            worker(classified("a", behind=131.7), lag=500),
        ),
        NOW_US,
    )
    assert tuple(each.sentence for each in now.troubles) == now.problems
    quiet, behind, waiting = now.troubles
    assert (quiet.kind, quiet.name, quiet.seconds, quiet.why) == ("camera_quiet", "dock-1", 40.0, "connection refused")
    assert (behind.kind, behind.name, behind.seconds) == ("behind", "a", 131.7)
    assert (waiting.kind, waiting.name, waiting.count) == ("waiting", "hub-worker-1", 500)


def test_a_camera_that_another_agent_took_over_is_not_lost():
    successor = replace(AGENT, id="spare-agent")
    now = overview(states(camera("a", agent=successor), worker(classified("a"))), NOW_US)
    assert [agent.agent.id for agent in now.agents] == ["spare-agent"]
    assert not now.problems


def test_a_worker_that_another_one_has_succeeded_is_not_missed():
    """In a rolling restart: it ended without a word, and its name is there again."""
    before = worker(age=60, worker=replace(WORKER, id="pod-a-1"), instance="gate")
    after = worker(classified("a"), worker=replace(WORKER, id="pod-b-1"), instance="gate")
    now = overview(states(camera("a"), before, after), NOW_US)
    assert now.problems == ()
    assert [line.state for line in now.workers] == [after]
    assert any("worker 1  gate (pod-b-1)  1 camera" in line for line in drawn(now))


def test_a_worker_that_nobody_has_succeeded_is_missed_under_its_name():
    dead = worker(age=60, worker=replace(WORKER, id="pod-a-1"), instance="gate")
    others = [
        worker(age=60.5, worker=replace(WORKER, id="pod-c-1"), instance="gate"),
        worker(worker=replace(WORKER, id="pod-d-1"), instance="gate", group="another"),
        worker(classified("a"), worker=replace(WORKER, id="pod-e-1")),
    ]
    assert problems(camera("a"), dead, *others) == ["worker gate (pod-a-1) died without a word 1 min 0 s ago"]


def test_a_worker_that_ended_in_order_is_not_missed():
    ended = worker(age=60, worker=replace(WORKER, id="hub-77"), status="ended")
    assert problems(camera("a"), ended, worker(classified("a"))) == []


def test_an_agent_that_was_fenced_and_still_sends_is_said_with_the_camera():
    seen = replace(classified("gate"), fenced=125, fenced_seconds=4.0)
    now = overview(states(camera("gate"), worker(seen)), NOW_US)
    assert now.problems == (
        "gate: an agent that another one has taken it over from still sends it; 125 frames of that are left out",
    )
    assert now.body()["cameras"][0]["fenced"] == 125
    assert WorkerState.decode(worker(seen).encode()[2], "there").cameras == (seen,)
    over = overview(states(camera("gate"), worker(replace(seen, fenced_seconds=40.0))), NOW_US)
    assert not over.problems


def test_a_channel_that_gets_nothing_is_said_until_it_gets_something():
    begun = Delivery.about(event("gate"), "ops", now_us=ago(90), expires_us=ago(-90))
    topics = TopicSettings()
    found = states(camera("gate"), worker(classified("gate")))

    def take(entry: Delivery) -> list[str]:
        key, headers, value = entry.encode()
        found.take(Record(topics.deliveries, 0, 0, key, headers, value, 0), topics)
        return list(overview(found, NOW_US).problems)

    first = begun.then("retrying", ago(80), attempt=1, why="timeout", detail="no\x1b[2J answer", pauses=True)
    assert take(begun) == []
    assert take(first) == ["channel ops has got nothing for 1 min 20 s (timeout: no\\x1b[2J answer)"]
    # What one message meets is no trouble of the channel, nor does another try begin the time anew.
    assert take(replace(first, id="b" * 24, time_us=ago(5))) == take(first)
    assert take(replace(first, channel="guard", pauses=False)) == take(first)
    assert take(first.then("sent", ago(1), attempt=2)) == []
    gone = begun.then("failed", ago(1), attempt=1, why="disabled", detail="HTTP 410")
    assert take(gone) == ["channel ops wants no messages any more (HTTP 410)"]
    # Settings that have no such channel any more.
    assert take(gone.then("failed", ago(1), why="no_channel")) == []
    assert take(gone) == ["channel ops wants no messages any more (HTTP 410)"]
    found.forget(NOW_US + 2 * 24 * 3600 * 1_000_000)
    assert found.channels == {}


def test_what_ended_long_ago_is_forgotten_and_a_camera_that_nobody_reads_is_not():
    old = worker(age=3600, worker=replace(WORKER, id="old"), status="ended")
    dead = worker(age=3600, worker=replace(WORKER, id="dead"))
    now = overview(states(camera("gone", "ended", age=3600), camera("blind", age=3600), old, dead, worker()), NOW_US)
    assert [line.state.feed.camera for line in now.cameras] == ["blind"]
    assert now.cameras[0].status == "lost"
    assert [line.state.worker.id for line in now.workers] == ["hub-worker-1"]


def drawn(now, width: int = 80) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width).print(StatusView(now))
    return out.getvalue().splitlines()


def test_sixteen_cameras_fit_a_terminal_of_80_by_24_with_their_names_whole():
    names = [f"warehouse-north-dock-{n:02}" for n in range(16)]
    one = worker(*(classified(name, label="loitering") for name in names))
    now = overview(states(*(camera(name) for name in names), one), NOW_US)
    lines = drawn(now)
    assert len(lines) <= 23
    assert max(map(len, lines)) <= 80
    assert all(any(name in line and "loitering 0.98" in line for line in lines) for name in names)
    assert any("hub-worker-1  16 cameras, 0 waiting  1.0 s ago" in line for line in lines)
    assert lines[-1] == "All is well: 16 cameras live, 1 worker."


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_camera_that_gives_nothing_says_why_in_its_line(width):
    down = camera("[bold]dock", "failed", why="connection refused", data_us=ago(40))
    lines = drawn(overview(states(down, camera("gate"), worker(classified("gate"))), NOW_US), width)
    line = next(line for line in lines if "dock" in line)
    assert line.startswith("[bold]dock  failed")
    assert ("no data for 40 s (connection refused)" in line) == (width >= 80)
    assert "no data for 40 s" in line


def test_labels_of_events_that_go_on_are_red():
    out = io.StringIO()
    loud = worker(classified("gate", label="fight", events=["fight"]), classified("yard"))
    console = Console(file=out, width=80, force_terminal=True, color_system="standard", legacy_windows=False)
    console.print(StatusView(overview(states(camera("gate"), camera("yard"), loud), NOW_US)))
    assert "\x1b[1;31mfight 0.98" in out.getvalue()
    assert "\x1b[1;31mnormal" not in out.getvalue()


def test_the_same_for_programs_holds_everything_and_no_address():
    body = overview(states(camera("a"), worker(classified("a"))), NOW_US).body()
    assert body["ok"] is True
    assert body["cameras"][0]["label"] == "normal"
    assert body["cameras"][0]["worker"] == body["workers"][0]["worker"]["id"] == "hub-worker-1"
    assert body["agents"][0]["live"] == 1
    assert not {"uri", "url", "address"} & body["cameras"][0].keys()


def test_a_workers_snapshot_becomes_its_record():
    newest = Prediction("gate", 0, 3, 0, 2_000_000, "m", {"normal": 0.1, "fight": 0.9})
    snapshot = WorkerSnapshot(
        model="m",
        cameras=(CameraSnapshot("gate", newest, 50, 2, {}, 0, 4, 1, 0.5, 0.25, (), None),),
        lag=3,
        latency_seconds=0.2,
        events_total=0,
        newest_events=(),
        partitions=(0, 3),
        exactly_once=True,
    )
    state = worker_state(snapshot, WORKER, "working", WorkerSettings(group="g", instance="gate"), "torch", NOW_US)
    assert (state.partitions, state.exactly_once) == ((0, 3), True)
    assert state.cameras == (WorkerCamera("gate", 2, 0.5, 0.25, "fight", 0.9, 2_000_000),)
    assert (state.lag, state.model, state.engine) == (3, "m", "torch")
    assert (state.group, state.instance) == ("g", "gate")
    assert WorkerState.decode(state.encode()[2], "there") == state
    body = {key: value for key, value in state.body().items() if key not in {"partitions", "exactly_once"}}
    assert WorkerState.decode(json.dumps(body).encode(), "there").partitions is None
    with pytest.raises(RecordError, match="partitions: expected whole numbers"):
        WorkerState.decode(json.dumps({**body, "partitions": ["a"]}).encode(), "there")
    assert worker_state(snapshot, WORKER, "ended", WorkerSettings(), "torch", NOW_US).cameras == ()


def test_of_a_worker_that_says_nothing_it_is_said_that_it_was_not_heard_of_and_when_it_is_again():
    out = io.StringIO()
    view = PlainRun(out)
    for seconds in (1, 20, 21, 1):
        view.show(overview(states(worker(age=seconds)), NOW_US))
    assert [line.partition(" ")[2] for line in out.getvalue().splitlines()] == [
        f"worker {WORKER.id}: working, model movenet-motion-42c84c9e on openvino-bf16",
        f"worker {WORKER.id}: has not been heard of for 20 s",
        f"worker {WORKER.id}: working, model movenet-motion-42c84c9e on openvino-bf16",
    ]


def test_why_a_camera_does_not_open_is_said_at_once_where_no_terminal_shows_it():
    out = io.StringIO()
    view = PlainRun(out)
    for feed in (
        {"status": "connecting"},
        {"status": "connecting", "why": "server returned 401 Unauthorized (authorization failed)"},
        {"status": "connecting", "why": "server returned 401 Unauthorized (authorization failed)"},
        {"status": "connecting", "why": "connection refused"},
        {"status": "live"},
        {"status": "opening"},
    ):
        view.show(overview(states(camera("gate", **feed)), NOW_US))
    assert [line.partition(" ")[2] for line in out.getvalue().splitlines()] == [
        "gate: connecting",
        "gate: connecting (server returned 401 Unauthorized (authorization failed))",
        "gate: connecting (connection refused)",
        "gate: live, h264 1920x1080",
        "gate: opening",
    ]


def test_states_are_sent_on_change_and_now_and_then(monkeypatch):
    topics, transport = TopicSettings(), MemoryTransport()
    ensure_state_topics(transport, topics)
    reporter = CameraReporter(transport.producer(), topics.cameras_state, AGENT)
    clock = iter([100.0, 101.0, 102.0, 103.0, 107.5, 108.0])
    monkeypatch.setattr("consumers.outputs.states.time.monotonic", lambda: next(clock))
    sent = []
    for status in ("connecting", "live", "live", "live", "live", "live"):
        reporter.tell([FeedState("gate", status, 0)])
        sent.append(transport.offsets(topics.cameras_state)[topics.cameras_state, 0][1])
    assert sent == [1, 2, 2, 2, 3, 3]


def test_agents_tell_how_many_segments_wait_on_their_disk():
    topics, transport = TopicSettings(), MemoryTransport()
    ensure_state_topics(transport, topics)
    CameraReporter(transport.producer(), topics.cameras_state, AGENT, spooled=lambda: 7).tell(
        [FeedState("gate", "live", 0)]
    )
    (record,) = transport.read({(topics.cameras_state, 0): (0, 1)})
    state = CameraState.decode(record.value, record.where)
    assert state.spooled == 7
    (agent,) = overview(states(state), state.time_us).agents
    assert agent.spooled == 7
    body = state.body()
    del body["spooled"]
    assert CameraState.decode(json.dumps(body).encode(), "there").spooled is None


def test_states_are_read_from_the_end_of_a_topic_that_keeps_all_of_them(embedded_broker, topics_prefix, monkeypatch):
    monkeypatch.setattr(state_topics, "_MAX_RECORDS", 50)
    topics = TopicSettings(prefix=topics_prefix)
    transport = KafkaTransport(embedded_broker.address)
    ensure_state_topics(transport, topics)
    producer = transport.producer()
    producer.send(topics.cameras_state, *camera("forgotten").encode())
    for number in range(100):
        producer.send(topics.cameras_state, *camera("gate", frames=number).encode())
    producer.send(topics.cameras_state, b"odd", [], b"no record of ours")
    producer.send(topics.workers_state, *worker(classified("gate")).encode())
    producer.flush()
    found = read_states(transport, topics)
    assert list(found.cameras) == ["gate"]
    assert found.cameras["gate"].feed.frames == 99
    assert list(found.workers) == ["hub-worker-1"]
    with StatesFollower(transport, topics, "Kafka") as follower:
        producer.send(topics.cameras_state, *camera("yard").encode())
        producer.flush()
        for _ in range(50):
            follower.poll(0.1)
            if "yard" in follower.states.cameras:
                break
        assert set(follower.states.cameras) == {"gate", "yard"}
    producer.close()


def test_a_camera_that_is_attached_by_hand_tells_its_state_and_its_end(embedded_broker, topics_prefix):
    topics = TopicSettings(prefix=topics_prefix)
    transport = KafkaTransport(embedded_broker.address)
    with reported_camera(lambda: transport, topics, "gate", AGENT, quiet_seconds=10.0) as watch:
        watch.update(Attached(segments=3, frames=75, codec="h264", width=64, height=48))
    state = read_states(transport, topics).cameras["gate"]
    assert (state.feed.status, state.feed.frames, state.agent) == ("ended", 75, AGENT)
