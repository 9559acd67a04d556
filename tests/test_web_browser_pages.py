"""Pages of a camera, of models, and what-if, in a real Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")

from consumers.records.forgotten import Forgotten
from consumers.records.prediction import Prediction
from consumers.records.verdict import Verdict
from consumers.topics import ensure_topic_of_forgotten
from stream.services import Service
from tests.browsers import chromium, window
from tests.dashboards import SECOND_US, Site, camera_state, ended, event, now_us, ready, served, settings_of
from tests.footage_sites import attach, film_of_late, footage_settings
from tests.test_web_browser import alive, origin
from tests.videos import write_video
from tests.waiting import eventually

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", name="browser")
def _browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


def scored(begin_us: int, scores: list[float], model: str) -> list[Prediction]:
    starts = (begin_us + number * SECOND_US for number in range(len(scores)))
    return [
        Prediction("gate-1", begin_us, number, start, start + SECOND_US, model, {"fight": score, "normal": 1 - score})
        for number, (start, score) in enumerate(zip(starts, scores, strict=True))
    ]


def test_a_cameras_page_shows_its_past_and_what_the_model_sees(
    browser: Any, embedded_broker: Service, topics_prefix: str, tmp_path: Path
):
    settings = footage_settings(embedded_broker.address, topics_prefix, tmp_path)
    site = Site(settings)
    film, begin = film_of_late(tmp_path)
    stalled = camera_state("gate-1", "stalled", "no packets")
    told = replace(stalled, feed=replace(stalled.feed, since_us=begin - 600 * SECOND_US), time_us=begin)
    site.send(site.topics.cameras_state, told)
    attach(settings, film, "gate-1", begin)
    state = camera_state("gate-1")
    site.send(site.topics.cameras_state, replace(state, feed=replace(state.feed, end_us=begin + 6 * SECOND_US)))
    with served(settings) as (client, desk), window(browser, origin(client)) as shown:
        ready(desk)
        shown.go("wall")
        shown.page.click(".tile h2 a")
        shown.page.wait_for_selector(".sample img")
        shown.wait("document.querySelector('.sample img').naturalWidth === 960")
        shown.wait("document.title === 'gate-1 · Clipline'")
        shown.wait("document.querySelector('.span-bad')")
        shown.wait("document.querySelectorAll('.span-live').length === 1")
        shown.says(".sample", "10 pictures")
        shown.page.wait_for_selector(".amount", state="attached")
        shown.page.click(".changes summary")
        shown.says(".changes", "no packets")
        shown.page.select_option("select", "1")
        shown.wait("location.hash.includes('hours=1')")
        assert shown.violations() == []
        assert shown.complaints == []
        # The model's own page is a click away, and says how good it is.
        shown.page.click("text=Models")
        shown.page.click(".model h2 a >> nth=0")
        shown.page.wait_for_selector(".prose p")
        shown.wait("/82[.][56]/.test(document.querySelector('.whisker')?.innerText)")
        shown.go("cameras/nobody")
        shown.page.wait_for_selector(".empty")


def test_what_if_shows_what_would_be_lost_and_marks_what_was_confirmed(
    browser: Any, embedded_broker: Service, topics_prefix: str
):
    site = Site(settings_of(embedded_broker.address, topics_prefix))
    with alive(site, "gate-1"), served(site.settings) as (client, desk), window(browser, origin(client)) as shown:
        ready(desk)
        rules = client.get("/cameras/gate-1/rules").json()
        model, start = rules["model"], rules["items"][0]["start"]
        begin = now_us() - 900 * SECOND_US
        scores = [0.1] * 400
        scores[20:30] = [start + 0.02] * 10
        scores[100:110] = [0.99] * 10
        site.send(site.topics.predictions, *scored(begin, scores, model))
        low = ended(event(0, model=model, start_us=begin + 20 * SECOND_US, end_us=begin + 29 * SECOND_US))
        high = ended(event(1, model=model, start_us=begin + 100 * SECOND_US, end_us=begin + 109 * SECOND_US))
        site.events(low, high)
        said = Verdict("a1", "right", low.id, "gate-1", "fight", low.start_us, low.end_us, now_us(), None, by="ana")
        site.send(site.topics.verdicts, said)
        assert eventually(lambda: client.get(f"/events/{low.id}").json().get("verdict") == "right")
        shown.go(f"event/{high.id}")
        shown.says(".facts", "1 window")
        assert "1 windows" not in shown.text(".facts")
        shown.page.click(".what-if summary")
        shown.wait("document.querySelector('.what-if')?.innerText.includes('Nothing would be lost')")
        slider = shown.page.locator(".what-if input[type=range]")
        assert abs(float(slider.input_value()) - start) < 0.011
        slider.focus()
        for _ in range(10):
            shown.page.keyboard.press("ArrowRight")
        shown.wait("document.querySelector('.what-if')?.innerText.includes('confirmed as right: 1')")
        assert shown.page.get_attribute(".what-if li a", "href") == f"#/event/{low.id}"
        assert shown.violations() == []
        shown.page.click(".what-if button")
        shown.wait("document.querySelector('.what-if')?.innerText.includes('Nothing would be lost')")
        assert shown.complaints == []


def test_why_not_and_what_if_go_on_by_themselves_when_data_comes_and_the_api_is_back(
    browser: Any, embedded_broker: Service, topics_prefix: str
):
    site = Site(settings_of(embedded_broker.address, topics_prefix))
    with alive(site, "gate-1"), served(site.settings) as (client, desk), window(browser, origin(client)) as shown:
        ready(desk)
        model = client.get("/cameras/gate-1/rules").json()["model"]
        begin = now_us() - 60 * SECOND_US
        high = ended(event(1, model=model, start_us=begin, end_us=begin + 9 * SECOND_US))
        site.events(high)
        assert eventually(lambda: client.get(f"/events/{high.id}").status_code == 200)
        away = {"status": 503, "body": "{}"}
        for asked in ("**/predictions?*", "**/what-if?*"):
            shown.page.route(asked, lambda route: route.fulfill(**away))
        shown.go("why?camera=gate-1")
        shown.page.wait_for_selector(".failed")
        shown.page.unroute("**/predictions?*")
        shown.page.wait_for_selector("main .empty:not(.failed)")
        site.send(site.topics.predictions, *scored(begin, [0.1] * 20, model))
        shown.page.wait_for_selector(".plot canvas", timeout=60_000)
        shown.go(f"event/{high.id}")
        shown.page.click(".what-if summary")
        shown.page.wait_for_selector(".what-if .failed")
        shown.page.unroute("**/what-if?*")
        shown.wait("document.querySelector('.what-if')?.innerText.includes('Nothing would be lost')")
        shown.has(0, ".what-if .failed")


def test_an_events_footage_begins_shortly_before_it_and_its_curve_says_what_is_forgotten(
    browser: Any, embedded_broker: Service, topics_prefix: str, tmp_path: Path
):
    site = Site(footage_settings(embedded_broker.address, topics_prefix, tmp_path))
    ensure_topic_of_forgotten(site.transport, site.topics)
    begin = (now_us() // SECOND_US - 120) * SECOND_US
    attach(site.settings, write_video(tmp_path / "gate.mp4", 300, rate=10, gop=10, size=(64, 48)), "gate-1", begin)
    seen = ended(event(0, start_us=begin + 20 * SECOND_US, end_us=begin + 22 * SECOND_US))
    site.events(seen)
    site.send(site.topics.predictions, *scored(begin, [0.1] * 20 + [0.9] * 3 + [0.1] * 7, "m"))
    forgotten = Forgotten("gate-1", begin + 26 * SECOND_US, begin + 28 * SECOND_US, now_us(), "ana", "request 17")
    site.send(site.topics.forgotten, forgotten)
    with (
        alive(site, "gate-1"),
        served(site.settings) as (client, desk),
        window(browser, origin(client), with_player=False) as shown,
    ):
        ready(desk)
        shown.go(f"event/{seen.id}")
        shown.page.wait_for_selector('.legend [data-kind="forgotten"]')
        # 15 s of the curve are before the event, 3 s of the footage.
        shown.wait("document.querySelector('video').currentTime > 11")
        shown.wait("document.querySelector('video').readyState >= 2")
        assert shown.page.evaluate("document.querySelector('video').currentTime") < 13.1
        assert shown.page.evaluate("document.querySelector('video').paused")
        assert shown.violations() == []
