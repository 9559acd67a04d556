"""Messages about events hold pictures where a channel wants them, wait for them, and go without where they must."""

from __future__ import annotations

import base64
import email
import email.policy
import io
import json
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import paho.mqtt.client as mqtt
import pytest
import redis
from PIL import Image
from standardwebhooks import Webhook

from consumers.notifying.attaching import MAX_BYTES, Attachments
from consumers.notifying.channels import open_channel
from consumers.notifying.ledger import Ledger
from consumers.notifying.pictured import MOST, PicturedReports, pictures_of
from consumers.notifying.plan import Again, Plan, Sent
from consumers.notifying.words import words_of
from consumers.outputs.redis.connection import Client, open_redis
from consumers.pictures.store import PictureStore
from consumers.pictures.strip import WHOLE, draw_peak, draw_strip
from consumers.records.delivery import Delivery
from consumers.records.event import Event
from consumers.records.event_pictures import EventPictures, Missing, StoredPicture
from consumers.records.fields import RecordError
from consumers.settings import Settings
from consumers.settings.sections.notifying import ChannelSettings
from consumers.topics import ensure_topic_of_pictures
from stream import KafkaTransport, drill_id
from stream.services import Service
from tests.notifiers import notifying
from tests.receivers import Answer, Receiver, Request
from tests.snapshots import event
from tests.test_notifier import SECRET, MailServer, Site, mosquitto
from tests.test_pictures import Following, sent, short_film  # noqa: F401  a fixture
from tests.test_pictures import event as filmed
from tests.waiting import eventually

NOW_US = 1_795_860_000_000_000
SECOND = 1_000_000
STORED = StoredPicture("clipline:strip:x-0", 1440, 720, 9, (NOW_US,), WHOLE)


def channel(**changes: object) -> ChannelSettings:
    return ChannelSettings.model_validate({"url": "http://127.0.0.1/", "pictures": "reference", **changes})


class Desk:
    """A plan with one channel that wants pictures, at a time that the test sets."""

    def __init__(self, **changes: object) -> None:
        self.channel, self.pictured = channel(**changes), PicturedReports()
        self.plan = Plan({"ops": self.channel}, 100, pictured=self.pictured)
        self.ledger, self.now = Ledger(), NOW_US

    def report(self, reported: Event) -> Delivery:
        (entry,) = self.plan.entries(reported, self.now, self.ledger, self.now)
        self.ledger.apply(entry)
        return entry

    def ready(self, after_seconds: float = 0.0) -> list[Delivery]:
        self.now += int(after_seconds * SECOND)
        return [self.pictured.added(each, self.channel) for each in self.plan.next(self.ledger, frozenset(), self.now)]


def report(camera: str = "gate", **changes: object) -> Event:
    return replace(event(camera, at_us=NOW_US - SECOND), **changes)


def of(reported: Event) -> EventPictures:
    return EventPictures.following(reported, STORED, STORED, 3600)


def test_a_message_is_ready_as_soon_as_its_pictures_are_known_and_the_others_do_not_wait_for_it():
    desk, first, second = Desk(), report("gate"), report("yard")
    desk.report(first)
    desk.report(second)
    assert desk.ready(1) == []
    desk.pictured.apply(of(second))
    (message,) = desk.ready(1)
    assert pictures_of(message) == of(second).body()
    assert message.message["data"]["camera"] == "yard"


def test_pictures_that_do_not_come_are_waited_for_so_long_and_the_message_says_that_they_are_missing():
    desk = Desk(pictures_wait_seconds=10)
    desk.report(report())
    assert desk.ready(9.9) == []
    (message,) = desk.ready(0.2)
    said = pictures_of(message)
    assert said is not None
    assert (said["strip"], said["peak"]) == (None, None)
    assert said["missing"]["strip"] == {"reason": "not_in_time", "detail": "not there within 10 s"}


def test_pictures_that_could_not_be_made_are_not_waited_for_and_the_message_says_why():
    desk, reported = Desk(), report()
    desk.report(reported)
    desk.pictured.apply(replace(of(reported), strip=Missing("retention", "the broker has deleted it")))
    (message,) = desk.ready()
    said = pictures_of(message)
    assert said is not None
    assert said["missing"] == {"strip": {"reason": "retention", "detail": "the broker has deleted it"}}
    assert said["peak"]["key"] == STORED.key


def test_nobody_waits_for_pictures_for_so_long_that_the_message_is_too_late():
    desk = Desk(pictures_wait_seconds=60, use_by_minutes=0.5)
    desk.report(report())
    assert desk.ready(14) == []
    assert len(desk.ready(2)) == 1


def test_a_clock_that_was_ahead_lets_no_message_wait_for_longer():
    desk = Desk(pictures_wait_seconds=10)
    desk.now += 3600 * SECOND
    desk.report(report())
    assert len(desk.ready(-3600)) == 1


@pytest.mark.parametrize("changes", [{"pictures": "none"}, {"pictures_wait_seconds": 0}])
def test_a_channel_that_does_not_wait_is_told_at_once(changes: dict[str, object]):
    desk = Desk(**changes)
    desk.report(report())
    (message,) = desk.ready()
    assert (pictures_of(message) is None) == ("pictures" in changes)


def test_of_a_drill_no_pictures_are_made_so_it_does_not_wait():
    desk = Desk(drill=True)
    desk.report(replace(report(), camera=drill_id("gate", "0123abcd")))
    (message,) = desk.ready()
    said = pictures_of(message)
    assert said is not None
    assert said["missing"]["peak"]["reason"] == "drill"


def test_a_report_that_an_event_goes_on_has_the_pictures_of_its_begin():
    desk, begun = Desk(states=["started", "updated", "ended"]), report()
    desk.pictured.apply(of(begun))
    desk.report(replace(begun, state="updated", revision=1))
    (message,) = desk.ready()
    said = pictures_of(message)
    assert said is not None
    assert (said["revision"], said["state"]) == (0, "started")
    desk.report(replace(begun, state="ended", revision=2, ending="gap"))
    assert [each.message["data"]["state"] for each in desk.ready()] == ["updated"]  # the end has its own


def test_a_message_that_is_tried_again_says_the_same_of_its_pictures_whatever_came_meanwhile():
    desk, reported = Desk(pictures_wait_seconds=1), report()
    desk.report(reported)
    (tried,) = desk.ready(1.1)
    (entry,) = desk.plan.outcome(tried, Again("http_503", "HTTP 503"), desk.ledger, desk.now)
    key, _, value = entry.encode()
    desk.ledger.apply(Delivery.decode(key, value, "deliveries[0]@1"))
    desk.pictured.apply(of(reported))
    (again,) = desk.ready(60)
    assert again.attempt == 1
    assert pictures_of(again) == pictures_of(tried)


def test_pictures_of_so_many_reports_are_remembered_the_newest_of_them():
    pictured, first = PicturedReports(), of(report())
    pictured.apply(first)
    for number in range(MOST):
        pictured.apply(replace(first, event=f"{number:024x}"))
    entry = Delivery.about(report(), "ops", now_us=NOW_US, expires_us=NOW_US + 10**9)
    assert pictured.awaits(entry, channel(), NOW_US)
    newest = replace(entry, message={**entry.message, "data": {**entry.message["data"], "event": f"{MOST - 1:024x}"}})
    assert not pictured.awaits(newest, channel(), NOW_US)


@pytest.mark.parametrize(
    "said", [7, {}, {"peak": None, "strip": {"key": 7}, "missing": {}}, {"peak": None, "strip": None, "missing": 7}]
)
def test_what_others_wrote_of_pictures_into_the_ledger_is_refused(said: object):
    entry = Delivery.about(report(), "ops", now_us=NOW_US, expires_us=NOW_US + 10**9)
    data = {**entry.message["data"], "pictures": said}
    key, _, value = replace(entry, message={**entry.message, "data": data}).encode()
    with pytest.raises(RecordError, match=r"deliveries\[0\]@0: expected"):
        Delivery.decode(key, value, "deliveries[0]@0")


def test_a_reference_is_refused_where_only_people_would_see_it():
    with pytest.raises(ValueError, match="expected none or inline"):
        channel(kind="apprise")


class PicturedSite(Site):
    """A site whose channel wants pictures, and what makes them."""

    def __init__(self, address: str, prefix: str, redis_url: str, **changes: object) -> None:
        super().__init__(address, prefix, **changes)
        pictures = self.settings.pictures.model_copy(update={"group": f"{prefix}-pictures"})
        self.settings = self.settings.model_copy(update={"redis": redis_url, "pictures": pictures})
        ensure_topic_of_pictures(self.transport, self.settings.topics)

    def draw(self, reported: Event, *, seed: int = 0, size: tuple[int, int] = (48, 64)) -> EventPictures:
        """Pictures of a report, in Redis, and the record about them, which is not sent yet."""
        image = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
        drawn = {
            "peak": draw_peak(reported.start_us, image, 8 << 20),
            "strip": draw_strip([(reported.start_us, image)], WHOLE, 8 << 20),
        }
        with PictureStore(self.settings) as store:
            kept = {
                kind: store.put(kind, reported, each, lambda _: False)  # type: ignore[arg-type]
                for kind, each in drawn.items()
                if each is not None
            }
        return EventPictures.following(reported, kept["peak"], kept["strip"], 3600)

    def announce(self, *pictures: EventPictures) -> None:
        producer = self.transport.producer()
        for each in pictures:
            producer.send(self.settings.topics.pictures, *each.encode())
        producer.flush()
        producer.close()

    def stored(self, picture: StoredPicture | Missing) -> bytes:
        assert isinstance(picture, StoredPicture)
        with redis.Redis.from_url(self.settings.redis) as client:
            data: bytes | None = client.get(picture.key)  # type: ignore[assignment]
        assert data is not None
        return data

    def last_states(self) -> list[str]:
        return [states[-1] for states in self.states().values()]


def now_reports(*cameras: str) -> list[Event]:
    now = time.time_ns() // 1000
    return [event(camera, at_us=now - n) for n, camera in enumerate(cameras)]


def test_pictures_in_time_travel_with_the_message_and_those_that_are_late_or_never_come_hold_it_up_no_longer(
    embedded_broker: Service, topics_prefix: str, redis_url: str
):
    with Receiver() as receiver:
        site = PicturedSite(
            *(embedded_broker.address, topics_prefix, redis_url),
            url=receiver.url,
            secret=SECRET,
            pictures="inline",
            pictures_wait_seconds=6,
        )
        known, in_time, late, never = now_reports("known", "in-time", "late", "never")
        before = site.draw(known, seed=1)
        site.announce(before)  # before the notifier began, as where it was started again
        with notifying(site.settings):
            began = time.monotonic()
            site.send(known, in_time, late, never)
            drawn = site.draw(in_time, seed=2)
            assert eventually(lambda: len(receiver.requests) == 1)
            site.announce(drawn)
            assert eventually(lambda: len(receiver.requests) == 2)
            assert time.monotonic() - began < 5.9
            assert eventually(lambda: len(receiver.requests) == 4)
            assert 5.9 < time.monotonic() - began < 20
            site.announce(site.draw(late, seed=3))
            assert eventually(lambda: site.last_states() == ["sent"] * 4)
            time.sleep(0.3)
    by_camera = {r.body["data"]["camera"]: r for r in receiver.requests}
    assert len(receiver.requests) == 4
    for camera, pictures in (("known", before), ("in-time", drawn)):
        request = by_camera[camera]
        said = Webhook(SECRET).verify(request.text, request.headers)["data"]["pictures"]
        for kind, picture in (("peak", pictures.peak), ("strip", pictures.strip)):
            data = base64.b64decode(said[kind].pop("data_base64"), validate=True)
            assert data == site.stored(picture)
            assert Image.open(io.BytesIO(data)).format == "WEBP"
        assert said == pictures.body()
    for camera in ("late", "never"):
        missing = by_camera[camera].body["data"]["pictures"]["missing"]
        assert missing["strip"]["reason"] == missing["peak"]["reason"] == "not_in_time"
    ledger = {e.message["data"]["camera"]: e for e in site.entries() if e.state == "sent"}
    assert pictures_of(ledger["in-time"]) == drawn.body(), "where they lie, and not their bytes"


@pytest.mark.slow
def test_what_the_maker_of_pictures_made_of_an_event_arrives_with_its_message(
    embedded_broker: Service,
    topics_prefix: str,
    redis_url: str,
    short_film: Path,  # noqa: F811
):
    with Receiver() as receiver:
        site = PicturedSite(
            *(embedded_broker.address, topics_prefix, redis_url),
            url=receiver.url,
            pictures="inline",
            pictures_wait_seconds=60,
        )
        place = sent(short_film, site.transport, site.settings)
        with Following(KafkaTransport(site.settings.broker), site.settings), notifying(site.settings):
            begun = filmed(place, "started")
            site.send(begun)
            assert eventually(lambda: len(receiver.requests) == 1, 60)
    said = receiver.requests[0].body["data"]["pictures"]
    assert (said["event"], said["revision"], said["missing"]) == (begun.id, 0, {})
    with Image.open(io.BytesIO(base64.b64decode(said["strip"]["data_base64"]))) as strip:
        assert strip.size == (said["strip"]["width"], said["strip"]["height"])


def test_by_reference_a_message_names_where_its_pictures_lie_and_nobody_asks_redis(
    embedded_broker: Service, topics_prefix: str, redis_url: str
):
    with Receiver() as receiver:
        site = PicturedSite(
            *(embedded_broker.address, topics_prefix, redis_url), url=receiver.url, pictures="reference"
        )
        (reported,) = now_reports("gate")
        pictures = site.draw(reported)
        site.settings = site.settings.model_copy(update={"redis": "redis://127.0.0.1:1/0"})
        with notifying(site.settings):
            site.send(reported)
            site.announce(pictures)
            assert eventually(lambda: len(receiver.requests) == 1)
    assert receiver.requests[0].body["data"]["pictures"] == pictures.body()


def test_what_did_not_get_there_twice_goes_by_reference_in_case_that_it_is_too_large(
    embedded_broker: Service, topics_prefix: str, redis_url: str
):
    def answer(_number: int, request: Request) -> Answer:
        return Answer(413 if "data_base64" in request.text else 200)

    with Receiver(answer) as receiver:
        site = PicturedSite(*(embedded_broker.address, topics_prefix, redis_url), url=receiver.url, pictures="inline")
        (reported,) = now_reports("gate")
        with notifying(site.settings):
            site.send(reported)
            site.announce(site.draw(reported))
            assert eventually(lambda: site.last_states() == ["sent"])
    first, second, third = receiver.requests
    assert first.text == second.text
    said = third.body["data"]["pictures"]["strip"]
    assert said["not_inline"] == {"reason": "not_taken", "detail": "2 tries with it did not get there"}
    assert said["key"] == first.body["data"]["pictures"]["strip"]["key"]
    assert "strip left out: 2 tries with it did not get there" in (site.entries()[-1].detail or "")


def attaching(site_settings: Settings, entry: Delivery, pictures: EventPictures) -> tuple[Delivery, dict[str, bytes]]:
    pictured = PicturedReports()
    pictured.apply(pictures)
    message, found = Attachments(site_settings).of(pictured.added(entry, site_settings.channels["ops"]))
    return message, dict(found)  # type: ignore[arg-type]


def queued(reported: Event) -> Delivery:
    now = time.time_ns() // 1000
    return Delivery.about(reported, "ops", now_us=now, expires_us=now + 10**9)


def no_channel(**changes: object) -> dict[str, object]:
    return {"url": "http://127.0.0.1/", "pictures": "inline", **changes}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda client, key: client.delete(key), "expired"),
        (lambda client, key: client.set(key, b"a secret of somebody"), "unreadable"),
        (lambda client, key: (client.delete(key), client.hset(key, "a", "b")), "unreadable"),
        (lambda client, key: client.append(key, bytes(MAX_BYTES)), "too_large"),
    ],
    ids=["gone", "no picture", "no text", "too large"],
)
def test_a_picture_that_cannot_be_put_in_goes_by_reference_with_a_reason(
    embedded_broker: Service,
    topics_prefix: str,
    redis_url: str,
    change: Callable[[redis.Redis, str], object],
    reason: str,
):
    site = PicturedSite(embedded_broker.address, topics_prefix, redis_url, **no_channel())
    (reported,) = now_reports("gate")
    pictures = site.draw(reported)
    assert isinstance(pictures.strip, StoredPicture)
    with redis.Redis.from_url(redis_url) as client:
        change(client, pictures.strip.key)
    message, found = attaching(site.settings, queued(reported), pictures)
    assert set(found) == {"peak"}
    said = pictures_of(message)
    assert said is not None
    assert said["strip"]["not_inline"]["reason"] == reason
    assert {**said["strip"], "not_inline": None} == {**pictures.strip.body(), "not_inline": None}


def test_redis_that_is_away_is_waited_for_as_long_as_a_message_waits_and_then_holds_up_no_further_one(
    embedded_broker: Service, topics_prefix: str, redis_url: str
):
    site = PicturedSite(*(embedded_broker.address, topics_prefix, redis_url), **no_channel(pictures_wait_seconds=3))
    (reported,) = now_reports("gate")
    pictures, away = site.draw(reported), site.settings.model_copy(update={"redis": "redis://127.0.0.1:1/0"})
    pictured, attachments = PicturedReports(), Attachments(away)
    pictured.apply(pictures)
    took = []
    for _ in range(2):
        began = time.monotonic()
        message, found = attachments.of(pictured.added(queued(reported), site.settings.channels["ops"]))
        took.append(time.monotonic() - began)
        said = pictures_of(message)
        assert said is not None
        assert not found
        assert said["strip"]["not_inline"]["reason"] == said["peak"]["not_inline"]["reason"] == "redis"
    assert 2.5 < took[0] < 15
    assert took[1] < 2.5


def test_pictures_are_there_once_redis_is_back_within_the_time_of_the_message(
    embedded_broker: Service, topics_prefix: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
):
    site = PicturedSite(embedded_broker.address, topics_prefix, redis_url, **no_channel(pictures_wait_seconds=60))
    (reported,) = now_reports("gate")
    pictures, is_back = site.draw(reported), threading.Event()

    def opened(url: str) -> Client:
        return open_redis(url if is_back.is_set() else "redis://127.0.0.1:1/0")

    monkeypatch.setattr("consumers.notifying.attaching.open_redis", opened)
    got: list[dict[str, bytes]] = []
    waiting = threading.Thread(target=lambda: got.append(attaching(site.settings, queued(reported), pictures)[1]))
    waiting.start()
    time.sleep(0.5)
    assert got == []
    is_back.set()
    waiting.join(20)
    assert got == [{kind: site.stored(getattr(pictures, kind)) for kind in ("peak", "strip")}]


def test_mqtt_gets_the_strip_before_its_event_and_home_assistant_an_image_entity(
    embedded_broker: Service, topics_prefix: str, redis_url: str, tmp_path: Path
):
    heard: list[tuple[str, bytes, bool]] = []

    def listen(port: int) -> mqtt.Client:
        listener = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        listener.on_message = lambda _client, _data, each: heard.append((each.topic, each.payload, each.retain))
        listener.connect("127.0.0.1", port)
        listener.subscribe("#", qos=1)
        listener.loop_start()
        return listener

    def topics() -> list[str]:
        return [topic for topic, _, _ in heard]

    with mosquitto(tmp_path) as port:
        listener = listen(port)
        site = PicturedSite(
            *(embedded_broker.address, topics_prefix, redis_url),
            kind="mqtt",
            url=f"mqtt://127.0.0.1:{port}/site",
            pictures="inline",
        )
        (reported,) = now_reports("gate")
        pictures, config = site.draw(reported), "homeassistant/image/site_gate/config"
        with notifying(site.settings):
            site.send(reported)
            site.announce(pictures)
            assert eventually(lambda: site.last_states() == ["sent"])
            listener.publish("homeassistant/status", "online")
            assert eventually(lambda: topics().count(config) >= 2)
        listener.loop_stop()
        assert [t for t in topics() if t in {"site/gate/image", "site/gate/event"}] == [
            "site/gate/image",
            "site/gate/event",
        ]
        assert next(data for topic, data, _ in heard if topic == "site/gate/image") == site.stored(pictures.strip)
        told = json.loads(next(data for topic, data, _ in heard if topic == "site/gate/event"))
        assert told["pictures"] == pictures.body()
        entity = json.loads(next(data for topic, data, _ in heard if topic == config))
        assert (entity["image_topic"], entity["content_type"]) == ("site/gate/image", "image/webp")
        heard.clear()
        late = listen(port)
        assert eventually(lambda: config in topics())
        assert "site/gate/image" not in topics(), "who comes later takes no old picture for a new one"
        # Without pictures, the entity goes.
        heard.clear()
        bare = site.settings.channels["ops"].model_copy(update={"pictures": "none"})
        other = open_channel("ops", bare)
        other.begin({"gate": ["fight"]})
        assert eventually(lambda: (config, b"", False) in heard)
        other.end(is_taken_over=False)
        late.loop_stop()


@pytest.mark.slow
def test_mail_has_the_strip_attached_and_no_file_is_left(
    embedded_broker: Service,
    topics_prefix: str,
    redis_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with MailServer() as server:
        site = PicturedSite(
            *(embedded_broker.address, topics_prefix, redis_url),
            kind="apprise",
            url=f"mailto://127.0.0.1:{server.port}?from=clipline@example.org&to=guard@example.org&mode=insecure",
            timeout_seconds=60,
            pictures="inline",
            pictures_wait_seconds=2,
        )
        shown, bare = now_reports("gate", "yard")
        pictures = site.draw(shown)
        with notifying(site.settings):
            site.announce(pictures)
            site.send(shown, bare)
            assert eventually(lambda: site.last_states() == ["sent"] * 2, 90)
    mails = [email.message_from_string(text, policy=email.policy.default) for text in server.messages]
    first, second = sorted(mails, key=lambda mail: "yard" in mail["subject"])
    (attached,) = first.iter_attachments()
    assert attached.get_content_type() == "image/webp"
    assert attached.get_content() == site.stored(pictures.strip)
    assert "No picture" not in first.get_body().get_content()
    assert list(second.iter_attachments()) == []
    assert "No picture: not there within 2 s" in second.get_body().get_content()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_service_that_takes_no_attachments_gets_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (reported,) = now_reports("gate")
    with Receiver() as receiver:
        settings = channel(
            kind="apprise", url=f"gotify://{receiver.url[7:].split('/')[0]}/token0123", pictures="inline"
        )
        message = PicturedReports()
        message.apply(of(reported))
        entry = message.added(queued(reported), settings)
        outcome = open_channel("ops", settings).send(entry, {"strip": b"RIFF....WEBP"})
    assert isinstance(outcome, Sent)
    assert outcome.detail.endswith("without its picture: the service takes none")
    assert "No picture: the service takes none" in receiver.requests[0].text


def test_people_read_why_there_is_no_picture_only_where_there_is_none():
    settings = channel(kind="apprise", pictures="inline")
    pictured, reported = PicturedReports(), report()
    entry = Delivery.about(reported, "ops", now_us=NOW_US, expires_us=NOW_US + 10**9)
    assert "No picture: not there within 10 s" in words_of(pictured.added(entry, settings), settings)[1]
    pictured.apply(replace(of(reported), strip=Missing("too_slow", "took too long")))
    assert "No picture" not in words_of(pictured.added(entry, settings), settings)[1]
    assert "No picture" not in words_of(entry, settings)[1]
