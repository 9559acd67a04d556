"""Models and reports, as the API shows them: figures with intervals, cards, and a folder that nothing leads out of."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import httpx
import pytest

pytest.importorskip("fastapi")

from consumers.records.states.process import ProcessInfo
from consumers.records.states.worker_state import WorkerState
from consumers.web.credentials import token_hash
from consumers.web.shelf import reports as shelf
from consumers.web.shelf.reports import ReportFolder
from models import find, shipped
from stream.services import Service
from tests.dashboards import Site, now_us, problem, ready, served, settings_of
from tests.logs import logged_by

PAGE = "<!doctype html><title>Replay of yard &amp; gate</title><script>alert(1)</script>"


def test_models_show_figures_with_intervals_thresholds_and_where_they_are_served(
    embedded_broker: Service, topics_prefix: str
):
    tokens = {"ana": {"hash": token_hash("ana")}, "bo": {"hash": token_hash("bo"), "cameras": ["gate*"]}}
    site = Site(settings_of(embedded_broker.address, topics_prefix, tokens=tokens))
    own = find("default").id
    for number, model in enumerate((own, own, "mine-0a1b2c3d")):
        process = ProcessInfo(f"hub-{number}-worker", "hub", number, "0.1.0", now_us())
        site.send(site.topics.workers_state, WorkerState(process, "working", "g", model, "openvino", (), 0, now_us()))
    with served(site.settings, Authorization="Bearer ana") as (client, desk):
        ready(desk)
        found = client.get("/models").json()
        assert {each["name"] for each in found["items"]} == set(shipped())
        assert found["elsewhere"] == ["mine-0a1b2c3d"]
        default = next(each for each in found["items"] if each["name"] == "movenet-views")
        assert (default["id"], default["is_served"], default["workers"]) == (own, True, 2)
        assert default["accuracy"] == {"value": 0.8856, "low": 0.8255, "high": 0.9357}
        assert default["thresholds"] == [{"label": "fight", "start": 0.627, "end": 0.376}]
        assert (default["videos"], default["sources"], default["unseen"]) == (236, 37, None)
        motion = next(each for each in found["items"] if each["name"] == "movenet-motion")
        assert motion["unseen"]["accuracy"] == {"value": 0.75, "low": 0.6, "high": 0.83}
        card = client.get("/models/movenet-views").json()
        assert card["text"].startswith("# movenet-views")
        assert client.get(f"/models/{own}").json() == card
        problem(client.get("/models/nothing"), 404, "not-found")
        # Who sees some cameras only is told of no workers, and no reports.
        few = {"Authorization": "Bearer bo"}
        seen = client.get("/models", headers=few).json()
        assert {each["workers"] for each in seen["items"]} == {None}
        assert seen["elsewhere"] == []
        problem(client.get("/reports", headers=few), 403, "cameras")
        problem(client.get("/reports/a.html", headers=few), 403, "cameras")


def test_a_model_of_the_settings_that_is_a_file_is_shown_without_its_path(
    embedded_broker: Service, topics_prefix: str, tmp_path: Path
):
    own = tmp_path / "mine.safetensors"
    own.write_bytes(shipped()["x3d-xs"].read_bytes())
    (tmp_path / "mine.md").write_text("# Mine\n\nOf my yard.")
    settings = settings_of(embedded_broker.address, topics_prefix)
    settings = settings.model_copy(update={"worker": settings.worker.model_copy(update={"model": str(own)})})
    Site(settings)
    with served(settings) as (client, _):
        answer = client.get("/models")
        assert str(tmp_path) not in answer.text
        mine = next(each for each in answer.json()["items"] if each["name"] == "mine")
        assert (mine["is_shipped"], mine["is_served"], mine["unseen"]) == (False, True, None)
        assert client.get("/models/mine").json()["text"] == "# Mine\n\nOf my yard."
        own.write_bytes(b"broken")
        found = client.get("/models").json()
        assert [each for each in found["items"] if each["name"] == "mine"] == []
        assert found["notes"]


def test_reports_are_listed_and_shown_but_nothing_of_them_runs(
    embedded_broker: Service, topics_prefix: str, tmp_path: Path
):
    folder = tmp_path / "reports"
    folder.mkdir()
    (folder / "yard.html").write_text(PAGE)
    (folder / "yard.json").write_text("{}")
    (folder / "notes.txt").write_text("no")
    os.utime(folder / "yard.json", (1, 1))
    Site(settings_of(embedded_broker.address, topics_prefix))
    with served(settings_of(embedded_broker.address, topics_prefix, reports=str(folder))) as (client, _):
        found = client.get("/reports").json()
        assert [each["name"] for each in found["items"]] == ["yard.html", "yard.json"]
        assert found["items"][0]["title"] == "Replay of yard & gate"
        assert found["why"] is None
        page = client.get("/reports/yard.html")
        assert page.text == PAGE
        policy = page.headers["content-security-policy"]
        assert policy.startswith("sandbox; default-src 'none'")
        assert "allow" not in policy
        assert "script-src" not in policy
        assert client.get("/reports/yard.json").headers["content-type"] == "application/json"
        known = {"If-None-Match": page.headers["etag"]}
        assert client.get("/reports/yard.html", headers=known).status_code == 304
        (folder / "yard.html").write_text(longer := PAGE + "x" * 2_000_000)
        assert client.get("/reports/yard.html", headers=known).text == longer
        for name in ("notes.txt", "..%2Fsecret.json", "%2e%2e/secret.json", ".html", "other.html"):
            assert client.get(f"/reports/{name}").status_code in {404, 422}, name
    with served(settings_of(embedded_broker.address, topics_prefix)) as (client, _):
        assert client.get("/reports").json() == {"items": [], "is_named": False, "why": None}
        problem(client.get("/reports/yard.html"), 404, "not-found")


def test_whoever_reads_a_report_that_becomes_shorter_sees_that_it_is_not_all(
    embedded_broker: Service, topics_prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    report = tmp_path / "yard.html"
    report.write_bytes(b" " * (32 << 20))
    with served(settings_of(embedded_broker.address, topics_prefix, reports=str(tmp_path))) as (client, _):
        with client.stream("GET", "/reports/yard.html") as answer:
            pieces = answer.iter_raw()
            assert next(pieces)
            os.truncate(report, 1 << 20)
            with pytest.raises(httpx.HTTPError):
                b"".join(pieces)
        assert client.get("/reports").status_code == 200
    said = [each for each in logged_by(caplog, "consumers.web") if each.levelno >= logging.WARNING]
    assert [each.getMessage() for each in said] == [
        "report yard.html became shorter while it was read: whoever read it was disconnected"
    ]


def test_reports_that_stay_as_they_are_are_not_opened_again_for_their_titles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for number in range(20):
        (tmp_path / f"{number}.html").write_text(f"<title>report {number}</title>")
    found, opened = ReportFolder(tmp_path), []
    plain = found.open
    monkeypatch.setattr(found, "open", lambda name: opened.append(name) or plain(name))
    first, _ = found.listed()
    assert {each.title for each in first} == {f"report {number}" for number in range(20)}
    assert len(opened) == 20
    (tmp_path / "7.html").write_text("<title>another</title>")
    (tmp_path / "8.html").unlink()
    again, _ = found.listed()
    assert opened[20:] == ["7.html"]
    assert {each.title for each in again} == {"another", *(f"report {n}" for n in range(20) if n not in {7, 8})}
    assert len(found._titles) == 19, "what is gone is kept no more"


def test_nothing_leads_out_of_the_folder_of_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "reports"
    folder.mkdir()
    (tmp_path / "secret.json").write_text("secret")
    (folder / "link.json").symlink_to(tmp_path / "secret.json")
    (folder / "sub.html").mkdir()
    os.mkfifo(folder / "pipe.json")
    found = ReportFolder(folder)
    assert found.listed() == ([], None)
    for name in ("link.json", "../secret.json", "sub.html", "pipe.json", "/etc/passwd", "a\x00.json"):
        assert found.open(name) is None, name
    for number in range(5):
        (folder / f"{number}.json").write_text("{}")
    monkeypatch.setattr(shelf, "MOST_REPORTS", 3)
    reports, why = found.listed()
    assert (len(reports), why) == (3, "the newest 3 of 5 are listed")
    monkeypatch.setattr(shelf, "MOST_BYTES", 1)
    assert found.open("1.json") is None
    reports, why = found.listed()  # nothing is listed that is not served
    assert (reports, why) == ([], "what is larger than 0 MiB is not listed")
    assert "cannot be read" in (ReportFolder(tmp_path / "nothing").listed()[1] or "")
