"""A drill goes the whole way of a camera, says when it was where, and alarms nobody outside of it."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from redis import Redis

from consumers.drill import clip as clip_module
from consumers.drill import diagnosis
from consumers.drill.clip import DrillClip
from consumers.drill.course import Course
from consumers.drill.run import Drill, DrillResult, run_drill
from consumers.live.worker import Worker
from consumers.notifying.by_hand import Wanted, acknowledge, newest_entries
from consumers.notifying.ledger import Ledger
from consumers.notifying.plan import Plan, Sent
from consumers.notifying.words import describe, words_of
from consumers.outputs.redis.check import redis_differences
from consumers.outputs.redis.projection import RedisProjection
from consumers.records.delivery import Delivery
from consumers.records.event import Event
from consumers.records.fields import OtherRecordError, RecordError
from consumers.records.prediction import Prediction
from consumers.rules.book import RuleBook
from consumers.rules.rule import Rule
from consumers.settings import Schedule, Settings
from consumers.settings.sections.notifying import ChannelSettings
from consumers.subscribing.reader import EventReader, stored_events
from consumers.subscribing.selection import Selection
from consumers.terminal.console import Output
from consumers.terminal.printing.drill import opening_words, print_drill
from consumers.topics import ensure_topics
from models import find
from stream import KafkaTransport, MemoryTransport, Segment, attach, camera_behind, drill_id, drilled
from stream.services import Service
from tests.brightness_worker import RULES, SPEC, Brightness
from tests.command_line import clipline
from tests.notifiers import notifying
from tests.receivers import Receiver
from tests.snapshots import event
from tests.videos import write_video
from tests.waiting import eventually

DRILL = "gate~drill-0123abcd"


def lit(path: Path, bright_from: int | None, frames: int = 125) -> Path:
    """A clip of so many frames at 25 a second, that is bright from a frame on."""

    def frame(number: int, width: int, height: int) -> np.ndarray:
        is_bright = bright_from is not None and number >= bright_from
        return np.full((height, width, 3), 240 if is_bright else 10, np.uint8)

    return write_video(path, frames, rate=25, gop=25, frame=frame, options={"bf": "0", "preset": "ultrafast"})


class Stand:
    """A broker with topics of our own, a worker, and as much else as a test wants."""

    def __init__(self, address: str, prefix: str, redis: str = "", **channels: dict[str, object]) -> None:
        self.settings = Settings.model_validate(
            {
                "kafka": address,
                **({"redis": redis} if redis else {}),
                "topics": {"prefix": prefix, "partitions": 3},
                "worker": {"group": prefix, "start": "earliest", "idle_seconds": 1.0},
                "cameras": {"gate": {"url": "rtsp://10.0.0.1/gate"}},
                "notify": {"group": f"{prefix}-notify"},
                "channels": channels,
            }
        )
        self.transport = KafkaTransport(self.settings.broker)
        ensure_topics(self.transport, self.settings.topics)

    @contextmanager
    def working(self, rules: RuleBook | None = None) -> Iterator[Worker]:
        worker = Worker(self.transport, Brightness(), SPEC, rules or RuleBook(RULES), self.settings)
        with running(worker.run):
            yield worker

    def drill(self, footage: Path, timeout: float = 90.0, **changes: object) -> DrillResult:
        drill = Drill("gate", str(footage), "max", timeout, **changes)  # type: ignore[arg-type]
        return run_drill(self.transport, self.settings, drill, lambda: False)

    def entries(self) -> list[Delivery]:
        topic = self.settings.topics.deliveries
        records = self.transport.read(self.transport.offsets(topic))
        return [Delivery.decode(r.key, r.value, r.where) for r in records]

    def known_cameras(self) -> set[str]:
        """Cameras of which workers have left something for the next one."""
        topic, newest = self.settings.topics.state, {}
        for record in self.transport.read_to_end(self.transport.offsets(topic)):
            newest[record.key] = record.value
        return {key.decode().partition("/")[2] for key, value in newest.items() if value is not None}

    def attach(self, footage: Path, camera: str) -> None:
        producer = self.transport.producer()
        attach(str(footage), camera, producer, self.settings.topics.segments, pace="max", start_us=now_us())
        producer.close()

    def drills(self) -> list[Event]:
        found = EventReader(self.settings.topics, drills=True).stored(self.transport)
        return [each for each in found if each.drill is not None]


@contextmanager
def running(run) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=run, args=(stop.is_set,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()


def now_us() -> int:
    return time.time_ns() // 1000


def test_a_drill_reaches_who_is_told_of_drills_and_nobody_else(
    broker: Service, topics_prefix: str, redis_url: str, tmp_path: Path
):
    with ExitStack() as stack:
        ops, guard, yard = (stack.enter_context(Receiver()) for _ in range(3))
        stand = Stand(
            *(broker.address, topics_prefix, redis_url),
            ops={"url": ops.url, "drill": True},
            guard={"url": guard.url, "cameras": ["gate*"]},
            yard={"url": yard.url, "cameras": ["yard"], "drill": True},
        )
        stack.enter_context(notifying(stand.settings))
        worker = stack.enter_context(stand.working())
        projection = stack.enter_context(RedisProjection(lambda: stand.transport, stand.settings))
        result = stand.drill(lit(tmp_path / "clip.mp4", 25))
        assert result.passed, (result, result.course.stations())
        # A real event, for what comes behind it.
        stand.attach(lit(tmp_path / "real.mp4", 25), "gate")
        assert eventually(lambda: len(guard.requests) == 1)
        assert eventually(lambda: len(ops.requests) == 2)
        assert projection.catch_up(20)
        assert redis_differences(stand.transport, stand.settings) == []
        snapshot, counted = worker.snapshot(), dict(worker.counts)
        assert eventually(lambda: drilled_in(stand.known_cameras()) == [])

    course = result.course
    names = [(station.name, station.channel) for station in course.stations()]
    assert names[:5] == [(n, None) for n in ("segment", "decoded", "classified", "prediction", "event")]
    assert set(names[5:]) == {("queued", "ops"), ("sent", "ops"), ("not told", "guard")}
    times = [station.time_us for station in course.stations() if station.channel in {None, "ops"}]
    assert times == sorted(times)
    assert course.seconds_to("ops") is not None
    assert course.seconds_to("guard") is None
    assert course.has_ended

    # Who is told hears that it is a drill, and of which camera; the others hear of the event alone.
    told = {request.body["type"]: request.body["data"] for request in ops.requests}
    assert told.keys() == {"clipline.drill.started", "clipline.event.started"}
    assert told["clipline.drill.started"]["drill"] == "gate"
    assert "drill" not in told["clipline.event.started"]
    assert [request.body["data"]["camera"] for request in guard.requests] == ["gate"]
    assert not yard.requests
    of_guard = [entry for entry in stand.entries() if entry.channel == "guard" and entry.drill]
    assert [(entry.state, entry.why) for entry in of_guard] == [("failed", "drill")]
    assert all(entry.drill is None for entry in newest_entries(stand.transport, stand.settings, Wanted()).entries)

    # Nothing counts it.
    assert [camera.camera for camera in snapshot.cameras] == ["gate"]
    assert {each.camera for each in snapshot.newest_events} == {"gate"}
    assert snapshot.events_total == len(snapshot.newest_events)
    assert drilled_in(counted) == []
    assert {each.camera for each in stored_events(stand.transport, stand.settings.topics)} == {"gate"}
    assert {each.state for each in stand.drills()} >= {"started", "ended"}
    with Redis.from_url(redis_url, decode_responses=True) as redis:
        keys = list(redis.scan_iter(f"{topics_prefix}:*"))
        assert any("gate" in key for key in keys)
        assert not any("~drill-" in key for key in keys)
        shown = [json.loads(each["event"]) for _, each in redis.xrange(f"{topics_prefix}:events")]
    assert {body["camera"] for body in shown} == {"gate"}


def drilled_in(names) -> list[str]:
    return [name for name in names if drilled(name) is not None]


@pytest.mark.slow
def test_every_topic_says_of_a_record_that_it_is_a_drills(embedded_broker: Service, topics_prefix: str, tmp_path: Path):
    with Receiver() as receiver:
        stand = Stand(embedded_broker.address, topics_prefix, ops={"url": receiver.url, "drill": True})
        with notifying(stand.settings), stand.working():
            result = stand.drill(lit(tmp_path / "clip.mp4", 25))
    topics, names = stand.settings.topics, {}
    for topic in (topics.segments, topics.predictions, topics.events, topics.deliveries):
        records = list(stand.transport.read(stand.transport.offsets(topic)))
        assert records, topic
        names[topic] = {dict(r.headers).get("drill") or dict(r.headers).get("ce_drill") for r in records}
        if topic != topics.deliveries:
            assert {r.key for r in records} == {result.course.id.encode()}
    assert set(map(frozenset, names.values())) == {frozenset({b"gate"})}
    # Where the camera's own segments go.
    found = {r.partition for r in stand.transport.read(stand.transport.offsets(topics.segments))}
    assert found == {stand.transport.partition_of(topics.segments, b"gate")}


def test_the_rules_of_a_drill_are_those_of_its_camera(embedded_broker: Service, topics_prefix: str, tmp_path: Path):
    class OfGate:
        base = RULES
        patterns = ("gate",)

        def of(self, camera: str) -> dict[str, Rule]:
            return {"bright": replace(RULES["bright"], version="of gate")} if camera == "gate" else {}

    stand = Stand(embedded_broker.address, topics_prefix)
    with stand.working(RuleBook(OfGate())):
        result = stand.drill(lit(tmp_path / "clip.mp4", 25))
    assert result.passed
    assert result.course.event is not None
    assert result.course.event.rule == "of gate"


@pytest.mark.slow
def test_a_drill_that_was_killed_leaves_nothing_that_alarms(
    embedded_broker: Service, topics_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """What a killed process leaves: segments without an end."""

    class Killed(clip_module._Sender):
        def send(self, topic, key, headers, value):
            if value:
                super().send(topic, key, headers, value)

    monkeypatch.setattr(clip_module, "_Sender", Killed)
    with Receiver() as receiver:
        stand = Stand(embedded_broker.address, topics_prefix, ops={"url": receiver.url})
        with notifying(stand.settings), stand.working() as worker:
            with DrillClip(
                stand.transport, stand.settings, str(lit(tmp_path / "a.mp4", 25)), DRILL, "max", lambda _: None
            ) as clip:
                assert eventually(lambda: clip.ended_at is not None)
            assert eventually(lambda: [each.state for each in stand.drills()][-1:] == ["ended"])
            assert eventually(lambda: drilled_in(stand.known_cameras()) == [])
            assert eventually(lambda: drilled_in(worker._intake.pipeline.cameras) == [])
            assert eventually(lambda: any(entry.why == "drill" for entry in stand.entries()))
    assert not receiver.requests
    assert not list(stored_events(stand.transport, stand.settings.topics))


def run_command(stand: Stand, tmp_path: Path, footage: Path, *arguments: object):
    file = tmp_path / "clipline.toml"
    topics, group = stand.settings.topics.prefix, stand.settings.worker.group
    lines = [f'topics.prefix = "{topics}"', f'worker.group = "{group}"', f'notify.group = "{group}-notify"']
    lines += ["[cameras.gate]", 'url = "rtsp://10.0.0.1/gate"']
    for name, channel in stand.settings.channels.items():
        lines += [f"[channels.{name}]", f'url = "{channel.url}"', f"drill = {str(channel.drill).lower()}"]
    file.write_text("\n".join(lines), "utf-8")
    options = ("--settings", file, "--kafka", stand.settings.kafka, "--clip", footage, "--pace", "max")
    return clipline("drill", *options, *arguments)


@pytest.mark.slow
def test_a_drill_says_at_which_station_it_ended(embedded_broker: Service, topics_prefix: str, tmp_path: Path):
    dark, bright = lit(tmp_path / "dark.mp4", None), lit(tmp_path / "bright.mp4", 25)
    with Receiver() as receiver:
        stand = Stand(embedded_broker.address, topics_prefix, ops={"url": receiver.url, "drill": True})
        unknown = run_command(stand, tmp_path, bright, "--camera", "gat")
        assert unknown.returncode == 2
        assert "did you mean 'gate'?" in unknown.stderr

        alone = run_command(stand, tmp_path, bright, "--camera", "gate", "--timeout", 1)
        assert alone.returncode == 1, alone
        assert f"no prediction: no worker takes {topics_prefix}.segments[" in alone.stdout

        with stand.working():
            calm = run_command(stand, tmp_path, dark, "--camera", "gate", "--timeout", 30)
            assert calm.returncode == 1, calm
            assert "no event: the clip raised no event" in calm.stdout
            assert "dark 0.9" in calm.stdout

            # The first drill has waited for a worker, and nobody is told of it any more.
            untold = run_command(stand, tmp_path, bright, "--camera", "gate", "--timeout", 20)
            assert untold.returncode == 1, untold
            assert "no notification: nothing in the ledger for ops: no notifier is at work" in untold.stdout

            with notifying(stand.settings):
                told = run_command(stand, tmp_path, bright, "--camera", "gate", "--json")
                assert told.returncode == 0, told
    body = json.loads(told.stdout)
    assert told.stderr.startswith("drill of gate: a clip of 5 s, as fast as it goes, until all are told; 60 s at most")
    assert body["passed"]
    assert body["missing"] is None
    assert [(each["channel"], each["told"]) for each in body["recipients"]] == [("ops", True)]
    assert body["recipients"][0]["seconds_since_segment"] > 0


@pytest.mark.slow
def test_a_drill_waits_for_somebody_who_saw_it(embedded_broker: Service, topics_prefix: str, tmp_path: Path):
    with Receiver() as receiver:
        stand = Stand(embedded_broker.address, topics_prefix, ops={"url": receiver.url, "drill": True})
        with notifying(stand.settings), stand.working():

            def see() -> None:
                assert eventually(lambda: bool(receiver.requests))
                assert eventually(lambda: any(e.state == "sent" for e in stand.entries()))
                acknowledge(stand.transport, stand.settings, receiver.requests[0].body["data"]["event"])

            thread = threading.Thread(target=see)
            thread.start()
            seen = stand.drill(lit(tmp_path / "clip.mp4", 25), acknowledge_seconds=30.0)
            thread.join()
            unseen = stand.drill(lit(tmp_path / "clip.mp4", 25), acknowledge_seconds=0.5)
    assert seen.passed
    assert ("acknowledged", "ops") in [(s.name, s.channel) for s in seen.course.stations()]
    assert (unseen.missing, unseen.passed) == ("acknowledgement", False)


# --- without a broker -------------------------------------------------------------------------------------------------


def test_a_drills_name_says_for_which_camera_it_is():
    assert drill_id("gate", "0123abcd") == DRILL
    assert (drilled(DRILL), camera_behind(DRILL)) == ("gate", "gate")
    for camera in ("gate", "gate-drill-0123abcd", "gate~drill-0123abc", "~drill-0123abcd", f"{DRILL}~drill-0123abcd"):
        assert drilled(camera) is None
        assert camera_behind(camera) == camera
    with pytest.raises(ValueError, match="expected eight hexadecimal digits"):
        drill_id("gate", "x")
    with pytest.raises(ValueError, match="camera id"):
        drill_id(DRILL, "0123abcd")
    # Nobody attaches a camera under such a name.
    with pytest.raises(ValueError, match="expected 1 to 64 letters"):
        Settings.model_validate({"cameras": {DRILL: {"url": "rtsp://10.0.0.1/a"}}})
    segment = Segment(DRILL, 5, 0, 5, 9, "mpegts", "h264", 8, 8, 1, 0, b"x")
    assert Segment.decode(*segment.encode(), "here").camera == DRILL


def test_who_does_not_ask_for_drills_takes_none_for_an_event():
    drill, real = event(DRILL), event("gate")
    key, headers, value = drill.encode()
    assert Event.decode(key, headers, value, "here", drills=True) == drill
    with pytest.raises(OtherRecordError):
        Event.decode(key, headers, value, "here")
    # Nor readers of earlier versions, which go by the type.
    assert dict(headers)["ce_type"] == b"clipline.drill.started"
    assert Event.decode(*real.encode(), "here", drills=True) == real
    # A drill's body under a camera's name, or the other way round, is none of both.
    for other_key, other_headers in ((b"gate", headers), (key, real.encode()[1])):
        with pytest.raises(RecordError):
            Event.decode(other_key, other_headers, value, "here", drills=True)
    window = Prediction(DRILL, 5, 0, 5, 9, "m", {"a": 1.0}, stations_us=(7, 8))
    again = Prediction.decode(*window.encode(), "here", drills=True)
    assert (again, again.stations_us) == (window, (7, 8))
    with pytest.raises(OtherRecordError):
        Prediction.decode(*window.encode(), "here")


def test_a_subscriber_is_given_drills_where_it_asks_for_them():
    drill, real = event(DRILL), event("gate")
    assert [Selection.of(None, "gate").holds(each) for each in (drill, real)] == [False, True]
    assert [Selection.of(None, "gate", drills=True).holds(each) for each in (drill, real)] == [True, True]
    assert not Selection.of(None, "yard", drills=True).holds(drill)


def channel(**changes: object) -> ChannelSettings:
    return ChannelSettings.model_validate({"url": "https://example.org/hook", **changes})


def begun(channel_settings: ChannelSettings, drill: Event, ledger: Ledger | None = None) -> Delivery:
    plan, now = Plan({"ops": channel_settings}, 10), now_us()
    (entry,) = plan.entries(drill, now, ledger or Ledger(), now)
    return entry


def test_a_drill_is_never_held_back_to_be_told_later_among_alarms():
    drill = event(DRILL)
    always_quiet = "00:00-23:59" if time.strftime("%H:%M") != "23:59" else "12:00-11:59"
    quiet = begun(channel(drill=True, quiet=always_quiet), drill)
    assert (quiet.state, quiet.why, quiet.due_us) == ("failed", "quiet", None)
    ledger, now = Ledger(), now_us()
    ledger.apply(Delivery.about(event("yard"), "ops", now_us=now, expires_us=now + 10**9))
    rate = begun(channel(drill=True, per_hour=1), drill, ledger)
    assert (rate.state, rate.why) == ("failed", "rate")
    assert begun(channel(), drill).why == "drill"


def test_a_drill_takes_no_alarms_place_within_the_hour_and_is_soon_of_no_use():
    ledger = Ledger()
    told = begun(channel(drill=True, per_hour=1), event(DRILL), ledger)
    assert told.state == "queued"
    assert told.expires_us - told.time_us <= 5 * 60_000_000
    ledger.apply(told)
    assert begun(channel(drill=True, per_hour=1), event("gate"), ledger).state == "queued"


def test_people_read_that_it_is_a_drill():
    told = begun(channel(drill=True, kind="apprise"), event(DRILL))
    title, body = words_of(told, channel(kind="apprise"))
    assert title == "DRILL: fight at gate"
    assert body.startswith("This is a drill, nothing happened.")
    assert "fight at gate, a drill" in describe(told)
    assert told.encode()[1][-1] == ("ce_drill", b"gate")


def test_stations_of_one_millisecond_are_in_their_order_although_brokers_know_no_less():
    course = Course(DRILL, Settings().topics, {})
    window = Prediction(DRILL, 5, 0, 5, 9, "m", {"bright": 1.0}, stations_us=(6_999, 7_450))
    course.predictions.append((window, 7_000))
    course.reports.append((replace(event(DRILL), end_us=9), 7_000))
    assert [(s.name, s.time_us) for s in course.stations()][-4:] == [
        ("decoded", 6_999),
        ("classified", 7_450),
        ("prediction", 7_450),
        ("event", 7_450),
    ]
    course.predictions[0] = (window, 9_000)
    assert [s.time_us for s in course.stations()][-2:] == [9_000, 7_000], "clocks that differ are not hidden"


def test_a_channel_that_would_refuse_an_alarm_fails_a_drill():
    refused = begun(channel(drill=True), event(DRILL)).then("failed", now_us(), attempt=6, why="http_404")
    course = Course(DRILL, Settings().topics, {"ops": channel(drill=True), "other": channel(labels=["fall"])})
    course.reports.append((event(DRILL), now_us()))
    assert course.awaited() == ["ops"]
    course.entries.append(refused)
    result = DrillResult(course, "gate", 0)
    assert (course.awaited(), result.refused, result.passed) == ([], ["ops"], False)
    sent = list(Plan({"ops": channel(drill=True)}, 10).outcome(refused, Sent("HTTP 200"), Ledger(), now_us()))
    course.entries += sent
    assert DrillResult(course, "gate", 0).passed


def printed(course: Course) -> str:
    out = io.StringIO()
    print_drill(Output(file=out, width=200), DrillResult(course, "gate", 0))
    return out.getvalue()


def test_a_drill_says_when_channels_that_are_not_told_of_it_would_be():
    always_quiet = "00:00-23:59" if time.strftime("%H:%M") != "23:59" else "12:00-11:59"
    channels = {
        "chief": channel(unanswered_minutes=1),
        "second": channel(unanswered_minutes=2.5, drill=True),
        "daily": channel(digest="18:28"),
        "weekly": channel(digest="08:00", drill=True, time_zone="Europe/Berlin"),
        "night": channel(quiet=always_quiet),
        "guard": channel(),
    }
    course = Course(DRILL, Settings().topics, channels)
    course.reports.append((event(DRILL), now_us()))
    course.entries += Plan(channels, 10).entries(event(DRILL), now_us(), Ledger(), now_us())
    said = printed(course)
    assert said.splitlines()[-6:] == [
        "chief: would be told if nobody answers within 1 min",
        "second: would be told if nobody answers within 2.5 min",
        "daily: would stand in the digest of 18:28",
        "weekly: would stand in the digest of 08:00 (Europe/Berlin)",
        f"night: would be told after its quiet hours, {always_quiet}",
        "guard: would have been told (drill = true tells it of drills)",
    ]


def window(fight: float, second: int = 0) -> tuple[Prediction, int]:
    scores = {"normal": 1 - fight, "fight": fight}
    return Prediction(DRILL, 5, second, second * 10**6, second * 10**6 + 8 * 10**5, "m", scores), now_us()


def test_the_deciding_window_is_shown_beside_the_peak_of_its_event():
    course = Course(DRILL, Settings().topics, {})
    course.predictions += [window(0.63, 0), window(0.4, 1)]
    course.reports.append((replace(event(DRILL), start_us=0, end_us=1_800_000, peak_score=0.63), now_us()))
    assert "prediction  fight 0.40, peak 0.63\n" in printed(course)
    course.reports.clear()
    assert "prediction  fight 0.63\n" in printed(course)


def test_a_drill_without_an_event_says_what_a_score_that_was_high_enough_lacked():
    course = Course(DRILL, Settings().topics, {})
    course.predictions += [window(0.91)]
    rule = Rule(start=0.63, end=0.4, min_seconds=2, cooldown_seconds=1, update_seconds=5)
    assert "fight reached" not in diagnosis.no_event(course, {})
    assert "fight reached" not in diagnosis.no_event(course, {"fight": replace(rule, start=0.95)})
    assert (
        "(highest scores: fight 0.91, normal 0.09); fight reached 0.63, from which its rule raises events, but did not "
        "last for its 2 s (min_seconds): see the rules"
    ) in diagnosis.no_event(course, {"fight": rule})
    smooth = diagnosis.no_event(course, {"fight": replace(rule, smoothing=3)})
    assert "2 s (min_seconds), as the mean of 3 windows: see" in smooth
    # 1970-01-01 was a Thursday.
    elsewhen = replace(rule, schedule=Schedule(("sat,sun",), "UTC"))
    assert "but not within the hours of the rule: see" in diagnosis.no_event(course, {"fight": elsewhen})


def test_the_rules_that_explain_are_those_of_the_camera_and_its_model():
    transport = MemoryTransport()
    settings = Settings.model_validate(
        {"rules": [{"camera": "gate", "label": "fight", "start": 0.9}], "tracker": {"min_seconds": 3}}
    )
    course = Course(DRILL, settings.topics, {})
    score, sent_us = window(0.91)
    course.predictions.append((replace(score, model=find("default").id), sent_us))
    rule = diagnosis.rules_of(transport, settings, course)["fight"]
    assert (rule.start, rule.min_seconds) == (0.9, 3)
    course.predictions.append((replace(score, model="another"), sent_us))
    assert diagnosis.rules_of(transport, settings, course) == {}


def test_a_drill_says_at_once_what_is_about_to_happen(tmp_path: Path):
    clip = lit(tmp_path / "clip.mp4", 25)
    seconds = clip_module.clip_seconds(str(clip))
    assert seconds == pytest.approx(5, abs=0.1)
    assert opening_words(Drill("gate", str(clip)), seconds) == (
        "drill of gate: a clip of 5 s, at its own pace, until all are told; 60 s at most for each station"
    )
    lit(tmp_path / "more.mp4", 25)
    assert clip_module.clip_seconds(str(tmp_path)) is None
    (tmp_path / "text.mp4").write_text("no footage", "utf-8")
    assert clip_module.clip_seconds(str(tmp_path / "text.mp4")) is None
    assert opening_words(Drill("gate", "a", "max", 5, 300), None) == (
        "drill of gate: a clip, as fast as it goes, until somebody acknowledges it; 5 s at most for each station"
    )


def test_what_a_receiver_says_is_not_hidden_by_later_events_of_the_clip_that_wait():
    first, second = begun(channel(drill=True), event(DRILL)), begun(channel(drill=True), event(DRILL, at_us=1))
    course = Course(DRILL, Settings().topics, {"ops": channel(drill=True)})
    course.reports.append((event(DRILL), now_us()))
    tried = first.then("retrying", now_us(), attempt=5, why="unreachable", detail="All connection attempts failed")
    course.entries += [first, tried, second]
    said = "ops is retrying after 5 tries: unreachable (All connection attempts failed)"
    assert diagnosis.not_told(course) == said
