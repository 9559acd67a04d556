"""What subscribers get, read by clients that nobody here wrote, against the contracts in docs/."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary
from cloudevents.core.formats.json import JSONFormat
from jsonschema import Draft202012Validator, ValidationError
from kafka import KafkaConsumer
from referencing import Registry, Resource

from consumers.live.worker import Worker
from consumers.notifying.pictured import PicturedReports, pictures_of
from consumers.records.access import EndedSession, Share
from consumers.records.audit import WAYS, AuditEntry
from consumers.records.dead_letter import DeadLetter
from consumers.records.delivery import STATES as DELIVERY_STATES
from consumers.records.delivery import Delivery
from consumers.records.event import ADDED_KEYS, BODY_KEYS, DRILL_KEYS, Event, event_id
from consumers.records.event_pictures import REASONS, EventPictures, Missing, StoredPicture
from consumers.records.forgotten import Forgotten
from consumers.records.load_change import LoadChange
from consumers.records.prediction import Prediction
from consumers.records.verdict import SAID, Verdict
from consumers.rules.rule import Rule
from consumers.rules.version import RulesVersion
from consumers.settings import RuleSettings, Settings, TopicSettings, TrackerSettings
from consumers.settings.sections.notifying import ChannelSettings
from consumers.subscribing.reader import stored_events
from consumers.topics import ensure_topics
from stream import ClipSpec, KafkaTransport, Record, Segment, attach, drill_id
from stream.segment import Display
from stream.services import Service
from tests.scorers import WholeClips
from tests.videos import write_video

REQUIRE = "CLIPLINE_REQUIRE_RTSP"
DOCS = Path(__file__).resolve().parents[1] / "docs"
EVENT_SCHEMA = json.loads((DOCS / "event.schema.json").read_text("utf-8"))
ASYNCAPI = yaml.safe_load((DOCS / "asyncapi.yaml").read_text("utf-8"))
LABEL = "climbing a rope, naïvely"


def kcat_missing() -> str | None:
    return None if shutil.which("kcat") else "needs kcat (Debian: kcat)"


class Scripted(WholeClips):
    """A classifier that finds the label in windows of the second half of a second, of every two."""

    id = "scripted-1"
    labels = (LABEL, "nothing")

    def __init__(self) -> None:
        self.windows = 0

    def predict(self, frames: np.ndarray) -> np.ndarray:
        rows = []
        for _ in frames:
            score = 0.9 if self.windows % 10 >= 5 else 0.1
            rows.append((score, 1 - score))
            self.windows += 1
        return np.array(rows, np.float32)


@pytest.fixture
def published(broker: Service, topics_prefix: str, tmp_path: Path) -> tuple[KafkaTransport, TopicSettings]:
    """Footage that went through the agent and a worker; and a record that no worker can decode."""
    settings = Settings(
        topics=TopicSettings(prefix=topics_prefix, partitions=1), worker={"start": "earliest", "group": topics_prefix}
    )
    transport, topics = KafkaTransport(broker.address), settings.topics
    ensure_topics(transport, topics)
    footage = write_video(tmp_path / "lobby.mp4", 120, rate=25, gop=25, options={"bf": "0", "preset": "ultrafast"})
    producer = transport.producer()
    producer.send(topics.segments, b"yard", [("clipline", b"1"), ("frames", b"25")], b"not a segment")
    attach(str(footage), "lobby", producer, topics.segments, pace="max", start_us=1_700_000_000_000_000)
    producer.close()
    rule = Rule(start=0.8, end=0.5, min_seconds=0.4, cooldown_seconds=0.0, update_seconds=0.4)
    worker = Worker(transport, Scripted(), ClipSpec(4, 80_000, 160_000, 32, 32), {LABEL: rule}, settings)
    done = threading.Event()
    thread = threading.Thread(target=worker.run, args=(done.is_set,))
    thread.start()
    deadline = time.monotonic() + 30
    while worker.counts["lobby"].pending or worker.counts["lobby"].frames < 120 or worker.active_events():
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    done.set()
    thread.join()
    assert worker.counts["lobby"].frames == 120, worker.counts
    return transport, topics


Reader = Callable[[str], list[dict[str, Any]]]


@pytest.fixture
def read(broker: Service, embedded_broker: Service) -> Reader:
    """Reads a topic to its end, as kcat's JSON."""
    if broker is embedded_broker:
        # librdkafka, and with it kcat, does not understand what Tansu 0.6 answers to "which requests do you know".
        return lambda topic: read_plainly(broker.address, topic)
    if (reason := kcat_missing()) is not None:
        if os.environ.get(REQUIRE) == "1":
            pytest.fail(f"{REQUIRE}=1, but {reason}")
        pytest.skip(reason)
    return lambda topic: read_with_kcat(broker.address, topic)


def read_with_kcat(address: str, topic: str) -> list[dict[str, Any]]:
    command = ["kcat", "-b", address, "-C", "-t", topic, "-J", "-e", "-q", "-o", "beginning"]
    output = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
    return [json.loads(line) for line in output.decode(errors="replace").splitlines()]


def read_plainly(address: str, topic: str) -> list[dict[str, Any]]:
    consumer = KafkaConsumer(topic, bootstrap_servers=address, auto_offset_reset="earliest", consumer_timeout_ms=1000)
    records = [
        {
            "key": r.key.decode(),
            "headers": [part for name, value in r.headers for part in (name, value.decode())],
            "payload": r.value.decode(errors="replace"),
        }
        for r in consumer
    ]
    consumer.close()
    return records


def headers_of(record: Mapping[str, Any]) -> dict[str, str]:
    return dict(zip(record["headers"][::2], record["headers"][1::2], strict=True))


def contract(message: str, part: str) -> Draft202012Validator:
    """The schema of a message's headers or payload, with what it refers to."""
    schema = {**ASYNCAPI["components"]["messages"][message][part], "components": ASYNCAPI["components"]}
    registry = Registry().with_resource("./event.schema.json", Resource.from_contents(EVENT_SCHEMA))
    return Draft202012Validator(schema, registry=registry, format_checker=Draft202012Validator.FORMAT_CHECKER)


def test_events_are_cloud_events_to_other_clients(read, published):
    transport, topics = published
    records = read(topics.events)
    events = [
        from_binary(
            KafkaMessage({n: v.encode() for n, v in headers_of(r).items()}, r["key"], r["payload"].encode()),
            JSONFormat(),
        )
        for r in records
    ]
    bodies = [e.get_data() for e in events]
    states = [b["state"] for b in bodies]
    assert states[0] == "started"
    assert {"started", "updated", "ended"} == set(states)
    assert states.count("started") == states.count("ended") >= 2
    for record, event, body in zip(records, events, bodies, strict=True):
        assert event.get_specversion() == "1.0"
        assert event.get_type() == f"clipline.event.{body['state']}"
        assert event.get_source() == record["key"] == body["camera"] == "lobby"
        assert event.get_subject() == body["label"] == LABEL
        assert event.get_time().isoformat(timespec="microseconds").replace("+00:00", "Z") == body["end"]
        assert event.get_datacontenttype() == "application/json"
        assert event.get_id().startswith(body["event"] + "-")
        contract("event", "payload").validate(body)
        contract("event", "headers").validate(headers_of(record))
    assert len({e.get_id() for e in events}) == len(events)
    assert [event.body() for event in stored_events(transport, topics)] == bodies


def test_predictions_and_dead_letters_are_as_the_contract_says(read, published):
    _, topics = published
    predictions = read(topics.predictions)
    assert [json.loads(r["payload"])["window"] for r in predictions] == list(range(len(predictions)))
    assert len(predictions) > 20
    for record in predictions:
        contract("prediction", "payload").validate(json.loads(record["payload"]))
        contract("prediction", "headers").validate(headers_of(record))
        assert record["key"] == json.loads(record["payload"])["camera"]
    (letter,) = read(topics.deadletter)
    contract("deadletter", "headers").validate(headers_of(letter))
    assert (letter["key"], letter["payload"]) == ("yard", "not a segment")
    assert headers_of(letter)["clipline-reason"] == "header 'epoch-us' is missing"
    assert headers_of(letter)["clipline-origin"] == f"{topics.segments}[0]@0"
    segments = read(topics.segments)[1:]
    assert len(segments) > 3
    for record in segments:
        contract("segment", "headers").validate(headers_of(record))


def test_a_subscriber_leaves_out_what_is_no_event(published, caplog):
    transport, topics = published
    good = list(stored_events(transport, topics))
    producer = transport.producer()
    for value in (b"", b"[]", b"{}", b"\xff", b"[" * 100_000, json.dumps(good[0].body() | {"state": "odd"}).encode()):
        producer.send(topics.events, b"lobby", [], value)
    producer.flush()
    producer.close()
    assert list(stored_events(transport, topics)) == good
    assert len(re.findall(rf"{topics.events}\[0\]@\d+: expected .*: left out", caplog.text)) == 6
    assert f"left out of {topics.events}: 6 records that are no events" in caplog.text


TRACE = f"00-{'a' * 32}-{'b' * 16}-01"
ID = event_id("lobby", 10**15, LABEL, 10**15, "m")
LOAD_CHANGE = LoadChange("lobby", 10**15, 10**15 + 5, "live", 1, "entered", 31.0)
PICTURES = EventPictures(
    *(ID, 0, "started", "lobby", LABEL, 10**15 + 2_000_000),
    StoredPicture("clipline:peak:x-0", 640, 360, 9, (10**15,), (0.0, 0.0, 1.0, 1.0)),
    Missing("too_large", "does not fit"),
    3600,
)
EVENT = Event(
    "lobby", "m", LABEL, "started", 0, ID, 10**15, 10**15 + 2_000_000, 0.9, 10**15, 1, segments="t[0]@3-9", trace=TRACE
)
DRILL = drill_id("lobby", "0123abcd")
DRILL_EVENT = replace(EVENT, camera=DRILL)
DELIVERY = Delivery.about(EVENT, "ops", now_us=10**15 + 3, expires_us=10**15 + 10**9)
VERDICT = Verdict("0" * 24, "snooze", EVENT.id, "lobby", LABEL, 10**15, 10**15 + 1, 10**15 + 9, "ops", 10**15 + 99)
AUDIT = AuditEntry(
    *("0" * 24, 10**15, "ana", "token", "operator", "10.0.0.9", "verdict.give", EVENT.id, "lobby", "right")
)
FORGOTTEN = Forgotten("lobby", 10**15, 10**15 + 9, 10**15 + 99, "ana", "asked", (EVENT.id,), 2)
SHARE = Share("0" * 24, f"sha256:{64 * '0'}", EVENT.id, "lobby", "ana", 10**15, 10**15 + 9)
ENDED_SESSION = EndedSession("0" * 32, 10**15)
SEGMENT = Segment(
    *("lobby", 10**15, 0, 10**15, 10**15 + 1, "mpegts", "h264", 8, 8, 1, -3, b"x", {"no_keyframe": 2}),
    decode_from_us=10**15,
    continued=True,
    held_us=1,
    claim=7,
    feed="0123456789abcdef",
    display=Display(1, mirrored=True, pixel_aspect=Fraction(4, 3), colour_range="full", colour_matrix=1),
)


def test_the_contracts_are_valid_and_name_what_the_code_writes():
    Draft202012Validator.check_schema(EVENT_SCHEMA)
    assert set(EVENT_SCHEMA["properties"]) == BODY_KEYS | DRILL_KEYS
    assert set(EVENT_SCHEMA["required"]) == BODY_KEYS - ADDED_KEYS
    messages = ASYNCAPI["components"]["messages"]
    prediction = Prediction("lobby", 10**15, 0, 10**15, 10**15 + 1, "m", {"a": 1.0}, TRACE)
    drill = replace(prediction, camera=DRILL, stations_us=(10**15, 10**15 + 1))
    about_drill = Delivery.about(DRILL_EVENT, "ops", now_us=10**15 + 3, expires_us=10**15 + 10**9)
    letter = Record("t", 0, 1, b"k", [], b"x" * (10 * 1024 * 1024))
    written = {
        "segment": [SEGMENT.encode()[1], replace(SEGMENT, camera=DRILL).encode()[1]],
        "prediction": [prediction.encode()[1], drill.encode()[1]],
        "event": [EVENT.encode()[1], DRILL_EVENT.encode()[1]],
        "deadletter": [DeadLetter.of(letter, "why").encode()[1]],
        "loadChange": [LOAD_CHANGE.encode()[1]],
        "pictures": [PICTURES.encode()[1]],
        "delivery": [DELIVERY.encode()[1], about_drill.encode()[1]],
        "verdict": [VERDICT.encode()[1]],
        "audit": [AUDIT.encode()[1]],
        "forgotten": [FORGOTTEN.encode()[1]],
        "share": [SHARE.encode()[1]],
        "endedSession": [ENDED_SESSION.encode()[1]],
    }
    # The records of states are held to their schemas in test_status.py, those of the index in test_footage_index.py.
    states = {"cameraState", "cameraClaim", "workerState", "progress", "rulesVersion"}
    assert written.keys() | states | {"indexPage", "indexContents"} == messages.keys()
    for name, records in written.items():
        assert set(messages[name]["headers"]["properties"]) == {n for headers in records for n, _ in headers}, name
        for headers in records:
            contract(name, "headers").validate({n: v.decode() for n, v in headers})
    contract("event", "payload").validate(DRILL_EVENT.body())
    contract("prediction", "payload").validate(json.loads(drill.encode()[2]))
    contract("delivery", "payload").validate(json.loads(about_drill.encode()[2]))
    in_a_hurry = replace(prediction, degraded="keyframes", gated=True)
    assert set(messages["prediction"]["payload"]["properties"]) == json.loads(in_a_hurry.encode()[2]).keys()
    for body in (prediction.encode()[2], in_a_hurry.encode()[2]):
        contract("prediction", "payload").validate(json.loads(body))
    rules = RulesVersion("group", 0, 10**15, TrackerSettings(), (RuleSettings(start=0.5),)).encode()[2]
    contract("rulesVersion", "payload").validate(json.loads(rules))
    assert set(messages["rulesVersion"]["payload"]["properties"]) == json.loads(rules).keys()
    contract("loadChange", "payload").validate(json.loads(LOAD_CHANGE.encode()[2]))
    contract("pictures", "payload").validate(json.loads(PICTURES.encode()[2]))
    tried = DELIVERY.then("retrying", 10**15 + 5, attempt=1, why="http_500", detail="HTTP 500", due_us=10**15 + 9)
    for entry in (DELIVERY, tried):
        contract("delivery", "payload").validate(json.loads(entry.encode()[2]))
        contract("delivery", "headers").validate({n: v.decode() for n, v in entry.encode()[1]})
    pictured, channel = PicturedReports(), ChannelSettings(url="https://example.org", pictures="reference")
    without = pictured.added(DELIVERY, channel)
    pictured.apply(PICTURES)
    for entry in (without, pictured.added(DELIVERY, channel)):
        contract("delivery", "payload").validate(json.loads(entry.encode()[2]))
        assert pictures_of(Delivery.decode(entry.encode()[0], entry.encode()[2], "here")) == pictures_of(entry)
    assert set(messages["delivery"]["payload"]["properties"]) == json.loads(DELIVERY.encode()[2]).keys()
    assert set(messages["delivery"]["payload"]["properties"]["state"]["enum"]) == DELIVERY_STATES
    by_hand = replace(VERDICT, answer="false", channel=None, until_us=None)
    for verdict in (VERDICT, by_hand, replace(by_hand, answer="withdrawn", by="ana")):
        contract("verdict", "payload").validate(json.loads(verdict.encode()[2]))
        assert Verdict.decode(verdict.encode()[0], verdict.encode()[2], "here") == verdict
    assert set(messages["verdict"]["payload"]["properties"]) == json.loads(VERDICT.encode()[2]).keys()
    assert messages["verdict"]["payload"]["properties"]["answer"]["enum"] == list(SAID)
    contract("audit", "payload").validate(json.loads(AUDIT.encode()[2]))
    assert AuditEntry.decode(AUDIT.encode()[0], AUDIT.encode()[2], "here") == AUDIT
    assert set(messages["audit"]["payload"]["properties"]) == json.loads(AUDIT.encode()[2]).keys()
    assert set(messages["audit"]["payload"]["properties"]["way"]["enum"]) == WAYS
    assert set(messages["pictures"]["payload"]["properties"]) == json.loads(PICTURES.encode()[2]).keys()
    missing = ASYNCAPI["components"]["schemas"]["missingPicture"]["properties"]["reason"]["enum"]
    assert set(missing) == REASONS
    topics = TopicSettings()
    assert {n: c["address"] for n, c in ASYNCAPI["channels"].items()} == {
        "segments": topics.segments,
        "segmentsIndex": topics.segments_index,
        "segmentsContents": topics.segments_contents,
        "predictions": topics.predictions,
        "events": topics.events,
        "pictures": topics.pictures,
        "deliveries": topics.deliveries,
        "verdicts": topics.verdicts,
        "audit": topics.audit,
        "forgotten": topics.forgotten,
        "access": topics.access,
        "deadletter": topics.deadletter,
        "camerasState": topics.cameras_state,
        "camerasClaims": topics.cameras_claims,
        "rules": topics.rules,
        "state": topics.state,
        "workersState": topics.workers_state,
    }


@pytest.mark.parametrize(
    ("name", "what"),
    [("forgotten", FORGOTTEN), ("share", SHARE), ("endedSession", ENDED_SESSION)],
    ids=["forgotten", "share", "ended session"],
)
def test_the_contract_of_what_is_withheld_and_who_may_come_in_is_what_the_code_writes(
    name: str, what: Forgotten | Share | EndedSession
):
    key, _, value = what.encode()
    contract(name, "payload").validate(json.loads(value))
    assert set(ASYNCAPI["components"]["messages"][name]["payload"]["properties"]) == json.loads(value).keys()
    assert type(what).decode(key, value, "here") == what


@pytest.mark.parametrize(
    "change",
    [
        {"state": "begun"},
        {"ending": "gap"},
        {"state": "ended"},
        {"start": "2023-11-14T22:13:20Z"},
        {"peak_score": 1.5},
        {"windows": 0},
        {"camera": "../x"},
        {"event": "x"},
        {"seconds": 0},
        {"label": None},
        {"severity": "loud"},
        {"reason": "bored"},
        {"escalated": None},
    ],
)
def test_the_schema_of_events_refuses_what_is_none(change):
    validator = contract("event", "payload")
    validator.validate(EVENT.body())
    with pytest.raises(ValidationError):
        validator.validate(EVENT.body() | change)
    # Records of earlier versions are events, too.
    validator.validate({k: v for k, v in EVENT.body().items() if k not in ADDED_KEYS})
    for key in BODY_KEYS - ADDED_KEYS:
        with pytest.raises(ValidationError):
            validator.validate({k: v for k, v in EVENT.body().items() if k != key})
