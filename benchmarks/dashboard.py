"""How quick the dashboard is beside a wall that plays: `python benchmarks/dashboard.py`.

Sample films are sent as 16 cameras through an embedded broker; a wall of all of them is watched as a player does it.
Meanwhile the API is asked 50 times a second, at the times that were set beforehand, whether earlier answers have come
or not, so that a server that stands still is seen. There are 10,000 events and the scores of three minutes. Then, where
there is a Chromium, the first page is opened with nothing kept. Server, cameras, viewers and askers are processes of
their own. Needs the extra `web`; for the page `playwright` and Chromium.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
from playlists import films_of, p95, process, send, watch

from consumers.outputs.states import ensure_state_topics
from consumers.records.event import Event, event_id
from consumers.records.prediction import Prediction, rfc3339
from consumers.settings import Settings
from consumers.topics import (
    ensure_topic_of_audit,
    ensure_topic_of_deliveries,
    ensure_topic_of_verdicts,
    ensure_topics,
)
from consumers.web.serving import serving_dashboard
from stream import KafkaTransport
from stream.services import EmbeddedBroker, EmbeddedRedis

#: What is asked for, and how often of a hundred times: what pages ask for, more of it than they do.
_MIX: Final = (
    ("/cameras", 20),
    ("/events?limit=50", 25),
    ("/events/{event}", 15),
    ("/events/{event}/pictures", 10),
    ("/cameras/{camera}/predictions?from={from}&to={to}", 10),
    ("/cameras/{camera}/rules?at={to}", 5),
    ("/verdicts?limit=50", 5),
    ("/deliveries?limit=50", 5),
    ("/fleet", 5),
)
_MODEL: Final = "movenet_views-000000000000"
_HOUR_US: Final = 3_600_000_000
#: Scores are found by when they were sent: those that are sent now are of now.
_SCORES_US: Final = 180_000_000
_WINDOW_US: Final = 650_000
_READY_SECONDS: Final = 120.0
_PAGE_ROUNDS: Final = 5
_TRANSFERRED: Final = """performance.getEntriesByType('resource')
    .filter((each) => !each.name.includes('/segments/')).reduce((sum, each) => sum + each.transferSize, 0)"""


def fill(transport: KafkaTransport, settings: Settings, cameras: list[str], events: int) -> list[str]:
    """Send events of the last day and scores of the last minutes; return the events' ids."""
    rng, now_us, found = np.random.default_rng(7), time.time_ns() // 1000, []
    producer = transport.producer()
    for number in range(events):
        camera = cameras[number % len(cameras)]
        begin_us = now_us - 24 * _HOUR_US + number * (23 * _HOUR_US // events)
        name = event_id(camera, begin_us, "fight", begin_us, _MODEL)
        report = Event(
            camera, _MODEL, "fight", "ended", 1, name, begin_us, begin_us + 4 * _WINDOW_US, 0.9, begin_us, 4,
            ending="below_threshold",
        )  # fmt: skip
        producer.send(settings.topics.events, *report.encode())
        found.append(name)
    for camera in cameras:
        for window in range(_SCORES_US // _WINDOW_US):
            begin_us = now_us - _SCORES_US + window * _WINDOW_US
            score = float(rng.beta(1, 8))
            prediction = Prediction(
                camera, now_us - _SCORES_US, window, begin_us, begin_us + 2 * _WINDOW_US, _MODEL,
                {"fight": score, "normal": 1 - score},
            )  # fmt: skip
            producer.send(settings.topics.predictions, *prediction.encode())
    producer.flush()
    producer.close()
    return found


def ask(url: str, paths: list[tuple[str, str]], rate: float, answer: Any) -> None:
    """Ask for (kind, path) after path at a rate; tell the seconds that each kind took, and what failed."""
    answer.put(asyncio.run(_ask(url, paths, rate)))


async def _ask(url: str, paths: list[tuple[str, str]], rate: float) -> tuple[dict[str, list[float]], int]:
    took, failed, begun = defaultdict(list), 0, time.perf_counter()

    async def one(number: int, kind: str, path: str, client: httpx.AsyncClient) -> None:
        nonlocal failed
        due = begun + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        try:
            found = await client.get(path)
            # Events without pictures say so.
            failed += found.status_code not in {httpx.codes.OK, httpx.codes.NOT_FOUND}
        except httpx.HTTPError:
            failed += 1
        # From when it was to be asked: what waits for its turn waits.
        took[kind].append(time.perf_counter() - due)

    limits = httpx.Limits(max_connections=20, max_keepalive_connections=20)
    async with httpx.AsyncClient(base_url=url, timeout=30, limits=limits) as client:
        await client.get("/health")
        begun = time.perf_counter()
        await asyncio.gather(*(one(n, kind, path, client) for n, (kind, path) in enumerate(paths)))
    return dict(took), failed


def serve(settings: Settings, there: Any, over: Any) -> None:
    """Serve the dashboard, as a process of its own does; tell where, and at the end the processor time it took."""
    with serving_dashboard(settings, "127.0.0.1:0") as (url, _):
        there.put(url)
        for _ in iter(over.get, None):
            there.put(time.process_time())


@contextmanager
def site(folder: str, cameras: list[str], events: int) -> Iterator[tuple[Settings, list[str]]]:
    """Broker, Redis, and what is on the topics."""
    with EmbeddedBroker() as broker, EmbeddedRedis() as redis:
        settings = Settings.model_validate(
            {
                "kafka": broker.address,
                "redis": redis.address,
                "spool": {"folder": Path(folder) / "spool"},
                "dashboard": {"requests_per_minute": 10**6, "footage_requests_per_minute": 10**6},
            }
        )
        transport = KafkaTransport(settings.broker)
        ensure_topics(transport, settings.topics)
        ensure_state_topics(transport, settings.topics)
        ensure_topic_of_verdicts(transport, settings.topics, 24)
        ensure_topic_of_deliveries(transport, settings.topics, 24)
        ensure_topic_of_audit(transport, settings.topics, 24)
        yield settings, fill(transport, settings, cameras, events)


def plan(count: int, cameras: list[str], events: list[str]) -> list[tuple[str, str]]:
    """What to ask for, in a random order that is the same each time."""
    rng, now_us = np.random.default_rng(3), time.time_ns() // 1000
    kinds = rng.choice(len(_MIX), count, p=[share / 100 for _, share in _MIX])
    found = []
    for kind in kinds:
        end_us = now_us - int(rng.integers(0, _SCORES_US))
        path = _MIX[kind][0].format_map(
            {
                "event": events[int(rng.integers(len(events)))],
                "camera": cameras[int(rng.integers(len(cameras)))],
                "from": rfc3339(end_us - 60_000_000),
                "to": rfc3339(end_us),
            }
        )
        found.append((_MIX[kind][0].partition("?")[0], path))
    return found


def first_page(url: str) -> str:
    """The first visit to the wall, in words."""
    chromium = shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415  not everybody has it
    except ImportError:
        chromium = None
    if chromium is None:
        return "the first page: not measured, no chromium or no playwright"
    times, sizes = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for _ in range(_PAGE_ROUNDS):
            page = browser.new_context().new_page()
            begun = time.perf_counter()
            page.goto(url, wait_until="commit")
            page.wait_for_selector("li.tile")
            times.append(time.perf_counter() - begun)
            sizes.append(page.evaluate(_TRANSFERRED))
            page.context.close()
        browser.close()
    return (
        f"the first page, nothing kept: {sorted(times)[len(times) // 2]:.2f} s until tiles are there (median of "
        f"{_PAGE_ROUNDS}), {max(sizes) / 1000:.0f} kB until then, video aside"
    )


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=40.0, help="for which the API is asked")
    parser.add_argument("--rate", type=float, default=50.0, help="requests a second")
    parser.add_argument("--tiles", type=int, default=16)
    parser.add_argument("--events", type=int, default=10_000)
    asked = parser.parse_args()
    cameras = [f"camera-{number}" for number in range(asked.tiles)]
    spawn = multiprocessing.get_context("spawn")
    there, over, told, saw = spawn.Queue(), spawn.Queue(), spawn.Queue(), spawn.Queue()
    with (
        tempfile.TemporaryDirectory() as folder,
        site(folder, cameras, asked.events) as (settings, events),
        process(serve, settings, there, over),
        process(send, settings, films_of(cameras)),
    ):
        url = there.get(timeout=_READY_SECONDS)
        _wait_until_ready(url, len(cameras))
        paths = plan(int(asked.seconds * asked.rate), cameras, events)
        over.put("tell")
        busy = there.get(timeout=_READY_SECONDS)
        with process(watch, url, [cameras], asked.seconds + 4, saw):
            time.sleep(2)
            with process(ask, url, paths, asked.rate, told):
                took, failed = told.get(timeout=asked.seconds * 3 + 60)
            wall = saw.get(timeout=asked.seconds * 3 + 60)
        over.put("tell")
        busy = there.get(timeout=_READY_SECONDS) - busy
        everything = [each for times in took.values() for each in times]
        print(f"{len(everything)} requests, {asked.rate:g} a second, beside {asked.tiles} tiles that play:")
        for kind, times in sorted(took.items(), key=lambda item: -len(item[1])):
            print(
                f"  {kind:36}{len(times):6}  median {1000 * float(np.median(times)):6.1f} ms   p95 {p95(times):6.1f} ms"
            )
        print(
            f"  {'all':36}{len(everything):6}  median {1000 * float(np.median(everything)):6.1f} ms   "
            f"p95 {p95(everything):6.1f} ms   {failed} failed"
        )
        print(
            f"the wall: {len(wall.segments)} segments, p95 {p95(wall.segments):.0f} ms, {wall.failed} failed; "
            f"the server took {busy / (asked.seconds + 4):.0%} of a core"
        )
        print(first_page(url.removesuffix("/api/v1") + "/"))
        over.put(None)
    print(f"on {os.cpu_count()} cores, which broker, cameras and askers share")


def _wait_until_ready(url: str, cameras: int) -> None:
    until = time.monotonic() + _READY_SECONDS
    with httpx.Client(base_url=url, timeout=30) as client:
        while True:
            found, health = client.get("/cameras").json()["items"], client.get("/health").json()
            if len([c for c in found if c["status"] == "live"]) >= cameras and health["ok"]:
                break
            if time.monotonic() > until:
                raise SystemExit(f"not ready within {_READY_SECONDS:g} s: {health}")
            time.sleep(0.5)
    time.sleep(8)  # so that each camera has three segments


if __name__ == "__main__":
    main()
