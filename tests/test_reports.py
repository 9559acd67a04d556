"""The three HTML reports in a real browser: they fit a phone, follow dark mode, and their tables sort."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from consumers.learning.footage.datasets import Example
from consumers.learning.report import write_report as write_evaluation
from consumers.replaying.command import replay_and_judge
from consumers.replaying.footage.sources import find_recordings
from consumers.replaying.judging.metrics import by_overlap
from consumers.replaying.judging.truth import TruthRow
from consumers.replaying.report import write_report
from consumers.replaying.run import ScoringSetup
from consumers.replaying.session import ReplayOptions, Session
from consumers.replaying.store import TraceStore
from consumers.replaying.tuning.report import write_tune_report
from consumers.replaying.tuning.search import tune
from consumers.reports.drawing import GOOD, SERIES, draw
from consumers.reports.wording import figure_text, interval_text
from consumers.terminal.notes import Notes
from models import Checkpoint, Contract
from models.evaluation.figures import evaluate
from models.evaluation.scores import WindowScores
from stream import Feed
from stream.clips import sampling
from tests.replays import RULES, SETTINGS, SPEC, Brightness, blinking
from tests.videos import write_video

CONTRACT = Contract("x3d_xs", ("normal", "fight"), 4, 0.4, 32, 32, "stretch", (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
WIDTHS = (390, 820, 1440)
LONG = "a-folder-with-a-name/that-nobody-would-break/" * 3


class Classifier(Brightness):
    engine, contract = "pixels", CONTRACT


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """One of each report, with what makes pages wide: long names, many columns, several cameras."""
    folder = tmp_path_factory.mktemp("reports")
    for name, bright in (("gate", (30, 60)), ("yard", (5, 25)), ("hall", (0, 0))):
        write_video(folder / f"{name}.mp4", 80, rate=10, gop=10, size=(64, 48), frame=blinking(bright))
    notes = Notes(Console(quiet=True))
    notes.warn(f"left out: {LONG}<b>broken</b>.mp4")
    recordings, _ = find_recordings([str(folder)], None, 1_700_000_000_000_000, SETTINGS.segments.limits, lambda: None)  # type: ignore[arg-type,return-value]
    session = Session(
        ReplayOptions((str(folder),), None, None, folder / "truth.csv", {}, "overlap", 0.0, (2, 10)),
        SETTINGS,
        tuple(recordings),
        (TruthRow("t", "gate", "bright", 3, 6), TruthRow("t", "hall", "bright", 1, 3)),
        Classifier(),  # type: ignore[arg-type]
        ScoringSetup(Classifier(), SPEC, threads=1),
        RULES,
        TraceStore(folder / "cache"),
        notes,
    )
    result = replay_and_judge(session, lambda: False)
    assert result is not None
    judgement = result.judgement
    found = tune(judgement.timelines, RULES, judgement.truth, by_overlap(0.1), 1.0)
    assert found is not None
    names = [str(folder / "gate.mp4"), str(folder / "yard.mp4")] * 2
    windows = WindowScores(
        ("normal", "fight"),
        np.array([0, 1, 1, 0]),
        tuple(np.array([row]) for row in ([0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.6, 0.4])),
        ("g1", "g2", "g2", "g1"),
        tuple(f"{LONG}{n}.mp4" for n in range(4)),
    )
    examples = [Example(Path(name), "fight", "g") for name in names]
    checkpoint = Checkpoint(folder / "m.safetensors", CONTRACT, "m-01234567")
    command = f"clipline replay {LONG} --report r.html"
    return {
        "replay": write_report(result.content, judgement, recordings, session.options.matcher, result.other, command),
        "tune": write_tune_report("Tuning of m", found, 1.0, notes.warnings, {"Footage": [LONG]}, command),
        "evaluate": write_evaluation(
            checkpoint, windows, evaluate(windows.by_clip(), windows), examples, notes.warnings, [LONG], command
        ),
    }


def test_every_report_says_what_it_is_how_it_was_made_and_what_came_of_it(pages: Mapping[str, str]):
    titles = {"replay": "Replay of 3 cameras by brightness", "tune": "Tuning of m", "evaluate": "Evaluation of m-"}
    verdicts = {
        "replay": "1 of 2 bright events found, 1 false alarm in 24 s of footage from 3 cameras; alert ",
        "tune": "bright: start ",
        "evaluate": "3 of 4 clips labelled correctly (75 %",
    }
    for name, page in pages.items():
        assert f"<h1>{titles[name]}" in page
        assert f'<p class="verdict">{verdicts[name]}' in page
        assert f"<code>clipline replay {LONG} --report r.html</code>" in page
        assert f"<li>left out: {LONG}&lt;b&gt;broken&lt;/b&gt;.mp4</li>" in page, "what the terminal warned of, escaped"
        assert page.index('class="warnings"') < page.index("<h2>")
        assert "://" not in page.replace("http://www.w3.org/", "").replace("file://", "")


def test_replay_shows_every_event_and_miss_in_pictures_with_their_times(pages: Mapping[str, str]):
    page = pages["replay"]
    assert page.count('<figure class="strip bad">') == 2  # the miss on hall, the false alarm on yard
    assert page.count('<figure class="strip good">') == 1
    assert page.count("data:image/jpeg;base64,") == 3 * 6
    assert "bright on hall, 1.0 s to 3.0 s" in page
    assert 'alt="bright on hall, 1.0 s to 3.0 s, at 1.0 s"' in page
    assert "2023-11-14 22:13:21 UTC" in page, "a date: the footage is not of today"
    assert "<h3>gate <small>8.0 s, begins 2023-11-14 22:13:20 UTC" in page


def test_counts_have_no_interval_and_rates_have_one_that_can_be(pages: Mapping[str, str]):
    page = pages["replay"]
    assert '<th scope="row">found</th><td>1</td><td class="whole"></td>' in page
    # One alarm in 24 s: exact Poisson 0.0253 to 5.57 of them; no alarm in some draws of files.
    assert '<th scope="row">false alarms per camera-hour</th><td>150</td><td class="whole">0 to 836</td>' in page
    # One of two: Clopper-Pearson.
    assert '<th scope="row">recall</th><td>0.5</td><td class="whole">0 to 1</td>' in page


MEASURE = """
const found = {}, frames = [...document.querySelectorAll("iframe")];
const measure = frame => {
  const page = frame.contentDocument, root = page.documentElement;
  const outside = e => !e.closest(".scroll") && e.getBoundingClientRect().right > root.clientWidth + 1;
  const wider = [...page.body.querySelectorAll("*")].filter(outside);
  const sortable = t => t.querySelector("th[aria-sort]") && t.tBodies[0].rows.length > 1;
  const table = [...page.querySelectorAll("table")].find(sortable);
  const texts = column => [...table.tBodies[0].rows].map(row => row.cells[column].textContent);
  const sorts = [];
  for (const column of [0, %s]) {
    const heading = table.tHead.rows[0].cells[column], button = heading.querySelector("button");
    for (let click = 0; click < 2; click++) {
      button.focus();
      const focused = page.activeElement === button;
      button.click();
      sorts.push({column, focused, aria: heading.getAttribute("aria-sort"), texts: texts(column)});
    }
  }
  const style = frame.contentWindow.getComputedStyle(page.body);
  const text = page.querySelector("svg text");
  found[frame.id] = {
    wide: root.scrollWidth, client: root.clientWidth, wider: wider.map(e => e.outerHTML.slice(0, 120)), sorts,
    background: style.backgroundColor, ink: text && frame.contentWindow.getComputedStyle(text).fill,
    scripts: page.querySelectorAll("script[src], link, img[src^=http]").length,
  };
};
window.onload = () => { frames.forEach(measure); document.querySelector("pre").textContent = JSON.stringify(found); };
"""


@pytest.fixture(scope="module", params=["light", "dark"])
def seen(request: pytest.FixtureRequest, pages: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a browser that prefers the scheme makes of every page at every width."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("needs Chromium")
    folder = tmp_path_factory.mktemp("browser")
    frames = "".join(
        f'<iframe id="{name}-{width}" style="width:{width}px;height:900px;border:0" srcdoc="{html.escape(page)}">'
        "</iframe>"
        for name, page in pages.items()
        for width in WIDTHS
    )
    (folder / "all.html").write_text(
        f'<!doctype html><meta charset="utf-8"><meta name="color-scheme" content="light dark"><pre></pre>{frames}'
        f"<script>{MEASURE % 1}</script>",
        "utf-8",
    )
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    options += ["--disable-background-networking", "--disable-component-update", f"--user-data-dir={folder / 'user'}"]
    options += [f"--blink-settings=preferredColorScheme={0 if request.param == 'dark' else 1}"]
    done = subprocess.run(
        [browser, *options, "--virtual-time-budget=5000", "--dump-dom", (folder / "all.html").as_uri()],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    text = done.stdout.split("<pre>", 1)[1].split("</pre>", 1)[0]
    return request.param, json.loads(html.unescape(text))


@pytest.mark.slow
def test_reports_fit_every_width_and_follow_the_preferred_colours(seen: Any):
    scheme, found = seen
    assert len(found) == 9
    for name, page in found.items():
        assert page["wide"] <= page["client"], name
        assert page["wider"] == [], name
        assert page["scripts"] == 0, "nothing comes from outside"
        assert page["background"] == ("rgb(20, 24, 29)" if scheme == "dark" else "rgb(255, 255, 255)")
        assert page["ink"] == ("rgb(228, 232, 236)" if scheme == "dark" else "rgb(28, 33, 38)")


@pytest.mark.slow
def test_tables_sort_by_names_and_by_figures_and_say_so(seen: Any):
    for name, page in seen[1].items():
        assert [s["aria"] for s in page["sorts"]] == ["ascending", "descending"] * 2, name
        assert all(s["focused"] for s in page["sorts"]), "a keyboard reaches the headings"
        up, down, *_ = (s["texts"] for s in page["sorts"])
        assert up == sorted(up)
        assert down == sorted(up, reverse=True)
    replayed = seen[1]["replay-390"]["sorts"]
    assert [s["texts"] for s in replayed] == [
        ["gate", "hall", "yard"],
        ["yard", "hall", "gate"],
        ["0", "1", "1"],
        ["1", "1", "0"],
    ]


def test_film_of_many_examples_is_read_once_and_a_long_example_is_shown_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    film = write_video(tmp_path / "a.mp4", 200, rate=10, gop=10, size=(64, 48), frame=blinking((30, 60)))
    opened: list[str] = []

    class Counted(Feed):
        def __init__(self, uri: str, *rest: Any) -> None:
            opened.append(uri)
            super().__init__(uri, *rest)

    monkeypatch.setattr(sampling, "Feed", Counted)
    examples = [Example(film, "fight", "g", start, end) for start, end in ((15, 17), (0, None), (3, 4), (9.5, 11))]
    windows = WindowScores(
        ("normal", "fight"),
        np.array([0, 1, 1, 0]),
        tuple(np.array([[0.5 + n / 10, 0.5 - n / 10]]) for n in range(4)),
        tuple("abcd"),
        tuple(f"{n}.mp4" for n in range(4)),
    )
    checkpoint = Checkpoint(tmp_path / "m.safetensors", CONTRACT, "m-01234567")
    page = write_evaluation(checkpoint, windows, evaluate(windows.by_clip(), windows), examples)
    assert opened == [str(film)]
    times = [re.findall(r"at ([\d.]+) s", strip) for strip in page.split("<figure")[1:]]
    # Ordered as the page is: mistakes first. Of the whole film 100 pictures are taken, and 25 of them held.
    shown = [strip for strip in times if strip]
    assert ["15.0", "15.4", "15.8", "16.0", "16.4", "16.8"] in shown
    assert ["3.0", "3.2", "3.4", "3.4", "3.6", "3.8"] in shown
    assert ["0.0", "4.0", "8.0", "11.2", "15.2", "19.2"] in shown


def test_plots_are_drawn_in_the_colours_of_the_page():
    plot = draw("Two <lines>", lambda axes: [axes.plot([0, 1], color=colour) for colour in (GOOD, SERIES[0])])  # type: ignore[func-returns-value]
    assert 'aria-label="Two &lt;lines&gt;"' in plot.svg
    assert {"var(--good)", "var(--series-1)", "var(--ink)"} <= {
        part.split(")")[0] + ")" for part in plot.svg.replace("var(", "\nvar(").splitlines()
    }
    assert "#0001" not in plot.svg
    assert "#0002" not in plot.svg


def test_figures_have_three_digits_and_an_interval_of_width_zero_is_none():
    assert [figure_text(v) for v in (None, float("nan"), 0.0943, 33.33, 2396.5, 1)] == [
        *("–", "–", "0.094", "33.3", "2396", "1"),
    ]
    assert interval_text(0.16, 1) == "0.16 to 1"
    assert interval_text(1, 1) == interval_text(None, 1) == interval_text(float("nan"), float("nan")) == ""
