"""`clipline replay` and its sisters as a user meets them: a process, its output, its files, its exit code."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.checkpoints import write_checkpoint
from tests.command_line import clipline
from tests.replays import blinking
from tests.videos import write_video

TOP_LEVEL = (
    *("footage_seconds", "times_realtime", "truth_events", "detected", "misses", "false_alarms"),
    *("false_alarms_per_hour", "time_to_alert_p50", "time_to_alert_p95", "events"),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cameras of twelve seconds, a model that always alarms, and a truth."""
    folder = tmp_path_factory.mktemp("replay")
    (folder / "in").mkdir()
    for name, bright in (("gate", (40, 80)), ("hall", (10, 20))):
        write_video(folder / "in" / f"{name}.mp4", 120, rate=10, gop=10, size=(64, 48), frame=blinking(bright))
    write_checkpoint(folder / "m.safetensors", always="fight")
    (folder / "truth.csv").write_text("camera,label,start,end\ngate,fight,4,8\n")
    return folder


def replay(place: Path, *arguments: object, **environment: str):
    return clipline(
        "replay",
        place / "in",
        "--model",
        place / "m.safetensors",
        "--engine",
        "torch",
        *arguments,
        XDG_CACHE_HOME=str(place / "cache"),
        **environment,
    )


def test_replay_tells_what_was_found_and_missed_and_writes_it_as_json(place: Path):
    result = replay(place, "--labels", place / "truth.csv", "--json", place / "figures.json")
    assert result.returncode == 0, result.stderr
    assert "false alarm" in result.stdout
    assert "classifying: 24 of 24 s" in result.stderr
    figures = json.loads((place / "figures.json").read_text())
    assert set(TOP_LEVEL) <= set(figures)
    assert figures["footage_seconds"] == 24
    assert (figures["truth_events"], figures["detected"], figures["misses"], figures["false_alarms"]) == (1, 1, 0, 1)
    assert figures["false_alarms_per_hour"] == pytest.approx(3600 / 24)
    # The label holds from the first window on, and the segment that completes the starting one ends at 2 or 3 s.
    assert -2.1 <= figures["time_to_alert_p50"] <= -1
    gate, hall = figures["events"]
    assert (gate["camera"], gate["outcome"], gate["truth"]) == ("gate", "detected", 0)
    assert (hall["camera"], hall["outcome"], hall["time_to_alert"]) == ("hall", "false_alarm", None)
    assert figures["truth"][0]["event"] == gate["event"]


def test_gate_fails_with_the_figure_and_passes_without_a_word(place: Path):
    condition = "misses>0 or false_alarms_per_hour>100"
    failed = replay(place, "--labels", place / "truth.csv", "--fail-if", condition)
    assert failed.returncode == 1
    assert "false_alarms_per_hour > 100: false_alarms_per_hour is 150" in failed.stderr
    passed = replay(place, "--labels", place / "truth.csv", "--fail-if", "misses>0 or false_alarms_per_hour>200")
    assert passed.returncode == 0
    assert "--fail-if" not in passed.stderr


def test_gate_does_not_pass_because_no_truth_is_left(place: Path):
    (place / "misspelt.csv").write_text("camera,label,start,end\ngate,fihgt,4,8\n")
    refused = replay(place, "--labels", place / "misspelt.csv", "--fail-if", "misses>0")
    assert refused.returncode == 2
    assert "none of the labels of truth (fihgt) is one of them; did you mean --map 'fihgt=fight'?" in refused.stderr
    (place / "misspelt.csv").write_text("camera,label,start,end\ngate,fihgt,4,8\ngate,normal,0,3\n")
    result = replay(
        place, "--labels", place / "misspelt.csv", "--fail-if", "misses>0", "--json", place / "misspelt.json"
    )
    assert result.returncode == 1
    assert "1 row of truth left out" in result.stderr
    assert "this model raises events only for \"fight\", not for 'fihgt'" in result.stderr
    assert "misses > 0: misses is not known" in result.stderr
    # Nor is the time of those rows said to be quiet.
    figures = json.loads((place / "misspelt.json").read_text())
    assert 0 < figures["clips"]["clips"] < figures["windows"]
    (place / "empty.csv").write_text("camera,label,start,end\n")
    quiet = replay(place, "--labels", place / "empty.csv", "--fail-if", "false_alarms>9", "--json", place / "e.json")
    assert quiet.returncode == 0
    figures = json.loads((place / "e.json").read_text())
    assert figures["clips"]["clips"] == figures["windows"]


@pytest.mark.slow
def test_replay_through_a_real_broker_says_the_same(place: Path):
    direct = replay(place, "--start", "2026-11-24T08:00:00Z", "--json", place / "direct.json", "--no-resume")
    kafka = replay(place, "--start", "2026-11-24T08:00:00Z", "--json", place / "kafka.json", "--through-kafka")
    assert (direct.returncode, kafka.returncode) == (0, 0), kafka.stderr
    first, second = (json.loads((place / f"{name}.json").read_text()) for name in ("direct", "kafka"))
    assert first["events"] == second["events"] != []
    assert first["windows"] == second["windows"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--fail-if", "events>1 and mises>2"], "unknown figure 'mises'; known are events, footage_seconds"),
        (["--fail-if", "misses>2"], "unknown figure 'misses'"),  # without truth there are none
        (["--labels", "/no/such.csv"], "/no/such.csv: no such file of truth"),
        (["--labels", "BAD"], "line 2: 'gaet' is neither a camera nor a file of this footage; did you mean 'gate'?"),
        (["--model", "nope"], "unknown model 'nope'"),
        (["--stride", "0.3"], "worker.stride_seconds"),
        (["--camera", "a b"], "camera"),
        (["--match", "onset", "--onset-window", "-1", "3"], "--onset-window -1 3: expected seconds before and after"),
        (["--map", "fight"], "expected OLD=NEW"),
        (["--start", "yesterday"], "'yesterday' is neither"),
        (["--json", "/proc/no/such.json"], "/proc/no/such.json: cannot be written"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_said_in_one_line_with_exit_code_2(place: Path, arguments: list[str], words: str):
    (place / "bad.csv").write_text("camera,label,start,end\ngaet,fight,1,2\n")
    result = replay(place, *(str(place / "bad.csv") if a == "BAD" else a for a in arguments))
    assert result.returncode == 2, result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("clipline:")]
    assert len(errors) == 1, result.stderr
    assert words in errors[0]


def test_results_that_cannot_be_kept_are_an_error_that_says_what_to_do(place: Path, tmp_path: Path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    result = clipline(
        "replay", place / "in", "--model", place / "m.safetensors", "--engine", "torch", XDG_CACHE_HOME=str(blocked)
    )
    assert result.returncode == 2
    assert "cannot be made, to keep predictions in" in result.stderr
    assert os.environ.get("XDG_CACHE_HOME") != str(blocked)


def test_report_is_one_page_that_asks_for_nothing_else(place: Path):
    result = replay(place, "--labels", place / "truth.csv", "--report", place / "report.html")
    assert result.returncode == 0, result.stderr
    page = (place / "report.html").read_text()
    assert page.count("<svg") == 3  # two timelines, misses against false alarms
    assert page.count('<figure class="strip bad">') == 1  # the false alarm on hall
    assert page.count('<figure class="strip good">') == 1  # the event on gate
    assert "fight on hall, 0.0 s to" in page
    assert "1 of 1 fight event found, 1 false alarm in 24 s of footage from 2 cameras; alert" in page
    assert not re.search(r'(src|href)="(?!data:|file:|#)', page), "nothing outside the file is needed"
    assert "<link" not in page


def test_what_cameras_of_a_group_see_at_once_is_one_incident(place: Path):
    (place / "yard.toml").write_text('[[rules]]\ngroup = "yard"\n')
    figures: dict[str, dict[str, Any]] = {}
    for name, options in (("alone", ()), ("yard", ("--settings", place / "yard.toml"))):
        result = replay(place, "--labels", place / "truth.csv", "--json", place / f"{name}.json", *options)
        assert result.returncode == 0, result.stderr
        figures[name] = json.loads((place / f"{name}.json").read_text())
    assert "2 events of cameras in groups are 1 incident." in result.stdout
    (incident,) = figures["yard"]["incidents"]
    assert (incident["cameras"], incident["outcome"]) == (["gate", "hall"], "detected")
    assert sorted(incident["events"]) == sorted(each["event"] for each in figures["yard"]["events"])
    # The events are what they were.
    assert figures["alone"]["incidents"] == []
    assert [e["event"] for e in figures["alone"]["events"]] == [e["event"] for e in figures["yard"]["events"]]


@pytest.mark.slow
def test_second_model_is_compared_on_the_same_footage(place: Path):
    write_checkpoint(place / "other.safetensors", always="fight", frames=8, spacing_seconds=0.2)
    result = replay(
        place,
        "--labels",
        place / "truth.csv",
        "--against",
        place / "other.safetensors",
        "--json",
        place / "against.json",
        "--report",
        place / "against.html",
    )
    assert result.returncode == 0, result.stderr
    assert "Only the first finds 0 true events, only the second 0" in result.stdout
    figures = json.loads((place / "against.json").read_text())
    assert figures["against"]["model"].startswith("other-")
    assert figures["against"]["paired"]["difference"] == {"recall": 0, "false_alarms_per_hour": 0}
    assert "Against other-" in (place / "against.html").read_text()
    alone = replay(place, "--against", place / "other.safetensors")
    assert alone.returncode == 2
    assert "--against needs --labels" in alone.stderr


@pytest.mark.slow
def test_second_model_has_its_own_thresholds_and_the_settings_are_for_the_first(place: Path):
    """They may name a label that the second lacks."""
    write_checkpoint(place / "calm.safetensors", always="fight", labels=("calm", "fight"))
    result = replay(
        place,
        *("--labels", place / "truth.csv", "--against", place / "calm.safetensors", "--json", place / "own.json"),
        CLIPLINE_TRACKER__LABELS__NORMAL__START="1",
        CLIPLINE_TRACKER__LABELS__FIGHT__START="1",
        CLIPLINE_TRACKER__LABELS__FIGHT__SMOOTHING="2",
        CLIPLINE_TRACKER__UPDATE_SECONDS="7",
    )
    assert result.returncode == 0, result.stderr
    figures = json.loads((place / "own.json").read_text())
    shared = {
        "min_seconds": 2,
        "cooldown_seconds": 5,
        "update_seconds": 7,
        "severity": "alert",
        "escalate_after_seconds": None,
        "group": None,
        "merge_seconds": 30.0,
        "schedule": None,
    }
    # The second model goes by its own thresholds, which are of no version.
    first, second = ([rule.pop("version") for rule in side["rules"].values()] for side in (figures, figures["against"]))
    assert (len(set(first)), len(first[0]), second) == (1, 12, [None])
    assert figures["rules"] == {
        "normal": {"start": 1, "end": 0.5, "smoothing": 1, **shared},
        "fight": {"start": 1, "end": 0, "smoothing": 2, **shared},
    }
    assert figures["against"]["rules"] == {"fight": {"start": 0, "end": 0, "smoothing": 1, **shared}}
    assert (figures["detected"], figures["against"]["detected"]) == (0, 1)


def test_events_are_exported_as_actev_scorer_takes_them(place: Path):
    result = replay(
        place, "--labels", place / "truth.csv", "--actev", place / "actev", "--json", place / "with-actev.json"
    )
    assert result.returncode == 0, result.stderr
    events = json.loads((place / "with-actev.json").read_text())["events"]
    files = {path.name: json.loads(path.read_text()) for path in (place / "actev").iterdir()}
    assert set(files) == {"system.json", "reference.json", "activity-index.json", "file-index.json"}
    assert files["reference.json"]["filesProcessed"] == ["gate", "hall"]
    (true,) = files["reference.json"]["activities"]
    # 4 s to 8 s, in frames of 1/30 s counted from 1.
    assert (true["activity"], true["localization"]) == ("fight", {"gate": {"121": 1, "241": 0}})
    first = files["system.json"]["activities"][0]
    assert first["localization"] == {"gate": {"1": 1, str(round(events[0]["end_seconds"] * 30) + 1): 0}}
    assert first["alertFrame"] == round(events[0]["alert_seconds"] * 30) + 1
    assert 0 < first["presenceConf"] <= 1
    assert files["file-index.json"]["hall"] == {"framerate": 30, "selected": {"1": 1, "361": 0}}
    assert files["activity-index.json"] == {"fight": {}}
