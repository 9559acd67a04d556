"""Files are replaced whole or not at all; errors name the path; times are microseconds of UTC."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from consumers import files
from consumers.files import (
    hold_folder,
    is_held,
    passing_folder,
    remove_abandoned_folders,
    replacing,
    write_json,
    write_text,
)
from consumers.records.prediction import rfc3339
from consumers.times import parse_time_us


class WritingError(Exception):
    """What a command would raise."""


def test_a_file_is_replaced_when_its_successor_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "m.xml"
    with replacing(path) as unfinished:
        unfinished.write_text("new")
        assert unfinished.suffix == ".xml", "some writers choose the format by the suffix"
        assert not path.exists()
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "m.npy"
    path.write_text("old")

    def write_half() -> None:
        with replacing(path) as unfinished:
            unfinished.write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_of_one_file_do_not_share_an_unfinished_one(tmp_path: Path) -> None:
    with replacing(tmp_path / "m") as first, replacing(tmp_path / "m") as second:
        assert first != second
        first.touch()
        second.touch()


def test_text_that_cannot_be_written_names_path_and_reason(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b.json", "ä\n", WritingError)
    assert (tmp_path / "a" / "b.json").read_bytes() == b"\xc3\xa4\n"
    (tmp_path / "c" / "b.json").mkdir(parents=True)
    with pytest.raises(WritingError, match=r"b\.json: cannot be written \(Is a directory\)"):
        write_text(tmp_path / "c" / "b.json", "", WritingError)


@pytest.mark.parametrize(
    "text",
    ["2026-11-24T08:00:00Z", "2026-11-24T08:00:00", "2026-11-24 10:00:00+02:00", "2026-11-24T08:00:00.000000Z"],
)
def test_times_are_utc_unless_they_name_a_zone(text: str) -> None:
    assert rfc3339(parse_time_us(text)) == "2026-11-24T08:00:00.000000Z"


def test_a_time_keeps_each_microsecond_and_anything_else_is_refused() -> None:
    assert parse_time_us(rfc3339(1_795_939_200_123_457)) == 1_795_939_200_123_457
    for text in ("", "yesterday", "12"):
        with pytest.raises(ValueError, match="isoformat"):
            parse_time_us(text)


def test_a_folder_is_held_by_one_and_free_afterwards(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    assert not is_held(folder)
    with hold_folder(folder):
        assert is_held(folder)
        with pytest.raises(BlockingIOError), hold_folder(folder):
            pass
    assert not is_held(folder)


def test_what_was_to_pass_is_removed_by_others_where_its_process_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(files, "_YOUNG_SECONDS", 0.0)
    script = """
import time
from consumers.files import passing_folder
with passing_folder() as folder:
    (folder / "footage").touch()
    print(folder, flush=True)
    time.sleep(60)
"""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        left = Path(process.stdout.readline().strip())
        remove_abandoned_folders()
        assert (left / "footage").exists(), "somebody is at work there"
        process.kill()
    assert (left / "footage").exists()
    with passing_folder() as own:
        assert list(tmp_path.iterdir()) == [own]
    assert list(tmp_path.iterdir()) == []


def test_json_holds_no_number_that_json_does_not_have(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"auc": float("nan"), "rows": [(1.5, float("inf")), None]}, OSError)
    assert json.loads((tmp_path / "a.json").read_text()) == {"auc": None, "rows": [[1.5, None], None]}
