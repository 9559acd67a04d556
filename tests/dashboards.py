"""A dashboard's API on a real broker and a real Redis, and what is on its topics."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol

import httpx

from consumers.outputs.states import ensure_state_topics
from consumers.records.event import Event, event_id
from consumers.records.states.camera_state import CameraState
from consumers.records.states.process import ProcessInfo
from consumers.settings import Settings
from consumers.topics import (
    ensure_topic_of_audit,
    ensure_topic_of_deliveries,
    ensure_topic_of_pictures,
    ensure_topic_of_verdicts,
    ensure_topics,
)
from consumers.web.desk import Desk
from consumers.web.serving import serving_dashboard
from stream import FeedState, Headers, KafkaTransport
from stream.feeds.reasons import code_of
from tests.waiting import eventually

BEGIN_US = 1_763_971_200_000_000  # 2025-11-24T08:00:00Z
SECOND_US = 1_000_000


class Encoded(Protocol):
    def encode(self) -> tuple[bytes, Headers, bytes]: ...


def now_us() -> int:
    return time.time_ns() // 1000


def settings_of(kafka: str, prefix: str, redis: str = "redis://127.0.0.1:1/0", **dashboard: Any) -> Settings:
    return Settings.model_validate(
        {"kafka": kafka, "redis": redis, "topics": {"prefix": prefix, "partitions": 2}, "dashboard": dashboard}
    )


def event(number: int, camera: str = "gate-1", label: str = "fight", **changes: Any) -> Event:
    """The event that begins in second `number`."""
    start_us = BEGIN_US + number * SECOND_US
    id_ = event_id(camera, BEGIN_US, label, start_us, "m")
    found = Event(camera, "m", label, "started", 0, id_, start_us, start_us + SECOND_US, 0.9, start_us, 1)
    return replace(found, **changes)


def ended(report: Event) -> Event:
    return replace(report, state="ended", revision=1, ending="below_threshold", end_us=report.end_us + SECOND_US)


def camera_state(name: str, status: str = "live", why: str | None = None) -> CameraState:
    known: dict[str, Any] = {"data_us": now_us(), "segments": 9, "frames": 900, "bytes": 1_000_000}
    known |= {"codec": "h264", "width": 1920, "height": 1080, "frames_per_second": 25.0, "code": code_of(why)}
    feed = FeedState(name, status, since_us=now_us(), why=why, **known)
    return CameraState(feed, ProcessInfo("hub-agent", "hub", 41, "0.1.0", now_us()), now_us())


class Site:
    """The topics of one test."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.topics = settings, settings.topics
        self.transport = KafkaTransport(settings.broker)
        ensure_topics(self.transport, self.topics)
        ensure_state_topics(self.transport, self.topics)
        ensure_topic_of_pictures(self.transport, self.topics)
        ensure_topic_of_deliveries(self.transport, self.topics, 24)
        ensure_topic_of_verdicts(self.transport, self.topics, 24)
        ensure_topic_of_audit(self.transport, self.topics, 24)

    def send(self, topic: str, *records: Encoded) -> None:
        producer = self.transport.producer()
        for each in records:
            producer.send(topic, *each.encode())
        producer.flush()
        producer.close()

    def events(self, *events: Event) -> None:
        self.send(self.topics.events, *events)

    def cameras(self, *names: str) -> None:
        self.send(self.topics.cameras_state, *map(camera_state, names))


@contextmanager
def served(settings: Settings, address: str = "127.0.0.1:0", **headers: str) -> Iterator[tuple[httpx.Client, Desk]]:
    with (
        serving_dashboard(settings, address) as (url, desk),
        httpx.Client(base_url=url, timeout=60, headers=headers) as client,
    ):
        yield client, desk


def caught_up(desk: Desk) -> bool:
    return all(each.is_caught_up for each in desk.view.feeds().values())


def ready(desk: Desk) -> None:
    assert eventually(lambda: caught_up(desk)), desk.view.feeds()


def is_streaming(desk: Desk) -> bool:
    """Whether somebody hears of each report from now on."""
    return any(each.position is not None for each in list(desk.streams._open_streams))


def ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [each["event"] for each in answer.json()["items"]]


def of(events: Sequence[Event]) -> list[str]:
    return [each.id for each in events]


def problem(answer: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    """The problem that an answer is."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["type"] == f"urn:clipline:problem:{kind}"
    assert body["status"] == status
    return body
