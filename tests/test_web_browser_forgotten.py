"""What is forgotten goes from pages that are open, in a real Chromium."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("fastapi")

from consumers.records.event import Event
from consumers.records.forgotten import Forgotten
from consumers.topics import ensure_topic_of_forgotten
from stream.services import Service
from tests.browsers import chromium, window
from tests.dashboards import Site, ended, event, now_us, ready, served, settings_of
from tests.test_web_browser import alive, origin, prediction

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", name="browser")
def _browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


def forget(site: Site, first: Event, last: Event | None = None) -> None:
    until_us = (last or first).end_us
    site.send(site.topics.forgotten, Forgotten(first.camera, first.start_us, until_us, now_us(), "ana", "request 17"))


def site_of(kafka: str, prefix: str) -> Site:
    site = Site(settings_of(kafka, prefix))
    ensure_topic_of_forgotten(site.transport, site.topics)
    return site


def test_an_open_event_that_is_forgotten_goes_with_its_video(
    browser: Any, embedded_broker: Service, topics_prefix: str
):
    site = site_of(embedded_broker.address, topics_prefix)
    gone = ended(event(20))
    site.events(gone)
    site.send(site.topics.predictions, *(prediction(number, 0.9) for number in range(40)))
    with alive(site, "gate-1"), served(site.settings) as (client, desk), window(browser, origin(client)) as shown:
        ready(desk)
        shown.go(f"event/{gone.id}")
        shown.page.wait_for_selector(".plot canvas")
        shown.wait("Object.keys(globalThis.players ?? {}).length === 1")
        forget(site, gone)
        shown.wait("document.querySelector('.empty')?.innerText.includes('This event is forgotten')")
        assert re.search(r"Somebody had this forgotten \(.+\): request 17", shown.text(".empty"))
        shown.has(0, "video, .plot, .pictures, .facts")
        shown.wait("Object.keys(players).length === 0")
        assert shown.violations() == []


def test_cards_on_screen_that_are_forgotten_go(browser: Any, embedded_broker: Service, topics_prefix: str):
    site = site_of(embedded_broker.address, topics_prefix)
    events = [event(3 * number) for number in range(120)]
    site.events(*events)
    with served(site.settings) as (client, desk), window(browser, origin(client)) as shown:
        ready(desk)
        for each in events[118:100:-3]:  # not judged ones first: what is on screen is not what is newest
            client.post("/verdicts", json={"event": each.id, "answer": "right"})
        shown.go("review")
        shown.page.wait_for_selector(".card")
        shown.page.click(".mark-box input >> nth=0")
        shown.page.click(".mark-box input >> nth=1")
        forget(site, events[119])
        shown.wait(f"""!document.querySelector('[data-event="{events[119].id}"]')""")
        shown.wait("document.querySelector('.mark-bar b')?.innerText === '1 selected'")
        # Further down as well, where lists of the newest do not reach.
        while not shown.count(f'[data-event="{events[40].id}"]'):
            shown.page.evaluate("scrollBy(0, 400)")
            shown.page.wait_for_timeout(100)
        forget(site, events[39], events[41])
        for each in events[39:42]:
            shown.wait(f"""!document.querySelector('[data-event="{each.id}"]')""")
        assert shown.count(f'[data-event="{events[38].id}"]') == 1
        assert shown.violations() == []


def test_cards_go_among_others_that_the_list_of_a_verdict_leaves_out(
    browser: Any, embedded_broker: Service, topics_prefix: str
):
    site = site_of(embedded_broker.address, topics_prefix)
    # So many between the two that no list of their stretch reaches the older one.
    first, last = event(0), event(700)
    site.events(first, last, *(event(number, "dock") for number in range(1, 700)))
    with served(site.settings) as (client, desk), window(browser, origin(client)) as shown:
        ready(desk)
        for each in (first, last):
            client.post("/verdicts", json={"event": each.id, "answer": "right"})
        shown.go("review?verdict=right")
        shown.wait("document.querySelectorAll('.card').length === 2")
        forget(site, first)
        shown.wait("document.querySelectorAll('.card').length === 1")
        shown.page.wait_for_timeout(5000)
        assert shown.count(f'[data-event="{last.id}"]') == 1
