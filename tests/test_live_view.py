"""The live view at set sizes: nothing that matters is cut, nothing wraps, and colours say what alarms."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Sequence

import pytest
from rich.console import Console
from rich.segment import Segment

from consumers.live.figures.snapshot import WorkerSnapshot
from consumers.terminal.live_view import LiveView
from tests.snapshots import MODEL, camera, event, now_us, worker

LONG_AGO_US = 1_700_000_000_000_000  # 2023-11-14 22:13:20


def drawn(snapshot: WorkerSnapshot, width: int = 80, height: int = 24) -> list[list[Segment]]:
    console = Console(width=width, height=height, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    return console.render_lines(LiveView(lambda: snapshot, "clipline work"), pad=False)


def lines(snapshot: WorkerSnapshot, width: int = 80, height: int = 24) -> list[str]:
    found = ["".join(s.text for s in line) for line in drawn(snapshot, width, height)]
    assert len(found) <= height
    assert max(len(line) for line in found) <= width
    return found


def style_of(snapshot: WorkerSnapshot, text: str, width: int = 80) -> str:
    """The style in which `text` is drawn first."""
    return next(str(s.style) for line in drawn(snapshot, width) for s in line if text in s.text)


def sixteen(**changes: object) -> list:
    return [camera(f"car-park-north-{n:02}", fight=n / 100, **changes) for n in range(16)]


def header(found: Sequence[str]) -> list[str]:
    return re.split(r"  +", found[1].strip())


def test_sixteen_cameras_have_their_names_scores_and_the_footer_in_80x24():
    cameras = sixteen()
    cameras[3] = camera("car-park-north-03", fight=0.93, active=(event("car-park-north-03", 12),), events=2)
    cameras[5] = camera("car-park-north-05", fight=0.05, silent_seconds=40)
    cameras[6] = camera("car-park-north-06", fight=0.06, behind_seconds=131.749)
    snapshot = worker(*cameras, newest_events=tuple(event(c.camera, ending="gap") for c in cameras))
    found = lines(snapshot)
    for n in range(16):
        row = next(line for line in found[2:] if f" car-park-north-{n:02} " in line)
        assert f" {0.93 if n == 3 else 1 - n / 100:.2f}" in row
    assert found[-1].startswith("16 cameras, 1 alarming, 1 without data, 1 late · 2 segments waiting")
    assert sum("ended" in line or "going on" in line for line in found) >= 2
    assert "…" not in "".join(found)


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200, 300])
@pytest.mark.parametrize("height", [5, 8, 12, 24, 50])
def test_nothing_wraps_and_no_name_or_score_is_lost_at_any_size(width, height):
    cameras = [camera(f"door-{n}", fight=n / 10) for n in range(5)]
    found = lines(worker(*cameras, newest_events=(event("door-1"),)), width, height)
    shown = [c for c in cameras if any(f"{c.camera} " in line for line in found)]
    assert len(shown) == 5 or any(line.startswith("and ") for line in found)
    assert re.match(r"5 cameras", found[-1])


def test_columns_leave_in_a_fixed_order_the_bar_before_frames_a_second():
    snapshot = worker(camera("gate", last_event=event("gate", ending="gap")), camera("lobby"))
    texts = [lines(snapshot, width) for width in range(24, 200)]
    headers = [set(header(text)) for text in texts]
    came = [name for before, after in itertools.pairwise(headers) for name in after - before]
    order = ["state", "alarm", "at (UTC)", "events", "frames/s", "last event", "model", "skipped frames"]
    assert came == order
    assert headers[0] == {"camera", "sees", "score"}
    bar = next(n for n, text in enumerate(texts) if "█" in "".join(text))
    assert "frames/s" in headers[bar]
    assert "last event" not in headers[bar]


def test_wide_terminal_shows_model_last_event_and_skipped_frames_by_reason():
    last = event("gate", 3.5, "below_threshold", at_us=LONG_AGO_US)
    text = "\n".join(lines(worker(camera("gate", last_event=last)), 220, 50))
    assert MODEL in text.split("\n", 1)[1]
    assert "fight 2023-11-14 22:13:20, 3.5 s" in text
    assert "3 after the last whole window" in text


def test_name_that_fits_no_terminal_is_shortened_in_the_middle():
    names = [f"{'corridor-' * 6}{n}-east" for n in range(2)]
    found = "\n".join(lines(worker(*(camera(name) for name in names)), 50))
    assert "corridor" in found
    for n in range(2):
        assert re.search(rf"● corridor-\S+…\S*-{n}-east +normal +0.99", found)


def test_colour_says_what_alarms_not_how_sure_the_model_is():
    calm, unsure, fight = camera("a", 0.001), camera("b", 0.55), camera("c", 0.93)
    snapshot = worker(calm, unsure, fight)
    assert style_of(snapshot, "1.00") == "green"
    assert style_of(snapshot, "0.55") == "yellow"
    assert style_of(snapshot, "0.93") == "bold red"
    active = camera("gate", 0.2, active=(event("gate", 6),))
    assert style_of(worker(active), "gate") == "bold red"
    assert style_of(worker(active), "fight for 6.0 s") == "bold red"


def test_late_cameras_are_red_and_silent_ones_grey_in_words():
    snapshot = worker(
        camera("late", behind_seconds=131.749),
        camera("mute", silent_seconds=40.2),
        camera("over", silent_seconds=3, ended=True),
        camera("fresh", newest=None, behind_seconds=None),
    )
    assert style_of(snapshot, "2 min 11 s behind") == "bold red"
    for text in ("no data for 40 s", "ended 3.0 s ago", "mute", "starting"):
        assert style_of(snapshot, text) == "bright_black"
    assert "131749" not in "\n".join(lines(snapshot, 200))


def test_worker_that_is_behind_does_not_call_its_cameras_silent():
    snapshot = worker(camera("gate", silent_seconds=40, behind_seconds=120.0), latency_seconds=120.0)
    text = "\n".join(lines(snapshot))
    assert "no data" not in text
    assert "2 min 0 s behind" in text


def test_more_cameras_than_lines_show_those_that_need_a_look_first():
    cameras = [camera(f"calm-{n:02}") for n in range(25)]
    cameras += [camera("x-fight", 0.9, active=(event("x-fight"),)), camera("y-mute", silent_seconds=60)]
    found = lines(worker(*cameras))
    assert "x-fight" in found[2]
    assert "y-mute" in found[3]
    shown = sum("calm-" in line for line in found)
    assert f"and {25 - shown} more, all calm" in found
    silent = [camera(f"mute-{n:02}", silent_seconds=60) for n in range(30)]
    assert any(re.fullmatch(r"and \d+ more: \d+ without data", line) for line in lines(worker(*silent)))


def test_footage_of_another_day_has_its_date_and_that_of_today_has_none():
    old = camera("gate", at_us=LONG_AGO_US)
    text = "\n".join(lines(worker(old, newest_events=(event("gate", ending="gap", at_us=LONG_AGO_US),)), 120))
    assert text.count("2023-11-14 22:13:20") == 2
    assert not re.search(r"\d{4}-\d\d", "\n".join(lines(worker(camera("gate"), newest_events=(event("gate"),)), 120)))


def test_each_event_is_one_line_with_how_it_stands():
    began_us = now_us()
    reports = (
        event("yard", at_us=began_us),  # its camera moved to another worker
        event("gate", 2.3, at_us=began_us),
        event("gate", 5.5, "below_threshold", at_us=began_us),
        event("lobby", 2.0, at_us=began_us),
    )
    going_on = camera("lobby", 0.9, active=(event("lobby", 8.0, at_us=began_us),))
    found = lines(worker(camera("gate"), going_on, newest_events=reports))
    rows = [re.split(r"  +", line) for line in found if line.startswith("fight")]
    assert [(camera, lasted, state) for _, camera, _, lasted, _, state in rows] == [
        ("lobby", "8.0 s", "going on"),
        ("yard", "3.5 s", "with another worker"),
        ("gate", "5.5 s", "ended"),
    ]


def test_frames_a_second_are_those_of_the_last_seconds(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    snapshots = iter([worker(camera("gate", frames=1000)), worker(camera("gate", frames=1050))])
    view = LiveView(lambda: next(snapshots), "x")
    console = Console(width=120, height=24, file=io.StringIO())
    with console.capture() as capture:
        console.print(view)
    assert re.search(r"● gate .* –\n", capture.get()), "nothing is known yet: that is not 0"
    clock[0] += 2
    with console.capture() as capture:
        console.print(view)
    assert re.search(r"● gate .* 25\b", capture.get())


def test_texts_are_never_markup_and_a_score_that_is_not_a_number_is_shown():
    odd = camera("a[b]c", newest=None)
    broken = camera("nan")
    assert broken.newest is not None
    scores = {"[red]x": float("nan")}
    nan = camera("nan", newest=type(broken.newest)("nan", 1, 1, 1, 2, "m", scores))
    text = "\n".join(lines(worker(odd, nan), 140))
    assert "a[b]c" in text
    assert "[red]x" in text
    assert "nan" in text
