"""Events over HTTP: each client from where it stood, a slow one by itself, nobody who may not."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("sse_starlette")
pytest.importorskip("uvicorn")

from consumers.outputs import follower as following
from consumers.records.event import Event
from consumers.settings import ServeSettings, Settings, SettingsError, is_loopback
from consumers.subscribing import serving as module
from consumers.subscribing import shared as sharing
from consumers.subscribing.serving import EventStreams, serving
from consumers.subscribing.shared import Answers
from consumers.web_server import parse_address
from stream import EntryError, Existing, KafkaTransport, Topic, Transport
from stream.services import ApacheBroker, EmbeddedBroker
from tests.command_line import clipline
from tests.test_subscribing import TOPIC, event, publish, stored
from tests.test_transactions import server_of
from tests.waiting import eventually


@dataclass(frozen=True, slots=True)
class Message:
    """As the standard has a client read it."""

    id: str | None
    data: Any
    comments: tuple[str, ...]


class Client:
    """A client of server-sent events that nobody here wrote the server's side of: lines, as the standard says."""

    def __init__(
        self, url: str, *, query: str = "", last_id: str | None = None, timeout_seconds: float = 20, **headers: str
    ) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout_seconds)
        sent = {"Accept": "text/event-stream"} | {name.replace("_", "-"): value for name, value in headers.items()}
        if last_id is not None:
            sent["Last-Event-ID"] = last_id
        self._connection.request("GET", parts.path + query, headers=sent)
        self.response = self._connection.getresponse()
        self.last_id = last_id
        self.comments: list[str] = []

    def messages(self) -> Iterator[Message]:
        data: list[str] = []
        comments: list[str] = []
        while line := self.response.readline():
            name, colon, value = line.decode().rstrip("\n").partition(":")
            value = value.removeprefix(" ")
            if not name and not colon:
                self.comments += comments
                yield Message(self.last_id, json.loads("\n".join(data)) if data else None, tuple(comments))
                data, comments = [], []
            elif not name:
                comments.append(value)
            elif name == "id":
                self.last_id = value
            elif name == "data":
                data.append(value)

    def take(self, count: int) -> list[Any]:
        found: list[Any] = []
        if count:
            for message in self.messages():
                if message.data is not None:
                    found.append(message.data)
                    if len(found) == count:
                        break
        return found

    def text(self) -> str:
        return self.response.read().decode()

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "ASK_SECONDS", 0.3)
    monkeypatch.setattr(following, "_RETRY_SECONDS", 0.1)
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.1)


@contextmanager
def served(
    monkeypatch: pytest.MonkeyPatch, transport: Transport, address: str = "127.0.0.1:0", **settings: Any
) -> Iterator[tuple[str, EventStreams]]:
    """A server on a broker within this process."""
    monkeypatch.setattr(module, "_connecting", lambda _: lambda: transport)
    with serving(Settings(serve=ServeSettings(**settings)), address) as (url, streams):
        yield url, streams


def bodies(*events: Event) -> list[dict[str, Any]]:
    return [each.body() for each in events]


def test_a_client_gets_what_it_asks_for(monkeypatch, quick):
    transport = stored(1, event(0), event(1, "gate-2"), event(2, "dock"), event(3, "gate", "run"))
    with served(monkeypatch, transport) as (url, _):
        everything = Client(url, query="?since=earliest")
        assert everything.response.status == 200
        assert everything.response.headers["Content-Type"].startswith("text/event-stream")
        assert everything.response.headers["Cache-Control"] == "no-store"
        assert len(everything.take(4)) == 4
        some = Client(url, query="?since=1h&camera=gate*&camera=dock&label=fight")
        assert some.take(3) == bodies(event(0), event(1, "gate-2"), event(2, "dock"))
        new = Client(url)
        assert next(m for m in new.messages() if m.id is not None).data is None, "it knows where it stands"
        publish(transport, event(4))
        assert new.take(1) == bodies(event(4))


@pytest.mark.parametrize("partitions", [1, 3])
def test_whoever_comes_back_gets_each_event_once_wherever_it_was_cut(monkeypatch, quick, partitions):
    transport = stored(partitions)
    count = 9
    for number in range(count):
        publish(transport, event(number), partition=number % partitions)
    wanted = sorted(each.id for each in map(event, range(count)))
    with served(monkeypatch, transport) as (url, _):
        for stop in range(1, count):
            first = Client(url, query="?since=earliest")
            before = first.take(stop)
            first.close()
            # As a browser does it: the same address, and the id of the last event.
            second = Client(url, query="?since=earliest", last_id=first.last_id)
            found = before + second.take(count - stop)
            second.close()
            assert sorted(body["event"] for body in found) == wanted


def test_what_comes_while_a_client_that_has_had_nothing_is_away_is_not_lost(monkeypatch, quick):
    transport = stored(2)
    with served(monkeypatch, transport) as (url, _):
        first = Client(url)
        assert next(m for m in first.messages() if m.id is not None).data is None
        first.close()
        publish(transport, event(0), partition=1)
        publish(transport, event(1), partition=0)
        second = Client(url, last_id=first.last_id)
        assert {body["event"] for body in second.take(2)} == {event(0).id, event(1).id}


def test_a_heartbeat_moves_the_place_past_what_is_not_wanted(monkeypatch, quick):
    transport = stored(1)
    with served(monkeypatch, transport, heartbeat_seconds=0.3) as (url, _):
        client = Client(url, query="?camera=gate")
        messages = client.messages()
        assert next(m.id for m in messages if m.id is not None).endswith("/0:0")
        publish(transport, *(event(n, "dock") for n in range(5)))
        beat = next(m for m in messages if m.id.endswith("/0:5"))
        assert beat.data is None
        assert any(line == "waiting for events" for line in client.comments)


@pytest.mark.parametrize(
    ("query", "headers", "status", "said"),
    [
        ("?since=soon", {}, 400, "since: expected how long ago .*: 'soon'"),
        ("?since=1h&since=2h", {}, 400, "since: expected one time"),
        ("?camera=a/b", {}, 400, "cameras: expected an id"),
        ("?label=", {}, 400, "labels: expected names of labels"),
        ("?lable=fight", {}, 400, "lable: expected camera, drills, label, since"),
        ("?%1b[2J=fight", {}, 400, r"\\x1b\[2J: expected"),
        ("", {"Last_Event_ID": "17"}, 400, "after: expected the id of an event"),
        ("x", {}, 404, "known is /events"),
        ("", {"Host": "evil.example:80"}, 403, "expected a request to localhost"),
        ("", {"Host": ""}, 403, "expected a request to localhost"),
        ("", {"Host": "["}, 403, "expected a request to localhost"),
    ],
)
def test_what_cannot_be_served_is_said(monkeypatch, query, headers, status, said):
    with served(monkeypatch, stored()) as (url, streams):
        client = Client(url, query=query, **headers)
        assert client.response.status == status
        assert re.match(said, client.text())
        assert not streams._open_streams


def test_only_get_and_head_are_answered(monkeypatch):
    with served(monkeypatch, stored()) as (url, streams):
        parts = urlsplit(url)
        for method, status in (("HEAD", 200), ("POST", 405), ("DELETE", 405)):
            connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
            connection.request(method, parts.path)
            assert connection.getresponse().status == status
        assert not streams._open_streams


def test_with_a_token_only_who_knows_it_is_served(monkeypatch, quick, caplog):
    with served(monkeypatch, stored(1, event(0)), "0.0.0.0:0", token="s3cret") as (url, _):
        for headers in ({}, {"Authorization": "Bearer s3cre"}, {"Authorization": "Basic s3cret"}):
            client = Client(url, **headers)
            assert client.response.status == 401
            assert client.response.headers["WWW-Authenticate"] == "Bearer"
        for scheme in ("Bearer", "bearer"):
            client = Client(url, query="?since=earliest", Authorization=f"{scheme} s3cret", Host="events.example")
            assert client.take(1) == bodies(event(0))
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7", "[::]", "example.org"])
def test_other_machines_are_let_in_with_a_token_only(host):
    said = "whoever reaches this address could read all events: set serve"
    with pytest.raises(SettingsError, match=said), serving(Settings(), f"{host}:8300"):
        pass


def test_addresses():
    assert parse_address("127.0.0.1:8300") == ("127.0.0.1", 8300)
    assert parse_address(":8300") == ("127.0.0.1", 8300)
    assert parse_address("[::1]:0") == ("::1", 0)
    assert is_loopback("127.9.9.9")
    assert not is_loopback("localhost.example.org")
    for text in ("", "8300", "localhost", "localhost:", "a:b", "a:99999", "http://a:1", "a:1/x", "u@a:1", "a b:1"):
        with pytest.raises(ValueError, match="expected HOST:PORT"):
            parse_address(text)


def test_one_client_too_many_is_told_to_come_back(monkeypatch, quick):
    with served(monkeypatch, stored(), max_clients=2) as (url, streams):
        clients = [Client(url) for _ in range(2)]
        assert [client.response.status for client in clients] == [200, 200]
        third = Client(url)
        assert (third.response.status, third.response.headers["Retry-After"]) == (503, "5")
        assert third.text() == "come back later: 2 clients are served\n"
        clients[0].response.close()
        clients[0].close()
        assert eventually(lambda: len(streams._open_streams) == 1, 10), "its place is free once it has gone"
        assert Client(url).response.status == 200


def test_connections_that_say_nothing_take_nobodys_place_for_long(monkeypatch, quick):
    monkeypatch.setattr("consumers.web_server._REQUEST_SECONDS", 0.5)
    with served(monkeypatch, stored(1, event(0)), max_clients=1) as (url, _), ExitStack() as idle:
        parts = urlsplit(url)
        early = Client(url, query="?since=earliest")
        assert early.take(1) == bodies(event(0))

        def connected(sent: bytes) -> socket.socket:
            connection = idle.enter_context(socket.create_connection((parts.hostname, parts.port)))
            connection.settimeout(20)
            connection.sendall(sent)
            return connection

        twice = connected(b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert twice.recv(9) == b"HTTP/1.1 "
        twice.sendall(b"GET /x HTTP/1.1\r\n")  # and no more of it
        without_body = connected(b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n")
        for each in (twice, without_body):
            while each.recv(1000):
                pass
        silent = [connected(b"GET /events HTTP/1.1\r\n"), *(connected(b"") for _ in range(40))]
        for each in silent:
            assert each.recv(1000) == b""
        early.close()
        assert eventually(lambda: Client(url).response.status == 200)


def test_a_client_that_takes_nothing_is_disconnected_and_holds_up_nobody(monkeypatch, quick, caplog):
    count = 1500
    transport = stored(1, *map(event, range(count)))
    with served(monkeypatch, transport, slow_seconds=0.5) as (url, streams):
        parts = urlsplit(url)
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect((parts.hostname, parts.port))
            slow.sendall(f"GET {parts.path}?since=earliest HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
            other = Client(url, query="?since=earliest")
            assert len(other.take(count)) == count
            assert eventually(lambda: streams.slow == 1, 60)
            assert eventually(lambda: len(streams._open_streams) == 1, 10)
            assert "disconnected, it took nothing for 0.5 s and its buffer is full" in caplog.text
            # What it takes now is what was on its way; an end, or a reset, follows.
            taken = b""
            try:
                while part := slow.recv(65536):
                    taken += part
            except ConnectionResetError:
                pass
        ids = re.findall(rb"^id: (.*)$", taken, re.MULTILINE)
        got = re.findall(rb'"event": "(\w+)"', taken)
        assert len(got) < count
        assert "Traceback" not in caplog.text
        if ids:
            # An event that was cut off has no empty line behind it: it does not count, and comes again.
            whole = taken.rpartition(b"\n\n")[0]
            last = re.findall(rb"^id: (.*)$", whole, re.MULTILINE)[-1].decode()
            had = re.findall(rb'"event": "(\w+)"', whole)
            again = Client(url, last_id=last)
            assert [b["event"].encode() for b in again.take(count - len(had))] == [
                event(n).id.encode() for n in range(len(had), count)
            ]


def test_the_end_ends_all_streams_within_a_moment(monkeypatch, quick):
    with served(monkeypatch, stored()) as (url, streams):
        clients = [Client(url) for _ in range(3)]
        assert eventually(lambda: len(streams._open_streams) == 3, 10)
        began = time.monotonic()
    assert time.monotonic() - began < 10
    for client in clients:
        assert list(client.messages())[-1].data is None
    assert not streams._open_streams


def test_an_address_that_is_taken_is_said():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        shown = clipline("events", "--serve", f"127.0.0.1:{taken.getsockname()[1]}")
    assert shown.returncode == 2
    assert "cannot be listened on (Address already in use)" in shown.stderr


def test_where_the_dashboards_address_is_taken_it_is_said_who_may_serve_it_there_and_how_to_choose_another():
    pytest.importorskip("fastapi")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        shown = clipline("dashboard", "--listen", address, "--kafka", "127.0.0.1:9")
    assert shown.returncode == 2
    assert f"{address} cannot be listened on (Address already in use): `clipline run` serves" in shown.stderr
    assert "--listen HOST:PORT" in shown.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--serve", "127.0.0.1:0", "--follow"], "--follow is for what is printed"),
        (["--serve", "127.0.0.1:0", "--camera", "gate"], "--camera is for what is printed"),
        (["--serve", "0.0.0.0:0"], "whoever reaches this address could read all events"),
        (["--serve", "8300"], "--serve: expected HOST:PORT"),
    ],
)
def test_what_cannot_be_asked_of_the_command_is_said(arguments, said):
    shown = clipline("events", *arguments)
    assert shown.returncode == 2
    assert said in shown.stderr


def test_streams_outlive_their_broker_and_say_what_they_wait_for(monkeypatch, quick):
    with ExitStack() as stack:
        with EmbeddedBroker() as broker:
            address, port = broker.address, int(broker.address.rpartition(":")[2])
            KafkaTransport(address).ensure_topics([Topic(TOPIC, 1)])
            publish(KafkaTransport(address), event(0))
            url, _ = stack.enter_context(serving(Settings(kafka=address), "127.0.0.1:0"))
            client = Client(url, query="?since=earliest")
            messages = client.messages()
            assert next(m.data for m in messages if m.data) == event(0).body()
        assert any(line.startswith(f"waiting for Kafka at {address} since") for m in messages for line in m.comments)
        with EmbeddedBroker(port=port):
            KafkaTransport(address).ensure_topics([Topic(TOPIC, 1)])
            publish(KafkaTransport(address), event(7))
            assert next(m.data for m in messages if m.data) == event(7).body()
            assert any("is back, after" in line for line in client.comments)


def test_clients_share_what_the_broker_says_of_its_topics(monkeypatch):
    asked: list[frozenset[str]] = []

    def ask(topics):
        asked.append(topics)
        if len(asked) == 2:
            raise EntryError("away")
        return {"t": Existing("id", 1)}

    now = [1000.0]
    monkeypatch.setattr(sharing, "time", SimpleNamespace(monotonic=lambda: now[0]))
    answers = Answers()
    assert [answers.get(["t"], ask) for _ in range(3)] == [{"t": Existing("id", 1)}] * 3
    assert len(asked) == 1
    now[0] += 2 * sharing._GOOD_SECONDS
    for _ in range(2):
        with pytest.raises(EntryError, match="away"):
            answers.get(["t"], ask)
    assert len(asked) == 2
    now[0] += 2 * sharing._GOOD_SECONDS
    assert answers.get(["t"], ask) == {"t": Existing("id", 1)}


class Commanded:
    """`clipline` as a process, and what it prints."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        folder.mkdir()
        self._out, self._err = folder / "out", folder / "err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "consumers.cli", *arguments], stdout=out, stderr=err, stdin=subprocess.DEVNULL
            )

    def printed(self) -> str:
        return self._out.read_text("utf-8")

    def said(self) -> str:
        return self._err.read_text("utf-8")

    def events(self) -> list[str]:
        return [json.loads(line)["event"] for line in self.printed().splitlines() if line.startswith("{")]

    def close(self) -> None:
        self.process.send_signal(signal.SIGINT)
        try:
            assert self.process.wait(timeout=60) == 0, self.said()
        finally:
            self.process.kill()


@pytest.mark.slow  # starts Apache Kafka twice
def test_commands_outlive_apache_kafka_and_go_on(tmp_path):
    """Killed and back while they listen: to a terminal, as a group, over HTTP."""
    if (reason := ApacheBroker.missing()) is not None:
        pytest.skip(reason)
    with ExitStack() as stack:
        with ApacheBroker(tmp_path / "data") as broker:
            address, port = broker.address, int(broker.address.rpartition(":")[2])
            KafkaTransport(address).ensure_topics([Topic(TOPIC, 1)])
            publish(KafkaTransport(address), event(0), event(1))
            follow = ["events", "--kafka", address, "--follow", "--all", "--json"]
            alone, grouped = Commanded(tmp_path / "a", *follow), Commanded(tmp_path / "g", *follow, "--group", "alarms")
            server = Commanded(tmp_path / "s", "events", "--kafka", address, "--serve", "127.0.0.1:0")
            for each in (alone, grouped, server):
                stack.callback(each.close)
            assert eventually(lambda: "events at http" in server.printed(), 60)
            url = re.search(r"http://\S+/events", server.printed())
            assert url is not None
            client = Client(url[0], query="?since=earliest", timeout_seconds=120)
            messages = client.messages()
            assert [next(m.data for m in messages if m.data) for _ in range(2)] == bodies(event(0), event(1))
            assert eventually(lambda: len(alone.events()) == len(grouped.events()) == 2, 60)
            os.kill(server_of(broker), signal.SIGKILL)
        assert eventually(lambda: all("waiting for Kafka" in each.said() for each in (alone, grouped)), 60)
        assert any(line.startswith("waiting for Kafka") for m in messages for line in m.comments)
        with ApacheBroker(tmp_path / "data", port=port):
            publish(KafkaTransport(address), event(2), event(3))
            assert [next(m.data for m in messages if m.data) for _ in range(2)] == bodies(event(2), event(3))
            wanted = [event(n).id for n in range(4)]
            assert eventually(lambda: alone.events() == wanted, 60)
            assert eventually(lambda: grouped.events() == wanted, 60), grouped.said()
            client.close()
            stack.close()
    assert "Traceback" not in alone.said() + grouped.said() + server.said()
