"""Cameras, agents and workers in trouble are told through a real broker, once, whoever notifies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import paho.mqtt.client as mqtt
import pytest

from consumers.notifying.by_hand import Wanted, newest_entries
from consumers.notifying.channels import open_channel
from consumers.notifying.plan import Sent
from consumers.notifying.words import describe
from consumers.outputs.states import reported_camera
from consumers.records.delivery import Delivery
from consumers.records.states.process import ProcessInfo
from consumers.running.newest_states import States
from consumers.running.state_topics import read_states
from consumers.settings import Settings
from consumers.settings.sections.notifying import ChannelSettings
from stream import Attached, KafkaTransport
from stream.services import ApacheBroker, Service
from tests.checkpoints import write_checkpoint
from tests.notifiers import notifying
from tests.receivers import Receiver
from tests.test_notifier import mosquitto
from tests.videos import write_video
from tests.waiting import eventually


def site(address: str, prefix: str, url: str, debounce: float = 1.0, **channel: Any) -> Settings:
    return Settings.model_validate(
        {
            "kafka": address,
            "topics": {"prefix": prefix},
            "notify": {"group": f"{prefix}-notify", "debounce_seconds": debounce},
            "channels": {"ops": {"url": url, "conditions": ["camera", "agent", "worker"], **channel}},
        }
    )


class Camera:
    """A camera whose agent says each moment how it is. Use as a context manager."""

    def __init__(self, settings: Settings, name: str) -> None:
        self._settings, self._name, self._stop = settings, name, threading.Event()
        self.problem: str | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        transport, agent = KafkaTransport(self._settings.broker), ProcessInfo.current("hub-agent")
        with reported_camera(lambda: transport, self._settings.topics, self._name, agent, quiet_seconds=0.5) as watch:
            attached = Attached(codec="h264", width=64, height=48)
            while not self._stop.wait(0.1):
                attached.problem = self.problem
                attached.segments += self.problem is None
                watch.update(attached)


def told(receiver: Receiver) -> list[tuple[str, str, str]]:
    """Type, name and status of each message."""
    data = [(r.body["type"], r.body["data"]) for r in receiver.requests]
    return [(kind.removeprefix("clipline.condition."), each["name"], each["status"]) for kind, each in data]


@pytest.mark.parametrize("kind", ["embedded", pytest.param("apache", marks=pytest.mark.slow)])
def test_a_camera_in_trouble_is_told_once_by_two_notifiers_and_so_is_that_it_is_live_again(
    request: pytest.FixtureRequest, topics_prefix: str, kind: str
):
    with Receiver() as receiver:
        settings = site(
            request.getfixturevalue(f"{kind}_broker").address, topics_prefix, receiver.url, cameras=["gate*"]
        )
        with Camera(settings, "gate-1") as camera, Camera(settings, "yard") as other:
            # The topics of states come into being while it is at work, and it makes none of them.
            with notifying(settings):
                other.problem = "no such host"
                camera.problem = "connection refused"
                assert eventually(lambda: told(receiver) == [("started", "gate-1", "failed")])
            assert receiver.requests[0].body["data"]["why"] == "connection refused"
            with notifying(settings):
                time.sleep(2)
                assert len(receiver.requests) == 1
                camera.problem = None
                assert eventually(lambda: told(receiver)[1:] == [("ended", "gate-1", "live")])
                since = receiver.requests[0].body["data"]["since"]
                assert receiver.requests[1].body["data"]["since"] == since
    entries = newest_entries(KafkaTransport(settings.broker), settings, Wanted()).entries
    assert [describe(each).partition(": ")[2].partition(" (")[0] for each in entries] == [
        "camera gate-1: failed",
        "camera gate-1: live again",
    ]


@pytest.mark.slow
def test_a_notifier_makes_no_topic_of_states(apache_broker: Service, topics_prefix: str):
    with Receiver() as receiver:
        settings = site(apache_broker.address, topics_prefix, receiver.url)
        with notifying(settings):
            time.sleep(2.5)
        topics = settings.topics
        assert not KafkaTransport(settings.broker).existing([topics.cameras_state, topics.workers_state])


def test_mqtt_has_a_topic_for_conditions_and_home_assistant_hears_of_no_camera(tmp_path: Path):
    heard: list[tuple[str, str]] = []
    now_us = time.time_ns() // 1000
    data = {"state": "started", "subject": "camera", "name": "gate", "status": "failed", "seconds": 61.0}
    message = {"type": "clipline.condition.started", "timestamp": "", "data": data}
    entry = Delivery("f" * 24, "home", "condition", "queued", now_us, now_us + 60_000_000, message)
    with mosquitto(tmp_path) as port:
        listener = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        listener.on_message = lambda _client, _data, message: heard.append((message.topic, message.payload.decode()))
        listener.connect("127.0.0.1", port)
        listener.subscribe("#", qos=1)
        listener.loop_start()
        channel = open_channel("home", ChannelSettings(kind="mqtt", url=f"mqtt://127.0.0.1:{port}/site"))
        assert isinstance(channel.send(entry), Sent)
        assert eventually(lambda: bool(heard))
        channel.end(is_taken_over=True)
        listener.loop_stop()
    ((topic, text),) = heard
    assert (topic, json.loads(text)) == ("site/condition", {**data, "delivery": entry.id})


@contextmanager
def command(log: Path, *words: object, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """`clipline` at work; what it says is added to a file."""
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "consumers.cli", *map(str, words)],
            env={**os.environ, **environment},
            stdout=file,
            stderr=file,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def eventually_said(settings: Settings, holds: Callable[[States], bool]) -> bool:
    transport = KafkaTransport(settings.broker)
    return eventually(lambda: holds(read_states(transport, settings.topics)), 240)


@pytest.mark.slow
def test_an_agent_and_a_worker_that_are_killed_are_told_and_those_that_end_in_order_are_not(
    apache_broker: Service, topics_prefix: str, tmp_path: Path
):
    film = write_video(tmp_path / "gate.mp4", 120, rate=15, gop=15)
    # No action, no event: the channel would be told of it too.
    model = write_checkpoint(tmp_path / "m.safetensors", says="normal")
    environment = {
        "CLIPLINE_KAFKA": apache_broker.address,
        "CLIPLINE_TOPICS__PREFIX": topics_prefix,
        "CLIPLINE_WORKER__GROUP": f"{topics_prefix}-work",
        "CLIPLINE_SPOOL__FOLDER": str(tmp_path / "spool"),
    }
    log = tmp_path / "said"
    work, attach = ("work", "--model", model), ("attach", film, "--loop")
    with Receiver() as receiver, ExitStack() as stack:
        settings = site(apache_broker.address, topics_prefix, receiver.url, debounce=3)
        killed = [
            stack.enter_context(command(log, *words, **environment)) for words in (work, (*attach, "--camera", "gate"))
        ]
        stopped = [
            stack.enter_context(command(log, *words, **environment)) for words in (work, (*attach, "--camera", "yard"))
        ]
        assert eventually_said(settings, lambda states: len(states.workers) == 2 and len(states.cameras) == 2), (
            log.read_text()
        )
        with notifying(settings):
            for process in stopped:
                process.send_signal(signal.SIGTERM)
            for process in killed:
                process.kill()
            assert all(process.wait(60) is not None for process in (*stopped, *killed))
            silent = {f"{ProcessInfo.current().host}-{process.pid}": ("started", "silent") for process in killed}

            def newest() -> dict[str, tuple[str, str]]:
                return {name: (kind, status) for kind, name, status in told(receiver)}

            assert eventually(lambda: newest().items() >= silent.items(), 120), newest()
            time.sleep(5)
        # On a busy machine one may have been silent before it ended, and then it was told that it has.
        assert {name: how for name, how in newest().items() if how[0] != "ended"} == silent
        subjects = {r.body["data"]["subject"] for r in receiver.requests}
        assert subjects == {"agent", "worker"}


@pytest.mark.slow
def test_an_outage_of_the_broker_is_no_trouble_of_a_camera(topics_prefix: str, tmp_path: Path):
    if (reason := ApacheBroker.missing()) is not None:
        pytest.skip(reason)
    with Receiver() as receiver, ExitStack() as stack:
        with ApacheBroker(tmp_path / "data") as broker:
            port = int(broker.address.rpartition(":")[2])
            settings = site(broker.address, topics_prefix, receiver.url, debounce=2)
            camera = stack.enter_context(Camera(settings, "gate"))
            notifier = stack.enter_context(notifying(settings))
            assert eventually_said(settings, lambda states: "gate" in states.cameras)
            time.sleep(3)
        time.sleep(18)
        with ApacheBroker(tmp_path / "data", port=port):
            assert eventually(lambda: notifier.is_at_work, 60)
            time.sleep(25)
            assert receiver.requests == []
            camera.problem = "connection refused"
            assert eventually(lambda: told(receiver) == [("started", "gate", "failed")], 60)
            stack.close()
