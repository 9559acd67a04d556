"""Workers on Apache Kafka that are restarted one after the other: how late cameras are told of, and nothing is lost.

python -m pytest tests/test_rolling_restart.py -m slow -s        prints the seconds
"""

from __future__ import annotations

import json
import signal
import threading
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pytest

from consumers.topics import ensure_topics
from stream import KafkaTransport
from tests import test_rebalance
from tests.test_rebalance import CAMERAS, segments, settings_of, windows_of
from tests.test_worker_processes import workers
from tests.waiting import eventually

pytestmark = pytest.mark.slow
footage = test_rebalance.footage

WORKERS = 3
#: A camera sends a segment so often, and a window is complete with nearly each.
PACE_SECONDS = 0.3
#: Segments of each camera that are sent before all workers are at work.
BEFORE = 10
#: A camera of which nothing was told for longer is late.
LATE_SECONDS = 1.0


@pytest.mark.parametrize("named", [False, True], ids=["without names", "with names"])
def test_workers_that_are_restarted_one_after_the_other(
    apache_broker, topics_prefix: str, footage: Path, *, named: bool, record_property, monkeypatch
):
    monkeypatch.setenv("HEARTBEATS_PER_SESSION", "4")
    settings = settings_of(topics_prefix)
    records = segments(footage, settings)
    expected, events = windows_of(records, settings)
    transport = KafkaTransport(apache_broker.address)
    ensure_topics(transport, settings.topics)
    producer, at_work, hurry = transport.producer(), threading.Event(), threading.Event()

    def send() -> None:
        for number, record in enumerate(records):
            if number == BEFORE * len(CAMERAS):
                at_work.wait(120)
            producer.send(settings.topics.segments, *record)
            if number % len(CAMERAS) == 0:
                # On a slow machine it all takes longer: something is left to be sent until it is over.
                hurry.wait(PACE_SECONDS if number + 3 * len(CAMERAS) < len(records) else 60)
        producer.flush()

    def told() -> list[tuple[tuple[str, int], float]]:
        stored = transport.read(transport.offsets(settings.topics.predictions))
        bodies = [(json.loads(r.value or b""), r.sent_us / 1e6) for r in stored]
        return [((body["camera"], body["window"]), at) for body, at in bodies]

    names = [f"worker-{n}" if named else None for n in range(WORKERS)]
    sender = threading.Thread(target=send)
    with workers(apache_broker.address, settings, 0) as fleet:
        for name in names:
            fleet.start(name)
        sender.start()
        assert eventually(lambda: len({camera for (camera, _), _ in told()}) == len(CAMERAS), 120)
        at_work.set()
        time.sleep(3)
        began = time.time()
        for name in names:
            fleet.end(fleet.processes[0], signal.SIGTERM)
            fleet.start(name)
            time.sleep(5)
        ended = time.time()
        assert sender.is_alive(), "all had been sent before it was over: the test shows nothing"
        hurry.set()
        sender.join()
        assert eventually(lambda: {window for window, _ in told()} >= expected, 60)
    producer.close()
    found = told()
    assert len(found) == len(expected), "a window was told twice"
    assert len(test_rebalance.reports(transport, settings)) == events
    times = defaultdict(list)
    for (camera, _), at in found:
        if began <= at <= ended:
            times[camera].append(at)
    gaps = [after - before for told_at in times.values() for before, after in pairwise(sorted(told_at))]
    late = sum(gap - LATE_SECONDS for gap in gaps if gap > LATE_SECONDS)
    record_property("late_seconds", round(late, 1))
    print(
        f"{'with' if named else 'without'} names: {late:.1f} s late over {len(times)} cameras, "
        f"{max(gaps):.1f} s the longest, {sum(gap > LATE_SECONDS for gap in gaps)} times"
    )
