"""Training computes with as many threads as it may use cores, and leaves them as they were."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from consumers.cli.learning.recipe_options import wait_without_spinning
from consumers.learning import threads
from models.training.material.computed import Computed


@pytest.mark.parametrize(("said", "expected"), [(None, 1), ("3", 2)])
def test_a_share_of_the_cores_bounds_threads_unless_the_user_did(
    monkeypatch: pytest.MonkeyPatch, said: str | None, expected: int
):
    monkeypatch.setattr(threads, "usable_cores", lambda: 1)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if said is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", said)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with threads.one_thread_a_core():
            assert torch.get_num_threads() == expected
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_videos_side_by_side_have_a_thread_each():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        computed = Computed(None, lambda _: {"threads": np.array(torch.get_num_threads())})
        computed.all(4, lambda *_: None, threads=2)
        assert [int(computed.part(i, "threads")) for i in range(4)] == [1, 1, 1, 1]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("said", "expected"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_wait_asleep_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, said: str | None, expected: str
):
    monkeypatch.setenv("OMP_WAIT_POLICY", said or "")
    if said is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    wait_without_spinning()
    assert os.environ["OMP_WAIT_POLICY"] == expected
