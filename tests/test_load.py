"""What happens where footage comes faster than it can be worked off."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from consumers.live.effort import arrivals
from consumers.live.effort import load as load_module
from consumers.live.effort.arrivals import Arrivals
from consumers.live.effort.load import LEVELS, LoadControl
from consumers.live.pipeline import Camera
from consumers.live.tracker import Tracker
from consumers.live.worker import Worker
from consumers.records.event import Event
from consumers.records.fields import OtherRecordError, RecordError
from consumers.records.load_change import LoadChange
from consumers.records.prediction import Prediction
from consumers.settings import LoadSettings, Settings, SettingsError, override
from consumers.topics import ensure_topics
from stream import (
    EVERYTHING,
    Clip,
    Clipper,
    ClipSpec,
    Decoded,
    Effort,
    MemoryTransport,
    Sample,
    Segment,
    attach,
    decode,
)
from stream.broker.memory import log as log_module
from tests.replays import RULES, SPEC, Brightness, blinking, work_off
from tests.videos import write_video

START_US = 1_700_000_000_000_000
SECOND = 1_000_000


def rule(policy: str, **more: Any) -> LoadSettings:
    return LoadSettings.model_validate({"policy": policy, "enter_seconds": 30, "leave_seconds": 5, **more})


def segment(number: int, *, camera: str = "gate", end: bool = False, **more: Any) -> Segment:
    start_us = START_US + number * SECOND
    known: dict[str, Any] = {"frames": 0 if end else 10, "data": b"" if end else bytes(20), "end_us": start_us + SECOND}
    known |= {"container": "mpegts", "codec": "h264", "width": 8, "height": 8, "first_tick": 0, **more}
    if end:
        known["end_us"] = start_us
    return Segment(camera, START_US, number, start_us, **known)


def levels(control: LoadControl, *behind: float) -> list[int]:
    return [control.plan(segment(n), seconds)[1].level for n, seconds in enumerate(behind)]


def nobody(_: str) -> None:
    return None


def test_catching_up_leaves_nothing_out():
    control = LoadControl(SPEC, rule("catch-up"), nobody)
    assert levels(control, 0, 40, 4000) == [0, 0, 0]
    assert control.plan(segment(9), 4000)[0] == SPEC.sample_times_us(segment(9))


def test_a_camera_is_degraded_step_by_step_and_all_is_classified_again_once_it_has_caught_up():
    control = LoadControl(SPEC, rule("degrade"), nobody)
    assert levels(control, 0, 29, 31, 20, 61, 31, 91, 4000, 6, 5, 6, 29) == [0, 0, 1, 1, 2, 2, 3, 3, 3, 0, 0, 0]


def test_a_live_camera_skips_to_now():
    control = LoadControl(SPEC, rule("live"), nobody)
    efforts = [control.plan(segment(n), behind) for n, behind in enumerate([29, 31, 900, 6, 5, 20])]
    assert [effort.skipped for _, effort in efforts] == [None, "behind", "behind", "behind", None, None]
    assert [bool(times) for times, _ in efforts] == [True, False, False, False, True, True]


def test_a_live_camera_goes_on_where_decoding_can_begin():
    control = LoadControl(SPEC, rule("live"), nobody)
    goes_on = {"decode_from_us": START_US, "continued": True}
    skipped = [control.plan(segment(n, **goes_on), behind)[1].skipped for n, behind in enumerate([31, 0, 0], 1)]
    assert skipped == ["behind"] * 3
    assert control.plan(segment(4), 0)[1].skipped is None


def test_of_a_long_group_of_pictures_a_keyframe_stands_for_too_long():
    control = LoadControl(SPEC, rule("degrade"), nobody)
    efforts = [control.plan(segment(n, **more), 100)[1] for n, more in enumerate([{}, {"continued": True}])]
    assert [(e.level, e.keyframes_only, e.skipped) for e in efforts] == [(3, True, None), (3, False, "degraded")]


def test_cameras_have_the_rule_of_the_first_class_that_names_them():
    settings = rule(
        "degrade",
        classes={
            "doors": {"cameras": ["gate*", "dock-1"], "policy": "live", "enter_seconds": 10, "leave_seconds": 2},
            "rest": {"cameras": ["*-1"], "policy": "catch-up"},
        },
    )
    control = LoadControl(SPEC, settings, nobody)
    assert [settings.rule_of(name).policy for name in ("gate-1", "dock-1", "dock-2", "yard-1")] == [
        *("live", "live", "degrade", "catch-up")
    ]
    assert control.plan(segment(0, camera="gate-1"), 11)[1].skipped == "behind"
    assert control.plan(segment(0, camera="dock-2"), 11)[1].level == 0


@pytest.mark.parametrize(
    ("load", "words"),
    [
        ({"policy": "hurry"}, "load.policy"),
        ({"enter_seconds": 5, "leave_seconds": 5}, "expected less than enter_seconds"),
        ({"classes": {"a": {"policy": "live"}}}, "load.classes.a = .*expected cameras"),
        ({"classes": {"a": {"cameras": [], "policy": "live"}}}, "load.classes.a = .*expected cameras"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(load: dict[str, Any], words: str):
    with pytest.raises(SettingsError, match=words):
        override(Settings(), {"load": load}, "test")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 s with two bright stretches."""
    frames = blinking((40, 120), (240, 330))
    return write_video(tmp_path_factory.mktemp("films") / "film.mp4", 400, rate=10, gop=5, size=(64, 48), frame=frames)


def segments_of(film: Path) -> list[Segment]:
    transport, settings = MemoryTransport(), Settings()
    send(transport, settings, film, "gate")
    records = transport.read(transport.offsets(settings.topics.segments))
    return [Segment.decode(r.key, r.headers, r.value, r.where) for r in records]


def send(transport: MemoryTransport, settings: Settings, film: Path, *cameras: str) -> None:
    """A film of several cameras at once."""
    source, topic = MemoryTransport(), settings.topics.segments
    for each in (source, transport):
        ensure_topics(each, settings.topics)
    for camera in cameras:
        attach(
            str(film),
            camera,
            source.producer(),
            topic,
            limits=settings.segments.limits,
            pace="max",
            start_us=START_US,
        )
    records = list(source.read(source.offsets(topic)))
    for record in sorted(records, key=lambda each: int(dict(each.headers)["sequence"])):
        transport.append(topic, record.key, record.headers, record.value)


def clips(film: Path, behind: Callable[[int], float], spec: ClipSpec = SPEC) -> tuple[list[Clip], Clipper, int]:
    """The clips of a film, how far behind each segment is, and how many pictures were asked for."""
    control, clipper, found, asked = LoadControl(spec, rule("degrade"), nobody), Clipper(spec), [], 0
    frames = 0
    for number, each in enumerate(segments_of(film)):
        times, effort = control.plan(each, behind(number))
        asked += len(times)
        if each.is_end:
            clipper.close()
            continue
        frames += each.frames
        decoded = decode(each, times, spec.picture, keyframes_only=effort.keyframes_only)
        found += clipper.push(each, replace(decoded, effort=effort))
    assert frames == sum(clip.frames_spanned for clip in found) + clipper.skipped.total()
    return found, clipper, asked


SPECS = [SPEC, ClipSpec(4, 200_000, 800_000, 24, 32), ClipSpec(4, 200_000, 1_000_000, 24, 32)]


@pytest.mark.parametrize("spec", SPECS, ids=["overlapping", "side by side", "apart"])
def test_what_is_made_of_a_degraded_camera_is_a_part_of_what_a_replay_makes(film: Path, spec: ClipSpec):
    whole = {clip.window: clip for clip in clips(film, lambda _: 0, spec)[0]}
    # Up to level 2, back, and once more.
    part, clipper, asked = clips(film, lambda n: [0, 31, 62, 62, 3, 0, 31][n // 5 % 7], spec)
    assert 0.3 * len(whole) < len(part) < 0.8 * len(whole)
    for clip in part:
        same = whole[clip.window]
        assert (clip.start_us, clip.times_us, clip.has_held_frames) == (same.start_us, same.times_us, False)
        assert (clip.frames == same.frames).all()
    assert clipper.skipped["degraded"] > 0
    assert asked < clips(film, lambda _: 0, spec)[2]


def test_at_last_only_keyframes_are_decoded(film: Path):
    part, _, _ = clips(film, lambda _: 100)
    with av.open(str(film)) as container:
        packets = list(container.demux(video=0))
    keyframes_us = {START_US + round(p.pts * p.time_base * SECOND) for p in packets if p.is_keyframe}
    assert len(part) > 10
    assert {clip.window % 4 for clip in part} == {0}
    assert all(set(clip.times_us) <= keyframes_us for clip in part)
    assert any(clip.has_held_frames for clip in part)


def test_a_window_for_which_pictures_are_missing_is_left_out():
    """Whoever reads segments may have decided otherwise than whoever makes windows of them: a stray came between."""
    clipper = Clipper(SPEC)
    black = np.zeros((SPEC.height, SPEC.width, 3), np.uint8)
    made = []
    for number in range(4):
        each = segment(number)
        samples = [Sample(at, at, black) for at in SPEC.sample_times_us(each)]
        times = tuple(range(each.start_us, each.end_us, SECOND // 10))
        decoded = Decoded(times, samples[1:] if number == 1 else samples)
        made += [clip.window for clip in clipper.push(each, decoded)]
    assert made == [0, 3, 4, 5, 6, 7, 8]
    assert clipper.skipped["degraded"] == 4, "those between the windows before and behind"


def settings_of(policy: str) -> Settings:
    own = {
        "topics": {"partitions": 1},
        "worker": {"start": "earliest", "threads": 1, "max_batch": 4},
        "segments": {"min_seconds": 0.4, "max_seconds": 0.6},
        "load": {"policy": policy, "enter_seconds": 10, "leave_seconds": 2},
    }
    return override(Settings(), own, "test")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that go by once a worker has asked where its partitions end for the first time."""
    ahead, calls = [0.0], itertools.count()
    real = time.monotonic
    monkeypatch.setattr(arrivals, "now", lambda: real() + (ahead[0] if next(calls) else 0.0))
    return ahead


def changes(transport: MemoryTransport, settings: Settings) -> list[LoadChange]:
    found = []
    for record in transport.read(transport.offsets(settings.topics.events)):
        try:
            found.append(LoadChange.decode(record.key, record.headers, record.value, record.where))
        except RecordError:
            Event.decode(record.key, record.headers, record.value, record.where)
    return found


def predictions(transport: MemoryTransport, settings: Settings) -> list[Prediction]:
    records = transport.read(transport.offsets(settings.topics.predictions))
    return [Prediction.decode(r.key, r.headers, r.value, r.where) for r in records]


@pytest.mark.parametrize("policy", ["catch-up", "degrade", "live"])
def test_a_worker_with_a_backlog_applies_the_policy_tells_it_and_accounts_for_every_frame(
    film: Path, clock: list[float], policy: str
):
    transport, settings = MemoryTransport(), settings_of(policy)
    send(transport, settings, film, *(f"camera-{n}" for n in range(4)))
    clock[0] = 11.0
    worker = Worker(transport, Brightness(), SPEC, RULES, settings)
    work_off(worker)
    told, whole = predictions(transport, settings), 4 * 99
    said = changes(transport, settings)
    for account in worker.counts.values():
        assert account.frames == 400
        assert account.frames == account.classified + account.skipped.total() + account.pending
    assert len({each.id for each in told}) == len(told)
    if policy == "catch-up":
        assert (len(told), said) == (whole, [])
        return
    assert len(told) < 0.8 * whole
    assert [each.change for each in said if each.camera == "camera-0"] == ["entered", "left"]
    assert {each.policy for each in said} == {policy}
    assert all(10 < each.behind_seconds < 20 for each in said if each.change == "entered")
    if policy == "live":
        assert all(account.skipped["behind"] > 0 for account in worker.counts.values())


@pytest.mark.parametrize("policy", ["catch-up", "degrade", "live"])
@pytest.mark.parametrize("skew", [-600, 600])
def test_no_clock_of_an_agent_degrades_its_camera(film: Path, monkeypatch: pytest.MonkeyPatch, policy: str, skew: int):
    """Its segments wait in dozens, but have only just come."""
    ours = time.time_ns
    theirs = SimpleNamespace(monotonic=time.monotonic, time_ns=lambda: ours() + skew * 10**9)
    monkeypatch.setattr(log_module, "time", theirs)
    transport, settings = MemoryTransport(), settings_of(policy)
    send(transport, settings, film, "late")
    worker = Worker(transport, Brightness(), SPEC, RULES, settings)
    work_off(worker)
    assert changes(transport, settings) == []
    assert worker.counts["late"].windows == 99
    (camera,) = worker.snapshot().cameras
    assert camera.behind_seconds is not None
    assert camera.behind_seconds < 30, "no clock of an agent makes its camera late"


def test_how_long_a_record_has_waited_is_seen_from_where_its_partition_ended_when():
    here, there = ("segments", 0), ("segments", 1)
    seen = Arrivals()
    assert seen.waited(here, 0, 5.0) is None
    for second in range(11):
        seen.note({here: 100 + 10 * second, there: 50}, Counter({here: 2}), 1000.0 + second)
    assert seen.waited(here, 114, 1010.0) == pytest.approx(8.5)
    assert seen.waited(here, 191, 1010.0) == pytest.approx(0.8)
    assert seen.waited(here, 192, 1010.0) == 0, "four of each camera are no backlog"
    assert seen.waited(here, 200, 1010.0) == 0
    assert seen.waited(here, 0, 1010.0) == pytest.approx(20.0), "what came before us came as fast"
    assert seen.waited(there, 0, 1010.0) == pytest.approx(10.0), "at least as long as we know of it"
    seen.note(None, Counter(), 1010.5)
    assert seen.waited(there, 0, 1010.5) == pytest.approx(10.5), "the broker does not tell"
    seen.note({here: 30}, Counter(), 1011.0)
    assert seen.waited(here, 0, 1012.0) is None, "another topic"
    assert seen.waited(there, 0, 1012.0) is None, "another worker's by now"


def test_of_a_partition_that_stands_still_no_more_is_kept_than_since_when():
    seen = Arrivals()
    for second in range(5000):
        seen.note({("segments", 0): 7 + 10 * (second == 4999)}, Counter(), float(second))
    assert seen.waited(("segments", 0), 3, 5000.0) == pytest.approx(5000 + 0.4 * 4999)
    assert seen.waited(("segments", 0), 7, 5000.0) == pytest.approx(1.9)


@pytest.mark.parametrize("policy", ["degrade", "live"])
def test_a_level_stays_while_it_is_not_known_how_long_segments_have_waited(policy: str):
    control = LoadControl(SPEC, rule(policy), nobody)
    assert levels(control, 31) == [1]
    assert [control.plan(segment(n), None)[1].level for n in (1, 2)] == [1, 1]
    assert control.plan(segment(3), 0)[1].level == 0
    assert control.plan(segment(4), None)[1].level == 0


def test_a_worker_that_has_read_everything_is_not_behind_whatever_the_clocks_say(film: Path, clock: list[float]):
    transport, settings = MemoryTransport(), settings_of("live")
    ensure_topics(transport, settings.topics)
    clock[0] = 3600.0
    source = MemoryTransport()
    send(source, settings, film, "gate")
    records = list(source.read(source.offsets(settings.topics.segments)))[-20:]
    worker = Worker(transport, Brightness(), SPEC, RULES, settings)

    def stop() -> bool:
        if records and worker.lag < 3:
            record = records.pop(0)
            transport.append(settings.topics.segments, record.key, record.headers, record.value)
        return not records and worker.waiting == 0 and worker.counts["gate"].pending == 0

    worker.run(stop)
    assert changes(transport, settings) == []
    assert worker.counts["gate"].skipped["behind"] == 0


def test_the_next_worker_knows_that_a_camera_is_degraded_and_tells_that_it_is_no_more(film: Path, clock: list[float]):
    transport, settings = MemoryTransport(), settings_of("degrade")
    send(transport, settings, film, *(f"camera-{n}" for n in range(4)))
    clock[0] = 11.0
    first = Worker(transport, Brightness(), SPEC, RULES, settings)
    first.run(lambda: first.counts["camera-0"].windows > 5)
    assert {each.change for each in changes(transport, settings)} == {"entered"}
    assert first.snapshot().cameras[0].degraded == 1
    clock[0] = 0.0
    work_off(Worker(transport, Brightness(), SPEC, RULES, settings))
    said = [each.change for each in changes(transport, settings) if each.camera == "camera-0"]
    assert said == ["entered", "left"]
    told = predictions(transport, settings)
    assert len({each.id for each in told}) == len(told)


def test_subscribers_of_events_pass_over_what_is_told_of_load():
    change = LoadChange("gate", START_US, START_US + 5, "live", 1, "entered", 31.25)
    key, headers, value = change.encode()
    assert LoadChange.decode(key, headers, value, "here") == change
    with pytest.raises(OtherRecordError, match=r"clipline\.worker\.degraded"):
        Event.decode(key, headers, value, "here")
    for damaged in (value.replace(b"gate", b"dock"), b"{", value.replace(b"entered", b"began")):
        with pytest.raises(RecordError, match="here: expected"):
            LoadChange.decode(key, headers, damaged, "here")


def test_a_broker_that_does_not_tell_its_ends_changes_no_level(
    film: Path, clock: list[float], monkeypatch: pytest.MonkeyPatch
):
    transport, settings = MemoryTransport(), settings_of("degrade")
    send(transport, settings, film, *(f"camera-{n}" for n in range(4)))
    clock[0] = 11.0
    worker = Worker(transport, Brightness(), SPEC, RULES, settings)
    monkeypatch.setattr(arrivals, "ASK_SECONDS", 0.0)
    turns = 0

    def stop() -> bool:
        nonlocal turns
        turns += 1
        if turns == 2:
            monkeypatch.setattr(worker._consumer, "progress", lambda: None)
        return worker.counts["camera-0"].windows > 20

    worker.run(stop)
    assert {each.change for each in changes(transport, settings)} == {"entered"}


def test_cameras_are_remembered_up_to_a_limit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(load_module, "MAX_ACCOUNTS", 3)
    control = LoadControl(SPEC, rule("degrade"), nobody)
    for number in range(9):
        control.plan(segment(0, camera=f"camera-{number}"), 40)
    assert len(control._paces) == 3
    control.forget_all_but({"camera-8"})
    assert list(control._paces) == ["camera-8"]


@pytest.mark.parametrize(
    ("before", "policy", "level"),
    [
        (LEVELS[2], "degrade", 2),
        (LEVELS[2], "live", 0),
        (Effort(1, skipped="behind"), "live", 1),
        (Effort(1, skipped="behind"), "degrade", 0),
        (LEVELS[2], "catch-up", 0),
    ],
)
def test_a_level_is_kept_by_the_next_worker_if_the_policy_is_the_same(before: Effort, policy: str, level: int):
    camera = Camera(Clipper(SPEC), Tracker(RULES), effort=before)
    control = LoadControl(SPEC, rule(policy), lambda _: camera)
    assert control.plan(segment(0), 20)[1].level == level


@pytest.mark.parametrize("policy", ["degrade", "live"])
def test_with_the_end_of_its_feed_a_camera_is_degraded_no_more(policy: str):
    control = LoadControl(SPEC, rule(policy), nobody)
    assert levels(control, 40) == [1]
    assert control.plan(segment(1, end=True), 40) == ([], EVERYTHING)
    assert control.plan(segment(2), 20)[1].level == 0
