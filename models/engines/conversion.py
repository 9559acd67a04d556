"""From a checkpoint to OpenVINO's own graph."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from models.checkpoint import Checkpoint

from .files import BEGINS, FACTORED, STATE, require_openvino
from .torch import ContinualModule, FactoredModule, ServingModule, factored_module


def convert(checkpoint: Checkpoint) -> Any:
    """The network as an `openvino.Model`; encoder, or steps, and head side by side where it has them, see `parts_of`.

    Raises:
        CheckpointError: the weights cannot be read.
        EngineError: OpenVINO is not installed.
    """
    ov = require_openvino()
    module = factored_module(checkpoint)
    blanks = blank_inputs(module, checkpoint)
    with warnings.catch_warnings(), _logging_kept():
        # OpenVINO converts through torch.jit, whose deprecation is nothing a user of ours can act on.
        warnings.filterwarnings("ignore", message=".*torch.jit.*", category=FutureWarning)
        # The graph is for clips of one shape, so what follows from a shape is a number, or true.
        warnings.filterwarnings("ignore", message=".*Python (integer|boolean).*", category=torch.jit.TracerWarning)  # type: ignore[attr-defined]
        # Zeros trace without values that depend on data.
        model = ov.convert_model(
            module,
            example_input=tuple(blanks.values()),
            input=[
                (list(blank.shape), ov.Type.u8 if blank.dtype == torch.uint8 else ov.Type.f32)
                for blank in blanks.values()
            ],
        )
    if isinstance(module, FactoredModule | ContinualModule):
        for ends, names in ((model.inputs, blanks), (model.outputs, output_names(module))):
            for end, name in zip(ends, names, strict=True):
                end.get_tensor().set_names({name})
    return model


def blank_inputs(
    module: FactoredModule | ContinualModule | ServingModule, checkpoint: Checkpoint
) -> dict[str, torch.Tensor]:
    """An input of zeros for each that a module takes, by name."""
    clip = torch.zeros((1, *checkpoint.contract.clip_shape), dtype=torch.uint8)
    if not isinstance(module, FactoredModule | ContinualModule):
        return {"clips": clip}
    contract = checkpoint.contract
    # One view of a picture, where the network sees several.
    picture = clip[:, 0, : contract.height // contract.views, : contract.width // contract.views].contiguous()
    with torch.inference_mode():
        if isinstance(module, FactoredModule):
            features = torch.zeros((1, contract.frames, contract.views * module.encoder(picture).shape[1]))
            return dict(zip(FACTORED, (picture, features), strict=True))
        state = module.steps.blank_state(picture)
        features = torch.zeros((1, contract.frames, module.steps(picture, torch.ones(1), *state)[0].shape[1]))
    states = {f"{STATE[0]}_{n}": each for n, each in enumerate(state)}
    return {"picture": picture, BEGINS: torch.zeros(1), "features": features, **states}


def output_names(module: FactoredModule | ContinualModule | ServingModule) -> list[str]:
    """What a module gives, by name."""
    if not isinstance(module, FactoredModule | ContinualModule):
        return ["scores"]
    states = module.steps.network.context if isinstance(module, ContinualModule) else 0
    return [*FACTORED.values(), *(f"{STATE[1]}_{n}" for n in range(states))]


def store_in_halves(model: Any) -> None:
    """Store, in place, every float32 constant that float16 holds exactly as float16, with a cast after it.

    A checkpoint holds float16, so that this halves most files. The cast is folded when the model is loaded: scores stay
    the same to the last bit.
    """
    ov = require_openvino()
    for node in model.get_ordered_ops():
        # A cast costs more to describe than a single number saves.
        if node.get_type_name() != "Constant" or node.get_element_type() != ov.Type.f32 or node.data.size < 2:
            continue
        with np.errstate(over="ignore"):
            halves = node.data.astype(np.float16)
        if np.array_equal(halves.astype(np.float32), node.data):
            cast = ov.opset13.convert(ov.opset13.constant(halves), "f32")
            cast.set_friendly_name(f"{node.get_friendly_name()}/f32")
            node.output(0).replace(cast.output(0))


@contextlib.contextmanager
def _logging_kept() -> Iterator[None]:
    """OpenVINO's converter silences the whole process's warnings, and leaves it so where a conversion fails."""
    root = logging.getLogger()
    level, filters, handlers = root.level, list(root.filters), list(root.handlers)
    try:
        yield
    finally:
        root.setLevel(level)
        root.filters, root.handlers = filters, handlers
