"""What the agent makes of files: nothing is lost uncounted, and time goes on from one to the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stream import Attached, Feed, MemoryTransport, Packet, Segment, SourceError, Topic, attach
from stream.broker import records as records_module
from tests.videos import write_video

START_US = 1_700_000_000_000_000
QUICK = {"options": {"bf": "0", "preset": "ultrafast", "sc_threshold": "0"}, "rate": 25, "size": (64, 48)}


def send(transport: MemoryTransport, uri: Path, **how) -> Attached:
    transport.ensure_topics([Topic("segments", 1)])
    return attach(str(uri), "lobby", transport.producer(), "segments", pace="max", start_us=START_US, **how)


def run(uri: Path, **how) -> tuple[Attached, list[Segment]]:
    transport = MemoryTransport()
    return send(transport, uri, **how), received(transport)


def received(transport: MemoryTransport) -> list[Segment]:
    records = []
    consumer = transport.consumer(["segments"])
    while more := consumer.poll(0.0).records:
        records += more
    return [Segment.decode(r.key, r.headers, r.value, r.where) for r in records]


@pytest.fixture
def folder(tmp_path) -> Path:
    for name in ("a", "b", "c"):
        write_video(tmp_path / f"{name}.mp4", 50, gop=10, **QUICK)
    return tmp_path


def break_off(monkeypatch: pytest.MonkeyPatch, name: str, after: int) -> None:
    """Reading the file `name` fails after so many packets, as on a disk that goes away."""
    packets = Feed.packets

    def broken(feed: Feed) -> Iterator[Packet]:
        for number, packet in enumerate(packets(feed)):
            if feed.name.endswith(name) and number == after:
                raise SourceError(f"{feed.name}: reading failed (Input/output error)")
            yield packet

    monkeypatch.setattr(Feed, "packets", broken)


def test_files_of_a_folder_follow_one_another_in_time_each_as_an_epoch(folder):
    state, segments = run(folder)
    assert state.frames == sum(s.frames for s in segments) == 150
    assert sorted({s.epoch_us for s in segments}) == [START_US + n * 2_000_000 for n in range(3)]
    assert sum(s.is_end for s in segments) == 3
    assert state.segments == len(segments) - 3


def test_a_file_whose_reading_fails_halfway_is_sent_as_far_as_it_went_and_ended(folder, monkeypatch):
    break_off(monkeypatch, "b.mp4", 33)
    state, segments = run(folder)
    (failure,) = state.failures
    assert failure.endswith("b.mp4: reading failed (Input/output error)")
    assert state.frames == sum(s.frames for s in segments) == 50 + 33 + 50
    epochs = sorted({s.epoch_us for s in segments})
    assert epochs == [START_US, START_US + 2_000_000, START_US + 2_000_000 + 33 * 40_000]
    assert [sum(s.is_end for s in segments if s.epoch_us == e) for e in epochs] == [1, 1, 1]


def test_the_only_file_whose_reading_fails_is_an_error_after_what_was_read(folder, monkeypatch):
    break_off(monkeypatch, "b.mp4", 33)
    transport = MemoryTransport()
    with pytest.raises(SourceError, match="reading failed"):
        send(transport, folder / "b.mp4")
    assert sum(s.frames for s in received(transport)) == 33
    assert received(transport)[-1].is_end


def test_frames_that_are_left_out_at_the_very_end_are_told_with_an_end_mark(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", 100, gop=100, **QUICK)
    whole = Feed.packets

    def without_a_timestamp(feed: Feed) -> Iterator[Packet]:
        # One group of pictures: behind a packet that tells no time there is no keyframe to go on from.
        return (replace(p, pts=None, dts=None) if n == 40 else p for n, p in enumerate(whole(feed)))

    monkeypatch.setattr(Feed, "packets", without_a_timestamp)
    state, segments = run(path)
    assert state.skipped == {"no_timestamp": 60}
    assert state.frames == sum(s.frames for s in segments) == 40
    assert segments[-1].is_end
    assert segments[-1].skipped == {"no_timestamp": 60}


def test_frames_of_a_segment_that_is_too_large_are_counted_and_leave_a_hole(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", 100, gop=25, **QUICK)
    _, segments = run(path)
    sizes = sorted(len(s.data) for s in segments)
    monkeypatch.setattr(records_module, "MAX_RECORD_BYTES", sizes[-1] + 50)  # headers need more
    state, received = run(path)
    assert state.skipped["too_large"] > 0
    assert state.frames + state.skipped.total() == 100
    assert sum(s.frames + sum(s.skipped.values()) for s in received) == 100, "who reads the topic knows of them, too"
    assert len(received) < len(segments)
    assert {s.sequence for s in received} < {s.sequence for s in segments}


def test_footage_that_is_looped_goes_on_in_time(tmp_path):
    path = write_video(tmp_path / "a.mp4", 25, gop=25, **QUICK)
    rounds: list[int] = []

    def stop() -> bool:
        return len(rounds) >= 3

    _, segments = run(path, loop=True, stop=stop, progress=lambda state: rounds.append(state.segments))
    epochs = sorted({s.epoch_us for s in segments})
    assert epochs[:2] == [START_US, START_US + 1_000_000]


def test_a_folder_in_which_nothing_can_be_read_is_an_error_that_says_why(tmp_path):
    (tmp_path / "a.mp4").write_text("no video")
    with pytest.raises(SourceError, match=r"no frame could be read .*a\.mp4: cannot be opened as video"):
        run(tmp_path)


def after(calls: int) -> Callable[[], bool]:
    """True from the call after so many on."""
    asked = iter(range(1000))
    return lambda: next(asked) > calls


def test_an_agent_that_is_stopped_leaves_no_hole_among_the_pictures_that_it_sent(tmp_path):
    """Pictures are stored in another order than they are shown in."""
    film = write_video(tmp_path / "film.mp4", 60, rate=25, gop=30, size=(64, 48), options={"bf": "3", "b_adapt": "0"})
    _, whole = run(film)
    stopped_amid = 0
    for stop_at in range(3, 40):
        _, sent = run(film, stop=after(stop_at))
        shown = [segment for segment in sent if not segment.is_end]
        assert [s.frames for s in shown] == [round(s.seconds * 25) for s in shown], stop_at
        stopped_amid += shown[-1].frames < whole[len(shown) - 1].frames
    assert stopped_amid > 20
