"""A long tape of real footage with a truth that is known, replayed end to end, its report opened in a real browser."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests.command_line import clipline

RATE, SIZE = 10, (384, 288)
#: Seconds of courtyard between what happens.
BETWEEN = 8
#: Clips are two seconds long: three of one kind make something that happens.
JOINED = 3


def pictures(path: Path) -> Iterator[np.ndarray]:
    """The file's frames at ten a second, resized."""
    with av.open(str(path)) as container:
        wanted = 0.0
        for frame in container.decode(video=0):
            while frame.time is not None and frame.time >= wanted - 1e-6:
                yield frame.reformat(*SIZE, format="rgb24").to_ndarray()
                wanted += 1 / RATE


def write_tape(data: Path, tape: Path, truth: Path, rounds: int) -> list[tuple[str, float, float]]:
    """Courtyard, a fight, courtyard, no fight, and so on; return what happens and when, in seconds."""
    with (data / "surveillance-fight" / "labels.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    by_label = {
        label: [
            data / "surveillance-fight" / r["path"] if not (data / r["path"]).is_file() else data / r["path"]
            for r in rows
            if r["label"] == label
        ]
        for label in ("fight", "nofight")
    }
    courtyard = pictures(data / "footage" / "vtest.avi")
    happened, at = [], 0
    with av.open(str(tape), "w") as out:
        stream = out.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.gop_size = 2 * RATE
        stream.options = {"preset": "ultrafast", "bf": "0"}
        out.metadata["creation_time"] = "2026-11-24T08:00:00Z"

        def write(images: Iterator[np.ndarray]) -> None:
            nonlocal at
            for image in images:
                frame = av.VideoFrame.from_ndarray(image, "rgb24")
                frame.pts, frame.time_base = at, Fraction(1, RATE)
                out.mux(stream.encode(frame))
                at += 1

        for number in range(rounds):
            for label in ("fight", "nofight"):
                write(islice(courtyard, BETWEEN * RATE))
                begun = at / RATE
                for path in by_label[label][number * 20 :: 7][:JOINED]:
                    write(pictures(path))
                if label == "fight":
                    happened.append((label, begun, at / RATE))
        write(islice(courtyard, BETWEEN * RATE))
        out.mux(stream.encode(None))
    with truth.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["camera_or_file", "label", "start", "end"])
        writer.writerows((tape.name, *row) for row in happened)
    return happened


@pytest.mark.slow
def test_tape_is_replayed_end_to_end_and_its_report_opens_in_a_browser(shared_data: Path, tmp_path: Path):
    happened = write_tape(shared_data, tmp_path / "tape.mp4", tmp_path / "truth.csv", rounds=4)
    assert len(happened) == 4
    result = clipline(
        "replay",
        tmp_path / "tape.mp4",
        "--labels",
        tmp_path / "truth.csv",
        "--against",
        "cnn-lstm",
        "--json",
        tmp_path / "figures.json",
        "--report",
        tmp_path / "report.html",
        XDG_CACHE_HOME=str(tmp_path / "cache"),
    )
    assert result.returncode == 0, result.stderr
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["footage_seconds"] == pytest.approx(happened[-1][2] + 2 * BETWEEN, abs=10)
    assert figures["truth_events"] == 4 == figures["detected"] + figures["misses"]
    assert figures["events"], "a model of fights that sees nothing on this tape is of no use to the report"
    for event in figures["events"]:
        # Known at the end of a segment: never before the event has lasted, and not much later.
        assert 2.0 - 1e-6 <= event["alert_seconds"] - event["start_seconds"] <= 2.0 + 1.6 + 2.0
    page = (tmp_path / "report.html").read_text()
    paired = figures["against"]["paired"]
    pictures_of = [figures["misses"], figures["false_alarms"], figures["detected"], figures["against"]["false_alarms"]]
    pictures_of += [len(paired["only_first"]), len(paired["only_second"])]
    strips = page.count('<figure class="strip')
    assert strips == sum(min(40, count) for count in pictures_of)
    assert page.count("data:image/jpeg;base64,") == 6 * strips
    assert f"Against {figures['against']['model']}" in page
    assert "events of the second" in page
    assert page.count("tape.mp4#t=") == strips
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("the tape was replayed; its report is not looked at, for there is no Chromium here")
    subprocess.run(
        [
            browser,
            "--no-sandbox",
            "--headless",
            "--disable-gpu",
            "--disable-background-networking",
            "--no-first-run",
            f"--user-data-dir={tmp_path / 'browser'}",
            "--window-size=1100,4000",
            f"--screenshot={tmp_path / 'report.png'}",
            (tmp_path / "report.html").as_uri(),
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    shown = np.asarray(Image.open(io.BytesIO((tmp_path / "report.png").read_bytes())).convert("RGB"))
    assert shown.shape[0] == 4000
    ink = (shown < 200).any(axis=2)
    assert ink[:200].any(), "no heading"
    assert ink.mean() > 0.01, "the page is all but empty"
    # The bars of truth: the style sheet's green where found, its red where missed.
    colours = {"green": (26, 127, 55), "red": (192, 38, 45)}
    seen = {name for name, rgb in colours.items() if (np.abs(shown.astype(int) - rgb).max(axis=2) < 12).sum() > 50}
    assert seen, "no bar on the timeline"
