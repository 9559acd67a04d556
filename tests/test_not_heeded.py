"""Settings that somebody chose and that the services of `run` and `up` cannot heed are said at the start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from consumers.running.run import _plan
from consumers.settings import Settings
from consumers.setup.services import Kind, Services, not_heeded, open_services
from stream.services import EmbeddedBroker

EMBEDDED = Services("127.0.0.1:9092", "redis://127.0.0.1:6379/0", [], (EmbeddedBroker(),))
OWN = Services("hub:9092", "redis://hub:6379/0", [])


def told(given: dict[str, Any], services: Services, tmp_path: Path) -> list[str]:
    settings = Settings.model_validate({**given, "dashboard": {"enabled": False}})
    return [note for note in _plan(services, settings, tmp_path).notes if "guarantee" in note]


def test_a_guarantee_that_the_embedded_broker_cannot_keep_is_said_where_somebody_asked_for_it(tmp_path: Path) -> None:
    exactly = {"worker": {"guarantee": "exactly-once"}}
    (line,) = told(exactly, EMBEDDED, tmp_path)
    assert line.startswith("worker.guarantee = exactly-once cannot be kept: the embedded broker has no transactions")
    assert told(exactly, OWN, tmp_path) == []
    assert told({}, EMBEDDED, tmp_path) == []
    assert told({"worker": {"guarantee": "at-least-once"}}, EMBEDDED, tmp_path) == []


@pytest.mark.parametrize(
    ("given", "kind", "services", "data", "words"),
    [
        ({"kafka": "hub:9092"}, "apache", EMBEDDED, None, ["kafka = hub:9092 is not used (apache services were "]),
        ({"kafka": "hub:9092"}, "embedded", EMBEDDED, None, ["kafka = hub:9092 is not used (embedded services were "]),
        ({"redis": "redis://:secret@hub/1"}, "apache", EMBEDDED, None, ["redis = redis://hub/1 is not used (apache s"]),
        ({}, "embedded", EMBEDDED, Path("kept"), ["run.data = kept is not used: "]),
        ({"run": {"broker_max_megabytes": 200}}, "own", OWN, None, ["run.broker_max_megabytes is not used: "]),
        ({"kafka": "hub:9092", "redis": "redis://hub:6379/0"}, "own", OWN, None, []),
        ({"run": {"broker_max_megabytes": 200}}, "embedded", EMBEDDED, None, []),
        ({}, "auto", EMBEDDED, None, []),
    ],
)
def test_what_is_not_used_is_said(
    given: dict[str, Any], kind: Kind, services: Services, data: Path | None, words: list[str]
) -> None:
    lines = list(not_heeded(Settings.model_validate(given), kind, services, data))
    assert [line[: len(begin)] for line, begin in zip(lines, words, strict=True)] == words


def test_a_server_that_was_named_is_waited_for_and_none_is_started_in_its_place() -> None:
    settings = Settings.model_validate({"kafka": "127.0.0.1:1", "redis": "redis://127.0.0.1:1/0"})
    with open_services(settings, "auto") as services:
        assert (services.kafka, services.redis) == (settings.kafka, settings.redis)
        assert not services.is_embedded
        assert services.notes == [
            "using the Kafka broker at 127.0.0.1:1, which does not answer (yet): it is waited for",
            "using Redis at redis://127.0.0.1:1/0, which does not answer (yet): it is waited for",
        ]
