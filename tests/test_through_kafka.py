"""A replay over a broker says what one without says, holds a part of the footage at a time, and leaves nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from kafka import KafkaAdminClient

from consumers.replaying import through_kafka
from consumers.replaying.errors import ReplayError
from consumers.replaying.footage.sources import find_recordings
from consumers.replaying.judging.judgement import make_event_set
from consumers.replaying.judging.placing import place_truth
from consumers.replaying.judging.truth import TruthRow
from consumers.replaying.run import ScoringSetup
from consumers.replaying.through_kafka import replay_through_kafka
from stream import MemoryTransport
from tests.replays import RULES, SETTINGS, SPEC, Brightness, blinking, replayed, said
from tests.videos import write_video

START_US = 1_700_000_000_000_000
CAMERAS = ("gate", "hall", "yard")


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("footage")
    write_video(folder / "gate.mp4", 250, rate=25, gop=25, size=(64, 48), frame=blinking((50, 150)))
    for name in CAMERAS[1:]:
        shutil.copy(folder / "gate.mp4", folder / f"{name}.mp4")
    return folder


def through(footage: Path, settings=SETTINGS, *, own_broker: bool, told: list | None = None, camera: str | None = None):
    recordings, _ = find_recordings([str(footage)], camera, START_US, settings.segments.limits, MemoryTransport)

    def note(name: str, done: float, total: float) -> None:
        if told is not None:
            told.append((name, done, total))

    found = replay_through_kafka(
        recordings, ScoringSetup(Brightness(), SPEC, threads=1), RULES, settings, own_broker=own_broker, progress=note
    )
    assert found is not None
    return found


@pytest.mark.slow
def test_footage_that_is_too_much_at_once_is_taken_camera_by_camera(
    footage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    size = (footage / "gate.mp4").stat().st_size
    monkeypatch.setattr(through_kafka, "MAX_BYTES", 2 * size)
    batches = []
    original = through_kafka._replay_batch

    def noting(recordings, *arguments, **named):
        batches.append([recording.camera for recording in recordings])
        return original(recordings, *arguments, **named)

    monkeypatch.setattr(through_kafka, "_replay_batch", noting)
    told: list = []
    found = through(footage, own_broker=True, told=told)
    assert batches == [["gate", "hall"], ["yard"]]
    direct = replayed([footage], tmp_path, start_us=START_US)
    for camera in CAMERAS:
        predictions, events = said(found, camera)
        assert (predictions, events) == said(direct, camera)
        assert predictions
        assert events
    assert {name for name, _, _ in told} == {"classifying"}
    done = [seconds for _, seconds, _ in told]
    assert done == sorted(done)
    assert done[-1] == told[-1][2] == pytest.approx(30)


@pytest.mark.slow
def test_files_of_one_camera_stay_files_as_they_are_without_a_broker(footage: Path, tmp_path: Path):
    """Else truth by file would be placed from the camera's begin on, and no interval be had by draws of files."""
    shutil.copytree(footage, tmp_path / "in")
    write_video(tmp_path / "in" / "hall.mp4", 100, rate=25, gop=25, size=(64, 48))  # of another length
    found = through(tmp_path / "in", own_broker=True, camera="gate")
    direct = replayed([tmp_path / "in"], tmp_path / "cache", camera="gate", start_us=START_US)
    assert said(found, "gate") == said(direct, "gate")
    (timeline,), (expected,) = found.timelines, direct.timelines
    places = [(p.name, p.first_us, p.end_us, p.trace.frames, len(p.trace.places)) for p in timeline.pieces]
    assert places == [(p.name, p.first_us, p.end_us, p.trace.frames, len(p.trace.places)) for p in expected.pieces]
    claims = [TruthRow("t", f"{name}.mp4", "bright", 2.0, 6.0) for name in CAMERAS]
    truth, notes = place_truth(claims, found.timelines, {"bright"})
    assert not notes
    assert [(t.start_us - START_US) / 1e6 for t in truth] == [2, 12, 16]
    assert len(make_event_set(found.timelines, [], truth).unit_seconds) == 3


def test_camera_that_an_embedded_broker_cannot_hold_is_refused_at_once(footage: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(through_kafka, "MAX_BYTES", (footage / "gate.mp4").stat().st_size - 1)
    monkeypatch.setattr(through_kafka, "EmbeddedBroker", None)  # not even started
    with pytest.raises(ReplayError, match=r"camera gate has .* name one with a disk by --kafka"):
        through(footage, own_broker=True)


@pytest.mark.slow
def test_topics_on_a_broker_that_was_named_are_gone_afterwards(footage: Path, broker):
    def topics() -> set[str]:
        admin = KafkaAdminClient(bootstrap_servers=[broker.address])
        try:
            return {topic for topic in admin.list_topics() if not topic.startswith("__")}
        finally:
            admin.close()

    before = topics()
    settings = SETTINGS.model_copy(update={"kafka": broker.address})
    found = through(footage / "gate.mp4", settings, own_broker=False)
    assert said(found, "gate")[0]
    assert topics() == before
