"""Cameras and footage that are attached while their broker is killed and comes back with its data."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from consumers.records.states.process import ProcessInfo
from consumers.running import attaching as attaching_module
from consumers.running.attaching import attach_camera
from consumers.running.ending import Ending
from consumers.settings import Settings, SettingsError
from stream import Attached, BrokerError, KafkaTransport, Reading, Segment
from stream.services import ApacheBroker, EmbeddedBroker
from tests.cameras import camera, need_rtsp
from tests.videos import write_video
from tests.waiting import eventually

QUICK = {"options": {"bf": "0", "preset": "ultrafast", "sc_threshold": "0"}, "rate": 25, "size": (64, 48), "gop": 10}


class Attaching:
    """`clipline attach` in a thread."""

    def __init__(self, settings: Settings, source: str, **how) -> None:
        self.ending = Ending()
        self.error: Exception | None = None
        self.state = Attached()
        self._how = {"take_over": False, "exit_after_seconds": None, "pace": "realtime", "start_us": None} | how
        self.thread = threading.Thread(target=self._run, args=(settings, source), daemon=True)
        self.thread.start()

    def _run(self, settings: Settings, source: str) -> None:
        def progress(state: Attached) -> None:
            self.state = state

        try:
            self.state = attach_camera(
                settings, source, "gate", loop=False, reading=Reading(), ending=self.ending,
                progress=progress, hear=lambda _: None, **self._how,
            )  # fmt: skip
        except (SettingsError, BrokerError) as error:
            self.error = error

    def end(self, seconds: float = 40.0) -> None:
        self.ending.ask()
        self.thread.join(seconds)
        assert not self.thread.is_alive()


def stored(settings: Settings) -> list[Segment]:
    transport = KafkaTransport(settings.kafka.split(",")[-1])
    ranges = transport.offsets(settings.topics.segments)
    return [Segment.decode(r.key, r.headers, r.value, r.where) for r in transport.read(ranges)]


def settings_for(address: str, folder: Path, **topics) -> Settings:
    return Settings.model_validate({"kafka": address, "spool": {"folder": folder / "spool"}, "topics": topics})


def assert_whole(segments: list[Segment]) -> None:
    """In order, nothing twice, no hole but one that is told."""
    places = [(s.epoch_us, s.sequence, s.is_end) for s in segments]
    assert places == sorted(places)
    assert [p for p, n in Counter(places).items() if n > 1] == []
    for before, after in itertools.pairwise(segments):
        if before.epoch_us == after.epoch_us:
            assert after.sequence == before.sequence + 1


@pytest.mark.slow  # starts Apache Kafka twice
@pytest.mark.parametrize("kind", ["film", "camera"])
def test_a_broker_that_is_killed_and_comes_back_with_its_data_has_every_segment_once_in_order(kind, tmp_path):
    if (reason := ApacheBroker.missing()) is not None:
        pytest.skip(reason)
    film = write_video(tmp_path / "gate.mp4", 500, **QUICK)
    with ExitStack() as stack:
        source = str(film)
        if kind == "camera":
            need_rtsp()
            number, _ = stack.enter_context(camera(film))
            source = f"rtsp://127.0.0.1:{number}/cam"
        with ApacheBroker(tmp_path / "data") as broker:
            address, port = broker.address, int(broker.address.rpartition(":")[2])
            settings = settings_for(address, tmp_path)
            attaching = Attaching(settings, source)
            stack.callback(attaching.ending.ask)
            assert eventually(lambda: attaching.state.segments >= 3)
        time.sleep(6)
        if kind == "camera":
            assert eventually(lambda: list((tmp_path / "spool").rglob("*.segment"))), "the camera went on"
        with ApacheBroker(tmp_path / "data", port=port):
            if kind == "film":
                attaching.thread.join(40)
            else:
                assert eventually(lambda: not list((tmp_path / "spool").rglob("*.segment")), 40)
            attaching.end()
            segments = stored(settings)
    assert attaching.error is None
    assert_whole(segments)
    told = sum(s.frames + sum(s.skipped.values()) for s in segments)
    assert told == attaching.state.frames + sum(attaching.state.skipped.values())
    assert kind == "camera" or told == 500


@pytest.mark.slow
def test_an_agent_that_begins_without_a_broker_waits_and_sends_everything(tmp_path):
    with EmbeddedBroker() as broker:
        address, port = broker.address, int(broker.address.rpartition(":")[2])
    settings = settings_for(address, tmp_path)
    attaching = Attaching(settings, str(write_video(tmp_path / "gate.mp4", 50, **QUICK)), pace="max")
    time.sleep(1.0)
    assert attaching.thread.is_alive()
    with EmbeddedBroker(port=port):
        attaching.thread.join(60)
        segments = stored(settings)
    assert sum(s.frames for s in segments) == 50
    assert_whole(segments)
    assert all(s.claim for s in segments)


def test_an_agent_gives_up_only_when_told_to_and_ends_soon_when_stopped(tmp_path):
    with EmbeddedBroker() as broker:
        address = broker.address
    film = str(write_video(tmp_path / "gate.mp4", 50, **QUICK))
    hasty = Attaching(settings_for(address, tmp_path), film, exit_after_seconds=1.0)
    patient = Attaching(settings_for(address, tmp_path), film)
    hasty.thread.join(40)
    assert isinstance(hasty.error, BrokerError)
    assert "has not answered for 1 s" in str(hasty.error)
    began = time.monotonic()
    patient.end()
    assert time.monotonic() - began < 20
    assert patient.state.unsent > 0


@pytest.mark.slow
def test_a_list_of_brokers_of_which_the_first_is_down_will_do(embedded_broker, tmp_path, topics_prefix):
    settings = settings_for(f"127.0.0.1:1,{embedded_broker.address}", tmp_path, prefix=topics_prefix)
    attaching = Attaching(settings, str(write_video(tmp_path / "gate.mp4", 50, **QUICK)), pace="max")
    attaching.thread.join(15)
    assert attaching.error is None
    assert sum(s.frames for s in stored(settings)) == 50


@pytest.mark.slow
@pytest.mark.parametrize("at_first", ["unknown", "127.0.0.2"])
def test_a_broker_whose_name_gets_another_address_is_found_there(
    embedded_broker, tmp_path, topics_prefix, monkeypatch, at_first
):
    """A name that stands for no address, or for one where nobody listens any more, is asked for again."""
    address, asked = [at_first], threading.Event()
    resolve = socket.getaddrinfo

    def resolved(host: object, *rest: object, **more: object) -> object:
        if host != "kafka.test":
            return resolve(host, *rest, **more)  # type: ignore[arg-type]
        asked.set()
        if address[0] == "unknown":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return resolve(address[0], *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    _, port = embedded_broker.address.split(":")
    settings = settings_for(f"kafka.test:{port}", tmp_path, prefix=topics_prefix)
    attaching = Attaching(settings, str(write_video(tmp_path / "gate.mp4", 50, **QUICK)), pace="max")
    assert asked.wait(10)
    time.sleep(0.5)
    assert attaching.thread.is_alive()
    address[0] = "127.0.0.1"
    attaching.thread.join(20)
    assert not attaching.thread.is_alive()
    assert attaching.error is None
    assert sum(segment.frames for segment in stored(settings)) == 50


def test_footage_that_is_put_where_other_footage_was_sent_is_said(embedded_broker, tmp_path, topics_prefix, caplog):
    settings = settings_for(embedded_broker.address, tmp_path, prefix=topics_prefix)
    film, start_us = str(write_video(tmp_path / "gate.mp4", 50, **QUICK)), 1_700_000_000_000_000
    for begin_us, said in ((start_us, 0), (start_us + 60_000_000, 0), (start_us, 1)):
        attaching = Attaching(settings, film, pace="max", start_us=begin_us)
        attaching.thread.join(15)
        assert attaching.error is None
        assert caplog.text.count("camera gate: footage up to 2023-11-14T22:14:22") == said
    assert "another film needs a later --start, or another --camera" in caplog.text


@pytest.mark.slow
def test_a_second_agent_is_refused_and_with_take_over_the_first_one_is(
    embedded_broker, tmp_path, topics_prefix, monkeypatch
):
    settings = settings_for(embedded_broker.address, tmp_path, prefix=topics_prefix)
    film = str(write_video(tmp_path / "gate.mp4", 500, **QUICK))
    names = iter(["one", "two", "three"])
    process = ProcessInfo.current()

    class Elsewhere:
        @staticmethod
        def current() -> ProcessInfo:
            return ProcessInfo(next(names), "elsewhere", 4711, "1", process.started_us)

    monkeypatch.setattr(attaching_module, "ProcessInfo", Elsewhere)
    first = Attaching(settings, film)
    assert eventually(lambda: first.state.segments >= 1)
    second = Attaching(settings, film)
    second.thread.join(10)
    assert isinstance(second.error, SettingsError)
    assert "one (process" in str(second.error)
    assert "--take-over" in str(second.error)
    third = Attaching(settings, film, take_over=True)
    first.thread.join(5)
    assert str(first.error) == "camera gate: three (process 4711 on elsewhere) has taken it over"
    assert eventually(lambda: third.state.segments >= 1)
    third.end()
    claims = [s.claim for s in stored(settings)]
    assert claims == sorted(claims)
    assert len(set(claims)) == 2
