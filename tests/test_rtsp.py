"""A camera that speaks RTSP, through the agent and a broker, to segments that decode."""

from __future__ import annotations

import itertools
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

import pytest

from stream import (
    Attached,
    Decoder,
    Feed,
    Headers,
    KafkaTransport,
    Picture,
    Record,
    Segment,
    SourceError,
    Topic,
    attach,
    decode,
    display_name,
)
from stream.feeds import (
    agent,
    source,
)
from stream.services import Service
from tests.cameras import camera, need_rtsp
from tests.videos import write_video

PASSWORD = "hunter2"
FRAMES, RATE, GOP = 75, 25, 10


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_rtsp()
    path = tmp_path_factory.mktemp("camera") / "footage.mp4"
    return write_video(
        path, FRAMES, rate=RATE, gop=GOP, options={"bf": "0", "preset": "ultrafast", "sc_threshold": "0"}
    )


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "READ_TIMEOUT_SECONDS", 1.5)
    monkeypatch.setattr(agent, "RECONNECT_SECONDS", (0.2, 0.4))


class Attachment:
    """`attach` in a thread, and what arrives on its topic."""

    def __init__(self, uri: str, broker: Service, topic: str) -> None:
        transport = KafkaTransport(broker.address)
        transport.ensure_topics([Topic(topic, 1)])
        self.records: list[Record] = []
        self._producer, self._consumer = transport.producer(), transport.consumer([topic])
        self._stop = threading.Event()
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, args=(uri, topic))
        self._thread.start()

    def _run(self, uri: str, topic: str) -> None:
        try:
            self.state = attach(uri, "lobby", self._producer, topic, stop=self._stop.is_set)
        except SourceError as error:
            self.error = error

    def wait(self, holds: Callable[[list[Segment]], bool], seconds: float = 40.0) -> list[Segment]:
        deadline = time.monotonic() + seconds
        while not holds(self.segments) and time.monotonic() < deadline:
            self.records += self._consumer.poll(0.1).records
        assert holds(self.segments), self.segments
        return self.segments

    @property
    def segments(self) -> list[Segment]:
        return [Segment.decode(r.key, r.headers, r.value, r.where) for r in self.records]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=10)
        assert not self._thread.is_alive()
        self.records += self._consumer.poll(0.2).records
        self._producer.close()
        self._consumer.close()


def assert_decodable(segments: list[Segment]) -> None:
    """Every segment gives a picture for each of its frames, and an epoch is covered without a hole."""
    decoder, times, samples = Decoder(Picture(32, 32)), [], []
    for segment in segments:
        inside = decode(segment, [], Picture(32, 32)).frame_times_us if segment.frames else ()
        assert len(inside) == segment.frames
        decoded = decoder.decode(segment, inside)
        times += inside
        samples += decoded.late + decoded.samples
    assert [sample.frame_us for sample in samples] == times
    for one, other in itertools.pairwise(segments):
        if one.epoch_us == other.epoch_us:
            assert (other.start_us, other.sequence) == (one.end_us, one.sequence + 1)


def test_a_camera_becomes_segments_that_decode_and_cover_its_time(
    footage, embedded_broker, topics_prefix, impatient, caplog, capfd
):
    caplog.set_level(logging.DEBUG)
    before_us = time.time_ns() // 1000
    with (
        camera(footage, password=PASSWORD) as (port, _),
        Attachment(f"rtsp://admin:{PASSWORD}@127.0.0.1:{port}/cam", embedded_broker, topics_prefix) as attached,
    ):
        attached.wait(lambda segments: any(s.is_end for s in segments))
    attached.records = [
        r for r in attached.records if r.offset <= next(s.sequence for s in attached.segments if s.is_end)
    ]
    segments = attached.segments
    assert_decodable(segments)
    assert segments[0].epoch_us == segments[0].start_us
    assert before_us < segments[0].start_us < time.time_ns() // 1000
    # libav knows no time for the first picture of a session: what is left of its group of pictures goes with it.
    skipped = sum(sum(s.skipped.values()) for s in segments)
    assert skipped <= GOP
    frames = sum(s.frames for s in segments)
    assert frames + skipped == FRAMES
    assert sum(s.seconds for s in segments) == pytest.approx(frames / RATE, abs=0.1)
    seen = "".join(str(r) for r in attached.records).encode() + b"".join(r.value or b"" for r in attached.records)
    out, err = capfd.readouterr()
    for text in (seen, caplog.text.encode(), out.encode(), err.encode()):
        assert PASSWORD.encode() not in text
    assert "ended the stream" in caplog.text or "reading failed" in caplog.text


def test_a_camera_that_dies_is_tried_again_and_begins_a_new_epoch(footage, embedded_broker, topics_prefix, impatient):
    with camera(footage) as (port, server):
        attached = Attachment(f"rtsp://127.0.0.1:{port}/cam", embedded_broker, topics_prefix)
        with attached:
            attached.wait(lambda segments: any(s.frames for s in segments))
            server.kill()
            server.wait()
            first = attached.wait(lambda segments: any(s.is_end for s in segments))
            with camera(footage, port=port):
                attached.wait(lambda segments: any(s.frames and s.epoch_us > first[0].epoch_us for s in segments))
    segments = attached.segments
    assert_decodable(segments)
    epochs = sorted({s.epoch_us for s in segments})
    assert len(epochs) == 2
    first_end_us = max(s.end_us for s in segments if s.epoch_us == epochs[0])
    assert first_end_us <= epochs[1]
    assert next(s.epoch_us for s in segments if s.is_end) == epochs[0]
    assert attached.error is None


@pytest.mark.slow
def test_a_camera_that_stamps_25_pictures_a_second_and_sends_15_keeps_time(tmp_path, caplog):
    need_rtsp()
    footage = write_video(
        tmp_path / "slow.mp4",
        120,
        rate=25,
        gop=10,
        size=(64, 48),
        options={"bf": "0", "preset": "ultrafast", "sc_threshold": "0"},
    )
    late: list[float] = []

    class Sender:
        def send(self, topic: str, key: bytes, headers: Headers, value: bytes) -> None:
            late.append(time.time() - Segment.decode(key, headers, value, topic).end_us / 1e6)

        def flush(self) -> None: ...

    state = Attached()
    with camera(footage, sent_rate=15) as (port, _):
        attach(f"rtsp://127.0.0.1:{port}/cam", "slow", Sender(), "segments", stop=lambda: len(late) > 9, state=state)
    assert late[0] < 1.5  # its first pictures do not tell yet how fast the camera's clock is
    assert max(late[1:]) < 1.0  # 2.4 s where nobody sees to it
    assert state.drift_ppm > 100_000
    assert "camera slow: its clock is slow by " in caplog.text


@pytest.mark.slow
def test_an_epoch_never_begins_before_the_one_before_even_when_the_clock_was_set_back(
    footage, embedded_broker, topics_prefix, impatient, monkeypatch
):
    hours = itertools.count(1_000_000, -1)
    monkeypatch.setattr(agent.time, "time_ns", lambda: next(hours) * 3_600_000_000_000)
    with (
        camera(footage) as (port, _),
        Attachment(f"rtsp://127.0.0.1:{port}/cam", embedded_broker, topics_prefix) as attached,
    ):
        attached.wait(lambda segments: len({s.epoch_us for s in segments}) == 2)
    first, second = attached.segments[0].epoch_us, attached.segments[-1].epoch_us
    assert second >= max(s.end_us for s in attached.segments if s.epoch_us == first)


@contextmanager
def mute() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.mark.parametrize("password", ["p#w", "p/w?x", "p@w", "grün 1%", "p%23w"])
def test_a_password_is_taken_as_it_is_typed(footage, password):
    with camera(footage, password=password) as (port, _):
        typed = password.replace("%23", "%2523")  # what looks escaped is taken as escaped
        with Feed(f"rtsp://admin:{typed}@127.0.0.1:{port}/cam") as feed:
            assert next(iter(feed.packets())).keyframe


def test_where_a_password_cannot_be_told_from_a_port_the_character_is_named():
    with pytest.raises(SourceError, match=r"if the password holds '/', write '/' as %2F\)") as caught:
        Feed("rtsp://localhost:1/34@127.0.0.1:1/cam")
    assert "34" not in str(caught.value)


@pytest.mark.parametrize("kind", ["silent", "closed", "wrong password", "wrong path"])
def test_a_camera_that_never_answers_is_one_clear_error_in_bounded_time(
    kind, request, embedded_broker, topics_prefix, impatient, monkeypatch
):
    with ExitStack() as stack:
        login, path = f"admin:{PASSWORD}", "cam"
        if kind == "silent":
            monkeypatch.setattr(source, "OPEN_TIMEOUT_SECONDS", 1.0)
            port = stack.enter_context(mute())
        elif kind == "closed":
            port = 1
        else:
            port, _ = stack.enter_context(camera(request.getfixturevalue("footage"), password=PASSWORD))
            login, path = ("admin:letmein", path) if kind == "wrong password" else (login, "other")
        producer = KafkaTransport(embedded_broker.address).producer()
        stack.callback(producer.close)
        begin = time.monotonic()
        with pytest.raises(SourceError) as caught:
            attach(f"rtsp://{login}@127.0.0.1:{port}/{path}", "lobby", producer, topics_prefix)
    # Three attempts of 1 s, and the waits between them.
    assert time.monotonic() - begin < 20
    message = str(caught.value)
    assert message.startswith(f"rtsp://127.0.0.1:{port}/")
    assert {"silent": "", "closed": "refused", "wrong password": "401", "wrong path": "404"}[kind] in message
    assert PASSWORD not in message
    assert "letmein" not in message


def test_a_camera_that_falls_silent_is_an_error_in_bounded_time(footage, impatient):
    with camera(footage) as (port, server), Feed(f"rtsp://127.0.0.1:{port}/cam") as feed:
        packets = feed.packets()
        next(packets)
        os.kill(server.pid, signal.SIGSTOP)  # the connection stays, nothing comes
        try:
            begin = time.monotonic()
            with pytest.raises(SourceError, match=f"rtsp://127.0.0.1:{port}/cam: reading failed"):
                list(packets)
            assert time.monotonic() - begin < 20
        finally:
            os.kill(server.pid, signal.SIGCONT)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("rtsp://10.0.0.7:554/live", "rtsp://10.0.0.7:554/live"),
        ("rtsp://[fe80::1]:554/live", "rtsp://[fe80::1]:554/live"),
        ("rtsp://admin:hunter2@10.0.0.7/live", "rtsp://10.0.0.7/live"),
        ("rtsp://admin:hun@ter2@10.0.0.7/live", "rtsp://10.0.0.7/live"),
        ("rtsp://admin:hun/ter2@10.0.0.7/live", "rtsp://10.0.0.7/live"),
        ("rtsp://10.0.0.7/live?channel=1&password=hunter2", "rtsp://10.0.0.7/live?channel=1&password=…"),
        ("rtsp://10.0.0.7/user=admin&password=hunter2&channel=1", "rtsp://10.0.0.7/user=…&password=…&channel=1"),
        ("rtsp://10.0.0.7/user=admin_password=hunter2_channel=1", "rtsp://10.0.0.7/user=…"),
        ("footage/a@b.mp4", "footage/a@b.mp4"),
    ],
)
def test_the_name_of_a_camera_is_its_address_without_its_secrets(uri, shown):
    assert display_name(uri) == shown


def test_an_address_of_another_kind_is_refused_without_its_secrets(embedded_broker, topics_prefix):
    producer = KafkaTransport(embedded_broker.address).producer()
    with pytest.raises(
        SourceError, match=r"gopher://10\.0\.0\.7/x: expected a file, a folder or a camera's address \(rtsp, "
    ) as caught:
        attach("gopher://admin:hunter2@10.0.0.7/x", "lobby", producer, topics_prefix)
    producer.close()
    assert "hunter2" not in str(caught.value)
