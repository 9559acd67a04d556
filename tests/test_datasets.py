"""Labelled footage in the forms that people have it; what is wrong is told before training; frames are kept on disk."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from consumers.learning.datasets import Example, check_examples, file_digests, find_examples
from consumers.learning.frame_cache import FrameCache
from consumers.learning.frames import load_frames
from models import TrainingError
from stream import sample_file
from tests.videos import write_video


def files(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def told(data: Path, **renamed: str) -> list[tuple[str, str, float, float | None]]:
    return [(e.path.name, e.label, e.start_seconds, e.end_seconds) for e in find_examples(data, renamed)]


def check(data: Path) -> list[str]:
    examples = find_examples(data, {})
    return check_examples(examples, file_digests(examples))


def test_folder_per_class(tmp_path: Path) -> None:
    files(tmp_path, "fight/a.mp4", "fight/deep/b.AVI", "normal/c.mkv", "normal/notes.txt")
    assert told(tmp_path) == [("a.mp4", "fight", 0, None), ("b.AVI", "fight", 0, None), ("c.mkv", "normal", 0, None)]


def test_csv_with_parts_of_files_and_groups(tmp_path: Path) -> None:
    files(tmp_path, "a.mp4")
    (tmp_path / "labels.csv").write_text("path,label,start,end,group\na.mp4,fight,1.5,4,s1\na.mp4,normal,4,,s1\n")
    assert told(tmp_path / "labels.csv") == [("a.mp4", "fight", 1.5, 4.0), ("a.mp4", "normal", 4.0, None)]
    assert len({e.group for e in find_examples(tmp_path / "labels.csv", {})}) == 1


def test_kinetics_csv_finds_trimmed_files_below_it(tmp_path: Path) -> None:
    files(tmp_path, "train/abseiling/abc_000010_000020.mp4", "val/xyz.mp4")
    (tmp_path / "train.csv").write_text(
        "label,youtube_id,time_start,time_end,split\nabseiling,abc,10,20,train\nyoga,xyz,0,10,train\n"
    )
    assert told(tmp_path / "train.csv") == [
        ("abc_000010_000020.mp4", "abseiling", 0, None),
        ("xyz.mp4", "yoga", 0, None),
    ]
    (tmp_path / "train.csv").write_text("label,youtube_id,time_start,time_end\nyoga,lost,0,10\n")
    with pytest.raises(TrainingError, match=r"line 2: no file lost_000000_000010\.\*"):
        find_examples(tmp_path / "train.csv", {})


def test_activitynet_json_gives_a_part_for_each_annotation(tmp_path: Path) -> None:
    files(tmp_path, "videos/v_abc.mp4")
    annotations = [{"segment": [1.0, 2.5], "label": "a"}, {"segment": [3, 9], "label": "b"}]
    (tmp_path / "truth.json").write_text(json.dumps({"database": {"abc": {"annotations": annotations}}}))
    assert told(tmp_path / "truth.json", b="") == [("v_abc.mp4", "a", 1.0, 2.5)]
    (tmp_path / "truth.json").write_text('{"videos": []}')
    with pytest.raises(TrainingError, match="expected ActivityNet's form"):
        find_examples(tmp_path / "truth.json", {})


def test_mmaction_list_takes_names_from_the_label_map(tmp_path: Path) -> None:
    files(tmp_path, "some video.mp4", "b.mp4")
    (tmp_path / "train.txt").write_text("some video.mp4 0\nb.mp4 1\n")
    assert [label for _, label, *_ in told(tmp_path / "train.txt")] == ["0", "1"]
    (tmp_path / "label_map.txt").write_text("walk\nrun\n")
    assert [label for _, label, *_ in told(tmp_path / "train.txt")] == ["walk", "run"]
    (tmp_path / "train.txt").write_text("b.mp4 2\n")
    with pytest.raises(TrainingError, match=r"line 1: label 2, and label_map\.txt has 2 names"):
        find_examples(tmp_path / "train.txt", {})


def test_footage_with_two_labels_is_refused_also_under_two_names(tmp_path: Path) -> None:
    files(tmp_path, "fight/a.mp4", "normal/b.mp4")
    (tmp_path / "normal/b.mp4").write_bytes((tmp_path / "fight/a.mp4").read_bytes())
    with pytest.raises(TrainingError, match=r"a\.mp4 = .*b\.mp4: fight, normal"):
        check(tmp_path)


def test_split_that_would_leak_is_warned_of(tmp_path: Path) -> None:
    files(tmp_path, "a.mp4", "b.mp4")
    (tmp_path / "labels.csv").write_text("path,label,start,end,group\na.mp4,x,0,1,s1\na.mp4,x,1,2,s2\nb.mp4,y,,,s3\n")
    [warning] = check(tmp_path / "labels.csv")
    assert "1 videos are in more than one group" in warning
    assert "s1" in warning
    assert "s2" in warning


def test_frames_are_decoded_once_per_file_and_way_of_sampling(tmp_path: Path) -> None:
    video = files(tmp_path, "a.mp4") / "a.mp4"
    decoded: list[int] = []

    def decode() -> np.ndarray:
        decoded.append(1)
        return np.full((3, 4, 4, 3), len(decoded), np.uint8)

    cache = FrameCache(tmp_path / "cache")
    for _ in range(2):
        assert cache.get(video, {"size": 4}, decode)[0, 0, 0, 0] == 1
    assert cache.get(video, {"size": 5}, decode)[0, 0, 0, 0] == 2
    video.write_text("changed")
    assert cache.get(video, {"size": 4}, decode)[0, 0, 0, 0] == 3


def test_frames_cut_short_by_a_kill_are_decoded_again(tmp_path: Path) -> None:
    video = files(tmp_path, "a.mp4") / "a.mp4"
    cache = FrameCache(tmp_path / "cache")
    cache.get(video, {}, lambda: np.zeros((30, 16, 16, 3), np.uint8))
    [kept] = (tmp_path / "cache").glob("*.npy")
    kept.write_bytes(kept.read_bytes()[:500])
    assert cache.get(video, {}, lambda: np.ones((30, 16, 16, 3), np.uint8))[0, 0, 0, 0] == 1


def test_cache_stays_within_its_bound_and_drops_what_was_used_longest_ago(tmp_path: Path) -> None:
    video = files(tmp_path, "a.mp4") / "a.mp4"
    cache = FrameCache(tmp_path / "cache", max_bytes=3000)
    for size in range(4):
        cache.get(video, {"size": size}, lambda: np.zeros((1, 20, 20, 3), np.uint8))
        for age, path in enumerate(sorted((tmp_path / "cache").glob("*.npy"), key=os.path.getmtime, reverse=True)):
            os.utime(path, (1e9 - age, 1e9 - age))
    cache.trim()
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 2


def test_two_threads_that_keep_the_same_frames_do_not_write_one_file(tmp_path: Path) -> None:
    """Both have decoded before either writes; large enough that the writing takes a while."""
    video = files(tmp_path, "a.mp4") / "a.mp4"
    cache, together = FrameCache(tmp_path / "cache"), threading.Barrier(8)
    frames = np.arange(64 * 64 * 64 * 3 * 8, dtype=np.uint8).reshape(64, 64, 512, 3)

    def decode() -> np.ndarray:
        together.wait(timeout=10)
        return frames

    for attempt in range(5):
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _, how=attempt: cache.get(video, {"attempt": how}, decode), range(8)))
        assert all(np.array_equal(f, frames) for f in found)
    assert all(isinstance(f, np.memmap) for f in found)
    assert {path.suffix for path in (tmp_path / "cache").iterdir()} == {".npy"}


def test_row_that_is_there_twice_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_video(tmp_path / "a.mp4", 10, size=(64, 48))
    decoded: list[float | None] = []

    def counted(path: Path, **how: object) -> np.ndarray:
        decoded.append(how["end_seconds"])
        return sample_file(path, **how)

    monkeypatch.setattr("consumers.learning.frames.sample_file", counted)
    example = Example(tmp_path / "a.mp4", "x", "g")
    rows = [example, replace(example, end_seconds=0.2), example]
    told: list[tuple[str, int, int]] = []
    how = {"spacing_seconds": 0.1, "height": 32, "width": 32, "fit": "stretch"}
    first, part, again = load_frames(rows, **how, progress=lambda *done: told.append(done))
    assert sorted(decoded, key=str) == [0.2, None]
    assert len(part) < len(first)
    np.testing.assert_array_equal(first, again)
    assert told[-1] == ("decoding", 2, 2)


def test_what_a_killed_run_left_unfinished_is_removed_after_a_day(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    files(folder, ".0123.npy.4711", ".now.unfinished")
    video = files(tmp_path, "a.mp4") / "a.mp4"
    cache = FrameCache(folder)
    cache.get(video, {}, lambda: np.zeros((1, 4, 4, 3), np.uint8))
    long_ago = time.time() - 25 * 3600
    os.utime(folder / ".0123.npy.4711", (long_ago, long_ago))
    cache.trim()
    assert not (folder / ".0123.npy.4711").exists()
    assert (folder / ".now.unfinished").exists(), "another run may be writing it"
    assert len(list(folder.glob("*.npy"))) == 1


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-8"])
def test_csv_that_a_spreadsheet_wrote_is_read(tmp_path: Path, encoding: str) -> None:
    files(tmp_path, "é.mp4")
    (tmp_path / "labels.csv").write_bytes("path,label\r\né.mp4,fight\r\n".encode(encoding))
    assert told(tmp_path / "labels.csv") == [("é.mp4", "fight", 0, None)]


@pytest.mark.parametrize("name", ["labels.csv", "list.txt", "truth.json", "a.mp4"])
@pytest.mark.parametrize("content", ["é.mp4 1\n".encode("latin-1"), "path,label\n".encode("utf-16"), b"\0\xff"])
def test_what_is_not_text_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TrainingError, match=f"{name}: expected text in UTF-8"):
        find_examples(tmp_path / name, {})


def test_label_map_that_is_not_text_is_named(tmp_path: Path) -> None:
    files(tmp_path, "b.mp4")
    (tmp_path / "list.txt").write_text("b.mp4 0\n")
    (tmp_path / "label_map.txt").write_bytes(b"\xe9t\xe9\n")
    with pytest.raises(TrainingError, match=r"label_map\.txt: expected text in UTF-8"):
        find_examples(tmp_path / "list.txt", {})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.mp4,x,nan,2,", "start nan, end 2.0: expected 0 <= start < end"),
        ("a.mp4,x,0,inf,", "end inf: expected"),
        ("a.mp4,x,-1,2,", "start -1.0"),
        ("a.mp4,x,3,2,", "start 3.0, end 2.0: expected"),
        ("a.mp4,,0,2,", "no label"),
        ("a.mp4, ,0,2,", "no label"),
        ("a.mp4", "no label"),
        (",x,0,2,", "no path"),
        (f"a.mp4,{'x' * 200_000},0,2,", "field larger than field limit"),
    ],
)
def test_row_that_cannot_be_used_is_answered_with_its_line(tmp_path: Path, row: str, message: str) -> None:
    files(tmp_path, "a.mp4")
    (tmp_path / "labels.csv").write_text(f"path,label,start,end,group\na.mp4,x,,,\n{row}\n")
    with pytest.raises(TrainingError, match=rf"labels\.csv, line 3: .*{re.escape(message)}"):
        find_examples(tmp_path / "labels.csv", {})


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ('{"segment": [NaN, 2.5], "label": "a"}', r"start nan, end 2\.5"),
        ('{"segment": [0, 2.5], "label": 7}', "expected ActivityNet's form.*label 7 is no text"),
        ('{"segment": [0, 2.5], "label": ""}', "no label"),
    ],
)
def test_annotation_of_activitynet_that_cannot_be_used_is_named(tmp_path: Path, annotation: str, message: str) -> None:
    files(tmp_path, "abc.mp4")
    (tmp_path / "truth.json").write_text(f'{{"database": {{"abc": {{"annotations": [{annotation}]}}}}}}')
    with pytest.raises(TrainingError, match=rf"truth\.json, video 'abc': {message}"):
        find_examples(tmp_path / "truth.json", {})


def test_empty_group_is_the_file_itself(tmp_path: Path) -> None:
    """Not one group of all rows without one: a split could not divide them."""
    files(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    (tmp_path / "labels.csv").write_text("path,label,group\na.mp4,x,\nb.mp4,x,\nc.mp4,x,s\n")
    a, b, c = (e.group.rpartition("/")[2] for e in find_examples(tmp_path / "labels.csv", {}))
    assert (a, b, c) == ("a.mp4", "b.mp4", "s")


def test_files_that_cannot_be_opened_are_all_named(tmp_path: Path) -> None:
    files(tmp_path, "x/a.mp4", "y/b.mp4")
    (tmp_path / "x/gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    (tmp_path / "y/lost.mp4").symlink_to(tmp_path / "nowhere.mp4")
    with pytest.raises(TrainingError, match=r"(?s)2 of 4 files cannot be used.*x/gone\.mp4.*y/lost\.mp4"):
        check(tmp_path)


def test_folder_in_the_place_of_a_video_is_passed_over(tmp_path: Path) -> None:
    files(tmp_path, "x/a.mp4", "x/parts.mp4/b.mp4")
    assert [name for name, *_ in told(tmp_path)] == ["a.mp4", "b.mp4"]
