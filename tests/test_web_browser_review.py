"""Going through many events in a real Chromium: several at once, footage within cards, and a month at a glance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

pytest.importorskip("fastapi")

from stream.services import Service
from tests.browsers import chromium, window
from tests.dashboards import Site, event, ready, served, settings_of
from tests.test_web_browser import origin
from tests.waiting import eventually

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", name="browser")
def _browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


def judged(client: httpx.Client, verdict: str) -> list[str]:
    return sorted(each["event"] for each in client.get(f"/events?verdict={verdict}&limit=500").json()["items"])


def test_several_events_are_selected_judged_and_taken_back_at_once(
    browser: Any, embedded_broker: Service, topics_prefix: str
):
    site = Site(settings_of(embedded_broker.address, topics_prefix))
    events = [event(number) for number in range(130)]
    site.events(*events)
    with served(site.settings) as (client, desk), window(browser, origin(client)) as shown:
        ready(desk)
        shown.go("review")
        shown.page.wait_for_selector(".card")
        keys = shown.page.keyboard
        # The newest first: one by its box, and a range by keys; one that was judged before goes back to that.
        client.post("/verdicts", json={"event": events[128].id, "answer": "right"})
        shown.wait("document.querySelector('.chip-verdict-right')")
        shown.page.click(".mark-box input >> nth=0")
        shown.says(".mark-bar", "1 selected")
        for _ in range(5):
            keys.press("j")
        shown.page.wait_for_selector(
            '.card[aria-posinset="5"] .card-link:focus, .card[aria-posinset="6"] .card-link:focus'
        )
        keys.press("X")
        shown.wait("['5', '6'].includes(document.querySelector('.mark-bar b').innerText.split(' ')[0])")
        count = int(shown.text(".mark-bar b").split()[0])
        assert shown.violations() == []
        keys.press("n")
        wanted = sorted(each.id for each in events[130 - count :])
        # Requests go on only while the browser is waited for.
        shown.wait(f"document.querySelector('.toast')?.innerText.includes('{count} events: false alarm')")
        assert eventually(lambda: judged(client, "false") == wanted)
        shown.has(0, ".mark-bar")
        keys.press("z")
        shown.wait(f"document.querySelector('.toast')?.innerText.includes('{count} events: taken back')")
        assert eventually(lambda: judged(client, "false") == [])
        # More than fit into one request; Escape clears, boxes with shift select what lies between.
        shown.page.click(".mark-box input >> nth=0")
        keys.press("Escape")
        shown.has(0, ".mark-bar")
        shown.page.click(".mark-box input >> nth=0")
        while not shown.count(".end"):
            shown.page.evaluate("scrollTo(0, document.body.scrollHeight)")
            shown.page.wait_for_timeout(200)
        shown.page.wait_for_selector(f'[data-event="{events[0].id}"]')
        shown.page.click(f'[data-event="{events[0].id}"] .mark-box input', modifiers=["Shift"])
        shown.says(".mark-bar", "130 selected")
        shown.page.click("text=All right")
        shown.wait("document.querySelector('.toast')?.innerText.includes('130 events: right')")
        assert eventually(lambda: len(judged(client, "right")) == 130)
        shown.page.click("text=Take back")
        shown.wait("document.querySelector('.toast')?.innerText.includes('130 events: taken back')")
        assert eventually(lambda: judged(client, "right") == [])
        assert shown.complaints == []


def test_pointing_at_a_card_plays_its_footage_one_at_a_time(browser: Any, embedded_broker: Service, topics_prefix: str):
    site = Site(settings_of(embedded_broker.address, topics_prefix))
    site.events(*(event(number) for number in range(8)))
    with served(site.settings) as (client, desk):
        ready(desk)
        with window(browser, origin(client)) as shown:
            shown.go("review")
            shown.page.wait_for_selector(".card")
            # By the page's own clock: on a busy machine an answer takes as long as a player waits.
            shown.page.evaluate("""() => {
                const rest = (event) => event.target.closest?.(".card") && (window.restsAt ??= performance.now());
                document.addEventListener("mouseover", rest, true);
                new MutationObserver(() => {
                    if (document.querySelector("video")) window.playsAt ??= performance.now();
                }).observe(document.body, {childList: true, subtree: true});
            }""")
            shown.page.hover(".card >> nth=0")
            shown.page.wait_for_selector(".card >> nth=0 >> video")
            # Whoever only passes by starts nothing.
            assert shown.page.evaluate("window.playsAt - window.restsAt") > 100
            assert shown.page.evaluate("document.querySelector('video').muted")
            shown.wait("Object.keys(players).length === 1")
            shown.page.hover(".card >> nth=1")
            shown.page.wait_for_selector(".card >> nth=1 >> video")
            shown.has(1, "video")
            shown.wait("Object.keys(players).length === 1")
            shown.page.hover("h1")
            shown.wait("document.querySelectorAll('video').length === 0 && Object.keys(players).length === 0")
            # For keys alike.
            shown.page.keyboard.press("j")
            shown.page.wait_for_selector(".card-selected video")
            assert shown.complaints == []
        with window(browser, origin(client), reduced_motion="reduce") as shown:
            shown.go("review")
            shown.page.hover(".card >> nth=0")
            shown.page.wait_for_timeout(900)
            assert shown.count("video") == 0


def test_the_calendar_counts_days_and_a_click_shows_one(browser: Any, embedded_broker: Service, topics_prefix: str):
    site = Site(settings_of(embedded_broker.address, topics_prefix))
    days = [event(number * 86_400 + each) for number in range(3) for each in range(number + 1)]
    site.events(*days, event(86_400, "dock", severity="detection"))
    with served(site.settings) as (client, desk), window(browser, origin(client)) as shown:
        ready(desk)
        shown.go("review?from=2025-11-25T23:00:00.000Z&to=2025-11-26T23:00:00.000Z")
        shown.has(3, ".card")
        shown.page.click(".calendar summary")
        chosen = '.day[aria-pressed="true"]'
        shown.page.wait_for_selector(chosen)
        shown.wait("document.querySelectorAll('.day-dot').length === 3")
        shown.says(chosen, "26 November: alerts 3")
        shown.page.click('.day[title^="25 November"]')
        shown.wait("document.querySelectorAll('.card').length === 2")
        shown.says(chosen, "detections 1")
        assert shown.violations() == []
        shown.page.click(chosen)
        shown.wait("document.querySelectorAll('.card').length === 6")
        shown.page.click('[aria-label="Month before"]')
        shown.wait("document.querySelectorAll('.day-dot').length === 0")
        assert shown.complaints == []


def test_what_i_have_not_judged_is_a_choice(browser: Any, embedded_broker: Service, topics_prefix: str):
    site = Site(settings_of(embedded_broker.address, topics_prefix))
    site.events(*(event(number) for number in range(4)))
    with served(site.settings) as (client, desk), window(browser, origin(client)) as shown:
        ready(desk)
        client.post("/verdicts", json={"event": event(3).id, "answer": "right"})
        shown.go("review?verdict=unseen")
        shown.wait("document.querySelectorAll('.card').length === 3")
        assert shown.count(f'[data-event="{event(3).id}"]') == 0
        # A new one comes in by itself.
        site.events(event(9))
        shown.page.wait_for_selector(f'[data-event="{event(9).id}"]')
        assert shown.complaints == []
