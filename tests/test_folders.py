"""Which files of a folder are footage, and what is said of the others."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from stream import Feed, SourceError, find_files
from tests.films import write_film


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> bytes:
    path = write_film(tmp_path_factory.mktemp("film") / "a.mp4", 5, options={"bf": "0"})
    return path.read_bytes()


def found(folder: Path, left_out: list[str] | None = None) -> list[str]:
    return [str(path.relative_to(folder)) for path in find_files(folder, left_out)]


def test_what_opens_as_video_is_video_whatever_its_name(tmp_path, film):
    (tmp_path / "night").mkdir()
    for name in ("a.mp4", "B.MOV", "noname", "night/08:00:00", "night/x.dvr"):
        (tmp_path / name).write_bytes(film)
    write_film(tmp_path / "raw.unknown", 5, form="h264", options={"bf": "0"})
    assert found(tmp_path) == ["a.mp4", "B.MOV", "night/08:00:00", "night/x.dvr", "noname", "raw.unknown"]


def test_what_is_left_out_is_listed_with_the_reason(tmp_path, film):
    (tmp_path / "a.mp4").write_bytes(film)
    (tmp_path / "._a.mp4").write_bytes(b"\0\5\x16\7")  # as macOS leaves them on other disks
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "b.mp4").write_bytes(film)
    for name in ("labels.csv", "notes", "front.jpg", "sound.wav", "noise.xyz"):
        (tmp_path / name).write_bytes(b"\xff\xfe\1\0" * 300 if name == "noise.xyz" else b"some text\n")
    left_out: list[str] = []
    assert found(tmp_path, left_out) == ["a.mp4"]
    assert left_out == [
        f"{tmp_path}: 2 files are hidden (.hidden, ._a.mp4)",
        f"{tmp_path}: 5 files are not video (front.jpg, labels.csv, noise.xyz and 2 more)",
    ]


def test_a_file_that_is_named_is_opened_whatever_its_name(tmp_path, film, monkeypatch):
    for name in ("notes.txt", "08:00:00.mp4", "100%#1?.mp4"):
        (tmp_path / name).write_bytes(film)
        assert find_files(tmp_path / name) == [tmp_path / name]
        monkeypatch.chdir(tmp_path)
        with Feed(name) as feed:
            assert len(list(feed.packets())) == 5


def test_links_are_followed_once(tmp_path, film):
    shelf, elsewhere = tmp_path / "shelf", tmp_path / "elsewhere"
    shelf.mkdir()
    elsewhere.mkdir()
    (shelf / "b.mp4").write_bytes(film)
    (elsewhere / "c.mp4").write_bytes(film)
    (shelf / "a.mp4").symlink_to(shelf / "b.mp4")
    (shelf / "loop").symlink_to(shelf)
    (shelf / "more").symlink_to(elsewhere)
    (shelf / "again").symlink_to(elsewhere)
    (shelf / "lost.mp4").symlink_to(shelf / "nowhere")
    left_out: list[str] = []
    assert found(shelf, left_out) == ["again/c.mp4", "b.mp4"]
    assert left_out == [f"{shelf}: a.mp4 is a second link to a file", f"{shelf}: lost.mp4 is a link that leads nowhere"]


def test_a_large_folder_is_quick(tmp_path):
    for number in range(5000):
        (tmp_path / f"{number}.mp4").touch()
        (tmp_path / f"{number}.xyz").write_bytes(b"\0\1\2\3")
    left_out: list[str] = []
    begin = time.process_time()
    assert len(found(tmp_path, left_out)) == 5000
    assert time.process_time() - begin < 5
    assert "4800 files are of an unknown kind" in "".join(left_out)


def test_a_folder_without_video_says_what_is_in_it(tmp_path):
    (tmp_path / "labels.csv").write_text("path,label\n")
    with pytest.raises(SourceError, match=r"holds no video file; .*labels\.csv is not video"):
        find_files(tmp_path)
    with pytest.raises(SourceError, match="no such file or folder"):
        find_files(tmp_path / "missing")


def test_pipes_and_devices_are_told_from_what_is_not_there(tmp_path, film):
    (tmp_path / "a.mp4").write_bytes(film)
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "zero.mp4").symlink_to("/dev/zero")
    left_out: list[str] = []
    assert found(tmp_path, left_out) == ["a.mp4"]
    assert left_out == [
        f"{tmp_path}: pipe.mp4 is no regular file",
        f"{tmp_path}: zero.mp4 is a link to no regular file",
    ]
    for path in (tmp_path / "pipe.mp4", Path("/dev/zero"), Path("/dev/null")):
        with pytest.raises(SourceError, match="neither a file nor a folder"):
            find_files(path)
