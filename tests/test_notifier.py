"""Messages about events get to their receivers, each once, and the ledger says what became of each of them."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import paho.mqtt.client as mqtt
import pytest
from aiosmtpd.controller import Controller
from pydantic import SecretStr
from standardwebhooks import Webhook

from consumers.notifying.answers import Answers
from consumers.notifying.by_hand import Wanted, acknowledge, newest_entries, send_test
from consumers.notifying.channels import open_channel
from consumers.notifying.channels.hiding import without_secrets
from consumers.notifying.channels.webhook import WebhookChannel
from consumers.notifying.desk import Desk
from consumers.notifying.pictured import PicturedReports
from consumers.notifying.plan import Again, Sent
from consumers.notifying.withheld import Withheld
from consumers.notifying.words import describe
from consumers.records.delivery import Delivery
from consumers.records.event import Event
from consumers.records.fields import RecordError
from consumers.running.child import child_command, child_environment
from consumers.running.state_topics import read_states
from consumers.settings import Settings, SettingsError
from consumers.settings.sections.notifying import ChannelSettings
from consumers.topics import ensure_topic_of_deliveries, ensure_topics
from stream import KafkaTransport, MemoryTransport, Record, SourceError
from stream.services import Service
from tests.command_line import Finished, clipline
from tests.notifiers import notifying
from tests.receivers import Answer, Receiver, Request
from tests.servers import free_port
from tests.snapshots import event
from tests.waiting import eventually, has_begun

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OLD = "whsec_b2xkIG9sZCBvbGQgb2xkIG9sZCBvbGQh"


class Site:
    """A broker with topics of our own, and a channel."""

    def __init__(self, address: str, prefix: str, **channel: object) -> None:
        self.settings = Settings.model_validate(
            {
                "kafka": address,
                "topics": {"prefix": prefix},
                "notify": {"group": f"{prefix}-notify"},
                "channels": {"ops": channel},
            }
        )
        self.transport = KafkaTransport(self.settings.broker)
        ensure_topic_of_deliveries(self.transport, self.settings.topics, 24)

    def send(self, *events: Event) -> None:
        producer = self.transport.producer()
        for each in events:
            producer.send(self.settings.topics.events, *each.encode())
        producer.flush()
        producer.close()

    def entries(self) -> list[Delivery]:
        topic = self.settings.topics.deliveries
        records = self.transport.read(self.transport.offsets(topic))
        return [Delivery.decode(r.key, r.value, r.where) for r in records]

    def states(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for entry in self.entries():
            found.setdefault(entry.id, []).append(entry.state)
        return found


def events(count: int) -> list[Event]:
    now = time.time_ns() // 1000
    return [event(f"gate-{n}", at_us=now + n) for n in range(count)]


def test_each_report_is_one_signed_message_and_the_ledger_says_that_it_was_sent(broker: Service, topics_prefix: str):
    with Receiver() as receiver:
        site = Site(broker.address, topics_prefix, url=receiver.url, secret=SECRET, old_secret=OLD)
        with notifying(site.settings):
            sent = events(5)
            site.send(*sent)
            assert eventually(lambda: len(receiver.requests) == 5)
            assert eventually(lambda: list(site.states().values()) == [["queued", "sent"]] * 5)
    assert {r.body["data"]["event"] for r in receiver.requests} == {each.id for each in sent}
    for request in receiver.requests:
        for secret in (SECRET, OLD):
            assert Webhook(secret).verify(request.text, request.headers)["type"] == "clipline.event.started"
    assert set(receiver.ids) == set(site.states())


def told(requests: list[Request]) -> Counter[str]:
    """How often each event was told."""
    return Counter(r.body["data"]["event"] for r in requests)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Answer(500, body=b"broken"), "http_500"),
        (Answer(429, {"retry-after": "1"}), "http_429"),
        (Answer(404, body=b"not yet"), "http_404"),
        (Answer(wait_seconds=1.5), "timeout"),
        (Answer(body=b"x" * 500, trickle_seconds=0.3), "timeout"),
        (Answer(garbage=b"\x00\xffnot HTTP at all\r\n\r\n"), "unreachable"),
        (Answer(hang_up=True), "unreachable"),
    ],
    ids=["500", "429", "404", "late", "trickles", "garbage", "hangs up"],
)
def test_what_a_receiver_does_wrong_is_in_the_ledger_and_the_message_comes_again_under_its_id(
    embedded_broker: Service, topics_prefix: str, answer: Answer, why: str
):
    with Receiver(lambda number, _: answer if number == 0 else Answer()) as receiver:
        site = Site(embedded_broker.address, topics_prefix, url=receiver.url, timeout_seconds=1)
        with notifying(site.settings):
            site.send(*events(1))
            assert eventually(lambda: list(site.states().values()) == [["queued", "retrying", "sent"]])
    assert len(set(receiver.ids)) == 1
    assert len(receiver.requests) == 2
    assert site.entries()[1].why == why


def test_a_receiver_that_is_gone_gets_what_came_meanwhile_in_order_when_it_is_back(
    embedded_broker: Service, topics_prefix: str
):
    gone = threading.Event()
    gone.set()
    with Receiver(lambda *_: Answer(503) if gone.is_set() else Answer()) as receiver:
        site = Site(embedded_broker.address, topics_prefix, url=receiver.url)
        with notifying(site.settings):
            sent = events(6)
            site.send(*sent)
            assert eventually(lambda: len(receiver.requests) >= 2)
            asked = len(receiver.requests)
            gone.clear()
            assert eventually(lambda: [s[-1] for s in site.states().values()] == ["sent"] * 6)
    # While it was gone, it was asked as often as pauses let one message.
    assert asked <= 8
    answered = [r.body["data"]["event"] for r in receiver.requests[asked:]]
    assert set(answered) == {each.id for each in sent}


def test_what_comes_on_a_topic_made_anew_is_told():
    """A broker that keeps all in memory was restarted, and events came before the notifier was back."""
    settings = Settings.model_validate({"channels": {"ops": {"url": "http://127.0.0.1:1"}}})

    def read_by_who_has_read(events_id: str | None) -> list[Record]:
        transport = MemoryTransport()
        ensure_topics(transport, settings.topics)
        producer = transport.producer()
        producer.send(settings.topics.events, *events(1)[0].encode())
        producer.flush()
        said, found = (Answers(), PicturedReports()), list[Record]()
        desk = Desk(transport, settings, None, *said, withheld=Withheld(), events_id=events_id)
        for _ in range(20):
            found += desk.poll(0.02)
        assert desk.events_id == transport.existing([settings.topics.events])[settings.topics.events].id
        desk.close()
        return found

    assert read_by_who_has_read(None) == [], "a group begins with what comes"
    assert len(read_by_who_has_read("of the topic before")) == 1


def test_a_channel_that_cannot_be_reached_is_said_by_status_until_it_can(embedded_broker: Service, topics_prefix: str):
    answers = [Answer(503)]
    with Receiver(lambda *_: answers[-1]) as receiver:
        site = Site(embedded_broker.address, topics_prefix, url=receiver.url)

        def channels() -> list[str]:
            return list(read_states(site.transport, site.settings.topics, channels=True).channels)

        assert channels() == []
        with notifying(site.settings):
            site.send(*events(1))
            assert eventually(lambda: channels() == ["ops"])
            answers.append(Answer(200))
            assert eventually(lambda: channels() == [])


@pytest.mark.slow
def test_a_receiver_that_is_gone_for_good_is_left_alone(embedded_broker: Service, topics_prefix: str):
    with Receiver(lambda *_: Answer(410)) as receiver:
        site = Site(embedded_broker.address, topics_prefix, url=receiver.url)
        with notifying(site.settings):
            site.send(*events(1))
            assert eventually(lambda: [s[-1] for s in site.states().values()] == ["failed"])
            site.send(*events(2))
            assert eventually(lambda: [s[-1] for s in site.states().values()] == ["failed"] * 3)
    assert len(receiver.requests) == 1
    assert {e.why for e in site.entries() if e.state == "failed"} == {"disabled"}


def test_what_two_cameras_of_a_group_see_is_one_message_and_a_summary(embedded_broker: Service, topics_prefix: str):
    with Receiver() as receiver:
        site = Site(embedded_broker.address, topics_prefix, url=receiver.url)
        with notifying(site.settings):
            sent = [replace(each, group="yard", merge_seconds=3.0) for each in events(3)]
            site.send(*sent)
            assert eventually(lambda: len(receiver.requests) == 2)
    first, summary = (request.body for request in receiver.requests)
    assert first["data"]["event"] == sent[0].id
    assert (summary["type"], summary["data"]["reasons"]) == ("clipline.summary", {"merged": 2})
    assert {each["event"] for each in summary["data"]["events"]} == {each.id for each in sent[1:]}


def test_no_log_holds_an_address(embedded_broker: Service, topics_prefix: str, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO")
    with Receiver() as receiver:
        site = Site(embedded_broker.address, topics_prefix, url=f"{receiver.url}/T0KEN", timeout_seconds=5)
        with notifying(site.settings):
            site.send(*events(1))
            assert eventually(lambda: [s[-1] for s in site.states().values()] == ["sent"])
    assert "T0KEN" not in caplog.text


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("slak://T0KEN/B/C", "Apprise knows no slak://; did you mean slack://?"),
        ("tgram://T0KEN/chat", "what follows tgram:// is not as Apprise has it"),
        ("T0KEN", "expected an address of Apprise's"),
    ],
)
def test_an_address_of_apprise_that_cannot_be_read_is_not_shown(
    address: str, said: str, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("DEBUG")
    with pytest.raises(SettingsError, match=re.escape(said)) as error:
        open_channel("ops", ChannelSettings(kind="apprise", url=address))
    assert "T0KEN" not in caplog.text + str(error.value)


@pytest.mark.slow
def test_a_standby_takes_over_and_tells_nothing_again(broker: Service, topics_prefix: str):
    with Receiver() as receiver:
        site = Site(broker.address, topics_prefix, url=receiver.url)
        with notifying(site.settings):
            site.send(*events(3))
            assert eventually(lambda: [s[-1] for s in site.states().values()] == ["sent"] * 3)
        with notifying(site.settings):
            site.send(*events(2))
            assert eventually(lambda: [s[-1] for s in site.states().values()] == ["sent"] * 5)
    assert Counter(Counter(receiver.ids).values()) == {1: 5}


@pytest.mark.slow
def test_mail_gets_there_once_and_the_ledger_says_before_that_it_is_sent(embedded_broker: Service, topics_prefix: str):
    with MailServer() as mail:
        site = Site(
            embedded_broker.address,
            topics_prefix,
            kind="apprise",
            url=f"mailto://127.0.0.1:{mail.port}?from=clipline@example.org&to=guard@example.org&mode=insecure",
            timeout_seconds=60,
        )
        with notifying(site.settings):
            site.send(*events(1))
            assert eventually(lambda: [s[-1] for s in site.states().values()] == ["sent"], 60)
    assert list(site.states().values()) == [["queued", "sending", "sent"]]
    (message,) = mail.messages
    assert "Subject: fight at gate-0" in message


def test_mqtt_gets_each_report_once_and_home_assistant_is_told_of_the_camera(
    embedded_broker: Service, topics_prefix: str, tmp_path: Path
):
    heard: list[tuple[str, str]] = []
    with mosquitto(tmp_path) as port:
        listener = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        listener.on_message = lambda _client, _data, message: heard.append((message.topic, message.payload.decode()))
        listener.connect("127.0.0.1", port)
        listener.subscribe("#", qos=1)
        listener.loop_start()
        site = Site(
            embedded_broker.address, topics_prefix, kind="mqtt", url=f"mqtt://127.0.0.1:{port}/site", timeout_seconds=5
        )
        with notifying(site.settings):
            sent = events(3)
            site.send(*sent)
            assert eventually(lambda: [s[-1] for s in site.states().values()] == ["sent"] * 3)
            listener.publish("homeassistant/status", "online")
            config = "homeassistant/event/site_gate-0/config"
            assert eventually(lambda: [topic for topic, _ in heard].count(config) >= 2)
        listener.loop_stop()
    told = [json.loads(text) for topic, text in heard if topic.endswith("/event")]
    assert {each["event"] for each in told} == {each.id for each in sent}
    assert {each["delivery"] for each in told} == set(site.states())
    assert len(told) == 3
    entity = json.loads(next(text for topic, text in heard if topic == config))
    assert entity["state_topic"] == "site/gate-0/event"
    assert entity["event_types"] == ["fight"]
    assert ("site/status", "online") in heard


def test_home_assistant_knows_whether_the_notifier_is_there_and_a_test_changes_nothing_of_it(
    embedded_broker: Service, topics_prefix: str, tmp_path: Path
):
    heard: list[tuple[str, str]] = []

    def status() -> list[str]:
        return [text for topic, text in heard if topic == "clipline/status"]

    with mosquitto(tmp_path) as port:
        listener = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        listener.on_message = lambda _client, _data, message: heard.append((message.topic, message.payload.decode()))
        listener.connect("127.0.0.1", port)
        listener.subscribe("#", qos=1)
        listener.loop_start()
        site = Site(embedded_broker.address, topics_prefix, kind="mqtt", url=f"mqtt://127.0.0.1:{port}")
        with notifying(site.settings):
            # Before anything happened.
            assert eventually(lambda: status() == ["online"])
            site.send(*events(1))
            assert eventually(lambda: [s[-1] for s in site.states().values()] == ["sent"])
            assert isinstance(send_test(site.transport, site.settings, "ops"), Sent)
        assert eventually(lambda: status() == ["online", "offline"])
        heard.clear()
        with notifying(site.settings):
            # One that has started again tells of the cameras that were told of before.
            assert eventually(lambda: "homeassistant/event/clipline_gate-0/config" in [topic for topic, _ in heard])
            assert status()[-1] == "online"
        listener.loop_stop()


@pytest.mark.slow
def test_mqtt_broker_that_is_gone_gets_what_came_meanwhile(
    embedded_broker: Service, topics_prefix: str, tmp_path: Path
):
    port = free_port()
    site = Site(embedded_broker.address, topics_prefix, kind="mqtt", url=f"mqtt://127.0.0.1:{port}", timeout_seconds=1)
    with notifying(site.settings):
        site.send(*events(2))
        assert eventually(lambda: "retrying" in {e.state for e in site.entries()})
        with mosquitto(tmp_path, port):
            assert eventually(lambda: [s[-1] for s in site.states().values()] == ["sent"] * 2, 60)


@pytest.mark.parametrize(
    ("message", "state"), [({}, "held"), ({"data": {"camera": "gate"}}, "queued"), ({"data": 7}, "retrying")]
)
def test_what_others_wrote_into_the_ledger_ends_nobody(
    embedded_broker: Service, topics_prefix: str, message: dict[str, object], state: str
):
    with Receiver(lambda *_: Answer()) as receiver:
        site = Site(embedded_broker.address, topics_prefix, url=receiver.url)
        body = {
            "delivery": "f" * 24,
            "channel": "ops",
            "kind": "event",
            "state": state,
            "attempt": 0,
            "time": "2026-11-28T10:00:00Z",
            "expires": "2036-11-28T10:00:00Z",
            "pauses": False,
            "covers": [],
        }
        producer = site.transport.producer()
        producer.send(site.settings.topics.deliveries, b"ops", [], json.dumps({**body, "message": message}).encode())
        producer.flush()
        producer.close()
        with notifying(site.settings):
            (report,) = events(1)
            site.send(report)
            assert eventually(lambda: len(receiver.requests) == 1)
        with pytest.raises(RecordError, match=r"deliveries\[0\]@0: expected data|expected event"):
            site.entries()


def test_what_a_receiver_says_is_kept_without_the_secrets_of_its_address(embedded_broker: Service, topics_prefix: str):
    said = "Cannot POST /services/T0001/s3cr3t%2Fkey?token=h1dden s3cr3t/key \x1b[31m"
    with Receiver(lambda *_: Answer(404, body=said.encode())) as receiver:
        url = f"{receiver.url}/services/T0001/s3cr3t%2Fkey?token=h1dden"
        site = Site(embedded_broker.address, topics_prefix, url=url)
        outcome = send_test(site.transport, site.settings, "ops")
        assert isinstance(outcome, Again)
        kept = outcome.detail + json.dumps([dict(e.message) for e in site.entries()])
        kept += "".join(e.detail or "" for e in site.entries())
        assert "HTTP 404" in kept
        for secret in ("s3cr3t", "h1dden", "\x1b"):
            assert secret not in kept


@pytest.mark.parametrize(
    "address",
    ["slack://T0001/B000001/TOKENTOKEN", "mailto://own:TOKENTOKEN@example.org", "tgram://TOKENTOKEN/12", "TOKENTOKEN"],
)
def test_of_what_a_library_says_no_token_of_its_address_is_kept(address: str):
    said = without_secrets(f"no such room: {address} (T0001 B000001 TOKENTOKEN)\x1b[2J", address)
    assert "TOKENTOKEN" not in said
    assert "\x1b" not in said
    assert said.startswith("no such room")


@pytest.mark.parametrize(
    "url",
    [
        "https://user:pa/ss@example.org/",
        "https://example.org:port/x",
        "http://127.0.0.1:99999/",
        "http://xn--/",
        "https:///x",
        "ftp://example.org",
    ],
)
def test_an_address_that_is_none_is_an_error_that_shows_nothing_of_it(url: str):
    with pytest.raises(
        SettingsError, match=r"channels.ops.url: expected an address that begins with https://"
    ) as caught:
        open_channel("ops", ChannelSettings(url=url))
    assert "pa" not in str(caught.value).replace("password", "").replace("example", "")


@pytest.mark.parametrize("secret", ["my secret key", "whsec_YQ==", "whsec_" + "A" * 100, "password123"])
def test_a_secret_that_would_sign_nothing_is_refused(secret: str):
    with pytest.raises(SettingsError, match=r"channels.ops.secret: expected whsec_ and base64 of 24 to 64 bytes"):
        open_channel("ops", ChannelSettings(url="https://example.org", secret=SecretStr(secret)))


def test_people_test_a_channel_and_acknowledge_what_they_have_seen(embedded_broker: Service, topics_prefix: str):
    with Receiver(lambda number, _: Answer(500 if number == 0 else 200)) as receiver:
        site = Site(embedded_broker.address, topics_prefix, url=receiver.url)
        with pytest.raises(SourceError, match=r"no channel 'sop'; the settings have: ops"):
            send_test(site.transport, site.settings, "sop")
        assert isinstance(send_test(site.transport, site.settings, "ops"), Again)
        assert isinstance(send_test(site.transport, site.settings, "ops"), Sent)
        assert list(site.states().values()) == [["queued", "failed"], ["queued", "sent"]]
        with notifying(site.settings):
            (report,) = events(1)
            site.send(report)
            assert eventually(lambda: [s[-1] for s in site.states().values()][2:] == ["sent"])
        with pytest.raises(SourceError, match="no message with the id 'zz'"):
            acknowledge(site.transport, site.settings, "zz")
        (entry,) = acknowledge(site.transport, site.settings, report.id[:8])
        assert entry.message["data"]["event"] == report.id
        assert acknowledge(site.transport, site.settings, report.id) == []
    newest = newest_entries(site.transport, site.settings, Wanted(states=frozenset({"acknowledged"}))).entries
    assert [e.id for e in newest] == [entry.id]
    assert describe(newest[0]).endswith(f"acknowledged: fight at gate-0 (started, event {report.id[:6]})")


def test_deliveries_are_listed_by_the_time_shown_and_a_channel_that_nobody_knows_is_named(
    embedded_broker: Service, topics_prefix: str, tmp_path: Path
):
    site = Site(embedded_broker.address, topics_prefix, url="https://example.org/hook")
    first, second, third = (
        Delivery.about(each, "ops", now_us=at_us, expires_us=at_us + 10**9)
        for each, at_us in zip(events(3), (10**15, 2 * 10**15, 3 * 10**15), strict=True)
    )
    of_old = replace(second, channel="old", id="1" * 24)
    producer = site.transport.producer()
    # There is news of the first one last.
    for entry in (first, second, of_old, third, first.then("sent", 4 * 10**15)):
        producer.send(site.settings.topics.deliveries, *entry.encode())
    producer.close()
    file = tmp_path / "clipline.toml"
    file.write_text(f'topics.prefix = "{topics_prefix}"\n[channels.ops]\nurl = "https://example.org/hook"\n', "utf-8")

    def listed(*arguments: object) -> Finished:
        return clipline("deliveries", "--settings", file, "--kafka", site.settings.kafka, *arguments)

    found = listed("--channel", "ops")
    assert [line.split()[2] for line in found.stdout.splitlines()] == [e.id[:6] for e in (second, third, first)]
    times = [line.split()[0] for line in listed().stdout.splitlines()]
    assert len(times) == 4
    assert times == sorted(times)
    assert "2 older ones are not shown: --last N" in listed("--last", 2).stderr
    unknown = listed("--channel", "opps")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "no channel 'opps'; known: old, ops; did you mean 'ops'?" in unknown.stderr
    # Known by the ledger only, or to none of the messages.
    assert listed("--channel", "old").stdout.count("\n") == 1
    none = listed("--channel", "ops", "--state", "held")
    assert (none.returncode, none.stderr) == (0, "no messages\n")


@pytest.mark.slow
@pytest.mark.parametrize("kills", [12])
def test_killed_by_the_dozen_each_message_is_queued_once_and_sent(
    apache_broker: Service, topics_prefix: str, tmp_path: Path, kills: int
):
    generator = random.Random(1401)
    with Receiver(lambda number, _: Answer(wait_seconds=0.05 * (number % 3))) as receiver:
        site = Site(apache_broker.address, topics_prefix, url=receiver.url, secret=SECRET, per_hour=100_000)
        settings = {
            "CLIPLINE_KAFKA": apache_broker.address,
            "CLIPLINE_TOPICS__PREFIX": topics_prefix,
            "CLIPLINE_NOTIFY__GROUP": f"{topics_prefix}-notify",
            "CLIPLINE_CHANNELS__OPS__URL": receiver.url,
            "CLIPLINE_CHANNELS__OPS__SECRET": SECRET,
            "CLIPLINE_CHANNELS__OPS__PER_HOUR": "100000",
        }
        environment = child_environment({**os.environ, **settings})
        sent: list[Event] = []

        def start() -> subprocess.Popen[bytes]:
            command = child_command("notify", f"{topics_prefix}-notifier")
            return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)

        process = start()
        assert eventually(lambda: has_begun(site.settings.kafka, site.settings.notify.group), 120)
        for _ in range(kills):
            fresh = events(20)
            site.send(*fresh)
            sent += fresh
            # Amid them, or before the first one.
            enough = len(receiver.requests) + generator.randrange(20)
            assert eventually(lambda enough=enough: len(receiver.requests) >= enough, 180)
            time.sleep(generator.uniform(0.0, 0.1))
            process.kill()
            process.wait()
            process = start()
        assert eventually(lambda: [s[-1] for s in site.states().values()] == ["sent"] * len(sent), 240)
        process.terminate()
        process.wait()
    states = [Counter(each) for each in site.states().values()]
    assert {each["queued"] for each in states} == {1}
    assert {each["sent"] for each in states} == {1}
    heard = told(receiver.requests)
    assert set(heard) == {each.id for each in sent}
    # What came twice came under one id, and was under way when its notifier died: so many at once, at most.
    assert sum(heard.values()) - len(heard) <= WebhookChannel.at_once * kills
    by_event = {(r.body["data"]["event"], r.id) for r in receiver.requests}
    assert len(by_event) == len(sent)


def answers(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def mosquitto(folder: Path, port: int | None = None) -> Iterator[int]:
    """An MQTT broker; yields its port."""
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if program is None:
        if os.environ.get("CLIPLINE_REQUIRE_MQTT") == "1":
            pytest.fail("CLIPLINE_REQUIRE_MQTT=1, but there is no mosquitto")
        pytest.skip("needs Debian's package mosquitto")
    port = free_port() if port is None else port
    settings = folder / "mosquitto.conf"
    settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    process = subprocess.Popen([program, "-c", settings], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert eventually(lambda: answers(port))
        yield port
    finally:
        process.kill()
        process.wait()


class MailServer:
    """An SMTP server that keeps what it gets. Use as a context manager."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        server = self

        class Handler:
            async def handle_DATA(  # noqa: N802  aiosmtpd's name
                self, _server: object, _session: object, envelope: Any
            ) -> str:
                server.messages.append(envelope.content.decode())
                return "250 OK"

        self.port = free_port()
        self._controller = Controller(Handler(), hostname="127.0.0.1", port=self.port)

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()
