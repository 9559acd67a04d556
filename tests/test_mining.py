"""Footage in which a model alarmed wrongly becomes a list to train on: those seconds, no others, and nothing true."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from consumers.learning.footage.datasets import find_examples
from consumers.replaying.judging.judgement import judge_events
from consumers.replaying.judging.metrics import by_overlap
from consumers.replaying.judging.placing import TrueEvent
from consumers.replaying.mining import Mined, false_alarms
from consumers.replaying.trace import Timeline
from consumers.rules.rule import Rule
from tests.checkpoints import write_checkpoint
from tests.command_line import clipline
from tests.test_tune import timeline
from tests.videos import write_video

SECOND = 1_000_000
RULES = {"fight": Rule(start=0.5, end=0.4, min_seconds=2.0, cooldown_seconds=0.0, update_seconds=60.0)}


def mined(scores: list[float], *truth: tuple[str, float, float]) -> list[tuple[float, float]]:
    """Where alarms of these scores, one a second, are mined; the truth is (label, start, end) in s."""
    camera = timeline("gate", scores)
    happening = [TrueEvent("gate", label, round(a * SECOND), round(b * SECOND), "t") for label, a, b in truth]
    of_rules = [event for event in happening if event.label in RULES]
    found = false_alarms(judge_events([camera], RULES, of_rules, by_overlap(0)), happening)
    return [(m.start, m.end) for m in found]


CALM, ALARM = [0.1] * 5, [0.9] * 5


def test_alarms_without_an_event_are_mined_and_those_with_one_are_not():
    # Windows of 2 s begin each second: 5 to 9 and 15 to 19 alarm.
    scores = [*CALM, *ALARM, *CALM, *ALARM, *CALM]
    assert mined(scores) == [(5.0, 11.0), (15.0, 21.0)]
    assert mined(scores, ("fight", 5, 9)) == [(15.0, 21.0)]


def test_nothing_true_is_taught_as_quiet_whatever_its_label():
    """A fall that alarms as a fight is a false alarm, and yet no calm footage."""
    scores = [*CALM, *ALARM, *CALM]
    assert mined(scores, ("fall", 7, 9)) == [(5.0, 7.0), (9.0, 11.0)]
    assert mined(scores, ("fall", 0, 60)) == []


def test_a_second_alarm_of_one_event_is_mined_only_where_the_event_is_over():
    scores = [*CALM, *ALARM, 0.1, 0.1, *ALARM, *CALM]
    assert mined(scores, ("fight", 5, 14)) == [(14.0, 18.0)]


def test_alarms_are_told_by_file_and_with_their_scores():
    one, two = timeline("gate", [*CALM, *ALARM]), timeline("door", [*CALM, *[0.7] * 5])
    found = false_alarms(judge_events([one, two], RULES, [], by_overlap(0)), [])
    assert found == [
        Mined("gate.mp4", "gate", 5.0, 11.0, "fight", 0.9),
        Mined("door.mp4", "door", 5.0, 11.0, "fight", 0.7),
    ]


def test_an_alarm_over_the_end_of_a_file_is_told_of_both():
    first, second = timeline("gate", [*CALM, *ALARM]).pieces[0], timeline("gate", [*ALARM, *CALM]).pieces[0]
    later = replace(second, name="next.mp4", begin_us=first.end_us)
    both = Timeline("gate", [first, later])
    found = false_alarms(judge_events([both], RULES, [], by_overlap(0)), [])
    assert {(m.file, m.start, m.end) for m in found} == {("gate.mp4", 5.0, 11.0), ("next.mp4", 0.0, 6.0)}


def asked(tmp_path: Path, *more: object):
    return clipline(
        *("mine", tmp_path / "footage", "--labels", tmp_path / "truth.csv", "-o", tmp_path / "mined.csv"),
        *("--model", tmp_path / "m.safetensors", "--engine", "torch", *more),
        XDG_CACHE_HOME=str(tmp_path / "cache"),
    )


@pytest.fixture
def footage(tmp_path: Path) -> Path:
    (tmp_path / "footage").mkdir()
    for name in ("gate", "door"):
        write_video(tmp_path / "footage" / f"{name}.mp4", 60, rate=10, gop=10, size=(64, 48))
    write_checkpoint(tmp_path / "m.safetensors", always="fight")
    (tmp_path / "truth.csv").write_text("camera,label,start,end\ngate,fight,0,60\n")
    return tmp_path


def test_command_writes_a_list_that_training_takes(footage: Path):
    done = asked(footage)
    assert done.returncode == 0, done.stderr
    assert "to be taught as 'normal'" in done.stdout
    rows = list(csv.DictReader((footage / "mined.csv").read_text().splitlines()))
    assert [(row["path"], row["group"], row["alarm"]) for row in rows] == [("footage/door.mp4", "door", "fight")]
    (example,) = find_examples(footage / "mined.csv", {})
    assert (example.label, example.is_grouped) == ("normal", True)
    assert 0 <= example.start_seconds < 1
    assert example.end_seconds is not None
    assert 4 < example.end_seconds <= 6


def test_no_false_alarm_gives_a_list_of_nothing(footage: Path):
    (footage / "truth.csv").write_text("camera,label,start,end\ngate,fight,0,60\ndoor,fight,0,60\n")
    done = asked(footage)
    assert done.returncode == 0
    assert "0 intervals of 0 files" in done.stdout
    assert (footage / "mined.csv").read_text() == "path,label,start,end,group,alarm,score\n"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--as", "fight"], "--as 'fight': it raises events"),
        (["-o", "/proc/mined.csv"], "/proc/mined.csv: cannot be written"),
    ],
)
def test_what_cannot_be_mined_is_said(footage: Path, more: list[str], message: str):
    done = asked(footage, *more)
    assert done.returncode == 2
    assert message in done.stderr
