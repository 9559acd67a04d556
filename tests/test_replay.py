"""A replay says what a live worker says, decodes nothing twice, and goes on where it was cut off."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from consumers.live.worker import Worker
from consumers.replaying import run
from consumers.replaying.errors import StoreError
from consumers.replaying.footage.sources import FilePiece, find_recordings
from consumers.replaying.store import TraceStore
from consumers.topics import ensure_topics
from stream import MemoryTransport, Segment, SegmentError, SegmentLimits, SourceError, attach
from tests import replays
from tests.replays import RULES, SETTINGS, Brightness, Overheard, blinking, live, replayed, said, told, work_off
from tests.videos import write_video

START_US = 1_700_000_000_123_456


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("footage") / "gate.mp4"
    return write_video(path, 500, rate=25, gop=30, size=(64, 48), frame=blinking((100, 200), (230, 420)))


def test_replay_says_byte_for_byte_what_a_worker_says_of_the_same_footage(footage: Path, tmp_path: Path):
    for start_us in (START_US, None):
        predictions, events, _ = live(footage, "gate", start_us)
        assert len(predictions) > 40
        assert {dict(headers)["ce_type"] for _, headers, _ in events} == {
            b"clipline.event.started",
            b"clipline.event.updated",
            b"clipline.event.ended",
        }
        assert said(replayed([footage], tmp_path, start_us=start_us), "gate") == (predictions, events)


def test_files_of_one_camera_follow_one_another_as_attached_ones_do(footage: Path, tmp_path: Path):
    """Events that would begin within the cooldown of one in the file before are left out in both."""
    folder = tmp_path / "footage"
    folder.mkdir()
    for number, recorded in enumerate((1_600_000_000, 1_600_000_005, 1_600_000_900)):
        path = write_video(
            folder / f"{number}.mp4", 150 + number, rate=25, gop=20, size=(64, 48), frame=blinking((0, 40), (110, 200))
        )
        os.utime(path, (recorded, recorded))
    predictions, events, _ = live(folder, "gate", None)
    found = replayed([folder], tmp_path / "traces", camera="gate")
    assert said(found, "gate") == (predictions, events)
    begins = [piece.begin_us for piece in found.timelines[0].pieces]
    # They were modified when they ended: 6, 6.04 and 6.08 s after they began. The second begins behind the first.
    # What tells films with one time apart is within a tenth of a second.
    assert begins == [
        pytest.approx(begin_us, abs=100_000)
        for begin_us in (1_599_999_994_000_000, 1_600_000_000_000_000, 1_600_000_893_920_000)
    ]


def test_each_file_of_a_folder_is_a_camera_named_by_its_path(footage: Path, tmp_path: Path):
    for place in ("a/x.mp4", "b/x.mp4", "top.mp4"):
        (tmp_path / "in" / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(footage, tmp_path / "in" / place)
    found = replayed([tmp_path / "in"], tmp_path / "traces", start_us=START_US)
    assert [timeline.camera for timeline in found.timelines] == ["a-x", "b-x", "top"]
    predictions, events, _ = live(footage, "b-x", START_US)
    assert said(found, "b-x") == (predictions, events)


def test_same_bytes_under_another_name_and_time_are_not_classified_again(footage: Path, tmp_path: Path):
    first, second = Brightness(), Brightness()
    replayed([footage], tmp_path / "traces", start_us=START_US, scorer=first)
    copy = shutil.copy(footage, tmp_path / "copy.mp4")
    found = replayed([copy], tmp_path / "traces", start_us=START_US + 86_400_000_000, scorer=second)
    assert first.clips > 0
    assert second.clips == 0
    assert found.kept_seconds == found.seconds > 0
    predictions, events, _ = live(footage, "copy", START_US + 86_400_000_000)
    assert said(found, "copy") == (predictions, events)


class CutOffError(Exception):
    pass


@pytest.mark.parametrize("place", [8.0, 12.0, 17.0], ids=lambda s: f"after {s:g} s")
def test_replay_that_was_cut_off_goes_on_there_and_says_the_same(
    footage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: float
):
    monkeypatch.setattr(run, "_PART_SECONDS", 0.0)  # a part after each batch
    monkeypatch.setattr(run, "_AHEAD", 1)  # and a batch of a segment or two
    whole = said(replayed([footage], tmp_path / "whole", start_us=START_US), "gate")

    def cut(name: str, done: float, total: float) -> None:
        if name == "classifying" and done >= place:
            raise CutOffError

    first, second = Brightness(), Brightness()
    with pytest.raises(CutOffError):
        replayed([footage], tmp_path / "traces", start_us=START_US, scorer=first, progress=cut)
    assert list((tmp_path / "traces").glob("*.part.npz"))
    found = replayed([footage], tmp_path / "traces", start_us=START_US, scorer=second)
    assert said(found, "gate") == whole
    assert 0 < second.clips < len(whole[0])
    assert not list((tmp_path / "traces").glob("*.part.npz"))
    assert not list((tmp_path / "traces").glob("*.lock"))


KILLED = """
import os, signal, sys
from pathlib import Path
from consumers.replaying import run
from tests.replays import replayed

def kill(name, done, total):
    if name == "classifying" and done >= 12:
        os.kill(os.getpid(), signal.SIGKILL)

run._PART_SECONDS, run._AHEAD = 0.0, 1
replayed([sys.argv[1]], Path(sys.argv[2]), start_us=int(sys.argv[3]), progress=kill)
"""


def test_replay_that_is_killed_goes_on_where_it_was(footage: Path, tmp_path: Path):
    """SIGKILL, in a process of its own: what it has written by then is whole, and its lock is gone with it."""
    whole = said(replayed([footage], tmp_path / "whole", start_us=START_US), "gate")
    command = [sys.executable, "-c", KILLED, str(footage), str(tmp_path / "traces"), str(START_US)]
    killed = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert list((tmp_path / "traces").glob("*.part.npz"))
    scorer = Brightness()
    found = replayed([footage], tmp_path / "traces", start_us=START_US, scorer=scorer)
    assert said(found, "gate") == whole
    assert 0 < scorer.clips < len(whole[0])


def test_two_replays_of_the_same_footage_at_once_say_the_same_and_spoil_nothing(
    footage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(run, "_PART_SECONDS", 0.0)
    monkeypatch.setattr(run, "_AHEAD", 1)
    whole = said(replayed([footage], tmp_path / "whole", start_us=START_US), "gate")
    others = []

    def meanwhile(name: str, done: float, total: float) -> None:
        if name == "classifying" and done >= 10 and not others:
            assert list(folder.glob("*.part.npz"))
            others.append(None)
            others.append(said(replayed([footage], folder, start_us=START_US), "gate"))
            assert list(folder.glob("*.part.npz")), "the other one has removed what is needed here"

    folder, kept = tmp_path / "traces", Brightness()
    assert said(replayed([footage], folder, start_us=START_US, progress=meanwhile), "gate") == whole
    assert others[1] == whole
    assert said(replayed([footage], folder, start_us=START_US, scorer=kept), "gate") == whole
    assert kept.clips == 0
    assert not list(folder.glob("*.lock"))


def test_trace_is_never_claimed_by_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its owner lets go between another's opening of the lock file and locking it."""
    first, second, third = (TraceStore(tmp_path) for _ in range(3))
    assert first.claim("key")
    lock = fcntl.flock

    def late(file: object, how: int) -> None:
        first.release("key")
        lock(file, how)  # type: ignore[arg-type]

    monkeypatch.setattr(fcntl, "flock", late)
    assert second.claim("key")
    assert not third.claim("key")
    second.release("key")
    assert third.claim("key")
    third.release("key")
    assert not list(tmp_path.iterdir())


def test_parts_that_went_while_they_were_needed_are_an_error_and_not_a_shorter_trace(
    footage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(run, "_PART_SECONDS", 0.0)
    monkeypatch.setattr(run, "_AHEAD", 1)

    def remove(name: str, done: float, total: float) -> None:
        if name == "classifying" and done >= 10:
            for part in tmp_path.glob("*.0001.part.npz"):
                part.unlink()

    with pytest.raises(StoreError, match=r"were removed while they were needed: the same command"):
        replayed([footage], tmp_path, progress=remove)
    assert not list(tmp_path.iterdir())


def test_replay_that_is_asked_to_stop_keeps_what_it_has(footage: Path, tmp_path: Path):
    asked = iter([False] * 2)  # before the footage is looked at, and before a first batch, which has no room for all
    with pytest.raises(AssertionError):
        replayed([footage], tmp_path, start_us=START_US, stop=lambda: next(asked, True))
    scorer = Brightness()
    replayed([footage], tmp_path, start_us=START_US, scorer=scorer)
    assert 0 < scorer.clips < 49  # all there are


class Held(Brightness):
    """Does not answer for its first batch until `go_on` says so."""

    def __init__(self, go_on: threading.Event) -> None:
        super().__init__()
        self.go_on, self.waited = go_on, False

    def predict(self, frames: np.ndarray) -> np.ndarray:
        self.waited = self.go_on.wait(20) if self.clips == 0 else self.waited
        return super().predict(frames)


def test_footage_is_read_on_while_a_batch_is_classified(footage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(run, "_AHEAD", 1)
    read = 0
    read_on = threading.Event()
    as_it_is = FilePiece.segments

    def counted(piece: FilePiece, camera: str) -> Iterator[Segment | SegmentError]:
        nonlocal read
        for segment in as_it_is(piece, camera):
            read += 1
            if read > 3:  # two may wait for a decoder, and one or two are in the batch that is held
                read_on.set()
            yield segment

    monkeypatch.setattr(FilePiece, "segments", counted)
    scorer = Held(read_on)
    found = replayed([footage], tmp_path / "held", start_us=START_US, scorer=scorer)
    assert scorer.waited, "nothing was read while the first batch was classified"
    assert said(found, "gate") == said(replayed([footage], tmp_path / "whole", start_us=START_US), "gate")


def test_progress_counts_footage_that_is_classified(footage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(run, "_AHEAD", 1)
    scorer, shown = Brightness(), list[tuple[float, int]]()
    replayed(
        [footage],
        tmp_path,
        scorer=scorer,
        progress=lambda what, done, total: shown.append((done, scorer.clips)) if what == "classifying" else None,
    )
    assert len(shown) > 4
    assert shown[-1] == (pytest.approx(20.0), scorer.clips)
    # A window of 0.8 s begins every 0.4 s; the newest one or two wait for footage that is not there yet.
    assert all(clips >= done / 0.4 - 3 for done, clips in shown)


def test_error_of_the_model_ends_a_replay(footage: Path, tmp_path: Path):
    class Broken(Brightness):
        def predict(self, frames: np.ndarray) -> np.ndarray:
            raise RuntimeError(f"cannot run {len(frames)} clips")

    with pytest.raises(RuntimeError, match="cannot run"):
        replayed([footage], tmp_path, scorer=Broken())
    assert not list(tmp_path.glob("*.lock"))


def test_damaged_trace_is_made_anew(footage: Path, tmp_path: Path):
    whole = said(replayed([footage], tmp_path, start_us=START_US), "gate")
    (trace,) = tmp_path.glob("*.npz")
    trace.write_bytes(trace.read_bytes()[:100])
    assert said(replayed([footage], tmp_path, start_us=START_US), "gate") == whole


def test_oldest_traces_go_when_the_bound_is_reached(footage: Path, tmp_path: Path):
    replayed([footage], tmp_path)
    (trace,) = tmp_path.glob("*.npz")
    for number in range(5):
        shutil.copy(trace, tmp_path / f"{number}.npz")
        os.utime(tmp_path / f"{number}.npz", (number, number))
    (tmp_path / ".5.npz.4711").write_bytes(b"what a killed replay left of a write")
    os.utime(tmp_path / ".5.npz.4711", (5, 5))
    TraceStore(tmp_path, max_bytes=3 * trace.stat().st_size).trim()
    assert sorted(p.name for p in tmp_path.glob("*.npz*")) == sorted(["3.npz", "4.npz", trace.name])
    assert not (tmp_path / ".5.npz.4711").exists()


def cut_off_parts(footage: Path, folder: Path) -> list[Path]:
    """The parts of a replay that was cut off."""

    def cut(name: str, done: float, total: float) -> None:
        if name == "classifying" and done >= 12:
            raise CutOffError

    with pytest.raises(CutOffError):
        replayed([footage], folder, start_us=START_US, progress=cut)
    parts = sorted(folder.glob("*.part.npz"))
    assert len(parts) > 2
    for number, part in enumerate(parts):
        os.utime(part, (number, number))
    return parts


def test_parts_of_a_trace_are_trimmed_together_and_not_while_somebody_adds_to_them(
    footage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(run, "_PART_SECONDS", 0.0)
    monkeypatch.setattr(run, "_AHEAD", 1)
    parts = cut_off_parts(footage, tmp_path)
    size = sum(part.stat().st_size for part in parts)
    (tmp_path / "newer.npz").write_bytes(b"x")
    owner, other = TraceStore(tmp_path), TraceStore(tmp_path, max_bytes=size)
    key = parts[0].name.split(".")[0]
    assert owner.claim(key)
    other.trim()
    assert sorted(tmp_path.glob("*.part.npz")) == parts, "the bound is for what nobody works on"
    owner.release(key)
    (tmp_path / "newer.npz").write_bytes(b"x")
    other.trim()
    assert [path.name for path in tmp_path.iterdir()] == ["newer.npz"]


@pytest.mark.parametrize("lost", [0, 1])
def test_parts_of_which_one_is_gone_are_made_anew(
    footage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: int
):
    monkeypatch.setattr(run, "_PART_SECONDS", 0.0)
    monkeypatch.setattr(run, "_AHEAD", 1)
    whole = said(replayed([footage], tmp_path / "whole", start_us=START_US), "gate")
    cut_off_parts(footage, tmp_path / "traces")[lost].unlink()
    assert said(replayed([footage], tmp_path / "traces", start_us=START_US), "gate") == whole
    assert not list((tmp_path / "traces").glob("*.part.npz"))


@pytest.fixture
def recorded(footage: Path) -> tuple[MemoryTransport, list, list, Overheard]:
    """Three cameras on the topics of a broker, and what a worker said of `gate`."""
    transport = MemoryTransport()
    live(footage, "hall", START_US + 5_000_000, transport=transport)
    predictions, events, sink = live(footage, "gate", START_US, transport=transport)
    return transport, predictions, events, sink


TOPIC = f"kafka://{SETTINGS.topics.segments}"


def test_recorded_topic_says_what_the_worker_said(recorded, tmp_path: Path):
    transport, predictions, events, _ = recorded
    found = replayed([f"{TOPIC}?camera=gate"], tmp_path, transport=transport)
    assert said(found, "gate") == (predictions, events)
    everything = replayed([TOPIC], tmp_path, transport=transport)
    assert {timeline.camera for timeline in everything.timelines} == {"gate", "hall"}
    assert everything.kept_seconds == pytest.approx(found.seconds)


def test_part_of_a_topic_by_time_and_by_offset_gives_the_windows_that_lie_in_it(recorded, tmp_path: Path):
    transport, predictions, _, _ = recorded
    # 8 s to 14 s of the footage; windows that lie in segments of which all is there.
    source = f"{TOPIC}?camera=gate&from=2023-11-14T22:13:28.123456Z&to=2023-11-14T22:13:34.123456%2B00:00"
    by_time, _ = said(replayed([source], tmp_path, transport=transport), "gate")
    assert 8 < len(by_time) < len(predictions)
    assert all(p in predictions for p in by_time)
    by_offset, _ = said(replayed([f"{TOPIC}?camera=gate&from=2&to=6"], tmp_path, transport=transport), "gate")
    assert 0 < len(by_offset) < len(predictions)
    assert all(p in predictions for p in by_offset)


def test_damaged_record_of_a_topic_is_a_gap_as_it_is_for_a_worker(footage: Path, tmp_path: Path):
    good = MemoryTransport()
    live(footage, "gate", START_US, transport=good)
    damaged = MemoryTransport()
    ensure_topics(damaged, SETTINGS.topics)
    producer = damaged.producer()
    records = list(good.read(good.offsets(SETTINGS.topics.segments)))
    for number, record in enumerate(records):
        value = record.value or b""
        if number == 4:
            value = value[: len(value) // 2]
        producer.send(record.topic, record.key or b"", record.headers, value)
    heard = Overheard(damaged)
    work_off(Worker(heard, Brightness(), replays.SPEC, RULES, SETTINGS))
    found = replayed([f"{TOPIC}?camera=gate"], tmp_path, transport=damaged)
    assert said(found, "gate") == ([told(p) for p in heard.predictions], [told(e) for e in heard.events])
    assert "truncated" in found.timelines[0].pieces[0].trace.problems[0]


DAY_US = 86_400_000_000


@pytest.fixture(scope="module")
def jumbled(tmp_path_factory: pytest.TempPathFactory) -> MemoryTransport:
    """A topic with an archive behind newer footage, the archive again, and a damaged record."""
    path = tmp_path_factory.mktemp("jumbled") / "gate.mp4"
    write_video(path, 75, rate=25, gop=10, size=(64, 48), frame=blinking((15, 40), (65, 75)))
    good, jumbled = MemoryTransport(), MemoryTransport()
    for transport in (good, jumbled):
        ensure_topics(transport, SETTINGS.topics)
    for start_us in (START_US, START_US - DAY_US, START_US - DAY_US):
        attach(
            str(path),
            "gate",
            good.producer(),
            SETTINGS.topics.segments,
            limits=SegmentLimits(min_seconds=0.4, max_seconds=0.4),
            pace="max",
            start_us=start_us,
        )
    records = list(good.read(good.offsets(SETTINGS.topics.segments)))
    assert len(records) > 20
    producer = jumbled.producer()
    for number, record in enumerate(records):
        value = record.value or b""
        damaged = value[: len(value) // 2] if number == 5 else value
        producer.send(record.topic, record.key or b"", record.headers, damaged)
    return jumbled


def listened(transport: MemoryTransport) -> tuple[list, list, Worker]:
    """What one worker says of all that lies on a topic; and the worker."""
    heard = Overheard(transport)
    settings = SETTINGS.model_copy(update={"worker": SETTINGS.worker.model_copy(update={"group": str(uuid.uuid4())})})
    worker = Worker(heard, Brightness(), replays.SPEC, RULES, settings)
    work_off(worker)
    return [told(p) for p in heard.predictions], [told(e) for e in heard.events], worker


def test_archive_behind_newer_footage_and_sent_twice_says_what_the_worker_said(
    jumbled: MemoryTransport, tmp_path: Path
):
    predictions, events, worker = listened(jumbled)
    found = replayed([TOPIC], tmp_path, transport=jumbled)
    assert said(found, "gate") == (predictions, events)
    assert len(events) > 2
    assert len({p[2] for p in predictions}) == len(predictions)  # what is sent twice is told once
    (timeline,) = found.timelines
    assert timeline.seconds == pytest.approx(2 * 3, abs=0.5)
    assert timeline.begin_us == START_US - DAY_US
    assert timeline.end_us == START_US + 3_000_000
    counts, trace = worker.counts["gate"], timeline.pieces[0].trace
    assert counts.dead_lettered > 0
    assert (trace.frames, trace.lost_frames) == (counts.frames, counts.dead_lettered)


@pytest.mark.slow
@pytest.mark.parametrize("stride_us", [400_000, 800_000, 1_200_000], ids=["overlapping", "touching", "apart"])
def test_replay_goes_on_wherever_it_was_cut_off(
    jumbled: MemoryTransport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stride_us: int
):
    monkeypatch.setattr(run, "_PART_SECONDS", 0.0)
    monkeypatch.setattr(run, "_AHEAD", 0.5)  # and an item at a time
    monkeypatch.setattr(run, "_BATCHES", 1)
    monkeypatch.setattr(replays, "SPEC", replace(replays.SPEC, stride_us=stride_us))
    whole = replayed([TOPIC], tmp_path / "whole", transport=jumbled)
    assert said(whole, "gate") == listened(jumbled)[:2]
    complete = whole.timelines[0].pieces[0].trace
    assert len(complete.problems) == 1

    stops = 0
    while True:
        left = iter(range(stops))

        def cut(name: str, done: float, total: float, left: Iterator[int] = left) -> None:
            if name == "classifying" and next(left, None) is None:
                raise CutOffError

        folder, scorer = tmp_path / str(stops), Brightness()
        try:
            replayed([TOPIC], folder, transport=jumbled, progress=cut)
            break
        except CutOffError:
            pass
        found = replayed([TOPIC], folder, transport=jumbled, scorer=scorer)
        assert said(found, "gate") == said(whole, "gate"), stops
        trace = found.timelines[0].pieces[0].trace
        assert (trace.problems, trace.lost_frames) == (complete.problems, complete.lost_frames), stops
        assert (trace.frames, trace.seconds) == (complete.frames, complete.seconds), stops
        stops += 1
    assert stops > 20


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        (["/no/such"], "/no/such: no such file or folder"),
        (["rtsp://camera/1"], "expected a file, a folder or kafka://topic"),
        (["kafka://t?kamera=x"], "found 'kamera'"),
        (["kafka://t?camera=a b/"], "camera id"),
        (["kafka://t?camera=x&from=yesterday"], "'yesterday' is neither an offset nor a time"),
        (["kafka://t?camera=x&from=1&to=2026-11-24T08:00:00Z"], "both as offsets or both as times"),
        (["kafka://t?from=1"], "'camera' is needed"),
        (["kafka://t?camera=x&from=5&to=5"], "expected 'from' before 'to'"),
        (["kafka://t?from=2026-11-24T09:00:00Z&to=2026-11-24T08:00:00Z"], "expected 'from' before 'to'"),
    ],
)
def test_source_that_cannot_be_replayed_is_named(sources: list[str], words: str):
    transport = MemoryTransport()
    with pytest.raises(SourceError, match=words.replace("?", r"\?")) as caught:
        find_recordings(sources, None, None, SegmentLimits(), lambda: transport)
    assert sources[0] in str(caught.value)


def test_two_files_of_one_name_are_not_silently_one_camera(footage: Path, tmp_path: Path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shutil.copy(footage, tmp_path / folder / "x.mp4")
    with pytest.raises(SourceError, match="would both be camera 'x'"):
        find_recordings(
            [str(tmp_path / "a"), str(tmp_path / "b" / "x.mp4")], None, None, SegmentLimits(), MemoryTransport
        )


def test_unreadable_file_among_others_is_left_out_and_named(footage: Path, tmp_path: Path):
    shutil.copy(footage, tmp_path / "good.mp4")
    (tmp_path / "bad.mp4").write_bytes(b"nothing of the kind")
    recordings, left_out = find_recordings([str(tmp_path)], None, None, SegmentLimits(), MemoryTransport)
    assert [r.camera for r in recordings] == ["good"]
    assert len(left_out) == 1
    assert "bad.mp4: cannot be opened as video" in left_out[0]


def test_camera_without_a_readable_frame_costs_its_own_figures_only(footage: Path, tmp_path: Path):
    folder = tmp_path / "footage"
    folder.mkdir()
    shutil.copy(footage, folder / "good.mp4")
    whole = write_video(tmp_path / "whole.mkv", 50, rate=25, size=(64, 48))
    cut = whole.read_bytes().index(b"\x1f\x43\xb6\x75") + 40  # in the first frame of Matroska's first cluster
    (folder / "bad.mkv").write_bytes(whole.read_bytes()[:cut])
    found = replayed([folder], tmp_path / "traces")
    assert [timeline.camera for timeline in found.timelines] == ["good"]
    assert len(found.unreadable) == 1
    assert "camera bad: no frame could be read" in found.unreadable[0]
    (folder / "good.mp4").unlink()
    with pytest.raises(SourceError, match="camera bad: no frame could be read"):
        replayed([folder], tmp_path / "traces")


def test_another_version_of_the_engine_makes_predictions_of_its_own(
    footage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    replayed([footage], tmp_path, scorer=(first := Brightness()))
    monkeypatch.setattr("consumers.replaying.replay.engine_version", lambda _: "2099.1")
    replayed([footage], tmp_path, scorer=(second := Brightness()))
    assert first.clips == second.clips > 0
