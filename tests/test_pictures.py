"""Pictures of an event show what moved, are made once for each report, and say why where there are none."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import redis
from PIL import Image

from consumers.outputs.redis.connection import open_redis
from consumers.pictures.follow import PictureFollower
from consumers.pictures.maker import PictureMaker
from consumers.pictures.show import show_pictures
from consumers.pictures.store import PictureStore
from consumers.pictures.strip import WHOLE, brightness, draw_peak, draw_strip, moments, moving_region, peak_moment
from consumers.records.event import Event, event_id
from consumers.records.event_pictures import EventPictures, Missing, StoredPicture
from consumers.records.fields import RecordError
from consumers.settings import Settings
from consumers.topics import ensure_topics
from stream import (
    BrokerError,
    KafkaTransport,
    MemoryTransport,
    Partition,
    Producer,
    Record,
    SourceError,
    Transport,
    attach,
)
from tests.replays import SETTINGS
from tests.videos import write_video
from tests.waiting import eventually, has_begun

START_US = 1_700_000_000_000_000
SIZE = (320, 192)
#: Left, top, width and height of where a bright block goes to and fro.
BOX = (200, 96, 90, 60)


def jumping(number: int, width: int, height: int) -> np.ndarray:
    image = np.full((height, width, 3), 60, np.uint8)
    image[::7] += 20
    left, top, wide, high = BOX
    at = left + abs(wide - 30 - 9 * number % (2 * (wide - 30)))
    image[top : top + high, at : at + 30] = 230
    return image


@pytest.fixture(scope="module", params=["short groups", "one long group with B-frames"])
def film(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    short = request.param == "short groups"
    options = {"bf": "0"} if short else {"bf": "2", "b-pyramid": "none"}
    path = tmp_path_factory.mktemp("pictures") / "gate.mp4"
    return write_video(path, 250, rate=25, gop=25 if short else 400, size=SIZE, frame=jumping, options=options)


@pytest.fixture(scope="module")
def short_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "short.mp4"
    return write_video(path, 225, rate=25, gop=25, size=(96, 64), frame=lambda n, w, h: jumping(n, *SIZE)[:h, -w:])


def sent(film: Path, transport: Transport, settings: Settings = SETTINGS, cameras: tuple[str, ...] = ("gate",)) -> str:
    """Send the film for each camera; where the last one's segments lie."""
    ensure_topics(transport, settings.topics)
    for camera in cameras:
        limits = settings.segments.limits
        producer = transport.producer()
        attach(str(film), camera, producer, settings.topics.segments, limits=limits, pace="max", start_us=START_US)
        producer.close()
    held = [
        record
        for record in transport.read(transport.offsets(settings.topics.segments))
        if record.key == cameras[-1].encode()
    ]
    return f"{settings.topics.segments}[{held[0].partition}]@{held[0].offset}-{held[-1].offset}"


def event(
    segments: str | None, state: str = "ended", start: float = 2.0, end: float = 8.0, camera: str = "gate"
) -> Event:
    start_us, end_us = (START_US + round(seconds * 1e6) for seconds in (start, end))
    return Event(
        camera=camera,
        model="m",
        label="fight",
        state=state,  # type: ignore[arg-type]
        revision=0 if state == "started" else 1,
        id=event_id(camera, START_US, "fight", start_us, "m"),
        start_us=start_us,
        end_us=end_us,
        peak_score=0.9,
        peak_us=start_us + 1_000_000,
        windows=3,
        ending="gap" if state == "ended" else None,
        segments=segments,
    )


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    assert image.format == "WEBP"
    return image


def test_a_strip_has_six_moments_across_the_event_and_a_moment_has_only_one():
    assert moments(0, 12) == (1, 3, 5, 7, 9, 11)
    assert moments(5, 5) == (5,)
    assert peak_moment(1_000_000, 9_000_000) == 1_500_000
    assert peak_moment(1_000_000, 1_000_000) == 1_000_000


@pytest.mark.parametrize(("row", "column"), [(0, 0), (7, 5), (17, 31), (3, 28)])
def test_the_region_holds_what_moves_wherever_that_is(row: int, column: int):
    change = np.zeros((18, 32), np.float32)
    change[row, column] = 90
    left, top, width, height = moving_region([change, -change])
    assert left <= column / 32
    assert (column + 1) / 32 <= left + width + 1e-9 <= 1 + 1e-6
    assert top <= row / 18
    assert (row + 1) / 18 <= top + height + 1e-9 <= 1 + 1e-6
    assert (width, height) == (11 / 32, 6 / 18)


def test_where_nothing_or_everything_moves_the_whole_picture_is_shown():
    noise = np.random.default_rng(0).uniform(-3, 3, (18, 32))
    assert moving_region([noise]) == WHOLE
    assert moving_region([]) == WHOLE
    assert moving_region([np.full((18, 32), 50.0)]) == WHOLE


@pytest.mark.parametrize("size", [(1, 1), (3, 2000), (1080, 1920), (97, 55)])
def test_pictures_of_any_size_are_drawn(size: tuple[int, int]):
    image = np.zeros((*size, 3), np.uint8)
    assert brightness(image).size >= 1
    drawn = draw_strip([(START_US, image)], WHOLE, 100_000)
    assert drawn is not None
    assert opened(drawn.data).size == (drawn.width, drawn.height)


def test_a_picture_that_takes_too_much_is_made_coarser_then_smaller_then_not_at_all():
    noise = np.random.default_rng(0).integers(0, 256, (400, 600, 3), np.uint8)
    free, coarse, small = (draw_peak(0, noise, limit) for limit in (10_000_000, 120_000, 20_000))
    assert free is not None
    assert coarse is not None
    assert small is not None
    assert len(free.data) > 120_000 >= len(coarse.data)
    assert (coarse.width, coarse.height) == (600, 400)
    assert len(small.data) <= 20_000
    assert small.width < 600
    assert draw_peak(0, noise, 40) is None


def test_the_strip_enlarges_what_moves_and_the_peak_is_the_frame_at_full_size(film: Path):
    transport = MemoryTransport()
    made = PictureMaker(SETTINGS).make(transport, event(sent(film, transport, cameras=("hall", "gate"))))
    assert not isinstance(made.peak, Missing)
    assert not isinstance(made.strip, Missing)
    assert (made.peak.width, made.peak.height) == SIZE
    assert made.peak.frames_us == (START_US + 3_500_000,)
    shown = np.asarray(opened(made.peak.data).convert("RGB")).astype(int)
    assert np.abs(shown - jumping(87, *SIZE)).mean() < 6  # 3.5 s, at 25 frames a second
    left, top, width, height = made.strip.region
    middle = (BOX[0] + BOX[2] / 2) / SIZE[0], (BOX[1] + BOX[3] / 2) / SIZE[1]
    assert left < middle[0] < left + width < 1 + 1e-9
    assert top < middle[1] < top + height < 1 + 1e-9
    assert width <= 0.51
    assert len(made.strip.frames_us) == 6
    strip = opened(made.strip.data).convert("L")
    assert strip.size == (made.strip.width, made.strip.height)
    panels = [
        np.asarray(
            strip.crop(
                (c * strip.width // 3, r * strip.height // 2, (c + 1) * strip.width // 3, (r + 1) * strip.height // 2)
            )
        )
        for r in range(2)
        for c in range(3)
    ]
    assert all((panel > 190).mean() > 0.03 for panel in panels), "the block is in each of them"


def test_of_a_long_event_only_what_is_around_its_moments_is_read(film: Path, monkeypatch: pytest.MonkeyPatch):
    transport = Counting()
    happened = event(sent(film, transport, cameras=("hall", "gate")), start=0.5, end=9.5)
    whole = PictureMaker(SETTINGS).make(transport, happened)
    monkeypatch.setattr("consumers.pictures.footage._SHORT", 3)
    monkeypatch.setattr("consumers.pictures.footage._NEAR", 8)
    assert PictureMaker(SETTINGS).make(transport, happened) == whole


class Counting(MemoryTransport):
    """A broker of which retention has removed what lies before an offset, or records are damaged."""

    kept = 0
    damaged = False

    def offsets(self, topic: str) -> Mapping[Partition, tuple[int, int]]:
        bounds = super().offsets(topic)
        if not topic.endswith(".segments"):
            return bounds
        return {p: (min(self.kept, end), end) for p, (_, end) in bounds.items()}

    def read(self, ranges: Mapping[Partition, tuple[int, int]]) -> Iterator[Record]:
        for record in super().read(ranges):
            if record.topic.endswith(".segments") and record.offset < self.kept:
                continue
            broken = self.damaged and record.topic.endswith(".segments")
            yield replace(record, value=b"\x47" * len(record.value or b"")) if broken else record


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t, e: (setattr(t, "kept", 10_000), e)[1], "retention"),
        (lambda t, e: (setattr(t, "damaged", True), e)[1], "undecodable"),
        (lambda _, e: replace(e, segments=None), "no_footage"),
        (lambda _, e: replace(e, segments="nonsense"), "no_footage"),
        (lambda _, e: replace(e, segments="other.topic[0]@0-5"), "no_footage"),
        (lambda _, e: replace(e, segments=(e.segments or "").replace("[", "[7")), "no_footage"),
        (lambda _, e: replace(e, segments=(e.segments or "").rpartition("@")[0] + "@900-999"), "no_footage"),
        (lambda _, e: event(e.segments, start=1e6, end=1e6 + 5), "no_footage"),
        (lambda _, e: replace(e, camera="hall"), "no_footage"),
    ],
)  # fmt: skip
def test_what_cannot_be_made_is_told_with_a_reason(film: Path, change: Callable[[Counting, Event], Event], reason: str):
    transport = Counting()
    happened = change(transport, event(sent(film, transport)))
    made = PictureMaker(SETTINGS).make(transport, happened)
    for picture in (made.peak, made.strip):
        assert isinstance(picture, Missing)
        assert picture.reason == reason, picture
        assert "\n" not in picture.detail


def test_what_takes_too_long_or_too_much_is_told(film: Path):
    transport = MemoryTransport()
    happened = event(sent(film, transport))
    for limits, reason in (({"max_seconds": 1e-6}, "too_slow"), ({"max_side": 64}, None)):
        settings = SETTINGS.model_copy(update={"pictures": SETTINGS.pictures.model_copy(update=limits)})
        peak = PictureMaker(settings).make(transport, happened).peak
        assert (peak.reason if isinstance(peak, Missing) else max(peak.width, peak.height)) == (reason or 64)


def test_the_record_comes_back_as_it_went_and_its_id_is_that_of_the_report():
    stored = StoredPicture("clipline:peak:x-1", 640, 360, 9, (START_US,), WHOLE)
    pictures = EventPictures.following(event(None), stored, Missing("retention", "gone"), 3600)
    key, headers, value = pictures.encode()
    assert EventPictures.decode(key, headers, value, "here") == pictures
    assert dict(headers)["ce_id"] == f"{pictures.event}-1-pictures".encode()
    for damage in (b"{}", b"", b"[1]", value.replace(b'"retention"', b'"mood"'), value.replace(b'"region"', b'"r"')):
        with pytest.raises(RecordError, match="here"):
            EventPictures.decode(key, headers, damage, "here")


class Follower(PictureFollower):
    """Tells where it goes on."""

    places: Mapping[Partition, int] = {}

    def _follow(self, connection: Any, store: PictureStore) -> None:
        self.places = connection._places
        super()._follow(connection, store)


class Following:
    """A follower in a thread that has found its place, and what it has sent."""

    def __init__(self, transport: Transport, settings: Settings) -> None:
        self._stop = threading.Event()
        self.transport, self.settings = transport, settings
        self.follower = Follower(lambda: transport, settings, self._stop.is_set)
        self._thread = threading.Thread(target=self.follower.run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        partitions = len(self.transport.offsets(self.settings.topics.events))
        assert eventually(lambda: len(self.follower.places) == partitions)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(20)
        assert not self._thread.is_alive()

    def until(self, count: int, seconds: float = 20) -> list[EventPictures]:
        deadline = time.monotonic() + seconds
        while len(found := records(self.transport, self.settings)) < count and time.monotonic() < deadline:
            time.sleep(0.02)
        assert len(found) >= count
        return found


def records(transport: Transport, settings: Settings) -> list[EventPictures]:
    topic = settings.topics.pictures
    if not transport.existing([topic]):
        return []
    return [EventPictures.decode(r.key, r.headers, r.value, r.where) for r in transport.read(transport.offsets(topic))]


def publish(transport: Transport, settings: Settings, *events: Event) -> None:
    producer = transport.producer()
    for each in events:
        producer.send(settings.topics.events, *each.encode())
    producer.flush()
    producer.close()


def settings_of(redis_url: str, prefix: str, **pictures: object) -> Settings:
    return Settings.model_validate(
        {
            "redis": redis_url,
            "topics": {"prefix": prefix, "partitions": 4},
            "pictures": {"group": prefix, "keep_hours": 1, **pictures},
        }
    )


def test_each_begin_and_end_has_its_pictures_once_with_expiry(short_film: Path, redis_url: str, topics_prefix: str):
    transport, settings = MemoryTransport(), settings_of(redis_url, topics_prefix)
    place = sent(short_film, transport, settings)
    begun, ended = event(place, "started"), event(place, "ended")
    publish(transport, settings, replace(begun, id="0" * 24))  # before anybody asked for pictures
    with Following(transport, settings) as following:
        publish(transport, settings, begun, replace(begun, state="updated", revision=3), begun, ended)
        first, second = following.until(2)
    assert [(p.event, p.revision) for p in (first, second)] == [(begun.id, 0), (begun.id, 1)]
    client = redis.Redis.from_url(redis_url)
    for pictures in (first, second):
        for picture in (pictures.peak, pictures.strip):
            assert isinstance(picture, StoredPicture)
            data = client.get(picture.key)
            assert isinstance(data, bytes)
            assert len(data) == picture.bytes
            assert opened(data).size == (picture.width, picture.height)
            assert 3500 < client.ttl(picture.key) <= 3600  # type: ignore[operator]
    # Its successor goes on behind what is done, also with what came while nobody was there.
    later = event(place, "ended", end=7.0, start=3.0)
    publish(transport, settings, later)
    with Following(transport, settings) as following:
        assert [p.event for p in following.until(3)] == [begun.id, begun.id, later.id]
        time.sleep(0.3)
    assert len(records(transport, settings)) == 3


def test_without_redis_the_record_says_so_after_the_wait_and_other_events_go_on(short_film: Path, topics_prefix: str):
    transport = MemoryTransport()
    settings = settings_of("redis://127.0.0.1:1/0", topics_prefix, max_wait_seconds=0)
    place = sent(short_film, transport, settings)
    with Following(transport, settings) as following:
        publish(transport, settings, event(place), event(None, start=3.0))
        first, second = following.until(2)
    assert [isinstance(p, Missing) and p.reason for p in (first.peak, first.strip)] == ["redis", "redis"]
    assert isinstance(second.peak, Missing)
    assert second.peak.reason == "no_footage"
    assert following.follower.counts == {"redis": 2, "no_footage": 2}


def test_what_could_not_be_sent_is_made_again_with_the_same_id_and_a_redis_that_is_away_is_waited_for(
    short_film: Path, redis_url: str, topics_prefix: str, monkeypatch: pytest.MonkeyPatch
):
    transport, settings = Stumbling(), settings_of(redis_url, topics_prefix)
    monkeypatch.setattr("consumers.pictures.follow._RETRY_SECONDS", 0.05)
    monkeypatch.setattr("consumers.pictures.store._RETRY_SECONDS", 0.05)
    failures = [redis.ConnectionError("away")] * 3

    def connect(url: str) -> Any:
        if failures:
            raise failures.pop()
        return open_redis(url)

    happened = event(sent(short_film, transport, settings))
    monkeypatch.setattr("consumers.pictures.store.open_redis", connect)
    with Following(transport, settings) as following:
        transport.stumbles = 2
        publish(transport, settings, happened)
        (pictures,) = following.until(1)
    assert transport.stumbles == 0
    assert not failures
    assert isinstance(pictures.strip, StoredPicture)
    assert following.follower.counts == {"made": 2}


class Stumbling(MemoryTransport):
    """A broker that does not take pictures' records a few times."""

    stumbles = 0

    def producer(self) -> Any:
        return _Stumbling(super().producer(), self)


class _Stumbling:
    def __init__(self, producer: Producer, broker: Stumbling) -> None:
        self._producer, self._broker = producer, broker

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    def send(self, topic: str, *rest: Any) -> None:
        if topic.endswith(".pictures") and self._broker.stumbles:
            self._broker.stumbles -= 1
            raise BrokerError("stumbled")
        self._producer.send(topic, *rest)


def test_a_report_that_ends_the_process_again_and_again_is_given_up(
    short_film: Path, redis_url: str, topics_prefix: str
):
    transport, settings = MemoryTransport(), settings_of(redis_url, topics_prefix)
    happened = event(sent(short_film, transport, settings))
    redis.Redis.from_url(redis_url).set(f"{topics_prefix}:tries:{happened.id}-{happened.revision}", 3)
    with Following(transport, settings) as following:
        publish(transport, settings, happened)
        (pictures,) = following.until(1)
    assert isinstance(pictures.strip, Missing)
    assert pictures.strip.reason == "given_up"


def test_show_writes_the_pictures_of_an_event(short_film: Path, tmp_path: Path):
    transport = MemoryTransport()
    happened = event(sent(short_film, transport))
    publish(transport, SETTINGS, happened)
    targets = {"strip": tmp_path / "strip.webp", "peak": tmp_path / "peak.webp"}
    lines = list(show_pictures(transport, SETTINGS, happened.id[:8], targets))
    assert len(lines) == 2
    assert "6 frames; both pictures made in" in lines[0]
    assert opened(targets["peak"].read_bytes()).size == (96, 64)
    with pytest.raises(SourceError, match=r"expected a name that ends in \.webp"):
        list(show_pictures(transport, SETTINGS, happened.id, {"strip": tmp_path / "strip.png"}))
    with pytest.raises(SourceError, match="cannot be written"):
        list(show_pictures(transport, SETTINGS, happened.id, {"strip": tmp_path / "absent" / "strip.webp"}))
    publish(transport, SETTINGS, event(None, start=4.0))
    with pytest.raises(SourceError, match=r"no strip \(no_footage: "):
        list(show_pictures(transport, SETTINGS, event(None, start=4.0).id, targets))


@pytest.mark.slow
def test_pictures_through_a_real_broker(short_film: Path, broker, redis_url: str, topics_prefix: str):
    settings = settings_of(redis_url, topics_prefix)
    transport = KafkaTransport(broker.address)
    place = sent(short_film, transport, settings)
    with Following(transport, settings) as following:
        publish(transport, settings, event(place, "started"), event(place, "ended"))
        found = following.until(2, 30)
    assert all(isinstance(p.strip, StoredPicture) for p in found)
    publish(transport, settings, event(place, "ended", start=3.0, end=7.0))
    with Following(transport, settings) as following:
        assert len(following.until(3, 30)) == 3


@pytest.mark.slow
def test_killed_again_and_again_nothing_is_left_out_and_every_record_has_one_id(
    short_film: Path, apache_broker, redis_url: str, topics_prefix: str, tmp_path: Path
):
    settings = settings_of(redis_url, topics_prefix)
    transport = KafkaTransport(apache_broker.address)
    place = sent(short_film, transport, settings)
    environment = {
        **os.environ,
        "CLIPLINE_KAFKA": apache_broker.address,
        "CLIPLINE_REDIS": redis_url,
        "CLIPLINE_TOPICS__PREFIX": topics_prefix,
        "CLIPLINE_PICTURES__GROUP": topics_prefix,
        "PYTHONPATH": str(Path(__file__).resolve().parents[1]),
    }
    command = [sys.executable, "-m", "consumers.cli", "pictures"]
    events = [event(place, start=2.0, end=4.0 + number / 100) for number in range(40)]
    events = [replace(each, id=f"{number:024x}") for number, each in enumerate(events)]

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=subprocess.DEVNULL)

    process = start()
    deadline = time.monotonic() + 150
    assert eventually(lambda: has_begun(apache_broker.address, settings.pictures.group), 120)
    publish(transport, settings, *events)
    for _ in range(2):  # the group waits for a member that is gone, each time
        before = len(records(transport, settings))
        while len(records(transport, settings)) < before + 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.kill()
        process.wait()
        process = start()
    while len({p.id for p in records(transport, settings)}) < len(events) and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    found = records(transport, settings)
    assert {p.event for p in found} == {each.id for each in events}
    assert len({p.id for p in found}) == len(events)
    assert len(found) <= len(events) + 2, "at most what was in hand at a kill comes again"
    assert len({p.event: p for p in found if isinstance(p.strip, StoredPicture)}) == len(events)
