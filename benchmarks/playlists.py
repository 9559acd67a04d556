"""What walls and viewers cost: `python benchmarks/playlists.py`.

Sample films are sent as cameras, as fast as they are watched, through an embedded broker; the API serves them. First
one viewer has a wall of 16 cameras, then 100 viewers one camera, each as a player does: the playlist each second, and
then every segment that is new. Viewers, cameras and server are processes of their own. Needs the extra `web`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import multiprocessing
import os
import re
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from consumers.outputs.states import ensure_state_topics
from consumers.records.states.process import ProcessInfo
from consumers.running.ending import Ending
from consumers.running.roles import agent
from consumers.running.supervising.pulse import Pulse
from consumers.settings import Settings
from consumers.topics import ensure_topics
from consumers.web.serving import serving_dashboard
from stream import KafkaTransport
from stream.services import EmbeddedBroker

_FILMS: Final = sorted((Path(__file__).parents[1] / "consumers" / "footage").glob("*.mp4"))
_SEGMENT: Final = re.compile(r"^segments/\S+$", re.MULTILINE)
_ENDED: Final = 10.0


@dataclass
class Taken:
    """What viewers saw."""

    #: Seconds that answers took.
    playlists: list[float] = field(default_factory=list)
    segments: list[float] = field(default_factory=list)
    bytes: int = 0
    failed: int = 0
    distinct: set[str] = field(default_factory=set)


def send(settings: Settings, films: Mapping[str, Path]) -> None:
    """Have one agent send films as cameras, again and again, until the process ends."""
    cameras = {camera: {"url": str(film), "loop": True} for camera, film in films.items()}
    own = Settings.model_validate(settings.model_dump() | {"cameras": cameras})
    with agent.prepare(own, ProcessInfo.current(), Pulse()) as run:
        run(Ending())


def films_of(cameras: Iterable[str]) -> dict[str, Path]:
    """The sample films, by turns."""
    return {camera: _FILMS[number % len(_FILMS)] for number, camera in enumerate(cameras)}


def watch(url: str, viewers: Sequence[Sequence[str]], seconds: float, answer: Any) -> None:
    """Have viewers watch cameras, each with connections of its own; tell what they saw."""
    answer.put(asyncio.run(_watch(url, viewers, seconds)))


async def _watch(url: str, viewers: Sequence[Sequence[str]], seconds: float) -> Taken:
    taken, until = Taken(), time.monotonic() + seconds

    async def tile(client: httpx.AsyncClient, camera: str, pause: float) -> None:
        had: set[str] = set()
        await asyncio.sleep(pause)
        while time.monotonic() < until:
            due = time.monotonic() + 1
            text = await _get(client, f"/cameras/{camera}/live.m3u8", taken, taken.playlists)
            new = [a for a in _SEGMENT.findall((text or b"").decode()) if a not in had]
            for address in new if had else new[-3:]:
                body = await _get(client, f"/cameras/{camera}/{address}", taken, taken.segments)
                taken.bytes += len(body or b"")
                taken.distinct.add(f"{camera} {address}")
            had.update(new)
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async with contextlib.AsyncExitStack() as stack:
        tiles = []
        for number, cameras in enumerate(viewers):
            # As browsers do: six connections at most.
            limits = httpx.Limits(max_connections=min(6, len(cameras)))
            client = await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=30, limits=limits))
            tiles += [tile(client, c, (number + n) % 50 / 50) for n, c in enumerate(cameras)]
        await asyncio.gather(*tiles)
    return taken


async def _get(client: httpx.AsyncClient, path: str, taken: Taken, times: list[float]) -> bytes | None:
    begun = time.monotonic()
    try:
        answer = await client.get(path)
    except httpx.HTTPError:
        taken.failed += 1
        return None
    times.append(time.monotonic() - begun)
    taken.failed += answer.status_code != httpx.codes.OK
    return answer.content if answer.status_code == httpx.codes.OK else None


@contextlib.contextmanager
def process(target: Any, *arguments: Any) -> Iterator[None]:
    """Run something beside while the body runs."""
    beside = multiprocessing.get_context("spawn").Process(target=target, args=arguments, daemon=True)
    beside.start()
    try:
        yield
    finally:
        beside.terminate()
        beside.join(_ENDED)


def p95(times: Sequence[float]) -> float:
    """95 of a hundred answers took no longer, in milliseconds."""
    return 1000 * sorted(times)[max(0, math.ceil(0.95 * len(times)) - 1)] if times else math.nan


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0, help="for which each is watched")
    parser.add_argument("--tiles", type=int, default=16)
    parser.add_argument("--viewers", type=int, default=100)
    asked = parser.parse_args()
    cameras = [f"camera-{number}" for number in range(asked.tiles)]
    with tempfile.TemporaryDirectory() as folder, EmbeddedBroker() as broker:
        settings = Settings.model_validate(
            {
                "kafka": broker.address,
                "redis": "redis://127.0.0.1:1/0",
                "spool": {"folder": Path(folder) / "spool"},
                "dashboard": {"footage_requests_per_minute": 10**6, "max_clients": 1000},
            }
        )
        transport = KafkaTransport(settings.broker)
        ensure_topics(transport, settings.topics)
        ensure_state_topics(transport, settings.topics)
        with process(send, settings, films_of(cameras)), serving_dashboard(settings, "127.0.0.1:0") as (url, desk):
            with httpx.Client(base_url=url, timeout=30) as client:
                while len(client.get("/cameras").json()["items"]) < len(cameras):
                    time.sleep(0.5)
            time.sleep(8)
            print(f"{'':28}{'requests/s':>11}{'MB/s':>7}{'playlist p95':>14}{'segment p95':>13}{'read':>11}{'CPU':>7}")
            walls = {
                f"a wall of {asked.tiles} cameras": [cameras],
                f"{asked.viewers} viewers of one": [cameras[:1]] * asked.viewers,
            }
            for name, viewers in walls.items():
                store = desk.footage.segments
                reads, busy = store.reads, time.process_time()
                answer = multiprocessing.get_context("spawn").Queue()
                with process(watch, url, viewers, asked.seconds, answer):
                    taken = answer.get(timeout=asked.seconds * 3 + 60)
                share = (time.process_time() - busy) / asked.seconds
                count = len(taken.playlists) + len(taken.segments)
                read = f"{store.reads - reads}/{len(taken.distinct)}"
                print(
                    f"{name:28}{count / asked.seconds:11.0f}{taken.bytes / asked.seconds / 1e6:7.1f}"
                    f"{p95(taken.playlists):11.0f} ms{p95(taken.segments):10.0f} ms{read:>11}{share:7.0%}"
                    + (f"   {taken.failed} failed" if taken.failed else "")
                )
            print(f"read: records of segments that were read / that viewers had; on {os.cpu_count()} cores", flush=True)


if __name__ == "__main__":
    main()
