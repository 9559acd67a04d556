"""A process that a control group holds to a share of the cores starts no more threads than that."""

from __future__ import annotations

from pathlib import Path

import pytest

from consumers import cores
from consumers.cores import usable_cores


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


def seen(folder: Path, membership: str, files: dict[str, str]) -> int:
    for name, content in files.items():
        file = folder / "cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    (folder / "membership").write_text(membership)
    return usable_cores(folder / "cgroup", folder / "membership")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "10000 100000\n"}, 1),
        ({"cpu.max": "9900000 100000\n"}, 8),
        ({"cpu.max": "nonsense"}, 8),
    ],
)
def test_version_2_in_a_container(tmp_path, files, expected):
    assert seen(tmp_path, "0::/\n", files) == expected


def test_version_2_takes_the_tightest_of_all_groups_above(tmp_path):
    files = {"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000", "cpu.max": "max 100000"}
    assert seen(tmp_path, "0::/a/b\n", files) == 3


@pytest.mark.parametrize("tree", ["cpu", "cpu,cpuacct"])
def test_version_1(tmp_path, tree):
    files = {f"{tree}/cpu.cfs_quota_us": "400000\n", f"{tree}/cpu.cfs_period_us": "100000\n"}
    # The path is the host's: the container sees its own group as the root.
    assert seen(tmp_path, "4:memory:/x\n3:cpu,cpuacct:/docker/0123\n0::/docker/0123\n", files) == 4


def test_version_1_without_a_limit(tmp_path):
    assert seen(tmp_path, "3:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}) == 8


def test_where_there_are_no_control_groups_all_cores_count(tmp_path):
    assert usable_cores(tmp_path / "no", tmp_path / "none") == 8
