"""All cameras in one process: what becomes of each is its own, and is known."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from stream import (
    Attached,
    BrokerError,
    Feed,
    FeedState,
    FeedWatch,
    FleetCamera,
    MemoryTransport,
    Packet,
    Reading,
    SegmentLimits,
    SourceError,
    Topic,
    attach,
    attach_all,
)
from stream.feeds import agent
from tests.videos import write_video

QUICK = {"options": {"bf": "0", "preset": "ultrafast", "sc_threshold": "0"}, "rate": 25, "size": (64, 48)}
PASSWORD = "hunter2"
DEAD = f"rtsp://admin:{PASSWORD}@127.0.0.1:1/cam"


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "RECONNECT_SECONDS", (0.05, 0.1))


@pytest.fixture
def film(tmp_path) -> Path:
    return write_video(tmp_path / "film.mp4", 50, gop=10, **QUICK)


class Fleet:
    """`attach_all` in a thread, with the newest states and all that was ever told."""

    def __init__(self, cameras: Sequence[FleetCamera], sender=None, **how: Callable[[str], str | None]) -> None:
        transport = MemoryTransport()
        transport.ensure_topics([Topic("segments", 1)])
        self._consumer = transport.consumer(["segments"])
        self.states: dict[str, FeedState] = {}
        self.statuses: dict[str, list[str]] = {}
        self._stop = threading.Event()
        self.error: Exception | None = None
        sender = sender or transport.producer()
        self._thread = threading.Thread(target=self._run, args=(cameras, sender, how), daemon=True)
        self._thread.start()

    def _run(self, cameras, sender, how) -> None:
        try:
            limits = SegmentLimits(min_seconds=0.2, max_seconds=0.4)
            attach_all(cameras, sender, "segments", limits=limits, stop=self._stop.is_set, tell=self._tell, **how)
        except BrokerError as error:
            self.error = error

    def _tell(self, states: Sequence[FeedState]) -> None:
        for one in states:
            self.states[one.camera] = one
            seen = self.statuses.setdefault(one.camera, [])
            if seen[-1:] != [one.status]:
                seen.append(one.status)

    def until(self, holds: Callable[[], bool], seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not holds() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert holds(), self.states

    def end(self) -> None:
        self._stop.set()
        self._thread.join(timeout=10)
        assert not self._thread.is_alive()

    def status(self, camera: str) -> str | None:
        return self.states[camera].status if camera in self.states else None


def test_one_cameras_failure_touches_no_other(film, monkeypatch, caplog):
    monkeypatch.setattr("stream.feeds.state.QUIET_SECONDS", 1.0)
    opened = Feed.__init__

    def open_feed(feed: Feed, uri: str, reading: Reading | None = None) -> None:
        if uri.endswith("buggy"):
            raise RuntimeError("a mistake of ours")
        opened(feed, uri, reading)

    monkeypatch.setattr(Feed, "__init__", open_feed)
    fleet = Fleet(
        [
            FleetCamera("good", str(film), loop=True),
            FleetCamera("dead", DEAD),
            FleetCamera("absent", "/no/such.mp4"),
            FleetCamera("buggy", "rtsp://127.0.0.1/buggy"),
        ]
    )
    fleet.until(lambda: all(fleet.status(c) == "failed" for c in ("dead", "absent", "buggy")))
    fleet.until(lambda: fleet.status("good") == "live" and fleet.states["good"].frames > 20)
    fleet.end()
    assert fleet.states["good"].frames > 20
    assert fleet.states["good"].frames_per_second == 0.0
    assert {one.status for one in fleet.states.values()} == {"ended"}
    assert "camera dead: no data for" in caplog.text
    assert "(connection refused)" in caplog.text
    assert "camera buggy: unexpected error" in caplog.text
    assert PASSWORD not in caplog.text


def test_why_a_camera_gives_nothing_is_told_without_its_address(tmp_path):
    fleet = Fleet([FleetCamera("dead", DEAD), FleetCamera("absent", str(tmp_path / "secret-place.mp4"))])
    fleet.until(lambda: all(one.why for one in fleet.states.values()) and len(fleet.states) == 2)
    whys = {name: one.why for name, one in fleet.states.items()}
    fleet.end()
    assert whys == {"dead": "connection refused", "absent": "no such file or folder"}


def test_a_camera_that_was_never_there_is_live_once_it_comes(tmp_path, film):
    late = tmp_path / "late.mp4"
    fleet = Fleet([FleetCamera("late", str(late), loop=True)])
    fleet.until(lambda: fleet.status("late") == "opening" and fleet.states["late"].why is not None)
    film.rename(late)
    fleet.until(lambda: fleet.status("late") == "live")
    seen = fleet.states["late"]
    fleet.end()
    assert (seen.codec, seen.width, seen.height) == ("h264", 64, 48)
    assert fleet.statuses["late"] == ["opening", "live", "ended"]


def test_a_camera_is_read_once_it_is_admitted_by_its_own_thread_and_its_state_says_why_not_before(film):
    why: dict[str, str | None] = {"late": "set aside until noon", "never": "set aside until midnight"}
    threads: dict[str, str] = {}

    def admit(camera: str) -> str | None:
        threads[camera] = threading.current_thread().name
        return why.get(camera)

    cameras = [FleetCamera(name, str(film), loop=True) for name in ("good", "late", "never")]
    fleet = Fleet(cameras, admit=admit)
    fleet.until(lambda: fleet.status("good") == "live")
    assert fleet.states["late"].frames == 0
    assert (fleet.states["late"].why, fleet.states["late"].code) == ("set aside until noon", "set-aside")
    why["late"] = None
    fleet.until(lambda: fleet.status("late") == "live")
    assert fleet.states["late"].why is None
    fleet.end()
    assert fleet.states["never"].frames == 0
    assert threads == {name: f"camera {name}" for name in ("good", "late", "never")}


def test_footage_that_is_over_has_ended_and_the_fleet_with_it(tmp_path):
    path = write_video(tmp_path / "short.mp4", 12, gop=12, **QUICK)
    fleet = Fleet([FleetCamera("short", str(path))])
    fleet._thread.join(timeout=10)
    assert not fleet._thread.is_alive()
    assert fleet.states["short"].status == "ended"
    assert fleet.states["short"].why == "the footage is over"
    assert fleet.states["short"].frames == 12


def test_a_broker_that_is_gone_ends_the_fleet(film):
    class Gone:
        def send(self, *_: object) -> None:
            raise BrokerError("the broker is gone")

        def flush(self) -> None: ...

    fleet = Fleet([FleetCamera("good", str(film)), FleetCamera("dead", DEAD)], Gone())
    fleet._thread.join(timeout=10)
    assert not fleet._thread.is_alive()
    assert str(fleet.error) == "the broker is gone"


@pytest.mark.parametrize(
    ("seconds", "steady", "pauses"),
    # Of two seconds of video: to read them at once takes a moment, too.
    [(0.5, 0.3, [1.0, 1.0, 1.0, 1.0]), (0.0, 1.9, [1.0, 2.0, 4.0, 4.0])],
    ids=["given", "all at once"],
)
def test_pauses_grow_until_a_camera_has_given_video_for_a_while(film, monkeypatch, seconds, steady, pauses):
    class Camera(Feed):
        """Gives two seconds of video in `seconds`, then the stream ends."""

        def packets(self) -> Iterator[Packet]:
            for packet in super().packets():
                time.sleep(seconds / 50)
                yield packet

    waited: list[float] = []
    monkeypatch.setattr(agent, "RECONNECT_SECONDS", (1.0, 4.0))
    monkeypatch.setattr(agent, "STEADY_SECONDS", steady)
    monkeypatch.setattr(agent, "wait", lambda seconds, _: waited.append(seconds))
    monkeypatch.setattr(agent, "Feed", lambda *_: Camera(str(film)))
    transport = MemoryTransport()
    transport.ensure_topics([Topic("segments", 1)])
    attach("rtsp://127.0.0.1/cam", "gate", transport.producer(), "segments", stop=lambda: len(waited) == len(pauses))
    assert waited == pauses


def test_the_first_error_is_the_one_that_is_told(film, monkeypatch):
    class Breaking:
        errors = iter(["the broker is gone", "the broker is still gone"])

        def send(self, *_: object) -> None:
            raise BrokerError(next(self.errors))

        def flush(self) -> None: ...

    monkeypatch.setattr(agent, "Feed", lambda *_: Feed(str(film)))
    with pytest.raises(BrokerError, match="the broker is gone"):
        attach("rtsp://127.0.0.1/cam", "gate", Breaking(), "segments")


def test_what_an_agent_sends_begins_where_the_one_before_ended(film, monkeypatch):
    monkeypatch.setattr(agent, "Feed", lambda *_: Feed(str(film)))
    transport = MemoryTransport()
    transport.ensure_topics([Topic("segments", 1)])
    ahead_us = time.time_ns() // 1000 + 3_000_000
    state = Attached(end_us=ahead_us)
    producer = transport.producer()
    attach("rtsp://127.0.0.1/cam", "gate", producer, "segments", stop=lambda: state.segments > 0, state=state)
    begins = [r.headers for r in transport.read({("segments", 0): (0, 1)})]
    assert int(dict(begins[0])["epoch-us"]) == ahead_us


def test_a_camera_that_never_answered_is_given_up_only_where_somebody_waits_for_it(monkeypatch):
    waited: list[float] = []
    monkeypatch.setattr(agent, "wait", lambda seconds, _: waited.append(seconds))
    producer = MemoryTransport().producer()
    with pytest.raises(SourceError, match="refused"):
        attach(DEAD, "gate", producer, "segments")
    assert len(waited) == agent.FIRST_ATTEMPTS - 1
    attach(DEAD, "gate", producer, "segments", first_attempts=None, stop=lambda: len(waited) > 10)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_state_says_what_segments_say_and_how_long_ago():
    clock = Clock()
    watch = FeedWatch("gate", clock=clock, wall_us=lambda: round(clock.now * 1e6))
    attached = Attached()

    def at(seconds: float, **changes) -> tuple[str, int, str | None]:
        clock.now = seconds
        for name, value in changes.items():
            setattr(attached, name, value)
        watch.update(attached)
        now = watch.state()
        return now.status, now.since_us // 1_000_000, now.why

    assert at(1) == ("connecting", 0, None)
    assert at(2, problem="connection refused") == ("connecting", 0, "connection refused")
    assert at(11) == ("failed", 11, "connection refused")
    assert at(30, problem=None) == ("stalled", 30, None)  # connected, and nothing comes
    assert at(32, segments=1, frames=50) == ("live", 32, None)
    assert at(41) == ("live", 32, None)
    assert at(43) == ("stalled", 43, None)
    assert at(45, segments=2, frames=100) == ("live", 45, None)
    assert at(46, problem="the camera ended the stream") == ("connecting", 46, "the camera ended the stream")
    assert at(60) == ("failed", 60, "the camera ended the stream")
    assert watch.state().code == "closed"
    watch.end("the agent stopped")
    assert at(61) == ("ended", 61, "the agent stopped")
    assert watch.state().code == "stopped"
    assert watch.state().data_us == 45_000_000


def test_footage_is_opened_and_no_camera_is_connected_to():
    assert FeedWatch("gate", is_footage=True).state().status == "opening"


def test_frames_a_second_are_those_of_the_last_seconds():
    clock = Clock()
    watch, attached = FeedWatch("gate", clock=clock), Attached()
    for second in range(1, 40):
        clock.now = second
        attached.segments, attached.frames = second, second * 25 if second < 20 else 500 + (second - 20) * 10
        watch.update(attached)
        rate = watch.state().frames_per_second
        if second == 15:
            assert rate == pytest.approx(25, abs=2)
    assert rate == pytest.approx(10, abs=1)
