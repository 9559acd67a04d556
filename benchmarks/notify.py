"""How soon messages about events arrive: `python benchmarks/notify.py [--events 1000] [--cameras 200] [--seconds 60]`.

Reports of events are sent to a broker, evenly over the time. `clipline notify`, with a webhook and, where Debian's
mosquitto is there, an MQTT channel, and `clipline events --serve` tell of them, each in a process of its own. Measured
is the wall time from when a record is sent to when its message has arrived, once alone and once beside clients of the
stream that take nothing.
Needs Java and `make kafka`; `--broker embedded` does without.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import math
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from price.machine import processor
from rich.table import Table

from consumers.records.event import Event, event_id
from consumers.settings import Settings
from consumers.terminal.console import Output
from consumers.topics import ensure_topic_of_deliveries
from stream import KafkaTransport
from stream.services import ApacheBroker, EmbeddedBroker


class Arrivals:
    """When each event arrived first, by channel."""

    def __init__(self) -> None:
        self.at: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()

    def note(self, channel: str, event: str) -> None:
        with self._lock:
            self.at.setdefault((channel, event), time.time())

    def count(self, channel: str) -> int:
        return sum(name == channel for name, _ in list(self.at))


@contextmanager
def webhook(arrivals: Arrivals) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            arrivals.note("webhook", body["data"]["event"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def mosquitto(arrivals: Arrivals, program: str) -> Iterator[str]:
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / "mosquitto.conf"
        settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
        process = subprocess.Popen([program, "-c", settings], stderr=subprocess.DEVNULL)
        while socket.socket().connect_ex(("127.0.0.1", port)):
            time.sleep(0.05)
        client = mqtt.Client(CallbackAPIVersion.VERSION2)
        client.on_message = lambda _client, _data, message: arrivals.note("mqtt", json.loads(message.payload)["event"])
        client.connect("127.0.0.1", port)
        client.subscribe("clipline/+/event", qos=1)
        client.loop_start()
        yield f"mqtt://127.0.0.1:{port}/clipline"
        client.loop_stop()
        process.terminate()
        process.wait()


def report(camera: str, number: int) -> Event:
    start_us = time.time_ns() // 1000
    return Event(
        *(camera, "model", "fight", "started", 0, event_id(camera, start_us, "fight", start_us + number, "model")),
        *(start_us, start_us + 2_000_000, 0.97, start_us, 4),
    )


@contextmanager
def command(settings: Settings, *words: str) -> Iterator[None]:
    """`clipline` with these settings, a process of its own as for users."""
    given = settings.model_dump(mode="json", exclude_unset=True)
    environment = {f"CLIPLINE_{name}": str(value) for name, value in flat(given)}
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "consumers.cli", *words], env=os.environ | environment, stdout=said, stderr=said
        )
        try:
            yield
            if process.poll() is not None:
                said.seek(0)
                sys.exit(f"clipline {words[0]} has ended: {said.read().decode(errors='replace')[-2000:]}")
        finally:
            process.terminate()
            process.wait()


def flat(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}__{rest}".upper(), each) for rest, each in flat(value))
        else:
            yield name.upper(), value


@contextmanager
def stream(url: str, arrivals: Arrivals) -> Iterator[None]:
    """One client of the stream that takes events as they come."""
    parts, deadline = urlsplit(url), time.monotonic() + 60
    while socket.socket().connect_ex((str(parts.hostname), int(parts.port or 0))):
        if time.monotonic() > deadline:
            sys.exit(f"nobody listens at {url}")
        time.sleep(0.1)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=120)
    connection.request("GET", parts.path)
    response = connection.getresponse()

    def take() -> None:
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
            while line := response.readline():
                if line.startswith(b"data:"):
                    arrivals.note("sse", json.loads(line[5:])["event"])

    threading.Thread(target=take, daemon=True).start()
    yield


@contextmanager
def slow_clients(url: str, count: int) -> Iterator[None]:
    """Clients that ask for all events and take none of them."""
    parts = urlsplit(url)
    with ExitStack() as stack:
        for _ in range(count):
            client = stack.enter_context(socket.socket())
            # Else the kernel would take in their place what they do not.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect((str(parts.hostname), int(parts.port or 0)))
            client.sendall(f"GET {parts.path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        yield


def send_reports(
    settings: Settings, given: argparse.Namespace, arrivals: Arrivals, names: Sequence[str]
) -> dict[str, float]:
    """Send the reports and wait until they have arrived everywhere; return when each was sent, by event."""
    producer, begin, sent = KafkaTransport(settings.broker).producer(), time.monotonic(), dict[str, float]()
    before = {name: arrivals.count(name) for name in names}
    for number in range(given.events):
        time.sleep(max(0.0, begin + number * given.seconds / given.events - time.monotonic()))
        event = report(f"camera-{number % given.cameras}", number)
        sent[event.id] = time.time()
        producer.send(settings.topics.events, *event.encode())
        producer.flush()
    producer.close()
    deadline = time.monotonic() + 60
    while any(arrivals.count(name) - before[name] < given.events for name in names) and time.monotonic() < deadline:
        time.sleep(0.1)
    return sent


def begin(settings: Settings, arrivals: Arrivals, names: Sequence[str]) -> None:
    """Send reports until one has arrived everywhere: all are at work then."""
    producer, deadline = KafkaTransport(settings.broker).producer(), time.monotonic() + 120
    while not all(arrivals.count(name) for name in names):
        if time.monotonic() > deadline:
            sys.exit(f"nothing arrives by {', '.join(name for name in names if not arrivals.count(name))}")
        producer.send(settings.topics.events, *report("warm-up", 0).encode())
        producer.flush()
        time.sleep(1)
    producer.close()
    time.sleep(5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1000)
    parser.add_argument("--cameras", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--slow", type=int, default=50, help="clients of the event stream that take nothing")
    parser.add_argument("--broker", choices=("apache", "embedded"), default="apache")
    given = parser.parse_args()
    out, arrivals = Output(), Arrivals()
    table = Table("stream", "receiver", "events", "arrived", "p50, ms", "p95, ms", "longest, ms")
    with ExitStack() as stack:
        broker = stack.enter_context(ApacheBroker() if given.broker == "apache" else EmbeddedBroker())
        limits = {"per_hour": 1_000_000}
        channels: dict[str, dict[str, Any]] = {"webhook": {"url": stack.enter_context(webhook(arrivals)), **limits}}
        program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
        if program is None:
            out.print("mqtt: not measured, there is no mosquitto")
        else:
            url = stack.enter_context(mosquitto(arrivals, program))
            channels["mqtt"] = {"kind": "mqtt", "url": url, **limits}
        serve = {"max_clients": given.slow + 1, "slow_seconds": 600.0, "heartbeat_seconds": 1.0}
        settings = Settings.model_validate({"kafka": broker.address, "channels": channels, "serve": serve})
        ensure_topic_of_deliveries(KafkaTransport(settings.broker), settings.topics, 24)
        address, names = f"127.0.0.1:{free_port()}", (*channels, "sse")
        url = f"http://{address}/events"
        stack.enter_context(command(settings, "notify"))
        stack.enter_context(command(settings, "events", "--serve", address))
        stack.enter_context(stream(url, arrivals))
        begin(settings, arrivals, names)
        rounds = {"one client": send_reports(settings, given, arrivals, names)}
        with slow_clients(url, given.slow):
            rounds[f"and {given.slow} slow ones"] = send_reports(settings, given, arrivals, names)
    for words, sent in rounds.items():
        for name in names:
            took = sorted(
                (arrivals.at[name, each] - at) * 1000 for each, at in sent.items() if (name, each) in arrivals.at
            )
            figures = (statistics.median(took), took[math.ceil(0.95 * len(took)) - 1], took[-1])
            table.add_row(words, name, str(len(sent)), str(len(took)), *(f"{each:.0f}" for each in figures))
    out.print(table)
    out.print(f"{given.events / given.seconds * 60:g} events a minute of {given.cameras} cameras; {processor()}")


if __name__ == "__main__":
    main()
