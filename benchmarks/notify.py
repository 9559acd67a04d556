"""How soon messages about events arrive: `python benchmarks/notify.py [--events 1000] [--cameras 200] [--seconds 60]`.

Reports of events are sent to a broker, evenly over the time; a notifier with a webhook and, where Debian's mosquitto
is there, an MQTT channel tells of them. Measured is the wall time from when a record is sent to when its message has
arrived. Needs Java and `make kafka`; `--broker embedded` does without.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from rich.table import Table

from consumers.notifying.notifier import Notifier
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


def measure(
    broker: str, channels: Mapping[str, Mapping[str, Any]], arrivals: Arrivals, given: argparse.Namespace
) -> dict[str, float]:
    """Send the reports; return when each was sent, by event."""
    settings = Settings.model_validate({"kafka": broker, "channels": channels})
    transport, stop, sent = KafkaTransport(settings.broker), threading.Event(), {}
    ensure_topic_of_deliveries(transport, settings.topics, 24)
    notifier = Notifier(lambda: KafkaTransport(settings.broker), settings, stop.is_set)
    thread = threading.Thread(target=notifier.run)
    thread.start()
    while not notifier.is_at_work:
        time.sleep(0.1)
    producer, begin = transport.producer(), time.monotonic()
    for number in range(given.events):
        time.sleep(max(0.0, begin + number * given.seconds / given.events - time.monotonic()))
        event = report(f"camera-{number % given.cameras}", number)
        sent[event.id] = time.time()
        producer.send(settings.topics.events, *event.encode())
        producer.flush()
    deadline = time.monotonic() + 60
    while any(arrivals.count(name) < given.events for name in channels) and time.monotonic() < deadline:
        time.sleep(0.1)
    stop.set()
    thread.join()
    return sent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1000)
    parser.add_argument("--cameras", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--broker", choices=("apache", "embedded"), default="apache")
    given = parser.parse_args()
    out, arrivals = Output(), Arrivals()
    with ExitStack() as stack:
        broker = stack.enter_context(ApacheBroker() if given.broker == "apache" else EmbeddedBroker())
        limits = {"per_hour": 1_000_000}
        channels = {"webhook": {"url": stack.enter_context(webhook(arrivals)), **limits}}
        program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
        if program is None:
            out.print("mqtt: not measured, there is no mosquitto")
        else:
            url = stack.enter_context(mosquitto(arrivals, program))
            channels["mqtt"] = {"kind": "mqtt", "url": url, **limits}
        sent = measure(broker.address, channels, arrivals, given)
    table = Table("channel", "events", "arrived", "p50, ms", "p95, ms", "longest, ms")
    for name in channels:
        took = sorted((at - sent[event]) * 1000 for (channel, event), at in arrivals.at.items() if channel == name)
        figures = (statistics.median(took), took[math.ceil(0.95 * len(took)) - 1], took[-1])
        table.add_row(name, str(len(sent)), str(len(took)), *(f"{each:.0f}" for each in figures))
    out.print(table)


if __name__ == "__main__":
    main()
