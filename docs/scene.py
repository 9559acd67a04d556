"""A site to take pictures of: Clipline itself on the demo's own footage, and, where asked, all that can go wrong there.

    footage, again and again ─▶ `clipline run` (agent, worker, pictures) ─▶ broker, Redis ─▶ the dashboard's server

Footage, model and rules are fixed, so scores, events and their pictures are, too; times are those of the run.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import httpx
from argon2 import PasswordHasher

from consumers.outputs.redis.connection import open_redis
from consumers.outputs.states import ensure_state_topics
from consumers.records.delivery import Delivery
from consumers.records.event import Event, event_id
from consumers.records.event_pictures import EventPictures, Missing, StoredPicture
from consumers.records.forgotten import Forgotten
from consumers.records.states.camera_state import CameraState
from consumers.records.states.process import ProcessInfo
from consumers.records.states.worker_state import WorkerState
from consumers.running.attaching import attach_camera
from consumers.running.ending import Ending
from consumers.settings import Settings
from consumers.topics import (
    ensure_topic_of_audit,
    ensure_topic_of_deliveries,
    ensure_topic_of_forgotten,
    ensure_topic_of_pictures,
    ensure_topic_of_verdicts,
    ensure_topics,
)
from consumers.web.serving import serving_dashboard
from stream import FeedState, FeedStatus, KafkaTransport, Reading
from stream.services import EmbeddedBroker, EmbeddedRedis

FOOTAGE: Final = Path(__file__).resolve().parents[1] / "consumers" / "footage"
FILMS: Final = ("courtyard", "gate", "lobby")
#: The film at the gate has two fights, of which three events are made each time that it is read: in 36 s.
_DRAWN: Final = 6
READY_SECONDS: Final = 240.0
_SECOND_US: Final = 1_000_000
_TOLD_SECONDS: Final = 4.0
_EVENTS: Final = 200
#: How cameras are whose picture is not one of now, why, and the seconds since.
_TROUBLED: Final[Mapping[str, tuple[FeedStatus, str | None, int]]] = {
    "dock": ("stalled", "no packets", 75),
    "office": ("ended", "the footage is over", 95),
    "ramp-behind-the-loading-bay-north-2": ("failed", "connection refused", 3_900),
    "roof": ("live", None, 130),
    "yard": ("failed", "401 Unauthorized", 8_000),
}
#: Of these there is footage; the agent of the roof has said nothing since then.
_SEEN: Final = ("dock", "office", "roof")


@dataclass(frozen=True)
class Site:
    """What is served."""

    #: Where pages are; and where they ask who is there.
    url: str
    locked_url: str
    #: An event at the gate in which people fight, as the API lists it; None where nothing is classified.
    event: dict[str, Any] | None


@contextmanager
def site(folder: Path, cameras: int | None = None, *, is_troubled: bool = False) -> Iterator[Site]:
    """Have a site while the body runs.

    Args:
        folder: for films, settings and logs.
        cameras: so many, which are not classified, of small films; None for those of the demo, classified.
        is_troubled: with cameras that fail, forgotten stretches, messages that did not arrive, 200 older events.
    """
    with ExitStack() as stack:
        broker, redis = stack.enter_context(EmbeddedBroker()), stack.enter_context(EmbeddedRedis())
        settings = Settings.model_validate({"kafka": broker.address, "redis": redis.address, **_own(folder)})
        _ensure_topics(settings)
        films = demo_films() if cameras is None else _small_films(folder, cameras)
        run = _running(folder, broker.address, redis.address, films, workers=int(cameras is None)) if films else None
        running = stack.enter_context(run) if run else None
        user = {"ana": {"password_hash": PasswordHasher().hash("a picture of the login"), "role": "admin"}}
        locked = settings.model_copy(
            update={"dashboard": Settings.model_validate({"dashboard": {"users": user}}).dashboard}
        )
        url, _ = stack.enter_context(serving_dashboard(settings, "127.0.0.1:0"))
        locked_url, _ = stack.enter_context(serving_dashboard(locked, "127.0.0.1:0"))
        event = _event_at_the_gate(url, running) if running and cameras is None else None
        if running and cameras is not None:
            _all_live(url, running, cameras)
        if is_troubled:
            stack.enter_context(_trouble(settings, event))
        yield Site(url.removesuffix("/api/v1"), locked_url.removesuffix("/api/v1"), event)


def demo_films() -> dict[str, Path]:
    """The demo's films, by camera."""
    return {name: FOOTAGE / f"{name}.mp4" for name in FILMS}


def _own(folder: Path) -> dict[str, Any]:
    many = {"requests_per_minute": 10**6, "footage_requests_per_minute": 10**6}
    return {"spool": {"folder": folder / "spool"}, "dashboard": many}


def _ensure_topics(settings: Settings) -> None:
    transport, topics = KafkaTransport(settings.broker), settings.topics
    ensure_topics(transport, topics)
    ensure_state_topics(transport, topics)
    ensure_topic_of_pictures(transport, topics)
    ensure_topic_of_forgotten(transport, topics)
    for ensure in (ensure_topic_of_deliveries, ensure_topic_of_verdicts, ensure_topic_of_audit):
        ensure(transport, topics, 24)


def _small_films(folder: Path, count: int) -> dict[str, Path]:
    """Cameras by number, of the demo's films at 5 pictures a second and a quarter of their size."""
    small = {name: folder / f"{name}-small.mp4" for name in FILMS} if count else {}
    for name, path in small.items():
        with av.open(FOOTAGE / f"{name}.mp4") as found, av.open(path, "w") as made:
            video = made.add_stream("libx264", rate=5, options={"preset": "veryfast", "g": "10", "bf": "0"})
            source = found.streams.video[0]
            video.width, video.height, video.pix_fmt = source.width // 4 * 2, source.height // 4 * 2, "yuv420p"
            step = round((source.average_rate or 10) / 5)
            for number, frame in enumerate(each for at, each in enumerate(found.decode(source)) if at % step == 0):
                shown = frame.reformat(video.width, video.height, "yuv420p")
                shown.pts, shown.time_base = number, Fraction(1, 5)
                made.mux(video.encode(shown))
            made.mux(video.encode())
    return {f"{FILMS[at % 3]}-{at // 3 + 1}": small[FILMS[at % 3]] for at in range(count)}


@contextmanager
def _running(
    folder: Path, kafka: str, redis: str, films: dict[str, Path], workers: int
) -> Iterator[subprocess.Popen[bytes]]:
    """`clipline run` on films, again and again; its own words where the body fails."""
    cameras = "\n".join(f'[cameras."{name}"]\nurl = "{path}"\nloop = true' for name, path in films.items())
    (folder / "clipline.toml").write_text(
        f'kafka = "{kafka}"\nredis = "{redis}"\n'
        f'[spool]\nfolder = "{folder / "spool"}"\n[dashboard]\nenabled = false\n'
        f'[run]\nservices = "own"\nworkers = {workers}\nlog_folder = "{folder / "logs"}"\n{cameras}\n'
    )
    with (folder / "run.log").open("wb") as log:
        run = subprocess.Popen(  # noqa: S603  our own command
            [sys.executable, "-m", "consumers.cli", "run", "--settings", folder / "clipline.toml"],
            stdout=log,
            stderr=log,
        )
        try:
            yield run
        except TimeoutError as error:
            error.add_note((folder / "run.log").read_text(errors="replace")[-3_000:])
            raise
        finally:
            run.terminate()
            run.wait(30)


def wait_for(found: Callable[[], Any], seconds: float, what: str) -> Any:
    """What `found` returns once that is something."""
    deadline = time.monotonic() + seconds
    while not (answer := found()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(0.5)
    return answer


def _all_live(url: str, run: subprocess.Popen[bytes], cameras: int) -> None:
    def look() -> bool:
        _must_run(run)
        items = client.get("/cameras", params={"state": "live", "limit": cameras}).raise_for_status().json()["items"]
        return len(items) == cameras

    with httpx.Client(base_url=url, timeout=30) as client:
        wait_for(look, READY_SECONDS, f"{cameras} live cameras")


def _must_run(run: subprocess.Popen[bytes]) -> None:
    if run.poll() is not None:
        raise TimeoutError("clipline run has ended")


def _event_at_the_gate(url: str, run: subprocess.Popen[bytes]) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        _must_run(run)
        items = client.get("/events", params={"camera": "gate", "limit": 50}).raise_for_status().json()["items"]
        drawn = [each for each in items if each["state"] == "ended" and (each["pictures"] or {}).get("strip")]
        # In the middle one people fight; the older one of two, since what follows it is classified, too.
        drawn.sort(key=lambda each: (each["peak_score"], each["start"]))
        return drawn[(len(drawn) - 1) // 2] if len(drawn) >= _DRAWN else None

    with httpx.Client(base_url=url, timeout=30) as client:
        found: dict[str, Any] = wait_for(look, READY_SECONDS, "events at the gate, with pictures")
    return found


def _now_us() -> int:
    return time.time_ns() // 1000


@contextmanager
def _trouble(settings: Settings, event: dict[str, Any] | None) -> Iterator[None]:
    """Cameras of which nothing comes, whose agents tell so, and what happened in the last days."""
    transport, topics = KafkaTransport(settings.broker), settings.topics
    begun_us, stop = _now_us(), threading.Event()
    agent = ProcessInfo("hub-2-agent-3391", "hub-2", 3391, "0.1.0", begun_us - 9_000 * _SECOND_US)
    for name in _SEEN:
        film = FOOTAGE / f"{FILMS[_SEEN.index(name)]}.mp4"
        start_us = begun_us - (_TROUBLED[name][2] + 36) * _SECOND_US
        attach_camera(
            settings, str(film), name, pace="max", loop=False, start_us=start_us, reading=Reading(), take_over=True,
            exit_after_seconds=None, ending=Ending(), progress=lambda _: None, hear=lambda _: None,
        )  # fmt: skip
    producer = transport.producer()

    def send(topic: str, *records: Any) -> None:
        for each in records:
            producer.send(topic, *each.encode())
        producer.flush()

    def tell() -> None:
        while True:
            states = [_state(name, agent, begun_us) for name in _TROUBLED]
            send(topics.cameras_state, *(each for each in states if each.feed.camera != "roof"))
            if stop.wait(_TOLD_SECONDS):
                return

    silent = ProcessInfo("hub-3-agent-77", "hub-3", 77, "0.1.0", begun_us - 9_000 * _SECOND_US)
    send(topics.cameras_state, _state("roof", silent, begun_us))
    dead = ProcessInfo("hub-2-worker-1", "hub-2", 51, "0.1.0", begun_us - 9_000 * _SECOND_US)
    send(
        topics.workers_state,
        WorkerState(dead, "working", settings.worker.group, "movenet-views", "openvino", (), 3, begun_us - 10**8),
    )
    events = _past_events(begun_us)
    send(topics.events, *events)
    send(topics.pictures, *_pictures_of(settings, events))
    send(topics.deliveries, *_deliveries(events, begun_us))
    if event is not None:
        start_us = begun_us - 20 * _SECOND_US
        send(topics.forgotten, Forgotten("gate", start_us, start_us + 6 * _SECOND_US, begun_us, "ana", "a visitor"))
    telling = threading.Thread(target=tell, daemon=True)
    telling.start()
    try:
        yield
    finally:
        stop.set()
        telling.join()
        producer.close()


def _state(name: str, agent: ProcessInfo, begun_us: int) -> CameraState:
    status, why, seconds = _TROUBLED[name]
    since_us = begun_us - seconds * _SECOND_US
    feed = FeedState(name, "live", since_us=since_us)
    if name in _SEEN:
        feed = replace(feed, data_us=since_us, segments=36, frames=360, bytes=900_000, end_us=since_us)
        feed = replace(feed, codec="h264", width=768, height=576, frames_per_second=10.0)
    told_us = since_us if name == "roof" else _now_us()
    return CameraState(replace(feed, status=status, why=why), agent, told_us)


def _past_events(now_us: int) -> list[Event]:
    """Events of the last two days, the newest an hour ago."""
    found = []
    for number in range(_EVENTS):
        camera, label = ("gate", "fight") if number % 3 else ("lobby", "fall")
        start_us = now_us - 3_600 * _SECOND_US - number * 850 * _SECOND_US
        end_us = start_us + (2 + number % 9) * _SECOND_US
        name = event_id(camera, start_us, label, start_us, "movenet-views")
        severity: Any = "detection" if number % 5 == 4 else "alert"
        peak = 0.64 + 0.33 * (number * 37 % 100) / 100
        found.append(
            Event(
                camera, "movenet-views", label, "ended", 1, name, start_us, end_us, peak, start_us, 3 + number % 9,
                ending="below_threshold", severity=severity, escalated=number % 11 == 3,
            )
        )  # fmt: skip
    return found


def _pictures_of(settings: Settings, events: list[Event]) -> list[EventPictures]:
    """Pictures of those events: those that were drawn of newer ones, in turn; of some there are none."""
    client: Any = open_redis(settings.redis)
    drawn = [key.decode() for key in sorted(client.keys(f"{settings.topics.prefix}:strip:*"))]
    none, found = Missing("retention", "the broker has deleted the footage"), []
    for number, event in enumerate(events):
        strip: StoredPicture | Missing = none
        if drawn and number % 8 != 5:
            data = client.get(key := drawn[number % len(drawn)])
            strip = StoredPicture(key, 1440, 720, len(data), (event.start_us,), (0.0, 0.0, 1.0, 1.0))
        # Later than those of `clipline pictures`, which finds no footage of them.
        found.append(replace(EventPictures.following(event, none, strip, 86_400), revision=2))
    client.close()
    return found


def _deliveries(events: list[Event], now_us: int) -> Iterator[Delivery]:
    refused = {"why": "refused", "detail": "550 5.1.1 <nobody@example.org>: no such user here"}
    away = {"why": "unreachable", "detail": "connect to hooks.example.org:443: timed out"}
    for number, event in enumerate(events[:24]):
        sent_us = event.end_us + _SECOND_US
        first = Delivery.about(event, ("guards", "ops", "sms")[number % 3], now_us=sent_us, expires_us=now_us + 10**10)
        yield first
        if number % 6 == 0:
            yield first.then("failed", sent_us + 10**6, attempt=3, **refused)
        elif number % 6 == 1:
            yield first.then("retrying", sent_us + 10**6, attempt=2, due_us=now_us + 9 * 10**7, **away)
        elif number % 6 != 2:
            yield first.then("acknowledged" if number % 6 == 3 else "sent", sent_us + 10**6, attempt=1)
