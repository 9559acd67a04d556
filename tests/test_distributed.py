"""Two processes over gloo train the model that one trains."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

SCRIPT = Path(__file__).with_name("train_together.py")


def run(command: list[str], output: Path) -> dict[str, torch.Tensor]:
    environment = os.environ | {"PYTHONPATH": str(SCRIPT.parents[1]), "OMP_NUM_THREADS": "1"}
    finished = subprocess.run(
        [sys.executable, *command, str(SCRIPT), str(output)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    return torch.load(output, weights_only=True)


def test_two_processes_train_the_model_that_one_trains(tmp_path: Path) -> None:
    alone = run([], tmp_path / "one.pt")
    together = run(["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"], tmp_path / "two.pt")
    assert (alone.pop("processes"), together.pop("processes")) == (1, 2)
    assert set(alone) == set(together)
    for name, value in alone.items():
        # Sums of gradients in another order: float32's rounding.
        torch.testing.assert_close(together[name], value, atol=1e-4, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")
