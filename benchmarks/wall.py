"""Whether a wall stays as it is: `python benchmarks/wall.py --minutes 10`.

50 cameras send small films (160x90, 5 frames/s), all tiles are on screen in a real Chromium, and play. Each two
minutes: how many play, the memory of the page's scripts after a collection of garbage, and that of all of Chromium's
processes. Fails where a tile does not play at the end, or memory grows over the second half of the time. Needs the
extra `web`, `playwright` and Chromium.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import av
import httpx
import numpy as np
from notify import free_port
from playlists import process, send

from consumers.outputs.states import ensure_state_topics
from consumers.settings import Settings
from consumers.topics import ensure_topics
from consumers.web.serving import serving_dashboard
from stream import KafkaTransport
from stream.services import EmbeddedBroker

_SECONDS: Final = 60
_RATE: Final = 5
_READY_SECONDS: Final = 180.0
#: Each look leaves some 0.2 MB in the page, of the tool that looks: four tiles that are looked at each five seconds
#: grow by as much a look as fifty.
_LOOK_SECONDS: Final = 120.0
#: What the second half of the time may add, of what there was in its begin.
_GROWTH: Final = 0.15
_ENDED: Final = 10.0
_CHROMIUM: Final = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--enable-precise-memory-info",
    "--window-size=1920,3200",
    "--autoplay-policy=no-user-gesture-required",
)
#: Of what tiles say in place of a picture.
_NAMED: Final = 3
#: By camera: where its picture is, null where there is none; and what the tile says in place of a picture.
_TILES: Final = """Object.fromEntries([...document.querySelectorAll('.tile')].map((tile) => [tile.dataset.camera, {
    time: tile.querySelector('video')?.currentTime ?? null,
    said: tile.querySelector('.screen-said')?.innerText.replaceAll('\\n', ' ') ?? '',
}]))"""


def write_film(path: Path) -> None:
    """A bar that moves."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=_RATE, options={"preset": "ultrafast", "g": str(2 * _RATE)})
        video.width, video.height, video.pix_fmt = 160, 90, "yuv420p"
        for number in range(_SECONDS * _RATE):
            picture = np.full((90, 160, 3), 40, np.uint8)
            picture[:, number % 160 :][:, :8] = 220
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode())


def chromium_megabytes() -> float:
    """Proportional memory of all Chromium processes that this one has begun."""
    found, ours = 0, {os.getpid()}
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            parents[int(folder.name)] = int(fields[1])
        except OSError:
            continue
    grown = True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in ours} - ours
        ours |= more
        grown = bool(more)
    for pid in ours - {os.getpid()}:
        try:
            if "chrom" not in Path(f"/proc/{pid}/cmdline").read_text():
                continue
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            found += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
        except (OSError, StopIteration):
            continue
    return found / 1024


def look(playwright: Any, port: int) -> tuple[dict[str, dict[str, Any]], float]:
    """The tiles, and the memory of scripts in MB.

    Attached for a moment only: while it is, Chromium keeps all that a page loads for whoever debugs it.
    """
    browser = playwright.chromium.connect_over_cdp(f"http://127.0.0.1:{port}")
    page = browser.contexts[0].pages[0]
    page.context.new_cdp_session(page).send("HeapProfiler.collectGarbage")
    found = page.evaluate(_TILES), page.evaluate("performance.memory.usedJSHeapSize") / 1e6
    browser.close()
    return found


def watch(playwright: Any, port: int, cameras: int, seconds: float) -> bool:
    """Look at the wall for so long; whether it stays as it is."""
    begun, heaps, sizes, playing = time.monotonic(), [], [], 0
    shown: dict[str, dict[str, Any]] = {}
    print(f"{'minute':>7}{'playing':>9}{'scripts MB':>12}{'Chromium MB':>13}")
    while time.monotonic() - begun < seconds:
        time.sleep(_LOOK_SECONDS)
        before, (shown, heap) = shown, look(playwright, port)
        playing = sum(
            tile["time"] is not None and tile["time"] != before.get(name, {}).get("time")
            for name, tile in shown.items()
        )
        heaps.append(heap)
        sizes.append(chromium_megabytes())
        minute = (time.monotonic() - begun) / 60
        print(f"{minute:7.1f}{playing:9}{heaps[-1]:12.1f}{sizes[-1]:13.0f}", flush=True)
        for said, count in Counter(tile["said"] for tile in shown.values() if tile["said"]).most_common(_NAMED):
            print(f"        {count} say: {said}", flush=True)
    half = len(sizes) // 2
    if half < 1:
        return playing == cameras
    quarter = max(1, half // 2)
    grown = [float(np.median(each[-quarter:]) / np.median(each[half : half + quarter])) - 1 for each in (heaps, sizes)]
    print(f"over the second half: scripts {grown[0]:+.0%}, Chromium {grown[1]:+.0%}; {playing} of {cameras} play")
    return playing == cameras and max(grown) <= _GROWTH


def main() -> int:
    """Watch a wall, and say whether it stays as it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--tiles", type=int, default=50)
    asked = parser.parse_args()
    chromium = shutil.which("chromium")
    if chromium is None:
        parser.error("chromium is not installed")
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  only where there is a browser

    cameras = [f"camera-{number:02}" for number in range(asked.tiles)]
    with tempfile.TemporaryDirectory() as folder, EmbeddedBroker() as broker, sync_playwright() as playwright:
        film = Path(folder) / "bar.mp4"
        write_film(film)
        settings = Settings.model_validate(
            {
                "kafka": broker.address,
                "redis": "redis://127.0.0.1:1/0",
                "spool": {"folder": Path(folder) / "spool"},
                "dashboard": {"requests_per_minute": 10**6, "footage_requests_per_minute": 10**6},
            }
        )
        transport = KafkaTransport(settings.broker)
        ensure_topics(transport, settings.topics)
        ensure_state_topics(transport, settings.topics)
        with (
            process(send, settings, dict.fromkeys(cameras, film)),
            serving_dashboard(settings, "127.0.0.1:0") as (url, _),
        ):
            until = time.monotonic() + _READY_SECONDS
            with httpx.Client(base_url=url, timeout=30) as client:
                while len([c for c in client.get("/cameras").json()["items"] if c["status"] == "live"]) < len(cameras):
                    if time.monotonic() > until:
                        parser.error(f"not all cameras are live within {_READY_SECONDS:g} s")
                    time.sleep(1)
            port = free_port()
            command = [chromium, *_CHROMIUM, f"--remote-debugging-port={port}", f"--user-data-dir={folder}/profile"]
            browser = subprocess.Popen(
                [*command, f"{url.removesuffix('/api/v1')}/#/wall?layout=6"], stderr=subprocess.DEVNULL
            )
            try:
                is_well = watch(playwright, port, len(cameras), 60 * asked.minutes)
            finally:
                browser.terminate()
                browser.wait(_ENDED)
    print("it stays as it is" if is_well else "it does not stay as it is")
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
