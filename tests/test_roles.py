"""Least privilege: agent, worker and reader with exactly the ACLs of docs/security.md, and no secret anywhere."""

from __future__ import annotations

import json
import os
import queue
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ACLResourcePatternType, ResourcePattern, ResourceType

from consumers.outputs.states import ensure_state_topics
from consumers.records.forgotten import Forgotten
from consumers.settings import Settings
from consumers.topics import (
    ensure_topic_of_access,
    ensure_topic_of_audit,
    ensure_topic_of_deliveries,
    ensure_topic_of_forgotten,
    ensure_topic_of_pictures,
    ensure_topic_of_verdicts,
    ensure_topics,
    ensure_topics_of_index,
)
from consumers.verdicts.links import Asked, Links
from stream import KafkaTransport, Secret

trustme = pytest.importorskip("trustme")
from tests.secured_servers import PASSWORD, Certificates, SecuredKafka, secured_redis, tls_redis  # noqa: E402
from tests.snapshots import event  # noqa: E402
from tests.waiting import eventually  # noqa: E402

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[1]
_RESOURCES = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional-id": ResourceType.TRANSACTIONAL_ID,
}


def documented_acls() -> Iterator[ACL]:
    """What the commands of the page allow."""
    for line in re.findall(r"^kafka-acls (.*)$", (ROOT / "docs" / "security.md").read_text("utf-8"), re.MULTILINE):
        words, given = iter(shlex.split(line)), {}
        for option in words:
            if option != "--add":
                given.setdefault(option.removeprefix("--"), []).append(next(words))
        pattern = ACLResourcePatternType[given.get("resource-pattern-type", ["literal"])[0].upper()]
        for principal in given["allow-principal"]:
            for operation in given["operation"]:
                for kind, resource in _RESOURCES.items():
                    for name in given.get(kind, []):
                        yield ACL(
                            principal=principal,
                            host="*",
                            operation=ACLOperation[re.sub("(?<=[a-z])(?=[A-Z])", "_", operation).upper()],
                            permission_type=ACLPermissionType.ALLOW,
                            resource_pattern=ResourcePattern(resource, name, pattern),
                        )


def copied(acl: ACL, principal: str) -> ACL:
    return ACL(
        principal=principal,
        host=acl.host,
        operation=acl.operation,
        permission_type=acl.permission_type,
        resource_pattern=acl.resource_pattern,
    )


class Site:
    """Servers that ask, and the commands of Clipline on them."""

    def __init__(self, folder: Path, kafka: SecuredKafka, certificates: Certificates, redis_port: int) -> None:
        self._folder = folder
        self.kafka = kafka
        self.said: list[str] = []
        self.command_lines: set[str] = set()
        (folder / "password").write_text(PASSWORD)
        self.redis = {
            "CLIPLINE_REDIS": f"rediss://localhost:{redis_port}/0",
            "CLIPLINE_REDIS_SECURITY__CA_FILE": str(certificates.ca_file),
            "CLIPLINE_REDIS_SECURITY__USER": "clipline",
            "CLIPLINE_REDIS_SECURITY__PASSWORD_FILE": str(folder / "password"),
        }
        self._variables = {
            "CLIPLINE_KAFKA": kafka.at("SASL_SSL"),
            "CLIPLINE_KAFKA_SECURITY__PROTOCOL": "SASL_SSL",
            "CLIPLINE_KAFKA_SECURITY__CA_FILE": str(certificates.ca_file),
            "CLIPLINE_KAFKA_SECURITY__MECHANISM": "SCRAM-SHA-512",
            "CLIPLINE_KAFKA_SECURITY__PASSWORD": PASSWORD,
            **self.redis,
        }

    def start(self, user: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("CLIPLINE_")}
        return subprocess.Popen(
            [sys.executable, "-m", "consumers.cli", *map(str, arguments)],
            cwd=self._folder,
            env={
                **inherited,
                **self._variables,
                "PYTHONPATH": str(ROOT),
                "CLIPLINE_KAFKA_SECURITY__USER": user,
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self, process: subprocess.Popen[str], seconds: float = 60) -> str:
        said, _ = process.communicate(timeout=seconds)
        self.said.append(said)
        return said

    def watch_command_lines(self, stop: threading.Event) -> None:
        while not stop.wait(0.2):
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    line = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
                except OSError:
                    continue
                if "consumers." in line:
                    self.command_lines.add(line)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[Site]:
    if (reason := SecuredKafka.missing()) is not None:
        pytest.skip(reason)
    program = tls_redis()
    folder = tmp_path_factory.mktemp("site")
    certificates = Certificates(folder)
    acl = re.search(r">PASSWORD (.*)", (ROOT / "docs" / "security.md").read_text("utf-8"))
    assert acl is not None
    with (
        SecuredKafka(certificates) as kafka,
        secured_redis(program, certificates, folder, acl[1]) as redis_port,
    ):
        owner, topics = KafkaTransport(kafka.address), Settings().topics
        ensure_topics(owner, topics)
        ensure_topics_of_index(owner, topics)
        ensure_state_topics(owner, topics)
        ensure_topic_of_pictures(owner, topics)
        ensure_topic_of_deliveries(owner, topics, 24)
        ensure_topic_of_verdicts(owner, topics, 24)
        ensure_topic_of_audit(owner, topics, 24)
        ensure_topic_of_access(owner, topics, 24)
        # Whoever has to leave something out has to be able to read what.
        ensure_topic_of_forgotten(owner, topics)
        producer = owner.producer()
        producer.send(topics.forgotten, *Forgotten("nowhere", 1, 2, 3, "ana").encode())
        producer.flush()
        with KafkaAdminClient(bootstrap_servers=kafka.address) as admin:
            acls = list(documented_acls())
            # Whoever runs all of them, as `clipline run` does.
            roles = {f"User:{name}" for name in ("agent", "worker", "pictures", "notify", "verdicts", "dashboard")}
            of_all = [each for each in acls if each.principal in roles]
            admin.create_acls([*acls, *(copied(each, "User:nobody") for each in of_all)])
        yield Site(folder, kafka, certificates, redis_port)


def test_each_role_does_its_work_with_the_acls_of_the_page_and_tells_no_secret(site):
    settings = Settings()
    owner = KafkaTransport(site.kafka.address)
    over = threading.Event()
    watcher = threading.Thread(target=site.watch_command_lines, args=(over,))
    watcher.start()
    worker = site.start("worker", "work", "--from", "earliest")
    follower = site.start("reader", "events", "--follow", "--all", "--json")
    try:
        film = ROOT / "consumers" / "footage" / "gate.mp4"
        attached = site.finish(site.start("agent", "attach", film, "--camera", "gate", "--pace", "max"))
        deadline = time.monotonic() + 90
        while not (events := list(owner.read(owner.offsets(settings.topics.events)))) and time.monotonic() < deadline:
            time.sleep(0.5)
        time.sleep(3)
        status = site.finish(site.start("reader", "status"))
        footage = site.finish(site.start("reader", "footage", "gate"))
    finally:
        for process in (worker, follower):
            process.send_signal(signal.SIGINT)
        said = [site.finish(process) for process in (worker, follower)]
        over.set()
        watcher.join()
    assert events, "\n".join([attached, *said])
    assert '"camera":"gate"' in said[1].replace(" ", ""), said[1]
    assert "gate" in status
    assert "18 segments" in footage
    text = "\n".join(site.said)
    for word in ("does not allow", "AUTHORIZATION", "Traceback", "NOPERM"):
        assert word not in text, text
    from consumers.outputs.redis.connection import connect_redis
    from consumers.settings import load_settings

    with connect_redis(load_settings(environment=site.redis).redis) as client:
        keys = list(client.scan_iter("*"))
        assert keys
        stored = [client.dump(key) for key in keys]
    names = (*vars(type(settings.topics)), "segments", "predictions", "events", "deadletter", "state")
    topics = {getattr(settings.topics, n) for n in names if isinstance(getattr(settings.topics, n, None), str)}
    for topic in sorted(t for t in topics if t.startswith("clipline.")):
        stored += [r.value or b"" for r in owner.read(owner.offsets(topic))]
    assert site.command_lines
    for told in (text, *site.command_lines, *(each.decode(errors="replace") for each in stored)):
        assert PASSWORD not in told


def test_the_processes_of_a_run_come_in_too(site, tmp_path):
    owner, topic = KafkaTransport(site.kafka.address), Settings().topics.events
    over = threading.Event()
    watcher = threading.Thread(target=site.watch_command_lines, args=(over,))
    watcher.start()
    run = site.start(
        "nobody",
        "run",
        CLIPLINE_CAMERAS__YARD__URL=str(ROOT / "consumers" / "footage" / "gate.mp4"),
        CLIPLINE_RUN__LOG_FOLDER=str(tmp_path / "logs"),
        CLIPLINE_WORKER__IDLE_SECONDS="5",
    )
    try:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            if b"yard" in b"".join(record.value or b"" for record in owner.read(owner.offsets(topic))):
                break
            time.sleep(0.5)
    finally:
        run.send_signal(signal.SIGINT)
        said = site.finish(run)
        over.set()
        watcher.join()
    logs = "\n".join(file.read_text() for file in (tmp_path / "logs").iterdir())
    assert time.monotonic() < deadline, f"{said}\n{logs}"
    assert any("consumers.running.child" in line for line in site.command_lines)
    for told in (said, logs, *site.command_lines):
        assert PASSWORD not in told
        assert "does not allow" not in told


def test_who_serves_verdicts_gives_one_and_sees_no_event(site):
    httpx = pytest.importorskip("httpx")
    secret = "links-are-signed-with-this"
    links = Links("", Secret(secret))
    now = time.time_ns() // 1000
    token = links.token(Asked("0" * 24, "gate", "fight", now, now + 1, "ops", now + 3_600_000_000))
    given = {"CLIPLINE_VERDICTS__BASE_URL": "http://127.0.0.1:1", "CLIPLINE_VERDICTS__SECRET": secret}
    process = site.start("verdicts", "verdicts", "serve", "--listen", "127.0.0.1:0", **given)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        url = re.search(r"http://\S+:\d+", line)
        assert url is not None, line
        with httpx.Client(base_url=url[0], timeout=60) as client:
            assert client.get(f"/right/{token}").status_code == 200
            assert client.post(f"/right/{token}").status_code == 200
            assert client.post(f"/false/{token}").status_code == 409
    finally:
        process.send_signal(signal.SIGINT)
        said = site.finish(process)
    assert secret not in said
    assert token not in said
    owner, topic = KafkaTransport(site.kafka.address), Settings().topics.verdicts
    assert [json.loads(r.value)["answer"] for r in owner.read(owner.offsets(topic))] == ["right"]
    refused = site.finish(site.start("verdicts", "events"))
    assert "does not allow user verdicts" in " ".join(refused.split())


def test_who_serves_the_api_shows_what_is_there_and_writes_who_changes_it(site):
    httpx = pytest.importorskip("httpx")
    pytest.importorskip("fastapi")
    owner, topics = KafkaTransport(site.kafka.address), Settings().topics
    seen = event("gate")
    producer = owner.producer()
    producer.send(topics.events, *seen.encode())
    producer.flush()
    process = site.start("dashboard", "dashboard", "--listen", "127.0.0.1:0")
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        url = re.search(r"http://\S+/api/v1", line)
        assert url is not None, line
        with httpx.Client(base_url=url[0], timeout=60) as client:
            assert eventually(lambda: client.get("/health").json()["ok"]), client.get("/health").text
            assert client.get(f"/events/{seen.id}").status_code == 200
            stretch = {"from": "2026-11-24T08:00:00Z", "to": "2026-11-24T09:00:00Z"}
            assert client.get("/cameras/gate/predictions", params=stretch).status_code in {200, 404}
            assert client.get("/cameras/gate/recorded.m3u8", params=stretch).status_code in {200, 404}
            given = client.post("/verdicts", json={"event": seen.id, "answer": "false"})
            assert given.status_code == 201, given.text
            shared = client.post(f"/events/{seen.id}/shares", json={"hours": 1})
            assert shared.status_code == 201, shared.text
    finally:
        process.send_signal(signal.SIGINT)
        said = site.finish(process)
    assert "does not allow" not in said
    audit = [json.loads(record.value) for record in owner.read(owner.offsets(topics.audit))]
    assert [(each["action"], each["subject"]) for each in audit] == [("verdict.give", seen.id), ("share.make", seen.id)]


def test_who_has_a_stretch_forgotten_sees_what_is_left_of_it_and_until_when(site):
    owner, topics = KafkaTransport(site.kafka.address), Settings().topics
    seen = event("forgotten-gate", at_us=10**15)
    producer = owner.producer()
    producer.send(topics.events, *seen.encode())
    producer.flush()
    stretch = ["--camera", seen.camera, "--from", "2001-09-09T01:46:40Z", "--to", "2020-01-01T00:00:00Z", "--json"]
    said = site.finish(site.start("forgetter", "forget", *stretch))
    (row,) = [row for row in json.loads(said.splitlines()[-1])["rows"] if row["where"] == topics.events]
    assert (row["found"], row["left"]) == (1, 1), said
    assert row["until"].endswith("at the latest"), row
    assert "does not allow" not in said
    done = site.finish(site.start("forgetter", "forget", *stretch, "--and-all-before", "--yes"))
    (row,) = [row for row in json.loads(done.splitlines()[-1])["rows"] if row["where"] == topics.events]
    assert (row["found"], row["left"]) == (1, 0), done


@pytest.mark.parametrize(
    ("user", "command", "said"),
    [
        ("reader", ["attach", ROOT / "consumers" / "footage" / "gate.mp4", "--camera", "gate2"], "clipline.cameras"),
        ("agent", ["events"], "clipline.forgotten"),
        ("agent", ["work"], "clipline"),
    ],
)
def test_a_role_that_does_what_is_not_its_own_is_told_what_it_may_not_in_one_line(site, user, command, said):
    process = site.start(user, *command)
    lines = queue.SimpleQueue()
    threading.Thread(target=lambda: [lines.put(line) for line in process.stdout or ()], daemon=True).start()
    try:
        found = ""
        deadline = time.monotonic() + 40
        while "does not allow" not in found:
            found = lines.get(timeout=max(0.1, deadline - time.monotonic()))
            assert "Traceback" not in found
    finally:
        process.kill()
        process.wait()
    assert f"does not allow user {user}" in found
    assert said in found
    assert "docs/security.md" in found


@pytest.mark.parametrize("command", [["events"], ["status"], ["check"]])
def test_a_command_with_a_wrong_password_says_what_to_set(site, command):
    text = site.finish(site.start("reader", *command, CLIPLINE_KAFKA_SECURITY__PASSWORD="wrong-pw-7"))
    assert "does not accept user reader with this password (SCRAM-SHA-512)" in " ".join(text.split())
    assert "wrong-pw-7" not in text
    assert "Traceback" not in text
