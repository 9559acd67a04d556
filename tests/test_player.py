"""The player in a real Chromium: what cameras send plays, and what does not play says why."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
playwright = pytest.importorskip("playwright.sync_api")

import httpx  # noqa: E402
from fastapi import APIRouter  # noqa: E402
from starlette.responses import FileResponse, HTMLResponse, Response  # noqa: E402

import consumers.web  # noqa: E402
from consumers.web.serving import serving_dashboard  # noqa: E402
from stream import KafkaTransport, Segment  # noqa: E402
from stream.services import EmbeddedBroker, Service  # noqa: E402
from tests.dashboards import Site, ready  # noqa: E402
from tests.footage_sites import BEGIN_US, attach, camera_on, site  # noqa: E402
from tests.videos import write_video  # noqa: E402

pytestmark = pytest.mark.slow

STATIC = Path(consumers.web.__file__).parent / "static"
SECOND_US = 1_000_000
#: Of a machine that runs other tests, too.
SLACK_SECONDS = 0.5
#: As strict as the dashboard's pages: no inline script, nothing from elsewhere, no workers.
_POLICY = "default-src 'self'; media-src 'self' blob:; script-src 'self'; worker-src 'none'; object-src 'none'"
_PAGE = "<!doctype html><video muted playsinline width=320></video><script type=module src=/test/page.js></script>"
_SCRIPT = """
import {mount} from "/test/static/player.js";
import {mountFast} from "/test/static/fast.js";
const video = document.querySelector("video");
globalThis.told = [];
const parameters = new URLSearchParams(location.search);
const [url, live] = [parameters.get("url"), parameters.get("live") === "1"];
const begin = url.includes("/fast.mp4") ? mountFast : mount;
globalThis.player = begin(video, {url, live, onState: (state, reason) => told.push([state, reason])});
"""


def page_router() -> APIRouter:
    router = APIRouter()

    @router.get("/test/page")
    def page() -> Response:
        return HTMLResponse(_PAGE, headers={"Content-Security-Policy": _POLICY})

    @router.get("/test/page.js")
    def script() -> Response:
        return Response(_SCRIPT, media_type="text/javascript")

    @router.get("/test/static/{path:path}")
    def static(path: str) -> Response:
        return FileResponse(STATIC / path)

    return router


class Opened:
    """A page with a player."""

    def __init__(self, page, origin: str) -> None:
        self._page, self.origin = page, origin
        self.trouble: list[str] = []
        #: Where requests went.
        self.asked: list[str] = []
        page.on("pageerror", lambda error: self.trouble.append(str(error)))
        page.on(
            "console", lambda message: self.trouble.append(message.text) if "Content Security" in message.text else None
        )
        page.on("request", lambda request: self.asked.append(request.url))

    def _hear(self, message) -> None:
        if "Content Security" in message.text:
            self.trouble.append(message.text)

    def show(self, url: str, *, live: bool) -> None:
        self._page.goto(f"{self.origin}/test/page?live={int(live)}&url={url}")

    def wait_until(self, holds: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline
            self._page.wait_for_timeout(200)

    def evaluate(self, what: str):
        return self._page.evaluate(what)

    def wait(self, what: str, seconds: float = 30) -> None:
        # Playwright's own way to wait is an eval, which the policy refuses.
        deadline = time.monotonic() + seconds
        while not self.evaluate(f"globalThis.told?.length && ({what})"):
            assert time.monotonic() < deadline, f"{what}: {self.evaluate('globalThis.told')} {self.trouble}"
            self._page.wait_for_timeout(100)

    def go(self, route: str) -> None:
        """One of the dashboard's own pages."""
        self._page.goto(f"{self.origin}/#/{route}")

    def click(self, selector: str) -> None:
        self._page.click(selector)

    def wait_for(self, what: str, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while not self.evaluate(what):
            assert time.monotonic() < deadline, f"{what}: {self._page.inner_text('body')[:500]} {self.trouble}"
            self._page.wait_for_timeout(100)

    def check(self) -> None:
        assert self.trouble == []
        assert [url for url in self.asked if not url.startswith((self.origin, "blob:"))] == []


@pytest.fixture(scope="module")
def browser() -> Iterator:
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("needs chromium")
    with playwright.sync_playwright() as running:
        # Many machines that test have no display, and run as root.
        started = running.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@contextlib.contextmanager
def opened(here: Site, browser) -> Iterator[Opened]:
    with serving_dashboard(here.settings, "127.0.0.1:0", [page_router()]) as (url, desk):
        ready(desk)
        page = browser.new_page()
        try:
            found = Opened(page, url.removesuffix("/api/v1"))
            yield found
            found.check()
        finally:
            page.close()


def test_a_live_view_plays_and_tells_what_time_it_shows(
    embedded_broker: Service, topics_prefix: str, tmp_path: Path, browser
):
    film = write_video(tmp_path / "gate.mp4", 100, rate=10, gop=40, options={"bf": "2"})
    here = site(embedded_broker.address, topics_prefix, tmp_path)
    here.cameras("gate")
    with opened(here, browser) as page, camera_on(here.settings, film):
        page.show("/api/v1/cameras/gate/live.m3u8", live=True)
        page.wait("told.at(-1)[0] === 'playing'")
        at, begun = page.evaluate("[document.querySelector('video').currentTime, player.time]")
        # Over the end of the film, where the next one begins.
        page.wait(f"document.querySelector('video').currentTime > {at + 12}", 60)
        later, then = page.evaluate("[document.querySelector('video').currentTime, player.time]")
        assert BEGIN_US / 1000 <= begun < then
        assert abs((then - begun) / 1000 - (later - at)) < 0.5
        assert page.evaluate("document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames") > 90
        told = [state for state, _ in page.evaluate("told")]
        assert set(told[told.index("playing") :]) <= {"playing", "stalled"}
        page.evaluate("player.destroy()")
        assert page.evaluate("[document.querySelector('video').src, player.time]") == ["", None]


def test_a_live_view_of_long_groups_of_pictures_asks_for_each_segment_once_and_is_near_the_newest(
    embedded_broker: Service, topics_prefix: str, tmp_path: Path, browser
):
    film = write_video(tmp_path / "gate.mp4", 600, rate=10, gop=250, options={"bf": "0", "sc_threshold": "0"})
    here = site(embedded_broker.address, topics_prefix, tmp_path)
    here.cameras("gate")
    with opened(here, browser) as page, camera_on(here.settings, film):
        url = f"{page.origin}/api/v1/cameras/gate/live.m3u8"
        # Until the newest picture needs what is further behind than players keep otherwise.
        page.wait_until(lambda: httpx.get(url, timeout=30).text.count("#EXTINF") > 9, 60)
        page.show("/api/v1/cameras/gate/live.m3u8", live=True)
        page.wait("told.at(-1)[0] === 'playing'")
        at = page.evaluate("player.time")
        page.wait(f"player.time > {at + 14_000}", 60)
        asked = Counter(each for each in page.asked if "/segments/" in each)
        assert max(asked.values()) == 1, asked
        # A playlist a segment old, and what is shown is three seconds behind its end.
        newest = page.evaluate("document.querySelector('video').buffered.end(0)")
        assert newest - page.evaluate("document.querySelector('video').currentTime") < 7
        assert {state for state, _ in page.evaluate("told")} <= {"loading", "playing", "stalled"}


def test_a_fast_view_shows_what_was_filmed_a_segment_and_half_a_second_ago(
    embedded_broker: Service, topics_prefix: str, tmp_path: Path, browser
):
    film = write_video(tmp_path / "gate.mp4", 300, rate=10, gop=10, options={"bf": "0"})
    here = site(embedded_broker.address, topics_prefix, tmp_path)
    here.cameras("gate")
    with opened(here, browser) as page, camera_on(here.settings, film, start_us=time.time_ns() // 1000):
        page.show("/api/v1/cameras/gate/fast.mp4", live=True)
        page.wait("told.at(-1)[0] === 'playing'")
        looks = []
        for _ in range(40):
            time.sleep(0.2)
            looks.append(page.evaluate("[Date.now(), player.time]"))
        stored = here.transport.read(
            {p: (0, end) for p, (_, end) in here.transport.offsets(here.topics.segments).items()}
        )
        sent = [(r.sent_us, Segment.decode(r.key, r.headers, r.value, r.where)) for r in stored]
        # Measured from the footage that was there to show at each look: a busy machine may send it late.
        behind = [
            (max(segment.end_us for sent_us, segment in sent if sent_us <= at * 1000) / 1000 - shown) / 1000
            for at, shown in looks
        ]
        # The segments are of a second. Nothing is shown before it is there.
        assert 0 < sorted(behind)[len(behind) // 2] < 1.5 + SLACK_SECONDS, behind
        assert page.evaluate("document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames") > 60
        assert page.evaluate("document.querySelector('video').buffered.length") == 1
        page.evaluate("player.destroy()")


def test_a_fast_view_of_long_groups_of_pictures_keeps_what_the_newest_needs(
    embedded_broker: Service, topics_prefix: str, tmp_path: Path, browser
):
    film = write_video(tmp_path / "gate.mp4", 600, rate=10, gop=250, options={"bf": "0", "sc_threshold": "0"})
    here = site(embedded_broker.address, topics_prefix, tmp_path)
    here.cameras("gate")
    with opened(here, browser) as page, camera_on(here.settings, film):
        page.show("/api/v1/cameras/gate/fast.mp4", live=True)
        page.wait("told.at(-1)[0] === 'playing'")
        deadline = time.monotonic() + 32
        while time.monotonic() < deadline:
            assert page.evaluate("document.querySelector('video').buffered.length") == 1
            time.sleep(0.2)
        assert page.evaluate("document.querySelector('video').currentTime") > 20


def test_a_fast_view_goes_on_where_the_camera_changes_its_size(
    embedded_broker: Service, topics_prefix: str, tmp_path: Path, browser
):
    small = write_video(tmp_path / "small.mp4", 60, rate=10, gop=10, size=(64, 48))
    large = write_video(tmp_path / "large.mp4", 300, rate=10, gop=10, size=(160, 120))
    here = site(embedded_broker.address, topics_prefix, tmp_path)
    here.cameras("gate")
    with opened(here, browser) as page:
        page.show("/api/v1/cameras/gate/fast.mp4", live=True)
        with camera_on(here.settings, small):
            page.wait("document.querySelector('video').videoWidth === 64 && told.at(-1)[0] === 'playing'")
        with camera_on(here.settings, large, start_us=BEGIN_US + 100 * SECOND_US):
            page.wait("document.querySelector('video').videoWidth === 160 && told.at(-1)[0] === 'playing'", 60)


def test_of_what_the_browser_does_not_play_the_wall_shows_stills(
    embedded_broker: Service, topics_prefix: str, tmp_path: Path, browser
):
    film = write_video(tmp_path / "gate.mp4", 100, codec="libx265", rate=10, gop=10)
    here = site(embedded_broker.address, topics_prefix, tmp_path)
    with opened(here, browser) as page, camera_on(here.settings, film):
        page.go("wall")
        image = "document.querySelector('li[data-camera=gate] .screen-snapshot img')"
        page.wait_for(f"{image}?.naturalWidth > 0", 60)
        assert "hevc" in page.evaluate(f"{image}.parentElement.innerText")


def test_the_fast_view_is_a_button_of_a_cameras_page(
    embedded_broker: Service, topics_prefix: str, tmp_path: Path, browser
):
    film = write_video(tmp_path / "gate.mp4", 300, rate=10, gop=10, options={"bf": "0"})
    here = site(embedded_broker.address, topics_prefix, tmp_path)
    with opened(here, browser) as page, camera_on(here.settings, film):
        page.go("cameras/gate")
        page.wait_for("document.querySelector('video')?.currentTime > 0", 60)
        page.click("button:has-text('Fast view')")
        page.wait_for("location.hash.includes('view=fast')")
        page.wait_for("performance.getEntriesByType('resource').some((each) => each.name.includes('fast.js'))")
        page.wait_for(
            "document.querySelector('video').currentTime > 2",
            60,
        )


def test_a_recording_of_long_groups_of_pictures_plays_from_where_it_was_asked_for(
    embedded_broker: Service, topics_prefix: str, tmp_path: Path, browser
):
    film = write_video(tmp_path / "gate.mp4", 120, rate=10, gop=80, options={"bf": "2"})
    here = site(embedded_broker.address, topics_prefix, tmp_path)
    attach(here.settings, film)
    with opened(here, browser) as page:
        url = "/api/v1/cameras/gate/recorded.m3u8%3Ffrom=2026-11-24T08:00:05.5Z%26to=2026-11-24T08:00:12Z"
        page.show(url, live=False)
        page.wait("told.at(-1)[0] === 'playing'")
        page.evaluate("document.querySelector('video').play()")
        page.wait(f"Math.abs(player.time - {BEGIN_US // 1000 + 5500}) < 600")
        page.wait("document.querySelector('video').ended", 40)
        assert abs(page.evaluate("player.time") - (BEGIN_US // 1000 + 12_000)) < 1500
        assert {state for state, _ in page.evaluate("told")} == {"loading", "playing"}


def test_what_does_not_play_says_why(embedded_broker: Service, topics_prefix: str, tmp_path: Path, browser):
    here = site(embedded_broker.address, topics_prefix, tmp_path)
    attach(here.settings, write_video(tmp_path / "old.avi", 40, codec="mjpeg", rate=10), "old")
    attach(here.settings, write_video(tmp_path / "new.mp4", 40, codec="libx265", rate=10), "new")
    with opened(here, browser) as page:
        page.show("/api/v1/cameras/old/live.m3u8", live=True)
        page.wait("told.at(-1)[0] === 'not-playable'")
        assert "mjpeg" in page.evaluate("told.at(-1)[1]")
        page.show("/api/v1/cameras/new/live.m3u8", live=True)
        # Some builds of Chromium play H.265.
        page.wait("['not-playable', 'playing'].includes(told.at(-1)[0])")
        page.show("/api/v1/cameras/nobody/live.m3u8", live=True)
        page.wait("told.at(-1)[0] === 'offline'")
        assert "no camera" in page.evaluate("told.at(-1)[1]")


def test_a_view_goes_on_when_the_broker_is_back(topics_prefix: str, tmp_path: Path, browser):
    film = write_video(tmp_path / "gate.mp4", 100, rate=10, gop=10, options={"bf": "0"})
    with EmbeddedBroker() as broker:
        port = int(broker.address.rpartition(":")[2])
        here = site(broker.address, topics_prefix, tmp_path)
        here.cameras("gate")
        stack = contextlib.ExitStack()
        page = stack.enter_context(opened(here, browser))
        with camera_on(here.settings, film):
            page.show("/api/v1/cameras/gate/live.m3u8", live=True)
            page.wait("told.at(-1)[0] === 'playing'")
    with stack:
        page.wait("['stalled', 'offline'].includes(told.at(-1)[0])", 60)
        with EmbeddedBroker(port=port) as broker:
            Site(here.settings)
            KafkaTransport(here.settings.broker)
            with camera_on(here.settings, film, start_us=BEGIN_US + 3600 * SECOND_US):
                page.wait(f"told.at(-1)[0] === 'playing' && player.time > {BEGIN_US // 1000 + 3_600_000}", 90)
