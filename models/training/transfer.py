"""Transfer learning: begin from the weights of another checkpoint, freeze stages, train early stages more slowly.

stages of X3D     stem │ res2 │ res3 │ res4 │ res5 │ head
trained_stages=2   ·      ·      ·      ·     learn  learn
layer_decay=0.5                              lr / 2   lr
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from models.checkpoint import find
from models.errors import TrainingError
from models.networks.cnn_lstm import CnnLstm
from models.networks.inflation import InflatedLite0
from models.networks.movenet import MoveNetMotion
from models.networks.zoo import create, describe

from . import distributed
from .recipe import Fit, Recipe


@dataclass(frozen=True, slots=True)
class Clip:
    """The clips that a model is trained on: T frames, the seconds between them, height and width, and the fit."""

    frames: int
    spacing_seconds: float
    size: int
    fit: Fit


def usual_clip(architecture: str, begin_from: str | None = None) -> Clip:
    """The clips to train on unless told otherwise: those of the checkpoint to begin from, else the architecture's own.

    What a network has learnt of motion holds for the time between frames, and for pictures, that it has learnt it from.

    Raises:
        UnknownModelError: there is no such architecture, or no checkpoint of that name.
        TrainingError: the checkpoint takes pictures that are not square.
    """
    designed = describe(architecture)
    if begin_from is None:
        return Clip(designed.frames, designed.spacing_seconds, designed.size, "stretch")
    contract = find(begin_from).contract
    if contract.height != contract.width:
        raise TrainingError(
            f"{begin_from}: takes pictures of {contract.width}x{contract.height}; training takes square ones"
        )
    return Clip(contract.frames, contract.spacing_seconds, contract.height, contract.fit)


def build_network(recipe: Recipe, labels: tuple[str, ...], device: torch.device) -> nn.Module:
    """Build a network of the recipe's architecture on the device, with the weights that training begins from.

    Raises:
        UnknownModelError: there is no such architecture, or no checkpoint of that name to begin from.
        TrainingError: the checkpoint to begin from is of another architecture.
    """
    network = create(
        recipe.architecture,
        len(labels),
        frames=recipe.frames,
        size=recipe.size,
        pretrained=recipe.begin_from is None,
    )
    if recipe.begin_from is not None:
        begun = find(recipe.begin_from)
        is_same = begun.contract.labels == labels and begun.contract.multi_label == recipe.multi_label
        others = None if is_same else len(labels)
        load_known(network, begun.state(), recipe.begin_from, others)
    set_regularisation(network, recipe.dropout, recipe.stochastic_depth)
    return distributed.together(network.to(device), device)


def load_known(
    network: nn.Module, state: dict[str, torch.Tensor], where: str, other_labels: int | None = None
) -> list[str]:
    """Copy the weights of `state` that fit; return the names of those that start afresh, usually the head's.

    `other_labels` is the number of the network's labels if they are not those of `state`, or not alike in excluding one
    another: then the last layer starts afresh even if its shape fits, since its rows stand for something else.

    Raises:
        TrainingError: so few weights fit that they must be of another architecture.
    """
    own = network.state_dict()
    if other_labels is not None:
        # The last layer with one row a label, whatever its type.
        judging = [name for name, value in own.items() if value.ndim >= 2 and len(value) == other_labels][-1]
        layer = judging.rpartition(".")[0]
        state = {name: value for name, value in state.items() if name.rpartition(".")[0] != layer}
    known = {name: value for name, value in state.items() if name in own and own[name].shape == value.shape}
    total = sum(v.numel() for v in own.values())
    taken = sum(v.numel() for v in known.values())
    if taken < total / 2:
        raise TrainingError(
            f"{where}: only {taken / total:.0%} of the weights fit this architecture; "
            "expected a checkpoint of the same one (its labels may differ)"
        )
    network.load_state_dict(known, strict=False)
    return sorted(set(own) - set(known))


def set_regularisation(network: nn.Module, dropout: float | None, stochastic_depth: float | None) -> None:
    """Set the probability of every dropout layer and of every residual branch that may be left out.

    Raises:
        TrainingError: stochastic depth is set for a network without such branches.
    """
    if dropout is not None:
        for module in network.modules():
            if isinstance(module, nn.Dropout):
                module.p = dropout
    if stochastic_depth is not None:
        found = 0
        for module in network.modules():
            # torchvision's StochasticDepth has `p`, pytorchvideo's DropPath `drop_prob`.
            for kind, attribute in (("StochasticDepth", "p"), ("DropPath", "drop_prob")):
                if type(module).__name__ == kind:
                    setattr(module, attribute, stochastic_depth)
                    found += 1
        if not found and stochastic_depth:
            raise TrainingError("stochastic depth: this architecture has no branches that can be left out")


def freeze(network: nn.Module, trained_stages: int) -> list[nn.Module]:
    """Let only the last `trained_stages` stages learn (all if 0); return those that do not.

    A frozen stage must also be kept in `eval()`, or its batch normalisation would still move.

    Raises:
        TrainingError: there are fewer stages than that.
    """
    parts = stages(network)
    if trained_stages > len(parts):
        raise TrainingError(f"{trained_stages} trained stages: this network has {len(parts)}")
    frozen = parts[: len(parts) - trained_stages] if trained_stages else []
    learning = {id(p) for part in parts[len(frozen) :] for p in part.parameters()}
    for parameter in network.parameters():
        # Parameters outside the stages, such as position embeddings, belong to the first stage.
        parameter.requires_grad = not frozen or id(parameter) in learning
    return frozen


def parameter_groups(
    network: nn.Module, learning_rate: float, layer_decay: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Groups for an optimiser: slower learning in early stages, no weight decay on biases and normalisation."""
    parts = stages(network)
    depth = {id(p): len(parts) - 1 - k for k, part in enumerate(parts) for p in part.parameters()}
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for parameter in network.parameters():
        if parameter.requires_grad:
            key = depth.get(id(parameter), len(parts) - 1), parameter.ndim > 1
            groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": learning_rate * layer_decay**below,
            "weight_decay": weight_decay if decays else 0.0,
        }
        for (below, decays), parameters in sorted(groups.items(), key=lambda item: item[0])
    ]


def stages(network: nn.Module) -> list[nn.Module]:
    """The stages of a network from input to head."""
    if isinstance(network, CnnLstm | InflatedLite0 | MoveNetMotion):
        return [*_parts(network.backbone), network.head]
    inner = getattr(network, "network", network)  # SlowFast keeps pytorchvideo's network inside
    return _parts(inner)


def _parts(network: nn.Module) -> list[nn.Module]:
    inner = getattr(network, "network", network)
    parts: list[nn.Module] = []
    whole = _parameters(inner)
    for child in inner.children():
        if not _parameters(child):
            continue
        # A list of blocks, or a sequence that holds most of the network: its parts are stages of their own.
        is_sequence = isinstance(child, nn.ModuleList | nn.Sequential)
        if is_sequence and (isinstance(child, nn.ModuleList) or _parameters(child) > whole / 2):
            parts += [c for c in child.children() if _parameters(c)]
        else:
            parts.append(child)
    # A wrapper around a single network: look inside.
    return _parts(parts[0]) if len(parts) == 1 and list(parts[0].children()) else parts or [inner]


def _parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
