"""The dashboard's pages as they are served: every file, with what browsers are told of it; texts and sizes."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

pytest.importorskip("fastapi")

from fastapi import FastAPI
from starlette.testclient import TestClient

from consumers.running.troubles import TroubleKind
from consumers.web.problems import add_problems
from consumers.web.routes.pages import FOLDER, POLICY, pages_router, read_pages

#: Of what a first visit of the wall loads, over the wire.
LARGEST_FIRST_PAGE = 300_000
#: See vendor/SOURCES.md.
VENDORED = {
    "hls.min.js": "cfc70cc9e9fc63d071919e087670abc760c8fd1bc889b88588026e4d22193bbe",
    "uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    "htm-preact.js": "72284e8e9079c87817145df1110f74e8a2aa040b2fc384922e18dfcb46fc1fd7",
}


@pytest.fixture(name="client")
def _client() -> Iterator[TestClient]:
    app = FastAPI()
    add_problems(app)
    app.include_router(pages_router(read_pages()))
    with TestClient(app) as client:
        yield client


def names() -> list[str]:
    return [path.relative_to(FOLDER).as_posix() for path in sorted(FOLDER.rglob("*")) if path.is_file()]


def version(client: TestClient) -> str:
    found = re.findall(r"/static/([0-9a-f]+)/", client.get("/").text)
    assert len(set(found)) == 1
    return found[0]


def imported(name: str, seen: set[str]) -> set[str]:
    """A script and what it imports at once, and so on."""
    if name not in seen:
        seen.add(name)
        text = (FOLDER / name).read_text()
        for path in re.findall(r"""^(?:import|export) [^"]*"(\.[^"]+)";""", text, re.MULTILINE):
            imported((FOLDER / name).parent.joinpath(path).resolve().relative_to(FOLDER.resolve()).as_posix(), seen)
    return seen


def test_every_file_is_served_as_it_is_and_kept_for_good(client: TestClient):
    of = version(client)
    for name in names():
        if name in {"index.html", "share.html", "share-gone.html"}:
            # They are pages, of which each answer names the files of its version.
            assert client.get(f"/static/{of}/{name}").status_code == 404
            continue
        answer = client.get(f"/static/{of}/{name}")
        assert answer.status_code == 200, name
        assert answer.content == (FOLDER / name).read_bytes(), name
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["content-encoding"] == "gzip"
        assert answer.headers["content-security-policy"] == POLICY
        if name.endswith(".js") and "LICENSE" not in name:
            assert answer.headers["content-type"] == "text/javascript; charset=utf-8"


def test_the_shell_is_asked_for_anew_and_answered_in_short_while_it_is_the_same(client: TestClient):
    first = client.get("/")
    assert first.headers["cache-control"] == "no-cache"
    assert first.headers["vary"] == "Accept-Encoding"
    again = client.get("/", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    plain = client.get("/", headers={"Accept-Encoding": "gzip;q=0"})
    assert "content-encoding" not in plain.headers
    assert plain.text == first.text
    assert plain.headers["etag"] != first.headers["etag"]


def test_files_of_an_earlier_version_are_not_kept_and_none_lies_outside(client: TestClient):
    assert client.get("/static/0123456789abcdef/main.js").headers["cache-control"] == "no-cache"
    for path in ("nothing.js", "../pages.py", "%2e%2e/pages.py", "index.html", "", "vendor"):
        assert client.get(f"/static/{version(client)}/{path}").status_code == 404, path


def test_the_version_changes_with_any_file(tmp_path: Path):
    (tmp_path / "index.html").write_text("{version}")
    (tmp_path / "a.js").write_text("1")
    before = read_pages(tmp_path)
    (tmp_path / "a.js").write_text("2")
    after = read_pages(tmp_path)
    assert before.version != after.version
    assert after.files["index.html"].content.decode() == after.version


def test_no_script_or_style_is_inline_and_nothing_is_of_another_site():
    shell = (FOLDER / "index.html").read_text()
    assert not re.search(r"<style|\son\w+=|style=|<script(?![^>]*\ssrc=)", shell)
    for name in names():
        if name.endswith((".js", ".css", ".html")) and not name.startswith("vendor/"):
            text = (FOLDER / name).read_text()
            assert not re.search(r"\beval\(|new Function|innerHTML|https?://(?!www\.w3\.org)", text), name
            # Written by the style's own object, which the policy allows.
            assert not re.search(r"""\sstyle=["']""", text), name


def test_a_wheel_holds_every_file_and_nothing_of_the_tests():
    wheel = pytest.importorskip("hatchling.builders.wheel")
    root = FOLDER.parents[2]
    builder = wheel.WheelBuilder(str(root))
    packed = {each.distribution_path for each in builder.recurse_included_files()}
    assert {f"consumers/web/static/{name}" for name in names()} <= packed
    assert not any(each.startswith("tests/") for each in packed)


def texts() -> dict[str, dict[str, str]]:
    text = (FOLDER / "texts.js").read_text()
    found: dict[str, dict[str, str]] = json.loads(text[text.index("{") : text.rindex("}") + 1])
    return found


def test_all_languages_have_the_same_texts_with_the_same_places():
    found = texts()
    assert set(found) == {"en", "de"}
    assert list(found["de"]) == list(found["en"])
    for key, text in found["en"].items():
        assert sorted(re.findall(r"\{\w+\}", text)) == sorted(re.findall(r"\{\w+\}", found["de"][key])), key


def test_there_are_words_for_every_kind_of_trouble():
    said = {key.removeprefix("trouble.") for key in texts()["en"] if re.fullmatch(r"trouble\.\w+", key)}
    assert said == set(get_args(TroubleKind))


def band_kinds() -> dict[str, tuple[str, str]]:
    """Of each kind of band the variable of its colour, and its pattern as it is written."""
    text = (FOLDER / "core" / "bands.js").read_text()
    return {
        kind: (colour, pattern)
        for kind, colour, pattern in re.findall(r'^  (\w+): \{colour: "(--[\w-]+)"(?:, (.*))?\},$', text, re.MULTILINE)
    }


def contrast(one: str, other: str) -> float:
    """Of two colours, as WCAG has it."""

    def light(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        return sum(
            weight * (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4)
            for weight, part in zip((0.2126, 0.7152, 0.0722), parts, strict=True)
        )

    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)


def test_every_kind_of_band_has_a_colour_and_a_pattern_of_its_own_that_are_seen_in_both_themes():
    kinds = band_kinds()
    reasons = {key.removeprefix("reason.") for key in texts()["en"] if re.fullmatch(r"reason\.\w+", key)}
    assert set(kinds) == reasons - {"below"}
    assert len({colour for colour, _ in kinds.values()}) == len(kinds)
    assert len({pattern for _, pattern in kinds.values()}) == len(kinds)
    style = (FOLDER / "style.css").read_text()
    for theme in (r":root \{", r':root\[data-theme="dark"\] \{'):
        blocks = "".join(re.findall(theme + r"([^}]*)\}", style))
        found = dict(re.findall(r"(--[\w-]+): (#[0-9a-f]{6});", blocks))
        for kind, (colour, _) in kinds.items():
            assert contrast(found[colour], found["--panel"]) >= 3, (theme, kind)


def test_every_text_that_is_asked_for_is_there():
    known = texts()["en"]
    for name in names():
        if name.endswith(".js") and not name.startswith("vendor/"):
            for key in re.findall(r"""\bt\("([^"]+)"[,)]""", (FOLDER / name).read_text()):
                assert key in known, f"{name}: {key}"


def test_a_first_visit_loads_less_than_the_limit():
    first = {"index.html", "theme.js", "style.css", "icon.svg", *imported("main.js", set())}
    assert "vendor/hls.min.js" not in first
    assert "vendor/uPlot.iife.min.js" not in first
    with_video = {*first, "vendor/hls.min.js"}
    size = sum(len(gzip.compress((FOLDER / name).read_bytes(), 9)) for name in with_video)
    assert size < LARGEST_FIRST_PAGE


def test_vendored_files_are_those_that_the_list_names():
    listed = (FOLDER / "vendor/SOURCES.md").read_text()
    found = {path.name for path in (FOLDER / "vendor").iterdir() if "LICENSE" not in path.name and path.suffix != ".md"}
    assert found == set(VENDORED)
    for name, digest in VENDORED.items():
        assert f"`{name}`" in listed
        assert hashlib.sha256((FOLDER / "vendor" / name).read_bytes()).hexdigest() == digest, name
    for licence in (FOLDER / "vendor").glob("LICENSE-*"):
        assert f"`{licence.name}`" in listed
