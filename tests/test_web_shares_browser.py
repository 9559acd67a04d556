"""Making a link on an event's page, and what whoever has it sees, in a real Chromium."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")

from consumers.web import credentials
from stream.services import Service
from tests.browsers import chromium, window
from tests.dashboards import Site, ready, served, settings_of
from tests.footage_sites import attach, footage_settings
from tests.test_web_browser import SIZES, THEMES, origin
from tests.test_web_shares import PASSWORD, scores_of, seen
from tests.videos import write_video

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", name="browser")
def _browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


def look(page: Any, name: str) -> None:
    """Keep a picture of a page where somebody wants to look at it."""
    if (folder := os.environ.get("CLIPLINE_LOOK")) is not None:
        page.screenshot(path=f"{folder}/{name}.png", full_page=True)


def test_a_link_is_made_on_the_page_shows_its_event_and_is_revoked(
    browser: Any, embedded_broker: Service, topics_prefix: str, tmp_path: Path
) -> None:
    site = Site(footage_settings(embedded_broker.address, topics_prefix, tmp_path))
    film = write_video(tmp_path / "gate.mp4", 300, rate=10, gop=10, size=(320, 240))
    attach(site.settings, film)
    site.cameras("gate")
    one = seen(10, 2)
    site.events(one)
    site.send(site.topics.predictions, *map(scores_of, range(30)))
    with served(site.settings) as (client, desk):
        ready(desk)
        with window(browser, origin(client)) as shown:
            shown.go(f"event/{one.id}")
            shown.page.select_option(".share-make select", "24")
            shown.page.click("#share")
            shown.page.wait_for_selector(".share-made input")
            link = shown.page.input_value(".share-made input")
            assert link.startswith(f"{origin(client)}/share/clipline_")
            shown.page.wait_for_selector("#shares ~ ul li")
            assert shown.violations() == []
            look(shown.page, "event-with-share")
            for theme, (width, height) in itertools.product(THEMES, SIZES):
                sized = {"viewport": {"width": width, "height": height}, "color_scheme": theme}
                with window(browser, origin(client), with_player=False, **sized) as other:
                    other.page.goto(link)
                    other.page.wait_for_selector(".plot canvas")
                    other.says("h1", "fight")
                    assert other.count("nav, header.top, a[href]") == 0
                    other.wait("document.querySelector('video').readyState >= 2")
                    other.page.evaluate("document.querySelector('video').play()")
                    other.wait("document.querySelector('video').currentTime > 0.3")
                    assert other.overflow() <= 0, width
                    assert other.violations() == [], (theme, width)
                    look(other.page, f"share-{theme}-{width}")
                    assert (other.complaints, other.foreign) == ([], [])
            shown.page.click("#shares ~ ul button")
            shown.wait("document.querySelectorAll('#shares ~ ul li').length === 0")
            assert shown.complaints == []
        with window(browser, origin(client)) as other:
            other.page.goto(link)
            other.says("main", "This link shows nothing")
            assert other.violations() == []
            look(other.page, "share-gone")


def test_who_may_only_look_is_offered_no_links(browser: Any, embedded_broker: Service, topics_prefix: str) -> None:
    hashed = credentials.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    site = Site(settings_of(embedded_broker.address, topics_prefix, users={"eye": {"password_hash": hashed}}))
    one = seen(10, 2)
    site.events(one)
    with served(site.settings) as (client, desk), window(browser, origin(client)) as shown:
        ready(desk)
        shown.page.goto(f"{origin(client)}/#/event/{one.id}")
        shown.page.fill('input[type="password"]', PASSWORD)
        shown.page.fill('input:not([type="password"])', "eye")
        shown.page.keyboard.press("Enter")
        shown.page.wait_for_selector("#verdicts")
        assert shown.count("#shares") == 0
