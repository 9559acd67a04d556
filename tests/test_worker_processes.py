"""Workers on Apache Kafka that are stopped, killed and restarted while footage keeps coming: no window is lost."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from consumers.settings import Settings
from consumers.topics import ensure_topics
from stream import KafkaTransport
from tests import test_rebalance
from tests.test_rebalance import CAMERAS, segments, settings_of, windows_of

pytestmark = pytest.mark.slow
footage = test_rebalance.footage


class Fleet:
    """Workers of one group, each a process."""

    def __init__(self, address: str, settings: Settings) -> None:
        self._address, self._settings = address, settings
        self.processes: list[subprocess.Popen] = []

    def start(self, name: str | None = None) -> subprocess.Popen:
        worker = self._settings.worker.model_copy(update={"instance": name})
        settings = self._settings.model_copy(update={"worker": worker}).model_dump_json()
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.brightness_worker", self._address, settings],
            cwd=Path(__file__).parents[1],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        self.processes.append(process)
        return process

    def end(self, process: subprocess.Popen, how: signal.Signals) -> None:
        process.send_signal(how)
        assert process.wait(60) == (0 if how == signal.SIGTERM else -how)
        self.processes.remove(process)


@contextlib.contextmanager
def workers(address: str, settings: Settings, count: int) -> Iterator[Fleet]:
    fleet = Fleet(address, settings)
    try:
        for _ in range(count):
            fleet.start()
        yield fleet
    finally:
        for process in list(fleet.processes):
            process.kill()
            process.wait()


def killed(fleet: Fleet) -> None:
    for _ in range(7):
        time.sleep(2)
        fleet.end(fleet.processes[0], signal.SIGKILL)
        fleet.start()


def stopped_for_longer_than_its_session(fleet: Fleet) -> None:
    for _ in range(3):
        time.sleep(3)
        process = fleet.processes[0]
        process.send_signal(signal.SIGSTOP)
        time.sleep(9)
        process.send_signal(signal.SIGCONT)
        fleet.processes.append(fleet.processes.pop(0))


def restarted_one_after_the_other(fleet: Fleet) -> None:
    for _ in range(2 * len(fleet.processes)):
        time.sleep(2)
        fleet.end(fleet.processes[0], signal.SIGTERM)
        fleet.start()


def joined_and_left(fleet: Fleet) -> None:
    for _ in range(6):
        visitor = fleet.start()
        time.sleep(4)
        fleet.end(visitor, signal.SIGTERM)


@pytest.mark.parametrize(
    ("count", "happens"),
    [(1, joined_and_left), (2, killed), (2, stopped_for_longer_than_its_session), (3, restarted_one_after_the_other)],
)
def test_no_window_is_lost(
    apache_broker,
    topics_prefix: str,
    footage: Path,
    count: int,
    happens: Callable[[Fleet], None],
    record_property,
):
    settings = settings_of(topics_prefix)
    records = segments(footage, settings)
    expected, _ = windows_of(records, settings)
    transport = KafkaTransport(apache_broker.address)
    ensure_topics(transport, settings.topics)
    producer, hurry = transport.producer(), threading.Event()

    def send() -> None:
        for number, record in enumerate(records):
            producer.send(settings.topics.segments, *record)
            if number % len(CAMERAS) == 0:
                # On a slow machine it all takes longer: something is left to be sent until it is over.
                hurry.wait(0.3 if number + 3 * len(CAMERAS) < len(records) else 60)
        producer.flush()

    def told() -> list[tuple[str, int]]:
        stored = transport.read(transport.offsets(settings.topics.predictions))
        return [(body["camera"], body["window"]) for body in (json.loads(r.value or b"") for r in stored)]

    sender = threading.Thread(target=send)
    with workers(apache_broker.address, settings, count) as fleet:
        sender.start()
        deadline = time.monotonic() + 120
        while not told():
            assert time.monotonic() < deadline
            time.sleep(0.5)
        happens(fleet)
        assert sender.is_alive(), "all had been sent before it was over: the test shows nothing"
        hurry.set()
        sender.join()
        deadline = time.monotonic() + 60
        while not set(told()) >= expected and time.monotonic() < deadline:
            time.sleep(1)
        for process in list(fleet.processes):
            fleet.end(process, signal.SIGTERM)
    producer.close()
    found = told()
    missing, repeated = sorted(expected - set(found)), len(found) - len(set(found))
    record_property("repeated", repeated)
    print(f"{happens.__name__}: {len(missing)} of {len(expected)} windows lost, {repeated} told twice")
    assert not missing
