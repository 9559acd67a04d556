"""Sweeps over kept predictions: what they find, that they keep to a budget, and that nothing is decoded for them."""

from __future__ import annotations

import io
import threading
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from consumers.replaying.errors import ReplayError
from consumers.replaying.judging.metrics import by_overlap
from consumers.replaying.judging.placing import TrueEvent
from consumers.replaying.session import INTERRUPTED, ReplayOptions
from consumers.replaying.trace import PlacedTrace, Timeline, Trace
from consumers.replaying.tuning import command as tune_command
from consumers.replaying.tuning import search
from consumers.replaying.tuning.advice import settings_rows
from consumers.replaying.tuning.command import parse_budget, print_settings, settings_text
from consumers.replaying.tuning.report import write_tune_report
from consumers.replaying.tuning.search import TunedLabel, per_day, per_day_bound, sweep_start, tune
from consumers.rules.rule import Rule
from consumers.rules.rule_set import tracker_rules
from consumers.settings import Settings, load_settings, override
from stream import ClipSpec
from tests.checkpoints import contract, write_checkpoint
from tests.command_line import clipline
from tests.replays import blinking
from tests.videos import write_video

SECOND = 1_000_000
RULE = Rule(start=0.5, end=0.3, min_seconds=2.0, cooldown_seconds=5.0, update_seconds=7.0)


def timeline(camera: str, scores: list[float]) -> Timeline:
    """A window of two seconds every second."""
    count = len(scores)
    starts = np.arange(count) * SECOND
    places = np.stack(
        [np.zeros(count, int), np.arange(count), starts, starts + 2 * SECOND, starts + 2 * SECOND], axis=1
    )
    rows = np.stack([1 - np.array(scores), scores], axis=1)
    span = np.array([[0, (count + 1) * SECOND]])
    trace = Trace("m", ("normal", "fight"), places, rows, np.array([count]), span, 10 * count, 0)
    return Timeline(camera, [PlacedTrace(f"{camera}.mp4", 0, trace)])


def noisy(camera: str, seed: int, *, event_score: float) -> tuple[Timeline, list[TrueEvent]]:
    """Two minutes with two events; noise with lone peaks that are as high as the events, yet short."""
    generator = np.random.default_rng(seed)
    scores = generator.uniform(0.0, 0.3, 120)
    for at in (20, 70):
        scores[at : at + 12] = event_score
    for at in (10, 45, 55, 100):
        scores[at] = 0.95
    truth = [TrueEvent(camera, "fight", at * SECOND, (at + 13) * SECOND, "t") for at in (20, 70)]
    return timeline(camera, scores.tolist()), truth


@pytest.fixture(scope="module")
def tuned() -> TunedLabel:
    timelines, truth = zip(*(noisy(f"c{n}", n, event_score=0.45) for n in range(5)), strict=True)
    rows = [t for events in truth for t in events]
    (found,) = tune(timelines, {"fight": RULE}, rows, by_overlap(0.1), budget_per_day=1.0) or ()
    return found


def test_settings_are_found_that_find_everything_without_a_false_alarm(tuned: TunedLabel):
    before, after = tuned.before.counts(tuned.files), tuned.chosen.counts(tuned.files)
    assert (before.detected, before.false_alarms) == (0, 20)
    assert (after.detected, after.false_alarms) == (10, 0)
    assert tuned.within
    assert tuned.chosen.rule.start <= 0.45
    assert tuned.chosen.rule.smoothing > 1 or tuned.chosen.rule.min_seconds > 2


def test_files_that_were_held_out_are_judged_by_settings_chosen_without_them(tuned: TunedLabel):
    assert tuned.held_out is not None
    assert tuned.held_out.truth == 10
    assert tuned.held_out.seconds == pytest.approx(5 * 121)
    assert tuned.held_out.detected >= 8
    assert "finds 10 of 10 true events with 0 false alarms in 10 min" in told([tuned])
    assert f"; held out, {tuned.held_out.detected} with {tuned.held_out.false_alarms}." in told([tuned])


@pytest.mark.slow
def test_held_out_figures_do_not_flatter_settings_that_fit_one_file():
    """One file's events are weaker than all others': settings that a search without it finds miss them."""
    made = [noisy(f"c{n}", n, event_score=0.8) for n in range(4)] + [noisy("odd", 9, event_score=0.45)]
    timelines, truth = zip(*made, strict=True)
    rows = [t for events in truth for t in events]
    (found,) = tune(timelines, {"fight": RULE}, rows, by_overlap(0.1), budget_per_day=1.0) or []
    assert found.chosen.counts(found.files).detected == 10
    assert found.held_out is not None
    assert found.held_out.detected <= 8, "the odd file's events at least are missed"


def test_budget_that_nothing_keeps_to_gives_the_fewest_false_alarms_and_says_so():
    # Whatever the settings, all that scores 1 is an alarm of which no truth knows; the rest need not be.
    (found,) = (
        tune(
            [timeline("a", [1.0] * 60 + [0.1] * 60 + [0.7] * 30 + [0.1] * 60)],
            {"fight": RULE},
            [],
            by_overlap(0.1),
            budget_per_day=10.0,
        )
        or ()
    )
    assert found.before.counts(found.files).false_alarms == 2
    assert found.chosen.counts(found.files).false_alarms == 1
    assert not found.within
    assert "fight: no setting keeps to 10 false alarms per camera-day; this is the one with the fewest." in told(
        [found]
    )


def told(found: list[TunedLabel]) -> str:
    """What the command prints, on one line."""
    out = Console(file=io.StringIO(), width=200)
    print_settings(out, found)
    assert isinstance(out.file, io.StringIO)
    return " ".join(out.file.getvalue().split())


def test_labels_are_told_against_their_own_share_of_the_budget():
    loud, quiet = timeline("a", [1.0] * 600), timeline("a", [0.1] * 600)
    trace = replace(
        quiet.pieces[0].trace,
        labels=("normal", "fight", "fall"),
        scores=np.hstack([quiet.pieces[0].trace.scores, loud.pieces[0].trace.scores[:, 1:]]),
    )
    both = Timeline("a", [replace(quiet.pieces[0], trace=trace)])
    # One alarm of `fall` in 601 s is 144 a day; none of `fight` is compatible with up to 431.
    fight, fall = tune([both], {"fight": RULE, "fall": RULE}, [], by_overlap(0.1), budget_per_day=200) or ()
    assert (fight.budget, fall.budget, fight.within, fall.within) == (100, 100, True, False)
    assert "fall: no setting keeps to 100 false alarms per camera-day" in told([fight, fall])
    page = write_tune_report("Tuning of m", [fight, fall], 200)
    assert "100 of each label" in page
    assert "fall: no setting keeps to 100 false alarms per camera-day" in page
    fight, fall = tune([both], {"fight": RULE, "fall": RULE}, [], by_overlap(0.1), budget_per_day=600) or ()
    words = "fight: nothing shows what these settings do on other footage"
    assert words in told([fight])
    assert words in write_tune_report("Tuning of m", [fight, fall], 600)


def peaks(*heights: float) -> list[float]:
    """Two minutes in which something scores so high for ten seconds each, the first after 30 s."""
    scores = [0.1] * 120
    for number, height in enumerate(heights, start=1):
        scores[30 * number : 30 * number + 10] = [height] * 10
    return scores


def test_what_a_rate_may_be_is_said_of_files_that_had_no_part_in_the_choice():
    """Two quiet files: 0 false alarms in 242 s are compatible with up to 3 / 242 s."""
    quiet = [timeline(name, peaks()) for name in "ab"]
    (found,) = tune(quiet, {"fight": RULE}, [], by_overlap(0.1), budget_per_day=1000) or ()
    words = "0 false alarms in held-out files are compatible with up to 1070 per camera-day (95 %)."
    assert words in told([found])
    assert words in write_tune_report("Tuning of m", [found], 1000)


@pytest.mark.slow
def test_settings_that_keep_to_the_budget_only_where_they_were_chosen_are_told():
    """A threshold above the peaks of the loud file misses an event of another; without that file, it is lower."""
    files = [timeline("a", peaks(0.95)), timeline("b", peaks(0.6)), timeline("loud", peaks(0.7, 0.7, 0.7))]
    truth = [TrueEvent(camera, "fight", 30 * SECOND, 41 * SECOND, "t") for camera in "ab"]
    (found,) = tune(files, {"fight": RULE}, truth, by_overlap(0.1), budget_per_day=1) or ()
    assert found.within
    assert found.chosen.counts(found.files).false_alarms == 0
    assert found.held_out is not None
    assert found.held_out.false_alarms == 3
    assert "fight: on held-out files, settings chosen alike exceed 1 per camera-day" in told([found])
    rows = {row["name"]: row["interval"] for row in settings_rows([found])}
    assert rows["tuned"] == "", "chosen for having few false alarms here: no interval"
    assert rows["now"]
    assert rows["tuned, held out"]


@pytest.mark.slow
def test_file_that_is_held_out_has_no_say_in_which_settings_are_tried():
    """What scores and labels its events have changes its own counts, and not the settings that it is judged by."""
    files, truth = zip(*(noisy(f"c{n}", n, event_score=0.45) for n in range(3)), strict=True)
    rows = [t for events in truth for t in events]

    def judged_by(last: Timeline, events: list[TrueEvent]) -> list[Rule]:
        chosen: list[Rule] = []
        real = search._search

        def noting(trials, files, budget, rule):
            found = real(trials, files, budget, rule)
            if 2 not in files:
                chosen.append(found[0].rule)
                chosen.extend(trial.rule for trial in found[1])
            return found

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(search, "_search", noting)
            tune([*files[:2], last], {"fight": RULE}, events, by_overlap(0.1), budget_per_day=1.0)
        return chosen

    before = judged_by(files[2], rows)
    other, _ = noisy("c2", 77, event_score=0.93)
    after = judged_by(other, [t for t in rows if t.camera != "c2"])
    assert len(before) > 100
    assert after == before


def test_sweep_ends_where_it_is_asked_to():
    one, truth = noisy("a", 1, event_score=0.6)
    done: list[int] = []
    found = tune(
        [one],
        {"fight": RULE},
        truth,
        by_overlap(0.1),
        1.0,
        lambda _, count, __: done.append(count),
        lambda: len(done) >= 3,
    )
    assert found is None
    assert done == [1, 2, 3]


def test_sweep_of_the_start_threshold_is_over_everything_from_all_alarms_to_none():
    one, truth = noisy("a", 1, event_score=0.6)
    trials = sweep_start([one], "fight", RULE, truth, by_overlap(0))
    starts = [t.rule.start for t in trials]
    assert starts == sorted(starts)
    assert RULE in [t.rule for t in trials]
    counts = [t.counts([0]) for t in trials]
    assert counts[0].detections > counts[-1].detections
    assert max(c.detected for c in counts) == 2


def test_event_that_begins_in_another_file_than_its_truth_is_no_miss_of_one_and_no_find_of_the_other():
    first, second = timeline("a", [0.1] * 19), timeline("a", [0.9] * 10 + [0.1] * 10)
    joined = Timeline("a", [first.pieces[0], replace(second.pieces[0], begin_us=20 * SECOND)])
    truth = [TrueEvent("a", "fight", 18 * SECOND, 30 * SECOND, "t")]
    (trial,) = (t for t in sweep_start([joined], "fight", RULE, truth, by_overlap(0.1)) if t.rule == RULE)
    by_file = [trial.counts([file]) for file in (0, 1)]
    assert [(c.truth, c.detected, c.misses, c.false_alarms) for c in by_file] == [(1, 1, 0, 0), (0, 0, 0, 0)]
    assert by_file[0].alerts == (4.0,)


def test_rates_are_by_camera_day_and_their_bound_is_exact():
    one, truth = noisy("a", 1, event_score=0.6)
    counts = sweep_start([one], "fight", RULE, truth, by_overlap(0))[0].counts([0])
    assert per_day(counts) == pytest.approx(counts.false_alarms * 86400 / 121)
    # No event in a time t: the rate is below -ln(0.05) / t with 95 % confidence.
    none = type(counts)(0, 0, 0, 86400.0, (), 0)
    assert per_day_bound(none) == pytest.approx(-np.log(0.05))


@pytest.mark.parametrize(
    ("text", "rate"),
    [("1", 1), ("0.5 per day", 0.5), ("2 a camera-day", 2), ("0.1/hour", 2.4), ("1 false alarm per camera-day", 1)],
)
def test_budget_is_read_as_people_say_it(text: str, rate: float):
    assert parse_budget(text) == pytest.approx(rate)


@pytest.mark.parametrize("text", ["", "few", "-1", "1 per week", "day"])
def test_budget_that_is_none_is_an_error(text: str):
    with pytest.raises(ReplayError, match="expected false alarms per camera-day"):
        parse_budget(text)


def test_settings_alone_are_all_that_was_chosen_and_what_it_was_chosen_for(tuned: TunedLabel, tmp_path: Path):
    used = override(
        Settings(),
        {
            "worker": {"model": 'a "b" \\ c.safetensors', "engine": "openvino-f32"},
            "tracker": {"update_seconds": RULE.update_seconds},
        },
        "test",
    )
    spec = ClipSpec(4, 400_000, 1_200_000, 32, 32, "stretch")
    path = tmp_path / "tuned.toml"
    path.write_text(settings_text([tuned], "m-1", 1.0, used, spec), "utf-8")
    assert "# Held out, to be expected on other footage: 0.17 camera-hours: " in path.read_text("utf-8")
    found = load_settings(path, {})
    assert (found.worker.model, found.worker.engine) == (used.worker.model, "openvino-f32")
    assert found.worker.stride_seconds == 1.2
    assert tracker_rules(contract(), found.tracker) == {"fight": tuned.chosen.rule}


def test_command_writes_settings_and_a_report_and_never_over_other_settings(tmp_path: Path):
    (tmp_path / "in").mkdir()
    for name, bright in (("gate", (40, 80)), ("hall", (10, 20))):
        write_video(tmp_path / "in" / f"{name}.mp4", 120, rate=10, gop=10, size=(64, 48), frame=blinking(bright))
    write_checkpoint(tmp_path / "m.safetensors", always="fight")
    (tmp_path / "truth.csv").write_text("camera,label,start,end\ngate,fight,4,8\n")
    arguments = ["tune", tmp_path / "in", "--labels", tmp_path / "truth.csv", "--model", tmp_path / "m.safetensors"]
    arguments += ["--engine", "torch", "--report", tmp_path / "t.html", "-o", tmp_path / "tuned.toml"]
    result = clipline(*arguments, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert result.returncode == 0, result.stderr
    assert "tuned, held out" in result.stdout
    assert "camera-day" in result.stdout
    assert "copy them into clipline.toml" in result.stdout
    written = tomllib.loads((tmp_path / "tuned.toml").read_text())
    assert set(written["tracker"]["labels"]) == {"fight"}
    assert written["worker"] == {"model": str(tmp_path / "m.safetensors"), "engine": "torch", "stride_seconds": 0.8}
    page = (tmp_path / "t.html").read_text()
    assert "<svg" in page
    assert "tuned, held out" in page
    assert "compatible with up to" in page or "exceed 1 per camera-day" in page or "no setting keeps to" in page
    (tmp_path / "tuned.toml").write_text('kafka = "mine:9092"\n')
    again = clipline(*arguments, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert again.returncode == 2
    assert "holds other settings" in again.stderr
    assert (tmp_path / "tuned.toml").read_text() == 'kafka = "mine:9092"\n'


def test_command_that_is_stopped_amid_the_sweep_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_video(tmp_path / "gate.mp4", 60, rate=10, gop=10, size=(64, 48))
    write_checkpoint(tmp_path / "m.safetensors", always="fight")
    (tmp_path / "truth.csv").write_text("camera,label,start,end\ngate,fight,2,4\n")
    settings = override(Settings(), {"worker": {"model": str(tmp_path / "m.safetensors"), "engine": "torch"}}, "test")
    asked = ReplayOptions(
        (str(tmp_path / "gate.mp4"),), None, None, tmp_path / "truth.csv", {}, "overlap", 0.1, (2, 10), resume=False
    )
    stop, original = threading.Event(), tune_command.place_truth

    def placing(*arguments):
        stop.set()  # everything is classified by now
        return original(*arguments)

    monkeypatch.setattr(tune_command, "place_truth", placing)
    quiet = Console(file=io.StringIO())
    code = tune_command.run_tune(
        settings,
        asked,
        budget="1",
        output=tmp_path / "tuned.toml",
        report=None,
        out=quiet,
        errors=quiet,
        stop=stop.is_set,
    )
    assert code == INTERRUPTED
    assert not (tmp_path / "tuned.toml").exists()
