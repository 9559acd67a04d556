"""Bundles over HTTP: who may have one, what is written of that, how many at once; and the button of the page."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("fastapi")

from consumers.bundles import serving
from consumers.bundles.by_hand import check_file
from consumers.bundles.checking import check
from consumers.bundles.making import Made
from consumers.records.event import Event
from consumers.web.credentials import token_hash
from stream import SourceError
from stream.services import Service
from tests.browsers import chromium, window
from tests.dashboards import BEGIN_US, SECOND_US, Site, event, problem, ready, served
from tests.footage_sites import attach, footage_settings
from tests.videos import write_video
from tests.waiting import eventually

_TOKENS = {
    name: {"hash": token_hash(name), "role": role, "cameras": cameras}
    for name, role, cameras in (("ana", "operator", None), ("view", "viewer", None), ("dock", "operator", ["dock*"]))
}


@pytest.fixture
def site(embedded_broker: Service, topics_prefix: str, tmp_path: Path) -> Site:
    settings = footage_settings(embedded_broker.address, topics_prefix, tmp_path, tokens=_TOKENS)
    evidence = settings.evidence.model_copy(update={"key": tmp_path / "evidence.key"})
    here = Site(settings.model_copy(update={"evidence": evidence}))
    film = write_video(tmp_path / "film.mp4", 150, rate=25, gop=25, size=(320, 240), options={"bf": "0"})
    attach(here.settings, film, "gate-1", BEGIN_US)
    return here


def seen(site: Site) -> Event:
    """An event of which there is footage."""
    place = f"{site.topics.segments}[{site.transport.partition_of(site.topics.segments, b'gate-1')}]@1-3"
    report = replace(event(2), segments=place)
    over = replace(report, state="ended", revision=1, ending="below_threshold", end_us=report.start_us + 2 * SECOND_US)
    site.events(report, over)
    return over


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}"}


def asked(client: httpx.Client, report: Event, who: str, **body: Any) -> httpx.Response:
    return client.post(f"/events/{report.id}/bundle", json=body, headers=bearer(who))


def test_an_operator_of_the_camera_gets_a_signed_file_and_that_is_audited(site: Site, tmp_path: Path):
    report = seen(site)
    with served(site.settings) as (client, desk):
        ready(desk)
        problem(asked(client, report, "view"), 403, "role")
        problem(asked(client, report, "dock"), 404, "not-found")
        problem(asked(client, report, "ana", lead_seconds=-1), 422, "invalid")
        assert desk.view.audit(10, lambda _: True, None).items == ()
        answer = asked(client, report, "ana", lead_seconds=1, tail_seconds=1)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["content-disposition"].startswith('attachment; filename="gate-1-')
        assert int(answer.headers["content-length"]) == len(answer.content)
        path = tmp_path / "event.html"
        path.write_bytes(answer.content)
        checked = check_file(site.settings, path, None)
        assert checked.is_vouched_for, checked.findings
        assert (checked.manifest["made"]["by"], checked.manifest["made"]["way"]) == ("ana", "dashboard")
        assert sum("place" in each for each in checked.manifest["parts"]) >= 3
        assert eventually(lambda: desk.view.audit(10, lambda _: True, None).items)
        (entry,) = desk.view.audit(10, lambda _: True, None).items
        assert (entry.action, entry.actor, entry.subject) == ("evidence.bundle", "ana", report.id)


def test_one_that_would_be_too_large_is_refused(site: Site):
    report = seen(site)
    small = site.settings.evidence.model_copy(update={"max_megabytes": 0.02})
    with served(site.settings.model_copy(update={"evidence": small})) as (client, desk):
        ready(desk)
        detail = problem(asked(client, report, "ana"), 422, "bundle-too-large")["detail"]
        assert "evidence.max_megabytes" in detail


def test_an_event_that_is_forgotten_while_somebody_waits_for_its_bundle_is_gone(
    site: Site, monkeypatch: pytest.MonkeyPatch
):
    def make(*_: Any) -> Made:
        raise SourceError("camera gate-1: forgotten, as ana asked")

    monkeypatch.setattr(serving, "make_bundle", make)
    report = seen(site)
    with served(site.settings) as (client, desk):
        ready(desk)
        assert "as ana asked" in problem(asked(client, report, "ana"), 410, "forgotten")["detail"]
        assert desk.view.audit(10, lambda _: True, None).items == ()


def test_without_a_key_that_can_be_used_nothing_is_handed_out(site: Site):
    report = seen(site)
    site.settings.evidence.key.write_text("no key")
    with served(site.settings) as (client, desk):
        ready(desk)
        detail = problem(asked(client, report, "ana"), 500, "no-key")["detail"]
        assert str(site.settings.evidence.key) not in detail


def in_place_of_bundles(monkeypatch: pytest.MonkeyPatch, size: int, going: threading.Event) -> list[int]:
    """Have files of some size be handed out, once somebody says so; how many are made, at each begin of one."""
    lock, inside, found = threading.Lock(), [], []

    def make(*arguments: Any) -> Made:
        with lock:
            inside.append(1)
            found.append(len(inside))
        assert going.wait(30)
        out = arguments[-1]
        out.seek(size - 1)
        out.write(b"\n")
        with lock:
            inside.pop()
        return Made(size, 0, 0.0, ())

    monkeypatch.setattr(serving, "make_bundle", make)
    return found


def test_a_few_wait_and_more_are_told_to_come_back(site: Site, monkeypatch: pytest.MonkeyPatch):
    report = seen(site)
    going = threading.Event()
    at_once = in_place_of_bundles(monkeypatch, 9, going)
    with served(site.settings) as (client, desk):
        ready(desk)
        answers: list[httpx.Response] = []
        clients = [threading.Thread(target=lambda: answers.append(asked(client, report, "ana"))) for _ in range(4)]
        for each in clients:
            each.start()
        assert eventually(lambda: desk.bundles.room.statistics().tasks_waiting == 3)
        refused = asked(client, report, "ana")
        problem(refused, 503, "busy")
        assert int(refused.headers["retry-after"]) > 0
        going.set()
        for each in clients:
            each.join(60)
        assert [each.status_code for each in answers] == [200] * 4
        assert at_once == [1] * 4
        # Their places are free again.
        assert eventually(lambda: asked(client, report, "ana").status_code == 200)


def test_whoever_breaks_off_gives_the_place_back(site: Site, monkeypatch: pytest.MonkeyPatch):
    report = seen(site)
    going = threading.Event()
    going.set()
    in_place_of_bundles(monkeypatch, 1 << 27, going)
    monkeypatch.setattr(serving, "_MOST", 1)
    with served(site.settings) as (client, desk):
        ready(desk)
        with client.stream("POST", f"/events/{report.id}/bundle", json={}, headers=bearer("ana")) as answer:
            assert answer.status_code == 200
            # Kept: an iterator that goes closes the connection.
            pieces = answer.iter_raw()
            assert next(pieces)
            time.sleep(0.5)
            problem(asked(client, report, "ana"), 503, "busy")
        assert eventually(lambda: asked(client, report, "ana").status_code == 200)


def test_whoever_takes_nothing_gives_the_place_back(site: Site, monkeypatch: pytest.MonkeyPatch):
    report = seen(site)
    going = threading.Event()
    going.set()
    in_place_of_bundles(monkeypatch, 1 << 27, going)
    monkeypatch.setattr(serving, "_MOST", 1)
    impatient = site.settings.serve.model_copy(update={"slow_seconds": 0.5})
    with served(site.settings.model_copy(update={"serve": impatient})) as (client, desk):
        ready(desk)
        with client.stream("POST", f"/events/{report.id}/bundle", json={}, headers=bearer("ana")) as answer:
            assert answer.status_code == 200
            problem(asked(client, report, "ana"), 503, "busy")
            # It is connected, and takes nothing.
            assert eventually(lambda: asked(client, report, "ana").status_code == 200)
        assert client.get("/health", headers=bearer("ana")).json()["let_go"] == 1


@pytest.fixture
def page(site: Site) -> Iterator[tuple[Any, Event]]:
    report = seen(site)
    # Whoever is at this machine is let in.
    settings = site.settings.model_copy(update={"dashboard": site.settings.dashboard.model_copy(update={"tokens": {}})})
    with served(settings) as (client, desk), chromium() as browser:
        ready(desk)
        with window(browser, str(client.base_url).removesuffix("/api/v1/"), accept_downloads=True) as opened:
            yield opened, report


@pytest.mark.slow
def test_the_button_of_the_page_saves_it(page: tuple[Any, Event]):
    opened, report = page
    opened.go(f"event/{report.id}")
    with opened.page.expect_download() as download:
        opened.page.click("text=Save as a signed file")
    assert download.value.suggested_filename.endswith(f"{report.id[:8]}.html")
    assert check(Path(download.value.path()).read_bytes()).is_intact
    opened.wait("document.querySelector('main').innerText.includes('Saved.')")
    assert opened.violations() == []
    assert (opened.complaints, opened.foreign) == ([], [])
