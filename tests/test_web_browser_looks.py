"""How pages look and read in a real Chromium: films that ended, forgotten stretches, German, narrow screens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")

from consumers.records.event_pictures import EventPictures, Missing, StoredPicture
from consumers.records.forgotten import Forgotten
from consumers.records.states.camera_state import CameraState
from consumers.records.states.process import ProcessInfo
from consumers.records.states.worker_state import WorkerCamera, WorkerState
from consumers.topics import ensure_topic_of_forgotten
from stream.services import Service
from tests.browsers import chromium, window
from tests.dashboards import SECOND_US, Site, camera_state, ended, event, now_us, ready, served, settings_of
from tests.footage_sites import attach, film_of_late, footage_settings
from tests.test_web_browser import lived_in, origin
from tests.test_web_browser_pages import scored
from tests.waiting import eventually

pytestmark = pytest.mark.slow

LONG = "warehouse-north-loading-bay-door-7-camera-behind-pillar-1234"


@pytest.fixture(scope="module", name="browser")
def _browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


def over(name: str, end_us: int) -> CameraState:
    """A camera whose film was read to its end."""
    state = camera_state(name, "ended", "the footage is over")
    return replace(state, feed=replace(state.feed, end_us=end_us, frames_per_second=0.0))


def test_a_film_that_ended_says_so_and_shows_its_last_picture(
    browser: Any, embedded_broker: Service, topics_prefix: str, tmp_path: Path
):
    settings = footage_settings(embedded_broker.address, topics_prefix, tmp_path)
    site = Site(settings)
    film, begin = film_of_late(tmp_path)
    attach(settings, film, LONG, begin)
    site.send(site.topics.cameras_state, over(LONG, begin + 6 * SECOND_US))
    with served(settings) as (client, desk), window(browser, origin(client), locale="de-DE") as shown:
        ready(desk)
        shown.go("wall")
        shown.page.wait_for_selector(".tile-stale .screen-snapshot img")
        shown.wait("document.querySelector('.screen-title')?.innerText === 'Der Film ist zu Ende'")
        shown.says(".screen-time", "letztes Bild")
        assert "0 fps" not in shown.text("main")
        assert "Bilder/s" not in shown.text("main")
        assert shown.count("video") == 0
        assert shown.page.locator(".tile").bounding_box()["width"] <= 1.25 * shown.page.viewport_size["height"]
        assert shown.overflow() <= 0
        assert shown.violations() == []
        shown.go(f"cameras/{LONG}")
        shown.says(".figures", "zu Ende")
        shown.wait("document.querySelector('.figures div:nth-child(3) dd')?.innerText === '0 s'")  # blind
        assert "the footage is over" not in shown.text("main")
        assert shown.violations() == []
        assert shown.complaints == []


def test_a_camera_that_was_given_up_is_told_from_a_film_that_is_over_and_from_one_that_is_tried_again(
    browser: Any, embedded_broker: Service, topics_prefix: str
):
    site = Site(settings_of(embedded_broker.address, topics_prefix))
    why = "invalid data found when processing input"
    given_up = camera_state("notes", "ended", why)
    given_up = replace(given_up, feed=replace(given_up.feed, has_failed=True, data_us=None, segments=0))
    tried = camera_state("gate-1", "failed", why)
    tried = replace(tried, feed=replace(tried.feed, data_us=now_us() - 40 * SECOND_US))
    site.send(site.topics.cameras_state, given_up, tried, over("film", now_us()))
    with served(site.settings) as (client, desk), window(browser, origin(client), locale="de-DE") as shown:
        ready(desk)
        shown.go("wall")
        for camera, state in {"notes": "failed", "gate-1": "failed", "film": "ended"}.items():
            shown.page.wait_for_selector(f'.tile[data-camera="{camera}"][data-state="{state}"]')
        notes, gate = (shown.text(f'[data-camera="{each}"] .screen') for each in ("notes", "gate-1"))
        assert "Sie lässt sich nicht als Video lesen" in notes
        assert "Ihr Agent hat aufgegeben" in notes
        assert "Sie lässt sich nicht als Video lesen" in gate
        assert "aufgegeben" not in gate + shown.text('[data-camera="film"] .screen')
        shown.wait("document.title.startsWith('(2)')")  # a film that is over is not taken for a fault
        shown.go("fleet")
        shown.says(".problems", "notes: Ihr Agent hat aufgegeben (Sie lässt sich nicht als Video lesen)")
        shown.wait("/gate-1: seit ([4-9][0-9] s|1 min)/.test(document.querySelector('.problems').innerText)")
        assert shown.violations() == []


def test_a_camera_of_which_nothing_comes_shows_its_last_picture_in_grey_with_its_time_and_why(
    browser: Any, embedded_broker: Service, topics_prefix: str, tmp_path: Path
):
    settings = footage_settings(embedded_broker.address, topics_prefix, tmp_path)
    site = Site(settings)
    film, begin = film_of_late(tmp_path)
    seen = {"data_us": begin + 6 * SECOND_US, "end_us": begin + 6 * SECOND_US}
    for name, status, why in (
        ("dock", "failed", "connection refused"),
        ("gate", "stalled", None),
        ("roof", "live", None),
    ):
        attach(settings, film, name, begin)
        state = camera_state(name, status, why)
        told_us = begin if name == "roof" else now_us()  # its agent has said nothing since then
        site.send(site.topics.cameras_state, replace(state, feed=replace(state.feed, **seen), time_us=told_us))
    never = camera_state("yard", "failed", "401 Unauthorized")
    site.send(site.topics.cameras_state, replace(never, feed=replace(never.feed, data_us=None)))
    with served(settings) as (client, desk), window(browser, origin(client), locale="de-DE") as shown:
        ready(desk)
        asked: list[str] = []
        shown.page.on("request", lambda request: asked.append(request.url))
        shown.go("wall")
        shown.has(3, ".tile-stale .screen-snapshot img")
        for name, said in (
            ("dock", "Verbindung abgelehnt"),
            ("gate", "Von ihr kommt nichts"),
            ("roof", "ohne ein Wort"),
        ):
            shown.says(f'[data-camera="{name}"] .screen-over', said)
            shown.says(f'[data-camera="{name}"] .screen-time', "letztes Bild")
            shown.says(f'[data-camera="{name}"] .screen-time', "vor")
        grey = "getComputedStyle(document.querySelector('[data-camera=dock] .screen')).filter"
        assert shown.page.evaluate(grey) == "grayscale(1)"
        shown.says('[data-camera="yard"] .screen-said', "401 Unauthorized")
        # Of a camera that has never sent anything there is none.
        assert not any("/yard/snapshot" in url for url in asked)
        assert shown.violations() == []
        assert shown.complaints == []


def test_a_last_picture_that_could_not_be_read_is_asked_for_again(
    browser: Any, embedded_broker: Service, topics_prefix: str, tmp_path: Path
):
    settings = footage_settings(embedded_broker.address, topics_prefix, tmp_path)
    site = Site(settings)
    film, begin = film_of_late(tmp_path)
    attach(settings, film, "gate-1", begin)
    site.send(site.topics.cameras_state, over("gate-1", begin + 6 * SECOND_US))
    with served(settings) as (client, desk), window(browser, origin(client)) as shown:
        ready(desk)
        refused = []

        def refuse_one(request: Any) -> None:
            if refused:
                request.continue_()
                return
            refused.append(request)
            request.fulfill(status=503)

        shown.page.route("**/snapshot", refuse_one)
        shown.go("wall")
        shown.page.wait_for_selector(".tile-stale .screen-snapshot img", timeout=30_000)
        assert len(refused) == 1


def test_what_does_not_come_is_said_in_the_viewers_language_and_nothing_looks_broken(
    browser: Any, embedded_broker: Service, topics_prefix: str
):
    site = Site(settings_of(embedded_broker.address, topics_prefix))
    site.cameras("gate-10", "gate-2")
    seen = ended(event(1, "gate-2"))
    site.events(seen)
    strip = StoredPicture("clipline:strip:x", 1440, 720, 9, (seen.start_us,), (0.0, 0.0, 1.0, 1.0))
    none = Missing("retention", "the broker has deleted the footage")
    site.send(site.topics.pictures, EventPictures.following(seen, none, strip, 60))
    with (
        served(site.settings) as (client, desk),
        window(browser, origin(client), locale="de-DE", viewport={"width": 390, "height": 844}) as shown,
    ):
        ready(desk)
        shown.go("wall")
        shown.has(2, ".tile")
        assert shown.page.locator(".tile h2").all_inner_texts() == ["gate-2", "gate-10"]
        # Redis is away.
        shown.go("review")
        shown.says(".strip-none", "kamen nicht")
        shown.has(0, "img.strip")
        shown.go("event/none")
        shown.says(".empty", "gibt es nicht")
        shown.go("why?camera=nobody")
        shown.says(".empty:not(.failed)", "nobody")
        body = '{"type": "urn:clipline:problem:unexpected", "code": "unexpected", "detail": '
        body += '"nobody foresaw this; the log of the dashboard tells more"}'
        shown.page.route("**/deliveries?*", lambda route: route.fulfill(status=500, body=body))
        shown.go("deliveries")
        shown.says(".failed", "Log des Dashboards")
        assert shown.violations() == []


def test_a_forgotten_stretch_is_said_to_be_forgotten(browser: Any, embedded_broker: Service, topics_prefix: str):
    site = Site(settings_of(embedded_broker.address, topics_prefix))
    ensure_topic_of_forgotten(site.transport, site.topics)
    site.cameras("gate-1")
    begin = now_us() // SECOND_US * SECOND_US - 600 * SECOND_US
    with served(site.settings) as (client, desk), window(browser, origin(client)) as shown:
        ready(desk)
        model = client.get("/cameras/gate-1/rules").json()["model"]
        scores = [0.1] * 60
        scores[16:20] = [0.99] * 4  # beside it: an event that would reach into it is not told of
        site.send(site.topics.predictions, *scored(begin, scores, model))
        stretch = Forgotten(
            "gate-1", begin + 20 * SECOND_US, begin + 30 * SECOND_US, now_us(), "ana", "a visitor asked"
        )
        site.send(site.topics.forgotten, stretch)
        assert eventually(lambda: len(desk.view.forgotten) == 1)
        asked = {"from": f"{begin // SECOND_US}", "to": f"{begin // SECOND_US + 60}"}
        at = {name: _iso(int(value)) for name, value in asked.items()}
        found = client.get("/cameras/gate-1/predictions", params=at).json()
        assert found["forgotten"] == 10
        assert [each["why"] for each in found["forgotten_spans"]] == ["a visitor asked"]
        footage = client.get("/cameras/gate-1/footage", params=at).json()
        assert footage["forgotten_spans"] == found["forgotten_spans"]
        outside = client.get("/cameras/gate-1/predictions", params={**at, "from": _iso(begin // SECOND_US + 40)}).json()
        assert outside["forgotten_spans"] == []
        shown.go(f"why?camera=gate-1&label=fight&from={at['from']}&to={at['to']}")
        shown.page.wait_for_selector("tbody tr")
        told = shown.text("tbody")
        assert told.count("a visitor asked") == 1
        assert told.count("held back by an event that is forgotten") == 1
        shown.wait("document.querySelectorAll('.legend [data-kind=withheld]').length === 1")
        assert "not explained" not in told
        assert "gap" not in told
        shown.go("cameras/gate-1")
        shown.page.wait_for_selector(".span-forgotten")
        shown.says("main", "a visitor asked")
        inside = {"from": _iso(begin // SECOND_US + 21), "to": _iso(begin // SECOND_US + 29)}
        shown.go(f"why?camera=gate-1&from={inside['from']}&to={inside['to']}")
        shown.says(".empty", "a visitor asked")
        assert shown.violations() == []


def _iso(seconds: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def test_nothing_is_cut_pushed_or_written_over(browser: Any, embedded_broker: Service, topics_prefix: str):
    site = Site(settings_of(embedded_broker.address, topics_prefix))
    lived_in(site)
    known = WorkerCamera("gate-1", 0, 0.1, 1.5, "walk", 0.9, now_us())
    process = ProcessInfo("edge-box-in-the-north-hall-2-worker-1", "edge-box", 41, "0.1.0", now_us())
    worker = WorkerState(
        process, "working", "clipline-classify", "movenet-views-7e7d60cf", "openvino-bf16", (known,), 31_234, now_us(),
        1_200, ("fight",), redis_behind=21_345, partitions=tuple(range(16)), exactly_once=True,
    )  # fmt: skip
    site.send(site.topics.workers_state, worker)
    wider = "[...document.querySelectorAll('.table')].some((each) => each.scrollWidth > each.clientWidth)"
    with served(site.settings) as (client, desk):
        ready(desk)
        with window(browser, origin(client), locale="de-DE") as shown:
            shown.go("fleet")
            # Not by its name alone: the table of cameras has it too, and may be there before.
            workers = shown.page.get_by_role("table", name="Worker").get_by_role("row")
            workers.nth(1).wait_for()
            assert not shown.page.evaluate(wider)
            shown.says(".problems", "keine Daten (Verbindung abgelehnt)")
            shown.says(".problems", "1.200 Segmente warten auf Worker edge-box-in-the-north-hall-2-worker-1")
            shown.go("models")
            shown.page.wait_for_selector(".whisker")
            written_over = """[...document.querySelectorAll('.whisker')].some((each) =>
              each.children[0].getBoundingClientRect().right > each.children[1].getBoundingClientRect().left)"""
            assert not shown.page.evaluate(written_over)
            # As in the card: 82.55 as floating point has it is less than that.
            shown.says(".model >> nth=0", "(82,5–93,6)")
            shown.go("review")
            shown.page.wait_for_selector(".keys")
            before = shown.page.locator("h1").bounding_box()
            shown.page.click(".keys summary")
            shown.page.locator(".keys-in").wait_for()
            assert shown.page.locator("h1").bounding_box() == before
            assert shown.overflow() <= 0
            assert shown.violations() == []
        with window(browser, origin(client), locale="de-DE", viewport={"width": 390, "height": 844}) as shown:
            shown.go("why?camera=gate-1&from=2025-11-24T08:00:00Z&to=2025-11-24T08:02:00Z&label=fight")
            shown.page.wait_for_selector("tbody tr")
            assert not shown.page.evaluate(wider)
            # Rows of wider tables are cards, and still rows for those who hear them.
            shown.go("fleet")
            workers = shown.page.get_by_role("table", name="Worker").get_by_role("row")
            workers.nth(1).wait_for()
            assert not shown.page.evaluate(wider)
            assert workers.count() == 2
            shown.page.locator(".stacked td").first.wait_for()
            left = "[...document.querySelectorAll('.stacked td')].map((each) => each.getBoundingClientRect().left)"
            assert len(set(shown.page.evaluate(left))) == 1
            shown.go("review")
            shown.page.click(".keys summary")
            assert shown.overflow() <= 0
            box = shown.page.locator(".keys-in").bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 390


def test_a_camera_that_never_sent_anything_says_so_and_offers_no_fast_view(
    browser: Any, embedded_broker: Service, topics_prefix: str
):
    site = Site(settings_of(embedded_broker.address, topics_prefix))
    never, over = (
        camera_state("yard", "failed", "connection refused"),
        camera_state("gate-1", "ended", "the film is over"),
    )
    nothing = {"data_us": None, "segments": 0, "frames": 0, "bytes": 0}
    site.send(site.topics.cameras_state, replace(never, feed=replace(never.feed, **nothing)), over)
    fast = "text=Fast view"
    with served(site.settings) as (client, desk), window(browser, origin(client)) as shown:
        ready(desk)
        shown.go("cameras/yard")
        shown.page.wait_for_selector("#clock")
        shown.wait("document.querySelector('main').innerText.split('It has never sent anything').length === 3")
        assert shown.page.is_disabled(fast)
        assert shown.page.get_attribute(fast, "title") == "It has never sent anything"
        # Nothing of more than an hour ago is known of it.
        shown.wait("document.querySelector('.tools select').value === '1'")
        shown.page.select_option(".tools select", "6")
        shown.wait("location.hash.includes('hours=6')")
        assert shown.violations() == []
        shown.go("cameras/gate-1")
        shown.page.wait_for_selector("button[disabled][title*=ended]:has-text('Fast view')")
        assert shown.complaints == []


def test_a_version_of_rules_that_was_never_applied_is_explained(
    browser: Any, embedded_broker: Service, topics_prefix: str
):
    site = Site(settings_of(embedded_broker.address, topics_prefix))
    with served(site.settings) as (client, desk), window(browser, origin(client)) as shown:
        ready(desk)
        shown.go("rules/0123456789ab")
        shown.says(".note", "Version 0123456789ab: these are the settings' own rules")
        assert shown.violations() == []


def test_keys_close_by_escape_and_by_a_click_elsewhere_and_no_choice_is_cut(
    browser: Any, embedded_broker: Service, topics_prefix: str
):
    site = Site(settings_of(embedded_broker.address, topics_prefix))
    lived_in(site)
    with served(site.settings) as (client, desk):
        ready(desk)
        with window(browser, origin(client)) as shown:
            shown.go("review")
            shown.page.wait_for_selector(".card")
            shown.page.click(".mark-box input >> nth=0")
            shown.page.click(".keys summary")
            shown.page.click(".keys input")
            assert shown.page.locator(".keys-in").is_visible(), "what is in it is used"
            shown.page.click(".keys input")
            shown.page.keyboard.press("Escape")
            shown.wait("!document.querySelector('.keys').open")
            shown.has(1, ".mark-bar")  # what is selected stays
            shown.page.click(".keys summary")
            shown.page.click("h1")
            shown.wait("!document.querySelector('.keys').open")
            shown.page.click(".filters summary")
            roomy = """(() => { const found = document.querySelector('.filters select'), had = found.offsetWidth;
              found.style.width = 'max-content'; const wanted = found.offsetWidth; found.style.width = '';
              return had >= wanted; })()"""
            assert shown.page.evaluate(roomy)
        with window(browser, origin(client), viewport={"width": 390, "height": 844}) as shown:
            shown.go("why?camera=gate-1&from=2025-11-24T08:00:00Z&to=2025-11-24T08:02:00Z")
            shown.page.wait_for_selector("tbody tr")
            boxes = shown.page.evaluate(
                """[...document.querySelectorAll('.tools-row > .field > input')].map((each) => {
                  const {left, right, top} = each.getBoundingClientRect(); return [left, right, top]; })"""
            )
            (first, second) = boxes
            assert first[:2] == second[:2]
            assert first[2] < second[2]
            assert first[1] - first[0] > 300
            assert shown.overflow() <= 0
