"""Torch as an engine, on CPU or CUDA, and the network as it is served or exported."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn
from torch.export.passes import move_to_device_pass

from models.checkpoint import Checkpoint
from models.contract import Contract
from models.errors import CheckpointError
from models.networks.zoo import create

from .engine import Clips, Scores
from .files import Precision, check_archive
from .trust import read_trusted

#: Clips of one call on a processor: beyond it, more at once are no faster.
_AT_ONCE: Final = 32
#: Clips of each call on a GPU. Always as many, since for another number a GPU chooses other kernels, which round in
#: another way: the score of a clip must not depend on how many others are classified with it (live 16, in a replay 32).
_ON_GPU: Final = 16
_DTYPES: Final[dict[Precision, torch.dtype]] = {
    "f32": torch.float32,
    "f16": torch.float16,
    "bf16": torch.bfloat16,
}


class ServingModule(nn.Module):
    """A network between uint8 clips (B, T, H, W, 3) and scores (B, L) in float32.

    The network itself computes in `dtype`; normalising and softmax in float32.
    """

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, network: nn.Module, contract: Contract, dtype: torch.dtype) -> None:
        super().__init__()
        self.network = network.to(dtype)
        self._dtype, self._temperature = dtype, contract.temperature
        mean, std = torch.tensor(contract.mean), torch.tensor(contract.std)
        self.register_buffer("scale", (1 / (255 * std)).view(1, 3, 1, 1, 1))
        self.register_buffer("shift", (mean / std).view(1, 3, 1, 1, 1))

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        pixels = clips.permute(0, 4, 1, 2, 3).float() * self.scale - self.shift  # (B, 3, T, H, W)
        logits = self.network(pixels.to(self._dtype)).float()  # (B, L)
        return torch.softmax(logits / self._temperature, dim=1)


def serving_module(checkpoint: Checkpoint, precision: Precision = "f32") -> ServingModule:
    """Build the network of a checkpoint with its weights; `precision` is a floating-point one.

    Raises:
        CheckpointError: the weights are damaged, or not those of the architecture.
    """
    contract = checkpoint.contract
    network = create(contract.architecture, len(contract.labels), frames=contract.frames, size=contract.height)
    try:
        network.load_state_dict(checkpoint.state())
    except RuntimeError as error:
        raise CheckpointError(
            f"{checkpoint.path}: its weights are not those of {contract.architecture} "
            f"({str(error).splitlines()[-1].strip()})"
        ) from None
    return ServingModule(network, contract, _DTYPES[precision]).eval()


def has_cuda() -> bool:
    """Whether torch finds a GPU that it can use."""
    return torch.cuda.is_available()


class TorchEngine:
    """Eager torch, in float32: on a GPU where torch finds one (CUDA; ROCm goes by that name), else on the processor.

    An exported program computes in the precision that it was exported with, one clip at a time; others some at a time,
    so that a long recording's clips do not take memory for all of them at once. On a GPU every call has the same number
    of clips, and TF32 is off, so that a clip has the same scores whatever it is classified with.
    """

    def __init__(self, checkpoint: Checkpoint, threads: int | None) -> None:
        self._device = torch.device("cuda" if has_cuda() else "cpu")
        self.name = f"torch-{self._device.type}"
        if threads is not None and self._device.type == "cpu":
            torch.set_num_threads(threads)
        if checkpoint.export is None:
            self._module: Any = serving_module(checkpoint).to(self._device)
        else:
            self._module = _program(checkpoint.path, self._device.type)
        on_gpu = self._device.type == "cuda"
        if on_gpu:
            exact_on_gpu()
        self._at_once = 1 if checkpoint.export is not None else _ON_GPU if on_gpu else _AT_ONCE
        self._pads = on_gpu

    def run(self, clips: Clips) -> Scores:
        with torch.inference_mode():
            parts = torch.split(torch.from_numpy(np.ascontiguousarray(clips)), self._at_once)
            found = [self._module(self._whole(part).to(self._device)).float()[: len(part)] for part in parts]
            scores: Scores = torch.cat(found).cpu().numpy()
        return scores

    def _whole(self, part: torch.Tensor) -> torch.Tensor:
        """The clips, on a GPU as many as in every call: the last one is repeated."""
        lacking = self._at_once - len(part) if self._pads else 0
        return torch.cat([part, part[-1:].expand(lacking, *part.shape[1:])]) if lacking else part


def exact_on_gpu() -> None:
    """Compute in float32 as it is called, by the same kernels each time."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


def _program(path: Path, device: str) -> Any:
    """The program in a .pt2 as a module on `device`."""
    check_archive(path)
    content = read_trusted(path)
    try:
        program = torch.export.load(io.BytesIO(content))
        return (move_to_device_pass(program, device) if device != "cpu" else program).module()
    except (RuntimeError, ValueError, KeyError, AssertionError) as error:
        raise CheckpointError(f"{path}: damaged, or written by another torch ({str(error).splitlines()[0]})") from None
