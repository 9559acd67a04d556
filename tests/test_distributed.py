"""Two processes over gloo train the model that one trains, and go on from what the first of them kept."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from models.networks.zoo import create
from models.training import distributed

SCRIPT = Path(__file__).with_name("train_together.py")


def run(command: list[str], output: Path, *arguments: str) -> None:
    environment = os.environ | {"PYTHONPATH": str(SCRIPT.parents[1]), "OMP_NUM_THREADS": "1"}
    finished = subprocess.run(
        [sys.executable, *command, str(SCRIPT), str(output), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]


TOGETHER = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    output = tmp_path_factory.mktemp("alone") / "one.pt"
    run([], output)
    return torch.load(output, weights_only=True)


def assert_alike(together: dict[str, torch.Tensor], alone: dict[str, torch.Tensor]) -> None:
    assert (alone["processes"], together["processes"]) == (1, 2)
    assert set(alone) == set(together)
    for name in set(alone) - {"processes"}:
        # Sums of gradients in another order: float32's rounding.
        torch.testing.assert_close(together[name], alone[name], atol=1e-4, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.slow
def test_two_processes_train_the_model_that_one_trains(tmp_path: Path, alone: dict[str, torch.Tensor]) -> None:
    run(TOGETHER, tmp_path / "two.pt")
    assert_alike(torch.load(tmp_path / "two.pt", weights_only=True), alone)


@pytest.mark.slow
def test_two_machines_go_on_from_what_the_first_one_kept(tmp_path: Path, alone: dict[str, torch.Tensor]) -> None:
    """The second has no state on its disk: it would begin anew, beside the first."""
    output = tmp_path / "two.pt"
    run(TOGETHER, output, "fold 2 of 2")
    assert not output.exists()
    assert {path.suffix for path in (tmp_path / "two.unfinished-0").iterdir()} == {".sha256", ".scores", ".state"}
    assert not (tmp_path / "two.unfinished-1").exists()
    run(TOGETHER, output)
    assert_alike(torch.load(output, weights_only=True), alone)


@pytest.fixture
def _two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "world", lambda: 2)


@pytest.mark.slow
@pytest.mark.usefixtures("_two_processes")
@pytest.mark.parametrize("architecture", ["x3d_xs", "cnn_lstm:timm/efficientnet_lite0"])
def test_batches_are_normalised_as_a_whole_on_gpus_by_weights_of_the_same_names(architecture: str) -> None:
    network = create(architecture, 2, frames=4, size=32).eval()
    clips = torch.rand(2, 3, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    names, expected = list(network.state_dict()), network(clips)
    assert distributed.together(network, torch.device("cpu")) is network
    assert not any(isinstance(m, nn.SyncBatchNorm) for m in network.modules())
    joined = distributed.together(network, torch.device("cuda"))
    kinds = [m for m in joined.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert kinds
    assert all(isinstance(m, nn.SyncBatchNorm) for m in kinds)
    assert list(joined.state_dict()) == names
    torch.testing.assert_close(joined(clips), expected)
