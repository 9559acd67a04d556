"""`clipline status` says which broker it asked, and compares what tells how it is with what the settings name."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from consumers.cli.main import app
from consumers.outputs.states import ensure_state_topics
from consumers.running.named import Named
from consumers.running.overview import overview
from consumers.settings import Settings
from stream import BrokerError, KafkaTransport, MemoryTransport
from stream.services import Service
from tests.test_status import NOW_US, camera, classified, drawn, states, worker

SETTINGS = Settings.model_validate(
    {"kafka": "hub:9092", "cameras": {name: {"url": f"rtsp://{name}/"} for name in ("gate", "yard", "dock")}}
)
HEARD = states(camera("gate"), camera("attic"), worker(classified("gate"), classified("attic")))


def claimed(*cameras: str) -> MemoryTransport:
    """A broker on which agents have claimed cameras."""
    transport, topics = MemoryTransport(), SETTINGS.topics
    ensure_state_topics(transport, topics)
    producer = transport.producer()
    for name in cameras:
        producer.send(topics.cameras_claims, name.encode(), [], b"{}")
    producer.flush()
    return transport


def test_a_camera_of_the_settings_that_never_reported_is_a_problem_and_one_that_ended_long_ago_is_none() -> None:
    named = Named.read(claimed("gate", "yard"), SETTINGS)
    now = named.beside(overview(HEARD, NOW_US), HEARD.cameras)
    assert now.problems == ("never reported: dock (in the settings)",)
    assert drawn(now)[-1] == "never reported: dock (in the settings)."
    assert now.body()["never_reported"] == ["dock"]
    later = states(camera("gate"), camera("dock"), worker(classified("gate"), classified("dock")))
    assert named.beside(overview(later, NOW_US), later.cameras).problems == ()  # --watch


def test_cameras_that_the_settings_do_not_name_are_marked_where_they_name_any() -> None:
    now = Named.read(claimed("gate", "yard", "dock"), SETTINGS).beside(overview(HEARD, NOW_US), HEARD.cameras)
    assert now.problems == ()
    assert "not in the settings: attic" in drawn(now)
    none = Named.read(claimed(), Settings()).beside(overview(HEARD, NOW_US), HEARD.cameras)
    assert (none.unnamed, none.problems) == ((), ())


def test_the_broker_is_named_and_where_nobody_has_said_anything_that_is_all() -> None:
    silent = Named.read(claimed(), SETTINGS).beside(overview(states(), NOW_US), ())
    assert drawn(silent)[0] == "Kafka at hub:9092"
    assert len(silent.problems) == 1
    assert silent.body()["kafka"] == "hub:9092"


def test_who_may_not_read_who_sends_cameras_is_not_told_that_some_were_never_sent() -> None:
    transport = claimed()

    def refuse(*_: object) -> None:
        raise BrokerError("not allowed")

    transport.read = refuse  # type: ignore[method-assign,assignment]
    assert Named.read(transport, SETTINGS).never_sent == frozenset()
    assert Named.read(MemoryTransport(), SETTINGS).never_sent == frozenset()


def test_the_command_names_its_broker_and_ends_with_1_for_a_camera_that_never_reported(
    embedded_broker: Service, topics_prefix: str, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clipline.toml").write_text(
        f'kafka = "{embedded_broker.address}"\n[topics]\nprefix = "{topics_prefix}"\n[cameras.yard]\nurl = "rtsp://yard/"\n'
    )
    settings = Settings.model_validate({"kafka": embedded_broker.address, "topics": {"prefix": topics_prefix}})
    transport = KafkaTransport(settings.broker)
    ensure_state_topics(transport, settings.topics)
    producer = transport.producer()
    alive = replace(worker(), time_us=time.time_ns() // 1000)
    producer.send(settings.topics.workers_state, *alive.encode())
    producer.close()
    told = CliRunner().invoke(app, ["status"])
    assert told.exit_code == 1
    assert told.stdout.startswith(f"Kafka at {embedded_broker.address}\n")
    assert "never reported: yard (in the settings)" in told.stdout
    assert json.loads(CliRunner().invoke(app, ["status", "--json"]).stdout)["never_reported"] == ["yard"]
