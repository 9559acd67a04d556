"""A real Chromium, and what goes wrong in its pages."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

REQUIRE = "CLIPLINE_REQUIRE_CHROMIUM"
AXE = Path(__file__).parent / "axe" / "axe.min.js"
#: Says that it plays; counts those that were not destroyed.
PLAYER = """
globalThis.players = {};
export function mount(video, {url, onState}) {
  players[url] = (players[url] ?? 0) + 1;
  onState("playing", null);
  return {destroy() { if (!--players[url]) delete players[url]; }, get time() { return null; }};
}
"""
#: To another page, until what listens to that has been told.
_GO = """(hash) => new Promise((done) => {
  if (location.hash === hash) return done();
  addEventListener("hashchange", () => setTimeout(done), {once: true});
  location.hash = hash;
})"""


@contextmanager
def chromium() -> Iterator[Any]:
    """Debian's Chromium; skips where there is none."""
    found = shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        found = None
    if found is None:
        if os.environ.get(REQUIRE) == "1":
            pytest.fail(f"{REQUIRE}=1, but there is no chromium, or no playwright")
        pytest.skip("no chromium, or no playwright")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Window:
    """A page, and all that it complained about or asked others for."""

    page: Any
    origin: str
    complaints: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._asked)

    def _said(self, message: Any) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(f"{message.text} ({message.location.get('url', '')})")

    def _asked(self, request: Any) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in {"blob", "data"} and f"{parts.scheme}://{parts.netloc}" != self.origin:
            self.foreign.append(request.url)

    def go(self, route: str) -> None:
        """Go to a page; nothing of another one is there any more."""
        if self.page.url.startswith(f"{self.origin}/#"):
            self.page.evaluate(_GO, f"#/{route}")
        else:
            self.page.goto(f"{self.origin}/#/{route}")
        self.page.wait_for_selector("main h1")

    def text(self, selector: str) -> str:
        found: str = self.page.inner_text(selector)
        return found

    def count(self, selector: str) -> int:
        found: int = self.page.locator(selector).count()
        return found

    def wait(self, condition: str, seconds: float = 30.0) -> None:
        """Until an expression of JavaScript holds."""
        # Playwright's own way to wait evaluates text within the page, which the policy forbids.
        self._until(lambda: self.page.evaluate(condition), lambda: condition, seconds)

    def says(self, selector: str, words: str, seconds: float = 30.0) -> None:
        """Until an element shows words: what is beside it may be there sooner."""
        texts = self.page.locator(selector).all_inner_texts
        self._until(
            lambda: any(words in text for text in texts()), lambda: f"{words!r} in {selector}: {texts()}", seconds
        )

    def has(self, count: int, selector: str, seconds: float = 30.0) -> None:
        """Until there are so many, and no more."""
        self._until(
            lambda: self.count(selector) == count, lambda: f"{count} {selector}: {self.count(selector)}", seconds
        )

    def _until(self, holds: Callable[[], object], what: Callable[[], str], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, f"not within {seconds:g} s: {what()}"
            self.page.wait_for_timeout(50)

    def overflow(self) -> int:
        """By how many pixels the page is wider than its window."""
        found: int = self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        return found

    def violations(self) -> list[str]:
        """What axe finds that is not accessible."""
        self.page.evaluate(AXE.read_text())
        found = self.page.evaluate(
            "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})"
        )
        return [
            f"{each['id']}: {node['html'][:160]} {node['failureSummary'][:300]}"
            for each in found["violations"]
            for node in each["nodes"][:3]
        ]


@contextmanager
def window(browser: Any, origin: str, *, with_player: bool = True, **context: Any) -> Iterator[Window]:
    """A window of its own, with a player that plays nothing; sees what goes wrong."""
    options = {"viewport": {"width": 1440, "height": 900}, "locale": "en-GB", "timezone_id": "Europe/Berlin"}
    opened = browser.new_context(**{**options, **context})
    try:
        page = opened.new_page()
        if with_player:
            page.route(
                lambda url: url.endswith("/player.js") and "/core/" not in url,
                lambda route: route.fulfill(content_type="text/javascript", body=PLAYER),
            )
        yield Window(page, origin)
    finally:
        opened.close()
