"""Labelled footage in the forms that people have it; what is wrong is told before training; frames are kept on disk."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consumers.learning.footage.datasets import find_examples
from consumers.learning.footage.examples import DataOptions, Example
from consumers.learning.footage.frame_cache import FrameCache, StoredFrames
from consumers.learning.footage.frames import Sampling, load_frames, readable
from consumers.learning.footage.leakage import check_examples, check_pictures, file_digests
from models import TrainingError
from stream import sample_pieces
from tests.videos import write_video


def files(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def told(data: Path, **renamed: str) -> list[tuple[str, str, float, float | None]]:
    return [(e.path.name, e.label, e.start_seconds, e.end_seconds) for e in find_examples([data], renamed)]


def check(data: Path) -> list[str]:
    examples = find_examples([data], {})
    return check_examples(examples, file_digests(examples))


def test_folder_per_class(tmp_path: Path) -> None:
    files(tmp_path, "fight/a.mp4", "fight/deep/b.AVI", "normal/c.mkv", "normal/notes.txt")
    assert told(tmp_path) == [("a.mp4", "fight", 0, None), ("b.AVI", "fight", 0, None), ("c.mkv", "normal", 0, None)]


def test_csv_with_parts_of_files_and_groups(tmp_path: Path) -> None:
    files(tmp_path, "a.mp4")
    (tmp_path / "labels.csv").write_text("path,label,start,end,group\na.mp4,fight,1.5,4,s1\na.mp4,normal,4,,s1\n")
    assert told(tmp_path / "labels.csv") == [("a.mp4", "fight", 1.5, 4.0), ("a.mp4", "normal", 4.0, None)]
    assert len({e.group for e in find_examples([tmp_path / "labels.csv"], {})}) == 1


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
        find_examples([tmp_path / "train.csv"], {})


def test_activitynet_json_gives_a_part_for_each_annotation(tmp_path: Path) -> None:
    files(tmp_path, "videos/v_abc.mp4")
    annotations = [{"segment": [1.0, 2.5], "label": "a"}, {"segment": [3, 9], "label": "b"}]
    (tmp_path / "truth.json").write_text(json.dumps({"database": {"abc": {"annotations": annotations}}}))
    assert told(tmp_path / "truth.json", b="") == [("v_abc.mp4", "a", 1.0, 2.5)]
    (tmp_path / "truth.json").write_text('{"videos": []}')
    with pytest.raises(TrainingError, match="expected ActivityNet's form"):
        find_examples([tmp_path / "truth.json"], {})


def test_mmaction_list_takes_names_from_the_label_map(tmp_path: Path) -> None:
    files(tmp_path, "some video.mp4", "b.mp4")
    (tmp_path / "train.txt").write_text("some video.mp4 0\nb.mp4 1\n")
    assert [label for _, label, *_ in told(tmp_path / "train.txt")] == ["0", "1"]
    (tmp_path / "label_map.txt").write_text("walk\nrun\n")
    assert [label for _, label, *_ in told(tmp_path / "train.txt")] == ["walk", "run"]
    (tmp_path / "train.txt").write_text("b.mp4 2\n")
    with pytest.raises(TrainingError, match=r"line 1: label 2: expected less than 2, the names in label_map\.txt"):
        find_examples([tmp_path / "train.txt"], {})


def test_footage_with_two_labels_is_refused_also_under_two_names(tmp_path: Path) -> None:
    files(tmp_path, "fight/a.mp4", "normal/b.mp4")
    (tmp_path / "normal/b.mp4").write_bytes((tmp_path / "fight/a.mp4").read_bytes())
    with pytest.raises(TrainingError, match=r"a\.mp4 = .*b\.mp4: fight, normal"):
        check(tmp_path)


def test_split_that_would_leak_is_warned_of(tmp_path: Path) -> None:
    files(tmp_path, "a.mp4", "b.mp4")
    (tmp_path / "labels.csv").write_text("path,label,start,end,group\na.mp4,x,0,1,s1\na.mp4,x,1,2,s2\nb.mp4,y,,,s3\n")
    [warning] = check(tmp_path / "labels.csv")
    assert "1 video in more than one group" in warning
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
    assert all(isinstance(f, StoredFrames) for f in found)
    assert {path.suffix for path in (tmp_path / "cache").iterdir()} == {".npy"}


def test_row_that_is_there_twice_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_video(tmp_path / "a.mp4", 10, size=(64, 48))
    decoded: list[float | None] = []

    def counted(path: Path, pieces: Sequence[tuple[float, float | None]], *how: object) -> Iterator[Any]:
        decoded.extend(end for _, end in pieces)
        yield from sample_pieces(path, pieces, *how)

    monkeypatch.setattr("consumers.learning.footage.frames.sample_pieces", counted)
    example = Example(tmp_path / "a.mp4", "x", "g")
    rows = [example, replace(example, end_seconds=0.2), example]
    told: list[tuple[str, int, int]] = []
    first, part, again = load_frames(rows, Sampling(0.1, 32, 32, "stretch"), lambda *done: told.append(done))
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


@pytest.mark.parametrize("name", ["labels.csv", "list.txt", "truth.json"])
def test_what_is_not_text_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\xff\x01\x02 path")
    with pytest.raises(TrainingError, match=rf"{name}: expected text, found the byte 0x01 in line 1"):
        find_examples([tmp_path / name], {})


def test_video_in_the_place_of_a_list_is_called_one(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"a\.mp4: a video; expected a folder"):
        find_examples([files(tmp_path, "a.mp4") / "a.mp4"], {})


@pytest.mark.parametrize(
    "content",
    [
        "path,label,group\na b.mp4,Fußtritt,s1\n".encode("utf-8-sig"),
        "path,label,group\r\na b.mp4,Fußtritt,s1\r\n".encode("utf-16"),
        "path,label,group\na b.mp4,Fußtritt,s1\n".encode("utf-16-be"),
        "path,label,group\ra b.mp4,Fußtritt,s1\r".encode(),
        "path;label;group\na b.mp4;Fußtritt;s1\n".encode("latin-1"),
        "sep=;\npath;label;group\na b.mp4;Fußtritt;s1\n".encode(),
        "path\tlabel\tgroup\na b.mp4\tFußtritt\ts1\n".encode(),
        '"Path" , "LABEL" ,"Group"\n"a b.mp4" , "Fußtritt" ,"s1"\n'.encode(),
        "\n\npath,label,group,,\n\na b.mp4,Fußtritt,s1,,\n,,,,\n\n".encode(),
        "path,label,group\n.\\a b.mp4,Fu\u00dftritt ,s1\n".encode(),
        "path,label,group\nC:\\Users\\me\\a b.mp4,\u200bFußtritt\u00a0,s1\n".encode(),
        "path,label,group\n/home/me/data/a b.mp4,Fußtritt,s1\n".encode(),
    ],
)
def test_csv_is_read_as_people_have_it(tmp_path: Path, content: bytes) -> None:
    files(tmp_path, "a b.mp4")
    (tmp_path / "labels.csv").write_bytes(content)
    [example] = find_examples([tmp_path / "labels.csv"], {})
    assert (example.path.name, example.label, example.group.rpartition("/")[2]) == ("a b.mp4", "Fußtritt", "s1")


def test_encoding_that_was_guessed_and_path_of_another_machine_are_said(tmp_path: Path) -> None:
    files(tmp_path, "é.mp4")
    (tmp_path / "labels.csv").write_bytes("path,label\nD:\\x\\é.mp4,a\n".encode("latin-1"))
    said: list[str] = []
    find_examples([tmp_path / "labels.csv"], {}, say=said.append)
    assert any("read as Windows-1252, since line 2 is not UTF-8 (byte 0xe9)" in s for s in said)
    assert any("1 files are named as on another machine" in s and "D:\\x\\é.mp4" in s for s in said)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("83", 83), ("83.5", 83.5), ('"83,5"', 83.5), ("1:23", 83), ("00:01:23.5", 83.5), ("01:00:00", 3600)],
)
def test_times_are_read_as_people_write_them(tmp_path: Path, written: str, seconds: float) -> None:
    files(tmp_path, "a.mp4")
    (tmp_path / "labels.csv").write_text(f"path,label,start\na.mp4,x,{written}\n")
    assert told(tmp_path / "labels.csv") == [("a.mp4", "x", seconds, None)]


def test_labels_are_one_however_they_are_spaced_and_composed(tmp_path: Path) -> None:
    files(tmp_path, "fe\u0301te /a.mp4", "b.mp4")
    (tmp_path / "labels.csv").write_text("path,label\nb.mp4, f\u00e9te\n")
    assert {e.label for e in find_examples([tmp_path, tmp_path / "labels.csv"], {})} == {"f\u00e9te"}


def test_labels_that_differ_in_case_are_asked_about(tmp_path: Path) -> None:
    files(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    (tmp_path / "labels.csv").write_text("path,label\na.mp4,fight\nb.mp4,Fight\nc.mp4,fight\n")
    with pytest.raises(TrainingError, match=r"'fight' \(2 times\) and 'Fight' \(1 times\).*--map Fight=fight"):
        find_examples([tmp_path / "labels.csv"], {})
    assert {label for _, label, *_ in told(tmp_path / "labels.csv", Fight="fight")} == {"fight"}


def test_every_row_that_cannot_be_used_is_named_at_once_and_can_be_skipped(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", 30, size=(64, 48))
    rows = ["a.mp4,x,0,0.5", "gone1.mp4,x,,", "a.mp4,x,2,1", "a.mp4,,0,1", "gone2.mp4,y,,", "a.mp4,x,7,8", "a.mp4,x,a,"]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label,start,end", *rows]))
    with pytest.raises(TrainingError) as caught:
        find_examples([tmp_path / "labels.csv"], {})
    for line, words in {
        3: "no such file: gone1.mp4",
        4: "end 1: expected more than the start, 2",
        5: "no label",
        6: "no such file: gone2.mp4",
        7: "start 7: expected less than 1, the length of a.mp4",
        8: "start 'a': expected seconds, or a time like 00:01:23",
    }.items():
        assert f"labels.csv, line {line}: {words}" in str(caught.value)
    assert "6 of 7 rows cannot be used" in str(caught.value)
    assert "--skip-missing goes on without the 2 rows" in str(caught.value)
    assert "--skip-bad-rows goes on without the 4 rows" in str(caught.value)
    said: list[str] = []
    options = DataOptions(skip_missing=True, skip_bad_rows=True)
    assert len(find_examples([tmp_path / "labels.csv"], {}, options, said.append)) == 1
    assert "2 of 7 rows whose file is missing are left out" in said[0]
    assert "4 of 7 rows that are wrong are left out" in said[1]


def test_a_row_that_names_a_folder_is_told_so_and_is_wrong_rather_than_missing(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    os.mkfifo(tmp_path / "pipe.mp4")
    files(tmp_path, "a.mp4")
    lists = {
        "labels.csv": ("path,label\na.mp4,x\nclips,x\npipe.mp4,x\n", 3, 4),
        "below/labels.csv": ("path,label\na.mp4,x\nclips,x\npipe.mp4,x\n", 3, 4),
        "labels.txt": ("a.mp4 0\nclips 0\npipe.mp4 0\n", 2, 3),
    }
    for name, (text, folder, pipe) in lists.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        with pytest.raises(TrainingError) as caught:
            find_examples([path], {})
        assert f"{name}, line {folder}: clips: a folder; expected a video file" in str(caught.value)
        assert f"{name}, line {pipe}: pipe.mp4: neither a file nor a folder" in str(caught.value)
        assert "--skip-bad-rows goes on without the 2 rows that are wrong" in str(caught.value)


def test_a_file_is_taken_before_a_folder_of_the_same_name(tmp_path: Path) -> None:
    (tmp_path / "lists" / "a.mp4").mkdir(parents=True)
    files(tmp_path, "a.mp4")
    (tmp_path / "lists" / "labels.csv").write_text("path,label\na.mp4,x\n")
    [example] = find_examples([tmp_path / "lists" / "labels.csv"], {})
    assert example.path == tmp_path / "a.mp4"


def test_thousands_of_missing_files_are_told_in_a_bounded_list(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(
        "label,youtube_id,time_start,time_end\n" + "".join(f"yoga,v{n},0,10\n" for n in range(5000))
    )
    with pytest.raises(TrainingError, match="… and 4980 more") as caught:
        find_examples([tmp_path / "train.csv"], {})
    assert len(str(caught.value).splitlines()) < 25


def test_video_that_cannot_be_read_is_left_out_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_video(tmp_path / "a.mp4", 10, size=(64, 48))
    files(tmp_path, "torn.mp4")
    rows = [Example(tmp_path / n, "x", "g", where=f"l.csv, line {k}") for k, n in enumerate(("a.mp4", "torn.mp4"), 2)]
    sampling = Sampling(0.1, 32, 32, "stretch")
    with pytest.raises(TrainingError, match=r"l\.csv, line 3: .*torn\.mp4"):
        load_frames(rows, sampling, lambda *_: None)
    said: list[str] = []
    assert readable(rows, sampling, lambda *_: None, said.append) == rows[:1]
    assert "1 of 2 videos cannot be read and are left out; first: l.csv, line 3" in said[0]


def test_files_of_apples_finder_are_left_out_with_a_word(tmp_path: Path) -> None:
    files(tmp_path, "fight/a.mp4", "fight/._a.mp4", "normal/b.mp4", ".hidden/c.mp4")
    said: list[str] = []
    found = find_examples([tmp_path], {}, say=said.append)
    assert [e.path.name for e in found] == ["a.mp4", "b.mp4"]
    assert "1 file left out that macOS keeps attributes in (._*)" in said[0]


def test_rows_that_repeat_or_overlap_are_said(tmp_path: Path) -> None:
    files(tmp_path, "a.mp4")
    (tmp_path / "labels.csv").write_text("path,label,start,end\na.mp4,x,0,2\na.mp4, x,0,2\na.mp4,x,1,3\n")
    said: list[str] = []
    assert len(find_examples([tmp_path / "labels.csv"], {}, say=said.append)) == 2
    assert "1 row repeating another counted once; first: " in said[0]
    assert "1 row overlapping another one of the same file" in said[1]


def test_group_of_one_name_in_two_lists_is_one_group(tmp_path: Path) -> None:
    files(tmp_path, "one/a.mp4", "two/b.mp4")
    for name in ("one/a", "two/b"):
        (tmp_path / f"{name}.csv").write_text(f"path,label,group\n{name[4:]}.mp4,x,source7\n")
    assert len({e.group for e in find_examples([tmp_path / "one/a.csv", tmp_path / "two/b.csv"], {})}) == 1


def test_footage_without_groups_is_warned_of_with_how_to_give_them(tmp_path: Path) -> None:
    names = [f"{label}/cam{c}_{n}.mp4" for label in ("fight", "normal") for c in (1, 2) for n in range(3)]
    files(tmp_path, *names)
    [warning] = check(tmp_path)
    assert warning.startswith("NO GROUPS: nobody said which of 12 videos")
    pattern = re.search(r"perhaps 2 recordings: --group-by '(.*)'\)$", warning)
    assert pattern is not None
    grouped = find_examples([tmp_path], {}, DataOptions(group_by=re.compile(pattern[1])))
    assert {e.group for e in grouped} == {"cam1", "cam2"}
    assert check_examples(grouped, file_digests(grouped)) == []


def test_group_pattern_that_finds_nothing_names_the_paths(tmp_path: Path) -> None:
    files(tmp_path, "fight/a1.mp4", "normal/b.mp4")
    with pytest.raises(TrainingError, match=r"--group-by .* finds no group in 1 of 2 paths:\n.*b\.mp4"):
        find_examples([tmp_path], {}, DataOptions(group_by=re.compile(r"a\d")))


def scene(seed: int, frames: int = 12, size: int = 64, shift: int = 0) -> np.ndarray:
    """A scene with something that moves through it, (N, H, W, 3)."""
    coarse = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    still = coarse.repeat(size // 8, 0).repeat(size // 8, 1)
    video = np.stack([still] * frames)
    for n, picture in enumerate(video):
        picture[: size // 4, (n + shift) % size : (n + shift) % size + size // 8] = 255
    return video


def test_videos_of_two_groups_that_look_alike_are_named_and_merged_on_request(tmp_path: Path) -> None:
    """The third is the first one again: smaller, later, and with the noise of another encoding."""
    noise = np.random.default_rng(0).integers(-6, 7, (12, 32, 32, 3))
    again = np.clip(scene(1, size=32, shift=2).astype(int) + noise, 0, 255).astype(np.uint8)
    videos = [scene(1), scene(2), again, np.zeros((9, 64, 64, 3), np.uint8), np.zeros((9, 64, 64, 3), np.uint8)]
    rows = [Example(tmp_path / f"{n}.mp4", "x", f"g{n}") for n in range(len(videos))]
    same, [told] = check_pictures(rows, videos, merge=False)
    assert same == rows
    assert "1 pair of videos of different groups look alike" in told
    assert "0.mp4 and" in told
    assert "2.mp4" in told
    merged, [told] = check_pictures(rows, videos, merge=True)
    assert [e.group for e in merged] == ["g0", "g1", "g0", "g3", "g4"]
    assert "5 groups became 4" in told
    assert check_pictures(merged, videos, merge=False) == (merged, [])


def test_a_thousand_cached_clips_hold_no_descriptor(tmp_path: Path) -> None:
    video = files(tmp_path, "a.mp4") / "a.mp4"
    cache = FrameCache(tmp_path / "cache")
    held = [cache.get(video, {"n": n}, lambda: np.zeros((2, 4, 4, 3), np.uint8)) for n in range(300)]
    opened = [str(one.readlink()) for one in Path("/proc/self/fd").iterdir() if one.is_symlink()]
    assert not [path for path in opened if path.startswith(str(tmp_path))]
    assert np.array_equal(held[7][np.array([[0, 1]])], np.zeros((1, 2, 4, 4, 3)))


def test_frames_that_another_run_removed_are_decoded_again(tmp_path: Path) -> None:
    video = files(tmp_path, "a.mp4") / "a.mp4"
    frames = FrameCache(tmp_path / "cache").get(video, {}, lambda: np.full((2, 4, 4, 3), 7, np.uint8))
    for kept in (tmp_path / "cache").glob("*.npy"):
        kept.unlink()
    assert frames[1, 0, 0, 0] == 7


def test_frames_of_another_decoder_are_decoded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = files(tmp_path, "a.mp4") / "a.mp4"
    FrameCache(tmp_path / "cache").get(video, {}, lambda: np.zeros((1, 4, 4, 3), np.uint8))
    monkeypatch.setattr("consumers.learning.footage.frame_cache.decoder_version", lambda: "another")
    again = FrameCache(tmp_path / "cache").get(video, {}, lambda: np.ones((1, 4, 4, 3), np.uint8))
    assert again[0, 0, 0, 0] == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.mp4,x,nan,2,", "start 'nan': expected seconds"),
        ("a.mp4,x,0,inf,", "end 'inf': expected"),
        ("a.mp4,x,-1,2,", "start '-1': expected"),
        ("a.mp4,x,3,2,", "end 2: expected more than the start, 3"),
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
        find_examples([tmp_path / "labels.csv"], {})


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ('{"segment": [NaN, 2.5], "label": "a"}', r"segment \[nan, 2\.5\]: expected"),
        ('{"segment": [0, 2.5], "label": 7}', "label 7: expected text"),
        ('{"segment": [0, 2.5], "label": ""}', "no label"),
    ],
)
def test_annotation_of_activitynet_that_cannot_be_used_is_named(tmp_path: Path, annotation: str, message: str) -> None:
    files(tmp_path, "abc.mp4")
    (tmp_path / "truth.json").write_text(f'{{"database": {{"abc": {{"annotations": [{annotation}]}}}}}}')
    with pytest.raises(TrainingError, match=rf"truth\.json, video 'abc': {message}"):
        find_examples([tmp_path / "truth.json"], {})


def test_empty_group_is_the_file_itself(tmp_path: Path) -> None:
    """Not one group of all rows without one: a split could not divide them."""
    files(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    (tmp_path / "labels.csv").write_text("path,label,group\na.mp4,x,\nb.mp4,x,\nc.mp4,x,s\n")
    a, b, c = (e.group.rpartition("/")[2] for e in find_examples([tmp_path / "labels.csv"], {}))
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


def test_what_lies_outside_of_events_of_long_footage_is_the_label_for_nothing(tmp_path: Path) -> None:
    write_video(tmp_path / "long.mp4", 600, rate=10, gop=10, size=(32, 24))  # a minute
    write_video(tmp_path / "whole.mp4", 20, rate=10, size=(32, 24))
    (tmp_path / "events.csv").write_text(
        "path,start,end,label,group\nlong.mp4,10,14,fight,gate\nlong.mp4,0:40,0:45,fall,gate\nlong.mp4,14.5,16,fight,gate\n"
        "whole.mp4,,,fight,door\n"
    )
    said: list[str] = []
    found = find_examples(tmp_path / "events.csv", {}, DataOptions(rest="normal"), said.append)
    rest = [e for e in found if e.label == "normal"]
    assert all(e.path.name == "long.mp4" and e.group.endswith("/gate") and e.is_grouped for e in rest)
    spans = [(round(e.start_seconds, 3), round(e.end_seconds or 0, 3)) for e in rest]
    assert spans == [(0, 9), (17, 24.333), (24.333, 31.667), (31.667, 39), (46, 53), (53, 60)]
    assert said == ["6 pieces (0.8 min) of 1 file outside of its events taken for 'normal'"]
    assert len(find_examples(tmp_path / "events.csv", {})) == len(found) - len(rest)


def test_an_event_without_an_end_leaves_nothing_after_it(tmp_path: Path) -> None:
    write_video(tmp_path / "long.mp4", 300, rate=10, gop=10, size=(32, 24))
    (tmp_path / "events.csv").write_text(
        "path,start,end,label\nlong.mp4,20,,fight\nlong.mp4,5,7,fight\nlong.mp4,24,25,fall\n"
    )
    found = find_examples(tmp_path / "events.csv", {}, DataOptions(rest="normal"))
    rest = [(e.start_seconds, e.end_seconds) for e in found if e.label == "normal"]
    assert rest == [(0.0, 4.0), (8.0, pytest.approx(13.5)), (pytest.approx(13.5), 19.0)]
