"""Whatever groups are called, none of them reads, writes or fences what is another's."""

from __future__ import annotations

import itertools

import pytest

from consumers.live.figures.accounts import CameraCounts
from consumers.live.handover.progress import CameraProgress, PartitionProgress, decode_progress, encode_progress
from consumers.records.group_keys import transactional_id
from consumers.settings import Settings, SettingsError, override

GROUPS = [
    "a",
    "a/",
    "a//",
    "/a",
    "a/b",
    "/",
    "a%2F",
    "a%2Fb",
    "/a%2F",
    "/a%2F/",
    "a/%",
    "a b",
    "ä",
    "a/ä",
    "a/0",
    "a//0",
]
PROGRESS = [PartitionProgress(0), *(CameraProgress(name, 0, 1, CameraCounts()) for name in ("0", "b", "start"))]


def test_no_two_groups_have_a_key_in_common():
    keys: dict[bytes, str] = {}
    for group, progress in itertools.product(GROUPS, PROGRESS):
        key, value = encode_progress(group, progress)
        assert keys.setdefault(key, group) == group
        assert [other for other in GROUPS if decode_progress(other, key, value, "here") == progress] == [group]


def test_names_without_a_slash_write_what_they_always_wrote():
    assert encode_progress("clipline-classify", PROGRESS[0])[0] == b"clipline-classify//0"
    assert encode_progress("50 %", PROGRESS[2])[0] == b"50 %/b"


def test_no_two_workers_with_names_have_a_transactional_id_in_common():
    parts = ["clipline", "x3d", "worker", "1"]
    names: dict[str, tuple[str, str]] = {}
    for cut in range(1, 4):
        for joined in ("-", "_"):
            worker = joined.join(parts[:cut]), joined.join(parts[cut:])
            for group in (worker[0], f"{worker[0]}/8", f"{worker[0]}-x/8"):
                name = transactional_id(group, worker[1])
                assert name.startswith(f"{group}-")
                assert names.setdefault(name, (group, worker[1])) == (group, worker[1])


@pytest.mark.parametrize("group", ["a\nb", "a\x00", "a\x1b[31m", "a\u202eb"])
def test_a_group_with_control_characters_is_refused(group: str):
    with pytest.raises(SettingsError, match=r"worker\.group .*expected no control characters"):
        override(Settings(), {"worker": {"group": group}}, "test")


def test_the_group_that_fills_redis_of_another_one_is_refused():
    with pytest.raises(SettingsError, match=r"worker\.group .*expected another ending"):
        override(Settings(), {"worker": {"group": "clipline-classify.redis"}}, "test")
