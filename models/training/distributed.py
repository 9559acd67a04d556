"""Train one model in several processes, as `torchrun` starts them; a single process is the simplest case of that.

Each process works on its share of every batch. Only the first prints and writes.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

from models.errors import ModelError

T = TypeVar("T")


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Join the group that `torchrun` describes in the environment; stay alone if it describes none."""
    if "WORLD_SIZE" not in os.environ or int(os.environ["WORLD_SIZE"]) == 1:
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def world() -> int:
    """The number of processes."""
    return dist.get_world_size() if _is_joined() else 1


def rank() -> int:
    return dist.get_rank() if _is_joined() else 0


def is_first() -> bool:
    """Whether this is the process that prints and writes."""
    return rank() == 0


def device() -> torch.device:
    """The GPU of this process if there is one, else the processor."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def together(network: nn.Module, device: torch.device) -> nn.Module:
    """Let batch normalisation see the whole batch instead of this process's share; the weights keep their names.

    Torch supports that on GPUs only: on processors each process normalises by its own share.
    """
    if world() == 1 or device.type != "cuda":
        return network
    kinds = {type(m) for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)}  # noqa: SLF001
    convert: Callable[[nn.Module], nn.Module] = nn.SyncBatchNorm.convert_sync_batchnorm
    if not kinds <= {nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d}:
        # timm's layers contain an activation, which torch's conversion would lose.
        convert = importlib.import_module("timm.layers").convert_sync_batchnorm
    return convert(network)


def share_out(indices: Iterable[int], work: Callable[[int], T]) -> dict[int, T]:
    """What `work` returns for each index; each process does its share, and all of them get every result."""
    mine = list(indices)[rank() :: world()]
    return gathered({int(index): work(int(index)) for index in mine})


def gathered(part: dict[Any, Any]) -> dict[Any, Any]:
    """The union of the parts of all processes."""
    if not _is_joined():
        return part
    parts: list[Any] = [None] * world()
    dist.all_gather_object(parts, part)
    return {key: value for found in parts for key, value in found.items()}


def from_first(make: Callable[[], T]) -> T:
    """Call `make` in the first process only, and return its result in every process.

    Raises:
        ModelError: `make` raised it; every process raises it, so that none waits for the first for ever.
    """
    if not _is_joined():
        return make()
    message: list[Any] = [None, None]
    if is_first():
        try:
            message[0] = make()
        except ModelError as error:
            message[1] = error
    dist.broadcast_object_list(message, src=0)
    made, refusal = message
    if refusal is not None:
        raise refusal
    return made  # type: ignore[no-any-return]


def wait_for_all() -> None:
    if _is_joined():
        dist.barrier()


def _is_joined() -> bool:
    return dist.is_available() and dist.is_initialized()
