"""Torch as an engine, on CPU or CUDA, and the network as it is served or exported."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn
from torch.export.passes import move_to_device_pass

from models.checkpoint import Checkpoint
from models.contract import Contract, Platt
from models.errors import CheckpointError
from models.labels import UNKNOWN
from models.networks.factored import Continual, Factored
from models.networks.movenet import LinearHead, MoveNetMotion
from models.networks.open_set import OpenSetHead
from models.networks.zoo import create

from .engine import Engine, Features, Picture, State
from .files import Precision, check_archive
from .trust import read_trusted
from .two_views import engine_of

#: Whole clips of one call on a processor: beyond it, more at once are no faster.
_AT_ONCE: Final = 32
#: Items of each call on a GPU. Always as many, since for another number a GPU chooses other kernels, which round in
#: another way: the score of a clip must not depend on how many others are classified with it (live 16, in a replay 32).
_ON_GPU: Final = 16
_DTYPES: Final[dict[Precision, torch.dtype]] = {
    "f32": torch.float32,
    "f16": torch.float16,
    "bf16": torch.bfloat16,
}


class _Normalised(nn.Module):
    """Clips (B, T, H, W, 3) uint8 to pixels (B, 3, T, H, W) as a network wants them."""

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, contract: Contract) -> None:
        super().__init__()
        mean, std = torch.tensor(contract.mean), torch.tensor(contract.std)
        self.register_buffer("scale", (1 / (255 * std)).view(1, 3, 1, 1, 1))
        self.register_buffer("shift", (mean / std).view(1, 3, 1, 1, 1))

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        return clips.permute(0, 4, 1, 2, 3).float() * self.scale - self.shift


class _Scores(nn.Module):
    """Logits (B, L) to scores (B, L) in float32 of labels that exclude one another."""

    def __init__(self, contract: Contract) -> None:
        super().__init__()
        self._temperature = contract.temperature

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        return torch.softmax(logits.float() / self._temperature, dim=1)


class _IndependentScores(nn.Module):
    """Logits (B, L) to scores (B, L) in float32 of labels of which a clip may have several."""

    temperature: torch.Tensor
    offset: torch.Tensor

    def __init__(self, contract: Contract) -> None:
        super().__init__()
        each = [contract.calibration.get(label, Platt()) for label in contract.taught_labels]
        self.register_buffer("temperature", torch.tensor([one.temperature for one in each]))
        self.register_buffer("offset", torch.tensor([one.offset for one in each]))

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(logits.float() / self.temperature + self.offset)


class _OpenScores(nn.Module):
    """Logits (B, L + 1) to scores (B, L + 1) in float32: the last, of the unknown, leaves the rest to others."""

    def __init__(self, scores: nn.Module) -> None:
        super().__init__()
        self._scores = scores

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        unknown = torch.sigmoid(logits[:, -1:].float())
        return torch.cat([self._scores(logits[:, :-1]) * (1 - unknown), unknown], dim=1)


def _scores(contract: Contract) -> nn.Module:
    taught = (_IndependentScores if contract.multi_label else _Scores)(contract)
    return taught if contract.unknown is None else _OpenScores(taught)


class ServingModule(nn.Module):
    """A network between uint8 clips (B, T, H, W, 3) and scores (B, L) in float32.

    The network itself computes in `dtype`; normalising, and what makes scores of logits, in float32.
    """

    def __init__(self, network: nn.Module, contract: Contract, dtype: torch.dtype) -> None:
        super().__init__()
        self.normalise, self.network, self.scores = _Normalised(contract), network.to(dtype), _scores(contract)
        self._dtype = dtype

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.scores(self.network(self.normalise(clips).to(self._dtype)))
        return scores


class EncoderModule(nn.Module):
    """A network's encoder, from uint8 pictures (N, H, W, 3) to features (N, F) in float32."""

    def __init__(self, network: Factored, contract: Contract) -> None:
        super().__init__()
        self.normalise, self.network = _Normalised(contract), network

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.network.encode(self.normalise(pictures[:, None])[:, :, 0])


class StepModule(nn.Module):
    """A continual network's step, from uint8 pictures (N, H, W, 3) to features (N, F) and state, in float32."""

    def __init__(self, network: Continual, contract: Contract) -> None:
        super().__init__()
        self.normalise, self.network = _Normalised(contract), network

    def forward(self, pictures: torch.Tensor, begins: torch.Tensor, *state: torch.Tensor) -> tuple[torch.Tensor, ...]:
        images = self.normalise(pictures[:, None])[:, :, 0]
        features, after = self.network.step(images, begins, *state)
        return features, *after

    def blank_state(self, picture: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Zeros as the state of one run."""
        with torch.inference_mode():
            _, *state = self(picture, torch.ones(1), *[torch.zeros(1)] * self.network.context)
        return tuple(torch.zeros(each.shape) for each in state)


class HeadModule(nn.Module):
    """A network's head, from features of windows (B, T, F) to scores (B, L), in float32."""

    def __init__(self, network: Factored | Continual, contract: Contract) -> None:
        super().__init__()
        self.network, self.scores = network, _scores(contract)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.scores(self.network.classify(features))
        return scores


class FactoredModule(nn.Module):
    """Encoder and head side by side: what converters and exporters take as one."""

    def __init__(self, network: Factored, contract: Contract) -> None:
        super().__init__()
        self.encoder, self.head = EncoderModule(network, contract), HeadModule(network, contract)

    def forward(self, picture: torch.Tensor, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.encoder(picture), self.head(features)


class ContinualModule(nn.Module):
    """Steps and head side by side, likewise."""

    def __init__(self, network: Continual, contract: Contract) -> None:
        super().__init__()
        self.steps, self.head = StepModule(network, contract), HeadModule(network, contract)

    def forward(
        self, picture: torch.Tensor, begins: torch.Tensor, features: torch.Tensor, *state: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        encoded, *after = self.steps(picture, begins, *state)
        return encoded, self.head(features), *after


def serving_module(checkpoint: Checkpoint, precision: Precision = "f32") -> ServingModule:
    """Build the whole network of a checkpoint with its weights; `precision` is a floating-point one.

    Raises:
        CheckpointError: the weights are damaged, or not those of the architecture.
    """
    return ServingModule(_network(checkpoint), checkpoint.contract, _DTYPES[precision]).eval()


def factored_module(checkpoint: Checkpoint) -> FactoredModule | ContinualModule | ServingModule:
    """Encoder, or steps, and head of the network of a checkpoint, in float32; the whole network where it has none.

    A continual network whose contract knows of no context is served as a whole one, too.

    Raises:
        CheckpointError: as `serving_module`.
    """
    network = _network(checkpoint)
    if isinstance(network, Factored):
        return FactoredModule(network, checkpoint.contract).eval()
    if isinstance(network, Continual) and checkpoint.contract.context:
        if checkpoint.contract.context != network.context:
            raise CheckpointError(
                f"{checkpoint.path}: a context of {checkpoint.contract.context} frames, expected that of "
                f"{checkpoint.contract.architecture}, {network.context}"
            )
        return ContinualModule(network, checkpoint.contract).eval()
    return ServingModule(network, checkpoint.contract, torch.float32).eval()


def _network(checkpoint: Checkpoint) -> nn.Module:
    contract = checkpoint.contract
    network = create(contract.architecture, len(contract.taught_labels), frames=contract.frames, size=contract.height)
    if contract.unknown is not None:
        if not isinstance(network, MoveNetMotion) or not isinstance(network.head, LinearHead):
            raise CheckpointError(f"{checkpoint.path}: {contract.architecture} does not tell what is {UNKNOWN}")
        blank = torch.zeros(contract.unknown.rows, network.FEATURES)
        network.head = OpenSetHead(network.head, blank, contract.unknown)  # type: ignore[assignment]  # and one more
    try:
        network.load_state_dict(checkpoint.state())
    except RuntimeError as error:
        raise CheckpointError(
            f"{checkpoint.path}: its weights are not those of {contract.architecture} "
            f"({str(error).splitlines()[-1].strip()})"
        ) from None
    return network


def has_cuda() -> bool:
    """Whether torch finds a GPU that it can use."""
    return torch.cuda.is_available()


def open_torch(checkpoint: Checkpoint, threads: int | None) -> Engine:
    """Eager torch, in float32: on a GPU where torch finds one (CUDA; ROCm goes by that name), else on the processor.

    An exported program computes in the precision that it was exported with, one clip at a time; other whole networks
    some at a time, so that a long recording's clips do not take memory for all of them at once. On a GPU every call has
    the same number of items, and TF32 is off, so that each has the same result whatever it is computed with.

    Raises:
        CheckpointError: the file is damaged, or its weights are not those of the architecture.
    """
    device = torch.device("cuda" if has_cuda() else "cpu")
    on_gpu = device.type == "cuda"
    if on_gpu:
        exact_on_gpu()
    elif threads is not None:
        torch.set_num_threads(threads)
    name = f"torch-{device.type}"
    if checkpoint.export is not None:
        return Engine(name, TorchGraph(_program(checkpoint.path, device.type), device, 1, pads=on_gpu))
    module = factored_module(checkpoint).to(device)
    if isinstance(module, FactoredModule):
        # On a processor one is as fast as several, and rounds in one way.
        at_once = _ON_GPU if on_gpu else 1
        head, encoder = (TorchGraph(m, device, at_once, pads=on_gpu) for m in (module.head, module.encoder))
        return engine_of(checkpoint.contract, name, head, encoder)
    if isinstance(module, ContinualModule):
        at_once = _ON_GPU if on_gpu else 1
        steps = TorchSteps(module.steps, checkpoint.contract, device, at_once, pads=on_gpu)
        return Engine(name, TorchGraph(module.head, device, at_once, pads=on_gpu), steps=steps)
    return Engine(name, TorchGraph(module, device, _ON_GPU if on_gpu else _AT_ONCE, pads=on_gpu))


class TorchGraph:
    """A module that computes `at_once` items in each call; with `pads` always as many, the last one repeated."""

    def __init__(self, module: Any, device: torch.device, at_once: int, *, pads: bool) -> None:
        self._module, self._device, self._at_once, self._pads = module, device, at_once, pads

    def run(self, items: Iterable[np.ndarray]) -> list[np.ndarray]:
        found: list[np.ndarray] = []
        waiting = iter(items)
        with torch.inference_mode():
            while part := list(itertools.islice(waiting, self._at_once)):
                lacking = self._at_once - len(part) if self._pads else 0
                batch = torch.from_numpy(np.stack([*part, *part[-1:] * lacking]))
                rows = self._module(batch.to(self._device)).float()[: len(part)].cpu().numpy()
                found.extend(row.copy() for row in rows)  # each may be kept for longer than the others
        return found


class TorchSteps:
    """Steps of a continual network, of `at_once` runs in each call; as `TorchGraph`."""

    def __init__(
        self, module: StepModule, contract: Contract, device: torch.device, at_once: int, *, pads: bool
    ) -> None:
        self._module, self._device, self._at_once, self._pads = module, device, at_once, pads
        blank = torch.zeros((1, *contract.clip_shape[1:]), dtype=torch.uint8)
        self._blank = tuple(each[0].numpy() for each in module.cpu().blank_state(blank))
        module.to(device)

    def run(self, items: Iterable[tuple[Picture, State | None]]) -> list[tuple[Features, State]]:
        found: list[tuple[Features, State]] = []
        waiting = iter(items)
        with torch.inference_mode():
            while part := list(itertools.islice(waiting, self._at_once)):
                part_size, lacking = len(part), self._at_once - len(part) if self._pads else 0
                pictures, states = zip(*part, *part[-1:] * lacking, strict=True)
                begins = np.array([state is None for state in states], np.float32)
                gathered = zip(*(state or self._blank for state in states), strict=True)
                inputs = (np.stack(pictures), begins, *map(np.stack, gathered))
                outputs = self._module(*(torch.from_numpy(each).to(self._device) for each in inputs))
                columns = [column.float()[:part_size].cpu().numpy() for column in outputs]
                for row in range(part_size):
                    # Copies: each may be kept for longer than the others.
                    features, *state = (column[row].copy() for column in columns)
                    found.append((features, tuple(state)))
        return found


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
