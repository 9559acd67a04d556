"""Truth in the forms that people have: what is read, what it is about, and what is said of a row that cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from consumers.annotations import activitynet_annotations
from consumers.replaying.errors import TruthError
from consumers.replaying.judging.placing import TrueEvent, check_truth, place_truth
from consumers.replaying.judging.truth import check_known, read_truth
from consumers.replaying.trace import PlacedTrace, Timeline, Trace
from consumers.tables import TableError
from models import ModelError

BEGIN_US = 1_764_000_000_000_000  # 2025-11-24T16:00:00Z
LABELS = ("fight",)


def timeline(camera: str, *names: str, seconds: int = 60) -> Timeline:
    """Pieces of a minute, one after another."""
    empty = np.zeros((0, 5), np.int64), np.zeros((0, 2)), np.zeros(0, np.int64)
    trace = Trace("m", ("normal", "fight"), *empty, np.array([[0, seconds * 1_000_000]]), 100, 0)
    return Timeline(
        camera,
        [
            PlacedTrace(name, BEGIN_US + n * seconds * 1_000_000, trace)
            for n, name in enumerate(names or (f"/in/{camera}.mp4",))
        ],
    )


COURSES = [timeline("gate"), timeline("hall", "/in/hall/one.mp4", "/in/hall/two.mp4")]


def read(folder: Path, text: str, name: str = "truth.csv", **renamed: str) -> tuple[list[TrueEvent], list[str]]:
    (folder / name).write_text(text)
    check_truth(read_truth(folder / name, renamed), {c.camera: [p.name for p in c.pieces] for c in COURSES})
    return place_truth(read_truth(folder / name, renamed), COURSES, LABELS)


def interval(event: TrueEvent) -> tuple[str, float, float]:
    return event.camera, (event.start_us - BEGIN_US) / 1e6, (event.end_us - BEGIN_US) / 1e6


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("gate,fight,3,10.5", ("gate", 3, 10.5)),
        ("hall,fight,70,80", ("hall", 70, 80)),  # of the camera's footage
        ("two.mp4,fight,10,20", ("hall", 70, 80)),  # of the file's
        ("hall/two,fight,10,20", ("hall", 70, 80)),
        ("in/hall/two.mp4,fight,10,20", ("hall", 70, 80)),
        ("/in/hall/two.mp4,fight,10,20", ("hall", 70, 80)),
        ("gate,fight,2025-11-24T16:00:03Z,2025-11-24T17:00:10.500000+01:00", ("gate", 3, 10.5)),
        ("two.mp4,fight,2025-11-24T16:01:10Z,2025-11-24T16:01:20Z", ("hall", 70, 80)),
        ("two.mp4,fight,,", ("hall", 60, 120)),
        ("gate,fight,59,70", ("gate", 59, 70)),  # goes on beyond the footage
    ],
)
def test_row_is_an_interval_of_the_camera_or_file_it_names(
    tmp_path: Path, row: str, expected: tuple[str, float, float]
):
    events, notes = read(tmp_path, f"camera_or_file,label,start,end\n{row}\n")
    assert [interval(e) for e in events] == [expected]
    assert notes == []
    assert events[0].where.endswith("truth.csv, line 2")


@pytest.mark.parametrize("column", ["camera_or_file", "camera", "file", "path", "video"])
def test_first_column_goes_by_several_names(tmp_path: Path, column: str):
    events, _ = read(tmp_path, f"{column},label,start,end\ngate,fight,1,2\n")
    assert [interval(e) for e in events] == [("gate", 1, 2)]


def test_labels_per_file_speak_of_whole_files(tmp_path: Path):
    events, notes = read(tmp_path, "path,label\nhall/one.mp4,fight\nhall/two.mp4,normal\n")
    assert [interval(e) for e in events] == [("hall", 0, 60)]
    (note,) = notes
    assert note.startswith("1 row of truth left out, first ")
    assert note.endswith("truth.csv, line 3: this model raises events only for \"fight\", not for 'normal'")


def test_labels_are_renamed_and_left_out(tmp_path: Path):
    text = "camera,label,start,end\ngate,brawl,1,2\ngate,fall,3,4\n"
    events, notes = read(tmp_path, text, brawl="fight", fall="")
    assert [interval(e) for e in events] == [("gate", 1, 2)]
    assert notes == []


def test_activitynet_names_files_by_video_id(tmp_path: Path):
    database = {"two": {"annotations": [{"label": "fight", "segment": [10, 20.5]}]}, "elsewhere": {"annotations": []}}
    events, notes = read(tmp_path, json.dumps({"database": database}), "truth.json")
    assert [interval(e) for e in events] == [("hall", 70, 80.5)]
    assert notes == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "camera,label,start,end\ngate,fight,1,2\ngate,fight,3,2\n",
            "line 3: end 2: expected seconds, more than",
        ),
        ("camera,label,start,end\ngate,fight,-1,2\n", "line 2: start '-1'"),
        ("camera,label,start,end\ngate,fight,1,nan\n", "line 2: end 'nan': expected seconds"),
        (
            "camera,label,start,end\ngate,fight,noon,2\n",
            "line 2: start 'noon': expected seconds, or a time",
        ),
        ("camera,label,start,end\ngate,fight,1,\n", "line 2: no end: expected camera, label, and both start and end"),
        ("camera,label,start,end\ngate,,1,2\n", "line 2: no label: expected camera, label"),
        ("camera,label,start,end\ngate,fight,60,61\n", "line 2: begins at 60 s, and gate is 60 s long"),
        (
            "camera,label,start,end\ngaet,fight,1,2\n",
            "line 2: 'gaet' is neither a camera nor a file of this footage; did you mean 'gate'?",
        ),
        ("camera,label,start\ngate,fight,1\n", "line 1: expected the columns"),
        ("who,label,start,end\ngate,fight,1,2\n", "line 1: expected the columns"),
        ("", "line 1: expected the columns"),
    ],
)
def test_error_names_the_row(tmp_path: Path, text: str, words: str):
    with pytest.raises(TruthError) as caught:
        read(tmp_path, text)
    assert words in str(caught.value)
    assert str(tmp_path / "truth.csv") in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[]", "expected ActivityNet's form"),
        (
            '{"database": {"two": {"annotations": [{"label": "fight"}]}}}',
            "video 'two': segment None: expected",
        ),
        (
            '{"database": {"two": {"annotations": [{"label": "fight", "segment": [5, 1]}]}}}',
            "video 'two': end 1",
        ),
    ],
)
def test_error_names_the_video(tmp_path: Path, content: str, words: str):
    with pytest.raises((TruthError, ModelError)) as caught:
        read(tmp_path, content, "truth.json")
    assert words in str(caught.value)


def test_rows_about_other_footage_are_left_out_and_counted(tmp_path: Path):
    rows = "gate,fight,1,2\nroof,fight,1,2\nyard,fight,1,2\ngate,fight,2024-01-01T00:00:00Z,2024-01-01T00:00:01Z\n"
    events, notes = read(tmp_path, "camera,label,start,end\n" + rows)
    assert len(events) == 1
    assert "2 rows of truth left out" in notes[0]
    assert "line 3: 'roof' is neither a camera nor a file of this footage" in notes[0]
    assert "1 row of truth left out" in notes[1]
    assert "line 5: outside the footage's time" in notes[1]


def test_camera_whose_topic_holds_an_archive_behind_newer_footage_is_as_long_as_both(tmp_path: Path):
    day, minute = 86_400_000_000, 60_000_000
    newer, archive = [day, day + minute], [0, minute]
    empty = np.zeros((0, 5), np.int64), np.zeros((0, 2)), np.zeros(0, np.int64)
    trace = Trace("m", ("normal", "fight"), *empty, np.array([newer, archive, archive, [30_000_000, 90_000_000]]), 9, 0)
    gate = Timeline("gate", [PlacedTrace("topic", BEGIN_US, trace)])
    assert gate.seconds == 60 + 90, "what was sent twice is one footage"
    (tmp_path / "t.csv").write_text("camera,label,start,end\ngate,fight,4,5\ngate,fight,86410,86411\n")
    events, _ = place_truth(read_truth(tmp_path / "t.csv", {}), [gate], LABELS)
    assert [interval(e) for e in events] == [("gate", 4, 5), ("gate", 86410, 86411)]
    (tmp_path / "t.csv").write_text("camera,label,start,end\ngate,fight,86460,86461\n")
    with pytest.raises(TruthError, match="gate is 86460 s long"):
        place_truth(read_truth(tmp_path / "t.csv", {}), [gate], LABELS)


def test_name_of_two_files_asks_for_more_of_it(tmp_path: Path):
    (tmp_path / "t.csv").write_text("file,label,start,end\nx,fight,1,2\n")
    timelines = [timeline("a", "/in/a/x.mp4"), timeline("b", "/in/b/x.mp4")]
    with pytest.raises(TruthError, match=r"line 2: 'x' is /in/a/x.mp4 or /in/b/x.mp4"):
        place_truth(read_truth(tmp_path / "t.csv", {}), timelines, LABELS)


def test_a_row_that_names_a_folder_is_told_so(tmp_path: Path):
    (tmp_path / "t.csv").write_text("file,label,start,end\nin/a,fight,1,2\n")
    rows = read_truth(tmp_path / "t.csv", {})
    told = r"line 2: 'in/a' is a folder of this footage; expected a camera or a file, such as 'in/a/x.mp4'"
    with pytest.raises(TruthError, match=told):
        check_truth(rows, {"gate": ["/there/in/a/x.mp4"]})
    _, [note] = place_truth(rows, [timeline("gate", "/there/in/a/x.mp4")], LABELS)
    assert note.endswith("'in/a' is a folder of this footage; expected a camera or a file, such as 'in/a/x.mp4'")
    with pytest.raises(TruthError, match=f"{tmp_path}: a folder; expected a CSV or JSON file"):
        read_truth(tmp_path, {})


def test_absent_file_is_named():
    with pytest.raises(TruthError, match="/no/such: no such file"):
        read_truth(Path("/no/such"), {})


def test_every_wrong_row_is_named_at_once_and_can_be_skipped(tmp_path: Path):
    rows = "gate,fight,1,x\ngate,fight,1,2\ngate,,1,2\ngate,fight,99,100\n"
    (tmp_path / "t.csv").write_text(f"camera,label,start,end\n{rows}")
    with pytest.raises(TruthError, match=r"(?s)2 of 4 rows.*line 2: end 'x': expected.*line 4: no label.*--skip-bad"):
        read_truth(tmp_path / "t.csv", {})
    said: list[str] = []
    found = read_truth(tmp_path / "t.csv", {}, skip_bad_rows=True, say=said.append)
    assert "2 of 4 rows of truth are wrong and left out" in said[0]
    events, notes = place_truth(found, COURSES, LABELS)
    assert [interval(e) for e in events] == [("gate", 1, 2)]
    assert "begins at 99 s, and gate is 60 s long" in notes[0]


def test_truth_is_read_as_people_have_it(tmp_path: Path):
    (tmp_path / "t.csv").write_bytes(
        "Camera;LABEL;Start;End;\r\n\r\ngate; fight\u200b ;00:00:03;10,5;\r\n".encode("utf-16")
    )
    events, _ = place_truth(read_truth(tmp_path / "t.csv", {}), COURSES, LABELS)
    assert [interval(e) for e in events] == [("gate", 3, 10.5)]
    events, _ = read(tmp_path, "file,label\nD:\\in\\hall\\two.mp4,fight\n")
    assert [interval(e) for e in events] == [("hall", 60, 120)]


def test_truth_of_which_the_model_knows_nothing_is_refused_with_a_suggestion(tmp_path: Path):
    (tmp_path / "t.csv").write_text("camera,label,start,end\ngate,Fighting,1,2\n")
    rows = read_truth(tmp_path / "t.csv", {})
    with pytest.raises(TruthError, match=r"line 2: m knows normal, fight.*did you mean --map 'Fighting=fight'\?"):
        check_known(rows, "m", ("normal", "fight"))
    check_known(read_truth(tmp_path / "t.csv", {"Fighting": "normal"}), "m", ("normal", "fight"))


def test_labels_of_truth_that_differ_in_case_are_asked_about(tmp_path: Path):
    (tmp_path / "t.csv").write_text("camera,label,start,end\ngate,Fight,1,2\ngate,fight,3,4\ngate,fight,5,6\n")
    with pytest.raises(TruthError, match=r"'fight' \(2 times\) and 'Fight' \(1 times\).*--map Fight=fight"):
        read_truth(tmp_path / "t.csv", {})


def test_rows_that_repeat_or_overlap_are_one_event_and_said(tmp_path: Path):
    text = "camera,label,start,end\ngate,fight,1,3\ngate,fight,1,3\ngate,fight,2,5\ngate,fight,5,6\nhall,fight,2,5\n"
    (tmp_path / "t.csv").write_text(text)
    said: list[str] = []
    events, notes = place_truth(read_truth(tmp_path / "t.csv", {}, say=said.append), COURSES, LABELS)
    assert [interval(e) for e in events] == [("gate", 1, 5), ("gate", 5, 6), ("hall", 2, 5)]
    assert "1 row that repeat another are counted once" in said[0]
    assert "counted as one event with it; first: " in notes[0]


def test_json_that_is_nested_too_deeply_is_one_line(tmp_path):
    path = tmp_path / "labels.json"
    path.write_text('{"database": ' + "[" * 200_000)
    with pytest.raises(TableError, match=r"labels\.json: expected ActivityNet's form"):
        list(activitynet_annotations(path, lambda _: None))
