"""Take pictures of the dashboard's pages in a real Chromium, of a real site on the demo's footage.

    python docs/screenshots.py                                       # those in README and docs/dashboard.md
    python docs/screenshots.py --folder shots                        # every page, width, theme and language
    python docs/screenshots.py --folder shots --page wall --width 390 --theme dark --language de
    python docs/screenshots.py --folder shots --page wall --cameras 64
    python docs/screenshots.py --folder shots --page review --state offline

Needs the extras `web` and `pictures`, `playwright` and Chromium. It takes a minute or two until there are events.
"""

from __future__ import annotations

import argparse
import io
import itertools
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from PIL import Image
from scene import Site, site

IMAGES: Final = Path(__file__).parent / "images"
WIDTHS: Final = {390: 844, 768: 1024, 1440: 900}
THEMES: Final = ("light", "dark")
LANGUAGES: Final = {"en": "en-GB", "de": "de-DE"}
PAGES: Final = (
    *("wall", "review", "event", "event/none", "why", "why-none", "camera", "cameras", "models"),
    *("model", "fleet", "deliveries", "rules", "login"),
)
STATES: Final = ("", "loading", "offline", "error")
#: Of the pictures of the docs.
_DOCS_SIZE: Final = {"wall": (1280, 440), "review": (1280, 760), "event": (1280, 860), "why": (1280, 760)}
_DOCS_THEMES: Final = {"wall": "dark", "review": "dark", "event": "dark", "why": "light"}
_QUALITY: Final = 80
_MAX_BYTES: Final = 300_000
_WAIT_MS: Final = 15_000
_SETTLE_MS: Final = 1_200
#: A film is read to its end and begun again within so long, so somebody fights by then.
_FIGHT_MS: Final = 60_000
_OFFLINE_MS: Final = 12_000
#: Whether all that comes by itself is there: pictures, and videos that are on screen.
_IS_THERE: Final = """() => !document.querySelector('.bone') &&
    [...document.images].every((each) => each.complete || each.loading === 'lazy') &&
    [...document.querySelectorAll('video:not(.preview)')].every((each) =>
        each.currentTime > 0 || each.readyState > 2 || each.getBoundingClientRect().top > innerHeight)"""
#: What is asked for before a page is there at all.
_FIRST: Final = ("/session", "/health", "/cameras")


def shifted(time: str, seconds: float) -> str:
    """A time as the API writes it, so many seconds later."""
    return (datetime.fromisoformat(time) + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def address_of(page: str, there: Site) -> str:
    """The whole address of a page by its short name; other names are addresses behind the `#/`."""
    event = there.event or {"event": "none", "start": "2026-01-01T12:00:00Z", "end": "2026-01-01T12:00:10Z"}
    stretch = {"from": shifted(event["start"], -25), "to": shifted(event["end"], 20)}
    known = {
        "event": f"event/{event['event']}",
        "why": "why?" + urlencode({"camera": "gate", "label": "fight", **stretch}),
        "why-none": "why?camera=yard",
        "camera": "cameras/gate",
        "model": "models/movenet-views",
    }
    return f"{there.locked_url}/" if page == "login" else f"{there.url}/#/{known.get(page, page)}"


def refuse(route: Any) -> None:
    """Answer as a server does that fails."""
    if route.request.url.partition("?")[0].endswith(_FIRST):
        route.continue_()
        return
    body = '{"type": "urn:clipline:problem:unexpected", "title": "Internal Server Error", "status": 500, '
    body += '"detail": "nobody foresaw this; the log of the dashboard tells more"}'
    route.fulfill(status=500, content_type="application/problem+json", body=body)


def hold(route: Any) -> None:
    """Never answer, but for what every page needs."""
    if route.request.url.partition("?")[0].endswith(_FIRST):
        route.continue_()


def open_page(window: Any, address: str, state: str, shot: Callable[[Any], None]) -> None:
    """Open a page in a state, wait until it is there, and have a picture taken."""
    page = window.new_page()
    if state in {"loading", "error"}:
        page.route("**/api/v1/**", hold if state == "loading" else refuse)
    page.goto(address)
    page.wait_for_selector("main h1")
    wait(page, 0 if state == "loading" else _WAIT_MS)
    if state == "offline":
        page.route("**/api/**", lambda route: route.abort())
        page.wait_for_timeout(_OFFLINE_MS)
    shot(page)
    page.close()


def wait(page: Any, milliseconds: int) -> None:
    """Until what comes by itself is there, but no longer than so long, as not every video plays; and a little more."""
    # Playwright's own way to wait evaluates text within the page, which the policy forbids.
    for _ in range(milliseconds // 250):
        if page.evaluate(_IS_THERE):
            break
        page.wait_for_timeout(250)
    page.wait_for_timeout(_SETTLE_MS)


@contextmanager
def chromium() -> Iterator[Any]:
    """Debian's Chromium, else Playwright's own."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  optional

    arguments = ["--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        yield browser
        browser.close()


@contextmanager
def window(browser: Any, size: tuple[int, int], theme: str, language: str) -> Iterator[Any]:
    """A window of its own."""
    viewport = {"width": size[0], "height": size[1]}
    opened = browser.new_context(
        viewport=viewport, color_scheme=theme, locale=LANGUAGES[language], timezone_id="Europe/Berlin"
    )
    try:
        yield opened
    finally:
        opened.close()


def take_all(given: argparse.Namespace, there: Site, browser: Any) -> None:
    """Each page at each width, in each theme and language, as PNG files whose names say which."""
    given.folder.mkdir(parents=True, exist_ok=True)
    pages = given.page or PAGES
    for width, theme, language in itertools.product(given.width, given.theme, given.language):
        with window(browser, (width, WIDTHS.get(width, 900)), theme, language) as opened:
            for page in pages:
                name = "-".join(filter(None, [_file_name(page), given.state, str(width), theme, language]))
                path = given.folder / f"{name}.png"
                open_page(opened, address_of(page, there), given.state, _taking(path, is_whole=not given.screen))
                print(path, file=sys.stderr)  # noqa: T201


def _file_name(page: str) -> str:
    return "".join(each if each.isalnum() else "-" for each in page).strip("-")[:60]


def _taking(path: Path, *, is_whole: bool) -> Callable[[Any], None]:
    return lambda page: page.screenshot(path=path, full_page=is_whole)


def take_those_of_docs(there: Site, browser: Any) -> None:
    """The pictures of README and docs/dashboard.md."""
    for name, size in _DOCS_SIZE.items():
        with window(browser, size, _DOCS_THEMES[name], "en") as opened:
            open_page(opened, address_of(name, there), "", lambda page, name=name: _picture(page, name))  # type: ignore[misc]


def _picture(page: Any, name: str) -> None:
    if name == "wall":
        page.wait_for_selector(".tile-alarm", timeout=_FIGHT_MS)
    if name == "review":
        page.keyboard.press("j")
        page.keyboard.press("x")
    if name == "event":
        # Into the fight.
        page.locator(".plot .u-over").click(position={"x": 380, "y": 60})
        page.mouse.move(0, 0)
    if name != "wall":
        page.wait_for_timeout(2 * _SETTLE_MS)
    path = IMAGES / f"dashboard-{name}.webp"
    Image.open(io.BytesIO(page.screenshot())).save(path, quality=_QUALITY, method=6)
    size = path.stat().st_size
    assert size < _MAX_BYTES, f"{path} has {size} bytes"
    print(f"{path}: {size // 1000} kB", file=sys.stderr)  # noqa: T201


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(description="Take pictures of the dashboard's pages.")
    parser.add_argument("--folder", type=Path, help="where to put them; left out: renew those of the docs")
    parser.add_argument("--page", action="append", help=f"{', '.join(PAGES)}, or an address behind the #/; repeatable")
    parser.add_argument("--width", action="append", type=int, help="390, 768, 1440 if left out; repeatable")
    parser.add_argument("--theme", action="append", choices=THEMES, help="both if left out")
    parser.add_argument("--language", action="append", choices=[*LANGUAGES], help="both if left out")
    parser.add_argument("--state", choices=STATES, default="", help="of the server")
    parser.add_argument("--cameras", type=int, help="so many, not classified, instead of the demo's three")
    parser.add_argument("--trouble", action="store_true", help="with cameras that fail, older events and messages")
    parser.add_argument("--screen", action="store_true", help="what is on screen, not the whole page")
    given = parser.parse_args(arguments)
    given.width, given.theme = given.width or [*WIDTHS], given.theme or [*THEMES]
    given.language = given.language or [*LANGUAGES]
    return given


def main(arguments: Sequence[str]) -> None:
    given = parse(arguments)
    with (
        tempfile.TemporaryDirectory() as folder,
        site(Path(folder), given.cameras, is_troubled=given.trouble) as there,
        chromium() as browser,
    ):
        if given.folder is None:
            take_those_of_docs(there, browser)
        else:
            take_all(given, there, browser)


if __name__ == "__main__":
    main(sys.argv[1:])
