"""Pages that are open while the broker is away, in a real Chromium."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("fastapi")

from consumers.outputs import follower as following
from consumers.records.states.process import ProcessInfo
from consumers.records.states.worker_state import WorkerState
from stream.services import EmbeddedBroker
from tests.browsers import chromium, window
from tests.dashboards import Site, event, now_us, ready, served, settings_of
from tests.test_web_browser import origin
from tests.waiting import eventually

pytestmark = pytest.mark.slow

KNOWN = "hall-2-worker-1"


def worker() -> WorkerState:
    process = ProcessInfo(KNOWN, "hall-2", 41, "0.1.0", now_us())
    return WorkerState(
        process, "working", "clipline-classify", "movenet-views", "openvino-bf16", (), 0, now_us(), 12, ("fight",)
    )


def test_while_the_broker_is_away_pages_show_what_was_read_and_say_it_once_in_the_viewers_words(
    topics_prefix: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(following, "ASK_SECONDS", 0.3)
    with chromium() as browser:
        with EmbeddedBroker(max_bytes=50_000_000) as broker:
            address = broker.address
            site = Site(settings_of(address, topics_prefix))
            site.events(event(0))
            site.cameras("gate-1")
            site.send(site.topics.workers_state, worker())
            server = served(site.settings)
            client, desk = server.__enter__()
            ready(desk)
            opened = window(browser, origin(client), locale="de-DE")
            shown: Any = opened.__enter__()
            shown.go("fleet")
            shown.page.wait_for_selector(f"text={KNOWN}")
        try:
            assert eventually(lambda: client.get("/health").json()["broker"] is not None, 60)
            shown.wait("document.querySelector('.banner')?.innerText.includes('Der Server wartet auf Kafka (')")
            told = shown.text(".banner")
            since = client.get("/health").json()["broker"].split()[-2]
            here = f"{(int(since[:2]) + 1) % 24:02}{since[2:]}"  # Berlin, in winter
            shown.wait("document.querySelector('.fleet .note')?.innerText.includes('wie sie um')")
            assert here[:5] in told
            assert "UTC" not in shown.text("body")
            assert "Kafka at" not in shown.text("body")
            shown.says(".fleet", KNOWN)
            shown.says(".fleet", "nicht bekannt")
            assert shown.violations() == []
            shown.page.click(".top a[href='#/wall']")
            shown.page.wait_for_selector(".tile")
            shown.has(0, ".note")
            assert "Kafka at" not in shown.text("body")
            shown.page.click(".top a[href='#/review']")
            shown.page.wait_for_selector(".card")
            shown.has(0, ".note")
            # Whoever comes only now is not told that there are none.
            shown.page.reload()
            shown.go("fleet")
            shown.wait("document.querySelector('.fleet .note')?.innerText.includes('Solange der Broker weg ist')")
            assert KNOWN not in shown.text(".fleet")
        finally:
            opened.__exit__(None, None, None)
            server.__exit__(None, None, None)
