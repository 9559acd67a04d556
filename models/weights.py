"""Weights of checkpoints as torch tensors.

Separate from checkpoint.py, since whatever serves an exported model reads contracts but no weights, and has no torch.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from .errors import CheckpointError


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Return the weights in a safetensors file as float32, by parameter name.

    Raises:
        CheckpointError: the file is damaged.
    """
    try:
        return {name: t.float() if t.is_floating_point() else t for name, t in load_file(path).items()}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: damaged ({error})") from None


def read_zoo_weights(path: Path) -> dict[str, torch.Tensor]:
    """Return the weights in a checkpoint of PyTorchVideo's model zoo, by parameter name.

    Raises:
        CheckpointError: the file is damaged, or holds more than tensors.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        return dict(content["model_state"])
    except (pickle.UnpicklingError, RuntimeError, KeyError, TypeError, EOFError) as error:
        raise CheckpointError(f"{path}: not a PyTorchVideo checkpoint ({str(error).splitlines()[0]})") from None
