"""How soon messages about events arrive: `python benchmarks/notify.py [--events 1000] [--cameras 200] [--seconds 60]`.

Reports of events are sent to a broker, evenly over the time; a notifier with a webhook and, where Debian's mosquitto
is there, an MQTT channel tells of them, and a stream of server-sent events. Measured is the wall time from when a
record is sent to when its message has arrived, once alone and once beside clients of the stream that take nothing.
Needs Java and `make kafka`; `--broker embedded` does without.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import math
import shutil
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
from price.machine import processor
from rich.table import Table

from consumers.notifying.notifier import Notifier
from consumers.records.event import Event, event_id
from consumers.settings import Settings
from consumers.subscribing.serving import serving
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


@contextmanager
def mosquitto(arrivals: Arrivals, program: str) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / "mosquitto.conf"
        settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
        process = subprocess.Popen([program, "-c", settings], stderr=subprocess.DEVNULL)
        while socket.socket().connect_ex(("127.0.0.1", port)):
            time.sleep(0.05)
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
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
def stream(settings: Settings, arrivals: Arrivals) -> Iterator[str]:
    """Events over HTTP, and one client that takes them as they come."""
    with serving(settings, "127.0.0.1:0") as (url, _):
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=120)
        connection.request("GET", parts.path)
        response, begun = connection.getresponse(), threading.Event()

        def take() -> None:
            with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
                while line := response.readline():
                    if line.startswith(b"id:"):  # from now on nothing is missed
                        begun.set()
                    if line.startswith(b"data:"):
                        arrivals.note("sse", json.loads(line[5:])["event"])

        threading.Thread(target=take, daemon=True).start()
        begun.wait()
        yield url


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


@contextmanager
def notifying(settings: Settings) -> Iterator[None]:
    ensure_topic_of_deliveries(KafkaTransport(settings.broker), settings.topics, 24)
    stop = threading.Event()
    notifier = Notifier(lambda: KafkaTransport(settings.broker), settings, stop.is_set)
    thread = threading.Thread(target=notifier.run)
    thread.start()
    try:
        while not notifier.is_at_work:
            time.sleep(0.1)
        yield
    finally:
        stop.set()
        thread.join()


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
        stack.enter_context(notifying(settings))
        url, names = stack.enter_context(stream(settings, arrivals)), (*channels, "sse")
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
