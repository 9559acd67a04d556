"""A dashboard's API on a real broker, with cameras whose footage real agents send."""

from __future__ import annotations

import contextlib
import io
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import httpx
import numpy as np

from consumers.running.attaching import attach_camera
from consumers.running.ending import Ending
from consumers.settings import Settings
from stream import Pace, Reading
from tests.dashboards import Site
from tests.videos import write_video

BEGIN_US = 1_795_507_200_000_000


def footage_settings(kafka: str, prefix: str, folder: Path, **dashboard) -> Settings:
    return Settings.model_validate(
        {
            "kafka": kafka,
            "redis": "redis://127.0.0.1:1/0",
            "topics": {"prefix": prefix, "partitions": 2},
            "spool": {"folder": folder / "spool"},
            "segments": {"max_seconds": 1.0},
            "dashboard": dashboard,
        }
    )


def attach(
    settings: Settings,
    film: Path,
    camera: str = "gate",
    start_us: int | None = BEGIN_US,
    *,
    pace: Pace = "max",
    loop: bool = False,
    ending: Ending | None = None,
) -> None:
    """Send a film as a camera's; return when all of it is sent."""
    attach_camera(
        settings, str(film), camera, pace=pace, loop=loop, start_us=start_us, reading=Reading(), take_over=True,
        exit_after_seconds=None, ending=ending or Ending(), progress=lambda _: None, hear=lambda _: None,
    )  # fmt: skip


def film_of_late(folder: Path) -> tuple[Path, int]:
    """A film of six seconds, and a time to send it as of: a minute ago, in microseconds."""
    film = write_video(folder / "film.mp4", 60, rate=10, gop=10, size=(64, 48), options={"bf": "0"})
    return film, (time.time_ns() // 1_000_000_000 - 60) * 1_000_000


@contextlib.contextmanager
def camera_on(settings: Settings, film: Path, camera: str = "gate", start_us: int | None = BEGIN_US) -> Iterator[None]:
    """Have a camera send a film again and again, as fast as it is watched."""
    ending = Ending()
    thread = threading.Thread(
        target=attach,
        args=(settings, film, camera, start_us),
        kwargs={"pace": "realtime", "loop": True, "ending": ending},
        daemon=True,
    )
    thread.start()
    try:
        yield
    finally:
        ending.ask()
        thread.join(20)


def site(kafka: str, prefix: str, folder: Path, **dashboard) -> Site:
    return Site(footage_settings(kafka, prefix, folder, **dashboard))


@dataclass(frozen=True)
class Entry:
    """A segment as a playlist names it."""

    number: int
    discontinuity: int
    breaks: bool
    time: str
    seconds: float
    address: str


def entries(text: str) -> list[Entry]:
    """What a playlist says, read by hand."""

    def number(tag: str, otherwise: int = 0) -> int:
        found = re.search(rf"^#{tag}:(\d+)$", text, re.MULTILINE)
        return int(found[1]) if found else otherwise

    at, discontinuity = number("EXT-X-MEDIA-SEQUENCE"), number("EXT-X-DISCONTINUITY-SEQUENCE")
    found, breaks, time, seconds = [], False, "", 0.0
    for line in text.splitlines():
        if line == "#EXT-X-DISCONTINUITY":
            breaks = True
            discontinuity += 1
        elif line.startswith("#EXT-X-PROGRAM-DATE-TIME:"):
            time = line.partition(":")[2]
        elif line.startswith("#EXTINF:"):
            seconds = float(line.removeprefix("#EXTINF:").rstrip(","))
        elif line and not line.startswith("#"):
            found.append(Entry(at, discontinuity, breaks, time, seconds, line))
            at, breaks = at + 1, False
    return found


def fetched(client: httpx.Client, path: str, text: str) -> list[bytes]:
    """The segments of a playlist that was had from a path."""
    found = []
    for each in entries(text):
        answer = client.get(httpx.URL(str(client.base_url)).join(path.lstrip("/")).join(each.address))
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "video/mp2t"
        found.append(answer.content)
    return found


def decoded(data: bytes) -> tuple[list[tuple[int, np.ndarray]], list[int]]:
    """(presentation time, luma plane) of every frame, and the decoding times of packets, in ticks of 90 kHz."""
    frames, times = [], []
    with av.open(io.BytesIO(data), format="mpegts") as container:
        for packet in container.demux(video=0):
            if packet.size:
                times.append(packet.dts)
            frames += [(f.pts, f.reformat(format="gray").to_ndarray()) for f in packet.decode()]
    return frames, times
